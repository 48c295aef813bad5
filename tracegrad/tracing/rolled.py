"""What loops have in common whose body is traced once for all trips.

Which names a loop carries shows only when the body has been traced: it is traced again with
these lifted to values of their own, until what a trip leaves has the types of what it found. Arrays
that are written to are carried by their memory, without a second attempt.
"""

from __future__ import annotations

import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from types import FrameType
from typing import Any

import numpy as np

from tracegrad.errors import NeedsValue, TracegradError, UnsupportedError
from tracegrad.ir.core import Operation, Value
from tracegrad.ir.threads import reads, substitute
from tracegrad.staging import UNBOUND, Site
from tracegrad.tracing.branching import INTERNAL_VALUE
from tracegrad.tracing.effects import Slot
from tracegrad.tracing.integers import TracedInt
from tracegrad.tracing.joining import (
    Clash,
    Leaf,
    Maybe,
    Node,
    Perhaps,
    Spec,
    Torn,
    Unset,
    arrays_in,
    as_leaf,
    converted,
    is_gone,
    join,
    leaf_types,
    local_size,
    paired,
    rebuilt,
    same,
    spec_of,
)
from tracegrad.tracing.memory import COPY, Memory, share_results
from tracegrad.tracing.state import Trace, user_location
from tracegrad.tracing.tracer import Tracer

__all__ = ["ABORTS", "Again", "Carried", "Rolled", "is_counting", "widest"]

_ATTEMPTS = 10

#: What the flags of jumps are called in generated source.
_SAID = {"break": "broke", "continue": "skipped", "return": "returned", "done": "done"}


class Again(BaseException):
    """A name was read before the body has bound it: trace the body again, with the name carried."""

    def __init__(self, loop: Any) -> None:
        self.loop = loop


ABORTS = (Again, UnsupportedError, NeedsValue)
"""What ends an attempt to trace a body once for all trips."""


class Carried:
    """What a loop carries of one name or slot."""

    __slots__ = ("entry", "inits", "params", "spec", "start")

    def __init__(self, spec: Spec, start: Any) -> None:
        self.spec = spec
        self.start = start
        self.inits: list[Value] = []
        self.params: list[Value] = []
        self.entry: Any = None


class Rolled(ABC):
    """The steps of a loop whose body is traced once, perhaps in several attempts."""

    unbound = UNBOUND
    env: tuple[Any, ...] | None = None
    live = True

    def __init__(self, trace: Trace, site: Site) -> None:
        self.trace = trace
        self.site = site
        self.phase = "start"
        self.lifted: dict[int, Carried] = {}
        self.slots: dict[Any, tuple[Slot, Carried]] = {}
        self.start: tuple[Any, ...] = ()
        self.flags: tuple[Any, ...] = ()
        self.aliases: dict[tuple[tuple[Any, int], Memory | tuple[Any, int]], None] = {}
        self.stale: dict[Memory, str] = {}
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
            if is_counting(value):
                self.lifted[k] = Carried(widest(value), value)
        return self._attempt()

    def _attempt(self) -> Any:
        trace = self.trace
        self.attempts += 1
        self.phase, self.live, self.flags = "trial", True, ()
        carried = [each for _, each in self._carried()]
        for each in carried:
            each.inits = trace.run(converted, each.spec, each.start)
        self.opened = trace.open(self.site, loop=True)
        self._leading_params()
        names: dict[int, str] = {k: self.site.names[k] for k in self.lifted}
        for k, each in enumerate(carried):
            hint = list(names.values())[k] if k < len(names) else ""
            if hint.startswith("__tracegrad"):  # a flag of a jump: called after what it says
                said = re.fullmatch(r"__tracegrad_([a-z]+)(_\d+)?__", hint)
                hint = _SAID.get(said[1], "") if said else ""
            each.params = [trace.build.param(type, hint) for type in leaf_types(each.spec)]
            each.entry = rebuilt(each.spec, iter(each.params))
        self._enter_memories()
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
        """Parameters of the region that stand before the carried values; by default none."""
        return

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

    @abstractmethod
    def _can_unroll(self) -> bool: ...

    def wanted(self, position: int) -> None:
        """A name without a value at the beginning of the loop is read in the body."""
        if position not in self.lifted:
            guess = Perhaps(Leaf(np.dtype(np.float64), (), True))
            self.lifted[position] = Carried(guess, UNBOUND)
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
        again = self._aliases_differ(end) or again
        if again:
            trace.undo(opened.mark)
            trace.settle(opened)
            if self.attempts >= _ATTEMPTS:
                return self._give_up("the types of what it carries change in every trip")
            self.lifted = dict(sorted(self.lifted.items()))
            return self._attempt()
        return self._finish(end)

    def _differences(self, end: tuple[Any, ...]) -> tuple[str | None, bool]:
        again = False
        for k, value in enumerate(end):
            name = self.site.names[k]
            found = self._difference(name, self.lifted.get(k), self.start[k], self.entry[k], value)
            if isinstance(found, str):
                return found, False
            if found is not None:
                self.lifted[k] = Carried(found, self.start[k])
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
                self.slots[slot.key] = slot, Carried(found, start)
                again = True
        return None, again

    def _difference(
        self, name: str, carried: Carried | None, start: Any, entry: Any, end: Any
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
        local = local_size(spec, self.opened.scope.region)
        if local is not None and carried is None and (start is UNBOUND or isinstance(start, Unset)):
            return None  # it can only live there
        spec = local or spec
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

    @abstractmethod
    def _unrolled(self) -> Any: ...

    # -- aliasing

    def _enter_memories(self) -> None:
        """What the carried arrays may be at the beginning of a trip, as far as is known by now."""
        trace = self.trace
        self.params: dict[tuple[Any, int], Memory] = {}
        for key, each in self._carried():
            for source, param in paired(each.start, each.entry):
                param.share_with(trace, source)
            for place, array in enumerate(arrays_in(each.entry)):
                assert array.memory is not None
                self.params[key, place] = array.memory
        for one, other in self.aliases:
            found = other if isinstance(other, Memory) else self.params.get(other)
            if one in self.params and found is not None:
                self.params[one].share(trace, found)
        for memory, why in self.stale.items():
            memory.set_stale(trace, why)

    def _aliases_differ(self, end: tuple[Any, ...]) -> bool:
        """Whether a trip may find memories to be one, or stale, and was not traced so.

        What a trip leaves the next one finds: there the memory of a carried array is the one that
        its name had at the end of the trip before.
        """
        known = len(self.aliases), len(self.stale)
        keys = {param: key for key, param in self.params.items()}
        ends = [pair for each, value in self._pairs(end) for pair in paired(value, each.entry)]
        for k, (last, param) in enumerate(ends):
            for memory in (last, *last.shares):
                if self._outlives(memory) and not param.may_be(memory):
                    self.aliases[keys[param], memory] = None
            for other_last, other in ends[:k]:
                if last.may_be(other_last) and not param.may_be(other):
                    self.aliases[keys[param], keys[other]] = None
        for memory, why in self.opened.stale.items():
            if memory in self.opened.touched and self._outlives(memory):
                self.stale.setdefault(memory, why)
        return known != (len(self.aliases), len(self.stale))

    def _outlives(self, memory: Memory) -> bool:
        return self.trace.is_visible(memory.region)

    def _carried(self) -> list[tuple[Any, Carried]]:
        """Names (by their position) and slots (by their key) that are carried."""
        return [*self.lifted.items(), *((key, each) for key, (_, each) in self.slots.items())]

    def _pairs(self, end: Sequence[Any]) -> list[tuple[Carried, Any]]:
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
        kept, settled = self._without_invariants(pairs, yields)
        inits = [v for k in kept for v in pairs[k][0].inits]
        opened.scope.region.yields = tuple(v for k in kept for v in yields[k])
        first = sum(len(pairs[k][0].params) for k in kept)
        with trace.build.at(user_location()):
            op, skipped = self._close(inits, first)
        trace.settle(opened)
        results = iter(op.results[skipped:])
        after: dict[int, Any] = {}
        for k, (each, _value) in enumerate(pairs):
            after[k] = rebuilt(each.spec, results) if k in kept else settled[k]
        self._share_results(pairs, kept, after)
        env = [
            start if start is UNBOUND or same(entry, value) or same(start, value) else value
            for start, entry, value in zip(self.start, self.entry, end, strict=True)
        ]
        for k, (start, value) in enumerate(zip(self.start, end, strict=True)):
            unset = [each is UNBOUND or isinstance(each, Unset) for each in (start, value)]
            if (
                unset == [True, False]
                and k not in self.lifted
                and self.site.names[k] in self.site.after
            ):
                where = f"after the loop of line {self.site.line}"
                why = "an array whose length is known only in a trip"
                env[k] = Torn(f"{where}, {self.site.names[k]!r} is {why}", COPY)
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
        self, pairs: list[tuple[Carried, Any]], yields: list[list[Value]]
    ) -> tuple[list[int], dict[int, Any]]:
        """Which of the carried are carried, and what the others are after the loop.

        They are what they were before it, or arrays from before it that each trip gives that name.
        """
        region = self.opened.scope.region
        kept: list[int] = []
        settled: dict[int, Any] = {}
        replaced: dict[Value, Value] = {}
        for k, (each, value) in enumerate(pairs):
            constant_ = not isinstance(value, Tracer) and same(each.start, value)
            alike = yields[k] == each.params and all(
                last is param for last, param in paired(value, each.entry)
            )
            if constant_ or alike:
                # What has no value of the IR (a constant) is known from its spec.
                settled[k] = each.start if each.params else each.entry
            elif self._is_renamed(each, value, yields):
                settled[k] = value
            else:
                kept.append(k)
                continue
            replaced.update(zip(each.params, each.inits, strict=True))
        if replaced:
            region.params = tuple(p for p in region.params if p not in replaced)
            substitute(region, replaced)
            for values in yields:
                values[:] = [replaced.get(v, v) for v in values]
            current = self.opened.scope.current
            for variable, value in current.items():
                current[variable] = replaced.get(value, value)
            self._replaced(replaced)
        return kept, settled

    def _is_renamed(self, each: Carried, value: Any, yields: list[list[Value]]) -> bool:
        """Whether each trip gives the name an array from before the loop, none reads the last."""
        if not isinstance(value, Tracer) or value.memory is None or is_gone(value):
            return False
        if not self._has_trip() or any(param in out for param in each.params for out in yields):
            return False
        return not reads(self.opened.scope.region, each.params)

    @abstractmethod
    def _replaced(self, replaced: dict[Value, Value]) -> None:
        """Values of the region gave way to others."""

    @abstractmethod
    def _close(self, inits: list[Value], explicit: int) -> tuple[Operation, int]:
        """Append the operation; and how many of its results come before the carried ones."""

    def _share_results(
        self,
        pairs: list[tuple[Carried, Any]],
        kept: list[int],
        after: dict[int, Any],
    ) -> None:
        """After the loop, a carried array may be one that was there before."""
        lasts, starts = [], []
        for k in kept:
            each, value = pairs[k]
            lasts += paired(value, after[k])
            starts += paired(each.start, after[k])
        share_results(self.trace, lasts)
        if not self._has_trip():
            share_results(self.trace, starts)


def _unwrapped(spec: Spec) -> Spec:
    return spec.child if isinstance(spec, Perhaps) else spec


def is_counting(value: Any) -> bool:
    """Whether a name that a loop binds anew is carried at the first attempt."""
    if isinstance(value, Tracer):
        return value.memory is None and value.dtype.kind != "b"
    if isinstance(value, tuple):
        return bool(value) and all(map(is_counting, value))
    return isinstance(value, int | float | TracedInt | np.number) and not isinstance(value, bool)


def widest(value: Any) -> Spec:
    """The spec of a number, tuple of numbers; a Python number becomes a value of its own."""
    if isinstance(value, tuple):
        return Node(type(value), (len(value),), tuple(map(widest, value)))
    leaf = as_leaf(spec_of(value))
    assert leaf is not None
    return leaf
