"""A ``for`` whose body is traced once for all trips."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from tracegrad.ir.core import Operation, Value
from tracegrad.ir.types import Dim, boolean, i64, scalar
from tracegrad.ops.control import for_, while_
from tracegrad.ops.registry import REGISTRY, constant
from tracegrad.staging import Site
from tracegrad.tracing.flags import any_flag, both, negated, replaced_flag
from tracegrad.tracing.integers import as_dim, is_integer
from tracegrad.tracing.iteration import Items, Range
from tracegrad.tracing.ranges import known_bounds
from tracegrad.tracing.rolled import Rolled
from tracegrad.tracing.state import Trace
from tracegrad.tracing.tracer import Tracer
from tracegrad.tracing.unrolled import Unrolled
from tracegrad.tracing.values import cast, lift

__all__ = ["RolledFor"]

_PIN_AT_MOST = 64


class RolledFor(Rolled):
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
        # What a loop over an array binds is an element, not the place of one.
        hint = target[0] if len(target) == 1 and isinstance(self.items, Range) else "i"
        if not hint.isidentifier() or hint.startswith("_"):
            hint = "i"
        self.index = trace.build.param(scalar(i64), hint)
        trace.ranges[self.index] = self._range()
        trace.spans.loops[self.index] = (self.operands[0], self.operands[1], self.operands[2])

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
        return len(range(*numbers)) <= _PIN_AT_MOST  # type: ignore[arg-type]  # all are known

    def _unrolled(self) -> Any:
        self.rest = Unrolled(self.trace, self.site, iter(self.items), self.start, self.reason)
        self.phase = "unrolled"
        return self.rest.advance(None)

    def _exits(self) -> bool:
        return any(isinstance(flag, Tracer) or flag for flag in self.flags)

    def _close(self, inits: list[Value], explicit: int) -> tuple[Operation, int]:
        trace, scope = self.trace, self.opened.scope
        lo, hi, step = self.operands
        segments = self.items.segments
        marks = {} if segments is None else {"segments": segments}
        if not self._exits():
            bounds = [lo, hi, step]
            return trace.build.close_loop(scope, for_, [*bounds, *inits], explicit, marks), 0
        region = scope.region
        over = Value(scalar(boolean))
        region.params = (region.params[0], over, *region.params[1:])
        with trace.reopened(self.opened):
            following = REGISTRY["add"](self.index, step)
            left = any_flag(self.flags)
        region.yields = (following, left, *region.yields)

        def goes_on(env: dict[Value, Value]) -> Value:
            return both(self._within(env[self.index]), negated(env[over]))

        operands = [lo, constant(False, boolean), *inits]
        op = trace.build.close_while(scope, while_, operands, explicit + 2, goes_on, marks)
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
        self.flags = tuple(replaced_flag(flag, replaced) for flag in self.flags)
