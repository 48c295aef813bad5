"""Cotangents that are masked stay masked: an arm that was not chosen contributes nothing.

The rules of ``select``, ``maximum`` and ``minimum`` hand ``select(c, upstream, 0)`` to an arm. If
the arm was ``sqrt(x)``, going on with ``0 * local`` would give NaN where ``local`` is infinite. So
what an elementwise operation hands on from a masked cotangent is masked by the same condition.
"""

from __future__ import annotations

from tracegrad import ops
from tracegrad.ir.core import Value
from tracegrad.ops.registry import constant


def support(bar: Value) -> Value | bool:
    """A condition outside which ``bar`` is zero; True when none is known, False for a zero.

    Read off nested selects: ``select(c, x, y)`` is supported where c holds and x is, or where c
    does not hold and y is.
    """
    if is_zero(bar):
        return False
    op = bar.op
    if op is None or op.name != "select":
        return True
    condition, x, y = op.operands
    return either(both(condition, support(x)), both_lazily(condition, support(y)))


def both(left: Value | bool, right: Value | bool) -> Value | bool:
    """Logical and, with known truth values left out."""
    if left is False or right is False:
        return False
    if left is True:
        return right
    if right is True or left is right:
        return left
    result: Value = ops.logical_and(left, right)
    return result


def both_lazily(condition: Value, right: Value | bool) -> Value | bool:
    """``not condition and right``; the negation is only written when it is needed."""
    return False if right is False else both(ops.logical_not(condition), right)


def either(left: Value | bool, right: Value | bool) -> Value | bool:
    """Logical or, with known truth values left out."""
    if left is True or right is True:
        return True
    if left is False:
        return right
    if right is False:
        return left
    result: Value = ops.logical_or(left, right)
    return result


def masked(contribution: Value, mask: Value) -> Value:
    """``contribution`` where the mask holds, else zero."""
    result: Value = ops.select(mask, contribution, constant(0.0, contribution.dtype))
    return result


def is_zero(value: Value) -> bool:
    """Whether ``value`` is the constant zero, or a broadcast of it."""
    op = value.op
    if op is None:
        return False
    if op.name == "view":
        return is_zero(op.operands[0])
    return op.name == "const" and op.attributes["value"] == 0
