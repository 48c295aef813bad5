"""SciPy functions, known by name: SciPy is only imported by those who use it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tracegrad.tracing.dispatch import implements_by_name, refuse
from tracegrad.tracing.state import current_trace
from tracegrad.tracing.tracer import Tracer
from tracegrad.tracing.ufuncs import BY_NAME, OPS_BY_NAME
from tracegrad.tracing.values import cast, elementwise, operand, wrap

OPS_BY_NAME.update(
    {
        "erf": "erf",
        "erfc": "erfc",
        "expit": "sigmoid",
        "exp2": "exp2",
        "expm1": "expm1",
        "log1p": "log1p",
        "cbrt": "cbrt",
        "gammaln": "lgamma",
        "gamma": "gamma",
        "psi": "digamma",
        "digamma": "digamma",
        "ndtri": "ndtri",
        "erfinv": "erfinv",
        "erfcinv": "erfcinv",
        "log_ndtr": "log_ndtr",
    }
)


def _logit(x: Tracer) -> Any:
    return np.log(x) - np.log1p(-x)


def _xlogy(x: Tracer, y: Tracer) -> Any:
    """``x log(y)``, and 0 where x is 0 (unless y is NaN)."""
    zero = (x == 0) & ~np.isnan(y)
    return np.where(zero, 0.0, x * np.log(np.where(zero, 1.0, y)))


def _xlog1py(x: Tracer, y: Tracer) -> Any:
    zero = (x == 0) & ~np.isnan(y)
    return np.where(zero, 0.0, x * np.log1p(np.where(zero, 0.0, y)))


def _ndtr(x: Tracer) -> Any:
    return 0.5 * elementwise("erfc", [x * -math.sqrt(0.5)])


def _entr(x: Tracer) -> Any:
    positive = x > 0
    inside = np.where(positive, x, 1.0)
    return np.where(
        positive, -inside * np.log(inside), np.where(x == 0, 0.0, np.where(np.isnan(x), x, -np.inf))
    )


def _rel_entr(x: Tracer, y: Tracer) -> Any:
    both = (x > 0) & (y > 0)
    p, q = np.where(both, x, 1.0), np.where(both, y, 1.0)
    edge = np.where((x == 0) & (y >= 0), 0.0, np.inf)
    edge = np.where(np.isnan(x) | np.isnan(y), np.nan, edge)
    return np.where(both, p * np.log(p / q), edge)


def _kl_div(x: Tracer, y: Tracer) -> Any:
    return _rel_entr(x, y) - x + y


def _betaln(a: Tracer, b: Tracer) -> Any:
    apart = elementwise("lgamma", [a]) + elementwise("lgamma", [b])
    return apart - elementwise("lgamma", [operand(a + b)])


BY_NAME.update(
    {
        "betaln": _betaln,
        "logit": _logit,
        "log_expit": lambda x: -elementwise("softplus", [-x]),
        "xlogy": _xlogy,
        "xlog1py": _xlog1py,
        "ndtr": _ndtr,
        "entr": _entr,
        "rel_entr": _rel_entr,
        "kl_div": _kl_div,
    }
)


@implements_by_name("scipy.special.polygamma")
def polygamma(n: Any, x: Any) -> Any:
    if isinstance(n, Tracer) or not isinstance(n, int | np.integer) or n < 0:
        raise refuse("scipy.special.polygamma", "of an order that is no fixed integer")
    x = operand(x)
    x = x if x.dtype.kind == "f" else cast(x, np.float64)
    if n == 0:
        return elementwise("digamma", [x])
    return wrap(current_trace().emit("polygamma", x.value, order=int(n)))


@implements_by_name("scipy.special.logsumexp")
def logsumexp(
    a: Any, axis: Any = None, b: Any = None, keepdims: bool = False, return_sign: bool = False
) -> Any:
    if return_sign:
        raise refuse("scipy.special.logsumexp", "with return_sign=True")
    x = operand(a)
    x = x if x.dtype.kind == "f" else cast(x, np.float64)
    top = np.max(x, axis=axis, keepdims=True)
    # An infinite maximum would give inf - inf; it is a constant for the derivative.
    from tracegrad.tracing.function import stop_gradient

    shift = stop_gradient(np.where(np.isfinite(top), top, 0.0))
    terms = np.exp(x - shift)
    if b is not None:
        terms = terms * b
    result = np.log(np.sum(terms, axis=axis, keepdims=keepdims))
    return result + (shift if keepdims else np.reshape(shift, result.shape))


@implements_by_name("scipy.special.softmax")
def softmax(x: Any, axis: Any = None) -> Any:
    from tracegrad.tracing.function import stop_gradient

    x = operand(x)
    shifted = np.exp(x - stop_gradient(np.max(x, axis=axis, keepdims=True)))
    return shifted / np.sum(shifted, axis=axis, keepdims=True)


@implements_by_name("scipy.special.log_softmax")
def log_softmax(x: Any, axis: Any = None) -> Any:
    from tracegrad.tracing.function import stop_gradient

    x = operand(x)
    shifted = x - stop_gradient(np.max(x, axis=axis, keepdims=True))
    return shifted - np.log(np.sum(np.exp(shifted), axis=axis, keepdims=True))
