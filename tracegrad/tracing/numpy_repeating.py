"""Functions that turn, shift, repeat and pad arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from tracegrad.errors import DTypeError, ShapeError
from tracegrad.ir.types import Dim
from tracegrad.ops import access
from tracegrad.tracing.axes import normal_axes, normal_axis
from tracegrad.tracing.dispatch import implements
from tracegrad.tracing.integers import as_dim, dim_or_int, is_integer
from tracegrad.tracing.numpy_creation import arange
from tracegrad.tracing.numpy_shapes import as_shape, as_user_shape, joined, viewed
from tracegrad.tracing.raising import raise_if
from tracegrad.tracing.state import current_trace
from tracegrad.tracing.tracer import Tracer
from tracegrad.tracing.values import cast, fresh, is_traced, operand, wrap


@implements(np.flip)
def flip(m: Any, axis: Any = None) -> Any:
    x = operand(m)
    return viewed(x, access.flip, normal_axes(axis, x.ndim))


@implements(np.fliplr)
def fliplr(m: Any) -> Any:
    return np.flip(operand(m), 1)


@implements(np.flipud)
def flipud(m: Any) -> Any:
    return np.flip(operand(m), 0)


@implements(np.rot90)
def rot90(m: Any, k: int = 1, axes: Any = (0, 1)) -> Any:
    x = operand(m)
    first, second = (normal_axis(axis, x.ndim) for axis in axes)
    if first == second:
        raise ValueError("Axes must be different.")
    turns = k % 4
    if turns == 0:
        return x[...]
    if turns == 2:
        return np.flip(np.flip(x, first), second)
    if turns == 1:
        return np.swapaxes(np.flip(x, second), first, second)
    return np.flip(np.swapaxes(x, first, second), second)


@implements(np.roll)
def roll(a: Any, shift: Any, axis: Any = None) -> Any:
    x = operand(a)
    if axis is None:
        return np.roll(np.ravel(x), shift, 0).reshape(x.shape)
    shifts = list(shift) if isinstance(shift, tuple | list) else [shift]
    axes = list(axis) if isinstance(axis, tuple | list) else [axis]
    count = max(len(shifts), len(axes))
    shifts, axes = (each * count if len(each) == 1 else each for each in (shifts, axes))
    for by, which in zip(shifts, axes, strict=True):
        d = normal_axis(which, x.ndim)
        size = x.shape[d]
        if size == 0:
            continue
        # Within one turn, which is the rule, no remainder stands in the sizes that follow.
        places = by if abs(by) < size else by % size
        if places == 0:
            continue
        whole = x.value.shape[d]
        if isinstance(by, Tracer) or (isinstance(whole, int) and whole <= access.FEW):
            head = (slice(None),) * d
            x = joined([x[(*head, slice(-places, None))], x[(*head, slice(None, -places))]], d)
        else:
            shift = as_dim(places if places > 0 else size + places)
            x = wrap(current_trace().emit("roll", x.value, shift=shift, axis=d))
    return fresh(x)


@implements(np.tile)
def tile(A: Any, reps: Any) -> Any:
    x = operand(A)
    times = as_shape(reps)
    rank = max(x.ndim, len(times))
    x = x[(None,) * (rank - x.ndim)] if rank > x.ndim else x
    times = (1,) * (rank - len(times)) + times
    paired: list[Dim] = []
    for count, size in zip(times, x.value.shape, strict=True):
        paired += [count, size]
    spread = x[tuple(part for _ in range(rank) for part in (None, slice(None)))]
    wide = np.broadcast_to(spread, as_user_shape(paired))
    final: Any = [dim_or_int(c * s) for c, s in zip(times, x.value.shape, strict=True)]
    return fresh(np.reshape(wide, final))


@implements(np.repeat)
def repeat(a: Any, repeats: Any, axis: Any = None) -> Any:
    x = operand(a)
    if axis is None:
        x = np.ravel(x)
    which = normal_axis(0 if axis is None else axis, x.ndim)
    known = isinstance(repeats, list | tuple | np.ndarray) and not is_traced(repeats)
    if known and np.size(repeats) == 1:
        repeats = int(np.reshape(repeats, ())[()])
    if not is_integer(repeats):
        if known:
            size = current_trace().sizes.concrete(x.value.shape[which])
            return np.take(x, np.repeat(np.arange(size), repeats), axis=which)
        return _repeated(x, operand(repeats), which)
    x = np.expand_dims(x, which + 1)
    shape = list(x.shape)
    shape[which + 1] = repeats
    final = [*shape[:which], shape[which] * repeats, *shape[which + 2 :]]
    return fresh(np.reshape(np.broadcast_to(x, shape), final))


def _repeated(x: Any, counts: Tracer, axis: int) -> Any:
    """Each part as often as its count says; how many there are is known at run time only."""
    if counts.dtype.kind not in "iub":
        raise DTypeError(
            f"Cannot cast array data from {counts.dtype!r} to {np.dtype(np.int64)!r} according to "
            "the rule 'safe'"
        )
    if counts.ndim > 1:
        raise ShapeError("object too deep for desired array")
    size = x.shape[axis]
    each: Any = np.ravel(cast(counts, np.int64))
    sizes = current_trace().sizes
    if not sizes.equal(as_dim(each.shape[0]), as_dim(size)):
        if not sizes.equal(as_dim(each.shape[0]), 1):
            raise ShapeError(
                f"operands could not be broadcast together with shape ({size},) ({each.shape[0]},)"
            )
        each = np.broadcast_to(each, (size,))
    raise_if(operand(np.any(each < 0)), ValueError, "repeats may not contain negative values.")
    ends = operand(np.cumsum(each))
    spans = current_trace().spans
    total = spans.size(spans.known(operand(np.sum(each)).value, 0))
    places = arange(dim_or_int(total))
    return np.take(x, np.searchsorted(ends, places, side="right"), axis=axis)
