"""Memory: what names of arrays refer to, and how views lead into it.

NumPy's arrays are places that can be written to; the IR's values never change. A `Memory`
stands between the two: it is a variable that holds the present value of one array, and every
tracer of that array, or of a view of it, goes through it. Writing gives the memory a new value;
who reads next sees it, under whichever name. Loops carry it and branches yield it, as
`tracegrad.ir.threads` does with variables.

A view is a memory and the *stages* that lead from the whole array to the part: selections
(slices, positions, transposes, new axes) and reshapes. Stages can be read through, and written
through in the other direction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from tracegrad.errors import UnsupportedError
from tracegrad.ir.core import Value
from tracegrad.ir.threads import Variable
from tracegrad.ir.types import Dim, Shape, i64
from tracegrad.ops import access
from tracegrad.ops.access_samples import Entry
from tracegrad.ops.constants import dim_value, iota
from tracegrad.ops.indexing import accumulate, index, positions, update
from tracegrad.ops.registry import REGISTRY, constant
from tracegrad.tracing.ranges import from_front
from tracegrad.tracing.state import current_trace

if TYPE_CHECKING:
    from tracegrad.tracing.sizes import Sizes
    from tracegrad.tracing.state import Trace

__all__ = [
    "COPY", "At", "Fancy", "Memory", "Place", "Reshape", "Select", "Stage", "composed",
    "index_values", "put", "ranged", "same_value", "share_results",
]  # fmt: skip

COPY = "make a copy first: b = a.copy()"


class Memory:
    """The memory of one array.

    Attributes
    ----------
    outside : whose it is, in words, when it may not be written to ("the captured array 'w'").
    shares : other memories that may be the same one in NumPy, since a branch or a loop chose.
    written : whether the function writes to it (in an attempt that failed, perhaps).
    stale : why it can't be used any more; None as long as it can.
    """

    __slots__ = ("build", "outside", "region", "shares", "stale", "variable", "written")

    def __init__(self, trace: Trace, value: Value, outside: str | None = None) -> None:
        self.build = trace.build if outside is None else trace.outermost
        scope = self.build.scope if outside is None else self.build.outermost_scope
        self.region = scope.region
        self.variable = Variable(value.type, home=scope, hint=value.hint)
        scope.current[self.variable] = value
        self.outside = outside
        self.shares: dict[Memory, None] = {}
        self.stale: str | None = None
        self.written = False

    def get(self, trace: Trace) -> Value:
        """The present value."""
        if self.stale is not None:
            raise UnsupportedError(self.stale, way_out=COPY)
        trace.require_visible(self.region)
        for opened in trace.opened:
            opened.touched[self] = None
        value = self.build.get(self.variable)
        assert value is not None
        return value

    def set(self, trace: Trace, value: Value) -> None:
        """Give it a new value."""
        for each in (self, *self.shares):
            if each.outside is not None:
                raise UnsupportedError(
                    f"the function writes into {each.outside}, which it shares with its "
                    "surroundings; a compiled kernel would not",
                    way_out="write to a copy (a = a.copy()) and return it",
                )
        if self.build is not trace.build:
            raise UnsupportedError(
                "a function that is differentiated inside another writes into an array of the "
                "outer one",
                way_out="return the new array from the inner function",
            )
        self.get(trace)
        self.written = True
        self.build.set(self.variable, value)
        for opened in trace.opened:
            opened.written[self] = None
        for other in self.shares:
            other.make_stale(trace, self.words())

    def name(self, name: str) -> None:
        """The name that the user has for it; the first one stays."""
        if not self.variable.hint:
            self.variable.hint = name

    def rename(self, name: str) -> None:
        """Forget the name that it has for another; "" is none yet."""
        self.variable.hint = name

    def words(self) -> str:
        hint = self.variable.hint
        return f"the array {hint!r}" if hint else "an array"

    def make_stale(self, trace: Trace, writer: str) -> None:
        """It can't be used from now on: ``writer`` was written to and may be the same memory."""
        self.set_stale(
            trace,
            f"{self.words()} may or may not be the same memory as {writer}, which was written "
            "to: a branch, the number of trips of a loop or a function with a rule decides",
        )

    def set_stale(self, trace: Trace, why: str) -> None:
        if self.stale is None:
            self.stale = why

            def undo() -> None:
                self.stale = None

            trace.journal.append(undo)
            for opened in trace.opened:
                opened.stale[self] = why

    def may_be(self, other: Memory) -> bool:
        """Whether the two are one memory, or may be."""
        return self is other or other in self.shares

    def share_with(self, trace: Trace, other: Memory) -> None:
        """This one may be ``other``, and so whatever ``other`` may be."""
        for each in (other, *other.shares):
            if trace.is_visible(each.region):
                self.share(trace, each)

    def share(self, trace: Trace, other: Memory) -> None:
        """The two may be one memory."""
        if self.may_be(other):
            return
        self.shares[other] = None
        other.shares[self] = None
        trace.journal.append(lambda: (self.shares.pop(other, None), other.shares.pop(self, None)))


def share_results(trace: Trace, pairs: Sequence[tuple[Memory, Memory]]) -> None:
    """Of each pair of memories, the second may be the first, which a region left behind."""
    for k, (source, result) in enumerate(pairs):
        result.share_with(trace, source)
        for other_source, other in pairs[:k]:
            if source.may_be(other_source):
                result.share(trace, other)


# --- stages -----------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class At:
    """Positions known at run time: a scalar (``axis`` None), or a vector along ``axis``."""

    axis: int | None
    positions: Value


@dataclass(frozen=True, eq=False)
class Fancy:
    """Positions from an integer array, whose axes are ``first``, ``first + 1``, … of the part."""

    first: int
    positions: Value


Place: TypeAlias = "Entry | At | Fancy"
"""For one dimension of an array, where a part of it lies."""


@dataclass(frozen=True, eq=False)
class Select:
    """A part of an array: a place per dimension, and the shape of the part."""

    places: tuple[Place, ...]
    shape: Shape

    def strides(self, apart: Sequence[int]) -> tuple[int, ...] | None:
        """How far apart the part's neighbours lie, if those of the array lie ``apart``."""
        found = [0] * len(self.shape)  # along an axis that repeats, nowhere
        for place, step in zip(self.places, apart, strict=True):
            if isinstance(place, Fancy):
                return None
            axis, times = (place.axis, 1) if isinstance(place, At) else (place[0], place[2])
            if axis is not None:
                found[axis] += step * times
        return tuple(found)

    def read(self, x: Value) -> Value:
        """The part of ``x``."""
        kinds = (At, Fancy) if current_trace().opened else At
        if any(isinstance(place, kinds) for place in self.places):
            return self._at(x)
        static: list[Entry] = []
        moving: list[tuple[int, At | Fancy]] = []
        sizes: list[Dim] = []  # of the view that leaves the dimensions of ``moving`` whole
        axes: dict[int, int] = {}  # axis of the part -> axis of that view
        named = {p[0] for p in self.places if isinstance(p, tuple)}
        named |= {p.axis for p in self.places if isinstance(p, At)}
        for place in self.places:
            if isinstance(place, Fancy):
                named |= set(range(place.first, place.first + place.positions.rank))
        for axis in sorted({*range(len(self.shape))} - {*_moved_axes(self.places)}):
            axes[axis] = len(sizes)
            sizes.append(self.shape[axis])
        for d, place in enumerate(self.places):
            if isinstance(place, tuple):
                axis, offset, step = place
                static.append((None if axis is None else axes[axis], offset, step))
            else:
                moving.append((len(sizes), place))
                static.append((len(sizes), 0, 1))
                sizes.append(x.shape[d])
        viewed = access.view_of(x, sizes, static)
        if not moving:
            return viewed
        return self._picked(viewed, moving, axes)

    def _at(self, x: Value) -> Value:
        """Read at index values of the array itself.

        A view of ``x`` in between would have a cotangent of its own, as large as ``x``, in every
        trip of a loop.
        """
        found = index_values(x, self)
        assert found is not None
        indices, absent = found
        if indices[0].rank:
            settled = self._settled(x)
            if settled is not None:
                return access.view_of(x, self.shape, settled)
        picked: Value = index(x, *indices)
        if not absent:
            return picked
        kept = [axis for axis in range(len(self.shape)) if axis not in absent]
        return access.view_of(picked, self.shape, [(axis, 0, 1) for axis in kept])

    def _settled(self, x: Value) -> list[Entry] | None:
        """The places as those of a view, if it is known that all of them lie in ``x``."""
        spans = current_trace().spans
        found: list[Entry] = []
        for place, size in zip(self.places, x.shape, strict=True):
            if isinstance(place, tuple):
                found.append(place)
                continue
            at = spans.inside(place.positions, size) if isinstance(place, At) else None
            if at is None:
                return None
            found.append((None, at, 1))
        return found

    def _picked(
        self, x: Value, moving: Sequence[tuple[int, At | Fancy]], axes: dict[int, int]
    ) -> Value:
        """Read the dimensions of ``moving`` at their positions; put the axes in order."""
        moved = _moved_axes(self.places)
        common = tuple(self.shape[axis] for axis in moved)
        order = [axis for axis, _ in moving] + list(range(len(axes)))
        front = access.transpose(x, order)
        indices = [_spread(place, moved, common) for _, place in moving]
        picked: Value = index(front, *indices)
        now = [*moved, *axes]  # the axis of the part that each axis of ``picked`` is
        if now == sorted(now):
            return picked
        return access.transpose(picked, [now.index(axis) for axis in range(len(now))])

    def resolved(self, sizes: Sizes) -> Select:
        """With the sizes that were found equal since it was made."""
        if not sizes.replaced:
            return self
        places = tuple(
            (place[0], sizes.resolve(place[1]), place[2]) if isinstance(place, tuple) else place
            for place in self.places
        )
        return Select(places, sizes.shape(self.shape))

    def equals(self, other: Select) -> bool:
        """Whether the other one is the same part."""
        if self.shape != other.shape or len(self.places) != len(other.places):
            return False
        for one, place in zip(self.places, other.places, strict=True):
            if isinstance(one, At) and isinstance(place, At):
                if one.axis != place.axis or not same_value(one.positions, place.positions):
                    return False
            elif not isinstance(one, tuple) or one != place:
                return False
        return True

    def is_whole(self, shape: Shape) -> bool:
        """Whether the part is the whole array, as it is."""
        return self.shape == shape and all(
            is_full(place, d, size)
            for d, (place, size) in enumerate(zip(self.places, shape, strict=True))
        )

    @property
    def moves(self) -> bool:
        """Whether positions are known only at run time."""
        return any(not isinstance(place, tuple) for place in self.places)

    @property
    def repeats(self) -> bool:
        """Whether one element stands at several places of the part (a broadcast)."""
        named = {p[0] for p in self.places if isinstance(p, tuple)} | set(_moved_axes(self.places))
        return any(axis not in named and size != 1 for axis, size in enumerate(self.shape))


@dataclass(frozen=True, eq=False)
class Reshape:
    """The same elements in C order under another shape."""

    shape: Shape

    def read(self, x: Value) -> Value:
        return access.reshaped(x, self.shape)

    def resolved(self, sizes: Sizes) -> Reshape:
        return Reshape(sizes.shape(self.shape))


Stage: TypeAlias = "Select | Reshape"


def is_full(place: Place, axis: int, size: Dim) -> bool:
    """Whether a place is the whole dimension, along ``axis``."""
    if not isinstance(place, tuple):
        return False
    return place == (axis, 0, 1) or (size == 1 and place[1] == 0 and place[0] in (None, axis))


def _moved_axes(places: Sequence[Place]) -> list[int]:
    """The axes of a part along which positions are known only at run time."""
    found: set[int] = set()
    for place in places:
        if isinstance(place, At) and place.axis is not None:
            found.add(place.axis)
        elif isinstance(place, Fancy):
            found.update(range(place.first, place.first + place.positions.rank))
    return sorted(found)


def _spread(place: At | Fancy, moved: Sequence[int], common: Shape) -> Value:
    """Positions as an array of shape ``common``, whose axes are the ``moved`` ones."""
    if isinstance(place, At):
        own = [] if place.axis is None else [place.axis]
    else:
        own = list(range(place.first, place.first + place.positions.rank))
    entries = [
        (None if size == 1 != common[moved.index(axis)] else moved.index(axis), 0, 1)
        for axis, size in zip(own, place.positions.shape, strict=True)
    ]
    return access.view_of(place.positions, common, entries)


def composed(outer: Select, places: Sequence[Place], shape: Shape, whole: Shape) -> Select:
    """The part at ``places`` of the part ``outer``, of an array of shape ``whole``."""
    found: list[Place] = []
    for d, place in enumerate(outer.places):
        if isinstance(place, Fancy):
            raise AssertionError("positions from an array make no view")
        axis = place[0] if isinstance(place, tuple) else place.axis
        if axis is None:
            found.append(place)
            continue
        found.append(_composed(place, places[axis], outer.shape[axis], whole[d], shape))
    return Select(tuple(found), shape)


def _composed(outer: Entry | At, inner: Place, length: Dim, size: Dim, part: Shape) -> Place:
    if isinstance(outer, tuple):
        _, offset, step = outer
        if isinstance(inner, tuple):
            axis, offset2, step2 = inner
            at = offset + step * offset2
            return (None, at, 1) if axis is None else (axis, at, step * step2)
        if offset == 0 and step == 1 and length == size:
            return inner
        if isinstance(inner, At):
            # A position of its own lies within the part; a window was found to lie within it.
            within = inner.positions
            if inner.axis is None:
                within = from_front(within, length)
            return At(inner.axis, _stepped(within, offset, step))
        along = ranged(length, offset, step)
    else:
        along = outer.positions
    if isinstance(inner, tuple):
        axis, offset2, step2 = inner
        if axis is None:
            return At(None, access.view_of(along, (), [(None, offset2, 1)]))
        return At(axis, access.view_of(along, (part[axis],), [(0, offset2, step2)]))
    positions = index(along, inner.positions)
    if isinstance(inner, Fancy):
        return Fancy(inner.first, positions)
    return At(inner.axis, positions)


def ranged(length: Dim, offset: Dim, step: int) -> Value:
    """The vector ``offset + step * [0, 1, …]``."""
    return _stepped(iota(size=length, dtype=i64), offset, step)


def _stepped(along: Value, offset: Dim, step: int) -> Value:
    if step != 1:
        along = REGISTRY["multiply"](along, constant(step, i64))
    if offset != 0:
        along = REGISTRY["add"](along, dim_value(offset))
    return along


# --- writing ----------------------------------------------------------------------------------


def put(x: Value, part: Select, v: Value) -> Value:
    """``x`` with ``v``, of the shape of the part, written there."""
    found = index_values(x, part)
    if found is None:
        return v
    indices, single = found
    increment = _increment(x, part, v)
    if increment is not None:
        increment = access.squeeze(increment, single) if single else increment
        result: Value = accumulate(x, increment, *indices)
        return result
    written: Value = update(x, access.squeeze(v, single) if single else v, *indices)
    return written


def index_values(x: Value, part: Select) -> tuple[list[Value], tuple[int, ...]] | None:
    """The indices that `update` takes for a part, and axes to be squeezed out of what is written.

    None if the part is the whole array.
    """
    if part.is_whole(x.shape):
        return None
    named = {axis for place in part.places for axis in _axes(place)}
    single = tuple(axis for axis in range(len(part.shape)) if axis not in named)
    if single:  # new axes, of size 1
        kept = [axis for axis in range(len(part.shape)) if axis not in single]
        number = {axis: k for k, axis in enumerate(kept)}
        part = Select(
            tuple(_renumbered(place, number) for place in part.places),
            tuple(part.shape[axis] for axis in kept),
        )
    lead = x.rank
    shift = len(part.shape) - x.rank  # trailing dimensions written whole are trailing axes
    while lead > 1:
        axis = lead - 1 + shift
        whole = axis >= 0 and part.places[lead - 1] == (axis, 0, 1)
        if not whole or part.shape[axis] != x.shape[lead - 1]:
            break
        lead -= 1
    before = part.shape[: len(part.shape) - (x.rank - lead)]
    leading = zip(part.places[:lead], x.shape, strict=False)
    return [_positions(place, before, size) for place, size in leading], single


def _axes(place: Place) -> list[int]:
    if isinstance(place, tuple):
        return [] if place[0] is None else [place[0]]
    if isinstance(place, At):
        return [] if place.axis is None else [place.axis]
    return list(range(place.first, place.first + place.positions.rank))


def _renumbered(place: Place, number: dict[int, int]) -> Place:
    if isinstance(place, tuple):
        axis, offset, step = place
        return (None if axis is None else number[axis], offset, step)
    if isinstance(place, At):
        return At(None if place.axis is None else number[place.axis], place.positions)
    return Fancy(number[place.first] if place.positions.rank else 0, place.positions)


def _positions(place: Place, shape: Shape, size: Dim) -> Value:
    """The index values of one dimension of ``size``, in the ``shape`` of what is written."""
    if isinstance(place, tuple):
        axis, offset, step = place
        if axis is None:
            return access.view_of(dim_value(offset), shape, ())
        along = positions(size, shape[axis], offset, step)
        return access.view_of(along, shape, [(axis, 0, 1)])
    own = _axes(place)
    entries = [
        (None if size == 1 != shape[axis] else axis, 0, 1)
        for axis, size in zip(own, place.positions.shape, strict=True)
    ]
    return access.view_of(place.positions, shape, entries)


def _increment(x: Value, part: Select, v: Value) -> Value | None:
    """What ``v`` adds to the part of ``x`` that it is written to, if it is such a sum.

    ``x[i] = x[i] + w`` is ``accumulate``: its derivative leaves the cotangent as it is.
    """
    op = v.op
    if op is None or op.name not in ("add", "subtract") or v.dtype.is_bool:
        return None
    if any(isinstance(place, Fancy) for place in part.places):
        return None  # of repeated positions the last one counts
    one, other = op.operands
    if one.type == v.type and _is_part(one, x, part):
        if other.type != v.type:
            other = access.broadcast_to(other, v.shape)
        return other if op.name == "add" else REGISTRY["negative"](other)
    if op.name == "add" and other.type == v.type and _is_part(other, x, part):
        return access.broadcast_to(one, v.shape) if one.type != v.type else one
    return None


def _is_part(value: Value, x: Value, part: Select) -> bool:
    if value.op is None or value.op.name not in ("index", "view"):
        return False
    return same_value(value, part.read(x))


def same_value(one: Value, other: Value, depth: int = 12) -> bool:
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
        and all(same_value(x, y, depth - 1) for x, y in zip(a.operands, b.operands, strict=True))
    )
