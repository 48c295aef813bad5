"""What is known of integers that only have a value at run time: loop indices and sums with them."""

from __future__ import annotations

import numpy as np

from tracegrad.ir.core import Value
from tracegrad.ir.types import Dim
from tracegrad.tracing.state import current_trace

__all__ = ["difference", "from_front", "is_at_least", "known_bounds"]


def affine(value: Value) -> tuple[Value | None, Dim]:
    """``value`` as another value plus a size; None for a size alone."""
    op = value.op
    if op is None:
        return value, 0
    if op.name == "const" and not isinstance(op.attributes["value"], tuple):
        return None, int(op.attributes["value"])
    if op.name == "dim":
        dim: Dim = op.attributes["size"]
        return None, dim
    if op.name in ("add", "subtract"):
        one, other = (affine(v) for v in op.operands)
        if op.name == "add" and (one[0] is None or other[0] is None):
            return other[0] if one[0] is None else one[0], one[1] + other[1]
        if op.name == "subtract" and other[0] is None:
            return one[0], one[1] - other[1]
    return value, 0


def difference(one: Value, other: Value) -> Dim | None:
    """``one - other`` where it is the same in every trip."""
    base, offset = affine(one)
    base2, offset2 = affine(other)
    return offset - offset2 if base is base2 else None


def known_bounds(value: Value) -> tuple[Dim | None, Dim | None]:
    """The least and the greatest that an integer can be, where a loop's bounds say so."""
    base, offset = affine(value)
    if base is None:
        return offset, offset
    least, most = current_trace().ranges.get(base, (None, None))
    return None if least is None else least + offset, None if most is None else most + offset


def is_at_least(value: Value, bound: Dim) -> bool:
    """Whether an integer is known to be no less than ``bound``."""
    least, _ = known_bounds(value)
    return least is not None and current_trace().sizes.never_negative(least - bound)


def from_front(position: Value, length: Dim) -> Value:
    """A position in an axis of this length, counted from the front; checked at run time."""
    from tracegrad.tracing.raising import raise_if
    from tracegrad.tracing.values import lift, wrap

    trace = current_trace()
    at, whole = wrap(position), wrap(trace.size_value(length))
    least, most = known_bounds(position)
    message = "index is out of bounds for a slice of an axis"
    if most is None or not trace.sizes.never_negative(length - 1 - most):
        raise_if(at >= whole, IndexError, message)
    if least is None or not trace.sizes.never_negative(least + length):
        raise_if(at < -whole, IndexError, message)
    if is_at_least(position, 0):
        return position
    return lift(np.where(at < 0, at + whole, at)).value
