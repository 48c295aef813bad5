"""Convolution, finite differences, polynomials: each element from its neighbours in order."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tracegrad.errors import ShapeError
from tracegrad.ir.core import Value
from tracegrad.ir.types import i64
from tracegrad.ops.control import for_loop
from tracegrad.ops.indexing import index
from tracegrad.ops.registry import constant
from tracegrad.tracing.axes import normal_axis
from tracegrad.tracing.dispatch import implements, refuse
from tracegrad.tracing.integers import as_dim
from tracegrad.tracing.numpy_picking import positions
from tracegrad.tracing.state import current_trace
from tracegrad.tracing.values import as_operand, cast, common_dtype, is_number, operand, wrap


def _pair(a: Any, v: Any) -> tuple[Any, Any]:
    x, y = operand(a), operand(v)
    dtype = common_dtype([x, y])
    return cast(x, dtype), cast(y, dtype)


def _longer(x: Any, y: Any) -> bool:
    return current_trace().sizes.decide(as_dim(x.shape[0]), ">=", as_dim(y.shape[0]))


@implements(np.convolve)
def convolve(a: Any, v: Any, mode: str = "full") -> Any:
    x, y = _pair(a, v)
    x, y = np.atleast_1d(x), np.atleast_1d(y)
    if x.ndim != 1 or y.ndim != 1:
        raise ShapeError("object too deep for desired array")
    if not _longer(x, y):
        x, y = y, x
    n, m = x.shape[0], y.shape[0]
    if m == 0:
        raise ShapeError("neither of the arrays may be empty")
    if mode == "full":
        wide, count = np.pad(x, (m - 1, m - 1)), n + m - 1
    elif mode == "same":
        wide, count = np.pad(x, (m // 2, (m - 1) // 2)), n
    elif mode == "valid":
        wide, count = x, n - m + 1
    else:
        raise ValueError(f"mode must be one of 'valid', 'same', or 'full' (got {mode!r})")
    # Element k sees the m elements from k on, the last of them first.
    places = positions(count)[:, None] + (m - 1 - positions(m))[None, :]
    return np.sum(operand(wide)[places] * y[None, :], axis=1, dtype=x.dtype)


@implements(np.correlate)
def correlate(a: Any, v: Any, mode: str = "valid") -> Any:
    x, y = _pair(a, v)
    if _longer(x, y):
        return convolve(x, y[::-1], mode)
    return convolve(y, x[::-1], mode)[::-1]


@implements(np.gradient)
def gradient(f: Any, *varargs: Any, axis: Any = None, edge_order: int = 1) -> Any:
    x = operand(f)
    if x.dtype.kind != "f":
        x = cast(x, np.float64)
    if axis is None:
        axes = list(range(x.ndim))
    else:
        axes = [normal_axis(k, x.ndim) for k in (axis if isinstance(axis, tuple) else (axis,))]
    spacings = list(varargs) if varargs else [1.0]
    if len(spacings) == 1:
        spacings *= len(axes)
    if len(spacings) != len(axes):
        raise TypeError("invalid number of arguments")
    if edge_order not in (1, 2):
        raise ValueError("'edge_order' greater than 2 not supported")
    for k in axes:
        if not current_trace().sizes.decide(as_dim(x.shape[k]), ">", edge_order):
            raise ShapeError(
                "Shape of array too small to calculate a numerical gradient, at least "
                "(edge_order + 1) elements are required."
            )
    found = [_slope(x, h, k, edge_order) for h, k in zip(spacings, axes, strict=True)]
    return found[0] if len(found) == 1 else tuple(found)


def _slope(x: Any, spacing: Any, axis: int, edge_order: int) -> Any:
    y = np.moveaxis(x, axis, 0)
    h = as_operand(spacing, x.dtype) if is_number(spacing) else operand(spacing)
    if h.ndim == 1:
        steps = h[1:] - h[:-1]
        steps = np.reshape(steps, (-1, *(1,) * (y.ndim - 1)))
    else:
        steps = np.broadcast_to(h, (y.shape[0] - 1, *(1,) * (y.ndim - 1)))
    # The slopes of the parabola through three neighbours (np.gradient's documentation).
    left, right = steps[:-1], steps[1:]
    below, here, above = y[:-2], y[1:-1], y[2:]
    inner = (left**2 * above + (right**2 - left**2) * here - right**2 * below) / (
        left * right * (right + left)
    )
    if edge_order == 1:
        first = (y[1:2] - y[:1]) / steps[:1]
        last = (y[-1:] - y[-2:-1]) / steps[-1:]
    else:
        first = _edge(y[:1], y[1:2], y[2:3], steps[:1], steps[1:2])
        last = -_edge(y[-1:], y[-2:-1], y[-3:-2], steps[-1:], steps[-2:-1])
    return np.moveaxis(np.concatenate([first, inner, last], axis=0), 0, axis)


def _edge(end: Any, second: Any, third: Any, near: Any, far: Any) -> Any:
    """The slope at the end of a parabola through the three last points."""
    a = -(2.0 * near + far) / (near * (near + far))
    b = (near + far) / (near * far)
    c = -near / (far * (near + far))
    return a * end + b * second + c * third


@implements(np.unwrap)
def unwrap(p: Any, discont: Any = None, axis: int = -1, *, period: float = 2 * math.pi) -> Any:
    x = operand(p)
    if x.dtype.kind != "f" and not isinstance(period, int):
        x = cast(x, np.float64)
    if discont is not None and not isinstance(discont, float | int):
        raise refuse("np.unwrap", "with a traced discont")
    limit = period / 2 if discont is None else discont
    y = np.moveaxis(x, axis, 0)
    step = y[1:] - y[:-1]
    whole = isinstance(period, int) and step.dtype.kind in "iu"
    half = period // 2 if whole else period / 2
    folded = np.mod(step + half, period) - half
    if not whole or period % 2 == 0:  # both ends of the interval are one angle
        folded = np.where((folded == -half) & (step > 0), half, folded)
    turn = np.where(np.abs(step) < limit, 0, folded - step)
    return np.moveaxis(np.concatenate([y[:1], y[1:] + np.cumsum(turn, axis=0)]), 0, axis)


# --- polynomials ------------------------------------------------------------------------------


@implements(np.polyval)
def polyval(p: Any, x: Any) -> Any:
    coefficients, at = _pair(p, x)
    count = as_dim(coefficients.shape[0])
    start = np.zeros_like(at)
    value = coefficients.value

    def horner() -> Value:
        def trip(k: Value, total: Value) -> list[Value]:
            return [total * at.value + index(value, k)]

        (found,) = for_loop(constant(0, i64), _size(count), [operand(start).value], trip)
        return found

    if isinstance(count, int):
        total: Any = start
        for k in range(count):
            total = total * at + coefficients[k]
        return total
    return wrap(current_trace().run(horner))


def _size(dim: Any) -> Value:
    return current_trace().size_value(dim)


@implements(np.polyadd)
def polyadd(a1: Any, a2: Any) -> Any:
    return _added(*_pair(a1, a2))


@implements(np.polysub)
def polysub(a1: Any, a2: Any) -> Any:
    x, y = _pair(a1, a2)
    return _added(x, -y)


def _added(x: Any, y: Any) -> Any:
    x, y = np.atleast_1d(x), np.atleast_1d(y)
    if not _longer(x, y):
        x, y = y, x
    return x + np.pad(y, (x.shape[0] - y.shape[0], 0))


@implements(np.polymul)
def polymul(a1: Any, a2: Any) -> Any:
    x, y = _pair(a1, a2)
    return convolve(np.atleast_1d(x), np.atleast_1d(y))


@implements(np.polyder)
def polyder(p: Any, m: int = 1) -> Any:
    x = operand(p)
    for _ in range(m):
        powers = x.shape[0] - 1 - positions(x.shape[0] - 1)
        x = x[:-1] * cast(operand(powers), x.dtype)
    return x


@implements(np.polyint)
def polyint(p: Any, m: int = 1, k: Any = None) -> Any:
    x = operand(p)
    if x.dtype.kind != "f":
        x = cast(x, np.float64)
    constants = [0.0] * m if k is None else list(np.atleast_1d(np.asarray(k))) * (
        m if np.ndim(k) == 0 else 1
    )  # fmt: skip
    for c in constants:
        powers = x.shape[0] - positions(x.shape[0])
        scaled = x / cast(operand(powers), x.dtype)
        x = np.concatenate([scaled, np.atleast_1d(as_operand(float(c), x.dtype))])
    return x
