"""Axis classes: which dimensions of which nodes run together.

Union-find over (node, dimension). Dimensions that an operation passes through unchanged are
united when their extents are equal or differ by a constant (n and n - 1), unless one node would
then own two dimensions of one class: in ``x[:, None] - x[None, :]`` the axes i and j stay apart
although both come from the one axis of x. Edges through inputs come last, because an input is
read at any index anyway.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeAlias

from tracegrad.ir.types import Dim
from tracegrad.schedule.graph import Graph, Node, counts_along

Place: TypeAlias = tuple[Node, int]
Edge: TypeAlias = tuple[Place, Place]


class Axes:
    """The axis class, a small number, of each dimension of each live node."""

    def __init__(
        self, graph: Graph, live: Iterable[Node], summed_together: Iterable[Node] = ()
    ) -> None:
        """``summed_together``: products whose operands are gone along at once."""
        self._parent: dict[Place, Place] = {}
        self._owners: dict[Place, set[Node]] = {}
        self._extent: dict[Place, Dim] = {}
        nodes = list(live)
        for node in nodes:
            for d, extent in enumerate(node.shape):
                place = (node, d)
                self._parent[place] = place
                self._owners[place] = {node}
                self._extent[place] = extent
        late: list[Edge] = []
        for node in nodes:
            for edge in edges(node):
                weak = edge[1][0].kind == "input" or node.kind in ("gemm", "gather", "scatter")
                if weak:
                    late.append(edge)
                else:
                    self._unite(*edge)
        late += [((node.operands[0], 1), (node.operands[1], 0)) for node in summed_together]
        for edge in late:
            self._unite(*edge)
        numbers: dict[Place, int] = {}
        self._classes: dict[Node, tuple[int, ...]] = {}
        for node in nodes:
            self._classes[node] = tuple(
                numbers.setdefault(self._find((node, d)), len(numbers)) for d in range(node.rank)
            )
        self._count = len(numbers)

    def fresh(self) -> int:
        """A class that no other dimension has."""
        self._count += 1
        return self._count - 1

    def of(self, node: Node) -> tuple[int, ...]:
        """The class of each dimension of ``node``."""
        return self._classes[node]

    def _find(self, place: Place) -> Place:
        parent = self._parent[place]
        while parent != self._parent[parent]:
            self._parent[place] = self._parent[parent]
            place, parent = parent, self._parent[parent]
        return parent

    def _unite(self, left: Place, right: Place) -> None:
        a, b = self._find(left), self._find(right)
        if a == b:
            return
        difference = self._extent[a] - self._extent[b]
        static = isinstance(self._extent[a], int)
        if not isinstance(difference, int) or (static and difference != 0):
            return
        if not self._owners[a].isdisjoint(self._owners[b]):
            return
        if len(self._owners[a]) < len(self._owners[b]):
            a, b = b, a
        self._parent[b] = a
        self._owners[a] |= self._owners.pop(b)


def edges(node: Node) -> Iterator[Edge]:
    """Dimensions of ``node`` and of its operands that have the same index."""
    operands = node.operands
    if node.kind == "ew":
        for x in operands:
            for d in range(x.rank):
                yield (node, d), (x, d)
    elif node.kind == "view":
        for d, (axis, offset, step) in enumerate(node.attributes["map"]):
            if axis is not None and offset == 0 and step == 1:
                yield (node, axis), (operands[0], d)
    elif node.kind == "pad":
        for d, (axis, offset, step) in enumerate(node.attributes["map"]):
            if axis is not None and offset == 0 and step == 1:
                yield (node, d), (operands[0], axis)
    elif node.kind == "reduce":
        kept = [d for d in range(operands[0].rank) if d not in node.attributes["axes"]]
        for d, source in enumerate(kept):
            yield (node, d), (operands[0], source)
    elif node.kind in ("scan", "part", "place"):
        for x in operands:
            for d in range(node.rank):
                yield (node, d), (x, d)
    elif node.kind == "gather":
        base, *indices = operands
        rank = max((i.rank for i in indices), default=0)
        for dimension, i in enumerate(indices):
            for d in range(i.rank):
                yield (node, d), (i, d)
            if rank == 1 and counts_along(i, base, dimension):
                yield (node, 0), (base, dimension)
        for d in range(rank, node.rank):
            yield (node, d), (base, d - rank + len(indices))
    elif node.kind == "scatter":
        base, v, *indices = operands
        for i in indices:
            for d in range(i.rank):
                yield (v, d), (i, d)
        if base.kind == "scatter" and base.operands[1].shape == v.shape:
            for d in range(v.rank):
                yield (v, d), (base.operands[1], d)
        outer = v.rank - (node.rank - len(indices))
        for d in range(outer, v.rank):
            yield (node, d - outer + len(indices)), (v, d)
    elif node.kind == "gemm":
        a, b = operands
        yield (node, 0), (a, 0)
        yield (node, 1), (b, 1)
