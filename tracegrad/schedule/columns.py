"""Rows of a few numbers, which an inner loop goes along, as an array for each column.

Points in space are an array of shape ``(n, 3)``. A loop over pairs reads ``x[j, 0]``, ``x[j, 1]``
and ``x[j, 2]`` for each j, and the adjoint adds to three such places. To compute several trips at
once, LLVM must pick every third number, and put each back to its place. So the columns are copied
once before the nest of loops, and what is added is put together after it::

                                          for i in range(n):
                                              x_0[i] = x[i, 0]; x_1[i] = x[i, 1]
    for i in range(n):                    for i in range(n):
        for j in range(n):                    for j in range(n):
            s += x[j, 0] * x[j, 1]    →           s += x_0[j] * x_1[j]
            x_bar[j, 0] += x[j, 1]                x_bar_0[j] += x_1[j]
            x_bar[j, 1] += x[j, 0]                x_bar_1[j] += x_0[j]
                                          for i in range(n):
                                              x_bar[i, 0] = x_bar_0[i]; x_bar[i, 1] = x_bar_1[i]

It pays where the inner loop runs many times, and where its trips may run at once: it carries sums
only, and checks nothing. An array that goes by two names is left alone, and so is one whose rows
are picked by arrays of indices: the numbers of such a row come from memory together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tracegrad.ir.core import Function, Operation, Region, Value
from tracegrad.ir.types import evaluate, i64, scalar, symbols
from tracegrad.ops.registry import REGISTRY
from tracegrad.passes.values import dimension
from tracegrad.schedule.buffers import ELEMENT
from tracegrad.schedule.counted import runs_at_once
from tracegrad.schedule.memory import MemoryBuilder

WRITES = ("store", "add_store")
WIDEST = 8
"""How many columns an array has at most: its dimension is static."""
MOST = 9
"""How many columns there may be in one nest. LLVM compares the ends of each two arrays that a loop
touches, and gives up where there are too many."""
REUSE = 4
"""How often the inner loop must run, as far as sizes are known."""


def into_columns(function: Function) -> Function:
    """Let inner loops of ``function``, which is in loop form, go along columns of their own.

    The function is changed: it must be new.
    """
    columns = _Columns(function)
    columns.region(function.body)
    function.body.ops[0:0] = columns.buffers
    return function


@dataclass(frozen=True)
class _Access:
    """One read or write of an element: ``column`` is None if it is not known which."""

    op: Operation
    region: Region
    column: int | None

    @property
    def writes(self) -> bool:
        return self.op.name != "load"


class _Columns:
    """What is known of one function.

    Attributes
    ----------
    buffers : allocations that are to stand at the beginning.
    """

    def __init__(self, function: Function) -> None:
        self.hints = function.hints
        self.sizes = frozenset(function.size_sources())
        self.buffers: list[Operation] = []
        shared = {v for op in function.walk() for v in _shared(op)}
        shared.update(v for op in function.walk() for r in op.regions for v in r.yields)
        made = [op.result for op in function.walk() if op.name == "alloc"]
        given = set(function.params)
        written = {v for op in function.walk() if op.name in WRITES for v in op.operands}
        # A function that writes to its arguments is a part of another one: what they share with
        # each other, or with parts that run at the same time, is not known here.
        params = () if not given.isdisjoint(written) else function.params
        self.arrays = [v for v in (*params, *made) if self._fits(v) and v not in shared]

    def _fits(self, array: Value) -> bool:
        if array.rank != 2 or not array.dtype.is_float:
            return False
        width = array.shape[1]
        known = self.sizes.issuperset(symbols(array.shape[0]))
        return known and isinstance(width, int) and 2 <= width <= WIDEST

    def region(self, region: Region) -> None:
        for op in list(region.ops):
            if op.name == "for" and any(_loops_in(op)):
                self._nest(region, op)
            for inner in op.regions:
                self.region(inner)

    def _nest(self, region: Region, nest: Operation) -> None:
        """Change the arrays that inner loops of ``nest`` go along."""
        if self._trips(nest) < REUSE:
            return
        left = MOST
        for array in self.arrays:
            found = list(_accesses(nest.regions[0], array))
            if any(a.column is None for a in found) and any(a.writes for a in found):
                continue
            if any(_is_picked(a.op.operands[ELEMENT[a.op.name] + 1]) for a in found):
                continue
            count = len({a.column for a in found} - {None})
            if not found or count > left or not self._gains(nest, array):
                continue
            left -= count
            self._change(region, nest, array, found)

    def _trips(self, loop: Operation) -> int:
        lo, hi = (dimension(v) for v in loop.operands[:2])
        if lo is None or hi is None or any(s not in self.hints for s in symbols(hi - lo)):
            return REUSE
        return abs(int(evaluate(hi - lo, self.hints)))

    def _gains(self, nest: Operation, array: Value) -> bool:
        """Whether an inner loop goes along two columns of ``array`` or more."""
        for loop in _loops_in(nest):
            if not runs_at_once(loop):
                continue
            (body,) = loop.regions
            found = {
                a.column
                for a in _accesses(body, array)
                if _goes_along(a.op.operands[ELEMENT[a.op.name] + 1], body.params[0])
            }
            if len(found - {None}) > 1:
                return True
        return False

    def _change(self, region: Region, nest: Operation, array: Value, found: list[_Access]) -> None:
        written = any(a.writes for a in found)
        numbers = sorted({a.column for a in found if a.column is not None})
        build = MemoryBuilder()
        type = array.type.with_shape(array.shape[:1])
        before = region.ops[: region.ops.index(nest)]
        made = array.op
        new = (
            made in before
            and made is not None
            and made.attributes["fill"] == 0
            and not any(_mentions(op, array) for op in before)
        )
        name = array.hint or "column"
        with build.at(nest.location, nest.part):
            columns = {n: build.alloc(type, f"{name}_{n}", 0 if new else None) for n in numbers}
        self.buffers += [] if new else build.region.ops
        first = build.region.ops if new else []
        if new:
            assert made is not None
            # Columns that the nest does not touch are zero.
            if len(numbers) == array.shape[1]:
                made.attributes = {**made.attributes, "fill": None}
        else:
            first = self._rows(nest, array, columns, back=False)
        last = self._rows(nest, array, columns, back=True) if written else []
        at = region.ops.index(nest)
        region.ops[at : at + 1] = [*first, nest, *last]
        for access in found:
            if access.column is None:
                continue
            op = access.op
            place = ELEMENT[op.name]
            row = op.operands[place + 1]
            op.operands = (*op.operands[:place], columns[access.column], row)

    def _rows(
        self, nest: Operation, array: Value, columns: dict[int, Value], *, back: bool
    ) -> list[Operation]:
        """A loop that copies from the rows to the columns, or ``back``."""
        build = MemoryBuilder()
        with build.at(nest.location, nest.part):
            numbers = {n: build.size(n) for n in columns}
            ends = [build.size(0), build.size(array.shape[0]), build.size(1)]
            with build.open() as body:
                row = build.param(scalar(i64), "i")
                for n, column in columns.items():
                    if back:
                        value = build.load(column, [row])
                        build.store("store", value, array, [row, numbers[n]])
                    else:
                        value = build.load(array, [row, numbers[n]])
                        build.store("store", value, column, [row])
            build.emit(REGISTRY["for"], ends, {"kind": "copy"}, [body], ())
        return build.region.ops


def _is_picked(row: Value) -> bool:
    """Whether a row is found in an array of indices: then its numbers should lie together."""
    pending, seen = [row], {row}
    while pending:
        op = pending.pop().op
        if op is None:
            continue
        if op.name == "load":
            return True
        if not op.regions:
            pending += [v for v in op.operands if v not in seen]
            seen.update(op.operands)
    return False


def _loops_in(loop: Operation) -> Iterator[Operation]:
    """The loops within ``loop``."""
    return (op for op in loop.regions[-1].walk() if op.name == "for")


def _accesses(region: Region, array: Value) -> Iterator[_Access]:
    for op in region.ops:
        place = ELEMENT.get(op.name)
        if place is not None and op.operands[place] is array:
            number = dimension(op.operands[place + 2])
            yield _Access(op, region, number if isinstance(number, int) else None)
        for inner in op.regions:
            yield from _accesses(inner, array)


def _shared(op: Operation) -> Iterator[Value]:
    """The arrays that go on under another name, or are used as a whole."""
    for k, value in enumerate(op.operands):
        if value.rank and ELEMENT.get(op.name) != k:
            yield value


def _mentions(op: Operation, array: Value) -> bool:
    return array in op.operands or any(
        _mentions(o, array) for inner in op.regions for o in inner.ops
    )


def _goes_along(row: Value, index: Value) -> bool:
    """Whether ``row`` is the index, or as far from it in every trip."""
    if row is index:
        return True
    op = row.op
    if op is None or op.name not in ("add", "subtract"):
        return False
    one, other = op.operands
    if op.name == "add" and other is index:
        one, other = other, one
    return one is index and dimension(other) is not None
