"""Conversion between dtypes: ``cast``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tracegrad.ir.core import Value
from tracegrad.ir.types import ArrayType, Dim, DType, boolean, f32, f64, i32, i64
from tracegrad.ops.registry import Contribution, Sample, elementwise


def cast_type(x: ArrayType, *, dtype: DType) -> ArrayType:
    return x.with_dtype(dtype)


def cast_scalar(
    operands: Sequence[str],
    result: ArrayType,
    attributes: Mapping[str, Any],
    dims: Callable[[Dim], str],
) -> str:
    """NumPy's scalar type, called; a truth value is a comparison."""
    (x,) = operands
    return f"({x} != 0)" if result.dtype.is_bool else f"np.{result.dtype.numpy.name}({x})"


def cast_array(
    operands: Sequence[str],
    result: ArrayType,
    attributes: Mapping[str, Any],
    dims: Callable[[Dim], str],
) -> str:
    """As `cast_scalar`, for a whole array."""
    (x,) = operands
    if result.dtype.is_bool:
        return f"({x} != 0)"
    name = result.dtype.numpy.name
    return f"np.asarray({x}, dtype=np.{name})" if result.rank else f"np.{name}({x})"


def cast_vjp(out_bar: Value, out: Value, x: Value, *, dtype: DType) -> tuple[Contribution, ...]:
    """The cotangent in the operand's dtype; only a cast between floats has one."""
    if not (x.dtype.is_float and dtype.is_float):
        return (None,)
    return (cast(out_bar, dtype=x.dtype),)


def cast_jvp(
    tangents: Sequence[Value | None], out: Value, x: Value, *, dtype: DType
) -> Value | None:
    (x_dot,) = tangents
    if x_dot is None or not dtype.is_float:
        return None
    result: Value = cast(x_dot, dtype=dtype)
    return result


def _cast_samples(rng: np.random.Generator) -> list[Sample]:
    found = []
    for shape in ((), (3,), (2, 3), (0,), (1,)):
        x = np.asarray(rng.uniform(-3, 3, shape))
        for dtype in (f32, f64, i64, boolean):
            found.append(Sample((x,), {"dtype": dtype}, note=f"{shape} to {dtype}"))
    whole = np.array([0, 1, -1, 100, -100])
    for dtype in (f64, f32, i32, i64, boolean):
        found.append(Sample((whole,), {"dtype": dtype}, note=f"i64 to {dtype}"))
        found.append(Sample((whole > 0,), {"dtype": dtype}, note=f"bool to {dtype}"))
    special = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 0.5, -0.5])
    for dtype in (f32, f64, boolean):
        found.append(Sample((special,), {"dtype": dtype}, note="edges", differentiable=False))
    return found


cast = elementwise(
    "cast",
    doc="The number in another dtype; floats become integers by truncation.",
    reference=lambda x, *, dtype: np.asarray(x).astype(dtype.numpy),
    scalar=cast_scalar,
    array=cast_array,
    infer=cast_type,
    vjp=cast_vjp,
    jvp=cast_jvp,
    samples=_cast_samples,
)
