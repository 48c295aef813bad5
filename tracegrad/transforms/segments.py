"""Loops that are computed again on the way back: checkpoints (docs/decisions/0030).

A loop with the attribute ``segments`` keeps its carried values every so many trips, and nothing
else. It becomes two loops, and the way back of the outer one computes a segment again, this time
with tapes, and reverses it at once::

    r = for i in range(lo, hi) carrying p = init { body }

    r = for s in range(segments) carrying p = init {             keeps p
      q = for i in range(lo + s * each, ...) carrying p { body }
      yield q
    }

    init_bar += for s in range(segments - 1, -1, -1) carrying q_bar = r_bar {
      q = for i in range(lo + s * each, ...) carrying p { body }              keeps tapes
      p_bar = for i in range(..., lo + s * each - 1, -1) carrying q_bar { the adjoint of the body }
      yield p_bar
    }

What the body reads of an array that the loop fills is read from the array as it is after the loop
where it is the same (`tracegrad.transforms.final`); so such an array is not kept.

A ``while`` has no number of trips to divide. It counts them, and is computed twice again: once as
a ``for`` of so many trips that keeps the carried values, then segment by segment.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from tracegrad import ops
from tracegrad.ir.core import Operation, Region, Value
from tracegrad.ir.rewrite import first_carried, leading
from tracegrad.ir.sizes import BINDING, attribute_symbols, operation_symbols, rename_sizes
from tracegrad.ir.types import f64, i64, scalar
from tracegrad.ops.control import EACH_TRIP, ROOT, for_
from tracegrad.ops.registry import constant
from tracegrad.transforms.contributions import zero_of
from tracegrad.transforms.primal import whole_number
from tracegrad.transforms.residuals import settle_loop
from tracegrad.transforms.trips import reversed_bounds, trip_count

if TYPE_CHECKING:
    from tracegrad.transforms.sweep import Sweep


def segments_of(op: Operation) -> int | None:
    """In how many segments the user wants a loop to be reversed; None if it keeps tapes."""
    found: int | None = op.attributes.get("segments")
    return found


def reverse_in_segments(
    sweep: Sweep, op: Operation, carried: Sequence[int], seeds: Sequence[Value]
) -> None:
    """Append the way back of a loop whose segments are computed again.

    Parameters
    ----------
    carried : the carried values that have a cotangent.
    seeds : the cotangents of their results.
    """
    if op.name == "while":
        _reverse_counted(sweep, op, carried, seeds)
        return
    if segments_of(op) != EACH_TRIP:
        _split(sweep, op)
    build, body = sweep.build, op.regions[0]
    params = body.params[1:]
    bounds = reversed_bounds(op)
    with build.scoped(loops=True) as scope:
        sweep.mirror(body, scope)
        index = build.param(scalar(i64), body.params[0].hint)
        sweep.indices[op] = index
        bars = [build.param(params[k].type, sweep.bar(params[k]).hint) for k in carried]
        block, copies, env = _copied(sweep, body)
        for k, bar in zip(carried, bars, strict=True):
            sweep.add(env.get(body.yields[k], body.yields[k]), bar)
        sweep.block(block)
        _read_finals(sweep, copies)
        left = [(k, sweep.take(params[k])) for k in carried]
        scope.region.yields = tuple(
            zero_of(params[k].type) if bar is None else bar for k, bar in left
        )
    operands = [*bounds, *seeds]
    back = build.close_loop(scope, for_, operands, len(carried), {"segments": EACH_TRIP})
    settle_loop(sweep, op, back)
    for k, bar in zip(carried, back.results, strict=False):
        sweep.add(op.operands[3 + k], bar)


# --- a loop as two ----------------------------------------------------------------------------


def _split(sweep: Sweep, op: Operation) -> None:
    """Make ``op`` the loop over the segments, with the loop over the trips of one in its body."""
    build, primal, active = sweep.build, sweep.primal, sweep.active
    (body,) = op.regions
    lo, _, step = op.operands[:3]
    inits, params = op.operands[3:], body.params[1:]
    made: list[Value] = []

    def counts() -> Value:
        trips = trip_count(op)
        each = _trips_of_each(trips, segments_of(op) or ROOT)
        made.extend((trips, each, _rounded_up(trips, each)))
        return constant(0, i64)

    zero = primal.before(op, counts)
    one = primal.before(op, lambda: constant(1, i64))
    trips, each, count = made
    with build.at(op.location, "forward"), build.open() as outer:
        segment = build.param(scalar(i64), "segment")
        kept = [build.param(p.type, p.hint) for p in params]
        first = segment * each
        after = ops.minimum(first + each, trips)
        ends = [_index(lo, step, k) for k in (first, after)]
        types = [p.type for p in params]
        inner = build.emit(for_, [*ends, step, *kept], {}, [body], types)
        outer.yields = inner.results
    for param, before, result, last in zip(params, kept, inner.results, op.results, strict=True):
        result.hint = last.hint
        if param in active:
            active.update((before, result))
    op.operands = (zero, count, one, *inits)
    op.regions = (outer,)
    op.attributes = {**op.attributes, "segments": EACH_TRIP}
    primal.note(op, primal.home(op))


def _trips_of_each(trips: Value, segments: int) -> Value:
    """Append the trips of a segment: the root of all trips, or as many as give ``segments``."""
    if segments == ROOT:
        root = ops.ceil(ops.sqrt(ops.cast(trips, dtype=f64)))
        found = ops.cast(root, dtype=i64)
    else:
        found = _rounded_up(trips, constant(segments, i64))
    result: Value = ops.maximum(found, constant(1, i64))
    return result


def _rounded_up(total: Value, each: Value) -> Value:
    result: Value = ops.floor_divide(total + (each - 1), each)
    return result


def _index(lo: Value, step: Value, trip: Value) -> Value:
    """Append the index of a trip."""
    away = trip if whole_number(step) == 1 else trip * step
    return away if whole_number(lo) == 0 else lo + away


# --- computing again --------------------------------------------------------------------------


def _copied(
    sweep: Sweep, region: Region
) -> tuple[list[Operation], list[Operation], dict[Value, Value]]:
    """Append the operations of ``region`` again, to be reversed where they are.

    Elements of arrays from outside are residuals as ever: their array may be an inner one's tape.

    Returns
    -------
    The operations to reverse; those of them that are copies; what the values of ``region`` are now.
    """
    env: dict[Value, Value] = {}
    originals: list[Operation] = []
    copies: list[Operation] = []
    found: list[Operation] = []
    own = set(_bound(region.ops))
    for op in region.ops:
        outer = op.name == "index" and sweep.primal.region_of(op.operands[0]) is not region
        if outer and own.isdisjoint(operation_symbols(op)):
            found.append(op)
            continue
        copy = sweep.build.copy(op, env)
        env.update(zip(op.results, copy.results, strict=True))
        found.append(copy)
        originals.append(op)
        copies.append(copy)
    _stand_in(sweep, originals, copies)
    return found, copies, env


def _stand_in(sweep: Sweep, originals: Sequence[Operation], copies: Sequence[Operation]) -> None:
    """``copies``, which end the open region, are part of the primal."""
    sweep.here_is_primal()
    for copy in copies:
        sweep.primal.note(copy, sweep.build.region)
    _like(sweep, originals, copies, {})


def _like(
    sweep: Sweep,
    originals: Sequence[Operation],
    copies: Sequence[Operation],
    known: dict[Value, Value],
) -> None:
    """What is known of ``originals`` is to be known of ``copies``; sizes and arrays are their own.

    Parameters
    ----------
    known : old → new, for values that are known already.
    """
    pairs: list[tuple[Operation, Operation]] = []
    for original, copy in zip(originals, copies, strict=True):
        _pair(original, copy, known, pairs)
    names = {name: sweep.fresh_symbol(name) for name in dict.fromkeys(_bound(copies))}
    if names:
        rename_sizes(copies, names)
        sweep.inner_sizes.update(map(str, names.values()))
    for _, copy in pairs:
        if copy.name == "blank":
            own = str(sweep.fresh_symbol(copy.attributes["name"]))
            copy.attributes = {**copy.attributes, "name": own}
    sweep.active.update(new for old, new in known.items() if old in sweep.active)
    sweep.final.copy(pairs, known)


def _bound(operations: Iterable[Operation]) -> Iterator[str]:
    """The sizes that operations, at any depth, find out by themselves."""
    for op in operations:
        if op.name in BINDING:
            yield from attribute_symbols(op.attributes["size"])
        for region in op.regions:
            yield from _bound(region.ops)


def _pair(
    original: Operation,
    copy: Operation,
    known: dict[Value, Value],
    pairs: list[tuple[Operation, Operation]],
) -> None:
    """Old → new, for all operations and values at any depth."""
    pairs.append((original, copy))
    known.update(zip(original.results, copy.results, strict=True))
    for old, new in zip(original.regions, copy.regions, strict=True):
        known.update(zip(old.params, new.params, strict=True))
        for inner, inner_copy in zip(old.ops, new.ops, strict=True):
            _pair(inner, inner_copy, known, pairs)


def _read_finals(sweep: Sweep, copies: Sequence[Operation]) -> None:
    """Read final elements from the arrays that hold them: then the writes need not be done again.

    Only when the copies are reversed: cotangents flow to the version that was read.
    """
    reads = sweep.final.reads
    for copy in copies:
        for op in (copy, *(each for region in copy.regions for each in region.walk())):
            if op in reads:
                op.operands = (reads[op], *op.operands[1:])


# --- loops that may end early -----------------------------------------------------------------


def _reverse_counted(
    sweep: Sweep, op: Operation, carried: Sequence[int], seeds: Sequence[Value]
) -> None:
    """Append the way back of a ``while``: of a ``for`` with the trips that it made."""
    build, body = sweep.build, op.regions[1]
    wanted = segments_of(op)
    count = sweep.primal.count_trips(op)
    inits = op.operands[leading(op) :]
    with build.open() as region:
        build.param(scalar(i64), "trip")
        env = {p: build.param(p.type, p.hint) for p in body.params[first_carried(op) :]}
        known = dict(env)
        copies = []
        for each in body.ops:
            copies.append(build.copy(each, known))
            known.update(zip(each.results, copies[-1].results, strict=True))
        region.yields = tuple(known.get(v, v) for v in body.yields)
    bounds = [constant(0, i64), count, constant(1, i64)]
    types = [v.type for v in inits]
    again = build.emit(for_, [*bounds, *inits], {"segments": wanted}, [region], types)
    sweep.here_is_primal()
    sweep.primal.note(again, build.region)
    known.update(zip(op.results, again.results, strict=True))
    _like(sweep, body.ops, copies, known)
    for k, seed in zip(carried, seeds, strict=True):
        sweep.add(again.results[k], seed)
    sweep.block([again])
    _read_finals(sweep, [again])
