"""Running sums and products: the direction is the scan's, not its operand's."""

from __future__ import annotations

from tracegrad.ir.core import Value
from tracegrad.ops.access import flip
from tracegrad.ops.registry import OpDef
from tracegrad.passes.table import EXACT, rule
from tracegrad.passes.values import made_by


@rule("cumsum", "cumprod", mark=EXACT, takes_op=True)
def scan_of_flip(op: OpDef, x: Value, *, axis: int, reverse: bool = False) -> Value | None:
    """What is read from its end is scanned from its end: arrays are read in their own order.

    x: f64[n]
    cumsum(flip(x), axis=0) → flip(cumsum(x, axis=0, reverse=True))
    cumprod(flip(x), axis=0, reverse=True) → flip(cumprod(x, axis=0, reverse=False))
    flip(cumsum(flip(x), axis=0)) → cumsum(x, axis=0, reverse=True)
    """
    made = made_by(x, "view")
    if made is None or not any(a == axis and step < 0 for a, _, step in made.attributes["map"]):
        return None
    return flip(op(flip(x, axis), axis=axis, reverse=not reverse), axis)
