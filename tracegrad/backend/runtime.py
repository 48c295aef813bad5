"""What printed array programs call where NumPy has no expression for it.

Only NumPy is used, so that the functions can be printed beside a program that is exported. Those
that kernels call, too, are compiled into them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba.extending import register_jitable


def pad(v: Any, shape: tuple[int, ...], map: Sequence[tuple[int | None, int, int]]) -> np.ndarray:
    """Zeros of ``shape`` with ``v`` put in.

    ``map`` has one ``(axis, offset, step)`` per dimension of the result: its index is
    ``offset + step * (index along that axis of v)``, or ``offset`` where the axis is None.
    """
    v = np.asarray(v)
    out = np.zeros(shape, v.dtype)
    places: list[Any] = []
    for axis, offset, step in map:
        if axis is None:
            places.append(offset)
        else:
            extent = [1] * v.ndim
            extent[axis] = -1
            places.append((offset + step * np.arange(v.shape[axis])).reshape(extent))
    out[tuple(places)] = v
    return out


def update(x: np.ndarray, v: Any, *indices: Any) -> np.ndarray:
    """``x`` with ``v`` written at the indices of its leading dimensions; the last write wins."""
    out = x.copy()
    out[indices] = v
    return out


def accumulate(x: np.ndarray, v: Any, *indices: Any) -> np.ndarray:
    """``x`` with ``v`` added at the indices of its leading dimensions; repeats add up."""
    out = x.copy()
    np.add.at(out, indices, v)
    return out


@register_jitable
def ensure(x: np.ndarray, length: int) -> np.ndarray:
    """``x`` made at least ``length`` long, twice as long as it was if it must grow."""
    if len(x) >= length:
        return x
    longer = np.zeros((max(length, 2 * len(x)), *x.shape[1:]), x.dtype)
    for i in range(len(x)):  # as a slice it takes Numba two seconds to compile
        longer[i] = x[i]
    return longer


def recurrence(
    factors: np.ndarray, terms: np.ndarray, axis: int, reverse: bool = False
) -> np.ndarray:
    """``out[i] = terms[i] + factors[i - 1] * out[i - 1]`` along ``axis``."""
    out = terms.copy()
    rows, f = np.moveaxis(out, axis, 0), np.moveaxis(factors, axis, 0)
    if reverse:
        rows, f = rows[::-1], f[::-1]
    for i in range(1, len(rows)):
        rows[i] += f[i - 1] * rows[i - 1]
    return out
