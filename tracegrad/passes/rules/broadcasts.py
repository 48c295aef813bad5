"""Elementwise operations on broadcast operands run at the small domain."""

from __future__ import annotations

from tracegrad.ir.core import Value
from tracegrad.ops.registry import OpDef
from tracegrad.passes.table import ELEMENTWISE, EXACT, rule
from tracegrad.passes.values import along_axes, array_shape, free_axes, without_axes


@rule(*ELEMENTWISE, mark=EXACT)
def scalar_beside_array(op: OpDef, *operands: Value, **attributes: object) -> Value | None:
    """A broadcast scalar beside an array is that scalar.

    x: f64[n], s: f64
    add(x, view(s, shape=(n,), map=())) → add(x, s)
    """
    full = [v.rank and v.op is not None and _is_scalar_view(v) for v in operands]
    if not any(full) or not any(v.rank and not f for v, f in zip(operands, full, strict=True)):
        return None
    bare = [
        v.op.operands[0] if f and v.op is not None else v
        for v, f in zip(operands, full, strict=True)
    ]
    result: Value = op(*bare, **attributes)
    return result


def _is_scalar_view(value: Value) -> bool:
    op = value.op
    return op is not None and op.opdef.name == "view" and not op.operands[0].rank


@rule(*ELEMENTWISE, mark=EXACT)
def elementwise_below_broadcast(op: OpDef, *operands: Value, **attributes: object) -> Value | None:
    """What is the same along an axis is computed once, then repeated along it.

    x: f64[n], y: f64[n]
    exp(view(x, shape=(n, m), map=((0, 0, 1),))) → view(exp(x), shape=(n, m), map=((0, 0, 1),))
    add(broadcast_to(x, (m, n)), broadcast_to(y, (m, n))) → broadcast_to(add(x, y), (m, n))
    """
    arrays = [v for v in operands if v.rank]
    if not arrays:
        return None
    free = free_axes(arrays[0])
    for v in arrays[1:]:
        if not free:
            return None
        free &= free_axes(v)
    if not free:
        return None
    small = op(*[without_axes(v, free) for v in operands], **attributes)
    return along_axes(small, array_shape(*arrays), free)
