"""Jacobians whose nonzeros are known: directions that take several columns (or rows) at once.

The elements of what is differentiated have colours, given as arrays at each call; a direction is
one colour. The nonzeros are picked from what the directions give, at places that are given too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tracegrad import ops, tracing
from tracegrad.arguments import Binder
from tracegrad.derived.forward import bars_only
from tracegrad.derived.inner import Fun, Inner, traced_call
from tracegrad.errors import InternalError
from tracegrad.ir.core import Function, Value
from tracegrad.ir.types import product
from tracegrad.ops.access import at, reshaped
from tracegrad.passes import optimize
from tracegrad.passes.cse import cse
from tracegrad.transforms.jacobian import compressed_blocks
from tracegrad.transforms.jvp import jvp
from tracegrad.transforms.trip_rows import Chosen, TripRows, trip_rows
from tracegrad.transforms.vjp import gradient, vjp
from tracegrad.verbs import Verb


class TracedOtherwise(InternalError):
    """A kernel would not be what the pattern was found for; another plan has to be made."""


@dataclass(frozen=True, eq=False)
class Differentiated:
    """What is differentiated in what.

    Attributes
    ----------
    function : whose Jacobian is asked for: the user's, or its gradient.
    wrt : the parameters, as often as they are named.
    of : the results, each once.
    """

    function: Function
    wrt: list[int]
    of: list[int]

    @property
    def params(self) -> list[int]:
        """The parameters, each once."""
        return list(dict.fromkeys(self.wrt))


def differentiated(inner: Inner, second: bool) -> Differentiated:
    """The function whose Jacobian is asked for; its gradient for a Hessian."""
    groups = inner.verb.groups(inner.selection)
    wrt = [inner.traced.param_of(leaf) for group in groups for leaf in group]
    if not second:
        inner.refuse_other_results()
        return Differentiated(inner.function, wrt, inner.float_results())
    value = inner.verb.scalar_result(inner.traced)
    both = gradient(inner.function, wrt, of=value)
    return Differentiated(optimize(bars_only(both, inner.results)), wrt, list(range(len(wrt))))


def rows_of_trips(asked: Differentiated) -> TripRows | None:
    """The loop whose trips may be differentiated one by one."""
    return trip_rows(cse(asked.function), asked.params, asked.of)


def nonzeros(
    fun: Fun,
    verb: Verb,
    binder: Binder,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    leading: Sequence[Any],
    by_columns: bool,
    joint: bool,
    width: int,
    known: int,
) -> Any:
    """The nonzeros of each block, block after block, within the active trace.

    Parameters
    ----------
    leading : colours, directions and places:

        - one array of colours per parameter, of its shape; or per result, a vector of its elements;
        - an array with one element per block of directions;
        - per block of the result, where its nonzeros stand in a table with axes for the blocks of
          ``width`` directions, the elements of a line, and the directions of a block.
    by_columns : whether directions are of parameters (forward mode) or of results.
    joint : whether elements are counted through all results (or parameters) rather than in each.
    width : how many directions are taken at once through a loop.
    known : the number of blocks of ``width`` directions, if the kernel is made for it, else 0.
    """
    colours, directions, places = leading
    second = verb.name == "hessian"
    if by_columns:
        colours = _fitting(colours, verb, binder, args, kwargs)
    inner = traced_call(fun, verb, binder, args, kwargs)
    asked = differentiated(inner, second)
    function, params = asked.function, asked.params
    if by_columns:
        seeded = optimize(jvp(function, params, asked.of))
    else:
        seeded = optimize(vjp(function, params, asked.of, apart=True))
    given = [*inner.traced.arguments, *colours, directions, *places]
    results, count = len(function.results), len(colours)

    def make(values: list[Value]) -> list[Value]:
        given = len(function.params)
        shades = [
            x if by_columns else ops.cast(reshaped(x, bar.shape), dtype=bar.dtype)
            for x, bar in zip(values[given : given + count], seeded.params[given:], strict=True)
        ]
        blocks = known or values[given + count].shape[0]
        number = blocks * width
        primal, tables = compressed_blocks(seeded, values[:given], results, shades, number, width)
        tables = [reshaped(t, (t.shape[0], product(t.shape[1:-1]), width)) for t in tables]
        if joint:
            tables = [ops.concatenate(*tables, axis=1)] * len(tables)
        flat = [reshaped(t, (product(t.shape),)) for t in tables]
        across = len(params)
        picked = [
            ops.index(flat[n // across if by_columns else n % across], where)
            for n, where in enumerate(values[given + count + 1 :])
        ]
        return [*primal, *picked]

    made = tracing.append(make, given)
    primal, picked = made[:results], made[results:]
    if not verb.has_aux:
        return tuple(picked)
    return tuple(picked), inner.rebuild(_primal(inner) if second else primal)[1]


def _fitting(
    colours: Sequence[Any], verb: Verb, binder: Binder, args: Any, kwargs: Any
) -> list[Any]:
    """Colours of parameters, of their shapes from here on."""
    shape, leaves, kinds = binder.bind(args, kwargs)
    selection = binder.selection(shape, kinds)
    wanted = [leaf for group in verb.groups(selection) for leaf in group]
    return [
        tracing.as_tangent(each, leaves[leaf], selection.name(leaf), "coloured array")
        for each, leaf in zip(colours, dict.fromkeys(wanted), strict=True)
    ]


def nonzeros_of_trips(
    fun: Fun,
    verb: Verb,
    binder: Binder,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    leading: Sequence[Any],
    chosen: Sequence[Chosen],
    kinds: Sequence[str],
    signature: object,
) -> Any:
    """As `nonzeros`, from what each trip of a loop writes and reads (`transforms.trip_rows`).

    Parameters
    ----------
    leading : the last of it is for each block what it needs: the places in the table, and for
        ``added`` the nonzeros that what stands there is added to beside them, and as many zeros as
        there are nonzeros.
    chosen : as `TripRows.tables` takes it.
    kinds : per block of the result, whether its nonzeros are the ``whole`` table, ``picked`` from
        it or ``added`` up.
    signature : that of the loop (`TripRows.signature`) that ``chosen`` was made for.

    Raises
    ------
    TracedOtherwise : the loop is another one here, or none: sizes that are known may unroll it.
    """
    inner = traced_call(fun, verb, binder, args, kwargs)
    asked = differentiated(inner, second=False)
    rows = rows_of_trips(asked)
    if rows is None or rows.signature != signature:
        raise TracedOtherwise("a loop is traced in another way than when its pattern was found")

    seeded = optimize(rows.seeded())

    def make(values: list[Value]) -> list[Value]:
        count = len(asked.function.params)
        tables = rows.tables(values[:count], seeded, chosen)
        more = iter(values[count:])
        picked = []
        for kind, table in zip(kinds, tables, strict=True):
            flat = reshaped(table, (product(table.shape),))
            if kind == "whole":
                picked.append(flat)
            elif kind == "picked":
                picked.append(ops.index(flat, next(more)))
            else:
                both, start = next(more), next(more)
                places, targets = at(both, 0, 0), at(both, 0, 1)
                start = ops.cast(start, dtype=flat.dtype)
                picked.append(ops.accumulate(start, ops.index(flat, places), targets))
        return picked

    picked = tracing.append(make, [*inner.traced.arguments, *leading[-1]])
    if not verb.has_aux:
        return tuple(picked)
    return tuple(picked), inner.rebuild(_primal(inner))[1]


def _primal(inner: Inner) -> list[Any]:
    """The results of a function."""
    return tracing.append(
        lambda given: tracing.appended(inner.function, given), inner.traced.arguments
    )
