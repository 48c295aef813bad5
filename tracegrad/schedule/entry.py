"""Which scheduler takes a function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from tracegrad.ir.core import Function, Operation, Value
from tracegrad.ir.rewrite import Rewriter
from tracegrad.ops.access import view_of
from tracegrad.ops.registry import REGISTRY, constant
from tracegrad.schedule.buffers import take_over
from tracegrad.schedule.columns import into_columns
from tracegrad.schedule.inplace import WRITES, fill_value
from tracegrad.schedule.lanes import split_into_lanes
from tracegrad.schedule.parallel import in_chunks, verdicts
from tracegrad.schedule.pipeline import explain as explain_tree
from tracegrad.schedule.pipeline import schedule_straight
from tracegrad.schedule.regions import finish_regions, lower_regions
from tracegrad.schedule.windows import open_windows


def schedule(function: Function, parallel: bool = False, *, reassociate: bool = True) -> Function:
    """Loop form of ``function``: fused loops over scalars, explicit buffers, writes in place.

    Control flow and writes go through `lower_regions`, which hands it what stands between
    them. What is left is one stretch of straight-line code: it is fused as a whole. That includes
    additions to a new array, which is what the gradient of a read at index values is.

    Parameters
    ----------
    parallel : whether loops whose trips are independent are split into chunks for threads.
    reassociate : whether sums and products may be put together in another order than written.

    Raises
    ------
    UnsupportedError : the function has an operation that can't be lowered yet.
    """
    loops, finish = _loops(function, parallel, reassociate)
    return take_over(in_chunks(loops, finish) if parallel else finish(loops))


def explain(function: Function) -> str:
    """The loop tree of ``function``, with the storage of each value."""
    prepared = open_windows(function)
    apart = any(map(_adds_to_computed, prepared.body.ops))
    return explain_tree(_Apart().rewrite(prepared) if apart else prepared)


def explain_threads(function: Function) -> str:
    """Which loops of ``function``, in array form, are split into chunks, and why others are not."""
    loops, _ = _loops(function, True)
    lines = []
    for verdict in verdicts(loops):
        place = f" ({verdict.place})" if verdict.place else ""
        lines.append(f"{'  ' * verdict.depth}for {verdict.index}{place}: {verdict.text}")
    return "\n".join([*(lines or ["no loops"]), ""])


def _loops(
    function: Function, parallel: bool, reassociate: bool = True
) -> tuple[Function, Callable[[Function], Function]]:
    """``function`` as loops, and the passes that are still to be made."""
    function = open_windows(function)
    apart = [op for op in function.body.ops if _adds_to_computed(op)]
    if any(
        op.regions or op.opdef.effects or op.name == "bind" or (_writes(op) and op not in apart)
        for op in function.body.ops
    ):
        loops = lower_regions(function)
        # Columns are made for all chunks at once: what a part is given is not its own.
        loops = into_columns(loops) if parallel else loops
        return loops, partial(finish_regions, reassociate=reassociate)
    if apart:
        function = _Apart().rewrite(function)
    return schedule_straight(function), split_into_lanes


def _adds_to_computed(op: Operation) -> bool:
    """Whether ``op`` adds elements to what is computed elementwise: an array of no one's."""
    base = op.operands[0].op if op.name == "accumulate" else None
    return base is not None and base.opdef.kind == "elementwise" and bool(op.result.rank)


class _Apart(Rewriter):
    """Additions at index values to a computed array go to zeros, and these to the array.

    What makes the array and what reads the sum then fuse as if nothing were written.
    """

    def visit(self, op: Operation) -> Sequence[Value]:
        if not _adds_to_computed(op):
            return super().visit(op)
        base, *rest = self.mapped(op.operands)
        zero = constant(0, base.dtype)
        zeros = view_of(zero, base.shape, [])
        added = self.emit(op.opdef, [zeros, *rest], op.attributes).results
        return self.emit(REGISTRY["add"], [base, *added]).results


def _writes(op: Operation) -> bool:
    """Whether ``op`` writes to an array that may hold something."""
    new = op.name == "accumulate" and fill_value(op.operands[0]) is not None
    return op.name == "blank" or (op.name in WRITES and not new)
