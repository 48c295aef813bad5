"""Which part of a loop's trip its recurrence is, and which parts may be computed apart from it.

The operations of a trip are of one of these kinds:

- *fixed*: the same in every trip;
- the *chain*: what the next trip waits for, and what has to stay in its order: inner loops, checks,
  accesses to places that other trips touch, too;
- *ahead*: what the chain reads and does not change;
- *after*: what nothing in the chain reads.

An array in which each trip has places of its own is no obstacle: accesses of one trip keep their
order. Sums that nobody reads before the end are no part of the chain.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tracegrad.ir.core import Function, Operation, Value
from tracegrad.ir.rewrite import first_carried
from tracegrad.ir.sizes import BINDING
from tracegrad.ir.threads import free_values
from tracegrad.schedule.branch_sums import sums_out_of_branches
from tracegrad.schedule.buffers import ELEMENT
from tracegrad.schedule.delays import Stage, delays, stages
from tracegrad.schedule.nests import additions

HEAVY = 4.0
"""The work, in multiplications, of a division: what has none in it is computed where it is read."""

AHEAD, PER_ROW = 4.0, 2.0
"""The least heavy work that is done ahead of the chain, and more for each value handed on."""

AFTER, PER_STATE = 8.0, 4.0
"""The least work of what is computed after the chain, and more for each state it has to be told."""

SHARE = 0.15
"""The least work apart from the chain, as a part of the chain's."""

SOME_TRIPS = 8
"""Trips of an inner loop of which nothing is known."""

MOST = 1500
"""The most operations of a trip that is looked at."""


class Kept(NamedTuple):
    """Where a state of the chain is stored anyway."""

    value: Value
    buffer: Value
    indices: Sequence[Value]


@dataclass
class Plan:
    """How a loop is split.

    Attributes
    ----------
    step : 1 or -1.
    carried, yields : the numbers that the loop carries, and what a trip makes of them.
    fixed, ahead, chain, after : operations, each in their order. What is cheap is in several.
    kept : states of the chain that the last loop reads where they are stored.
    places : operations that compute their indices.
    ahead_rows : values that the first loop hands on to the others.
    state_rows : values that the chain hands on to the last loop.
    chain_carried, summed : positions of what the chain carries, and of the sums of the last loop.
    delayed : positions of what later trips read in rows.
    stages : the loops that compute ``after``.
    """

    index: Value
    step: int
    carried: Sequence[Value]
    yields: Sequence[Value]
    fixed: list[Operation] = field(default_factory=list)
    ahead: list[Operation] = field(default_factory=list)
    chain: list[Operation] = field(default_factory=list)
    after: list[Operation] = field(default_factory=list)
    ahead_rows: list[Value] = field(default_factory=list)
    state_rows: list[Value] = field(default_factory=list)
    kept: list[Kept] = field(default_factory=list)
    places: list[Operation] = field(default_factory=list)
    chain_carried: list[int] = field(default_factory=list)
    summed: list[int] = field(default_factory=list)
    delayed: list[int] = field(default_factory=list)
    stages: list[Stage] = field(default_factory=list)


class Memories:
    """Which memory a buffer is: that of an argument, or of an allocation.

    A part of a loop in chunks is given arrays that it writes to. They count as its own.
    """

    def __init__(self, function: Function) -> None:
        written: set[Value] = set()
        made: set[Value] = set()
        for op in function.walk():
            if op.name == "alloc":
                made.add(op.result)
            elif op.name != "load":
                written.update(v for v in op.operands if v.rank)
        self.arguments = frozenset(function.params) - written
        self.own = frozenset(made | (written & set(function.params)))

    def root(self, buffer: Value) -> Value | None:
        """The argument or allocation; None where it may be one of several."""
        while buffer.op is not None and buffer.op.name == "alias":
            buffer = buffer.op.operands[0]
        return buffer if buffer in self.arguments or buffer in self.own else None


def plan(loop: Operation, memories: Memories) -> Plan | None:
    """How a ``for`` in loop form is split; None where that may not be, or does not gain."""
    body = loop.regions[0]
    if (
        number(loop.operands[2]) not in (1, -1)
        or loop.attributes.get("kind", "plain") != "plain"
        or sum(work(op) for op in body.ops) < AFTER
        or len(body.ops) > MOST
        or any(op.name in BINDING for op in body.walk())
    ):
        return None
    return _Sorter(sums_out_of_branches(loop), memories).run()


class _Sorter:
    def __init__(self, loop: Operation, memories: Memories) -> None:
        self.memories = memories
        self.loop = loop
        self.body = loop.regions[0]
        self.ops = self.body.ops
        self.index = self.body.params[0]
        carried = self.body.params[first_carried(loop) :]
        step = number(loop.operands[2])
        assert step is not None
        self.plan = Plan(self.index, step, carried, self.body.yields)
        self.reads = {op: read(op) for op in self.ops}
        self.maker = {r: op for op in self.ops for r in op.results}
        #: Arrays in which each trip writes to places of its own, and what accesses them.
        self.written: set[Value] = set()
        self.moves_memory: set[Operation] = set()
        self.heavy: dict[Operation, bool] = {}
        #: Operations that others of the same trip have to follow, as they access one place.
        self.follows: dict[Operation, list[Operation]] = {op: [] for op in self.ops}

    def run(self) -> Plan | None:
        plan = self.plan
        bound = self._accesses()
        bound.update(op for op in self.ops if not self._may_move(op))
        fixed = self._fixed(bound)
        plan.fixed = [op for op in self.ops if op in fixed]
        self.moving = [op for op in self.ops if op not in fixed]
        self.sums = self._sums()
        self.delays = delays(self.loop) - self.sums.keys()
        # First all that may be apart is; then what does not gain by it goes back to the chain.
        self._sort(bound)
        bound |= self._not_worth_it()
        self._sort(bound)
        if not self.in_chain:
            return None
        if not self._hand_on():
            return None
        apart = sum(map(work, (*plan.ahead, *self.after)))
        return plan if apart >= SHARE * sum(map(work, plan.chain)) and apart else None

    # --- what must stay in order

    def _accesses(self) -> set[Operation]:
        """Operations whose accesses must keep their order from trip to trip.

        Those of one trip that must keep theirs go to ``follows``.
        """
        touched: dict[Value | None, list[tuple[Operation, Operation]]] = {}
        arrays: set[Operation] = set()
        inside = {r for op in self.body.walk() for r in op.results if r.rank}
        inside.update(p for p in self.body.params if p.rank)
        for op in self.ops:
            for each in _walk(op):
                place = ELEMENT.get(each.name)
                buffers = [v for v in (*each.operands, *each.results) if v.rank]
                if place is not None:
                    buffer = each.operands[place]
                    touched.setdefault(self.memories.root(buffer), []).append((op, each))
                elif buffers and each.name not in ("alloc", "alias"):
                    arrays.add(op)
                    for buffer in buffers:
                        touched.setdefault(self.memories.root(buffer), []).append((op, each))
                if not inside.isdisjoint(buffers):
                    arrays.add(op)
        changes = {
            root for root, found in touched.items() if any(each.name != "load" for _, each in found)
        }
        if None in touched and changes:
            # It may be any of the function's own arrays.
            changes.update(root for root in touched if root not in self.memories.arguments)
        # A read may be in range only because an error would have come before it.
        errors: list[Operation] = []
        for op in self.ops:
            inside_op = {each.name for each in _walk(op)}
            if "load" in inside_op:
                self.follows[op] += errors
            if not inside_op.isdisjoint(("raise", "check_index")):
                errors.append(op)
        bound = arrays
        for root in changes:
            found = touched[root]
            if root is None or None in touched or not self._apart(found):
                bound.update(op for op, _ in found)
                continue
            self.written.add(root)
            self.moves_memory.update(op for op, _ in found)
            stores: list[Operation] = []
            loads: list[Operation] = []
            for op, each in found:
                if each.name == "load":
                    self.follows[op] += [other for other in stores if other is not op]
                    loads.append(op)
                else:
                    self.follows[op] += [o for o in (*stores, *loads) if o is not op]
                    stores, loads = [op], []
        return bound

    def _apart(self, found: Iterable[tuple[Operation, Operation]]) -> bool:
        """Whether no two trips access one place: some index moves with the loop in all accesses."""
        places = []
        for _, each in found:
            if each.name not in ELEMENT:
                return False
            indices = each.operands[ELEMENT[each.name] + 1 :]
            places.append([self._place(v) for v in indices])
        if len({len(place) for place in places}) > 1:
            return False
        return any(
            one is not None and all(other == one for other in axis)
            for axis in zip(*places, strict=True)
            for one in axis[:1]
        )

    def _place(self, index: Value) -> tuple[int, int] | None:
        """(factor, constant) of an index that is that of the loop, but for a constant."""
        if index is self.index:
            return 1, 0
        op = index.op
        if op is None or op.name not in ("add", "subtract"):
            return None
        one, other = op.operands
        constant = number(other)
        if one is self.index and constant is not None:
            return 1, constant if op.name == "add" else -constant
        if op.name == "add" and other is self.index and number(one) is not None:
            return 1, number(one) or 0
        return None

    def _may_move(self, op: Operation) -> bool:
        """Whether an operation may be computed in another loop than the chain's."""
        if op.name in ELEMENT:
            return True
        return is_plain(op, self.written, self.memories)

    def _fixed(self, bound: set[Operation]) -> set[Operation]:
        varying: set[Value] = set(self.body.params)
        fixed: set[Operation] = set()
        for op in self.ops:
            moves = any(v in varying for v in self.reads[op])
            moves = moves or op in bound or bool(self.follows[op])
            if op.name in ELEMENT:
                root = self.memories.root(op.operands[0]) if op.name == "load" else None
                moves = moves or root is None or root in self.written
            if moves:
                varying.update(op.results)
            else:
                fixed.add(op)
        return fixed

    def _sums(self) -> dict[int, list[Operation]]:
        """Positions of carried values that are sums, with the additions."""
        users = self.body.users()
        found = {}
        for k, param in enumerate(self.plan.carried):
            chain = None
            if not param.rank and not param.dtype.is_bool:
                chain = additions(users, self.body, param, self.plan.yields[k])
            if chain:
                found[k] = [op for op, _ in chain]
        return found

    # --- what goes where

    def _sort(self, bound: set[Operation]) -> None:
        """Find the chain, what is ahead of it, and what is after it."""
        carried, yields = self.plan.carried, self.plan.yields
        outside = {k for k, adds in self.sums.items() if bound.isdisjoint(adds)} | self.delays
        while True:
            numbers = [k for k in range(len(carried)) if k not in outside]
            varies: set[Value] = {carried[k] for k in numbers}
            waits: set[Operation] = set()
            for op in self.moving:
                if (
                    op in bound
                    or any(v in varies for v in self.reads[op])
                    or any(other in waits for other in self.follows[op])
                ):
                    waits.add(op)
                    varies.update(op.results)
            ends = [self.maker[yields[k]] for k in numbers if yields[k] in self.maker]
            needed = self._closed([*bound, *ends])
            inside = {k for k in outside if not needed.isdisjoint(self.sums.get(k, ()))}
            inside |= self._not_delayed(outside & self.delays, numbers, needed)
            # What is written in the loop is read again at its place only.
            fixed = {op for op in needed if op in self.moves_memory} - bound
            if not inside and not fixed:
                break
            outside -= inside
            bound |= fixed
        self.in_chain = {op for op in self.moving if op in bound or (op in waits and op in needed)}
        self.ahead = {op for op in self.moving if op in needed and op not in self.in_chain}
        ends = [op for op in self.moving if op.name in ("store", "add_store") and op not in needed]
        ends += [op for k in outside - self.delays for op in self.sums[k]]
        delayed = [self.maker[yields[k]] for k in outside & self.delays if yields[k] in self.maker]
        rest = self._closed([*ends, *delayed])
        self.after = {op for op in self.moving if op in rest and op not in needed}
        self.ends = ends
        self.plan.summed = sorted(outside - self.delays)
        self.plan.delayed = sorted(outside & self.delays)
        self.plan.chain_carried = numbers

    def _not_delayed(
        self, outside: set[int], numbers: Iterable[int], needed: set[Operation]
    ) -> set[int]:
        """Which delays the chain reads, or are computed from places that the loop writes to."""
        carried, yields = self.plan.carried, self.plan.yields
        read = {v for op in needed for v in self.reads[op]} | {yields[k] for k in numbers}
        found = {k for k in outside if carried[k] in read}
        for k in outside - found:
            maker = self.maker.get(yields[k])
            if maker is not None and not self.moves_memory.isdisjoint(self._closed([maker])):
                found.add(k)
        return found

    def _closed(self, start: Iterable[Operation]) -> set[Operation]:
        """What ``start`` needs, of what moves."""
        moving = set(self.moving)
        found: set[Operation] = set()
        waiting = list(start)
        while waiting:
            op = waiting.pop()
            if op in moving and op not in found:
                found.add(op)
                waiting += [self.maker[v] for v in self.reads[op] if v in self.maker]
                waiting += self.follows[op]
        return found

    def _states(self, ops: Iterable[Operation], ends: Iterable[Value] = ()) -> set[Value]:
        """What ``ops`` read of the chain, and what of ``ends`` is of it."""
        states = {self.plan.carried[k] for k in self.plan.chain_carried}
        states.update(r for op in self.in_chain for r in op.results)
        return states & {*ends, *(v for op in ops for v in self.reads[op])}

    def _not_worth_it(self) -> set[Operation]:
        """What may come after the chain and gains nothing by it."""
        # What computes with the same states is worth them together.
        groups: dict[tuple[bool, frozenset[Value]], set[Operation]] = {}
        for part in self._groups():
            key = any(map(work, part)), frozenset(self._states(part))
            groups.setdefault(key, set()).update(part)
        told: set[Value] = set()
        small = []
        for group in sorted(groups.values(), key=lambda g: -sum(map(work, g))):
            states = self._states(group)
            if sum(map(work, group)) >= AFTER + PER_STATE * len(states - told):
                told |= states
            else:
                small.append(group)
        # What is stored of the chain is stored by it.
        back: set[Operation] = set()
        for group in small:
            stores = any(op.name in ("store", "add_store") for op in group)
            if stores or not self._states(group) <= told or not told:
                back |= group
        return back

    def _groups(self) -> list[set[Operation]]:
        """What comes after the chain, in parts that have nothing in common."""
        home = {op: op for op in self.after}

        def root(op: Operation) -> Operation:
            while home[op] is not op:
                op = home[op]
            return op

        ends = {self.plan.carried[k]: self.plan.yields[k] for k in self.plan.delayed}
        for op in self.after:
            makers = [self.maker.get(ends.get(v, v)) for v in self.reads[op]]
            for other in (*makers, *self.follows[op]):
                if other in home and other is not None:
                    home[root(other)] = root(op)
        groups: dict[Operation, set[Operation]] = {}
        for op in self.ops:
            if op in home:
                groups.setdefault(root(op), set()).add(op)
        return list(groups.values())

    # --- what is handed on

    def _hand_on(self) -> bool:
        """Fill the lists of the plan; whether anything is apart from the chain."""
        plan = self.plan
        chain, after = set(self.in_chain), set(self.after)
        rows: dict[Value, None] = {}
        ends = [plan.yields[k] for k in plan.chain_carried]
        self._take(chain, rows, ends)
        heavy = sum(work(op) for op in self._closed_ahead(rows) if _is_heavy(op))
        if rows and heavy < AHEAD + PER_ROW * len(rows):
            # The chain does it itself, and hands it on where it is read again.
            own = {op for op in self.ahead if self._is_heavy(op)}
            self.in_chain |= own
            self.ahead -= own
            chain, rows = set(self.in_chain), {}
            self._take(chain, rows, ends)
        plan.kept = self._kept()
        places: set[Operation] = set()
        self._take(places, {}, [v for kept in plan.kept for v in kept.indices])
        late = [plan.yields[k] for k in plan.delayed]
        self._take(after, rows, late)
        plan.ahead_rows = list(rows)
        states = self._states(self.after, late) - {kept.value for kept in plan.kept}
        plan.state_rows = [v for v in plan.carried if v in states]
        plan.state_rows += [r for op in self.ops for r in op.results if r in states]
        ahead = self._closed_ahead(rows)
        plan.ahead = [op for op in self.ops if op in ahead]
        plan.chain = [op for op in self.ops if op in chain]
        plan.places = [op for op in self.ops if op in places]
        plan.after = [op for op in self.ops if op in after - places]
        delayed = {k: (plan.carried[k], plan.yields[k]) for k in plan.delayed}
        plan.stages = stages(plan.after, self.ends, self.reads.__getitem__, delayed, _is_heavy)
        return bool(rows or self.after)

    def _closed_ahead(self, values: Iterable[Value]) -> set[Operation]:
        """What is computed ahead of the chain to make ``values``."""
        return self._closed([self.maker[v] for v in values]) & self.ahead

    def _take(
        self, ops: set[Operation], rows: dict[Value, None], ends: Iterable[Value] = ()
    ) -> None:
        """Add what is cheap of what is read from ahead of the chain; the rest to ``rows``.

        ``ops`` and ``ends`` read it.
        """
        waiting = [*ends, *(v for op in ops for v in self.reads[op])]
        while waiting:
            value = waiting.pop()
            maker = self.maker.get(value)
            if maker is None or maker not in self.ahead or maker in ops:
                continue
            if self._is_heavy(maker):
                rows[value] = None
            else:
                ops.add(maker)
                waiting += self.reads[maker]

    def _is_heavy(self, op: Operation) -> bool:
        """Whether there is a division or more in what a value is made of ahead of the chain."""
        if op not in self.heavy:
            self.heavy[op] = any(map(_is_heavy, self._closed([op]) & self.ahead))
        return self.heavy[op]

    def _kept(self) -> list[Kept]:
        """The states that the last loop reads and the chain stores, with the places."""
        late = [self.plan.yields[k] for k in self.plan.delayed]
        states = self._states(self.after, late)
        found: dict[Value, Kept] = {}
        counts: dict[Value | None, int] = {}
        for op in self.body.walk():
            if op.name in ("store", "add_store"):
                root = self.memories.root(op.operands[1])
                counts[root] = counts.get(root, 0) + 1
        for op in self.ops:
            if op.name != "store" or op not in self.in_chain:
                continue
            value, buffer = op.operands[:2]
            root = self.memories.root(buffer)
            if value not in states or root not in self.written or counts[root] > 1:
                continue
            if all(self._is_place(v) for v in op.operands[2:]):
                found.setdefault(value, Kept(value, buffer, op.operands[2:]))
        return list(found.values())

    def _is_place(self, index: Value) -> bool:
        """Whether the last loop knows an index, or finds it cheaply."""
        maker = self.maker.get(index)
        if maker is None:
            return index is self.index or index not in self.body.params
        if maker not in self.moving:
            return True
        return maker in self.ahead and not self._is_heavy(maker)


# --- operations -------------------------------------------------------------------------------


def read(op: Operation) -> list[Value]:
    """What an operation reads, and what the regions in it do."""
    found = list(op.operands)
    for region in op.regions:
        found += free_values(region)
    return found


def is_plain(op: Operation, written: set[Value], memories: Memories) -> bool:
    """Whether an operation computes numbers, in a way that several trips can share.

    Branches may read arrays that the loop does not write to.
    """
    if any(r.rank for r in op.results):
        return False
    if op.name == "if":
        return all(
            is_plain(each, written, memories)
            or (each.name == "load" and memories.root(each.operands[0]) not in {None, *written})
            for region in op.regions
            for each in region.ops
        )
    if op.name in ("const", "dim"):
        return True
    if op.regions or op.opdef.effects or op.opdef.kind != "elementwise":
        return False
    return not op.opdef.heavy or bool(op.opdef.vector_maths)


def work(op: Operation) -> float:
    """The work of an operation in multiplications."""
    if op.regions:
        inside = sum(work(each) for region in op.regions for each in region.ops)
        return inside * (_trips(op) if op.name == "for" else 1)
    return op.opdef.cost if op.opdef.kind == "elementwise" else 0.0


def _is_heavy(op: Operation) -> bool:
    return work(op) >= HEAVY and any(r.dtype.is_float for r in op.results)


def _trips(loop: Operation) -> int:
    lo, hi = (number(v) for v in loop.operands[:2])
    return SOME_TRIPS if lo is None or hi is None else abs(hi - lo)


def number(value: Value) -> int | None:
    op = value.op
    found = op.attributes["value"] if op is not None and op.name == "const" else None
    return found if isinstance(found, int) else None


def _walk(op: Operation) -> Iterator[Operation]:
    yield op
    for region in op.regions:
        yield from region.walk()
