"""Functions that pick elements: take, compress, diagonals, triangles, grids; and copies."""

from __future__ import annotations

from typing import Any

import numpy as np

from tracegrad.errors import DTypeError, ShapeError
from tracegrad.tracing.axes import no_out, normal_axis
from tracegrad.tracing.dispatch import implements
from tracegrad.tracing.indexing import take_along
from tracegrad.tracing.integers import as_dim, is_integer
from tracegrad.tracing.state import current_trace
from tracegrad.tracing.tracer import Tracer
from tracegrad.tracing.ufuncs import truth
from tracegrad.tracing.values import fresh, operand, wrap


@implements(np.take)
def take(a: Any, indices: Any, axis: Any = None, out: None = None, mode: str = "raise") -> Any:
    no_out(out, "np.take")
    if mode not in ("raise", "wrap", "clip"):
        raise ValueError(f"clipmode must be one of 'clip', 'raise', or 'wrap' (got {mode!r})")
    x = operand(a)
    if axis is None:
        x, axis = np.ravel(x), 0
    which = normal_axis(axis, x.ndim)
    if mode == "wrap":
        indices = np.mod(operand(indices), x.shape[which])
    elif mode == "clip":
        indices = np.clip(operand(indices), 0, x.shape[which] - 1)
    if is_integer(indices):
        return x[(*(slice(None),) * which, indices)]
    index = operand(indices)
    if index.dtype.kind not in "iu":
        raise DTypeError(
            f"Cannot cast array data from {index.dtype!r} to {np.dtype(np.int64)!r} according to "
            "the rule 'safe'"
        )
    return take_along(x, index, which)


@implements(np.take_along_axis)
def take_along_axis(arr: Any, indices: Any, axis: Any = -1) -> Any:
    x, index = operand(arr), operand(indices)
    if axis is None:
        x, axis = np.ravel(x), 0
    which = normal_axis(axis, x.ndim)
    if index.ndim != x.ndim:
        raise ShapeError("`indices` and `arr` must have the same number of dimensions")
    key: list[Any] = []
    for d in range(x.ndim):
        if d == which:
            key.append(index)
        else:
            shape = [1] * x.ndim
            shape[d] = -1
            key.append(operand(positions(x.shape[d])).reshape(shape))
    return x[tuple(key)]


def positions(size: Any) -> Tracer:
    from tracegrad.ir.types import i64

    return wrap(current_trace().emit("iota", size=as_dim(size), dtype=i64))


@implements(np.compress)
def compress(condition: Any, a: Any, axis: Any = None, out: None = None) -> Any:
    no_out(out, "np.compress")
    x = operand(a)
    if axis is None:
        x, axis = np.ravel(x), 0
    which = normal_axis(axis, x.ndim)
    chosen = truth(condition)
    if chosen.ndim != 1:
        raise ValueError("condition must be a 1-d array")
    return _chosen(x, chosen, which)


def _chosen(x: Any, mask: Tracer, axis: int) -> Any:
    """What a mask chooses along an axis; it may be shorter than the axis."""
    head = (slice(None),) * axis
    if current_trace().sizes.decide(mask.value.shape[0], "<", x.value.shape[axis]):
        x = x[(*head, slice(None, mask.shape[0]))]
    return x[(*head, mask)]


@implements(np.extract)
def extract(condition: Any, arr: Any) -> Any:
    return _chosen(np.ravel(operand(arr)), truth(np.ravel(operand(condition))), 0)


@implements(np.linalg.diagonal)
def matrix_diagonal(x: Any, /, *, offset: int = 0) -> Any:
    return diagonal(x, offset, -2, -1)


@implements(np.diagonal)
def diagonal(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    x = operand(a)
    if x.ndim < 2:
        raise ValueError("diag requires an array of at least two dimensions")
    first, second = normal_axis(axis1, x.ndim), normal_axis(axis2, x.ndim)
    if first == second:
        raise ValueError("axis1 and axis2 cannot be the same")
    x = np.moveaxis(x, (first, second), (-2, -1))
    rows, columns = x.shape[-2:]
    down, right = max(-offset, 0), max(offset, 0)
    from tracegrad.tracing.integers import smallest

    length = smallest(rows - down, columns - right)
    if length < 0:
        length = 0
    steps = positions(length)
    rank = x.ndim - 2
    return x[(*(slice(None),) * rank, steps + down, steps + right)]


@implements(np.diag)
def diag(v: Any, k: int = 0) -> Any:
    x = operand(v)
    if x.ndim == 2:
        return np.diagonal(x, k)
    if x.ndim != 1:
        raise ValueError("Input must be 1- or 2-d.")
    size = x.shape[0] + abs(k)
    rows, columns = positions(size)[:, None], positions(size)[None, :]
    # Row i of the result holds v[i - down] at the diagonal; elsewhere 0.
    down = max(-k, 0)
    spread = np.pad(x, (down, abs(k) - down))
    zero = np.zeros((), x.dtype)
    return np.where(columns - rows == k, spread[:, None], zero)


@implements(np.diagflat)
def diagflat(v: Any, k: int = 0) -> Any:
    return np.diag(np.ravel(operand(v)), k)


def _triangle(m: Any, k: int, keep: Any) -> Any:
    x = operand(m)
    x = x if x.ndim > 1 else np.broadcast_to(x, (x.shape[0], x.shape[0]))
    rows, columns = positions(x.shape[-2])[:, None], positions(x.shape[-1])[None, :]
    return np.where(keep(columns - rows, k), x, np.zeros((), x.dtype))


@implements(np.tril)
def tril(m: Any, k: int = 0) -> Any:
    return _triangle(m, k, lambda difference, limit: difference <= limit)


@implements(np.triu)
def triu(m: Any, k: int = 0) -> Any:
    return _triangle(m, k, lambda difference, limit: difference >= limit)


@implements(np.meshgrid)
def meshgrid(*xi: Any, copy: bool = True, sparse: bool = False, indexing: str = "xy") -> Any:
    if indexing not in ("xy", "ij"):
        raise ValueError("Valid values for `indexing` are 'xy' and 'ij'.")
    xs = [np.ravel(operand(x)) for x in xi]
    rank = len(xs)
    places = list(range(rank))
    if indexing == "xy" and rank > 1:
        places[0], places[1] = 1, 0
    shaped = []
    for x, place in zip(xs, places, strict=True):
        shape = [1] * rank
        shape[place] = -1
        shaped.append(x.reshape(shape))
    grids: Any = shaped if sparse else np.broadcast_arrays(*shaped)
    return tuple(Tracer(grid.value) for grid in grids)


@implements(np.copy)
def copy(a: Any, order: str = "K", subok: bool = False) -> Any:
    return fresh(operand(a))


@implements(np.astype)
def astype(x: Any, dtype: Any, /, *, copy: bool = True, device: Any = None) -> Any:
    return operand(x).astype(dtype, copy=copy)


@implements(np.ascontiguousarray, np.asfortranarray)
def contiguous(a: Any, dtype: Any = None, *, like: Any = None) -> Any:
    return np.atleast_1d(require(a, dtype))


@implements(np.require)
def require(a: Any, dtype: Any = None, requirements: Any = None, *, like: Any = None) -> Any:
    x = operand(a)
    return x if dtype is None else x.astype(dtype, copy=False)
