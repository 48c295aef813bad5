"""Functions of NumPy that write into an array."""

from __future__ import annotations

from typing import Any

import numpy as np

from tracegrad.errors import UnsupportedError
from tracegrad.tracing.dispatch import implements
from tracegrad.tracing.integers import smallest
from tracegrad.tracing.numpy_creation import arange
from tracegrad.tracing.tracer import Tracer
from tracegrad.tracing.ufuncs import truth
from tracegrad.tracing.values import lift, require_cast


def _target(a: Any, name: str) -> Tracer:
    if isinstance(a, Tracer):
        return a
    raise UnsupportedError(
        f"{name} writes a traced value into an array of constants",
        way_out="make the array with np.zeros or .copy() of a traced one",
    )


@implements(np.copyto)
def copyto(dst: Any, src: Any, casting: Any = "same_kind", where: Any = True) -> None:
    target, given = _target(dst, "np.copyto"), lift(src)
    require_cast(given.dtype, target.dtype, casting)
    target[...] = given if where is True else np.where(where, given, target)


@implements(np.putmask)
def putmask(a: Any, mask: Any, values: Any) -> None:
    target, given = _target(a, "np.putmask"), lift(values)
    chosen = truth(mask)
    if given.ndim:  # value k of the array takes value k of the values, which start again
        given = _again(given, arange(target.size)).reshape(target.shape)
        target[...] = np.where(chosen, given, target)
    else:
        target[chosen] = given


@implements(np.place)
def place(arr: Any, mask: Any, vals: Any) -> None:
    target, given = _target(arr, "np.place"), lift(vals)
    chosen = truth(mask)
    counted: Any = np.cumsum(np.ravel(chosen)) - 1  # the first of the chosen takes the first
    new = _again(given, np.maximum(counted, 0)).reshape(target.shape)
    target[...] = np.where(chosen, new, target)


def fill_flat(target: Tracer, values: Any) -> None:
    """``target.flat = values``."""
    given = lift(values)
    target.flat[...] = _again(given, arange(target.size)) if given.ndim else given


def _again(values: Any, places: Any) -> Any:
    """Elements of ``values`` at places that go beyond its end, where it starts again."""
    flat: Any = np.ravel(lift(values))
    return flat[np.mod(places, flat.shape[0])]


@implements(np.put)
def put(a: Any, ind: Any, v: Any, mode: str = "raise") -> None:
    flat = _target(a, "np.put").flat
    index, given = np.ravel(lift(ind)), lift(v)
    if mode not in ("raise", "wrap", "clip"):
        raise ValueError(f"clipmode must be one of 'clip', 'raise', or 'wrap' (got {mode!r})")
    if mode == "wrap":
        index = np.mod(index, flat.shape[0])
    elif mode == "clip":
        index = np.clip(index, 0, flat.shape[0] - 1)
    flat[index] = _again(given, arange(index.shape[0])) if given.ndim else given


@implements(np.fill_diagonal)
def fill_diagonal(a: Any, val: Any, wrap: bool = False) -> None:
    target = _target(a, "np.fill_diagonal")
    given = lift(val)
    if target.ndim < 2:
        raise ValueError("array must be at least 2-d")
    if wrap and target.ndim == 2:
        flat = target.flat
        steps = arange(0, target.size, target.shape[1] + 1)
        flat[steps] = _again(given, arange(steps.shape[0])) if given.ndim else given
        return
    if target.ndim > 2 and not all(size == target.shape[0] for size in target.shape):
        raise ValueError("All dimensions of input must be of equal length")
    steps = arange(smallest(target.shape[0], target.shape[1]))
    new = _again(given, steps) if given.ndim else given
    target[(steps,) * target.ndim] = new


@implements(np.put_along_axis)
def put_along_axis(arr: Any, indices: Any, values: Any, axis: Any) -> None:
    target, index = _target(arr, "np.put_along_axis"), lift(indices)
    if axis is None:
        target, axis = target.flat, 0
    key: list[Any] = []
    for d in range(target.ndim):
        if d == axis % target.ndim:
            key.append(index)
        else:
            shape: list[Any] = [1] * target.ndim
            shape[d] = -1
            key.append(arange(target.shape[d]).reshape(shape))
    target[tuple(key)] = values
