"""Writing into arrays: ``x[key] = v``, ``x += v``, ``out=``, ``fill`` and ``np.add.at``.

What is written goes through the stages of a view to the array it is a part of. The IR's values
don't change: the memory gets a new one (`tracegrad.tracing.memory`), and the scheduler sees to it
that this costs no copy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tracegrad.errors import DTypeError, ShapeError, UnsupportedError
from tracegrad.ir.core import Value
from tracegrad.ops import access
from tracegrad.ops.indexing import accumulate
from tracegrad.ops.registry import REGISTRY
from tracegrad.tracing.indexing import selection
from tracegrad.tracing.memory import Select, Stage, composed, index_values, put
from tracegrad.tracing.sizes import shape_text
from tracegrad.tracing.state import Trace, current_trace
from tracegrad.tracing.tracer import Tracer, joined
from tracegrad.tracing.values import cast, lift, to_shape

__all__ = ["add_at", "assign", "write"]

Change = Callable[[Value, Select], Value]
"""Gives an array, changed at a part of it."""


def write(x: Tracer, key: Any, value: Any) -> None:
    """``x[key] = value``."""
    _require_array(x, "x[...] = v")
    given = lift(value)
    mask = _mask_of(x, key)
    if mask is not None and not given.ndim:
        chosen = REGISTRY["select"]
        trace = current_trace()
        new = trace.run(chosen, mask.value, cast(given, x.dtype).value, x.value)
        _change(x, _whole(x), lambda array, part: put(array, part, new))
        return
    part, _ = selection(x, key)
    if _is_there(given, x, part):
        return  # ``x[i:] += v`` has written to the view already
    new = _fitting(given, part, x)
    _change(x, part, lambda array, part: put(array, part, new))


def _is_there(value: Tracer, x: Tracer, part: Select) -> bool:
    """Whether ``value`` is the very view of ``x`` that it is to be written to."""
    trace = current_trace()
    if value.memory is None or value.memory is not x.memory or value.dtype != x.dtype:
        return False
    shape = value.memory.get(trace).shape
    stages = trace.run(joined, (*x.stages, part), shape)
    if len(stages) != 1 or len(value.stages) != 1:
        return False
    (here,), (there,) = stages, trace.run(joined, value.stages, shape)
    return isinstance(here, Select) and isinstance(there, Select) and here.equals(there)


def assign(x: Tracer, value: Any) -> None:
    """``x[...] = value``, for an array of any number of dimensions."""
    _require_array(x, "x[...] = v")
    part = _whole(x)
    new = _fitting(lift(value), part, x)
    _change(x, part, lambda array, part: put(array, part, new))


def add_at(x: Tracer, key: Any, value: Any) -> None:
    """``np.add.at(x, key, value)``: repeated positions add up."""
    _require_array(x, "np.add.at")
    part, _ = selection(x, key)
    new = _fitting(lift(value), part, x)

    def add(array: Value, part: Select) -> Value:
        places = index_values(array, part)
        if places is None:
            result: Value = REGISTRY["add"](array, new)
            return result
        indices, squeezed = places
        changed: Value = accumulate(
            array, access.squeeze(new, squeezed) if squeezed else new, *indices
        )
        return changed

    _change(x, part, add)


def _whole(x: Tracer) -> Select:
    shape = x.value.shape
    return Select(tuple((axis, 0, 1) for axis in range(len(shape))), shape)


def _mask_of(x: Tracer, key: Any) -> Tracer | None:
    """The key, if it is one mask for the whole array."""
    if isinstance(key, Tracer | np.ndarray) and key.dtype.kind == "b" and key.ndim == x.ndim > 0:
        mask = lift(key)
        sizes = current_trace().sizes
        if all(map(sizes.equal, mask.value.shape, x.value.shape)):
            return mask
    return None


def _require_array(x: Tracer, what: str) -> None:
    if x.memory is None:
        raise UnsupportedError(
            f"{what} writes into an array without dimensions, which is a scalar here",
            way_out="use an array of shape (1,), or bind the name anew",
        )


def _fitting(value: Tracer, part: Select, x: Tracer) -> Value:
    """``value`` with the dtype of ``x`` and the shape of the part, as NumPy's assignment casts."""
    sizes = current_trace().sizes
    shape = value.value.shape
    lead = len(shape) - len(part.shape)
    extra = shape[: max(lead, 0)]
    fits = all(size == 1 or sizes.number(size) == 1 for size in extra)
    if fits and lead > 0:
        value = value.reshape(tuple(value.shape[lead:]))
        shape = value.value.shape
    wording = (
        f"could not broadcast input array from shape {shape_text(sizes, shape)} into shape "
        f"{shape_text(sizes, part.shape)}"
    )
    if not fits:
        raise ShapeError(wording)
    joint = sizes.broadcast([part.shape, shape], wording)
    if len(joint) != len(part.shape) or not all(map(sizes.equal, joint, part.shape)):
        raise ShapeError(wording)
    new = cast(value, x.dtype).value
    return to_shape(new, sizes.shape(part.shape))


def _change(x: Tracer, part: Select, change: Change) -> None:
    """Change ``x`` at a part of it, and with it the array that it is a view of."""
    trace = current_trace()
    memory = x.memory
    assert memory is not None
    base = memory.get(trace)
    stages = tuple(stage.resolved(trace.sizes) for stage in x.stages)
    part = part.resolved(trace.sizes)
    memory.set(trace, trace.run(_through, trace, base, stages, part, change))


def _through(
    trace: Trace, array: Value, stages: tuple[Stage, ...], part: Select, change: Change
) -> Value:
    if not stages:
        return change(array, part)
    *outer, last = stages
    if isinstance(last, Select):
        if last.repeats:
            raise ValueError("assignment destination is read-only")
        within = array
        for stage in outer:
            within = stage.read(within)
        joint = composed(last, part.places, part.shape, within.shape)
        return _through(trace, array, tuple(outer), joint, change)
    within = array
    for stage in outer:
        within = stage.read(within)
    changed = access.reshaped(change(last.read(within), part), within.shape)
    whole = Select(tuple((axis, 0, 1) for axis in range(within.rank)), within.shape)
    return _through(trace, array, tuple(outer), whole, lambda x, place: put(x, place, changed))


def inplace(x: Tracer, result: Any, name: str, symbol: str) -> Tracer:
    """Write the result of ``x symbol= y`` into ``x``, under NumPy's rules."""
    sizes = current_trace().sizes
    shape = x.value.shape
    if result.ndim != x.ndim or not all(map(sizes.equal, result.value.shape, shape)):
        raise ShapeError(
            f"non-broadcastable output operand with shape {shape_text(sizes, shape)} doesn't "
            f"match the broadcast shape {shape_text(sizes, result.value.shape)}"
        )
    require_castable(x, result, name, f"write x = x {symbol} y")
    assign(x, result)
    return x


def require_castable(
    x: Tracer, result: Tracer, name: str, way_out: str, casting: Any = "same_kind"
) -> None:
    """Raise if NumPy would not put ``result`` into ``x``."""
    if not np.can_cast(result.dtype, x.dtype, casting):
        raise DTypeError(
            f"Cannot cast ufunc '{name}' output from {result.dtype!r} to {x.dtype!r} "
            f"with casting rule '{casting}'",
            way_out=way_out,
        )


def put_out(out: Any, result: Any, name: str, casting: Any = "same_kind") -> Any:
    """``out=``: the result goes into an array, which is what the call returns."""
    if isinstance(out, tuple):
        if len(out) == 1:
            return put_out(out[0], result, name, casting)
        return tuple(
            made if each is None else put_out(each, made, name, casting)
            for each, made in zip(out, result, strict=True)
        )
    if not isinstance(out, Tracer):
        out = lift(out)
    made = lift(result)
    require_castable(out, made, name, "use an array of the dtype of the result", casting)
    sizes = current_trace().sizes
    if out.ndim != made.ndim or not all(
        sizes.equal(a, b) for a, b in zip(out.value.shape, made.value.shape, strict=True)
    ):
        raise ShapeError(
            f"non-broadcastable output operand with shape {shape_text(sizes, out.value.shape)} "
            f"doesn't match the broadcast shape {shape_text(sizes, made.value.shape)}"
        )
    assign(out, made)
    return out
