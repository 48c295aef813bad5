"""Innermost loops that count from zero, where their first index is not a constant.

Numba lets a negative index count from the end: each read tests the sign of its index. LLVM drops
the test where it sees that there is none, and then computes several trips at once. It does for
``range(n)`` and ``range(1, n)``, not for ``range(i + 1, n)``, though ``i`` is an index itself; but
it does see it of the sum of two indices. So::

    for j in range(i + 1, n):                 for k in range(n - (i + 1)):
        s += x[j] * y[j]              →           j = i + 1 + k
                                                  s += x[j] * y[j]

Only loops are changed whose trips could run at once: nothing is carried but sums, and no trip may
end the loop.
"""

from __future__ import annotations

from tracegrad.ir.builder import Builder
from tracegrad.ir.core import Function, Operation, Region, Value
from tracegrad.ir.rewrite import first_carried
from tracegrad.ir.types import i64, scalar
from tracegrad.ops.registry import REGISTRY
from tracegrad.schedule.buffers import ELEMENT, replace


def count_from_zero(function: Function) -> Function:
    """Rewrite the loops of ``function``, which is in loop form. It is changed: it must be new."""
    _region(function.body)
    return function


def _region(region: Region) -> None:
    for op in list(region.ops):
        for inner in op.regions:
            _region(inner)
        if op.name == "for" and _gains(op):
            _rewrite(region, op)


def _gains(loop: Operation) -> bool:
    (body,) = loop.regions
    lo, _, step = loop.operands[:3]
    if _number(lo) is not None or _number(step) != 1 or loop.attributes.get("kind") == "parallel":
        return False
    inside = list(body.walk())
    if any(op.regions and op.name != "if" for op in inside):
        return False
    if any(op.name in ("check_index", "raise") for op in inside):
        return False
    params = body.params[first_carried(loop) :]
    if not all(_is_sum(body, p, y) for p, y in zip(params, body.yields, strict=True)):
        return False
    index = body.params[0]
    return any(
        op.name in ELEMENT and any(_reads(v, index) for v in op.operands[ELEMENT[op.name] + 1 :])
        for op in inside
    )


def _is_sum(body: Region, param: Value, end: Value) -> bool:
    """Whether a carried number is only added to, in one operation."""
    op = end.op
    if op is None or op.name not in ("add", "subtract") or op.operands[0] is not param:
        return op is not None and op.name == "add" and op.operands[1] is param
    return True


def _reads(value: Value, index: Value) -> bool:
    """Whether a position is the index, or that and something else."""
    if value is index:
        return True
    op = value.op
    return op is not None and op.name in ("add", "subtract") and op.operands[0] is index


def _number(value: Value) -> int | None:
    op = value.op
    return op.attributes["value"] if op is not None and op.name == "const" else None


def _rewrite(region: Region, loop: Operation) -> None:
    (body,) = loop.regions
    lo, hi, *rest = loop.operands
    build = Builder()
    zero = build.emit(REGISTRY["const"], (), {"value": 0, "dtype": i64}, (), [scalar(i64)]).result
    trips = build.emit(REGISTRY["subtract"], [hi, lo]).result
    at = region.ops.index(loop)
    region.ops[at:at] = build.region.ops
    loop.operands = (zero, trips, *rest)
    index = body.params[0]
    count = Value(index.type, "k")
    body.params = (count, *body.params[1:])
    build = Builder()
    moved = build.emit(REGISTRY["add"], [lo, count]).result
    moved.hint = index.hint
    replace(body, index, moved)
    body.ops[0:0] = build.region.ops
