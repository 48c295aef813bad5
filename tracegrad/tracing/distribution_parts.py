"""What the distributions of scipy.stats are described by, and the words of their formulas."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tracegrad.tracing.scipy_functions import log1p_ratio as log1p_ratio
from tracegrad.tracing.scipy_special import floats, special_op
from tracegrad.tracing.ufuncs import BY_NAME
from tracegrad.tracing.values import elementwise, operand

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
    logcdf, logsf : their logarithms, where these are not taken of the values.
    ppf, isf : (q, *shapes) → the inverses of cdf and sf for q between 0 and 1, or None.
    discrete : whether it lives on the integers; then there is no scale.
    inside : a z within the support, whatever the shapes are.
    open : whether the lower end is none of the support: the density is zero there, by a limit.
    """

    shapes: tuple[str, ...]
    logpdf: Formula
    support: Callable[..., tuple[Any, Any]]
    cdf: Formula | None = None
    sf: Formula | None = None
    logcdf: Formula | None = None
    logsf: Formula | None = None
    ppf: Formula | None = None
    isf: Formula | None = None
    discrete: bool = False
    inside: float = 0.5
    open: bool = False


# --- supports ---------------------------------------------------------------------------------


def line(*shapes: Any) -> tuple[float, float]:
    return -np.inf, np.inf


def positive(*shapes: Any) -> tuple[float, float]:
    return 0.0, np.inf


def unit(*shapes: Any) -> tuple[float, float]:
    return 0.0, 1.0


# --- functions --------------------------------------------------------------------------------


def of(name: str) -> Formula:
    """The special function of an op, of anything that promotes to floats."""
    return lambda *given: special_op(name, *given)


gammainc, gammaincc = of("gammainc"), of("gammaincc")
gammaincinv, gammainccinv = of("gammaincinv"), of("gammainccinv")
betainc, betaincc, betaincinv = of("betainc"), of("betaincc"), of("betaincinv")
stdtr, stdtrit, ndtri, erf, erfc = (
    of("stdtr"), of("stdtrit"), of("ndtri"), of("erf"), of("erfc")
)  # fmt: skip


def lgamma(x: Any) -> Any:
    return elementwise("lgamma", [operand(x)])


def betaln(a: Any, b: Any) -> Any:
    return lgamma(a) + lgamma(b) - lgamma(a + b)


def xlogy(x: Any, y: Any) -> Any:
    return BY_NAME["xlogy"](*floats(x, y))


def xlog1py(x: Any, y: Any) -> Any:
    return BY_NAME["xlog1py"](*floats(x, y))


def softplus(x: Any) -> Any:
    return elementwise("softplus", [operand(x)])


def expit(x: Any) -> Any:
    return elementwise("sigmoid", [operand(x)])


def ndtr(z: Any) -> Any:
    return 0.5 * elementwise("erfc", [operand(z * -math.sqrt(0.5))])


def log_ndtr(z: Any) -> Any:
    return BY_NAME["log_ndtr"](operand(z))


def log_normal(z: Any) -> Any:
    """Logarithm of the density of the normal distribution."""
    return -0.5 * z * z - LOG_SQRT_2PI
