"""Reading an array before it is written to, where the program reads the old version afterwards.

Before → after::

    %b = update(%a, %v, %i)              %old = index(%a, %j)
    %old = index(%a, %j)                 %b = update(%a, %v, %i)

So the old version is dead when the new one is made, and the write can be done in place; and on the
way back, what flows to the element finds the cotangent of the array there already, handed down
from the new version, and is added in place.
"""

from __future__ import annotations

from collections.abc import Iterator

from tracegrad.ir.core import Operation, Region, Value

WRITES = frozenset(("update", "accumulate"))


def hoist_reads(region: Region) -> None:
    """Move reads of elements up, in a region that is being built and in those within."""
    for op in region.ops:
        for inner in op.regions:
            hoist_reads(inner)
    reads = [op for op in region.ops if op.name == "index"]
    if not reads:
        return
    writers: dict[Value, list[Operation]] = {}
    for op in region.ops:
        for array in dict.fromkeys(_written(op)):
            writers.setdefault(array, []).append(op)
    position = {op: k for k, op in enumerate(region.ops)}
    for op in reads:
        first = min((position[w] for w in writers.get(op.operands[0], ())), default=position[op])
        if first < position[op]:
            _hoist(region, op, first, position)


def _hoist(region: Region, read: Operation, first: int, position: dict[Operation, int]) -> None:
    """Move ``read`` above the operation at ``first``, with what it needs; keep ``position``."""
    last = position[read]
    # What the read needs and is computed in between has to go up with it.
    between = region.ops[first:last]
    if any(op.has_effects for op in between):
        return  # A ``raise`` may say that the read is out of range.
    maker = {r: op for op in between for r in op.results}
    needed = {read}
    waiting = [read]
    while waiting:
        for operand in waiting.pop().operands:
            op = maker.get(operand)
            if op is None or op in needed:
                continue
            if op is between[0] or op.regions:
                return
            needed.add(op)
            waiting.append(op)
    moved = [op for op in (*between, read) if op in needed]
    rest = [op for op in between if op not in needed]
    region.ops[first : last + 1] = [*moved, *rest]
    position.update((op, first + k) for k, op in enumerate((*moved, *rest)))


def _written(op: Operation) -> Iterator[Value]:
    """The arrays that ``op`` makes new versions of."""
    if op.name in WRITES:
        yield op.operands[0]
    elif op.name in ("for", "while"):
        yield from (v for v in op.operands if v.rank)
    elif op.name == "if":
        for arm in op.regions:
            yield from (v for v in arm.yields if v.rank)
            for inner in arm.ops:
                yield from _written(inner)
