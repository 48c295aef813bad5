"""Residuals: what the way back of a region reads of the region itself.

The way back is built first, as if all values of the primal could be read there. Those of the region
that it reads in fact, after dead code is gone, are the residuals; each is then *stored* by the
primal (on a tape for a loop, as a result of the branch for an arm) or *computed again* at the
head of the way back, from others that are. Which, is a minimum cut::

    source ─∞→ v_needed            for each residual v
    v_needed ─store(v)→ v_made     cut: v is stored
    v_made ─again(v)→ sink         cut: v is computed again
    v_made ─∞→ u_needed            for each operand u: then u is needed too

What a trip hands to the next one under some carried parameter is the last such thing that the way
back saw: if the parameter is there in each trip, its values of the trip after need neither a tape
nor work. The way back then carries them from trip to trip, beginning with the loop's result.

What is defined at the level of the function can be read from the way back as it is and costs
nothing. A value of a region between is settled when that region is; reading it costs a share of a
store, since it is stored less often. To read an element again of an array that an outer loop writes
is to store the whole array in each trip of that loop, which may be cheaper than to store what the
trips of the inner loop read or make of it; see `tracegrad.transforms.final` for where it need not
be stored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tracegrad import ops
from tracegrad.errors import NotDifferentiable
from tracegrad.ir.core import Operation, Region, Value
from tracegrad.ir.rewrite import first_carried, leading
from tracegrad.ir.sizes import BINDING, operation_symbols, type_symbols
from tracegrad.ir.threads import drop_unread, free_values, substitute
from tracegrad.ir.types import Dim, Size, is_symbol
from tracegrad.ops.registry import constant
from tracegrad.transforms.contributions import place_of
from tracegrad.transforms.extremes import compared_extremes
from tracegrad.transforms.maxflow import INFINITE, Network
from tracegrad.transforms.primal import step_of
from tracegrad.transforms.tapes import Tapes
from tracegrad.transforms.trips import trip_dimension, trip_number

if TYPE_CHECKING:
    from tracegrad.transforms.sweep import Sweep

STORE = 12.0
"""Price of a store and a load of one element, in multiplications (docs/decisions/0004)."""
GROW = 20.0
"""The same for a tape of a ``for`` that grows; the numbers of a ``while`` share one."""
HELD = 1.0
"""Price of keeping a value of an arm at the level of the function."""
READ = 2.0
"""Price of reading an element of an array that is there."""
SHARE = 1 / 64
"""Of a store, when it happens once for all trips of an inner loop."""
EXTENT = 1000.0
"""What an unknown size is taken for."""


def settle_loop(sweep: Sweep, loop: Operation, back: Operation) -> None:
    """Put what ``back``, the way back of a loop, reads of the loop's body at its head."""
    body = loop.regions[-1]
    index = sweep.indices[loop]
    again = _Again(sweep, body)
    tapes = Tapes(sweep, loop, back)
    again.given = {body.params[0]: lambda: index} if loop.name == "for" else {}
    params, inits = body.params[first_carried(loop) :], loop.operands[leading(loop) :]
    inside = frozenset(_all_defined(body))
    for param, after, init in zip(params, body.yields, inits, strict=True):
        step = step_of(param, after, inside)
        if step is not None:
            again.given[param] = _counted(sweep, loop, init, step)
        elif after.op is not None and not after.rank and after.op.name not in BINDING:
            again.next.setdefault(after, param)

    def store(values: Sequence[Value]) -> list[Callable[[], Value]]:
        kept = zip(values, tapes.push(values), strict=True)
        return [_popping(tapes, tape, place, v.hint) for v, (tape, place) in kept]

    price = GROW if tapes.extent is None and loop.name == "for" else STORE
    replacement = _settle(sweep, body, back.regions[0], again, price, store)
    for after, param in again.handed.items():
        result = loop.results[params.index(param)]
        _carry_back(back, result, replacement[after], replacement[param])


def _carry_back(back: Operation, first: Value, param: Value, after: Value) -> None:
    """Let a loop that is the way back of another carry one more value."""
    (region,) = back.regions
    back.operands = (*back.operands, first)
    region.params = (*region.params, param)
    region.yields = (*region.yields, after)
    back.results = (*back.results, Value(param.type, "", back))


def _share(region: Region, back: Region) -> None:
    """Let ``back`` read what it would compute like ``region``: sin(x) for the cosine's sake, say.

    Then it is a residual, which may be stored or computed again.
    """
    known = {
        (op.opdef, op.operands, str(op.attributes)): op.result
        for op in region.ops
        if op.opdef.kind == "elementwise" and op.opdef.cost > READ
    }
    for op in list(back.walk()) if known else ():
        same = known.get((op.opdef, op.operands, str(op.attributes)))
        if same is not None:
            substitute(back, {op.result: same})


def _popping(tapes: Tapes, tape: Value, place: int | None, hint: str) -> Callable[[], Value]:
    return lambda: tapes.pop(tape, place, hint)


def _counted(sweep: Sweep, loop: Operation, init: Value, step: Value | int) -> Callable[[], Value]:
    """A carried value that grows by the same in each trip, from the number of the trip."""

    def make() -> Value:
        trip = sweep.indices[loop]
        if loop.name == "for":
            trip = trip_number(trip, loop.operands[0], loop.operands[2])
        if step == 1:
            return trip + init
        return trip * (step if isinstance(step, Value) else constant(step, init.dtype)) + init

    return make


def _all_defined(region: Region) -> list[Value]:
    found = list(region.params)
    for op in region.ops:
        found += op.results
        for inner in op.regions:
            found += _all_defined(inner)
    return found


def settle_branch(sweep: Sweep, branch: Operation, backs: Sequence[Region]) -> None:
    """The same for the arms of a branch; residuals of one type share a result of the branch."""
    nested = sweep.primal.path(sweep.primal.home(branch))
    price = STORE if any(op.name != "if" for op, _ in nested) else HELD
    free: list[tuple[Value, int]] = []  # results of the branch that an arm has not used

    for number, (arm, back) in enumerate(zip(branch.regions, backs, strict=True)):

        def store(values: Sequence[Value], number: int = number) -> list[Callable[[], Value]]:
            found = []
            for value in values:
                shared = next((r for r, _ in free if number and r.type == value.type), None)
                if shared is not None:
                    free[:] = [(r, k) for r, k in free if r is not shared]
                    sweep.primal.fill(branch, shared, number, value)
                    found.append(shared)
                else:
                    arms = [value if k == number else None for k in range(2)]
                    result = sweep.primal.out_of_branch(branch, arms)
                    if not number:
                        free.append((result, number))
                    found.append(result)
            return [lambda v=v: v for v in found]  # type: ignore[misc]  # binds v now

        _settle(sweep, arm, back, _Again(sweep, arm), price, store)


def _settle(
    sweep: Sweep,
    region: Region,
    back: Region,
    again: _Again,
    price: float,
    store: Callable[[Sequence[Value]], list[Callable[[], Value]]],
) -> dict[Value, Value]:
    """Settle what ``back`` reads of ``region``; value → what it is in ``back``."""
    _share(region, back)
    drop_unread(back)
    forced = _sizes(region, back)
    grown = {op: _last_size(sweep, region, op) for op in forced if op.name == "tape"}
    forced = [op for op in forced if op not in grown]
    again.kept.update(grown.values())
    local = set(sweep.primal.defined_in(region))
    needed = [*grown.values(), *(v for v in free_values(back) if v in local)]
    if not needed and not forced:
        return {}
    again.compared = compared_extremes(region, back, local)
    stored, made = _choose(sweep, region, needed, forced, again, price)
    replacement: dict[Value, Value] = {}
    reads = store(stored)
    with sweep.build.spliced(back, 0):
        for value, read in zip(stored, reads, strict=True):
            replacement[value] = read()
        for value, make in again.given.items():
            if value in made:
                replacement[value] = make()
        for value in again.handed:
            replacement[value] = Value(value.type, value.hint)
        for op, size in grown.items():
            sweep.build.emit(op.opdef, [replacement[size]], op.attributes)
        for value in sweep.primal.defined_in(region):
            if value in made and value not in replacement:
                again.make(value, replacement)
        for op in forced:
            if op.results[0] not in replacement:
                again.clone(op, replacement)
    substitute(back, {old: new for old, new in replacement.items() if old is not new})
    return replacement


def _last_size(sweep: Sweep, region: Region, tape: Operation) -> Value:
    """The length of a tape of the region itself, when it has been written."""
    size = tape.attributes["size"]
    return sweep.primal.at_end(region, lambda: ops.dim(size=size))


def _sizes(region: Region, back: Region) -> list[Operation]:
    """The operations of ``region`` that give a size, opaque, which ``back`` mentions."""
    binding = _binding(region)
    if not binding:
        return []
    used = {s for op in back.ops for s in operation_symbols(op)}
    used.update(s for v in (*back.params, *back.yields) for s in type_symbols(v.type))
    return [op for name, op in binding.items() if name in used]


def _binding(region: Region) -> dict[str, Operation]:
    """The operations of ``region`` itself that give a size, by its symbol."""
    return {
        name: op
        for op in region.ops
        if op.name in BINDING and (name := is_symbol(op.attributes["size"])) is not None
    }


class _Again:
    """What can be computed again in the way back of a region, how, and at what price.

    Attributes
    ----------
    given : value → what appends it, from the number of the trip.
    kept : to be stored in any case.
    compared : not to be read from what was stored.
    next : value that a trip hands to the next one → the parameter that it becomes there.
    handed : those of ``next`` that the way back is to carry.
    """

    def __init__(self, sweep: Sweep, region: Region) -> None:
        self.sweep = sweep
        self.region = region
        self.binding = _binding(region)
        self.whole_arrays = False  # whether one may be stored however seldom it is read
        self.given: dict[Value, Callable[[], Value]] = {}
        self.kept: set[Value] = set()
        self.compared: set[Value] = set()
        self.next: dict[Value, Value] = {}
        self.handed: dict[Value, Value] = {}

    def price(self, value: Value) -> float:
        if value in self.handed:
            return 1.0
        if value in self.given:
            return 0.0 if value.op is None and value is self.region.params[0] else 1.0
        if self.held(value):
            return READ
        return self.own_price(value)

    def held(self, value: Value) -> bool:
        """Whether it is best read from an array that holds it."""
        if value in self.compared or value not in self.sweep.final.writes:
            return False
        return self.own_price(value) > READ

    def own_price(self, value: Value) -> float:
        op = value.op
        if (
            value in self.kept
            or op is None
            or op.regions
            or op.opdef.effects
            or op.name in ("blank", "tape", "ensure")
        ):
            return INFINITE
        return operation_price(op)

    def operands(self, value: Value) -> Sequence[Value]:
        if value in self.handed:
            return (self.handed[value],)
        if value in self.given:
            return ()
        if self.held(value):
            return self.sweep.final.writes[value][1]
        assert value.op is not None
        operands = value.op.operands
        if value.op in self.sweep.final.reads:
            operands = operands[1:]
        return (*operands, *self.sizes(value.op))

    def sizes(self, op: Operation) -> list[Value]:
        """What gives the sizes that ``op`` mentions, as far as the region itself does."""
        if not self.binding:
            return []
        makers = (self.binding.get(name) for name in dict.fromkeys(operation_symbols(op)))
        return [maker.results[0] for maker in makers if maker is not None and maker is not op]

    def store_price(self, value: Value, price: float) -> float:
        """Of a value of this region."""
        if any(s in self.sweep.inner_sizes for s in type_symbols(value.type)):
            return INFINITE  # it has another size in each trip
        if value in self.compared:
            return INFINITE
        if value in self.kept:
            return price
        if value.op is not None and value.op.name in ("const", "dim", "iota"):
            return INFINITE
        if value.op is not None and value.op.name in BINDING:
            return INFINITE  # the size is wanted, not only its number: that may be stored
        return price * extent(value)

    def outer_price(self, value: Value) -> float:
        """Of reading a value from outside of this region."""
        primal = self.sweep.primal
        region = primal.region_of(value)
        if region is None or primal.still_there(region):
            return 0.0
        if value.op is not None and value.op.name in ("const", "dim"):
            return 0.0
        if value.rank and written_in_loop(value):
            trips = self._trips_within(region, extent(value))
            if any(s in self.sweep.inner_sizes for s in type_symbols(value.type)):
                return INFINITE
            if trips is None:
                return STORE * extent(value) if self.whole_arrays else INFINITE
            return STORE * extent(value) / trips
        share = SHARE
        if value.rank:
            share = min(share, 1.0 / (self._trips_within(region, extent(value)) or 1.0))
        return STORE * share * extent(value)

    def _trips_within(self, outer: Region, least: float) -> float | None:
        """How often this region runs in each trip of the loop with the body ``outer``.

        A loop of unknown length counts as one trip, if the loops around it have at least ``least``:
        these run anyway.
        """
        path = self.sweep.primal.path(self.region)
        first = next((k for k, (_, region) in enumerate(path) if region is outer), None)
        if first is None or path[first][0].name == "if":
            return None
        total, unknown = 1.0, False
        for op, _ in path[first + 1 :]:
            count = trip_dimension(op, self.sweep.known) if op.name == "for" else None
            if count is not None:
                total *= max(_size(count), 1.0)
            unknown |= count is None and op.name != "if"
        return None if unknown and total < least else total

    def make(self, value: Value, replacement: dict[Value, Value]) -> None:
        """Append what gives ``value`` again; what the region made before it is there."""
        if not self.held(value):
            assert value.op is not None
            self.clone(value.op, replacement)
            return
        array, indices = self.sweep.final.writes[value]
        for index in indices:
            self.make_index(index, replacement)
        read = ops.index(array, *[replacement.get(v, v) for v in indices])
        read.hint = value.hint
        replacement[value] = read

    def make_index(self, index: Value, replacement: dict[Value, Value]) -> None:
        """The same for an index, which the region may make later than what stands there."""
        op = index.op
        if op is None or index in replacement or self.sweep.primal.home(op) is not self.region:
            return
        for operand in op.operands:
            self.make_index(operand, replacement)
        self.clone(op, replacement)

    def clone(self, op: Operation, replacement: dict[Value, Value]) -> None:
        """Append ``op`` again."""
        build = self.sweep.build
        operands = [replacement.get(v, v) for v in op.operands]
        if op in self.sweep.final.reads:
            operands[0] = self.sweep.final.reads[op]
        types = [r.type for r in op.results]
        with build.at(op.location, "reverse"):
            new = build.emit(op.opdef, operands, op.attributes, (), types)
        for old, result in zip(op.results, new.results, strict=True):
            result.hint = old.hint
            replacement.setdefault(old, result)


def written_in_loop(value: Value) -> bool:
    """Whether an array is a version of one that a loop carries, or comes out of a region."""
    while value.op is not None and value.op.name in ("update", "accumulate", "ensure"):
        value = value.op.operands[0]
    return value.op is None or bool(value.op.regions)


def extent(value: Value) -> float:
    """A number for the elements of ``value``."""
    total = 1.0
    for dim in value.shape:
        total *= _size(dim)
    return total


def _size(dim: Dim) -> float:
    if not isinstance(dim, Size):
        return float(dim)
    return max(EXTENT ** len(monomial) for monomial, _ in dim.terms)


def operation_price(op: Operation) -> float:
    """Of running an operation once, in multiplications."""
    if op.name in ("const", "dim", "iota"):
        return 0.0
    if op.name in ("view", "reshape"):
        return 0.1
    if op.name == "index":
        return READ * extent(op.result)
    work = max(extent(v) for v in (*op.operands, *op.results))
    if op.name in ("dot", "matmul"):
        return extent(op.result) * max(_size(op.operands[0].shape[-1]), 1.0)
    return op.opdef.cost * work


def _choose(
    sweep: Sweep,
    region: Region,
    needed: Sequence[Value],
    forced: Sequence[Operation],
    again: _Again,
    price: float,
) -> tuple[list[Value], set[Value]]:
    """The values to store, in the order of the region, and those to compute again."""
    total, stored, made, asked = _minimum(sweep, region, needed, forced, again, price)
    again.handed = {
        after: param
        for after, param in again.next.items()
        if after in asked and after not in again.compared and (param in made or param in stored)
    }
    if again.handed:
        other = _minimum(sweep, region, needed, forced, again, price)
        if other[0] < total:
            total, stored, made, _ = other
            again.handed = {v: p for v, p in again.handed.items() if v in made}
        else:
            again.handed = {}
    if total == INFINITE:
        # Nothing else will do: an array is stored for each trip of an outer loop.
        again.whole_arrays = True
        total, stored, made, _ = _minimum(sweep, region, needed, forced, again, price)
    if total == INFINITE:
        _refuse(region, needed, again, price)
    return stored, made


def _minimum(
    sweep: Sweep,
    region: Region,
    needed: Sequence[Value],
    forced: Sequence[Operation],
    again: _Again,
    price: float,
) -> tuple[float, list[Value], set[Value], set[Value]]:
    """The minimum cut: its price, what to store, what to compute again, of what it was asked."""
    network = Network()
    source, sink = "source", "sink"
    network.node(source), network.node(sink)
    local = set(sweep.primal.defined_in(region))
    waiting: list[Value] = []
    seen: set[Value] = set()

    def need(value: Value) -> None:
        if value not in seen:
            seen.add(value)
            waiting.append(value)

    for value in needed:
        network.edge(source, ("needed", value), INFINITE)
        need(value)
    for op in forced:
        network.edge(source, ("made", op.results[0]), INFINITE)
        need(op.results[0])
    while waiting:
        value = waiting.pop()
        if value not in local:
            network.edge(("needed", value), sink, again.outer_price(value))
            continue
        network.edge(("needed", value), ("made", value), again.store_price(value, price))
        cost = again.price(value)
        network.edge(("made", value), sink, cost)
        if cost < INFINITE:
            for operand in again.operands(value):
                network.edge(("made", value), ("needed", operand), INFINITE)
                need(operand)
    total, near = network.minimum_cut(source, sink)
    stored, made = [], set()
    for value in sweep.primal.defined_in(region):
        if ("made", value) in near:
            made.add(value)
        elif ("needed", value) in near:
            stored.append(value)
    return total, stored, made, seen


def _refuse(region: Region, needed: Sequence[Value], again: _Again, price: float) -> None:
    for value in needed:
        if again.store_price(value, price) == INFINITE:
            op = value.op
            what = f"the value {value.hint!r}" if value.hint else "a value"
            raise NotDifferentiable(
                f"the gradient needs {what} of type {value.type} from each trip or arm; its "
                "size is only known while it runs, and it can't be computed again",
                way_out="use an array of a size known before the loop, such as np.where(mask, x, "
                "0.0) in place of x[mask]",
                place=place_of(op.location if op is not None else None),
            )
    raise NotDifferentiable(
        "the gradient needs values of a loop or branch that can be neither stored nor "
        "computed again",
        way_out="use arrays of sizes known before the loop",
    )
