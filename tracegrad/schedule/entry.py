"""Which scheduler takes a function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from tracegrad.ir.core import Function, Operation, Value
from tracegrad.schedule.buffers import take_over
from tracegrad.schedule.columns import into_columns
from tracegrad.schedule.inplace import WRITES, fill_value
from tracegrad.schedule.lanes import split_into_lanes
from tracegrad.schedule.parallel import in_chunks, verdicts
from tracegrad.schedule.pipeline import explain as explain_tree
from tracegrad.schedule.pipeline import schedule_straight
from tracegrad.schedule.regions import finish_regions, lower_regions
from tracegrad.schedule.rows import one_row_each
from tracegrad.schedule.scatters import Apart, additions, is_computed
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
    rows = additions(prepared.body.ops, prepared.body.users())
    apart = any(map(is_computed, rows.values()))
    return explain_tree(Apart(rows).rewrite(prepared) if apart else prepared)


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
    rows = additions(function.body.ops, function.body.users())
    if any(
        op.regions or op.opdef.effects or op.name == "bind" or _writes(op, rows)
        for op in function.body.ops
    ):
        loops = lower_regions(function)
        # Columns are made for all chunks at once: what a part is given is not its own.
        loops = into_columns(loops) if parallel else loops
        return loops, partial(finish_regions, reassociate=reassociate)
    if any(map(is_computed, rows.values())):
        function = Apart(rows).rewrite(function)
    return schedule_straight(function), _finish_straight


def _finish_straight(loops: Function) -> Function:
    return one_row_each(split_into_lanes(loops))


def _writes(op: Operation, rows: Mapping[Operation, Value]) -> bool:
    """Whether ``op`` writes to an array that may hold something."""
    first = rows.get(op)
    new = first is not None and (fill_value(first) is not None or is_computed(first))
    return op.name == "blank" or (op.name in WRITES and not new)
