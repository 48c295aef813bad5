"""Loops that carry a recurrence: what does not belong to it is computed in lanes, strip by strip.

A loop whose trips wait for each other can't run several of them at once. Much of what it computes
is often not waited for: the logarithm of a state that is summed up, the derivative of a step at
states that a tape holds. So the trips are taken 128 at a time, and each strip has up to three
loops. The first one computes what the recurrence needs and does not change, the second one is the
recurrence, the third one computes all that follows from it::

    for i in range(n):                     for strip in range((n + 127) // 128):
        e = exp(x[i])                          first = strip * 128
        h = h * e + a                          size = min(128, n - first)
        total += log(h)            →           for l in range(size):     # ahead
                                                   e = exp(x[first + l])
                                                   ahead[0, l] = e
                                               for l in range(size):     # in turn
                                                   h = h * ahead[0, l] + a
                                                   states[0, l] = h
                                               for l in range(size):     # lanes
                                                   total += log(states[0, l])

A strip stays in the first-level cache. States that the loop puts on a tape anyway are read from
there. What each trip computes is the same bit by bit; sums are made in another order.

See `recurrence_plan` for what may go where.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from tracegrad.ir.core import Function, Operation, Region, Value
from tracegrad.ir.types import ArrayType, Dim, DType, evaluate, floor_div, i64, scalar, symbols
from tracegrad.ops.registry import REGISTRY
from tracegrad.schedule.buffers import replace
from tracegrad.schedule.delays import Stage
from tracegrad.schedule.memory import MemoryBuilder
from tracegrad.schedule.recurrence_plan import Memories, Plan, number, plan, read

STRIP = 128
"""Trips of a strip."""

SHORT = 64
"""Loops with fewer trips, where that is known, stay as they are."""


def in_strips(function: Function) -> Function:
    """Split the recurrences of ``function``, in loop form, where that gains. It is changed."""
    if any(op.name == "for" and op.results for op in function.walk()):
        _Strips(function).region(function.body)
    return function


class _Strips:
    def __init__(self, function: Function) -> None:
        self.function = function
        self.memories = Memories(function)

    def region(self, region: Region) -> None:
        for op in list(region.ops):
            for inner in op.regions:
                self.region(inner)
            if op.name == "for" and op.results and self._is_long(op):
                split = plan(op, self.memories)
                if split is not None:
                    self._rewrite(region, op, split)

    def _is_long(self, loop: Operation) -> bool:
        """Whether a loop has enough trips, as far as is known."""
        if any(map(_counts_trips, loop.operands[:2])):
            return False
        lo, hi = (_size(v) for v in loop.operands[:2])
        hints = self.function.hints
        if lo is None or hi is None or any(s not in hints for s in symbols(hi - lo)):
            return True
        return abs(evaluate(hi - lo, hints)) >= SHORT

    # --- the loops

    def _rewrite(self, region: Region, loop: Operation, split: Plan) -> None:
        buffers = MemoryBuilder()
        build = MemoryBuilder()
        with build.at(None, loop.part):
            results = _Writer(build, buffers, split).write(loop)
        self.function.body.ops[0:0] = buffers.region.ops
        at = region.ops.index(loop)
        region.ops[at : at + 1] = build.region.ops
        for old, result in zip(loop.results, results, strict=True):
            result.hint = old.hint
            replace(region, old, result)


class _Writer:
    """Writes the loops over strips of one loop.

    Attributes
    ----------
    rows : what one loop of a strip hands on to a later one → its row in the buffer of its dtype.
    """

    def __init__(self, build: MemoryBuilder, buffers: MemoryBuilder, split: Plan) -> None:
        self.build = build
        self.split = split
        self.rows: dict[Value, tuple[Value, int]] = {}
        for name, values in (
            ("ahead", split.ahead_rows),
            ("states", split.state_rows),
            ("lanes", [row for stage in split.stages for row in stage.rows]),
            ("late", [split.carried[k] for k in split.delayed]),
        ):
            self._allocate(buffers, name, values)

    def _allocate(self, buffers: MemoryBuilder, name: str, values: Iterable[Value]) -> None:
        groups: dict[DType, list[Value]] = {}
        for value in values:
            groups.setdefault(value.dtype, []).append(value)
        for dtype, group in groups.items():
            # What is late has room for what the trip after the strip is told.
            shape = (len(group), STRIP + 1 if name == "late" else STRIP)
            buffer = buffers.alloc(ArrayType(dtype, shape), name)
            self.rows.update((value, (buffer, row)) for row, value in enumerate(group))

    def write(self, loop: Operation) -> list[Value]:
        """The results of the loop."""
        build, split = self.build, self.split
        lo, hi = loop.operands[:2]
        down = split.step < 0
        trips, strips = self._counts(lo, hi, down)
        zero, one, most = build.size(0), build.size(1), build.size(STRIP)
        with build.open() as strip:
            turn = build.param(scalar(i64), "strip")
            carried = [build.param(v.type, v.hint) for v in split.carried]
            done = self._emit("multiply", turn, most)
            size = self._emit("minimum", most, self._emit("subtract", trips, done), "size")
            # The least index of the strip: loops that count down begin at the other end.
            low = done
            if down:
                first = _size(lo)
                end = self._emit("add", lo, one) if first is None else build.size(first + 1)
                low = self._emit("subtract", self._emit("subtract", end, done), size)
                last = number(hi)
                if last is not None and last >= -1:
                    # LLVM does not see the sign of a difference, and then reads one by one.
                    low = self._emit("maximum", low, build.size(last + 1))
            elif number(lo) != 0:
                low = self._emit("add", lo, done)
            low.hint = "low"
            env: dict[Value, Value] = {}
            for op in split.fixed:
                self._copy(op, env)
            ends = [zero, size, one]
            after_strip = list(carried)

            def over(
                limits: Sequence[Value],
                kind: str,
                numbers: Sequence[int],
                trip: Callable[[dict[Value, Value], Value], None],
            ) -> None:
                """A loop over the strip that carries ``numbers``."""
                with build.open() as body:
                    lane = build.param(scalar(i64), "l")
                    inner = {**env, split.index: self._emit("add", low, lane, split.index.hint)}
                    for k in numbers:
                        old = split.carried[k]
                        inner[old] = build.param(old.type, old.hint)
                    trip(inner, lane)
                    yields = [split.yields[k] for k in numbers]
                    body.yields = tuple(inner.get(v, v) for v in yields)
                inits = [carried[k] for k in numbers]
                operands, types = [*limits, *inits], [v.type for v in inits]
                made = build.emit(REGISTRY["for"], operands, {"kind": kind}, [body], types)
                for k, result in zip(numbers, made.results, strict=True):
                    result.hint = split.carried[k].hint
                    after_strip[k] = result

            if split.ahead_rows:
                over(ends, "ahead", (), self._ahead)
            in_turn = ends
            if down:
                in_turn = [self._emit("subtract", size, one), build.size(-1), build.size(-1)]
            over(in_turn, "in turn", split.chain_carried, self._chain)
            for k in split.delayed:
                build.store("store", carried[k], *self._late(k, size if down else zero))
            for stage in split.stages:
                if stage.ops or stage.delayed:
                    numbers = split.summed if stage is split.stages[-1] else ()
                    over(ends, "lanes", numbers, partial(self._lanes, stage))
            for k in split.delayed:
                after_strip[k] = build.load(*self._late(k, zero if down else size))
                after_strip[k].hint = split.carried[k].hint
            strip.yields = tuple(after_strip)
        types = [v.type for v in carried]
        operands = [zero, strips, one, *loop.operands[3:]]
        made = build.emit(REGISTRY["for"], operands, {"kind": "plain"}, [strip], types)
        return list(made.results)

    def _counts(self, lo: Value, hi: Value, down: bool) -> tuple[Value, Value]:
        """How many trips there are, and how many strips."""
        build = self.build
        first, last = (_size(v) for v in ((hi, lo) if down else (lo, hi)))
        if first is not None and last is not None:
            count = last - first
            return build.size(count), build.size(floor_div(count + STRIP - 1, STRIP))
        trips = hi
        if down:
            trips = self._emit("subtract", lo, hi)
        elif number(lo) != 0:
            trips = self._emit("subtract", hi, lo)
        more = self._emit("add", trips, build.size(STRIP - 1))
        return trips, self._emit("floor_divide", more, build.size(STRIP))

    def _emit(self, name: str, one: Value, other: Value, hint: str = "") -> Value:
        result = self.build.emit(REGISTRY[name], [one, other]).result
        result.hint = hint
        return result

    # --- what a loop over the strip does in a trip

    def _ahead(self, env: dict[Value, Value], lane: Value) -> None:
        self._trip(self.split.ahead, env)
        self._leave(self.split.ahead_rows, env, lane)

    def _chain(self, env: dict[Value, Value], lane: Value) -> None:
        split = self.split
        yields = [split.yields[k] for k in split.chain_carried]
        self._take(split.ahead_rows, split.chain, yields, env, lane)
        self._trip(split.chain, env)
        self._leave(split.state_rows, env, lane)

    def _lanes(self, stage: Stage, env: dict[Value, Value], lane: Value) -> None:
        build, split = self.build, self.split
        wanted = {v for op in stage.ops for v in read(op)}
        wanted.update(split.yields[k] for k in stage.delayed)
        # The reads come first: several trips then do them at once.
        for op in split.places:
            self._copy(op, env)
        for kept in split.kept:
            if kept.value in wanted:
                at = [env.get(v, v) for v in kept.indices]
                env[kept.value] = build.load(kept.buffer, at, kept.value.hint)
        before, here = lane, self._emit("add", lane, build.size(1))
        if split.step < 0:
            before, here = here, before
        for k in split.delayed:
            param = split.carried[k]
            if param in wanted:
                env[param] = build.load(*self._late(k, before), param.hint)
        handed = [row for each in split.stages for row in each.rows]
        yields = [split.yields[k] for k in stage.delayed]
        rows = [*split.ahead_rows, *split.state_rows, *handed]
        self._take(rows, stage.ops, yields, env, lane)
        self._trip(stage.ops, env)
        self._leave(stage.rows, env, lane)
        for k in stage.delayed:
            value = split.yields[k]
            build.store("store", env.get(value, value), *self._late(k, here))

    def _late(self, k: int, at: Value) -> tuple[Value, list[Value]]:
        """Where the number at position ``k`` is left for the next trip."""
        buffer, row = self.rows[self.split.carried[k]]
        return buffer, [self.build.size(row), at]

    def _take(
        self,
        rows: Iterable[Value],
        ops: Iterable[Operation],
        ends: Iterable[Value],
        env: dict[Value, Value],
        lane: Value,
    ) -> None:
        """Read what ``ops`` and ``ends`` want of what other loops have left in ``rows``."""
        ops = list(ops)
        made = {result for op in ops for result in op.results}
        wanted = {v for op in ops for v in read(op)} | set(ends)
        build = self.build
        for value in rows:
            if value in wanted and value not in made and value not in env:
                buffer, row = self.rows[value]
                env[value] = build.load(buffer, [build.size(row), lane], value.hint)

    def _trip(self, ops: Iterable[Operation], env: dict[Value, Value]) -> None:
        for op in ops:
            self._copy(op, env)

    def _leave(self, rows: Iterable[Value], env: Mapping[Value, Value], lane: Value) -> None:
        """Leave ``rows`` for other loops."""
        build = self.build
        for value in rows:
            buffer, row = self.rows[value]
            made_by = value.op
            location = None if made_by is None else made_by.location
            with build.at(location, None if made_by is None else made_by.part):
                build.store("store", env.get(value, value), buffer, [build.size(row), lane])

    def _copy(self, op: Operation, env: dict[Value, Value]) -> None:
        env.update(zip(op.results, self.build.copy(op, env).results, strict=True))


def _counts_trips(value: Value) -> bool:
    """Whether a number comes from a ``while``: few trips, more often than not."""
    op = value.op
    if op is None or op.name == "while":
        return op is not None
    return not op.regions and any(map(_counts_trips, op.operands))


def _size(value: Value) -> Dim | None:
    op = value.op
    size: Dim | None = op.attributes["size"] if op is not None and op.name == "dim" else None
    return number(value) if size is None else size
