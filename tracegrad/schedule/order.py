"""One global order of the loops, outermost first.

Inputs, results and what matrix products read and write have a layout, and each read or write of
one votes for its own dimension order, because the last dimension is the one that lies together
in memory. A vote weighs as much as the loop that casts it. Other buffers don't vote: their layout
follows the loops. The first end of a pair goes outside of the second. Where nobody objects, the
largest axis goes outermost, which keeps what one of its iterations needs small.
"""

from __future__ import annotations

from collections.abc import Sequence

from tracegrad.schedule.statements import Data, Index, Program

DECIDED = 1 << 60


def _axes(index: Index) -> list[int]:
    """The axes that an index goes along; what is picked goes along those of its index values."""
    found: dict[int, None] = {}
    for e in index:
        for entry in e.axis.at if isinstance(e.axis, Data) else (e,):
            if isinstance(entry.axis, int):
                found[entry.axis] = None
    return list(found)


def loop_order(program: Program) -> dict[int, int]:
    """Axis class → position; smaller is further out."""
    votes: dict[tuple[int, int], int] = {}
    sizes: dict[int, int] = {}

    def vote(axes: Sequence[int], weight: int) -> None:
        for p, outer in enumerate(axes):
            for inner in axes[p + 1 :]:
                votes[outer, inner] = votes.get((outer, inner), 0) + weight

    def rank(axis: int, left: Sequence[int]) -> tuple[int, int]:
        """How far out: first what others object with, then the size."""
        objections = sum(
            max(votes.get((other, axis), 0) - votes.get((axis, other), 0), 0) for other in left
        )
        return -objections, sizes[axis]

    for stmt in program.statements:
        size = program.domain_size(stmt)
        for axis in stmt.domain:
            sizes[axis] = max(sizes.get(axis, 0), program.size(stmt.extents[axis]))
        for node, index in stmt.reads:
            if node.kind == "input" or program.of_node[node].keep:
                vote(_axes(index), size)
        if stmt.below is not None:
            vote(stmt.below, DECIDED)
        if stmt.node.kind == "scatter":
            vote(stmt.domain, size)
        if stmt.keep and not stmt.whole:
            vote(stmt.out, program.volume(stmt.node.shape))
    left = list(sizes)
    position: dict[int, int] = {}
    while left:
        best = max(left, key=lambda a: rank(a, left))
        position[best] = len(position)
        left.remove(best)
    for stmt in program.statements:
        loops = [a for a in stmt.extents if a not in program.unrolled]
        stmt.loops = tuple(sorted(loops, key=position.__getitem__))
        if stmt.strip is not None:
            stmt.loops = (stmt.strip,)
    return position
