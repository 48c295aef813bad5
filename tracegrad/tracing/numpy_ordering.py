"""Sorting and what is made of it: median, quantiles, searchsorted, interp."""

from __future__ import annotations

from typing import Any

import numpy as np

from tracegrad.errors import ShapeError
from tracegrad.tracing.axes import no_out, normal_axes, normal_axis
from tracegrad.tracing.dispatch import implements, refuse
from tracegrad.tracing.integers import as_dim
from tracegrad.tracing.numpy_shapes import in_front
from tracegrad.tracing.state import current_trace
from tracegrad.tracing.tracer import Tracer
from tracegrad.tracing.values import (
    cast,
    common_dtype,
    is_number,
    is_traced,
    loose,
    operand,
    wrap,
)


def _on_axis(a: Any, axis: Any) -> tuple[Any, int]:
    x = operand(a)
    if axis is None:
        x, axis = np.ravel(x), 0
    return x, normal_axis(axis, x.ndim)


@implements(np.sort)
def sort(a: Any, axis: Any = -1, kind: Any = None, order: Any = None, *, stable: Any = None) -> Any:
    if order is not None:
        raise refuse("np.sort", "with order=")
    x, which = _on_axis(a, axis)
    return wrap(current_trace().emit("sort", x.value, axis=which))


@implements(np.argsort)
def argsort(
    a: Any, axis: Any = -1, kind: Any = None, order: Any = None, *, stable: Any = None
) -> Any:
    if order is not None:
        raise refuse("np.argsort", "with order=")
    x, which = _on_axis(a, axis)
    return wrap(current_trace().emit("argsort", x.value, axis=which))


@implements(np.searchsorted)
def searchsorted(a: Any, v: Any, side: str = "left", sorter: Any = None) -> Any:
    table, values = operand(a), operand(v)
    if sorter is not None:
        table = table[sorter]
    if table.ndim != 1:
        raise ValueError("object too deep for desired array")
    dtype = common_dtype([table, values])
    table, values = cast(table, dtype), cast(values, dtype)
    return wrap(current_trace().emit("searchsorted", table.value, values.value, side=side))


def in_order(a: Any, axis: Any, as_is: bool = False) -> tuple[Any, tuple[int, ...]]:
    """``a`` as floats, sorted along all of ``axis`` together, which comes first; and the axes."""
    x = operand(a)
    if x.dtype.kind != "f" and not as_is:
        x = cast(x, np.float64)
    axes = normal_axes(axis, x.ndim)
    flat = in_front(x, axes)
    if current_trace().sizes.decide(as_dim(operand(flat).shape[0]), "<=", 0):
        # Nothing has no median: NaN, as NumPy says.
        flat = np.broadcast_to(operand(np.nan), [1, *operand(flat).shape[1:]])
    return np.sort(flat, axis=0), axes


def kept(result: Any, axes: tuple[int, ...], keepdims: bool, lead: int = 0) -> Any:
    return np.expand_dims(result, tuple(d + lead for d in axes)) if keepdims else result


@implements(np.median)
def median(
    a: Any, axis: Any = None, out: None = None, overwrite_input: bool = False,
    keepdims: bool = False,
) -> Any:  # fmt: skip
    no_out(out, "np.median")
    x, axes = in_order(a, axis)
    count = x.shape[0]
    low, high = x[(count - 1) // 2], x[count // 2]
    # NaN sorts last, and one NaN makes the median NaN.
    result = np.where(np.isnan(x[-1]), np.nan, 0.5 * low + 0.5 * high)
    return kept(result, axes, keepdims)


# The place of a quantile in the sorted array, by the two numbers of Hyndman and Fan, "Sample
# quantiles in statistical packages", The American Statistician 50, 1996.
_SPOTS = {
    "interpolated_inverted_cdf": (0.0, 1.0),
    "hazen": (0.5, 0.5),
    "weibull": (0.0, 0.0),
    "linear": (1.0, 1.0),
    "median_unbiased": (1 / 3, 1 / 3),
    "normal_unbiased": (3 / 8, 3 / 8),
}
_ROUNDED = {"lower": np.floor, "higher": np.ceil, "nearest": np.rint}
_STEPS = ("inverted_cdf", "averaged_inverted_cdf", "closest_observation")
_PICKING = (*_ROUNDED, "inverted_cdf", "closest_observation")
"""Methods that give one of the elements."""


def quantile_places(level: Any, count: Any, method: str) -> tuple[Any, Any, Any]:
    """Between which two of ``count`` elements in order a quantile lies, and how far from the first.

    The second and third are None where the quantile is the first.
    """
    if method in _STEPS:
        return _steps(level, count, method)
    a, b = _SPOTS.get(method, (1.0, 1.0))
    spot = level * (count - 1) if a == b == 1 else count * level + (a + level * (1 - a - b)) - 1
    if a != 1 or b != 1:
        spot = np.clip(spot, 0, count - 1)
    if method in _ROUNDED:
        return _ROUNDED[method](spot).astype(np.int64), None, None
    below = np.floor(spot)
    low = below.astype(np.int64)
    if method == "midpoint":
        return low, np.ceil(spot).astype(np.int64), 0.5
    return low, np.minimum(low + 1, count - 1), spot - below


def _steps(level: Any, count: Any, method: str) -> tuple[Any, Any, Any]:
    """Quantiles that are steps of the sample's distribution (Hyndman and Fan's 1 to 3)."""
    spot: Any = level * count - (1.5 if method == "closest_observation" else 1.0)
    below = np.floor(spot)
    here = spot == below
    if method == "closest_observation":
        here = here & (np.mod(below, 2) == 1)
    low = np.clip(below, 0, count - 1).astype(np.int64)
    high = np.clip(below + 1, 0, count - 1).astype(np.int64)
    if method != "averaged_inverted_cdf":
        return np.where(here, low, high), None, None
    return low, high, here


def between(first: Any, second: Any, weight: Any, method: str) -> Any:
    """The quantile between two elements."""
    if method == "averaged_inverted_cdf":
        return np.where(weight, 0.5 * (first + second), second)
    if method == "midpoint":
        return 0.5 * (first + second)
    step = second - first
    # From the nearer end, as NumPy does: exact at both.
    return np.where(weight >= 0.5, second - step * (1 - weight), first + step * weight)


def check_quantile(name: str, q: Any, method: str, weights: Any) -> bool:
    """Refuse what no quantile can be taken of; whether the method gives one of the elements."""
    if weights is not None and method != "inverted_cdf":
        raise ValueError(f"Only method 'inverted_cdf' supports weights. Got: {method}.")
    if method not in (*_SPOTS, *_ROUNDED, *_STEPS, "midpoint"):
        raise refuse(name, f"with method={method!r}", "use method='linear'")
    if not is_traced(q) and not np.all((np.asarray(q) >= 0) & (np.asarray(q) <= 1)):
        raise ValueError("Quantiles must be in the range [0, 1]")
    return method in _PICKING


def _or_nan(x: Any, found: Any) -> Any:
    return np.where(np.isnan(x[-1]), np.nan, found) if x.dtype.kind == "f" else found


@implements(np.quantile)
def quantile(
    a: Any, q: Any, axis: Any = None, out: None = None, overwrite_input: bool = False,
    method: str = "linear", keepdims: bool = False, *, weights: Any = None,
) -> Any:  # fmt: skip
    no_out(out, "np.quantile")
    as_is = check_quantile("np.quantile", q, method, weights)
    level = operand(q)
    if weights is not None:
        return weighted_quantile(a, level, axis, keepdims, weights)
    x, axes = in_order(a, axis, as_is)
    low, high, weight = quantile_places(level, x.shape[0], method)
    found = x[low]
    if high is not None:
        if isinstance(weight, Tracer):
            if weight.dtype.kind == "f":
                weight = cast(weight, common_dtype([x, loose(q)]))
            weight = weight[(..., *(None,) * (x.ndim - 1))]
        found = between(found, x[high], weight, method)
    return kept(_or_nan(x, found), axes, keepdims, level.ndim)


def weighted_quantile(
    a: Any, level: Any, axis: Any, keepdims: bool, weights: Any, without_nan: bool = False
) -> Any:
    """The first element, in order, up to which the weights make at least a share ``level``."""
    x, w = operand(a), operand(weights)
    axes = normal_axes(axis, x.ndim)
    if w.ndim != x.ndim:
        if w.ndim != 1 or len(axes) != 1:
            raise ShapeError("Shape of weights must be consistent with shape of a along axis.")
        w = w[(slice(None), *(None,) * (x.ndim - 1 - axes[0]))]
    w = np.broadcast_to(w, x.shape)
    if without_nan:
        w = np.where(np.isnan(x), 0, w)
    x, w = in_front(x, axes), in_front(w, axes)
    order = np.argsort(x, axis=0)
    x, w = np.take_along_axis(x, order, 0), np.take_along_axis(w, order, 0)
    share: Any = np.cumsum(w, axis=0, dtype=np.float64)
    share = share / share[-1]
    wanted = level[(..., *(None,) * x.ndim)]
    # What weighs nothing at the front does not count, not even for level 0.
    before = np.sum((share < wanted) | (share == 0), axis=level.ndim)
    place = operand(np.minimum(before, x.shape[0] - 1))
    flat = np.reshape(place, [-1, *x.shape[1:]]) if level.ndim else place[None]
    found = operand(np.take_along_axis(x, flat, 0))
    found = np.reshape(found, [*level.shape, *x.shape[1:]])
    return kept(found if without_nan else _or_nan(x, found), axes, keepdims, level.ndim)


def share_of(percent: Any) -> Any:
    """A level of np.percentile as one of np.quantile; a Python number stays one."""
    return percent / 100 if is_number(percent) else operand(percent) / 100


@implements(np.percentile)
def percentile(
    a: Any, q: Any, axis: Any = None, out: None = None, overwrite_input: bool = False,
    method: str = "linear", keepdims: bool = False, *, weights: Any = None,
) -> Any:  # fmt: skip
    return quantile(a, share_of(q), axis, out, overwrite_input, method, keepdims, weights=weights)


@implements(np.interp)
def interp(
    x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None, period: Any = None
) -> Any:
    x, xp, fp = (cast(operand(each), np.float64) for each in (x, xp, fp))
    if period is not None:
        if period == 0:
            raise ValueError("period must be a non-zero value")
        period = abs(period)
        x, xp = np.mod(x, period), np.mod(xp, period)
        order = np.argsort(xp)
        xp, fp = xp[order], fp[order]
        xp = np.concatenate([xp[-1:] - period, xp, xp[:1] + period])
        fp = np.concatenate([fp[-1:], fp, fp[:1]])
        left = right = None
    sizes = current_trace().sizes
    if not sizes.equal(xp.value.shape[0], fp.value.shape[0]):
        raise ShapeError("fp and xp are not of the same length.")
    if sizes.decide(xp.value.shape[0], "<=", 0):
        raise ShapeError("array of sample points is empty")
    if sizes.equal(xp.value.shape[0], 1):
        low = fp[0] if left is None else left
        high = fp[0] if right is None else right
        return np.where(x < xp[0], low, np.where(x > xp[0], high, np.where(x == xp[0], fp[0], x)))
    last = xp.shape[0] - 2
    at = np.clip(np.searchsorted(xp, x, side="right") - 1, 0, last)
    slope = (fp[at + 1] - fp[at]) / (xp[at + 1] - xp[at])
    inside = slope * (x - xp[at]) + fp[at]
    result = np.where(x < xp[0], fp[0] if left is None else left, inside)
    result = np.where(x > xp[-1], fp[-1] if right is None else right, result)
    result = np.where(x == xp[-1], fp[-1], result)
    return np.where(np.isnan(x), x, result)
