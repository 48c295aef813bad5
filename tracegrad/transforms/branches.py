"""Reverse of ``if``: an ``if`` on the same predicate, each arm the adjoint of its arm.

The arm that was not taken contributes nothing, whatever its partials are there. What an arm
contributes to values from before the branch are results of the reversed branch; a cotangent that
was absent becomes zero within the other arm only. What a reversed arm reads of its own arm are
extra results of the primal's branch, or computed again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracegrad.ir.core import Operation
from tracegrad.ir.threads import Scope
from tracegrad.ops.control import if_
from tracegrad.transforms.contributions import zero_of
from tracegrad.transforms.residuals import settle_branch

if TYPE_CHECKING:
    from tracegrad.transforms.sweep import Sweep


def reverse_branch(sweep: Sweep, op: Operation) -> None:
    """Append the way back of a branch of the primal."""
    build = sweep.build
    bars = [sweep.take(r) if r in sweep.active else None for r in op.results]
    yields = [arm.yields for arm in op.regions]  # an arm gets more while the other is reversed
    scopes: list[Scope] = []
    for arm, values in zip(op.regions, yields, strict=True):
        with build.scoped(loops=False) as scope:
            sweep.mirror(arm, scope)
            for value, bar in zip(values, bars, strict=True):
                if bar is not None:
                    sweep.add(value, bar)
            sweep.block(list(arm.ops))
        scopes.append(scope)
    found = build.close_branch(if_, op.operands[0], scopes, lambda v: zero_of(v.type))
    if found is not None:
        settle_branch(sweep, op, found.regions)
