"""Incomplete gamma and beta functions, their inverses, and what is made of gamma functions.

The derivative with respect to the argument is a density. Where the parameters are large it is
written with the remainder of Stirling's series, since differences of log Γ would lose digits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tracegrad.ir.core import Value
from tracegrad.ir.types import ArrayType, Dim, f64
from tracegrad.ops import shape_derivatives
from tracegrad.ops.arithmetic import power, sign
from tracegrad.ops.comparison import greater
from tracegrad.ops.entries import NO_CLOSED_FORM, scipy_function
from tracegrad.ops.exponential import exp, log, log1p
from tracegrad.ops.registry import Contribution, OpDef, Samples, elementwise, float_type, full_like
from tracegrad.ops.samples import both, reals
from tracegrad.ops.selection import choose, maximum, minimum
from tracegrad.ops.special import digamma, gamma, lgamma, polygamma, through_double

_EDGES = (0.0, 1.0, 0.5, 3.0, -1.0, 40.0, math.inf, math.nan)
_UNIT = (0.0, 1.0, 0.5, -0.1, 1.1, math.nan, 3.0)
LARGE = 20.0


def _remainder(a: Value) -> Value:
    """log Γ(a) - ((a - 1/2) log(a) - a + log(2π)/2) for a ≥ 20 (DLMF 5.11.1)."""
    square = 1.0 / (a * a)
    series = 1.0 / 1188.0 * square
    for each in (-1.0 / 1680.0, 1.0 / 1260.0, -1.0 / 360.0):
        series = (series + each) * square
    return (series + 1.0 / 12.0) / a


def gamma_density(a: Value, x: Value) -> Value:
    """x^(a - 1) exp(-x) / Γ(a)."""
    large = greater(a, LARGE)
    small, great = choose(large, 1.0, a), choose(large, a, LARGE)
    direct = power(x, small - 1.0) * exp(-x) / gamma(small)
    # (x/a)^a exp(a - x), without the large powers.
    ratio = exp(great * log(x / great) - (x - great) - _remainder(great))
    scaled = ratio * power(great, 0.5) / (math.sqrt(2.0 * math.pi) * x)
    return choose(large, scaled, direct)


def beta_density(a: Value, b: Value, x: Value) -> Value:
    """x^(a - 1) (1 - x)^(b - 1) / B(a, b)."""
    more, less = maximum(a, b), minimum(a, b)
    one, both = greater(more, LARGE), greater(less, LARGE)
    p, q = choose(both, a, LARGE), choose(both, b, LARGE)
    n = p + q
    powers = p * log(x * n / p) + q * log((1.0 - x) * n / q)
    powers = powers + (_remainder(n) - _remainder(p) - _remainder(q))
    stirling = exp(powers) * power(p * q / n, 0.5) / (math.sqrt(2.0 * math.pi) * x * (1.0 - x))
    s, t = choose(one, 1.0, a), choose(one, 1.0, b)
    direct = gamma(s + t) / (gamma(s) * gamma(t))
    # Γ(u + v) / Γ(u) of a large u, by Stirling's series again.
    u, v = choose(one, more, LARGE), choose(one, less, 1.0)
    shifted = (u - 0.5) * log1p(v / u) + v * (log(u + v) - 1.0)
    mixed = exp(shifted + (_remainder(u + v) - _remainder(u)) - lgamma(v))
    powers = power(x, a - 1.0) * power(1.0 - x, b - 1.0)
    return choose(both, stirling, powers * choose(one, mixed, direct))


# --- with respect to the parameters -----------------------------------------------------------


def _order_type(a: ArrayType, x: ArrayType, *, order: int) -> ArrayType:
    if order not in (1, 2):
        raise TypeError(f"the order must be 1 or 2, not {order!r}")
    return float_type(a, x)


def _shape_local(out: Value, a: Value, x: Value, *, order: int) -> tuple[Contribution, ...]:
    """By a the next order; by x the density, and what its derivatives by a multiply it with."""
    if order == 2:
        slope = log(x) - digamma(a)
        return None, gamma_density(a, x) * (slope * slope - polygamma(a, order=1))
    return gammainc_shape(a, x, order=2), gamma_density(a, x) * (log(x) - digamma(a))


def _shape_samples(order: int) -> Samples:
    plain = both(
        reals((0.5, 4.0), (0.5, 1.0), edges=_EDGES),
        reals((0.5, 4.0), (5.0, 8.0), edges=()),
        reals((21.0, 30.0), (31.0, 45.0), edges=()),
    )
    return lambda rng: [replace(each, attributes={"order": order}) for each in plain(rng)]


def _shape_op(name: str, order: int) -> OpDef:
    return elementwise(
        name,
        doc=f"Derivative of order {order} of ``gammainc`` with respect to its shape parameter.",
        reference=shape_derivatives.gammainc_shape,
        scalar=through_double("gammainc_shape({0}, {1}, {order})"),
        special=("gammainc_shape",),
        array="runtime.gammainc_shape({0}, {1}, {order})",
        infer=_order_type,
        cost=2000,
        local=_shape_local,
        fixed={0: "it is known up to the second order"} if order == 2 else {},
        once=(0,),
        samples=_shape_samples(order),
        source="Takahasi & Mori, Publ. RIMS 9 (1974); AS 187",
    )


gammainc_slope = _shape_op("gammainc_slope", 1)
gammainc_bend = _shape_op("gammainc_bend", 2)


def gammainc_shape(a: Value, x: Value, *, order: int) -> Value:
    """The derivative of ``gammainc`` by a, of order 1 or 2."""
    found: Value = (gammainc_slope if order == 1 else gammainc_bend)(a, x, order=order)
    return found


betainc_shape: OpDef = elementwise(
    "betainc_shape",
    doc="Derivative of ``betainc`` with respect to its first parameter.",
    reference=shape_derivatives.betainc_shape,
    scalar=through_double("betainc_shape({0}, {1}, {2})"),
    special=("betainc_shape",),
    array="runtime.betainc_shape({0}, {1}, {2})",
    infer=float_type,
    cost=2000,
    local=lambda out, a, b, x: (
        None,
        None,
        beta_density(a, b, x) * (log(x) - digamma(a) + digamma(a + b)),
    ),
    fixed=dict.fromkeys((0, 1), "it is known up to the first order"),
    samples=both(
        reals((0.5, 4.0), (0.5, 4.0), (0.1, 0.9), edges=_UNIT),
        reals((21.0, 30.0), (21.0, 30.0), (0.6, 0.7), edges=()),
        reals((21.0, 30.0), (2.0, 4.0), (0.6, 0.7), edges=()),
    ),
    source="Takahasi & Mori, Publ. RIMS 9 (1974)",
)


def _betainc_partials(a: Value, b: Value, x: Value) -> tuple[Value, Value, Value]:
    """Those of ``betainc``, which is 1 less that of the others of a and b, and 1 - x."""
    return betainc_shape(a, b, x), -betainc_shape(b, a, 1.0 - x), beta_density(a, b, x)


# --- incomplete functions and inverses --------------------------------------------------------

_GAMMA = both(reals((0.5, 4.0), (0.5, 5.0), edges=_EDGES), reals((21, 40), (20, 45), edges=()))
gammainc: OpDef = scipy_function(
    "gammainc",
    doc="Regularised lower incomplete gamma function.",
    operands=2,
    local=lambda out, a, x: (gammainc_shape(a, x, order=1), gamma_density(a, x)),
    samples=_GAMMA,
    source="DLMF 8.8.13; by a: see `tracegrad.backend.incomplete`",
)
gammaincc: OpDef = scipy_function(
    "gammaincc",
    doc="Regularised upper incomplete gamma function.",
    operands=2,
    local=lambda out, a, x: (-gammainc_shape(a, x, order=1), -gamma_density(a, x)),
    samples=_GAMMA,
    source="DLMF 8.8.14; by a: see `tracegrad.backend.incomplete`",
)


def _gamma_inverse(sign: float) -> Callable[..., tuple[Contribution, ...]]:
    def local(out: Value, a: Value, y: Value) -> tuple[Contribution, ...]:
        density = gamma_density(a, out)
        return -gammainc_shape(a, out, order=1) / density, sign / density

    return local


gammaincinv: OpDef = scipy_function(
    "gammaincinv",
    doc="Inverse of ``gammainc`` with respect to x.",
    operands=2,
    local=_gamma_inverse(1.0),
    samples=reals((0.5, 4.0), (0.1, 0.9), edges=_UNIT),
    source="of the inverse of gammainc",
)
gammainccinv: OpDef = scipy_function(
    "gammainccinv",
    doc="Inverse of ``gammaincc`` with respect to x.",
    operands=2,
    local=_gamma_inverse(-1.0),
    samples=reals((0.5, 4.0), (0.1, 0.9), edges=_UNIT),
    source="of the inverse of gammaincc",
)

_BETA = both(
    reals((0.5, 4.0), (0.5, 4.0), (0.1, 0.9), edges=_UNIT),
    reals((21.0, 40.0), (21.0, 40.0), (0.4, 0.6), edges=()),
    reals((21.0, 30.0), (2.0, 4.0), (0.8, 0.9), edges=()),
)
betainc: OpDef = scipy_function(
    "betainc",
    doc="Regularised incomplete beta function.",
    operands=3,
    local=lambda out, a, b, x: _betainc_partials(a, b, x),
    once=(0, 1),
    samples=_BETA,
    source="DLMF 8.17.1; by a and b: see `tracegrad.backend.incomplete`",
)
betaincc: OpDef = scipy_function(
    "betaincc",
    doc="Complement of the regularised incomplete beta function.",
    operands=3,
    local=lambda out, a, b, x: tuple(-each for each in _betainc_partials(a, b, x)),
    once=(0, 1),
    samples=_BETA,
    source="DLMF 8.17.1; by a and b: see `tracegrad.backend.incomplete`",
)


def _beta_inverse(sign: float) -> Callable[..., tuple[Contribution, ...]]:
    def local(out: Value, a: Value, b: Value, y: Value) -> tuple[Contribution, ...]:
        by_a, by_b, density = _betainc_partials(a, b, out)
        return -by_a / density, -by_b / density, sign / density

    return local


_INVERSE = reals((0.5, 4.0), (0.5, 4.0), (0.1, 0.9), edges=_UNIT)
betaincinv: OpDef = scipy_function(
    "betaincinv",
    doc="Inverse of ``betainc`` with respect to x.",
    operands=3,
    local=_beta_inverse(1.0),
    once=(0, 1),
    samples=_INVERSE,
    source="of the inverse of betainc",
)
betainccinv: OpDef = scipy_function(
    "betainccinv",
    doc="Inverse of ``betaincc`` with respect to x.",
    operands=3,
    local=_beta_inverse(-1.0),
    once=(0, 1),
    samples=_INVERSE,
    source="of the inverse of betaincc",
)

# --- Student's distribution -------------------------------------------------------------------


def _half_ratio(z: Value) -> Value:
    """Γ(z + 1/2) / Γ(z), for a large z by its expansion (DLMF 5.11.13)."""
    large = greater(z, 60.0)
    small, great = choose(large, 1.0, z), choose(large, z, 60.0)
    y = 1.0 / great
    series = -399.0 / 262144.0 * y
    for each in (-21.0 / 32768.0, 5.0 / 1024.0, 1.0 / 128.0, -1.0 / 8.0):
        series = (series + each) * y
    found: Value = choose(
        large, power(great, 0.5) * (1.0 + series), gamma(small + 0.5) / gamma(small)
    )
    return found


def t_density(df: Value, t: Value) -> Value:
    """Density of Student's distribution."""
    kernel = exp(-0.5 * (df + 1.0) * log1p(t * t / df))
    found: Value = _half_ratio(0.5 * df) * kernel / power(math.pi * df, 0.5)
    return found


def _stdtr_by_df(df: Value, t: Value) -> Value:
    """Through ``betainc(df / 2, 1 / 2, df / (df + t²)) / 2``, the smaller tail."""
    a = 0.5 * df
    by_a = betainc_shape(a, full_like(a, 0.5), df / (df + t * t))
    found: Value = -0.25 * sign(t) * by_a - 0.5 * t * t_density(df, t) / df
    return found


stdtr: OpDef = scipy_function(
    "stdtr",
    doc="Distribution function of Student's distribution.",
    operands=2,
    local=lambda out, df, t: (_stdtr_by_df(df, t), t_density(df, t)),
    once=(0,),
    samples=both(
        reals((1.5, 9.0), (0.3, 3.0), edges=(*_EDGES, -math.inf)),
        reals((1.5, 9.0), (-3.0, -0.3), edges=()),
    ),
    source="DLMF 8.17.1; by df: see `tracegrad.backend.incomplete`",
)
stdtrit: OpDef = scipy_function(
    "stdtrit",
    doc="Inverse of ``stdtr`` with respect to t.",
    operands=2,
    local=lambda out, df, p: (
        -_stdtr_by_df(df, out) / t_density(df, out),
        1.0 / t_density(df, out),
    ),
    once=(0,),
    samples=reals((1.5, 9.0), (0.1, 0.4), edges=(0.5, 1.0, 3.0, math.nan)),
    source="of the inverse of stdtr",
)

# --- what is made of gamma functions ----------------------------------------------------------

beta: OpDef = scipy_function(
    "beta",
    doc="Beta function Γ(a) Γ(b) / Γ(a + b).",
    operands=2,
    local=lambda out, a, b: (
        out * (digamma(a) - digamma(a + b)),
        out * (digamma(b) - digamma(a + b)),
    ),
    samples=reals((0.5, 4.0), (0.5, 4.0), edges=(0.5, 1.0, 3.0, 40.0, math.nan)),
    source="DLMF 5.12.1, 5.2.2",
)
betaln: OpDef = scipy_function(
    "betaln",
    doc="Logarithm of the absolute value of the beta function.",
    operands=2,
    local=lambda out, a, b: (digamma(a) - digamma(a + b), digamma(b) - digamma(a + b)),
    samples=reals((0.5, 4.0), (0.5, 4.0), edges=(0.5, 1.0, 3.0, 40.0, math.nan)),
    source="DLMF 5.12.1, 5.2.2",
)
poch: OpDef = scipy_function(
    "poch",
    doc="Rising factorial Γ(z + m) / Γ(z).",
    operands=2,
    local=lambda out, z, m: (out * (digamma(z + m) - digamma(z)), out * digamma(z + m)),
    samples=reals((0.5, 4.0), (0.5, 4.0), edges=(0.5, 1.0, 3.0, 40.0, math.nan)),
    source="DLMF 5.2.5, 5.2.2",
)


def _binom_local(out: Value, n: Value, k: Value) -> tuple[Value, Value]:
    rest = digamma(n - k + 1.0)
    return out * (digamma(n + 1.0) - rest), out * (rest - digamma(k + 1.0))


binom: OpDef = scipy_function(
    "binom",
    doc="Binomial coefficient of real numbers.",
    operands=2,
    local=_binom_local,
    samples=reals((4.0, 9.0), (0.5, 3.5), edges=(0.5, 1.0, 3.0, 40.0, math.nan)),
    source="DLMF 1.2.6, 5.2.2",
)


def _zeta(s: Any, q: Any) -> Any:
    import scipy.special

    s, q = np.asarray(s), np.asarray(q)
    found = scipy.special.zeta(s.astype(np.float64), q.astype(np.float64))
    return np.asarray(found, s.dtype)


def _zeta_array(
    texts: Sequence[str],
    result: ArrayType,
    attributes: Mapping[str, Any],
    dims: Callable[[Dim], str],
) -> str:
    if result.dtype is f64:
        return f"scipy.special.zeta({texts[0]}, {texts[1]})"
    given = ", ".join(f"np.float64({x})" for x in texts)
    return f"np.float32(scipy.special.zeta({given}))"


hurwitz: OpDef = elementwise(
    "hurwitz",
    doc="Hurwitz's zeta function (SciPy's ``zeta`` of two operands).",
    reference=_zeta,
    scalar=through_double("hurwitz({0}, {1})"),
    special=("hurwitz",),
    array=_zeta_array,
    infer=float_type,
    cost=300,
    local=lambda out, s, q: (None, -s * hurwitz(s + 1.0, q)),
    fixed={0: NO_CLOSED_FORM},
    samples=reals((1.5, 6.0), (0.3, 4.0), edges=(0.0, 1.0, 3.0, -0.5, -2.0, 0.5, 60.0, math.nan)),
    source="DLMF 25.11.17; value by Euler-Maclaurin, DLMF 25.11.28",
)
