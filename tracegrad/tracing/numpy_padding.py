"""`np.pad`: what stands around an array, axis after axis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tracegrad.errors import ArgumentError
from tracegrad.ops import access
from tracegrad.tracing.axes import normal_axis
from tracegrad.tracing.dispatch import implements, refuse
from tracegrad.tracing.integers import as_dim
from tracegrad.tracing.numpy_shapes import joined
from tracegrad.tracing.state import current_trace
from tracegrad.tracing.tracer import Tracer
from tracegrad.tracing.values import cast, fresh, operand, wrap

_STATISTICS: dict[str, Callable[..., Any]] = {
    "maximum": np.max,
    "minimum": np.min,
    "mean": np.mean,
    "median": np.median,
}
_TAKES = {
    "constant": ("constant_values",),
    "linear_ramp": ("end_values",),
    "reflect": ("reflect_type",),
    "symmetric": ("reflect_type",),
    **dict.fromkeys(_STATISTICS, ("stat_length",)),
}
_PLAIN = ("edge", "wrap", "empty")


@implements(np.pad)
def pad(array: Any, pad_width: Any, mode: Any = "constant", **kwargs: Any) -> Any:
    x = operand(array)
    if callable(mode):
        raise refuse("np.pad", "with a function for a mode", "join the parts with np.concatenate")
    if mode not in _TAKES and mode not in _PLAIN:
        raise ArgumentError(f"np.pad has no mode {mode!r}")
    if unknown := [name for name in kwargs if name not in _TAKES.get(mode, ())]:
        raise ArgumentError(f"np.pad with mode={mode!r} takes no {', '.join(unknown)}")
    widths = _pairs(pad_width, x.ndim)
    if mode in ("constant", "empty"):
        return _pad_constant(x, widths, _pairs(kwargs.get("constant_values", 0), x.ndim))
    given = _pairs(next(iter(kwargs.values()), None), x.ndim)
    for axis, ((before, after), detail) in enumerate(zip(widths, given, strict=True)):
        sides = _SIDES[mode if mode not in _STATISTICS else "statistic"]
        low, high = sides(x, axis, before, after, detail, mode)
        x = joined([cast(operand(low), x.dtype), x, cast(operand(high), x.dtype)], axis)
    return fresh(x)


def _part(x: Any, axis: int, start: Any, stop: Any) -> Any:
    return x[(*(slice(None),) * axis, slice(start, stop))]


def _edge(x: Any, axis: int, before: Any, after: Any, detail: Any, mode: str) -> tuple[Any, Any]:
    size = x.shape[axis]
    first, last = _part(x, axis, 0, 1), _part(x, axis, size - 1, None)
    return np.repeat(first, before, axis), np.repeat(last, after, axis)


def _wrap(x: Any, axis: int, before: Any, after: Any, detail: Any, mode: str) -> tuple[Any, Any]:
    size = x.shape[axis]
    if before <= size and after <= size:
        return _part(x, axis, size - before, None), _part(x, axis, 0, after)
    places = np.arange(before), np.arange(after)
    return (
        np.take(x, (places[0] - before) % size, axis=axis),
        np.take(x, places[1] % size, axis=axis),
    )


def _mirror(x: Any, axis: int, before: Any, after: Any, detail: Any, mode: str) -> tuple[Any, Any]:
    kind = detail[0] or "even"
    if kind not in ("even", "odd"):
        raise ArgumentError(f"reflect_type is 'even' or 'odd', not {kind!r}")
    skip = 1 if mode == "reflect" else 0
    size = x.shape[axis]
    if before + skip <= size and after + skip <= size:
        low = np.flip(_part(x, axis, skip, before + skip), axis)
        high = np.flip(_part(x, axis, size - after - skip, size - skip), axis)
    elif kind == "odd":
        raise refuse("np.pad", f"with mode={mode!r}, reflect_type='odd' wider than the array")
    else:
        low = _mirrored(x, axis, np.arange(before) - before, skip)
        high = _mirrored(x, axis, np.arange(after) + size, skip)
    if kind == "odd":
        first, last = _part(x, axis, 0, 1), _part(x, axis, size - 1, None)
        low, high = 2 * first - low, 2 * last - high
    return low, high


def _mirrored(x: Any, axis: int, places: Any, skip: int) -> Any:
    """The elements at places beyond the ends, of what goes on forth and back."""
    size = x.shape[axis]
    period = 2 * (size - skip)
    if period == 0:
        return np.take(x, np.zeros_like(places), axis=axis)
    places = places % period
    return np.take(x, np.where(places < size, places, period - 1 + skip - places), axis=axis)


def _ramp(x: Any, axis: int, before: Any, after: Any, detail: Any, mode: str) -> tuple[Any, Any]:
    size = x.shape[axis]
    first, last = _part(x, axis, 0, 1), _part(x, axis, size - 1, None)
    ends = [0 if end is None else end for end in detail]

    def towards(edge: Any, end: Any, count: Any) -> Any:
        """From ``end`` on to ``edge``, without it."""
        shape = [count if d == axis else 1 for d in range(x.ndim)]
        if count == 0:
            return _part(x, axis, 0, 0)
        steps = np.reshape(np.arange(count), shape)
        found = end + steps * ((edge - end) / count)
        return np.floor(found) if x.dtype.kind in "iu" else found

    return towards(first, ends[0], before), np.flip(towards(last, ends[1], after), axis)


def _statistic(
    x: Any, axis: int, before: Any, after: Any, detail: Any, mode: str
) -> tuple[Any, Any]:
    size = x.shape[axis]
    sides = []
    for length, count, at_start in zip(detail, (before, after), (True, False), strict=True):
        if length is not None and length < 1:
            raise ArgumentError("stat_length is 1 at least, or None for the whole axis")
        part = x
        if length is not None and length < size:
            part = _part(x, axis, 0, length) if at_start else _part(x, axis, size - length, None)
        found = _STATISTICS[mode](part, axis=axis, keepdims=True)
        if x.dtype.kind in "iu" and mode in ("mean", "median"):
            found = np.rint(found)
        sides.append(np.repeat(found, count, axis))
    return sides[0], sides[1]


_SIDES: dict[str, Callable[..., tuple[Any, Any]]] = {
    "edge": _edge,
    "wrap": _wrap,
    "reflect": _mirror,
    "symmetric": _mirror,
    "linear_ramp": _ramp,
    "statistic": _statistic,
}


def _pairs(given: Any, rank: int) -> list[tuple[Any, Any]]:
    """NumPy's shorthand for a pair per axis: one number, one pair, all pairs, pairs by axis."""
    if isinstance(given, dict):
        by_axis = {normal_axis(axis, rank): pair for axis, pair in given.items()}
        given = [by_axis.get(axis, 0) for axis in range(rank)]
        return [tuple(row) if isinstance(row, list | tuple) else (row, row) for row in given]
    if isinstance(given, np.ndarray):
        given = given.tolist()
    if not isinstance(given, list | tuple):
        return [(given, given)] * rank
    rows = [tuple(row) if isinstance(row, list | tuple) else row for row in given]
    if not any(isinstance(row, tuple) for row in rows):
        if len(rows) == 1:
            return [(rows[0], rows[0])] * rank
        return [(rows[0], rows[1])] * rank
    pairs = [(row[0], row[-1]) if isinstance(row, tuple) else (row, row) for row in rows]
    return pairs * rank if len(pairs) == 1 else pairs


def _pad_constant(x: Tracer, widths: Any, values: Any) -> Any:
    zero = all(isinstance(v, int | float) and v == 0 for pair in values for v in pair)
    if zero and x.dtype.kind == "f":
        shape = [
            as_dim(low) + size + as_dim(high)
            for (low, high), size in zip(widths, x.value.shape, strict=True)
        ]
        entries = tuple((axis, as_dim(low), 1) for axis, (low, _) in enumerate(widths))
        return wrap(current_trace().run(access.pad_into, x.value, tuple(shape), entries))
    for axis, ((low, high), (first, last)) in enumerate(zip(widths, values, strict=True)):
        shape_low, shape_high = list(x.shape), list(x.shape)
        shape_low[axis], shape_high[axis] = low, high
        edges = [
            cast(operand(np.broadcast_to(operand(value), shape)), x.dtype)
            for value, shape in ((first, shape_low), (last, shape_high))
        ]
        x = joined([edges[0], x, edges[1]], axis)
    return x
