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

Of ``base + k`` LLVM does not see the sign either if ``base`` comes from a loop that counts down.
But the first trip reads or writes there, so it is not negative, and ``max(base, 0)`` says so.
"""

from __future__ import annotations

from collections.abc import Mapping

from tracegrad.ir.builder import Builder
from tracegrad.ir.core import Function, Operation, Region, Value
from tracegrad.ir.rewrite import first_carried
from tracegrad.ir.types import Dim, i64, scalar, symbols
from tracegrad.ops.registry import REGISTRY
from tracegrad.passes.values import dimension
from tracegrad.schedule.buffers import ELEMENT, replace


def count_from_zero(function: Function) -> Function:
    """Rewrite the loops of ``function``, which is in loop form. It is changed: it must be new."""
    _region(function.body, frozenset(), {})
    return function


def _region(region: Region, unclear: frozenset[Value], bound: Mapping[str, Value]) -> None:
    """Rewrite the loops of ``region``.

    Parameters
    ----------
    unclear : parameters of the loops around that may be negative, as far as LLVM sees.
    bound : symbols of sizes that are found at run time, with what they are.
    """
    found = {str(op.attributes["size"]): op.operands[0] for op in region.ops if op.name == "bind"}
    bound = {**bound, **found}
    for op in list(region.ops):
        more = unclear
        if op.name == "while":
            more |= {p for inner in op.regions for p in inner.params}
        elif op.name == "for":
            (body,) = op.regions
            step = _number(op.operands[2])
            more |= set(body.params[1:] if step is not None and step > 0 else body.params)
        for inner in op.regions:
            _region(inner, more, bound)
        if op.name == "for":
            if _gains(op):
                _rewrite(region, op)
            if unclear and _number(op.operands[0]) == 0 and runs_at_once(op):
                _tell_signs(region, op, unclear, bound)


def _tell_signs(
    region: Region, loop: Operation, unclear: frozenset[Value], bound: Mapping[str, Value]
) -> None:
    """Say of the places where a loop that counts from zero begins that they are not negative."""
    (body,) = loop.regions
    index = body.params[0]
    inside = {v for op in body.ops for v in op.results}
    told: dict[Value | Dim, Value] = {}
    moved: dict[Value, Value] = {}
    before, within = Builder(), Builder()
    # What stands in an arm is not read in each trip, and says nothing of the first.
    for op in body.ops:
        place = ELEMENT.get(op.name)
        if place is None:
            continue
        for at in op.operands[place + 1 :]:
            base = _base(at, index)
            if base is None or base in inside or at in moved:
                continue
            if not _depends(base, unclear, bound):
                continue
            size = dimension(base)
            key = base if size is None else size
            if key not in told:
                zero = before.emit(
                    REGISTRY["const"], (), {"value": 0, "dtype": i64}, (), [scalar(i64)]
                ).result
                told[key] = before.emit(REGISTRY["maximum"], [base, zero]).result
            moved[at] = within.emit(REGISTRY["add"], [told[key], index]).result
            moved[at].hint = at.hint
        op.operands = (
            *op.operands[: place + 1],
            *(moved.get(at, at) for at in op.operands[place + 1 :]),
        )
    body.ops[0:0] = within.region.ops
    start = region.ops.index(loop)
    region.ops[start:start] = before.region.ops


def _base(at: Value, index: Value) -> Value | None:
    """Where a place begins that is ``index`` and something from before the loop."""
    op = at.op
    if op is None or op.name != "add" or index not in op.operands:
        return None
    one, other = op.operands
    return other if one is index else one


def _depends(value: Value, unclear: frozenset[Value], bound: Mapping[str, Value]) -> bool:
    """Whether a sum, difference or product depends on one of ``unclear``."""
    if value in unclear:
        return True
    op = value.op
    if op is None:
        return False
    if op.name == "dim":
        names = symbols(op.attributes["size"])
        return any(name in bound and _depends(bound[name], unclear, bound) for name in names)
    return op.name in ("add", "subtract", "multiply", "cast") and any(
        _depends(v, unclear, bound) for v in op.operands
    )


def _gains(loop: Operation) -> bool:
    (body,) = loop.regions
    lo, _, step = loop.operands[:3]
    if _number(lo) is not None or _number(step) != 1 or loop.attributes.get("kind") == "parallel":
        return False
    index = body.params[0]
    return runs_at_once(loop) and any(
        op.name in ELEMENT and any(_reads(v, index) for v in op.operands[ELEMENT[op.name] + 1 :])
        for op in body.walk()
    )


def runs_at_once(loop: Operation) -> bool:
    """Whether trips of a ``for`` may run at once, as far as what it carries and checks tells."""
    (body,) = loop.regions
    inside = list(body.walk())
    if any(op.regions and op.name != "if" for op in inside):
        return False
    if any(op.name in ("check_index", "raise") for op in inside):
        return False
    params = body.params[first_carried(loop) :]
    return all(_is_sum(body, p, y) for p, y in zip(params, body.yields, strict=True))


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
