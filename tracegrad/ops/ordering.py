"""Sorting, and positions in sorted arrays. Derivatives go to the elements that were chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tracegrad.ir.core import Value
from tracegrad.ir.types import ArrayType, i64
from tracegrad.ops.access import zeros
from tracegrad.ops.constants import Dims
from tracegrad.ops.indexing import accumulate, grid, take_along
from tracegrad.ops.registry import Emit, Sample, general


def _sorted_type(x: ArrayType, *, axis: Any) -> ArrayType:
    if not isinstance(axis, int) or not 0 <= axis < x.rank:
        raise TypeError(f"sort: axis {axis!r} is not an axis of {x}")
    return x


def _sort_text(call: str) -> Emit:
    def text(
        operands: Sequence[str], result: ArrayType, attributes: Mapping[str, Any], dims: Dims
    ) -> str:
        name, _, kind = call.partition(" ")
        along = f", axis={attributes['axis']}" if result.rank > 1 else ""
        return f"np.{name}({operands[0]}{along}{', ' + kind if kind else ''})"

    return text


def _sort_samples(rng: np.random.Generator) -> list[Sample]:
    shapes: tuple[tuple[int, ...], ...] = ((5,), (1,), (0,), (3, 4), (2, 0), (2, 3, 2))
    ties = np.array([2.0, 1.0, 2.0, 1.0, 3.0])
    nan = np.array([2.0, np.nan, 1.0])
    return [
        *(
            Sample((np.asarray(rng.normal(size=shape)),), {"axis": axis})
            for shape in shapes
            for axis in range(len(shape))
        ),
        Sample((ties,), {"axis": 0}, "ties", differentiable=False),
        Sample((nan,), {"axis": 0}, "nan", differentiable=False),
    ]


argsort = general(
    "argsort",
    doc="The positions that sort an array along an axis; equal elements keep their order.",
    infer=lambda x, *, axis: _sorted_type(x, axis=axis).with_dtype(i64),
    reference=lambda x, *, axis: np.argsort(x, axis=axis, kind="stable"),
    # "mergesort" is NumPy's older name for "stable", and the one that Numba knows.
    array=_sort_text('argsort kind="mergesort"'),
    nondifferentiable="its result is positions",
    samples=_sort_samples,
    cost=16.0,
)


def sort_vjp(out_bar: Value, out: Value, x: Value, *, axis: int) -> tuple[Value]:
    """x_bar: each cotangent goes back to where its element came from."""
    where = grid(x.shape)
    where[axis] = argsort(x, axis=axis)
    return (accumulate(zeros(x.shape, x.dtype), out_bar, *where),)


def sort_jvp(tangents: Sequence[Value | None], out: Value, x: Value, *, axis: int) -> Value | None:
    (x_dot,) = tangents
    return None if x_dot is None else take_along(x_dot, argsort(x, axis=axis), axis)


sort = general(
    "sort",
    doc="An array sorted along an axis; NaN comes last.",
    infer=_sorted_type,
    reference=lambda x, *, axis: np.sort(x, axis=axis),
    array=_sort_text("sort"),
    vjp=sort_vjp,
    jvp=sort_jvp,
    samples=_sort_samples,
    cost=16.0,
)


# --- searchsorted -----------------------------------------------------------------------------


def _search_type(a: ArrayType, v: ArrayType, *, side: Any = "left") -> ArrayType:
    if a.rank != 1 or a.dtype is not v.dtype:
        raise TypeError(f"searchsorted: a vector and values of its dtype are needed, not {a}, {v}")
    if side not in ("left", "right"):
        raise TypeError(f"searchsorted: side must be 'left' or 'right', not {side!r}")
    return v.with_dtype(i64)


def _search_text(
    operands: Sequence[str], result: ArrayType, attributes: Mapping[str, Any], dims: Dims
) -> str:
    side = ', side="right"' if attributes.get("side") == "right" else ""
    return f"np.searchsorted({operands[0]}, {operands[1]}{side})"


def _search_samples(rng: np.random.Generator) -> list[Sample]:
    edges = np.array([-1.0, 0.0, 0.0, 0.5, 2.0])
    values = (
        np.asarray(0.3),
        np.array([-2.0, -1.0, 0.0, 0.5, 0.7, 2.0, 3.0, np.nan]),
        np.zeros((2, 2)),
        np.zeros((0,)),
    )
    found = [Sample((edges, v), {"side": side}) for v in values for side in ("left", "right")]
    return [*found, Sample((np.zeros(0), values[1]), {"side": "left"}, "empty")]


searchsorted = general(
    "searchsorted",
    doc="Where values would be put into a sorted vector: before (left) or after equal elements.",
    infer=_search_type,
    reference=lambda a, v, *, side="left": np.asarray(np.searchsorted(a, v, side=side), np.int64),
    array=_search_text,
    nondifferentiable="its result is positions",
    samples=_search_samples,
    cost=8.0,
)
