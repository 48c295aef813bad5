"""scipy.stats: densities and distribution functions, written as compositions.

A distribution is given by its standard form: the logarithm of its density at ``z = (x - loc) /
scale``, its support, and, where it has an elementary form, its distribution function. Outside of
the support the density is zero, and contributes nothing to a derivative.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tracegrad.errors import UnsupportedError
from tracegrad.tracing.dispatch import METHODS
from tracegrad.tracing.ufuncs import BY_NAME
from tracegrad.tracing.values import cast, common_dtype, elementwise, operand

LOG_SQRT_2PI = 0.5 * math.log(2.0 * math.pi)
Formula = Callable[..., Any]


@dataclass(frozen=True)
class Distribution:
    """One distribution in standard form.

    Attributes
    ----------
    shapes : names of its shape parameters, as SciPy has them.
    logpdf : (z, *shapes) → logarithm of the density (or of the probability) within the support.
    support : (*shapes) → least and greatest z; either may be infinite.
    cdf, sf : (z, *shapes) → distribution function and its complement, or None.
    discrete : whether it lives on the integers; then there is no scale.
    inside : a z within the support, whatever the shapes are.
    """

    shapes: tuple[str, ...]
    logpdf: Formula
    support: Callable[..., tuple[Any, Any]]
    cdf: Formula | None = None
    sf: Formula | None = None
    discrete: bool = False
    inside: float = 0.5


def _lgamma(x: Any) -> Any:
    return elementwise("lgamma", [operand(x)])


def _betaln(a: Any, b: Any) -> Any:
    return _lgamma(a) + _lgamma(b) - _lgamma(a + b)


def _xlogy(x: Any, y: Any) -> Any:
    return BY_NAME["xlogy"](operand(x), operand(y))


def _softplus(x: Any) -> Any:
    return elementwise("softplus", [operand(x)])


def _expit(x: Any) -> Any:
    return elementwise("sigmoid", [operand(x)])


def _ndtr(z: Any) -> Any:
    return 0.5 * elementwise("erfc", [operand(z * -math.sqrt(0.5))])


def _line(*shapes: Any) -> tuple[float, float]:
    return -np.inf, np.inf


def _positive(*shapes: Any) -> tuple[float, float]:
    return 0.0, np.inf


def _unit(*shapes: Any) -> tuple[float, float]:
    return 0.0, 1.0


def _binomial(k: Any, n: Any, p: Any) -> Any:
    ways = _lgamma(n + 1.0) - _lgamma(k + 1.0) - _lgamma(n - k + 1.0)
    return ways + _xlogy(k, p) + BY_NAME["xlog1py"](operand(n - k), operand(-p))


DISTRIBUTIONS: dict[str, Distribution] = {
    "norm": Distribution(
        (), lambda z: -0.5 * z * z - LOG_SQRT_2PI, _line, _ndtr, lambda z: _ndtr(-z)
    ),
    "lognorm": Distribution(
        ("s",),
        lambda z, s: -0.5 * (np.log(z) / s) ** 2 - np.log(s * z) - LOG_SQRT_2PI,
        _positive,
        lambda z, s: _ndtr(np.log(z) / s),
        lambda z, s: _ndtr(-np.log(z) / s),
    ),
    "halfnorm": Distribution(
        (),
        lambda z: 0.5 * math.log(2.0 / math.pi) - 0.5 * z * z,
        _positive,
        lambda z: 2.0 * _ndtr(z) - 1.0,
        lambda z: 2.0 * _ndtr(-z),
    ),
    "expon": Distribution(
        (), lambda z: -z, _positive, lambda z: -np.expm1(-z), lambda z: np.exp(-z)
    ),
    "uniform": Distribution((), lambda z: z * 0.0, _unit, lambda z: z, lambda z: 1.0 - z),
    "laplace": Distribution(
        (),
        lambda z: -np.abs(z) - math.log(2.0),
        _line,
        lambda z: np.where(z > 0, 1.0 - 0.5 * np.exp(-np.abs(z)), 0.5 * np.exp(-np.abs(z))),
        lambda z: np.where(z > 0, 0.5 * np.exp(-np.abs(z)), 1.0 - 0.5 * np.exp(-np.abs(z))),
    ),
    "logistic": Distribution(
        (), lambda z: -z - 2.0 * _softplus(-z), _line, _expit, lambda z: _expit(-z)
    ),
    "cauchy": Distribution(
        (),
        lambda z: -np.log1p(z * z) - math.log(math.pi),
        _line,
        lambda z: 0.5 + np.arctan(z) / math.pi,
        lambda z: 0.5 - np.arctan(z) / math.pi,
    ),
    "gumbel_r": Distribution(
        (),
        lambda z: -z - np.exp(-z),
        _line,
        lambda z: np.exp(-np.exp(-z)),
        lambda z: -np.expm1(-np.exp(-z)),
    ),
    "gumbel_l": Distribution(
        (),
        lambda z: z - np.exp(z),
        _line,
        lambda z: -np.expm1(-np.exp(z)),
        lambda z: np.exp(-np.exp(z)),
    ),
    "rayleigh": Distribution(
        (),
        lambda z: np.log(z) - 0.5 * z * z,
        _positive,
        lambda z: -np.expm1(-0.5 * z * z),
        lambda z: np.exp(-0.5 * z * z),
    ),
    "weibull_min": Distribution(
        ("c",),
        lambda z, c: np.log(c) + (c - 1.0) * np.log(z) - z**c,
        _positive,
        lambda z, c: -np.expm1(-(z**c)),
        lambda z, c: np.exp(-(z**c)),
    ),
    "pareto": Distribution(
        ("b",),
        lambda z, b: np.log(b) - (b + 1.0) * np.log(z),
        lambda b: (1.0, np.inf),
        lambda z, b: 1.0 - z**-b,
        lambda z, b: z**-b,
        inside=2.0,
    ),
    "gamma": Distribution(("a",), lambda z, a: _xlogy(a - 1.0, z) - z - _lgamma(a), _positive),
    "invgamma": Distribution(
        ("a",), lambda z, a: -(a + 1.0) * np.log(z) - _lgamma(a) - 1.0 / z, _positive
    ),
    "chi2": Distribution(
        ("df",),
        lambda z, df: (
            _xlogy(0.5 * df - 1.0, z) - 0.5 * z - _lgamma(0.5 * df) - 0.5 * df * math.log(2.0)
        ),
        _positive,
    ),
    "beta": Distribution(
        ("a", "b"),
        lambda z, a, b: (
            _xlogy(a - 1.0, z) + BY_NAME["xlog1py"](operand(b - 1.0), operand(-z)) - _betaln(a, b)
        ),
        _unit,
    ),
    "t": Distribution(
        ("df",),
        lambda z, df: (
            _lgamma(0.5 * (df + 1.0))
            - _lgamma(0.5 * df)
            - 0.5 * np.log(math.pi * df)
            - 0.5 * (df + 1.0) * np.log1p(z * z / df)
        ),
        _line,
    ),
    "poisson": Distribution(
        ("mu",),
        lambda k, mu: _xlogy(k, mu) - mu - _lgamma(k + 1.0),
        _positive,
        discrete=True,
        inside=0.0,
    ),
    "binom": Distribution(("n", "p"), _binomial, lambda n, p: (0.0, n), discrete=True, inside=0.0),
    "bernoulli": Distribution(
        ("p",), lambda k, p: _binomial(k, 1.0, p), lambda p: (0.0, 1.0), discrete=True, inside=0.0
    ),
    "geom": Distribution(
        ("p",),
        lambda k, p: BY_NAME["xlog1py"](operand(k - 1.0), operand(-p)) + np.log(p),
        lambda p: (1.0, np.inf),
        discrete=True,
        inside=1.0,
    ),
    "nbinom": Distribution(
        ("n", "p"),
        lambda k, n, p: (
            _lgamma(k + n)
            - _lgamma(n)
            - _lgamma(k + 1.0)
            + n * np.log(p)
            + BY_NAME["xlog1py"](operand(k), operand(-p))
        ),
        _positive,
        discrete=True,
        inside=0.0,
    ),
}


def _given(
    name: str, what: Distribution, args: Sequence[Any], kwargs: dict[str, Any]
) -> tuple[Any, list[Any], Any, Any]:
    """x, the shapes, loc and scale of a call, as floats of one dtype."""
    names = ["x", *what.shapes, "loc", *([] if what.discrete else ["scale"])]
    if len(args) > len(names):
        raise TypeError(f"scipy.stats.{name} takes {', '.join(names)}")
    found = dict(zip(names, args, strict=False))
    for key, value in kwargs.items():
        key = "x" if key == "k" else key
        if key not in names or key in found:
            raise TypeError(f"scipy.stats.{name} takes {', '.join(names)}, not {key!r}")
        found[key] = value
    missing = [each for each in ("x", *what.shapes) if each not in found]
    if missing:
        raise TypeError(f"scipy.stats.{name} needs {', '.join(missing)}")
    found.setdefault("loc", 0.0)
    found.setdefault("scale", 1.0)
    values = [operand(found[each]) for each in (*names, *(["scale"] if what.discrete else []))]
    dtype = common_dtype(values)
    dtype = dtype if dtype.kind == "f" else np.dtype(np.float64)
    x, *rest = [cast(v, dtype) for v in values]
    *shapes, loc, scale = rest
    return x, shapes, loc, scale


def _standard(what: Distribution, x: Any, shapes: Any, loc: Any, scale: Any) -> tuple[Any, ...]:
    """z, z moved into the support where it is outside, and where it is inside, below, above."""
    z = x - loc if what.discrete else (x - loc) / scale
    low, high = what.support(*shapes)
    below = z < low
    above = z > high
    inside = ~(below | above)
    if what.discrete:
        inside = inside & (np.floor(z) == z)
    return z, np.where(inside, z, what.inside), inside, below, above


def _logpdf(name: str, what: Distribution, *args: Any, **kwargs: Any) -> Any:
    x, shapes, loc, scale = _given(name, what, args, kwargs)
    z, safe, inside, _, _ = _standard(what, x, shapes, loc, scale)
    found = what.logpdf(safe, *shapes)
    found = found if what.discrete else found - np.log(scale)
    return np.where(np.isnan(z), z, np.where(inside, found, -np.inf))


def _pdf(name: str, what: Distribution, *args: Any, **kwargs: Any) -> Any:
    return np.exp(_logpdf(name, what, *args, **kwargs))


def _tail(name: str, what: Distribution, upper: bool, *args: Any, **kwargs: Any) -> Any:
    formula = what.sf if upper else what.cdf
    assert formula is not None
    x, shapes, loc, scale = _given(name, what, args, kwargs)
    z, safe, inside, below, _ = _standard(what, x, shapes, loc, scale)
    outside = np.where(below, 1.0 if upper else 0.0, 0.0 if upper else 1.0)
    found = np.where(inside, formula(safe, *shapes), outside)
    return np.where(np.isnan(z), z, found)


def _log_tail(name: str, what: Distribution, upper: bool, *args: Any, **kwargs: Any) -> Any:
    if name == "norm":
        x, _, loc, scale = _given(name, what, args, kwargs)
        z = (x - loc) / scale
        return BY_NAME["log_ndtr"](operand(-z if upper else z))
    if name == "logistic":
        x, _, loc, scale = _given(name, what, args, kwargs)
        z = (x - loc) / scale
        return -_softplus(z if upper else -z)
    return np.log(_tail(name, what, upper, *args, **kwargs))


for _name, _what in DISTRIBUTIONS.items():
    _owner = f"{_name}_gen"
    _density = "pmf" if _what.discrete else "pdf"
    METHODS[_owner, f"log{_density}"] = functools.partial(_logpdf, _name, _what)
    METHODS[_owner, _density] = functools.partial(_pdf, _name, _what)
    if _what.cdf is not None:
        METHODS[_owner, "cdf"] = functools.partial(_tail, _name, _what, False)
        METHODS[_owner, "sf"] = functools.partial(_tail, _name, _what, True)
        METHODS[_owner, "logcdf"] = functools.partial(_log_tail, _name, _what, False)
        METHODS[_owner, "logsf"] = functools.partial(_log_tail, _name, _what, True)


# --- of several variables ---------------------------------------------------------------------


def _multivariate_normal(
    x: Any, mean: Any = None, cov: Any = 1, allow_singular: bool = False
) -> Any:
    if allow_singular:
        raise UnsupportedError(
            "scipy.stats.multivariate_normal with allow_singular=True is not supported",
            way_out="leave it out, and give a positive definite covariance",
        )
    point, matrix = operand(x), operand(cov)
    if matrix.ndim != 2:
        raise UnsupportedError(
            "scipy.stats.multivariate_normal needs its covariance as a matrix",
            way_out="write cov * np.eye(n), or np.diag(cov)",
        )
    import scipy.linalg

    from tracegrad.tracing.numpy_linalg import cholesky, solve_triangular

    assert scipy.linalg is not None
    factor = cholesky(matrix)
    apart = point if mean is None else point - operand(mean)
    rows = np.atleast_2d(apart)
    half = solve_triangular(factor, np.swapaxes(rows, 0, 1), lower=True)
    size = rows.shape[1]
    logs = 2.0 * np.sum(np.log(np.diag(factor)))
    found = -0.5 * (np.sum(half**2, axis=0) + logs + size * math.log(2.0 * math.pi))
    return found if apart.ndim > 1 else found[0]


def _dirichlet(x: Any, alpha: Any) -> Any:
    a, point = operand(alpha), operand(x)
    total = _lgamma(np.sum(a)) - np.sum(_lgamma(a))
    weights = a - 1.0
    if point.ndim > 1:
        weights = np.reshape(weights, (-1, *(1,) * (point.ndim - 1)))
    return total + np.sum(_xlogy(weights, point), axis=0)


METHODS["multivariate_normal_gen", "logpdf"] = _multivariate_normal
METHODS["multivariate_normal_gen", "pdf"] = lambda *args, **kwargs: np.exp(
    _multivariate_normal(*args, **kwargs)
)
METHODS["dirichlet_gen", "logpdf"] = _dirichlet
METHODS["dirichlet_gen", "pdf"] = lambda *args, **kwargs: np.exp(_dirichlet(*args, **kwargs))
