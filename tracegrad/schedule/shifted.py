"""What is read at several shifts is kept, where computing it again costs more than loads.

The stages of a Runge-Kutta step read their neighbours, which are made of their neighbours in turn::

    a = slope(x); y = x + h * a; b = slope(y)      slope(x) = (roll(x, -1) - roll(x, 2)) * ...

Inlined, each element of ``b`` computes ``y`` at four places, and ``a`` at sixteen. Kept is what is
shifted, ``y``, and not the first costly value below it, ``a``: then nothing at all is computed
again. From the inputs up: what is kept is free for what is built on it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from itertools import combinations
from typing import TYPE_CHECKING

from tracegrad.ir.types import Dim

if TYPE_CHECKING:
    from tracegrad.schedule.graph import Node

WORTH_KEEPING = 16.0
ROLL = 4.0
PAD = 8.0
"""Prices of choosing between two places, and between a place and zero."""
NEAR = 8
"""Reads further apart may be of different parts."""
MOST_COMPARED = 16
"""Slices of one array that are compared with each other."""


def read_at_shifts(live: Sequence[Node], is_statement: Callable[[Node], bool]) -> set[Node]:
    """Inlined nodes that are read at several shifts, and cost at least `WORTH_KEEPING`.

    Parameters
    ----------
    live : nodes, each after those that it is made of.
    """
    shifts = _shifts(live)
    found: set[Node] = set()
    for node in live:
        if shifts.get(node, 0) < 2 or node.kind != "ew" or node.op is None or is_statement(node):
            continue
        if not node.attributes.get("joined") and _costs(node, is_statement, found):
            found.add(node)
    return found


def _shifts(live: Sequence[Node]) -> dict[Node, int]:
    """At how many places near each other a node is read, for those read at other than their own."""
    rolls: dict[Node, set[Node]] = {}
    views: dict[Node, dict[object, dict[tuple[Dim, ...], None]]] = {}
    plain: set[Node] = set()
    halves: set[Node] = set()
    for node in live:
        if node.attributes.get("joined") and node.kind == "ew":
            parts = [pad.operands[0] for pad in node.operands[1:]]
            halves.update(parts)
            for part in parts:
                base = part.operands[0] if part.kind == "view" else part
                rolls.setdefault(base, set()).add(node)
        elif node.kind in ("ew", "reduce"):
            plain.update(node.operands)
    for node in live:
        if node.kind == "view" and node not in halves:
            entries = node.attributes["map"]
            fixed = tuple((d, step, at if d is None else None) for d, at, step in entries)
            begin = tuple(at for d, at, _ in entries if d is not None)
            views.setdefault(node.operands[0], {}).setdefault(fixed, {})[begin] = None
    found = {base: len(readers) for base, readers in rolls.items()}
    for base, groups in views.items():
        if any(_meet(list(places)[:MOST_COMPARED]) for places in groups.values()):
            found[base] = found.get(base, 0) + 2
    return {base: count + (base in plain) for base, count in found.items()}


def _meet(places: Sequence[tuple[Dim, ...]]) -> bool:
    """Whether two of the places where reads begin lie near each other."""
    return any(_is_near(at, other) for at, other in combinations(places, 2))


def _is_near(at: tuple[Dim, ...], other: tuple[Dim, ...]) -> bool:
    between = [a - b for a, b in zip(at, other, strict=True)]
    return all(isinstance(d, int) and -NEAR <= d <= NEAR for d in between)


def _costs(node: Node, is_statement: Callable[[Node], bool], kept: Collection[Node]) -> bool:
    """Whether one element, with all that is inlined, costs enough to be kept."""
    total = 0.0
    seen = {node}
    stack = [node]
    while stack:
        n = stack.pop()
        if n.attributes.get("joined"):
            total += ROLL if n.kind == "ew" else 0.0
        elif n.kind == "ew" and n.op is not None and n.rank:
            total += n.op.opdef.cost
        elif n.kind == "pad":
            total += PAD
        if total >= WORTH_KEEPING:
            return True
        for x in n.operands:
            if x not in seen and x not in kept and x.kind != "input" and not is_statement(x):
                seen.add(x)
                stack.append(x)
    return False
