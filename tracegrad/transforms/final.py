"""Final elements: those that are read or written in a loop and never written again.

A loop that fills a table reads, in trip t, what earlier trips wrote::

    for t in range(1, n):            # or down, with t + 1; or a while loop that counts t
        ... a[t - 1] ...
        a[t] = ...

The element ``a[t - 1]`` has its last value then, so the way back can read it from the table as it
is after the loop, and need not store it. It is so for a read at ``t + r`` in some dimension, if
every write of the loop to the array is at ``t + w`` in this dimension, with w > r. With w = r, the
same must hold one loop further in: ``a[t, j - 1]`` is final where only ``a[t, j]`` is written. And
where no loop further in holds both, the write must stand before the read.

What is written to ``a[t]`` can be read from there as well, if the same can be said of the write:
each trip writes another element, and other writes reach it earlier, in this trip or before. Since
negative indices count from the end, it must be known of these that they are never negative: from
the bounds of the loops, and the conditions of the arms they stand in.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field

from tracegrad.ir.bounds import Bounds
from tracegrad.ir.core import Operation, Region, Value
from tracegrad.ir.rewrite import first_carried, leading
from tracegrad.transforms.hoist import WRITES
from tracegrad.transforms.primal import Primal, step_of, whole_number
from tracegrad.transforms.trips import DEEPEST


@dataclass(frozen=True)
class Final:
    """The final elements of a function.

    Attributes
    ----------
    reads : ``index`` operation → the array after the outermost loop, to be read in its place.
    writes : value → the array after the outermost loop that holds it, and where.
    """

    reads: dict[Operation, Value] = field(default_factory=dict)
    writes: dict[Value, tuple[Value, tuple[Value, ...]]] = field(default_factory=dict)


def final_elements(primal: Primal, bounds: Bounds) -> Final:
    """What the arrays that the outermost loops write still hold when they are done."""
    found = Final()
    order = _Order(primal, bounds)
    for op in primal.ops:
        if op.name in ("for", "while"):
            for k in range(len(op.results)):
                if op.results[k].rank:
                    _of_array(primal, order, op, k, found)
    return found


def _of_array(primal: Primal, order: _Order, loop: Operation, carried: int, found: Final) -> None:
    """The final elements of one carried array of a loop."""
    body = loop.regions[-1]
    versions = _versions(body, first_carried(loop) + carried, carried)
    if versions is None:
        return
    array = loop.results[carried]
    members = [op for op in body.walk() if op.operands and op.operands[0] in versions]
    writes = [op for op in members if op.name in WRITES]
    if not writes:
        return
    for op in members:
        if op.name == "index" and all(order(op, w) == EARLIER for w in writes):
            found.reads[op] = array
        elif op.name == "update":
            value, indices = op.operands[1], op.operands[2:]
            if (
                value.dtype.is_float
                and primal.region_of(value) is primal.home(op)
                and all(order(op, w) == (SAME if w is op else EARLIER) for w in writes)
                and all(map(_plain, indices))
            ):
                found.writes[value] = array, indices


EARLIER, SAME, UNKNOWN = "earlier", "same", "unknown"


class _Order:
    """When the element that an operation reads or writes is written by a ``write`` of the array."""

    def __init__(self, primal: Primal, bounds: Bounds) -> None:
        self.primal = primal
        self.bounds = bounds
        self._counted: dict[Operation, list[bool]] = {}

    def __call__(self, access: Operation, write: Operation) -> str:
        """In earlier trips only, or earlier in the same trip; as this very write; or not known."""
        paths = [[*self.primal.path(self.primal.home(op)), (op, None)] for op in (access, write)]
        offsets = list(zip(_places(access), _places(write), strict=False))
        counted = zip(self._never_negative(access), self._never_negative(write), strict=False)
        axes = [pair for pair, known in zip(offsets, counted, strict=False) if all(known)]
        for (op, region), (other, elsewhere) in zip(*paths, strict=False):
            if op is not other:
                region = self.primal.home(op)
                return EARLIER if _stands_before(region, other, op) else UNKNOWN
            if region is not elsewhere:
                return EARLIER if op.name == "if" else UNKNOWN  # one trip takes one arm
            if op.name == "if" or region is None:
                continue
            behind = [
                (w - r) * step
                for index, step in _indices(op)
                for r, w in ((_offset(a, index), _offset(b, index)) for a, b in axes)
                if r is not None and w is not None
            ]
            if any(b > 0 for b in behind):
                return EARLIER
            if 0 not in behind:
                return UNKNOWN
        return SAME

    def _never_negative(self, access: Operation) -> list[bool]:
        """Which indices of an access never count from the end."""
        if access not in self._counted:
            with ExitStack() as stack:
                for op, region in self.primal.path(self.primal.home(access)):
                    stack.enter_context(self.bounds.within(op, region))
                at = [self.bounds.polynomial(i) for i in _places(access)]
                self._counted[access] = [
                    a is not None and self.bounds.never_negative(a) for a in at
                ]
        return self._counted[access]


def _places(access: Operation) -> tuple[Value, ...]:
    return access.operands[2 if access.name in WRITES else 1 :]


def _stands_before(region: Region, first: Operation, second: Operation) -> bool:
    return region.ops.index(first) < region.ops.index(second)


def _versions(body: Region, param: int, carried: int) -> set[Value] | None:
    """The versions of a carried array within a body, if nothing else is carried into them."""
    versions = {body.params[param]}
    if not _follow(body, versions):
        return None
    yielded = [k for k, v in enumerate(body.yields) if v in versions]
    return versions if yielded == [carried] else None


def _follow(region: Region, versions: set[Value]) -> bool:
    """Add what becomes of the versions in a region; False if one is mixed with other arrays."""
    for op in region.ops:
        if op.name in (*WRITES, "ensure") and op.operands[0] in versions:
            versions.add(op.result)
        elif op.name == "if":
            if not all(_follow(arm, versions) for arm in op.regions):
                return False
            for result, *values in zip(op.results, *(a.yields for a in op.regions), strict=True):
                members = [v in versions for v in values]
                if any(members):
                    if not all(members):
                        return False
                    versions.add(result)
        elif op.regions:
            inner = op.regions[-1]
            inits = op.operands[leading(op) :]
            start = [v in versions for v in inits]
            for region_ in op.regions:
                params = region_.params[first_carried(op) :]
                versions.update(p for p, member in zip(params, start, strict=True) if member)
            if not all(_follow(r, versions) for r in op.regions):
                return False
            if [v in versions for v in inner.yields] != start:
                return False
            versions.update(r for r, member in zip(op.results, start, strict=True) if member)
    return True


def _plain(index: Value, depth: int = DEEPEST) -> bool:
    """Whether an index is made of trips and sizes only, so that it needs nothing else."""
    op = index.op
    if op is None or op.name in ("const", "dim"):
        return True
    return (
        depth > 0
        and op.name in ("add", "subtract", "multiply")
        and all(_plain(v, depth - 1) for v in op.operands)
    )


def _indices(loop: Operation) -> list[tuple[Value, int]]:
    """The values that change by 1 or -1 in each trip, with this step.

    They are the index of a ``for``, the carried values of a ``while`` that count.
    """
    if loop.name == "for":
        step = whole_number(loop.operands[2])
        return [(loop.regions[0].params[0], step)] if step in (1, -1) else []
    body = loop.regions[1]
    pairs = zip(body.params, body.yields, strict=True)
    return [(param, 1) for param, after in pairs if step_of(param, after, frozenset()) == 1]


def _offset(value: Value, index: Value) -> int | None:
    """``c`` when ``value`` is ``index + c``."""
    if value is index:
        return 0
    op = value.op
    if op is None or op.name not in ("add", "subtract"):
        return None
    left, right = op.operands
    if op.name == "add" and right is index:
        left, right = right, left
    number = whole_number(right)
    if left is not index or number is None:
        return None
    return number if op.name == "add" else -number
