"""Second thoughts: what the tree shows to be better kept than computed or read again.

*Pack*: an array that innermost loops read across its rows, often enough, is copied once into
the order of the loops; within a block, sooner. *Remat*: an inlined value that outer loops compute
again and again, although it does not depend on them, becomes a statement; what simply hoists is
never stored.
A costly one that arrays of indices pick several times is computed once for each place.
*Shifts*: a costly inlined value that is read at several offsets becomes a statement too.
*Between rows*: in a block that reads rows and reads them again, what multiplies rows is computed
for all of the block before; elements that indices pick are checked and read before that.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from tracegrad.schedule.graph import Node
from tracegrad.schedule.margins import margins
from tracegrad.schedule.statements import Data, Entry, Index, Program, Stmt
from tracegrad.schedule.tree import Item, Loop, statements_in

REPEATS = 4
REPEATS_IN_BLOCK = 2
WORTH_STORING = 2.0
REPEATS_PICKED = 2
WORTH_STORING_PICKED = 4.0
WORTH_STORING_SHIFTED = 16.0
WORTH_STORING_PADDED = 12.0
WORTH_STORING_BETWEEN = 4.0
PAD_COST = 8.0
WORTH_LOADING = 2.0
WORTH_STORING_AGAIN = 6.0
MOST_CACHED = 2048


def refine(
    program: Program,
    tree: Sequence[Item],
    forced: set[Node],
    checked: set[Node],
    packed: dict[tuple[Node, Node], Node],
) -> bool:
    """Add to ``forced``, ``checked`` and ``packed``; whether anything was added."""
    before = len(forced), len(checked), len(packed)
    across: dict[tuple[int, Node, bool], list[Stmt]] = {}
    again: dict[Node, set[tuple[Loop, Index]]] = {}

    def visit(
        items: Sequence[Item], path: tuple[int, ...], nest: int, block: bool, around: Loop | None
    ) -> None:
        for number, item in enumerate(items):
            within = nest if path else number
            if isinstance(item, Loop):
                axis = item.key.axis
                # The place of a split axis is that of its innermost part.
                inner = (*(a for a in path if a != axis), axis)
                visit(item.items, inner, within, block or item.key.part == "o", item)
            elif not item.whole and item.strip is None:
                for node in _read_across(program, item, path):
                    across.setdefault((within, node, block), []).append(item)
                _store_repeated(program, item, path, forced)
                if around is not None and all(isinstance(t, Stmt) for t in around.items):
                    for node, index in item.inlined:
                        if any(e.axis == path[-1] for e in index):
                            again.setdefault(node, set()).add((around, index))

    visit(tree, (), 0, False, None)
    _keep_computed_again(program, again, forced)
    _pack(program, across, packed)
    for item in tree:
        if isinstance(item, Loop) and item.key.part == "o":
            _between_rows(program, item, forced, checked)
    return (len(forced), len(checked), len(packed)) != before


def _between_rows(program: Program, block: Loop, forced: set[Node], checked: set[Node]) -> None:
    """What is computed for a whole block, so that no row loop and no check keeps it from lanes."""
    axis = block.key.axis
    alone = (Entry(axis),)
    stmts = list(statements_in([block]))
    if any(t.strip is not None for t in stmts):
        return  # what checks indices is apart from the start
    adds = [t for t in stmts if t.is_reduce and axis in t.reduced and len(t.loops) > 1]
    scatters = [t for t in stmts if t.node.kind == "scatter"]
    for t in (*adds, *scatters):  # what is added to places is often made of what multiplies rows
        inlined = [n for n in _certain(program, t, alone) if n.kind == "ew" and n.op is not None]
        forced |= _topmost(program, inlined, WORTH_STORING_BETWEEN, forced)
    for t in stmts:
        checked |= _topmost(program, [n for n in _certain(program, t, alone) if n.kind == "gather"])


def _certain(program: Program, stmt: Stmt, wanted: Index) -> set[Node]:
    """What is inlined at one index, and not only where a condition holds.

    An index that is picked in an arm need not be one where the arm is not taken.
    """
    node, index = stmt.node, tuple(Entry(a) for a in stmt.domain)
    values = node.operands[1:2] if node.kind == "scatter" else node.operands
    stack = [(x, index if x.rank else ()) for x in values]
    if node.kind not in ("reduce", "scatter", "part", "scan"):
        stack = program.below(None, node, index)
    inlined, seen = set(stmt.inlined), set()
    while stack:
        item = stack.pop()
        if item in inlined and item not in seen:
            seen.add(item)
            node, index = item
            below = program.below(None, node, index)
            stack += below[:1] if node.name == "select" else below
    return {node for node, at in seen if at == wanted}


def _topmost(
    program: Program, nodes: Sequence[Node], least: float = 0.0, kept: Collection[Node] = ()
) -> set[Node]:
    """Those of ``nodes`` that cost at ``least`` so much and are inlined below no other of them."""
    chosen: set[Node] = set()
    below: set[Node] = set()
    for node in sorted(nodes, key=lambda n: -n.number):
        if node not in below and node not in kept and _costs(program, node, least, kept):
            chosen.add(node)
            below.update(_inlined_below(program, node))
    return chosen


def _read_across(program: Program, stmt: Stmt, path: tuple[int, ...]) -> Iterator[Node]:
    """The arrays that ``stmt`` reads across their rows in its innermost loop."""
    if not path or stmt.node in program.packed.values():
        return
    inner = path[-1]
    for node in dict.fromkeys(node for node, _ in stmt.reads):
        made = program.of_node.get(node)
        fixed = node.kind == "input" or (made is not None and made.whole)
        if not fixed or node.rank < 2 or node in program.packed.values():
            continue
        places = [[e.axis for e in index] for other, index in stmt.reads if other is node]
        if any(isinstance(a, Data) for axes in places for a in axes):
            continue
        if any(inner in axes and axes[-1] != inner for axes in places):
            yield node


def _pack(
    program: Program,
    across: dict[tuple[int, Node, bool], list[Stmt]],
    packed: dict[tuple[Node, Node], Node],
) -> None:
    copies = {key[1]: copy for key, copy in packed.items()}
    for (_, node, block), stmts in across.items():
        read = sum(program.domain_size(t) for t in stmts)
        most = max(program.domain_size(t) for t in stmts)
        volume = program.volume(node.shape)
        if most < REPEATS * volume and not (block and read >= REPEATS_IN_BLOCK * volume):
            continue
        copy = copies.get(node)
        if copy is None:
            copy = copies[node] = program.graph.copy(node)
        for t in stmts:
            packed[t.node, node] = copy


def _store_repeated(program: Program, stmt: Stmt, path: tuple[int, ...], forced: set[Node]) -> None:
    chosen = _costly_at_several_places(program, stmt) | _read_by_pads(program, stmt)
    candidates: list[Node] = []
    for node, index in stmt.inlined:
        if node.kind != "ew" or not node.rank or node.op is None or node in chosen:
            continue
        picked = _picked(program, stmt, node, index) >= REPEATS_PICKED
        if (picked and _costs(program, node, WORTH_STORING_PICKED)) or (
            _repeats(program, stmt, path, index) >= REPEATS and _costs(program, node, WORTH_STORING)
        ):
            candidates.append(node)
    forced |= chosen | _topmost(program, candidates)


def _costly_at_several_places(program: Program, stmt: Stmt) -> set[Node]:
    """Inlined nodes that the statement reads at several offsets, each time at a cost.

    From the inputs up, so that what is kept early is free for what is built on it: a chain of
    stencils is cut where it has become costly, and not everywhere above.
    """
    places: dict[Node, int] = {}
    for node, _ in stmt.inlined:
        if node.kind == "ew" and node.rank and node.op is not None and not _is_roll(node):
            places[node] = places.get(node, 0) + 1
    chosen: set[Node] = set()
    for node in sorted(places, key=lambda n: n.number):
        if places[node] > 1 and _costs(program, node, WORTH_STORING_SHIFTED, chosen, PAD_COST):
            chosen.add(node)
    return chosen


def _is_roll(node: Node) -> bool:
    """Whether ``node`` is a read at one of two places, which is not worth keeping, or half one."""
    return bool(node.attributes.get("joined"))


def _read_by_pads(program: Program, stmt: Stmt) -> set[Node]:
    """Inlined nodes that several pads read, and that cost more than reading them back does."""
    places: dict[Node, set[tuple[Node, Index]]] = {}
    for node, index in stmt.inlined:
        if node.kind == "pad" and margins(node) is not None and node.operands[0].kind == "ew":
            places.setdefault(node.operands[0], set()).add((node, index))
    return {
        node
        for node, found in places.items()
        if node.op is not None
        and len(found) > 1
        and _costs(program, node, WORTH_STORING_PADDED / len(found))
    }


def _keep_computed_again(
    program: Program, places: Mapping[Node, Collection[tuple[Loop, Index]]], forced: set[Node]
) -> None:
    """Keep what several loops compute, each again, where a store and loads are cheaper.

    That is so for arrays that the caches hold. From the results down; what a node that is kept
    now reads will be read at fewer places, and waits for the next round.
    """
    readers: dict[Node, list[Node]] = {}
    for node in places:
        for x in dict.fromkeys(node.operands):
            readers.setdefault(x, []).append(node)
    changing = set(forced)
    for node in sorted(places, key=lambda n: -n.number):
        if node in forced or not changing.isdisjoint(readers.get(node, ())):
            changing.add(node)
            continue
        found = places[node]
        if node.kind != "ew" or node.op is None or _is_roll(node):
            continue
        if len({loop for loop, _ in found}) < 2 or program.volume(node.shape) > MOST_CACHED:
            continue
        if any(isinstance(e.axis, Data) for _, index in found for e in index):
            continue
        if any(n.kind in ("gather", "place") for n in _inlined_below(program, node)):
            continue  # an index that is picked in an arm need not be one elsewhere
        saved = _work(program, node) - 1.0
        if saved >= WORTH_LOADING and saved * (len(found) - 1) >= WORTH_STORING_AGAIN:
            forced.add(node)
            changing.add(node)


def _work(program: Program, node: Node) -> float:
    """Operations and loads that make one element of ``node``."""
    total = 0.0
    for n in _inlined_below(program, node):
        if _is_roll(n):
            total += n.kind == "ew"
        elif n.kind == "ew" and n.op is not None and n.rank:
            total += n.op.opdef.cost
        if n.kind in ("ew", "view") and not _is_roll(n):
            total += sum(
                x.rank > 0 and (x in program.of_node or x.kind == "input")
                for x in dict.fromkeys(n.operands)
            )
    return total


def _picked(program: Program, stmt: Stmt, node: Node, index: Index) -> float:
    """How often an element is computed on average, where an array of indices picks it; else 0."""
    if not any(isinstance(e.axis, Data) for e in index):
        return 0.0
    return program.domain_size(stmt) / max(program.volume(node.shape), 1)


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


def _inlined_below(program: Program, node: Node, kept: Collection[Node] = ()) -> Iterator[Node]:
    """``node`` and the nodes that are inlined into it; ``kept`` ones are not."""
    found: set[Node] = set()
    stack = [node]
    while stack:
        n = stack.pop()
        if n not in found:
            found.add(n)
            yield n
            stack.extend(
                x
                for x in n.operands
                if x not in program.of_node and x.kind != "input" and x not in kept
            )


def _costs(
    program: Program, node: Node, least: float, kept: Collection[Node] = (), pad: float = 0.0
) -> bool:
    """Whether one element of ``node``, with all that is inlined, costs at ``least`` so much."""
    total = 0.0
    for n in _inlined_below(program, node, kept):
        if _is_roll(n):
            total += pad / 2 if n.kind == "ew" else 0.0
        elif n.kind == "ew" and n.op is not None and n.rank:
            total += n.op.opdef.cost
        elif n.kind == "pad":
            total += pad
        if total >= least:
            return True
    return False
