"""Single elements that a region works on are held in scalars: read once, written once.

A loop that adds to one element, or a trip that reads and writes the same element several times,
needs the array before and after only. The rest is done on a scalar, which the loops in between
carry and the branches choose.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

from tracegrad.ir.bounds import Bounds
from tracegrad.ir.core import Function, Operation, Region, Value
from tracegrad.ir.rewrite import Rewriter, first_carried, leading
from tracegrad.ir.sizes import attribute_symbols, type_symbols
from tracegrad.ir.types import Dim
from tracegrad.ops.registry import REGISTRY
from tracegrad.passes.simplify import simplify
from tracegrad.passes.values import is_zero

WRITES = ("update", "accumulate")
ARITHMETIC = ("const", "dim", "add", "subtract", "multiply", "negative")
"""What an index is made of that can be made again before the place where it was."""
TRIPS = 10
"""How often a loop is taken to run."""
MOST = 16
"""Cells of one array in one region: more than the registers would only be spilled."""
LONGEST = 100
"""Accesses to one array in one region; they are compared with each other."""

Axis: TypeAlias = "tuple[Dim | None, bool, Value]"
"""An index as a polynomial, if it is one; whether it is never negative; as a value."""
Key: TypeAlias = "tuple[Dim | Value, ...]"


@dataclass(eq=False)
class Cell:
    """An element of an array that is held in a scalar for a while.

    Attributes
    ----------
    array : the array before; ``last`` is the version that is to hold what became of the element.
    axes : where it is.
    reads : whether its value before is needed.
    value, indices : what it is at present and where, in the function that is built.
    """

    array: Value
    axes: tuple[Axis, ...]
    reads: bool = True
    last: Value | None = None
    value: Value | None = None
    indices: list[Value] = field(default_factory=list)


@dataclass(frozen=True)
class Access:
    """One read or write of an element, at a ``depth`` of loops within the region.

    ``apart`` are the keys of which it is known that it is elsewhere.
    """

    op: Operation
    axes: tuple[Axis, ...]
    depth: int
    apart: frozenset[Key]

    @property
    def key(self) -> Key:
        return key_of(self.axes)

    @property
    def writes(self) -> bool:
        return self.op.name in WRITES

    @property
    def price(self) -> int:
        return (2 if self.op.name == "accumulate" else 1) * int(TRIPS**self.depth)


@dataclass(frozen=True)
class Item:
    """An operation of the region that uses the array; ``accesses`` is None if not by elements."""

    op: Operation
    before: Value
    after: Value
    accesses: list[Access] | None


class Uses:
    """Where the operations of a region use arrays, counted from its first operation.

    Attributes
    ----------
    position : of each operation.
    """

    def __init__(self, ops: Sequence[Operation], used: Mapping[Operation, Iterable[Value]]) -> None:
        self.ops = ops
        self.position = {op: k for k, op in enumerate(ops)}
        self._of: dict[Value, list[int]] = {}
        for k, op in enumerate(ops):
            for array in used[op]:
                self._of.setdefault(array, []).append(k)

    def users(self, array: Value) -> Iterator[Operation]:
        """The operations that use ``array``."""
        return (self.ops[k] for k in self._of.get(array, ()))

    def first(self, array: Value, position: int) -> int:
        """Where ``array`` is used first, from ``position`` on; after the last operation if not."""
        known = self._of.get(array, ())
        number = bisect_left(known, position)
        return known[number] if number < len(known) else len(self.ops)


def key_of(axes: Iterable[Axis]) -> Key:
    return tuple(value if at is None else at for at, _, value in axes)


def cells(function: Function) -> Function:
    """Hold elements that loops and trips work on in scalars.

    Before::

        func @f(%x: f64[4], %v: f64[n], %n: i64) -> (f64[4]) {
          %lo: i64 = 0
          %step: i64 = 1
          %hi: i64 = dim() {size=n}
          %y: f64[4] = for(%lo, %hi, %step, %x) (%i: i64, %a: f64[4]) {
            %p: f64 = index(%v, %i)
            %b: f64[4] = accumulate(%a, %p, %step)
            yield %b
          }
          return %y
        }

    After::

        func @f(%x: f64[4], %v: f64[n], %n: i64) -> (f64[4]) {
          %lo: i64 = 0
          %step: i64 = 1
          %hi: i64 = dim() {size=n}
          %c: f64 = index(%x, %step)
          %s: f64 = for(%lo, %hi, %step, %c) (%i: i64, %d: f64) {
            %p: f64 = index(%v, %i)
            %e: f64 = add(%d, %p)
            yield %e
          }
          %y: f64[4] = update(%x, %s, %step)
          return %y
        }

    An element is held from the first to the last operation of a region that uses it, if all other
    uses of the array in between are known to be elsewhere: in some dimension, one index is always
    greater than the other, and neither counts from the end. Where the first use is in a loop or an
    arm, which may not run, the element must be known to exist.
    """
    if not any(op.regions for op in function.body.ops):
        return function
    pass_ = _Cells(function)
    found = pass_.rewrite(function)
    return simplify(found) if pass_.held else function


class _Cells(Rewriter):
    def __init__(self, function: Function) -> None:
        super().__init__()
        self.bounds = Bounds(function)
        self.held = 0
        self.same: dict[Operation, Cell] = {}
        self.opened: dict[Operation, list[Cell]] = {}
        self.closed: dict[Operation, list[Cell]] = {}
        self.changed: dict[Operation, list[Cell]] = {}
        self.used: dict[Operation, dict[Value, None]] = {}
        self.uses: dict[Region, Uses] = {}
        self.growing = {
            name
            for op in function.walk()
            if op.name == "tape"
            for name in attribute_symbols(op.attributes["size"])
        }
        self.ranges: list[set[tuple[Dim, Dim | Value]]] = [set()]
        self._uses(function.body)
        self.regions = [function.body]

    def _uses(self, region: Region) -> dict[Value, None]:
        """The arrays from outside that a region reads; notes the same for each operation."""
        found: dict[Value, None] = {}
        own = set(region.params)
        for op in region.ops:
            inside = {v: None for v in op.operands if v.rank}
            for inner in op.regions:
                inside.update(self._uses(inner))
            self.used[op] = inside
            found.update(inside)
            own.update(op.results)
        self.uses[region] = Uses(region.ops, self.used)
        found.update((v, None) for v in region.yields if v.rank)
        return {v: None for v in found if v not in own}

    # --- building

    def walk(self, ops: Iterable[Operation]) -> None:
        self._plan(self.uses[self.regions[-1]])
        for op in ops:
            self._location, self._part = op.location, op.part
            for cell in self.opened.get(op, ()):
                self._open(cell)
            self.replace(op.results, self.visit(op))
            self._location, self._part = op.location, op.part
            for cell in self.closed.get(op, ()):
                self._close(cell)
            self._note(op, self.ranges[-1])

    def visit(self, op: Operation) -> Sequence[Value]:
        cell = self.same.get(op)
        if cell is None:
            return super().visit(op)
        if op.name == "index":
            assert cell.value is not None
            return [cell.value]
        array, value = self.mapped(op.operands[:2])
        if op.name == "accumulate":
            assert cell.value is not None
            if not is_zero(cell.value):
                value = self.emit(REGISTRY["add"], [cell.value, value]).result
        cell.value = value
        return [array]

    def _open(self, cell: Cell) -> None:
        cell.indices = [self._again(value) for _, _, value in cell.axes]
        if cell.reads:
            operands = [*self.mapped([cell.array]), *cell.indices]
            cell.value = self.emit(REGISTRY["index"], operands).result

    def _close(self, cell: Cell) -> None:
        assert cell.last is not None
        assert cell.value is not None
        operands = [*self.mapped([cell.last]), cell.value, *cell.indices]
        new = self.emit(REGISTRY["update"], operands).result
        self.replace([cell.last], [new])

    def _again(self, value: Value) -> Value:
        """An index that may be made later than here."""
        if value in self.env or value.op is None or not self._made_here(value):
            return self.mapped([value])[0]
        op = value.op
        return self.emit(op.opdef, [self._again(v) for v in op.operands], op.attributes).result

    def _made_here(self, value: Value) -> bool:
        return value.op is not None and value.op.name in ARITHMETIC

    def visit_control(self, op: Operation) -> Sequence[Value]:
        cells = self.changed.get(op, [])
        operands = self.mapped(op.operands)
        starts = [c.value for c in cells]
        regions = []
        for region in op.regions:
            with self._entered(op, region), self.open() as new:
                for param in region.params:
                    self.env[param] = self.param(param.type, param.hint)
                for cell, start in zip(cells, starts, strict=True):
                    assert start is not None
                    cell.value = start if op.name == "if" else self.param(start.type, start.hint)
                self.walk(region.ops)
                new.yields = tuple(self.mapped(region.yields))
                if region is op.regions[-1] or op.name == "if":
                    new.yields += tuple(c.value for c in cells if c.value is not None)
            regions.append(new)
        self._location, self._part = op.location, op.part
        added = [v for v in starts if v is not None]
        if op.name != "if":
            operands += added
        types = [v.type for v in (*op.results, *added)]
        made = self.emit(op.opdef, operands, op.attributes, regions, types)
        for cell, result in zip(cells, made.results[len(op.results) :], strict=True):
            cell.value = result
        return made.results[: len(op.results)]

    @contextmanager
    def _entered(self, op: Operation, region: Region) -> Iterator[None]:
        self.ranges.append(set())
        self.regions.append(region)
        with self.bounds.within(op, region):
            yield
        self.ranges.pop()
        self.regions.pop()

    # --- what is known

    def _axes(self, array: Value, indices: Sequence[Value]) -> tuple[Axis, ...]:
        found = []
        for index in indices:
            at = self.bounds.polynomial(index)
            found.append((at, at is not None and self.bounds.never_negative(at), index))
        return tuple(found)

    def _note(self, op: Operation, ranges: set[tuple[Dim, Dim | Value]]) -> None:
        """After ``op`` its indices are known to be in range."""
        if op.name != "index" and op.name not in WRITES:
            return
        for size, index in zip(op.operands[0].shape, places(op), strict=False):
            if not index.rank:
                at = self.bounds.polynomial(index)
                ranges.add((size, index if at is None else at))

    def _exists(self, cell: Cell, earlier: set[tuple[Dim, Dim | Value]]) -> bool:
        """Whether the element is known to be one, before the region's first use of it."""
        for size, (at, _, value) in zip(cell.array.shape, cell.axes, strict=True):
            known = (size, value if at is None else at)
            if known in earlier or any(known in found for found in self.ranges):
                continue
            if self.bounds.place(value, size) is None:
                return False
        return True

    # --- choosing

    def _plan(self, uses: Uses) -> None:
        """Decide which cells are held among the operations of a region."""
        seen: set[Value] = set()
        for position, op in enumerate(uses.ops):
            for array in self.used[op]:
                if array not in seen and not self._grows(array):
                    items = self._items(uses, position, array, frozenset())
                    seen.update(v for item in items for v in (item.before, item.after))
                    seen.add(array)
                    self._choose(uses, items)

    def _grows(self, array: Value) -> bool:
        """Whether it is a tape: what was not written there may not be read."""
        return any(name in self.growing for name in type_symbols(array.type))

    def _items(self, uses: Uses, position: int, array: Value, keys: frozenset[Key]) -> list[Item]:
        """The uses of an array and of its later versions in a region, up to the first unclear."""
        items: list[Item] = []
        current, end = array, len(uses.ops)
        position = uses.first(current, position)
        while position < end:
            op = uses.ops[position]
            position += 1
            found = self._accesses(op, current, keys, 0, fresh=current is array)
            if found is None:
                items.append(Item(op, current, current, None))
                if op.regions or (op.name in WRITES and op.operands[0] is current):
                    break
            else:
                accesses, after = found
                items.append(Item(op, current, after, accesses))
                if after is not current:
                    end = min(end, uses.first(current, position))  # a use of an older version
                    current = after
            position = uses.first(current, position)
        return items

    def _accesses(
        self,
        op: Operation,
        array: Value,
        keys: frozenset[Key],
        depth: int,
        *,
        fresh: bool = False,
    ) -> tuple[list[Access], Value] | None:
        """The elements of ``array`` that ``op`` uses, and the version after it.

        None if it uses the array in another way. Of a ``fresh`` array, of which no cell is held
        yet, the memory may be read while a loop carries and changes it.
        """
        if op.regions:
            return self._inner_accesses(op, array, keys, depth, fresh)
        if op.name != "index" and op.name not in WRITES:
            return None
        indices = places(op)
        if (
            op.operands[0] is not array
            or array in op.operands[1:]
            or len(indices) != array.rank
            or any(i.rank for i in indices)
        ):
            return None
        after = op.result if op.name in WRITES else array
        if op in self.same:
            return [], after
        axes = self._axes(array, indices)
        apart = frozenset(key for key in keys if self._apart(axes, key))
        return [Access(op, axes, depth, apart)], after

    def _apart(self, axes: tuple[Axis, ...], key: Key) -> bool:
        """Whether an access is never at ``key``; neither may count from the end."""
        for (at, positive, _), other in zip(axes, key, strict=True):
            if at is None or not positive or isinstance(other, Value):
                continue
            if not self.bounds.never_negative(other):
                continue
            difference = at - other
            if self.bounds.never_negative(difference - 1) or self.bounds.never_negative(
                -1 - difference
            ):
                return True
        return False

    def _inner_accesses(
        self, op: Operation, array: Value, keys: frozenset[Key], depth: int, fresh: bool
    ) -> tuple[list[Access], Value] | None:
        loop = op.name != "if"
        inits = op.operands[leading(op) :]
        carried = [k for k, v in enumerate(inits) if v is array]
        inside = self._captures(op, array)
        if len(carried) > 1 or (carried and inside and not fresh):
            return None
        found: list[Access] = []
        ends: list[Value] = []
        starts: list[Value] = []
        for region in op.regions:
            start = region.params[first_carried(op) + carried[0]] if carried else array
            with self.bounds.within(op, region):
                part = self._chain(region, start, keys, depth + loop)
            if part is None:
                return None
            accesses, end = part
            found += accesses
            starts.append(start)
            ends.append(end)
            if len(found) > LONGEST:
                return None
        return self._joined(op, array, carried, starts, ends, found)

    def _joined(
        self,
        op: Operation,
        array: Value,
        carried: list[int],
        starts: list[Value],
        ends: list[Value],
        found: list[Access],
    ) -> tuple[list[Access], Value] | None:
        """The version after ``op``, if its regions yield no other versions."""
        places_ = [
            [k for k, v in enumerate(region.yields) if v is end]
            for region, end in zip(op.regions, ends, strict=True)
        ]
        if op.name == "while" and (ends[0] is not starts[0] or places_[0]):
            return None
        if op.name != "if":
            if carried:
                return (found, op.results[carried[0]]) if places_[-1] == carried else None
            return (found, array) if ends[-1] is array and not places_[-1] else None
        if all(end is array for end in ends) and not any(places_):
            return found, array
        if places_[0] == places_[1] and len(places_[0]) == 1:
            return found, op.results[places_[0][0]]
        return None

    def _captures(self, op: Operation, array: Value) -> bool:
        return any(
            array in region.yields or any(array in self.used[inner] for inner in region.ops)
            for region in op.regions
        )

    def _chain(
        self, region: Region, array: Value, keys: frozenset[Key], depth: int
    ) -> tuple[list[Access], Value] | None:
        """The same for the operations of a region."""
        uses = self.uses[region]
        found: list[Access] = []
        current, older = array, set[Value]()
        end = len(uses.ops)
        position = uses.first(current, 0)
        while position < end:
            op = uses.ops[position]
            position += 1
            part = self._accesses(op, current, keys, depth)
            if part is None:
                return None
            accesses, after = part
            found += accesses
            if after is not current:
                older.add(current)
                end = min(end, uses.first(current, position))
                current = after
            position = uses.first(current, position)
        if end < len(uses.ops) or any(v in older for v in region.yields):
            return None
        return found, current

    def _choose(self, uses: Uses, items: list[Item]) -> None:
        count = sum(len(i.accesses or ()) for i in items)
        if not 0 < count <= LONGEST:
            return
        candidates = dict.fromkeys(
            a.key for item in items for a in item.accesses or () if self._visible(a.axes)
        )
        if not candidates:
            return
        array = items[0].before
        items = self._items(uses, uses.position[items[0].op], array, frozenset(candidates))
        held = 0
        for key in candidates:
            for stretch in self._stretches(items, key):
                if held < MOST and self._hold(stretch, key, uses):
                    held += 1

    def _visible(self, axes: tuple[Axis, ...]) -> bool:
        """Whether an element is the same wherever the region uses it, and can be found before."""
        return all(
            value in self.env if at is None else self._constant(value) for at, _, value in axes
        )

    def _constant(self, value: Value) -> bool:
        if value in self.env:
            return True
        return self._made_here(value) and all(
            self._constant(v) for v in (value.op.operands if value.op else ())
        )

    def _stretches(self, items: list[Item], key: Key) -> Iterator[list[Item]]:
        """The items between uses of the array that are, or may be, of this cell as well."""
        written = any(a.writes and a.key == key for i in items for a in i.accesses or ())
        stretch: list[Item] = []
        for item in items:
            if item.accesses is None:
                unclear = written or bool(item.op.regions) or item.op.name in WRITES
            else:
                unclear = any(
                    (written or a.writes) and a.key != key and key not in a.apart
                    for a in item.accesses
                )
            if unclear:
                yield stretch
                stretch = []
            elif item.accesses is not None:
                stretch.append(item)
        yield stretch

    def _hold(self, stretch: list[Item], key: Key, uses: Uses) -> bool:
        """Hold a cell in a stretch, if that saves anything; whether it is held."""
        using = [i for i in stretch if any(a.key == key for a in i.accesses or ())]
        if not using:
            return False
        accesses = [a for i in using for a in i.accesses or () if a.key == key]
        changing = [i for i in using if any(a.writes and a.key == key for a in i.accesses or ())]
        first = using[0]
        cell = Cell(first.before, accesses[0].axes, reads=first.op.name != "update")
        if sum(a.price for a in accesses) <= cell.reads + bool(changing):
            return False
        if changing and self._read_later(stretch, changing[-1], uses):
            return False
        if first.op.regions:
            earlier: set[tuple[Dim, Dim | Value]] = set()
            for op in uses.ops[: uses.position[first.op]]:
                self._note(op, earlier)
            if not self._exists(cell, earlier):
                return False
        self.held += 1
        for access in accesses:
            self.same[access.op] = cell
        self.opened.setdefault(first.op, []).append(cell)
        if changing:
            cell.last = changing[-1].after
            self.closed.setdefault(changing[-1].op, []).append(cell)
        for item in changing:
            self._mark(item.op, cell, {a.op for a in accesses if a.writes})
        return True

    def _read_later(self, stretch: list[Item], last: Item, uses: Uses) -> bool:
        """Whether a version that is not brought up to date is used outside of the stretch."""
        number = stretch.index(last)
        stale = {i.after for i in stretch[:number]} - {stretch[0].before, last.after}
        inside = {i.op for i in stretch}
        return not stale.isdisjoint(self.regions[-1].yields) or any(
            op not in inside for array in stale for op in uses.users(array)
        )

    def _mark(self, op: Operation, cell: Cell, writes: set[Operation]) -> None:
        """Note for each operation with regions which cells it changes."""
        if not op.regions:
            return
        for region in op.regions:
            for inner in region.ops:
                self._mark(inner, cell, writes)
        if any(inner in writes for region in op.regions for inner in region.walk()):
            self.changed.setdefault(op, []).append(cell)


def places(op: Operation) -> tuple[Value, ...]:
    """The indices of an access."""
    return op.operands[2 if op.name in WRITES else 1 :]
