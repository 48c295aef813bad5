"""Make the next trip of a loop wait less.

- ``y = (r[i] - u[i] * y) / d[i]`` waits for a division. `shorten` makes it
  ``y = (r[i] - u[i] * y) * in_advance(1.0 / d[i])``: the division does not depend on ``y``.
  So it does with products by a reciprocal, of which LLVM would make divisions.
- Of two ways to compute a function the printer takes the one of less latency (`OpDef.serial`).
"""

from __future__ import annotations

from collections.abc import Iterator

from tracegrad.ir.builder import Builder
from tracegrad.ir.core import Function, Operation, Region
from tracegrad.ir.recurrences import Recurrences
from tracegrad.ir.types import f64
from tracegrad.ops.registry import REGISTRY
from tracegrad.schedule.buffers import replace


def shorten(function: Function) -> Function:
    """Take divisions by what is known ahead out of recurrences.

    The function is changed: it must be new.
    """
    for loop in function.walk():
        if loop.name not in ("for", "while") or not loop.results:
            continue
        known = Recurrences(loop)
        if not any(known.meets):
            continue
        for region in _arms(loop.regions[-1]):
            for op in list(region.ops):
                if op.name == "divide" and known.waits(op):
                    _divide_in_advance(region, op, known)
                elif op.name == "multiply" and known.waits(op):
                    _keep_apart(region, op, known)
    return function


def _arms(region: Region) -> Iterator[Region]:
    """A region and the branches in it."""
    yield region
    for op in region.ops:
        if op.name == "if":
            for arm in op.regions:
                yield from _arms(arm)


def _divide_in_advance(region: Region, op: Operation, known: Recurrences) -> None:
    dividend, divisor = op.operands
    if known.sources.get(divisor) or op.result.type != divisor.type or divisor.dtype is not f64:
        return
    if divisor.op is None or divisor.op.name == "const":
        return
    build = Builder()
    with build.at(op.location, op.part):
        inverse = build.emit(REGISTRY["reciprocal"], [divisor]).result
        early = build.emit(REGISTRY["in_advance"], [inverse]).result
        product = build.emit(REGISTRY["multiply"], [dividend, early]).result
    product.hint = op.result.hint
    for masks in (known.sources, known.targets):
        masks[product] = masks.get(op.result, 0)
    at = region.ops.index(op)
    region.ops[at : at + 1] = build.region.ops
    replace(region, op.result, product)


def _keep_apart(region: Region, op: Operation, known: Recurrences) -> None:
    """``y * (1.0 / d)`` is not to become ``y / d``."""
    for value in op.operands:
        maker = value.op
        if maker is None or maker.name != "reciprocal" or value.dtype is not f64:
            continue
        if not known.sources.get(value):
            build = Builder()
            with build.at(op.location, op.part):
                early = build.emit(REGISTRY["in_advance"], [value]).result
            at = region.ops.index(op)
            region.ops[at:at] = build.region.ops
            op.operands = tuple(early if v is value else v for v in op.operands)
