"""Evaluating nodes at an index, in the loops that are open.

`Evaluator.value(node, index)` writes what computes one element. Values are remembered per open
level, so an expression is written once per iteration, in the outermost loop that knows it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

from tracegrad.ir import bounds
from tracegrad.ir.core import Function, Guard, Value
from tracegrad.ir.types import Dim, i64, scalar
from tracegrad.schedule.graph import Node
from tracegrad.schedule.statements import (
    Bound,
    Data,
    Entry,
    Index,
    Program,
    Stmt,
    moved,
    through_gather,
    through_pad,
    through_view,
)
from tracegrad.schedule.storage import Storage
from tracegrad.schedule.writer import Writer


@dataclass
class Binding:
    """An open loop over an axis: its variable, and what is known of its range.

    ``variable >= low`` for each of ``lows``, ``variable < high`` for each of ``highs``.
    ``lane`` is the place within the block, where the axis is split. ``at`` is the place itself
    where the loop is one iteration only. ``depth`` is that of the level in which all this holds.
    """

    variable: Value
    lane: Value | None = None
    lows: tuple[Dim, ...] = (0,)
    highs: tuple[Dim, ...] = ()
    depth: int = 0
    at: Dim | None = None


_of_any_sign: ContextVar[frozenset[str]] = ContextVar("_of_any_sign", default=frozenset())
_guards: ContextVar[tuple[Guard, ...]] = ContextVar("_guards", default=())


@contextmanager
def signs_of(function: Function) -> Iterator[None]:
    """While ``function`` is scheduled: its int arguments may be negative, unlike its sizes."""
    signs = _of_any_sign.set(bounds.signed_symbols(function))
    guards = _guards.set(tuple(function.guards))
    try:
        yield
    finally:
        _of_any_sign.reset(signs)
        _guards.reset(guards)


def non_negative(dim: Dim) -> bool:
    """Whether ``dim >= 0`` whatever the sizes, which are never negative."""
    return bounds.non_negative(dim, _of_any_sign.get())


def guarded_non_negative(dim: Dim) -> bool:
    """Whether ``dim >= 0`` in a call that has passed the guards."""
    return non_negative(dim) or any(
        guard.relation == ">=" and non_negative(dim - (guard.left - guard.right))
        for guard in _guards.get()
    )


def _chooses_a_window(node: Node) -> bool:
    """Whether ``node`` is ``select(c, x, y)`` where c is True in a window and False elsewhere."""
    if node.name != "select" or node.operands[0].kind != "pad":
        return False
    filling = node.operands[0].operands[0]
    if filling.kind == "view":
        filling = filling.operands[0]
    return filling.kind == "const" and filling.attributes["value"] is True


class Evaluator:
    """Writes single elements of nodes."""

    def __init__(self, program: Program, storage: dict[Stmt, Storage], writer: Writer) -> None:
        self.program = program
        self.storage = storage
        self.writer = writer
        self.buffers: dict[Node, Value] = {}
        self.tables: dict[Node, Value] = {}  # small constant arrays that loops read
        self.complete: dict[Stmt, int] = {}
        self.bound: dict[int, Binding] = {}
        self.reader: Node | None = None

    # --- nodes -------------------------------------------------------------------------

    def value(self, node: Node, index: Index) -> Value:
        """The element of ``node`` at ``index``."""
        found = self.writer.memo.get((node, index))
        if found is not None:
            return found
        # What it is computed from comes first, without recursion: chains can be long.
        pending = [(node, index)]
        while pending:
            missing = self._sources(*pending[-1])
            if missing:
                pending.extend(reversed(missing))
            else:
                found = self._value(*pending.pop())
        assert found is not None
        return found

    def _sources(self, node: Node, index: Index) -> list[tuple[Node, Index]]:
        """The elements not yet known that a computed node needs."""
        key = (node, index)
        if node.kind not in ("ew", "view") or key in self.writer.memo:
            return []
        if self.program.of_node.get(node) is not None or _chooses_a_window(node):
            return []
        if node.kind == "view":
            needed = [(node.operands[0], through_view(node, index))]
        else:
            needed = [(x, index if x.rank else ()) for x in node.operands]
        return [each for each in needed if each not in self.writer.memo]

    def _value(self, node: Node, index: Index) -> Value:
        key = (node, index)
        found = self.writer.memo.get(key)
        if found is not None:
            return found
        stmt = self.program.of_node.get(node)
        if stmt is not None and self.reader is not None:
            stmt = self.program.of_node[self.program.packed.get((self.reader, node), node)]
        if stmt is not None:
            found = self._load_statement(stmt, index)
        else:
            found = self.compute(node, index)
        # A pad is decided by what is known of the loop variables here and not elsewhere.
        depth = self.writer.depth_of.get(found, 0)
        for e in index:
            if isinstance(e.axis, int):
                depth = max(depth, self.bound[e.axis].depth)
        return self.writer.remember(key, found, depth)

    def compute(self, node: Node, index: Index) -> Value:
        """What computes the element of ``node`` at ``index``, though it may be a statement."""
        writer = self.writer
        kind = node.kind
        if kind == "ew":
            if node.op is None:
                return self.value(node.operands[0], index)
            if _chooses_a_window(node):
                return self._choice(node, index)
            operands = [self.value(x, index if x.rank else ()) for x in node.operands]
            saved = writer.location, writer.part
            writer.location, writer.part = node.location, node.part
            result = writer.emit(
                node.op.opdef.name,
                operands,
                node.op.attributes,
                hint=node.hint,
                type=scalar(node.type.dtype),
            )
            writer.location, writer.part = saved
            return result
        if kind == "view":
            return self.value(node.operands[0], through_view(node, index))
        if kind == "pad":
            return self._pad(node, index)
        if kind == "place":
            size, dimension = (node.attributes[name] for name in ("size", "dimension"))
            return self.checked(Data(node.operands[0], index, size, dimension), node)
        if kind == "gather":
            inner = through_gather(node, index)[1]
            for e in inner:
                # An array that is the same along the axis does not ask for the position.
                if isinstance(e.axis, Data):
                    self.checked(e.axis, node)
            return self.value(node.operands[0], inner)
        if kind == "input":
            return self._input(node, index)
        if kind == "const":
            return writer.constant(node.attributes["value"], node.type.dtype)
        if kind == "size":
            return writer.dim(node.attributes["size"])
        if kind == "iota":
            at = self.position(index[0])
            if node.type.dtype is i64:
                return at
            return writer.emit("cast", (at,), {"dtype": node.type.dtype})
        if kind == "table":
            return self._table(node, index)
        raise AssertionError(f"{node!r} is not computed by element")

    def _input(self, node: Node, index: Index) -> Value:
        assert node.value is not None
        if not node.rank:
            return node.value
        if self.reader is not None:
            copy = self.program.packed.get((self.reader, node))
            if copy is not None:
                return self.value(copy, index)
        return self.load(node.value, [self.position(e) for e in index], 0, node)

    def load(self, buffer: Value, at: list[Value], floor: int, node: Node) -> Value:
        """Read an element; never hoisted out of an arm, nor above where it is complete."""
        writer = self.writer
        floor = max(floor, writer.arm_depth)
        saved = writer.location, writer.part
        writer.location, writer.part = node.location, node.part
        loaded = writer.emit("load", [buffer, *at], floor=floor, type=scalar(node.type.dtype))
        writer.location, writer.part = saved
        return loaded

    def _load_statement(self, stmt: Stmt, index: Index) -> Value:
        buffer = self.buffers.get(stmt.node)
        assert buffer is not None, f"{stmt!r} has no buffer where it is read"
        if not stmt.node.rank and (stmt.whole or self.storage[stmt].dims is None):
            return buffer
        at = self._indices(stmt, index)
        return self.load(buffer, at, self.complete.get(stmt, 0), stmt.node)

    def place(self, stmt: Stmt, index: Index) -> list[Value]:
        """The indices into the buffer of ``stmt``."""
        storage = self.storage[stmt]
        assert storage.dims is not None
        if storage.margins is not None:
            before = [width for width, _ in storage.margins]
            index = tuple(moved(e, 1, width) for e, width in zip(index, before, strict=True))
        return [self.position(index[d], lane=d in storage.blocked) for d in storage.dims]

    def _table(self, node: Node, index: Index) -> Value:
        element: Any = node.attributes["value"]
        if all(e.axis is None and isinstance(e.offset, int) for e in index):
            for e in index:
                element = element[e.offset]
            return self.writer.constant(element, node.type.dtype)
        buffer = self.tables.get(node)
        assert buffer is not None
        return self.load(buffer, [self.position(e) for e in index], 0, node)

    # --- pads --------------------------------------------------------------------------

    def _pad(self, node: Node, index: Index) -> Value:
        inner, bounds = through_pad(node, index)
        if self.program.in_margins(node):
            return self.value(node.operands[0], inner)

        def outside() -> Value:
            return self.writer.constant(0, node.type.dtype)

        return self._where(bounds, lambda: self.value(node.operands[0], inner), outside)

    def _choice(self, node: Node, index: Index) -> Value:
        """A choice whose condition is whether a place is in the window of a pad."""
        window, there, elsewhere = node.operands
        _, bounds = through_pad(window, index)

        def of(x: Node) -> Callable[[], Value]:
            return lambda: self.value(x, index if x.rank else ())

        if node.attributes.get("joined"):
            found = self._one_of_two(
                bounds, self._place(there, index), self._place(elsewhere, index)
            )
            if found is not None:
                return found
        return self._where(bounds, of(there), of(elsewhere))

    def _place(self, node: Node, index: Index) -> tuple[Node, Index]:
        """Where in an array that is in memory, or computed, an element of ``node`` is read."""
        while node not in self.program.of_node:
            if node.attributes.get("joined") and node.kind == "pad":
                index, _ = through_pad(node, index)
            elif node.kind == "view":
                index = through_view(node, index)
            elif node.kind == "gather":
                _, index = through_gather(node, index)
            else:
                break
            node = node.operands[0]
        return node, index

    def _one_of_two(
        self, bounds: Sequence[Bound], one: tuple[Node, Index], other: tuple[Node, Index]
    ) -> Value | None:
        """An element that is at one of two places of an array; None where that isn't known.

        The place is chosen, and read once.
        """
        (node, there), (same, elsewhere) = one, other
        tests = [test for bound in bounds for test in self._tests(*bound)]
        if node is not same or not tests or None in tests:
            return None
        stmt = self.program.of_node.get(node)
        packed = self.reader is not None and (self.reader, node) in self.program.packed
        buffer = node.value if stmt is None else self.buffers.get(node)
        if packed or buffer is None or not node.rank or (stmt is None and node.kind != "input"):
            return None
        places = zip(there, elsewhere, strict=True)
        looked_up = (e for pair in places if pair[0] != pair[1] for e in pair)
        if any(isinstance(e.axis, Data) for e in looked_up):
            return None  # an array of indices has an element for the place that counts alone
        writer = self.writer
        condition, *more = [test for test in tests if test is not None]
        for test in more:
            condition = writer.emit("logical_and", (condition, test))
        at, floor = self._indices(stmt, there), 0 if stmt is None else self.complete.get(stmt, 0)
        pairs = zip(at, self._indices(stmt, elsewhere), strict=True)
        chosen = [a if a is b else writer.emit("select", (condition, a, b)) for a, b in pairs]
        return self.load(buffer, chosen, floor, node)

    def _indices(self, stmt: Stmt | None, index: Index) -> list[Value]:
        """The indices into the memory of an input, or of ``stmt``."""
        if stmt is None or stmt.whole or self.storage[stmt].dims is None:
            return [self.position(e) for e in index]
        return self.place(stmt, index)

    def _where(
        self, bounds: Sequence[Bound], inside: Callable[[], Value], outside: Callable[[], Value]
    ) -> Value:
        """``inside()`` where the loop variables keep to ``bounds``, elsewhere ``outside()``.

        Only one of the two is written where it is known which.
        """
        writer = self.writer
        unknown: list[Value] = []
        for axis, low, high in bounds:
            for test in self._tests(axis, low, high):
                if test is None:
                    return outside()
                unknown.append(test)
        if not unknown:
            return inside()
        condition = unknown[0]
        for test in unknown[1:]:
            condition = writer.emit("logical_and", (condition, test))
        otherwise = outside()
        writer.open_arm()
        saved = dict(self.bound)
        for axis, low, high in bounds:
            if isinstance(axis, int):
                known = self.bound[axis]
                self.bound[axis] = replace(
                    known,
                    lows=(*known.lows, low),
                    highs=(*known.highs, high),
                    depth=writer.level.depth,
                )
        chosen = inside()
        self.bound.update(saved)
        (result,) = writer.close_arm(condition, (chosen,), (otherwise,))
        return result

    def _tests(self, axis: int | Data | None, low: Dim, high: Dim) -> list[Value | None]:
        """What must be tested so that ``low <= variable of axis < high``; None where it fails."""
        writer = self.writer
        if axis is None:
            tests: list[Value | None] = []
            for dim, strict in ((-low, False), (high, True)):
                if guarded_non_negative(dim - 1 if strict else dim):
                    continue
                if guarded_non_negative(-dim if strict else -dim - 1):
                    return [None]
                right, left = writer.dim(dim), writer.dim(0)
                tests.append(writer.emit("less" if strict else "less_equal", (left, right)))
            return tests
        if isinstance(axis, Data):
            at = self.position(Entry(axis))
            return [
                writer.emit("less_equal", (writer.dim(low), at)),
                writer.emit("less", (at, writer.dim(high))),
            ]
        binding = self.bound[axis]
        found: list[Value | None] = []
        if not any(guarded_non_negative(known - low) for known in binding.lows):
            if any(guarded_non_negative(low - known) for known in binding.highs):
                return [None]
            found.append(writer.emit("less_equal", (writer.dim(low), binding.variable)))
        if not any(guarded_non_negative(high - known) for known in binding.highs):
            if any(guarded_non_negative(known - high) for known in binding.lows):
                return [None]
            found.append(writer.emit("less", (binding.variable, writer.dim(high))))
        return found

    # --- indices -----------------------------------------------------------------------

    def position(self, e: Entry, *, lane: bool = False) -> Value:
        """An index as an i64 value: within the block when ``lane``."""
        writer = self.writer
        if e.axis is None:
            return writer.dim(e.offset)
        key = ("index", e, lane)
        found = writer.memo.get(key)
        if found is not None:
            return found
        if isinstance(e.axis, Data):
            at = self.checked(e.axis)
        else:
            binding = self.bound[e.axis]
            if binding.at is not None and not lane:
                return writer.dim(binding.at * e.step + e.offset)
            at = binding.variable
            if lane:
                assert binding.lane is not None
                at = binding.lane
        if e.step != 1:
            at = writer.emit("multiply", (at, writer.dim(e.step)))
        if isinstance(e.offset, int) and e.offset < 0:
            at = writer.emit("subtract", (at, writer.dim(-e.offset)))
        elif e.offset != 0:
            at = writer.emit("add", (at, writer.dim(e.offset)))
        return writer.remember(key, at)

    def checked(self, data: Data, by: Node | None = None) -> Value:
        """The index, checked; its IndexError names the line of the node that reads or writes."""
        writer = self.writer
        key = ("checked", data)
        found = writer.memo.get(key)
        if found is not None:
            return found
        raw = self.value(data.node, data.at)
        if raw.dtype is not i64:
            raw = writer.emit("cast", (raw,), {"dtype": i64})
        size = writer.dim(data.size)
        saved = writer.location
        writer.location = saved if by is None else by.location
        at = writer.emit(
            "check_index",
            (raw, size),
            {"axis": data.dimension},
            floor=writer.arm_depth,
            type=scalar(i64),
        )
        writer.location = saved
        return writer.remember(key, at)
