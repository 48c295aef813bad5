"""Stretches of operations on whole arrays, which wait until something needs them.

Between regions and writes stand operations on whole arrays. They wait, and are handed to the
scheduler of straight-line code together, as late as possible: when a region, a write or a result
needs one of them, or just before something that one of them reads is written.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TypeAlias

from tracegrad.ir.blocks import apart, block_of
from tracegrad.ir.bounds import Bounds, Known
from tracegrad.ir.core import Function, Operation, Region, Value
from tracegrad.ir.sizes import BINDING, attribute_symbols, operation_symbols
from tracegrad.ir.types import Dim, Shape, i64, scalar, symbols
from tracegrad.ops.registry import REGISTRY
from tracegrad.schedule.buffers import replace
from tracegrad.schedule.inplace import EXTERNAL, Decisions, fill_value
from tracegrad.schedule.memory import MemoryBuilder
from tracegrad.schedule.pipeline import lower_region

Stored: TypeAlias = Callable[[int, Sequence[tuple[Operation, Value]]], None]
"""Stores a value that the region computes from an operation on; it is told what that reads."""


MOST_KEPT = 2
"""How many arrays a region may store in the loops that compute them, not afterwards. With the five
of an LSTM cell, what LLVM asks before it runs a loop in lanes did not hold any more."""


class Stretches(MemoryBuilder):
    """What is known while a function is written, and the writing of waiting operations.

    Attributes
    ----------
    env : value of array form → value of loop form, as far as it is written.
    waiting : operations on whole arrays that nothing has needed yet, in order.
    kept : value that waits → what stores it once it is computed.
    late : the writes that do so, until it is done.
    keeps_few : whether the present region may do so.
    done : the operations that are written.
    rows : each addition at arrays of indices → all that are made to the same memory (`additions`).
    given : how much is known from the start.
    checked : (index in loop form, size) → the position, where the check was made already.
    finders : symbol of a size known at run time only → the operation that finds it.
    """

    def __init__(self, function: Function, decisions: Decisions) -> None:
        super().__init__()
        self.old = function
        self.decided = decisions
        self.bounds = Bounds(function)
        self.given = Known(self.bounds.facts, 0)
        self.env: dict[Value, Value] = {}
        self.waiting: dict[Operation, None] = {}
        self.kept: dict[Value, list[Stored]] = {}
        self.late: set[Operation] = set()
        self.keeps_few = False
        self.done: set[Operation | Region] = set()
        self.checked: dict[tuple[Value, Dim], Value] = {}
        self.rows: dict[Operation, list[Operation]] = {}
        self.finders = {
            name: op
            for op in function.walk()
            if op.name in BINDING and op.results[0].rank
            for name in attribute_symbols(op.attributes["size"])
        }
        self.users = self._users(function)
        self.sizes = frozenset(function.size_sources())
        # Tapes: what they are long is not what their symbol says, and places on them are right.
        self.growing = {
            name
            for op in function.walk()
            if op.name == "tape"
            for name in attribute_symbols(op.attributes["size"])
        }

    # --- positions

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

    # --- stretches of operations on whole arrays

    def _flush(
        self,
        needed: Iterable[Value],
        written: Collection[object] | None = (),
        by: Operation | None = None,
        write: Operation | None = None,
        *,
        gathers: bool = True,
    ) -> list[tuple[Operation, Value]]:
        """Write the waiting operations that ``needed`` values depend on.

        Parameters
        ----------
        written : memories that change next, so that what reads them must be done before; None
            for all that the function has made.
        write : what changes them, if it is one operation.
        by : the operation that needs the values; it needs the sizes that it mentions, too.
        gathers : whether what reads the values at arrays of indices is written here, too.

        Returns
        -------
        The reads of arrays in what was written here.
        """
        wanted = {v.op for v in needed if v.op in self.waiting and fill_value(v) is None}
        chosen = set(wanted)
        if by is not None:
            chosen |= self._size_finders(by)
        hindered = {
            op
            for op in self.waiting
            if fill_value(op.results[0]) is None and self._hindered(op, written, write)
        }
        chosen |= hindered
        if not chosen:
            return []
        self._with_makers(chosen)
        # What is computed from a part of an array that is about to change needs no copy of the
        # part if it is done here, too.
        parts = {op for op in hindered if op.name in ("view", "index")}
        for op in self.waiting:
            if not parts.isdisjoint(self._makers(op)):
                parts.add(op)
                chosen.add(op)
        self._with_makers(chosen)
        required = set(chosen)
        # What depends on nothing else is better done here than from a buffer later.
        for op in self.waiting:
            makers = self._makers(op)
            goes_on = makers <= chosen and not all(map(self._is_row, makers))
            if goes_on and (gathers or not _is_gather(op)):
                chosen.add(op)
        if not gathers:
            self._without_last(chosen, required)
        stretch = [op for op in self.waiting if op in chosen]
        start = len(self.region.ops)
        reads = self._schedule(stretch, wanted | hindered)
        self._keep(start)
        return reads

    def _keep(self, start: int) -> None:
        """Store what is to be kept of what the region has computed from ``start`` on."""
        for v in [v for v in self.kept if v.op not in self.waiting]:
            for stored in self.kept.pop(v):
                stored(start, ())

    def _without_last(self, chosen: set[Operation], required: Collection[Operation]) -> None:
        """Take out what need not be here and is made of arrays that are kept anyway."""
        for op in [op for op in reversed(self.waiting) if op in chosen and op not in required]:
            makers = self._makers(op)
            if chosen.isdisjoint(self._readers(op)) and all(
                any(user is not op and user not in chosen for user in self._readers(maker))
                for maker in makers
            ):
                chosen.remove(op)

    def _readers(self, op: Operation) -> set[Operation | Region]:
        return {user for r in op.results for user in self.users[r]}

    def _with_makers(self, chosen: set[Operation]) -> None:
        """Add the waiting operations that those chosen depend on."""
        pending = list(chosen)
        while pending:
            for maker in self._makers(pending.pop()) - chosen:
                chosen.add(maker)
                pending.append(maker)

    def _makers(self, op: Operation) -> set[Operation]:
        """The waiting operations that ``op`` depends on."""
        found = {v.op for v in op.operands if v.op in self.waiting and fill_value(v) is None}
        return {maker for maker in found if maker is not None} | (self._size_finders(op) - {op})

    def _size_finders(self, op: Operation) -> set[Operation]:
        """The waiting operations that find the sizes which ``op`` mentions."""
        if not self.finders:
            return set()
        names = set(operation_symbols(op)) & self.finders.keys()
        return {self.finders[name] for name in names if self.finders[name] in self.waiting}

    def _hindered(
        self, op: Operation, written: Collection[object] | None, write: Operation | None
    ) -> bool:
        """Whether an operation reads what is about to change."""
        for operand in op.operands:
            origin = self.decided.origins.get(operand, frozenset())
            if operand.op in self.waiting or not origin:
                continue
            if written is None:
                if EXTERNAL not in origin or len(origin) > 1:
                    return True
            elif any(memory in written for memory in origin) and (
                write is None or not self._reads_apart(op, operand, write)
            ):
                return True
        return False

    def _reads_apart(self, op: Operation, array: Value, write: Operation) -> bool:
        """Whether an operation reads another part of ``array`` than ``write`` changes."""
        if array.shape != write.operands[0].shape or array in op.operands[1:]:
            return False
        seen, block = block_of(op), block_of(write)
        return seen is not None and block is not None and apart(seen, block, self.bounds)

    def _is_row(self, op: Operation) -> bool:
        """Whether an operation reads a row of an array in memory, which may be read again."""
        base, *indices = op.operands or (None,)
        return (
            op.name == "index"
            and base is not None
            and base.op not in self.waiting
            and op.result.rank > 0
            and not any(index.rank for index in indices)
        )

    def _schedule_row(self, row: Sequence[Operation], buffer: Value) -> None:
        """Lower additions to ``buffer``, and what they add."""
        chosen = set(row)
        self._with_makers(chosen)
        required = set(chosen)
        # What is made of the same shares the loop; what reads the sum comes later.
        for op in self.waiting:
            makers = self._makers(op)
            if makers <= chosen and not all(map(self._is_row, makers)):
                chosen.add(op)
        self._without_last(chosen, required)
        self.waiting.update(dict.fromkeys(row))
        stretch = [op for op in self.waiting if op in chosen]
        start = len(self.region.ops)
        self._schedule(stretch, row, {row[0]: buffer})
        self._keep(start)

    def _schedule(
        self,
        stretch: Sequence[Operation],
        wanted_now: Collection[Operation | None],
        in_place: Mapping[Operation, Value] | None = None,
    ) -> list[tuple[Operation, Value]]:
        """Lower a stretch of array operations at this place.

        A row of an array in memory, unless it is wanted itself, waits on for who else reads it.
        ``in_place``: additions that are made to this memory rather than to a new array.
        """
        in_place = {} if in_place is None else in_place
        inside = set(stretch)
        rows = {op for op in stretch if op not in wanted_now and self._is_row(op)}
        rows = {op for op in rows if any(u not in inside for u in self.users[op.result])}
        for op in stretch:
            if op not in rows:
                del self.waiting[op]
        self.done.update(inside - rows)
        wanted = [
            r
            for op in stretch
            if op not in rows
            for r in op.results
            if any(u not in inside for u in self.users[r])
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
        made = lower_region(region, self.env, self.old.hints, top=True, in_place=in_place)
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
        self._drop_checks(region, indices, top=True)

    def _drop_checks(self, region: Region, indices: Mapping[Value, Value], *, top: bool) -> None:
        for op in list(region.ops):
            for inner in op.regions:
                self._drop_checks(inner, indices, top=False)
            if op.name != "check_index" or op.operands[0] not in indices:
                continue
            at, end = op.operands
            size = self.bounds.polynomial(end)
            if size is None:
                continue
            if self._grows(size) or self.bounds.place(indices[at], size) == 0:
                self.checked[at, size] = at
            # A check in a loop or an arm may not be done; it can't stand for one that must be.
            known = self.checked.get((at, size))
            if known is None and top:
                self.checked[at, size] = op.result
            elif known is not None:
                region.ops.remove(op)
                replace(region, op.result, known)

    def _users(self, function: Function) -> dict[Value, list[Operation | Region]]:
        """Who reads each value: operations, and the regions that yield it.

        Who mentions a size that is found at run time reads the array that has it.
        """
        found = function.body.users()
        for op in function.walk() if self.finders else ():
            names = set(operation_symbols(op)) & self.finders.keys()
            for finder in {self.finders[name] for name in names} - {op}:
                found[finder.results[0]].append(op)
        return found

    # --- values that are only kept

    def _keeping(self, region: Region) -> dict[Operation | None, list[Operation]]:
        """Maker of a value → what stores it in a carried array, if nothing between may fail."""
        found: dict[Operation | None, list[Operation]] = {}
        if self.keeps_few and not any(op.opdef.effects or op.regions for op in region.ops):
            for op in filter(self._is_only_kept, region.ops):
                if op.operands[0] in region.params:
                    found.setdefault(op.operands[1].op, []).append(op)
        return found

    def _only_keeps(self, op: Operation) -> bool:
        """Whether ``op`` stores what is not computed yet where nothing of the region reads it.

        Then it can be stored in the loop that computes it, whenever that comes. What waits must not
        read, of an older version, what is written.
        """
        v = op.operands[1]
        origin = self.decided.origins.get(op.operands[0], frozenset())
        return (
            self.keeps_few
            and self._is_only_kept(op)
            and v.op in self.waiting
            and fill_value(v) is None
            and not any(self._hindered(each, origin, op) for each in self.waiting)
        )

    def _is_only_kept(self, op: Operation) -> bool:
        return (
            op.name == "update"
            and op.operands[1].rank > 0
            and self.users[op.operands[0]] == [op]
            and all(isinstance(user, Region) for user in self.users[op.result])
        )

    def _last_reader(self, v: Value, op: Operation) -> bool:
        """Whether all who read ``v``, but for ``op``, are written already."""
        return all(user is op or user in self.done for user in self.users[v])


def _is_gather(op: Operation) -> bool:
    return op.name == "index" and any(i.rank for i in op.operands[1:])
