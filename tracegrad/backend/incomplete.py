"""Derivatives of incomplete gamma and beta functions with respect to their first parameter.

Both are integrals of a density times its logarithmic derivative, which changes its sign once. The
integral is taken from the side on which it does not, by the double-exponential rule for a half-line
(Takahasi & Mori, Publ. RIMS 9 (1974)), so that nothing cancels; a small parameter has a power
series (Moore, Applied Statistics 31 (1982), AS 187). Hurwitz's zeta function is summed by
Euler-Maclaurin (DLMF 25.11.28).
"""

from __future__ import annotations

import math

import numpy as np

from tracegrad.backend.gamma import BERNOULLI, digamma, gamma, lgamma, polygamma
from tracegrad.backend.helpers import helper

_AT = [0.0625 * k for k in range(-62, 41)]
NODES = tuple(math.exp(0.5 * math.pi * math.sinh(s)) for s in _AT)
"""Points of the rule on a half-line; beyond them a term is below the error of rounding."""
WEIGHTS = tuple(
    0.0625 * 0.5 * math.pi * math.cosh(s) * node for s, node in zip(_AT, NODES, strict=True)
)


@helper
def stirling_remainder(a: float) -> float:
    """log Γ(a) - ((a - 1/2) log(a) - a + log(2π)/2) for a ≥ 20 (DLMF 5.11.1)."""
    s = 1.0 / (a * a)
    series = (((s / 1188.0 - 1.0 / 1680.0) * s + 1.0 / 1260.0) * s - 1.0 / 360.0) * s
    return (series + 1.0 / 12.0) / a


@helper
def gamma_weight(a: float, x: float) -> float:
    """x^a exp(-x) / Γ(a)."""
    if a > 20.0:
        powers = a * np.log(x / a) - (x - a) - stirling_remainder(a)
        return float(np.exp(powers) * np.sqrt(a / (2.0 * math.pi)))
    return float(x**a * np.exp(-x) / gamma(a))


@helper
def gammainc_shape(a: float, x: float, order: int) -> float:
    """The derivative of ``gammainc(a, x)`` by a, of order 1 or 2."""
    a, x = float(a), float(x)
    if not (a > 0.0 and x >= 0.0):
        return np.nan
    if x == 0.0 or x == np.inf:
        return 0.0
    log_x = np.log(x)
    following = digamma(a + 1.0)
    if a <= 20.0 and log_x < following:
        return _gammainc_series(a, x, order)
    psi = digamma(a)
    square = polygamma(1, a) if order == 2 else 0.0
    lower = log_x < psi
    if lower:
        scale = 1.0 / (abs(a - x) + np.sqrt(x))
    else:
        scale = x / (x - a + 1.0 + np.sqrt(a))
    total = 0.0
    for k in range(103):
        u = scale * NODES[k]
        if lower:
            weight = np.exp(-a * u - x * np.expm1(-u))
            slope = log_x - u - psi
        else:
            apart = np.log1p(u / x)
            weight = np.exp((a - 1.0) * apart - u) / x
            slope = log_x + apart - psi
        if order == 2:
            slope = slope * slope - square
        if weight > 0.0:
            total += weight * slope * WEIGHTS[k]
    total *= scale * gamma_weight(a, x)
    return float(total if lower else -total)


@helper
def _gammainc_series(a: float, x: float, order: int) -> float:
    """By Σ x^(a + n) exp(-x) / Γ(a + n + 1)."""
    log_x = np.log(x)
    term = x**a * np.exp(-x) / gamma(a + 1.0)
    psi = digamma(a + 1.0)
    square = polygamma(1, a + 1.0) if order == 2 else 0.0
    total = 0.0
    for n in range(1, 120):
        slope = log_x - psi
        if order == 2:
            slope = slope * slope - square
            square -= 1.0 / ((a + n) * (a + n))
        total += term * slope
        psi += 1.0 / (a + n)
        term *= x / (a + n)
    return float(total)


@helper
def beta_weight(a: float, b: float, x: float, y: float) -> float:
    """x^a y^b / B(a, b) for y = 1 - x."""
    if a > 20.0 and b > 20.0:
        n = a + b
        powers = a * np.log(x * n / a) + b * np.log(y * n / b)
        powers += stirling_remainder(n) - stirling_remainder(a) - stirling_remainder(b)
        return float(np.exp(powers) * np.sqrt(a * b / (2.0 * math.pi * n)))
    if a <= 20.0 and b <= 20.0:
        return float(x**a * y**b * (gamma(a + b) / (gamma(a) * gamma(b))))
    more = a if a > b else b
    less = b if a > b else a
    shifted = (more - 0.5) * np.log1p(less / more) + less * (np.log(more + less) - 1.0)
    shifted += stirling_remainder(more + less) - stirling_remainder(more)
    return float(x**a * y**b * np.exp(shifted - lgamma(less)))


@helper
def betainc_shape(a: float, b: float, x: float) -> float:
    """The derivative of ``betainc(a, b, x)`` by a."""
    a, b, x = float(a), float(b), float(x)
    if not (a > 0.0 and b > 0.0 and x >= 0.0 and x <= 1.0):
        return np.nan
    y = 1.0 - x
    if x == 0.0 or y == 0.0:
        return 0.0
    if a < 1.0 and x <= 0.5 and b * x <= 2.0:
        return _betainc_series(a, b, x)
    log_x = np.log(x)
    shift = digamma(a) - digamma(a + b)
    lower = log_x < shift
    size = np.sqrt(a * b * x * y / (a + b))
    # How fast the integrand falls from its end.
    if lower:
        scale = 1.0 / (abs(a - (a + b) * x) / y + size + 0.1 * a)
    else:
        scale = 1.0 / (abs(b - (a + b) * y) / x + size + 0.1 * b)
    total = 0.0
    for k in range(103):
        u = scale * NODES[k]
        shrunk = -np.expm1(-u)
        if lower:  # at x exp(-u)
            weight = np.exp(-a * u + (b - 1.0) * np.log1p(x * shrunk / y)) / y
            slope = log_x - u - shift
        else:  # at 1 - y exp(-u)
            apart = np.log1p(y * shrunk / x)
            weight = np.exp(-b * u + (a - 1.0) * apart) / x
            slope = log_x + apart - shift
        if weight > 0.0:
            total += weight * slope * WEIGHTS[k]
    total *= scale * beta_weight(a, b, x, y)
    return float(total if lower else -total)


@helper
def _betainc_series(a: float, b: float, x: float) -> float:
    """By Σ (1 - b)ₙ xⁿ / (n! (a + n)), DLMF 8.17.8, of which 1/a is taken out of ψ(a)."""
    slope = np.log(x) - digamma(a + 1.0) + digamma(a + b)
    term = 1.0
    total = slope / a
    for n in range(1, 80):
        term *= (n - b) * x / n
        total += term * (slope + n / (a * (a + n))) / (a + n)
    return float(total * beta_weight(a, b, x, 1.0))


@helper
def hurwitz(s: float, q: float) -> float:
    """Σ (q + n)^(-s), n ≥ 0, as SciPy's ``zeta(s, q)``."""
    s, q = float(s), float(q)
    if s == 1.0 or (q <= 0.0 and q == np.floor(q) and not s < 1.0):
        return np.inf
    if not s > 1.0 or q != q or (q <= 0.0 and s != np.floor(s)):
        return np.nan
    if q == np.inf:
        return 0.0
    if s == np.inf:
        return 1.0 if q == 1.0 else np.nan if q > 1.0 else np.inf
    total = 0.0
    a = q
    n = 0
    while n < 10 or a <= 10.0:
        total += a ** (-s)
        a += 1.0
        n += 1
    power = a ** (-s)
    total += power * (a / (s - 1.0) + 0.5)
    term = 0.5 * s * power / a
    for k in range(9):
        total += BERNOULLI[k] * term
        even = 2.0 * k + 2.0
        term *= (s + even - 1.0) * (s + even) / ((even + 1.0) * (even + 2.0) * a * a)
    return float(total)
