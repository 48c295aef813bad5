"""Divisions by what is shared: multiply by a reciprocal that is computed once."""

from __future__ import annotations

from tracegrad.ir.core import Value
from tracegrad.ops.access import view_of
from tracegrad.ops.registry import REGISTRY
from tracegrad.passes.table import EXACT, ROUNDING, rule
from tracegrad.passes.values import array_shape, free_axes, made_by, number, operand_of


def reciprocal_of(x: Value) -> Value:
    result: Value = REGISTRY["reciprocal"](x)
    return result


@rule("divide", mark=EXACT)
def one_over(x: Value, y: Value) -> Value | None:
    """One divided by a number is its reciprocal.

    x: f64[n]
    divide(1.0, x) → reciprocal(x)
    """
    return reciprocal_of(y) if number(x) == 1 and y.shape == array_shape(x, y) else None


@rule("divide", mark=ROUNDING)
def divide_by_broadcast(x: Value, y: Value) -> Value | None:
    """A divisor that is the same along an axis is inverted once.

    x: f64[n], s: f64, y: f64[m], z: f64[m, n]
    divide(x, s) → multiply(x, reciprocal(s))
    divide(z, broadcast_to(x, (m, n))) → multiply(z, broadcast_to(reciprocal(x), (m, n)))
    """
    if number(y) is not None:
        return None
    if (x.rank and not y.rank) or free_axes(y):
        return x * reciprocal_of(y)
    return None


@rule("divide", mark=ROUNDING)
def divide_by_reciprocal(x: Value, y: Value) -> Value | None:
    """Dividing by a reciprocal is multiplying.

    x: f64[n], y: f64[n]
    divide(x, reciprocal(y)) → multiply(x, y)
    """
    other = operand_of(y, "reciprocal")
    if other is not None:
        return x * other
    op = made_by(y, "view")
    other = None if op is None else operand_of(op.operands[0], "reciprocal")
    if op is None or other is None:
        return None
    return x * view_of(other, op.attributes["shape"], op.attributes["map"])


@rule("reciprocal", mark=ROUNDING)
def reciprocal_of_quotient(x: Value) -> Value | None:
    """The reciprocal of a quotient is the quotient the other way round.

    x: f64[n], y: f64[n]
    reciprocal(divide(x, y)) → divide(y, x)
    """
    op = made_by(x, "divide")
    return None if op is None else op.operands[1] / op.operands[0]
