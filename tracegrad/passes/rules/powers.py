"""Powers with a constant exponent, squares."""

from __future__ import annotations

from tracegrad.ir.core import Value
from tracegrad.ops.registry import REGISTRY, expand_to, full_like
from tracegrad.passes.table import EXACT, ROUNDING, rule
from tracegrad.passes.values import array_shape, number, operand_of


def _op(name: str, *operands: Value) -> Value:
    result: Value = REGISTRY[name](*operands)
    return result


def _exponent(x: Value, y: Value) -> float | None:
    """The exponent when it is a known number and the base gives the shape."""
    if x.rank != len(array_shape(x, y)) or not x.dtype.is_float:
        return None
    return number(y)


@rule("power", mark=EXACT)
def power_zero(x: Value, y: Value) -> Value | None:
    """Any number to the power 0 is 1, NaN included.

    x: f64[n]
    power(x, 0.0) → view(1.0, shape=(n,), map=())
    """
    return expand_to(full_like(x, 1), array_shape(x, y)) if _exponent(x, y) == 0 else None


@rule("power", mark=EXACT)
def power_one(x: Value, y: Value) -> Value | None:
    """The power 1 is the number.

    x: f64[n]
    power(x, 1.0) → x
    """
    return x if _exponent(x, y) == 1 else None


@rule("power", mark=EXACT)
def power_two(x: Value, y: Value) -> Value | None:
    """The power 2 is a square.

    x: f64[n]
    power(x, 2.0) → square(x)
    """
    return _op("square", x) if _exponent(x, y) == 2 else None


@rule("power", mark=ROUNDING)
def power_of_few_factors(x: Value, y: Value) -> Value | None:
    """A small whole or half power is a product of few factors, with a square root for the half.

    x: f64[n]
    power(x, 3.0) → multiply(square(x), x)
    power(x, 0.5) → sqrt(x)
    power(x, 1.5) → multiply(x, sqrt(x))
    power(x, -1.5) → reciprocal(multiply(x, sqrt(x)))

    Half powers differ at two numbers: of -inf they are NaN as of every negative number, where C's
    pow makes an exception; and -0.0 keeps its sign under the root.
    """
    exponent = _exponent(x, y)
    if exponent is None or exponent == 0 or abs(exponent) > 4 or (2 * exponent) % 1:
        return None
    whole, half = divmod(abs(exponent), 1)
    product: Value | None = None
    if whole:
        # 1: x, 2: x², 3: x²·x, 4: (x²)²
        product = x if whole == 1 else _op("square", x)
        if whole == 3:
            product = product * x
        elif whole == 4:
            product = _op("square", product)
    if half:
        root = _op("sqrt", x)
        product = root if product is None else product * root
    assert product is not None
    return _op("reciprocal", product) if exponent < 0 else product


@rule("multiply", mark=EXACT)
def multiply_by_itself(x: Value, y: Value) -> Value | None:
    """A product with itself is a square.

    x: f64[n]
    multiply(x, x) → square(x)
    """
    return _op("square", x) if x is y and x.dtype.is_float else None


@rule("square", "absolute", mark=EXACT, takes_op=True)
def of_absolute(op: object, x: Value) -> Value | None:
    """The sign is lost anyway.

    x: f64[n]
    square(absolute(x)) → square(x)
    absolute(absolute(x)) → absolute(x)
    """
    inner = operand_of(x, "absolute")
    if inner is None:
        return None
    assert callable(op)
    result: Value = op(inner)
    return result


@rule("absolute", mark=EXACT)
def absolute_of_square(x: Value) -> Value | None:
    """Squares, exponentials and roots are not negative.

    x: f64[n]
    absolute(exp(x)) → exp(x)
    """
    op = x.op
    return x if op is not None and op.opdef.name in ("square", "exp") else None
