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

Blocks (``a[i, :i]`` where rows and columns from i on are written) are compared by their ends, which
are sums of loop indices: an element that is read must be in no block that is written later, be it
in a later trip of one of the loops around both, or in the same.

What is written to ``a[t]`` can be read from there as well, if the same can be said of the write:
each trip writes another element, and other writes reach it earlier, in this trip or before. Since
negative indices count from the end, it must be known of these that they are never negative: from
the bounds of the loops, and the conditions of the arms they stand in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from tracegrad.ir.blocks import block_of
from tracegrad.ir.bounds import Bounds, Range
from tracegrad.ir.core import Operation, Region, Value
from tracegrad.ir.rewrite import first_carried, leading
from tracegrad.ir.types import Dim, substitute, symbol
from tracegrad.transforms.hoist import WRITES
from tracegrad.transforms.primal import Primal, step_of, whole_number
from tracegrad.transforms.trips import DEEPEST


@dataclass(frozen=True)
class Final:
    """The final elements of a function.

    Attributes
    ----------
    reads : ``index`` or ``view`` → the array after the outermost loop, to be read in its place.
    writes : value → the array after the outermost loop that holds it, and where.
    """

    reads: dict[Operation, Value] = field(default_factory=dict)
    writes: dict[Value, tuple[Value, tuple[Value, ...]]] = field(default_factory=dict)

    def copy(
        self, pairs: Sequence[tuple[Operation, Operation]], known: Mapping[Value, Value]
    ) -> None:
        """The same is to be said of copies of operations, and of their values."""
        for old, new in pairs:
            if old in self.reads:
                self.reads[new] = self.reads[old]
        for old_value, new_value in known.items():
            if old_value in self.writes:
                array, indices = self.writes[old_value]
                self.writes[new_value] = array, tuple(known.get(i, i) for i in indices)

    def forget(self, loop: Operation) -> None:
        """Read nothing from what ``loop`` writes: its trips go back before it is done."""
        for op in [op for op, array in self.reads.items() if array.op is loop]:
            del self.reads[op]
        for value in [v for v, (array, _) in self.writes.items() if array.op is loop]:
            del self.writes[value]


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
    history = _History.of(body, first_carried(loop) + carried, carried)
    if history is None:
        return
    array = loop.results[carried]
    members = [
        op
        for op in body.walk()
        if op.operands and op.operands[0] in history.versions and op not in history.stale
    ]
    writes = _last_writes(primal, members)
    if not writes:
        return
    for op in members:
        if op.name in ("index", "view") and all(order(op, w) == EARLIER for w in writes):
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


def _last_writes(primal: Primal, members: Sequence[Operation]) -> list[Operation]:
    """The writes among ``members``, of several of one region to one place only the last.

    What comes after the last of these comes after the others as well; and they are not what is
    left at this place.
    """
    last = {
        (primal.home(op), _places(op), op.operands[1].type): op
        for op in members
        if op.name in WRITES
    }
    return list(last.values())


EARLIER, SAME, UNKNOWN = "earlier", "same", "unknown"


class _Order:
    """When the element that an operation reads or writes is written by a ``write`` of the array."""

    def __init__(self, primal: Primal, bounds: Bounds) -> None:
        self.primal = primal
        self.bounds = bounds
        self._counted: dict[tuple[Region, tuple[Value, ...]], list[bool]] = {}
        self._ends: dict[Operation, _Ends | None] = {}
        self._position: dict[Region, dict[Operation, int]] = {}
        self._known_apart: dict[tuple[object, ...], bool] = {}

    def __call__(self, access: Operation, write: Operation) -> str:
        """In earlier trips only, or earlier in the same trip; as this very write; or not known."""
        found = UNKNOWN if access.name == "view" else self._of_elements(access, write)
        if found == UNKNOWN and access is not write and self._never_after(access, write):
            return EARLIER
        return found

    def _of_elements(self, access: Operation, write: Operation) -> str:
        """The same from indices that are at a fixed distance from those of loops."""
        paths = [[*self.primal.path(self.primal.home(op)), (op, None)] for op in (access, write)]
        offsets = list(zip(_places(access), _places(write), strict=False))
        counted = zip(self._never_negative(access), self._never_negative(write), strict=False)
        axes = [pair for pair, known in zip(offsets, counted, strict=False) if all(known)]
        for (op, region), (other, elsewhere) in zip(*paths, strict=False):
            if op is not other:
                region = self.primal.home(op)
                return EARLIER if self._stands_before(region, other, op) else UNKNOWN
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

    def _stands_before(self, region: Region, first: Operation, second: Operation) -> bool:
        position = self._position.get(region)
        if position is None:
            position = self._position[region] = {op: k for k, op in enumerate(region.ops)}
        return position[first] < position[second]

    # --- blocks

    def _never_after(self, access: Operation, write: Operation) -> bool:
        """Whether no element that ``access`` reads is written by ``write`` afterwards.

        Neither in a later trip of a loop around both, for each of these, nor later in the same
        trips of all of them.
        """
        mine, its = self._ends_of(access), self._ends_of(write)
        if mine is None or its is None:
            return False
        shared = 0
        for (op, region), (other, elsewhere) in zip(mine.path, its.path, strict=False):
            if op is not other or region is not elsewhere:
                break
            if op.name != "if" and not self._apart(mine, its, shared, later=True):
                return False
            shared += 1
        first, second = (
            ends.path[shared] if shared < len(ends.path) else (ends.op, None)
            for ends in (mine, its)
        )
        if first[0] is second[0]:
            return True  # other arms of one branch
        around = self.primal.home(first[0])
        if self._stands_before(around, second[0], first[0]) and self._reads_new(
            access, mine.path[shared:], second[0]
        ):
            return True
        return self._apart(mine, its, shared, later=False)

    def _reads_new(
        self, access: Operation, path: Sequence[tuple[Operation, Region]], write: Operation
    ) -> bool:
        """Whether ``access`` reads a version that ``write``, before it in a region, has left.

        Parameters
        ----------
        path : from that region to the access.
        """
        version = access.operands[0]
        region, around = self.primal.region_of(version), self.primal.home(write)
        if region is around:
            made = version.op
            return made is not None and not self._stands_before(around, made, write)
        return any(region is inner for _, inner in path)

    def _ends_of(self, access: Operation) -> _Ends | None:
        if access not in self._ends:
            block = block_of(access)
            path = self.primal.path(self.primal.home(access))
            with ExitStack() as stack:
                ranges: list[list[Range]] = []
                for op, region in path:
                    count = len(self.bounds.ranges)
                    stack.enter_context(self.bounds.within(op, region))
                    ranges.append(self.bounds.ranges[count:])
                places = () if block is None else block.places
                found = [p.ends(self.bounds, block.shape) if block else None for p in places]
                known = [
                    None
                    if e is None or not (p.within is not None or self.bounds.never_negative(e[0]))
                    else e
                    for p, e in zip(places, found, strict=True)
                ]
            self._ends[access] = _Ends(access, path, ranges, known)
        return self._ends[access]

    def _apart(self, mine: _Ends, its: _Ends, shared: int, *, later: bool) -> bool:
        """Whether two blocks have no element in common.

        Parameters
        ----------
        shared : how many of the regions around are in the same trip for both.
        later : whether the next one is in a later trip for the second block.
        """
        homes = self.primal.home(mine.op), self.primal.home(its.op)
        key = (*homes, tuple(mine.ends), tuple(its.ends), shared, later)
        if key not in self._known_apart:
            self._known_apart[key] = self._find_apart(mine, its, shared, later=later)
        return self._known_apart[key]

    def _find_apart(self, mine: _Ends, its: _Ends, shared: int, *, later: bool) -> bool:
        new: dict[str, Dim] = {}
        ranges: list[Range] = []
        with ExitStack() as stack:
            for op, region in mine.path:
                stack.enter_context(self.bounds.within(op, region))
            for number, found in enumerate(its.ranges[shared:]):
                counting: dict[str, int] = {}
                if later and not number:
                    counts = _indices(its.path[shared][0])
                    for index, step in counts:
                        known = self.bounds.polynomial(index)
                        counting[str(known)] = step
                    if not counting:
                        return False
                for old in found:
                    name = f"{old.name}_again"
                    least, greatest = (
                        None if end is None else substitute(end, new)
                        for end in (old.least, old.greatest)
                    )
                    by = counting.get(old.name)
                    if by == 1:
                        least = symbol(old.name) + 1
                    elif by == -1:
                        greatest = symbol(old.name) - 1
                    new[old.name] = symbol(name)
                    ranges.append(Range(name, least, greatest))
            stack.enter_context(self.bounds.also(ranges))
            for one, other in zip(mine.ends, its.ends, strict=False):
                if one is None or other is None:
                    continue
                low, high = (substitute(end, new) for end in other)
                if self.bounds.never_negative(one[0] - high - 1) or self.bounds.never_negative(
                    low - one[1] - 1
                ):
                    return True
        return False

    def _never_negative(self, access: Operation) -> list[bool]:
        """Which indices of an access never count from the end."""
        key = self.primal.home(access), _places(access)
        if key not in self._counted:
            with ExitStack() as stack:
                for op, region in self.primal.path(key[0]):
                    stack.enter_context(self.bounds.within(op, region))
                at = [self.bounds.polynomial(i) for i in key[1]]
                self._counted[key] = [a is not None and self.bounds.never_negative(a) for a in at]
        return self._counted[key]


@dataclass(frozen=True)
class _Ends:
    """Where the block of an operation lies.

    Attributes
    ----------
    path : the operations around it, with their region that leads to it.
    ranges : for each of these, what is known of the values that change from trip to trip.
    ends : of the leading dimensions, the least and the greatest index.
    """

    op: Operation
    path: list[tuple[Operation, Region]]
    ranges: list[list[Range]]
    ends: list[tuple[Dim, Dim] | None]


def _places(access: Operation) -> tuple[Value, ...]:
    return access.operands[2 if access.name in WRITES else 1 :]


@dataclass
class _History:
    """The versions of a carried array within a loop: each but the last is written to once.

    Attributes
    ----------
    versions : all of them.
    stale : what reads a version where there is a later one. What a program keeps of an array
        before it writes to it (``old = a.copy()``) need not be what the array holds in the end.
    """

    versions: set[Value] = field(default_factory=set)
    stale: set[Operation] = field(default_factory=set)

    @classmethod
    def of(cls, body: Region, param: int, carried: int) -> _History | None:
        """The history of a carried value; None if it is not one line from trip to trip."""
        history = cls({body.params[param]})
        end = history.follow(body, body.params[param])
        if end is None or body.yields[carried] is not end:
            return None
        return history if history._yields(body) == [carried] else None

    def _yields(self, region: Region) -> list[int]:
        return [k for k, v in enumerate(region.yields) if v in self.versions]

    def _reads_other(self, op: Operation, current: Value) -> bool:
        return any(v is not current and v in self.versions for v in op.operands[:1])

    def follow(self, region: Region, current: Value) -> Value | None:
        """What becomes of ``current`` in a region; None if there are two, or it is mixed."""
        for op in region.ops:
            after: Value | None = current
            if op.name in (*WRITES, "ensure") and op.operands[0] in self.versions:
                if op.operands[0] is not current:
                    return None
                after = op.result
            elif op.name == "if":
                after = self._follow_branch(op, current)
            elif op.name == "custom":
                if not self.versions.isdisjoint(op.operands):
                    return None
            elif op.regions:
                after = self._follow_loop(op, current)
            elif self._reads_other(op, current):
                self.stale.add(op)
            if after is None:
                return None
            self.versions.add(after)
            current = after
        return current

    def _follow_branch(self, op: Operation, current: Value) -> Value | None:
        ends = [self.follow(arm, current) for arm in op.regions]
        places = [self._yields(arm) for arm in op.regions]
        if None in ends or places[0] != places[1]:
            return None
        if not places[0]:
            return current if ends == [current, current] else None
        if len(places[0]) > 1:
            return None
        (k,) = places[0]
        if any(arm.yields[k] is not end for arm, end in zip(op.regions, ends, strict=True)):
            return None
        return op.results[k]

    def _follow_loop(self, op: Operation, current: Value) -> Value | None:
        inits = op.operands[leading(op) :]
        places = [k for k, v in enumerate(inits) if v in self.versions]
        if len(places) > 1 or any(inits[k] is not current for k in places):
            return None
        *before, body = op.regions
        starts = []
        for region in op.regions:
            start = region.params[first_carried(op) + places[0]] if places else current
            self.versions.add(start)
            starts.append(start)
        for region, start in zip(before, starts, strict=False):
            if self.follow(region, start) is not start or self._yields(region):
                return None
        end = self.follow(body, starts[-1])
        if end is None or self._yields(body) != places:
            return None
        if not places:
            return current if end is current else None
        return op.results[places[0]] if body.yields[places[0]] is end else None


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
