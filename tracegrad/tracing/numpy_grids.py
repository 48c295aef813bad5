"""Positions in arrays as numbers: indices of triangles and grids, windows, and forms of shapes."""

from __future__ import annotations

from typing import Any

import numpy as np

from tracegrad.errors import IndexOutOfRange, ShapeError
from tracegrad.ir.types import product
from tracegrad.tracing.axes import normal_axis
from tracegrad.tracing.dispatch import implements
from tracegrad.tracing.integers import dim_or_int, is_integer
from tracegrad.tracing.numpy_creation import arange
from tracegrad.tracing.numpy_shapes import as_shape, as_user_shape
from tracegrad.tracing.raising import raise_if
from tracegrad.tracing.state import current_trace
from tracegrad.tracing.values import cast, operand


@implements(np.argwhere)
def argwhere(a: Any) -> Any:
    x = operand(a)
    return np.stack(np.nonzero(x), axis=-1)


@implements(np.indices)
def indices(dimensions: Any, dtype: Any = int, sparse: bool = False) -> Any:
    shape = as_user_shape(as_shape(dimensions))
    grids = []
    for axis, size in enumerate(shape):
        places: Any = cast(operand(arange(size)), dtype)
        grids.append(np.reshape(places, [-1 if d == axis else 1 for d in range(len(shape))]))
    if sparse:
        return tuple(grids)
    return np.stack([np.broadcast_to(grid, shape) for grid in grids])


def _triangle(rows: Any, columns: Any, inside: Any) -> Any:
    down, right = arange(rows)[:, None], arange(columns)[None, :]
    return np.nonzero(inside(right - down))


@implements(np.tril_indices)
def tril_indices(n: Any, k: Any = 0, m: Any = None) -> Any:
    return _triangle(n, n if m is None else m, lambda apart: apart <= k)


@implements(np.triu_indices)
def triu_indices(n: Any, k: Any = 0, m: Any = None) -> Any:
    return _triangle(n, n if m is None else m, lambda apart: apart >= k)


@implements(np.tril_indices_from)
def tril_indices_from(arr: Any, k: Any = 0) -> Any:
    return tril_indices(*_two(arr, k))


@implements(np.triu_indices_from)
def triu_indices_from(arr: Any, k: Any = 0) -> Any:
    return triu_indices(*_two(arr, k))


def _two(arr: Any, k: Any) -> tuple[Any, Any, Any]:
    x = operand(arr)
    if x.ndim != 2:
        raise ValueError("input array must be 2-d")
    return x.shape[0], k, x.shape[1]


@implements(np.diag_indices)
def diag_indices(n: Any, ndim: int = 2) -> Any:
    return (arange(n),) * ndim


@implements(np.diag_indices_from)
def diag_indices_from(arr: Any) -> Any:
    x = operand(arr)
    if x.ndim < 2:
        raise ValueError("input array must be at least 2-d")
    if not all(size == x.shape[0] for size in x.shape):
        raise ValueError("All dimensions of input must be of equal length")
    return (arange(x.shape[0]),) * x.ndim


@implements(np.unravel_index)
def unravel_index(indices: Any, shape: Any, order: str = "C") -> Any:
    rest: Any = operand(indices)
    sizes = as_user_shape(as_shape(shape))
    total = dim_or_int(product(as_shape(shape)))
    wrong = np.any((rest < 0) | (rest >= total))
    raise_if(operand(wrong), IndexError, "index is out of bounds for array of this shape")
    found = []
    for size in sizes[::-1] if order == "C" else sizes:
        found.append(rest % size)
        rest = rest // size
    return tuple(found[::-1] if order == "C" else found)


@implements(np.resize)
def resize(a: Any, new_shape: Any) -> Any:
    x = operand(a)
    flat: Any = np.ravel(x)
    shape = as_user_shape(as_shape(new_shape))
    places: Any = arange(dim_or_int(product(as_shape(new_shape))))
    if current_trace().sizes.decide(flat.value.shape[0], "<=", 0):
        return np.broadcast_to(cast(operand(0), x.dtype), shape)
    return np.reshape(flat[places % flat.shape[0]], shape)


@implements(np.broadcast_shapes)
def broadcast_shapes(*args: Any) -> Any:
    joint = current_trace().sizes.broadcast([as_shape(shape) for shape in args])
    return tuple(dim_or_int(dim) for dim in joint)


@implements(np.array_equiv)
def array_equiv(a1: Any, a2: Any) -> Any:
    x, y = operand(a1), operand(a2)
    try:
        return np.all(x == y)
    except ShapeError:
        return False


@implements(np.isreal)
def isreal(x: Any) -> Any:
    return np.ones_like(operand(x), dtype=bool)


@implements(np.iscomplex)
def iscomplex(x: Any) -> Any:
    return np.zeros_like(operand(x), dtype=bool)


@implements(np.imag)
def imag(val: Any) -> Any:
    return np.zeros_like(operand(val))


@implements(np.real_if_close)
def real_if_close(a: Any, tol: Any = 100) -> Any:
    return operand(a)


@implements(np.angle)
def angle(z: Any, deg: bool = False) -> Any:
    x = operand(z)
    x = x if x.dtype.kind == "f" else cast(x, np.float64)
    turned = np.where(np.isnan(x), x, np.where(np.signbit(x), np.pi, 0.0))
    return cast(operand(turned * (180.0 / np.pi) if deg else turned), x.dtype)


@implements(np.iterable)
def iterable(y: Any) -> bool:
    return isinstance(y, list | tuple) or operand(y).ndim > 0


@implements(np.lib.stride_tricks.sliding_window_view)
def sliding_window_view(
    x: Any, window_shape: Any, axis: Any = None, *, subok: bool = False, writeable: bool = False
) -> Any:
    """Windows of an array, one after the other; what is read is copied."""
    y = operand(x)
    lengths = [window_shape] if is_integer(window_shape) else list(window_shape)
    if axis is None:
        axes = list(range(y.ndim))
    else:
        axes = [normal_axis(each, y.ndim) for each in ([axis] if is_integer(axis) else axis)]
    if len(axes) != len(lengths):
        raise ValueError(
            "Since axis is None, must provide window_shape for all dimensions of `x`"
            if axis is None
            else "Must provide matching length window_shape and axis"
        )
    for which, length in zip(axes, lengths, strict=True):
        if length > y.shape[which]:
            raise IndexOutOfRange("window shape cannot be larger than input array shape")
        starts: Any = arange(y.shape[which] - length + 1)
        places = starts[:, None] + arange(length)[None, :]
        y = np.moveaxis(np.take(y, places, axis=which), which + 1, -1)
    return y
