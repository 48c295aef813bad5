"""What a loop keeps only for the next loop to add it is added by the loop that computes it.

The cotangent of what a row reads from an array goes to places of another array, by a loop of its
own, from a buffer that the loop before has filled::

    for i: ...; t[i] = ...                   for i:
    for i: y[2 * i + c] += t[i]      →           ...
                                                 y[2 * i + c] += ...

Nothing in between touches ``y``. If the first loop writes ``y`` itself, and the second adds one
place further on, what it adds waits for the next trip in a register::

    for i: ...; y[i] = a; t[i] = b           last = 0
    for i: y[i + 1] += t[i]          →       for i:
                                                 ...
                                                 y[i] = a + last
                                                 last = b
                                             if 0 < n: y[n] += last

The first loop must not read ``y`` where it has written. Each addition is made in the same order
as before, so that results stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tracegrad.ir.core import Function, Operation, Region, Value
from tracegrad.ir.rewrite import first_carried
from tracegrad.ir.types import i64, scalar, symbols
from tracegrad.ops.registry import REGISTRY
from tracegrad.passes.values import dimension, number
from tracegrad.schedule.buffers import ELEMENT, replace
from tracegrad.schedule.memory import MemoryBuilder
from tracegrad.schedule.overwritten import Form

MOST_ADDED = 2
"""How many loops may be added to one: each brings an array that LLVM has to tell from the rest."""

_COUNTS = frozenset(("const", "dim", "add", "subtract", "multiply", "negative"))
"""Operations on integers that may run earlier."""


def add_where_computed(function: Function) -> Function:
    """Rewrite the loops of ``function``, which is in loop form. It is changed: it must be new."""
    if any(op.name == "add_store" for op in function.walk()):
        _Added(function).region(function.body)
    return function


@dataclass(frozen=True)
class _Adding:
    """A loop that adds a buffer to places of an array.

    Attributes
    ----------
    load : of the buffer, at the loop's index.
    add : to the array, at places that go on by a constant.
    """

    loop: Operation
    load: Operation
    add: Operation

    @property
    def index(self) -> Value:
        return self.loop.regions[0].params[0]

    @property
    def target(self) -> Value:
        return self.add.operands[1]

    def ahead(self) -> int | None:
        """How far from its index a loop adds to a vector, if that is a constant."""
        at = self.add.operands[2:]
        return Form.of(at[0]).shift(self.index) if len(at) == 1 else None


class _Added:
    def __init__(self, function: Function) -> None:
        self.function = function
        self.made: dict[Value, Region] = {}
        self.uses: dict[Value, list[Operation]] = {}
        self.others: set[Value] = set()
        self.taken: dict[Operation, int] = {}
        self._look(function.body)

    def _look(self, region: Region) -> None:
        """Find where buffers are made, and who does what with them."""
        for op in region.ops:
            if op.name == "alloc":
                self.made[op.result] = region
            position = ELEMENT.get(op.name)
            for k, value in enumerate(op.operands):
                if value.rank and k == position:
                    self.uses.setdefault(value, []).append(op)
                elif value.rank:
                    self.others.add(value)
            for inner in op.regions:
                self._look(inner)
        if region is not self.function.body:
            self.others.update(v for v in region.yields if v.rank)

    def region(self, region: Region) -> None:
        for op in list(region.ops):
            for inner in op.regions:
                self.region(inner)
            adding = self._adding(op)
            if adding is not None:
                self._join(region, adding)

    def _is_own(self, buffer: Value) -> bool:
        """Whether a buffer goes by one name, and its elements are read and written, that is all."""
        return buffer in self.made and buffer not in self.others

    def _adding(self, op: Operation) -> _Adding | None:
        if not _counts_from_zero(op) or first_carried(op) < len(op.regions[0].params):
            return None
        (body,) = op.regions
        loads = [each for each in body.ops if each.name == "load"]
        adds = [each for each in body.ops if each.name == "add_store"]
        rest = {each.name for each in body.ops} - {"load", "add_store"}
        if len(loads) != 1 or len(adds) != 1 or not rest <= _COUNTS:
            return None
        found = _Adding(op, loads[0], adds[0])
        kept, *at = found.load.operands
        if at != [found.index] or found.add.operands[0] is not found.load.result:
            return None
        if not (self._is_own(kept) and self._is_own(found.target)) or kept is found.target:
            return None
        places = [Form.of(v) for v in found.add.operands[2:]]
        moving = [form for form in places if found.index in form.terms]
        return found if len(moving) == 1 and len(self.uses[kept]) == 2 else None

    def _join(self, region: Region, adding: _Adding) -> None:
        """Let the loop that computes what ``adding`` adds do that, if it can."""
        kept = adding.load.operands[0]
        (store,) = (use for use in self.uses[kept] if use is not adding.load)
        end = region.ops.index(adding.loop)
        start = next((k for k, op in enumerate(region.ops[:end]) if _holds(op, store)), None)
        if start is None:
            return
        loop = region.ops[start]
        between = region.ops[start + 1 : end]
        if not _counts_from_zero(loop) or not _same_count(
            loop.operands[1], adding.loop.operands[1]
        ):
            return
        (body,) = loop.regions
        if store.name != "store" or store.operands[1:] != (kept, body.params[0]):
            return
        if any(op.name in ("for", "while") for op in body.walk()):
            return
        moved = _movable(adding, between)
        if moved is None or self.taken.get(loop, 0) >= MOST_ADDED:
            return
        if any(_mentions(op, adding.target) for op in between):
            return
        if not _mentions(loop, adding.target):
            self._move(region, loop, moved)
            self._add(body, store, adding)
            region.ops.remove(adding.loop)
        elif adding.ahead() == 1 and _is_written_in_step(body, adding.target):
            self._move(region, loop, moved)
            loop = self._delay(region, loop, store, adding)
        else:
            return
        self.taken[loop] = self.taken.get(loop, 0) + 1
        self.made[kept].ops.remove(kept.op)  # type: ignore[arg-type]  # it was made by an alloc

    def _move(self, region: Region, loop: Operation, moved: Sequence[Operation]) -> None:
        for op in moved:
            region.ops.remove(op)
        start = region.ops.index(loop)
        region.ops[start:start] = moved

    def _add(self, body: Region, store: Operation, adding: _Adding) -> None:
        (other,) = adding.loop.regions
        replace(other, adding.index, body.params[0])
        replace(other, adding.load.result, store.operands[0])
        body.ops.remove(store)
        body.ops += [op for op in other.ops if op is not adding.load]

    def _delay(
        self, region: Region, loop: Operation, store: Operation, adding: _Adding
    ) -> Operation:
        """Keep what is added to the next element until the next trip writes it."""
        (body,) = loop.regions
        target, value = adding.target, store.operands[0]
        body.ops.remove(store)
        (write,) = (op for op in body.ops if op.name == "store" and op.operands[1] is target)
        body.ops.remove(write)
        last = Value(scalar(value.dtype), "last")
        # What has a name is a statement where it stands.
        value.hint = value.hint or "ahead"
        build = MemoryBuilder()
        with build.at(adding.add.location, adding.add.part):
            total = build.emit(REGISTRY["add"], [write.operands[0], last]).result
        # What the next trip adds is computed before: so LLVM sees that trips can run at once.
        write.operands = (total, *write.operands[1:])
        body.ops += [*build.region.ops, write]
        body.params = (*body.params, last)
        body.yields = (*body.yields, value)
        build = MemoryBuilder()
        zero = build.const(0.0, value.type)
        types = [*(r.type for r in loop.results), value.type]
        operands = [*loop.operands, zero]
        with build.at(loop.location, loop.part):
            new = build.emit(loop.opdef, operands, loop.attributes, [body], types)
        at = region.ops.index(loop)
        region.ops[at : at + 1] = build.region.ops
        for old, result in zip(loop.results, new.results, strict=False):
            result.hint = old.hint
            replace(region, old, result)
        build = MemoryBuilder()
        with build.at(adding.add.location, adding.add.part):
            count = loop.operands[1]
            some = build.emit(REGISTRY["less"], [build.size(0), count]).result
            with build.open() as arm:
                build.store("add_store", new.results[-1], target, [count])
            build.emit(REGISTRY["if"], [some], {}, [arm, Region((), [], ())], ())
        at = region.ops.index(adding.loop)
        region.ops[at : at + 1] = build.region.ops
        return new


def _counts_from_zero(op: Operation) -> bool:
    return (
        op.name == "for"
        and op.attributes.get("kind", "plain") == "plain"
        and number(op.operands[0]) == 0
        and number(op.operands[2]) == 1
    )


def _same_count(one: Value, other: Value) -> bool:
    size = dimension(one)
    return one is other or (size is not None and size == dimension(other))


def _holds(op: Operation, inner: Operation) -> bool:
    """Whether ``inner`` stands in the body of ``op``, in no branch."""
    return op.name == "for" and inner in op.regions[0].ops


def _mentions(op: Operation, value: Value) -> bool:
    return value in op.operands or any(value in each.operands for each in _inside(op))


def _inside(op: Operation) -> Iterator[Operation]:
    for inner in op.regions:
        yield from inner.walk()


def _movable(adding: _Adding, between: Sequence[Operation]) -> list[Operation] | None:
    """What of ``between`` finds the places of ``adding``, if that can be done before all of it."""
    makers = {r: op for op in between for r in op.results}
    bound = {str(op.attributes["size"]) for op in between if op.name == "bind"}
    needed: set[Operation] = set()
    (body,) = adding.loop.regions
    pending = list(body.ops)
    while pending:
        op = pending.pop()
        if op.name == "dim" and not bound.isdisjoint(symbols(op.attributes["size"])):
            return None
        for value in op.operands:
            maker = makers.get(value)
            if maker is None or maker in needed:
                continue
            if maker.name not in _COUNTS or maker.result.type != scalar(i64):
                return None
            needed.add(maker)
            pending.append(maker)
    return [op for op in between if op in needed]


def _is_written_in_step(body: Region, target: Value) -> bool:
    """Whether each trip reads what is not written yet of ``target`` and then writes one element."""
    index = body.params[0]
    touching = [op for op in body.ops if _mentions(op, target)]
    *reads, write = touching
    if write.name != "store" or write.operands[1:] != (target, index):
        return False
    if write.operands[0] is target:
        return False
    for op in reads:
        if op.name != "load" or op.operands[0] is not target or len(op.operands) != 2:
            return False
        ahead = Form.of(op.operands[1]).shift(index)
        if ahead is None or ahead < 0:
            return False
    return True
