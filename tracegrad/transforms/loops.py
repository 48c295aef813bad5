"""Reverse of ``for`` and ``while``: the same trips, the last first.

Names: for a loop with initial values ``init``, region parameters ``p``, yields ``y`` and results
``r``, the way back has one carried value per active carried value: the cotangent of ``p`` of the
trip that was reversed last. It starts as ``r_bar`` and ends as a contribution to ``init``. In each
trip it first flows to ``y``, which may be any value: computed in the body, another parameter (a
swap), or one from outside the loop.

::

    r = for i in range(lo, hi, step) carrying p = init { ...; yield y }

    init_bar += for i in range(last, lo - step, -step) carrying p_bar = r_bar {
      y_bar = p_bar
      ...                     the adjoint of the body, what it reads of it put at the head
      yield p_bar
    }

A ``while`` counts its trips, and its way back is a ``for`` over them. Loops that only add are
reversed trip by trip (`tracegrad.transforms.fused`); others segment by segment where the user asks
for it (`tracegrad.transforms.segments`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracegrad.ir.core import Operation, Value
from tracegrad.ir.rewrite import first_carried, leading
from tracegrad.ir.types import i64, scalar
from tracegrad.ops.control import for_
from tracegrad.ops.registry import constant
from tracegrad.transforms.activity import carries_reached
from tracegrad.transforms.contributions import zero_of
from tracegrad.transforms.fused import can_fuse, reverse_fused
from tracegrad.transforms.residuals import settle_loop
from tracegrad.transforms.segments import reverse_in_segments, segments_of
from tracegrad.transforms.trips import reversed_bounds

if TYPE_CHECKING:
    from tracegrad.transforms.sweep import Sweep


def reverse_loop(sweep: Sweep, op: Operation) -> None:
    """Append the way back of a loop of the primal."""
    build, body = sweep.build, op.regions[-1]
    inits, params = op.operands[leading(op) :], body.params[first_carried(op) :]
    yields, results = body.yields, op.results
    seeded = [k for k, r in enumerate(results) if r in sweep.active and sweep.has_bar(r)]
    carried = carries_reached(op, seeded, sweep.active)
    taken = [sweep.take(results[k]) for k in carried]
    if can_fuse(sweep, op, carried, taken):
        reverse_fused(sweep, op, carried, taken)
        return
    seeds = [
        zero_of(results[k].type) if seed is None else seed
        for k, seed in zip(carried, taken, strict=True)
    ]
    if segments_of(op) is not None:
        reverse_in_segments(sweep, op, carried, seeds)
        return
    bounds = _bounds(sweep, op)
    with build.scoped(loops=True) as scope:
        sweep.mirror(body, scope)
        index = build.param(scalar(i64), body.params[0].hint if op.name == "for" else "trip")
        sweep.indices[op] = index
        bars = [build.param(params[k].type, sweep.bar(params[k]).hint) for k in carried]
        for k, bar in zip(carried, bars, strict=True):
            sweep.add(yields[k], bar)
        sweep.block(list(body.ops))
        left = [(k, sweep.take(params[k])) for k in carried]
        scope.region.yields = tuple(
            zero_of(params[k].type) if bar is None else bar for k, bar in left
        )
    back = build.close_loop(scope, for_, [*bounds, *seeds], len(carried))
    settle_loop(sweep, op, back)
    for k, bar in zip(carried, back.results, strict=False):
        sweep.add(inits[k], bar)


def _bounds(sweep: Sweep, op: Operation) -> tuple[Value, Value, Value]:
    if op.name == "for":
        return reversed_bounds(op)
    minus_one = constant(-1, i64)
    return sweep.primal.count_trips(op) + minus_one, minus_one, minus_one
