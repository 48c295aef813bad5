"""A ``while`` whose body is traced once for all trips, once what decides is traced."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

from tracegrad.errors import UnsupportedError
from tracegrad.ir.core import Operation, Region, Value
from tracegrad.ir.types import boolean, scalar
from tracegrad.ops.control import branch, while_
from tracegrad.ops.registry import constant
from tracegrad.staging import PlainWhile, Site
from tracegrad.tracing.branching import condition_of, is_harmless
from tracegrad.tracing.flags import any_flag, both, negated, replaced_flag
from tracegrad.tracing.joining import same
from tracegrad.tracing.rolled import Carried, Rolled, is_counting, widest
from tracegrad.tracing.state import Trace
from tracegrad.tracing.tracer import Tracer
from tracegrad.tracing.unrolled import Growth

__all__ = ["RolledWhile"]


class RolledWhile(Rolled):
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
                if is_counting(value):
                    self.lifted[k] = Carried(widest(value), value)
            return self._attempt()
        raise StopIteration

    def _plain_trip(self, frame: FrameType | None) -> Any:
        if frame is not None:
            self.start = self._read(frame)
        self.mark = len(self.trace.journal)
        if self.phase != "plain":
            self.growth = Growth(self.trace, self.site, self.reason)
        self.growth.trip()
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
                left = any_flag(self.flags)
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
                return negated(env[over])
            if self._head_is_harmless(head):
                return both(replay(env), negated(env[over]))
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
        return is_harmless(Region((), head, ()))

    def _replaced(self, replaced: dict[Value, Value]) -> None:
        self.flags = tuple(replaced_flag(flag, replaced) for flag in self.flags)
        replaced_flag(self.condition, replaced)

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
