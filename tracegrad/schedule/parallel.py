"""Loops in chunks on several threads: independent loops become parts of their own.

The last decision of the scheduler, taken when ``parallel=True``: a loop whose trips are independent
(`independent`), and that is worth it, becomes a function of the range of trips it does::

    for i in range(n):                        total = parallel(0, n, x, x_bar) {part="loop_1", ...}
        x_bar[i] = 2.0 * x[i]          →
        total += x[i] * x[i]                  loop_1(start, stop, x, x_bar):
                                                  part = 0.0
                                                  for i in range(start, stop): ...
                                                  return part

It is done before elements are kept in registers, loops are split into lanes, and so on; those
passes then see a part as a function like any other. What a part captures are its parameters;
numbers that are known are written in it again, buffers that outlive no trip it makes for itself.

Loops are looked at from the outside in. One that stands in another loop, which can't be split,
starts threads again and again: it is taken only if it is long at the expected sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import count

import numpy as np

from tracegrad.ir.bounds import Bounds, has_index
from tracegrad.ir.builder import Builder
from tracegrad.ir.core import Function, Guard, Operation, Region, Value
from tracegrad.ir.sizes import operation_symbols
from tracegrad.ir.threads import free_values
from tracegrad.ir.types import Dim, i64, is_symbol, scalar, symbol, symbols
from tracegrad.ops.loopform import GRAIN
from tracegrad.ops.registry import REGISTRY
from tracegrad.schedule.buffers import replace as read_instead
from tracegrad.schedule.independent import Around, Independent, Refused, examine
from tracegrad.schedule.lower import start_value
from tracegrad.schedule.memory import MemoryBuilder
from tracegrad.schedule.values import signs_of
from tracegrad.schedule.work import Work, simple

#: A loop with less of a function's work than one part in so many is left alone. Most of all beside
#: matrix products: BLAS has threads of its own, which stay awake for a while after each.
SMALL = 16

#: How many chunks' worth of work a loop within a loop must have.
LONG = 4

#: Operations that are done again in a part rather than captured.
_KNOWN = frozenset(
    (
        *("const", "dim", "add", "subtract", "multiply", "floor_divide", "alias"),
        *("less", "less_equal", "greater", "greater_equal", "equal", "not_equal"),
    )
)


@dataclass(frozen=True)
class Verdict:
    """What was decided of one loop, for `explain`."""

    depth: int
    index: str
    place: str
    text: str


@dataclass
class _Chosen:
    loop: Operation
    how: Independent
    work: Dim
    guards: tuple[Guard, ...]
    natural: frozenset[Value]
    """Integers from outside that are never negative."""
    checks: tuple[Operation, ...]
    """The ``if`` operations before it that may raise."""


def in_chunks(function: Function, finish: Callable[[Function], Function]) -> Function:
    """``function``, in loop form, with its independent loops as parts, all of it ``finish``-ed.

    The function is changed: it must be new.
    """
    chosen = _Search(function).run()
    # A user's function may be called so.
    names = (name for n in count(1) if (name := f"loop_{n}") != function.name)
    outlines = [_Outline(function, each, next(names)) for each in chosen]
    parts = [outline.run() for outline in outlines]
    main = finish(function)
    parts = [outline.checked(finish(p)) for outline, p in zip(outlines, parts, strict=True)]
    return replace(main, parts={part.name: part for part in parts})


def verdicts(function: Function) -> list[Verdict]:
    """What `in_chunks` would decide of the loops of ``function``, in their order."""
    search = _Search(function)
    search.run()
    return search.verdicts


class _Search:
    """Finds the loops that are split."""

    def __init__(self, function: Function) -> None:
        self.function = function
        self.bounds = Bounds(function)
        self.work = Work(self.bounds, function.size_sources(), function.hints)
        self.users = function.body.users()
        self.found: list[_Chosen] = []
        self.verdicts: list[Verdict] = []
        #: The regions around, with whether each is a loop's body.
        self.open: list[tuple[Region, bool]] = []
        self.home: dict[Value, Region] = {}
        self.checks: list[Operation] = []
        self.total = 0

    def run(self) -> list[_Chosen]:
        with signs_of(self.function):
            self._find_homes(self.function.body)
            self.total = self.work.expected(self.work.of_region(self.function.body), 0)
            self._region(self.function.body, False)
        return self.found

    def _find_homes(self, region: Region) -> None:
        self.home.update(dict.fromkeys(region.params, region))
        for op in region.ops:
            self.home.update(dict.fromkeys(op.results, region))
            for inner in op.regions:
                self._find_homes(inner)

    def _region(self, region: Region, is_loop: bool) -> None:
        self.open.append((region, is_loop))
        depth, checks = len(self.open) - 1, len(self.checks)
        for op in region.ops:
            if op.name == "for" and self._takes(op):
                continue
            for inner in op.regions:
                with self.bounds.within(op, inner):
                    self._region(inner, op.name in ("for", "while"))
            self.bounds.learn(op, depth)
            if op.name == "if" and any(inner.name == "raise" for inner in op.regions[0].walk()):
                self.checks.append(op)
        self.open.pop()
        del self.checks[checks:]
        self.bounds.forget(depth)

    def _takes(self, loop: Operation) -> bool:
        index = loop.regions[0].params[0].hint or "i"
        place = next((str(op.location) for op in loop.regions[0].walk() if op.location), "")
        depth = sum(is_loop for _, is_loop in self.open)
        try:
            work = self._worth(loop, depth)
            how = self._examined(loop)
        except Refused as refused:
            self.verdicts.append(Verdict(depth, index, place, f"serial: {refused}"))
            return False
        with self.bounds.within(loop, loop.regions[0]):
            guards = tuple(self._facts())
            natural = frozenset(filter(self._is_natural, free_values(loop.regions[0])))
        self.found.append(_Chosen(loop, how, work, guards, natural, tuple(self.checks)))
        self.verdicts.append(Verdict(depth, index, place, f"in chunks{_described(how)}"))
        return True

    def _worth(self, loop: Operation, depth: int) -> Dim:
        work = self.work.of(loop)
        expected = self.work.expected(work, 0)
        if depth and expected < LONG * GRAIN:
            raise Refused("too little work in a loop that is run again and again")
        if expected * SMALL < self.total:
            raise Refused("a small part of the work")
        if isinstance(work, int) and work < 2 * GRAIN:
            raise Refused("too little work")
        return simple(work)

    def _examined(self, loop: Operation) -> Independent:
        inside = set(loop.regions[0].walk()) | {loop}
        regions = {id(loop.regions[0])} | {id(r) for op in inside for r in op.regions}

        def around(array: Value) -> Around:
            home = self.home[array]
            level = next((n for n, (region, _) in enumerate(self.open) if region is home), 0)
            loops = sum(is_loop for _, is_loop in self.open[level + 1 :])
            alone = all(
                id(user) in regions if isinstance(user, Region) else user in inside
                for user in self.users.get(array, ())
            )
            return Around(alone, loops)

        with self.bounds.within(loop, loop.regions[0]):
            return examine(loop, self.bounds, around)

    def _is_natural(self, value: Value) -> bool:
        known = self.bounds.polynomial(value)
        return known is not None and self.bounds.never_negative(known)

    def _facts(self) -> Iterator[Guard]:
        """What is known of sizes here, where the loop has a trip."""
        for fact in self.bounds.known():
            if not isinstance(fact, int) and not has_index(fact):
                yield Guard(fact, ">=", 0)


def _described(how: Independent) -> str:
    named = [v.hint or "an array" for v in how.own]
    return f", each with its own {', '.join(named)}" if named else ""


# --- parts --------------------------------------------------------------------------------------


@dataclass
class _Outline:
    """Takes a loop out of a function: makes the part that runs its trips.

    Attributes
    ----------
    checks : what the part says once more that was checked before it, for the passes to know.
    """

    function: Function
    chosen: _Chosen
    name: str
    env: dict[Value, Value] = field(default_factory=dict)
    captured: list[Value] = field(default_factory=list)
    checks: set[Operation] = field(default_factory=set)

    def checked(self, part: Function) -> Function:
        """``part`` without the checks that were made before."""
        part.body.ops = [op for op in part.body.ops if op not in self.checks]
        return part

    def run(self) -> Function:
        loop, how = self.chosen.loop, self.chosen.how
        taken = {*self.function.hints, *self.function.size_sources()}
        taken |= {name for op in self.function.walk() for name in operation_symbols(op)}
        start, stop = (_free(name, taken) for name in ("start", "stop"))
        build = MemoryBuilder()
        for end in (start, stop):
            build.param(scalar(i64), end)
        again: list[Operation] = []
        # The first values of sums are not needed: these are added to the chunks' after.
        for value in dict.fromkeys([*free_values(loop.regions[0]), *how.local]):
            self._capture(build, value, again)
        sizes = self._sizes(loop, again)
        size_params = {start: 0, stop: 1}
        natural = [start, stop]
        for k, value in enumerate(self.captured):
            if not value.rank and value.dtype is i64:
                name = _free(value.hint or "number", taken | set(size_params))
                size_params[name] = 2 + k
                natural += [name] if value in self.chosen.natural else []
        for size in sizes:
            size_params[size] = len(build.region.params)
            build.param(scalar(i64), size)
        for op in again:
            self.env.update(zip(op.results, build.copy(op, self.env).results, strict=True))
        sources = {d for p in build.region.params for d in map(is_symbol, p.shape) if d}
        known = sources | set(size_params)
        for check in self.chosen.checks:
            self._check(build, check, known)
        results = self._loop(build, start, stop)
        natural += [name for name in sizes if name not in self.function.size_params]
        guards = [
            *(Guard(symbol(name), ">=", 0) for name in natural),
            *self._limits(start, stop),
            *self.function.guards,
            *self.chosen.guards,
        ]
        part = build.function(
            self.name,
            results,
            size_params=size_params,
            guards=[g for g in guards if known.issuperset((*symbols(g.left), *symbols(g.right)))],
            hints=self.function.hints,
            origin=self.function.origin,
        )
        self._replace(sizes)
        return part

    def _capture(self, build: Builder, value: Value, again: list[Operation]) -> None:
        """Make ``value`` known in the part: as a parameter, or by what makes it."""
        op = value.op
        if value in self.env or (op is not None and op in again):
            return
        if op is not None and (value in self.chosen.how.local or self._is_known(value)):
            for operand in op.operands:
                self._capture(build, operand, again)
            again.append(op)
            return
        self.captured.append(value)
        self.env[value] = build.param(value.type, value.hint)

    def _check(self, build: Builder, check: Operation, known: set[str]) -> None:
        """Say what was checked before the loop, if that can be said of sizes alone."""
        free = dict.fromkeys((*check.operands, *(v for r in check.regions for v in free_values(r))))
        if not all(v in self.env or self._is_known(v) for v in free):
            return
        captured = len(self.captured)
        again: list[Operation] = []
        for value in free:
            self._capture(build, value, again)
        assert len(self.captured) == captured
        if not all(known.issuperset(operation_symbols(op)) for op in (*again, check)):
            return
        for op in again:
            self.env.update(zip(op.results, build.copy(op, self.env).results, strict=True))
        self.checks.add(build.copy(check, self.env))

    def _is_known(self, value: Value) -> bool:
        """Whether a part can compute a value from sizes and numbers."""
        op = value.op
        if op is None or op.name not in _KNOWN:
            return False
        if op.name == "alias":
            return True
        if op.name not in ("const", "dim") and any(v.dtype is not i64 for v in op.operands):
            return False
        return all(self._is_known(v) for v in op.operands)

    def _sizes(self, loop: Operation, again: list[Operation]) -> list[str]:
        """The symbols of the loop that no captured array gives."""
        bare = {name for v in self.captured for name in map(is_symbol, v.shape) if name}
        bare |= {
            str(op.attributes["size"])
            for op in (*again, loop, *loop.regions[0].walk())
            if op.name in ("tape", "bind")
        }
        found: dict[str, None] = {}
        for op in (loop, *again):
            found.update(dict.fromkeys(operation_symbols(op)))
        for value in self.captured:
            found.update((name, None) for dim in value.shape for name in symbols(dim))
        return [name for name in found if name not in bare]

    def _limits(self, start: str, stop: str) -> list[Guard]:
        """Between which numbers the ends of a chunk are. A chunk has a trip."""
        bounds = Bounds(self.function)
        lo, hi = (bounds.polynomial(v) for v in self.chosen.loop.operands[:2])
        found = [Guard(symbol(stop), ">", symbol(start))]
        if lo is not None:
            found.append(Guard(symbol(start), ">=", lo))
        if hi is not None:
            found.append(Guard(symbol(stop), "<=", hi))
        return found

    def _loop(self, build: MemoryBuilder, start: str, stop: str) -> list[Value]:
        """The loop, over the trips of a chunk; the sums of these."""
        loop, how = self.chosen.loop, self.chosen.how
        firsts = []
        for combine, value in zip(how.combine, loop.operands[3:], strict=True):
            if combine is None:
                firsts.append(self.env[value])
            else:
                firsts.append(build.const(_start(combine, value), value.type))
        operands = [build.size(symbol(start)), build.size(symbol(stop)), build.size(1), *firsts]
        new = build.copy(loop, self.env, operands=operands)
        return [
            result
            for result, combine in zip(new.results, how.combine, strict=True)
            if combine is not None
        ]

    def _replace(self, sizes: list[str]) -> None:
        """Put the operation that runs the part in the place of the loop."""
        loop, how = self.chosen.loop, self.chosen.how
        build = MemoryBuilder()
        given = [build.size(symbol(name)) for name in sizes]
        kept = [r for r, name in zip(loop.results, how.combine, strict=True) if name]
        attributes = {
            "part": self.name,
            "work": self.chosen.work,
            "combine": tuple(name for name in how.combine if name),
            "own": tuple(k for k, v in enumerate(self.captured) if v in how.own),
            "written": tuple(k for k, v in enumerate(self.captured) if v in how.written),
            "dtypes": tuple(r.dtype for r in kept),
        }
        with build.at(loop.location, loop.part):
            run = build.emit(
                REGISTRY["parallel"], [*loop.operands[:2], *self.captured, *given], attributes
            )
            parts = iter(run.results)
            new: dict[Value, Value] = {}
            for result, first, combine in zip(
                loop.results, loop.operands[3:], how.combine, strict=True
            ):
                if combine is None:
                    continue
                part = next(parts)
                if not _is_start(combine, first):
                    part = build.emit(REGISTRY[combine], [first, part]).result
                part.hint = result.hint
                new[result] = part
        region = next(r for r in _regions(self.function.body) if loop in r.ops)
        at = region.ops.index(loop)
        region.ops[at : at + 1] = build.region.ops
        for old, value in new.items():
            read_instead(region, old, value)
        # Each chunk makes these for itself.
        users = self.function.body.users()
        gone = {value.op for value in how.local if not users.get(value)}
        for each in _regions(self.function.body):
            each.ops = [op for op in each.ops if op not in gone]


def _free(name: str, taken: set[str]) -> str:
    return next(
        each for each in (name, *(f"{name}_{n}" for n in range(2, 99))) if each not in taken
    )


def _start(combine: str, value: Value) -> bool | int | float:
    names = {"add": "sum", "multiply": "prod", "maximum": "max", "minimum": "min"}
    start = start_value(names[combine], value.dtype)
    number: bool | int | float = value.dtype.numpy.type(start).item()
    return number


def _is_start(combine: str, value: Value) -> bool:
    """Whether a sum that starts from ``value`` is the sum of its parts."""
    op = value.op
    return (
        op is not None
        and op.name == "const"
        and bool(np.equal(op.attributes["value"], _start(combine, value)))
    )


def _regions(region: Region) -> Iterator[Region]:
    yield region
    for op in region.ops:
        for inner in op.regions:
            yield from _regions(inner)
