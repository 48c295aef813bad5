"""The copy of the primal that a reversal may still change: it stores what the way back reads.

Only this copy is changed, and only by adding to it: operations that store, carried values that
bring a tape through loops, results that bring a value out of a branch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from tracegrad.ir.core import Operation, Region, Value
from tracegrad.ir.threads import Threads
from tracegrad.ir.types import ArrayType, i64
from tracegrad.ops.access import zeros
from tracegrad.ops.registry import constant


class Primal:
    """Where things are in the forward sweep.

    Parameters
    ----------
    body : the region of the whole function; what is appended to it later is the reverse sweep.
    """

    def __init__(self, build: Threads, body: Region) -> None:
        self.build = build
        self.body = body
        self.ops = list(body.ops)
        self._home: dict[Operation, Region] = {}
        self._holder: dict[int, Operation] = {}
        self._region_of_param: dict[Value, Region] = {}
        self._fused: set[Region] = set()
        self._enter(body)

    def _enter(self, region: Region) -> None:
        self._region_of_param.update((p, region) for p in region.params)
        for op in region.ops:
            self.note(op, region)

    def note(self, op: Operation, region: Region) -> None:
        """``op`` stands in ``region``."""
        self._home[op] = region
        for inner in op.regions:
            self._holder[id(inner)] = op
            self._enter(inner)

    # --- where

    def region_of(self, value: Value) -> Region | None:
        """The region that defines ``value``; None if it is not one of the forward sweep."""
        if value.op is None:
            return self._region_of_param.get(value)
        return self._home.get(value.op)

    def home(self, op: Operation) -> Region:
        """The region that ``op`` stands in."""
        return self._home[op]

    def holder(self, region: Region) -> Operation | None:
        """The operation that holds ``region``; None for the function's own."""
        return self._holder.get(id(region))

    def fuse(self, loop: Operation) -> None:
        """The body of ``loop`` is reversed within itself: it is what a function is otherwise."""
        self._fused.add(loop.regions[-1])

    def stand(self, region: Region) -> None:
        """What is appended to ``region``, of the way back, is reversed there: see `fuse`."""
        if region is not self.body:
            self._fused.add(region)

    def still_there(self, region: Region) -> bool:
        """Whether the way back, where it reads values of ``region``, can read them as they are."""
        return region is self.body or region in self._fused

    def path(self, region: Region) -> list[tuple[Operation, Region]]:
        """The operations around ``region`` with their region that leads to it, outermost first.

        Those within the innermost fused body only, if there is one.
        """
        found: list[tuple[Operation, Region]] = []
        holder = self.holder(region)
        while holder is not None and region not in self._fused:
            found.append((holder, region))
            region = self.home(holder)
            holder = self.holder(region)
        return found[::-1]

    def fused_around(self, region: Region) -> list[Operation]:
        """The fused loops around ``region``, outermost first."""
        path = self.path(region)
        region = self.home(path[0][0]) if path else region
        found: list[Operation] = []
        while region in self._fused:
            holder = self._holder.get(id(region))
            if holder is None:
                break  # a region of the way back
            found.append(holder)
            region = self.home(holder)
        return found[::-1]

    def defined_in(self, region: Region) -> Iterator[Value]:
        """The values that the operations of ``region`` itself and its parameters define."""
        yield from region.params
        for op in region.ops:
            yield from op.results

    # --- adding

    def before(self, op: Operation, make: Callable[[], Value]) -> Value:
        """The value that ``make`` appends just before ``op``."""
        region = self.home(op)
        position = region.ops.index(op)
        return self._splice(region, position, make)

    def just_after(self, op: Operation, make: Callable[[], Value]) -> Value:
        """The value that ``make`` appends just after ``op``."""
        region = self.home(op)
        return self._splice(region, region.ops.index(op) + 1, make)

    def after(self, value: Value, region: Region, make: Callable[[], Value]) -> Value:
        """The value that ``make`` appends as soon as ``value``, of ``region``, is defined."""
        position = 0 if value.op is None else region.ops.index(value.op) + 1
        return self._splice(region, position, make)

    def at_end(self, region: Region, make: Callable[[], Value]) -> Value:
        """The value that ``make`` appends to ``region``."""
        return self._splice(region, len(region.ops), make)

    def _splice(self, region: Region, position: int, make: Callable[[], Value]) -> Value:
        count = len(region.ops)
        location = region.ops[min(position, count - 1)].location if count else None
        with self.build.spliced(region, position), self.build.at(location, "forward"):
            value = make()
        for op in region.ops[position : position + len(region.ops) - count]:
            self.note(op, region)
        return value

    def through(self, region: Region, init: Value, make: Callable[[Value], Value]) -> Value:
        """Bring a value to ``region`` and what becomes of it back to the function.

        Parameters
        ----------
        init : its value before the outermost operation around ``region``.
        make : from the value as it comes to ``region``, the value as it leaves it.

        Returns
        -------
        The value after the outermost operation; in the function's own region, what ``make`` gave.
        """
        path = self.path(region)
        current = init
        pending: list[tuple[Operation, Region, Value]] = []
        for op, inner in path:
            pending.append((op, inner, current))
            if op.name != "if":
                current = self.carry(op, current)
        current = make(current)
        for op, inner, before in reversed(pending):
            for each in op.regions:
                if op.name == "while" and each is op.regions[0]:
                    continue
                each.yields = (*each.yields, current if each is inner else before)
            current = self.result(op, init.type, init.hint)
        return current

    def carry(self, op: Operation, init: Value) -> Value:
        """A further carried value of a loop; its yield and its result are still to be added."""
        op.operands = (*op.operands, init)
        param = init
        for region in op.regions:
            param = Value(init.type, init.hint)
            region.params = (*region.params, param)
            self._region_of_param[param] = region
        return param

    def result(self, op: Operation, type: ArrayType, hint: str = "") -> Value:
        """A further result of ``op``; the yields are the caller's duty."""
        value = Value(type, hint, op)
        op.results = (*op.results, value)
        return value

    def count_trips(self, op: Operation) -> Value:
        """The number of trips of a ``while``, counted by a value that it carries."""
        body = op.regions[1]
        for param, after, init in zip(body.params, body.yields, op.operands, strict=True):
            if is_count(param, after, init):
                return op.results[body.params.index(param)]
        zero = self.before(op, lambda: constant(0, i64))
        trip = self.carry(op, zero)
        trip.hint = "trips"
        body.yields = (*body.yields, self.at_end(body, lambda: trip + 1))
        return self.result(op, zero.type, "trips")

    def out_of_branch(self, op: Operation, values: Sequence[Value | None]) -> Value:
        """A further result of an ``if``: one value of each arm, or zeros where there is none."""
        (type,) = {v.type for v in values if v is not None}
        for region, value in zip(op.regions, values, strict=True):
            if value is None:
                value = self.at_end(region, lambda: zeros(type.shape, type.dtype))
            region.yields = (*region.yields, value)
        hints = [v.hint for v in values if v is not None]
        return self.result(op, type, hints[0])

    def fill(self, op: Operation, result: Value, number: int, value: Value) -> None:
        """Let arm ``number`` give ``value`` for a result of `out_of_branch` that it left open."""
        region = op.regions[number]
        k = op.results.index(result)
        region.yields = (*region.yields[:k], value, *region.yields[k + 1 :])


def is_count(param: Value, after: Value, init: Value) -> bool:
    """Whether a carried value counts trips from 0."""
    return whole_number(init) == 0 and step_of(param, after, frozenset()) == 1


def step_of(param: Value, after: Value, variant: frozenset[Value]) -> Value | int | None:
    """What an i64 carried value grows by each trip, when that is the same in every trip.

    Parameters
    ----------
    variant : the values that may differ from trip to trip.
    """
    op = after.op
    if param.dtype.name != "i64" or param.rank or op is None or op.name != "add":
        return None
    for one, other in (op.operands, op.operands[::-1]):
        if one is param:
            number = whole_number(other)
            if number is not None:
                return number
            return other if variant and other not in variant else None
    return None


def whole_number(value: Value) -> int | None:
    """The number when ``value`` is an integer constant."""
    op = value.op
    if op is None or op.name != "const" or not value.dtype.is_integer or value.rank:
        return None
    number: int = op.attributes["value"]
    return number
