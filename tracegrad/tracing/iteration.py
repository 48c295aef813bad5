"""What ``for`` loops run over: ranges, arrays, and ``enumerate``, ``zip``, ``reversed`` of them.

Each is a count of trips and an item for each, for an index that is known at run time only; and it
is an ordinary Python iterable as well, for loops that can't be rolled.
"""

from __future__ import annotations

import builtins
import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np

from tracegrad.errors import ArgumentError, NeedsValue
from tracegrad.ir.types import floor_div
from tracegrad.tracing.dispatch import implements
from tracegrad.tracing.integers import TracedInt, as_dim, dim_or_int, is_integer
from tracegrad.tracing.lists import RolledList
from tracegrad.tracing.state import active
from tracegrad.tracing.tracer import Tracer
from tracegrad.tracing.values import operand

__all__ = ["Items", "as_items", "in_segments"]

Bound = Any
"""An int, a symbolic integer, or a traced scalar."""


class Items(ABC):
    """Items that a loop can run over without being unrolled, if it ``rolls``.

    Attributes
    ----------
    segments : in how many segments the loop is reversed, if it is one of `checkpoint`.
    """

    rolls = True
    segments: int | None = None

    def in_segments(self, count: int) -> Items:
        """The same items for a loop of `checkpoint`."""
        made = copy.copy(self)
        made.segments = count
        return made

    def bounds(self) -> tuple[Bound, Bound, Bound]:
        """``lo, hi, step`` of the loop's index."""
        return 0, self.count(), 1

    @abstractmethod
    def count(self) -> Bound:
        """The number of trips."""

    @abstractmethod
    def item(self, index: Any) -> Any:
        """The item at an index between the bounds."""

    def __len__(self) -> int:
        return int(self.count())

    def __iter__(self) -> Iterator[Any]:
        lo, hi, step = self.bounds()
        if isinstance(lo, Tracer) or isinstance(hi, Tracer) or isinstance(step, Tracer):
            raise NeedsValue(
                "the number of trips is only known at run time, and Python needs it here",
                way_out="loop with a plain for statement over range(n)",
            )
        for index in range(int(lo), int(hi), int(step)):
            yield self.item(index)


class Range(Items):
    """``range`` with bounds that are not all plain ints."""

    def __init__(self, lo: Bound, hi: Bound, step: Bound) -> None:
        self.lo, self.hi, self.step = lo, hi, step
        if not isinstance(step, Tracer) and step == 0:
            raise ValueError("range() arg 3 must not be zero")

    def bounds(self) -> tuple[Bound, Bound, Bound]:
        return self.lo, self.hi, self.step

    def item(self, index: Any) -> Any:
        return index

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, slice):
            raise NeedsValue(
                "a slice of a range whose bounds are not all known", way_out="write range(...) anew"
            )
        return self.lo + (key if key >= 0 else self.count() + key) * self.step

    def count(self) -> Bound:
        lo, hi, step = self.lo, self.hi, self.step
        if isinstance(step, Tracer):
            raise NeedsValue(
                "the number of trips of a range with a step that is known only at run time",
                way_out="make the step static",
            )
        by = int(step)
        extent = hi - lo if by > 0 else lo - hi
        if is_integer(extent):
            if extent <= 0:
                return 0
            return dim_or_int(floor_div(as_dim(extent) + (abs(by) - 1), abs(by)))
        return np.maximum((extent + (abs(by) - 1)) // abs(by), 0)


class Elements(Items):
    """The first axis of an array."""

    def __init__(self, array: Tracer) -> None:
        if not array.ndim:
            raise TypeError("iteration over a 0-d array")
        self.array = array

    def count(self) -> Bound:
        return dim_or_int(self.array.value.shape[0])

    def item(self, index: Any) -> Any:
        return self.array[index]


class ListItems(Elements):
    """The items of a list that is kept as an array."""

    def __init__(self, items: RolledList) -> None:
        super().__init__(items.array)
        self.items = items

    def item(self, index: Any) -> Any:
        return self.items[index]


class Listed(Items):
    """A Python sequence beside arrays or ranges: one trip per item."""

    rolls = False

    def __init__(self, sequence: Any) -> None:
        self.sequence = sequence

    def count(self) -> Bound:
        return len(self.sequence)

    def item(self, index: Any) -> Any:
        return self.sequence[index]


class Ordinal(Items):
    """Items counted from 0, whatever the index of the items is."""

    def __init__(self, items: Items) -> None:
        self.items = items
        self.lo, _, self.step = items.bounds()

    def count(self) -> Bound:
        return self.items.count()

    def item(self, index: Any) -> Any:
        return self.items.item(self.lo + index * self.step)


class Enumerated(Items):
    """``enumerate(items, start)``."""

    def __init__(self, items: Items, start: Any) -> None:
        self.items = Ordinal(items) if isinstance(items, Range) else items
        self.rolls, self.segments = items.rolls, items.segments
        self.start = start

    def count(self) -> Bound:
        return self.items.count()

    def item(self, index: Any) -> Any:
        shift = isinstance(self.start, int) and self.start == 0
        return (index if shift else self.start + index, self.items.item(index))


class Zipped(Items):
    """``zip(...)``: as many trips as the shortest has."""

    def __init__(self, parts: tuple[Items, ...]) -> None:
        self.parts = tuple(Ordinal(p) if isinstance(p, Range) else p for p in parts)
        self.rolls = all(part.rolls for part in parts)
        self.segments = next((p.segments for p in parts if p.segments is not None), None)

    def count(self) -> Bound:
        counts = [part.count() for part in self.parts]
        shortest = counts[0]
        for other in counts[1:]:
            if is_integer(shortest) and is_integer(other):
                shortest = other if other < shortest else shortest
            else:
                shortest = np.minimum(shortest, other)
        return shortest

    def item(self, index: Any) -> Any:
        return tuple(part.item(index) for part in self.parts)


class Reversed(Items):
    """``reversed(items)``."""

    def __init__(self, items: Items) -> None:
        self.items = Ordinal(items) if isinstance(items, Range) else items
        self.rolls, self.segments = items.rolls, items.segments

    def count(self) -> Bound:
        return self.items.count()

    def item(self, index: Any) -> Any:
        return self.items.item(self.count() - 1 - index)


def as_items(iterable: Any) -> Items | None:
    """``iterable`` for a loop that is not unrolled; None if it can only be unrolled."""
    if isinstance(iterable, Items):
        return iterable
    if isinstance(iterable, range):
        return Range(iterable.start, iterable.stop, iterable.step)
    if isinstance(iterable, Tracer):
        return Elements(iterable)
    if isinstance(iterable, RolledList):
        return ListItems(iterable)
    return None


def in_segments(iterable: Any, segments: int) -> Any:
    """``iterable`` for a loop of `checkpoint`; outside of a trace as it is."""
    if not active():
        found = iterable if hasattr(iterable, "__iter__") else None
    else:
        if isinstance(iterable, np.ndarray):
            iterable = operand(iterable)
        items = as_items(iterable)
        found = None if items is None else items.in_segments(segments)
    if found is None:
        raise ArgumentError(
            f"checkpoint can't run over {type(iterable).__name__}",
            way_out="give a function, a range or an array, or enumerate or zip of these",
        )
    return found


# --- the built-ins ----------------------------------------------------------------------------


@implements(range, always=True)
def range_(*args: Any) -> Any:
    if not any(isinstance(x, Tracer | TracedInt) for x in args):
        return builtins.range(*args)
    for each in args:
        if isinstance(each, Tracer) and (each.ndim or each.dtype.kind not in "iu"):
            raise TypeError(f"{each.dtype.name!r} object cannot be interpreted as an integer")
    if len(args) == 1:
        return Range(0, args[0], 1)
    lo, hi, *step = args
    return Range(lo, hi, *step) if step else Range(lo, hi, 1)


@implements(enumerate, always=True)
def enumerate_(iterable: Any, start: Any = 0) -> Any:
    items = as_items(iterable)
    if items is None:
        return builtins.enumerate(iterable, start)
    return Enumerated(items, start)


@implements(zip, always=True)
def zip_(*iterables: Any, strict: bool = False) -> Any:
    parts = [as_items(each) for each in iterables]
    if any(part is not None for part in parts):
        parts = [
            Listed(each) if part is None and isinstance(each, list | tuple) else part
            for each, part in zip(iterables, parts, strict=True)
        ]
    if not parts or any(part is None for part in parts):
        return builtins.zip(*iterables, strict=strict)
    known = [part for part in parts if part is not None]
    if strict:
        first, *rest = (part.count() for part in known)
        for number, other in enumerate(rest, 2):
            if not (is_integer(first) and is_integer(other)) or first != other:
                raise ValueError(f"zip() argument {number} is shorter or longer than argument 1")
    return Zipped(tuple(known))


@implements(reversed, always=True)
def reversed_(sequence: Any, /) -> Any:
    items = as_items(sequence)
    return builtins.reversed(sequence) if items is None else Reversed(items)
