"""Matrix products: transposes and scalar factors."""

from __future__ import annotations

from typing import Any

from tracegrad.ir.core import Value
from tracegrad.ir.types import Shape
from tracegrad.ops.access import transpose
from tracegrad.ops.registry import REGISTRY
from tracegrad.passes.table import ROUNDING, rule
from tracegrad.passes.values import made_by, transposed


def dot(a: Value, b: Value) -> Value:
    result: Value = REGISTRY["dot"](a, b)
    return result


@rule("dot", mark=ROUNDING)
def dot_of_transposes(a: Value, b: Value) -> Value | None:
    """Transposes are taken off a product, or out of it.

    a: f64[n, m], b: f64[k, n], v: f64[n], w: f64[m]
    dot(transpose(a), v) → dot(v, a)
    dot(w, transpose(a)) → dot(a, w)
    dot(transpose(a), transpose(b)) → transpose(dot(b, a))
    """
    left, right = transposed(a), transposed(b)
    if left is not None and b.rank == 1:
        return dot(b, left)
    if right is not None and a.rank == 1:
        return dot(right, a)
    if left is not None and right is not None:
        return transpose(dot(right, left))
    return None


@rule("view", mark=ROUNDING)
def transpose_of_dot(x: Value, *, shape: Shape, map: Any) -> Value | None:
    """The transpose of a product with a transposed matrix needs one transpose less.

    a: f64[n, m], b: f64[n, k]
    transpose(dot(transpose(a), b)) → dot(transpose(b), a)
    """
    op = made_by(x, "dot")
    if op is None or x.rank != 2 or map != ((1, 0, 1), (0, 0, 1)) or shape != x.shape[::-1]:
        return None
    a, b = op.operands
    left, right = transposed(a), transposed(b)
    if left is not None:
        return dot(transpose(b), left)
    return dot(right, transpose(a)) if right is not None else None


@rule("dot", mark=ROUNDING)
def dot_of_scaled(a: Value, b: Value) -> Value | None:
    """A scalar factor of a matrix scales the product, where that is smaller.

    a: f64[n, m], v: f64[m], s: f64
    dot(multiply(a, s), v) → multiply(dot(a, v), s)
    """
    rank = a.rank + b.rank - 2
    for value in (a, b):
        op = made_by(value, "multiply")
        if op is None or value.rank <= rank:
            continue
        for x, s in (op.operands, op.operands[::-1]):
            if not s.rank:
                return (dot(x, b) if value is a else dot(a, x)) * s
    return None
