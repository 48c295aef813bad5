"""Pads with strides: what is put in at every second place, say, and zeros elsewhere.

They are the adjoints of ``x[::2]`` and ``x[1::2]``. A pad is written to an array of zeros; a sum of
pads whose places are apart is one such array, and each part is written to its own places::

    p = pad(a, map=[2*#0])
    q = pad(b, map=[2*#0 + 1])        out[2*i] = a[i]
    out = add(p, q)               →   out[2*i + 1] = b[i]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tracegrad.ir.core import Operation, Value

if TYPE_CHECKING:
    from tracegrad.schedule.graph import Graph, Node, ViewMap


def strided_pad(
    graph: Graph, bases: Sequence[tuple[Node, ViewMap]], op: Operation, value: Value
) -> Node:
    """Zeros with each of ``bases`` at the places of its map, of which no two share one."""
    parts = [
        graph.make("part", "part", (base,), base.type, {"map": map}, op, None, unique=True)
        for base, map in bases
    ]
    return graph.make("assemble", "pad", parts, value.type, {"fill": 0}, op, value, unique=True)


def interleaved(graph: Graph, terms: Sequence[Node], op: Operation, value: Value) -> Node | None:
    """The sum of ``terms`` as one array, if all are pads with strides and their places apart."""
    if any(x.kind != "assemble" or x.name != "pad" for x in terms):
        return None
    bases = [(part.operands[0], part.attributes["map"]) for x in terms for part in x.operands]
    maps = [map for _, map in bases]
    if not all(_apart(one, other) for k, one in enumerate(maps) for other in maps[:k]):
        return None
    return strided_pad(graph, bases, op, value)


def _apart(one: ViewMap, other: ViewMap) -> bool:
    """Whether along some dimension the places of the two leave different remainders."""
    for (a, offset, step), (b, other_offset, other_step) in zip(one, other, strict=True):
        if a is None or b is None or abs(step) != abs(other_step):
            continue
        between = offset - other_offset
        if isinstance(between, int) and between % step:
            return True
    return False
