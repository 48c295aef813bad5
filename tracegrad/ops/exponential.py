"""Exponentials, logarithms and hyperbolic functions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tracegrad.ir.core import Value
from tracegrad.ir.types import ArrayType, Dim, f32
from tracegrad.ops.comparison import isinf, less, logical_and
from tracegrad.ops.registry import Contribution, OpDef, elementwise, float_type
from tracegrad.ops.samples import real, reals
from tracegrad.ops.selection import choose

LN2 = math.log(2.0)
LN10 = math.log(10.0)

exp = elementwise(
    "exp",
    doc="e to the power of x.",
    reference=np.exp,
    scalar="exp({0})",
    vector_maths=("exp",),
    serial="np.exp({0})",
    array="np.exp({0})",
    infer=float_type,
    cost=12,
    local=lambda out, x: (out,),
    samples=real(-3, 3),
    stands_for=(np.exp, math.exp),
)


def exp2_scalar(
    operands: Sequence[str],
    result: ArrayType,
    attributes: Mapping[str, Any],
    dims: Callable[[Dim], str],
) -> str:
    """An f32 goes through f64: Numba 0.68 can't compile ``np.exp2`` of both in one module."""
    (x,) = operands
    return f"np.float32(np.exp2(np.float64({x})))" if result.dtype is f32 else f"np.exp2({x})"


exp2 = elementwise(
    "exp2",
    doc="2 to the power of x.",
    reference=np.exp2,
    scalar=exp2_scalar,
    array="np.exp2({0})",
    infer=float_type,
    cost=12,
    local=lambda out, x: (LN2 * out,),
    samples=real(-3, 3),
    stands_for=(np.exp2,),
)

expm1 = elementwise(
    "expm1",
    doc="``exp(x) - 1``, accurate near 0.",
    reference=np.expm1,
    scalar="expm1({0})",
    vector_maths=("expm1",),
    array="np.expm1({0})",
    infer=float_type,
    cost=15,
    local=lambda out, x: (out + 1.0,),
    samples=real(-3, 3),
    stands_for=(np.expm1, math.expm1),
)

log = elementwise(
    "log",
    doc="Natural logarithm.",
    reference=np.log,
    scalar="log({0})",
    vector_maths=("log",),
    serial="np.log({0})",
    array="np.log({0})",
    infer=float_type,
    cost=12,
    local=lambda out, x: (1.0 / x,),
    samples=real(0.5, 3),
    stands_for=(np.log,),
)

log1p = elementwise(
    "log1p",
    doc="``log(1 + x)``, accurate near 0.",
    reference=np.log1p,
    scalar="log1p({0})",
    vector_maths=("log1p",),
    array="np.log1p({0})",
    infer=float_type,
    cost=15,
    local=lambda out, x: (1.0 / (1.0 + x),),
    samples=real(-0.5, 3),
    stands_for=(np.log1p, math.log1p),
)

log2 = elementwise(
    "log2",
    doc="Logarithm to base 2.",
    reference=np.log2,
    scalar="log2({0})",
    vector_maths=("log2",),
    serial="np.log2({0})",
    array="np.log2({0})",
    infer=float_type,
    cost=12,
    local=lambda out, x: (1.0 / (LN2 * x),),
    samples=real(0.5, 3),
    stands_for=(np.log2, math.log2),
)

log10 = elementwise(
    "log10",
    doc="Logarithm to base 10.",
    reference=np.log10,
    scalar="log10({0})",
    vector_maths=("log10",),
    serial="np.log10({0})",
    array="np.log10({0})",
    infer=float_type,
    cost=12,
    local=lambda out, x: (1.0 / (LN10 * x),),
    samples=real(0.5, 3),
    stands_for=(np.log10, math.log10),
)


def logaddexp_local(out: Value, x: Value, y: Value) -> tuple[Contribution, ...]:
    """``(exp(x - out), exp(y - out))``: how much of the sum each operand is.

    Where both operands are -inf (two impossible events) each partial is 0, not NaN.
    """
    nothing = logical_and(isinf(out), less(out, 0.0))
    total = choose(nothing, 0.0, out)
    return exp(x - total), exp(y - total)


logaddexp = elementwise(
    "logaddexp",
    doc="``log(exp(x) + exp(y))`` without overflow.",
    reference=np.logaddexp,
    scalar="np.logaddexp({0}, {1})",
    array="np.logaddexp({0}, {1})",
    infer=float_type,
    cost=30,
    local=logaddexp_local,
    samples=reals((-3, 3), (-3, 3)),
    stands_for=(np.logaddexp,),
)

sinh = elementwise(
    "sinh",
    doc="Hyperbolic sine.",
    reference=np.sinh,
    scalar="sinh({0})",
    vector_maths=("sinh",),
    array="np.sinh({0})",
    infer=float_type,
    cost=20,
    local=lambda out, x: (cosh(x),),
    samples=real(-3, 3),
    stands_for=(np.sinh, math.sinh),
)

cosh: OpDef = elementwise(
    "cosh",
    doc="Hyperbolic cosine.",
    reference=np.cosh,
    scalar="cosh({0})",
    vector_maths=("cosh",),
    array="np.cosh({0})",
    infer=float_type,
    cost=20,
    local=lambda out, x: (sinh(x),),
    samples=real(-3, 3),
    stands_for=(np.cosh, math.cosh),
)

tanh = elementwise(
    "tanh",
    doc="Hyperbolic tangent.",
    reference=np.tanh,
    scalar="tanh({0})",
    vector_maths=("tanh",),
    array="np.tanh({0})",
    infer=float_type,
    cost=15,
    local=lambda out, x: (1.0 - out * out,),
    samples=real(-3, 3),
    stands_for=(np.tanh, math.tanh),
    source="DLMF 4.34.10",
)
