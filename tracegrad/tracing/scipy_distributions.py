"""scipy.stats: densities and distribution functions, written as compositions.

A distribution is given by its standard form: the logarithm of its density at ``z = (x - loc) /
scale``, its support, and, where it has an elementary form, its distribution function. Outside of
the support the density is zero, and contributes nothing to a derivative.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tracegrad.errors import UnsupportedError
from tracegrad.tracing.dispatch import METHODS, freezes, no_method
from tracegrad.tracing.distribution_parts import Distribution, lgamma, xlogy
from tracegrad.tracing.distributions_continuous import CONTINUOUS
from tracegrad.tracing.distributions_discrete import DISCRETE
from tracegrad.tracing.integers import as_dim
from tracegrad.tracing.numpy_linalg import floats
from tracegrad.tracing.state import current_trace
from tracegrad.tracing.values import cast, common_dtype, operand

DISTRIBUTIONS: dict[str, Distribution] = {**CONTINUOUS, **DISCRETE}


def _given(
    name: str, what: Distribution, args: Sequence[Any], kwargs: dict[str, Any]
) -> tuple[Any, list[Any], Any, Any]:
    """x, the shapes, loc and scale of a call, as floats of one dtype."""
    names = ["x", *what.shapes, "loc", *([] if what.discrete else ["scale"])]
    if len(args) > len(names):
        raise TypeError(f"scipy.stats.{name} takes {', '.join(names)}")
    found = dict(zip(names, args, strict=False))
    for key, value in kwargs.items():
        key = "x" if key in ("k", "q") else key
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
    # Infinity is outside of every support: formulas need not know their limits there.
    below = (z <= low) if what.open else (z < low) | (z == -np.inf)
    above = (z > high) | (z == np.inf)
    inside = ~(below | above)
    if what.discrete:
        inside = inside & (np.floor(z) == z)
    return z, np.where(inside, z, what.inside), inside, below, above


def _logpdf(name: str, what: Distribution, *args: Any, **kwargs: Any) -> Any:
    x, shapes, loc, scale = _given(name, what, args, kwargs)
    z, safe, inside, _, _ = _standard(what, x, shapes, loc, scale)
    found = what.logpdf(safe, *shapes)
    found = found if what.discrete else found - np.log(scale)
    return cast(operand(np.where(np.isnan(z), z, np.where(inside, found, -np.inf))), x.dtype)


def _pdf(name: str, what: Distribution, *args: Any, **kwargs: Any) -> Any:
    return np.exp(_logpdf(name, what, *args, **kwargs))


def _tail(
    name: str, what: Distribution, upper: bool, logarithm: bool, *args: Any, **kwargs: Any
) -> Any:
    """cdf, sf, logcdf or logsf."""
    x, shapes, loc, scale = _given(name, what, args, kwargs)
    formula = what.sf if upper else what.cdf
    direct = what.logsf if upper else what.logcdf
    assert formula is not None
    if what.discrete:
        x = np.floor(x - loc) + loc
    z, safe, inside, below, _ = _standard(what, x, shapes, loc, scale)
    outside = cast(operand(below if upper else ~below), x.dtype)
    if logarithm:
        log_of = direct or functools.partial(_log_of, formula, what.cdf if upper else what.sf)
        found = np.where(inside, log_of(safe, *shapes), np.log(outside))
    else:
        found = np.where(inside, formula(safe, *shapes), outside)
    return cast(operand(np.where(np.isnan(z), z, found)), x.dtype)


def _log_of(formula: Any, complement: Any, *given: Any) -> Any:
    """The logarithm of a probability, from the smaller of it and its complement."""
    value = formula(*given)
    large = value > 0.5
    rest = np.where(large, complement(*given), 0.5)
    return np.where(large, np.log1p(-rest), np.log(np.where(large, 0.5, value)))


def _quantile(name: str, what: Distribution, upper: bool, *args: Any, **kwargs: Any) -> Any:
    """ppf or isf: NaN outside of [0, 1], the ends of the support at its ends."""
    q, shapes, loc, scale = _given(name, what, args, kwargs)
    formula = what.isf if upper else what.ppf
    assert formula is not None
    within = (q > 0.0) & (q < 1.0)
    low, high = what.support(*shapes)
    ends = np.where(q == (1.0 if upper else 0.0), low, high)
    edge = cast(operand(np.where((q == 0.0) | (q == 1.0), ends, np.nan)), q.dtype)
    found = np.where(within, formula(np.where(within, q, 0.5), *shapes), edge)
    return cast(operand(loc + scale * found), q.dtype)


for _name, _what in DISTRIBUTIONS.items():
    _owner = f"{_name}_gen"
    _density = "pmf" if _what.discrete else "pdf"
    METHODS[_owner, f"log{_density}"] = functools.partial(_logpdf, _name, _what)
    METHODS[_owner, _density] = functools.partial(_pdf, _name, _what)
    if _what.cdf is not None:
        METHODS[_owner, "cdf"] = functools.partial(_tail, _name, _what, False, False)
        METHODS[_owner, "sf"] = functools.partial(_tail, _name, _what, True, False)
        METHODS[_owner, "logcdf"] = functools.partial(_tail, _name, _what, False, True)
        METHODS[_owner, "logsf"] = functools.partial(_tail, _name, _what, True, True)
    if _what.ppf is not None:
        METHODS[_owner, "ppf"] = functools.partial(_quantile, _name, _what, False)
    if _what.isf is not None:
        METHODS[_owner, "isf"] = functools.partial(_quantile, _name, _what, True)


# --- frozen -----------------------------------------------------------------------------------


class Frozen:
    """A distribution with its parameters, some of them traced: ``norm(loc, scale)``."""

    def __init__(self, distribution: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._owner = type(distribution).__name__
        self._args = args
        self._kwargs = kwargs

    def __getattr__(self, method: str) -> Callable[..., Any]:
        if method.startswith("__"):
            raise AttributeError(method)
        found = METHODS.get((self._owner, method))
        if found is None:
            raise no_method(self._owner, method)

        def call(x: Any) -> Any:
            return found(x, *self._args, **self._kwargs)

        return call


@freezes
def frozen(distribution: Any, *args: Any, **kwargs: Any) -> Frozen:
    return Frozen(distribution, args, kwargs)


# --- of several variables ---------------------------------------------------------------------


def _multivariate_normal(
    x: Any, mean: Any = None, cov: Any = 1, allow_singular: bool = False
) -> Any:
    if allow_singular:
        raise UnsupportedError(
            "scipy.stats.multivariate_normal with allow_singular=True is not supported",
            way_out="leave it out, and give a positive definite covariance",
        )
    from tracegrad.tracing.numpy_linalg import cholesky
    from tracegrad.tracing.scipy_linalg import solve_triangular

    given = floats(x, 1.0 if cov is None else cov, *([] if mean is None else [mean]))
    point, spread = given[0], given[1]
    if mean is not None:
        size: Any = given[2].size
    else:
        size = spread.shape[0] if spread.ndim == 2 else 1
    if point.ndim == 0 or (point.ndim == 1 and current_trace().sizes.equal(as_dim(size), 1)):
        point = point[..., None]  # numbers, not a vector
    apart = point if mean is None else point - np.ravel(given[2])
    lead = apart.shape[:-1]
    columns = np.reshape(apart, (-1, size)).T
    if spread.ndim == 2:
        factor = cholesky(spread)
        half = solve_triangular(factor, columns, lower=True)
        logs = 2.0 * np.sum(np.log(np.diag(factor)))
    else:  # of the variances alone
        variances = np.broadcast_to(spread, (size,))
        half = columns / np.sqrt(variances)[:, None]
        logs = np.sum(np.log(variances))
    found = -0.5 * (np.sum(half**2, axis=0) + logs + size * math.log(2.0 * math.pi))
    return np.squeeze(np.reshape(found, lead))


def _dirichlet(x: Any, alpha: Any) -> Any:
    a, point = floats(alpha, x)
    total = lgamma(np.sum(a)) - np.sum(lgamma(a))
    weights = a - 1.0
    if point.ndim > 1:
        weights = np.reshape(weights, (-1, *(1,) * (point.ndim - 1)))
    return total + np.sum(xlogy(weights, point), axis=0)


METHODS["multivariate_normal_gen", "logpdf"] = _multivariate_normal
METHODS["multivariate_normal_gen", "pdf"] = lambda *args, **kwargs: np.exp(
    _multivariate_normal(*args, **kwargs)
)
METHODS["dirichlet_gen", "logpdf"] = _dirichlet
METHODS["dirichlet_gen", "pdf"] = lambda *args, **kwargs: np.exp(_dirichlet(*args, **kwargs))
