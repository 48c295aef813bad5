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

Of ``base + k`` or ``base + 2 * k`` LLVM does not see the sign either if ``base`` comes from a loop
that counts down, or is what an index leaves of a size (``n - i``). But the first trip reads or
writes there, so it is not negative, and ``max(base, 0)`` says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tracegrad.ir.builder import Builder
from tracegrad.ir.core import Function, Operation, Region, Value
from tracegrad.ir.rewrite import first_carried
from tracegrad.ir.types import Dim, i64, never_negative, scalar, symbols
from tracegrad.ops.registry import REGISTRY
from tracegrad.passes.values import dimension
from tracegrad.schedule.buffers import ELEMENT, replace

_INTEGERS = ("add", "subtract", "multiply", "floor_divide", "cast")
"""Operations that are looked through, for what a place depends on."""


def count_from_zero(function: Function) -> Function:
    """Rewrite the loops of ``function``, which is in loop form. It is changed: it must be new."""
    _region(function.body, _Around(), {})
    return function


@dataclass(frozen=True)
class _Around:
    """Parameters of the loops around.

    Attributes
    ----------
    unclear : may be negative, as far as LLVM sees.
    indices : never are: the loops count up.
    """

    unclear: frozenset[Value] = frozenset()
    indices: frozenset[Value] = frozenset()

    def within(self, op: Operation) -> _Around:
        """The same in the regions of ``op``."""
        params = {p for inner in op.regions for p in inner.params}
        if op.name == "while":
            return _Around(self.unclear | params, self.indices)
        if op.name != "for":
            return self
        index = op.regions[0].params[0]
        step = _number(op.operands[2])
        if step is None or step <= 0:
            return _Around(self.unclear | params, self.indices)
        return _Around(self.unclear | (params - {index}), self.indices | {index})

    def __bool__(self) -> bool:
        return bool(self.unclear or self.indices)


def _region(region: Region, around: _Around, bound: Mapping[str, Value]) -> None:
    """Rewrite the loops of ``region``.

    Parameters
    ----------
    bound : symbols of sizes that are found at run time, with what they are.
    """
    found = {str(op.attributes["size"]): op.operands[0] for op in region.ops if op.name == "bind"}
    bound = {**bound, **found}
    for op in list(region.ops):
        for inner in op.regions:
            _region(inner, around.within(op), bound)
        if op.name == "for":
            if _gains(op):
                _rewrite(region, op)
            if around and _number(op.operands[0]) == 0 and runs_at_once(op):
                _tell_signs(region, op, around, bound)


def _tell_signs(
    region: Region, loop: Operation, around: _Around, bound: Mapping[str, Value]
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
            parts = place_parts(at, index)
            if parts is None or at in moved:
                continue
            base, stride = parts
            if base in inside or not _depends(base, around, bound):
                continue
            size = dimension(base)
            key = base if size is None else size
            if key not in told:
                told[key] = before.emit(REGISTRY["maximum"], [base, _constant(before, 0)]).result
            steps = index
            if stride != 1:
                factor = _constant(within, stride)
                steps = within.emit(REGISTRY["multiply"], [index, factor]).result
            moved[at] = within.emit(REGISTRY["add"], [told[key], steps]).result
            moved[at].hint = at.hint
        op.operands = (
            *op.operands[: place + 1],
            *(moved.get(at, at) for at in op.operands[place + 1 :]),
        )
    body.ops[0:0] = within.region.ops
    start = region.ops.index(loop)
    region.ops[start:start] = before.region.ops


def place_parts(at: Value, index: Value) -> tuple[Value, int] | None:
    """Where the first trip of a loop is, and how far it goes with each; it doesn't go back."""
    op = at.op
    if op is None or op.name != "add":
        return None
    for base, steps in (op.operands, op.operands[::-1]):
        stride = 1 if steps is index else _factor(steps, index)
        if stride > 0:
            return base, stride
    return None


def _factor(value: Value, index: Value) -> int:
    """By which constant ``index`` is multiplied, if ``value`` is such a product; else 0."""
    op = value.op
    if op is None or op.name != "multiply" or index not in op.operands:
        return 0
    one, other = op.operands
    return _number(other if one is index else one) or 0


def _constant(build: Builder, value: int) -> Value:
    attributes = {"value": value, "dtype": i64}
    return build.emit(REGISTRY["const"], (), attributes, (), [scalar(i64)]).result


def _depends(value: Value, around: _Around, bound: Mapping[str, Value]) -> bool:
    """Whether a sum, difference or product may be negative, for what depends on loops around."""
    if value in around.unclear:
        return True
    op = value.op
    if op is None:
        return False
    if op.name == "dim":
        size = op.attributes["size"]
        known = [bound[name] for name in symbols(size) if name in bound]
        less = not never_negative(size) and any(_varies(v, around, bound) for v in known)
        return less or any(_depends(v, around, bound) for v in known)
    if op.name == "subtract" and _varies(op.operands[1], around, bound):
        return True
    return op.name in _INTEGERS and any(_depends(v, around, bound) for v in op.operands)


def _varies(value: Value, around: _Around, bound: Mapping[str, Value]) -> bool:
    """Whether a sum, difference or product depends on what the loops around count."""
    if value in around.indices or value in around.unclear:
        return True
    op = value.op
    if op is None:
        return False
    if op.name == "dim":
        known = [bound[name] for name in symbols(op.attributes["size"]) if name in bound]
        return any(_varies(v, around, bound) for v in known)
    return op.name in _INTEGERS and any(_varies(v, around, bound) for v in op.operands)


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
    return all(
        _is_sum(p, y) or _is_fresh(y, params) for p, y in zip(params, body.yields, strict=True)
    )


def _is_fresh(end: Value, carried: Sequence[Value]) -> bool:
    """Whether a trip hands on to the next what depends on nothing that it was handed itself."""
    seen, pending = set(), [end]
    while pending:
        value = pending.pop()
        if value in carried or (value.op is not None and value.op.regions):
            return False
        if value.op is not None and value not in seen:
            seen.add(value)
            pending += value.op.operands
    return True


def _is_sum(param: Value, end: Value) -> bool:
    """Whether a carried number is only added to, once or several times, or in each branch."""
    op = end.op
    while end is not param and op is not None and op.name in ("add", "subtract"):
        if op.name == "add" and op.operands[1] is param:
            return True
        end = op.operands[0]
        op = end.op
    if op is not None and op.name == "if":
        k = op.results.index(end)
        return all(_is_sum(param, region.yields[k]) for region in op.regions)
    return end is param


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
    zero = _constant(build, 0)
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
