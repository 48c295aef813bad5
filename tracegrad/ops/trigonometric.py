"""Circular functions and their inverses; the inverse hyperbolic functions."""

from __future__ import annotations

import math

import numpy as np

from tracegrad.ir.core import Value
from tracegrad.ops.arithmetic import reciprocal, sqrt
from tracegrad.ops.registry import Contribution, OpDef, elementwise, float_type
from tracegrad.ops.samples import real, reals

# Periodic functions are compared at edges of moderate size: at 1e300 the libraries differ.
PERIODIC_EDGES = (0.0, -0.0, 1.0, -2.5, 700.0, 1e5, math.inf, -math.inf, math.nan, 1e-310)

sin = elementwise(
    "sin",
    doc="Sine of an angle in radians.",
    reference=np.sin,
    scalar="sin({0})",
    vector_maths=("sin",),
    array="np.sin({0})",
    infer=float_type,
    cost=15,
    local=lambda out, x: (cos(x),),
    samples=real(-3, 3, edges=PERIODIC_EDGES),
    stands_for=(np.sin, math.sin),
)

cos: OpDef = elementwise(
    "cos",
    doc="Cosine of an angle in radians.",
    reference=np.cos,
    scalar="cos({0})",
    vector_maths=("cos",),
    array="np.cos({0})",
    infer=float_type,
    cost=15,
    local=lambda out, x: (-sin(x),),
    samples=real(-3, 3, edges=PERIODIC_EDGES),
    stands_for=(np.cos, math.cos),
)

tan = elementwise(
    "tan",
    doc="Tangent of an angle in radians.",
    reference=np.tan,
    scalar="tan({0})",
    vector_maths=("tan",),
    array="np.tan({0})",
    infer=float_type,
    cost=20,
    local=lambda out, x: (1.0 + out * out,),
    samples=real(-1, 1, edges=PERIODIC_EDGES),
    stands_for=(np.tan, math.tan),
)

arcsin = elementwise(
    "arcsin",
    doc="Inverse sine, in [-π/2, π/2].",
    reference=np.arcsin,
    scalar="arcsin({0})",
    vector_maths=("arcsin",),
    array="np.arcsin({0})",
    infer=float_type,
    cost=20,
    local=lambda out, x: (reciprocal(sqrt((1.0 - x) * (1.0 + x))),),
    samples=real(-0.9, 0.9),
    stands_for=(np.arcsin, math.asin),
    source="DLMF 4.24.7",
)

arccos = elementwise(
    "arccos",
    doc="Inverse cosine, in [0, π].",
    reference=np.arccos,
    scalar="arccos({0})",
    vector_maths=("arccos",),
    array="np.arccos({0})",
    infer=float_type,
    cost=20,
    local=lambda out, x: (-reciprocal(sqrt((1.0 - x) * (1.0 + x))),),
    samples=real(-0.9, 0.9),
    stands_for=(np.arccos, math.acos),
    source="DLMF 4.24.8",
)

arctan = elementwise(
    "arctan",
    doc="Inverse tangent, in [-π/2, π/2].",
    reference=np.arctan,
    scalar="arctan({0})",
    vector_maths=("arctan",),
    array="np.arctan({0})",
    infer=float_type,
    cost=15,
    local=lambda out, x: (reciprocal(1.0 + x * x),),
    samples=real(-3, 3),
    stands_for=(np.arctan, math.atan),
    source="DLMF 4.24.9",
)


def arctan2_local(out: Value, y: Value, x: Value) -> tuple[Contribution, ...]:
    """``(x, -y) / (x² + y²)``; undefined (NaN) at the origin."""
    inverse = reciprocal(x * x + y * y)
    return x * inverse, -(y * inverse)


arctan2 = elementwise(
    "arctan2",
    doc="Angle of the point (x, y), operands in the order y, x; its quadrant is kept.",
    reference=np.arctan2,
    scalar="arctan2({0}, {1})",
    vector_maths=("arctan2",),
    array="np.arctan2({0}, {1})",
    infer=float_type,
    cost=25,
    local=arctan2_local,
    samples=reals((-3, 3), (0.5, 3)),
    stands_for=(np.arctan2, math.atan2),
)

arcsinh = elementwise(
    "arcsinh",
    doc="Inverse hyperbolic sine.",
    reference=np.arcsinh,
    scalar="np.arcsinh({0})",
    array="np.arcsinh({0})",
    infer=float_type,
    cost=25,
    local=lambda out, x: (reciprocal(sqrt(1.0 + x * x)),),
    samples=real(-3, 3),
    stands_for=(np.arcsinh, math.asinh),
    source="DLMF 4.38.9",
)

arccosh = elementwise(
    "arccosh",
    doc="Inverse hyperbolic cosine, of x ≥ 1.",
    reference=np.arccosh,
    scalar="np.arccosh({0})",
    array="np.arccosh({0})",
    infer=float_type,
    cost=25,
    # Two roots: the root of the product is not NaN where x < -1, outside the domain.
    local=lambda out, x: (reciprocal(sqrt(x - 1.0) * sqrt(x + 1.0)),),
    samples=real(1.5, 3),
    stands_for=(np.arccosh, math.acosh),
    source="DLMF 4.38.10",
)

arctanh = elementwise(
    "arctanh",
    doc="Inverse hyperbolic tangent, of |x| < 1.",
    reference=np.arctanh,
    scalar="np.arctanh({0})",
    array="np.arctanh({0})",
    infer=float_type,
    cost=25,
    local=lambda out, x: (reciprocal((1.0 - x) * (1.0 + x)),),
    samples=real(-0.9, 0.9),
    stands_for=(np.arctanh, math.atanh),
    source="DLMF 4.38.11",
)
