"""Loops: the body is traced once, for all trips (``rolled``), or trip by trip (``unrolled``).

A body that can't be traced once (it needs the index as a Python int, it appends to a list) is
unrolled where the number of trips is known.

docs/decisions/0005-staging-control-flow.md tells what staged code asks of these objects, and
0010-tracing-loops.md what is decided here.
"""

from __future__ import annotations

from typing import Any

from tracegrad.staging import Site
from tracegrad.tracing.integers import is_integer
from tracegrad.tracing.iteration import Items
from tracegrad.tracing.rolled_for import RolledFor
from tracegrad.tracing.rolled_while import RolledWhile
from tracegrad.tracing.state import Trace
from tracegrad.tracing.unrolled import Unrolled

__all__ = ["for_loop", "while_loop"]

_UNROLL_AT_MOST = 3


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
