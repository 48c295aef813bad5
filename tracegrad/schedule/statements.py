"""Statements: the values that the loop tree places, and what each one reads.

A statement is a result, a reduction, a heavy elementwise value, an operand or result of a
whole-array operation, or a value that a later decision forces to be kept. Every other node is
inlined: computed again in each loop that reads it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from tracegrad.ir.types import Dim, Shape, evaluate, symbols
from tracegrad.schedule.axes import Axes
from tracegrad.schedule.extremes import compared_with_extremes
from tracegrad.schedule.graph import UNROLL_LIMIT, Graph, Node, counts_along
from tracegrad.schedule.margins import Margins, margins
from tracegrad.schedule.shifted import read_at_shifts
from tracegrad.schedule.strips import Along, base_of, taken_in_strips

DEFAULT_SIZE = 1000
MOST_UNROLLED = 64
MOST_INLINED = 128
"""Nodes inlined below one: a value that is made of more is computed once and placed."""


class Entry(NamedTuple):
    """The index along one dimension: ``step * (loop variable of axis) + offset``.

    ``axis`` is an axis class, a `Data` for an index that is computed, or None for a fixed one.
    """

    axis: int | Data | None
    step: int = 1
    offset: Dim = 0


class Data(NamedTuple):
    """The value of an integer node at an index, used as an index."""

    node: Node
    at: tuple[Entry, ...]
    size: Dim
    dimension: int


Index: TypeAlias = tuple[Entry, ...]


class Guard(NamedTuple):
    """A pad inside an expression: it is zero unless ``low <= variable of axis < high``."""

    axis: int
    low: Dim
    high: Dim


@dataclass(eq=False)
class Stmt:
    """One value that the tree places.

    Attributes
    ----------
    node : the value; for kinds see `Program`.
    domain : its axis classes: those of the result, and the reduced ones.
    extents : the size along each axis of the domain.
    out : the axis class of each dimension of the result.
    reduced : axes summed away (or, for a scatter, that its result does not have).
    loops : axes of the domain that become loops, outermost first; the others are unrolled.
    reads : every leaf read, at its index: inputs and other statements.
    inlined : nodes computed inside the statement, at their index.
    guards : where pads inside it are cut.
    below : of a sum over pairs, the axes of its ends: the index along the second is smaller.
    pair : the same for whatever else nothing but such sums reads.
    margined : values that pads inside it read from a buffer with margins of zeros.
    strip : of a product in strips, the axis that these go along (see `strips`).
    apart : has a loop over a block of its own: it checks an index.
    whole : a whole-array operation or a marker; it has no loops and stands at the top.
    keep : its buffer must exist in full, in NumPy layout (a result, an operand of a whole).
    """

    node: Node
    number: int = 0
    domain: tuple[int, ...] = ()
    extents: dict[int, Dim] = field(default_factory=dict)
    out: tuple[int, ...] = ()
    reduced: frozenset[int] = frozenset()
    loops: tuple[int, ...] = ()
    reads: list[tuple[Node, Index]] = field(default_factory=list)
    inlined: list[tuple[Node, Index]] = field(default_factory=list)
    guards: set[Guard] = field(default_factory=set)
    deps: set[Stmt] = field(default_factory=set)
    below: tuple[int, int] | None = None
    pair: tuple[int, int] | None = None
    margined: set[Node] = field(default_factory=set)
    strip: int | None = None
    apart: bool = False
    whole: bool = False
    keep: bool = False
    guarded: bool = False

    @property
    def is_reduce(self) -> bool:
        return self.node.kind == "reduce"

    def __repr__(self) -> str:
        return f"<Stmt {self.number} {self.node!r}>"


WHOLE_KINDS = frozenset({"gemm", "whole", "result", "alias", "assemble"})
STATEMENT_KINDS = WHOLE_KINDS | {"reduce", "part", "place", "scatter", "scan"}


class Program:
    """The statements of a graph, in an order in which they can run.

    Parameters
    ----------
    graph : the nodes; ``results`` says which are wanted.
    forced : nodes made statements by a later decision (recomputation would cost too much).
    packed : (statement node, array) pairs: it reads a copy in the order of its loops.
    hints : sizes for costs.
    strips, checked : products in strips, and along which axis; what picks elements, kept apart.
    """

    def __init__(
        self,
        graph: Graph,
        hints: Mapping[str, int],
        forced: Iterable[Node] = (),
        packed: Mapping[tuple[Node, Node], Node] | None = None,
        strips: Mapping[Node, Along] | None = None,
        checked: Collection[Node] = (),
    ) -> None:
        self.graph = graph
        self.hints = hints
        self.packed = {} if packed is None else packed
        self.strips: Mapping[Node, Along] = {} if strips is None else strips
        self.statements: list[Stmt] = []
        self.of_node: dict[Node, Stmt] = {}
        self._forced = {*forced, *checked, *self.packed.values()}
        self._kept: set[Node] = set()
        self._live: list[Node] = []
        self._sizes: dict[Dim, int] = {}
        self._require(graph)
        self._force_long(graph)
        self._forced |= compared_with_extremes(self._live, self.is_statement)
        self.shifted = read_at_shifts(self._live, self.is_statement)
        self._forced |= self.shifted
        live = set(self._live)
        self.strips = {node: along for node, along in self.strips.items() if node in live}
        sums = [node for node, along in self.strips.items() if along == "sums"]
        self.axes = Axes(graph, self._live, sums)
        self._apart = {*checked, *self._force_checks()}
        self.unrolled: set[int] = set()
        self.margins: dict[Node, Margins] = {}
        self._place(graph)

    # --- sizes -------------------------------------------------------------------------

    def size(self, dim: Dim) -> int:
        """A guess of ``dim`` for costs: from the hints, else a default."""
        if isinstance(dim, int):
            return dim
        known = self._sizes.get(dim)
        if known is None:
            sizes = {s: self.hints.get(s, DEFAULT_SIZE) for s in symbols(dim)}
            known = self._sizes[dim] = max(evaluate(dim, sizes), 1)
        return known

    def volume(self, shape: Shape) -> int:
        total = 1
        for d in shape:
            total *= self.size(d)
        return total

    def domain_size(self, stmt: Stmt) -> int:
        return self.volume(tuple(stmt.extents.values()))

    # --- which nodes are statements ----------------------------------------------------

    def _require(self, graph: Graph) -> None:
        """Find the live nodes, and those that must be whole buffers."""
        stack = [*graph.results, *graph.effects]
        seen: set[Node] = set()
        for result in graph.results:
            self._want(result)
        while stack:
            node = stack.pop()
            if node in seen:
                continue
            seen.add(node)
            for operand in self._buffers(node):
                self._want(operand)
            self._forced.update(self._strips_of(node))
            stack.extend(graph.needs(node))
        seen.update(self.packed.values())
        self._live = sorted(seen, key=lambda n: n.number)

    def _want(self, node: Node) -> None:
        """``node`` is used as a whole: a buffer, or a scalar that is known at the top."""
        if node.kind in ("input", "const", "size"):
            return
        self._forced.add(node)
        if node.rank:
            self._kept.add(node)

    def _buffers(self, node: Node) -> list[Node]:
        """Operands that ``node`` reads as whole arrays."""
        if node.kind == "gemm":
            strips = self._strips_of(node)
            return [base for base in map(base_of, node.operands) if base not in strips]
        if node.kind in ("whole", "alias"):
            return list(node.operands)
        if node.kind == "scatter":
            return [node.operands[0]]
        return []

    def _strips_of(self, node: Node) -> list[Node]:
        """What a product reads strip by strip: elements of a buffer, in any layout."""
        along = self.strips.get(node)
        return [] if along is None else [base for base, _ in taken_in_strips(node, along)]

    def _force_checks(self) -> set[Node]:
        """What picks elements along strips is computed apart: its checks are not for lanes."""
        along = {self.axes.of(node)[0] for node, a in self.strips.items() if a == "rows"}
        along |= {self.axes.of(node)[1] for node, a in self.strips.items() if a == "columns"}
        found = {
            node
            for node in self._live
            if node.kind in ("gather", "place") and along & {*self.axes.of(node)}
        }
        self._forced |= found
        return found

    def _force_long(self, graph: Graph) -> None:
        """Make statements of values that are made of many others.

        Every reader of a value computes all again that is inlined below it: in a long chain of
        light operations this would be the whole chain, for each of the readers.
        """
        if len(self._live) <= MOST_INLINED:
            return
        below: dict[Node, frozenset[Node]] = {}
        for node in self._live:
            if node.kind == "input" or self.is_statement(node):
                continue
            parts = [below[x] for x in node.operands if x in below]
            found = frozenset((node,)).union(*parts)
            if len(found) > MOST_INLINED and node.kind == "ew" and node.op is not None:
                self._forced.add(node)
            else:
                below[node] = found

    def is_statement(self, node: Node) -> bool:
        if node.kind in STATEMENT_KINDS or node in self._forced:
            return node.kind != "input"
        return node.heavy

    # --- making them -------------------------------------------------------------------

    def _place(self, graph: Graph) -> None:
        done: set[Node] = set()

        def visit(root: Node) -> None:
            stack: list[tuple[Node, bool]] = [(root, False)]
            while stack:
                node, finished = stack.pop()
                if finished:
                    self._make(node)
                    continue
                if node in done:
                    continue
                done.add(node)
                if self.is_statement(node):
                    stack.append((node, True))
                stack.extend((needed, False) for needed in reversed(graph.needs(node)))

        for copy in self.packed.values():
            visit(copy)
        for node in [*graph.effects, *graph.results]:
            visit(node)
        self._choose_unrolled()
        self._choose_margins()
        for stmt in self.statements:
            self._read(stmt)
        self._choose_pairs()
        if graph.binders:
            for stmt in self.statements:
                for node in (stmt.node, *(node for node, _ in stmt.inlined)):
                    sizes = graph.needs(node)[len(node.operands) :]
                    stmt.deps.update(self.of_node[binder] for binder in sizes)

    def _make(self, node: Node) -> None:
        stmt = Stmt(node, len(self.statements))
        self.statements.append(stmt)
        self.of_node[node] = stmt
        stmt.keep = node in self._kept
        stmt.out = self.axes.of(node)
        stmt.apart = node in self._apart
        if node in self.strips:
            self._make_strip(stmt, self.strips[node])
            return
        if node.kind in WHOLE_KINDS:
            stmt.whole = True
            stmt.keep = True
            return
        source = node
        stmt.domain = stmt.out
        if node.kind == "reduce":
            source = node.operands[0]
            self._reduce_domain(stmt, source)
        elif node.kind == "scatter":
            source = node.operands[1]
            stmt.keep = True
            stmt.domain = self.axes.of(source)
            count = len(node.operands) - 2
            outer = source.rank - (node.rank - count)
            stmt.reduced = frozenset(stmt.domain[:outer])
            # Along the indexed dimensions the result has no place in these loops.
            stmt.out = (*(self.axes.fresh() for _ in range(count)), *stmt.domain[outer:])
        elif node.kind in ("part", "scan"):
            stmt.keep = True
        stmt.extents = dict(zip(stmt.domain, source.shape, strict=True))

    def _make_strip(self, stmt: Stmt, along: Along) -> None:
        a, _ = stmt.node.operands
        rows, columns = stmt.out
        summed = self.axes.of(a)[1]
        if summed in stmt.out:
            summed = self.axes.fresh()
        stmt.domain = (rows, summed, columns)
        stmt.extents = dict(zip(stmt.domain, (*a.shape, stmt.node.shape[1]), strict=True))
        stmt.strip = {"rows": rows, "columns": columns, "sums": summed}[along]
        stmt.reduced = frozenset((summed,))

    def _reduce_domain(self, stmt: Stmt, source: Node) -> None:
        """The axes of the result, and between them those that are reduced.

        What a reduction sums may have its axes in other classes than the result, where these
        could not be united: the classes of the result are the ones that its readers use.
        """
        kept = iter(stmt.out)
        reduced: set[int] = set()
        domain: list[int] = []
        for d, axis in enumerate(self.axes.of(source)):
            if d not in stmt.node.attributes["axes"]:
                domain.append(next(kept))
                continue
            if axis in stmt.out or axis in reduced:
                axis = self.axes.fresh()
            reduced.add(axis)
            domain.append(axis)
        stmt.domain = tuple(domain)
        stmt.reduced = frozenset(reduced)
        if "below" in stmt.node.attributes:
            p, q = stmt.node.attributes["below"]
            stmt.below = (domain[p], domain[q])

    def _choose_unrolled(self) -> None:
        small = {
            axis
            for stmt in self.statements
            if stmt.strip is None
            for axis, extent in stmt.extents.items()
            if isinstance(extent, int) and extent <= UNROLL_LIMIT
        }
        for stmt in self.statements:
            if stmt.node.kind == "scan":
                small -= {stmt.domain[stmt.node.attributes["axis"]]}
        for stmt in self.statements:
            inside = sorted((a for a in stmt.extents if a in small), key=lambda a: stmt.extents[a])
            while (
                stmt.strip is None
                and self.volume(tuple(stmt.extents[a] for a in inside)) > MOST_UNROLLED
            ):
                small.discard(inside.pop())
        self.unrolled = small

    def _choose_margins(self) -> None:
        """What pads of several dimensions read gets zeros around it, and the pads no tests.

        Of a single dimension, and of the last, the loop is peeled, which costs nothing.
        """
        for node in self._live:
            base = node.operands[0] if node.kind == "pad" else node
            made = self.of_node.get(base)
            around = margins(node) if base is not node else None
            if made is None or around is None or made.keep or made.whole:
                continue
            if made.node.kind not in ("ew", "reduce") or any(
                sides != (0, 0) and axis in self.unrolled
                for sides, axis in zip(around, made.out, strict=True)
            ):
                continue
            known = self.margins.get(base, ((0, 0),) * base.rank)
            self.margins[base] = tuple(
                (max(a, c), max(b, d)) for (a, b), (c, d) in zip(known, around, strict=True)
            )

    def _choose_pairs(self) -> None:
        readers: dict[Stmt, set[tuple[int, int] | None]] = {}
        for stmt in reversed(self.statements):
            stmt.pair = stmt.below
            ends = readers.get(stmt, set())
            if stmt.below is None and len(ends) == 1 and not stmt.keep:
                (only,) = ends
                if only is not None and {*only} <= {*stmt.out}:
                    stmt.pair = only
            for other in stmt.deps:
                readers.setdefault(other, set()).add(stmt.pair)

    def in_margins(self, pad: Node) -> bool:
        """Whether outside of its operand a pad reads zeros that stand around it."""
        return pad.operands[0] in self.margins and margins(pad) is not None

    def _read(self, stmt: Stmt) -> None:
        index = tuple(Entry(a) for a in stmt.domain)
        seen: set[tuple[Node, Index]] = set()
        stack: list[tuple[Node, Index]] = []
        node = stmt.node
        if stmt.whole or stmt.strip is not None:
            self._read_whole(stmt)
            if stmt.strip is not None:
                self._read_strips(stmt)
            return
        if node.kind in ("reduce", "part", "scan"):
            stack.extend((x, index) for x in node.operands)
        elif node.kind == "scatter":
            stack.append((node.operands[1], index))
            count = len(stmt.reduced)
            stack.extend((i, index[:count] if i.rank else ()) for i in node.operands[2:])
            if node.operands[0].kind != "input":
                stmt.deps.add(self.of_node[node.operands[0]])
        else:
            stack.extend(self.below(stmt, node, index))
        while stack:
            item = stack.pop()
            if item in seen:
                continue
            seen.add(item)
            node, index = item
            node = self.packed.get((stmt.node, node), node)
            other = self.of_node.get(node)
            if other is not None:
                stmt.deps.add(other)
                stmt.reads.append((node, index))
            elif node.kind == "input":
                stmt.reads.append(item)
            else:
                stmt.inlined.append(item)
                stack.extend(self.below(stmt, node, index))

    def _read_whole(self, stmt: Stmt) -> None:
        """Dependencies of a whole-array statement; effects stay in their order."""
        if stmt.node in self.graph.effects:
            before = self.graph.effects[: self.graph.effects.index(stmt.node)]
            stmt.deps.update(self.of_node[node] for node in before)
        stack = list(stmt.node.operands)
        while stack:
            node = stack.pop()
            other = self.of_node.get(node)
            if other is not None:
                stmt.deps.add(other)
            else:
                stack.extend(node.operands)

    def _read_strips(self, stmt: Stmt) -> None:
        for base, dimension in taken_in_strips(stmt.node, self.strips[stmt.node]):
            index = [Entry(axis) for axis in self.axes.of(base)]
            index[dimension] = Entry(stmt.strip)
            stmt.reads.append((base, tuple(index)))

    def below(self, stmt: Stmt | None, node: Node, index: Index) -> list[tuple[Node, Index]]:
        """What an inlined ``node`` at ``index`` reads, and at which indices."""
        kind = node.kind
        if kind == "ew":
            return [(x, index if x.rank else ()) for x in node.operands]
        if kind == "view":
            return [(node.operands[0], through_view(node, index))]
        if kind == "pad":
            inner, guards = through_pad(node, index)
            if stmt is not None and self.in_margins(node):
                stmt.margined.add(node.operands[0])
            elif stmt is not None:
                for axis, low, high in guards:
                    if isinstance(axis, int) and axis not in self.unrolled:
                        stmt.guards.add(Guard(axis, low, high))
                    elif axis is not None and not isinstance(axis, int):
                        stmt.guarded = True
            return [(node.operands[0], inner)]
        if kind == "place":
            return [(node.operands[0], index)]
        if kind == "gather":
            data, inner = through_gather(node, index)
            return [*data, (node.operands[0], inner)]
        return []


def moved(e: Entry, step: int, offset: Dim) -> Entry:
    """The index ``step * e + offset``."""
    return Entry(e.axis, 1 if e.axis is None else e.step * step, e.offset * step + offset)


def through_view(node: Node, index: Index) -> Index:
    """The index at which a view at ``index`` reads its operand."""
    entries = []
    for axis, offset, step in node.attributes["map"]:
        if axis is None:
            entries.append(Entry(None, 1, offset))
        else:
            e = index[axis]
            entries.append(moved(e, step, offset))
    return tuple(entries)


Bound: TypeAlias = tuple["int | Data | None", Dim, Dim]


def through_pad(node: Node, index: Index) -> tuple[Index, list[Bound]]:
    """The index at which a pad (steps of ±1) reads its operand, and where that is inside it.

    A bound (axis, low, high) says ``low <= variable of axis < high``; for the axis None, that
    0 lies between the two.
    """
    base = node.operands[0]
    inner: list[Entry] = [Entry(None)] * base.rank
    bounds: list[Bound] = []
    for e, (axis, offset, step) in zip(index, node.attributes["map"], strict=True):
        at = moved(Entry(e.axis, e.step, e.offset - offset), step, 0)
        size: Dim = 1
        if axis is not None:
            inner[axis] = at
            size = base.shape[axis]
        bounds.append((e.axis, *variable_range(at, size)))
    return tuple(inner), bounds


def variable_range(at: Entry, size: Dim) -> tuple[Dim, Dim]:
    """Where the variable of ``at`` makes ``0 <= step * variable + offset < size``."""
    if at.axis is None:
        return -at.offset, size - at.offset
    if at.step > 0:
        return -(at.offset // at.step), -((at.offset - size) // at.step)
    return (at.offset - size) // -at.step + 1, at.offset // -at.step + 1


def through_gather(node: Node, index: Index) -> tuple[list[tuple[Node, Index]], Index]:
    """What a gather at ``index`` reads: its index values, and the index into its operand."""
    base, *indices = node.operands
    rank = max((i.rank for i in indices), default=0)
    outer, rest = index[:rank], index[rank:]
    reads: list[tuple[Node, Index]] = []
    entries: list[Entry] = []
    for dimension, i in enumerate(indices):
        if counts_along(i, base, dimension):
            entries.append(outer[0])
            continue
        at = outer if i.rank else ()
        reads.append((i, at))
        entries.append(Entry(Data(i, at, base.shape[dimension], dimension)))
    return reads, (*entries, *rest)


__all__ = [
    "Data",
    "Entry",
    "Guard",
    "Index",
    "Program",
    "Stmt",
    "through_gather",
    "through_pad",
    "through_view",
]
