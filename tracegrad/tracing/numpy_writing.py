"""Functions of NumPy that write into an array."""

from __future__ import annotations

from typing import Any

import numpy as np

from tracegrad.errors import UnsupportedError
from tracegrad.tracing.dispatch import implements, refuse
from tracegrad.tracing.integers import smallest
from tracegrad.tracing.numpy_creation import arange
from tracegrad.tracing.tracer import Tracer
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


@implements(np.putmask, np.place)
def putmask(a: Any, mask: Any, values: Any) -> None:
    target, given = _target(a, "np.putmask"), lift(values)
    if given.ndim:
        raise refuse("np.putmask", "with an array of values", "use x[mask] = values")
    target[lift(mask).astype(bool)] = given


@implements(np.put)
def put(a: Any, ind: Any, v: Any, mode: str = "raise") -> None:
    if mode != "raise":
        raise refuse("np.put", f"with mode={mode!r}", "clip or wrap the indices yourself")
    _target(a, "np.put").reshape(-1)[ind] = v


@implements(np.fill_diagonal)
def fill_diagonal(a: Any, val: Any, wrap: bool = False) -> None:
    target = _target(a, "np.fill_diagonal")
    if target.ndim != 2 or wrap:
        raise refuse("np.fill_diagonal", "of other than two dimensions, or with wrap")
    steps = arange(smallest(target.shape[0], target.shape[1]))
    target[steps, steps] = val


@implements(np.put_along_axis)
def put_along_axis(arr: Any, indices: Any, values: Any, axis: Any) -> None:
    target, index = _target(arr, "np.put_along_axis"), lift(indices)
    if axis is None:
        target, axis = target.reshape(-1), 0
    key: list[Any] = []
    for d in range(target.ndim):
        if d == axis % target.ndim:
            key.append(index)
        else:
            shape: list[Any] = [1] * target.ndim
            shape[d] = -1
            key.append(arange(target.shape[d]).reshape(shape))
    target[tuple(key)] = values
