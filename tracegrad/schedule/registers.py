"""Elements of arrays that a loop keeps in registers from trip to trip.

A compiler must read an element again after each store to another array, because the two could be
one. Here it is known that they are not, and which places the trips of a loop write and read:

- ``y[i]`` is written in one trip and read in the next, as ``y[i - 1]``: the value is carried, and
  no trip waits for memory;
- ``total[k]`` is added to in every trip of a loop over ``i``: it is read before the loop, carried,
  and written after it;
- an element that is read after it was written in the same trip, or written twice, is read and
  written once.

    for i in range(1, n):                       y_last = y[0]
        y[i] = y[i - 1] * a + x[i]      →       for i in range(1, n):
                                                    y_last = y_last * a + x[i]
                                                    y[i] = y_last

The places that one array has in a loop are its *cells*. Two cells are *the same in turn* if the one
in this trip is the other in a later trip, *apart* if they never meet; where neither is known the
array stays as it is. A store that a later trip repeats before anybody reads is made once: the
last trips' are made after the loop. What is read before the loop must be in range, which it is in
the first trip: where the loop may have none, an ``if`` asks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from tracegrad.ir.bounds import Bounds, Known, Range
from tracegrad.ir.core import Function, Operation, Region, Value
from tracegrad.ir.types import Dim, coefficient, scalar, substitute, symbol
from tracegrad.ops.control import raises
from tracegrad.ops.registry import REGISTRY
from tracegrad.schedule.buffers import ELEMENT
from tracegrad.schedule.memory import MemoryBuilder
from tracegrad.schedule.values import signs_of

#: Elements carried at most: for one array through one loop, and in all through one loop.
WINDOW, MOST = 4, 12

#: Accesses to one array in one loop at most: they are compared with each other.
LONGEST = 60

Cell: TypeAlias = tuple[Dim, ...]


def keep_in_registers(function: Function) -> Function:
    """Carry elements through the loops of ``function``, which is in loop form.

    The function is changed: it must be new.
    """
    if any(op.name == "for" for op in function.walk()):
        with signs_of(function):
            _Keeper(function).region(function.body, 0)
    return function


@dataclass(frozen=True)
class _Loop:
    """A loop whose body is looked at.

    Attributes
    ----------
    step : 1 or -1.
    known : what is known before it.
    """

    op: Operation
    range: Range
    step: int
    known: Known

    @property
    def body(self) -> Region:
        return self.op.regions[0]

    @property
    def ends(self) -> tuple[Dim, Dim]:
        """The first and the last index."""
        least, greatest = self.range.least, self.range.greatest
        assert least is not None
        assert greatest is not None
        return (least, greatest) if self.step > 0 else (greatest, least)


@dataclass
class _Cells:
    """Cells of ``buffer`` that are one and the same in turn.

    Attributes
    ----------
    turns : access → how many trips after the first of them the cell comes to it.
    origin : the cell of turn 0.
    move : how far the cell of one turn is from that of the turn before, in the same trip; None
        for one cell in all trips.
    """

    buffer: Value
    turns: dict[Operation, int]
    origin: Cell
    move: Cell | None

    def at(self, turn: int) -> Cell:
        if self.move is None:
            return self.origin
        return tuple(o + m * turn for o, m in zip(self.origin, self.move, strict=True))

    def of(self, *names: str) -> list[int]:
        """The turns of the accesses of these names."""
        return [turn for op, turn in self.turns.items() if op.name in names]


class _Keeper:
    """Walks a function in order, and rewrites its loops, the inner ones first."""

    def __init__(self, function: Function) -> None:
        self.bounds = Bounds(function)
        self.shared = shared_memories(function)

    def region(self, region: Region, depth: int) -> None:
        ops: list[Operation] = []
        for op in list(region.ops):
            before: list[Operation] = []
            after: list[Operation] = []
            known = Known(self.bounds.facts, depth)
            for inner in op.regions:
                with self.bounds.within(op, inner):
                    self.region(inner, depth + 1)
                    if op.name == "for":
                        before, after = self.loop(op, known)
            self.bounds.learn(op, depth)
            ops += [*before, op, *after]
        self.bounds.forget(depth)
        region.ops = ops

    def loop(self, op: Operation, known: Known) -> tuple[list[Operation], list[Operation]]:
        """Rewrite a loop; what is to be done before and after it."""
        before: list[Operation] = []
        after: list[Operation] = []
        step = self.bounds.polynomial(op.operands[2])
        limits = self.bounds.range_of(op.regions[0].params[0])
        if step not in (1, -1) or limits.least is None or limits.greatest is None:
            return before, after
        if op.attributes.get("kind") == "parallel":  # its trips have no order
            return before, after
        if not all(self.bounds.outside(dim, limits) for dim in (limits.least, limits.greatest)):
            return before, after
        loop = _Loop(op, limits, 1 if step == 1 else -1, known)
        carried = 0
        for cells in self.candidates(loop):
            promoted = _Promotion(self.bounds, loop, cells)
            if promoted.useful and carried + promoted.carried <= MOST:
                carried += promoted.carried
                promoted.run()
                before += promoted.before
                after += promoted.after
        return before, after

    # --- which cells there are

    def candidates(self, loop: _Loop) -> Iterator[_Cells]:
        """Cells in the body of ``loop`` that are written, and apart from all others."""
        for buffer, accesses in _accesses(loop.op).items():
            if buffer in self.shared or all(op.name == "load" for op in accesses):
                continue
            if len(accesses) > LONGEST:
                continue
            if not all(self.bounds.outside(dim, loop.range) for dim in buffer.shape):
                continue
            yield from self.families(loop, buffer, accesses)

    def families(
        self, loop: _Loop, buffer: Value, accesses: Sequence[Operation]
    ) -> Iterator[_Cells]:
        """The cells of one array, if it is known of each pair whether they meet."""
        cells: dict[Operation, Cell] = {}
        for op in accesses:
            cell = []
            for index in op.operands[ELEMENT[op.name] + 1 :]:
                dim = self.bounds.polynomial(index)
                # What the loop carries is another from trip to trip.
                own = coefficient(dim, loop.range.name) if dim is not None else None
                if dim is None or own is None:
                    return
                if not self.bounds.outside(dim - symbol(loop.range.name) * own, loop.range):
                    return
                cell.append(dim)
            cells[op] = tuple(cell)
        groups: list[dict[Operation, int]] = []
        for op in accesses:
            home: dict[Operation, int] | None = None
            for group in groups:
                turn = None
                for other, start in group.items():
                    met = self.meet(loop, cells[other], cells[op])
                    if met is None:
                        if op.name == "load" == other.name:
                            continue
                        return
                    if met != "apart":
                        turn = start + met
                        break
                if turn is not None and home is None:
                    home = group
                    home[op] = turn
                elif turn is not None:
                    return
            if home is None:
                groups.append({op: 0})
        for group in groups:
            first = min(group.values())
            turns = {op: turn - first for op, turn in group.items()}
            if max(turns.values()) > WINDOW or all(op.name == "load" for op in turns):
                continue
            origin = next(cells[op] for op, turn in turns.items() if not turn)
            found_cells = _Cells(buffer, turns, origin, _move(loop, origin))
            if all(self.inside(found_cells.at(turn), buffer) for turn in set(turns.values())):
                yield found_cells

    def inside(self, cell: Cell, buffer: Value) -> bool:
        """Whether a cell is in its array in all trips, whatever stands around the access."""
        return all(
            self.bounds.never_negative(at) and self.bounds.never_negative(size - 1 - at)
            for at, size in zip(cell, buffer.shape, strict=True)
        )

    def differ(self, apart: Dim) -> bool:
        """Whether a difference is never 0."""
        return self.bounds.never_negative(apart - 1) or self.bounds.never_negative(apart * -1 - 1)

    def meet(self, loop: _Loop, one: Cell, other: Cell) -> int | Literal["apart"] | None:
        """After how many trips ``one`` comes to ``other``; None if that is not known."""
        turns: int | None = None
        unknown = False
        for left, right in zip(one, other, strict=True):
            along, factor = (coefficient(dim, loop.range.name) for dim in (left, right))
            apart = left - right
            if along is None or factor is None:
                unknown = True
            elif along != factor:
                # One place that a trip comes to only if the range of the other says so.
                if not along * factor and self.differ(apart):
                    return "apart"
                unknown = True
            elif not isinstance(apart, int):
                if not along and self.differ(apart):
                    return "apart"
                unknown = True
            elif not along:
                if apart:
                    return "apart"
            elif apart % along:
                return "apart"
            else:
                trips = apart // along * loop.step
                if turns is not None and turns != trips:
                    return "apart"
                turns = trips
        return None if unknown else turns or 0


def _move(loop: _Loop, cell: Cell) -> Cell | None:
    along = tuple(coefficient(dim, loop.range.name) or 0 for dim in cell)
    return tuple(-factor * loop.step for factor in along) if any(along) else None


def shared_memories(function: Function) -> set[Value]:
    """Arrays that may be, or may become, one with another that goes by another name."""
    found: set[Value] = set()
    for op in function.walk():
        if op.name in ("alias", "ensure", "gemm", "gemm_part", "if"):
            arms = (v for region in op.regions for v in region.yields)
            found.update(v for v in (*op.operands, *op.results, *arms) if v.rank)
    return found


def _accesses(loop: Operation) -> dict[Value, list[Operation]]:
    """Array → its accesses in the trips of a loop, if there is nothing but reads and writes."""
    (body,) = loop.regions
    found: dict[Value, list[Operation]] = {}
    excluded = set(loop.operands) | set(body.params)

    def walk(region: Region, nested: bool) -> None:
        excluded.update(region.yields)
        for op in region.ops:
            excluded.update(op.results)
            position = ELEMENT.get(op.name)
            buffer = None if position is None else op.operands[position]
            excluded.update(v for v in op.operands if v is not buffer)
            if buffer is not None:
                found.setdefault(buffer, []).append(op)
                if nested:
                    excluded.add(buffer)
            for inner in op.regions:
                excluded.update(inner.params)
                walk(inner, nested or op.name != "if")

    walk(body, False)
    return {buffer: ops for buffer, ops in found.items() if buffer not in excluded}


# --- one array in one loop ------------------------------------------------------------------


class _Promotion:
    """Rewrites a loop so that it keeps ``cells`` in registers.

    Attributes
    ----------
    first, last : the turns of cells that are carried into a trip: after the first store, up to
        the last read or the store that stays.
    before, after : what is done before and after the loop, after `run`.
    """

    def __init__(self, bounds: Bounds, loop: _Loop, cells: _Cells) -> None:
        self.bounds = bounds
        self.loop = loop
        self.cells = cells
        self.before: list[Operation] = []
        self.after: list[Operation] = []
        self.env: dict[Value, Value] = {}
        self.state: dict[int, Value] = {}
        stores = cells.of("store", "add_store")
        reads = cells.of("load", "add_store")
        self.first, self.last = min(stores) + 1, max(reads, default=0)
        self.constant = cells.move is None
        if self.constant:
            self.first = self.last = 0
        elif self.last < self.first:
            self.last = self.first - 1
        self.dead = self._dead(max(stores))

    @property
    def carried(self) -> int:
        return self.last - self.first + 1

    @property
    def useful(self) -> bool:
        if self.carried:
            return True
        turns = list(self.cells.turns.items())
        return any(
            turn == other and op.name != "load"
            for n, (op, turn) in enumerate(turns)
            for _, other in turns[n + 1 :]
        )

    # --- stores

    def _dead(self, end: int) -> set[Operation]:
        """Stores whose place is written again, in this trip or in a later one, or at the end.

        ``end`` is the turn of the last store to a cell.
        """
        turns = self.cells.turns
        stores = [op for op, _ in turns.items() if op.name != "load"]
        if self.constant:
            self.written = range(1)
            return set(stores)
        found: set[Operation] = set()
        certain = {turns[op] for op in self.loop.body.ops if op in turns and op.name != "load"}
        for turn in certain:
            final = [op for op in self.loop.body.ops if turns.get(op) == turn and op in stores][-1]
            position = self.loop.body.ops.index(final)
            earlier = set(_walk(self.loop.body.ops[:position]))
            found |= {op for op in stores if turns[op] == turn and op in earlier}
        self.written = range(0)
        if end in certain and self.first <= end <= self.last:
            found |= {op for op in stores if turns[op] < end}
            self.written = range(self.first, end + 1)
        return found

    # --- the loop

    def run(self) -> None:
        op, body, buffer = self.loop.op, self.loop.body, self.cells.buffer
        params = {}
        for turn in range(self.first, self.last + 1):
            param = params[turn] = Value(scalar(buffer.dtype), self._name(turn))
            self.state[turn] = param
        inits = [self._first(turn) for turn in params]
        body.ops = self._block(body.ops)
        shift = 0 if self.constant else 1
        yields = [self.state[turn - shift] for turn in params]
        body.params = (*body.params, *params.values())
        body.yields = (*body.yields, *yields)
        op.operands = (*op.operands, *inits)
        results = {turn: Value(param.type, param.hint, op) for turn, param in params.items()}
        op.results = (*op.results, *results.values())
        self._substitute(body)
        _, last = self.loop.ends
        for turn in self.written:
            cell = self._cell(turn - shift, last)
            self.after += self._guarded_store(results[turn], cell)

    def _name(self, turn: int) -> str:
        hint = self.cells.buffer.hint
        if not hint:
            return ""
        if self.constant:
            return f"{hint}_kept"
        return f"{hint}_last" if turn == self.first else f"{hint}_last_{turn - self.first + 1}"

    def _cell(self, turn: int, index: Dim | None) -> Cell:
        """The cell of a turn, in the trip of ``index``, or in any trip."""
        cell = self.cells.at(turn)
        if index is None:
            return cell
        return tuple(substitute(dim, {self.loop.range.name: index}) for dim in cell)

    def _first(self, turn: int) -> Value:
        """What a cell holds before the loop."""
        start, _ = self.loop.ends
        cell = self._cell(turn, start)
        buffer = self.cells.buffer
        build = MemoryBuilder()
        if self._known(cell):
            found = build.load(buffer, self._indices(build, cell))
        else:
            with build.open() as then:
                then.yields = (build.load(buffer, self._indices(build, cell)),)
            with build.open() as otherwise:
                otherwise.yields = (build.const(buffer.dtype.numpy.type(0).item(), buffer.type),)
            test = self._has_trip(build)
            regions = [then, otherwise]
            types = [scalar(buffer.dtype)]
            found = build.emit(REGISTRY["if"], [test], {}, regions, types).result
        self.before += build.region.ops
        return found

    def _guarded_store(self, value: Value, cell: Cell) -> list[Operation]:
        build = MemoryBuilder()
        if self._known(cell):
            build.store("store", value, self.cells.buffer, self._indices(build, cell))
        else:
            with build.open() as then:
                build.store("store", value, self.cells.buffer, self._indices(build, cell))
            build.emit(REGISTRY["if"], [self._has_trip(build)], {}, [then, Region()], ())
        for op in build.region.ops:
            op.part = self.loop.op.part
        return build.region.ops

    def _known(self, cell: Cell) -> bool:
        """Whether a cell may be read and written though the loop should have no trip.

        It is in range in the first trip, if there is one. A cell that is in range whether or not
        is given back what it holds; one that moves with the trips holds something else.
        """
        limits = self.loop.range
        assert limits.least is not None
        assert limits.greatest is not None
        if self.bounds.never_negative(limits.greatest - limits.least, self.loop.known):
            return True
        return self.constant and all(
            self.bounds.never_negative(at, self.loop.known)
            and self.bounds.never_negative(size - 1 - at, self.loop.known)
            for at, size in zip(cell, self.cells.buffer.shape, strict=True)
        )

    def _has_trip(self, build: MemoryBuilder) -> Value:
        lo, hi = self.loop.op.operands[:2]
        ends = [lo, hi] if self.loop.step > 0 else [hi, lo]
        return build.emit(REGISTRY["less"], ends).result

    def _indices(self, build: MemoryBuilder, cell: Cell) -> list[Value]:
        return [build.affine(dim, self.bounds.indices) for dim in cell]

    # --- one trip

    def _block(self, ops: Iterable[Operation]) -> list[Operation]:
        found: list[Operation] = []
        for op in ops:
            if op in self.cells.turns:
                found += self._access(op, self.cells.turns[op])
            elif op.name == "if" and any(inner in self.cells.turns for inner in _walk([op])):
                self._branch(op)
                found.append(op)
            else:
                found.append(op)
        return found

    def _access(self, op: Operation, turn: int) -> list[Operation]:
        held = self.state.get(turn)
        if op.name == "load":
            if held is None:
                self.state[turn] = op.result
                return [op]
            self.env[op.result] = held
            return []
        value, buffer, *indices = op.operands
        value = self.env.get(value, value)
        build = MemoryBuilder()
        with build.at(op.location, op.part):
            if op.name == "add_store":
                if held is None:
                    held = build.load(buffer, indices)
                value = self._sum(build, held, value)
            self.state[turn] = value
            if op not in self.dead:
                build.store("store", value, buffer, indices)
        return build.region.ops

    def _sum(self, build: MemoryBuilder, held: Value, value: Value) -> Value:
        """``held + value``, as one would write it."""
        start, op = held.op, value.op
        if start is not None and start.name == "const" and start.attributes["value"] == 0:
            return value
        if op is None or op.name != "negative":
            return build.emit(REGISTRY["add"], [held, value]).result
        (value,) = op.operands
        return build.emit(REGISTRY["subtract"], [held, self.env.get(value, value)]).result

    def _branch(self, op: Operation) -> None:
        """Both arms; what one of them stores is a result of the ``if``."""
        inside = [inner for inner in _walk([op]) if inner in self.cells.turns]
        stored = dict.fromkeys(self.cells.turns[inner] for inner in inside if inner.name != "load")
        before = self.state
        states = []
        for arm in op.regions:
            self.state = dict(before)
            arm.ops = self._block(arm.ops)
            states.append(self.state)
        self.state = before
        for turn in stored:
            for arm, state in zip(op.regions, states, strict=True):
                arm.yields = (*arm.yields, self._at_end(arm, turn, state))
            kind = scalar(self.cells.buffer.dtype)
            result = Value(kind, self._name(self.first), op)
            op.results = (*op.results, result)
            self.state[turn] = result

    def _at_end(self, arm: Region, turn: int, state: Mapping[int, Value]) -> Value:
        """What the cell of ``turn`` holds at the end of an arm."""
        if turn in state:
            return state[turn]
        build = MemoryBuilder()
        end = raises(arm)
        if end is not None:  # nobody sees it
            found = build.const(0, self.cells.buffer.type)
            arm.ops = [*arm.ops[:end], *build.region.ops, *arm.ops[end:]]
            return found
        found = build.load(self.cells.buffer, self._indices(build, self._cell(turn, None)))
        arm.ops = [*arm.ops, *build.region.ops]
        return found

    def _substitute(self, region: Region) -> None:
        """Read the values in registers for those that were loaded."""

        def final(value: Value) -> Value:
            while value in self.env:
                value = self.env[value]
            return value

        for op in region.ops:
            op.operands = tuple(final(v) for v in op.operands)
            for inner in op.regions:
                self._substitute(inner)
        region.yields = tuple(final(v) for v in region.yields)


def _walk(ops: Iterable[Operation]) -> Iterator[Operation]:
    for op in ops:
        yield op
        for region in op.regions:
            yield from region.walk()
