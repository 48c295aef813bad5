"""Additions at arrays of indices, one after the other, to an array that nobody else knows.

``np.add.at(net, start, pull)`` and then ``np.subtract.at(net, end, pull)`` are two `accumulate`,
and so is the adjoint of two reads at index values. The array in between has one reader, the next
addition. So all of them add to one memory; the order in which they do makes no difference but
rounding, and they may share the loop that computes what they add.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from tracegrad.ir.blocks import block_of, covers
from tracegrad.ir.core import Operation, Region, Value
from tracegrad.ir.rewrite import Rewriter
from tracegrad.ops.access import view_of
from tracegrad.ops.registry import REGISTRY, constant

Users = Mapping[Value, Sequence["Operation | Region"]]


def additions(ops: Iterable[Operation], users: Users) -> dict[Operation, Value]:
    """Each `accumulate` to an array → what the first of its row adds to.

    A row goes on as long as index values are no ranges, and nobody else reads what is in between.
    """
    found: dict[Operation, Value] = {}
    for op in ops:
        if op.name == "accumulate" and op.result.rank:
            base = op.operands[0]
            before = base.op
            goes_on = before in found and is_scatter(op) and is_scatter(before)
            if before is not None and goes_on and list(users[base]) == [op]:
                found[op] = found[before]
            else:
                found[op] = base
    return found


def is_scatter(op: Operation | None) -> bool:
    """Whether a write goes to places that arrays of indices say, which are not ranges."""
    if op is None or op.name not in ("update", "accumulate"):
        return False
    grid = op.operands[2].shape
    block = block_of(op)
    return bool(grid) and (block is None or not covers(block, len(grid)))


def is_computed(value: Value) -> bool:
    """Whether an array is made elementwise: it is no one's."""
    return value.op is not None and value.op.opdef.kind == "elementwise" and bool(value.rank)


class Apart(Rewriter):
    """Additions at index values to a computed array go to zeros, and these to the array.

    What makes the array and what reads the sum then fuse as if nothing were written.
    """

    def __init__(self, rows: Mapping[Operation, Value]) -> None:
        super().__init__()
        self.rows = {op: first for op, first in rows.items() if is_computed(first)}
        self.continued = {
            op.operands[0].op for op, v in self.rows.items() if op.operands[0] is not v
        }

    def visit(self, op: Operation) -> Sequence[Value]:
        first = self.rows.get(op)
        if first is None:
            return super().visit(op)
        base, *rest = self.mapped(op.operands)
        if op.operands[0] is first:
            base = view_of(constant(0, base.dtype), base.shape, [])
        added = self.emit(op.opdef, [base, *rest], op.attributes).results
        if op in self.continued:
            return added
        return self.emit(REGISTRY["add"], [*self.mapped([first]), *added]).results
