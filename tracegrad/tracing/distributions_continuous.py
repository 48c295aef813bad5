"""The continuous distributions of scipy.stats."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tracegrad.tracing.distribution_parts import (
    Distribution,
    betainc,
    betaincc,
    betaincinv,
    betaln,
    erf,
    erfc,
    expit,
    gammainc,
    gammaincc,
    gammainccinv,
    gammaincinv,
    lgamma,
    line,
    log1p_ratio,
    log_ndtr,
    log_normal,
    ndtr,
    ndtri,
    of,
    positive,
    softplus,
    stdtr,
    stdtrit,
    unit,
    xlog1py,
    xlogy,
)

LOG_2 = math.log(2.0)
LOG_PI = math.log(math.pi)


def _logit(q: Any) -> Any:
    return np.log(q) - np.log1p(-q)


def _laplace_tail(z: Any) -> Any:
    half = 0.5 * np.exp(-np.abs(z))
    return np.where(z > 0, half, 1.0 - half)


def _laplace_quantile(q: Any) -> Any:
    return np.where(q > 0.5, -np.log(2.0 * np.where(q > 0.5, 1.0 - q, 0.5)), np.log(2.0 * q))


def _t_logpdf(z: Any, df: Any) -> Any:
    front = lgamma(0.5 * (df + 1.0)) - lgamma(0.5 * df) - 0.5 * np.log(math.pi * df)
    return front - 0.5 * (df + 1.0) * np.log1p(z * z / df)


def _f_logpdf(z: Any, n: Any, m: Any) -> Any:
    powers = 0.5 * n * np.log(n) + 0.5 * m * np.log(m) + xlogy(0.5 * n - 1.0, z)
    return powers - 0.5 * (n + m) * np.log(m + n * z) - betaln(0.5 * n, 0.5 * m)


def _f_ppf(q: Any, n: Any, m: Any) -> Any:
    x = betaincinv(0.5 * n, 0.5 * m, q)
    return m * x / (n * (1.0 - x))


def _invgauss_tail(z: Any, mu: Any, upper: bool) -> Any:
    root = np.sqrt(z)
    first = (z / mu - 1.0) / root
    second = np.exp(2.0 / mu + log_ndtr(-(z / mu + 1.0) / root))
    return ndtr(-first) - second if upper else ndtr(first) + second


def _gennorm_tail(z: Any, beta: Any) -> Any:
    """The smaller tail, beyond abs(z)."""
    return 0.5 * gammaincc(1.0 / beta, np.abs(z) ** beta)


def _pareto_depth(z: Any, c: Any) -> Any:
    """log1p(c z) / c, and its limit z."""
    return z * log1p_ratio(c * z)


def _extreme_depth(z: Any, c: Any) -> Any:
    return -z * log1p_ratio(-c * z)


def _genpareto_end(c: Any) -> tuple[Any, Any]:
    return 0.0, np.where(c < 0.0, -1.0 / np.where(c < 0.0, c, -1.0), np.inf)


def _genextreme_ends(c: Any) -> tuple[Any, Any]:
    end = 1.0 / np.where(c == 0.0, 1.0, c)
    return np.where(c < 0.0, end, -np.inf), np.where(c > 0.0, end, np.inf)


def _log_mass(a: Any, b: Any) -> Any:
    """log(Φ(b) - Φ(a)), from the side that loses no digits."""
    right = a > 0.0
    more = log_ndtr(np.where(right, -a, b))
    less = log_ndtr(np.where(right, -b, a))
    return more + np.log1p(-np.exp(less - more))


def _von_mises(z: Any, kappa: Any) -> Any:
    half = np.sin(0.5 * z)
    return -2.0 * kappa * half * half - np.log(2.0 * math.pi * of("i0e")(kappa))


def _inverse_gauss_logpdf(z: Any, mu: Any) -> Any:
    apart = (z - mu) / mu
    return -1.5 * np.log(z) - apart * apart / (2.0 * z) - 0.5 * math.log(2.0 * math.pi)


CONTINUOUS: dict[str, Distribution] = {
    "norm": Distribution(
        (),
        log_normal,
        line,
        ndtr,
        lambda z: ndtr(-z),
        log_ndtr,
        lambda z: log_ndtr(-z),
        ndtri,
        lambda q: -ndtri(q),
    ),
    "lognorm": Distribution(
        ("s",),
        lambda z, s: log_normal(np.log(z) / s) - np.log(s * z),
        positive,
        lambda z, s: ndtr(np.log(z) / s),
        lambda z, s: ndtr(-np.log(z) / s),
        lambda z, s: log_ndtr(np.log(z) / s),
        lambda z, s: log_ndtr(-np.log(z) / s),
        lambda q, s: np.exp(s * ndtri(q)),
        lambda q, s: np.exp(-s * ndtri(q)),
        open=True,
    ),
    "halfnorm": Distribution(
        (),
        lambda z: 0.5 * math.log(2.0 / math.pi) - 0.5 * z * z,
        positive,
        lambda z: erf(z * math.sqrt(0.5)),
        lambda z: 2.0 * ndtr(-z),
        logsf=lambda z: LOG_2 + log_ndtr(-z),
        ppf=lambda q: ndtri(0.5 + 0.5 * q),
        isf=lambda q: -ndtri(0.5 * q),
    ),
    "expon": Distribution(
        (),
        lambda z: -z,
        positive,
        lambda z: -np.expm1(-z),
        lambda z: np.exp(-z),
        logsf=lambda z: -z,
        ppf=lambda q: -np.log1p(-q),
        isf=lambda q: -np.log(q),
    ),
    "uniform": Distribution(
        (),
        lambda z: z * 0.0,
        unit,
        lambda z: z,
        lambda z: 1.0 - z,
        ppf=lambda q: q,
        isf=lambda q: 1.0 - q,
    ),
    "laplace": Distribution(
        (),
        lambda z: -np.abs(z) - LOG_2,
        line,
        lambda z: _laplace_tail(-z),
        _laplace_tail,
        ppf=_laplace_quantile,
        isf=lambda q: -_laplace_quantile(q),
    ),
    "logistic": Distribution(
        (),
        lambda z: -z - 2.0 * softplus(-z),
        line,
        expit,
        lambda z: expit(-z),
        lambda z: -softplus(-z),
        lambda z: -softplus(z),
        _logit,
        lambda q: -_logit(q),
    ),
    "cauchy": Distribution(
        (),
        lambda z: -np.log1p(z * z) - LOG_PI,
        line,
        lambda z: np.arctan2(1.0, -z) / math.pi,
        lambda z: np.arctan2(1.0, z) / math.pi,
        ppf=lambda q: np.tan(math.pi * (q - 0.5)),
        isf=lambda q: np.tan(math.pi * (0.5 - q)),
    ),
    "gumbel_r": Distribution(
        (),
        lambda z: -z - np.exp(-z),
        line,
        lambda z: np.exp(-np.exp(-z)),
        lambda z: -np.expm1(-np.exp(-z)),
        lambda z: -np.exp(-z),
        ppf=lambda q: -np.log(-np.log(q)),
        isf=lambda q: -np.log(-np.log1p(-q)),
    ),
    "gumbel_l": Distribution(
        (),
        lambda z: z - np.exp(z),
        line,
        lambda z: -np.expm1(-np.exp(z)),
        lambda z: np.exp(-np.exp(z)),
        logsf=lambda z: -np.exp(z),
        ppf=lambda q: np.log(-np.log1p(-q)),
        isf=lambda q: np.log(-np.log(q)),
    ),
    "rayleigh": Distribution(
        (),
        lambda z: np.log(z) - 0.5 * z * z,
        positive,
        lambda z: -np.expm1(-0.5 * z * z),
        lambda z: np.exp(-0.5 * z * z),
        logsf=lambda z: -0.5 * z * z,
        ppf=lambda q: np.sqrt(-2.0 * np.log1p(-q)),
        isf=lambda q: np.sqrt(-2.0 * np.log(q)),
    ),
    "weibull_min": Distribution(
        ("c",),
        lambda z, c: np.log(c) + xlogy(c - 1.0, z) - z**c,
        positive,
        lambda z, c: -np.expm1(-(z**c)),
        lambda z, c: np.exp(-(z**c)),
        logsf=lambda z, c: -(z**c),
        ppf=lambda q, c: (-np.log1p(-q)) ** (1.0 / c),
        isf=lambda q, c: (-np.log(q)) ** (1.0 / c),
    ),
    "pareto": Distribution(
        ("b",),
        lambda z, b: np.log(b) - (b + 1.0) * np.log(z),
        lambda b: (1.0, np.inf),
        lambda z, b: -np.expm1(-b * np.log(z)),
        lambda z, b: z**-b,
        logsf=lambda z, b: -b * np.log(z),
        ppf=lambda q, b: np.exp(-np.log1p(-q) / b),
        isf=lambda q, b: q ** (-1.0 / b),
        inside=2.0,
    ),
    "gamma": Distribution(
        ("a",),
        lambda z, a: xlogy(a - 1.0, z) - z - lgamma(a),
        positive,
        lambda z, a: gammainc(a, z),
        lambda z, a: gammaincc(a, z),
        ppf=lambda q, a: gammaincinv(a, q),
        isf=lambda q, a: gammainccinv(a, q),
    ),
    "erlang": Distribution(
        ("a",),
        lambda z, a: xlogy(a - 1.0, z) - z - lgamma(a),
        positive,
        lambda z, a: gammainc(a, z),
        lambda z, a: gammaincc(a, z),
        ppf=lambda q, a: gammaincinv(a, q),
        isf=lambda q, a: gammainccinv(a, q),
    ),
    "invgamma": Distribution(
        ("a",),
        lambda z, a: -(a + 1.0) * np.log(z) - lgamma(a) - 1.0 / z,
        positive,
        lambda z, a: gammaincc(a, 1.0 / z),
        lambda z, a: gammainc(a, 1.0 / z),
        ppf=lambda q, a: 1.0 / gammainccinv(a, q),
        isf=lambda q, a: 1.0 / gammaincinv(a, q),
        open=True,
    ),
    "loggamma": Distribution(
        ("c",),
        lambda z, c: c * z - np.exp(z) - lgamma(c),
        line,
        lambda z, c: gammainc(c, np.exp(z)),
        lambda z, c: gammaincc(c, np.exp(z)),
    ),
    "nakagami": Distribution(
        ("nu",),
        lambda z, nu: LOG_2 + xlogy(nu, nu) - lgamma(nu) + xlogy(2.0 * nu - 1.0, z) - nu * z * z,
        positive,
        lambda z, nu: gammainc(nu, nu * z * z),
        lambda z, nu: gammaincc(nu, nu * z * z),
        ppf=lambda q, nu: np.sqrt(gammaincinv(nu, q) / nu),
        isf=lambda q, nu: np.sqrt(gammainccinv(nu, q) / nu),
    ),
    "chi2": Distribution(
        ("df",),
        lambda z, df: xlogy(0.5 * df - 1.0, z) - 0.5 * z - lgamma(0.5 * df) - 0.5 * df * LOG_2,
        positive,
        lambda z, df: gammainc(0.5 * df, 0.5 * z),
        lambda z, df: gammaincc(0.5 * df, 0.5 * z),
        ppf=lambda q, df: 2.0 * gammaincinv(0.5 * df, q),
        isf=lambda q, df: 2.0 * gammainccinv(0.5 * df, q),
    ),
    "chi": Distribution(
        ("df",),
        lambda z, df: (
            LOG_2 * (1.0 - 0.5 * df) - lgamma(0.5 * df) + xlogy(df - 1.0, z) - 0.5 * z * z
        ),
        positive,
        lambda z, df: gammainc(0.5 * df, 0.5 * z * z),
        lambda z, df: gammaincc(0.5 * df, 0.5 * z * z),
        ppf=lambda q, df: np.sqrt(2.0 * gammaincinv(0.5 * df, q)),
        isf=lambda q, df: np.sqrt(2.0 * gammainccinv(0.5 * df, q)),
    ),
    "maxwell": Distribution(
        (),
        lambda z: 0.5 * math.log(2.0 / math.pi) + 2.0 * np.log(z) - 0.5 * z * z,
        positive,
        lambda z: gammainc(1.5, 0.5 * z * z),
        lambda z: gammaincc(1.5, 0.5 * z * z),
        ppf=lambda q: np.sqrt(2.0 * gammaincinv(1.5, q)),
        isf=lambda q: np.sqrt(2.0 * gammainccinv(1.5, q)),
    ),
    "beta": Distribution(
        ("a", "b"),
        lambda z, a, b: xlogy(a - 1.0, z) + xlog1py(b - 1.0, -z) - betaln(a, b),
        unit,
        lambda z, a, b: betainc(a, b, z),
        lambda z, a, b: betaincc(a, b, z),
        ppf=lambda q, a, b: betaincinv(a, b, q),
        isf=lambda q, a, b: of("betainccinv")(a, b, q),
    ),
    "betaprime": Distribution(
        ("a", "b"),
        lambda z, a, b: xlogy(a - 1.0, z) - (a + b) * np.log1p(z) - betaln(a, b),
        positive,
        lambda z, a, b: betainc(a, b, z / (1.0 + z)),
        lambda z, a, b: betainc(b, a, 1.0 / (1.0 + z)),
        open=True,
    ),
    "f": Distribution(
        ("dfn", "dfd"),
        _f_logpdf,
        positive,
        lambda z, n, m: betainc(0.5 * n, 0.5 * m, n * z / (m + n * z)),
        lambda z, n, m: betainc(0.5 * m, 0.5 * n, m / (m + n * z)),
        ppf=_f_ppf,
    ),
    "t": Distribution(
        ("df",),
        _t_logpdf,
        line,
        lambda z, df: stdtr(df, z),
        lambda z, df: stdtr(df, -z),
        ppf=lambda q, df: stdtrit(df, q),
        isf=lambda q, df: -stdtrit(df, q),
    ),
    "halfcauchy": Distribution(
        (),
        lambda z: math.log(2.0 / math.pi) - np.log1p(z * z),
        positive,
        lambda z: 2.0 / math.pi * np.arctan(z),
        lambda z: 2.0 / math.pi * np.arctan2(1.0, z),
        ppf=lambda q: np.tan(0.5 * math.pi * q),
    ),
    "halflogistic": Distribution(
        (),
        lambda z: LOG_2 - z - 2.0 * softplus(-z),
        positive,
        lambda z: np.tanh(0.5 * z),
        lambda z: 2.0 * expit(-z),
        ppf=lambda q: 2.0 * np.arctanh(q),
    ),
    "levy": Distribution(
        (),
        lambda z: -0.5 * math.log(2.0 * math.pi) - 1.5 * np.log(z) - 0.5 / z,
        positive,
        lambda z: erfc(np.sqrt(0.5 / z)),
        lambda z: erf(np.sqrt(0.5 / z)),
        open=True,
    ),
    "lomax": Distribution(
        ("c",),
        lambda z, c: np.log(c) - (c + 1.0) * np.log1p(z),
        positive,
        lambda z, c: -np.expm1(-c * np.log1p(z)),
        lambda z, c: np.exp(-c * np.log1p(z)),
        logsf=lambda z, c: -c * np.log1p(z),
        ppf=lambda q, c: np.expm1(-np.log1p(-q) / c),
    ),
    "powerlaw": Distribution(
        ("a",),
        lambda z, a: np.log(a) + xlogy(a - 1.0, z),
        unit,
        lambda z, a: z**a,
        lambda z, a: -np.expm1(a * np.log(z)),
        lambda z, a: a * np.log(z),
        ppf=lambda q, a: q ** (1.0 / a),
    ),
    "fisk": Distribution(
        ("c",),
        lambda z, c: np.log(c) + xlogy(c - 1.0, z) - 2.0 * softplus(c * np.log(z)),
        positive,
        lambda z, c: expit(c * np.log(z)),
        lambda z, c: expit(-c * np.log(z)),
        lambda z, c: -softplus(-c * np.log(z)),
        lambda z, c: -softplus(c * np.log(z)),
        ppf=lambda q, c: np.exp(_logit(q) / c),
        isf=lambda q, c: np.exp(-_logit(q) / c),
    ),
    "burr12": Distribution(
        ("c", "d"),
        lambda z, c, d: np.log(c * d) + xlogy(c - 1.0, z) - (d + 1.0) * np.log1p(z**c),
        positive,
        lambda z, c, d: -np.expm1(-d * np.log1p(z**c)),
        lambda z, c, d: np.exp(-d * np.log1p(z**c)),
        logsf=lambda z, c, d: -d * np.log1p(z**c),
        ppf=lambda q, c, d: np.expm1(-np.log1p(-q) / d) ** (1.0 / c),
    ),
    "gompertz": Distribution(
        ("c",),
        lambda z, c: np.log(c) + z - c * np.expm1(z),
        positive,
        lambda z, c: -np.expm1(-c * np.expm1(z)),
        lambda z, c: np.exp(-c * np.expm1(z)),
        logsf=lambda z, c: -c * np.expm1(z),
        ppf=lambda q, c: np.log1p(-np.log1p(-q) / c),
    ),
    "invweibull": Distribution(
        ("c",),
        lambda z, c: np.log(c) - (c + 1.0) * np.log(z) - z**-c,
        positive,
        lambda z, c: np.exp(-(z**-c)),
        lambda z, c: -np.expm1(-(z**-c)),
        lambda z, c: -(z**-c),
        ppf=lambda q, c: (-np.log(q)) ** (-1.0 / c),
        open=True,
    ),
    "invgauss": Distribution(
        ("mu",),
        _inverse_gauss_logpdf,
        positive,
        lambda z, mu: _invgauss_tail(z, mu, False),
        lambda z, mu: _invgauss_tail(z, mu, True),
        open=True,
    ),
    "wald": Distribution(
        (),
        lambda z: _inverse_gauss_logpdf(z, 1.0),
        positive,
        lambda z: _invgauss_tail(z, 1.0, False),
        lambda z: _invgauss_tail(z, 1.0, True),
        open=True,
    ),
    "gennorm": Distribution(
        ("beta",),
        lambda z, beta: np.log(0.5 * beta) - lgamma(1.0 / beta) - np.abs(z) ** beta,
        line,
        lambda z, beta: np.where(z > 0, 1.0 - _gennorm_tail(z, beta), _gennorm_tail(z, beta)),
        lambda z, beta: np.where(z > 0, _gennorm_tail(z, beta), 1.0 - _gennorm_tail(z, beta)),
    ),
    "genpareto": Distribution(
        ("c",),
        lambda z, c: -(c + 1.0) * _pareto_depth(z, c),
        _genpareto_end,
        lambda z, c: -np.expm1(-_pareto_depth(z, c)),
        lambda z, c: np.exp(-_pareto_depth(z, c)),
        logsf=lambda z, c: -_pareto_depth(z, c),
        inside=0.0,
    ),
    "genextreme": Distribution(
        ("c",),
        lambda z, c: (1.0 - c) * _extreme_depth(z, c) - np.exp(_extreme_depth(z, c)),
        _genextreme_ends,
        lambda z, c: np.exp(-np.exp(_extreme_depth(z, c))),
        lambda z, c: -np.expm1(-np.exp(_extreme_depth(z, c))),
        lambda z, c: -np.exp(_extreme_depth(z, c)),
        inside=0.0,
    ),
    "skewnorm": Distribution(
        ("a",),
        lambda z, a: LOG_2 + log_normal(z) + log_ndtr(a * z),
        line,
        lambda z, a: ndtr(z) - 2.0 * of("owens_t")(z, a),
        lambda z, a: ndtr(-z) + 2.0 * of("owens_t")(z, a),
    ),
    "exponnorm": Distribution(
        ("K",),
        lambda z, K: 0.5 / (K * K) - z / K + log_ndtr(z - 1.0 / K) - np.log(K),
        line,
    ),
    "truncnorm": Distribution(
        ("a", "b"),
        lambda z, a, b: log_normal(z) - _log_mass(a, b),
        lambda a, b: (a, b),
        lambda z, a, b: np.exp(_log_mass(a, z) - _log_mass(a, b)),
        lambda z, a, b: np.exp(_log_mass(z, b) - _log_mass(a, b)),
        lambda z, a, b: _log_mass(a, z) - _log_mass(a, b),
        lambda z, a, b: _log_mass(z, b) - _log_mass(a, b),
    ),
    "rice": Distribution(
        ("b",),
        lambda z, b: np.log(z) - 0.5 * (z - b) * (z - b) + np.log(of("i0e")(z * b)),
        positive,
    ),
    "vonmises": Distribution(("kappa",), _von_mises, line),
    "hypsecant": Distribution(
        (),
        lambda z: LOG_2 - LOG_PI - np.abs(z) - np.log1p(np.exp(-2.0 * np.abs(z))),
        line,
        lambda z: 2.0 / math.pi * np.arctan(np.exp(z)),
        lambda z: 2.0 / math.pi * np.arctan(np.exp(-z)),
    ),
    "arcsine": Distribution(
        (),
        lambda z: -LOG_PI - 0.5 * (np.log(z) + np.log1p(-z)),
        unit,
        lambda z: 2.0 / math.pi * np.arcsin(np.sqrt(z)),
        lambda z: 2.0 / math.pi * np.arccos(np.sqrt(z)),
        ppf=lambda q: np.sin(0.5 * math.pi * q) ** 2,
    ),
    "semicircular": Distribution(
        (),
        lambda z: math.log(2.0 / math.pi) + 0.5 * np.log1p(-z * z),
        lambda: (-1.0, 1.0),
        lambda z: 0.5 + (z * np.sqrt(1.0 - z * z) + np.arcsin(z)) / math.pi,
        lambda z: 0.5 - (z * np.sqrt(1.0 - z * z) + np.arcsin(z)) / math.pi,
    ),
}
