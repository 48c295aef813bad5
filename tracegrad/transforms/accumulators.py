"""Accumulators: carried values that a loop only adds to.

Whatever is added, the cotangent of an accumulator is the same before and after each trip. So the
trips may be reversed in any order, and each of them as soon as it has run.
"""

from __future__ import annotations

from collections.abc import Iterator

from tracegrad.ir.core import Operation, Region, Value
from tracegrad.ir.rewrite import first_carried, leading
from tracegrad.ir.threads import free_values


def only_added_to(region: Region, start: Value, end: Value) -> bool:
    """Whether ``end``, which the region yields, is ``start`` plus what does not depend on it.

    Additions, ``accumulate``, branches and loops that only add may stand on the way. Nothing else
    may read ``start`` or a sum on the way.
    """
    current = start
    while True:
        yields = sum(v is current for v in region.yields)
        readers = [op for op in region.ops if current in _read(op)]
        if current is end:
            return yields == 1 and not readers
        if yields or len(readers) != 1:
            return False
        following = _added(readers[0], current)
        if following is None:
            return False
        current = following


def accumulators(loop: Operation) -> Iterator[int]:
    """The positions of the carried values of a loop that are accumulators."""
    body = loop.regions[-1]
    for k, (param, end) in enumerate(
        zip(body.params[first_carried(loop) :], body.yields, strict=True)
    ):
        if loop.name == "while" and _is_read(loop.regions[0], loop.regions[0].params[k]):
            continue
        if only_added_to(body, param, end):
            yield k


def _added(op: Operation, value: Value) -> Value | None:
    """The result of ``op`` that is ``value`` and something else, added; None for other readers."""
    if op.name in ("for", "while"):
        inits = op.operands[leading(op) :]
        if sum(v is value for v in op.operands) != 1 or value not in inits:
            return None
        if any(value in free_values(region) for region in op.regions):
            return None
        k = [v is value for v in inits].index(True)
        return op.results[k] if k in accumulators(op) else None
    if op.name == "if":
        if value in op.operands:
            return None
        for k, result in enumerate(op.results):
            if all(only_added_to(arm, value, arm.yields[k]) for arm in op.regions):
                return result
        return None
    if len(op.results) != 1 or op.result.type != value.type:
        return None
    if op.name == "add":
        return op.result if sum(v is value for v in op.operands) == 1 else None
    first, *others = op.operands
    if op.name in ("subtract", "accumulate") and first is value and value not in others:
        return op.result
    return None


def _read(op: Operation) -> list[Value]:
    found = list(op.operands)
    for region in op.regions:
        found += free_values(region)
    return found


def _is_read(region: Region, value: Value) -> bool:
    return value in region.yields or any(value in _read(op) for op in region.ops)
