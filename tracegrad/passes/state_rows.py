"""A carried array whose every state is kept stands in the rows of what keeps it.

The way back of a time loop reads the states, which the loop stores one by one: a copy of the whole
state in each trip, beside the buffers that the state itself stands in. By hand one writes each new
state to the next row and reads the last one from there, so that nothing is copied and nothing else
is carried::

    for t: tape[t] = u; u = f(u)      →      tape[0] = u
                                             for t: tape[t + 1] = f(tape[t])
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tracegrad import ops
from tracegrad.ir.blocks import nearly_all
from tracegrad.ir.bounds import Bounds
from tracegrad.ir.builder import Builder
from tracegrad.ir.core import Function, Operation, Region, Value
from tracegrad.ir.rewrite import Rewriter
from tracegrad.ir.types import Dim
from tracegrad.ops.access import broadcast_to, view_of
from tracegrad.ops.constants import dim_value
from tracegrad.ops.registry import REGISTRY
from tracegrad.passes.dce import dce
from tracegrad.passes.trips import Trips
from tracegrad.passes.values import number

WRITES = ("update", "accumulate")


def state_rows(function: Function) -> Function:
    """Keep carried arrays in the rows of the array that stores them trip by trip.

    Before::

        func @f(%x: f64[n], %w: f64[m]) -> (f64[n], f64) {
          %a: i64 = 0
          %b: i64 = dim() {size=m}
          %s: i64 = 1
          %e: f64[m, n] = blank() {shape=(m, n), dtype=f64, name="tape"}
          %r: f64[n], %k: f64[m, n] = for(%a, %b, %s, %x, %e) (%t: i64, %u: f64[n], %c: f64[m, n]) {
            %d: f64[m, n] = update(%c, %u, %t)
            %v: f64[n] = tanh(%u)
            yield %v, %d
          }
          %some: f64 = view(%k) {shape=(), map=[0, 0]}
          return %r, %some
        }

    After::

        func @f(%x: f64[n], %w: f64[m]) -> (f64[n], f64) {
          %a: i64 = 0
          %b: i64 = dim() {size=m}
          %s: i64 = 1
          %tape: f64[m + 1, n] = blank() {shape=(m + 1, n), dtype=f64, name="tape"}
          %zero: i64 = 0
          %first: f64[m + 1, n] = update(%tape, %x, %zero)
          %k: f64[m + 1, n] = for(%a, %b, %s, %first) (%t: i64, %c: f64[m + 1, n]) {
            %u: f64[n] = index(%c, %t)
            %one: i64 = 1
            %next: i64 = add(%t, %one)
            %v: f64[n] = tanh(%u)
            %d: f64[m + 1, n] = update(%c, %v, %next)
            yield %d
          }
          %r: f64[n] = view(%k) {shape=(n,), map=[m, #0]}
          %some: f64 = view(%k) {shape=(), map=[0, 0]}
          return %r, %some
        }

    That is done where a trip computes its new state as a whole, or writes to nearly all of it: a
    trip that changes a few elements would have to copy the rest. The loop is a ``for`` by steps of
    1 whose bounds are sizes, in no other region; no region within it reads the old state, and
    nobody reads all of the rows at once, for which they would have to be copied.
    """
    found = _Finder(function).found
    if not found:
        return function
    return dce(_StateRows(function, found).rewrite(function))


@dataclass(frozen=True, eq=False)
class _State:
    """A carried array and what keeps it.

    Attributes
    ----------
    position, tape : of the carried values that are the state and the array with its rows.
    trips : of the loop.
    store : the operation that keeps the old state.
    made : the new state, as the first operation makes it as a whole.
    after : the operation after which it is put in its row.
    writes : what writes to it then, each to the version that the last one made.
    """

    position: int
    tape: int
    trips: Trips
    store: Operation
    made: Value
    after: Operation
    writes: tuple[Operation, ...]


class _Finder:
    """Looks for states with rows among the loops of a function that stand in no other region."""

    def __init__(self, function: Function) -> None:
        self.function = function
        self.bounds = Bounds(function)
        self.users = function.body.users()
        self.found: dict[Operation, list[_State]] = {}
        known = set(function.size_sources())
        for op in function.body.ops:
            trips = Trips.of(op, known, function.guards) if op.name == "for" else None
            if trips is None or number(op.operands[2]) != 1:
                continue
            states = self._states(op, trips)
            if states:
                self.found[op] = states

    def _states(self, op: Operation, trips: Trips) -> list[_State]:
        found: list[_State] = []
        for tape in range(len(op.results)):
            state = self._state(op, trips, tape)
            if state is not None and state.position not in {s.position for s in found}:
                found.append(state)
        return found

    def _state(self, op: Operation, trips: Trips, tape: int) -> _State | None:
        """What ``op`` keeps in the rows of its carried value ``tape``, if all is as it must be."""
        (body,) = op.regions
        empty, rows = op.operands[3 + tape], body.params[1 + tape]
        if empty.op is None or empty.op.name != "blank" or self.users[empty] != [op]:
            return None
        store = body.yields[tape].op
        if self.users[rows] != [store] or store is None or store not in body.ops:
            return None
        if store.name != "update" or len(store.operands) != 3 or store.operands[0] is not rows:
            return None
        _, old, place = store.operands
        if old not in body.params[1:] or not old.rank or self.users[store.result] != [body]:
            return None
        if place.rank or not trips.is_number(place) or rows.shape[0] != trips.count:
            return None
        position = body.params.index(old) - 1
        if not self._stands_in_rows(op.results[tape]):
            return None
        made, writes = self._made(op, body, position)
        if made is None or any(not self._reads(user, body) for user in self.users[old]):
            return None
        after = self._after(made, body) if not writes else made.op
        assert after is not None
        return _State(position, tape, trips, store, made, after, writes)

    def _reads(self, user: Operation | Region, body: Region) -> bool:
        """Whether a reader of the old state reads it as a row, of which there is no copy."""
        return isinstance(user, Operation) and user in body.ops and not user.regions

    def _made(
        self, op: Operation, body: Region, position: int
    ) -> tuple[Value | None, tuple[Operation, ...]]:
        """The first version of the new state that is computed as a whole, and the writes to it."""
        old, new = body.params[1 + position], body.yields[position]
        if list(body.yields).count(new) != 1:
            return None, ()
        writes: list[Operation] = []
        version = new
        while version.op is not None and version.op.name in WRITES and version.op in body.ops:
            writes.insert(0, version.op)
            version = version.op.operands[0]
        if version is not old:
            made = version.op
            if made is None or made.regions or made not in body.ops:
                return None, ()
            return version, tuple(writes)
        if not writes or not self._is_window(op, body, writes[0]):
            return None, ()
        return writes[0].result, tuple(writes[1:])

    def _after(self, made: Value, body: Region) -> Operation:
        """The last operation that computes with ``made`` in the order of its elements.

        It may share the loop that makes it. Who reads at other places reads from the row, as does
        all that follows what needs it at once.
        """
        last = made.op
        assert last is not None
        depends = {made}
        for op in body.ops:
            if depends.isdisjoint(op.operands) or op.name in ("view", "index"):
                continue
            if op.regions or op.opdef.effects or op.name in WRITES:
                break
            last = op
            depends.update(r for r in op.results if r.rank)
        return last

    def _is_window(self, op: Operation, body: Region, write: Operation) -> bool:
        """Whether ``write`` goes to nearly all of its array."""
        base, v, *indices = write.operands
        if any(not i.rank for i in indices):
            return False
        with self.bounds.within(op, body):
            window = self.bounds.window(base.shape, indices)
        return window is not None and nearly_all(base.shape, v.shape, window)

    def _stands_in_rows(self, kept: Value) -> bool:
        """Whether only rows of ``kept`` are read that a longer array has at the same places."""
        return self._all_read(self.function.body, kept) == len(self.users[kept])

    def _all_read(self, region: Region, kept: Value) -> int:
        """How many operations read rows of ``kept`` that are known to be within."""
        count = 0
        for op in region.ops:
            if op.name == "index" and op.operands[0] is kept and kept not in op.operands[1:]:
                row = op.operands[1]
                count += not row.rank and self.bounds.place(row, kept.shape[0]) == 0
            elif op.name == "view" and kept in op.operands:
                count += op.attributes["map"][0][0] is None
            for inner in op.regions:
                with self.bounds.within(op, inner):
                    count += self._all_read(inner, kept)
        return count


class _StateRows(Rewriter):
    """Copies a function; states stand in rows.

    Attributes
    ----------
    standing : state, of the function that is built → the array and the row where it stands.
    """

    def __init__(self, function: Function, found: dict[Operation, list[_State]]) -> None:
        super().__init__()
        self.found = found
        self.longer = {op.operands[3 + s.tape] for op, states in found.items() for s in states}
        self.standing: dict[Value, tuple[Value, Value]] = {}

    def visit(self, op: Operation) -> Sequence[Value]:
        if op.name == "blank" and op.result in self.longer:
            lead, *rest = op.attributes["shape"]
            return [ops.blank(**{**op.attributes, "shape": (lead + 1, *rest)})]
        if op.name == "index":
            base, *at = self.mapped(op.operands)
            if base in self.standing and not any(i.rank for i in at):
                rows, place = self.standing[base]
                return [ops.index(rows, place, *at)]
        return super().visit(op)

    def visit_control(self, op: Operation) -> Sequence[Value]:
        states = self.found.get(op)
        return super().visit_control(op) if states is None else self._loop(op, states)

    def _loop(self, op: Operation, states: Sequence[_State]) -> list[Value]:
        gone = {s.position for s in states}
        left = [k for k in range(len(op.results)) if k not in gone]
        inits = self.mapped(op.operands[3:])
        for s in states:
            inits[s.tape] = self._put(inits[s.tape], inits[s.position], dim_value(0))
        carried = [inits[k] for k in left]
        bounds = self.mapped(op.operands[:3])
        region = self._region(op, states, left, [v.type for v in carried])
        self._location, self._part = op.location, op.part
        new = Builder.emit(
            self, op.opdef, [*bounds, *carried], op.attributes, [region], [v.type for v in carried]
        )
        results = dict(zip(left, new.results, strict=True))
        for s in states:
            results[s.position] = self._row(results[s.tape], s.trips.count)
        return [results[k] for k in range(len(op.results))]

    def _region(
        self, op: Operation, states: Sequence[_State], left: Sequence[int], types: Sequence[Any]
    ) -> Region:
        """The body, which reads each state from its row and writes it to the next one."""
        (body,) = op.regions
        rows: dict[_State, Value] = {}
        places: dict[_State, Value] = {}
        with self.open() as region:
            index = self.param(body.params[0].type, body.params[0].hint)
            self.env[body.params[0]] = index
            for k, type in zip(left, types, strict=True):
                self.env[body.params[1 + k]] = self.param(type, body.params[1 + k].hint)
            for s in states:
                with self.at(s.store.location, s.store.part):
                    rows[s] = self.env[body.params[1 + s.tape]]
                    old = body.params[1 + s.position]
                    place = s.trips.number(index)
                    self._stand(old, rows[s], place)
                    places[s] = place + 1
            stores = {s.store for s in states}
            makes: dict[Operation, list[_State]] = {}
            for s in states:
                makes.setdefault(s.after, []).append(s)
            writes = {write: s for s in states for write in s.writes}
            for inner in body.ops:
                if inner in stores:
                    continue
                if inner in writes:
                    s = writes[inner]
                    self._location, self._part = inner.location, inner.part
                    rows[s] = self._put(rows[s], inner.operands[1], places[s], inner)
                    self._stand(inner.result, rows[s], places[s])
                    continue
                self.walk([inner])
                for s in makes.get(inner, ()):
                    rows[s] = self._put(rows[s], self.env[s.made], places[s])
                    self._stand(s.made, rows[s], places[s])
            for s in states:
                self.env[body.yields[s.tape]] = rows[s]
            region.yields = tuple(self.mapped(body.yields[k] for k in left))
        return region

    def _stand(self, state: Value, rows: Value, place: Value) -> None:
        """Read ``state`` from its row from here on."""
        row: Value = ops.index(rows, place)
        row.hint = state.hint
        self.env[state] = row
        self.standing[row] = rows, place

    def _put(self, rows: Value, v: Value, place: Value, write: Operation | None = None) -> Value:
        """Append the writing of a row, or of that part of it that ``write`` writes to."""
        at: list[Value] = [place]
        name = "update"
        if write is not None:
            v, *at = self.mapped(write.operands[1:])
            at.insert(0, broadcast_to(place, at[0].shape))
            name = write.name
        new: Value = REGISTRY[name](rows, v, *at)
        new.hint = rows.hint
        return new

    def _row(self, rows: Value, place: Dim) -> Value:
        """The row of ``rows`` at a fixed place."""
        shape = rows.shape[1:]
        return view_of(rows, shape, [(None, place, 0), *((d, 0, 1) for d in range(len(shape)))])
