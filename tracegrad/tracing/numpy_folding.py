"""Ufuncs along an axis (reduce, accumulate, reduceat), functions along an axis, and counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tracegrad.errors import IndexOutOfRange, ShapeError
from tracegrad.ir.core import Value
from tracegrad.ir.types import i64
from tracegrad.ops import index, update
from tracegrad.ops.control import for_loop
from tracegrad.ops.registry import constant
from tracegrad.tracing.axes import normal_axes, normal_axis
from tracegrad.tracing.dispatch import implements, refuse
from tracegrad.tracing.integers import as_dim, dim_or_int, is_integer
from tracegrad.tracing.numpy_creation import arange, zeros
from tracegrad.tracing.numpy_shapes import in_front
from tracegrad.tracing.raising import raise_if
from tracegrad.tracing.state import current_trace
from tracegrad.tracing.tracer import Tracer
from tracegrad.tracing.ufuncs import truth
from tracegrad.tracing.values import (
    cast,
    is_traced,
    loop_dtypes,
    operand,
    require_cast,
    wrap,
)

__all__ = ["accumulated", "applied_at", "reduced", "reduced_at"]


def _along(ufunc: np.ufunc, a: Any, axis: Any, dtype: Any) -> tuple[Any, int, np.dtype]:
    """The array with the axis in front, in the dtype of the results, and the axis."""
    x = operand(a)
    which = normal_axis(axis, x.ndim)
    x = operand(cast(x, loop_dtypes(ufunc, [x, x])[-1] if dtype is None else dtype))
    return np.moveaxis(x, which, 0) if which else x, which, x.dtype


def _looped(begin: int, along: Any, start: Any, trip: Callable[[Value, Value], Any]) -> Tracer:
    """What ``trip(k, carried)`` makes of ``start``, for each k from ``begin`` on."""
    trace = current_trace()

    def body(k: Value, carried: Value) -> list[Value]:
        with trace.within():
            return [trip(k, carried)]

    def loop() -> Value:
        size = trace.size_value(along.value.shape[0])
        (found,) = for_loop(constant(begin, i64), size, [start.value], body)
        return found

    return wrap(trace.run(loop))


def accumulated(ufunc: np.ufunc, a: Any, axis: Any, dtype: Any = None) -> Any:
    """``ufunc.accumulate``: a loop along the axis."""
    rows, which, kind = _along(ufunc, a, axis, dtype)
    scalars = rows.ndim == 1
    rows = rows[:, None] if scalars else rows

    def trip(k: Value, out: Value) -> Any:
        joint: Any = ufunc(wrap(index(out, k - 1)), wrap(index(rows.value, k)))
        return update(out, cast(joint, kind).value, k)

    found: Any = _looped(1, rows, rows, trip)
    found = found[:, 0] if scalars else found
    return np.moveaxis(found, 0, which) if which else found


def reduced(
    ufunc: np.ufunc, a: Any, axis: Any = 0, dtype: Any = None, keepdims: Any = False,
    initial: Any = None, where: Any = None,
) -> Any:  # fmt: skip
    """``ufunc.reduce`` of a ufunc that is no reduction by itself: a loop along the axis."""
    x = operand(a)
    axes = normal_axes(axis, x.ndim)
    if len(axes) != 1:
        return _reduced_over(ufunc, x, axes, dtype, keepdims, initial, where)
    rows, which, kind = _along(ufunc, x, axes[0], dtype)
    chosen = None
    if where is not None and where is not True:
        if initial is None:
            raise ValueError(
                f"reduction operation '{ufunc.__name__}' does not have an identity, so to use a "
                "where mask one has to specify 'initial'"
            )
        chosen = operand(np.moveaxis(np.broadcast_to(truth(where), x.shape), which, 0))
        chosen = chosen[:, None] if rows.ndim == 1 else chosen
    scalars = rows.ndim == 1  # a loop of traced arrays carries rows
    rows = rows[:, None] if scalars else rows
    empty = current_trace().sizes.decide(rows.value.shape[0], "<=", 0)
    if initial is None and ufunc.identity is not None and (empty or ufunc is np.hypot):
        initial = ufunc.identity  # of one element, too, hypot is not the element itself
    if initial is None:
        if empty:
            raise ShapeError(
                f"zero-size array to reduction operation {ufunc.__name__} which has no identity"
            )
        first, begin = rows[0], 1
    else:
        first, begin = np.broadcast_to(cast(operand(initial), kind), rows.shape[1:]), 0

    def trip(k: Value, total: Value) -> Any:
        joint: Any = cast(ufunc(wrap(total), wrap(index(rows.value, k))), kind)
        if chosen is not None:
            joint = np.where(wrap(index(chosen.value, k)), joint, wrap(total))
        return joint.value

    found: Any = _looped(begin, rows, operand(first), trip)
    found = found[0] if scalars else found
    return np.expand_dims(found, which) if keepdims else found


def _reduced_over(
    ufunc: np.ufunc, x: Any, axes: tuple[int, ...], dtype: Any, keepdims: Any, initial: Any,
    where: Any,
) -> Any:  # fmt: skip
    """``ufunc.reduce`` over none or several axes, which are put together to one."""
    if ufunc not in _ANY_ORDER:
        raise ValueError(
            f"reduction operation '{ufunc.__name__}' is not reorderable, so at most one axis may "
            "be specified"
        )
    if not axes:
        return cast(x, loop_dtypes(ufunc, [x, x])[-1] if dtype is None else dtype)
    mask = None
    if where is not None and where is not True:
        mask = in_front(np.broadcast_to(truth(where), x.shape), axes)
    found = reduced(ufunc, in_front(x, axes), 0, dtype, False, initial, mask)
    return np.expand_dims(found, axes) if keepdims else found


_ANY_ORDER = frozenset([
    np.logaddexp, np.logaddexp2, np.hypot, np.fmax, np.fmin, np.bitwise_or, np.bitwise_and,
    np.bitwise_xor, np.logical_xor,
])  # fmt: skip


def reduced_at(
    ufunc: np.ufunc, reduce: Callable[..., Any], a: Any, indices: Any, axis: Any = 0,
    dtype: Any = None,
) -> Any:  # fmt: skip
    """``ufunc.reduceat``: each part from one index to the next, or one element if that is less."""
    x = operand(a)
    which = normal_axis(axis, x.ndim)
    given = np.asarray(indices) if not is_traced(indices) else None
    if given is None or given.ndim != 1 or given.dtype.kind not in "iu":
        raise refuse(
            f"np.{ufunc.__name__}.reduceat", "at indices that are known only at run time",
            "use np.add.at or np.bincount with a label for each element",
        )  # fmt: skip
    rows: Any = np.moveaxis(x, which, 0) if which else x
    places = [int(k) for k in given]
    for k in places:
        if k < 0 or not k < rows.shape[0]:
            raise IndexOutOfRange(
                f"index {k} out-of-bounds in {ufunc.__name__}.reduceat [0, {rows.shape[0]})"
            )
    parts = []
    for k, after in zip(places, [*places[1:], None], strict=True):
        part = rows[k : k + 1] if after is not None and after <= k else rows[k:after]
        parts.append(reduce(part, axis=0, **({} if dtype is None else {"dtype": dtype})))
    return np.stack(parts, axis=which)


def applied_at(ufunc: np.ufunc, x: Tracer, indices: Any, values: Any) -> None:
    """``ufunc.at``: one place after the other, in a loop, for a place can come again."""
    flat: Any = x.flat
    numbers: Any = np.reshape(arange(x.size), x.shape)
    chosen = operand(numbers)[indices]
    places = np.ravel(chosen)
    kind = x.dtype
    given: list[Any] = []
    if ufunc.nin == 2:
        given.append(np.ravel(np.broadcast_to(operand(values), chosen.shape)))
    made = loop_dtypes(ufunc, [x, *given])[-1]
    require_cast(made, kind, "same_kind")
    # Carried as rows of one element: a loop of traced arrays carries arrays.
    rows = flat[:, None]
    others = [operand(each)[:, None].value for each in given]
    at = operand(places).value

    def trip(k: Value, out: Value) -> Any:
        place = index(at, k)
        here = [wrap(index(each, k)) for each in others]
        found: Any = ufunc(wrap(index(out, place)), *here)
        return update(out, cast(operand(found), kind).value, place)

    found: Any = _looped(0, operand(places), operand(rows), trip)
    flat[...] = found[:, 0]


# --- functions along an axis ------------------------------------------------------------------


@implements(np.apply_along_axis)
def apply_along_axis(func1d: Any, axis: Any, arr: Any, *args: Any, **kwargs: Any) -> Any:
    """Each line by itself; what the function gives takes the place of the axis."""
    from tracegrad.tracing.function import staged

    x = operand(arr)
    which = normal_axis(axis, x.ndim)
    lines: Any = np.moveaxis(x, which, -1)
    call = staged(func1d)
    shape = [current_trace().sizes.concrete(d) for d in lines.value.shape[:-1]]
    if 0 in shape:
        raise ShapeError("Cannot apply_along_axis when any iteration dimensions are 0")
    found = [operand(call(lines[place], *args, **kwargs)) for place in np.ndindex(*shape)]
    joint: Any = np.stack(found) if found[0].ndim else operand(found)
    joint = np.reshape(joint, [*shape, *found[0].shape])
    rank = found[0].ndim
    lead = len(shape)
    return np.moveaxis(joint, range(lead, lead + rank), range(which, which + rank))


@implements(np.apply_over_axes)
def apply_over_axes(func: Any, a: Any, axes: Any) -> Any:
    """One axis after the other, which keeps its place."""
    from tracegrad.tracing.function import staged

    x = operand(a)
    call, rank = staged(func), x.ndim
    for axis in [axes] if is_integer(axes) else list(axes):
        which = normal_axis(axis, rank)
        found = operand(call(x, which))
        x = found if found.ndim == rank else operand(np.expand_dims(found, which))
        if x.ndim != rank:
            raise ShapeError("function is not returning an array of the correct shape")
    return x


# --- counts -----------------------------------------------------------------------------------


@implements(np.bincount)
def bincount(x: Any, /, weights: Any = None, minlength: Any = 0) -> Any:
    """How often each number occurs, or the sums of their weights.

    The length is known at run time only: it depends on the largest number.
    """
    labels = operand(x)
    if labels.ndim != 1:
        raise ShapeError("object too deep for desired array")
    if labels.dtype.kind not in "iub":
        raise TypeError(
            f"Cannot cast array data from {labels.dtype!r} to {np.dtype(np.int64)!r} according to "
            "the rule 'safe'"
        )
    labels = cast(labels, np.int64)
    if isinstance(minlength, int) and minlength < 0:
        raise ValueError("'minlength' must not be negative")
    spans = current_trace().spans
    length = np.maximum(np.max(labels, initial=-1) + 1, minlength)
    raise_if(
        operand(np.any(labels < 0)), ValueError, "'list' argument must have no negative elements"
    )
    count = spans.size(spans.known(operand(length).value, 0))
    shares = np.ones_like(labels) if weights is None else cast(operand(weights), np.float64)
    if shares.ndim != 1 or not current_trace().sizes.equal(
        as_dim(shares.shape[0]), as_dim(labels.shape[0])
    ):
        raise ShapeError("The weights and list don't have the same length.")
    total: Any = zeros(dim_or_int(count), shares.dtype)
    np.add.at(total, labels, shares)
    return total
