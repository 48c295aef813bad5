"""Choices."""

from __future__ import annotations

from tracegrad.ir.core import Value
from tracegrad.ops.registry import REGISTRY, expand_to
from tracegrad.passes.table import EXACT, ROUNDING, rule
from tracegrad.passes.values import array_shape, is_zero, made_by, number, operand_of


def _select(condition: Value, x: Value, y: Value) -> Value:
    result: Value = REGISTRY["select"](condition, x, y)
    return result


@rule("select", mark=EXACT)
def select_equal_arms(condition: Value, x: Value, y: Value) -> Value | None:
    """Both arms are one value.

    c: bool[n], x: f64[n]
    select(c, x, x) → x
    """
    if x is not y or (x.rank == 0 and condition.rank and number(x) is None):
        return None
    return expand_to(x, array_shape(condition, x))


@rule("select", mark=EXACT)
def select_known(condition: Value, x: Value, y: Value) -> Value | None:
    """The condition is known.

    x: f64[n], y: f64[n]
    select(constant(True), x, y) → x
    """
    known = number(condition)
    if known is None:
        return None
    return expand_to(x if known else y, array_shape(condition, x, y))


@rule("select", mark=EXACT)
def select_not(condition: Value, x: Value, y: Value) -> Value | None:
    """The condition is a negation: the arms change places.

    c: bool[n], x: f64[n], y: f64[n]
    select(logical_not(c), x, y) → select(c, y, x)
    """
    other = operand_of(condition, "logical_not")
    return None if other is None else _select(other, y, x)


@rule("select", mark=EXACT)
def select_of_select(condition: Value, x: Value, y: Value) -> Value | None:
    """An arm chooses again by the same condition.

    c: bool[n], x: f64[n], y: f64[n], z: f64[n]
    select(c, select(c, x, y), z) → select(c, x, z)
    select(c, x, select(c, y, z)) → select(c, x, z)
    """
    inner = made_by(x, "select")
    if inner is not None and inner.operands[0] is condition:
        return _select(condition, inner.operands[1], y)
    inner = made_by(y, "select")
    if inner is not None and inner.operands[0] is condition:
        return _select(condition, x, inner.operands[2])
    return None


@rule("select", mark=EXACT)
def select_of_scaled_select(condition: Value, x: Value, y: Value) -> Value | None:
    """A factor in an arm chooses again by the same condition: masked cotangents, scaled.

    c: bool[n], x: f64[n], y: f64[n], z: f64[n], w: f64[n]
    select(c, multiply(select(c, x, y), z), w) → select(c, multiply(x, z), w)
    select(c, w, multiply(select(c, x, y), z)) → select(c, w, multiply(y, z))
    """
    for arm, chosen in ((x, 1), (y, 2)):
        product = made_by(arm, "multiply")
        if product is None:
            continue
        for factor, other in (product.operands, product.operands[::-1]):
            inner = made_by(factor, "select")
            if inner is None or inner.operands[0] is not condition:
                continue
            scaled = inner.operands[chosen] * other
            return _select(condition, scaled, y) if chosen == 1 else _select(condition, x, scaled)
    return None


@rule("add", mark=EXACT)
def add_masked(x: Value, y: Value) -> Value | None:
    """Two terms under one mask are one term under it.

    c: bool[n], x: f64[n], y: f64[n]
    add(select(c, x, 0.0), select(c, y, 0.0)) → select(c, add(x, y), 0.0)
    add(select(c, 0.0, x), select(c, 0.0, y)) → select(c, 0.0, add(x, y))
    """
    left, right = made_by(x, "select"), made_by(y, "select")
    if left is None or right is None or left.operands[0] is not right.operands[0]:
        return None
    condition, a, b = left.operands
    _, c, d = right.operands
    if is_zero(b) and is_zero(d):
        return _select(condition, a + c, b)
    if is_zero(a) and is_zero(c):
        return _select(condition, a, b + d)
    return None


@rule("add", mark=ROUNDING, commutes=True)
def add_arms(x: Value, y: Value) -> Value | None:
    """Two terms under opposite masks are one choice. (A -0.0 keeps its sign.)

    c: bool[n], x: f64[n], y: f64[n]
    add(select(c, x, 0.0), select(c, 0.0, y)) → select(c, x, y)
    """
    left, right = made_by(x, "select"), made_by(y, "select")
    if left is None or right is None or left.operands[0] is not right.operands[0]:
        return None
    condition, a, b = left.operands
    _, c, d = right.operands
    return _select(condition, a, d) if is_zero(b) and is_zero(c) else None


@rule("logical_not", mark=EXACT)
def not_not(x: Value) -> Value | None:
    """Two negations are none.

    c: bool[n]
    logical_not(logical_not(c)) → c
    """
    return operand_of(x, "logical_not")


@rule("logical_and", mark=EXACT, commutes=True)
def and_known(x: Value, y: Value) -> Value | None:
    """One side of an ``and`` is known.

    c: bool[n]
    logical_and(c, True) → c
    logical_and(c, False) → view(False, shape=(n,), map=())
    """
    known = number(y)
    return None if known is None else expand_to(x if known else y, array_shape(x, y))


@rule("logical_or", mark=EXACT, commutes=True)
def or_known(x: Value, y: Value) -> Value | None:
    """One side of an ``or`` is known.

    c: bool[n]
    logical_or(c, False) → c
    logical_or(c, True) → view(True, shape=(n,), map=())
    """
    known = number(y)
    return None if known is None else expand_to(y if known else x, array_shape(x, y))
