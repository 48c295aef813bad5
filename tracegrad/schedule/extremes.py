"""What is computed once, as it is compared with its own maximum: see `tracegrad.ops.extremes`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tracegrad.ops.extremes import COMPARISONS, EXTREMES, MANY, roundings

if TYPE_CHECKING:
    from tracegrad.schedule.graph import Node

_FIXED = frozenset({"input", "const", "table", "size", "iota", "gemm", "whole", "result", "alias"})


def compared_with_extremes(live: Sequence[Node], is_statement: Callable[[Node], bool]) -> set[Node]:
    """The nodes that would be computed again where they are compared with their extreme.

    Parameters
    ----------
    live : nodes, each after those that it is made of.
    """
    rounds: dict[Node, int] = {}
    found: set[Node] = set()
    for node in live:
        below = 0
        if node.kind not in _FIXED:
            below = max((rounds.get(x, 0) for x in node.operands), default=0)
        if node.kind == "ew":
            below += roundings(node.name)
        elif node.kind in ("reduce", "scan") and node.name not in EXTREMES:
            below += 1
        rounds[node] = min(below, MANY)
        if node.kind != "ew" or node.name not in COMPARISONS or not node.rank:
            continue
        sides = [_base(x) for x in node.operands]
        for extreme, other in (sides, reversed(sides)):
            if extreme.kind == "reduce" and extreme.name in EXTREMES:
                for each in (other, _base(extreme.operands[0])):
                    if each.rank and rounds[each] == MANY and not is_statement(each):
                        found.add(each)
    return found


def _base(node: Node) -> Node:
    while node.kind == "view":
        node = node.operands[0]
    return node
