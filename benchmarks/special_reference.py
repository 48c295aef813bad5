"""What the functions of scipy.special are measured against: exact values, domains, formulas.

Used by the tests and by ``python -m benchmarks.special``. A function of several results or of
arrays is measured through a function of numbers, `Reference.call`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mpmath as mp
import numpy as np
import scipy.special as sp

Interval = tuple[float, float]


@dataclass(frozen=True)
class Reference:
    """One function.

    Attributes
    ----------
    exact : the function in mpmath.
    domain : the interval of each operand within which it is measured.
    formula : its derivative, by the operand that comes last unless it says otherwise.
    call : what is traced, of one array per operand; SciPy's function by default.
    fixed : operands without a derivative.
    whole : operands that are whole numbers.
    orders : up to which order the derivative is measured.
    """

    exact: Callable[..., Any]
    domain: tuple[Interval, ...]
    formula: str
    call: Callable[..., Any] | None = None
    fixed: tuple[int, ...] = ()
    whole: tuple[int, ...] = ()
    orders: tuple[int, ...] = ()

    @property
    def edges(self) -> tuple[float, ...]:
        """The edges of floating point that its operands are combined of."""
        # SciPy's hypergeometric functions take minutes at some of the others.
        return EDGES if "F₁" not in self.formula and "U(" not in self.formula else MILD


EDGES = (0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3.0, np.inf, -np.inf, np.nan, 1e-300, 40.0, -700.0)
MILD = (0.0, 0.5, 1.0, 3.0, np.nan)


def _log_gamma(x: Any) -> Any:
    return mp.log(abs(mp.gamma(x)))


def _ndtr(x: Any) -> Any:
    return mp.erfc(-x / mp.sqrt(2)) / 2


def _stdtr(df: Any, t: Any) -> Any:
    tail = mp.betainc(df / 2, mp.mpf(1) / 2, 0, df / (df + t * t), regularized=True) / 2
    return 1 - tail if t > 0 else tail


def _gammainc(a: Any, x: Any) -> Any:
    return mp.gammainc(a, 0, x, regularized=True)


def _gammaincc(a: Any, x: Any) -> Any:
    return mp.gammainc(a, x, mp.inf, regularized=True)


def _betainc(a: Any, b: Any, x: Any) -> Any:
    return mp.betainc(a, b, 0, x, regularized=True)


def _inverse(function: Callable[..., Any], start: Callable[..., float]) -> Callable[..., Any]:
    """The inverse of a function in its last operand, by secants from SciPy's value."""

    def inverse(*operands: Any) -> Any:
        *parameters, y = operands
        first = mp.mpf(float(start(*map(float, operands))))
        nearby = first * (1 + mp.mpf(10) ** -8)
        return mp.findroot(
            lambda x: function(*parameters, x) - y, (first, nearby), tol=mp.mpf(10) ** -60
        )

    return inverse


def _spence(z: Any) -> Any:
    return mp.re(mp.polylog(2, 1 - z))


def _huber(delta: Any, r: Any) -> Any:
    return r * r / 2 if abs(r) <= delta else delta * (abs(r) - delta / 2)


def _multigammaln(a: Any) -> Any:
    return 3 * mp.log(mp.pi) / 2 + sum(mp.loggamma(a - mp.mpf(k) / 2) for k in range(3))


def _stacked(x: Any) -> Any:
    return np.stack([x, 0.3 + 0.0 * x, -1.2 + 0.0 * x])


def _exp_sum(x: Any) -> Any:
    return mp.exp(x) + mp.exp(mp.mpf(0.3)) + mp.exp(mp.mpf(-1.2))


def _part(name: str, k: int) -> Callable[..., Any]:
    return lambda x: getattr(sp, name)(x)[k]


_LINE: Interval = (-30.0, 30.0)
_ORDER: Interval = (0.0, 9.0)
_BOTH = "v: none; x: "
_SHAPE = "a: Takahasi & Mori's quadrature, once more for order 2; x: "
_SHAPES = "a, b: Takahasi & Mori's quadrature, order 1; x: "

REFERENCES: dict[str, Reference] = {
    # Bessel functions
    "j0": Reference(lambda x: mp.besselj(0, x), (_LINE,), "-J₁"),
    "j1": Reference(lambda x: mp.besselj(1, x), (_LINE,), "(J₀ - J₂)/2"),
    "jv": Reference(mp.besselj, (_ORDER, (0.1, 30)), _BOTH + "(Jᵥ₋₁ - Jᵥ₊₁)/2", fixed=(0,)),
    "jn": Reference(mp.besselj, (_ORDER, (0.1, 30)), "as `jv`", fixed=(0,), whole=(0,)),
    "y0": Reference(lambda x: mp.bessely(0, x), ((0.05, 30),), "-Y₁"),
    "y1": Reference(lambda x: mp.bessely(1, x), ((0.05, 30),), "(Y₀ - Y₂)/2"),
    "yv": Reference(mp.bessely, (_ORDER, (0.1, 30)), _BOTH + "(Yᵥ₋₁ - Yᵥ₊₁)/2", fixed=(0,)),
    "yn": Reference(mp.bessely, (_ORDER, (0.1, 30)), "as `yv`", fixed=(0,), whole=(0,)),
    "i0": Reference(lambda x: mp.besseli(0, x), (_LINE,), "I₁"),
    "i1": Reference(lambda x: mp.besseli(1, x), (_LINE,), "(I₀ + I₂)/2"),
    "iv": Reference(mp.besseli, (_ORDER, (0.1, 30)), _BOTH + "(Iᵥ₋₁ + Iᵥ₊₁)/2", fixed=(0,)),
    "i0e": Reference(
        lambda x: mp.besseli(0, x) * mp.exp(-abs(x)), ((0.1, 60),), "I₁ₑ - sign(x) I₀ₑ"
    ),
    "i1e": Reference(
        lambda x: mp.besseli(1, x) * mp.exp(-abs(x)), ((0.1, 60),), "(I₀ₑ + I₂ₑ)/2 - sign(x) I₁ₑ"
    ),
    "ive": Reference(
        lambda v, x: mp.besseli(v, x) * mp.exp(-abs(x)),
        (_ORDER, (0.1, 60)),
        _BOTH + "(Iᵥ₋₁ + Iᵥ₊₁)ₑ/2 - sign(x) Iᵥₑ",
        fixed=(0,),
    ),
    "k0": Reference(lambda x: mp.besselk(0, x), ((0.05, 60),), "-K₁"),
    "k1": Reference(lambda x: mp.besselk(1, x), ((0.05, 60),), "-(K₀ + K₂)/2"),
    "kv": Reference(mp.besselk, (_ORDER, (0.1, 30)), _BOTH + "-(Kᵥ₋₁ + Kᵥ₊₁)/2", fixed=(0,)),
    "kn": Reference(mp.besselk, (_ORDER, (0.1, 30)), "as `kv`", fixed=(0,), whole=(0,)),
    "k0e": Reference(lambda x: mp.besselk(0, x) * mp.exp(x), ((0.05, 60),), "K₀ₑ - K₁ₑ"),
    "k1e": Reference(lambda x: mp.besselk(1, x) * mp.exp(x), ((0.05, 60),), "K₁ₑ - (K₀ₑ + K₂ₑ)/2"),
    "kve": Reference(
        lambda v, x: mp.besselk(v, x) * mp.exp(x),
        (_ORDER, (0.1, 30)),
        _BOTH + "Kᵥₑ - (Kᵥ₋₁ + Kᵥ₊₁)ₑ/2",
        fixed=(0,),
    ),
    "struve": Reference(
        mp.struveh,
        ((0.0, 4.0), (0.1, 15)),
        _BOTH + "(Hᵥ₋₁ - Hᵥ₊₁ + (x/2)ᵛ/(√π Γ(v+3/2)))/2",
        fixed=(0,),
    ),
    "modstruve": Reference(
        mp.struvel,
        ((0.0, 4.0), (0.1, 15)),
        _BOTH + "(Lᵥ₋₁ + Lᵥ₊₁ + (x/2)ᵛ/(√π Γ(v+3/2)))/2",
        fixed=(0,),
    ),
    "ber": Reference(lambda x: mp.ber(0, x), ((0.1, 9),), "ber'"),
    "bei": Reference(lambda x: mp.bei(0, x), ((0.1, 9),), "bei'"),
    "ker": Reference(lambda x: mp.ker(0, x), ((0.1, 9),), "ker'"),
    "kei": Reference(lambda x: mp.kei(0, x), ((0.1, 9),), "kei'"),
    "berp": Reference(
        lambda x: mp.diff(lambda t: mp.ber(0, t), x), ((0.1, 9),), "-bei - ber'/x", orders=(1,)
    ),
    "beip": Reference(
        lambda x: mp.diff(lambda t: mp.bei(0, t), x), ((0.1, 9),), "ber - bei'/x", orders=(1,)
    ),
    "kerp": Reference(
        lambda x: mp.diff(lambda t: mp.ker(0, t), x), ((0.1, 9),), "-kei - ker'/x", orders=(1,)
    ),
    "keip": Reference(
        lambda x: mp.diff(lambda t: mp.kei(0, t), x), ((0.1, 9),), "ker - kei'/x", orders=(1,)
    ),
    "airy[0]": Reference(mp.airyai, ((-15, 10),), "Ai'", _part("airy", 0)),
    "airy[1]": Reference(
        lambda x: mp.airyai(x, derivative=1), ((-15, 10),), "x Ai", _part("airy", 1)
    ),
    "airy[2]": Reference(mp.airybi, ((-15, 10),), "Bi'", _part("airy", 2)),
    "airy[3]": Reference(
        lambda x: mp.airybi(x, derivative=1), ((-15, 10),), "x Bi", _part("airy", 3)
    ),
    # Error functions and the normal distribution
    "erf": Reference(mp.erf, ((-5, 5),), "2/√π exp(-x²)"),
    "erfc": Reference(mp.erfc, ((-5, 9),), "-2/√π exp(-x²)"),
    "erfcx": Reference(
        lambda x: mp.exp(x * x) * mp.erfc(x), ((-4, 60),), "2 x erfcx - 2/√π, beyond 10 a series"
    ),
    "erfi": Reference(mp.erfi, ((-5, 5),), "2/√π exp(x²)"),
    "dawsn": Reference(
        lambda x: mp.sqrt(mp.pi) / 2 * mp.exp(-x * x) * mp.erfi(x),
        ((-40, 40),),
        "1 - 2 x D, beyond 10 a series",
    ),
    "erfinv": Reference(mp.erfinv, ((-0.999, 0.999),), "√π/2 exp(y²) of the value y"),
    "erfcinv": Reference(lambda x: mp.erfinv(1 - x), ((1e-6, 1.999),), "-√π/2 exp(y²)"),
    "ndtr": Reference(_ndtr, ((-12, 8),), "exp(-x²/2)/√(2π)"),
    "log_ndtr": Reference(lambda x: mp.log(_ndtr(x)), ((-60, 6),), "composition"),
    "ndtri": Reference(
        lambda p: mp.sqrt(2) * mp.erfinv(2 * p - 1), ((1e-6, 0.9999),), "√(2π) exp(y²/2)"
    ),
    "ndtri_exp": Reference(
        lambda y: mp.sqrt(2) * mp.erfinv(2 * mp.exp(y) - 1), ((-14, -1e-3),), "√(2π) exp(x + y²/2)"
    ),
    "owens_t": Reference(
        lambda h, a: (
            mp.quad(lambda t: mp.exp(-h * h * (1 + t * t) / 2) / (1 + t * t), [0, a]) / (2 * mp.pi)
        ),
        ((-3, 3), (-2, 2)),
        "h: -exp(-h²/2) erf(a h/√2)/(2√(2π)); a: exp(-h²(1+a²)/2)/(2π(1+a²))",
    ),
    # Exponential and other integrals
    "expi": Reference(mp.ei, ((0.05, 30),), "exp(x)/x"),
    "exp1": Reference(mp.e1, ((0.05, 30),), "-exp(-x)/x"),
    "expn": Reference(mp.expint, ((0, 8), (0.05, 20)), "n: none; x: -Eₙ₋₁", fixed=(0,), whole=(0,)),
    "sici[0]": Reference(mp.si, ((-30, 30),), "sin(x)/x, within 1 its series", _part("sici", 0)),
    "sici[1]": Reference(mp.ci, ((0.05, 30),), "cos(x)/x", _part("sici", 1)),
    "shichi[0]": Reference(
        mp.shi, ((-20, 20),), "sinh(x)/x, within 1 its series", _part("shichi", 0)
    ),
    "shichi[1]": Reference(mp.chi, ((0.05, 20),), "cosh(x)/x", _part("shichi", 1)),
    "fresnel[0]": Reference(mp.fresnels, ((-6, 6),), "sin(πx²/2)", _part("fresnel", 0)),
    "fresnel[1]": Reference(mp.fresnelc, ((-6, 6),), "cos(πx²/2)", _part("fresnel", 1)),
    "spence": Reference(_spence, ((0.02, 9),), "log(z)/(1 - z), near 1 its series"),
    "ellipk": Reference(mp.ellipk, ((-9, 0.99),), "(E - (1-m)K)/(2m(1-m)), near 0 by ₂F₁"),
    "ellipe": Reference(mp.ellipe, ((-9, 0.99),), "(E - K)/(2m), near 0 by ₂F₁"),
    "ellipkm1": Reference(
        lambda p: mp.ellipk(1 - p), ((1e-3, 9),), "(pK - E)/(2p(1-p)), near 1 by ₂F₁"
    ),
    "ellipkinc": Reference(
        mp.ellipf, ((-1.5, 1.5), (-3, 0.9)), "φ: (1 - m sin²φ)^(-1/2); m: none", fixed=(1,)
    ),
    "ellipeinc": Reference(
        mp.ellipe, ((-1.5, 1.5), (-3, 0.9)), "φ: (1 - m sin²φ)^(1/2); m: none", fixed=(1,)
    ),
    "wrightomega": Reference(lambda x: mp.lambertw(mp.exp(x)).real, ((-20, 50),), "ω/(1 + ω)"),
    "hyp0f1": Reference(mp.hyp0f1, ((0.5, 5), (-5, 5)), "v: none; x: ₀F₁(v+1)/v", fixed=(0,)),
    "hyp1f1": Reference(
        mp.hyp1f1, ((0.5, 4), (0.5, 5), (-6, 6)), "a, b: none; x: a/b ₁F₁(a+1, b+1)", fixed=(0, 1)
    ),
    "hyperu": Reference(
        mp.hyperu, ((0.5, 3), (0.5, 2.5), (0.3, 8)), "a, b: none; x: -a U(a+1, b+1)", fixed=(0, 1)
    ),
    "hyp2f1": Reference(
        mp.hyp2f1,
        ((0.5, 3), (0.5, 3), (0.6, 4), (-2, 0.9)),
        "a, b, c: none; x: ab/c ₂F₁(a+1, b+1, c+1)",
        fixed=(0, 1, 2),
    ),
    # Gamma functions
    "gamma": Reference(mp.gamma, ((0.05, 30),), "Γψ"),
    "gammaln": Reference(_log_gamma, ((0.05, 200),), "ψ"),
    "loggamma": Reference(_log_gamma, ((0.05, 200),), "as `gammaln`; NaN below zero"),
    "rgamma": Reference(lambda x: 1 / mp.gamma(x), ((0.05, 30),), "composition"),
    "digamma": Reference(mp.digamma, ((0.05, 100),), "ψ′"),
    "psi": Reference(mp.digamma, ((0.05, 100),), "as `digamma`"),
    "polygamma": Reference(
        lambda x: mp.polygamma(1, x), ((0.05, 50),), "ψ⁽ⁿ⁺¹⁾", lambda x: sp.polygamma(1, x)
    ),
    "multigammaln": Reference(
        _multigammaln, ((1.2, 40),), "Σψ(a - k/2)", lambda x: sp.multigammaln(x, 3)
    ),
    "beta": Reference(mp.beta, ((0.1, 20), (0.1, 20)), "out (ψ(a) - ψ(a+b)), and so by b"),
    "betaln": Reference(
        lambda a, b: mp.log(mp.beta(a, b)), ((0.1, 40), (0.1, 40)), "ψ(a) - ψ(a+b), and so by b"
    ),
    "poch": Reference(mp.rf, ((0.2, 20), (0.2, 9)), "z: out (ψ(z+m) - ψ(z)); m: out ψ(z+m)"),
    "binom": Reference(
        mp.binomial, ((5, 30), (0.2, 4.8)), "n: out (ψ(n+1) - ψ(n-k+1)); k: out (ψ(n-k+1) - ψ(k+1))"
    ),
    "comb": Reference(mp.binomial, ((5, 30), (0.2, 4.8)), "as `binom`; 0 where the value is"),
    "factorial": Reference(lambda x: mp.gamma(x + 1), ((0.1, 30),), "Γψ of n + 1"),
    "zeta": Reference(mp.zeta, ((1.1, 12), (0.1, 20)), "x: none; q: -x ζ(x+1, q)", fixed=(0,)),
    "zetac": Reference(lambda x: mp.zeta(x) - 1, ((1.1, 30),), "none", fixed=(0,)),
    "gammainc": Reference(_gammainc, ((0.1, 60), (0.1, 60)), _SHAPE + "xᵃ⁻¹ exp(-x)/Γ(a)"),
    "gammaincc": Reference(_gammaincc, ((0.1, 60), (0.1, 60)), _SHAPE + "-xᵃ⁻¹ exp(-x)/Γ(a)"),
    "gammaincinv": Reference(
        _inverse(_gammainc, sp.gammaincinv),
        ((0.5, 20), (0.02, 0.98)),
        "of the inverse",
    ),
    "gammainccinv": Reference(
        _inverse(_gammaincc, sp.gammainccinv),
        ((0.5, 20), (0.02, 0.98)),
        "of the inverse",
    ),
    "betainc": Reference(
        _betainc,
        ((0.2, 30), (0.2, 30), (0.05, 0.95)),
        _SHAPES + "xᵃ⁻¹(1-x)ᵇ⁻¹/B(a, b)",
        orders=(1, 1, 2),
    ),
    "betaincc": Reference(
        lambda a, b, x: mp.betainc(a, b, x, 1, regularized=True),
        ((0.2, 30), (0.2, 30), (0.05, 0.95)),
        _SHAPES + "-xᵃ⁻¹(1-x)ᵇ⁻¹/B(a, b)",
        orders=(1, 1, 2),
    ),
    "betaincinv": Reference(
        _inverse(_betainc, sp.betaincinv),
        ((0.5, 9), (0.5, 9), (0.1, 0.9)),
        "of the inverse",
        orders=(1, 1, 2),
    ),
    "betainccinv": Reference(
        _inverse(lambda a, b, x: mp.betainc(a, b, x, 1, regularized=True), sp.betainccinv),
        ((0.5, 9), (0.5, 9), (0.1, 0.9)),
        "of the inverse",
        orders=(1, 1, 2),
    ),
    "stdtr": Reference(
        _stdtr,
        ((1, 40), (-6, 6)),
        "df: through `betainc`, order 1; t: the density",
        orders=(1, 2),
    ),
    "stdtrit": Reference(
        _inverse(_stdtr, sp.stdtrit), ((1, 40), (0.02, 0.45)), "of the inverse", orders=(1, 2)
    ),
    "chdtr": Reference(lambda v, x: _gammainc(v / 2, x / 2), ((0.5, 40), (0.5, 40)), "composition"),
    "chdtrc": Reference(
        lambda v, x: _gammaincc(v / 2, x / 2), ((0.5, 40), (0.5, 40)), "composition"
    ),
    "chdtri": Reference(
        _inverse(lambda v, x: _gammaincc(v / 2, x / 2), sp.chdtri),
        ((1, 20), (0.02, 0.98)),
        "composition",
    ),
    "gdtr": Reference(
        lambda a, b, x: _gammainc(b, a * x), ((0.5, 3), (0.5, 9), (0.5, 9)), "composition"
    ),
    "gdtrc": Reference(
        lambda a, b, x: _gammaincc(b, a * x), ((0.5, 3), (0.5, 9), (0.5, 9)), "composition"
    ),
    "pdtr": Reference(
        lambda k, m: _gammaincc(k + 1, m),
        ((0, 20), (0.5, 20)),
        "k: 0; m: composition",
        fixed=(0,),
        whole=(0,),
    ),
    "pdtrc": Reference(
        lambda k, m: _gammainc(k + 1, m),
        ((0, 20), (0.5, 20)),
        "k: 0; m: composition",
        fixed=(0,),
        whole=(0,),
    ),
    "fdtr": Reference(
        lambda n, d, x: _betainc(n / 2, d / 2, n * x / (d + n * x)),
        ((1, 20), (1, 20), (0.1, 5)),
        "composition",
        orders=(1, 1, 2),
    ),
    "fdtrc": Reference(
        lambda n, d, x: _betainc(d / 2, n / 2, d / (d + n * x)),
        ((1, 20), (1, 20), (0.1, 5)),
        "composition",
        orders=(1, 1, 2),
    ),
    # Elementary
    "exp2": Reference(lambda x: mp.power(2, x), ((-50, 50),), "log(2) out"),
    "exp10": Reference(lambda x: mp.power(10, x), ((-20, 20),), "composition"),
    "expm1": Reference(mp.expm1, ((-20, 20),), "out + 1"),
    "log1p": Reference(mp.log1p, ((-0.9, 50),), "1/(1 + x)"),
    "cbrt": Reference(mp.cbrt, ((0.01, 50),), "out/(3x)"),
    "cosm1": Reference(lambda x: mp.cos(x) - 1, ((-20, 20),), "composition"),
    "sindg": Reference(lambda x: mp.sin(x * mp.pi / 180), ((-360, 360),), "composition"),
    "cosdg": Reference(lambda x: mp.cos(x * mp.pi / 180), ((-360, 360),), "composition"),
    "tandg": Reference(lambda x: mp.tan(x * mp.pi / 180), ((-80, 80),), "composition"),
    "radian": Reference(
        lambda d, m, s: (d + (m + s / 60) / 60) * mp.pi / 180,
        ((0, 300), (0, 60), (0, 60)),
        "composition",
    ),
    "exprel": Reference(lambda x: mp.expm1(x) / x, ((-20, 20),), "composition, near 0 its series"),
    "expit": Reference(lambda x: 1 / (1 + mp.exp(-x)), ((-40, 30),), "out (1 - out)"),
    "log_expit": Reference(lambda x: -mp.log1p(mp.exp(-x)), ((-40, 30),), "composition"),
    "softplus": Reference(lambda x: mp.log1p(mp.exp(x)), ((-30, 40),), "expit"),
    "logit": Reference(lambda x: mp.log(x / (1 - x)), ((0.01, 0.99),), "composition"),
    "powm1": Reference(lambda x, y: x**y - 1, ((0.1, 9), (-4, 4)), "composition"),
    "xlogy": Reference(lambda x, y: x * mp.log(y), ((0.1, 9), (0.1, 9)), "composition"),
    "xlog1py": Reference(lambda x, y: x * mp.log1p(y), ((0.1, 9), (-0.9, 9)), "composition"),
    "entr": Reference(lambda x: -x * mp.log(x), ((0.01, 9),), "composition"),
    "rel_entr": Reference(lambda x, y: x * mp.log(x / y), ((0.1, 9), (0.1, 9)), "composition"),
    "kl_div": Reference(
        lambda x, y: x * mp.log(x / y) - x + y, ((0.1, 9), (0.1, 9)), "composition"
    ),
    "huber": Reference(_huber, ((0.5, 2), (-5, 5)), "composition; at the knee the limit"),
    "pseudo_huber": Reference(
        lambda d, r: d * d * (mp.sqrt(1 + (r / d) ** 2) - 1), ((0.5, 2), (-5, 5)), "composition"
    ),
    "boxcox": Reference(lambda x, p: (x**p - 1) / p, ((0.1, 9), (-2, 3)), "composition"),
    "boxcox1p": Reference(lambda x, p: ((1 + x) ** p - 1) / p, ((0.1, 9), (-2, 3)), "composition"),
    "inv_boxcox": Reference(
        lambda y, p: (1 + p * y) ** (1 / p), ((0.1, 2), (0.1, 3)), "composition"
    ),
    "inv_boxcox1p": Reference(
        lambda y, p: (1 + p * y) ** (1 / p) - 1, ((0.1, 2), (0.1, 3)), "composition"
    ),
    "logsumexp": Reference(
        lambda x: mp.log(_exp_sum(x)),
        ((-9, 9),),
        "composition: the softmax",
        lambda x: sp.logsumexp(_stacked(x), axis=0),
    ),
    "softmax": Reference(
        lambda x: mp.exp(x) / _exp_sum(x),
        ((-9, 9),),
        "composition",
        lambda x: sp.softmax(_stacked(x), axis=0)[0],
    ),
    "log_softmax": Reference(
        lambda x: x - mp.log(_exp_sum(x)),
        ((-9, 9),),
        "composition",
        lambda x: sp.log_softmax(_stacked(x), axis=0)[0],
    ),
}


def function_of(name: str) -> Callable[..., Any]:
    """What is traced for an entry of `REFERENCES`."""
    call = REFERENCES[name].call
    found: Callable[..., Any] = call if call is not None else getattr(sp, name)
    return found


def sample_points(name: str, count: int, seed: int = 0) -> list[np.ndarray]:
    """Points in the domain of a function, an array per operand."""
    rng, what = np.random.default_rng(seed), REFERENCES[name]
    points = [rng.uniform(low, high, count) for low, high in what.domain]
    for k in what.whole:
        points[k] = np.floor(points[k])
    return points
