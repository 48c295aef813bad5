"""Blocks of arrays: what a view reads, and what is written at ranges of indices.

The index values of ``a[k, i:] = v`` are an array full of k and one that counts from i. Each is a
sum of scalars, and of a range along one axis: a `Place`. So the write needs no index values in
memory, and whether two blocks have an element in common is a question about their ends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from tracegrad.ir.bounds import Bounds
from tracegrad.ir.core import Operation, Value
from tracegrad.ir.types import Dim, Shape, i64

Term: TypeAlias = "tuple[Value | Dim, int]"

MARGIN = 8
"""A window of nearly all of an array leaves out at most so many places of each dimension."""


@dataclass(frozen=True)
class Place:
    """Index values along one dimension: ``offset + step * (place along axis)``.

    Attributes
    ----------
    axis : of the array of index values; None if these are all the same.
    terms : scalars and sizes with factors; the offset is their sum.
    within : a size that all of the index values are less than; none is negative then.
    """

    axis: int | None
    step: int
    terms: tuple[Term, ...]
    within: Dim | None = None

    def moved(self, terms: Sequence[Term], factor: int = 1) -> Place:
        scaled = ((term, by * factor) for term, by in terms)
        return Place(self.axis, self.step, (*self.terms, *(t for t in scaled if t[0] != 0)))

    def times(self, factor: int) -> Place:
        return Place(self.axis, self.step * factor, ()).moved(self.terms, factor)

    def values(self) -> list[Value]:
        """The scalars in the offset."""
        return [term for term, _ in self.terms if isinstance(term, Value)]

    def offset(self, bounds: Bounds) -> Dim | None:
        """The offset over sizes and loop indices, if it is known."""
        total: Dim = 0
        for term, factor in self.terms:
            known = bounds.polynomial(term) if isinstance(term, Value) else bounds.meaning(term)
            if known is None:
                return None
            total = total + known * factor
        return total

    def ends(self, bounds: Bounds, shape: Shape) -> tuple[Dim, Dim] | None:
        """The first and the last index, where there is one at all, the lesser first."""
        first = self.offset(bounds)
        if first is None or self.axis is None:
            return None if first is None else (first, first)
        last = first + (bounds.meaning(shape[self.axis]) - 1) * self.step
        return (first, last) if self.step > 0 else (last, first)

    def is_inside(self, bounds: Bounds, shape: Shape, size: Dim) -> bool:
        """Whether all index values, if there are any, are positions in ``range(size)``."""
        if self.within == size:
            return True
        ends = self.ends(bounds, shape)
        return (
            ends is not None
            and bounds.never_negative(ends[0])
            and bounds.never_negative(bounds.meaning(size) - 1 - ends[1])
        )


def place(index: Value) -> Place | None:
    """The place that index values are, if they are one."""
    op = index.op
    if index.dtype is not i64:
        return None
    if not index.rank:
        return Place(None, 0, ((index, 1),))
    if op is None:
        return None
    if op.name == "iota":
        return Place(0, 1, (), op.attributes["size"])
    if op.name == "view":
        base = place(op.operands[0])
        if base is None or base.axis is None:
            return base
        axis, start, step = op.attributes["map"][base.axis]
        terms = base.moved([(start, base.step)]).terms
        if axis is None:
            return Place(None, 0, terms, base.within)
        return Place(axis, base.step * step, terms, base.within)
    if op.name in ("add", "subtract"):
        one, other = op.operands
        return _combined(one, other, 1 if op.name == "add" else -1)
    if op.name == "negative":
        base = place(op.operands[0])
        return None if base is None else base.times(-1)
    if op.name == "multiply":
        for one, other in (op.operands, op.operands[::-1]):
            factor = _number(other)
            base = None if factor is None else place(one)
            if base is not None and factor is not None:
                return base.times(factor)
    return None


def _combined(one: Value, other: Value, sign: int) -> Place | None:
    left, right = place(one), place(other)
    if left is None or right is None:
        return None
    right = right.times(sign)
    if left.axis is not None and right.axis is not None:
        return None
    if left.axis is None:
        left, right = right, left
    return left.moved(right.terms)


def _number(value: Value) -> int | None:
    while value.op is not None and value.op.name == "view":
        (value,) = value.op.operands
    if value.op is None or value.op.name != "const":
        return None
    number = value.op.attributes["value"]
    return number if isinstance(number, int) else None


@dataclass(frozen=True)
class Block:
    """A part of an array that has ends along each of its leading dimensions.

    Attributes
    ----------
    places : of the dimensions that are not whole.
    shape : of the part.
    """

    places: tuple[Place, ...]
    shape: Shape


def block_of(op: Operation) -> Block | None:
    """The block that a ``view`` or ``index`` reads, or an ``update`` or ``accumulate`` writes."""
    if op.name == "view":
        places = [
            Place(axis, 0 if axis is None else step, ((offset, 1),) if offset != 0 else ())
            for axis, offset, step in op.attributes["map"]
        ]
        return Block(tuple(places), op.attributes["shape"])
    if op.name == "index":
        indices, shape = op.operands[1:], op.result.shape
    elif op.name in ("update", "accumulate"):
        indices, shape = op.operands[2:], op.operands[1].shape
    else:
        return None
    found = [place(index) for index in indices]
    known = [each for each in found if each is not None]
    return Block(tuple(known), shape) if len(known) == len(found) else None


def covers(block: Block, axes: int) -> bool:
    """Whether each of the ``axes`` of the index values is one that a dimension counts along."""
    return sorted(p.axis for p in block.places if p.axis is not None) == list(range(axes))


def apart(one: Block, other: Block, bounds: Bounds) -> bool:
    """Whether two blocks of an array have no element in common."""
    for left, right in zip(one.places, other.places, strict=False):
        mine, its = left.ends(bounds, one.shape), right.ends(bounds, other.shape)
        if mine is None or its is None:
            continue
        if not (bounds.never_negative(mine[0]) and bounds.never_negative(its[0])):
            continue  # a negative index would count from the end
        if bounds.never_negative(mine[0] - its[1] - 1) or bounds.never_negative(
            its[0] - mine[1] - 1
        ):
            return True
    return False


def alike(one: Block, other: Block, bounds: Bounds) -> bool:
    """Whether two blocks are the same, element by element."""
    if one.shape != other.shape:
        return False
    shared = min(len(one.places), len(other.places))
    whole = (*one.places[shared:], *other.places[shared:])
    lead = len(one.shape) - len(whole)
    if any(p.terms or p.step != 1 or p.axis != lead + k for k, p in enumerate(whole)):
        return False
    for left, right in zip(one.places, other.places, strict=False):
        start, begin = left.offset(bounds), right.offset(bounds)
        if start is None or start != begin or (left.axis, left.step) != (right.axis, right.step):
            return False
    return True


def read_in_place(
    value: Value, write: Operation, users: Callable[[Value], Sequence[object]]
) -> set[Operation]:
    """What is read element by element for ``value``, which is written, and by nothing else."""
    chain: dict[Value, None] = {}
    pending = [value]
    while pending:
        each = pending.pop()
        if each in chain:
            continue
        chain[each] = None
        if each.op is not None and each.op.opdef.kind == "elementwise":
            pending += [v for v in each.op.operands if v.rank]

    def only_here(value: Value) -> bool:
        return all(
            user is write
            or (
                isinstance(user, Operation)
                and user.opdef.kind == "elementwise"
                and all(r in chain and only_here(r) for r in user.results)
            )
            for user in users(value)
        )

    return {v.op for v in chain if v.op is not None and v is not value and only_here(v)} | (
        {value.op} if value.op is not None and list(users(value)) == [write] else set()
    )


def nearly_all(shape: Shape, part: Shape, window: Sequence[tuple[int | None, Dim, int]]) -> bool:
    """Whether a window, the map of a view, leaves out but a few places of each dimension.

    So it must be whatever the sizes are.
    """
    for size, (axis, _, step) in zip(shape, window, strict=True):
        left_out = size - (1 if axis is None else part[axis])
        if abs(step) != 1 or not isinstance(left_out, int) or left_out > MARGIN:
            return False
    return True
