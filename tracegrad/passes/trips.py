"""What passes ask about the trips of a loop whose bounds are sizes."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from tracegrad import ops
from tracegrad.ir.core import Guard, Operation, Value
from tracegrad.ir.rewrite import Rewriter
from tracegrad.ir.sizes import no_less_than_zero
from tracegrad.ir.types import Dim, never_negative, symbols
from tracegrad.ops.access import view_of
from tracegrad.ops.constants import dim_value
from tracegrad.passes.values import dimension, number


@dataclass(frozen=True)
class Trips:
    """The trips of a ``for`` by steps of 1 or -1.

    Attributes
    ----------
    count : how many there are.
    first : the lowest index.
    index : the parameter that is the index.
    inside : the values that the body defines.
    """

    count: Dim
    first: Dim
    index: Value
    inside: frozenset[Value]

    @classmethod
    def of(cls, op: Operation, known: Collection[str], guards: Iterable[Guard]) -> Trips | None:
        """The trips of ``op``, if its bounds are sizes of ``known`` symbols."""
        lo, hi = (dimension(v) for v in op.operands[:2])
        step = number(op.operands[2])
        if lo is None or hi is None or step not in (1, -1):
            return None
        if any(name not in known for name in (*symbols(lo), *symbols(hi))):
            return None
        count, first = (hi - lo, lo) if step == 1 else (lo - hi, hi + 1)
        (body,) = op.regions
        inside = frozenset((*body.params, *(r for o in body.ops for r in o.results)))
        return cls(no_less_than_zero(count, guards), first, body.params[0], inside)

    def number(self, index: Value) -> Value:
        """Append the number of the trip, counted from the lowest index, from its index."""
        return index if self.first == 0 else index - dim_value(self.first)

    def is_number(self, place: Value) -> bool:
        """Whether ``place`` is the number of the trip."""
        return self._offset(place) == -1 * self.first

    # --- arrays from outside that have a place for each trip

    def standing(self, value: Value) -> tuple[Operation, Dim] | None:
        """The ``index`` that reads ``value``, one place of an array per trip, and the first.

        None if ``value`` is something else, or a place may be out of range.
        """
        op = value.op
        if op is None or op.name != "index" or op.operands[0] in self.inside:
            return None
        array, *outer, last = op.operands
        if last.rank or any(v in self.inside for v in outer):
            return None
        offset = self._offset(last)
        if offset is None:
            return None
        start = self.first + offset
        left = array.shape[len(outer)] - (start + self.count)
        return (op, start) if never_negative(start) and never_negative(left) else None

    def _offset(self, index: Value) -> Dim | None:
        """How far ``index`` is from the index of the loop."""
        if index is self.index:
            return 0
        op = index.op
        if op is None or op.name not in ("add", "subtract"):
            return None
        left, right = op.operands
        if left is not self.index and op.name == "add":
            left, right = right, left
        away = dimension(right)
        if left is not self.index or away is None:
            return None
        return away if op.name == "add" else -away

    def rows(self, build: Rewriter, read: Operation, start: Dim) -> Value:
        """Append, outside of the loop, what ``read`` reads in all trips, by ascending index."""
        array, *outer = build.mapped(read.operands[:-1])
        if outer:
            array = ops.index(array, *outer)
        shape = (self.count, *array.shape[1:])
        return view_of(array, shape, [(d, 0 if d else start, 1) for d in range(array.rank)])
