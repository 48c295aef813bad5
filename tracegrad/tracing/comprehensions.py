"""Comprehensions traced once for all trips: folds (``sum``, ``max``, …) and lists."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tracegrad.errors import NeedsValue, UnsupportedError
from tracegrad.ir.types import i64, scalar
from tracegrad.staging import PlainFold, Site
from tracegrad.tracing.integers import TracedInt, is_integer
from tracegrad.tracing.iteration import Enumerated, Items, as_items
from tracegrad.tracing.lists import RolledList
from tracegrad.tracing.numpy_creation import empty
from tracegrad.tracing.state import Trace
from tracegrad.tracing.tracer import Tracer
from tracegrad.tracing.values import lift

__all__ = ["Fold", "fold_of"]

_UNROLL_AT_MOST = 64  # the list is then one of Python's own
_FOLDS = (builtins.sum, builtins.max, builtins.min, builtins.any, builtins.all)


class Fold(PlainFold):
    """A comprehension in whose place a loop runs."""

    __slots__ = ("_run",)

    folds = True

    def __init__(self, run: Callable[..., Any]) -> None:
        self._run = run

    def of(self, *start: Any) -> Any:
        return self._run(*start)


def fold_of(
    trace: Trace, function: Any, loop: Callable[..., Any], items: Any, site: Site
) -> Fold | None:
    """How a loop does what ``function`` (None: a list) does; None if the comprehension has to."""
    over = as_items(items)
    if over is None or not over.rolls:
        return None
    if function is None:
        found = _listed(trace, loop, over, site)
        return None if found is None else Fold(lambda: found)
    if not any(function is each for each in _FOLDS):
        return None
    return Fold(lambda *start: loop(over, *start))


def _listed(trace: Trace, loop: Callable[..., Any], items: Items, site: Site) -> RolledList | None:
    count = items.count()
    if not is_integer(count) or (isinstance(count, int) and count <= _UNROLL_AT_MOST):
        return None
    item = _item_of(trace, loop, items, site)
    if item is None:
        return None
    array = empty((count, *item.shape), item.dtype)
    loop(Enumerated(items, 0), array)
    return RolledList(array, item.depth)


class _Item(NamedTuple):
    """What each trip makes: an array, a number, or a list of ``depth - 1`` levels of these."""

    dtype: Any
    shape: tuple[Any, ...]
    depth: int


class _Recorder:
    """In place of the array: takes the item of one trip."""

    item: Any = None

    def __setitem__(self, key: Any, value: Any) -> None:
        self.item = value


def _item_of(trace: Trace, loop: Callable[..., Any], items: Items, site: Site) -> _Item | None:
    """What an item is; None if it is no array of its own, or can't be made by one trace.

    The body is traced in a region that is then forgotten.
    """
    depth, mark = len(trace.opened), len(trace.journal)
    masks = len(trace.masks)
    opened = trace.open(site, loop=True)
    try:
        index = Tracer(trace.build.param(scalar(i64), "i"), weak=True)
        recorder = _Recorder()
        loop([(index, items.item(index))], recorder)
        depth_of_item = _levels(recorder.item)
        if depth_of_item is None:
            return None
        value = lift(recorder.item)
        if len(trace.masks) > masks or trace.spans.bound_in(value.value.shape):
            return None  # of a size that is known in the trip only
        memory = value.memory
        if memory is not None and memory.region is not opened.scope.region:
            return None  # an array that was there before: the list would share it
        return _Item(value.dtype, value.shape, depth_of_item)
    except (UnsupportedError, NeedsValue):
        return None
    finally:
        trace.abandon(depth)
        trace.undo(mark)


def _levels(item: Any) -> int | None:
    """1 for a number or an array, 2 for a list of these; None for anything else."""
    if isinstance(item, Tracer | TracedInt | bool | int | float | np.generic):
        return 1
    if isinstance(item, RolledList):
        return item.depth + 1
    if not isinstance(item, list) or not item:
        return None
    levels = {_levels(each) for each in item}
    inner = levels.pop()
    return None if levels or inner is None else inner + 1
