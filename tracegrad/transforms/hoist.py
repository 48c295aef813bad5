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
    for op in list(region.ops):
        if op.name == "index":
            _hoist(region, op)


def _hoist(region: Region, read: Operation) -> None:
    array = read.operands[0]
    last = region.ops.index(read)
    first = next((k for k in range(last) if array in _written(region.ops[k])), None)
    if first is None:
        return
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
