"""Functions that make arrays. In staged code they are always called through here.

Arrays that will be written to (zeros, ones, full, empty) and float arrays are tracers at once,
even of known size. Integer arrays of known numbers (array, arange, eye) stay NumPy arrays, so
that they can serve as Python integers.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tracegrad.ir.types import Dim, floor_div
from tracegrad.ops.registry import constant
from tracegrad.tracing.dispatch import implements, refuse
from tracegrad.tracing.integers import TracedInt, as_dim, dim_or_int, is_integer
from tracegrad.tracing.numpy_shapes import as_shape
from tracegrad.tracing.state import current_trace
from tracegrad.tracing.tracer import Tracer
from tracegrad.tracing.values import (
    cast,
    common_dtype,
    fresh,
    ir_dtype,
    is_traced,
    loose,
    operand,
    to_shape,
    wrap,
)


def _plain(dtype: Any, shape: Any) -> bool:
    """Whether an array stays a NumPy array: integers or booleans of known size."""
    known = not is_traced(list(shape) if isinstance(shape, tuple | list) else shape)
    return known and dtype is not None and np.dtype(dtype).kind not in "fc"


def _filled(shape: Any, value: Any, dtype: Any) -> Tracer:
    given = isinstance(value, Tracer | TracedInt | np.ndarray | list | tuple)
    x = operand(value) if given else None
    if x is None:
        value = current_trace().run(constant, value, ir_dtype(dtype or np.asarray(value).dtype))
        return Tracer(to_shape(value, as_shape(shape)))
    x = x if dtype is None else cast(x, dtype)
    return fresh(np.broadcast_to(x, shape))


@implements(np.zeros, always=True)
def zeros(
    shape: Any, dtype: Any = float, order: str = "C", *, device: Any = None, like: Any = None
) -> Any:
    return _filled(shape, 0, float if dtype is None else dtype)


@implements(np.empty, always=True)
def empty(
    shape: Any, dtype: Any = float, order: str = "C", *, device: Any = None, like: Any = None
) -> Any:
    return zeros(shape, dtype)


@implements(np.ones, always=True)
def ones(
    shape: Any, dtype: Any = None, order: str = "C", *, device: Any = None, like: Any = None
) -> Any:
    return _filled(shape, 1, float if dtype is None else dtype)


@implements(np.full, always=True)
def full(
    shape: Any, fill_value: Any, dtype: Any = None, order: str = "C", *, device: Any = None,
    like: Any = None,
) -> Any:  # fmt: skip
    return _filled(shape, fill_value, dtype)


def _like(a: Any, value: Any, dtype: Any, shape: Any) -> Tracer:
    x = operand(a)
    dims = x.shape if shape is None else shape
    return _filled(dims, value, x.dtype if dtype is None else dtype)


@implements(np.zeros_like)
def zeros_like(
    a: Any, dtype: Any = None, order: str = "K", subok: bool = True, shape: Any = None, *,
    device: Any = None,
) -> Any:  # fmt: skip
    return _like(a, 0, dtype, shape)


@implements(np.empty_like)
def empty_like(
    prototype: Any, dtype: Any = None, order: str = "K", subok: bool = True, shape: Any = None, *,
    device: Any = None,
) -> Any:  # fmt: skip
    return _like(prototype, 0, dtype, shape)


@implements(np.ones_like)
def ones_like(
    a: Any, dtype: Any = None, order: str = "K", subok: bool = True, shape: Any = None, *,
    device: Any = None,
) -> Any:  # fmt: skip
    return _like(a, 1, dtype, shape)


@implements(np.full_like)
def full_like(
    a: Any, fill_value: Any, dtype: Any = None, order: str = "K", subok: bool = True,
    shape: Any = None, *, device: Any = None,
) -> Any:  # fmt: skip
    return _like(a, fill_value, dtype, shape)


def _constants(made: np.ndarray) -> Any:
    """An array that the traced code made of constants, as said above."""
    current_trace().captures.fresh(made)
    if made.ndim and made.dtype.kind == "f" and made.dtype.itemsize in (4, 8):
        return Tracer(operand(made).value)
    return made


@implements(np.array, always=True)
def array(
    object: Any, dtype: Any = None, *, copy: Any = True, order: str = "K", subok: bool = False,
    ndmin: int = 0, ndmax: int = 0, like: Any = None,
) -> Any:  # fmt: skip
    if not is_traced(object):
        made = np.array(object, dtype=dtype, ndmin=ndmin)
        if isinstance(object, np.ndarray):
            known = current_trace().captures.find(object)
            if known is not None:
                return Tracer(cast(known, made.dtype).value)
        return _constants(made)
    x = operand(object)
    x = x if dtype is None else cast(x, dtype)
    if ndmax and x.ndim > ndmax:
        raise refuse("np.array", f"with ndmax={ndmax} of {x.ndim} dimensions, which are objects,")
    if x.ndim < ndmin:
        x = x[(None,) * (ndmin - x.ndim)]
    return Tracer(x.value)


@implements(np.asarray, np.asanyarray, np.asarray_chkfinite, always=True)
def asarray(a: Any, dtype: Any = None, order: Any = None, **options: Any) -> Any:
    if isinstance(a, Tracer):
        return a if dtype is None else a.astype(dtype, copy=False)
    if isinstance(a, np.ndarray):
        return np.asarray(a, dtype)
    return array(a, dtype)


def _steps(size: Dim, dtype: Any = np.int64) -> Tracer:
    return wrap(current_trace().emit("iota", size=size, dtype=ir_dtype(dtype)))


@implements(np.arange, always=True)
def arange(
    start: Any = None, stop: Any = None, step: Any = 1, dtype: Any = None, *, like: Any = None,
    device: Any = None,
) -> Any:  # fmt: skip
    if stop is None:
        start, stop = 0, start
    elif start is None:
        start = 0
    if not is_traced([start, stop, step]):
        return _constants(np.arange(start, stop, step, dtype=dtype))
    if any(isinstance(x, float) for x in (start, stop, step)):
        whole = [int(x) if isinstance(x, float) and x.is_integer() else x
                 for x in (start, stop, step)]  # fmt: skip
        if all(map(is_integer, whole)):
            first, last, by = whole
            return arange(first, last, by, np.float64 if dtype is None else dtype)
    if not all(map(is_integer, (start, stop, step))):
        raise refuse(
            "np.arange", "with traced floats", "use np.linspace, or step * np.arange(n) + start"
        )
    sizes = current_trace().sizes
    by = int(step)
    if by == 0:
        raise ZeroDivisionError("division by zero")
    low, high = as_dim(start), as_dim(stop)
    extent = high - low if by > 0 else low - high
    if not sizes.decide(extent, ">=", 0):
        extent = 0
    counted = _steps(sizes.resolve(floor_div(extent + (abs(by) - 1), abs(by))))
    result: Any = counted if by == 1 else counted * by
    if low != 0:
        result = result + dim_or_int(low)
    return result if dtype is None else cast(result, dtype)


@implements(np.linspace, always=True)
def linspace(
    start: Any, stop: Any, num: Any = 50, endpoint: bool = True, retstep: bool = False,
    dtype: Any = None, axis: int = 0, *, device: Any = None,
) -> Any:  # fmt: skip
    if not is_traced([start, stop, num]):
        native: Any = np.linspace
        made = native(start, stop, num, endpoint, retstep, dtype, axis)
        return (_constants(made[0]), made[1]) if retstep else _constants(made)
    low, high = operand(start), operand(stop)
    kind = common_dtype([loose(start), loose(stop), 1.0])
    low, high = cast(low, kind), cast(high, kind)
    count = num if is_integer(num) else int(num)
    if count < 0:
        raise ValueError(f"Number of samples, {count}, must be non-negative.")
    parts = count - 1 if endpoint else count
    rank = max(low.ndim, high.ndim)
    steps: Any = _steps(as_dim(count))[(slice(None), *(None,) * rank)]
    step: Any = (high - low) / parts if parts > 0 else (high - low) * np.nan
    result: Any = cast(steps, kind) * step + low if parts > 0 else cast(steps, kind) + low
    if endpoint and parts > 0:
        result = np.where(steps == parts, high, result)
    result = result if dtype is None else cast(result, dtype)
    result = np.moveaxis(result, 0, axis) if rank else result
    return (result, step) if retstep else result


@implements(np.eye, always=True)
def eye(
    N: Any, M: Any = None, k: int = 0, dtype: Any = float, order: str = "C", *, device: Any = None,
    like: Any = None,
) -> Any:  # fmt: skip
    columns = N if M is None else M
    if _plain(dtype, (N, columns)):
        return current_trace().captures.fresh(np.eye(N, columns, k, dtype))
    across = _steps(as_dim(columns))[None, :] - _steps(as_dim(N))[:, None]
    return cast(across == k, float if dtype is None else dtype)


@implements(np.identity, always=True)
def identity(n: Any, dtype: Any = None, *, like: Any = None) -> Any:
    return eye(n, dtype=float if dtype is None else dtype)


@implements(np.tri, always=True)
def tri(N: Any, M: Any = None, k: int = 0, dtype: Any = float, *, like: Any = None) -> Any:
    columns = N if M is None else M
    across = _steps(as_dim(columns))[None, :] - _steps(as_dim(N))[:, None]
    return cast(across <= k, dtype)


@implements(np.vander)
def vander(x: Any, N: Any = None, increasing: bool = False) -> Any:
    x = operand(x)
    count = int(x.shape[0] if N is None else N)
    x = cast(x, np.promote_types(x.dtype, np.int64))
    if not count:
        return zeros((x.shape[0], 0), x.dtype)
    powers = [x**k for k in range(count)]
    return np.stack(powers if increasing else powers[::-1], axis=1)
