"""How often a loop runs, and the bounds of its way back."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from tracegrad import ops
from tracegrad.ir.core import Guard, Operation, Value
from tracegrad.ir.sizes import no_less_than_zero
from tracegrad.ir.types import Dim, floor_div, symbols
from tracegrad.ops.constants import dim_value
from tracegrad.transforms.primal import whole_number

DEEPEST = 6
"""How long the formula of a bound may be that is taken for a dimension."""


def dimension(value: Value, depth: int = DEEPEST) -> Dim | None:
    """An i64 scalar as a dimension: constants, dimensions, and sums and products of them."""
    op = value.op
    if op is None or value.rank or value.dtype.name != "i64" or not depth:
        return None
    if op.name == "const":
        number: int = op.attributes["value"]
        return number
    if op.name == "dim":
        size: Dim = op.attributes["size"]
        return size
    if op.name not in ("add", "subtract", "multiply"):
        return None
    left, right = (dimension(v, depth - 1) for v in op.operands)
    if left is None or right is None:
        return None
    if op.name == "multiply":
        return left * right
    return left + right if op.name == "add" else left - right


def trip_dimension(
    op: Operation, known: Collection[str], guards: Iterable[Guard] = ()
) -> Dim | None:
    """The trip count of a ``for`` as a dimension of symbols that are ``known``, if it is one."""
    lo, hi, step = (dimension(v) for v in op.operands[:3])
    if lo is None or hi is None or not isinstance(step, int) or step == 0:
        return None
    if any(name not in known for name in (*symbols(lo), *symbols(hi))):
        return None
    count = (
        floor_div(hi - lo + step - 1, step) if step > 0 else floor_div(lo - hi - step - 1, -step)
    )
    return no_less_than_zero(count, guards)


def trip_count(op: Operation) -> Value:
    """Append the trip count of a ``for``."""
    lo, hi, step = op.operands[:3]
    known = dimension(lo), dimension(hi), dimension(step)
    if None not in known and isinstance(known[2], int) and known[2]:
        count = trip_dimension(op, [s for d in known[:2] for s in symbols(d or 0)])
        assert count is not None
        return dim_value(count)
    total: Value = ops.maximum(_trips(lo, hi, step), 0)
    return total


def _trips(lo: Value, hi: Value, step: Value) -> Value:
    """ceil((hi - lo) / step), negative for an empty range."""
    if whole_number(step) == 1:
        return hi if whole_number(lo) == 0 else hi - lo
    if whole_number(step) == -1:
        return lo - hi
    result: Value = ops.negative(ops.floor_divide(lo - hi, step))
    return result


def reversed_bounds(op: Operation) -> tuple[Value, Value, Value]:
    """Append the bounds of the loop over the same indices from the last to the first."""
    lo, hi, step = op.operands[:3]
    number = whole_number(step)
    if number in (1, -1):
        # Also right without trips: then the way back has none either.
        return _minus(hi, step), _minus(lo, step), ops.const(value=-number, dtype=step.dtype)
    first = _minus(lo, step)
    return first + ops.maximum(_trips(lo, hi, step), 0) * step, first, -step


def _minus(left: Value, right: Value) -> Value:
    """``left - right``, as a dimension where both are."""
    a, b = dimension(left), dimension(right)
    return left - right if a is None or b is None else dim_value(a - b)


def trip_number(index: Value, lo: Value, step: Value) -> Value:
    """Append the number of the trip, from 0, in which a ``for`` has this index."""
    away = index if whole_number(lo) == 0 else index - lo
    if whole_number(step) == 1:
        return away
    if whole_number(step) == -1:
        return -away
    result: Value = ops.floor_divide(away, step)
    return result
