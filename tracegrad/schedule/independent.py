"""Which loops may have their trips run at once, in chunks.

The trips of a loop are *independent* if no trip reads what another writes, and no two write to one
place, apart from sums:

- what the loop carries are numbers that are only added to (or multiplied, or the greatest or
  least of): each chunk has its own, and they are put together after;
- an array that is only added to, at places that may be the same in two trips, is likewise each
  chunk's own (*own* arrays);
- an array in which each trip has places of its own is shared: two accesses of which one writes
  have an index that moves with the loop, by more than what inner loops add to it;
- an array that does not outlive a trip (*local*, as the scheduler knows who made it) and a tape
  that only this loop uses are made anew by each chunk.

What is not known to be so is not so: `examine` says why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tracegrad.ir.bounds import Bounds
from tracegrad.ir.core import Operation, Region, Value
from tracegrad.ir.rewrite import first_carried, leading
from tracegrad.ir.sizes import BINDING
from tracegrad.ir.types import Dim, i64, symbol, symbols
from tracegrad.schedule.buffers import ELEMENT

#: Operations that put two parts of a sum together, with what such a sum starts from.
STARTS: dict[str, float] = {"add": 0.0, "multiply": 1.0, "maximum": -1.0, "minimum": 1.0}
"""For the greatest and the least only the sign: they start from an infinity."""

#: Pairs of accesses to one array that are compared at most.
MOST_PAIRS = 5000


@dataclass
class Independent:
    """How a loop may be split.

    Attributes
    ----------
    combine : for each carried number, the operation that puts the chunks' results together;
        None for a carried tape.
    own : arrays of which each chunk has its own, added up after.
    local : allocations and tapes that each chunk makes anew.
    written : the other arrays that the loop writes to.
    """

    combine: list[str | None] = field(default_factory=list)
    own: list[Value] = field(default_factory=list)
    local: list[Value] = field(default_factory=list)
    written: list[Value] = field(default_factory=list)


class Refused(Exception):
    """The trips are not known to be independent; the text says why."""


class Place(NamedTuple):
    """An index: ``factor * i + rest`` and something from ``least`` to ``greatest``.

    ``i`` is the index of the loop in question and ``rest`` the same in all its trips; an end that
    is not known is None.
    """

    factor: int
    rest: Dim
    least: int | None
    greatest: int | None


class Around(NamedTuple):
    """What is known of an array from outside the loop.

    Attributes
    ----------
    alone : whether nothing else uses it, where it is made apart.
    loops : how many loops there are around the loop, within the region in which it is made.
    """

    alone: bool
    loops: int


def examine(loop: Operation, bounds: Bounds, around: Callable[[Value], Around]) -> Independent:
    """How ``loop``, a ``for`` in loop form, may be split.

    Parameters
    ----------
    bounds : what is known where the loop stands.
    around : what is known of an array that is not made in the loop.

    Raises
    ------
    Refused : it may not.
    """
    return _Examination(loop, bounds, around).run()


class _Examination:
    def __init__(self, loop: Operation, bounds: Bounds, around: Callable[[Value], Around]) -> None:
        self.loop = loop
        (self.body,) = loop.regions
        self.index = self.body.params[0]
        self.bounds = bounds
        self.around = around
        self.found = Independent()
        self.inside: dict[Value, Operation | Region] = {self.index: self.body}
        self.places: dict[Value, Place | None] = {}
        self.names: dict[Value, Value] = {}
        self.several: set[Value] = set()
        #: Symbols that are given values within the loop: another in each trip.
        self.moving = {str(op.attributes["size"]) for op in self.body.walk() if op.name in BINDING}

    def run(self) -> Independent:
        if _number(self.loop.operands[2]) != 1:
            raise Refused("it does not count up by one")
        self.define(self.body)
        self.carried()
        for root, accesses in self.accesses().items():
            self.array(root, accesses)
        return self.found

    def define(self, region: Region) -> None:
        self.inside.update(dict.fromkeys(region.params, region))
        for op in region.ops:
            self.inside.update(dict.fromkeys(op.results, op))
            for inner in op.regions:
                self.define(inner)

    # --- what the loop carries

    def carried(self) -> None:
        for k, result in enumerate(self.loop.results):
            param, after = self.body.params[1 + k], self.body.yields[k]
            first = self.loop.operands[3 + k]
            if not param.rank:
                self.found.combine.append(combination(self.body, param, after))
                continue
            made = first.op
            tape = made is not None and made.name == "tape" and _number(made.operands[0]) == 0
            if not tape or not self.around(first).alone or not self.around(result).alone:
                raise Refused(f"it carries the array {_name(result)} from trip to trip")
            self.found.combine.append(None)
            self.found.local.append(first)
            self.names[param] = first

    # --- arrays

    def root(self, array: Value) -> Value:
        """The value that tells the memory of ``array``; arrays that may be one share it."""
        while True:
            op = array.op
            if array in self.names:
                array = self.names[array]
            elif op is not None and op.name in ("alias", "ensure"):
                array = op.operands[0]
            else:
                return array

    def unite(self, one: Value, other: Value) -> None:
        one, other = self.root(one), self.root(other)
        if one is other:
            return
        # The memory from outside tells, if there is one.
        if one in self.inside:
            one, other = other, one
        self.names[other] = one
        if other in self.several or other not in self.inside:
            self.several.add(one)

    def accesses(self) -> dict[Value, list[Operation]]:
        """Memory → what reads and writes its elements."""
        found: list[tuple[Value, Operation]] = []
        for op in self.body.walk():
            arrays = [v for v in (*op.operands, *op.results) if v.rank]
            if op.name in ELEMENT:
                found.append((op.operands[ELEMENT[op.name]], op))
            elif op.name in ("for", "while", "if"):
                self.unite_carried(op)
            elif op.name == "ensure":
                if self.root(op.operands[0]) not in self.found.local:
                    raise Refused("a tape grows in it")
            elif arrays and op.name not in ("alloc", "alias", "blank"):
                raise Refused(f"it holds {op.name}, an operation on whole arrays")
        groups: dict[Value, list[Operation]] = {}
        for buffer, op in found:
            groups.setdefault(self.root(buffer), []).append(op)
        return groups

    def unite_carried(self, op: Operation) -> None:
        lead, first = leading(op), first_carried(op)
        for k, result in enumerate(op.results):
            if not result.rank:
                continue
            for region in op.regions:
                if op.name != "if":
                    self.unite(region.params[first + k], result)
                if len(region.yields) == len(op.results):
                    self.unite(region.yields[k], result)
            if op.name != "if":
                self.unite(op.operands[lead + k], result)

    def array(self, root: Value, accesses: Sequence[Operation]) -> None:
        writes = [op for op in accesses if op.name != "load"]
        made = root.op
        if made is not None and made.name == "if" and root not in self.inside:
            raise Refused(f"{_name(root)} may be one of two arrays")
        if not writes or (root in self.found.local and root not in self.several):
            return
        if root in self.several:
            raise Refused(f"arrays take turns in being {_name(root)}")
        if root in self.inside:
            if made is None or made.name not in ("alloc", "blank"):
                raise Refused(f"it is not known which array {_name(root)} is")
            return
        if made is not None and made.name == "alloc" and self.is_of_a_trip(root, made):
            self.found.local.append(root)
        elif self.apart(writes, accesses):
            self.found.written.append(root)
        elif self.is_only_added_to(accesses):
            self.found.own.append(root)
        elif self.is_tape_of_a_trip(root, accesses):
            self.found.local.append(root)
        else:
            raise Refused(f"trips read and write {_name(root)}, perhaps at the same places")

    def is_of_a_trip(self, root: Value, made: Operation) -> bool:
        """Whether each trip has the array anew, but for its memory, which is made before."""
        known = self.around(root)
        return known.alone and known.loops < made.attributes.get("local", 0)

    def is_only_added_to(self, accesses: Sequence[Operation]) -> bool:
        """Whether trips add to elements and do nothing else with them.

        An element may also be read, added to, and stored where it was.
        """
        stores = {op for op in accesses if op.name == "store"}
        loads = {op for op in accesses if op.name == "load"}
        ends: dict[Operation, Operation] = {}
        for region in _regions(self.body):
            for load in region.ops:
                if load not in loads:
                    continue
                names: set[str] = set()
                reached: list[Operation] = []
                try:
                    links = _links(region, {load.result}, names, reached)
                except Refused:
                    return False
                if not names <= {"add"} or not stores.issuperset(reached):
                    return False
                if not links.isdisjoint(region.yields):
                    return False
                if not all(_same(_indices(load), _indices(store)) for store in reached):
                    return False
                ends.update(dict.fromkeys(reached, load))
        return stores == set(ends)

    def is_tape_of_a_trip(self, root: Value, accesses: Sequence[Operation]) -> bool:
        """Whether an array is a tape that the loop alone uses, at the same places in each trip.

        What is read of a tape was written before, here by the same trip.
        """
        made = root.op
        if made is None or "residual" not in made.attributes or made.name != "alloc":
            return False
        if not self.around(root).alone:
            return False
        return all(
            place is not None and place.factor == 0
            for op in accesses
            for place in map(self.place, _indices(op))
        )

    def apart(self, writes: Sequence[Operation], accesses: Sequence[Operation]) -> bool:
        """Whether no trip comes to a place that another one writes to."""

        def cells(ops: Iterable[Operation]) -> list[tuple[Place | None, ...]]:
            return list(dict.fromkeys(tuple(map(self.place, _indices(op))) for op in ops))

        written, all_cells = cells(writes), cells(accesses)
        if len(written) * len(all_cells) > MOST_PAIRS:
            return False
        return all(_apart(one, other) for one in written for other in all_cells)

    # --- indices

    def place(self, value: Value) -> Place | None:
        if value not in self.places:
            self.places[value] = None
            self.places[value] = self.read(value)
        return self.places[value]

    def read(self, value: Value) -> Place | None:
        if value is self.index:
            return Place(1, 0, 0, 0)
        if value.rank or value.dtype is not i64:
            return None
        if value not in self.inside:
            known = self.bounds.polynomial(value)
            return _fixed(symbol(f"__value_{id(value)}") if known is None else known)
        op = self.inside[value]
        if isinstance(op, Region):
            return self.counter(op) if value is op.params[0] else None
        if op.name == "const":
            return _fixed(op.attributes["value"])
        if op.name == "dim":
            size = op.attributes["size"]
            moves = not self.moving.isdisjoint(symbols(size))
            return None if moves else _fixed(self.bounds.meaning(size))
        if op.name == "check_index":
            place = self.place(op.operands[0])
            return place if place and self.never_negative(op, place) else None
        operands = [self.place(v) for v in op.operands]
        if any(place is None for place in operands) and op.name not in ("minimum", "maximum"):
            return None
        if op.name in ("add", "subtract", "negative"):
            return _sum(op.name, [p for p in operands if p is not None])
        if op.name == "multiply":
            left, right = operands
            return _product(left, right) or _product(right, left)
        if op.name == "floor_divide":
            return _quotient(*operands)
        if op.name in ("minimum", "maximum"):
            return self.extremum(op.name, operands)
        return None

    def counter(self, region: Region) -> Place | None:
        """The index of an inner loop."""
        holder = next(
            (op for op in self.body.walk() if op.name == "for" and op.regions[0] is region), None
        )
        if holder is None:
            return None
        first, last, step = map(self.place, holder.operands[:3])
        by = None if step is None or step.factor or step.rest != 0 else step.least
        if first is None or last is None or not by:
            return None
        low, high = (first, last) if by > 0 else (last, first)
        if low[:2] != high[:2]:
            return None
        least = low.least if by > 0 else _plus(low.least, 1)
        greatest = _plus(high.greatest, -1) if by > 0 else high.greatest
        return Place(low.factor, low.rest, least, greatest)

    def never_negative(self, check: Operation, place: Place) -> bool:
        """Whether a checked index is what it was, not counted from the end."""
        if not check.attributes.get("negative", True):
            return True
        start = _number(self.loop.operands[0])
        return (
            start is not None
            and place.rest == 0
            and place.factor >= 0
            and place.least is not None
            and place.factor * start + place.least >= 0
        )

    def extremum(self, name: str, operands: Sequence[Place | None]) -> Place | None:
        numbers = [p for p in operands if p is not None and not p.factor and p.rest == 0]
        sure = len(numbers) == len(operands)
        lows, highs = [p.least for p in numbers], [p.greatest for p in numbers]
        if not numbers:
            return None
        if name == "maximum":
            least = max((v for v in lows if v is not None), default=None)
            return Place(0, 0, least, _all(max, highs) if sure else None)
        greatest = min((v for v in highs if v is not None), default=None)
        # A block has as many lanes as are left, at least one: so many blocks there are.
        block = self.loop.attributes.get("kind") == "block" and len(numbers) == 1
        least = _all(min, lows) if sure else 1 if block and lows[0] == highs[0] else None
        return Place(0, 0, least, greatest)


# --- sums ---------------------------------------------------------------------------------------


def combination(body: Region, param: Value, after: Value) -> str:
    """The operation by which ``body`` makes ``after`` of ``param``, again and again."""
    names: set[str] = set()
    links = _links(body, {param}, names)
    if after not in links:
        raise Refused(f"it carries {_name(param)} from trip to trip")
    if len(names) > 1 or not names <= set(STARTS):
        raise Refused(f"it carries {_name(param)}, which is more than a sum")
    return names.pop() if names else "add"


def _links(
    region: Region, start: set[Value], names: set[str], stores: list[Operation] | None = None
) -> set[Value]:
    """The values that are ``start`` and something; ``names`` gets the operations between.

    Where ``stores`` is given, they may be stored, and it gets these operations.
    """
    links = set(start)
    for op in region.ops:
        at = [k for k, v in enumerate(op.operands) if v in links]
        captured = any(_reads(inner, links) for inner in op.regions)
        if not at and not captured:
            continue
        if op.name in STARTS and len(at) == 1:
            names.add(op.name)
            links.update(op.results)
        elif op.name == "subtract" and at == [0]:
            names.add("add")
            links.update(op.results)
        elif op.name in ("for", "while") and not captured and all(k >= leading(op) for k in at):
            for k in at:
                number = k - leading(op)
                for inner in op.regions[:-1]:
                    if _reads(inner, {inner.params[number]}):
                        raise Refused(f"it carries {_name(op.operands[k])} from trip to trip")
                inner = op.regions[-1]
                param = inner.params[first_carried(op) + number]
                followed = _links(inner, {param}, names, stores)
                if inner.yields[number] not in followed:
                    raise Refused(f"it carries {_name(op.operands[k])} from trip to trip")
                if any(y in followed for m, y in enumerate(inner.yields) if m != number):
                    raise Refused(f"it carries {_name(op.operands[k])} in two variables")
                links.add(op.results[number])
        elif op.name == "if" and not at:
            arms = [_links(inner, links, names, stores) for inner in op.regions]
            for k, result in enumerate(op.results):
                goes_on = [
                    inner.yields[k] in arm for inner, arm in zip(op.regions, arms, strict=True)
                ]
                if all(goes_on):
                    links.add(result)
                elif any(goes_on):
                    raise Refused("it carries a number that a branch replaces")
        elif op.name == "store" and at == [0] and stores is not None:
            stores.append(op)
        else:
            value = next((v for v in op.operands if v in links), next(iter(start)))
            raise Refused(f"trips read {_name(value)}, which the others change")
    return links


def _regions(region: Region) -> Iterator[Region]:
    yield region
    for op in region.ops:
        for inner in op.regions:
            yield from _regions(inner)


def _same(one: Sequence[Value], other: Sequence[Value]) -> bool:
    """Whether two cells are one in each trip."""
    return all(
        a is b or (_number(a) is not None and _number(a) == _number(b))
        for a, b in zip(one, other, strict=True)
    )


def _reads(region: Region, values: set[Value]) -> bool:
    return not values.isdisjoint(region.yields) or any(
        not values.isdisjoint(op.operands) or any(_reads(inner, values) for inner in op.regions)
        for op in region.ops
    )


# --- places -------------------------------------------------------------------------------------


def _indices(op: Operation) -> Sequence[Value]:
    return op.operands[ELEMENT[op.name] + 1 :]


def _apart(one: Sequence[Place | None], other: Sequence[Place | None]) -> bool:
    """Whether two cells of different trips are never the same."""
    for a, b in zip(one, other, strict=True):
        if a is None or b is None or not a.factor or a[:2] != b[:2]:
            continue
        ends = (a.least, a.greatest, b.least, b.greatest)
        if any(end is None for end in ends):
            continue
        lo_a, hi_a, lo_b, hi_b = (end for end in ends if end is not None)
        if max(hi_a - lo_b, hi_b - lo_a) < abs(a.factor):
            return True
    return False


def _fixed(dim: Dim) -> Place:
    if isinstance(dim, int):
        return Place(0, 0, dim, dim)
    constant = dict(dim.terms).get((), 0)
    return Place(0, dim - constant, constant, constant)


def _plus(end: int | None, number: int | None) -> int | None:
    return None if end is None or number is None else end + number


def _times(end: int | None, number: int) -> int | None:
    return None if end is None else end * number


def _all(choose: Callable[[Iterable[int]], int], ends: Iterable[int | None]) -> int | None:
    known = [end for end in ends if end is not None]
    return choose(known) if len(known) == len(list(ends)) else None


def _scaled(place: Place, number: int) -> Place:
    ends = (_times(place.least, number), _times(place.greatest, number))
    least, greatest = ends if number >= 0 else ends[::-1]
    return Place(place.factor * number, place.rest * number, least, greatest)


def _sum(name: str, operands: Sequence[Place]) -> Place:
    if name == "negative":
        return _scaled(operands[0], -1)
    left, right = operands
    if name == "subtract":
        right = _scaled(right, -1)
    return Place(
        left.factor + right.factor,
        left.rest + right.rest,
        _plus(left.least, right.least),
        _plus(left.greatest, right.greatest),
    )


def _product(place: Place | None, number: Place | None) -> Place | None:
    if place is None or number is None or number.factor or number.rest != 0:
        return None
    if number.least is None or number.least != number.greatest:
        return None
    return _scaled(place, number.least)


def _quotient(place: Place | None, number: Place | None) -> Place | None:
    if place is None or number is None or place.factor or place.rest != 0:
        return None
    by = number.least
    if number.factor or number.rest != 0 or by is None or by != number.greatest or by <= 0:
        return None
    return Place(0, 0, *(None if end is None else end // by for end in place[2:]))


def _number(value: Value) -> int | None:
    op = value.op
    number = op.attributes["value"] if op is not None and op.name == "const" else None
    return number if isinstance(number, int) else None


def _name(value: Value) -> str:
    """What to call a value in a message."""
    for each in (value, *_near(value)):
        if each.hint:
            return each.hint
    return "an array" if value.rank else "a number"


def _near(value: Value) -> Iterator[Value]:
    op = value.op
    if op is not None:
        yield from (v for v in op.operands if v.type == value.type)
