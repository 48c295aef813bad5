"""Final reads: elements that are read in a loop and never written again.

A loop that fills a table reads, in trip t, what earlier trips wrote::

    for t in range(1, n):
        ... a[t - 1] ...
        a[t] = ...

The element ``a[t - 1]`` has its last value then, so the way back can read it from the table as it
is after the loop, and need not store it. It is so for a read at ``t + r`` in some dimension,
if every write of the loop to the array is at ``t + w`` in this dimension, with w > r.
"""

from __future__ import annotations

from collections.abc import Iterator

from tracegrad.ir.core import Operation, Region, Value
from tracegrad.ir.rewrite import first_carried, leading
from tracegrad.transforms.hoist import WRITES
from tracegrad.transforms.primal import whole_number
from tracegrad.transforms.trips import dimension, never_negative


def final_reads(body: Region) -> dict[Operation, Value]:
    """``index`` operation → the array after the outermost loop, to be read in its place."""
    found: dict[Operation, Value] = {}
    for op in body.ops:
        if op.name == "for" and whole_number(op.operands[2]) == 1:
            for k in range(len(op.results)):
                if op.results[k].rank:
                    found.update((read, op.results[k]) for read in _of_array(op, k))
    return found


def _of_array(loop: Operation, carried: int) -> Iterator[Operation]:
    """The final reads of one carried array of a loop."""
    (body,) = loop.regions
    index, lowest = body.params[0], dimension(loop.operands[0])
    versions = _versions(body, carried)
    if versions is None or lowest is None:
        return
    members = [op for op in body.walk() if op.operands and op.operands[0] in versions]
    writes = [op for op in members if op.name in WRITES]
    for axis in range(loop.results[carried].rank):
        placed = [_offset(op.operands[2:], axis, index) for op in writes]
        offsets = [w for w in placed if w is not None]
        if not writes or len(offsets) != len(writes):
            continue
        for op in members:
            if op.name == "index":
                read = _offset(op.operands[1:], axis, index)
                if read is not None and read < min(offsets) and never_negative(lowest + read):
                    yield op


def _versions(body: Region, carried: int) -> set[Value] | None:
    """The versions of a carried array within a body, if nothing else is carried into them."""
    versions = {body.params[1 + carried]}
    if not _follow(body, versions):
        return None
    yielded = [k for k, v in enumerate(body.yields) if v in versions]
    return versions if yielded == [carried] else None


def _follow(region: Region, versions: set[Value]) -> bool:
    """Add what becomes of the versions in a region; False if one is mixed with other arrays."""
    for op in region.ops:
        if op.name in WRITES and op.operands[0] in versions:
            versions.add(op.result)
        elif op.name == "if":
            if not all(_follow(arm, versions) for arm in op.regions):
                return False
            for result, *values in zip(op.results, *(a.yields for a in op.regions), strict=True):
                members = [v in versions for v in values]
                if any(members):
                    if not all(members):
                        return False
                    versions.add(result)
        elif op.regions:
            inner = op.regions[-1]
            inits = op.operands[leading(op) :]
            start = [v in versions for v in inits]
            for region_ in op.regions:
                params = region_.params[first_carried(op) :]
                versions.update(p for p, member in zip(params, start, strict=True) if member)
            if not all(_follow(r, versions) for r in op.regions):
                return False
            if [v in versions for v in inner.yields] != start:
                return False
            versions.update(r for r, member in zip(op.results, start, strict=True) if member)
    return True


def _offset(indices: tuple[Value, ...], axis: int, index: Value) -> int | None:
    """``c`` when the index of this axis is ``index + c``."""
    if axis >= len(indices):
        return None
    value = indices[axis]
    if value is index:
        return 0
    op = value.op
    if op is None or op.name not in ("add", "subtract"):
        return None
    left, right = op.operands
    if op.name == "add" and right is index:
        left, right = right, left
    number = whole_number(right)
    if left is not index or number is None:
        return None
    return number if op.name == "add" else -number
