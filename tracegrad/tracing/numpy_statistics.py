"""Statistics of samples: covariances, histograms, quantiles that leave NaN out, comparisons."""

from __future__ import annotations

from typing import Any

import numpy as np

from tracegrad.errors import ShapeError
from tracegrad.tracing.axes import no_out, normal_axis
from tracegrad.tracing.builtin_functions import max_
from tracegrad.tracing.dispatch import implements, refuse
from tracegrad.tracing.numpy_ordering import (
    between,
    check_quantile,
    in_order,
    kept,
    quantile_places,
    share_of,
    weighted_quantile,
)
from tracegrad.tracing.numpy_picking import positions
from tracegrad.tracing.state import current_trace
from tracegrad.tracing.tracer import Tracer
from tracegrad.tracing.values import cast, common_dtype, is_number, loose, operand, wrap


def _floating(x: Any) -> Any:
    x = operand(x)
    return x if x.dtype.kind == "f" else cast(x, np.float64)


@implements(np.cov)
def cov(
    m: Any,
    y: Any = None,
    rowvar: bool = True,
    bias: bool = False,
    ddof: Any = None,
    fweights: Any = None,
    aweights: Any = None,
    *,
    dtype: Any = None,
) -> Any:
    given = [_rows(each, rowvar) for each in (m, y) if each is not None]
    x: Any = given[0] if len(given) == 1 else np.concatenate(given, axis=0)
    x = cast(x, np.result_type(x.dtype, np.float64) if dtype is None else dtype)
    less = (0 if bias else 1) if ddof is None else ddof
    count: Any = x.shape[1]
    if fweights is None and aweights is None:
        centred = x - np.mean(x, axis=1, keepdims=True)
        return np.squeeze(np.matmul(centred, centred.T) / _freedom(count - less))
    times, shares = (None if w is None else operand(w) for w in (fweights, aweights))
    for w in (times, shares):
        if w is not None and w.ndim > 1:
            raise ShapeError("cannot handle multidimensional weights")
    if times is not None and times.dtype.kind == "f":
        raise TypeError("fweights must be integer")
    weights: Any = shares if times is None else times if shares is None else times * shares
    total = np.sum(weights)
    again = total if shares is None else np.sum(weights * shares)
    freedom = total - less * again / total if less else total
    centred = x - np.average(x, axis=1, weights=weights)[:, None]
    return np.squeeze(np.matmul(centred, (centred * weights).T) / _freedom(freedom))


def _freedom(degrees: Any) -> Any:
    """What sums are divided by: 0, not less."""
    return np.maximum(degrees, 0) if isinstance(degrees, Tracer) else max_(degrees, 0)


def _rows(m: Any, rowvar: bool) -> Any:
    """One variable per row."""
    x = np.atleast_2d(operand(m))
    return x.T if not rowvar and x.shape[0] != 1 else x


@implements(np.corrcoef)
def corrcoef(x: Any, y: Any = None, rowvar: bool = True, *, dtype: Any = None) -> Any:
    c = cov(x, y, rowvar, dtype=dtype)
    if c.ndim == 0:
        return c / c
    spread = np.sqrt(np.diag(c))
    found = c / spread[:, None] / spread[None, :]
    # Rounding alone leads outside, most of all on the diagonal: not a place where to stop.
    outside = current_trace().emit("stop_gradient", (np.clip(found, -1.0, 1.0) - found).value)
    return found + wrap(outside)


# --- without NaN ------------------------------------------------------------------------------


@implements(np.nanquantile)
def nanquantile(
    a: Any,
    q: Any,
    axis: Any = None,
    out: None = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: bool = False,
    *,
    weights: Any = None,
) -> Any:
    no_out(out, "np.nanquantile")
    check_quantile("np.nanquantile", q, method, weights)
    level = operand(q)
    if weights is not None:
        return weighted_quantile(_floating(a), level, axis, keepdims, weights, without_nan=True)
    ordered, axes = in_order(a, axis)  # NaN comes last
    count = np.maximum(np.sum(~np.isnan(ordered), axis=0), 1)
    lead = level.ndim
    spread = np.expand_dims(level, tuple(range(lead, lead + ordered.ndim - 1)))
    low, high, weight = quantile_places(spread, count, method)
    found = _at(ordered, low, lead)
    if high is not None:
        if isinstance(weight, Tracer) and weight.dtype.kind == "f":
            weight = cast(weight, common_dtype([ordered, loose(q)]))
        found = between(found, _at(ordered, high, lead), weight, method)
    return kept(found, axes, keepdims, lead)


def _at(ordered: Any, places: Any, lead: int) -> Any:
    """The elements at ``places`` of each column; ``places`` may have ``lead`` dimensions more."""
    key: list[Any] = [places]
    rank = ordered.ndim - 1
    for d in range(rank):
        shape = [1] * rank
        shape[d] = -1
        key.append(np.reshape(positions(ordered.shape[d + 1]), shape))
    return ordered[tuple(key)]


@implements(np.nanpercentile)
def nanpercentile(
    a: Any,
    q: Any,
    axis: Any = None,
    out: None = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: bool = False,
    *,
    weights: Any = None,
) -> Any:
    level = share_of(q)
    return nanquantile(a, level, axis, out, overwrite_input, method, keepdims, weights=weights)


@implements(np.nanmedian)
def nanmedian(
    a: Any,
    axis: Any = None,
    out: None = None,
    overwrite_input: bool = False,
    keepdims: bool = False,
) -> Any:
    return nanquantile(a, 0.5, axis, out, keepdims=keepdims)


@implements(np.nancumsum)
def nancumsum(a: Any, axis: Any = None, dtype: Any = None, out: None = None) -> Any:
    no_out(out, "np.nancumsum")
    x = operand(a)
    return np.cumsum(np.where(np.isnan(x), 0, x) if x.dtype.kind == "f" else x, axis, dtype)


@implements(np.nancumprod)
def nancumprod(a: Any, axis: Any = None, dtype: Any = None, out: None = None) -> Any:
    no_out(out, "np.nancumprod")
    x = operand(a)
    return np.cumprod(np.where(np.isnan(x), 1, x) if x.dtype.kind == "f" else x, axis, dtype)


# --- histograms -------------------------------------------------------------------------------


@implements(np.digitize)
def digitize(x: Any, bins: Any, right: bool = False) -> Any:
    edges = operand(bins)
    side: Any = "left" if right else "right"
    rising = np.searchsorted(edges, operand(x), side=side)
    falling = edges.shape[0] - np.searchsorted(edges[::-1], operand(x), side=side)
    return np.where(edges[-1] >= edges[0], rising, falling)


@implements(np.histogram)
def histogram(
    a: Any, bins: Any = 10, range: Any = None, density: Any = None, weights: Any = None
) -> Any:
    if isinstance(bins, str):
        raise refuse("np.histogram", f"with bins={bins!r}", "give the edges or their number")
    x = np.ravel(_floating(a))
    if isinstance(bins, int):
        low, high = (np.min(x), np.max(x)) if range is None else range
        same = operand(high) == operand(low)
        low, high = np.where(same, low - 0.5, low), np.where(same, high + 0.5, high)
        edges = np.linspace(low, high, bins + 1)
    else:
        edges = operand(bins)
    count = edges.shape[0] - 1
    at = np.searchsorted(edges, x, side="right") - 1
    at = np.where(x == edges[-1], count - 1, at)
    inside = (x >= edges[0]) & (x <= edges[-1])
    share = np.ones_like(x) if weights is None else np.ravel(_floating(weights))
    share = np.where(inside, share, 0.0)
    found = np.zeros(count, share.dtype) if isinstance(count, int) else np.zeros_like(edges[1:])
    found = operand(found).copy()
    np.add.at(found, np.clip(at, 0, count - 1), share)
    if density:
        found = found / (edges[1:] - edges[:-1]) / np.sum(found)
    elif weights is None:
        found = found.astype(np.int64)
    return found, edges


# --- comparisons of arrays --------------------------------------------------------------------


@implements(np.allclose)
def allclose(
    a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> Any:
    return np.all(np.isclose(a, b, rtol, atol, equal_nan))


@implements(np.array_equal)
def array_equal(a1: Any, a2: Any, equal_nan: bool = False) -> Any:
    x, y = operand(a1), operand(a2)
    sizes = current_trace().sizes
    if x.ndim != y.ndim or not all(
        sizes.equal(n, m) for n, m in zip(x.value.shape, y.value.shape, strict=True)
    ):
        return False
    same = x == y
    if equal_nan and x.dtype.kind == "f":
        same = same | (np.isnan(x) & np.isnan(y))
    return np.all(same)


@implements(np.isin)
def isin(
    element: Any,
    test_elements: Any,
    assume_unique: bool = False,
    invert: bool = False,
    *,
    kind: Any = None,
) -> Any:
    x, table = operand(element), np.ravel(operand(test_elements))
    found = np.any(x[..., None] == table, axis=-1)
    return ~found if invert else found


@implements(np.isposinf)
def isposinf(x: Any, out: None = None) -> Any:
    no_out(out, "np.isposinf")
    return operand(x) == np.inf


@implements(np.isneginf)
def isneginf(x: Any, out: None = None) -> Any:
    no_out(out, "np.isneginf")
    return operand(x) == -np.inf


@implements(np.partition)
def partition(
    a: Any, kth: Any, axis: Any = -1, kind: str = "introselect", order: Any = None
) -> Any:
    return np.sort(operand(a), axis=axis)  # sorted is partitioned at every place


@implements(np.argpartition)
def argpartition(
    a: Any, kth: Any, axis: Any = -1, kind: str = "introselect", order: Any = None
) -> Any:
    return np.argsort(operand(a), axis=axis, kind="stable")


@implements(np.choose)
def choose(a: Any, choices: Any, out: None = None, mode: str = "raise") -> Any:
    no_out(out, "np.choose")
    which = operand(a)
    options = [operand(c) for c in choices]
    if mode == "clip":
        which = np.clip(which, 0, len(options) - 1)
    elif mode == "wrap":
        which = np.mod(which, len(options))
    elif mode == "raise":
        limits = operand(np.zeros(len(options)))
        # Reading a table at the positions raises where one is out of range.
        which = which + (limits[which] * 0.0).astype(which.dtype)
    else:
        raise ValueError(f"clipmode must be one of 'clip', 'raise', or 'wrap' (got {mode!r})")
    found = options[-1]
    for k in reversed(range(len(options) - 1)):
        found = np.where(which == k, options[k], found)
    return found


for _name, _sum in (("cumulative_sum", np.cumsum), ("cumulative_prod", np.cumprod)):
    if hasattr(np, _name):

        @implements(getattr(np, _name))
        def cumulative(
            x: Any,
            /,
            *,
            axis: Any = None,
            dtype: Any = None,
            out: None = None,
            include_initial: bool = False,
            _sum: Any = _sum,
        ) -> Any:
            no_out(out, _sum.__name__)
            y = operand(x)
            if axis is None and y.ndim > 1:
                raise ValueError(
                    "For arrays which have more than one dimension ``axis`` argument is required."
                )
            found: Any = _sum(y, 0 if axis is None and y.ndim == 1 else axis, dtype)
            if include_initial:
                which = 0 if axis is None else normal_axis(axis, y.ndim)
                shape = [1 if d == which else size for d, size in enumerate(found.shape)]
                first = cast(operand(0 if _sum is np.cumsum else 1), found.dtype)
                start = np.broadcast_to(first, shape)
                return np.concatenate([start, found], axis=which)
            return found


if hasattr(np, "unstack"):

    @implements(np.unstack)
    def unstack(x: Any, /, *, axis: int = 0) -> Any:
        y = np.moveaxis(operand(x), axis, 0)
        return tuple(y[k] for k in range(int(y.shape[0])))


@implements(np.geomspace)
def geomspace(
    start: Any, stop: Any, num: int = 50, endpoint: bool = True, dtype: Any = None, axis: int = 0
) -> Any:
    low, high = _floating(start), _floating(stop)
    sign = np.sign(low)
    logs = np.linspace(np.log(low * sign), np.log(high * sign), num, endpoint)
    return _grid(np.exp(logs) * sign, dtype, axis)


def _grid(found: Any, dtype: Any, axis: int) -> Any:
    """A grid with its points along ``axis``."""
    found = found if dtype is None else found.astype(dtype)
    return np.moveaxis(found, 0, axis) if axis else found


@implements(np.logspace)
def logspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    base: Any = 10.0,
    dtype: Any = None,
    axis: int = 0,
) -> Any:
    if not is_number(base):
        start, stop, base = np.broadcast_arrays(operand(start), operand(stop), operand(base))
    return _grid(np.power(base, np.linspace(start, stop, num, endpoint)), dtype, axis)
