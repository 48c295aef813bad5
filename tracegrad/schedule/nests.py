"""Nests of two loops over cells, and which cells wait for which.

A *nest* is a loop over ``i`` around a loop over ``j`` whose trips are *cells*: nothing stands
between the loops but what a cell could compute itself, and nothing is carried but sums. If an
array is written in one cell and used in another, the second waits for the first. How far it is
from one to the other, in trips of the outer and of the inner loop, follows from the positions::

    for i in range(1, n):
        for j in range(1, m):
            y[i, j] = f(y[i - 1, j], y[i, j - 1])        distances (1, 0) and (0, 1)

`Nest.skew` says along which lines ``skew * i + j`` (in trips) cells may be computed in any order:
each distance must lead from a line to a later one. Additions to one place don't wait for each
other; their order is free.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

from tracegrad.ir.bounds import Bounds, Range
from tracegrad.ir.core import Operation, Region, Value
from tracegrad.ir.types import Dim, coefficient, symbol
from tracegrad.schedule.buffers import ELEMENT
from tracegrad.schedule.memory import MemoryBuilder

SKEWS = (1, 2, 3)

#: Accesses to elements in one cell at most: they are compared with each other.
MOST = 80


class Distance(NamedTuple):
    """Trips of both loops from one cell to another; None: any number of them."""

    outer: int | None
    inner: int | None

    def leads_on(self, skew: int) -> bool:
        """Whether the later of two cells at this distance lies on a later line."""
        if self.outer is None and self.inner is None:
            return False
        if self.outer is None:
            return skew > abs(self.inner or 0)
        if self.inner is None:
            return self.outer == 0
        outer, inner = max((self.outer, self.inner), (-self.outer, -self.inner))
        return (outer, inner) == (0, 0) or skew * outer + inner >= 1

    @property
    def within_row(self) -> bool:
        """Whether a trip of the inner loop waits for an earlier one."""
        return not self.outer and bool(self.inner is None or self.inner > 0)


Meeting: TypeAlias = Distance | Literal["apart"] | None
"""Where two accesses meet; None if that is not known."""


@dataclass(frozen=True)
class Position:
    """An index ``i * outer + j * inner + rest``; ``rest`` is the same in all cells."""

    outer: int
    inner: int
    rest: Dim
    dim: Dim


@dataclass(frozen=True)
class Access:
    """One element that a cell reads or writes; ``at`` is None where a position is not linear."""

    op: Operation
    buffer: Value
    at: tuple[Position, ...] | None

    @property
    def writes(self) -> bool:
        return self.op.name != "load"

    @property
    def adds(self) -> bool:
        return self.op.name == "add_store"

    @property
    def key(self) -> tuple[Value, tuple[Dim, ...]]:
        """Equal for two accesses of a cell to one element."""
        assert self.at is not None
        return self.buffer, tuple(p.dim for p in self.at)


@dataclass
class Nest:
    """Two loops over cells.

    Attributes
    ----------
    region : where the outer loop stands.
    cell : the operations of a cell, in order: copies, over the indices of both loops.
    carried, yields : sums, and what a cell makes of them.
    sums : for each result of the outer loop, its position among ``carried``.
    chain : additions to sums → which sum, and the position of the operand that is it.
    ranges : the bounds of both indices.
    steps : 1 or -1 for each loop.
    accesses : the elements that a cell uses, in order.
    runs : whether both loops are known to have a trip.
    skew : how many lines a trip of the outer loop goes on; a trip of the inner loop goes on one.
    written : the buffers that cells write to.
    stored : what a cell reads of an element that it has written → what it wrote.
    met : two writes or a write and a read of one array → where they meet.
    waiting : what a cell reads that an earlier cell of the row has written.
    handed_on : the buffers through which it goes.
    """

    region: Region
    outer: Operation
    inner: Operation
    cell: list[Operation]
    carried: list[Value]
    yields: list[Value]
    sums: list[int]
    chain: dict[Operation, tuple[int, int]]
    ranges: tuple[Range, Range]
    steps: tuple[int, int]
    accesses: list[Access]
    runs: bool = False
    skew: int = 0
    written: set[Value] = field(default_factory=set)
    stored: dict[Value, Value] = field(default_factory=dict)
    met: dict[tuple[Operation, Operation], Meeting] = field(default_factory=dict)
    waiting: set[Value] = field(default_factory=set)
    handed_on: set[Value] = field(default_factory=set)

    @property
    def indices(self) -> tuple[Value, Value]:
        return self.outer.regions[0].params[0], self.inner.regions[0].params[0]

    @property
    def slope(self) -> int:
        """p, where the cells with one value of ``p * i + j`` are computed in any order."""
        return self.skew * self.steps[0] * self.steps[1]

    def limits(self, axis: int) -> tuple[Dim, Dim]:
        """The least and the greatest index of a loop."""
        least, greatest = self.ranges[axis].least, self.ranges[axis].greatest
        assert least is not None
        assert greatest is not None
        return least, greatest

    def pairs(self) -> Iterator[tuple[Access, Access]]:
        """Accesses to one array of which the first one writes; each pair once."""
        for n, one in enumerate(self.accesses):
            for other in self.accesses[n:]:
                if one.buffer is other.buffer and (one.writes or other.writes):
                    yield (one, other) if one.writes else (other, one)

    def meet(self, bounds: Bounds, one: Access, other: Access) -> Meeting:
        """How far it is from a cell to the one whose ``other`` element is its ``one``."""
        if one.at is None or other.at is None:
            return None
        found: list[int | None] = [None, None]
        unknown = False
        for left, right in zip(one.at, other.at, strict=True):
            apart = left.rest - right.rest
            if (left.outer, left.inner) != (right.outer, right.inner):
                still = not (left.outer or left.inner) or not (right.outer or right.inner)
                if still and _differ(bounds, left.dim - right.dim):
                    return "apart"
                unknown = True
            elif left.outer and left.inner:
                unknown = True
            elif not (left.outer or left.inner):
                if apart != 0:
                    if _differ(bounds, apart):
                        return "apart"
                    unknown = True
            elif not isinstance(apart, int):
                unknown = True
            else:
                axis = 0 if left.outer else 1
                factor = left.outer or left.inner
                if apart % factor:
                    return "apart"
                trips = apart // factor * self.steps[axis]
                if found[axis] not in (None, trips):
                    return "apart"
                found[axis] = trips
        return None if unknown else Distance(*found)


def _differ(bounds: Bounds, apart: Dim) -> bool:
    """Whether a difference is never 0."""
    return bounds.never_negative(apart - 1) or bounds.never_negative(apart * -1 - 1)


def find_nests(bounds: Bounds, region: Region, shared: set[Value], depth: int = 0) -> list[Nest]:
    """The nests in ``region`` whose cells may be computed line by line, and wait in a row.

    Parameters
    ----------
    shared : buffers that may be one memory with another.
    """
    found: list[Nest] = []
    for op in region.ops:
        nest = _nest(bounds, region, op, shared) if op.name == "for" else None
        if nest is not None:
            found.append(nest)
            continue
        for inner in op.regions:
            with bounds.within(op, inner):
                found += find_nests(bounds, inner, shared, depth + 1)
        bounds.learn(op, depth)
    bounds.forget(depth)
    return found


def _nest(bounds: Bounds, region: Region, outer: Operation, shared: set[Value]) -> Nest | None:
    body = outer.regions[0]
    loops = [op for op in body.ops if op.name in ("for", "while")]
    if len(loops) != 1 or loops[0].name != "for":
        return None
    inner = loops[0]
    if any(op.attributes.get("kind", "plain") != "plain" for op in (outer, inner)):
        return None
    steps = [bounds.polynomial(op.operands[2]) for op in (outer, inner)]
    if any(step not in (1, -1) for step in steps):
        return None
    with bounds.within(outer, body):
        rows = bounds.range_of(body.params[0])
        if not _is_known(bounds, rows, rows):
            return None
        with bounds.within(inner, inner.regions[0]):
            columns = bounds.range_of(inner.regions[0].params[0])
            cell = _Cell(bounds, outer, inner)
            if not _is_known(bounds, columns, rows) or not cell.build():
                return None
            elements = [op for op in cell.ops if op.name in ELEMENT]
            accesses = [_access(bounds, op, rows, columns) for op in elements]
            nest = Nest(
                region,
                outer,
                inner,
                cell.ops,
                cell.carried,
                cell.yields,
                cell.sums,
                cell.chain,
                (rows, columns),
                (1 if steps[0] == 1 else -1, 1 if steps[1] == 1 else -1),
                accesses,
            )
            nest.written = {a.buffer for a in accesses if a.writes}
            nest.skew = _skew(bounds, nest, shared, cell.early)
    if not nest.skew:
        return None
    nest.runs = all(
        bounds.never_negative(greatest - least) for least, greatest in map(nest.limits, (0, 1))
    )
    return nest


def _is_known(bounds: Bounds, loop: Range, outer: Range) -> bool:
    """Whether the bounds of a loop are those of a rectangle."""
    return all(
        dim is not None and bounds.outside(dim, outer) for dim in (loop.least, loop.greatest)
    )


class _Cell:
    """What a cell of a nest does, as one list of new operations.

    Attributes
    ----------
    ops : the operations. An element ``b[i]`` that a row keeps in a register is read and written
        by each cell again; what a branch reads is read before it.
    carried, yields : the sums in the inner loop, and what a cell makes of them.
    sums : for each result of the outer loop, its position among ``carried``.
    chain : additions to sums → which sum, and the position of the operand that is it.
    early : what the nest reads or writes once a row → one operation for each element.
    """

    def __init__(self, bounds: Bounds, outer: Operation, inner: Operation) -> None:
        self.bounds = bounds
        self.outer = outer
        self.inner = inner
        self.builder = MemoryBuilder()
        self.env: dict[Value, Value] = {}
        self.carried: list[Value] = []
        self.yields: list[Value] = []
        self.sums: list[int] = []
        self.chain: dict[Operation, tuple[int, int]] = {}
        self.early: dict[Operation, Operation] = {}

    @property
    def ops(self) -> list[Operation]:
        return self.builder.region.ops

    def build(self) -> bool:
        """Whether it could be made a list, and the loops carry nothing but sums."""
        body, cell = self.outer.regions[0], self.inner.regions[0]
        users = body.users()
        kept = self._kept(users)
        stores = {store for _, store in kept.values()}
        loads = {load for load, _ in kept.values()}
        rest = [op for op in body.ops if op is not self.inner and op not in stores | loads]
        if any(op.name in ("store", "add_store") for op in rest):
            return False
        if not all(self._copy(op, op) for op in rest):
            return False
        for n, (load, _) in kept.items():
            self._copy(load, load)
            self.env[cell.params[1 + n]] = self.env[load.result]
        if not all(self._copy(op) for op in cell.ops):
            return False
        for n, (load, store) in kept.items():
            self.env[store.operands[0]] = self.env.get(cell.yields[n], cell.yields[n])
            self._copy(store, load)
        return self._sums(users, kept)

    def _kept(
        self, users: Mapping[Value, Sequence[Operation | Region]]
    ) -> dict[int, tuple[Operation, Operation]]:
        """Elements that the inner loop carries: position → the read before, the write after."""
        found = {}
        for n, (init, result) in enumerate(
            zip(self.inner.operands[3:], self.inner.results, strict=True)
        ):
            load, after = init.op, users[result]
            if load is None or load.name != "load" or load not in self.outer.regions[0].ops:
                continue
            if len(users[init]) != 1 or len(after) != 1 or not isinstance(after[0], Operation):
                continue
            store = after[0]
            if store.name != "store" or store.operands[0] is not result:
                continue
            at = [self.bounds.polynomial(v) for v in load.operands[1:]]
            same = [self.bounds.polynomial(v) for v in store.operands[2:]]
            if store.operands[1] is load.operands[0] and at == same and None not in at:
                found[n] = load, store
        return found

    def _sums(
        self,
        users: Mapping[Value, Sequence[Operation | Region]],
        kept: Mapping[int, tuple[Operation, Operation]],
    ) -> bool:
        """Whether what both loops carry, besides what is ``kept``, are sums."""
        body, cell = self.outer.regions[0], self.inner.regions[0]
        inits = self.inner.operands[3:]
        outer = dict(zip(body.params[1:], body.yields, strict=True))
        inside = cell.users()
        position = {}
        for n, init in enumerate(inits):
            if n in kept:
                continue
            start, end = cell.params[1 + n], cell.yields[n]
            result = self.inner.results[n]
            if init not in outer or outer[init] is not result:
                return False
            if len(users[init]) != 1 or users[result] != [body]:
                return False
            chain = additions(inside, cell, start, end)
            if start.rank or not start.dtype.is_float or chain is None:
                return False
            for op, place in chain:
                copied = self.env[op.result].op
                assert copied is not None
                self.chain[copied] = len(self.carried), place
            position[init] = len(self.carried)
            self.carried.append(start)
            self.yields.append(self.env.get(end, end))
        if len(position) != len(outer):
            return False
        self.sums = [position[param] for param in outer]
        return True

    def _copy(self, op: Operation, once: Operation | None = None) -> bool:
        """Append a copy of ``op``; whether that may stand in a cell."""
        if op.name in ELEMENT:
            new = self.builder.copy(op, self.env)
            if once is not None:
                self.early[new] = once
        elif any(r.rank for r in op.results) or op.opdef.effects:
            return False
        elif op.name == "if":
            if not all(self._read_before(region) for region in op.regions):
                return False
            new = self.builder.copy(op, self.env, regions=[self._arm(r) for r in op.regions])
        elif op.regions:
            return False
        else:
            new = self.builder.copy(op, self.env)
        self.env.update(zip(op.results, new.results, strict=True))
        return True

    def _read_before(self, arm: Region) -> bool:
        """Append the reads of a branch; whether it has no other effects, and all are in range."""
        for op in arm.ops:
            if op.name == "load":
                buffer, *indices = op.operands
                for index, size in zip(indices, buffer.shape, strict=True):
                    at = self.bounds.polynomial(index)
                    if at is None or not self._is_inside(at, size):
                        return False
                    self._index(arm, index)
                self._copy(op)
            elif (
                any(r.rank for r in op.results)
                or op.opdef.effects
                or not all(self._read_before(inner) for inner in op.regions)
            ):
                return False
        return True

    def _is_inside(self, at: Dim, size: Dim) -> bool:
        return self.bounds.never_negative(at) and self.bounds.never_negative(size - 1 - at)

    def _index(self, arm: Region, index: Value) -> None:
        """Append what computes an index in a branch."""
        if index.op in arm.ops and index not in self.env:
            for operand in index.op.operands:
                self._index(arm, operand)
            self._copy(index.op)

    def _arm(self, arm: Region) -> Region:
        """A branch without the reads, which stand before it."""
        saved = dict(self.env)
        with self.builder.open() as region:
            for op in arm.ops:
                if op.name == "load":
                    continue
                regions = [self._arm(inner) for inner in op.regions]
                new = self.builder.copy(op, self.env, regions=regions)
                self.env.update(zip(op.results, new.results, strict=True))
            region.yields = tuple(self.env.get(v, v) for v in arm.yields)
        self.env = saved
        return region


def additions(
    users: Mapping[Value, Sequence[Operation | Region]], cell: Region, value: Value, end: Value
) -> list[tuple[Operation, int]] | None:
    """The additions that make ``end`` of ``value``, which nobody else reads.

    Each with the position of what is added to; None if there are others.
    """
    found: list[tuple[Operation, int]] = []
    while value is not end:
        (reader, *others) = users[value] or [cell]
        if others or not isinstance(reader, Operation) or reader not in cell.ops:
            return None
        place = reader.operands.index(value) if value in reader.operands else 1
        if reader.name != "add" and (reader.name != "subtract" or place):
            return None
        found.append((reader, place))
        value = reader.result
    return found if users[value] == [cell] else None


def _access(bounds: Bounds, op: Operation, outer: Range, inner: Range) -> Access:
    place = ELEMENT[op.name]
    at = []
    for index in op.operands[place + 1 :]:
        dim = bounds.polynomial(index)
        if dim is None:
            return Access(op, op.operands[place], None)
        factors = [coefficient(dim, loop.name) for loop in (outer, inner)]
        if factors[0] is None or factors[1] is None:
            return Access(op, op.operands[place], None)
        rest = dim - symbol(outer.name) * factors[0] - symbol(inner.name) * factors[1]
        if not bounds.outside(rest, outer):
            return Access(op, op.operands[place], None)
        at.append(Position(factors[0], factors[1], rest, dim))
    return Access(op, op.operands[place], tuple(at))


def _skew(
    bounds: Bounds, nest: Nest, shared: set[Value], early: Mapping[Operation, Operation]
) -> int:
    """The least skew that cells may be computed by; 0 if there is none, or no need for one."""
    if len(nest.accesses) > MOST or nest.written & shared:
        return 0
    if any(a.at is None for a in nest.accesses if a.buffer in nest.written):
        return 0
    distances: list[Distance] = []
    for one, other in nest.pairs():
        met = nest.meet(bounds, one, other)
        nest.met[one.op, other.op] = nest.met[other.op, one.op] = met
        if (one.adds and other.adds) or met == "apart":
            continue
        if met is None or early.get(one.op) is not early.get(other.op):
            return 0
        distances.append(met)
        if not other.writes and met.within_row:
            nest.waiting.add(other.op.result)
            nest.handed_on.add(other.buffer)
    if not nest.waiting or not _forward(nest):
        return 0
    return next((s for s in SKEWS if all(d.leads_on(s) for d in distances)), 0)


def _forward(nest: Nest) -> bool:
    """Note the reads of what the cell itself has stored; whether all others come before writes."""
    last: dict[object, Operation] = {}
    for access in nest.accesses:
        if access.buffer not in nest.written:
            continue
        if access.writes:
            last[access.key] = access.op
        elif access.key in last:
            if last[access.key].name != "store":
                return False
            nest.stored[access.op.result] = last[access.key].operands[0]
    return True
