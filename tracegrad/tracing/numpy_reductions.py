"""Reductions: sum, mean, var, max, any, argmax, cumsum, norm … with axis, keepdims, where."""

from __future__ import annotations

from typing import Any

import numpy as np

from tracegrad.errors import DTypeError, NeedsValue, ShapeError
from tracegrad.ir.types import product
from tracegrad.ops import access
from tracegrad.tracing.axes import no_out, normal_axes, normal_axis
from tracegrad.tracing.dispatch import implements, refuse
from tracegrad.tracing.integers import dim_or_int, is_integer, largest
from tracegrad.tracing.raising import raise_if
from tracegrad.tracing.state import current_trace
from tracegrad.tracing.tracer import Tracer
from tracegrad.tracing.ufuncs import truth
from tracegrad.tracing.values import cast, operand, wrap

__all__ = ["reduce_over"]


def reduce_over(op: str, x: Tracer, axes: tuple[int, ...], keepdims: bool) -> Tracer:
    """One reduction op over ``axes``; the axes stay with size 1 if ``keepdims``."""
    trace = current_trace()
    value = trace.emit(op, x.value, axes=axes) if axes else x.value
    if keepdims and axes:
        value = trace.run(access.expand_dims, value, axes)
    return wrap(value)


def _masked(x: Tracer, where: Any, otherwise: Any) -> Any:
    return x if where is None or where is True else np.where(operand(where), x, otherwise)


def _accumulator(x: Tracer, dtype: Any) -> Tracer:
    """``x`` in the dtype NumPy adds it up in: at least int64 for integers and booleans."""
    if dtype is not None:
        return cast(x, dtype)
    if x.dtype.kind == "b" or (x.dtype.kind == "i" and x.dtype.itemsize < 8):
        return cast(x, np.int64)
    if x.dtype.kind == "u" and x.dtype.itemsize < 8:
        return cast(x, np.uint64)
    return x


@implements(np.sum)
def sum_(
    a: Any, axis: Any = None, dtype: Any = None, out: None = None, keepdims: bool = False,
    initial: Any = None, where: Any = None,
) -> Any:  # fmt: skip
    no_out(out, "np.sum")
    if dtype is not None and np.dtype(dtype).kind == "b":
        return _of_truths("any", a, axis, keepdims, initial, where)
    x = _masked(_accumulator(operand(a), dtype), where, 0)
    total = reduce_over("sum", x, normal_axes(axis, x.ndim), bool(keepdims))
    return total if initial is None else total + cast(operand(initial), total.dtype)


def _of_truths(op: str, a: Any, axis: Any, keepdims: bool, initial: Any, where: Any) -> Any:
    """A sum ("any") or a product ("all") of booleans."""
    x = _masked(truth(a), where, op == "all")
    found = reduce_over(op, x, normal_axes(axis, x.ndim), bool(keepdims))
    if initial is None:
        return found
    return found | truth(initial) if op == "any" else found & truth(initial)


@implements(np.prod)
def prod(
    a: Any, axis: Any = None, dtype: Any = None, out: None = None, keepdims: bool = False,
    initial: Any = None, where: Any = None,
) -> Any:  # fmt: skip
    no_out(out, "np.prod")
    if dtype is not None and np.dtype(dtype).kind == "b":
        return _of_truths("all", a, axis, keepdims, initial, where)
    x = _masked(_accumulator(operand(a), dtype), where, 1)
    total = reduce_over("prod", x, normal_axes(axis, x.ndim), bool(keepdims))
    return total if initial is None else total * cast(operand(initial), total.dtype)


def _is_empty(x: Tracer, axes: tuple[int, ...]) -> bool:
    sizes = current_trace().sizes
    for axis in axes:
        try:
            if sizes.decide(x.value.shape[axis], "<=", 0):
                return True
        except NeedsValue:  # only known at run time: the kernel finds out
            continue
    return False


def _extreme(
    name: str, a: Any, axis: Any, out: Any, keepdims: bool, initial: Any, where: Any
) -> Any:
    full = {"max": "maximum", "min": "minimum"}[name]
    no_out(out, f"np.{name}")
    x = operand(a)
    if where is not None and where is not True:
        if initial is None:
            raise ValueError(
                f"reduction operation '{full}' does not have an identity, so to use a where mask "
                "one has to specify 'initial'"
            )
        x = np.where(operand(where), x, cast(operand(initial), x.dtype))
    axes = normal_axes(axis, x.ndim)
    if x.dtype.kind == "b":
        return _of_truths({"max": "any", "min": "all"}[name], x, axis, keepdims, initial, None)
    if _is_empty(x, axes):
        if initial is None:
            raise ShapeError(f"zero-size array to reduction operation {full} which has no identity")
        kept = [1 if d in axes else size for d, size in enumerate(x.shape)]
        shape = kept if keepdims else [size for d, size in enumerate(x.shape) if d not in axes]
        return cast(operand(np.broadcast_to(operand(initial), shape)), x.dtype)
    found = reduce_over(name, x, axes, bool(keepdims))
    return found if initial is None else getattr(np, full)(found, cast(operand(initial), x.dtype))


@implements(np.max, np.amax)
def max_(
    a: Any, axis: Any = None, out: None = None, keepdims: bool = False, initial: Any = None,
    where: Any = None,
) -> Any:  # fmt: skip
    return _extreme("max", a, axis, out, keepdims, initial, where)


@implements(np.min, np.amin)
def min_(
    a: Any, axis: Any = None, out: None = None, keepdims: bool = False, initial: Any = None,
    where: Any = None,
) -> Any:  # fmt: skip
    return _extreme("min", a, axis, out, keepdims, initial, where)


@implements(np.ptp)
def ptp(a: Any, axis: Any = None, out: None = None, keepdims: bool = False) -> Any:
    no_out(out, "np.ptp")
    a = operand(a)
    return np.max(a, axis=axis, keepdims=keepdims) - np.min(a, axis=axis, keepdims=keepdims)


@implements(np.all)
def all_(
    a: Any, axis: Any = None, out: None = None, keepdims: bool = False, *, where: Any = None
) -> Any:
    no_out(out, "np.all")
    x = _masked(truth(a), where, True)
    return reduce_over("all", x, normal_axes(axis, x.ndim), bool(keepdims))


@implements(np.any)
def any_(
    a: Any, axis: Any = None, out: None = None, keepdims: bool = False, *, where: Any = None
) -> Any:
    no_out(out, "np.any")
    x = _masked(truth(a), where, False)
    return reduce_over("any", x, normal_axes(axis, x.ndim), bool(keepdims))


@implements(np.count_nonzero)
def count_nonzero(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    x = cast(truth(a), np.int64)
    return reduce_over("sum", x, normal_axes(axis, x.ndim), bool(keepdims))


# --- averages ---------------------------------------------------------------------------------


def _count(x: Tracer, axes: tuple[int, ...]) -> Any:
    return dim_or_int(product(x.value.shape[axis] for axis in axes))


def _floating(x: Tracer, dtype: Any) -> Tracer:
    if dtype is not None:
        return cast(x, dtype)
    return x if x.dtype.kind == "f" else cast(x, np.float64)


@implements(np.mean)
def mean(
    a: Any, axis: Any = None, dtype: Any = None, out: None = None, keepdims: bool = False, *,
    where: Any = None,
) -> Any:  # fmt: skip
    no_out(out, "np.mean")
    x = _floating(operand(a), dtype)
    axes = normal_axes(axis, x.ndim)
    total = np.sum(x, axis=axes, keepdims=keepdims, where=True if where is None else where)
    found: Any = total / _counted(x, axes, keepdims, where)
    return found if dtype is None else cast(found, dtype)


def _counted(x: Tracer, axes: tuple[int, ...], keepdims: bool, where: Any) -> Any:
    if where is None or where is True:
        return _count(x, axes)
    ones = np.broadcast_to(operand(where), x.shape)
    return cast(np.sum(ones, axis=axes, keepdims=keepdims), x.dtype)


@implements(np.var)
def var(
    a: Any, axis: Any = None, dtype: Any = None, out: None = None, ddof: Any = 0,
    keepdims: bool = False, *, where: Any = None, mean: Any = None, correction: Any = None,
) -> Any:  # fmt: skip
    no_out(out, "np.var")
    if dtype is not None and np.dtype(dtype).kind != "f":
        raise refuse("np.var", f"with dtype={np.dtype(dtype)}", "leave dtype out")
    x = _floating(operand(a), dtype)
    axes = normal_axes(axis, x.ndim)
    given = True if where is None else where
    centre = np.mean(x, axis=axes, keepdims=True, where=given) if mean is None else operand(mean)
    apart = x - centre
    total = np.sum(np.square(apart), axis=axes, keepdims=keepdims, where=given)
    count = _counted(x, axes, keepdims, where)
    freedom = ddof if correction is None else correction
    if isinstance(freedom, int) and freedom == 0:
        return total / count
    return cast(total / _not_negative(count - freedom), total.dtype)


def _not_negative(count: Any) -> Any:
    """Degrees of freedom: none, when there are fewer values than are taken away."""
    return largest(count, 0) if is_integer(count) else np.maximum(count, 0)


@implements(np.std)
def std(
    a: Any, axis: Any = None, dtype: Any = None, out: None = None, ddof: Any = 0,
    keepdims: bool = False, *, where: Any = None, mean: Any = None, correction: Any = None,
) -> Any:  # fmt: skip
    return _root_of_sum(
        var(a, axis, dtype, out, ddof, keepdims, where=where, mean=mean, correction=correction)
    )


@implements(np.average)
def average(
    a: Any, axis: Any = None, weights: Any = None, returned: bool = False, *,
    keepdims: bool = False,
) -> Any:  # fmt: skip
    x = operand(a)
    axes = normal_axes(axis, x.ndim)
    if weights is None:
        result = np.mean(x, axis=axes, keepdims=keepdims)
        total = result * 0 + _count(x, axes) if returned else None
    else:
        w = operand(weights)
        if w.ndim != x.ndim:
            if w.ndim != len(axes) or axis is None:
                raise TypeError("Axis must be specified when shapes of a and weights differ.")
            given = axis if isinstance(axis, tuple | list) else (axis,)
            order = sorted(range(w.ndim), key=[normal_axis(k, x.ndim) for k in given].__getitem__)
            shape = [dim_or_int(d) if i in axes else 1 for i, d in enumerate(x.value.shape)]
            w = np.transpose(w, order).reshape(shape)
        total = np.sum(w + np.zeros_like(x), axis=axes, keepdims=keepdims)
        result = np.sum(x * w, axis=axes, keepdims=keepdims) / total
        total = cast(total, result.dtype)
    return (result, total) if returned else result


# --- NaN-ignoring -----------------------------------------------------------------------------


@implements(np.nansum)
def nansum(
    a: Any, axis: Any = None, dtype: Any = None, out: None = None, keepdims: bool = False,
    initial: Any = None, where: Any = None,
) -> Any:  # fmt: skip
    return sum_(_without_nan(a, 0), axis, dtype, out, keepdims, initial, where)


@implements(np.nanprod)
def nanprod(
    a: Any, axis: Any = None, dtype: Any = None, out: None = None, keepdims: bool = False,
    initial: Any = None, where: Any = None,
) -> Any:  # fmt: skip
    return prod(_without_nan(a, 1), axis, dtype, out, keepdims, initial, where)


def _without_nan(a: Any, otherwise: Any) -> Any:
    x = operand(a)
    return np.where(np.isnan(x), otherwise, x) if x.dtype.kind == "f" else x


def _known(x: Tracer, where: Any) -> Any:
    known = ~np.isnan(x)
    return known if where is None or where is True else known & operand(where)


@implements(np.nanmean)
def nanmean(
    a: Any, axis: Any = None, dtype: Any = None, out: None = None, keepdims: bool = False, *,
    where: Any = None,
) -> Any:  # fmt: skip
    no_out(out, "np.nanmean")
    if operand(a).dtype.kind != "f":
        return mean(a, axis, dtype, out, keepdims, where=where)
    x = _inexact(a, dtype)
    known = _known(x, where)
    return np.mean(np.where(known, x, 0), axis=axis, keepdims=keepdims, where=known)


@implements(np.nanvar)
def nanvar(
    a: Any, axis: Any = None, dtype: Any = None, out: None = None, ddof: Any = 0,
    keepdims: bool = False, *, where: Any = None, mean: Any = None, correction: Any = None,
) -> Any:  # fmt: skip
    no_out(out, "np.nanvar")
    options = {"mean": mean, "correction": correction}
    if operand(a).dtype.kind != "f":
        return var(a, axis, dtype, out, ddof, keepdims, where=where, **options)
    x = _inexact(a, dtype)
    known = _known(x, where)
    found = var(np.where(known, x, 0), axis, None, None, ddof, keepdims, where=known, **options)
    freedom = ddof if correction is None else correction
    if isinstance(freedom, int) and freedom <= 0:
        return found
    return np.where(np.sum(known, axis=axis, keepdims=keepdims) > freedom, found, np.nan)


def _inexact(a: Any, dtype: Any) -> Tracer:
    if dtype is not None and np.dtype(dtype).kind != "f":
        raise DTypeError("If a is inexact, then dtype must be inexact")
    return _floating(operand(a), dtype)


@implements(np.nanstd)
def nanstd(
    a: Any, axis: Any = None, dtype: Any = None, out: None = None, ddof: Any = 0,
    keepdims: bool = False, *, where: Any = None, mean: Any = None, correction: Any = None,
) -> Any:  # fmt: skip
    options = {"where": where, "mean": mean, "correction": correction}
    return _root_of_sum(nanvar(a, axis, dtype, out, ddof, keepdims, **options))


def _nan_extreme(
    name: str, worst: float, a: Any, axis: Any, out: Any, keepdims: bool, initial: Any, where: Any
) -> Any:
    x = operand(a)
    if x.dtype.kind != "f":
        return _extreme(name, x, axis, out, keepdims, initial, where)
    missing = np.isnan(x)
    found = _extreme(name, np.where(missing, worst, x), axis, out, keepdims, initial, where)
    if initial is not None:
        return found
    return np.where(np.all(missing, axis=axis, keepdims=keepdims), np.nan, found)


@implements(np.nanmax)
def nanmax(
    a: Any, axis: Any = None, out: None = None, keepdims: bool = False, initial: Any = None,
    where: Any = None,
) -> Any:  # fmt: skip
    return _nan_extreme("max", -np.inf, a, axis, out, keepdims, initial, where)


@implements(np.nanmin)
def nanmin(
    a: Any, axis: Any = None, out: None = None, keepdims: bool = False, initial: Any = None,
    where: Any = None,
) -> Any:  # fmt: skip
    return _nan_extreme("min", np.inf, a, axis, out, keepdims, initial, where)


# --- positions, running sums ------------------------------------------------------------------


def _position(op: str, a: Any, axis: Any, out: Any, keepdims: bool) -> Any:
    no_out(out, f"np.{op}")
    x = operand(a)
    if x.dtype.kind == "b":
        x = cast(x, np.int64)
    rank = x.ndim
    if axis is None:
        x = np.ravel(x)
    which = normal_axis(0 if axis is None else axis, max(x.ndim, 1))
    sizes = current_trace().sizes
    if sizes.decide(x.value.shape[which], "<=", 0):
        raise ShapeError(f"attempt to get {op} of an empty sequence")
    found = current_trace().emit(op, x.value, axis=which)
    if keepdims:
        back = tuple(range(rank)) if axis is None else which
        found = current_trace().run(access.expand_dims, found, back)
    return wrap(found)


@implements(np.argmax)
def argmax(a: Any, axis: Any = None, out: None = None, *, keepdims: bool = False) -> Any:
    return _position("argmax", a, axis, out, keepdims)


@implements(np.argmin)
def argmin(a: Any, axis: Any = None, out: None = None, *, keepdims: bool = False) -> Any:
    return _position("argmin", a, axis, out, keepdims)


def _nan_position(name: str, worst: float, a: Any, axis: Any, out: Any, keepdims: bool) -> Any:
    x = operand(a)
    if x.dtype.kind == "f":
        missing = np.isnan(x)
        raise_if(
            operand(np.any(np.all(missing, axis=axis))), ValueError, "All-NaN slice encountered"
        )
        x = operand(np.where(missing, worst, x))
    return _position(name, x, axis, out, keepdims)


@implements(np.nanargmax)
def nanargmax(a: Any, axis: Any = None, out: None = None, *, keepdims: bool = False) -> Any:
    return _nan_position("argmax", -np.inf, a, axis, out, keepdims)


@implements(np.nanargmin)
def nanargmin(a: Any, axis: Any = None, out: None = None, *, keepdims: bool = False) -> Any:
    return _nan_position("argmin", np.inf, a, axis, out, keepdims)


def _running(op: str, a: Any, axis: Any, dtype: Any, out: Any) -> Any:
    no_out(out, f"np.{op}")
    x: Any = _accumulator(operand(a), dtype)
    if axis is None or not x.ndim:
        x = np.ravel(x)
    which = normal_axis(0 if axis is None else axis, x.ndim)
    return wrap(current_trace().emit(op, x.value, axis=which, reverse=False))


@implements(np.cumsum)
def cumsum(a: Any, axis: Any = None, dtype: Any = None, out: None = None) -> Any:
    return _running("cumsum", a, axis, dtype, out)


@implements(np.cumprod)
def cumprod(a: Any, axis: Any = None, dtype: Any = None, out: None = None) -> Any:
    return _running("cumprod", a, axis, dtype, out)


@implements(np.diff)
def diff(a: Any, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> Any:
    x = operand(a)
    which = normal_axis(axis, x.ndim)
    if n < 0:
        raise ValueError(f"order must be non-negative but got {n}")
    head = (slice(None),) * which
    if n and (prepend is not None or append is not None):
        x = np.concatenate([*_beside(prepend, x, which), x, *_beside(append, x, which)], axis=which)
    for _ in range(n):
        x = x[(*head, slice(1, None))] - x[(*head, slice(None, -1))]
    return x


def _beside(given: Any, x: Any, axis: int) -> list[Any]:
    """What is put before or after ``x`` along an axis: nothing, a number, or an array."""
    if given is None:
        return []
    y = operand(given)
    if not y.ndim:
        y = np.broadcast_to(y, [1 if d == axis else x.shape[d] for d in range(x.ndim)])
    return [y]


@implements(np.ediff1d)
def ediff1d(ary: Any, to_end: Any = None, to_begin: Any = None) -> Any:
    x = np.ravel(operand(ary))
    ends = [
        [] if given is None else [np.ravel(cast(operand(given), x.dtype))]
        for given in (to_begin, to_end)
    ]
    steps: Any = np.diff(x)
    return np.concatenate([*ends[0], steps, *ends[1]]) if ends[0] or ends[1] else steps


@implements(np.trapezoid)
def trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Any:
    y = operand(y)
    which = normal_axis(axis, y.ndim)
    width: Any = dx
    if x is not None:
        x = operand(x)
        if x.ndim == 1:
            shape = [1] * y.ndim
            shape[which] = -1
            width = np.diff(x).reshape(shape)
        else:
            width = np.diff(x, axis=which)
    head = (slice(None),) * which
    pairs = y[(*head, slice(1, None))] + y[(*head, slice(None, -1))]
    return np.sum(width * pairs / 2.0, axis=which)


# --- norms ------------------------------------------------------------------------------------


def _root_of_sum(total: Any) -> Any:
    """``sqrt`` of a sum of squares, with derivative 0 where all of them are 0."""
    positive = total > 0
    return np.where(positive, np.sqrt(np.where(positive, total, 1)), total)


@implements(np.linalg.norm)
def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    x = operand(x)
    if x.dtype.kind != "f":
        x = cast(x, np.float64)
    if axis is None:
        axes = tuple(range(x.ndim))
        if ord is not None and x.ndim not in (1, 2):
            raise ValueError("Improper number of dimensions to norm.")
    elif isinstance(axis, tuple | list):
        axes = tuple(normal_axis(each, x.ndim) for each in axis)
    else:
        axes = (normal_axis(axis, x.ndim),)
    if ord is None or (len(axes) == 1 and ord == 2) or (len(axes) == 2 and ord in ("fro", "f")):
        return _root_of_sum(np.sum(np.square(x), axis=axes, keepdims=keepdims))
    if len(axes) == 1:
        return _vector_norm(x, ord, axes[0], keepdims)
    if len(axes) == 2:
        return _matrix_norm(x, ord, axes, keepdims)
    raise ValueError("Improper number of dimensions to norm.")


if hasattr(np.linalg, "matrix_norm"):  # from NumPy 2.0 on

    @implements(np.linalg.matrix_norm)
    def matrix_norm(x: Any, /, *, keepdims: bool = False, ord: Any = "fro") -> Any:
        return norm(x, ord, (-2, -1), keepdims)

    @implements(np.linalg.vector_norm)
    def vector_norm(x: Any, /, *, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Any:
        x = operand(x)
        which = normal_axes(axis, x.ndim)
        rest = [d for d in range(x.ndim) if d not in which]
        flat = np.reshape(np.transpose(x, [*which, *rest]), [-1, *(x.shape[d] for d in rest)])
        found = norm(flat, ord, 0)
        return np.expand_dims(found, which) if keepdims else found


def _vector_norm(x: Tracer, ord: Any, axis: int, keepdims: bool) -> Any:
    if ord == np.inf:
        return np.max(np.abs(x), axis=axis, keepdims=keepdims)
    if ord == -np.inf:
        return np.min(np.abs(x), axis=axis, keepdims=keepdims)
    if ord == 0:
        return cast(np.sum(x != 0, axis=axis, keepdims=keepdims), x.dtype)
    if ord == 1:
        return np.sum(np.abs(x), axis=axis, keepdims=keepdims)
    if isinstance(ord, str):
        raise ValueError(f"Invalid norm order '{ord}' for vectors")
    total = np.sum(np.abs(x) ** ord, axis=axis, keepdims=keepdims)
    positive = total > 0
    return np.where(positive, np.where(positive, total, 1) ** (1.0 / ord), total)


def _matrix_norm(x: Tracer, ord: Any, axes: tuple[int, ...], keepdims: bool) -> Any:
    rows, columns = axes
    if ord in (2, -2, "nuc"):
        matrices: Any = np.moveaxis(operand(x), axes, (-2, -1))
        s = np.linalg.svd(matrices, full_matrices=False, compute_uv=False)
        found = np.sum(s, axis=-1) if ord == "nuc" else s[..., 0 if ord == 2 else -1]
        return np.expand_dims(found, axes) if keepdims else found
    if ord in (1, -1):
        inner, outer = rows, columns
    elif ord in (np.inf, -np.inf):
        inner, outer = columns, rows
    else:
        raise ValueError(f"Invalid norm order '{ord}' for matrices")
    sums = np.sum(np.abs(x), axis=inner, keepdims=True)
    extreme = np.max if ord in (1, np.inf) else np.min
    found = extreme(sums, axis=outer, keepdims=True)
    return found if keepdims else np.squeeze(found, axis=(rows, columns))
