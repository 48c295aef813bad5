"""Functions that are integrals of elementary ones: error, exponential and elliptic integrals.

Where a derivative is a quotient that loses digits, it is written as its series there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tracegrad.ir.core import Value
from tracegrad.ops.arithmetic import absolute, power
from tracegrad.ops.comparison import greater, less
from tracegrad.ops.entries import NO_CLOSED_FORM, POINTS, scipy_function
from tracegrad.ops.exponential import cosh, exp, log, sinh
from tracegrad.ops.hypergeometric import hyp2f1
from tracegrad.ops.registry import Contribution, OpDef, full_like
from tracegrad.ops.samples import both, real, reals
from tracegrad.ops.selection import choose, maximum
from tracegrad.ops.special import erf
from tracegrad.ops.trigonometric import cos, sin

SQRT_PI = math.sqrt(math.pi)
SQRT_2PI = math.sqrt(2.0 * math.pi)
PROBABILITIES = (0.0, 1.0, 0.5, -0.1, 1.1, 1e-300, math.nan)
_LINE = both(real(0.3, 4.0, edges=POINTS), real(-4.0, -0.3, edges=()))
_POSITIVE = real(0.3, 5.0, edges=POINTS)
_POWERED = ", with its power series near 0"


def polynomial(x: Value, coefficients: Sequence[float]) -> Value:
    """Σ coefficients[k] xᵏ."""
    total = full_like(x, coefficients[-1])
    for each in reversed(coefficients[:-1]):
        total = total * x + each
    return total


# --- error functions --------------------------------------------------------------------------

erfinv: OpDef = scipy_function(
    "erfinv",
    doc="Inverse of the error function.",
    local=lambda out, y: (0.5 * SQRT_PI * exp(out * out),),
    samples=real(-0.9, 0.9, edges=(*PROBABILITIES, -1.0)),
    source="DLMF 7.17.1, 7.2.1",
)
erfcinv: OpDef = scipy_function(
    "erfcinv",
    doc="Inverse of the complementary error function.",
    local=lambda out, y: (-0.5 * SQRT_PI * exp(out * out),),
    samples=real(0.1, 1.9, edges=(*PROBABILITIES, 2.0)),
    source="DLMF 7.17.1, 7.2.2",
)
ndtri: OpDef = scipy_function(
    "ndtri",
    doc="Inverse of the distribution function of the normal distribution.",
    local=lambda out, y: (SQRT_2PI * exp(0.5 * out * out),),
    samples=real(0.1, 0.9, edges=PROBABILITIES),
    source="DLMF 7.17.1",
)
ndtri_exp: OpDef = scipy_function(
    "ndtri_exp",
    doc="``ndtri(exp(y))`` without underflow.",
    local=lambda out, y: (SQRT_2PI * exp(y + 0.5 * out * out),),
    samples=real(-4.0, -0.1, edges=(0.0, -1e-20, -700.0, -1e10, math.nan, 1.0)),
    source="DLMF 7.17.1",
)


def _tail(x: Value, sign: float) -> Value:
    """Σ signᵏ⁻¹ (2k - 1)!! / (2x²)ᵏ, k ≥ 1, for x beyond 10 (DLMF 7.12.1)."""
    z = 0.5 / (x * x)
    total = full_like(x, 0.0)
    for k in range(9, 0, -1):
        total = (2.0 * k - 1.0) * z * (1.0 + sign * total)
    return total


def _erfcx_local(out: Value, x: Value) -> tuple[Contribution, ...]:
    far = greater(x, 10.0)
    tail = _tail(choose(far, x, 10.0), -1.0)
    return (choose(far, -2.0 / SQRT_PI * tail, 2.0 * x * out - 2.0 / SQRT_PI),)


def _dawsn_local(out: Value, x: Value) -> tuple[Contribution, ...]:
    far = greater(absolute(x), 10.0)
    tail = _tail(choose(far, x, 10.0), 1.0)
    return (choose(far, -tail, 1.0 - 2.0 * x * out),)


erfcx: OpDef = scipy_function(
    "erfcx",
    doc="``exp(x**2) * erfc(x)``.",
    local=_erfcx_local,
    samples=both(real(0.2, 3.0, edges=POINTS), real(-2.0, -0.2, edges=()), real(11, 30, edges=())),
    source="DLMF 7.10.1, beyond 10 its series 7.12.1",
)
erfi: OpDef = scipy_function(
    "erfi",
    doc="Imaginary error function.",
    local=lambda out, x: (2.0 / SQRT_PI * exp(x * x),),
    samples=real(-2.0, 2.0, edges=POINTS),
    source="DLMF 7.2.1",
)
dawsn: OpDef = scipy_function(
    "dawsn",
    doc="Dawson's integral.",
    local=_dawsn_local,
    samples=both(real(-3.0, 3.0, edges=POINTS), real(11, 30, edges=())),
    source="DLMF 7.2.5, beyond 10 its series 7.12.1",
)
owens_t: OpDef = scipy_function(
    "owens_t",
    doc="Owen's T function.",
    operands=2,
    local=lambda out, h, a: (
        -0.5 / SQRT_2PI * exp(-0.5 * h * h) * erf(math.sqrt(0.5) * a * h),
        exp(-0.5 * h * h * (1.0 + a * a)) / (2.0 * math.pi * (1.0 + a * a)),
    ),
    samples=reals((-2, 2), (-2, 2), edges=(0.0, 1.0, math.inf, math.nan)),
    source="Owen, Ann. Math. Statist. 27 (1956)",
)

# --- exponential, sine and cosine integrals ---------------------------------------------------

expi: OpDef = scipy_function(
    "expi",
    doc="Exponential integral Ei.",
    local=lambda out, x: (exp(x) / x,),
    samples=_LINE,
    source="DLMF 6.2.5",
)
exp1: OpDef = scipy_function(
    "exp1",
    doc="Exponential integral E₁.",
    local=lambda out, x: (-exp(-x) / x,),
    samples=_POSITIVE,
    source="DLMF 6.2.1",
)


def _expn_local(out: Value, n: Value, x: Value) -> tuple[Contribution, ...]:
    none = less(n, 1.0)
    at_zero = -exp(-x) * (1.0 + 1.0 / x) / x
    return None, choose(none, at_zero, -expn(maximum(n - 1.0, 0.0), x))


expn: OpDef = scipy_function(
    "expn",
    doc="Generalised exponential integral of whole order n.",
    operands=2,
    local=_expn_local,
    fixed={0: "it is a whole number"},
    samples=lambda rng: [
        replace(s, operands=(np.round(s.operands[0]), s.operands[1]))
        for s in reals((0.0, 4.0), (0.3, 4.0), edges=(0.0, 1.0, 3.0, -1.0, 60.0))(rng)
    ],
    source="DLMF 8.19.13",
)

_SINC = [(-1.0) ** k / math.factorial(2 * k + 1) for k in range(10)]


def _sinc(x: Value) -> Value:
    """sin(x)/x, by its series where the quotient's derivatives would lose digits."""
    near = less(absolute(x), 1.0)
    far = choose(near, 1.0, x)
    close = choose(near, x, 0.0)
    return choose(near, polynomial(close * close, _SINC), sin(far) / far)


def _sinhc(x: Value) -> Value:
    near = less(absolute(x), 1.0)
    far = choose(near, 1.0, x)
    close = choose(near, x, 0.0)
    return choose(near, polynomial(close * close, [abs(c) for c in _SINC]), sinh(far) / far)


sici_si: OpDef = scipy_function(
    "sici_si",
    doc="Sine integral Si, the first result of ``sici``.",
    function="sici",
    result=0,
    local=lambda out, x: (_sinc(x),),
    samples=both(_LINE, real(-0.5, 0.5, edges=())),
    source=f"DLMF 6.2.9{_POWERED}",
)
sici_ci: OpDef = scipy_function(
    "sici_ci",
    doc="Cosine integral Ci, the second result of ``sici``; that of abs(x) for a negative x.",
    function="sici",
    result=1,
    local=lambda out, x: (cos(x) / x,),
    samples=_LINE,
    source="DLMF 6.2.11",
)
shichi_shi: OpDef = scipy_function(
    "shichi_shi",
    doc="Hyperbolic sine integral, the first result of ``shichi``.",
    function="shichi",
    result=0,
    local=lambda out, x: (_sinhc(x),),
    samples=both(_LINE, real(-0.5, 0.5, edges=())),
    source=f"DLMF 6.2.15{_POWERED}",
)
shichi_chi: OpDef = scipy_function(
    "shichi_chi",
    doc="Hyperbolic cosine integral, the second result of ``shichi``.",
    function="shichi",
    result=1,
    local=lambda out, x: (cosh(x) / x,),
    samples=_LINE,
    source="DLMF 6.2.16",
)
fresnel_s: OpDef = scipy_function(
    "fresnel_s",
    doc="Fresnel integral S, the first result of ``fresnel``.",
    function="fresnel",
    result=0,
    local=lambda out, x: (sin(0.5 * math.pi * x * x),),
    samples=_LINE,
    source="DLMF 7.2.7",
)
fresnel_c: OpDef = scipy_function(
    "fresnel_c",
    doc="Fresnel integral C, the second result of ``fresnel``.",
    function="fresnel",
    result=1,
    local=lambda out, x: (cos(0.5 * math.pi * x * x),),
    samples=_LINE,
    source="DLMF 7.2.8",
)

_LOG1P = [-((-1.0) ** k) / (k + 1.0) for k in range(14)]


def _spence_local(out: Value, z: Value) -> tuple[Contribution, ...]:
    """log(z)/(1 - z), by its series around 1."""
    near = less(absolute(z - 1.0), 0.04)
    far = choose(near, 2.0, z)
    close = choose(near, z, 1.0)
    return (choose(near, polynomial(close - 1.0, _LOG1P), log(far) / (1.0 - far)),)


spence: OpDef = scipy_function(
    "spence",
    doc="Spence's function, Li₂(1 - z).",
    local=_spence_local,
    samples=both(real(0.2, 5.0, edges=POINTS), real(0.97, 1.03, edges=())),
    source="DLMF 25.12.2, with the logarithm's series near 1",
)

# --- elliptic integrals -----------------------------------------------------------------------


def _ellipk_slope(m: Value) -> Value:
    near = less(absolute(m), 0.25)
    far, close = choose(near, 0.5, m), choose(near, m, 0.0)
    quotient = (ellipe(far) - (1.0 - far) * ellipk(far)) / (2.0 * far * (1.0 - far))
    return choose(near, math.pi / 8.0 * hyp2f1(1.5, 1.5, 2.0, close), quotient)


def _ellipe_slope(m: Value) -> Value:
    near = less(absolute(m), 0.25)
    far, close = choose(near, 0.5, m), choose(near, m, 0.0)
    quotient = (ellipe(far) - ellipk(far)) / (2.0 * far)
    return choose(near, -math.pi / 8.0 * hyp2f1(0.5, 1.5, 2.0, close), quotient)


def _ellipkm1_slope(p: Value) -> Value:
    near = greater(p, 0.75)
    far, close = choose(near, 0.5, p), choose(near, p, 1.0)
    quotient = (far * ellipkm1(far) - ellipe(1.0 - far)) / (2.0 * far * (1.0 - far))
    return choose(near, -math.pi / 8.0 * hyp2f1(1.5, 1.5, 2.0, 1.0 - close), quotient)


_PARAMETERS = both(
    real(0.3, 0.9, edges=(0.0, 1.0, -1.0, 1.5, -50.0, math.nan, -math.inf)),
    real(-3.0, -0.3, edges=()),
    real(-0.2, 0.2, edges=()),
)
ellipk: OpDef = scipy_function(
    "ellipk",
    doc="Complete elliptic integral of the first kind, of the parameter m.",
    local=lambda out, m: (_ellipk_slope(m),),
    samples=_PARAMETERS,
    source="DLMF 19.4.1, near 0 by 19.5.1",
)
ellipe: OpDef = scipy_function(
    "ellipe",
    doc="Complete elliptic integral of the second kind, of the parameter m.",
    local=lambda out, m: (_ellipe_slope(m),),
    samples=_PARAMETERS,
    source="DLMF 19.4.2, near 0 by 19.5.2",
)
ellipkm1: OpDef = scipy_function(
    "ellipkm1",
    doc="Complete elliptic integral of the first kind, of p = 1 - m.",
    local=lambda out, p: (_ellipkm1_slope(p),),
    samples=both(
        real(0.1, 0.7, edges=(0.0, 1.0, 2.0, 1e-300, -1.0, math.nan, math.inf)),
        real(0.8, 1.2, edges=()),
        real(1.3, 3.0, edges=()),
    ),
    source="DLMF 19.4.1, near 1 by 19.5.1",
)
_PARAMETER = {1: "its closed form has a singularity within the domain, at m = 0"}


def _root(phi: Value, m: Value) -> Value:
    found: Value = 1.0 - m * sin(phi) * sin(phi)
    return found


ellipkinc: OpDef = scipy_function(
    "ellipkinc",
    doc="Incomplete elliptic integral of the first kind.",
    operands=2,
    local=lambda out, phi, m: (power(_root(phi, m), -0.5), None),
    fixed=_PARAMETER,
    samples=reals((-1.4, 1.4), (-2.0, 0.9), edges=(0.0, 1.0, -1.0, 0.5, math.nan)),
    source="DLMF 19.2.4",
)
ellipeinc: OpDef = scipy_function(
    "ellipeinc",
    doc="Incomplete elliptic integral of the second kind.",
    operands=2,
    local=lambda out, phi, m: (power(_root(phi, m), 0.5), None),
    fixed=_PARAMETER,
    samples=reals((-1.4, 1.4), (-2.0, 0.9), edges=(0.0, 1.0, -1.0, 0.5, math.nan)),
    source="DLMF 19.2.5",
)

# --- others -----------------------------------------------------------------------------------

wrightomega: OpDef = scipy_function(
    "wrightomega",
    doc="Wright's omega, the solution of w + log(w) = x.",
    local=lambda out, x: (out / (1.0 + out),),
    samples=real(-3.0, 4.0, edges=POINTS),
    source="Corless & Jeffrey, The Wright ω function (2002)",
)
zetac: OpDef = scipy_function(
    "zetac",
    doc="Riemann's zeta function less 1.",
    nondifferentiable=NO_CLOSED_FORM,
    samples=real(1.5, 9.0, edges=(0.0, 1.0, -1.0, -2.5, 0.5, 60.0, math.inf, math.nan)),
    source="DLMF 25.2.1",
)
