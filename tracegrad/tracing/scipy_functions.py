"""SciPy functions, known by name: SciPy is only imported by those who use it."""

from __future__ import annotations

import math
from collections.abc import Sequence
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


def _log_ndtr(x: Tracer) -> Any:
    """log Φ(x): by the asymptotic series (DLMF 7.12.1) where Φ is too small for its logarithm."""
    limit = -20.0 if x.dtype == np.float64 else -10.0
    far, right = x < limit, x > 0.0
    left = np.where(far | right, -1.0, x)
    z = np.where(far, x, limit)
    tail = 0.5 * elementwise("erfc", [operand(np.where(right, x, 1.0) * math.sqrt(0.5))])
    square = 1.0 / (z * z)
    series = np.zeros_like(square)
    for k in range(8, 0, -1):
        series = -(2.0 * k - 1.0) * square * (1.0 + series)
    below = -0.5 * z * z - np.log(-z) - 0.5 * math.log(2.0 * math.pi) + np.log1p(series)
    return np.where(far, below, np.where(right, np.log1p(-tail), np.log(_ndtr(operand(left)))))


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
    return np.where(both, p * np.log(p / q), cast(operand(edge), x.dtype))


def _kl_div(x: Tracer, y: Tracer) -> Any:
    both = (x > 0) & (y > 0)
    p, q = np.where(both, x, 1.0), np.where(both, y, 1.0)
    edge = np.where((x == 0) & (y >= 0), y, np.inf)
    edge = np.where(np.isnan(x) | np.isnan(y), np.nan, edge)
    return np.where(both, p * np.log(p / q) - p + q, edge)


def _boxcox(depth: Any, p: Tracer) -> Any:
    """``(exp(p * depth) - 1) / p``, and ``depth`` where p is 0; by its series around there."""
    y = p * depth
    near = (np.abs(y) < 0.5) | (p == 0)
    series = _exprel_series(operand(np.where(near & np.isfinite(y), y, 0.0)))
    far = np.expm1(np.where(near, 1.0, y)) / np.where(near, 1.0, p)
    return np.where(near, depth * series, far)


def _inv_boxcox(y: Tracer, p: Tracer) -> Any:
    """``log(1 + p * y) / p``, and ``y`` where p is 0."""
    x = p * y
    near = (np.abs(x) < 0.04) | (p == 0)
    series = _log1p_series(operand(np.where(near & np.isfinite(x), x, 0.0)))
    far = np.log1p(np.where(near, 1.0, x)) / np.where(near, 1.0, p)
    return np.where(near, y * series, far)


def _exprel(x: Tracer) -> Any:
    """``(exp(x) - 1) / x``, by its series near 0."""
    near = np.abs(x) < 0.5
    series = _exprel_series(operand(np.where(near, x, 0.0)))
    far = np.where(near | (x == np.inf), 1.0, x)
    return np.where(near, series, np.where(x == np.inf, np.inf, np.expm1(far) / far))


def _exprel_series(x: Tracer) -> Any:
    return _series(x, [1.0 / math.factorial(k + 1) for k in range(16)])


def log1p_ratio(y: Any) -> Any:
    """``log1p(y) / y``, by its series near 0."""
    near = np.abs(y) < 0.04
    far = np.where(near, 1.0, y)
    series = _log1p_series(operand(np.where(near, y, 0.0)))
    return np.where(near, series, np.log1p(far) / far)


def _log1p_series(x: Tracer) -> Any:
    return _series(x, [(-1.0) ** k / (k + 1.0) for k in range(14)])


def _series(x: Tracer, coefficients: Sequence[float]) -> Any:
    total: Any = coefficients[-1]
    for each in reversed(coefficients[:-1]):
        total = total * x + each
    return total


def _huber(delta: Tracer, r: Tracer) -> Any:
    size = np.abs(r)
    return np.where(
        delta < 0, np.inf, np.where(size <= delta, 0.5 * r * r, delta * (size - 0.5 * delta))
    )


def _pseudo_huber(delta: Tracer, r: Tracer) -> Any:
    zero = (delta == 0) | (r == 0)
    share = np.where(zero, 0.0, r) / np.where(zero, 1.0, delta)
    vast = np.isinf(share)
    square = np.where(vast, 0.0, share) ** 2
    # sqrt(1 + s) - 1 without cancellation
    found = delta * delta * square / (np.sqrt(1.0 + square) + 1.0)
    return np.where(delta < 0, np.inf, np.where(zero, 0.0, np.where(vast, np.inf, found)))


def _rgamma(x: Tracer) -> Any:
    """1 / Γ(x), which is 0 at the poles of Γ."""
    pole = (x <= 0) & (np.floor(x) == x)
    return np.where(pole, 0.0, 1.0 / elementwise("gamma", [operand(np.where(pole, 1.0, x))]))


def _powm1(x: Tracer, y: Tracer) -> Any:
    """``x**y - 1`` without cancellation where it is small."""
    safe = x > 0
    small = np.log(np.where(safe, x, 1.0)) * y
    near = safe & (np.abs(small) < 0.5)
    return np.where(near, np.expm1(np.where(near, small, 0.0)), np.power(x, y) - 1.0)


def _cosm1(x: Tracer) -> Any:
    half = np.sin(0.5 * x)
    return -2.0 * half * half


_DEGREE = math.pi / 180.0


def _of_degrees(function: Any, x: Tracer) -> Any:
    """SciPy gives 0 where an angle has no digits left."""
    lost = np.abs(x) > 1e14
    return np.where(lost, 0.0, function(np.where(lost, 0.0, x) * _DEGREE))


BY_NAME.update(
    {
        "boxcox": lambda x, p: _boxcox(np.log(x), p),
        "boxcox1p": lambda x, p: _boxcox(np.log1p(x), p),
        "inv_boxcox": lambda y, p: np.exp(_inv_boxcox(y, p)),
        "inv_boxcox1p": lambda y, p: np.expm1(_inv_boxcox(y, p)),
        "exp10": lambda x: np.exp(x * math.log(10.0)),
        "exprel": _exprel,
        "huber": _huber,
        "pseudo_huber": _pseudo_huber,
        "cosm1": _cosm1,
        "loggamma": lambda x: np.where(x < 0, np.nan, elementwise("lgamma", [x])),
        "powm1": _powm1,
        "rgamma": _rgamma,
        "sindg": lambda x: _of_degrees(np.sin, x),
        "cosdg": lambda x: _of_degrees(np.cos, x),
        "tandg": lambda x: _of_degrees(np.tan, x),
        "radian": lambda d, m, s: (d + (m + s / 60.0) / 60.0) * _DEGREE,
        "logit": _logit,
        "log_expit": lambda x: -elementwise("softplus", [-x]),
        "xlogy": _xlogy,
        "xlog1py": _xlog1py,
        "ndtr": _ndtr,
        "log_ndtr": _log_ndtr,
        "entr": _entr,
        "rel_entr": _rel_entr,
        "kl_div": _kl_div,
    }
)


@implements_by_name("scipy.special.softplus")
def softplus(x: Any) -> Any:
    x = operand(x)
    return elementwise("softplus", [x if x.dtype.kind == "f" else cast(x, np.float64)])


@implements_by_name("scipy.special.multigammaln")
def multigammaln(a: Any, d: Any) -> Any:
    if isinstance(d, Tracer) or d != int(d) or d < 1:
        raise refuse("scipy.special.multigammaln", "of a dimension that is no fixed integer")
    x = operand(a)
    x = x if x.dtype.kind == "f" else cast(x, np.float64)
    total = 0.25 * d * (d - 1) * math.log(math.pi)
    for k in range(int(d)):
        total = total + elementwise("lgamma", [operand(x - 0.5 * k)])
    return total


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
    x = operand(a)
    x = x if x.dtype.kind == "f" else cast(x, np.float64)
    if b is not None:
        # SciPy's convention: what has no weight has no part, infinities included.
        x = operand(np.where(operand(b) == 0, -np.inf, x))
    top = np.max(x, axis=axis, keepdims=True)
    # An infinite maximum would give inf - inf; it is a constant for the derivative.
    from tracegrad.tracing.function import stop_gradient

    shift = stop_gradient(np.where(np.isfinite(top), top, 0.0))
    terms = np.exp(x - shift)
    if b is not None:
        terms = terms * b
    total = np.sum(terms, axis=axis, keepdims=keepdims)
    result = np.log(np.abs(total) if return_sign else total)
    result = result + (shift if keepdims else np.reshape(shift, result.shape))
    return (result, np.sign(total)) if return_sign else result


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
