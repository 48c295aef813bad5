"""Zeros that stand around an array, so that what pads read needs no tests."""

from __future__ import annotations

from typing import TypeAlias

from tracegrad.schedule.graph import Node

Margins: TypeAlias = tuple[tuple[int, int], ...]
WIDEST = 8


def margins(pad: Node) -> Margins | None:
    """How many zeros a pad has before and after its operand, in each dimension.

    None where they are too many or not known, in the last dimension alone, or in another order.
    """
    base = pad.operands[0]
    found: list[tuple[int, int]] = []
    if pad.rank != base.rank:
        return None
    for d, (axis, offset, step) in enumerate(pad.attributes["map"]):
        if axis != d or step != 1:
            return None
        after = pad.shape[d] - offset - base.shape[d]
        if not isinstance(offset, int) or not isinstance(after, int):
            return None
        if not 0 <= offset <= WIDEST or not 0 <= after <= WIDEST:
            return None
        found.append((offset, after))
    return tuple(found) if any(sides != (0, 0) for sides in found[:-1]) else None
