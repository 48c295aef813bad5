"""Sums that a branch adds to: the branch chooses what is added, and the addition stands after it.

::

    if c:                       v = 0.0
        t += x          →       if c:
    else:                           v = x
        s += x                  t += v
                                ...

A loop whose trips add in branches carries a choice from trip to trip; after this it carries a sum,
of which LLVM computes several trips at once.
"""

from __future__ import annotations

from collections.abc import Sequence

from tracegrad.ir.core import Operation, Region, Value
from tracegrad.ir.rewrite import first_carried
from tracegrad.ir.threads import drop_unread
from tracegrad.ops.registry import REGISTRY
from tracegrad.schedule.buffers import replace
from tracegrad.schedule.memory import MemoryBuilder


def sums_out_of_branches(loop: Operation) -> Operation:
    """``loop``, or a copy in which branches of its body choose what is added to carried sums."""
    body = loop.regions[0]
    if not any(_sums(op, _followed(body, loop)) for op in body.ops if op.name == "if"):
        return loop
    copy = MemoryBuilder().copy(loop, {})
    body = copy.regions[0]
    for op in list(body.ops):
        if op.name == "if":
            for k, base in _sums(op, _followed(body, loop)).items():
                _rewrite(body, op, k, base)
    drop_unread(body)
    return copy


def _followed(body: Region, loop: Operation) -> set[Value]:
    """Carried numbers, and what they are after additions to them."""
    found = {p for p in body.params[first_carried(loop) :] if not p.rank and p.dtype.is_float}
    for op in body.ops:
        if op.name in ("add", "subtract"):
            if op.operands[0] in found or (op.name == "add" and op.operands[1] in found):
                found.add(op.result)
        elif op.name == "if":
            found.update(op.results[k] for k in _sums(op, found))
    return found


def _sums(op: Operation, followed: set[Value]) -> dict[int, Value]:
    """The results of a branch that are a followed value and something in each arm."""
    found = {}
    for k, result in enumerate(op.results):
        bases = [_bases(arm, arm.yields[k]) & followed for arm in op.regions]
        for base in bases[0] & bases[1]:
            # Whoever else reads the sum, in an arm or after it, has to wait for it.
            reads = sum(_count(arm, base) for arm in op.regions)
            used = _uses_in_arms(op, k, base)
            if not result.rank and used == reads:
                found[k] = base
                break
    return found


def _bases(arm: Region, value: Value) -> set[Value]:
    """The values from outside of an arm to which additions may have made ``value``."""
    op = value.op
    if op is None or op not in arm.ops:
        return {value}
    if op.name == "add":
        return _bases(arm, op.operands[0]) | _bases(arm, op.operands[1])
    if op.name == "subtract":
        return _bases(arm, op.operands[0])
    if op.name == "if":
        k = op.results.index(value)
        one, other = (_bases(inner, inner.yields[k]) for inner in op.regions)
        outside = one & other
        return {b for v in outside for b in _bases(arm, v)}
    return set()


def _uses(arm: Region, value: Value, base: Value) -> int | None:
    """How often ``base`` is read to make ``value`` of it by additions; None if it is not made so.

    What stands between is read for this alone.
    """
    if value is base:
        return 1
    op = value.op
    if op is None or op not in arm.ops or _count(arm, value) != 1:
        return None
    if op.name in ("add", "subtract"):
        for place in (0, 1) if op.name == "add" else (0,):
            used = _uses(arm, op.operands[place], base)
            if used is not None and op.operands[1 - place] is not base:
                return used
        return None
    if op.name == "if":
        return _uses_in_arms(op, op.results.index(value), base)
    return None


def _uses_in_arms(op: Operation, k: int, base: Value) -> int | None:
    used = [_uses(arm, arm.yields[k], base) for arm in op.regions]
    total = [n for n in used if n is not None]
    return sum(total) if len(total) == len(used) else None


def _count(region: Region, value: Value) -> int:
    """How often ``value`` is read in a region, at any depth."""
    found = sum(v is value for v in region.yields)
    for op in region.ops:
        found += sum(v is value for v in op.operands)
        found += sum(_count(inner, value) for inner in op.regions)
    return found


def _rewrite(body: Region, op: Operation, k: int, base: Value) -> None:
    """Have the branch choose what is added to ``base``, and add it after."""
    result = op.results[k]
    for arm in op.regions:
        yields = list(arm.yields)
        yields[k] = _addend(arm, yields[k], base)
        arm.yields = tuple(yields)
    build = MemoryBuilder()
    with build.at(op.location, op.part):
        total = build.emit(REGISTRY["add"], [base, result]).result
    total.hint, result.hint = result.hint, ""
    replace(body, result, total)
    at = body.ops.index(op) + 1
    body.ops[at:at] = build.region.ops


def _addend(arm: Region, value: Value, base: Value) -> Value:
    """What is added to ``base`` to make ``value``, computed in the arm."""
    build = MemoryBuilder()
    if value is base:
        found = build.const(0.0, value.type)
    else:
        op = value.op
        assert op is not None
        with build.at(op.location, op.part):
            if op.name == "if":
                return _from_inner(op, op.results.index(value), base)
            one, other = op.operands
            place = 0 if _uses(arm, one, base) is not None else 1
            before, added = (one, other) if place == 0 else (other, one)
            if op.name == "subtract":
                added = build.emit(REGISTRY["negative"], [added]).result
            found = added
            if before is not base:
                rest = _addend(arm, before, base)
                found = build.emit(REGISTRY["add"], [rest, added]).result
    arm.ops += build.region.ops
    return found


def _from_inner(op: Operation, k: int, base: Value) -> Value:
    for inner in op.regions:
        yields: Sequence[Value] = inner.yields
        new = _addend(inner, yields[k], base)
        inner.yields = (*yields[:k], new, *yields[k + 1 :])
    return op.results[k]
