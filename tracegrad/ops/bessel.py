"""Bessel functions and their kin: every derivative is a combination of other orders.

There is no derivative with respect to the order. At the poles (x = 0 of the second kind)
derivatives are NaN.
"""

from __future__ import annotations

import math

from tracegrad.ir.core import Value
from tracegrad.ops.arithmetic import power, sign
from tracegrad.ops.entries import NO_CLOSED_FORM, POINTS, scipy_function
from tracegrad.ops.registry import Contribution, OpDef
from tracegrad.ops.samples import both, real, reals
from tracegrad.ops.special import gamma

ORDER = {0: f"{NO_CLOSED_FORM} in the order"}
ORDERS = (0.0, 1.0, 2.5, -0.5, math.nan)
_LINE = both(real(0.4, 6.0, edges=POINTS), real(-5.0, -0.5, edges=()))
_POSITIVE = real(0.4, 6.0, edges=POINTS)
_OF_ORDER = reals((0.2, 3.5), (0.5, 6.0), edges=ORDERS)

# --- of the first and the second kind ---------------------------------------------------------

j0: OpDef = scipy_function(
    "j0",
    doc="Bessel function of the first kind and order 0.",
    local=lambda out, x: (-j1(x),),
    samples=_LINE,
    source="DLMF 10.6.3",
)
j1: OpDef = scipy_function(
    "j1",
    doc="Bessel function of the first kind and order 1.",
    local=lambda out, x: (0.5 * (j0(x) - jv(2.0, x)),),
    samples=_LINE,
    source="DLMF 10.6.1",
)
jv: OpDef = scipy_function(
    "jv",
    doc="Bessel function of the first kind and order v.",
    operands=2,
    local=lambda out, v, x: (None, 0.5 * (jv(v - 1.0, x) - jv(v + 1.0, x))),
    fixed=ORDER,
    samples=_OF_ORDER,
    source="DLMF 10.6.1",
)
y0: OpDef = scipy_function(
    "y0",
    doc="Bessel function of the second kind and order 0.",
    local=lambda out, x: (-y1(x),),
    samples=_POSITIVE,
    source="DLMF 10.6.3",
)
y1: OpDef = scipy_function(
    "y1",
    doc="Bessel function of the second kind and order 1.",
    local=lambda out, x: (0.5 * (y0(x) - yv(2.0, x)),),
    samples=_POSITIVE,
    source="DLMF 10.6.1",
)
yv: OpDef = scipy_function(
    "yv",
    doc="Bessel function of the second kind and order v.",
    operands=2,
    local=lambda out, v, x: (None, 0.5 * (yv(v - 1.0, x) - yv(v + 1.0, x))),
    fixed=ORDER,
    samples=_OF_ORDER,
    source="DLMF 10.6.1",
)

# --- modified ---------------------------------------------------------------------------------

i0: OpDef = scipy_function(
    "i0",
    doc="Modified Bessel function of the first kind and order 0.",
    local=lambda out, x: (i1(x),),
    samples=_LINE,
    source="DLMF 10.29.3",
)
i1: OpDef = scipy_function(
    "i1",
    doc="Modified Bessel function of the first kind and order 1.",
    local=lambda out, x: (0.5 * (i0(x) + iv(2.0, x)),),
    samples=_LINE,
    source="DLMF 10.29.1",
)
iv: OpDef = scipy_function(
    "iv",
    doc="Modified Bessel function of the first kind and order v.",
    operands=2,
    local=lambda out, v, x: (None, 0.5 * (iv(v - 1.0, x) + iv(v + 1.0, x))),
    fixed=ORDER,
    samples=_OF_ORDER,
    source="DLMF 10.29.1",
)
k0: OpDef = scipy_function(
    "k0",
    doc="Modified Bessel function of the second kind and order 0.",
    local=lambda out, x: (-k1(x),),
    samples=_POSITIVE,
    source="DLMF 10.29.3",
)
k1: OpDef = scipy_function(
    "k1",
    doc="Modified Bessel function of the second kind and order 1.",
    local=lambda out, x: (-0.5 * (k0(x) + kv(2.0, x)),),
    samples=_POSITIVE,
    source="DLMF 10.29.1",
)
kv: OpDef = scipy_function(
    "kv",
    doc="Modified Bessel function of the second kind and order v.",
    operands=2,
    local=lambda out, v, x: (None, -0.5 * (kv(v - 1.0, x) + kv(v + 1.0, x))),
    fixed=ORDER,
    samples=_OF_ORDER,
    source="DLMF 10.29.1",
)

# --- modified, without their exponential growth -----------------------------------------------

i0e: OpDef = scipy_function(
    "i0e",
    doc="``exp(-abs(x)) * i0(x)``; the derivative at 0 is 0, between those of the two sides.",
    local=lambda out, x: (i1e(x) - sign(x) * out,),
    samples=_LINE,
    source="DLMF 10.29.3",
)
i1e: OpDef = scipy_function(
    "i1e",
    doc="``exp(-abs(x)) * i1(x)``.",
    local=lambda out, x: (0.5 * (i0e(x) + ive(2.0, x)) - sign(x) * out,),
    samples=_LINE,
    source="DLMF 10.29.1",
)
ive: OpDef = scipy_function(
    "ive",
    doc="``exp(-abs(x)) * iv(v, x)``.",
    operands=2,
    local=lambda out, v, x: (None, 0.5 * (ive(v - 1.0, x) + ive(v + 1.0, x)) - sign(x) * out),
    fixed=ORDER,
    samples=_OF_ORDER,
    source="DLMF 10.29.1",
)
k0e: OpDef = scipy_function(
    "k0e",
    doc="``exp(x) * k0(x)``.",
    local=lambda out, x: (out - k1e(x),),
    samples=_POSITIVE,
    source="DLMF 10.29.3",
)
k1e: OpDef = scipy_function(
    "k1e",
    doc="``exp(x) * k1(x)``.",
    local=lambda out, x: (out - 0.5 * (k0e(x) + kve(2.0, x)),),
    samples=_POSITIVE,
    source="DLMF 10.29.1",
)
kve: OpDef = scipy_function(
    "kve",
    doc="``exp(x) * kv(v, x)``.",
    operands=2,
    local=lambda out, v, x: (None, out - 0.5 * (kve(v - 1.0, x) + kve(v + 1.0, x))),
    fixed=ORDER,
    samples=_OF_ORDER,
    source="DLMF 10.29.1",
)


# --- Struve, Kelvin, Airy ---------------------------------------------------------------------


def _struve_term(v: Value, x: Value) -> Value:
    """(x/2)^v / (√π Γ(v + 3/2)): what the recurrences have beside those of Bessel functions."""
    found: Value = power(0.5 * x, v) / (math.sqrt(math.pi) * gamma(v + 1.5))
    return found


def _struve_local(out: Value, v: Value, x: Value) -> tuple[Contribution, ...]:
    return None, 0.5 * (struve(v - 1.0, x) - struve(v + 1.0, x) + _struve_term(v, x))


def _modstruve_local(out: Value, v: Value, x: Value) -> tuple[Contribution, ...]:
    return None, 0.5 * (modstruve(v - 1.0, x) + modstruve(v + 1.0, x) + _struve_term(v, x))


struve: OpDef = scipy_function(
    "struve",
    doc="Struve function of order v.",
    operands=2,
    local=_struve_local,
    fixed=ORDER,
    samples=_OF_ORDER,
    source="DLMF 11.4.25, 11.4.27",
)
modstruve: OpDef = scipy_function(
    "modstruve",
    doc="Modified Struve function of order v.",
    operands=2,
    local=_modstruve_local,
    fixed=ORDER,
    samples=_OF_ORDER,
    source="DLMF 11.4.26, 11.4.28",
)

ber: OpDef = scipy_function(
    "ber",
    doc="Kelvin function ber.",
    local=lambda out, x: (berp(x),),
    samples=_POSITIVE,
    source="DLMF 10.61.1",
)
bei: OpDef = scipy_function(
    "bei",
    doc="Kelvin function bei.",
    local=lambda out, x: (beip(x),),
    samples=_POSITIVE,
    source="DLMF 10.61.1",
)
berp: OpDef = scipy_function(
    "berp",
    doc="Derivative of the Kelvin function ber.",
    local=lambda out, x: (-bei(x) - out / x,),
    samples=_POSITIVE,
    source="DLMF 10.61.3",
)
beip: OpDef = scipy_function(
    "beip",
    doc="Derivative of the Kelvin function bei.",
    local=lambda out, x: (ber(x) - out / x,),
    samples=_POSITIVE,
    source="DLMF 10.61.3",
)
ker: OpDef = scipy_function(
    "ker",
    doc="Kelvin function ker.",
    local=lambda out, x: (kerp(x),),
    samples=_POSITIVE,
    source="DLMF 10.61.2",
)
kei: OpDef = scipy_function(
    "kei",
    doc="Kelvin function kei.",
    local=lambda out, x: (keip(x),),
    samples=_POSITIVE,
    source="DLMF 10.61.2",
)
kerp: OpDef = scipy_function(
    "kerp",
    doc="Derivative of the Kelvin function ker.",
    local=lambda out, x: (-kei(x) - out / x,),
    samples=_POSITIVE,
    source="DLMF 10.61.3",
)
keip: OpDef = scipy_function(
    "keip",
    doc="Derivative of the Kelvin function kei.",
    local=lambda out, x: (ker(x) - out / x,),
    samples=_POSITIVE,
    source="DLMF 10.61.3",
)

_AIRY = both(real(0.2, 3.0, edges=POINTS), real(-4.0, -0.2, edges=()))
airy_ai: OpDef = scipy_function(
    "airy_ai",
    doc="Airy function Ai.",
    function="airy",
    result=0,
    local=lambda out, x: (airy_aip(x),),
    samples=_AIRY,
    source="DLMF 9.2.1",
)
airy_aip: OpDef = scipy_function(
    "airy_aip",
    doc="Derivative of the Airy function Ai.",
    function="airy",
    result=1,
    local=lambda out, x: (x * airy_ai(x),),
    samples=_AIRY,
    source="DLMF 9.2.1",
)
airy_bi: OpDef = scipy_function(
    "airy_bi",
    doc="Airy function Bi.",
    function="airy",
    result=2,
    local=lambda out, x: (airy_bip(x),),
    samples=_AIRY,
    source="DLMF 9.2.1",
)
airy_bip: OpDef = scipy_function(
    "airy_bip",
    doc="Derivative of the Airy function Bi.",
    function="airy",
    result=3,
    local=lambda out, x: (x * airy_bi(x),),
    samples=_AIRY,
    source="DLMF 9.2.1",
)
