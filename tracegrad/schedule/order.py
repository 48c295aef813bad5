"""One global order of the loops, outermost first.

Each read of an array votes for its own dimension order, because the last dimension is the one
that lies together in memory. A vote weighs as much as the loop that reads; reads of inputs weigh
more, since the layout of an intermediate buffer follows the loops anyway.
"""

from __future__ import annotations

from tracegrad.schedule.statements import Index, Program

INPUT_WEIGHT = 4


def loop_order(program: Program) -> dict[int, int]:
    """Axis class → position; smaller is further out."""
    votes: dict[tuple[int, int], int] = {}

    def vote(index: Index, weight: int) -> None:
        axes = [e.axis for e in index if isinstance(e.axis, int)]
        for p, outer in enumerate(axes):
            for inner in axes[p + 1 :]:
                votes[outer, inner] = votes.get((outer, inner), 0) + weight

    used: dict[int, None] = {}
    for stmt in program.statements:
        for axis in stmt.domain:
            used.setdefault(axis)
        size = program.domain_size(stmt)
        for node, index in stmt.reads:
            vote(index, size * (INPUT_WEIGHT if node.kind == "input" else 1))
        if stmt.keep and not stmt.whole:
            for p, outer in enumerate(stmt.out):
                for inner in stmt.out[p + 1 :]:
                    votes[outer, inner] = votes.get((outer, inner), 0) + INPUT_WEIGHT * (
                        program.volume(stmt.node.shape)
                    )
    left = list(used)
    position: dict[int, int] = {}
    while left:
        best = max(
            left,
            key=lambda a: sum(
                votes.get((a, b), 0) - votes.get((b, a), 0) for b in left if b is not a
            ),
        )
        position[best] = len(position)
        left.remove(best)
    for stmt in program.statements:
        loops = [a for a in stmt.extents if a not in program.unrolled]
        stmt.loops = tuple(sorted(loops, key=position.__getitem__))
    return position
