"""Arithmetic: ``+ - * / // %``, powers, roots, absolute value.

Booleans are refused: NumPy's ``True + True`` is a logical *or*, which a rule or a simplification
must never meet under the name of an addition. The tracer writes ``logical_or`` or a cast.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tracegrad.ir.core import Value
from tracegrad.ir.types import ArrayType, Dim
from tracegrad.ops.bitwise import narrowed
from tracegrad.ops.comparison import equal, logical_and
from tracegrad.ops.exponential import log
from tracegrad.ops.registry import Contribution, OpDef, elementwise, float_type, same_type
from tracegrad.ops.samples import both, integers, real, reals
from tracegrad.ops.selection import choose


def number_type(*types: ArrayType, **attributes: object) -> ArrayType:
    """As `same_type`, for numbers: no booleans."""
    result = same_type(*types)
    if result.dtype.is_bool:
        raise TypeError("numbers are needed, not booleans; cast them first")
    return result


def signed_type(*types: ArrayType, **attributes: object) -> ArrayType:
    """As `number_type`, for dtypes that have negative numbers."""
    result = number_type(*types)
    if result.dtype.numpy.kind == "u":
        raise TypeError(f"a signed dtype is needed, not {result.dtype}")
    return result


add = elementwise(
    "add",
    doc="Sum of two numbers.",
    reference=np.add,
    infix="+",
    array="np.add({0}, {1})",
    infer=number_type,
    local=lambda out, x, y: (1.0, 1.0),
    samples=both(reals((-3, 3), (-3, 3)), integers((-9, 9), (-9, 9))),
    stands_for=(np.add, operator.add),
)

subtract = elementwise(
    "subtract",
    doc="Difference of two numbers.",
    reference=np.subtract,
    infix="-",
    array="np.subtract({0}, {1})",
    infer=number_type,
    local=lambda out, x, y: (1.0, -1.0),
    samples=both(reals((-3, 3), (-3, 3)), integers((-9, 9), (-9, 9))),
    stands_for=(np.subtract, operator.sub),
)

multiply = elementwise(
    "multiply",
    doc="Product of two numbers.",
    reference=np.multiply,
    infix="*",
    array="np.multiply({0}, {1})",
    infer=number_type,
    local=lambda out, x, y: (y, x),
    samples=both(reals((-3, 3), (-3, 3)), integers((-9, 9), (-9, 9))),
    stands_for=(np.multiply, operator.mul),
)


def divide_local(out: Value, x: Value, y: Value) -> tuple[Contribution, ...]:
    """``(1/y, -out/y)``: one division serves both partials."""
    inverse = reciprocal(y)
    return inverse, -(out * inverse)


divide = elementwise(
    "divide",
    doc="Quotient of two floats. Integers are cast to floats first, by the tracer.",
    reference=np.divide,
    infix="/",
    array="np.divide({0}, {1})",
    infer=float_type,
    cost=4,
    local=divide_local,
    samples=reals((-3, 3), (0.5, 3)),
    stands_for=(np.divide, np.true_divide, operator.truediv),
)

reciprocal = elementwise(
    "reciprocal",
    doc="``1/x`` of a float.",
    reference=np.reciprocal,
    scalar="np.reciprocal({0})",
    array="np.reciprocal({0})",
    infer=float_type,
    cost=4,
    local=lambda out, x: (-(out * out),),
    samples=real(0.5, 3),
    stands_for=(np.reciprocal,),
)

negative = elementwise(
    "negative",
    doc="Number with its sign changed.",
    reference=np.negative,
    infix="-",
    array="np.negative({0})",
    infer=number_type,
    local=lambda out, x: (-1.0,),
    samples=both(real(-3, 3), integers((-9, 9))),
    stands_for=(np.negative, operator.neg),
)

# Without the subnormal number: kernels may divide by multiplying with a reciprocal (`arcp`),
# which overflows for a subnormal divisor.
DIVISION_EDGES = (0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3.0, np.inf, -np.inf, np.nan, 1e300)

floor_divide = elementwise(
    "floor_divide",
    doc="Quotient rounded down; its derivative is zero almost everywhere.",
    reference=np.floor_divide,
    infix="//",
    array="np.floor_divide({0}, {1})",
    infer=number_type,
    cost=6,
    local=lambda out, x, y: (None, None),
    samples=both(reals((0.1, 0.9), (1.1, 1.9), edges=DIVISION_EDGES), integers((-9, 9), (-9, 9))),
    stands_for=(np.floor_divide, operator.floordiv),
)

remainder = elementwise(
    "remainder",
    doc="What floor division leaves, with the sign of the divisor (Python's ``%``).",
    reference=np.remainder,
    infix="%",
    array="np.remainder({0}, {1})",
    infer=number_type,
    cost=6,
    local=lambda out, x, y: (1.0, -floor_divide(x, y)),
    samples=both(
        reals((2.3, 2.7), (1.1, 1.14), edges=DIVISION_EDGES),
        reals((-0.9, -0.1), (1.1, 1.9), edges=()),
        integers((-9, 9), (-9, 9)),
    ),
    stands_for=(np.remainder, np.mod, operator.mod),
)

fmod = elementwise(
    "fmod",
    doc="What truncated division leaves, with the sign of the dividend (C's ``fmod``).",
    reference=np.fmod,
    scalar="np.fmod({0}, {1})",
    array="np.fmod({0}, {1})",
    infer=float_type,
    cost=6,
    local=lambda out, x, y: (1.0, (out - x) / y),
    samples=both(
        reals((2.3, 2.7), (1.1, 1.14), edges=DIVISION_EDGES),
        reals((-2.7, -2.3), (1.1, 1.14), edges=()),
    ),
    stands_for=(np.fmod, math.fmod),
)

square = elementwise(
    "square",
    doc="``x * x``.",
    reference=np.square,
    scalar="np.square({0})",
    array="np.square({0})",
    infer=number_type,
    local=lambda out, x: (2.0 * x,),
    samples=both(real(-3, 3), integers((-9, 9))),
    stands_for=(np.square,),
)

sqrt = elementwise(
    "sqrt",
    doc="Square root; the derivative at 0 is infinite, as NumPy divides.",
    reference=np.sqrt,
    scalar="np.sqrt({0})",
    array="np.sqrt({0})",
    infer=float_type,
    cost=4,
    local=lambda out, x: (0.5 / out,),
    samples=real(0.5, 3),
    stands_for=(np.sqrt, math.sqrt),
)

cbrt = elementwise(
    "cbrt",
    doc="Cube root, of negative numbers too.",
    reference=np.cbrt,
    scalar="np.cbrt({0})",
    array="np.cbrt({0})",
    infer=float_type,
    cost=15,
    local=lambda out, x: (1.0 / (3.0 * (out * out)),),
    samples=both(real(0.5, 3), real(-3, -0.5, edges=())),
    stands_for=(np.cbrt,),
)


def known_number(x: Value) -> float | None:
    """The number that ``x`` is, when it is a constant or a constant seen through a view."""
    op = x.op
    while op is not None and op.name == "view":
        op = op.operands[0].op
    if op is None or op.name != "const" or isinstance(op.attributes["value"], tuple):
        return None
    number: float = op.attributes["value"]
    return number


def power_local(out: Value, x: Value, y: Value) -> tuple[Contribution, ...]:
    """``(y·x**(y-1), log(x)·out)``, finite at x = 0 wherever the limit is.

    With a constant exponent the first partial is written as one would by hand. With a variable
    one, the exponent ``y - 1`` is kept from ``0 * 0**-1`` where both x and y are 0, and the
    logarithm from ``log(0) * 0`` where x is 0: the arms that are not chosen stay finite too, so
    that the derivative of this rule is as clean.
    """
    number = known_number(y)
    if number is None:
        at_origin = logical_and(equal(x, 0.0), equal(y, 0.0))
        by_base: Contribution = y * power(x, choose(at_origin, 1.0, y - 1.0))
    elif number == 0.0:
        by_base = None
    elif number == 1.0:
        by_base = 1.0
    elif number == 2.0:
        by_base = 2.0 * x
    elif number == 3.0:
        by_base = 3.0 * square(x)
    else:
        by_base = number * power(x, number - 1.0)
    return by_base, log(choose(equal(x, 0.0), 1.0, x)) * out


def power_scalar(
    operands: Sequence[str],
    result: ArrayType,
    attributes: Mapping[str, Any],
    dims: Callable[[Dim], str],
) -> str:
    """Floats by vector maths; integers exactly, with NumPy's refusal of negative exponents."""
    x, y = operands
    if result.dtype.is_float:
        return f"pow({x}, {y})"
    return narrowed(f"integer_power({x}, {y})", result)


# No exponent 0.5: NumPy itself gives two answers for (-inf) ** 0.5, one for a scalar exponent
# and one for an array of them.
POWER_EDGES = (0.0, -0.0, 1.0, -1.0, -2.5, 3.0, np.inf, -np.inf, np.nan, 1e-310, 1e300)

power = elementwise(
    "power",
    doc="``x ** y``. For a negative x the partial by y is NaN (the logarithm's), as it must be.",
    reference=np.power,
    scalar=power_scalar,
    vector_maths=("integer_power", "pow"),
    array="np.power({0}, {1})",
    infer=number_type,
    cost=20,
    local=power_local,
    samples=both(reals((0.5, 3), (-2, 2), edges=POWER_EDGES), integers((-9, 9), (0, 5))),
    stands_for=(np.power, operator.pow, math.pow),
)

absolute = elementwise(
    "absolute",
    doc="Absolute value; the derivative at 0 is 0.",
    reference=np.absolute,
    scalar="np.abs({0})",
    array="np.abs({0})",
    infer=signed_type,
    local=lambda out, x: (sign(x),),
    samples=both(real(0.5, 3), real(-3, -0.5, edges=()), integers((-9, 9))),
    stands_for=(np.absolute, np.fabs, math.fabs, abs),
)

sign: OpDef = elementwise(
    "sign",
    doc="-1, 0 or 1, and NaN of NaN; its derivative is 0 everywhere.",
    reference=np.sign,
    scalar="np.sign({0})",
    array="np.sign({0})",
    infer=signed_type,
    local=lambda out, x: (None,),
    samples=both(real(0.5, 3), real(-3, -0.5, edges=()), integers((-9, 9))),
    stands_for=(np.sign,),
)

copysign: OpDef = elementwise(
    "copysign",
    doc="The magnitude of the first operand with the sign of the second.",
    reference=np.copysign,
    scalar="np.copysign({0}, {1})",
    array="np.copysign({0}, {1})",
    infer=float_type,
    local=lambda out, x, y: (copysign(sign(x), out) * sign(x), None),
    samples=both(reals((0.5, 3), (-3, -0.5)), reals((-3, -0.5), (0.5, 3), edges=())),
    stands_for=(np.copysign, math.copysign),
)


def hypot_local(out: Value, x: Value, y: Value) -> tuple[Contribution, ...]:
    """``(x/out, y/out)``, and 0 at the origin."""
    inverse = reciprocal(choose(equal(out, 0.0), 1.0, out))
    return x * inverse, y * inverse


hypot = elementwise(
    "hypot",
    doc="``sqrt(x*x + y*y)`` without overflow; both partials are 0 at the origin.",
    reference=np.hypot,
    scalar="np.hypot({0}, {1})",
    array="np.hypot({0}, {1})",
    infer=float_type,
    cost=12,
    local=hypot_local,
    samples=reals((-3, 3), (0.5, 3)),
    stands_for=(np.hypot,),
)
