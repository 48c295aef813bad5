"""Statistics of samples: covariances, histograms, quantiles that leave NaN out, comparisons."""

from __future__ import annotations

from typing import Any

import numpy as np

from tracegrad.tracing.axes import no_out, normal_axes, normal_axis
from tracegrad.tracing.dispatch import implements, refuse
from tracegrad.tracing.numpy_picking import positions
from tracegrad.tracing.state import current_trace
from tracegrad.tracing.values import cast, operand, wrap


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
    if fweights is not None or aweights is not None:
        raise refuse("np.cov", "with weights", "write the weighted sums out")
    x: Any = np.atleast_2d(_rows(m, rowvar))
    if y is not None:
        x = np.concatenate([x, np.atleast_2d(_rows(y, rowvar))], axis=0)
    if dtype is not None:
        x = operand(x).astype(dtype)
    less = (0 if bias else 1) if ddof is None else ddof
    centred = x - np.mean(x, axis=1, keepdims=True)
    return np.squeeze(np.matmul(centred, centred.T) / (x.shape[1] - less))


def _rows(m: Any, rowvar: bool) -> Any:
    """One variable per row."""
    x = _floating(m)
    return x.T if not rowvar and x.ndim == 2 and x.shape[0] != 1 else x


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
) -> Any:
    no_out(out, "np.nanquantile")
    if method != "linear":
        raise refuse("np.nanquantile", f"with method={method!r}", "use method='linear'")
    x = _floating(a)
    axes = normal_axes(axis, x.ndim)
    rest = [d for d in range(x.ndim) if d not in axes]
    shape = [x.shape[d] for d in rest]
    flat = np.reshape(np.transpose(x, [*axes, *rest]), [-1, *shape])
    ordered = np.sort(flat, axis=0)  # NaN comes last
    count = np.sum(~np.isnan(ordered), axis=0)
    last = np.maximum(count - 1, 0)
    level = operand(q)
    spread = np.expand_dims(level, tuple(range(level.ndim, level.ndim + len(rest))))
    spot = spread * last
    low = np.floor(spot).astype(np.int64)
    high = np.minimum(low + 1, last)
    weight = cast(operand(spot - low), x.dtype)
    first, second = _at(ordered, low, level.ndim), _at(ordered, high, level.ndim)
    step = second - first
    found = np.where(weight >= 0.5, second - step * (1 - weight), first + step * weight)
    return np.expand_dims(found, tuple(d + level.ndim for d in axes)) if keepdims else found


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
) -> Any:
    share = q / 100 if hasattr(q, "value") else np.true_divide(np.asarray(q), 100)
    return nanquantile(a, share, axis, out, overwrite_input, method, keepdims)


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
    falling = edges.shape[0] - np.searchsorted(edges[::-1], operand(x), side="left" if side ==
                                               "right" else "right")  # fmt: skip
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
        edges = _floating(bins)
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
            found = _sum(y, 0 if axis is None and y.ndim == 1 else axis, dtype)
            if include_initial:
                which = 0 if axis is None else normal_axis(axis, y.ndim)
                first = operand(found)[(*(slice(None),) * which, slice(0, 1))]
                start = np.zeros_like(first) if _sum is np.cumsum else np.ones_like(first)
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
    found = np.exp(logs) * sign
    return found if dtype is None else found.astype(dtype)


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
    found = np.power(base, np.linspace(start, stop, num, endpoint))
    return found if dtype is None else found.astype(dtype)
