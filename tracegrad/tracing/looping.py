"""Loops: the body is traced once, for all trips.

Which names a loop carries shows only when the body has been traced: it is traced again with
these lifted to values of their own, until what a trip leaves has the types of what it found. Arrays
that are written to are carried by their memory, without a second attempt. A body that can't be
traced so (it needs the index as a Python int, it appends to a list) is unrolled where the number
of trips is known.

docs/decisions/0005-staging-control-flow.md tells what staged code asks of these objects, and
0010-tracing-loops.md what is decided here.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any

import numpy as np

from tracegrad.errors import NeedsValue, TracegradError, UnsupportedError
from tracegrad.ir.core import Operation, Value
from tracegrad.ir.threads import substitute
from tracegrad.ir.types import Dim, boolean, i64, scalar
from tracegrad.ops.control import branch, for_, while_
from tracegrad.ops.registry import REGISTRY, constant
from tracegrad.staging import UNBOUND, PlainWhile, Site
from tracegrad.tracing.branching import INTERNAL_VALUE, choose, condition_of, is_harmless
from tracegrad.tracing.effects import Slot
from tracegrad.tracing.integers import TracedInt, as_dim, is_integer
from tracegrad.tracing.iteration import Items
from tracegrad.tracing.joining import (
    Clash,
    Leaf,
    Maybe,
    Perhaps,
    Spec,
    Unset,
    arrays_in,
    converted,
    is_gone,
    join,
    leaf_types,
    rebuilt,
    same,
    spec_of,
)
from tracegrad.tracing.memory import Memory
from tracegrad.tracing.ranges import known_bounds
from tracegrad.tracing.state import Opened, Trace, user_location
from tracegrad.tracing.tracer import Tracer
from tracegrad.tracing.values import cast, lift, wrap

__all__ = ["ABORTS", "Again", "RolledFor", "RolledWhile", "Unrolled", "for_loop", "while_loop"]

_UNROLL_AT_MOST = 3
_PIN_AT_MOST = 64
_ATTEMPTS = 10


class Again(BaseException):
    """A name was read before the body has bound it: trace the body again, with the name carried."""

    def __init__(self, loop: Any) -> None:
        self.loop = loop


ABORTS = (Again, UnsupportedError, NeedsValue)
"""What ends an attempt to trace a body once for all trips."""


def for_loop(trace: Trace, items: Items, site: Site) -> Any:
    """The steps of a ``for`` over ``items``."""
    lo, hi, step = items.bounds()
    if is_integer(lo) and is_integer(hi) and is_integer(step):
        # Whether there is a trip at all is settled here: a case of its own, with a guard.
        up = bool(step > 0)
        if not (lo < hi if up else lo > hi):
            return Unrolled(trace, site, iter(()))
        known = all(isinstance(bound, int) for bound in (lo, hi, step))
        if known and (len(range(lo, hi, step)) <= _UNROLL_AT_MOST or not items.rolls):
            return Unrolled(trace, site, iter(items))
    return RolledFor(trace, site, items)


def while_loop(trace: Trace, site: Site) -> Any:
    """The steps of a ``while``."""
    return RolledWhile(trace, site)


class _Carried:
    """What a loop carries of one name or slot."""

    __slots__ = ("entry", "inits", "params", "spec", "start")

    def __init__(self, spec: Spec, start: Any) -> None:
        self.spec = spec
        self.start = start
        self.inits: list[Value] = []
        self.params: list[Value] = []
        self.entry: Any = None


class _Rolled:
    """The steps of a loop whose body is traced once, perhaps in several attempts."""

    unbound = UNBOUND
    env: tuple[Any, ...] | None = None
    live = True

    def __init__(self, trace: Trace, site: Site) -> None:
        self.trace = trace
        self.site = site
        self.phase = "start"
        self.lifted: dict[int, _Carried] = {}
        self.slots: dict[Any, tuple[Slot, _Carried]] = {}
        self.start: tuple[Any, ...] = ()
        self.flags: tuple[Any, ...] = ()
        self.attempts = 0
        self.reason: TracegradError | None = None

    def __iter__(self) -> Any:
        return self

    def _read(self, frame: FrameType) -> tuple[Any, ...]:
        return tuple(UNBOUND if is_gone(value) else value for value in self.site.read(frame))

    # -- one attempt

    def _begin(self, frame: FrameType) -> Any:
        self.start = self._read(frame)
        self.depth = len(self.trace.opened)
        self.mark = len(self.trace.journal)
        for k, value in enumerate(self.start):
            if _is_counting(value):
                self.lifted[k] = _Carried(_widest(value), value)
        return self._attempt()

    def _attempt(self) -> Any:
        trace = self.trace
        self.attempts += 1
        self.phase, self.live, self.flags = "trial", True, ()
        carried = [*self.lifted.values(), *(c for _, c in self.slots.values())]
        for each in carried:
            each.inits = trace.run(converted, each.spec, each.start)
        self.opened = trace.open(self.site, loop=True)
        self._leading_params()
        names: dict[int, str] = {k: self.site.names[k] for k in self.lifted}
        for k, each in enumerate(carried):
            hint = list(names.values())[k] if k < len(names) else ""
            hint = "" if hint.startswith("__tracegrad") else hint
            each.params = [trace.build.param(type, hint) for type in leaf_types(each.spec)]
            each.entry = rebuilt(each.spec, iter(each.params))
            for array, source in zip(arrays_in(each.entry), arrays_in(each.start), strict=False):
                assert array.memory is not None
                assert source.memory is not None
                array.memory.share_with(trace, source.memory)
        env = list(self.start)
        for k, value in enumerate(env):
            if k in self.lifted:
                env[k] = self.lifted[k].entry
            elif value is UNBOUND and self.site.names[k] not in self._flags_of_jumps():
                env[k] = Unset(self, k)
        for slot, each in self.slots.values():
            trace.store(slot, each.entry)
        self.entry = tuple(env)
        self.env = self.entry
        return self

    def _flags_of_jumps(self) -> tuple[str, ...]:
        return (INTERNAL_VALUE,)

    def _leading_params(self) -> None:
        """Parameters of the region that stand before the carried values."""

    def leave(self, *flags: Any) -> bool:
        """After the body: flags that end the loop."""
        self.flags = flags
        return False

    def aborted(self) -> bool:
        """Whether the loop goes on in another way after an attempt failed."""
        error = sys.exc_info()[1]
        if self.phase != "trial":
            return False
        if isinstance(error, Again):
            if error.loop is not self:
                return False
            self._roll_back()
            self.phase = "retry"
            return True
        assert isinstance(error, TracegradError)
        if not self._can_unroll():
            where = f" (line {self.site.line}: the loop is traced once for all its trips)"
            if where not in error.message:
                error.message += where
            return False
        self._roll_back()
        self.reason = error
        self.phase = "unroll"
        return True

    def _roll_back(self) -> None:
        self.trace.abandon(self.depth)
        self.trace.undo(self.mark)

    def _can_unroll(self) -> bool:
        raise NotImplementedError

    def wanted(self, position: int) -> None:
        """A name without a value at the beginning of the loop is read in the body."""
        if position not in self.lifted:
            guess = Perhaps(Leaf(np.dtype(np.float64), (), True))
            self.lifted[position] = _Carried(guess, UNBOUND)
            self.lifted = dict(sorted(self.lifted.items()))
        raise Again(self)

    # -- what a trip leaves

    def _judge(self, end: tuple[Any, ...]) -> Any:
        """Another attempt, if the trip left what the attempt had not expected; else the loop."""
        trace, opened = self.trace, self.opened
        trace.close(opened)
        if opened.dead:
            end = self.entry
        with trace.reopened(opened):
            clash, again = self._differences(end)
        if clash is not None:
            return self._give_up(clash)
        if again:
            trace.undo(opened.mark)
            trace.settle(opened)
            if self.attempts >= _ATTEMPTS:
                return self._give_up("the types of what it carries change in every trip")
            self.lifted = dict(sorted(self.lifted.items()))
            return self._attempt()
        self._check_sharing(end)
        return self._finish(end)

    def _differences(self, end: tuple[Any, ...]) -> tuple[str | None, bool]:
        again = False
        for k, value in enumerate(end):
            name = self.site.names[k]
            found = self._difference(name, self.lifted.get(k), self.start[k], self.entry[k], value)
            if isinstance(found, str):
                return found, False
            if found is not None:
                self.lifted[k] = _Carried(found, self.start[k])
                again = True
        for slot, old in self.opened.stores.values():
            known = self.slots.get(slot.key)
            value = self.opened.after[slot.key]
            carried = None if known is None else known[1]
            entry = old if carried is None else carried.entry
            start = old if carried is None else carried.start
            found = self._difference(slot.words, carried, start, entry, value)
            if isinstance(found, str):
                return found, False
            if found is not None:
                self.slots[slot.key] = slot, _Carried(found, start)
                again = True
        return None, again

    def _difference(
        self, name: str, carried: _Carried | None, start: Any, entry: Any, end: Any
    ) -> Spec | str | None:
        """The spec to try next for a name, None if this one is right, or why there is none."""
        if same(entry, end):
            return None
        if carried is not None:
            spec = join(carried.spec, spec_of(end))
            if name == INTERNAL_VALUE and isinstance(spec, Perhaps):
                spec = spec.child
            if carried.spec == Perhaps(Leaf(np.dtype(np.float64), (), True)) and start is UNBOUND:
                spec = Perhaps(_unwrapped(spec_of(end)))  # the first guess told nothing
        elif start is UNBOUND:
            if end is UNBOUND or isinstance(end, Unset):
                return None
            if name == INTERNAL_VALUE:
                spec = _unwrapped(spec_of(end))
            elif name in self.site.after or isinstance(end, Maybe):
                spec = Perhaps(_unwrapped(spec_of(end)))
            else:
                return None  # it lives within a trip
        elif same(start, end):
            return None
        else:
            spec = join(spec_of(start), spec_of(end))
        if isinstance(spec, Clash):
            return f"{name!r} is {spec.why} (before it and after a trip)"
        if carried is not None and spec == carried.spec:
            return None
        return spec

    def _give_up(self, why: str) -> Any:
        error = UnsupportedError(
            f"the loop can't be traced once for all trips: {why}",
            way_out="keep what it carries from trip to trip of one kind and shape",
        )
        self._roll_back()
        if self.opened.scope.region in self.trace._regions:
            self.trace.settle(self.opened)
        self.reason = error
        if not self._can_unroll():
            raise error
        return self._unrolled()

    def _unrolled(self) -> Any:
        raise NotImplementedError

    # -- aliasing

    def _check_sharing(self, end: tuple[Any, ...]) -> None:
        """Refuse programs where it matters which of several memories a carried array is."""
        opened = self.opened
        holders: dict[Memory, list[Memory]] = {}
        for each, value in self._pairs(end):
            params = [array.memory for array in arrays_in(each.entry)]
            ends = [array.memory for array in arrays_in(value)]
            if len(params) != len(ends):
                continue
            for param, memory in zip(params, ends, strict=True):
                assert param is not None
                assert memory is not None
                holders.setdefault(memory, []).append(param)
        groups = [[*params, memory] for memory, params in holders.items()]
        for group in groups:
            known = [m for m in dict.fromkeys(group) if self._outlives(m) or m in group[:-1]]
            for one in known:
                for other in known:
                    seen = one in opened.written and other in opened.touched
                    if one is not other and seen and (len(group) > 2 or self._outlives(group[-1])):
                        raise self._shared(one, other)
        # What was chosen within a trip is gone with it; what it shares is seen by the write itself.
        carried = {array.memory for each, _ in self._pairs(end) for array in arrays_in(each.entry)}
        for memory in opened.written:
            for other in memory.shares:
                if other in opened.touched and (self._outlives(other) or other in carried):
                    raise self._shared(memory, other)

    def _outlives(self, memory: Memory) -> bool:
        return self.trace.is_visible(memory.region)

    def _shared(self, one: Memory, other: Memory) -> UnsupportedError:
        return UnsupportedError(
            f"in the loop of line {self.site.line}, {one.words()} is written to, and in some trips "
            f"{other.words()} is the same memory",
            way_out="copy the array where its name is bound: a = b.copy()",
        )

    def _pairs(self, end: Sequence[Any]) -> list[tuple[_Carried, Any]]:
        found = [(each, end[k]) for k, each in self.lifted.items()]
        found += [(each, self.opened.after[key]) for key, (_, each) in self.slots.items()]
        return found

    # -- the operation

    def _finish(self, end: tuple[Any, ...]) -> Any:
        trace, opened = self.trace, self.opened
        pairs = self._pairs(end)
        yields: list[list[Value]] = []
        with trace.reopened(opened):
            for each, value in pairs:
                yields.append(trace.run(converted, each.spec, value))
        kept = self._without_invariants(pairs, yields)
        inits = [v for k in kept for v in pairs[k][0].inits]
        opened.scope.region.yields = tuple(v for k in kept for v in yields[k])
        first = sum(len(pairs[k][0].params) for k in kept)
        with trace.build.at(user_location()):
            op, skipped = self._close(inits, first)
        trace.settle(opened)
        results = iter(op.results[skipped:])
        after: dict[int, Any] = {}
        for k, (each, _value) in enumerate(pairs):
            after[k] = rebuilt(each.spec, results) if k in kept else each.start
        self._share_results(pairs, kept, after, end)
        env = [
            start if start is UNBOUND or same(entry, value) or same(start, value) else value
            for start, entry, value in zip(self.start, self.entry, end, strict=True)
        ]
        for place, k in enumerate(self.lifted):
            env[k] = self._settled(after[place], end[k])
            self._name(env[k], self.site.names[k])
        for place, (key, (slot, _)) in enumerate(self.slots.items(), len(self.lifted)):
            trace.store(slot, self._settled(after[place], opened.after[key]))
        self.env = tuple(self._after(env, end))
        self.phase, self.live = "done", False
        return self

    def _after(self, env: list[Any], end: tuple[Any, ...]) -> list[Any]:
        return env

    def _settled(self, value: Any, end: Any) -> Any:
        """A name that every trip binds has a value if there is a trip."""
        if isinstance(value, Maybe) and not isinstance(end, Maybe) and self._has_trip():
            return value.value
        return value

    def _has_trip(self) -> bool:
        return False

    def _name(self, value: Any, name: str) -> None:
        if name.startswith("__tracegrad"):
            return
        if isinstance(value, Maybe):
            value = value.value
        if isinstance(value, Tracer) and not value.value.hint:
            value.value.hint = name

    def _without_invariants(
        self, pairs: list[tuple[_Carried, Any]], yields: list[list[Value]]
    ) -> list[int]:
        """Which of the carried are carried; the others are what they were before the loop."""
        region = self.opened.scope.region
        kept: list[int] = []
        replaced: dict[Value, Value] = {}
        for k, (each, value) in enumerate(pairs):
            constant_ = not isinstance(value, Tracer) and same(each.start, value)
            if constant_ or yields[k] == each.params:
                replaced.update(zip(each.params, each.inits, strict=True))
            else:
                kept.append(k)
        if replaced:
            region.params = tuple(p for p in region.params if p not in replaced)
            substitute(region, replaced)
            for values in yields:
                values[:] = [replaced.get(v, v) for v in values]
            current = self.opened.scope.current
            for variable, value in current.items():
                current[variable] = replaced.get(value, value)
            self._replaced(replaced)
        return kept

    def _replaced(self, replaced: dict[Value, Value]) -> None:
        """Values of the region gave way to others."""

    def _close(self, inits: list[Value], explicit: int) -> tuple[Operation, int]:
        """Append the operation; and how many of its results come before the carried ones."""
        raise NotImplementedError

    def _share_results(
        self,
        pairs: list[tuple[_Carried, Any]],
        kept: list[int],
        after: dict[int, Any],
        end: tuple[Any, ...],
    ) -> None:
        """After the loop, a carried array may be one that was there before."""
        trace = self.trace
        params = {array.memory for each, _ in pairs for array in arrays_in(each.entry)}
        starts = [array.memory for each, _ in pairs for array in arrays_in(each.start)]
        by_end: dict[Memory, list[Memory]] = {}
        for k in kept:
            each, value = pairs[k]
            results = [array.memory for array in arrays_in(after[k])]
            ends = [array.memory for array in arrays_in(value)]
            own = [array.memory for array in arrays_in(each.start)]
            for place, result in enumerate(results):
                assert result is not None
                last = ends[place] if place < len(ends) else None
                if last is not None:
                    by_end.setdefault(last, []).append(result)
                    if self._outlives(last):
                        result.share_with(trace, last)
                    if last in params:
                        for start in starts:
                            if start is not None:
                                result.share_with(trace, start)
                if place < len(own) and not self._has_trip():
                    before = own[place]
                    if before is not None:
                        result.share_with(trace, before)
        for group in by_end.values():
            for one in group:
                for other in group:
                    one.share_with(trace, other)


def _unwrapped(spec: Spec) -> Spec:
    return spec.child if isinstance(spec, Perhaps) else spec


def _is_counting(value: Any) -> bool:
    """Whether a name that a loop binds anew is carried at the first attempt."""
    if isinstance(value, Tracer):
        return value.memory is None and value.dtype.kind != "b"
    if isinstance(value, tuple):
        return bool(value) and all(map(_is_counting, value))
    return isinstance(value, int | float | TracedInt | np.number) and not isinstance(value, bool)


def _widest(value: Any) -> Spec:
    """The spec of a number, tuple of numbers; a Python number becomes a value of its own."""
    from tracegrad.tracing.joining import Node, _as_leaf

    if isinstance(value, tuple):
        return Node(type(value), (len(value),), tuple(map(_widest, value)))
    leaf = _as_leaf(spec_of(value))
    assert leaf is not None
    return leaf


class RolledFor(_Rolled):
    """A ``for`` over items that an index of the IR counts."""

    def __init__(self, trace: Trace, site: Site, items: Items) -> None:
        super().__init__(trace, site)
        self.items = items
        self.rest: Unrolled | None = None
        self.bounds = items.bounds()

    def __next__(self) -> Any:
        frame = sys._getframe(1)
        if self.phase == "start":
            self.operands = [cast(lift(bound), np.int64).value for bound in self.bounds]
            return self._begin(frame)
        if self.phase == "trial":
            return self._judge(self.site.read(frame))
        if self.phase == "retry":
            return self._attempt()
        if self.phase == "unroll":
            return self._unrolled()
        if self.phase == "unrolled":
            assert self.rest is not None
            return self.rest.advance(frame)
        raise StopIteration

    def _leading_params(self) -> None:
        trace = self.trace
        target = self.site.target
        hint = target[0] if len(target) == 1 else "i"
        if not hint.isidentifier() or hint.startswith("__"):
            hint = "i"
        self.index = trace.build.param(scalar(i64), hint)
        trace.ranges[self.index] = self._range()

    def _range(self) -> tuple[Dim | None, Dim | None]:
        lo, hi, step = self.bounds
        if not is_integer(step):
            return None, None
        least, most = (lo, hi) if step > 0 else (hi, lo)
        low = self._extreme(least, False)
        high = self._extreme(most, True)
        if step > 0:
            return low, None if high is None else high - 1
        return None if low is None else low + 1, high

    def _extreme(self, bound: Any, upper: bool) -> Dim | None:
        if is_integer(bound):
            return as_dim(bound)
        return known_bounds(cast(lift(bound), np.int64).value)[upper]

    def take(self) -> Any:
        """What the target is bound to in this trip."""
        return self.items.item(Tracer(self.index, weak=True))

    def _has_trip(self) -> bool:
        return all(is_integer(bound) for bound in self.bounds)

    def _can_unroll(self) -> bool:
        if not all(is_integer(bound) for bound in self.bounds):
            return False
        if all(isinstance(bound, int) for bound in self.bounds):
            return True
        sizes = self.trace.sizes
        numbers = [sizes.number(as_dim(bound)) for bound in self.bounds]
        if any(number is None for number in numbers):
            return False
        return len(range(*numbers)) <= _PIN_AT_MOST  # type: ignore[arg-type]

    def _unrolled(self) -> Any:
        self.rest = Unrolled(self.trace, self.site, iter(self.items), self.start)
        self.phase = "unrolled"
        return self.rest.advance(None)

    def _exits(self) -> bool:
        return any(isinstance(flag, Tracer) or flag for flag in self.flags)

    def _close(self, inits: list[Value], explicit: int) -> tuple[Operation, int]:
        trace, scope = self.trace, self.opened.scope
        lo, hi, step = self.operands
        if not self._exits():
            return trace.build.close_loop(scope, for_, [lo, hi, step, *inits], explicit), 0
        region = scope.region
        over = Value(scalar(boolean))
        region.params = (region.params[0], over, *region.params[1:])
        with trace.reopened(self.opened):
            following = REGISTRY["add"](self.index, step)
            left = _any(self.flags)
        region.yields = (following, left, *region.yields)

        def goes_on(env: dict[Value, Value]) -> Value:
            return _both(self._within(env[self.index]), _negated(env[over]))

        operands = [lo, constant(False, boolean), *inits]
        op = trace.build.close_while(scope, while_, operands, explicit + 2, goes_on)
        return op, 2

    def _within(self, index: Value) -> Value:
        _, hi, step = self.operands
        by = self.bounds[2]
        if is_integer(by):
            result: Value = REGISTRY["less"](*((index, hi) if by > 0 else (hi, index)))
            return result
        up = REGISTRY["greater"](step, constant(0, i64))
        below, above = REGISTRY["less"](index, hi), REGISTRY["greater"](index, hi)
        chosen: Value = REGISTRY["select"](up, below, above)
        return chosen

    def _replaced(self, replaced: dict[Value, Value]) -> None:
        self.flags = tuple(_replaced_flag(flag, replaced) for flag in self.flags)


def _replaced_flag(flag: Any, replaced: dict[Value, Value]) -> Any:
    if isinstance(flag, Tracer) and flag._value in replaced:
        flag._value = replaced[flag._value]
    return flag


def _any(flags: Sequence[Any]) -> Value:
    """Whether one of the flags is set, as a value."""
    result: Value | None = None
    for flag in flags:
        value = condition_of(flag).value
        result = value if result is None else REGISTRY["logical_or"](result, value)
    assert result is not None
    return result


def _negated(value: Value) -> Value:
    result: Value = REGISTRY["logical_not"](value)
    return result


def _both(one: Value, other: Value) -> Value:
    result: Value = REGISTRY["logical_and"](one, other)
    return result


class RolledWhile(_Rolled):
    """A ``while``; plain Python as long as nothing that decides is traced."""

    def __init__(self, trace: Trace, site: Site) -> None:
        super().__init__(trace, site)
        self.plain = PlainWhile()
        self.over = False

    def __next__(self) -> Any:
        frame = sys._getframe(1)
        if self.phase == "start":
            return self._begin(frame)
        if self.phase == "trial":
            return self._judge(self.site.read(frame))
        if self.phase == "retry":
            return self._attempt()
        if self.phase in ("to plain", "unroll"):
            if self.phase == "to plain":
                self._roll_back()
            self.env = self.start
            return self._plain_trip(None)
        if self.phase == "plain":
            if self.over:
                raise StopIteration
            self.env = None
            return self._plain_trip(frame)
        if self.phase == "roll":
            self._roll_back()
            self.lifted = {}
            for k, value in enumerate(self.start):
                if _is_counting(value):
                    self.lifted[k] = _Carried(_widest(value), value)
            return self._attempt()
        raise StopIteration

    def _plain_trip(self, frame: FrameType | None) -> Any:
        if frame is not None:
            self.start = self._read(frame)
        self.mark = len(self.trace.journal)
        self.phase, self.live = "plain", True
        return self

    def test(self, value: Any) -> bool:
        """Whether the body runs in this trip, now that the condition has been evaluated."""
        if self.phase == "plain":
            if isinstance(value, Tracer):
                if self.reason is not None:
                    raise self.reason
                self.phase = "roll"
                return False
            self.over = not value
            return not self.over
        region = self.opened.scope.region
        self.condition = condition_of(value) if isinstance(value, Tracer) else bool(value)
        self.tested = len(region.ops)
        self.after_test = self.site.read(sys._getframe(1))
        self.test_writes = bool(self.opened.written or self.opened.stores)
        if not isinstance(value, Tracer) and (not value or not self.site.exits):
            self.phase = "to plain"
            return False
        return True

    def leave(self, *flags: Any) -> bool:
        if self.phase != "plain":
            return super().leave(*flags)
        if any(isinstance(flag, Tracer) for flag in flags):
            raise self.reason or UnsupportedError(
                "a while loop is left by a condition that is only known at run time",
                way_out="write the condition into the while statement",
            )
        return any(flags)

    def aborted(self) -> bool:
        if self.phase == "trial" and self.reason is not None:
            return False
        return super().aborted()

    def _can_unroll(self) -> bool:
        return True  # as plain Python; a traced condition then raises the reason

    def _unrolled(self) -> Any:
        self.env = self.start
        return self._plain_trip(None)

    def _judge(self, end: tuple[Any, ...]) -> Any:
        traced = [self.condition, *self.flags]
        if not any(isinstance(each, Tracer) for each in traced) and not any(self.flags):
            self.trace.close(self.opened)
            self.trace.settle(self.opened)
            self._roll_back()
            self.env = self.start
            return self._plain_trip(None)
        if self.test_writes:
            return self._give_up("its condition writes to memory")
        return super()._judge(end)

    def _close(self, inits: list[Value], explicit: int) -> tuple[Operation, int]:
        trace, scope = self.trace, self.opened.scope
        region = scope.region
        head = list(region.ops[: self.tested])
        exits = any(isinstance(flag, Tracer) or flag for flag in self.flags)
        over: Value | None = None
        if exits:
            over = Value(scalar(boolean))
            region.params = (over, *region.params)
            with trace.reopened(self.opened):
                left = _any(self.flags)
            region.yields = (left, *region.yields)
            inits = [constant(False, boolean), *inits]

        def replay(env: dict[Value, Value]) -> Value:
            for op in head:
                env.update(zip(op.results, trace.build.copy(op, env).results, strict=True))
            if not isinstance(self.condition, Tracer):
                return constant(self.condition, boolean)
            value = self.condition_value
            return env.get(value, value)

        def goes_on(env: dict[Value, Value]) -> Value:
            if over is None:
                return replay(env)
            if not isinstance(self.condition, Tracer):
                return _negated(env[over])
            if self._head_is_harmless(head):
                return _both(replay(env), _negated(env[over]))
            (result,) = branch(
                env[over], lambda: (constant(False, boolean),), lambda: (replay(dict(env)),)
            )
            return result

        self._replay = replay
        self._env_after: dict[Value, Value] = {}
        params = list(region.params)
        op = trace.build.close_while(scope, while_, inits, explicit + exits, goes_on)
        self._env_after = dict(zip(region.params, op.results, strict=True))
        del params
        return op, int(exits)

    @property
    def condition_value(self) -> Value:
        assert isinstance(self.condition, Tracer)
        assert self.condition._value is not None
        return self.condition._value

    def _head_is_harmless(self, head: list[Operation]) -> bool:
        from tracegrad.ir.core import Region

        return is_harmless(Region((), head, ()))

    def _replaced(self, replaced: dict[Value, Value]) -> None:
        self.flags = tuple(_replaced_flag(flag, replaced) for flag in self.flags)
        _replaced_flag(self.condition, replaced)

    def _after(self, env: list[Any], end: tuple[Any, ...]) -> list[Any]:
        """Names that the condition binds (a walrus) hold what its last evaluation gave."""
        if self.condition is True and len(self.site.exits) == 1:
            # A `while True` is left by its only flag, or not at all.
            (flag,) = self.site.exits
            if flag in self.site.names:
                env[self.site.names.index(flag)] = True
        bound = [
            k
            for k, value in enumerate(self.after_test)
            if not same(value, self.entry[k]) and self.site.names[k] in self.site.after
        ]
        if not bound:
            return env
        if any(isinstance(flag, Tracer) or flag for flag in self.flags):
            raise UnsupportedError(
                "a name bound in the condition of a while loop that has a break is read after it",
                way_out="bind the name in the body",
            )
        trace = self.trace
        values = dict(self._env_after)
        trace.run(self._replay, values)
        for k in bound:
            value = self.after_test[k]
            if not isinstance(value, Tracer) or value._value is None:
                raise UnsupportedError(
                    "the condition of a while loop binds something else than a number",
                    way_out="bind the name in the body",
                )
            env[k] = Tracer(values.get(value._value, value._value), value.weak)
        return env


class Unrolled:
    """Trips one by one; once a flag that ends the loop is traced, each later trip is an arm."""

    unbound = UNBOUND
    live = True

    def __init__(
        self,
        trace: Trace,
        site: Site,
        items: Iterator[Any],
        start: tuple[Any, ...] | None = None,
    ) -> None:
        self.trace = trace
        self.site = site
        self.items = items
        self.env = start
        self.flags: tuple[Any, ...] = ()
        self.arm: Opened | None = None
        self.condition: Tracer | None = None
        self.before: tuple[Any, ...] = ()
        self.item: Any = None
        self.ended = False

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return self.advance(sys._getframe(1))

    def advance(self, frame: FrameType | None) -> Any:
        """The next step; ``frame`` is None at the first trip after an attempt to roll the loop."""
        if self.ended:
            raise StopIteration
        if frame is not None:
            self.env = None
        if self.arm is not None:
            assert frame is not None
            assert self.condition is not None
            trace, one = self.trace, self.arm
            after = self.site.read(frame)
            trace.close(one)
            two = trace.open(self.site, loop=False)
            trace.close(two)
            found = choose(
                trace, self.condition, one, two, self.site.names, after, self.before, self.before
            )
            self.arm, self.env = None, tuple(found)
            where = {name: k for k, name in enumerate(self.site.names)}
            self.flags = tuple(
                found[where[name]] if name in where else flag
                for name, flag in zip(self.site.exits, self.flags, strict=True)
            )
        try:
            self.item = next(self.items)
        except StopIteration:
            if self.env is None:
                raise
            self.ended, self.live = True, False
            return self
        if any(isinstance(flag, Tracer) for flag in self.flags):
            self.before = self.env if self.env is not None else self._read(frame)
            self.condition = clear(self.trace, self.flags)
            self.arm = self.trace.open(self.site, loop=False)
        return self

    def _read(self, frame: FrameType | None) -> tuple[Any, ...]:
        assert frame is not None
        return self.site.read(frame)

    def take(self) -> Any:
        item, self.item = self.item, None
        return item

    def leave(self, *flags: Any) -> bool:
        self.flags = flags
        if self.arm is not None or any(isinstance(flag, Tracer) for flag in flags):
            return False
        return any(flags)

    def aborted(self) -> bool:
        return False


def clear(trace: Trace, flags: Sequence[Any]) -> Tracer:
    """That no flag is set."""
    return wrap(trace.run(lambda: _negated(_any(flags))))
