"""Which values carry a derivative: those that depend on what is differentiated, through floats."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from tracegrad.ir.core import Function, Operation, Region, Value
from tracegrad.ir.rewrite import first_carried, leading
from tracegrad.ops.control import inputs_of
from tracegrad.transforms.shifts import without_effect


def active_values(function: Function, wrt: Iterable[Value]) -> set[Value]:
    """Float values that depend on ``wrt`` and make a difference.

    `stop_gradient` and integers cut the dependence, and so do shifts and scales that cancel.
    """
    return active_in(function.body, wrt, function.results)


def active_in(region: Region, wrt: Iterable[Value], results: Collection[Value]) -> set[Value]:
    """As `active_values`, for a region and what is in it; ``results`` are read outside."""
    active = set(wrt)
    _walk(region, active, without_effect(region, results))
    return active


def _walk(region: Region, active: set[Value], cut: set[Value]) -> None:
    for op in region.ops:
        if op.name in ("for", "while"):
            _loop(op, active, cut)
        elif op.name == "if":
            for arm in op.regions:
                _walk(arm, active, cut)
                _mark(active, zip(op.results, arm.yields, strict=True))
        elif op.name != "stop_gradient" and any(v in active for v in op.operands):
            active.update(r for r in op.results if r.dtype.is_float and r not in cut)


def _loop(op: Operation, active: set[Value], cut: set[Value]) -> None:
    """A carried value is active when its initial value is, or what any trip makes of it."""
    body = op.regions[-1]
    inits, params = op.operands[leading(op) :], body.params[first_carried(op) :]
    _mark(active, zip(params, inits, strict=True))
    while True:
        _walk(body, active, cut)
        if not _mark(active, zip(params, body.yields, strict=True)):
            break
    _mark(active, zip(op.results, params, strict=True))


def _mark(active: set[Value], pairs: Iterable[tuple[Value, Value]]) -> bool:
    """Make the first of each pair active if the second is; whether that changed anything."""
    found = {a for a, b in pairs if b in active and a not in active and a.dtype.is_float}
    active |= found
    return bool(found)


def carries_reached(op: Operation, seeded: Iterable[int], active: set[Value]) -> list[int]:
    """The carried values of a loop that have a cotangent, if the results ``seeded`` have one.

    A carried value has one if it reaches, through active values and any number of trips, a result
    that has one.
    """
    return _reached_carries(op, set(seeded), active, set())


def _reached_carries(
    op: Operation, seeded: set[int], active: set[Value], reached: set[Value]
) -> list[int]:
    body = op.regions[-1]
    params = body.params[first_carried(op) :]
    while True:
        reached.update(v for k in seeded if (v := body.yields[k]) in active)
        reach(body, active, reached)
        more = {k for k, p in enumerate(params) if p in reached} - seeded
        if not more:
            return sorted(seeded)
        seeded |= more


def reach(region: Region, active: set[Value], reached: set[Value]) -> None:
    """Add to ``reached`` what its members are computed from, as far as it is active."""
    for op in reversed(region.ops):
        results = [k for k, r in enumerate(op.results) if r in reached]
        if not results:
            continue
        if op.name == "if":
            for arm in op.regions:
                reached.update(v for k in results if (v := arm.yields[k]) in active)
                reach(arm, active, reached)
        elif op.name == "custom":
            reached.update(v for v in inputs_of(op) if v in active)
        elif op.name in ("for", "while"):
            inits = op.operands[leading(op) :]
            for k in _reached_carries(op, set(results), active, reached):
                if inits[k] in active:
                    reached.add(inits[k])
        else:
            reached.update(v for v in op.operands if v in active)
