"""Sets: the different elements of arrays.

How many there are is known at run time only. A sort brings equal elements together; those that
differ from the one before are picked, and where elements are floats, their cotangents go back to
the elements that were picked.
"""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import numpy as np

from tracegrad.errors import NeedsValue
from tracegrad.tracing.dispatch import implements, refuse
from tracegrad.tracing.numpy_creation import arange
from tracegrad.tracing.state import current_trace
from tracegrad.tracing.values import cast, common_dtype, operand


def _first_of_each(x: Any, equal_nan: bool = True) -> Any:
    """Of a sorted array, a mask of the elements that differ from the one before."""
    before, after = x[:-1], x[1:]
    differ: Any = after != before
    if equal_nan and x.dtype.kind == "f":
        differ = differ & ~(np.isnan(after) & np.isnan(before))
    return np.concatenate([np.ones_like(x[:1], dtype=bool), differ])


def _is_empty(x: Any) -> bool:
    try:
        return current_trace().sizes.decide(operand(x).value.shape[0], "<=", 0)
    except NeedsValue:  # only known at run time
        return False


@implements(np.unique)
def unique(
    ar: Any, return_index: bool = False, return_inverse: bool = False,
    return_counts: bool = False, axis: Any = None, *, equal_nan: bool = True,
    sorted: bool = True,
) -> Any:  # fmt: skip
    x = operand(ar)
    if axis is not None and x.ndim != 1:
        raise refuse("np.unique", "along an axis", "give each row a number, and use these")
    flat: Any = np.ravel(x)
    order: Any = np.argsort(flat, kind="stable")
    ordered = flat[order]
    first = operand(_first_of_each(ordered, equal_nan))
    found = [ordered[first]]
    if return_index:
        found.append(order[first])
    if return_inverse:
        group: Any = np.cumsum(first) - 1
        inverse = np.zeros_like(order)
        inverse[order] = group
        found.append(np.reshape(inverse, x.shape))
    if return_counts:
        starts = np.flatnonzero(first)
        if not _is_empty(flat):
            size = cast(operand(flat.shape[0]), starts.dtype)
            starts = np.concatenate([starts[1:], size[None]]) - starts
        found.append(starts)
    return found[0] if len(found) == 1 else tuple(found)


if hasattr(np, "unique_values"):  # from NumPy 2.0 on
    UniqueAll = namedtuple("UniqueAll", ["values", "indices", "inverse_indices", "counts"])
    UniqueCounts = namedtuple("UniqueCounts", ["values", "counts"])
    UniqueInverse = namedtuple("UniqueInverse", ["values", "inverse_indices"])

    @implements(np.unique_values)
    def unique_values(x: Any, /) -> Any:
        return unique(x, equal_nan=False)

    @implements(np.unique_counts)
    def unique_counts(x: Any, /) -> Any:
        return UniqueCounts(*unique(x, return_counts=True, equal_nan=False))

    @implements(np.unique_inverse)
    def unique_inverse(x: Any, /) -> Any:
        return UniqueInverse(*unique(x, return_inverse=True, equal_nan=False))

    @implements(np.unique_all)
    def unique_all(x: Any, /) -> Any:
        return UniqueAll(*unique(x, True, True, True, equal_nan=False))


def _together(ar1: Any, ar2: Any, assume_unique: bool) -> tuple[Any, Any]:
    """Both arrays as sets, in one dtype."""
    x, y = operand(ar1), operand(ar2)
    kind = common_dtype([x, y])
    sets = (np.ravel(cast(x, kind)), np.ravel(cast(y, kind)))
    return sets if assume_unique else (unique(sets[0]), unique(sets[1]))


@implements(np.union1d)
def union1d(ar1: Any, ar2: Any) -> Any:
    return unique(np.concatenate(_together(ar1, ar2, True)))


@implements(np.intersect1d)
def intersect1d(
    ar1: Any, ar2: Any, assume_unique: bool = False, return_indices: bool = False
) -> Any:
    if return_indices:
        raise refuse("np.intersect1d", "with return_indices", "find them with np.searchsorted")
    both: Any = np.sort(np.concatenate(_together(ar1, ar2, assume_unique)))
    return both[np.flatnonzero(both[1:] == both[:-1])]


@implements(np.setxor1d)
def setxor1d(ar1: Any, ar2: Any, assume_unique: bool = False) -> Any:
    both: Any = np.sort(np.concatenate(_together(ar1, ar2, assume_unique)))
    apart = both[1:] != both[:-1]
    end = operand(True)[None]
    alone = np.concatenate([end, apart]) & np.concatenate([apart, end])
    return both[np.flatnonzero(alone)]


@implements(np.setdiff1d)
def setdiff1d(ar1: Any, ar2: Any, assume_unique: bool = False) -> Any:
    x = operand(ar1)
    x = np.ravel(x) if assume_unique else unique(x)
    return x[~np.isin(x, operand(ar2))]


@implements(np.trim_zeros)
def trim_zeros(filt: Any, trim: str = "fb", axis: Any = None) -> Any:
    x = operand(filt)
    if x.ndim != 1:
        raise refuse("np.trim_zeros", "of several dimensions", "slice the array")
    wanted = trim.lower()
    places: Any = arange(x.shape[0])
    kept: Any = x != 0
    inside = places >= 0
    if "f" in wanted:
        inside = inside & (np.cumsum(kept) > 0)
    if "b" in wanted:
        inside = inside & (np.cumsum(kept[::-1])[::-1] > 0)
    return x[inside]
