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

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager

from tracegrad.errors import UnsupportedError
from tracegrad.ir.core import Function, Operation, Region, Value
from tracegrad.ir.rewrite import first_carried
from tracegrad.ir.sizes import attribute_symbols
from tracegrad.ir.types import Dim, Shape, i64, scalar, symbols
from tracegrad.ops.registry import REGISTRY
from tracegrad.schedule.bounds import Bounds
from tracegrad.schedule.buffers import forward, make_before, replace
from tracegrad.schedule.graph import captures
from tracegrad.schedule.inplace import (
    EXTERNAL,
    WRITES,
    Copy,
    Decisions,
    Origin,
    decide,
    fill_value,
)
from tracegrad.schedule.memory import MemoryBuilder
from tracegrad.schedule.pipeline import lower_region
from tracegrad.schedule.values import signs_of


def schedule_regions(function: Function) -> Function:
    """Loop form of ``function``, which is in array form: no copies but those that `copies` lists.

    Raises
    ------
    UnsupportedError : the function has an operation that can't be lowered yet.
    """
    with signs_of(function):
        return _Regions(function, decide(function)).run()


def copies(function: Function) -> list[Copy]:
    """The copies that `schedule_regions` makes, in program order."""
    return list(decide(function).copies.values())


class _Regions(MemoryBuilder):
    """Writes one function.

    Attributes
    ----------
    env : value of array form → value of loop form, as far as it is written.
    waiting : operations on whole arrays that nothing has needed yet, in order.
    checked : (index in loop form, size) → the position, where the check was made already.
    """

    def __init__(self, function: Function, decisions: Decisions) -> None:
        super().__init__()
        self.old = function
        self.decided = decisions
        self.bounds = Bounds(function)
        self.env: dict[Value, Value] = {}
        self.waiting: dict[Operation, None] = {}
        self.checked: dict[tuple[Value, Dim], Value] = {}
        self.users = _users(function)
        self.sizes = frozenset(function.size_sources())
        # Tapes: what they are long is not what their symbol says, and places on them are right.
        self.growing = {
            name
            for op in function.walk()
            if op.name == "tape"
            for name in attribute_symbols(op.attributes["size"])
        }

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
        saved = self.env, self.waiting, self.checked
        self.env, self.waiting, self.checked = dict(self.env), {}, dict(self.checked)
        try:
            yield
        finally:
            self.env, self.waiting, self.checked = saved

    def _body(self, region: Region) -> list[Value]:
        """Write the operations of ``region``; what it yields."""
        for op in self.decided.order[region]:
            self._location, self._part = op.location, op.part
            self._operation(op)
        self._flush(region.yields)
        self._location, self._part = None, "forward"
        return [self._owned(region, k, v) for k, v in enumerate(region.yields)]

    def _operation(self, op: Operation) -> None:
        if op.name == "for":
            self._for(op)
        elif op.name == "while":
            self._while(op)
        elif op.name == "if":
            self._if(op)
        elif op.name in ("update", "accumulate"):
            self._write(op)
        elif op.name in WRITES:
            self._ensure(op)
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
        return found if copy is None else self.copied(found)

    # --- scalars

    def _scalar(self, op: Operation) -> bool:
        """Write an operation on scalars, or the read of one element, if all it needs is there."""
        if any(r.rank for r in op.results) or any(v not in self.env for v in op.operands):
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

    def _places(self, shape: Shape, indices: Sequence[Value]) -> list[Value]:
        """Index values as positions: checked, unless they are known to be in range."""
        found = []
        for axis, (index, size) in enumerate(zip(indices, shape, strict=False)):
            found.append(self._place(index, self.env[index], size, axis))
        return found

    def _place(self, index: Value | None, at: Value, size: Dim, axis: int) -> Value:
        if at.dtype is not i64:
            at = self.emit(REGISTRY["cast"], [at], {"dtype": i64}).result
        known = None if index is None else self.bounds.place(index, size)
        if self._grows(size):
            known = 0
        if known is not None:
            if known == 0:
                return at
            return self.emit(REGISTRY["add"], [at, self.size(known)]).result
        found = self.checked.get((at, size))
        if found is None:
            operands = [at, self.size(size)]
            found = self.emit(
                REGISTRY["check_index"], operands, {"axis": axis}, (), [scalar(i64)]
            ).result
            if index is not None:
                self.checked[at, size] = found
        return found

    def _grows(self, size: Dim) -> bool:
        return any(name in self.growing for name in symbols(size))

    # --- writes

    def _write(self, op: Operation) -> None:
        base, v, *indices = op.operands
        name = "store" if op.name == "update" else "add_store"
        origin = self.decided.origins.get(base, frozenset())
        self._flush([base, *(i for i in indices if self.bounds.spread(i) is None)])
        buffer = self._owned(op, 0, base, op.result.hint)
        if op.result.hint and not buffer.hint:
            buffer.hint = op.result.hint
        self.env[op.result] = buffer
        lead = len(indices)
        if any(i.rank for i in indices):
            self._flush([v], origin)
            self._scatter(name, buffer, v, indices)
            return
        at = self._places(base.shape, indices)
        start = len(self.region.ops)
        reads = self._flush([v], origin)
        rest = base.shape[lead:]
        if not rest:
            self.store(name, self.env[v], buffer, at)
            return
        if (
            fill_value(v) is None
            and name == "store"
            and self.users[v] == [op]
            and not any(self._meets(read, x, op, origin) for read, x in reads)
            and forward(self.region, start, self.env[v], buffer, at)
        ):
            return
        self.nest(
            rest,
            lambda more: self.store(name, self._element(v, more), buffer, [*at, *more]),
        )

    def _meets(self, read: Operation, x: Value, write: Operation, origin: Origin) -> bool:
        """Whether ``read``, of ``x``, may see what ``write`` writes to the memory ``origin``."""
        if self.decided.origins.get(x, frozenset()).isdisjoint(origin):
            return False
        if read.name != "index" or x in read.operands[1:]:
            return True
        for one, other, size in zip(read.operands[1:], write.operands[2:], x.shape, strict=False):
            if self.bounds.place(one, size) == 0 == self.bounds.place(other, size):
                left, right = self.bounds.polynomial(one), self.bounds.polynomial(other)
                apart = None if left is None or right is None else left - right
                if isinstance(apart, int) and apart != 0:
                    return False
        return True

    def _scatter(self, name: str, buffer: Value, v: Value, indices: Sequence[Value]) -> None:
        """Write at arrays of indices, in their order."""
        lead = len(indices)
        shape = indices[0].shape

        def one(where: list[Value]) -> None:
            at = [self._scattered(i, where, buffer, axis) for axis, i in enumerate(indices)]

            def element(more: list[Value]) -> None:
                self.store(name, self._element(v, [*where, *more]), buffer, [*at, *more])

            self.nest(buffer.shape[lead:], element)

        self.nest(shape, one)

    def _scattered(self, index: Value, where: list[Value], buffer: Value, axis: int) -> Value:
        """The position that an array of indices has at ``where``."""
        size = buffer.shape[axis]
        counts = self.bounds.spread(index)
        if counts is None:
            return self._place(None, self._element(index, where), size, axis)
        along, factor, offset = counts
        at = where[along]
        if factor != 1:
            at = self.emit(REGISTRY["multiply"], [at, self.size(factor)]).result
        if offset != 0:
            at = self.emit(REGISTRY["add"], [at, self.size(offset)]).result
        ends = offset, offset + factor * (index.shape[along] - 1)
        if factor == 1 and self.bounds.inside(*ends, size):
            return at
        return self._place(None, at, size, axis)

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

    # --- stretches of operations on whole arrays

    def _flush(
        self, needed: Iterable[Value], written: Collection[object] | None = ()
    ) -> list[tuple[Operation, Value]]:
        """Write the waiting operations that ``needed`` values depend on.

        Parameters
        ----------
        written : memories that change next, so that what reads them must be done before; None
            for all that the function has made.

        Returns
        -------
        The reads of arrays in what was written here.
        """
        chosen = {v.op for v in needed if v.op in self.waiting and fill_value(v) is None}
        for op in self.waiting:
            if fill_value(op.results[0]) is None and self._hindered(op, written):
                chosen.add(op)
        if not chosen:
            return []
        pending = list(chosen)
        while pending:
            for operand in pending.pop().operands:
                maker = operand.op
                if maker in self.waiting and maker not in chosen and fill_value(operand) is None:
                    chosen.add(maker)
                    pending.append(maker)
        # What depends on nothing else is better done here than from a buffer later.
        for op in self.waiting:
            makers = {v.op for v in op.operands if fill_value(v) is None} & self.waiting.keys()
            if makers and makers <= chosen:
                chosen.add(op)
        stretch = [op for op in self.waiting if op in chosen]
        return self._schedule(stretch)

    def _hindered(self, op: Operation, written: Collection[object] | None) -> bool:
        """Whether an operation reads what is about to change."""
        for operand in op.operands:
            origin = self.decided.origins.get(operand, frozenset())
            if operand.op in self.waiting or not origin:
                continue
            if written is None:
                if EXTERNAL not in origin or len(origin) > 1:
                    return True
            elif any(memory in written for memory in origin):
                return True
        return False

    def _schedule(self, stretch: Sequence[Operation]) -> list[tuple[Operation, Value]]:
        """Lower a stretch of array operations at this place."""
        inside = set(stretch)
        for op in stretch:
            del self.waiting[op]
        wanted = [
            r for op in stretch for r in op.results if any(u not in inside for u in self.users[r])
        ]
        ops: dict[Operation, None] = {}
        reads: list[tuple[Operation, Value]] = []
        for op in stretch:
            for operand in op.operands:
                number = fill_value(operand) or operand
                if number.op is not None and number.op.name in ("const", "dim"):
                    ops[number.op] = None
                if number is not operand and operand.op is not None:
                    ops[operand.op] = None
                elif operand.op not in inside:
                    reads.append((op, operand))
            ops[op] = None
        region = Region((), list(ops), tuple(wanted))
        made = lower_region(region, self.env, self.old.hints, top=True)
        self._without_checks(made, reads)
        self.region.ops.extend(made.ops)
        for old, new in zip(wanted, made.yields, strict=True):
            if old.hint and not new.hint:
                new.hint = old.hint
            self.env[old] = new
        return reads

    def _without_checks(self, region: Region, reads: Sequence[tuple[Operation, Value]]) -> None:
        """Drop the checks of index values that are known to be in range, or checked already."""
        indices = {
            self.env[i]: i
            for op, _ in reads
            for i in (op.operands[1:] if op.name == "index" else ())
            if not i.rank and i in self.env
        }
        for op in list(region.ops):
            if op.name != "check_index" or op.operands[0] not in indices:
                continue
            at, end = op.operands
            size = self.bounds.polynomial(end)
            if size is None:
                continue
            if self._grows(size) or self.bounds.place(indices[at], size) == 0:
                self.checked[at, size] = at
            known = self.checked.setdefault((at, size), op.result)
            if known is not op.result:
                region.ops.remove(op)
                replace(region, op.result, known)

    # --- control flow

    def _prepare(self, op: Operation) -> None:
        """Write what a region reads, and what reads memory that it may write."""
        needed = [*op.operands, *captures(op)]
        self._flush(needed, None)
        assert all(v in self.env for v in needed if fill_value(v) is None)

    def _for(self, op: Operation) -> None:
        self._prepare(op)
        (body,) = op.regions
        bounds = [self.env[v] for v in op.operands[:3]]
        inits = self._inits(op, 3)
        location, part, facts = self._location, self._part, self.bounds.facts
        self.bounds.open(body.params[0], *op.operands[:3])
        with self._scope(), self.open() as region:
            self._enter(body)
            region.yields = tuple(self._body(body))
        self.bounds.close(facts)
        self._location, self._part = location, part
        self._close_loop(op, bounds, inits, [region])

    def _while(self, op: Operation) -> None:
        self._prepare(op)
        inits = self._inits(op, 0)
        location, part = self._location, self._part
        regions = []
        for old in op.regions:
            with self._scope(), self.open() as region:
                self._enter(old)
                region.yields = tuple(self._body(old))
            regions.append(region)
        self._location, self._part = location, part
        self._close_loop(op, [], inits, regions)

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
            with self._scope(), self.open() as region:
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


def _users(function: Function) -> dict[Value, list[object]]:
    """Who reads each value: operations, and the regions that yield it."""
    found: dict[Value, list[object]] = {}

    def walk(region: Region) -> None:
        for param in region.params:
            found.setdefault(param, [])
        for op in region.ops:
            for result in op.results:
                found.setdefault(result, [])
            for operand in op.operands:
                found.setdefault(operand, []).append(op)
            for inner in op.regions:
                walk(inner)
        for value in region.yields:
            found.setdefault(value, []).append(region)

    walk(function.body)
    return found
