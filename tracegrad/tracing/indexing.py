"""Keys: what ``x[...]`` names, for reading and writing, in every form NumPy knows.

A key becomes one `Select`: a place per dimension of the array. Integers and slices are static
places; integers known at run time (a loop's index) and slices with such bounds are positions;
arrays of integers are positions with axes of their own. Masks become positions (`nonzero`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tracegrad.errors import IndexOutOfRange, UnsupportedError
from tracegrad.ir.core import Value
from tracegrad.ir.types import Dim, Shape, dim_max, evaluate, floor_div
from tracegrad.ops import access
from tracegrad.tracing.integers import as_dim, is_integer
from tracegrad.tracing.memory import At, Fancy, Place, Select, same_value
from tracegrad.tracing.sizes import Sizes, shape_text
from tracegrad.tracing.state import Trace, current_trace
from tracegrad.tracing.tracer import Tracer, joined, part_of
from tracegrad.tracing.values import cast, lift, wrap

__all__ = ["nonzero", "read", "selection", "sliced", "take_along"]


@dataclass
class _Item:
    """One part of a key: what it is and how many dimensions of the array it takes."""

    kind: str  # "int", "at", "slice", "new", "array"
    value: Any = None


def read(x: Tracer, key: Any) -> Any:
    """``x[key]``."""
    part, is_view = selection(x, key)
    if not is_view or not part.shape or x.memory is None:
        # One element is a scalar, positions from an array make a copy, and so does an axis that
        # is added to a scalar: none is a view.
        return wrap(_read_value(x, part))
    trace = current_trace()
    base = x.memory.get(trace)
    view = part_of(x.memory, trace.run(joined, (*x.stages, part), base.shape))
    _ = view.value  # read at this line
    return view


def _read_value(x: Tracer, part: Select) -> Value:
    trace = current_trace()
    if x.memory is not None and x.stages and not any(isinstance(p, Fancy) for p in part.places):
        # An element of a view is read from the array itself.
        value = base = x.memory.get(trace)
        for stage in trace.run(joined, (*x.stages, part), base.shape):
            value = trace.run(stage.read, value)
        return value
    result: Value = trace.run(part.read, x.value)
    return result


def selection(x: Tracer, key: Any) -> tuple[Select, bool]:
    """What ``key`` names of ``x``; and whether NumPy gives a view of it."""
    items = _items(x, key if isinstance(key, tuple) else (key,))
    trace = current_trace()
    arrays = [item.value for item in items if item.kind == "array"]
    common, first = _common_axes(items, arrays)
    shape: list[Dim] = []
    places: list[Place] = []
    dimension = 0
    for spot, item in enumerate(items):
        if spot == first:
            start = len(shape)
            shape.extend(common)
        if item.kind == "new":
            shape.append(1)
            continue
        size = trace.sizes.resolve(x.value.shape[dimension])
        if item.kind in ("int", "at"):
            places.append(_place(trace, item, size, dimension))
        elif item.kind == "array":
            places.append(Fancy(start, _positions(item.value, common)))
        else:
            length, place = _slice(item.value, size, len(shape))
            places.append(place)
            shape.append(length)
        dimension += 1
    sizes = trace.sizes.shape(shape)
    return Select(tuple(map(_resolved, places)), sizes), not arrays


def _place(trace: Trace, item: _Item, size: Dim, dimension: int) -> Place:
    """Where a single index is; one that is out of range where control may never come stays one."""
    if item.kind == "int" and trace.sizes.number(size - as_dim(item.value)) is not None:
        try:
            return None, position(trace.sizes, item.value, size, dimension), 1
        except IndexOutOfRange:
            if not trace.opened:
                raise
    return At(None, cast(lift(item.value), np.int64).value)


def _resolved(place: Place) -> Place:
    if not isinstance(place, tuple):
        return place
    axis, offset, step = place
    return axis, current_trace().sizes.resolve(offset), step


def _common_axes(items: Sequence[_Item], arrays: Sequence[Tracer]) -> tuple[Shape, int | None]:
    """The shape that index arrays have together, and before which item their axes stand."""
    if not arrays:
        return (), None
    shapes = [array.value.shape for array in arrays]
    sizes = current_trace().sizes
    shown = " ".join(shape_text(sizes, shape) for shape in shapes)
    common = sizes.broadcast(
        shapes,
        f"shape mismatch: indexing arrays could not be broadcast together with shapes {shown}",
    )
    # Scalars that index beside arrays count as arrays for the place of the result's axes.
    real = any(array.ndim for array in arrays)
    spots = [
        spot
        for spot, item in enumerate(items)
        if item.kind == "array" or (item.kind in ("int", "at") and real)
    ]
    adjacent = spots == list(range(spots[0], spots[-1] + 1))
    return common, spots[0] if adjacent else 0


def _positions(array: Tracer, common: Shape) -> Value:
    """An index array, aligned with the axes that it shares with the others."""
    value = cast(array, np.int64).value
    lead = len(common) - value.rank
    if not lead:
        return value
    return current_trace().run(access.expand_dims, value, tuple(range(lead)))  # type: ignore[no-any-return]  # one result


def _items(x: Tracer, parts: tuple[Any, ...]) -> list[_Item]:
    """The key, one item per dimension of ``x`` plus the new axes; the rest are full slices."""
    items: list[_Item] = []
    ellipsis: int | None = None
    used = 0
    for part in parts:
        if part is Ellipsis:
            if ellipsis is not None:
                raise IndexError("an index can only have a single ellipsis ('...')")
            ellipsis = len(items)
        elif part is None:
            items.append(_Item("new"))
        elif isinstance(part, slice):
            items.append(_Item("slice", part))
            used += 1
        elif is_integer(part):
            items.append(_Item("int", part))
            used += 1
        elif isinstance(part, Tracer) and not part.ndim and part.dtype.kind in "iu":
            items.append(_Item("at", part))
            used += 1
        else:
            found = _array_items(x, part, used if ellipsis is None else None, parts)
            items.extend(found)
            used += len(found)
    if used > x.ndim:
        raise IndexOutOfRange(
            f"too many indices for array: array is {x.ndim}-dimensional, but {used} were indexed"
        )
    at = len(items) if ellipsis is None else ellipsis
    return [*items[:at], *(_Item("slice", slice(None)) for _ in range(x.ndim - used)), *items[at:]]


def _array_items(x: Tracer, part: Any, axis: int | None, parts: tuple[Any, ...]) -> list[_Item]:
    if isinstance(part, bool | np.bool_):
        raise UnsupportedError(
            "indexing with a single boolean is not supported",
            way_out="use np.where, or an array of booleans",
        )
    plain = isinstance(part, list | tuple | np.ndarray)
    if plain and (part.size == 0 if isinstance(part, np.ndarray) else not _has_elements(part)):
        part = np.asarray(part, dtype=np.int64)
    array = lift(part)
    kind = array.dtype.kind
    if kind == "b":
        if axis is None:  # after an ellipsis: count from the end
            after = parts[[p is Ellipsis for p in parts].index(True) + 1 :]
            taken = sum(_takes(p) for p in after[: [p is part for p in after].index(True)])
            axis = x.ndim - sum(_takes(p) for p in after) + taken
        _check_mask(x, array, axis)
        return [_Item("array", position) for position in nonzero(array)]
    if kind not in "iu":
        raise IndexOutOfRange(
            "only integers, slices (`:`), ellipsis (`...`), numpy.newaxis (`None`) and integer "
            "or boolean arrays are valid indices"
        )
    return [_Item("array", array)]


def _has_elements(part: Any) -> bool:
    return any(_has_elements(each) if isinstance(each, list | tuple) else True for each in part)


def _takes(part: Any) -> int:
    if part is None or part is Ellipsis:
        return 0
    if isinstance(part, slice) or is_integer(part):
        return 1
    array = lift(part)
    return array.ndim if array.dtype.kind == "b" else 1


def _check_mask(x: Tracer, mask: Tracer, axis: int) -> None:
    sizes = current_trace().sizes
    if mask.ndim == 0:
        raise UnsupportedError(
            "indexing with a single boolean is not supported", way_out="use np.where"
        )
    if mask.ndim > x.ndim - axis:
        raise IndexOutOfRange(
            f"too many indices for array: array is {x.ndim}-dimensional, but "
            f"{mask.ndim} were indexed"
        )
    for d, size in enumerate(mask.value.shape):
        if not sizes.equal(x.value.shape[axis + d], size):
            raise IndexOutOfRange(
                f"boolean index did not match indexed array along axis {axis + d}; size of axis "
                f"is {sizes.number(x.value.shape[axis + d])} but size of corresponding boolean "
                f"axis is {sizes.number(size)}"
            )


# --- integers and slices ----------------------------------------------------------------------


def position(sizes: Sizes, index: Any, size: Dim, axis: int) -> Dim:
    """A single index, counted from the front; out of range is an error now or a guard."""
    at = as_dim(index)
    if sizes.decide(at, ">=", 0):
        inside = sizes.decide(at, "<", size)
    else:
        inside = sizes.decide(at + size, ">=", 0)
        at = at + size
    if not inside:
        raise IndexOutOfRange(
            f"index {sizes.number(as_dim(index))} is out of bounds for axis {axis} with size "
            f"{sizes.number(size)}"
        )
    return sizes.resolve(at)


def _slice(part: slice, size: Dim, axis: int) -> tuple[Dim, Place]:
    """The length of a slice, and its place."""
    trace = current_trace()
    bounds = [bound for bound in (part.start, part.stop) if bound is not None]
    dims: list[Dim] = [size, *(as_dim(bound) for bound in bounds if is_integer(bound))]
    unknown = bounds and any(trace.sizes.number(dim) is None for dim in dims)
    if unknown or any(isinstance(bound, Tracer) for bound in bounds):
        return _moving_slice(part, size, axis)
    start, length, step = sliced(trace.sizes, part, size)
    return length, (axis, start, step)


def _moving_slice(part: slice, size: Dim, axis: int) -> tuple[Dim, Place]:
    """A slice with bounds known at run time.

    Bounds at a fixed distance (``x[i - 1 : i + 2]``) give a window of fixed length, which has to
    lie within the array. Others give a length known at run time.
    """
    spans = current_trace().spans
    step = 1 if part.step is None else _step(part.step)
    start, stop = (None if bound is None else _bound(bound) for bound in (part.start, part.stop))
    if step == 1 and start is not None and stop is not None:
        distance = spans.dim(stop) - spans.dim(start)
        if isinstance(distance, int) and distance >= 0:
            return distance, (axis, spans.size(_window(start, distance, size)), 1)
    low, high = (0, size) if step > 0 else (-1, size - 1)
    first, last = (low, high) if step > 0 else (high, low)
    begin = first if start is None else spans.clipped(start, size, low, high)
    end = last if stop is None else spans.clipped(stop, size, low, high)
    extent = end - begin if step > 0 else begin - end
    if not spans.not_negative(extent):
        extent = dim_max(extent, 0)
    if not spans.not_negative(begin):
        begin = dim_max(begin, 0)  # where there is nothing
    length = spans.size(floor_div(extent + (abs(step) - 1), abs(step)))
    return length, (axis, spans.size(begin), step)


def _step(step: Any) -> int:
    if isinstance(step, Tracer):
        raise UnsupportedError(
            "a slice with a step that is known only at run time",
            way_out="index with an array of positions: x[np.arange(n) * step]",
        )
    if int(step) == 0:
        raise ValueError("slice step cannot be zero")
    return int(step)


def _bound(bound: Any) -> Value:
    value = lift(bound)
    if value.ndim or value.dtype.kind not in "iu":
        raise TypeError("slice indices must be integers or None or have an __index__ method")
    return cast(value, np.int64).value


def _window(start: Value, length: int, size: Dim) -> Dim:
    """Where a window of fixed length begins; that it is within the array is checked."""
    from tracegrad.tracing.raising import raise_if

    trace = current_trace()
    spans = trace.spans
    at = spans.dim(start)
    outside = []
    if not spans.not_negative(at):
        outside.append(wrap(start) < 0)
    if not spans.not_negative(size - length - at):
        outside.append(wrap(start) > wrap(spans.value(size - length)))
    for condition in outside:
        raise_if(
            condition,
            IndexError,
            "a slice between two run-time bounds at a fixed distance reaches beyond the array",
        )
    return spans.known(start, 0, size - length) if outside else spans.known(start)


def sliced(sizes: Sizes, part: slice, size: Dim) -> tuple[Dim, Dim, int]:
    """``(start, length, step)`` of a slice of an axis, clipped as NumPy clips it."""
    for bound in (part.start, part.stop, part.step):
        if not (bound is None or is_integer(bound) or hasattr(bound, "__index__")):
            raise TypeError("slice indices must be integers or None or have an __index__ method")
    step = 1 if part.step is None else int(part.step)
    if step == 0:
        raise ValueError("slice step cannot be zero")
    if part.start is None and part.stop is None:
        # The whole axis: nothing to decide, even where the size is known at run time only.
        if step > 0:
            return 0, floor_div(size + (step - 1), step), step
        return size - 1, floor_div(size + (-step - 1), -step), step
    low: Dim = 0 if step > 0 else -1
    high: Dim = size if step > 0 else size - 1
    start = _clipped(sizes, part.start, size, low, high, low if step > 0 else high)
    stop = _clipped(sizes, part.stop, size, low, high, high if step > 0 else low)
    extent = stop - start if step > 0 else start - stop
    at_the_end = sizes.resolve(start) == (sizes.resolve(size) if step > 0 else -1)
    if at_the_end or _no_more(sizes, extent) or not sizes.decide(extent, ">=", 0):
        return 0, 0, step
    length = floor_div(extent + (abs(step) - 1), abs(step))
    return sizes.resolve(start), sizes.resolve(length), step


def _no_more(sizes: Sizes, extent: Dim) -> bool:
    """Whether a slice is empty and stays so for larger arrays (``x[-1:-3]`` of one element)."""
    if isinstance(extent, int) or sizes.number(extent) != 0:
        return extent == 0
    larger = {name: hint + 1 for name, hint in sizes.hints.items()}
    return evaluate(sizes.resolve(extent), larger) < 0 and sizes.decide(extent, "<=", 0)


def _clipped(sizes: Sizes, bound: Any, size: Dim, low: Dim, high: Dim, default: Dim) -> Dim:
    if bound is None:
        return default
    at = as_dim(bound)
    if sizes.decide(at, ">=", 0):
        return at if sizes.decide(at, "<=", high) else high
    return at + size if sizes.decide(at + size, ">=", low if low == 0 else 0) else low


# --- arrays -----------------------------------------------------------------------------------


def take_along(x: Tracer, index: Tracer, axis: int) -> Tracer:
    """``np.take(x, index, axis)``: one array along one axis, its axes in place."""
    return read(x, (*(slice(None),) * axis, index))  # type: ignore[no-any-return]  # a tracer


def nonzero(mask: Tracer) -> tuple[Tracer, ...]:
    """Positions of the true elements; the same mask gives the same positions."""
    trace = current_trace()
    for known, positions, region in trace.masks:
        if trace.is_visible(region) and same_value(known, mask.value):
            return tuple(wrap(each) for each in positions)
    count = trace.sizes.new("count", None)
    positions = trace.emit_all("nonzero", mask.value, size=count)
    trace.masks.append((mask.value, positions, trace.build.region))
    return tuple(wrap(each) for each in positions)
