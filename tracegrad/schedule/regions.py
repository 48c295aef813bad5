"""Control flow and writes in loop form: every write goes to memory once, in place.

`schedule_regions` lowers a function whose body has ``for``, ``while`` and ``if``. `inplace` has
decided where copies are needed. What is left:

- scalar operations are written as they come, ``index`` of one element is a ``load``, ``update``
  and ``accumulate`` are stores to the memory of the old version;
- operations on whole arrays wait, and are handed to the scheduler in stretches, as late as
  possible: when a region or a write needs them, or would change what they read;
- an array that a loop carries is no carried value of loop form as long as the body writes to one
  and the same memory. Otherwise (a swap) the buffers themselves are carried;
- buffers made in a loop body are made before the loop (`buffers`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from tracegrad.errors import UnsupportedError
from tracegrad.ir.blocks import Block, Place, alike, apart, block_of, covers, read_in_place
from tracegrad.ir.core import Function, Operation, Region, Value
from tracegrad.ir.rewrite import first_carried
from tracegrad.ir.types import Dim, Shape, i64, symbols
from tracegrad.ops.registry import REGISTRY
from tracegrad.passes.values import transposed
from tracegrad.schedule.added import add_where_computed
from tracegrad.schedule.association import early_first
from tracegrad.schedule.buffers import (
    forward,
    make_before,
    make_longer,
    replace,
    stored_in_order,
    write_over,
)
from tracegrad.schedule.checks import hoist_checks
from tracegrad.schedule.columns import into_columns
from tracegrad.schedule.counted import count_from_zero
from tracegrad.schedule.graph import captures
from tracegrad.schedule.inplace import EXTERNAL, WRITES, Copy, decide, fill_value
from tracegrad.schedule.lanes import split_into_lanes
from tracegrad.schedule.latency import shorten
from tracegrad.schedule.overwritten import read_before_written
from tracegrad.schedule.packing import pack_matrices
from tracegrad.schedule.planes import into_planes
from tracegrad.schedule.reaching import without_unreached
from tracegrad.schedule.recurrence_strips import in_strips
from tracegrad.schedule.registers import keep_in_registers
from tracegrad.schedule.rows import one_row_each
from tracegrad.schedule.scatters import additions, is_scatter
from tracegrad.schedule.stretches import MOST_KEPT, Stretches
from tracegrad.schedule.values import signs_of
from tracegrad.schedule.wavefront import along_diagonals


def schedule_regions(function: Function) -> Function:
    """Loop form of ``function``, which is in array form: no copies but those that `copies` lists.

    Raises
    ------
    UnsupportedError : the function has an operation that can't be lowered yet.
    """
    return finish_regions(lower_regions(function))


def lower_regions(function: Function) -> Function:
    """``function`` as loops, with checks where they are best, before `finish_regions`."""
    function = pack_matrices(function)
    with signs_of(function):
        loops = _Regions(function, decide(function)).run()
    return along_diagonals(hoist_checks(loops))


def finish_regions(loops: Function, reassociate: bool = True) -> Function:
    """What is done last, with each function that there is by then."""
    loops = add_where_computed(loops)
    loops = into_planes(loops) if reassociate else loops
    loops = one_row_each(
        split_into_lanes(into_columns(without_unreached(keep_in_registers(loops))))
    )
    loops = count_from_zero(in_strips(loops))
    return shorten(early_first(loops) if reassociate else loops)


def copies(function: Function) -> list[Copy]:
    """The copies that `schedule_regions` makes, in program order."""
    return list(decide(function).copies.values())


class _Start(NamedTuple):
    """The first index of a place (None: 0), and whether all of its indices are in range."""

    value: Value | None
    inside: bool


class _Regions(Stretches):
    """Writes one function."""

    def run(self) -> Function:
        with self:
            for param in self.old.params:
                self.env[param] = self.param(param.type, param.hint)
            results = self._body(self.old.body)
            return self.function(self.old.name, results, like=self.old)

    # --- regions

    @contextmanager
    def _scope(self) -> Iterator[None]:
        """What is written or waits in the block is not known after it."""
        saved = self.env, self.waiting, self.kept, self.keeps_few, self.checked
        self.env, self.waiting, self.checked = dict(self.env), {}, dict(self.checked)
        self.kept = {}
        try:
            yield
        finally:
            self.env, self.waiting, self.kept, self.keeps_few, self.checked = saved

    def _body(self, region: Region) -> list[Value]:
        """Write the operations of ``region``; what it yields."""
        self.keeps_few = sum(map(self._is_only_kept, region.ops)) <= MOST_KEPT
        firsts = additions(region.ops, self.users)
        for op in filter(is_scatter, firsts):
            before = op.operands[0].op
            goes_on = before in self.rows and op.operands[0] is not firsts[op]
            self.rows[op] = self.rows[before] if before is not None and goes_on else []
            self.rows[op].append(op)
        keeping = self._keeping(region)
        early: set[Operation] = set()
        for op in self.decided.order[region]:
            if op in early:
                continue
            self._visit(op)
            # What computes a value that is only kept may come before it is said to be kept.
            for write in keeping.get(op, ()):
                if all(i in self.env for i in write.operands[2:]) and self._only_keeps(write):
                    self._visit(write)
                    early.add(write)
        self._flush([*region.yields, *self.kept])
        self._keep(len(self.region.ops))
        self._location, self._part = None, "forward"
        return [self._owned(region, k, v) for k, v in enumerate(region.yields)]

    def _visit(self, op: Operation) -> None:
        self._location, self._part = op.location, op.part
        self._operation(op)
        if op not in self.waiting and op not in self.late:
            self.done.add(op)

    def _operation(self, op: Operation) -> None:
        if op.name == "for":
            self._for(op)
        elif op.name == "while":
            self._while(op)
        elif op.name == "if":
            self._if(op)
        elif op in self.rows:
            self._add(op)
        elif op.name in ("update", "accumulate"):
            self._write(op)
        elif op.name in WRITES:
            self._ensure(op)
        elif op.name == "raise":
            self.copy(op, {})
        elif op.name == "bind":
            self._flush(op.operands)
            self.env[op.result] = self.copy(op, self.env).result
        elif op.name == "blank":
            residual = op.attributes.get("residual")
            self.env[op.result] = self.alloc(op.result.type, op.result.hint, residual=residual)
        elif op.opdef.effects:
            raise UnsupportedError(f"the scheduler does not take {op.name} within control flow")
        elif not self._scalar(op):
            self.waiting[op] = None

    def _owned(
        self, place: Operation | Region, position: int, value: Value, hint: str = ""
    ) -> Value:
        """``value`` as memory that may be written: its own, a copy, or a new array."""
        number = fill_value(value)
        if number is not None:
            # Equal arrays were made one: its name may be that of another use.
            alone = len(self.users[value]) == 1
            return self.filled(value, number, hint or (value.hint if alone else ""))
        found = self.env[value]
        copy = self.decided.copies.get((place, position))
        return found if copy is None else self.copied(found, hint)

    # --- scalars

    def _scalar(self, op: Operation) -> bool:
        """Write an operation on scalars, or the read of one element, if all it needs is there."""
        if any(r.rank for r in op.results) or any(v not in self.env for v in op.operands):
            return False
        if self._size_finders(op):
            return False
        if op.name == "index":
            base, *indices = op.operands
            if any(i.rank for i in indices):
                return False
            at = self._places(base.shape, indices)
            self.env[op.result] = self.load(self.env[base], at, op.result.hint)
            return True
        if any(v.rank for v in op.operands):
            return False
        if op.opdef.kind != "elementwise" and op.name not in ("const", "dim"):
            return False
        copied = self.copy(op, self.env)
        self.env.update(zip(op.results, copied.results, strict=True))
        return True

    # --- writes

    def _write(self, op: Operation) -> None:
        base, v, *indices = op.operands
        origin = self.decided.origins.get(base, frozenset())
        block = block_of(op)
        grid = indices[0].shape
        if block is None or not covers(block, len(grid)):
            self._scatter(op)
            return
        scalars = [value for place in block.places for value in place.values()]
        self._flush([base, *scalars], (), op)
        buffer = self._written(op)
        starts = [
            self._start(place, grid, base.shape[axis], axis)
            for axis, place in enumerate(block.places)
        ]

        def at(where: Sequence[Value]) -> list[Value]:
            found = [
                self._along(place, first, where, axis, base.shape[axis])
                for axis, (place, first) in enumerate(zip(block.places, starts, strict=True))
            ]
            return [*found, *where[len(grid) :]]

        def inserted(where: Sequence[Value]) -> tuple[list[Operation], list[Value]]:
            with self.open() as piece:
                found = at(where)
            return piece.ops, found

        name = "store" if op.name == "update" else "add_store"
        if not v.rank:
            self._flush([v], origin, write=op)
            self.store(name, self.env[v], buffer, at(()))
            return

        def stored(start: int, reads: Sequence[tuple[Operation, Value]]) -> None:
            """``v`` is computed in what the region has from ``start`` on."""
            self.late.discard(op)
            self.done.add(op)
            with self.at(op.location, op.part):
                met = [x for read, x in reads if self._meets(read, x, op, block)]
                made = self.region.ops[start:]
                if (
                    fill_value(v) is None
                    and self._last_reader(v, op)
                    and all(self.env.get(x) is buffer for x in met)
                    and (not met or read_before_written(made, self.env[v], buffer, inserted))
                    and forward(self.region, start, self.env[v], buffer, inserted, name)
                ):
                    return
                self.nest(
                    v.shape,
                    lambda where: self.store(name, self._element(v, where), buffer, at(where)),
                )

        if self._only_keeps(op):
            self.kept.setdefault(v, []).append(stored)
            self.late.add(op)
            return
        start = len(self.region.ops)
        # Who computes with v shares its loop: then v need not be kept for them.
        shared = [r for user in self.waiting if v in user.operands for r in user.results]
        stored(start, self._flush([v, *shared], origin, write=op))

    def _written(self, op: Operation) -> Value:
        """The buffer that ``op`` writes to."""
        buffer = self._owned(op, 0, op.operands[0], op.result.hint)
        if op.result.hint and not buffer.hint:
            buffer.hint = op.result.hint
        self.env[op.result] = buffer
        return buffer

    def _start(self, place: Place, grid: Shape, size: Dim, axis: int) -> _Start:
        """Where a place begins."""
        if place.axis is None and len(place.terms) == 1 and place.values():
            (value,) = place.values()
            if place.terms[0][1] == 1:
                return _Start(self._place(value, self.env[value], size, axis), True)
        first = self._total(place)
        inside = self._grows(size) or place.is_inside(self.bounds, grid, size)
        if place.axis is None:
            at = self.size(0) if first is None else first
            return _Start(at if inside else self._place(None, at, size, axis), True)
        return _Start(first, inside)

    def _total(self, place: Place) -> Value | None:
        """The offset of a place; None for 0."""
        fixed: Dim = 0
        total: Value | None = None
        for term, factor in place.terms:
            if not isinstance(term, Value):
                fixed = fixed + term * factor
                continue
            each = self.env[term]
            if each.dtype is not i64:
                each = self.emit(REGISTRY["cast"], [each], {"dtype": i64}).result
            if factor != 1:
                each = self.emit(REGISTRY["multiply"], [each, self.size(factor)]).result
            total = each if total is None else self.emit(REGISTRY["add"], [total, each]).result
        if fixed == 0:
            return total
        size = self.size(fixed)
        return size if total is None else self.emit(REGISTRY["add"], [total, size]).result

    def _along(
        self, place: Place, start: _Start, where: Sequence[Value], axis: int, size: Dim
    ) -> Value:
        """The index that a place has at ``where``."""
        if place.axis is None:
            assert start.value is not None
            return start.value
        at = where[place.axis]
        if place.step == -1 and start.value is not None:
            at = self.emit(REGISTRY["subtract"], [start.value, at]).result
        else:
            if place.step != 1:
                at = self.emit(REGISTRY["multiply"], [at, self.size(place.step)]).result
            if start.value is not None:
                at = self.emit(REGISTRY["add"], [at, start.value]).result
        return at if start.inside else self._place(None, at, size, axis)

    def _meets(self, read: Operation, x: Value, write: Operation, block: Block) -> bool:
        """Whether ``read``, of ``x``, may see what ``write`` writes to a block of its memory.

        What is read element by element for the very element that is written next may stand in one
        loop with the write.
        """
        origin = self.decided.origins.get(write.operands[0], frozenset())
        if self.decided.origins.get(x, frozenset()).isdisjoint(origin):
            return False
        seen = block_of(read)
        if seen is None or x in read.operands[1:]:
            return True
        if apart(seen, block, self.bounds):
            return False
        return not (
            alike(seen, block, self.bounds)
            and read in read_in_place(write.operands[1], write, self.users.__getitem__)
        )

    def _add(self, op: Operation) -> None:
        """Add at arrays of indices, with the rest of its row: where what they add is computed."""
        row = self.rows[op]
        base = row[0].operands[0]
        if fill_value(base) is not None:
            self.waiting[op] = None
        elif op is not row[-1]:
            self.late.add(op)
        else:
            origin = self.decided.origins.get(base, frozenset())
            copied = any((each, 0) in self.decided.copies for each in row[1:])
            if copied or any(map(self._grows, base.shape)):
                for each in row:
                    self._scatter(each)
            else:
                self._flush([base], (), op, gathers=False)
                if (row[0], 0) not in self.decided.copies:
                    self._flush([], origin, gathers=False)
                buffer = self._owned(row[0], 0, base, op.result.hint)
                if op.result.hint and not buffer.hint:
                    buffer.hint = op.result.hint
                self._schedule_row(row, buffer)
            self.late.difference_update(row)
            self.done.update(row)

    def _scatter(self, op: Operation) -> None:
        """Write at arrays of indices, in their order."""
        base, v, *indices = op.operands
        name = "store" if op.name == "update" else "add_store"
        copied = (op, 0) in self.decided.copies
        origin = frozenset() if copied else self.decided.origins.get(base, frozenset())
        self._flush([base, *indices], (), op)
        buffer = self._written(op)
        lead = len(indices[0].shape)

        def at(where: Sequence[Value]) -> list[Value]:
            return [
                self._place(None, self._element(i, where), size, axis)
                for axis, (i, size) in enumerate(zip(indices, base.shape, strict=False))
            ]

        def inserted(where: Sequence[Value]) -> tuple[list[Operation], list[Value]]:
            with self.open() as piece:
                found = at(where)
            return piece.ops, found

        start = len(self.region.ops)
        reads = self._flush([v], origin)
        if (
            lead == 1
            and fill_value(v) is None
            and self._last_reader(v, op)
            and all(origin.isdisjoint(self.decided.origins.get(x, frozenset())) for _, x in reads)
            and stored_in_order(self.region.ops[start:], self.env[v])
            and forward(self.region, start, self.env[v], buffer, inserted, name, lead)
        ):
            return

        def row(where: list[Value]) -> None:
            found = at(where)
            self.nest(
                v.shape[lead:],
                lambda rest: self.store(
                    name, self._element(v, [*where, *rest]), buffer, [*found, *rest]
                ),
            )

        self.nest(v.shape[:lead], row)

    def _element(self, array: Value, at: Sequence[Value]) -> Value:
        number = fill_value(array)
        return self.load(self.env[array], at) if number is None else self.env[number]

    def _ensure(self, op: Operation) -> None:
        base, length = op.operands
        self._flush([base, length], self.decided.origins.get(base, frozenset()))
        made = self.emit(
            op.opdef,
            [self._owned(op, 0, base), self.env[length]],
            op.attributes,
            (),
            [op.result.type],
        ).result
        made.hint = op.result.hint
        self.env[op.result] = made

    # --- control flow

    def _prepare(self, op: Operation) -> None:
        """Write what a region reads, and what reads memory that it may write."""
        needed = [*op.operands, *captures(op)]
        for value in needed:
            base = transposed(value)
            if base is None or value.op not in self.waiting:
                continue
            self._flush([base], (), op)
            if value.op in self.waiting:
                del self.waiting[value.op]
                self.env[value] = self.transposed(self.env[base], value.hint)
        self._flush(needed, None, op)
        # What reads an array that was only made just now must be done, too, before it is written.
        made = {each for v in needed for each in self.decided.origins.get(v, ())}
        self._flush([], made - {EXTERNAL}, op)
        assert all(v in self.env for v in needed if fill_value(v) is None)

    def _for(self, op: Operation) -> None:
        self._prepare(op)
        (body,) = op.regions
        bounds = [self.env[v] for v in op.operands[:3]]
        inits = self._inits(op, 3)
        location, part = self._location, self._part
        with self._scope(), self.bounds.within(op, body), self.open() as region:
            self._enter(body)
            region.yields = tuple(self._body(body))
            make_longer(region, self._greatest)
        self._location, self._part = location, part
        self._close_loop(op, bounds, inits, [region])

    def _while(self, op: Operation) -> None:
        self._prepare(op)
        inits = self._inits(op, 0)
        location, part = self._location, self._part
        regions = []
        for old in op.regions:
            with self._scope(), self.bounds.within(op, old), self.open() as region:
                self._enter(old)
                region.yields = tuple(self._body(old))
                make_longer(region, self._greatest)
            regions.append(region)
        self._location, self._part = location, part
        self._close_loop(op, [], inits, regions)

    def _greatest(self, size: Dim) -> Dim | None:
        """The greatest that ``size``, which a trip finds, can be, by what is known before loops."""
        if self.sizes.issuperset(symbols(size)):
            return None
        meant = self.bounds.meaning(size)
        greatest = self.bounds.greatest(meant)
        if greatest is None or not self.sizes.issuperset(symbols(greatest)):
            return None
        return greatest if self.bounds.never_negative(greatest, self.given) else None

    def _inits(self, op: Operation, lead: int) -> list[Value]:
        """The first values of what a loop carries."""
        params = op.regions[-1].params[-len(op.results) :] if op.results else ()
        return [
            self._owned(op, lead + k, v, op.results[k].hint or params[k].hint)
            for k, v in enumerate(op.operands[lead:])
        ]

    def _enter(self, region: Region) -> None:
        for param in region.params:
            self.env[param] = self.param(param.type, param.hint)

    def _close_loop(
        self, op: Operation, bounds: Sequence[Value], inits: list[Value], regions: list[Region]
    ) -> None:
        """Append the loop, without carried values that never change."""
        first = first_carried(op)
        body = regions[-1]
        write_over(body, first)
        same = [k for k, y in enumerate(body.yields) if y is body.params[first + k]]
        for region in regions:
            for k in same:
                replace(region, region.params[first + k], inits[k])
        kept = [k for k in range(len(inits)) if k not in same]
        for region in regions:
            region.params = (
                *region.params[:first],
                *(region.params[first + k] for k in kept),
            )
        body.yields = tuple(body.yields[k] for k in kept)
        carried = [inits[k] for k in kept]
        make_before(self, regions, carried, first, self.sizes)
        types = [v.type for v in carried]
        new = self.emit(op.opdef, [*bounds, *carried], op.attributes, regions, types)
        for k, result in enumerate(op.results):
            if k in same:
                self.env[result] = inits[k]
            else:
                made = new.results[kept.index(k)]
                made.hint = result.hint
                self.env[result] = made

    def _if(self, op: Operation) -> None:
        self._prepare(op)
        location, part = self._location, self._part
        regions = []
        for old in op.regions:
            with self._scope(), self.bounds.within(op, old), self.open() as region:
                region.yields = tuple(self._body(old))
            regions.append(region)
        self._location, self._part = location, part
        then, otherwise = regions
        pairs = zip(then.yields, otherwise.yields, strict=True)
        same = [k for k, (one, other) in enumerate(pairs) if one is other]
        kept = [k for k in range(len(op.results)) if k not in same]
        for k in same:
            self.env[op.results[k]] = then.yields[k]
        for region in regions:
            region.yields = tuple(region.yields[k] for k in kept)
        types = [op.results[k].type for k in kept]
        new = self.emit(op.opdef, [self.env[op.operands[0]]], op.attributes, regions, types)
        for k, made in zip(kept, new.results, strict=True):
            made.hint = op.results[k].hint
            self.env[op.results[k]] = made
