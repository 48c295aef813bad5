"""Γ, log Γ and its derivatives, for compiled loops and plain Python alike.

ψ(x) = (log Γ(x))' and its derivatives ψ⁽ⁿ⁾. A negative x is reflected, a small one is moved up by
the recurrence ψ⁽ⁿ⁾(x) = ψ⁽ⁿ⁾(x + 1) - (-1)ⁿ n!/xⁿ⁺¹, and there the asymptotic series is exact to
working precision. References: DLMF 5.5, 5.11, 5.15.
"""

from __future__ import annotations

import math

import numpy as np

from tracegrad.backend.helpers import helper

# B₂ₖ, the Bernoulli numbers.
BERNOULLI = (
    1.0 / 6.0,
    -1.0 / 30.0,
    1.0 / 42.0,
    -1.0 / 30.0,
    5.0 / 66.0,
    -691.0 / 2730.0,
    7.0 / 6.0,
    -3617.0 / 510.0,
    43867.0 / 798.0,
)


@helper
def lgamma(x: float) -> float:
    """log |Γ(x)|; infinite at the poles. In plain Python, `math.lgamma` would raise there."""
    if (x <= 0.0 and x == np.floor(x)) or x > 2.5e305:
        return np.inf
    return math.lgamma(x)


@helper
def gamma(x: float) -> float:
    """Γ(x); NaN at the poles but ±inf at ±0. In plain Python, `math.gamma` would raise there."""
    if x == 0.0:
        return math.copysign(np.inf, x)
    if x < 0.0 and x == np.floor(x):
        return np.nan
    if x > 172.0:
        return np.inf
    return math.gamma(x)


@helper
def cotangent(x: float) -> float:
    """cot(πx), with πx reduced exactly, so that it is 0 halfway between the poles."""
    r = x - np.rint(x)
    if abs(r) <= 0.25:
        return 1.0 / math.tan(math.pi * r)
    return math.copysign(math.tan(math.pi * (0.5 - abs(r))), r)


@helper
def digamma(x: float) -> float:
    """ψ(x); NaN at the poles, but ∓inf at ±0."""
    if x != x or x == np.inf:
        return x
    if x == 0.0:
        return -math.copysign(np.inf, x)
    total = 0.0
    if x < 0.0:
        if not x > np.floor(x):
            return np.nan
        total = -math.pi * cotangent(x)
        x = 1.0 - x
    while x < 10.0:
        total -= 1.0 / x
        x += 1.0
    square = 1.0 / (x * x)
    power = square
    series = 0.0
    for k in range(7):
        series += BERNOULLI[k] / (2.0 * k + 2.0) * power
        power *= square
    return total + (math.log(x) - 0.5 / x - series)


@helper
def polygamma(n: int, x: float) -> float:
    """ψ⁽ⁿ⁾(x) for n ≥ 1; infinite at the poles, with the sign of the right-hand side."""
    if x != x:
        return x
    sign = 1.0 if n % 2 else -1.0
    if x == np.inf:
        return sign * 0.0
    if x <= 0.0 and x == np.floor(x):
        return np.nan if x == -np.inf else sign * np.inf
    reflected = 0.0
    mirrored = x < 0.0
    if mirrored:
        reflected = -(math.pi ** (n + 1)) * cotangent_derivative(n, cotangent(x))
        x = 1.0 - x
    factorial = math.gamma(n + 1.0)
    total = 0.0
    while x < 12.0 + n:
        total += factorial * x ** (-n - 1)
        x += 1.0
    square = 1.0 / (x * x)
    term = factorial * (n + 1.0) / 2.0 * square
    series = factorial / n + factorial * 0.5 / x
    for k in range(9):
        series += BERNOULLI[k] * term
        even = 2.0 * k + 2.0
        term *= (even + n) * (even + n + 1.0) / ((even + 1.0) * (even + 2.0)) * square
    total = sign * (total + series * x ** (-n))
    return reflected - sign * total if mirrored else total


@helper
def cotangent_derivative(n: int, c: float) -> float:
    """The n-th derivative of cot(y) where cot(y) is ``c``: a polynomial in c."""
    p = np.zeros(n + 2)
    p[1] = 1.0
    for degree in range(1, n + 1):
        # p becomes -(1 + c²) p'.
        q = np.zeros(n + 2)
        for k in range(1, degree + 1):
            q[k - 1] -= k * p[k]
            q[k + 1] -= k * p[k]
        p = q
    value = 0.0
    for k in range(n + 1, -1, -1):
        value = value * c + p[k]
    return value
