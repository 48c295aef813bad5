"""Sums over all pairs visit each pair once.

``Σ_j E(i, j)`` for all i, where E is costly and knows both ends of a pair, is, with E' the summand
whose two indices are exchanged::

    out[i] = Σ_{j<i} E(i, j) + E(i, i) + Σ_{k>i} E'(k, i)

so a loop over the pairs ``j < i`` adds E(i, j) at i and E'(i, j) at j. It does so at half the
cost where E and E' share most of their work: E' is ±E for forces between bodies, and made of the
same distances for nearly everything that is computed of pairs. A sum over both indices adds
E + E'. The diagonal is computed by itself, since what cancels in it may be NaN.

This is a rewrite of the graph. A ``reduce`` with the attribute ``below = (p, q)`` adds up those
elements only whose index along q is smaller than that along p; `loops` ends the loop over q there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

from tracegrad.ir.types import Dim, evaluate, symbols
from tracegrad.ops.registry import REGISTRY
from tracegrad.passes.rules.signs import EVEN, ODD
from tracegrad.schedule.graph import Graph, Node, ViewMap, stand_in

LEAST = 64
"""Below so many elements of an axis the inner loop would be too short."""
SHARED = 1.5
"""How much more than E itself E and E' may cost."""

Swapped: TypeAlias = "tuple[int, Node] | None"
Ends: TypeAlias = "tuple[int, int]"
COMMUTES = ("add", "multiply", "maximum", "minimum", "equal", "not_equal")


def visit_pairs_once(graph: Graph, hints: Mapping[str, int]) -> None:
    """Rewrite the sums of ``graph`` over pairs, where that pays."""
    found: dict[Dim, dict[Node, Ends]] = {}
    live = _live(graph)
    for node in live:
        ends = _ends(node, hints)
        if ends is not None:
            found.setdefault(node.operands[0].shape[ends[0]], {})[node] = ends
    for sums in found.values():
        pairs = _Pairs(graph)
        instead = pairs.rewrite(sums, live, hints)
        if instead:
            for node in graph.nodes:
                if not pairs.made_it(node):
                    node.operands = tuple(instead.get(x, x) for x in node.operands)
            graph.results = [instead.get(x, x) for x in graph.results]
            graph.of_value = {v: instead.get(x, x) for v, x in graph.of_value.items()}


def _live(graph: Graph) -> list[Node]:
    seen: set[Node] = set()
    stack = [*graph.results, *graph.effects]
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            stack.extend(graph.needs(node))
    return sorted(seen, key=lambda n: n.number)


def _ends(node: Node, hints: Mapping[str, int]) -> Ends | None:
    """The two axes of what ``node`` sums that are the ends of a pair."""
    if node.kind != "reduce" or node.name != "sum" or not node.type.dtype.is_float:
        return None
    shape = node.operands[0].shape
    pairs = [
        (p, q)
        for q in range(len(shape))
        for p in range(q)
        if shape[p] == shape[q] and not isinstance(shape[p], int)
    ]
    if len(pairs) != 1 or not set(pairs[0]) & set(node.attributes["axes"]):
        return None
    size = shape[pairs[0][0]]
    if any(s not in hints for s in symbols(size)) or evaluate(size, hints) < LEAST:
        return None
    return pairs[0]


class _GaveUp(Exception):
    """What is summed can't be taken apart."""


class _Pairs:
    """The rewrite of the sums over the pairs of one size."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.first = len(graph.nodes)
        self._swapped: dict[tuple[Node, Ends], Swapped] = {}

    def made_it(self, node: Node) -> bool:
        return node.number >= self.first

    def rewrite(
        self, sums: Mapping[Node, Ends], live: Sequence[Node], hints: Mapping[str, int]
    ) -> dict[Node, Node]:
        """What takes the place of each of ``sums``; nothing where it does not pay."""
        made = self._apart(sums, live)
        inside: dict[Node, Ends] = {}
        both: dict[Node, Ends] = {}
        for node in made:
            x, ends = node.operands[0], sums[node]
            self._below(x, ends, inside)
            self._below(x, ends, both)
            self._below(self._exchange(x, ends)[1], ends, both)
        if _cost(both, hints) > SHARED * _cost(inside, hints):
            return {}
        return {node: self._halves(node, sums[node]) for node in made}

    def _apart(self, sums: Mapping[Node, Ends], live: Sequence[Node]) -> list[Node]:
        """Those of ``sums`` that can be taken apart, and share nothing with anything else."""
        below: dict[Node, dict[Node, Ends]] = {}
        for node, ends in sums.items():
            found: dict[Node, Ends] = {}
            try:
                self._below(node.operands[0], ends, found)
                self._below(self._exchange(node.operands[0], ends)[1], ends, dict(found))
                self._diagonal(node.operands[0], ends)
            except _GaveUp:
                continue
            below[node] = found
        while True:
            ends_of: dict[Node, set[Ends]] = {}
            for found in below.values():
                for x, ends in found.items():
                    ends_of.setdefault(x, set()).add(ends)
            spoilt = {x for x, several in ends_of.items() if len(several) > 1}
            spoilt.update(x for x in self.graph.results if x in ends_of)
            for node in live:
                if node not in ends_of and node not in below:
                    spoilt.update(x for x in node.operands if x in ends_of)
            if not spoilt:
                return list(below)
            below = {n: found for n, found in below.items() if spoilt.isdisjoint(found)}

    def _below(self, node: Node, ends: Ends, found: dict[Node, Ends]) -> None:
        """Add ``node`` and what it is made of, as far as that has both ends."""
        known = found.get(node)
        if known is not None:
            if known != ends:
                raise _GaveUp
            return
        found[node] = ends
        for operand, place in self._with_both(node, ends):
            self._below(operand, place, found)

    def _with_both(self, node: Node, ends: Ends) -> Iterator[tuple[Node, Ends]]:
        """The operands that have both ends, and where."""
        p, q = ends
        if node.kind == "ew":
            yield from ((x, ends) for x in node.operands if x.rank)
        elif node.kind == "view":
            inner = _seen(node, ends)
            if inner is not None:
                yield node.operands[0], inner
            elif not _plain(node.operands[0]):
                raise _GaveUp
        elif node.kind == "reduce" and "below" not in node.attributes:
            kept = _kept(node)
            yield node.operands[0], (kept[p], kept[q])
        else:
            raise _GaveUp

    # --- exchanged

    def _exchange(self, node: Node, ends: Ends) -> tuple[int, Node]:
        """``(sign, other)``: exchanging the ends of ``node`` gives ``sign * other``."""
        if not node.rank:
            return 1, node
        key = (node, ends)
        found = self._swapped.get(key)
        if found is None:
            found = self._swapped[key] = self._exchanged(node, ends)
        return found

    def _exchanged(self, node: Node, ends: Ends) -> tuple[int, Node]:
        graph = self.graph
        if node.kind == "view":
            base, map = node.operands[0], node.attributes["map"]
            inner = _seen(node, ends)
            if inner is not None:
                sign, other = self._exchange(base, inner)
                return sign, graph.view(other, node.shape, map, node.op)
            turned = {ends[0]: ends[1], ends[1]: ends[0]}
            map = tuple((turned.get(a, a) if a is not None else a, o, s) for a, o, s in map)
            return 1, graph.view(base, node.shape, map, node.op)
        if node.kind == "reduce":
            kept = _kept(node)
            sign, other = self._exchange(node.operands[0], (kept[ends[0]], kept[ends[1]]))
            if sign < 0 and node.name != "sum":
                raise _GaveUp
            return sign, self._like(node, [other])
        parts = [self._exchange(x, ends) for x in node.operands]
        return self._elementwise(node, [s for s, _ in parts], [x for _, x in parts])

    def _elementwise(self, node: Node, signs: list[int], operands: list[Node]) -> tuple[int, Node]:
        name, sign = node.name, 1
        if name in ("multiply", "divide", "reciprocal", "negative", *ODD):
            for s in signs:
                sign *= s
        elif name in ("add", "subtract") and signs[0] == signs[1]:
            sign = signs[0]
        elif name in ("equal", "not_equal") and any(_is_zero(x) for x in node.operands):
            pass  # x equals 0 where -x does
        elif name not in EVEN and any(s < 0 for s in signs):
            raise _GaveUp
        if name == "subtract" and operands == list(reversed(node.operands)):
            return -sign, node
        return sign, self._like(node, operands)

    def _like(self, node: Node, operands: Sequence[Node]) -> Node:
        """``node`` of other operands, in an order in which that exists already."""
        graph = self.graph
        if node.name in COMMUTES:
            turned = [*operands][::-1]
            if graph.known(node.kind, node.name, turned, node.type, node.attributes):
                operands = turned
        return graph.make(node.kind, node.name, operands, node.type, node.attributes, node.op)

    # --- the diagonal

    def _diagonal(self, node: Node, ends: Ends) -> Node:
        """``node`` where both ends are the same; the axis of the first stands for both."""
        if not node.rank:
            return node
        p, q = ends
        graph = self.graph
        shape = tuple(d for axis, d in enumerate(node.shape) if axis != q)
        if node.kind == "view":
            base, map = node.operands[0], node.attributes["map"]
            inner = _seen(node, ends)
            if inner is not None:
                base = self._diagonal(base, inner)
                map = tuple(entry for d, entry in enumerate(map) if d != inner[1])
            return graph.view(base, shape, _merged(map, ends), node.op)
        type = node.type.with_shape(shape)
        if node.kind == "reduce":
            kept = _kept(node)
            inner = (kept[p], kept[q])
            operand = self._diagonal(node.operands[0], inner)
            gone = tuple(a - (a > inner[1]) for a in node.attributes["axes"])
            return graph.make("reduce", node.name, [operand], type, {"axes": gone}, node.op)
        operands = [self._diagonal(x, ends) for x in node.operands]
        return graph.make("ew", node.name, operands, type, node.attributes, node.op)

    # --- putting together

    def _halves(self, node: Node, ends: Ends) -> Node:
        """What takes the place of the sum ``node``."""
        p, q = ends
        x = node.operands[0]
        sign, other = self._exchange(x, ends)
        axes = set(node.attributes["axes"])
        turned = {p: q, q: p}
        swapped = {turned.get(a, a) for a in axes}
        order = [a for a in range(x.rank) if a not in axes]
        result = node.type

        def seen(half: Node, gone: set[int]) -> Node:
            """``half`` with the axis of one end at the place of the other."""
            here = [a for a in range(x.rank) if a not in gone]
            map: ViewMap = tuple((order.index(a if a in order else turned[a]), 0, 1) for a in here)
            return self.graph.view(half, result.shape, map, node.op)

        first = self._part(node, x, axes, ends)
        if axes == swapped and other is x:
            total = self._add(node, "add", first, first) if sign > 0 else None
        else:
            second = seen(self._part(node, other, swapped, ends), swapped)
            total = self._add(node, "add" if sign > 0 else "subtract", first, second)
        diagonal = self._diagonal(x, ends)
        gone = tuple(sorted(a - (a > q) for a in axes - {q} if a != p or q in axes))
        if gone:
            type = diagonal.type.with_shape(
                d for a, d in enumerate(diagonal.shape) if a not in gone
            )
            diagonal = self.graph.make("reduce", "sum", [diagonal], type, {"axes": gone}, node.op)
        if p in axes and q not in axes:
            diagonal = seen(diagonal, (axes - {p}) | {q})
        made = diagonal if total is None else self._add(node, "add", total, diagonal)
        if not made.hint:
            made.hint = node.hint
        return made

    def _part(self, node: Node, x: Node, axes: set[int], ends: Ends) -> Node:
        type = x.type.with_shape(d for a, d in enumerate(x.shape) if a not in axes)
        attributes = {"axes": tuple(sorted(axes)), "below": ends}
        return self.graph.make("reduce", "sum", [x], type, attributes, node.op)

    def _add(self, node: Node, name: str, a: Node, b: Node) -> Node:
        assert node.op is not None
        op = stand_in(node.op, REGISTRY[name])
        return self.graph.make("ew", name, [a, b], node.type, {}, op)


def _is_zero(node: Node) -> bool:
    return node.kind == "const" and node.attributes["value"] == 0


def _plain(node: Node) -> bool:
    """Whether an element of ``node`` is read, or computed, without a test."""
    stack = [node]
    while stack:
        x = stack.pop()
        if x.kind in ("pad", "gather"):
            return False
        if x.kind in ("ew", "view"):
            stack.extend(x.operands)
    return True


def _kept(node: Node) -> list[int]:
    """For each axis of a reduction's result, that of its operand."""
    gone = node.attributes["axes"]
    return [a for a in range(node.operands[0].rank) if a not in gone]


def _seen(view: Node, ends: Ends) -> Ends | None:
    """Where a view's operand has the two ends; None if it has not both."""
    places: dict[int, int] = {}
    for d, (axis, offset, step) in enumerate(view.attributes["map"]):
        if axis in ends:
            if (offset, step) != (0, 1) or axis in places:
                raise _GaveUp
            places[axis] = d
    if len(places) < 2:
        return None
    inner = (places[ends[0]], places[ends[1]])
    base = view.operands[0]
    if base.kind not in ("ew", "reduce") or base.shape[inner[0]] != base.shape[inner[1]]:
        raise _GaveUp
    return inner


def _merged(map: ViewMap, ends: Ends) -> ViewMap:
    """A view's map where the second end is the first, and its axis is gone."""
    p, q = ends

    def new(axis: int | None) -> int | None:
        axis = p if axis == q else axis
        return None if axis is None else axis - (axis > q)

    return tuple((new(axis), offset, step) for axis, offset, step in map)


def _cost(nodes: Mapping[Node, Ends], hints: Mapping[str, int]) -> float:
    """The cost of ``nodes`` for one pair."""
    total = 0.0
    for node, ends in nodes.items():
        if node.kind == "ew" and node.op is not None:
            each = node.op.opdef.cost
            for a, d in enumerate(node.shape):
                if a not in ends:
                    each *= evaluate(d, {s: hints.get(s, 1000) for s in symbols(d)})
            total += each
    return total
