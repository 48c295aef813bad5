"""Functional writes."""

from __future__ import annotations

from tracegrad.ir.core import Value
from tracegrad.ops.registry import REGISTRY
from tracegrad.passes.table import EXACT, ROUNDING, rule
from tracegrad.passes.values import is_zero, made_by


@rule("update", mark=EXACT)
def update_with_itself(x: Value, v: Value, *indices: Value) -> Value | None:
    """What stands at a place need not be written there; that the place is one was checked.

    x: f64[n], v: f64[m], i: i64[m]
    y = accumulate(x, v, i)
    update(y, index(y, i), i) → y
    """
    op = x.op
    if op is None or op.name not in ("update", "accumulate") or op.operands[2:] != indices:
        return None
    read = made_by(v, "index")
    return x if read is not None and read.operands == (x, *indices) else None


@rule("index", mark=EXACT)
def index_of_updated(x: Value, *indices: Value) -> Value | None:
    """What was just written to one place is read back.

    x: f64[n], v: f64, i: i64
    index(update(x, v, i), i) → v
    """
    op = made_by(x, "update")
    if op is None or op.operands[2:] != indices or any(i.rank for i in indices):
        return None
    return op.operands[1]


@rule("add", mark=ROUNDING, commutes=True)
def add_accumulated(x: Value, y: Value) -> Value | None:
    """What was added up from zeros is added to the other term at once.

    x: f64[n], v: f64, i: i64
    add(x, accumulate(view(0.0, shape=(n,), map=()), v, i)) → accumulate(x, v, i)
    """
    op = made_by(y, "accumulate")
    if op is None or x.shape != y.shape or not is_zero(op.operands[0]):
        return None
    result: Value = REGISTRY["accumulate"](x, *op.operands[1:])
    return result
