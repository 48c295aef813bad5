"""Which loops may do several rows at a time: those that hold nothing but sums."""

from __future__ import annotations

from collections.abc import Sequence

from tracegrad.ir.types import Dim
from tracegrad.schedule.lower import Lowering
from tracegrad.schedule.statements import Stmt
from tracegrad.schedule.tree import Loop

JAM = 4
MOST_JAMMED = 3
TILE = 2
MOST_TILED = 2


def can_jam(low: Lowering, loop: Loop, stmts: Sequence[Stmt], extents: Sequence[Dim]) -> bool:
    """Whether the loop does nothing but add rows to a buffer, or sum each row for itself."""
    axis = loop.key.axis
    if len(extents) != 1 or len(loop.items) != 1 or not isinstance(loop.items[0], Loop):
        return False
    inner = loop.items[0]
    if inner.key.part == "o" or inner.kind in ("max", "reverse"):
        return False
    if loop.key.part == "b" and inner.key.part == "b":
        return False
    if low.program.size(extents[0]) < 2 * JAM or len(stmts) > MOST_JAMMED:
        return False
    for t in stmts:
        if t not in inner.items or not t.is_reduce or t.guarded or t.below or low.beyond(t):
            return False
        storage = low.storage[t]
        adds_rows = axis in t.reduced and inner.key.axis not in t.reduced and storage.memory
        sums_rows = (
            axis in t.out
            and storage.path[storage.register :] == (inner,)
            and (storage.memory or storage.dims is not None)
        )
        if not adds_rows and not sums_rows:
            return False
        if any(g.axis in (axis, inner.key.axis) for g in t.guards) or len(t.extents) > 4:
            return False
        if t.extents[inner.key.axis] != stmts[0].extents[inner.key.axis]:
            return False
    return True


def can_tile(low: Lowering, loop: Loop, stmts: Sequence[Stmt]) -> bool:
    """Whether two loops around lanes hold nothing but sums that can be done several at a time."""
    axis = loop.key.axis
    if len(loop.items) != 1 or not isinstance(loop.items[0], Loop) or len(stmts) > MOST_TILED:
        return False
    inner = loop.items[0]
    if len(inner.items) != 1 or not isinstance(inner.items[0], Loop):
        return False
    lanes = inner.items[0]
    keys = loop.key, inner.key, lanes.key
    if [key.part for key in keys] != ["full", "full", "b"] or loop.kind != inner.kind != "plain":
        return False
    if low.program.size(stmts[0].extents[axis]) < 2 * TILE:
        return False
    if low.program.size(stmts[0].extents[inner.key.axis]) < 2 * JAM:
        return False
    around = {loop.key.axis, inner.key.axis}
    for t in stmts:
        if t not in lanes.items or not t.is_reduce or t.node.name != "sum":
            return False
        if t.guards or t.guarded or t.pair or low.beyond(t):
            return False
        if any(t.extents.get(key.axis) != stmts[0].extents[key.axis] for key in keys):
            return False
        storage = low.storage[t]
        in_lanes = lanes.key.axis not in t.reduced and storage.memory
        in_registers = storage.path[storage.register :] == (lanes,) and around <= {*t.out}
        if not in_lanes and not (in_registers and (storage.memory or storage.dims is not None)):
            return False
    return True
