"""Reading arrays: ``view`` and its transpose ``pad``, reshape, concatenate, and what is made of
them (broadcasts, slices, transposes, …).

The functions that make views compose when they build: a view of a view is one view, and an
identity view is the value itself. ``view`` and ``pad`` share one ``map``: an entry per dimension
of the larger array, ``(axis or None, offset, step)``, says that its index is
``offset + step · (index along axis of the smaller array)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tracegrad.ir.core import Value
from tracegrad.ir.types import ArrayType, Dim, DType, Shape, f64, floor_div
from tracegrad.ops import access_text
from tracegrad.ops.access_samples import SHAPES, Entry, Map
from tracegrad.ops.constants import checked_shape, is_dim
from tracegrad.ops.registry import REGISTRY, OpDef, Sample, constant, linear

# --- view -------------------------------------------------------------------------------------


def _checked_map(map: object, whole: Shape, part: Shape, name: str) -> Map:
    """``map`` when it fits: an entry per dimension of ``whole``, within bounds where known."""
    if not isinstance(map, tuple) or len(map) != len(whole):
        raise TypeError(f"{name}: map needs one entry per dimension of {whole}, not {map!r}")
    named: set[int] = set()
    for position, (entry, size) in enumerate(zip(map, whole, strict=True)):
        if not isinstance(entry, tuple) or len(entry) != 3:
            raise TypeError(f"{name}: a map entry is (axis or None, offset, step), not {entry!r}")
        axis, offset, step = entry
        if not is_dim(offset):
            raise TypeError(f"{name}: offset must be a dimension, not {offset!r}")
        ends = [offset]
        if axis is not None:
            if not isinstance(axis, int) or not 0 <= axis < len(part):
                raise TypeError(f"{name}: axis {axis!r} is not in 0..{len(part) - 1}")
            if axis in named:
                raise TypeError(f"{name}: axis {axis} is named twice in {map}")
            named.add(axis)
            if not isinstance(step, int) or isinstance(step, bool) or step == 0:
                raise TypeError(f"{name}: step must be a non-zero int, not {step!r}")
            if part[axis] == 0:
                continue
            ends.append(offset + step * (part[axis] - 1))
        # A part that may be empty may begin where the whole ends.
        may_be_empty = axis is not None and not isinstance(part[axis], int)
        for number, end in enumerate(ends):
            below, room = end, size - end
            least = 0 if may_be_empty and number == 0 else 1
            if (isinstance(below, int) and below < 0) or (isinstance(room, int) and room < least):
                raise TypeError(
                    f"{name}: dimension {position} of size {size} is read at {end} by {map}"
                )
    return map


def _view_type(x: ArrayType, *, shape: Any, map: Any) -> ArrayType:
    checked = checked_shape(shape, "view")
    _checked_map(map, x.shape, checked, "view")
    return ArrayType(x.dtype, checked)


def _positions(map: Map, whole: Sequence[int], part: Sequence[int]) -> tuple[np.ndarray, ...]:
    """For each dimension of ``whole``, the index read, as an array that broadcasts to ``part``."""
    found = []
    for (axis, offset, step), size in zip(map, whole, strict=True):
        assert isinstance(offset, int)
        if axis is None:
            at = np.array(offset)
        else:
            extent = [1] * len(part)
            extent[axis] = part[axis]
            at = (offset + step * np.arange(part[axis])).reshape(extent)
        outside = at[(at < 0) | (at >= size)]
        if outside.size:
            raise IndexError(
                f"index {outside.flat[0]} is out of bounds for an axis with size {size}"
            )
        found.append(at)
    return tuple(found)


def _view_reference(x: np.ndarray, *, shape: tuple[int, ...], map: Map) -> np.ndarray:
    x = np.asarray(x)
    picked: np.ndarray = np.broadcast_to(x[_positions(map, x.shape, shape)], shape).copy()
    return picked


def _view_transpose(out_bar: Value, x: Value, *, shape: Shape, map: Map) -> Value:
    """Broadcast axes are summed, then the rest is put back: by a view if it covers ``x``."""
    named = {axis for axis, _, _ in map if axis is not None}
    broadcast = [axis for axis in range(len(shape)) if axis not in named]
    total = tuple(axis for axis in broadcast if shape[axis] != 1)
    if total:
        out_bar = REGISTRY["sum"](out_bar, axes=total)
    kept = [axis for axis in range(len(shape)) if axis not in total]
    out_bar = squeeze(out_bar, [k for k, axis in enumerate(kept) if axis in broadcast])
    number = {axis: k for k, axis in enumerate(a for a in kept if a in named)}
    return pad_into(
        out_bar,
        x.shape,
        tuple((None if a is None else number[a], offset, step) for a, offset, step in map),
    )


def _view_samples(rng: np.random.Generator) -> list[Sample]:
    return [
        Sample((np.asarray(rng.normal(size=whole)),), {"shape": part, "map": map}, f"{whole}")
        for whole, part, map in SHAPES
    ]


view = linear(
    "view",
    doc="""Read access: slice, transpose, expand, broadcast, static index, flip.

    ``map`` has an entry per dimension of the operand; output axes that none names are
    broadcast. Bounds are the tracer's duty: where sizes are known here, they are checked.""",
    infer=_view_type,
    reference=_view_reference,
    array=access_text.view_text,
    transpose=_view_transpose,
    samples=_view_samples,
)


def view_of(x: Value, shape: Sequence[Dim], map: Sequence[Entry]) -> Value:
    """The view of ``x``: composed with the view that ``x`` is, ``x`` itself for an identity."""
    shape, entries = tuple(shape), tuple(map)
    while x.op is not None and x.op.opdef is view:
        entries = composed(x.op.attributes["map"], entries)
        x = x.op.operands[0]
    entries = tuple(simple_entry(entry, shape) for entry in entries)
    if is_identity(x.shape, shape, entries):
        return x
    result: Value = view(x, shape=shape, map=entries)
    return result


def composed(inner: Map, outer: Map) -> Map:
    """The map of the view ``outer`` of the view ``inner``; also of pads, the other way round."""
    found: list[Entry] = []
    for axis, offset, step in inner:
        if axis is None:
            found.append((None, offset, 1))
        else:
            then, offset2, step2 = outer[axis]
            at = offset + step * offset2
            found.append((None, at, 1) if then is None else (then, at, step * step2))
    return tuple(found)


def simple_entry(entry: Entry, part: Shape) -> Entry:
    """``entry`` with step 1 where one index is read, and offset 0 where none is."""
    axis, offset, _ = entry
    if axis is not None and part[axis] == 0:
        return (axis, 0, 1)
    return (axis, offset, 1) if axis is None or part[axis] == 1 else entry


def is_identity(whole: Shape, part: Shape, map: Map) -> bool:
    """Whether the map reads each element of ``whole`` at its own index."""
    return whole == part and all(
        offset == 0 and ((axis == d and step == 1) or (axis is None and whole[d] == 1))
        for d, (axis, offset, step) in enumerate(map)
    )


def covering(whole: Shape, part: Shape, map: Map) -> Map | None:
    """The map of the view that undoes this one, when it reads each element exactly once."""
    back: list[Entry | None] = [None] * len(part)
    for d, (size, (axis, offset, step)) in enumerate(zip(whole, map, strict=True)):
        if axis is None:
            if size != 1 or offset != 0:
                return None
        elif part[axis] == size and abs(step) == 1 and offset == (0 if step == 1 else size - 1):
            back[axis] = (d, offset, step)
        else:
            return None
    if any(entry is None and part[axis] != 1 for axis, entry in enumerate(back)):
        return None
    return tuple((None, 0, 1) if entry is None else entry for entry in back)


# --- pad --------------------------------------------------------------------------------------


def _pad_type(v: ArrayType, *, shape: Any, map: Any) -> ArrayType:
    checked = checked_shape(shape, "pad")
    entries = _checked_map(map, checked, v.shape, "pad")
    named = sorted(axis for axis, _, _ in entries if axis is not None)
    if named != list(range(v.rank)):
        raise TypeError(f"pad: map {map} must name every axis of {v} once")
    return ArrayType(v.dtype, checked)


def _pad_reference(v: np.ndarray, *, shape: tuple[int, ...], map: Map) -> np.ndarray:
    v = np.asarray(v)
    out = np.zeros(shape, v.dtype)
    out[_positions(map, shape, v.shape)] = v
    return out


def _pad_transpose(out_bar: Value, v: Value, *, shape: Shape, map: Map) -> Value:
    return view_of(out_bar, v.shape, map)


def _pad_samples(rng: np.random.Generator) -> list[Sample]:
    return [
        Sample((np.asarray(rng.normal(size=part)),), {"shape": whole, "map": map}, f"{whole}")
        for whole, part, map in SHAPES
        if sum(axis is not None for axis, _, _ in map) == len(part)
    ]


pad = linear(
    "pad",
    doc="""Zeros of ``shape`` with the operand put in: the transpose of ``view``.

    ``map`` has an entry per dimension of the result and names every axis of the operand.""",
    infer=_pad_type,
    reference=_pad_reference,
    array=access_text.pad_text,
    transpose=_pad_transpose,
    samples=_pad_samples,
)


def pad_into(v: Value, shape: Sequence[Dim], map: Sequence[Entry]) -> Value:
    """Zeros of ``shape`` with ``v`` at ``map``: a view when ``v`` covers it, else one pad."""
    shape, entries = tuple(shape), tuple(simple_entry(entry, v.shape) for entry in map)
    back = covering(shape, v.shape, entries)
    if back is not None:
        return view_of(v, shape, back)
    if v.op is not None and v.op.opdef is pad:
        inner = v.op
        return pad_into(inner.operands[0], shape, composed(entries, inner.attributes["map"]))
    if v.op is not None and v.op.opdef is view:
        base = v.op.operands[0]
        undo = covering(base.shape, v.shape, v.op.attributes["map"])
        if undo is not None and len([e for e in undo if e[0] is not None]) == base.rank:
            # A transposed, flipped or expanded value is put in from where it is.
            return pad_into(base, shape, composed(entries, undo))
    result: Value = pad(v, shape=shape, map=entries)
    return result


# --- reshape, concatenate ---------------------------------------------------------------------


def _reshape_type(x: ArrayType, *, shape: Any) -> ArrayType:
    result = ArrayType(x.dtype, checked_shape(shape, "reshape"))
    if x.size != result.size:
        both_known = isinstance(x.size, int) and isinstance(result.size, int)
        if both_known:
            raise TypeError(f"cannot reshape {x} of size {x.size} into shape {result.shape}")
    return result


def _reshape_samples(rng: np.random.Generator) -> list[Sample]:
    cases: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
        ((6,), (2, 3)),
        ((2, 3), (6,)),
        ((2, 3), (3, 2)),
        ((1,), ()),
        ((), (1, 1)),
        ((0, 3), (0,)),
        ((0,), (2, 0)),
        ((2, 3, 4), (6, 4)),
    ]
    return [Sample((np.asarray(rng.normal(size=a)),), {"shape": b}) for a, b in cases]


reshape = linear(
    "reshape",
    doc="""The same elements in C order under another shape.

    Symbolic sizes that can't be compared are trusted: the tracer adds a guard.""",
    infer=_reshape_type,
    reference=lambda x, *, shape: np.reshape(x, shape),
    array=access_text.reshape_text,
    transpose=lambda out_bar, x, *, shape: reshaped(out_bar, x.shape),
    samples=_reshape_samples,
)


def reshaped(x: Value, shape: Sequence[Dim]) -> Value:
    """``x`` in ``shape``; the value itself, or a view, where no reshape is needed."""
    shape = tuple(shape)
    if x.op is not None and x.op.opdef is reshape:
        x = x.op.operands[0]
    if [d for d in x.shape if d != 1] == [d for d in shape if d != 1]:
        kept = iter(axis for axis, size in enumerate(shape) if size != 1)
        return view_of(x, shape, [(None if d == 1 else next(kept), 0, 1) for d in x.shape])
    result: Value = reshape(x, shape=shape)
    return result


def _concatenate_type(*xs: ArrayType, axis: Any) -> ArrayType:
    if not xs:
        raise TypeError("concatenate: at least one array is needed")
    first = xs[0]
    if not isinstance(axis, int) or not 0 <= axis < first.rank:
        raise TypeError(f"concatenate: axis {axis!r} is not an axis of {first}")
    total: Dim = 0
    for x in xs:
        rest = x.shape[:axis] + x.shape[axis + 1 :]
        if x.dtype is not first.dtype or rest != first.shape[:axis] + first.shape[axis + 1 :]:
            raise TypeError(f"concatenate: {', '.join(map(str, xs))} along axis {axis}")
        total = total + x.shape[axis]
    return ArrayType(first.dtype, (*first.shape[:axis], total, *first.shape[axis + 1 :]))


def _concatenate_transpose(out_bar: Value, *xs: Value, axis: int) -> tuple[Value, ...]:
    contributions = []
    start: Dim = 0
    for x in xs:
        stop = start + x.shape[axis]
        contributions.append(slice_(out_bar, axis, start, stop))
        start = stop
    return tuple(contributions)


def _concatenate_samples(rng: np.random.Generator) -> list[Sample]:
    cases: list[tuple[int, list[tuple[int, ...]]]] = [
        (0, [(3,), (2,)]),
        (0, [(3,)]),
        (0, [(0,), (2,), (0,)]),
        (0, [(2, 3), (1, 3)]),
        (1, [(2, 3), (2, 1), (2, 0)]),
        (2, [(1, 2, 1), (1, 2, 3)]),
    ]
    return [
        Sample(tuple(rng.normal(size=shape) for shape in shapes), {"axis": axis})
        for axis, shapes in cases
    ]


concatenate = linear(
    "concatenate",
    doc="Arrays joined along an existing axis.",
    infer=_concatenate_type,
    reference=lambda *xs, axis: np.concatenate(xs, axis=axis),
    array=access_text.concatenate_text,
    transpose=_concatenate_transpose,
    samples=_concatenate_samples,
)


FEW = 8
"""An axis of so many elements is rolled one by one: they may be known, or in registers."""


def _roll_type(x: ArrayType, *, shift: Any, axis: Any) -> ArrayType:
    if not isinstance(axis, int) or not 0 <= axis < x.rank:
        raise TypeError(f"roll: axis {axis!r} is not an axis of {x}")
    if not is_dim(shift):
        raise TypeError(f"roll: shift must be a dimension, not {shift!r}")
    rest = x.shape[axis] - shift
    if any(isinstance(part, int) and part <= 0 for part in (shift, rest)):
        raise TypeError(f"roll: 0 < shift < size of the axis, not {shift} of {x.shape[axis]}")
    return x


def _roll_samples(rng: np.random.Generator) -> list[Sample]:
    cases = [((3,), 1, 0), ((4, 3), 3, 0), ((4, 3), 2, 1), ((2, 3, 2), 1, 2)]
    return [
        Sample((rng.normal(size=shape),), {"shift": shift, "axis": axis})
        for shape, shift, axis in cases
    ]


roll: OpDef = linear(
    "roll",
    doc="""Moved along an axis by ``shift`` places; what leaves at the end comes in at the start.

    0 < shift < size of the axis, which is the tracer's duty where sizes are not known.""",
    infer=_roll_type,
    reference=lambda x, *, shift, axis: np.roll(x, shift, axis=axis),
    array=access_text.roll_text,
    transpose=lambda out_bar, x, *, shift, axis: roll(
        out_bar, shift=x.shape[axis] - shift, axis=axis
    ),
    samples=_roll_samples,
)


# --- what views are made for ------------------------------------------------------------------


def broadcast_to(x: Value, shape: Sequence[Dim]) -> Value:
    """``x`` broadcast to ``shape`` by NumPy's rule: aligned at the right, sizes of 1 repeated."""
    shape = tuple(shape)
    lead = len(shape) - x.rank
    if lead < 0:
        raise TypeError(f"{x.type} can't be broadcast to the lower rank of {shape}")
    map: list[Entry] = []
    for d, size in enumerate(x.shape):
        if size != shape[lead + d] and size != 1:
            raise TypeError(f"{x.type} can't be broadcast to {shape}")
        map.append((lead + d if size == shape[lead + d] else None, 0, 1))
    return view_of(x, shape, map)


def expand_dims(x: Value, axes: Sequence[int] | int) -> Value:
    """``x`` with axes of size 1 put in; ``axes`` are positions in the result, as in NumPy."""
    new = [axes] if isinstance(axes, int) else list(axes)
    rank = x.rank + len(new)
    places = {normal_axis(axis, rank) for axis in new}
    if len(places) != len(new):
        raise TypeError(f"expand_dims: repeated axis in {axes}")
    kept = [axis for axis in range(rank) if axis not in places]
    shape: list[Dim] = [1] * rank
    for axis, size in zip(kept, x.shape, strict=True):
        shape[axis] = size
    return view_of(x, shape, [(axis, 0, 1) for axis in kept])


def squeeze(x: Value, axes: Sequence[int] | int | None = None) -> Value:
    """``x`` without the given axes (all of size 1 if None)."""
    if axes is None:
        axes = [axis for axis, size in enumerate(x.shape) if size == 1]
    gone = {normal_axis(axis, x.rank) for axis in ([axes] if isinstance(axes, int) else axes)}
    for axis in gone:
        if x.shape[axis] != 1:
            raise TypeError(f"squeeze: axis {axis} of {x.type} has not size 1")
    kept = [axis for axis in range(x.rank) if axis not in gone]
    map: list[Entry] = [(None, 0, 1)] * x.rank
    for out_axis, axis in enumerate(kept):
        map[axis] = (out_axis, 0, 1)
    return view_of(x, [x.shape[axis] for axis in kept], map)


def transpose(x: Value, axes: Sequence[int] | None = None) -> Value:
    """``x`` with axes permuted (reversed if None): axis k of the result is ``axes[k]`` of x."""
    order = [normal_axis(a, x.rank) for a in (reversed(range(x.rank)) if axes is None else axes)]
    if sorted(order) != list(range(x.rank)):
        raise TypeError(f"transpose: {axes} is not a permutation of the axes of {x.type}")
    map: list[Entry] = [(order.index(axis), 0, 1) for axis in range(x.rank)]
    return view_of(x, [x.shape[axis] for axis in order], map)


def swapaxes(x: Value, first: int, second: int) -> Value:
    """``x`` with two axes exchanged."""
    order = list(range(x.rank))
    first, second = normal_axis(first, x.rank), normal_axis(second, x.rank)
    order[first], order[second] = second, first
    return transpose(x, order)


def moveaxis(x: Value, source: int, destination: int) -> Value:
    """``x`` with one axis moved to another place, the others in order."""
    source, destination = normal_axis(source, x.rank), normal_axis(destination, x.rank)
    order = [axis for axis in range(x.rank) if axis != source]
    order.insert(destination, source)
    return transpose(x, order)


def slice_(x: Value, axis: int, start: Dim, stop: Dim | None, step: int = 1) -> Value:
    """``x[start:stop:step]`` along one axis, the bounds already clipped to the array.

    ``start`` is a position; so is ``stop``, exclusive, or None for "to the end" in the direction
    of ``step``. With a negative step a ``stop`` of -1 means "down to the first element".
    """
    axis = normal_axis(axis, x.rank)
    if step > 0:
        stop = x.shape[axis] if stop is None else stop
        length = floor_div(stop - start + (step - 1), step)
    else:
        stop = -1 if stop is None else stop
        length = floor_div(start - stop + (-step - 1), -step)
    if isinstance(length, int):
        length = max(length, 0)
    shape = [length if a == axis else size for a, size in enumerate(x.shape)]
    map: list[Entry] = [(a, start, step) if a == axis else (a, 0, 1) for a in range(x.rank)]
    return view_of(x, shape, map)


def at(x: Value, axis: int, position: Dim) -> Value:
    """``x`` at one static position along ``axis``, which goes away; -1 is the last."""
    axis = normal_axis(axis, x.rank)
    if isinstance(position, int) and position < 0:
        position = x.shape[axis] + position
    map: list[Entry] = [
        (None, position, 1) if a == axis else (a - (a > axis), 0, 1) for a in range(x.rank)
    ]
    return view_of(x, x.shape[:axis] + x.shape[axis + 1 :], map)


def flip(x: Value, axes: Sequence[int] | int | None = None) -> Value:
    """``x`` with the order along the given axes (all if None) reversed."""
    if axes is None:
        axes = range(x.rank)
    turned = {normal_axis(axis, x.rank) for axis in ([axes] if isinstance(axes, int) else axes)}
    map: list[Entry] = [
        (axis, x.shape[axis] - 1, -1) if axis in turned else (axis, 0, 1) for axis in range(x.rank)
    ]
    return view_of(x, x.shape, map)


def full(shape: Sequence[Dim], value: float, dtype: DType = f64) -> Value:
    """``value`` in every place of ``shape``: a scalar constant seen through a view."""
    return broadcast_to(constant(value, dtype), shape)


def zeros(shape: Sequence[Dim], dtype: DType = f64) -> Value:
    """Zeros of ``shape``."""
    return full(shape, 0, dtype)


def ones(shape: Sequence[Dim], dtype: DType = f64) -> Value:
    """Ones of ``shape``."""
    return full(shape, 1, dtype)


def stack(xs: Sequence[Value], axis: int = 0) -> Value:
    """Arrays of one shape joined along a new axis."""
    axis = normal_axis(axis, xs[0].rank + 1)
    result: Value = concatenate(*[expand_dims(x, axis) for x in xs], axis=axis)
    return result


def normal_axis(axis: int, rank: int) -> int:
    """``axis`` counted from the front."""
    if not -rank <= axis < rank:
        raise TypeError(f"axis {axis} is out of bounds for an array of rank {rank}")
    return axis % rank
