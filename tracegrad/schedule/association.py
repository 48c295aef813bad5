"""Sums and products of a recurrence: what is known early first, what the trip waits for last.

A carried number is often a sum of terms that are known at different times::

    y = a[i] + y * b[i] - f(y)

Whatever order they are written in, LLVM puts terms into an order of its own, in which a term that
is known early may come last; the trip then waits for one addition after the other. Here the two
terms that are known first are added first, and so on, and `in_advance` keeps it so::

    y = in_advance(a[i] + y * b[i]) - f(y)

So it is with the factors of products. Only what the next trip waits for is changed, and only
where kernels may reassociate.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tracegrad.ir.core import Function, Operation, Region, Value
from tracegrad.ir.recurrences import Recurrences
from tracegrad.ir.rewrite import first_carried
from tracegrad.ir.threads import free_values
from tracegrad.ops.registry import REGISTRY
from tracegrad.schedule.buffers import replace
from tracegrad.schedule.memory import MemoryBuilder

ADDITION = MULTIPLICATION = 4.0
"""Cycles of an addition (or a fused multiply-add) and of a multiplication."""

SLOW = 13.0
"""Cycles of what takes longer: divisions, functions."""

LOOP = 50.0
"""Cycles of an inner loop: so late that the number does not matter."""

EARLY = -1e9
"""When everything is known that does not depend on the trip before."""

Users = Mapping[Value, Sequence[Operation | Region]]


def early_first(function: Function) -> Function:
    """Reorder sums and products that recurrences wait for. The function is changed."""
    for loop in function.walk():
        if loop.name in ("for", "while") and any(not v.rank for v in loop.results):
            _Loop(loop).rewrite()
    return function


@dataclass(frozen=True)
class _Term:
    """A summand with its sign, or a factor; and when it is known."""

    value: Value
    known: float
    negative: bool = False
    made: bool = False


class _Loop:
    """One loop; inner loops are looked at by themselves."""

    def __init__(self, loop: Operation) -> None:
        self.body = loop.regions[-1]
        self.known = Recurrences(loop)
        self.users = self.body.users()
        self.carried = self.body.params[first_carried(loop) :]
        #: Bits of the recurrences that LLVM does not compute several trips at once of.
        self.waiting = 0
        for k, (param, end) in enumerate(zip(self.carried, self.body.yields, strict=True)):
            sums = self._is_reduction(param, end) or self._is_sum_of_some_trips(param, end)
            if self.known.meets[k] and not sums:
                self.waiting |= 1 << k

    def rewrite(self) -> None:
        if not self.waiting:
            return
        self.times = self._times()
        self.moving = set(self.body.params)
        for op in self.known.operations:
            read = [*op.operands, *(v for region in op.regions for v in free_values(region))]
            if not self.moving.isdisjoint(read):
                self.moving.update(op.results)
        for region in _arms(self.body):
            for op in list(region.ops):
                known = op.name in ("add", "subtract", "multiply") and op in region.ops
                if known and self._is_root(region, op):
                    self._reorder(region, op)

    def _is_reduction(self, param: Value, end: Value) -> bool:
        """Whether a number is only added to, or only multiplied."""
        value, product = param, False
        while value is not end:
            readers = self.users[value]
            if len(readers) != 1 or not isinstance(readers[0], Operation):
                return False
            op = readers[0]
            if op not in self.body.ops or op.name not in ("add", "subtract", "multiply"):
                return False
            if value is not param and product != (op.name == "multiply"):
                return False
            if op.name == "subtract" and op.operands[0] is not value:
                return False
            value, product = op.result, op.name == "multiply"
        return len(self.users[value]) == 1

    def _is_sum_of_some_trips(self, param: Value, end: Value) -> bool:
        """Whether a number is only added to, in branches, and read for nothing else.

        Where a trip takes another branch LLVM adds a zero, and computes several trips at once. It
        would not with `in_advance` in the branch.
        """
        readers: dict[Value, list[Operation | Region]] = {end: [self.body]}
        waiting = [end]
        while waiting:
            value = waiting.pop()
            op = value.op
            if value is param:
                continue
            if op is None:
                return False
            before: list[tuple[Value, Operation | Region]] = []
            if op.name == "if":
                k = op.results.index(value)
                before = [(arm.yields[k], arm) for arm in op.regions]
            elif op.name == "add" and op.operands[1] is param:
                before = [(param, op)]
            elif op.name in ("add", "subtract"):
                before = [(op.operands[0], op)]
            else:
                return False
            for each, reader in before:
                if each not in readers:
                    waiting.append(each)
                readers.setdefault(each, []).append(reader)
        return all(_same(self.users[value], found) for value, found in readers.items())

    def _waits(self, op: Operation) -> bool:
        """Whether the next trip waits for ``op``."""
        known = self.known
        sources, targets = (known.sources.get(op.result, 0), known.targets.get(op.result, 0))
        return any(
            self.waiting >> k & 1 and targets >> k & 1 and sources & meets & self.waiting
            for k, meets in enumerate(known.meets)
        )

    # --- when values are known

    def _times(self) -> dict[Value, float]:
        """When values are known, in cycles of a trip that is one of many.

        What is carried is known when the trip before has computed it, so it takes two rounds.
        """
        start = {v: 0.0 for k, v in enumerate(self.carried) if self.known.meets[k]}
        times = dict(start)
        for _ in range(3):
            times = dict(start)
            for op in self.known.operations:
                self._time(op, times)
            ends = {
                v: times.get(end, EARLY)
                for v, end in zip(self.carried, self.body.yields, strict=True)
                if v in start
            }
            last = max(ends.values())
            start = {v: max(end - last, -LOOP) for v, end in ends.items()}
        return times

    def _time(self, op: Operation, times: dict[Value, float]) -> None:
        if op.name == "if":
            for k, result in enumerate(op.results):
                read = [op.operands[0], *(arm.yields[k] for arm in op.regions)]
                times[result] = max(times.get(v, EARLY) for v in read) + 1.0
            return
        read = list(op.operands)
        for region in op.regions:
            read += [v for inner in region.walk() for v in inner.operands]
            read += region.yields
        known = max((times.get(v, EARLY) for v in read), default=EARLY)
        taken = LOOP if op.regions else _latency(op)
        times.update((r, known + taken if known > EARLY else EARLY) for r in op.results)

    # --- trees

    def _is_root(self, region: Region, op: Operation) -> bool:
        """Whether ``op`` is a sum (or product) that no other one takes in."""
        if not op.result.dtype.is_float or not self._waits(op):
            return False
        users = self.users[op.result]
        return not (len(users) == 1 and self._takes_in(region, users[0], op))

    def _takes_in(self, region: Region, user: Operation | Region, op: Operation) -> bool:
        return (
            isinstance(user, Operation)
            and user in region.ops
            and user.name in ("add", "subtract", "multiply")
            and (user.name == "multiply") == (op.name == "multiply")
            and user.result.dtype is op.result.dtype
            and self._waits(user)
        )

    def _terms(self, region: Region, root: Operation) -> tuple[list[_Term], list[Operation]]:
        """The terms of the tree, and the operations that put them together."""
        found: list[_Term] = []
        inside = [root]

        def follow(op: Operation, negative: bool) -> None:
            for place, value in enumerate(op.operands):
                minus = negative != (op.name == "subtract" and place == 1)
                inner = value.op
                if (
                    inner is not None
                    and inner in region.ops
                    and inner.name in ("add", "subtract", "multiply")
                    and (inner.name == "multiply") == (root.name == "multiply")
                    and inner.result.dtype is root.result.dtype
                    and len(self.users[value]) == 1
                ):
                    inside.append(inner)
                    follow(inner, minus)
                else:
                    found.append(_Term(value, self._when(region, root, value), minus))

        follow(root, False)
        return found, inside

    def _when(self, region: Region, root: Operation, value: Value) -> float:
        """When a term is known; a product is not waited for where it is added at once."""
        op = value.op
        if (
            root.name != "multiply"
            and op is not None
            and op in region.ops
            and op.name in ("multiply", "square")
            and len(self.users[value]) == 1
        ):
            return max(self.times.get(v, EARLY) for v in op.operands)
        return self.times.get(value, EARLY)

    def _reorder(self, region: Region, root: Operation) -> None:
        terms, old = self._terms(region, root)
        terms.sort(key=lambda term: term.known)
        if len(terms) < 3 or terms[0].known == terms[-1].known:
            return
        build = MemoryBuilder()
        while len(terms) > 1:
            one, other, *rest = terms
            with build.at(root.location, root.part):
                if other.known > EARLY:
                    one = self._fenced(build, one)
                both = _joined(build, root, one, other)
            if one.value in self.moving or other.value in self.moving:
                self.moving.add(both.value)
            terms = sorted([both, *rest], key=lambda term: term.known)
        (total,) = terms
        value = total.value
        if total.negative:
            value = build.emit(REGISTRY["negative"], [value]).result
        value.hint = root.result.hint
        for masks in (self.known.sources, self.known.targets):
            masks[value] = masks.get(root.result, 0)
        at = region.ops.index(root)
        region.ops[at:at] = build.region.ops
        region.ops[:] = [op for op in region.ops if op not in old]
        self.users[value] = self.users[root.result]
        self.times[value] = self.times[root.result]
        replace(self.body, root.result, value)

    def _fenced(self, build: MemoryBuilder, term: _Term) -> _Term:
        """A term; if it was put together, as a number that stays so."""
        # LLVM puts together by itself what is the same in all trips.
        if not term.made or term.value not in self.moving:
            return term
        fenced = build.emit(REGISTRY["in_advance"], [term.value]).result
        self.moving.add(fenced)
        return _Term(fenced, term.known, term.negative)


def _same(some: Sequence[object], others: Sequence[object]) -> bool:
    return len(some) == len(others) and all(each in others for each in some)


def _joined(build: MemoryBuilder, root: Operation, one: _Term, other: _Term) -> _Term:
    known = max(one.known, other.known)
    if root.name == "multiply":
        value = build.emit(REGISTRY["multiply"], [one.value, other.value]).result
        return _Term(value, known + MULTIPLICATION if known > EARLY else EARLY, made=True)
    known = known + ADDITION if known > EARLY else EARLY
    if one.negative == other.negative:
        value = build.emit(REGISTRY["add"], [one.value, other.value]).result
        return _Term(value, known, one.negative, made=True)
    first, second = (other, one) if one.negative else (one, other)
    value = build.emit(REGISTRY["subtract"], [first.value, second.value]).result
    return _Term(value, known, made=True)


def _latency(op: Operation) -> float:
    if op.opdef.kind != "elementwise":
        return 0.0
    if op.opdef.heavy or op.opdef.cost >= 4.0:
        return max(SLOW, 3.5 * op.opdef.cost if op.opdef.heavy else 0.0)
    return MULTIPLICATION


def _arms(region: Region) -> Iterator[Region]:
    """A region and the branches in it."""
    yield region
    for op in region.ops:
        if op.name == "if":
            for arm in op.regions:
                yield from _arms(arm)
