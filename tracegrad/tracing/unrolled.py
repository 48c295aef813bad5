"""Loops whose trips are traced one by one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

from tracegrad.staging import UNBOUND, Site
from tracegrad.tracing.branching import choose
from tracegrad.tracing.flags import clear
from tracegrad.tracing.state import Opened, Trace
from tracegrad.tracing.tracer import Tracer

__all__ = ["Unrolled"]


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
