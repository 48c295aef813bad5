"""Numbers that a loop carries though nothing it carries comes back to them: delays.

``before`` in ``before, last = last, new`` is what an earlier trip has computed. A later loop over
the strip reads it from the place in a row where the trip before left it; it needs no chain. One
that is computed from another is computed in a loop after that one's, a *stage* of its own::

    for l in range(size):   # lanes
        late[0, l + 1] = states[0, l] * a
    for l in range(size):   # lanes
        late[1, l + 1] = late[0, l] + states[0, l] * b
    for l in range(size):   # lanes
        y[low + l] = late[1, l] + states[0, l] * c

It is the adjoint of reads at ``x[i - 1]`` and ``x[i - 2]``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tracegrad.ir.core import Operation, Value
from tracegrad.ir.recurrences import Recurrences
from tracegrad.ir.rewrite import first_carried


@dataclass
class Stage:
    """A loop over the strip.

    Attributes
    ----------
    ops : what it computes.
    delayed : positions of the carried numbers that it leaves for the next trips.
    rows : values that it leaves for later loops over the strip.
    """

    ops: list[Operation]
    delayed: list[int] = field(default_factory=list)
    rows: list[Value] = field(default_factory=list)


def delays(loop: Operation) -> set[int]:
    """Positions of the numbers that ``loop`` carries, of which none depends on itself."""
    body = loop.regions[0]
    params = body.params[first_carried(loop) :]
    meets = Recurrences(loop).meets
    read = {v for op in body.walk() for v in op.operands} | set(body.yields)
    for op in body.walk():
        for inner in op.regions:
            read.update(inner.yields)
    return {k for k, p in enumerate(params) if not p.rank and not meets[k] and p in read}


def stages(
    ops: Sequence[Operation],
    ends: Iterable[Operation],
    reads: Callable[[Operation], Iterable[Value]],
    delayed: Mapping[int, tuple[Value, Value]],
    is_heavy: Callable[[Operation], bool],
) -> list[Stage]:
    """Loops that compute ``ops`` one after the other; the last one delays nothing.

    Parameters
    ----------
    ends : the stores and sums of the last loop.
    delayed : position → the number in a trip, and what it is in the next one.
    is_heavy : whether it is better to hand on what an operation computes than to compute it again.
    """
    maker = {r: op for op in ops for r in op.results}
    position = {param: k for k, (param, _) in delayed.items()}

    def closed(values: Iterable[Value], known: Iterable[Value] = ()) -> set[Operation]:
        found: set[Operation] = set()
        waiting, done = list(values), set(known)
        while waiting:
            value = waiting.pop()
            op = maker.get(value)
            if op is not None and op not in found and value not in done:
                found.add(op)
                waiting += reads(op)
        return found

    levels: dict[int, int] = {}

    def level(k: int) -> int:
        if k not in levels:
            end = delayed[k][1]
            read = [end, *(v for op in closed([end]) for v in reads(op))]
            levels[k] = 1 + max((level(position[v]) for v in read if v in position), default=-1)
        return levels[k]

    last = set(ends)
    wanted = [v for op in last for v in reads(op)]
    made: list[Stage] = []
    rows: list[Value] = []
    for turn in range(1 + max(map(level, delayed), default=-1)):
        here = [k for k in delayed if levels[k] == turn]
        found = closed([delayed[k][1] for k in here], rows)
        later = [delayed[k][1] for k in delayed if levels[k] > turn]
        again = found & (last | closed([*later, *wanted], rows))
        left = [op.result for op in ops if op in again and not op.regions and is_heavy(op)]
        made.append(Stage([op for op in ops if op in found], here, left))
        rows += left
    rest = last | closed(wanted, rows)
    made.append(Stage([op for op in ops if op in rest]))
    return made
