"""The discrete distributions of scipy.stats."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from tracegrad.tracing.distribution_parts import (
    Distribution,
    betainc,
    betaincc,
    betaln,
    gammainc,
    gammaincc,
    lgamma,
    positive,
    xlog1py,
    xlogy,
)


def _choose(n: Any, k: Any) -> Any:
    """Logarithm of the binomial coefficient."""
    return lgamma(n + 1.0) - lgamma(k + 1.0) - lgamma(n - k + 1.0)


def _binomial(k: Any, n: Any, p: Any) -> Any:
    return _choose(n, k) + xlogy(k, p) + xlog1py(n - k, -p)


def _binomial_cdf(k: Any, n: Any, p: Any) -> Any:
    whole = k >= n
    return np.where(whole, 1.0, betaincc(k + 1.0, np.where(whole, 1.0, n - k), p))


def _binomial_sf(k: Any, n: Any, p: Any) -> Any:
    whole = k >= n
    return np.where(whole, 0.0, betainc(k + 1.0, np.where(whole, 1.0, n - k), p))


def _counts(*parts: Any, inside: float = 0.0, **more: Any) -> Distribution:
    return replace(Distribution(*parts, **more), discrete=True, inside=inside)


DISCRETE: dict[str, Distribution] = {
    "poisson": _counts(
        ("mu",),
        lambda k, mu: xlogy(k, mu) - mu - lgamma(k + 1.0),
        positive,
        lambda k, mu: gammaincc(k + 1.0, mu),
        lambda k, mu: gammainc(k + 1.0, mu),
    ),
    "binom": _counts(("n", "p"), _binomial, lambda n, p: (0.0, n), _binomial_cdf, _binomial_sf),
    "bernoulli": _counts(
        ("p",),
        lambda k, p: _binomial(k, 1.0, p),
        lambda p: (0.0, 1.0),
        lambda k, p: np.where(k >= 1.0, 1.0, 1.0 - p),
        lambda k, p: np.where(k >= 1.0, 0.0, p),
    ),
    "geom": _counts(
        ("p",),
        lambda k, p: xlog1py(k - 1.0, -p) + np.log(p),
        lambda p: (1.0, np.inf),
        lambda k, p: -np.expm1(k * np.log1p(-p)),
        lambda k, p: np.exp(k * np.log1p(-p)),
        logsf=lambda k, p: k * np.log1p(-p),
        inside=1.0,
    ),
    "nbinom": _counts(
        ("n", "p"),
        lambda k, n, p: (
            lgamma(k + n) - lgamma(n) - lgamma(k + 1.0) + n * np.log(p) + xlog1py(k, -p)
        ),
        positive,
        lambda k, n, p: betainc(n, k + 1.0, p),
        lambda k, n, p: betaincc(n, k + 1.0, p),
    ),
    "betabinom": _counts(
        ("n", "a", "b"),
        lambda k, n, a, b: (
            -np.log(n + 1.0)
            - betaln(n - k + 1.0, k + 1.0)
            + betaln(k + a, n - k + b)
            - betaln(a, b)
        ),
        lambda n, a, b: (0.0, n),
    ),
    "hypergeom": _counts(
        ("M", "n", "N"),
        lambda k, M, n, N: _choose(n, k) + _choose(M - n, N - k) - _choose(M, N),
        lambda M, n, N: (np.maximum(N - (M - n), 0.0), np.minimum(n, N)),
    ),
    "logser": _counts(
        ("p",),
        lambda k, p: k * np.log(p) - np.log(k) - np.log(-np.log1p(-p)),
        lambda p: (1.0, np.inf),
        inside=1.0,
    ),
    "dlaplace": _counts(
        ("a",),
        lambda k, a: np.log(np.tanh(0.5 * a)) - a * np.abs(k),
        lambda a: (-np.inf, np.inf),
    ),
    "planck": _counts(
        ("lambda_",),
        lambda k, r: np.log(-np.expm1(-r)) - r * k,
        positive,
        lambda k, r: -np.expm1(-r * (k + 1.0)),
        lambda k, r: np.exp(-r * (k + 1.0)),
        logsf=lambda k, r: -r * (k + 1.0),
    ),
}
