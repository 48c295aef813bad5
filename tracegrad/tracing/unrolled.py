"""Loops whose trips are traced one by one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

from tracegrad.errors import TraceError, TracegradError
from tracegrad.staging import UNBOUND, Site
from tracegrad.tracing.branching import choose
from tracegrad.tracing.flags import clear
from tracegrad.tracing.state import Opened, Trace
from tracegrad.tracing.tracer import Tracer

__all__ = ["Growth", "Unrolled"]

MOST_STATEMENTS = 50_000
"""How many statements the trips of one loop may become before it is refused."""


class Growth:
    """Watches how many statements a loop makes that is traced trip by trip.

    All trips of such a loop stand in the program, one after the other: a long one would take
    gigabytes of memory and hours of compiling.
    """

    def __init__(self, trace: Trace, site: Site, reason: TracegradError | None) -> None:
        self.trace = trace
        self.site = site
        self.reason = reason
        self.trips = 0
        self.start = trace.build.appended

    def trip(self) -> None:
        """Count a trip; raise if the trips so far are too many statements."""
        made = self.trace.build.appended - self.start
        if made <= MOST_STATEMENTS:
            self.trips += 1
            return
        why = "it runs over Python objects, not over range(...) or an array"
        way_out = "loop over range(...), and keep what the trips make in an array made before it"
        if self.reason is not None:
            why = self.reason.message.rstrip(".")
            way_out = self.reason.way_out or way_out
        raise TraceError(
            f"the loop of line {self.site.line} is traced trip by trip, and its first "
            f"{self.trips} trips are {made} statements: too many to compile. It can't be traced "
            f"once for all trips: {why}",
            way_out=f"{way_out}; or give the loop to tracegrad.custom_vjp as a function of its own",
        )


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
        reason: TracegradError | None = None,
    ) -> None:
        self.trace = trace
        self.growth = Growth(trace, site, reason)
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
            self.growth.trip()
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
