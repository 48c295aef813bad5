"""What derivatives of incomplete functions with respect to their parameters mean, in NumPy.

The method is that of `tracegrad.backend.incomplete`, which compiled loops use, on whole arrays.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

_AT = 0.0625 * np.arange(-62, 41)
NODES = np.exp(0.5 * math.pi * np.sinh(_AT))
WEIGHTS = 0.0625 * 0.5 * math.pi * np.cosh(_AT) * NODES


def gammainc_shape(a: Any, x: Any, order: int) -> Any:
    """The derivative of ``gammainc(a, x)`` by a, of order 1 or 2."""
    import scipy.special as sp

    dtype = np.asarray(a).dtype
    with np.errstate(all="ignore"):
        a, x = np.broadcast_arrays(np.asarray(a, np.float64), np.asarray(x, np.float64))
        found = np.where(
            (a <= 20.0) & (np.log(x) < sp.psi(a + 1.0)),
            _gammainc_series(a, x, order),
            _gammainc_integral(a, x, order),
        )
        found = np.where((x == 0.0) | (x == np.inf), 0.0, found)
        return np.where((a > 0.0) & (x >= 0.0), found, np.nan).astype(dtype)[()]


def _gammainc_integral(a: Any, x: Any, order: int) -> Any:
    import scipy.special as sp

    psi, square = sp.psi(a), sp.polygamma(1, a)
    lower = np.log(x) < psi
    scale = np.where(lower, 1.0 / (np.abs(a - x) + np.sqrt(x)), x / (x - a + 1.0 + np.sqrt(a)))
    a_, x_, psi_, low = (each[..., None] for each in (a, x, psi, lower))
    u = scale[..., None] * NODES
    apart = np.where(low, -u, np.log1p(u / x_))
    weight = np.where(low, np.exp(-a_ * u - x_ * np.expm1(-u)), np.exp((a_ - 1.0) * apart - u) / x_)
    slope = np.log(x_) + apart - psi_
    if order == 2:
        slope = slope * slope - square[..., None]
    terms = np.where(weight > 0.0, weight * slope, 0.0) * WEIGHTS
    total = np.sum(terms, axis=-1) * scale * _gamma_weight(a, x)
    return np.where(lower, total, -total)


def _gammainc_series(a: Any, x: Any, order: int) -> Any:
    import scipy.special as sp

    n = np.arange(120)
    psi = sp.psi(a[..., None] + n + 1.0)
    slope = np.log(x)[..., None] - psi
    if order == 2:
        slope = slope * slope - sp.polygamma(1, a[..., None] + n + 1.0)
    ratios = np.where(n > 0, x[..., None] / (a[..., None] + n), 1.0)
    first = x**a * np.exp(-x) / sp.gamma(a + 1.0)
    return first * np.sum(np.cumprod(ratios, axis=-1) * slope, axis=-1)


def _remainder(a: Any) -> Any:
    s = 1.0 / (a * a)
    series = (((s / 1188.0 - 1.0 / 1680.0) * s + 1.0 / 1260.0) * s - 1.0 / 360.0) * s
    return (series + 1.0 / 12.0) / a


def _gamma_weight(a: Any, x: Any) -> Any:
    import scipy.special as sp

    large = np.exp(a * np.log(x / a) - (x - a) - _remainder(a)) * np.sqrt(a / (2.0 * math.pi))
    return np.where(a > 20.0, large, x**a * np.exp(-x) / sp.gamma(a))


def betainc_shape(a: Any, b: Any, x: Any) -> Any:
    """The derivative of ``betainc(a, b, x)`` by a."""
    dtype = np.asarray(a).dtype
    with np.errstate(all="ignore"):
        a, b, x = np.broadcast_arrays(*(np.asarray(each, np.float64) for each in (a, b, x)))
        series = (a < 1.0) & (x <= 0.5) & (b * x <= 2.0)
        found = np.where(series, _betainc_series(a, b, x), _betainc_integral(a, b, x))
        found = np.where((x == 0.0) | (x == 1.0), 0.0, found)
        inside = (a > 0.0) & (b > 0.0) & (x >= 0.0) & (x <= 1.0)
        return np.where(inside, found, np.nan).astype(dtype)[()]


def _betainc_integral(a: Any, b: Any, x: Any) -> Any:
    import scipy.special as sp

    y = 1.0 - x
    shift = sp.psi(a) - sp.psi(a + b)
    lower = np.log(x) < shift
    size = np.sqrt(a * b * x * y / (a + b))
    scale = 1.0 / np.where(
        lower,
        np.abs(a - (a + b) * x) / y + size + 0.1 * a,
        np.abs(b - (a + b) * y) / x + size + 0.1 * b,
    )
    a_, b_, x_, y_, low = (each[..., None] for each in (a, b, x, y, lower))
    u = scale[..., None] * NODES
    shrunk = -np.expm1(-u)
    apart = np.where(low, np.log1p(x_ * shrunk / y_), np.log1p(y_ * shrunk / x_))
    weight = np.where(
        low, np.exp(-a_ * u + (b_ - 1.0) * apart) / y_, np.exp(-b_ * u + (a_ - 1.0) * apart) / x_
    )
    slope = np.log(x_) + np.where(low, -u, apart) - shift[..., None]
    terms = np.where(weight > 0.0, weight * slope, 0.0) * WEIGHTS
    total = np.sum(terms, axis=-1) * scale * _beta_weight(a, b, x, y)
    return np.where(lower, total, -total)


def _betainc_series(a: Any, b: Any, x: Any) -> Any:
    import scipy.special as sp

    n = np.arange(80)
    a_ = a[..., None]
    slope = (np.log(x) - sp.psi(a + 1.0) + sp.psi(a + b))[..., None]
    ratios = np.where(n > 0, (n - b[..., None]) * x[..., None] / np.maximum(n, 1), 1.0)
    terms = np.cumprod(ratios, axis=-1) * (slope + n / (a_ * (a_ + n))) / (a_ + n)
    return np.sum(terms, axis=-1) * _beta_weight(a, b, x, np.ones_like(x))


def _beta_weight(a: Any, b: Any, x: Any, y: Any) -> Any:
    import scipy.special as sp

    n, more, less = a + b, np.maximum(a, b), np.minimum(a, b)
    stirling = a * np.log(x * n / a) + b * np.log(y * n / b)
    stirling = stirling + _remainder(n) - _remainder(a) - _remainder(b)
    stirling = np.exp(stirling) * np.sqrt(a * b / (2.0 * math.pi * n))
    shifted = (more - 0.5) * np.log1p(less / more) + less * (np.log(n) - 1.0)
    shifted = np.exp(shifted + _remainder(n) - _remainder(more) - sp.gammaln(less))
    direct = sp.gamma(n) / (sp.gamma(a) * sp.gamma(b))
    powers = x**a * y**b
    return np.where(less > 20.0, stirling, powers * np.where(more > 20.0, shifted, direct))
