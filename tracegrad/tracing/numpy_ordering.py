"""Sorting and what is made of it: median, quantiles, searchsorted, interp."""

from __future__ import annotations

from typing import Any

import numpy as np

from tracegrad.errors import ShapeError
from tracegrad.tracing.axes import no_out, normal_axes, normal_axis
from tracegrad.tracing.dispatch import implements, refuse
from tracegrad.tracing.integers import as_dim
from tracegrad.tracing.state import current_trace
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


def _in_order(a: Any, axis: Any, as_is: bool = False) -> tuple[Any, tuple[int, ...]]:
    """``a`` as floats, sorted along all of ``axis`` together, which comes first; and the axes."""
    x = operand(a)
    if x.dtype.kind != "f" and not as_is:
        x = cast(x, np.float64)
    axes = normal_axes(axis, x.ndim)
    rest = [d for d in range(x.ndim) if d not in axes]
    shape = [x.shape[d] for d in rest]
    flat = np.reshape(np.transpose(x, [*axes, *rest]), [-1, *shape]) if len(axes) != 1 else (
        np.moveaxis(x, axes[0], 0)
    )  # fmt: skip
    if current_trace().sizes.decide(as_dim(operand(flat).shape[0]), "<=", 0):
        # Nothing has no median: NaN, as NumPy says.
        flat = np.broadcast_to(operand(np.nan), [1, *operand(flat).shape[1:]])
    return np.sort(flat, axis=0), axes


def _kept(result: Any, axes: tuple[int, ...], keepdims: bool, lead: int = 0) -> Any:
    return np.expand_dims(result, tuple(d + lead for d in axes)) if keepdims else result


@implements(np.median)
def median(
    a: Any, axis: Any = None, out: None = None, overwrite_input: bool = False,
    keepdims: bool = False,
) -> Any:  # fmt: skip
    no_out(out, "np.median")
    x, axes = _in_order(a, axis)
    count = x.shape[0]
    low, high = x[(count - 1) // 2], x[count // 2]
    # NaN sorts last, and one NaN makes the median NaN.
    result = np.where(np.isnan(x[-1]), np.nan, 0.5 * low + 0.5 * high)
    return _kept(result, axes, keepdims)


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
_ROUNDED = ("lower", "higher", "midpoint", "nearest")
_DISCRETE = ("inverted_cdf", "averaged_inverted_cdf", "closest_observation")
_PICKING = ("lower", "higher", "nearest", "inverted_cdf", "closest_observation")


def _rounded(x: Any, spot: Any, method: str) -> Any:
    """Quantiles that are elements, or lie in the middle between two."""
    low, high = (np.floor(spot).astype(np.int64), np.ceil(spot).astype(np.int64))
    if method == "midpoint":
        found = 0.5 * (x[low] + x[high])
    elif method == "nearest":
        found = x[np.rint(spot).astype(np.int64)]
    else:
        found = x[low if method == "lower" else high]
    return _or_nan(x, found)


def _or_nan(x: Any, found: Any) -> Any:
    return np.where(np.isnan(x[-1]), np.nan, found) if x.dtype.kind == "f" else found


def _discrete(x: Any, level: Any, method: str) -> Any:
    """Quantiles that are steps of the sample's distribution (Hyndman and Fan's 1 to 3)."""
    last = x.shape[0] - 1
    spot: Any = level * x.shape[0] - (1.5 if method == "closest_observation" else 1.0)
    below = np.floor(spot)
    here = spot == below
    if method == "closest_observation":
        here = here & (np.mod(below, 2) == 1)
    low = np.clip(below, 0, last).astype(np.int64)
    high = np.clip(below + 1, 0, last).astype(np.int64)
    if method != "averaged_inverted_cdf":
        return _or_nan(x, x[np.where(here, low, high)])
    both = here[(..., *(None,) * (x.ndim - 1))]
    return _or_nan(x, np.where(both, 0.5 * (x[low] + x[high]), x[high]))


@implements(np.quantile)
def quantile(
    a: Any, q: Any, axis: Any = None, out: None = None, overwrite_input: bool = False,
    method: str = "linear", keepdims: bool = False, *, weights: Any = None,
) -> Any:  # fmt: skip
    no_out(out, "np.quantile")
    if weights is not None and method != "inverted_cdf":
        raise ValueError(f"Only method 'inverted_cdf' supports weights. Got: {method}.")
    if method not in _SPOTS and method not in _ROUNDED and method not in _DISCRETE:
        raise refuse("np.quantile", f"with method={method!r}", "use method='linear'")
    if not is_traced(q) and not np.all((np.asarray(q) >= 0) & (np.asarray(q) <= 1)):
        raise ValueError("Quantiles must be in the range [0, 1]")
    if weights is not None:
        return _weighted(a, operand(q), axis, keepdims, weights)
    x, axes = _in_order(a, axis, method in _PICKING)
    level = operand(q)
    if method in _DISCRETE:
        return _kept(_discrete(x, level, method), axes, keepdims, level.ndim)
    a, b = _SPOTS.get(method, (1.0, 1.0))
    count = x.shape[0]
    spot = level * (count - 1) if a == b == 1 else count * level + (a + level * (1 - a - b)) - 1
    if a != 1 or b != 1:
        spot = np.clip(spot, 0, count - 1)
    if method in _ROUNDED:
        return _kept(_rounded(x, spot, method), axes, keepdims, level.ndim)
    below = np.floor(spot)
    low = below.astype(np.int64)
    high = np.minimum(low + 1, x.shape[0] - 1)
    kind = common_dtype([x, loose(q)])
    weight = cast(operand(spot - below), kind)[(..., *(None,) * (x.ndim - 1))]
    first, second = x[low], x[high]
    step = second - first
    # From the nearer end, as NumPy does: exact at both.
    result = np.where(weight >= 0.5, second - step * (1 - weight), first + step * weight)
    return _kept(_or_nan(x, result), axes, keepdims, level.ndim)


def _weighted(a: Any, level: Any, axis: Any, keepdims: bool, weights: Any) -> Any:
    """The first element, in order, up to which the weights make at least a share ``level``."""
    x, w = operand(a), operand(weights)
    axes = normal_axes(axis, x.ndim)
    rest = [d for d in range(x.ndim) if d not in axes]
    if w.ndim != x.ndim:
        if w.ndim != 1 or len(axes) != 1:
            raise ShapeError("Shape of weights must be consistent with shape of a along axis.")
        w = w[(slice(None), *(None,) * (x.ndim - 1 - axes[0]))]
    w = np.broadcast_to(w, x.shape)

    def in_front(each: Any) -> Any:
        turned = np.transpose(each, [*axes, *rest])
        return np.reshape(turned, [-1, *(x.shape[d] for d in rest)])

    x, w = in_front(x), in_front(w)
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
    return _kept(_or_nan(x, found), axes, keepdims, level.ndim)


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
