"""Signs: negations move towards the results and merge there with sums, products and constants.

`minus(v)` is x where v is -x, also through a broadcast.
"""

from __future__ import annotations

from typing import Any

from tracegrad.ir.core import Value
from tracegrad.ir.types import Shape
from tracegrad.ops.access import view_of
from tracegrad.ops.registry import REGISTRY, OpDef
from tracegrad.passes.engine import existing
from tracegrad.passes.table import EXACT, ROUNDING, rule
from tracegrad.passes.values import made_by, minus, number, operand_of

EVEN = ("cos", "cosh", "square", "absolute")
ODD = (
    *("sin", "tan", "arcsin", "arctan", "sinh", "tanh", "arcsinh", "arctanh"),
    *("erf", "cbrt", "sign"),
)


@rule("negative", mark=EXACT)
def negative_of_negative(x: Value) -> Value | None:
    """Two negations are none.

    x: f64[n]
    negative(negative(x)) → x
    """
    return operand_of(x, "negative")


@rule("negative", mark=EXACT)
def negative_of_scaled(x: Value) -> Value | None:
    """A constant factor takes the sign.

    x: f64[n]
    negative(multiply(x, 2.0)) → multiply(x, -2.0)
    """
    op = made_by(x, "multiply")
    if op is None or not x.dtype.is_float:
        return None
    for part, other in (op.operands, op.operands[::-1]):
        factor = number(other)
        if factor is not None:
            return part * -factor
    return None


@rule("add", mark=EXACT, commutes=True)
def add_negative(x: Value, y: Value) -> Value | None:
    """Adding a negation is subtracting.

    x: f64[n], y: f64[n]
    add(x, negative(y)) → subtract(x, y)
    add(negative(x), y) → subtract(y, x)
    """
    other = minus(y)
    return None if other is None else x - other


@rule("subtract", mark=EXACT)
def subtract_negative(x: Value, y: Value) -> Value | None:
    """Subtracting a negation is adding.

    x: f64[n], y: f64[n]
    subtract(x, negative(y)) → add(x, y)
    """
    other = minus(y)
    return None if other is None else x + other


@rule("subtract", mark=EXACT)
def subtract_from_negative(x: Value, y: Value) -> Value | None:
    """Two terms with a minus are one sum with a minus.

    x: f64[n], y: f64[n]
    subtract(negative(x), y) → negative(add(x, y))
    """
    other = minus(x)
    return None if other is None else -(other + y)


@rule("subtract", mark=ROUNDING)
def subtract_the_other_way(x: Value, y: Value) -> Value | None:
    """A difference that exists the other way round is used with a minus (0.0 becomes -0.0).

    x: f64[n], y: f64[n]
    maximum(subtract(x, y), subtract(y, x)) → maximum(subtract(x, y), negative(subtract(x, y)))
    """
    other = existing(REGISTRY["subtract"], y, x)
    return None if other is None or x is y else -other


@rule("multiply", mark=EXACT, commutes=True)
def multiply_negative(x: Value, y: Value) -> Value | None:
    """The sign of a factor is the sign of the product.

    x: f64[n], y: f64[n]
    multiply(negative(x), y) → negative(multiply(x, y))
    """
    other = minus(x)
    return None if other is None else -(other * y)


@rule("divide", mark=EXACT)
def divide_negative(x: Value, y: Value) -> Value | None:
    """The sign of a dividend or divisor is the sign of the quotient.

    x: f64[n], y: f64[n]
    divide(negative(x), y) → negative(divide(x, y))
    divide(x, negative(y)) → negative(divide(x, y))
    """
    other = minus(x)
    if other is not None:
        return -(other / y)
    other = minus(y)
    return None if other is None else -(x / other)


@rule("reciprocal", *ODD, mark=EXACT, takes_op=True)
def odd_of_negative(op: OpDef, x: Value) -> Value | None:
    """An odd function of -x is minus the function of x.

    x: f64[n]
    tanh(negative(x)) → negative(tanh(x))
    reciprocal(negative(x)) → negative(reciprocal(x))
    """
    other = operand_of(x, "negative")
    if other is None or not x.dtype.is_float:
        return None
    result: Value = -op(other)
    return result


@rule(*EVEN, mark=EXACT, takes_op=True)
def even_of_negative(op: OpDef, x: Value) -> Value | None:
    """An even function of -x is that of x.

    x: f64[n]
    cos(negative(x)) → cos(x)
    """
    other = operand_of(x, "negative")
    if other is None or not x.dtype.is_float:
        return None
    result: Value = op(other)
    return result


@rule("view", mark=EXACT)
def view_of_negative(x: Value, *, shape: Shape, map: Any) -> Value | None:
    """A part of a negation is the negation of that part; a broadcast stays outside.

    x: f64[n]
    slice_(negative(x), 0, 1, n) → negative(slice_(x, 0, 1, n))
    """
    other = operand_of(x, "negative")
    named = {axis for axis, _, _ in map}
    if other is None or any(a not in named for a in range(len(shape))):
        return None
    return -view_of(other, shape, map)


@rule("sum", "cumsum", "pad", "reshape", mark=ROUNDING, takes_op=True)
def linear_of_negative(op: OpDef, x: Value, **attributes: Any) -> Value | None:
    """The negation of each part is the negation of the whole. (Zeros put in may become -0.0.)

    x: f64[n]
    sum(negative(x), axes=(0,)) → negative(sum(x, axes=(0,)))
    """
    other = minus(x)
    if other is None or not x.dtype.is_float:
        return None
    result: Value = -op(other, **attributes)
    return result


@rule("dot", "matmul", mark=ROUNDING, takes_op=True)
def product_of_negative(op: OpDef, a: Value, b: Value) -> Value | None:
    """The sign of a matrix is the sign of the product.

    a: f64[n, m], b: f64[m]
    dot(negative(a), b) → negative(dot(a, b))
    dot(a, negative(b)) → negative(dot(a, b))
    """
    left, right = minus(a), minus(b)
    product: Value
    if left is not None:
        product = op(left, b)
    elif right is not None:
        product = op(a, right)
    else:
        return None
    return -product


@rule("select", mark=EXACT)
def select_of_negatives(condition: Value, x: Value, y: Value) -> Value | None:
    """The choice of two negations is the negation of the choice.

    c: bool[n], x: f64[n], y: f64[n]
    select(c, negative(x), negative(y)) → negative(select(c, x, y))
    """
    left, right = minus(x), minus(y)
    if left is None or right is None:
        return None
    result: Value = -REGISTRY["select"](condition, left, right)
    return result
