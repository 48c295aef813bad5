"""From the loop tree to loop form: statements, accumulators and whole-array operations.

`loops` writes the loops themselves; here is what stands in them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import product as combinations
from typing import Any

import numpy as np

from tracegrad.ir.core import Operation, Region, Value
from tracegrad.ir.types import ArrayType, DType
from tracegrad.schedule.graph import Node, captures, counts_along, is_transpose
from tracegrad.schedule.statements import Data, Entry, Index, Program, Stmt, moved
from tracegrad.schedule.storage import Storage
from tracegrad.schedule.strips import base_of, parts_of
from tracegrad.schedule.tree import Item, Loop, statements_in
from tracegrad.schedule.values import Evaluator
from tracegrad.schedule.writer import Register, Writer

COMBINE = {
    "sum": "add",
    "prod": "multiply",
    "max": "maximum",
    "min": "minimum",
    "any": "logical_or",
    "all": "logical_and",
}


def start_value(name: str, dtype: DType) -> Any:
    """What a reduction of nothing is."""
    if name in ("sum", "dot", "prod"):
        return 1 if name == "prod" else 0
    if name in ("any", "all"):
        return name == "all"
    low = name == "max"
    if dtype.is_float:
        return -np.inf if low else np.inf
    limits = np.iinfo(dtype.numpy)
    return int(limits.min if low else limits.max)


def scan_start(name: str) -> int:
    """The running value before the first element."""
    return 1 if name == "cumprod" else 0


class Lowering(Evaluator):
    """Writes the statements of a tree."""

    def __init__(
        self,
        program: Program,
        storage: dict[Stmt, Storage],
        writer: Writer,
        tree: Sequence[Item],
        names: dict[int, str],
        lower_region: Callable[[Region, Mapping[Value, Value]], Region],
    ) -> None:
        super().__init__(program, storage, writer)
        self.tree = tree
        self.names = names
        self.lower_region = lower_region
        self.registers: dict[tuple[Stmt, Index], Register] = {}
        self.users = self._users()
        self.results = set(program.graph.results)
        self.free: dict[tuple[ArrayType, int], list[Value]] = {}
        self.zeroed: set[Stmt] = set()
        self.blocks: dict[int, tuple[Value, Value]] = {}
        self.pairs: set[tuple[int, int]] = set()
        """Loops over pairs that are open and end where they should: nothing tests that."""

    # --- the top level -----------------------------------------------------------------

    def run(self) -> tuple[Value, ...]:
        from tracegrad.schedule.loops import write_loop

        self._write_tables()
        for number, item in enumerate(self.tree):
            for stmt in statements_in([item]):
                self._allocate(stmt, number)
            if isinstance(item, Stmt):
                self.write_statement(item)
            else:
                write_loop(self, item)
            self._release(number)
        return tuple(self._result(node) for node in self.program.graph.results)

    def _result(self, node: Node) -> Value:
        if not node.rank:
            return self.value(node, ())
        return self.buffers[node]

    def _write_tables(self) -> None:
        """Small constant arrays become buffers where they are read by loops."""
        tables = {
            node
            for stmt in self.program.statements
            for node, index in stmt.inlined
            if node.kind == "table"
            and not all(
                isinstance(e.offset, int) and e.axis in (None, *self.program.unrolled)
                for e in index
            )
        }
        # One that is a statement (a whole-array operation wants it) is copied from there.
        unrolled = self.program.unrolled
        tables |= {
            stmt.node
            for stmt in self.program.statements
            if stmt.node.kind == "table" and not unrolled.issuperset(stmt.out)
        }
        for node in sorted(tables, key=lambda n: n.number):
            buffer = self._new_buffer(node.type, fill=None, hint=node.hint)
            values = np.asarray(node.attributes["value"])
            for at in np.ndindex(*values.shape):
                element = self.writer.constant(values[at].item(), node.type.dtype)
                self.writer.effect(
                    "store", (element, buffer, *(self.writer.dim(int(i)) for i in at))
                )
            self.tables[node] = buffer

    # --- buffers -----------------------------------------------------------------------

    def owner(self, stmt: Stmt) -> Node:
        """The node whose buffer ``stmt`` writes."""
        node = stmt.node
        while node.kind in ("scatter", "alias", "part"):
            if node.kind == "part":
                node = self.part_of[node]
            else:
                node = node.operands[0]
        return node

    def _users(self) -> dict[Node, int]:
        """The last top-level item that touches each buffer, by its owner."""
        self.part_of = {
            part: s.node
            for s in self.program.statements
            if s.node.kind == "assemble"
            for part in s.node.operands
        }
        last: dict[Node, int] = {}
        for number, item in enumerate(self.tree):
            for stmt in statements_in([item]):
                for touched in (stmt, *stmt.deps):
                    last[self.owner(touched)] = number
        for node in self.program.graph.results:
            made = self.program.of_node.get(node)
            if made is not None:
                last[self.owner(made)] = len(self.tree)
        return last

    def _new_buffer(
        self,
        type: ArrayType,
        fill: int | None,
        hint: str,
        local: int = 0,
        *,
        around: bool = False,
    ) -> Value:
        attributes = {"shape": type.shape, "dtype": type.dtype, "fill": fill}
        if around:
            attributes["around"] = True
        if local:
            attributes["local"] = local
        return self.writer.emit("alloc", (), attributes, hint=hint, type=type)

    def _allocate(self, stmt: Stmt, number: int) -> None:
        """Give ``stmt`` its buffer: a free one of its type, or a new one."""
        storage = self.storage[stmt]
        node = stmt.node
        if node.kind == "part":
            owner = self.owner(stmt)
            if owner not in self.buffers:
                fill = owner.attributes["fill"]
                self.buffers[owner] = self._new_buffer(owner.type, fill, owner.hint)
            return
        if node.kind == "scatter":
            base = node.operands[0]
            if base.name == "zeros" and base not in self.buffers:
                self.buffers[base] = self._new_buffer(base.type, 0, base.hint)
            self.buffers[node] = self.whole_operand(base)
            return
        if node.kind == "gemm" and stmt.whole:
            shape = node.shape
        elif storage.dims is None or stmt.whole:
            return
        else:
            shape = storage.shape
        type = ArrayType(node.type.dtype, shape)
        if storage.margins is not None:
            self.buffers[node] = self._new_buffer(type, 0, node.hint, storage.home, around=True)
            return
        pool = self.free.get((type, storage.home))
        if pool and self.users.get(node, number) < len(self.tree):
            self.buffers[node] = pool.pop()
            return
        zero = storage.memory and storage.first == 0 and node.name in ("sum", "dot")
        if zero:
            self.zeroed.add(stmt)
        self.buffers[node] = self._new_buffer(type, 0 if zero else None, node.hint, storage.home)

    def _release(self, number: int) -> None:
        for stmt in statements_in([self.tree[number]]):
            # In order: the next array takes what was released last.
            for touched in (stmt, *sorted(stmt.deps, key=lambda t: t.number)):
                owner = self.owner(touched)
                if self.users.get(owner) != number:
                    continue
                self.users[owner] = -1
                buffer = self.buffers.get(owner)
                if owner in self.program.margins:
                    continue  # whoever takes it would write over its zeros
                if buffer is not None and owner.kind != "result":
                    made = buffer.op
                    local = 0 if made is None else made.attributes.get("local", 0)
                    self.free.setdefault((buffer.type, local), []).append(buffer)

    # --- statements --------------------------------------------------------------------

    def write_statement(self, stmt: Stmt) -> None:
        if stmt.whole:
            self._write_whole(stmt)
            return
        self.reader = stmt.node
        kind = stmt.node.kind
        if kind == "reduce":
            self.accumulate(stmt)
        elif kind == "part":
            self._write_part(stmt)
        elif kind == "gemm":
            self._write_strip(stmt)
        elif kind == "scatter":
            self._write_scatter(stmt)
        elif kind == "scan":
            self._write_scan(stmt)
        else:
            for _, index in self.points(stmt, stmt.out):
                value = self.compute(stmt.node, index)
                self.define(stmt, index, value)
        self.reader = None
        self.complete[stmt] = self.writer.level.depth

    def points(
        self, stmt: Stmt, axes: Sequence[int], shift: dict[int, int] | None = None
    ) -> Iterator[tuple[dict[int, int], Index]]:
        """The indices of ``axes`` in the open loops: one per unrolled element."""
        unrolled = [a for a in axes if a in self.program.unrolled]
        shift = {} if shift is None else shift
        extents = [range(int(stmt.extents[a])) for a in unrolled]  # type: ignore[arg-type]  # they are numbers
        for at in combinations(*extents):
            fixed = dict(zip(unrolled, at, strict=True))
            yield (
                fixed,
                tuple(
                    Entry(None, 1, fixed[a]) if a in fixed else Entry(a, 1, shift.get(a, 0))
                    for a in axes
                ),
            )

    def define(self, stmt: Stmt, index: Index, value: Value) -> None:
        """``value`` is the element of ``stmt`` at ``index``, from here on."""
        self.remember(stmt, index, value)
        if self.storage[stmt].dims is not None:
            self.store(stmt, index, value)

    def remember(self, stmt: Stmt, index: Index, value: Value) -> None:
        if not value.hint and stmt.node.hint and value.op is not None:
            value.hint = stmt.node.hint
        # Known in this level only: where it stands in an arm, others must not take it.
        self.writer.remember((stmt.node, index), value, depth=self.writer.level.depth)

    def store(self, stmt: Stmt, index: Index, value: Value, *, add: bool = False) -> None:
        writer = self.writer
        at = self.place(stmt, index)
        saved = writer.location, writer.part
        writer.location, writer.part = stmt.node.location, stmt.node.part
        buffer = self.buffers[stmt.node]
        writer.effect("add_store" if add else "store", (value, buffer, *at))
        writer.location, writer.part = saved

    # --- reductions --------------------------------------------------------------------

    def combine(self, stmt: Stmt, total: Value | None, value: Value) -> Value:
        if total is None:
            return value
        writer = self.writer
        saved = writer.location, writer.part
        writer.location, writer.part = stmt.node.location, stmt.node.part
        result = writer.emit(COMBINE[stmt.node.name], (total, value), hint=stmt.node.hint)
        writer.location, writer.part = saved
        return result

    def sums(self, stmt: Stmt, shifts: Sequence[dict[int, int]] = ({},)) -> dict[Index, Value]:
        """For each unrolled result index, what this iteration (or several) contributes."""
        operand = stmt.node.operands[0]
        totals: dict[Index, Value] = {}
        for shift in shifts:
            for fixed, index in self.points(stmt, stmt.domain, shift):
                out = tuple(
                    Entry(None, 1, fixed[a]) if a in fixed else Entry(a, 1, shift.get(a, 0))
                    for a in stmt.out
                )
                totals[out] = self.combine(stmt, totals.get(out), self.value(operand, index))
        return totals

    def accumulate(self, stmt: Stmt, shifts: Sequence[dict[int, int]] = ({},)) -> None:
        """Add what this iteration contributes (or what several do, for rows done together)."""
        storage = self.storage[stmt]
        self.reader = stmt.node
        totals = self.sums(stmt, shifts)
        if not totals:  # an unrolled axis of size 0
            start = self.writer.constant(
                start_value(stmt.node.name, stmt.node.type.dtype), stmt.node.type.dtype
            )
            totals = {index: start for _, index in self.points(stmt, stmt.out)}
        for index, value in totals.items():
            register = self.registers.get((stmt, index))
            if register is not None:
                self.writer.write(register, self.combine(stmt, self.writer.read(register), value))
            elif storage.memory:
                self.add_to_memory(stmt, index, value)
            else:
                self.define(stmt, index, value)

    def add_to_memory(self, stmt: Stmt, index: Index, value: Value) -> None:
        if stmt.node.name == "sum":
            self.store(stmt, index, value, add=True)
            return
        buffer = self.buffers[stmt.node]
        at = self.place(stmt, index)
        old = self.load(buffer, at, self.writer.level.depth, stmt.node)
        self.store(stmt, index, self.combine(stmt, old, value))

    def open_registers(
        self, loop: Loop, stmts: Sequence[Stmt], shift: dict[int, int] | None = None
    ) -> list[Stmt]:
        """Set up the registers of the reductions whose reduced loops begin at ``loop``."""
        opened: list[Stmt] = []
        for stmt in stmts:
            storage = self.storage[stmt]
            dtype = stmt.node.type.dtype
            if stmt.node.kind == "scan":
                axis = stmt.domain[stmt.node.attributes["axis"]]
                if storage.path[-1] is not loop or loop.key.axis != axis:
                    continue
                start = self.writer.constant(scan_start(stmt.node.name), dtype)
            elif not stmt.is_reduce or loop not in storage.path[storage.register :][:1]:
                continue
            else:
                opened.append(stmt)
                start = self.writer.constant(start_value(stmt.node.name, dtype), dtype)
            for _, index in self.points(stmt, stmt.out, shift):
                self.registers[stmt, index] = Register(self.writer.level, start, stmt.node.hint)
        return opened

    def close_registers(self, opened: Sequence[Stmt], shift: dict[int, int] | None = None) -> None:
        """The loop is over: the registers hold the reductions."""
        for stmt in opened:
            self.complete[stmt] = self.writer.level.depth
            for _, index in self.points(stmt, stmt.out, shift):
                value = self.writer.read(self.registers.pop((stmt, index)))
                if self.storage[stmt].memory:
                    with self.within(stmt) as inside:
                        if inside:
                            self.add_to_memory(stmt, index, value)
                    continue
                self.remember(stmt, index, value)
                if self.storage[stmt].dims is not None:
                    with self.within(stmt) as inside:
                        if inside:
                            self.store(stmt, index, value)

    def beyond(self, stmt: Stmt, opened: Collection[int] = ()) -> list[Value | None]:
        """The tests that ``stmt`` needs where loops around it (but those ``opened``) go further."""
        tests: list[Value | None] = []
        for axis, extent in stmt.extents.items():
            if axis in self.bound and axis not in opened:
                tests += self._tests(axis, 0, extent)
        return tests

    @contextmanager
    def within(self, stmt: Stmt, opened: Collection[int] = ()) -> Iterator[bool]:
        """Write what belongs to ``stmt`` where its loops have not ended; False: they have."""
        tests = self.beyond(stmt, opened)
        conditions = [test for test in tests if test is not None]
        if len(conditions) < len(tests):
            yield False
            return
        if not conditions:
            yield True
            return
        condition = conditions[0]
        for test in conditions[1:]:
            condition = self.writer.emit("logical_and", (condition, test))
        self.writer.open_arm()
        yield True
        self.writer.close_arm(condition)

    # --- writes ------------------------------------------------------------------------

    def _write_part(self, stmt: Stmt) -> None:
        owner = self.owner(stmt)
        for _, index in self.points(stmt, stmt.out):
            value = self.value(stmt.node.operands[0], index)
            at = [
                self.position(
                    Entry(None, 1, offset) if axis is None else moved(index[axis], step, offset)
                )
                for axis, offset, step in stmt.node.attributes["map"]
            ]
            self.writer.effect("store", (value, self.buffers[owner], *at))

    def _write_scatter(self, stmt: Stmt) -> None:
        node = stmt.node
        _, v, *indices = node.operands
        base = node
        writer = self.writer
        for _, index in self.points(stmt, stmt.domain):
            value = self.value(v, index)
            saved = writer.location, writer.part
            writer.location, writer.part = node.location, node.part
            outer = len(stmt.reduced)
            at = []
            for dimension, i in enumerate(indices):
                if counts_along(i, base, dimension):
                    at.append(self.position(index[0]))
                    continue
                place = index[:outer] if i.rank else ()
                at.append(self.checked(Data(i, place, base.shape[dimension], dimension), node))
            at.extend(self.position(e) for e in index[outer:])
            name = "add_store" if node.name == "accumulate" else "store"
            writer.effect(name, (value, self.buffers[node], *at))
            writer.location, writer.part = saved

    def _write_scan(self, stmt: Stmt) -> None:
        for _, index in self.points(stmt, stmt.out):
            register = self.registers.get((stmt, index))
            last = self._previous(stmt, index) if register is None else self.writer.read(register)
            total = self._scan_step(stmt, last, index)
            if register is not None:
                self.writer.write(register, total)
            self.define(stmt, index, total)

    def _scan_step(self, stmt: Stmt, last: Value, index: Index) -> Value:
        """The running value after ``last``."""
        node, writer = stmt.node, self.writer
        values = [self.value(x, index) for x in node.operands]
        saved = writer.location, writer.part
        writer.location, writer.part = node.location, node.part
        if node.name == "recurrence":
            factor, term = values
            total = writer.emit("add", (writer.emit("multiply", (factor, last)), term))
        else:
            step = "add" if node.name == "cumsum" else "multiply"
            total = writer.emit(step, (last, values[0]))
        writer.location, writer.part = saved
        total.hint = node.hint
        return total

    def _previous(self, stmt: Stmt, index: Index) -> Value:
        """The running value one step before, read back from the result."""
        node, writer = stmt.node, self.writer
        dimension = node.attributes["axis"]
        axis = stmt.domain[dimension]
        back = 1 if node.attributes.get("reverse", False) else -1
        variable = self.bound[axis].variable
        if back < 0:
            test = writer.emit("less", (writer.dim(0), variable))
        else:
            test = writer.emit("less", (variable, writer.dim(stmt.extents[axis] - 1)))
        start = writer.constant(scan_start(node.name), node.type.dtype)
        writer.open_arm()
        before = list(index)
        before[dimension] = Entry(axis, 1, back)
        at = self.place(stmt, tuple(before))
        last = self.load(self.buffers[node], at, writer.level.depth, node)
        (result,) = writer.close_arm(test, (last,), (start,))
        return result

    # --- whole arrays ------------------------------------------------------------------

    def whole_operand(self, node: Node) -> Value:
        if not node.rank:
            return self.value(node, ())
        if node.kind == "input":
            assert node.value is not None
            return node.value
        return self.buffers[node]

    def _write_whole(self, stmt: Stmt) -> None:
        node, writer = stmt.node, self.writer
        writer.location, writer.part = node.location, node.part
        if node.kind == "gemm":
            flags: dict[str, bool] = {}
            matrices = []
            for x, name in zip(node.operands, ("transpose_a", "transpose_b"), strict=True):
                flags[name] = is_transpose(x)
                matrices.append(self.whole_operand(x.operands[0] if flags[name] else x))
            writer.effect("gemm", (*matrices, self.buffers[node]), flags)
        elif node.kind == "alias":
            base = self.whole_operand(node.operands[0])
            self.buffers[node] = writer.emit(
                "alias", (base,), {"shape": node.shape}, hint=node.hint, type=node.type
            )
        elif node.kind == "whole":
            self._write_operation(node)
        writer.location, writer.part = None, "forward"

    def _write_strip(self, stmt: Stmt) -> None:
        """A product of the strips of this block."""
        node, writer = stmt.node, self.writer
        assert stmt.strip is not None
        along = self.program.strips[node]
        parts = dict(parts_of(along))
        matrices, turned, places = [], [], []
        for which, x in enumerate((*node.operands, node)):
            base = base_of(x) if which < 2 else x
            turn = base is not x
            made = self.program.of_node.get(base)
            storage = None if made is None or made.whole else self.storage[made]
            dims = (0, 1) if storage is None or storage.dims is None else storage.dims
            if which in parts:
                dimension = parts[which] ^ turn
                blocked = storage is not None and dimension in storage.blocked
                places.append((which, dims.index(dimension), not blocked))
            matrices.append(self.whole_operand(base))
            turned.append(turn ^ (dims != (0, 1)))
        if turned[2]:  # out.T = b.T @ a.T
            matrices[:2], turned = matrices[1::-1], [not turned[1], not turned[0], False]
            places = [((1, 0, 2)[which], at, moving) for which, at, moving in places]
        attributes = {
            "transpose_a": turned[0],
            "transpose_b": turned[1],
            "parts": tuple(places),
            "add": along == "sums",
        }
        saved = writer.location, writer.part
        writer.location, writer.part = node.location, node.part
        writer.effect("gemm_part", (*matrices, *self.blocks[stmt.strip]), attributes)
        writer.location, writer.part = saved

    def _write_operation(self, node: Node) -> None:
        op = node.op
        assert op is not None
        operands = tuple(self.whole_operand(x) for x in node.operands[: len(op.operands)])
        captured = {
            value: self.whole_operand(self.program.graph.node(value))
            for value in (captures(op) if op.regions else ())
        }
        new = Operation(
            op.opdef,
            operands,
            op.attributes,
            tuple(self.lower_region(region, captured) for region in op.regions),
            tuple(r.type for r in op.results),
            op.location,
            op.part,
        )
        self.writer.levels[0].region.ops.append(new)
        for reader in self.program.statements:
            if reader.node.kind == "result" and reader.node.operands[0] is node:
                made = new.results[reader.node.attributes["position"]]
                made.hint = reader.node.hint
                self.buffers[reader.node] = made
