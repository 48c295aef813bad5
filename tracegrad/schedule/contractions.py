"""Sums of products of arrays: sum first what only one factor depends on.

The cotangent of a bias or a mean below a matrix product is a sum over an axis that only one
factor of the product has: ``Σ_i Σ_l F[l, p]·z[i, l]``. Summing ``z`` over i first costs one
addition per element of z instead of a whole product.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tracegrad.ir.core import Operation, Value
from tracegrad.ir.types import ArrayType, Shape

if TYPE_CHECKING:
    from tracegrad.schedule.graph import Graph, Node


def sum_of(
    graph: Graph, x: Node, axes: Sequence[int], op: Operation, value: Value | None = None
) -> Node:
    """The sum of ``x`` over ``axes``, taken apart where that is cheaper."""
    if _is_sum(x) and any(_is_contraction(o) for o in x.operands):
        parts = [sum_of(graph, o, axes, op) for o in x.operands]
        return graph.make("ew", x.name, parts, parts[0].type, {}, x.op, value)
    found = _contracted(graph, x, tuple(axes), op)
    if found is not None:
        return found
    return _plain(graph, x, axes, op, value)


def _plain(
    graph: Graph, x: Node, axes: Sequence[int], op: Operation, value: Value | None = None
) -> Node:
    type = x.type.with_shape(d for p, d in enumerate(x.shape) if p not in axes)
    return graph.make("reduce", "sum", (x,), type, {"axes": tuple(sorted(axes))}, op, value)


def _is_sum(x: Node) -> bool:
    return (
        x.kind == "ew"
        and x.name in ("add", "subtract")
        and all(o.rank == x.rank for o in x.operands)
        and x.type.dtype.is_float
    )


def _permutation(x: Node) -> tuple[Node, tuple[int, ...]] | None:
    """A sum of products and the axis of ``x`` that each of its dimensions is seen as."""
    base, order = x, tuple(range(x.rank))
    if x.kind == "view":
        base = x.operands[0]
        map = x.attributes["map"]
        if base.rank != x.rank or any(a is None or (o, s) != (0, 1) for a, o, s in map):
            return None
        order = tuple(axis for axis, _, _ in map)
        if tuple(x.shape[axis] for axis in order) != base.shape:
            return None
    if base.kind != "reduce" or base.name != "sum" or not base.type.dtype.is_float:
        return None
    product = base.operands[0]
    if product.kind != "ew" or product.name != "multiply":
        return None
    if any(f.kind != "view" or f.rank != product.rank for f in product.operands):
        return None
    return base, order


def _is_contraction(x: Node) -> bool:
    return _permutation(x) is not None


def _contracted(graph: Graph, x: Node, axes: tuple[int, ...], op: Operation) -> Node | None:
    seen = _permutation(x)
    if seen is None:
        return None
    base, order = seen
    product = base.operands[0]
    inner = base.attributes["axes"]
    kept = [d for d in range(product.rank) if d not in inner]
    gone = {kept[d] for d, axis in enumerate(order) if axis in axes}
    for which, factor in enumerate(product.operands):
        other = product.operands[1 - which]
        if gone & _depends_on(factor) or not gone <= _depends_on(other):
            continue
        summed = _sum_factor(graph, other, gone, op)
        if summed is None:
            continue
        shape = tuple(d for p, d in enumerate(product.shape) if p not in gone)
        factors = [_narrowed(graph, f, gone, shape) for f in (factor, summed)]
        multiplied = graph.make(
            "ew", "multiply", factors, ArrayType(x.type.dtype, shape), {}, product.op
        )
        multiplied.location, multiplied.part = op.location, op.part
        position = {p: k for k, p in enumerate(p for p in range(product.rank) if p not in gone)}
        result = _plain(graph, multiplied, [position[p] for p in inner], op)
        # Its dimensions are those of the product; x may see them in another order.
        left = [axis for d, axis in enumerate(order) if kept[d] not in gone]
        rank = {axis: k for k, axis in enumerate(sorted(left))}
        out = tuple(x.shape[axis] for axis in sorted(left))
        return graph.view(result, out, tuple((rank[axis], 0, 1) for axis in left), op)
    return None


def _depends_on(factor: Node) -> set[int]:
    return {axis for axis, _, _ in factor.attributes["map"] if axis is not None}


def _sum_factor(graph: Graph, factor: Node, gone: set[int], op: Operation) -> Node | None:
    """``factor`` (a view) with its operand summed over the axes ``gone``; in the old shape."""
    base, map = factor.operands[0], factor.attributes["map"]
    over = [d for d, (axis, _, _) in enumerate(map) if axis in gone]
    for d in over:
        axis, offset, step = map[d]
        if (offset, step) != (0, 1) or base.shape[d] != factor.shape[axis]:
            return None
    summed = sum_of(graph, base, over, op)
    kept = tuple(entry for d, entry in enumerate(map) if d not in over)
    return graph.view(summed, factor.shape, kept, op)


def _narrowed(graph: Graph, factor: Node, gone: set[int], shape: Shape) -> Node:
    """``factor`` without the axes ``gone``, along which it does not vary."""
    map = tuple((None, 0, 1) if p in gone else (_rank(p, gone), 0, 1) for p in range(factor.rank))
    return graph.view(factor, shape, map)


def _rank(position: int, gone: set[int]) -> int:
    return position - sum(1 for g in gone if g < position)
