"""Loop nests over cells that wait for their neighbours, computed along diagonals.

In a table where each cell follows from the cells above, to the left and across, a row is a chain:
each trip waits for the one before, and no two run at once. The cells of one antidiagonal don't
depend on each other::

    for i in range(1, n + 1):                    for d in range(2, n + m + 1):
        for j in range(1, m + 1):                    low = max(1, d - m)
            y[i, j] = f(y[i - 1, j],    →            for k in range(min(n, d - 1) + 1 - low):
                        y[i, j - 1])                     i = low + k
                                                         y[i, d - i] = f(y[i - 1, d - i], …)

so LLVM computes several at once, with vector maths. What each cell computes is the same, bit by
bit; sums and additions to one place are made in another order. `nests` says which nests may be
computed so. Neighbours on a diagonal should be neighbours in memory, too:

- tables that the function makes are stored by diagonals where that is possible (`rotated`);
- what is read elsewhere goes through a row of its own, filled before the diagonal is computed;
- so does what is written elsewhere, or added to a place that another cell of the diagonal adds to.
"""

from __future__ import annotations

from collections.abc import Container

from tracegrad.ir.bounds import Bounds
from tracegrad.ir.core import Function, Operation, Value
from tracegrad.ir.threads import free_values
from tracegrad.ir.types import (
    evaluate,
    symbols,
)
from tracegrad.schedule.buffers import ELEMENT
from tracegrad.schedule.diagonals import Diagonals
from tracegrad.schedule.nests import Nest, find_nests
from tracegrad.schedule.registers import shared_memories
from tracegrad.schedule.rotated import is_side_by_side, rotate, rotations
from tracegrad.schedule.values import signs_of

SHORT = 16
"""The least diagonal that is worth it, where the sizes are known."""

LANES, WORK, SIDE_BY_SIDE, ELSEWHERE, GAIN = 6.0, 0.6, 0.3, 3.0, 1.2
"""Multiplications per cycle in lanes, cycles of one alone, cycles of accesses to neighbours and to
what stands elsewhere, and how much faster the diagonals must be."""


def along_diagonals(function: Function) -> Function:
    """Compute the nests of ``function``, in loop form, by diagonals where that is faster.

    The function is changed: it must be new.
    """
    if not any(op.name == "for" for op in function.walk()):
        return function
    with signs_of(function):
        bounds = Bounds(function)
        nests = find_nests(bounds, function.body, shared_memories(function))
        nests = [nest for nest in nests if _is_long(function, nest)]
        while nests:
            stored = rotations(function, nests)
            plans = [Diagonals(function, bounds, nest, stored) for nest in nests]
            fast = [
                nest
                for nest, plan in zip(nests, plans, strict=True)
                if plan.fits and is_worth_it(nest, stored)
            ]
            if len(fast) == len(nests):
                for plan in plans:
                    plan.rewrite()
                rotate(function, stored)
                break
            nests = fast
    return function


# --- whether -----------------------------------------------------------------------------------


def _is_long(function: Function, nest: Nest) -> bool:
    """Whether the rows of a diagonal can be made before all loops, and it has some cells."""
    sizes = set(function.size_sources())
    for axis in (0, 1):
        least, greatest = nest.limits(axis)
        if not sizes.issuperset(symbols(greatest - least)):
            return False
        try:
            if evaluate(greatest - least + 1, function.hints) < SHORT:
                return False
        except KeyError:
            pass
    return True


def latency(op: Operation) -> float:
    """Cycles from the operands of an operation on scalars to its result."""
    if op.name == "if":
        return 4.0 + max(sum(latency(each) for each in region.ops) for region in op.regions)
    if op.opdef.kind != "elementwise":
        return 0.0
    return {"divide": 13.0, "reciprocal": 13.0, "sqrt": 18.0}.get(
        op.name, 3.5 * op.opdef.cost if op.opdef.heavy else 4.0
    )


def _work(op: Operation) -> float:
    if op.name == "if":
        return sum(_work(each) for region in op.regions for each in region.ops)
    return op.opdef.cost if op.opdef.kind == "elementwise" else 0.0


def is_worth_it(nest: Nest, stored: Container[Value]) -> bool:
    """Whether cells in lanes, with what goes through memory, are faster than one by one.

    In cycles: one by one a cell takes its work, or the longest way from what a trip stores to what
    the next one stores, if that is more.
    """
    work = sum(_work(op) for op in nest.cell)
    lanes = work / LANES
    for access in nest.accesses:
        lanes += SIDE_BY_SIDE if is_side_by_side(access, stored) else ELSEWHERE
    return max(_chain(nest), WORK * work) > GAIN * lanes


def _chain(nest: Nest) -> float:
    """Cycles that a trip of the inner loop waits for the one before."""
    from_row: dict[Value, float] = {}
    longest = 0.0
    for op in nest.cell:
        if op.name == "load":
            if op.result in nest.waiting:
                from_row[op.result] = 5.0
            elif op.result in nest.stored and nest.stored[op.result] in from_row:
                from_row[op.result] = from_row[nest.stored[op.result]]
            continue
        read = [*op.operands, *(v for region in op.regions for v in free_values(region))]
        start = [from_row[v] for v in read if v in from_row]
        if not start:
            continue
        if op.name in ELEMENT:
            if op.operands[0] in from_row and op.operands[1] in nest.handed_on:
                extra = 4.0 if op.name == "add_store" else 0.0
                longest = max(longest, from_row[op.operands[0]] + extra)
            continue
        until = max(start) + latency(op)
        from_row.update((result, until) for result in op.results)
    return longest
