"""Which values carry a derivative: those that depend on what is differentiated, through floats."""

from __future__ import annotations

from collections.abc import Iterable

from tracegrad.ir.core import Function, Region, Value


def active_values(function: Function, wrt: Iterable[Value]) -> set[Value]:
    """Float values that depend on ``wrt``; `stop_gradient` and integers cut the dependence."""
    active = set(wrt)
    _walk(function.body, active)
    return active


def _walk(region: Region, active: set[Value]) -> None:
    for op in region.ops:
        for inner in op.regions:
            _walk(inner, active)
        if op.name == "stop_gradient":
            continue
        touched = any(v in active for v in op.operands) or any(
            v in active for inner in op.regions for v in inner.yields
        )
        if touched:
            active.update(r for r in op.results if r.dtype.is_float)
