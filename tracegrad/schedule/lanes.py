"""Loops over what index arrays point to, block by block, with the arithmetic in lanes.

A loop that reads and adds to elements at positions found in an array can't run several trips at
once: positions are checked one by one, and two trips may add to one element. All else could, and
is most of the work where there are logarithms and the like. So the trips are taken 128 at a time,
and each block has three loops: one reads and checks, one computes, one writes::

    for i in range(n):                     for block in range((n + 127) // 128):
        at = places[i]                         first = block * 128
        ... check of at ...        →           size = min(128, n - first)
        v = exp(x[at])                         for l in range(size):
        total += v                                 at = places[first + l]
        x_bar[at] += v                             ... check of at ...
                                                   where[0, l] = at
                                                   read[0, l] = x[at]
                                               for l in range(size):
                                                   v = exp(read[0, l])
                                                   total += v
                                                   added[0, l] = v
                                               for l in range(size):
                                                   x_bar[where[0, l]] += added[0, l]

The same is done for a loop over the rows of tables, of more elements than a vector has: those of a
column are too far apart.

And for a loop that holds loops, as over the columns of rows that are picked: a loop that only reads
goes with the reads, one that writes with the writes, 32 trips at a time, so that the rows are still
near when they are wanted again::

    for i in range(n):                     for block in range((n + 31) // 32):
        at = places[i]                         first = block * 32
        ... check of at ...                    size = min(32, n - first)
        dot = 0.0                              for l in range(size):
        for j in range(m):                         at = places[first + l]
            dot += x[at, j] * y[j]                 ... check of at; dot as ever ...
        v = exp(dot)                  →            where[0, l], read[0, l] = at, dot
        total += v                             for l in range(size):
        for j in range(m):                         v = exp(read[0, l])
            x_bar[at, j] += v * y[j]               total += v
                                                   added[0, l] = v
                                               for l in range(size):
                                                   for j in range(m):
                                                       x_bar[where[0, l], j] += added[0, l] * y[j]

It may be done where the loop carries sums only, and what it reads it does not write. Writes and
additions keep their order; errors of positions come up to 127 trips early.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from tracegrad.ir.core import Function, Operation, Region, Value
from tracegrad.ir.rewrite import first_carried
from tracegrad.ir.threads import free_values
from tracegrad.ir.types import (
    ArrayType,
    Dim,
    DType,
    evaluate,
    floor_div,
    i64,
    product,
    scalar,
    symbols,
)
from tracegrad.ops.registry import REGISTRY
from tracegrad.schedule.buffers import ELEMENT, replace
from tracegrad.schedule.memory import MemoryBuilder, root_of, taking_turns

LANES = 128
LANES_OF_ROWS = 32
NEAR = 8
"""Elements from trip to trip up to which vectors are read and written in one piece and sorted."""

SEVERAL = 4
"""Numbers of rows that a trip reads or writes from which on the rows count."""

WORTH = 4.0
"""Work in lanes, in multiplications, for each number that goes from one loop to the next."""

WORTH_OF_ROWS = 1 / 16
"""Work in lanes for that of the loops beside it: a vector of them goes at a time anyway."""

SOME_TRIPS = 32
"""Trips of an inner loop of unknown length."""


def split_into_lanes(function: Function) -> Function:
    """Split the loops of ``function``, in loop form, that gain by it. It is changed: it is new."""
    made = {op.result for op in function.walk() if op.name == "alloc"}
    own = _Memories(frozenset(function.params), frozenset(made | taking_turns(function, made)))
    buffers: list[Operation] = []
    _region(function, function.body, own, buffers)
    function.body.ops[0:0] = buffers
    return function


def _region(function: Function, region: Region, own: _Memories, buffers: list[Operation]) -> None:
    for op in list(region.ops):
        for inner in op.regions:
            _region(function, inner, own, buffers)
        if op.name == "for":
            split = _Split.of(op, own, function.hints)
            if split is not None:
                split.rewrite(region, buffers)


def _trips(loop: Operation, hints: Mapping[str, int]) -> int | None:
    """How many trips a loop is expected to have."""
    lo, hi = (_size(v) for v in loop.operands[:2])
    if lo is None or hi is None or any(s not in hints for s in symbols(hi - lo)):
        return None
    return evaluate(hi - lo, hints)


@dataclass(frozen=True)
class _Memories:
    """The buffers that are known to be memory of their own: arguments, which are only read, what
    the function makes, and what takes turns in a loop."""

    arguments: frozenset[Value]
    made: frozenset[Value]

    def knows(self, buffer: Value) -> bool:
        root = root_of(buffer)
        return root in self.arguments or root in self.made


@dataclass
class _Rows:
    """Numbers that one loop of a block writes down for a later one: a row of each dtype's buffer.

    Attributes
    ----------
    names : what the buffers are called, of floats and of others.
    length : how many trips a block has.
    """

    names: tuple[str, str]
    length: int
    place: dict[Value, int] = field(default_factory=dict)
    buffers: dict[DType, Value] = field(default_factory=dict)

    def add(self, value: Value) -> None:
        if value not in self.place:
            self.place[value] = sum(v.dtype is value.dtype for v in self.place)

    def allocate(self, build: MemoryBuilder) -> None:
        for dtype in dict.fromkeys(v.dtype for v in self.place):
            count = sum(v.dtype is dtype for v in self.place)
            name = self.names[0 if dtype.is_float else 1]
            self.buffers[dtype] = build.alloc(ArrayType(dtype, (count, self.length)), name)


class _Split:
    """A loop that is to be split.

    Attributes
    ----------
    first : what the first loop does, besides the reads: what they need.
    lanes : what the second one computes.
    writes : what the third one does.
    fixed : operations that are the same in every trip.
    steps : those on integers that follow from the index alone; each loop makes its own.
    length : how many trips a block has.
    """

    def __init__(self, loop: Operation, hints: Mapping[str, int]) -> None:
        self.loop = loop
        self.body = loop.regions[0]
        self.index = self.body.params[0]
        self.carried = self.body.params[first_carried(loop) :]
        self.fixed: dict[Operation, None] = {}
        self.steps: dict[Operation, None] = {}
        self.first: dict[Operation, None] = {}
        self.lanes: dict[Operation, None] = {}
        self.writes: list[Operation] = []
        self.hints = hints
        self.loops = [op for op in self.body.ops if op.name == "for"]
        self.length = LANES_OF_ROWS if self.loops else LANES
        self.read = _Rows(("read", "where"), self.length)
        self.added = _Rows(("added", "chosen"), self.length)

    # --- what may be split

    @classmethod
    def of(cls, loop: Operation, own: _Memories, hints: Mapping[str, int]) -> _Split | None:
        """The split of a loop; None where it may not or need not be split."""
        split = cls(loop, hints)
        trips = _trips(loop, hints)
        if (
            (trips is not None and trips < split.length // 2)
            or _number(loop.operands[2]) != 1
            or loop.attributes.get("kind", "plain") != "plain"
            or not all(split._is_sum(k) for k in range(len(split.carried)))
            or not all(_allowed(op) for op in split.body.ops)
            or not split._apart(own)
        ):
            return None
        split._sort()
        return split if split._is_worth_it() else None

    def _is_sum(self, k: int) -> bool:
        """Whether a carried value is a number to which something is added in one place."""
        param, op = self.carried[k], self.body.yields[k].op
        if param.rank or op is None or op not in self.body.ops:
            return False
        position = [v is param for v in op.operands]
        if op.name not in ("add", "subtract") or position not in ([True, False], [False, True]):
            return False
        if op.name == "subtract" and not position[0]:
            return False
        readers = [each for each in self.body.ops if param in _read(each)]
        return readers == [op] and not any(op.result in _read(each) for each in self.body.ops)

    def _apart(self, own: _Memories) -> bool:
        """Whether what is read is not written, and all buffers are known."""
        read: set[Value] = set()
        written: set[Value] = set()
        for op in self.body.walk():
            if op.name in ELEMENT:
                buffer = op.operands[ELEMENT[op.name]]
                if not own.knows(buffer):
                    return False
                (read if op.name == "load" else written).add(root_of(buffer))
        return read.isdisjoint(written)

    def _is_worth_it(self) -> bool:
        handed = len(self.read.place) + len(self.added.place)
        elements = [op for op in (*self.first, *self.writes) if op.name in ELEMENT]
        work = sum(_work(op) for op in self.lanes)
        if self.loops:
            beside = sum(self._work_of(loop) for loop in self.loops)
            return work >= max(WORTH * handed, WORTH_OF_ROWS * beside)
        scattered = any(op.name == "check_index" for op in self.first) or any(
            not self._follows_index(v)
            for op in elements
            for v in op.operands[ELEMENT[op.name] + 1 :]
        )
        far = sum(self._is_far(op) for op in elements) >= SEVERAL
        return (scattered or far) and work >= WORTH * handed

    def _work_of(self, loop: Operation) -> float:
        """What an inner loop does, in multiplications."""
        trips = _trips(loop, self.hints)
        body = sum(1.0 if op.name in ELEMENT else _work(op) for op in loop.regions[0].ops)
        return body * (SOME_TRIPS if trips is None else trips)

    def _is_far(self, op: Operation) -> bool:
        """Whether successive trips are at elements of rows, too far apart to be one vector."""
        at = ELEMENT[op.name]
        buffer, places = op.operands[at], op.operands[at + 1 :]
        moving = [v for v in places if v is self.index or v.op in self.steps]
        if not moving or moving[-1] is places[-1]:
            return False
        last = max(k for k, v in enumerate(places) if v in moving)
        apart = product(buffer.shape[last + 1 :])
        return not isinstance(apart, int) or apart > NEAR

    def _follows_index(self, value: Value) -> bool:
        return (
            value is self.index
            or value.op is None
            or value.op in self.steps
            or (value.op not in self.body.ops or value.op in self.fixed)
        )

    # --- what goes where

    def _sort(self) -> None:
        varying: set[Value] = {self.index, *self.carried}
        from_index: set[Value] = {self.index}
        for op in self.body.ops:
            varies = [v for v in _read(op) if v in varying]
            if _writes(op):
                self.writes.append(op)
                continue
            if not varies and not any(each.name == "check_index" for each in _walk(op)):
                self.fixed[op] = None
                continue
            varying.update(op.results)
            whole = all(r.dtype.is_integer and not r.rank for r in op.results)
            if _is_plain(op) and whole and all(v in from_index for v in varies):
                self.steps[op] = None
                from_index.update(op.results)
        # The first loop has the reads, the checks, and what these need.
        wanted = [op for op in self.body.ops if op.name in ("load", "check_index", "for")]
        wanted = [op for op in wanted if not _writes(op)]
        self.first = self._closed([op for op in wanted if op not in self.fixed], ())
        needed = [v for op in self.writes for v in _read(op)]
        makers = [v.op for v in (*needed, *self.body.yields) if v.op is not None]
        self.lanes = self._closed(makers, self.first)
        for op in self.lanes:
            for v in _read(op):
                self._hand_on(v, self.read, self.first)
        for v in needed:
            self._hand_on(v, self.read, self.first)
            self._hand_on(v, self.added, self.lanes)

    def _closed(
        self, start: Iterable[Operation], without: Iterable[Operation]
    ) -> dict[Operation, None]:
        """The operations that vary which ``start`` needs, in order."""
        found: set[Operation] = set()
        waiting = list(start)
        inside = set(self.body.ops) - set(self.fixed) - set(self.steps) - set(without)
        while waiting:
            op = waiting.pop()
            if op in inside and op not in found:
                found.add(op)
                waiting += [v.op for v in _read(op) if v.op is not None]
        return {op: None for op in self.body.ops if op in found}

    def _hand_on(self, value: Value, rows: _Rows, made: dict[Operation, None]) -> None:
        if value.op in made:
            rows.add(value)

    # --- the loops

    def rewrite(self, region: Region, buffers: list[Operation]) -> None:
        """Put the loops over blocks in the place of the loop, which stands in ``region``."""
        loop = self.loop
        build = MemoryBuilder()
        for rows in (self.read, self.added):
            rows.allocate(build)
        buffers += build.region.ops
        lo, hi = loop.operands[:2]
        build = MemoryBuilder()
        count = self._blocks(build, lo, hi)
        one, zero, lanes = build.size(1), build.size(0), build.size(self.length)
        with build.open() as block:
            number = build.param(scalar(i64), "block")
            sums = [build.param(v.type, v.hint) for v in self.carried]
            first = build.emit(REGISTRY["multiply"], [number, lanes]).result
            if _number(lo) != 0:
                first = build.emit(REGISTRY["add"], [lo, first]).result
            first.hint = "first"
            rest = build.emit(REGISTRY["subtract"], [hi, first]).result
            size = build.emit(REGISTRY["minimum"], [lanes, rest]).result
            size.hint = "size"
            env: dict[Value, Value] = {}
            for op in self.fixed:
                self._copy(build, op, env)
            bounds = [zero, size, one]
            with build.open() as gather:
                inner, lane = self._enter(build, env, first)
                for op in self.first:
                    self._copy(build, op, inner)
                self._write_down(build, self.read, inner, lane)
            build.emit(REGISTRY["for"], bounds, {"kind": "read"}, [gather], ())
            with build.open() as compute:
                inner, lane = self._enter(build, env, first)
                inner.update(
                    (old, build.param(v.type, v.hint))
                    for old, v in zip(self.carried, sums, strict=True)
                )
                self._take_up(build, self.read, self.lanes, inner, lane)
                for op in self.lanes:
                    self._copy(build, op, inner)
                self._write_down(build, self.added, inner, lane)
                compute.yields = tuple(inner[v] for v in self.body.yields)
            types = [v.type for v in sums]
            summed = build.emit(
                REGISTRY["for"], [*bounds, *sums], {"kind": "lanes"}, [compute], types
            )
            if self.writes:
                with build.open() as scatter:
                    inner, lane = self._enter(build, env, first)
                    writes = dict.fromkeys(self.writes)
                    for rows in (self.read, self.added):
                        self._take_up(build, rows, writes, inner, lane)
                    for op in self.writes:
                        self._copy(build, op, inner)
                build.emit(REGISTRY["for"], bounds, {"kind": "write"}, [scatter], ())
            block.yields = summed.results
        types = [v.type for v in self.carried]
        operands = [zero, count, one, *loop.operands[3:]]
        new = build.emit(REGISTRY["for"], operands, {"kind": "plain"}, [block], types)
        at = region.ops.index(loop)
        region.ops[at : at + 1] = build.region.ops
        for old, result in zip(loop.results, new.results, strict=True):
            result.hint = old.hint
            replace(region, old, result)

    def _blocks(self, build: MemoryBuilder, lo: Value, hi: Value) -> Value:
        a, b = _size(lo), _size(hi)
        if a is not None and b is not None:
            return build.size(floor_div(b - a + self.length - 1, self.length))
        trips = hi if _number(lo) == 0 else build.emit(REGISTRY["subtract"], [hi, lo]).result
        more = build.emit(REGISTRY["add"], [trips, build.size(self.length - 1)]).result
        return build.emit(REGISTRY["floor_divide"], [more, build.size(self.length)]).result

    def _enter(
        self, build: MemoryBuilder, env: dict[Value, Value], first: Value
    ) -> tuple[dict[Value, Value], Value]:
        """Begin a loop over the lanes: the index of the loop that was, and the steps from it."""
        lane = build.param(scalar(i64), "l")
        index = build.emit(REGISTRY["add"], [first, lane]).result
        index.hint = self.index.hint
        inner = {**env, self.index: index}
        for op in self.steps:
            self._copy(build, op, inner)
        return inner, lane

    def _copy(self, build: MemoryBuilder, op: Operation, env: dict[Value, Value]) -> None:
        env.update(zip(op.results, build.copy(op, env).results, strict=True))

    def _write_down(
        self, build: MemoryBuilder, rows: _Rows, env: dict[Value, Value], lane: Value
    ) -> None:
        for value, row in rows.place.items():
            assert value.op is not None
            with build.at(value.op.location, value.op.part):
                at = [build.size(row), lane]
                build.store("store", env[value], rows.buffers[value.dtype], at)

    def _take_up(
        self,
        build: MemoryBuilder,
        rows: _Rows,
        readers: Iterable[Operation],
        env: dict[Value, Value],
        lane: Value,
    ) -> None:
        wanted = {v for op in readers for v in _read(op)}
        for value, row in rows.place.items():
            if value in wanted:
                at = [build.size(row), lane]
                env[value] = build.load(rows.buffers[value.dtype], at, value.hint)


def _read(op: Operation) -> list[Value]:
    """What an operation reads, and what the regions in it do."""
    found = list(op.operands)
    for region in op.regions:
        found += free_values(region)
    return found


def _walk(op: Operation) -> Iterator[Operation]:
    """An operation and those in its regions."""
    yield op
    for region in op.regions:
        yield from region.walk()


def _writes(op: Operation) -> bool:
    return any(each.name in ("store", "add_store") for each in _walk(op))


def _allowed(op: Operation) -> bool:
    """Whether an operation of the body can be moved, or is one on elements in its order."""
    if op.name == "for":
        # A loop goes as a whole: it gives numbers, or it writes.
        return all(map(_is_element, op.regions[0].ops)) and not (
            op.results and (_writes(op) or any(v.rank for v in op.results))
        )
    return _is_element(op)


def _is_element(op: Operation) -> bool:
    return op.name in (*ELEMENT, "check_index") or _is_plain(op)


def _is_plain(op: Operation) -> bool:
    """Whether an operation computes numbers, in a way that several trips can share."""
    if any(r.rank for r in op.results):
        return False
    if op.name == "if":
        return all(_is_plain(each) for region in op.regions for each in region.ops)
    if op.name in ("const", "dim"):
        return True
    if op.regions or op.opdef.effects or op.opdef.kind != "elementwise":
        return False
    return not op.opdef.heavy or bool(op.opdef.vector_maths)


def _work(op: Operation) -> float:
    if op.name == "if":
        return sum(_work(each) for region in op.regions for each in region.ops)
    return op.opdef.cost if op.opdef.kind == "elementwise" else 0.0


def _size(value: Value) -> Dim | None:
    op = value.op
    size: Dim | None = op.attributes["size"] if op is not None and op.name == "dim" else None
    return _number(value) if size is None else size


def _number(value: Value) -> int | None:
    op = value.op
    number = op.attributes["value"] if op is not None and op.name == "const" else None
    return number if isinstance(number, int) else None
