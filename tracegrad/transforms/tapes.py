"""Tapes: what a loop stores in its trips for its way back.

A tape is an ordinary array at the level of the function, carried through all loops around the place
that writes it. So a derivative of the derivative needs nothing new.

- Where all loops around are ``for`` loops whose bounds are sizes, a tape has exactly one
  element per trip: an axis for each loop. All are written before one is read, so it starts `blank`.
- Elsewhere its length is found at run time (see `tracegrad.ops.tapes`). For a ``for`` in no other
  region it is exact. Else the tape grows: before a ``for`` by the trips that it is about to make,
  in a ``while`` geometrically. All trips of an inner loop follow each other on
  the tape. Where those of the present run begin, its *base*, is a threaded variable: the primal
  adds the trips of each run, the way back subtracts them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from tracegrad import ops
from tracegrad.ir.core import Location, Operation, Region, Value
from tracegrad.ir.rewrite import first_carried
from tracegrad.ir.threads import Variable
from tracegrad.ir.types import Dim, i64
from tracegrad.ops.registry import constant
from tracegrad.transforms.trips import dimension, trip_count, trip_dimension, trip_number

if TYPE_CHECKING:
    from tracegrad.transforms.sweep import Sweep


class Tapes:
    """The tapes of one loop.

    Parameters
    ----------
    loop : of the primal.
    back : its way back, the last operation that was appended.
    """

    def __init__(self, sweep: Sweep, loop: Operation, back: Operation) -> None:
        self.sweep = sweep
        self.primal = sweep.primal
        self.loop = loop
        self.back = back
        self.body = loop.regions[-1]
        self.path = self.primal.path(self.body)
        self.extent = self._extent()
        self._place: Growing | None = None

    def _extent(self) -> list[Dim] | None:
        """The trips of each loop around the body, if they are sizes known from the start."""
        found: list[Dim] = []
        for op, _ in self.path:
            dim = None
            if op.name == "for":
                dim = trip_dimension(op, self.sweep.known, self.sweep.guards)
            if dim is None:
                return None
            found.append(dim)
        return found

    def push(self, values: Sequence[Value]) -> list[tuple[Value, int | None]]:
        """Store ``values``, of the body, in each trip.

        Returns
        -------
        For each of them the tape after all trips, and its place in a row of the tape, if the tape
        holds several.
        """
        if self.extent is not None:
            return [(self._push_exact(value, self.extent), None) for value in values]
        if self._place is None:
            self._place = Growing(self)
        found: dict[Value, tuple[Value, int | None]] = {}
        for group in self._grouped(values):
            tape = self._place.push(group)
            places = range(len(group)) if len(group) > 1 else (None,)
            found.update((v, (tape, place)) for v, place in zip(group, places, strict=True))
        return [found[value] for value in values]

    def _grouped(self, values: Sequence[Value]) -> list[list[Value]]:
        """What is stored on one tape: in a ``while`` all numbers of a dtype, as they are computed.

        Each tape that grows is asked for its length in each trip, and handed on.
        """
        groups: dict[object, list[Value]] = {}
        for value in sorted(values, key=lambda v: _position(self.body, v)):
            shared = self.loop.name == "while" and not value.rank
            groups.setdefault(value.dtype if shared else value, []).append(value)
        return list(groups.values())

    def pop(self, tape: Value, place: int | None, hint: str = "") -> Value:
        """Append, to the head of the way back, what the present trip stored, called ``hint``."""
        result: Value
        if self.extent is not None:
            result = ops.index(tape, *[self._trip_back(op) for op, _ in self.path])
        else:
            assert self._place is not None
            row = [] if place is None else [constant(place, i64)]
            result = ops.index(tape, self._place.position_back(), *row)
        result.hint = hint
        return result

    def _push_exact(self, value: Value, extent: list[Dim]) -> Value:
        outermost = self.path[0][0]
        shape = (*extent, *value.shape)
        name = self.name(value)
        own = str(self.sweep.fresh_symbol(name))

        def allocated() -> Value:
            with self.sweep.build.at(self.made_at(value), "forward"):
                new: Value = ops.blank(
                    shape=shape, dtype=value.dtype, name=own, residual=value.hint
                )
            return new

        empty = self.primal.before(outermost, allocated)
        empty.hint = name

        def store(tape: Value) -> Value:
            return self.primal.after(value, self.body, lambda: written(tape))

        def written(tape: Value) -> Value:
            trips = [
                trip_number(region.params[0], op.operands[0], op.operands[2])
                for op, region in self.path
            ]
            new: Value = ops.update(tape, value, *trips)
            new.hint = tape.hint
            return new

        return self.primal.through(self.body, empty, store)

    def _trip_back(self, op: Operation) -> Value:
        # The bounds are sizes, so they need not be looked up in the primal.
        lo, step = (_again(v) for v in (op.operands[0], op.operands[2]))
        return trip_number(self.sweep.indices[op], lo, step)

    def name(self, value: Value) -> str:
        return f"tape_{value.hint}" if value.hint else "tape"

    def made_at(self, value: Value) -> Location | None:
        """Where the user computes ``value``: for one that a loop carries, its next value."""
        first = first_carried(self.loop)
        params = self.body.params[first:]
        if value in params:
            value = self.body.yields[params.index(value)]
        made = _made(value)
        return self.loop.location if made is None else made.location


def _position(region: Region, value: Value) -> int:
    """Where in ``region`` a value of it is computed; -1 for a parameter."""
    return -1 if value.op is None else region.ops.index(value.op)


def _later(region: Region, one: Value, other: Value) -> Value:
    return one if _position(region, one) > _position(region, other) else other


def _made(value: Value) -> Operation | None:
    """The operation that computes ``value``, in whatever region."""
    op = value.op
    if op is None or not op.regions:
        return None if op is None or op.name in ("const", "dim") else op
    k = op.results.index(value)
    inner = [_made(region.yields[k]) for region in op.regions if len(region.yields) > k]
    return next((made for made in reversed(inner) if made is not None), op)


def _again(value: Value) -> Value:
    dim = dimension(value)
    assert dim is not None
    return ops.constants.dim_value(dim)


class Growing:
    """Where a loop stores in tapes that grow."""

    def __init__(self, tapes: Tapes) -> None:
        self.tapes = tapes
        self.sweep, self.primal, self.loop = tapes.sweep, tapes.primal, tapes.loop
        self.around = self.primal.home(self.loop)
        self.nested = len(tapes.path) > 1
        if self.loop.name == "for":
            self.trips = self.primal.before(self.loop, lambda: trip_count(self.loop))
        else:
            self.trips = self.primal.count_trips(self.loop)
        self.base: Value | None = None
        self.base_back: Value | None = None
        if self.nested:
            self._thread_base()

    def _thread_base(self) -> None:
        build, primal = self.sweep.build, self.primal
        outermost = self.tapes.path[0][0]
        zero = primal.before(outermost, lambda: constant(0, i64))

        def passed(base: Value) -> Value:
            self.base = base
            return primal.just_after(self.loop, lambda: base + self.trips)

        total = primal.through(self.around, zero, passed)
        home = self.sweep.base(self.tapes.body)
        variable = Variable(zero.type, home=home, hint="base")
        with build.inside(home):
            build.set(variable, total)
        after = build.get(variable)
        assert after is not None
        with build.spliced(build.region, build.region.ops.index(self.tapes.back)):
            self.base_back = after - self.trips
        build.set(variable, self.base_back)

    def push(self, values: Sequence[Value]) -> Value:
        """Store ``values`` in each trip, in a row of one tape; the tape after all of them."""
        primal, loop, body = self.primal, self.loop, self.tapes.body
        # A fused loop needs the tape in one trip only, and hands its memory to the next.
        fused = primal.fused_around(self.around)
        outermost = fused[0] if fused else self.tapes.path[0][0]
        value, several = values[0], len(values) > 1
        name = "tape" if several else self.tapes.name(value)
        size = self.sweep.fresh_symbol(f"{name}_length")
        exact = loop.name == "for" and not self.nested and not fused

        def allocated() -> Value:
            length = self.trips if exact else constant(0, i64)
            with self.sweep.build.at(self.tapes.made_at(value), "forward"):
                new: Value = ops.tape(
                    length,
                    size=size,
                    shape=(len(values),) if several else value.shape,
                    dtype=value.dtype,
                    residual="" if several else value.hint,
                )
            return new

        empty = primal.before(outermost, allocated)
        empty.hint = name

        def store(before: Value) -> Value:
            if loop.name == "for" and not exact:
                before = primal.before(loop, lambda: self._ensured(before, self._end()))
            tape = primal.carry(loop, before)
            for k, each in enumerate(values):
                written = partial(self._written, tape, each, k if several else None)
                tape = primal.after(_later(body, tape, each), body, written)
            body.yields = (*body.yields, tape)
            return primal.result(loop, empty.type, name)

        for op in fused:
            empty = primal.carry(op, empty)
        tape = after = primal.through(self.around, empty, store)
        for op in reversed(fused):
            (within,) = op.regions
            within.yields = (*within.yields, after)
            after = primal.result(op, empty.type, name)
        return tape

    def _end(self) -> Value:
        return self.trips if self.base is None else self.base + self.trips

    def _ensured(self, tape: Value, length: Value) -> Value:
        result: Value = ops.ensure(tape, length)
        result.hint = tape.hint
        return result

    def _written(self, tape: Value, value: Value, row: int | None) -> Value:
        loop, body = self.loop, self.tapes.body
        if loop.name == "for":
            trip = trip_number(body.params[0], loop.operands[0], loop.operands[2])
        else:
            k = loop.results.index(self.trips)
            trip = body.params[first_carried(loop) + k]
        position = trip if self.base is None else self.base + trip
        if loop.name == "while" and not row:
            tape = self._ensured(tape, position + 1)
        places = [position] if row is None else [position, constant(row, i64)]
        result: Value = ops.update(tape, value, *places)
        result.hint = tape.hint
        return result

    def position_back(self) -> Value:
        """Append the position on the tape, on the way back."""
        trip = self.sweep.indices[self.loop]
        if self.loop.name == "for":
            trip = trip_number(trip, self.loop.operands[0], self.loop.operands[2])
        return trip if self.base_back is None else self.base_back + trip
