"""Second thoughts: what the tree shows to be better kept than computed or read again.

*Pack*: an input that the innermost loop reads across its rows, often enough, is copied once into
the order of the loops. *Remat*: an inlined value that outer loops compute again and again,
although it does not depend on them, becomes a statement; what simply hoists is never stored.
*Shifts*: a costly inlined value that is read at several offsets becomes a statement too.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from tracegrad.schedule.graph import Node
from tracegrad.schedule.statements import Data, Index, Program, Stmt
from tracegrad.schedule.tree import Item, Loop

REPEATS = 4
WORTH_STORING = 2.0
WORTH_STORING_SHIFTED = 16.0
PAD_COST = 8.0


def refine(
    program: Program,
    tree: Sequence[Item],
    forced: set[Node],
    packed: dict[tuple[Node, Node], Node],
) -> bool:
    """Add to ``forced`` and ``packed``; whether anything was added."""
    before = len(forced), len(packed)
    copies = {key[1]: copy for key, copy in packed.items()}

    def visit(items: Sequence[Item], path: tuple[int, ...]) -> None:
        for item in items:
            if isinstance(item, Loop):
                axis = item.key.axis
                # The place of a split axis is that of its innermost part.
                visit(item.items, (*(a for a in path if a != axis), axis))
            elif not item.whole:
                _pack(program, item, path, packed, copies)
                _store_repeated(program, item, path, forced)

    visit(tree, ())
    return (len(forced), len(packed)) != before


def _pack(
    program: Program,
    stmt: Stmt,
    path: tuple[int, ...],
    packed: dict[tuple[Node, Node], Node],
    copies: dict[Node, Node],
) -> None:
    if not path or stmt.node in copies.values():
        return
    inner = path[-1]
    for node, index in stmt.reads:
        if node.kind != "input" or node.rank < 2 or (stmt.node, node) in packed:
            continue
        axes = [e.axis for e in index]
        if inner not in axes or axes[-1] == inner or any(isinstance(a, Data) for a in axes):
            continue
        if program.domain_size(stmt) < REPEATS * program.volume(node.shape):
            continue
        copy = copies.get(node)
        if copy is None:
            copy = copies[node] = program.graph.copy(node)
        packed[stmt.node, node] = copy


def _store_repeated(program: Program, stmt: Stmt, path: tuple[int, ...], forced: set[Node]) -> None:
    chosen = _costly_at_several_places(program, stmt)
    candidates: list[Node] = []
    for node, index in stmt.inlined:
        if node.kind != "ew" or not node.rank or node.op is None or node in chosen:
            continue
        if _repeats(program, stmt, path, index) >= REPEATS and (
            _flops(_inlined_below(program, node)) >= WORTH_STORING
        ):
            candidates.append(node)
    below: set[Node] = set()
    for node in sorted(candidates, key=lambda n: -n.number):
        if node not in below:
            chosen.add(node)
            below |= _inlined_below(program, node)
    forced |= chosen


def _costly_at_several_places(program: Program, stmt: Stmt) -> set[Node]:
    """Inlined nodes that the statement reads at several offsets, each time at a cost.

    From the inputs up, so that what is kept early is free for what is built on it: a chain of
    stencils is cut where it has become costly, and not everywhere above.
    """
    places: dict[Node, int] = {}
    for node, _ in stmt.inlined:
        if node.kind == "ew" and node.rank and node.op is not None:
            places[node] = places.get(node, 0) + 1
    chosen: set[Node] = set()
    for node in sorted(places, key=lambda n: n.number):
        if places[node] > 1 and (
            _flops(_inlined_below(program, node, chosen), PAD_COST) >= WORTH_STORING_SHIFTED
        ):
            chosen.add(node)
    return chosen


def _repeats(program: Program, stmt: Stmt, path: tuple[int, ...], index: Index) -> int:
    """How often one element at ``index`` is computed, hoisting taken into account."""
    axes: set[int] = set()
    for e in index:
        if isinstance(e.axis, Data) or e.offset != 0 or e.step != 1:
            return 0
        if e.axis is not None:
            axes.add(e.axis)
    axes -= program.unrolled
    if not axes:
        return 0
    last = max(k for k, a in enumerate(path) if a in axes)
    repeats = 1
    for axis in path[:last]:
        if axis not in axes:
            repeats *= program.size(stmt.extents[axis])
    return repeats


def _inlined_below(program: Program, node: Node, kept: Collection[Node] = ()) -> set[Node]:
    """``node`` and the nodes that are inlined into it; ``kept`` ones are not."""
    found: set[Node] = set()
    stack = [node]
    while stack:
        n = stack.pop()
        if n not in found:
            found.add(n)
            stack.extend(
                x
                for x in n.operands
                if x not in program.of_node and x.kind != "input" and x not in kept
            )
    return found


def _flops(nodes: Collection[Node], pad: float = 0.0) -> float:
    """The cost of one element of each of ``nodes``."""
    total = 0.0
    for n in nodes:
        if n.kind == "ew" and n.op is not None and n.rank:
            total += n.op.opdef.cost
        elif n.kind == "pad":
            total += pad
    return total
