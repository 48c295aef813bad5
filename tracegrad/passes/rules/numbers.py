"""Neutral elements, constant factors, and terms that meet themselves."""

from __future__ import annotations

import numpy as np

from tracegrad.ir.core import Value
from tracegrad.ops.registry import REGISTRY, OpDef, expand_to, full_like
from tracegrad.passes.table import EXACT, ROUNDING, UNSAFE, rule
from tracegrad.passes.values import (
    array_shape,
    free_axes,
    is_normal,
    is_zero,
    made_by,
    number,
    power_of_two,
)


@rule("multiply", mark=EXACT, commutes=True)
def multiply_by_one(x: Value, y: Value) -> Value | None:
    """A factor of one changes nothing.

    x: f64[n]
    multiply(x, 1.0) → x
    """
    return expand_to(x, array_shape(x, y)) if number(y) == 1 and _fits(x, y) else None


@rule("divide", mark=EXACT)
def divide_by_one(x: Value, y: Value) -> Value | None:
    """A divisor of one changes nothing.

    x: f64[n]
    divide(x, 1.0) → x
    """
    return expand_to(x, array_shape(x, y)) if number(y) == 1 and _fits(x, y) else None


def _fits(x: Value, y: Value) -> bool:
    """Whether ``x`` has the shape of the result, or can be seen in it."""
    return not x.rank or x.shape == array_shape(x, y)


@rule("multiply", mark=EXACT, commutes=True)
def multiply_by_minus_one(x: Value, y: Value) -> Value | None:
    """A factor of minus one is a negation.

    x: f64[n]
    multiply(x, -1.0) → negative(x)
    """
    if number(y) != -1 or x.dtype.numpy.kind == "u":
        return None
    return expand_to(-x, array_shape(x, y))


@rule("divide", mark=EXACT)
def divide_by_minus_one(x: Value, y: Value) -> Value | None:
    """A divisor of minus one is a negation.

    x: f64[n]
    divide(x, -1.0) → negative(x)
    """
    return expand_to(-x, array_shape(x, y)) if number(y) == -1 else None


@rule("add", mark=EXACT, commutes=True)
def add_nothing(x: Value, y: Value) -> Value | None:
    """Adding -0.0, or an integer 0, changes nothing. (0.0 turns -0.0 into 0.0.)

    x: f64[n], k: i64
    add(x, -0.0) → x
    add(k, 0) → k
    """
    if is_zero(y, negative=True) or (not x.dtype.is_float and is_zero(y)):
        return expand_to(x, array_shape(x, y))
    return None


@rule("subtract", mark=EXACT)
def subtract_nothing(x: Value, y: Value) -> Value | None:
    """Subtracting 0.0 changes nothing.

    x: f64[n], k: i64
    subtract(x, 0.0) → x
    subtract(k, 0) → k
    """
    return expand_to(x, array_shape(x, y)) if is_zero(y) else None


@rule("add", mark=UNSAFE, commutes=True)
def add_zero(x: Value, y: Value) -> Value | None:
    """Adding 0.0 changes nothing but the sign of a zero.

    x: f64[n]
    add(x, 0.0) → x
    """
    return expand_to(x, array_shape(x, y)) if is_zero(y) else None


@rule("subtract", mark=UNSAFE)
def subtract_from_zero(x: Value, y: Value) -> Value | None:
    """A difference from zero is a negation, but for the sign of a zero.

    x: f64[n]
    subtract(0.0, x) → negative(x)
    """
    return expand_to(-y, array_shape(x, y)) if is_zero(x) else None


@rule("multiply", mark=EXACT, commutes=True)
def integer_multiply_by_zero(x: Value, y: Value) -> Value | None:
    """An integer times 0 is 0.

    k: i64
    multiply(k, 0) → 0
    """
    if not x.dtype.is_integer or not is_zero(y):
        return None
    return expand_to(full_like(y, 0), array_shape(x, y))


@rule("multiply", mark=UNSAFE, commutes=True)
def multiply_by_zero(x: Value, y: Value) -> Value | None:
    """Zero times a number is zero, unless it is infinite, NaN or negative.

    x: f64[n]
    multiply(x, 0.0) → view(0.0, shape=(n,), map=())
    """
    if not x.dtype.is_float or not is_zero(y):
        return None
    return expand_to(full_like(y, 0), array_shape(x, y))


@rule("subtract", mark=UNSAFE)
def subtract_itself(x: Value, y: Value) -> Value | None:
    """A difference from itself is zero, unless infinite or NaN.

    x: f64[n]
    subtract(x, x) → view(0.0, shape=(n,), map=())
    """
    return full_like(x, 0) if x is y else None


@rule("add", mark=EXACT)
def add_itself(x: Value, y: Value) -> Value | None:
    """A sum with itself is twice the value.

    x: f64[n]
    add(x, x) → multiply(x, 2.0)
    """
    return x * 2 if x is y and not x.dtype.is_bool else None


@rule("multiply", mark=ROUNDING, commutes=True)
def merge_factors(x: Value, y: Value) -> Value | None:
    """Two constant factors are one. Both are normal numbers and so is their product.

    x: f64[n]
    multiply(multiply(x, 3.0), 2.0) → multiply(x, 6.0)
    """
    factor = number(y)
    if factor is None or not x.dtype.is_float:
        return None
    inner = made_by(x, "multiply")
    if inner is None:
        return None
    for part, other in (inner.operands, inner.operands[::-1]):
        earlier = number(other)
        if earlier is None:
            continue
        merged = float(x.dtype.numpy.type(earlier * factor))
        if all(is_normal(c, x.dtype.numpy) for c in (earlier, factor, merged)):
            return part * merged
    return None


@rule("multiply", mark=ROUNDING)
def merge_factors_of_both(x: Value, y: Value) -> Value | None:
    """Constant factors of two factors are one. All three are normal numbers.

    x: f64[n], y: f64[n]
    multiply(multiply(x, 3.0), multiply(y, 2.0)) → multiply(multiply(x, y), 6.0)
    """
    left, right = _multiple(x), _multiple(y)
    if left is None or right is None:
        return None
    merged = float(x.dtype.numpy.type(left[1] * right[1]))
    return (left[0] * right[0]) * merged if is_normal(merged, x.dtype.numpy) else None


@rule("multiply", mark=ROUNDING, commutes=True)
def small_factors_first(x: Value, y: Value) -> Value | None:
    """Factors that are the same along an axis are multiplied before they meet one that is not.

    x: f64[n, m], y: f64[m], s: f64
    multiply(multiply(x, broadcast_to(y, (n, m))), s)
    → multiply(x, broadcast_to(multiply(y, s), (n, m)))
    """
    op = made_by(y, "multiply")
    if op is None or not y.rank:
        return None
    for wide, narrow in (op.operands, op.operands[::-1]):
        if _shared_free(x, narrow, y.rank) and not _shared_free(x, wide, y.rank):
            return wide * (x * narrow)
    return None


def _shared_free(x: Value, y: Value, rank: int) -> bool:
    """Whether there is an axis of the result along which both are the same."""
    return bool(_free(x, rank) & _free(y, rank))


def _free(x: Value, rank: int) -> frozenset[int]:
    return free_axes(x) if x.rank else frozenset(range(rank))


@rule("add", "subtract", mark=EXACT, takes_op=True)
def merge_integer_terms(op: OpDef, x: Value, y: Value) -> Value | None:
    """Two constant terms of integers are one. (Of floats they are not: (x + 1e16) - 1e16.)

    k: i64
    add(add(k, 2), 3) → add(k, 5)
    subtract(add(k, 2), 3) → subtract(k, 1)
    """
    term, inner = number(y), _offset(x)
    if term is None or inner is None:
        return None
    base, earlier = inner
    total = earlier + int(term) if op.name == "add" else earlier - int(term)
    limits = np.iinfo(x.dtype.numpy)
    if not limits.min < total <= limits.max:
        return None
    if total == 0:
        return base
    return base + total if total > 0 else base - -total


def _offset(value: Value) -> tuple[Value, int] | None:
    """``(x, c)`` when ``value`` is the signed integer ``x + c`` or ``x - c``."""
    op = value.op
    if op is None or op.opdef.name not in ("add", "subtract") or value.dtype.numpy.kind != "i":
        return None
    left, right = op.operands
    constant = number(right)
    if constant is not None:
        return left, int(constant) if op.opdef.name == "add" else -int(constant)
    constant = number(left)
    return (right, int(constant)) if constant is not None and op.opdef.name == "add" else None


@rule("divide", mark=EXACT)
def divide_by_power_of_two(x: Value, y: Value) -> Value | None:
    """Dividing by a power of two is multiplying by its reciprocal, exactly.

    x: f64[n]
    divide(x, 4.0) → multiply(x, 0.25)
    """
    divisor = number(y)
    if not divisor or not is_normal(divisor, y.dtype.numpy) or not power_of_two(divisor):
        return None
    return x * (1 / divisor) if is_normal(1 / divisor, y.dtype.numpy) else None


@rule("divide", mark=ROUNDING)
def divide_by_number(x: Value, y: Value) -> Value | None:
    """Dividing an array by a constant is multiplying by its reciprocal.

    x: f64[n]
    divide(x, 10.0) → multiply(x, 0.1)
    """
    divisor = number(y)
    if not divisor or not x.rank or number(x) is not None:
        return None
    if not is_normal(divisor, y.dtype.numpy) or not is_normal(1 / divisor, y.dtype.numpy):
        return None
    return x * (1 / divisor)


@rule("add", mark=ROUNDING, commutes=True)
def add_multiples(x: Value, y: Value) -> Value | None:
    """A term and a constant multiple of it, or two multiples, are one multiple.

    x: f64[n]
    add(multiply(x, 3.0), x) → multiply(x, 4.0)
    add(multiply(x, 3.0), multiply(x, 2.0)) → multiply(x, 5.0)
    """
    left, right = _multiple(x), _multiple(y)
    if left is None or left[0] is not (y if right is None else right[0]):
        return None
    # The result may be smaller by cancellation: only multiples of one sign are merged.
    more = 1.0 if right is None else right[1]
    if left[1] <= 0 or more <= 0:
        return None
    total = float(x.dtype.numpy.type(left[1] + more))
    return left[0] * total if is_normal(total, x.dtype.numpy) else None


def _multiple(value: Value) -> tuple[Value, float] | None:
    """``(x, c)`` when ``value`` is ``x * c`` with a normal constant c."""
    op = made_by(value, "multiply")
    if op is None or not value.dtype.is_float:
        return None
    for part, other in (op.operands, op.operands[::-1]):
        factor = number(other)
        if factor is not None and is_normal(factor, value.dtype.numpy):
            return part, factor
    return None


@rule("maximum", "minimum", "logical_and", "logical_or", mark=EXACT)
def with_itself(x: Value, y: Value) -> Value | None:
    """The larger, or smaller, of a value and itself; the value and itself.

    x: f64[n]
    maximum(x, x) → x
    """
    return x if x is y else None


@rule("cast", mark=EXACT)
def cast_to_own(x: Value, *, dtype: object) -> Value | None:
    """A cast to the dtype that the value has.

    x: f64[n]
    cast(x, dtype=f64) → x
    """
    return x if x.dtype is dtype else None


@rule("cast", mark=EXACT)
def cast_of_cast(x: Value, *, dtype: object) -> Value | None:
    """A cast there and on, when the first loses nothing.

    x: f32[n]
    cast(cast(x, dtype=f64), dtype=f32) → x
    """
    inner = made_by(x, "cast")
    if inner is None:
        return None
    source = inner.operands[0]
    kinds = source.dtype.numpy.kind, x.dtype.numpy.kind
    if not np.can_cast(source.dtype.numpy, x.dtype.numpy, "safe") or kinds == ("b", "f"):
        return None
    result: Value = REGISTRY["cast"](source, dtype=dtype)
    return result
