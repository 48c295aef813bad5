"""Which scheduler takes a function."""

from __future__ import annotations

from tracegrad.ir.core import Function, Operation
from tracegrad.schedule.inplace import WRITES, fill_value
from tracegrad.schedule.lanes import split_into_lanes
from tracegrad.schedule.pipeline import schedule_straight
from tracegrad.schedule.regions import schedule_regions
from tracegrad.schedule.windows import open_windows


def schedule(function: Function) -> Function:
    """Loop form of ``function``: fused loops over scalars, explicit buffers, writes in place.

    Control flow and writes go through `schedule_regions`, which hands it what stands between
    them. What is left is one stretch of straight-line code: it is fused as a whole. That includes
    additions to a new array, which is what the gradient of a read at index values is.

    Raises
    ------
    UnsupportedError : the function has an operation that can't be lowered yet.
    """
    function = open_windows(function)
    if any(
        op.regions or op.opdef.effects or op.name == "bind" or _writes(op)
        for op in function.body.ops
    ):
        return schedule_regions(function)
    return split_into_lanes(schedule_straight(function))


def _writes(op: Operation) -> bool:
    """Whether ``op`` writes to an array that may hold something."""
    new = op.name == "accumulate" and fill_value(op.operands[0]) is not None
    return op.name == "blank" or (op.name in WRITES and not new)
