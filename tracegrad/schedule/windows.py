"""Reads and writes at ranges of indices: views, and sums that are made in one loop.

``x[1:-1]`` within a loop is ``index(x, i)``, and its adjoint ``accumulate(x_bar, v, i)``, where i
counts: a *window* of x. A window that is known to lie within x needs neither an array of indices
nor checks:

- reading it is a ``view``;
- adding to one that was just set to zero, once at each place, is writing to it;
- several writes to one array one after the other, each to nearly all of it, or one to a row that
  was read from an array and would have to be copied first, are an expression in
  which every element is read: ``accumulate`` adds a ``pad``, ``update`` is a choice between a
  ``pad`` and what was there. The scheduler makes one loop of all of them, with its ends peeled.
  Written in place, each of them would be a loop that reads and writes all of the array.

A window of a small part of an array stays a write in place: the expression would cost as much as
the whole array has elements.

Before::

    %y1 = update(%y0, zeros, 1..n-2)          # y_bar of u[1:-1] = ...
    %y2 = accumulate(%y1, %a, 0..n-3)
    %y3 = accumulate(%y2, %b, 2..n-1)

After::

    %y3 = select(pad(True, at 1), 0, %y0) + pad(%a, at 0) + pad(%b, at 2)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from tracegrad.ir.blocks import block_of, covers, nearly_all
from tracegrad.ir.bounds import Bounds
from tracegrad.ir.core import Function, Operation, Region, Value
from tracegrad.ir.rewrite import Rewriter
from tracegrad.ir.sizes import BINDING, operation_symbols
from tracegrad.ir.types import Dim, Shape, boolean, symbol, symbols
from tracegrad.ops.access import full, pad_into, view_of
from tracegrad.ops.access_samples import Map
from tracegrad.ops.registry import REGISTRY
from tracegrad.passes import dce
from tracegrad.schedule.inplace import fill_value, movable

Window: TypeAlias = Map
"""The map of the view that reads a window, or of the pad that writes it."""


def open_windows(function: Function) -> Function:
    """``function`` with views for reads at ranges, and one expression for a chain of writes."""
    if not any(_at_arrays(op) for op in function.walk()):
        return function
    return dce(_Windows(function).rewrite(function))


def _at_arrays(op: Operation) -> bool:
    """Whether ``op`` reads or writes at arrays of indices."""
    if op.name not in ("index", "update", "accumulate"):
        return False
    return bool(op.operands[-1].rank)


@dataclass
class _Chain:
    """Writes to one array, each to the version that the last one made.

    Attributes
    ----------
    row : the positions of the part of the array that they write to; none for all of it.
    writes : the operations, and the windows that they write.
    """

    row: tuple[Value, ...]
    writes: list[tuple[Operation, Window]] = field(default_factory=list)

    @property
    def last(self) -> Operation:
        return self.writes[-1][0]


class _Windows(Rewriter):
    """Copies a function, with windows for ranges."""

    def __init__(self, function: Function) -> None:
        super().__init__()
        self.bounds = Bounds(function)
        self.chains: dict[Operation, _Chain] = {}
        self.users = function.body.users()
        self.owners: dict[Region, Operation] = {}
        self.bound: dict[tuple[Value, Region], Dim] = {}
        self.sizes = frozenset(function.size_sources())
        self.symbols = {s for op in function.walk() for s in operation_symbols(op)}
        self.symbols.update(function.size_sources())

    def walk(self, ops: Iterable[Operation]) -> None:
        ops = list(ops)
        for chain in self._find_chains(ops):
            self.chains.update((op, chain) for op, _ in chain.writes)
        for op in self._additions_first(ops):
            self._location, self._part = op.location, op.part
            part_of = self.chains.get(op)
            if part_of is None:
                self.replace(op.results, self.visit(op))
            elif op is part_of.last:
                self.replace(op.results, [self._gathered(part_of)])

    def visit_control(self, op: Operation) -> Sequence[Value]:
        self.owners.update((region, op) for region in op.regions)
        return super().visit_control(op)

    def copied(self, region: Region, params: Iterable[Value], yields: Iterable[Value]) -> Region:
        with self.bounds.within(self.owners[region], region):
            return super().copied(region, params, yields)

    def visit(self, op: Operation) -> Sequence[Value]:
        if op.name == "index" and _at_arrays(op):
            (base,) = self.mapped(op.operands[:1])
            found = self._window(op)
            if found is not None:
                row, window = found
                return [view_of(self._row(base, row), op.result.shape, window)]
            block = self._block(op)
            if block is not None:
                return [view_of(base, op.result.shape, block)]
        if op.name == "accumulate" and _at_arrays(op):
            clear = self._cleared(op)
            if clear is not None:
                old, v, *indices = self.mapped([clear.operands[0], *op.operands[1:]])
                written: Value = REGISTRY["update"](old, v, *indices)
                return [written]
        return super().visit(op)

    # --- additions to zeros

    def _additions_first(self, ops: list[Operation]) -> list[Operation]:
        """``ops``, with what is added to cleared places computed where these are cleared.

        There all that reads what stood in these places is computed, in one loop if it can be.
        """
        for op in [op for op in ops if op.name == "accumulate" and _at_arrays(op)]:
            clear = None if op in self.chains else self._cleared(op)
            if clear is None or clear not in ops:
                continue
            first, last = ops.index(clear), ops.index(op)
            needed, read, sizes = {op}, set(op.operands), set(operation_symbols(op))
            for each in reversed(ops[first + 1 : last]):
                binds = each.name in BINDING and str(each.attributes["size"]) in sizes
                if binds or not read.isdisjoint(each.results):
                    needed.add(each)
                    read.update(each.operands)
                    sizes.update(operation_symbols(each))
            between = ops[first + 1 : last + 1]
            # What a ``raise`` keeps from being read must not be read before it.
            if any(each.has_effects for each in between):
                continue
            if all(each is op or movable(each) for each in needed):
                early = [each for each in between if each in needed]
                late = [each for each in between if each not in needed]
                ops = [*ops[: first + 1], *early, *late, *ops[last + 1 :]]
        return ops

    def _cleared(self, op: Operation) -> Operation | None:
        """What has just written zeros to the places, all different, that ``op`` adds to."""
        base, v, *indices = op.operands
        write = base.op
        if (
            write is None
            or write.name != "update"
            or write.operands[2:] != tuple(indices)
            or write.operands[1].type != v.type
            or self.users[base] != [op]
        ):
            return None
        number = fill_value(write.operands[1])
        if number is None or number.op is None or number.op.attributes["value"] != 0:
            return None
        block, grid = block_of(op), indices[0].shape
        if block is None or not covers(block, len(grid)):
            return None
        inside = all(
            place.is_inside(self.bounds, grid, size)
            for place, size in zip(block.places, base.shape, strict=False)
        )
        return write if inside else None

    def _block(self, op: Operation) -> Window | None:
        """The window that is read at index values which depend on loops."""
        block, source, grid = block_of(op), op.operands[0].shape, op.operands[1].shape
        if block is None or not covers(block, len(grid)):
            return None
        scalars = [value for place in block.places for value in place.values()]
        for value in scalars:
            known = self.bounds.polynomial(value)
            if known is None or not self.bounds.never_negative(known):
                return None
        for place, size in zip(block.places, source, strict=False):
            if not place.is_inside(self.bounds, grid, size):
                return None
        found: list[tuple[int | None, Dim, int]] = []
        for place in block.places:
            offset: Dim = 0
            for term, factor in place.terms:
                offset = offset + (self._size(term) if isinstance(term, Value) else term) * factor
            found.append((place.axis, offset, 1 if place.axis is None else place.step))
        rest = range(len(grid), len(op.result.shape))
        return (*found, *((axis, 0, 1) for axis in rest))

    def _size(self, value: Value) -> Dim:
        """An integer that is never negative, as a size from here on in this region."""
        told = self.bounds.polynomial(value)
        if told is not None and self.sizes.issuperset(symbols(told)):
            return told
        known = self.bound.get((value, self.region))
        if known is None:
            name, count = value.hint or "at", 0
            while name in self.symbols:
                count += 1
                name = f"{value.hint or 'at'}{count}"
            self.symbols.add(name)
            known = self.bound[value, self.region] = symbol(name)
            self.emit(REGISTRY["bind"], self.mapped([value]), {"size": known})
        return known

    def _window(self, op: Operation) -> tuple[tuple[Value, ...], Window] | None:
        """Of a read or write: a row of the array (none: all of it), and the window of that."""
        base, *indices = op.operands
        if op.name != "index":
            del indices[0]
        row: list[Value] = []
        for index in indices:
            number = _same_everywhere(index)
            if number is None:
                break
            row.append(number)
        count = len(row)
        if count == len(indices):
            return None
        window = self.bounds.window(base.shape[count:], indices[count:])
        return None if window is None else (tuple(row), window)

    def _row(self, array: Value, row: Sequence[Value]) -> Value:
        """The part of ``array`` at the positions ``row``."""
        if not row:
            return array
        part: Value = REGISTRY["index"](array, *self.mapped(row))
        return part

    # --- chains of writes

    def _find_chains(self, ops: Sequence[Operation]) -> list[_Chain]:
        """Two writes or more that follow one another, each to nearly all of the array."""
        open_: dict[Value, _Chain] = {}
        found: list[_Chain] = []
        for op in ops:
            if op.name not in ("update", "accumulate") or not _at_arrays(op):
                continue
            base, v = op.operands[:2]
            place = self._window(op)
            if place is None:
                continue
            row, window = place
            if not nearly_all(base.shape[len(row) :], v.shape, window):
                continue
            chain = open_.pop(base, None)
            if chain is None or chain.row != row:
                chain = _Chain(row)
                found.append(chain)
            chain.writes.append((op, window))
            if len(self.users[op.result]) == 1:
                open_[op.result] = chain
        return [chain for chain in found if len(chain.writes) > 1 or _reads_row(chain)]

    def _gathered(self, chain: _Chain) -> Value:
        """What a chain of writes makes, as an expression."""
        (array,) = self.mapped(chain.writes[0][0].operands[:1])
        total = self._row(array, chain.row)
        shape = total.shape
        added: dict[tuple[Window, Shape], Value] = {}
        for op, window in chain.writes:
            v = self.env.get(op.operands[1], op.operands[1])
            if op.name == "accumulate":
                with self.at(op.location, op.part):
                    place = window, v.shape
                    added[place] = added[place] + v if place in added else v
                continue
            total = self._sum(total, added)
            added = {}
            inside = pad_into(full(v.shape, True, boolean), shape, window)
            number = fill_value(v)
            there = pad_into(v, shape, window) if number is None else view_of(number, shape, [])
            with self.at(op.location, op.part):
                total = REGISTRY["select"](inside, there, total)
        total = self._sum(total, added)
        if chain.row:
            total = REGISTRY["update"](array, total, *self.mapped(chain.row))
        return total

    def _sum(self, total: Value, added: Mapping[tuple[Window, Shape], Value]) -> Value:
        for (window, _), v in added.items():
            total = total + pad_into(v, total.shape, window)
        return total


def _reads_row(chain: _Chain) -> bool:
    """Whether a write to a part of an array makes a new one, so that a copy would be needed."""
    base = chain.writes[0][0].operands[0]
    read = base.op is not None and base.op.name == "index" and not _at_arrays(base.op)
    return read and not chain.row


def _same_everywhere(value: Value) -> Value | None:
    """The scalar that ``value`` is, or that it shows in every place."""
    if not value.rank:
        return value
    if value.op is None or value.op.name != "view" or value.op.operands[0].rank:
        return None
    return value.op.operands[0]
