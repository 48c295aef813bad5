"""Which writes may happen in place: liveness, origins, and where a copy is needed.

Array form writes functionally, ``%y1 = update(%y0, %v, %i)``. The write may go to the memory of
``%y0`` if nobody reads that memory as something else afterwards. `decide` finds where this holds
and lists a `Copy` for each place where it does not.

1. *Order.* A read of an old version that follows the update moves above it, and so does what is
   computed from a part of the old version that was read before.
2. *Liveness*, backward. What is live after the body of a loop is what is live after the loop and
   what its regions capture (the next trip reads it).
3. *Origins*, forward. The origin of a value is the set of memories (`Memory`) it may occupy. What
   a loop carries has a memory of its own: its first value must belong to nobody else, and what
   the body yields must be, in any order, memories of this loop. So a swap costs nothing.

Arrays full of one number are made anew wherever one is to be written: they have no origin. See
docs/decisions/0006-regions-in-place.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from tracegrad.ir.core import Function, Operation, Region, Value
from tracegrad.ir.rewrite import first_carried, leading
from tracegrad.ir.sizes import operation_symbols
from tracegrad.schedule.graph import captures

WRITES = frozenset(("update", "accumulate", "ensure"))
"""Operations whose result takes the memory of their first operand."""

SAME = frozenset(("reshape", "stop_gradient"))
"""Operations whose result may be the memory of their operand."""


class Memory:
    """One array's worth of memory; ``home`` is the innermost loop body that makes it."""

    __slots__ = ("home",)

    def __init__(self, home: Region | None) -> None:
        self.home = home


EXTERNAL = Memory(None)
"""Everything that belongs to the caller."""

Origin: TypeAlias = frozenset[Memory]


@dataclass(frozen=True)
class Copy:
    """A copy that a write, a loop or a result needs.

    Attributes
    ----------
    value : what is copied.
    reason : why, as a clause.
    depth : how many loops stand around it.
    """

    value: Value
    reason: str
    depth: int

    def __str__(self) -> str:
        where = f" in a loop of depth {self.depth}" if self.depth else ""
        return f"copy of {self.value.hint or 'an array'}{where}: {self.reason}"


@dataclass
class Decisions:
    """What `decide` found.

    Attributes
    ----------
    order : the operations of each region in the order in which they are to run.
    copies : (operation, operand position) or (region, yield position) → the copy needed there.
    origins : the memories that each array may occupy.
    """

    order: dict[Region, list[Operation]] = field(default_factory=dict)
    copies: dict[tuple[Operation | Region, int], Copy] = field(default_factory=dict)
    origins: dict[Value, Origin] = field(default_factory=dict)


def decide(function: Function) -> Decisions:
    """Where the writes of ``function``, which is in array form, need a copy first."""
    found = Decisions()
    _order(function.body, found.order)
    live = _Liveness(found.order)
    live.region(function.body, set())
    _Origins(function, found, live.after).run()
    return found


def fill_value(value: Value) -> Value | None:
    """The number that an array is full of, if it is made by showing a constant everywhere."""
    if value.op is None or value.op.name != "view" or not value.rank:
        return None
    (number,) = value.op.operands
    made = number.op
    return number if not number.rank and made is not None and made.name == "const" else None


# --- order ----------------------------------------------------------------------------------


def _order(region: Region, found: dict[Region, list[Operation]]) -> None:
    """Readers of an old version go above the write that follows it, where they can."""
    ops = list(region.ops)
    readers: dict[Value, list[Operation]] = {}
    for op in ops:
        if movable(op):
            for operand in op.operands:
                readers.setdefault(operand, []).append(op)
    position = {op: k for k, op in enumerate(ops)}
    for write in [op for op in ops if op.name in WRITES]:
        old, at = write.operands[0], position[write]
        seen = [old, *_parts(ops[:at], old)] if write.operands[1].rank else [old]
        if any(position[op] > at for value in seen for op in readers.get(value, ())):
            ops = _readers_first(ops, at)
            position = {op: k for k, op in enumerate(ops)}
    found[region] = ops
    for op in ops:
        for inner in op.regions:
            _order(inner, found)


def _readers_first(ops: list[Operation], start: int) -> list[Operation]:
    """``ops`` with readers of the old version above the write at ``start``."""
    write = ops[start]
    old = write.operands[0]
    later = ops[start + 1 :]
    # What a ``raise`` keeps from being read must not be read before it.
    end = next((k for k, op in enumerate(later) if op.has_effects), len(later))
    position = {op: n for n, op in enumerate(later)}
    binders = {str(op.attributes["size"]): op for op in reversed(later) if op.name == "bind"}
    moved: set[Operation] = set()
    parts = _parts(ops[:start], old) if write.operands[1].rank else set()
    for op in later[:end]:
        computes = not parts.isdisjoint(op.operands)
        if not (old in op.operands or computes) or not movable(op):
            continue
        needed = {op}
        pending = [op]
        while pending:
            reader = pending.pop()
            names = operation_symbols(reader) if binders else ()
            makers = [v.op for v in reader.operands] + [binders.get(name) for name in names]
            for maker in makers:
                if maker is write or (maker in position and not movable(maker)):
                    needed = set()
                    pending = []
                    break
                if maker in position and maker not in needed:
                    needed.add(maker)
                    pending.append(maker)
        moved |= needed
        if computes and needed:
            parts.update(op.results)
    if not moved:
        return ops
    rest = [op for op in later if op not in moved]
    return [*ops[:start], *(op for op in later if op in moved), write, *rest]


def _parts(ops: Sequence[Operation], array: Value) -> set[Value]:
    """Parts of ``array`` that are read, and what is made of them element by element.

    Who computes with one first needs no copy of it.
    """
    found: set[Value] = set()
    for op in ops:
        part = op.name in ("view", "index") and op.operands[0] is array
        if part or (op.opdef.kind == "elementwise" and not found.isdisjoint(op.operands)):
            found.update(r for r in op.results if r.rank)
    return found


def movable(op: Operation) -> bool:
    """Whether an operation may run earlier, as soon as its operands are there."""
    return not op.regions and not op.opdef.effects and op.name not in WRITES


# --- liveness -------------------------------------------------------------------------------


def arrays(values: Iterable[Value]) -> set[Value]:
    """Those of rank > 0."""
    return {v for v in values if v.rank}


class _Liveness:
    def __init__(self, order: dict[Region, list[Operation]]) -> None:
        self.order = order
        self.after: dict[Operation, frozenset[Value]] = {}

    def region(self, region: Region, live: set[Value]) -> None:
        """``live``: the arrays that are read after the region."""
        live = live | arrays(region.yields)
        for op in reversed(self.order[region]):
            self.after[op] = frozenset(live)
            live -= set(op.results)
            inside = arrays(captures(op)) if op.regions else set()
            if op.name == "if":
                for arm in op.regions:
                    self.region(arm, set(live))
            elif op.regions:
                for inner in op.regions:
                    again = live | inside
                    if op.name == "while" and inner is op.regions[0]:
                        again |= arrays(inner.params) | arrays(op.regions[1].params)
                    self.region(inner, again)
            live |= arrays(op.operands) | inside


# --- origins --------------------------------------------------------------------------------


class _Origins:
    def __init__(
        self, function: Function, found: Decisions, after: dict[Operation, frozenset[Value]]
    ) -> None:
        self.function = function
        self.order = found.order
        self.copies = found.copies
        self.origins = found.origins
        self.after = after
        self.home = function.body
        self.depth = 0

    def run(self) -> None:
        for param in arrays(self.function.params):
            self.origins[param] = frozenset({EXTERNAL})
        self.region(self.function.body)
        seen: set[Memory] = set()
        for position, value in enumerate(self.function.results):
            origin = self.of(value)
            if EXTERNAL in origin:
                self.copy(self.function.body, position, value, "the result is an argument")
            elif origin & seen:
                self.copy(self.function.body, position, value, "two results are one array")
            seen |= origin

    def of(self, value: Value) -> Origin:
        return self.origins.get(value, frozenset())

    def own(self) -> Origin:
        return frozenset({Memory(self.home)})

    def copy(self, place: Operation | Region, position: int, value: Value, reason: str) -> None:
        self.copies[place, position] = Copy(value, reason, self.depth)

    def region(self, region: Region) -> None:
        for op in self.order[region]:
            if op.name in WRITES:
                self.write(op)
            elif op.name == "if":
                self.branch(op)
            elif op.regions:
                self.loop(op)
            else:
                for result in op.results:
                    if not result.rank or fill_value(result) is not None:
                        continue
                    same = op.name in SAME or (op.name == "view" and _is_whole(op))
                    origin = self.of(op.operands[0]) if same else frozenset()
                    self.origins[result] = origin or self.own()

    # --- writes

    def write(self, op: Operation) -> None:
        base, *others = op.operands
        origin = self.of(base)
        reason = ""
        if EXTERNAL in origin:
            reason = "an argument is written"
        elif (origin and base in self.after[op]) or self.shared(origin, self.after[op]):
            reason = "the old version is read afterwards"
        elif self.shared(origin, others):
            reason = "it is written with its own elements"
        if reason:
            self.copy(op, 0, base, reason)
        self.origins[op.result] = self.own() if reason or not origin else origin

    def shared(self, origin: Origin, others: Iterable[Value]) -> bool:
        return any(not origin.isdisjoint(self.of(v)) for v in others)

    # --- loops

    def loop(self, op: Operation) -> None:
        body = op.regions[-1]
        first, lead = first_carried(op), leading(op)
        inits = op.operands[lead:]
        live = (self.after[op] - set(op.results)) | arrays(captures(op))
        same = {
            k
            for k, (init, y) in enumerate(zip(inits, body.yields, strict=True))
            if y is body.params[first + k] and init.rank and fill_value(init) is None
        }
        live |= {inits[k] for k in same}
        seen: set[Memory] = set()
        for k, init in enumerate(inits):
            origin = self.of(init)
            if not origin or k in same:
                continue
            reason = ""
            if EXTERNAL in origin:
                reason = "a loop carries an argument"
            elif init in live or self.shared(origin, live):
                reason = "a loop carries what is read in it or after it"
            elif origin & seen:
                reason = "a loop carries one array twice"
            if reason:
                self.copy(op, lead + k, init, reason)
            seen |= origin
        outer = self.home, self.depth
        self.home, self.depth = body, self.depth + 1
        for region in op.regions:
            for k, param in enumerate(region.params[first:]):
                if not param.rank:
                    continue
                self.origins[param] = self.of(inits[k]) if k in same else self.own()
            self.region(region)
        self.yields(op, body, same)
        self.home, self.depth = outer
        for k, result in enumerate(op.results):
            if result.rank:
                self.origins[result] = self.of(inits[k]) if k in same else self.own()

    def yields(self, op: Operation, body: Region, same: set[int]) -> None:
        """What the body yields must be memories of this loop, each once."""
        seen: set[Memory] = set()
        for k, value in enumerate(body.yields):
            if not value.rank or k in same:
                continue
            origin = self.of(value)
            if any(memory.home is not body for memory in origin):
                self.copy(body, k, value, "a loop goes on with an array from outside it")
            elif origin & seen:
                self.copy(body, k, value, "a loop goes on with one array under two names")
            seen |= origin

    # --- branches

    def branch(self, op: Operation) -> None:
        """A result that nobody else holds has a memory of its own; else it may be either arm's."""
        for arm in op.regions:
            self.region(arm)
        live = self.after[op] - set(op.results)
        for k, result in enumerate(op.results):
            if not result.rank:
                continue
            alone = True
            both: Origin = frozenset()
            for arm in op.regions:
                origin = self.of(arm.yields[k])
                others = (*arm.yields[:k], *arm.yields[k + 1 :])
                alone &= EXTERNAL not in origin and not self.shared(origin, [*others, *live])
                both |= origin or self.own()
            self.origins[result] = self.own() if alone else both


def _is_whole(op: Operation) -> bool:
    """Whether a view shows its operand as it is."""
    (x,) = op.operands
    entries = op.attributes["map"]
    return op.result.shape == x.shape and all(e == (d, 0, 1) for d, e in enumerate(entries))
