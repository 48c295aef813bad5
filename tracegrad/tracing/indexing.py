"""Reading arrays with ``x[...]``: every form NumPy knows, in two steps.

The basic part (ints, slices, None, Ellipsis) becomes one `view`, which leaves the axes that
arrays index at full length; these are then brought to the front and read by one `index`.
Masks become positions (`nonzero`) first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tracegrad.errors import IndexOutOfRange, UnsupportedError
from tracegrad.ir.core import Value
from tracegrad.ir.types import Dim, Shape, evaluate, floor_div
from tracegrad.ops import access
from tracegrad.ops.access_samples import Entry
from tracegrad.tracing.integers import as_dim, is_integer
from tracegrad.tracing.sizes import Sizes
from tracegrad.tracing.state import current_trace
from tracegrad.tracing.tracer import Tracer, view_from
from tracegrad.tracing.values import cast, lift, to_shape, wrap

__all__ = ["nonzero", "read", "sliced", "take_along"]


@dataclass
class _Item:
    """One part of a key: what it is and how many dimensions of the array it takes."""

    kind: str  # "int", "slice", "new", "array"
    value: Any = None


def read(x: Tracer, key: Any) -> Any:
    """``x[key]``."""
    items = _items(x, key if isinstance(key, tuple) else (key,))
    viewed = _basic(x, items)
    arrays = [item.value for item in items if item.kind == "array"]
    if not arrays:
        if not viewed.rank and not _shows_array(items):
            return wrap(viewed)  # one element: a scalar, which is no view
        return view_from(x, viewed)
    axes, first = _array_axes(items)
    return wrap(_index(viewed, axes, arrays, first))


def _shows_array(items: Sequence[_Item]) -> bool:
    return any(item.kind in ("slice", "new") for item in items) or not items


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
    if isinstance(part, list | tuple | np.ndarray) and np.size(part) == 0:
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


# --- the basic part ---------------------------------------------------------------------------


def _basic(x: Tracer, items: Sequence[_Item]) -> Value:
    """The view that all but the arrays make; axes that arrays index stay whole."""
    trace = current_trace()
    entries: list[Entry] = []
    shape: list[Dim] = []
    axis = 0
    for item in items:
        if item.kind == "new":
            shape.append(1)
            continue
        size = trace.sizes.resolve(x.value.shape[axis])
        if item.kind == "int":
            entries.append((None, position(trace.sizes, item.value, size, axis), 1))
        else:
            part = item.value if item.kind == "slice" else slice(None)
            start, length, step = sliced(trace.sizes, part, size)
            entries.append((len(shape), start, step))
            shape.append(length)
        axis += 1
    viewed: Value = trace.run(access.view_of, x.value, tuple(shape), _resolved(entries))
    return viewed


def _resolved(entries: list[Entry]) -> tuple[Entry, ...]:
    sizes = current_trace().sizes
    return tuple((axis, sizes.resolve(offset), step) for axis, offset, step in entries)


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


def _array_axes(items: Sequence[_Item]) -> tuple[list[int], int]:
    """Axes of the viewed array that arrays index, and where their common axes go."""
    axes: list[int] = []
    spots: list[int] = []
    out = 0
    # Scalars that index beside arrays count as arrays for the place of the result's axes.
    real = any(item.kind == "array" and item.value.ndim for item in items)
    for spot, item in enumerate(items):
        if item.kind == "array":
            axes.append(out)
        if item.kind == "array" or (item.kind == "int" and real):
            spots.append(spot)
        if item.kind != "int":
            out += 1
    adjacent = spots == list(range(spots[0], spots[-1] + 1))
    if not adjacent:
        return axes, 0
    before = sum(1 for item in items[: spots[0]] if item.kind in ("slice", "new"))
    return axes, before


def _index(x: Value, axes: Sequence[int], arrays: Sequence[Tracer], first: int) -> Value:
    """Read ``x`` with integer arrays along ``axes``; their axes start at ``first``."""
    trace = current_trace()
    shapes = [array.value.shape for array in arrays]
    shown = " ".join(_shape(shape) for shape in shapes)
    common = trace.sizes.broadcast(
        shapes,
        f"shape mismatch: indexing arrays could not be broadcast together with shapes {shown}",
    )
    indices = [to_shape(cast(array, np.int64).value, common) for array in arrays]
    rest = [axis for axis in range(x.rank) if axis not in axes]
    front = trace.run(access.transpose, x, [*axes, *rest])
    picked = trace.emit("index", front, *indices)
    if not first or not common:
        return picked
    rank = len(common)
    order = [
        *range(rank, rank + first),
        *range(rank),
        *range(rank + first, picked.rank),
    ]
    result: Value = trace.run(access.transpose, picked, order)
    return result


def _shape(shape: Shape) -> str:
    from tracegrad.tracing.sizes import shape_text

    return shape_text(current_trace().sizes, shape)


def take_along(x: Tracer, index: Tracer, axis: int) -> Tracer:
    """``np.take(x, index, axis)``: one array along one axis, its axes in place."""
    return wrap(_index(x.value, [axis], [index], axis))


def nonzero(mask: Tracer) -> tuple[Tracer, ...]:
    """Positions of the true elements; the same mask gives the same positions."""
    trace = current_trace()
    for known, positions in trace.masks:
        if _same(known, mask.value):
            return tuple(wrap(each) for each in positions)
    count = trace.sizes.new("count", None)
    positions = trace.emit_all("nonzero", mask.value, size=count)
    trace.masks.append((mask.value, positions))
    return tuple(wrap(each) for each in positions)


def _same(one: Value, other: Value, depth: int = 12) -> bool:
    """Whether two values are computed alike from the same values."""
    if one is other:
        return True
    if not depth or one.op is None or other.op is None or one.type != other.type:
        return False
    a, b = one.op, other.op
    return (
        a.opdef is b.opdef
        and not a.regions
        and not b.regions
        and len(a.operands) == len(b.operands)
        and dict(a.attributes) == dict(b.attributes)
        and a.results.index(one) == b.results.index(other)
        and all(_same(x, y, depth - 1) for x, y in zip(a.operands, b.operands, strict=True))
    )
