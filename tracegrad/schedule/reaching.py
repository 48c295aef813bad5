"""Which reads a store reaches: stores that reach none are dropped, zeros that none reached known.

The cotangent of an array that a loop writes to is an array too. Its elements are read in the trips
before the one that wrote them, and are set to zero there for what had been in the place before::

    for t in range(n - 1, 0, -1):                   for t in range(n - 1, 0, -1):
        x_bar[t] += y_bar * a                  →        x_bar[t] = y_bar * a
        y_bar = y_bar * b + seed[t - 1]                 y_bar = y_bar * b + seed[t - 1]
        seed[t] = 0.0

Nobody reads ``seed[t]`` again, and no store has come to ``x_bar[t]``, made of zeros, before it is
read. This is asked of arrays that a function makes and reads and writes element by element, of
which each access stands in one loop at most.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tracegrad.ir.bounds import Bounds, Range
from tracegrad.ir.core import Function, Operation, Region, Value
from tracegrad.ir.types import Dim, coefficient, substitute
from tracegrad.schedule.buffers import ELEMENT, replace
from tracegrad.schedule.memory import MemoryBuilder
from tracegrad.schedule.registers import shared_memories
from tracegrad.schedule.values import signs_of

MOST = 60
"""Accesses to one array at most: they are compared with each other."""


def without_unreached(function: Function) -> Function:
    """Drop stores that nobody reads, and reads of zeros. ``function``, in loop form, is changed."""
    if any(op.name == "for" for op in function.body.ops):
        with signs_of(function):
            _Reaching(function).run()
    return function


@dataclass(frozen=True)
class _Access:
    """A read or write of one element.

    Attributes
    ----------
    region : where it stands.
    order : its position in the text.
    loop : the outermost loop around it.
    range, step : the index of that loop and how it counts; None and 0 where the access stands in
        an inner loop, or not in a ``for``.
    cell : the indices, which are in range; None where they are not known.
    """

    op: Operation
    region: Region
    order: int
    loop: Operation | None
    range: Range | None
    step: int
    cell: Sequence[Dim] | None


class _Reaching:
    def __init__(self, function: Function) -> None:
        self.function = function
        self.bounds = Bounds(function)
        self.order = 0
        self.accesses: dict[Value, list[_Access]] = {
            op.result: [] for op in function.body.ops if op.name == "alloc"
        }
        for buffer in shared_memories(function):
            self.accesses.pop(buffer, None)

    def run(self) -> None:
        body = self.function.body
        for op in body.ops:
            self._visit(op, body, [])
            self.bounds.learn(op, 0)
        for buffer, accesses in self.accesses.items():
            if len(accesses) > MOST:
                continue
            assert buffer.op is not None
            if buffer.op.attributes["fill"] == 0:
                accesses = self._without_zeros(accesses)
            if buffer not in body.yields:
                _drop_unread(self, accesses)

    # --- what there is

    def _visit(self, op: Operation, region: Region, loops: list[Operation]) -> None:
        """Note the accesses in ``op``, which stands in ``region`` and in ``loops``."""
        place = ELEMENT.get(op.name)
        for position, value in enumerate(op.operands):
            if position != place:
                self.accesses.pop(value, None)
        self.order += 1
        if place is not None and op.operands[place] in self.accesses:
            buffer = op.operands[place]
            self.accesses[buffer].append(self._access(op, region, loops))
        inside = loops if op.name == "if" else [*loops, op]
        for inner in op.regions:
            for value in inner.yields:
                self.accesses.pop(value, None)
            with self.bounds.within(op, inner):
                for each in inner.ops:
                    self._visit(each, inner, inside)

    def _access(self, op: Operation, region: Region, loops: Sequence[Operation]) -> _Access:
        loop = loops[0] if loops else None
        step, limits = 0, None
        if loop is not None and len(loops) == 1 and loop.name == "for":
            by = self.bounds.polynomial(loop.operands[2])
            # The trips of other kinds have no order, or begin with others' ends.
            plain = loop.attributes.get("kind", "plain") == "plain"
            if isinstance(by, int) and by in (1, -1) and plain:
                step, limits = by, self.bounds.range_of(loop.regions[0].params[0])
        cell = self._cell(op, limits) if limits is not None or loop is None else None
        return _Access(op, region, self.order, loop, limits, step, cell)

    def _cell(self, op: Operation, limits: Range | None) -> list[Dim] | None:
        place = ELEMENT[op.name]
        cell = []
        for index, size in zip(op.operands[place + 1 :], op.operands[place].shape, strict=True):
            dim = self.bounds.polynomial(index)
            if dim is None or self.bounds.place(index, size) != 0:
                return None
            if limits is not None:
                along = coefficient(dim, limits.name)
                rest = None if along is None else substitute(dim, {limits.name: 0})
                if rest is None or not self.bounds.outside(rest, limits):
                    return None
            cell.append(dim)
        return cell

    # --- what a store reaches

    def reaches(self, store: _Access, read: _Access) -> bool:
        """Whether ``read`` may find what ``store`` has written."""
        if store.cell is None or read.cell is None:
            return store.order < read.order or store.loop is read.loop is not None
        if store.loop is not read.loop or store.loop is None:
            return store.order < read.order and not self._apart(store, read)
        turns = _turns(store, read)
        if isinstance(turns, int):
            return turns > 0 or (not turns and store.order < read.order)
        return turns is None

    def _apart(self, store: _Access, read: _Access) -> bool:
        """Whether two accesses that share no loop go to different places."""
        for one, other in zip(_spans(store), _spans(read), strict=True):
            for (_, end), (start, _) in ((one, other), (other, one)):
                if start is None or end is None:
                    continue
                if self.bounds.never_negative(start - end - 1):
                    return True
        return False

    # --- what follows

    def _without_zeros(self, accesses: list[_Access]) -> list[_Access]:
        """Read nothing from memory where the zeros of the allocation still are."""
        stores = [each for each in accesses if each.op.name != "load"]
        left = []
        for read in accesses:
            reads = read.op.name != "store" and read.cell is not None
            if not reads or any(self.reaches(store, read) for store in stores):
                left.append(read)
                continue
            build = MemoryBuilder()
            at = read.region.ops.index(read.op)
            if read.op.name == "load":
                zero = build.const(0, read.op.result.type)
                zero.hint = read.op.result.hint
                replace(read.region, read.op.result, zero)
                _add_nothing(read.region, zero)
            else:
                with build.at(read.op.location, read.op.part):
                    value, buffer, *indices = read.op.operands
                    build.store("store", value, buffer, indices)
                left.append(dataclasses.replace(read, op=build.region.ops[-1]))
            read.region.ops[at : at + 1] = build.region.ops
        return left


def _add_nothing(region: Region, zero: Value) -> None:
    for op in list(region.ops):
        if op.name == "add" and zero in op.operands:
            one, other = op.operands
            replace(region, op.result, other if one is zero else one)
            region.ops.remove(op)


def _drop_unread(known: _Reaching, accesses: Sequence[_Access]) -> None:
    reads = [each for each in accesses if each.op.name != "store"]
    for store in accesses:
        if store.op.name == "store" and not any(known.reaches(store, read) for read in reads):
            store.region.ops.remove(store.op)


def _turns(store: _Access, read: _Access) -> int | Literal["apart"] | None:
    """After how many trips of their loop ``read`` comes to the place of ``store``, if known."""
    assert store.range is not None
    assert store.cell is not None
    assert read.cell is not None
    turns: int | None = None
    unknown = False
    for written, found in zip(store.cell, read.cell, strict=True):
        along, other = (coefficient(dim, store.range.name) for dim in (written, found))
        distance = written - found
        if along is None or along != other or not isinstance(distance, int):
            unknown = True
        elif not along:
            if distance:
                return "apart"
        elif distance % along:
            return "apart"
        else:
            trips = distance // along * store.step
            if turns not in (None, trips):
                return "apart"
            turns = trips
    return None if unknown else turns


def _spans(access: _Access) -> list[tuple[Dim | None, Dim | None]]:
    """The least and the greatest index of an access in its loop, for each axis."""
    assert access.cell is not None
    spans: list[tuple[Dim | None, Dim | None]] = []
    for dim in access.cell:
        if access.range is None:
            spans.append((dim, dim))
            continue
        along = coefficient(dim, access.range.name)
        ends = [access.range.least, access.range.greatest]
        if along is None:
            ends = [None, None]
        elif along < 0:
            ends.reverse()
        least, greatest = (
            None if end is None else substitute(dim, {access.range.name: end}) for end in ends
        )
        spans.append((least, greatest))
    return spans
