"""Values made from nothing: constants, dimensions and index ranges."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from tracegrad.ir.core import Value
from tracegrad.ir.types import ArrayType, Dim, DType, Size, boolean, f32, f64, i32, i64
from tracegrad.ops.registry import OpDef, Sample, register

Dims: TypeAlias = Callable[[Dim], str]
"""How the printer writes a dimension."""


def is_dim(value: object) -> bool:
    """Whether ``value`` is a dimension: a `Size`, or an ``int`` that is no ``bool``."""
    return isinstance(value, Size) or (isinstance(value, int) and not isinstance(value, bool))


def checked_shape(shape: object, name: str) -> tuple[Dim, ...]:
    """``shape`` when it is a tuple of dimensions, none of them a negative int."""
    if not isinstance(shape, tuple) or not all(is_dim(d) for d in shape):
        raise TypeError(f"{name}: shape must be a tuple of dimensions, not {shape!r}")
    if any(isinstance(d, int) and d < 0 for d in shape):
        raise TypeError(f"{name}: negative dimension in shape {shape}")
    return shape


def checked_dtype(dtype: object, name: str) -> DType:
    """``dtype`` when it is one of the IR's."""
    if not isinstance(dtype, DType):
        raise TypeError(f"{name}: dtype must be a dtype of the IR, not {dtype!r}")
    return dtype


def shape_text(shape: Sequence[Dim], dims: Dims) -> str:
    """A shape as Python source: ``(n, m)``, ``(n,)``, ``()``."""
    if len(shape) == 1:
        return f"({dims(shape[0])},)"
    return f"({', '.join(dims(d) for d in shape)})"


def dtype_text(dtype: DType) -> str:
    """A dtype as NumPy source: ``np.float64``."""
    return f"np.{'bool_' if dtype.is_bool else dtype.numpy.name}"


# --- const ------------------------------------------------------------------------------------


def _nested_shape(value: object) -> tuple[int, ...]:
    if not isinstance(value, tuple):
        if not isinstance(value, (bool, int, float)):
            raise TypeError(f"const: {value!r} is not a Python number")
        return ()
    shapes = {_nested_shape(v) for v in value}
    if len(shapes) > 1:
        raise TypeError(f"const: ragged value {value!r}")
    return (len(value), *(shapes.pop() if shapes else ()))


def _const_type(*, value: object, dtype: object) -> ArrayType:
    return ArrayType(checked_dtype(dtype, "const"), _nested_shape(value))


def number_text(value: bool | int | float, dtype: DType) -> str:
    """A Python expression for one number, of exactly ``dtype`` where Python's own is another."""
    if dtype.is_bool:
        return repr(bool(value))
    if not dtype.is_float:
        text = repr(int(value))
        return text if dtype is i64 else f"{dtype_text(dtype)}({text})"
    number = float(value)
    if number != number:
        text = "np.nan"
    elif number in (float("inf"), float("-inf")):
        text = "np.inf" if number > 0 else "-np.inf"
    else:
        text = repr(number)
    return text if dtype is f64 else f"{dtype_text(dtype)}({text})"


def _nested_text(value: Any, dtype: DType) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(_nested_text(v, dtype) for v in value)}]"
    # Inside np.array([...], dtype=...) plain numbers read better than casts.
    return number_text(value, f64 if dtype.is_float else boolean if dtype.is_bool else i64)


def _const_text(
    operands: Sequence[str], result: ArrayType, attributes: Mapping[str, Any], dims: Dims
) -> str:
    value, dtype = attributes["value"], attributes["dtype"]
    if not isinstance(value, tuple):
        return number_text(value, dtype)
    text = f"np.array({_nested_text(value, dtype)}, dtype={dtype_text(dtype)})"
    if 0 in result.shape:  # an empty list has lost its trailing dimensions
        text += f".reshape({shape_text(result.shape, dims)})"
    return text


def _const_samples(rng: np.random.Generator) -> list[Sample]:
    inf, nan = float("inf"), float("nan")
    values: list[tuple[Any, DType]] = [
        (1.5, f64),
        (-2.0, f64),
        (inf, f64),
        (-inf, f64),
        (nan, f64),
        (0.1, f32),
        (nan, f32),
        (3, i64),
        (-3, i32),
        (True, boolean),
        ((1.0, 2.5), f64),
        (((1, 2), (3, 4)), i64),
        ((True, False), boolean),
        ((), f64),
        (((), ()), f32),
    ]
    return [Sample((), {"value": value, "dtype": dtype}) for value, dtype in values]


const = register(
    OpDef(
        "const",
        "A number, or nested tuples of numbers for a small array.",
        "general",
        infer=_const_type,
        reference=lambda *, value, dtype: np.array(value, dtype=dtype.numpy),
        scalar=_const_text,
        array=_const_text,
        cost=0.0,
        nondifferentiable="a constant has no operands",
        samples=_const_samples,
    )
)


# --- dim, iota --------------------------------------------------------------------------------


def _dim_type(*, size: object) -> ArrayType:
    if not is_dim(size):
        raise TypeError(f"dim: size must be a dimension, not {size!r}")
    return ArrayType(i64)


def _dim_text(
    operands: Sequence[str], result: ArrayType, attributes: Mapping[str, Any], dims: Dims
) -> str:
    return dims(attributes["size"])


dim = register(
    OpDef(
        "dim",
        "A dimension as an i64 scalar.",
        "general",
        infer=_dim_type,
        reference=lambda *, size: np.int64(size),
        scalar=_dim_text,
        array=_dim_text,
        cost=0.0,
        nondifferentiable="a dimension is an integer",
        samples=lambda rng: [Sample((), {"size": size}) for size in (0, 1, 7)],
    )
)


def _iota_type(*, size: Dim, dtype: object = i64) -> ArrayType:
    checked = checked_dtype(dtype, "iota")
    if checked.is_bool:
        raise TypeError("iota: a number dtype is needed, not bool")
    return ArrayType(checked, checked_shape((size,), "iota"))


def _iota_text(
    operands: Sequence[str], result: ArrayType, attributes: Mapping[str, Any], dims: Dims
) -> str:
    size = dims(attributes["size"])
    return (
        f"np.arange({size})"
        if result.dtype is i64
        else (f"np.arange({size}, dtype={dtype_text(result.dtype)})")
    )


iota = register(
    OpDef(
        "iota",
        "``arange(size)``: 0, 1, …, size − 1.",
        "general",
        infer=_iota_type,
        reference=lambda *, size, dtype=i64: np.arange(size, dtype=dtype.numpy),
        array=_iota_text,
        nondifferentiable="it has no operands",
        samples=lambda rng: [
            Sample((), {"size": size, "dtype": dtype})
            for size in (0, 1, 5)
            for dtype in (i64, f64, f32)
        ],
    )
)


def dim_value(size: Dim) -> Value:
    """A dimension as an i64 scalar value: a constant when it is an int."""
    result: Value = const(value=size, dtype=i64) if isinstance(size, int) else dim(size=size)
    return result
