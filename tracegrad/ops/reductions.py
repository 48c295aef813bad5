"""Reductions over axes, and positions of extremes.

``axes`` of a reduction are sorted and non-negative, and go away in the result (no keepdims).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tracegrad.ir.core import Value
from tracegrad.ir.types import ArrayType, Dim, i64, product
from tracegrad.ops.access import (
    broadcast_to,
    expand_dims,
    normal_axis,
    squeeze,
    zeros,
)
from tracegrad.ops.constants import Dims, dim_value, dtype_text
from tracegrad.ops.registry import REGISTRY, Emit, Sample, general, linear


def checked_axes(axes: object, rank: int, name: str) -> tuple[int, ...]:
    """``axes`` when they are a sorted tuple of axes of an array of this rank."""
    if (
        not isinstance(axes, tuple)
        or not all(isinstance(a, int) and 0 <= a < rank for a in axes)
        or list(axes) != sorted(set(axes))
    ):
        raise TypeError(f"{name}: axes {axes!r} must be sorted axes of an array of rank {rank}")
    return axes


def _reduced(x: ArrayType, axes: object, name: str) -> ArrayType:
    gone = checked_axes(axes, x.rank, name)
    return x.with_shape(d for a, d in enumerate(x.shape) if a not in gone)


def number_reduction(name: str) -> Callable[..., ArrayType]:
    def infer(x: ArrayType, *, axes: Any) -> ArrayType:
        if x.dtype.is_bool:
            raise TypeError(f"{name}: numbers are needed, not bool: cast first")
        return _reduced(x, axes, name)

    return infer


def _bool_reduction(name: str) -> Callable[..., ArrayType]:
    def infer(x: ArrayType, *, axes: Any) -> ArrayType:
        if not x.dtype.is_bool:
            raise TypeError(f"{name}: bool is needed, not {x.dtype}: compare first")
        return _reduced(x, axes, name)

    return infer


def reduction_text(name: str) -> Emit:
    def text(
        operands: Sequence[str], result: ArrayType, attributes: Mapping[str, Any], dims: Dims
    ) -> str:
        axes, dtype = attributes["axes"], result.dtype
        over = f", axis={axes[0] if len(axes) == 1 else axes}"
        if axes and not result.rank:
            over = ""  # without an axis NumPy reduces all of them
        # NumPy adds up small integers in a larger dtype.
        widened = name in ("sum", "prod") and dtype.is_integer and dtype.numpy.itemsize < 8
        kind = f", dtype={dtype_text(dtype)}" if widened else ""
        return f"np.{name}({operands[0]}{over}{kind})"

    return text


def _axes_of(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    rank = len(shape)
    return [tuple(a for a in range(rank) if bits >> a & 1) for bits in range(2**rank)]


def _samples(
    shapes: Sequence[tuple[int, ...]], draw: Callable[[Any, tuple[int, ...]], Any]
) -> Callable[[np.random.Generator], list[Sample]]:
    def samples(rng: np.random.Generator) -> list[Sample]:
        return [
            Sample((np.asarray(draw(rng, shape)),), {"axes": axes}, f"{shape}")
            for shape in shapes
            for axes in _axes_of(shape)
        ]

    return samples


def _normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    return rng.normal(size=shape)


_SHAPES = ((), (1,), (5,), (2, 3), (1, 4), (2, 3, 2))
_EMPTY = ((0,), (0, 3), (2, 0))


def reduction_samples(rng: np.random.Generator) -> list[Sample]:
    """Normal numbers of many shapes, empty ones too, over each subset of the axes."""
    return _samples((*_SHAPES, *_EMPTY), _normal)(rng)


def restored(reduced: Value, x: Value, axes: tuple[int, ...]) -> Value:
    """A reduced value, copied back along the reduced axes of ``x``."""
    return broadcast_to(expand_dims(reduced, axes), x.shape)


# --- sum --------------------------------------------------------------------------------------


def _sum_transpose(out_bar: Value, x: Value, *, axes: tuple[int, ...]) -> Value:
    return restored(out_bar, x, axes)


sum_ = linear(
    "sum",
    doc="Sum over axes, in the operand's dtype.",
    infer=number_reduction("sum"),
    reference=lambda x, *, axes: np.sum(x, axis=axes, dtype=np.asarray(x).dtype),
    array=reduction_text("sum"),
    transpose=_sum_transpose,
    samples=reduction_samples,
)


# --- max, min ---------------------------------------------------------------------------------


def _share(out: Value, x: Value, axes: tuple[int, ...]) -> tuple[Value, Value]:
    """Where ``x`` is the extreme, and how many such places there are for each result."""
    chosen = REGISTRY["equal"](x, restored(out, x, axes))
    return chosen, sum_(REGISTRY["cast"](chosen, dtype=x.dtype), axes=axes)


def extreme_vjp(out_bar: Value, out: Value, x: Value, *, axes: tuple[int, ...]) -> tuple[Value]:
    """x_bar = out_bar, shared evenly among the places that are the extreme."""
    chosen, count = _share(out, x, axes)
    share = restored(out_bar / count, x, axes)
    return (REGISTRY["select"](chosen, share, zeros((), x.dtype)),)


def extreme_jvp(
    tangents: Sequence[Value | None], out: Value, x: Value, *, axes: tuple[int, ...]
) -> Value | None:
    """The mean of the tangents at the places that are the extreme."""
    (x_dot,) = tangents
    if x_dot is None:
        return None
    chosen, count = _share(out, x, axes)
    total: Value = sum_(REGISTRY["select"](chosen, x_dot, zeros((), x.dtype)), axes=axes)
    return total / count


def _extreme_samples(rng: np.random.Generator) -> list[Sample]:
    ties = np.array([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]])
    nan = np.array([1.0, np.nan, 2.0])
    return [
        *_samples(_SHAPES, _normal)(rng),
        Sample((np.zeros((0, 3)),), {"axes": (1,)}, "no result"),
        Sample((ties,), {"axes": (1,)}, "ties", differentiable=False),
        Sample((ties,), {"axes": (0, 1)}, "ties", differentiable=False),
        Sample((nan,), {"axes": (0,)}, "nan", differentiable=False),
    ]


max_ = general(
    "max",
    doc="Largest element over axes; NaN wins. Ties share the cotangent evenly.",
    infer=number_reduction("max"),
    reference=lambda x, *, axes: np.max(x, axis=axes),
    array=reduction_text("max"),
    vjp=extreme_vjp,
    jvp=extreme_jvp,
    samples=_extreme_samples,
)

min_ = general(
    "min",
    doc="Smallest element over axes; NaN wins. Ties share the cotangent evenly.",
    infer=number_reduction("min"),
    reference=lambda x, *, axes: np.min(x, axis=axes),
    array=reduction_text("min"),
    vjp=extreme_vjp,
    jvp=extreme_jvp,
    samples=_extreme_samples,
)


# --- any, all ---------------------------------------------------------------------------------


def _coin(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    return rng.random(shape) < 0.5


any_ = general(
    "any",
    doc="Whether any element over axes is true.",
    infer=_bool_reduction("any"),
    reference=lambda x, *, axes: np.any(x, axis=axes),
    array=reduction_text("any"),
    nondifferentiable="its result is a truth value",
    samples=_samples((*_SHAPES, *_EMPTY), _coin),
)

all_ = general(
    "all",
    doc="Whether all elements over axes are true.",
    infer=_bool_reduction("all"),
    reference=lambda x, *, axes: np.all(x, axis=axes),
    array=reduction_text("all"),
    nondifferentiable="its result is a truth value",
    samples=_samples((*_SHAPES, *_EMPTY), _coin),
)


# --- argmax, argmin ---------------------------------------------------------------------------


def _position_type(name: str) -> Callable[..., ArrayType]:
    def infer(x: ArrayType, *, axis: Any) -> ArrayType:
        return _reduced(x, (axis,), name).with_dtype(i64)

    return infer


def _position_samples(rng: np.random.Generator) -> list[Sample]:
    return [
        Sample((np.round(rng.normal(size=shape), 1),), {"axis": axis}, f"{shape}")
        for shape in _SHAPES
        for axis in range(len(shape))
    ] + [
        Sample((np.array([1.0, 3.0, 3.0, 0.0, 0.0]),), {"axis": 0}, "ties"),
        Sample((np.array([1.0, np.nan, np.nan]),), {"axis": 0}, "nan"),
        Sample((np.zeros((0, 3)),), {"axis": 1}, "no result"),
    ]


argmax = general(
    "argmax",
    doc="Position of the largest element along an axis, the first of equals; NaN wins.",
    infer=_position_type("argmax"),
    reference=lambda x, *, axis: np.asarray(np.argmax(x, axis=axis), np.int64),
    array="np.argmax({0}, axis={axis})",
    nondifferentiable="its result is a position",
    samples=_position_samples,
)

argmin = general(
    "argmin",
    doc="Position of the smallest element along an axis, the first of equals; NaN wins.",
    infer=_position_type("argmin"),
    reference=lambda x, *, axis: np.asarray(np.argmin(x, axis=axis), np.int64),
    array="np.argmin({0}, axis={axis})",
    nondifferentiable="its result is a position",
    samples=_position_samples,
)


# --- made of them -----------------------------------------------------------------------------


def sum_over(x: Value, axes: Sequence[int]) -> Value:
    """Sum over ``axes`` in any order, negative ones too; ``x`` itself for none."""
    gone = tuple(sorted({normal_axis(axis, x.rank) for axis in axes}))
    result: Value = sum_(x, axes=gone) if gone else x
    return result


def sum_to(x: Value, shape: Sequence[Dim]) -> Value:
    """The inverse of `broadcast_to`: sums over the axes along which ``shape`` was repeated."""
    shape = tuple(shape)
    lead = x.rank - len(shape)
    if lead < 0:
        raise TypeError(f"{x.type} can't be summed to the higher rank of {shape}")
    axes = list(range(lead))
    ones = []
    for axis, size in enumerate(shape):
        if x.shape[lead + axis] == size:
            continue
        if size != 1:
            raise TypeError(f"{x.type} can't be summed to {shape}")
        axes.append(lead + axis)
        ones.append(axis)
    single = [axis for axis in axes if x.shape[axis] == 1]
    if single:  # nothing to add up: the axis is dropped by a view
        x = squeeze(x, single)
        axes = [a - sum(s < a for s in single) for a in axes if a not in single]
    return expand_dims(sum_over(x, axes), ones)


def mean(x: Value, axes: Sequence[int] | None = None) -> Value:
    """Mean over ``axes`` (all if None) of a floating array."""
    axes = range(x.rank) if axes is None else axes
    gone = sorted({normal_axis(axis, x.rank) for axis in axes})
    count = product(x.shape[axis] for axis in gone)
    divisor: Value = REGISTRY["cast"](dim_value(count), dtype=x.dtype)
    return sum_over(x, gone) / divisor
