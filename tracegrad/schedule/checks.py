"""Checks of indices made once, before the loops whose indices they check.

A loop over ``range(lo, hi)`` that reads ``x[i - 1]`` needs no check in its trips if the least and
the greatest of its indices are in range, which can be asked before the loop. `hoist_checks`
does that where it makes no difference to what is raised:

- the loop has a trip, or nothing is asked: ``if lo < hi:`` stands around the check where that is
  not known;
- every trip comes to the check: it stands in no branch and no ``while``, and no ``raise`` stands
  before it;
- the index is a polynomial over sizes and the indices of loops, takes its extremes in the first
  or the last trip, and is never negative (a negative one would count from the end, trip by trip);
- 64 bits hold what is asked.

An index that no trip changes, ``x[k[i], j]`` in a loop over j, is checked before the loop that has
a trip, whatever it is: a number that was found before, or one of an argument that is only read.

A check that passed is a fact for all that follows: a second loop over the same range asks for
nothing. Of two indices that both go out of range, in different trips, the one that stands first
in the program is reported. A check that stays in its loop is remembered for the rest of its
region, and does without the case of a negative index where that is ruled out.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tracegrad.ir.bounds import Bounds, Known, Range, has_index
from tracegrad.ir.core import Function, Operation, Region, Value
from tracegrad.ir.spans import alone
from tracegrad.ir.types import Dim, Size, coefficient, substitute, symbol, symbols
from tracegrad.ops.loopform import out_of_bounds
from tracegrad.ops.registry import REGISTRY
from tracegrad.schedule.memory import MemoryBuilder
from tracegrad.schedule.recurrence_plan import Memories
from tracegrad.schedule.values import signs_of


def hoist_checks(function: Function) -> Function:
    """Make the checks of ``function``, in loop form, as early as it makes no difference.

    The function is changed: it must be new.
    """
    if any(op.name == "check_index" for op in function.walk()):
        with signs_of(function):
            _Hoist(function).run(function)
    return function


@dataclass(frozen=True)
class _Check:
    """``at < size`` is to be asked, if ``lo < hi`` for each of ``trips``."""

    at: Dim
    size: Dim
    trips: tuple[tuple[Dim, Dim], ...] = ()

    @property
    def passed(self) -> Dim:
        """At least 0 where the check passes."""
        return self.size - 1 - self.at

    @property
    def premises(self) -> tuple[Dim, ...]:
        """At least 0 where the check is made."""
        return tuple(hi - 1 - lo for lo, hi in self.trips)


@dataclass
class _Level:
    """An open region: what is written of it, and what is known there.

    Attributes
    ----------
    range : the bounds of a loop that makes all its trips; None for anything else.
    step : of that loop.
    known : what is known before it.
    made : checks that were made before one of its loops.
    passed : (index, size) → the position, for checks that stand here.
    fixed : what a check reads → the position, for those that stood in loops.
    """

    range: Range | None = None
    step: int = 0
    known: Known | None = None
    ops: list[Operation] = field(default_factory=list)
    made: set[_Check] = field(default_factory=set)
    passed: dict[tuple[Dim, Dim], Value] = field(default_factory=dict)
    fixed: list[tuple[tuple[object, ...], Value]] = field(default_factory=list)


class _Hoist:
    """Walks a function in order, and rewrites it."""

    def __init__(self, function: Function) -> None:
        self.bounds = Bounds(function)
        self.levels: list[_Level] = []
        self.env: dict[Value, Value] = {}
        self.raising: set[Operation] = set()
        self.memories = Memories(function)
        self.sizes = frozenset(function.size_sources())
        #: The level at which a value is defined, by its depth.
        self.home: dict[Value, int] = {}
        self.find_raising(function.body)

    def run(self, function: Function) -> None:
        self.region(function.body, _Level())

    def find_raising(self, region: Region) -> bool:
        """Note the operations that hold a ``raise``; whether there is one in ``region``."""
        found = False
        for op in region.ops:
            inside = [self.find_raising(inner) for inner in op.regions]
            if op.name == "raise" or any(inside):
                self.raising.add(op)
                found = True
        return found

    def region(self, region: Region, level: _Level) -> None:
        self.levels.append(level)
        self.home.update(dict.fromkeys(region.params, len(self.levels) - 1))
        for op in region.ops:
            op.operands = self.mapped(op.operands)
            if op.name == "check_index" and self.check(op):
                continue
            known = Known(self.bounds.facts, len(self.levels) - 1)
            for inner in op.regions:
                with self.bounds.within(op, inner):
                    self.region(inner, self.level(op, known))
            self.bounds.learn(op, len(self.levels) - 1)
            self.home.update(dict.fromkeys(op.results, len(self.levels) - 1))
            level.ops.append(op)
        self.levels.pop()
        self.bounds.forget(len(self.levels))
        region.ops = level.ops
        region.yields = self.mapped(region.yields)

    def mapped(self, values: tuple[Value, ...]) -> tuple[Value, ...]:
        return tuple(self.env.get(v, v) for v in values)

    def level(self, op: Operation, known: Known) -> _Level:
        """What a region of ``op`` starts with."""
        if op.name != "for" or op in self.raising:
            return _Level()
        step = self.bounds.polynomial(op.operands[2])
        if not isinstance(step, int) or not step:
            return _Level()
        return _Level(self.bounds.range_of(op.regions[0].params[0]), step, known)

    # --- checks

    def check(self, op: Operation) -> bool:
        """Whether ``op`` may go: because its index is in range, or a check was made earlier."""
        index = op.operands[0]
        at, size = (self.bounds.polynomial(v) for v in op.operands)
        if at is None or size is None:
            return self.is_fixed(op)
        if self.bounds.place(index, size) == 0:
            self.env[op.result] = index
            return True
        for level in self.levels:
            if (at, size) in level.passed:
                self.env[op.result] = level.passed[at, size]
                return True
        if not (self.bounds.never_negative(at) and self.bounds.fits(at)):
            if self.is_fixed(op):
                return True
            self.levels[-1].passed[at, size] = op.result
            return False
        check, target = _Check(at, size), len(self.levels) - 1
        while target:
            outside = self.outside(check, self.levels[target])
            if outside is None:
                break
            check, target = outside, target - 1
        if self.sides(check) is None:
            target = len(self.levels) - 1
        if target == len(self.levels) - 1:
            op.attributes = {**op.attributes, "negative": False}
            self.levels[-1].passed[at, size] = op.result
            return False
        self.make(check, op, target)
        self.env[op.result] = index
        return True

    def is_fixed(self, op: Operation) -> bool:
        """Make a check before the loops around it that do not change its index, if there are any.

        Whoever comes to it twice in one region is told the same place.
        """
        load = self.load_of(op.operands[0])
        moved = [op] if load is None else [load, op]
        read = [v for each in moved for v in each.operands if load is None or v is not load.result]
        target = len(self.levels) - 1
        while target and self.has_trips(self.levels[target]):
            if any(self.home.get(v, 0) >= target and not self.is_size(v) for v in read):
                break
            target -= 1
        if target == len(self.levels) - 1:
            return False
        key = (*(self.bounds.polynomial(v) if self.is_size(v) else v for v in read), op.attributes)
        known = next((one for one in self.levels[target].fixed if one[0] == key), None)
        if known is not None:
            self.env[op.result] = known[1]
            return True
        self.levels[-1].ops = [each for each in self.levels[-1].ops if each is not load]
        build = MemoryBuilder()
        for each in moved:
            each.operands = tuple(
                v if v.op is None or not self.is_size(v) else build.copy(v.op, {}).result
                for v in each.operands
            )
            build.region.ops.append(each)
        self.home.update((r, target) for each in build.region.ops for r in each.results)
        self.levels[target].ops += build.region.ops
        self.levels[target].fixed.append((key, op.result))
        return True

    def is_size(self, value: Value) -> bool:
        """Whether a number is one or a size that is known from the start."""
        if value.op is None or value.op.name not in ("const", "dim"):
            return False
        return value.op.name == "const" or self.sizes.issuperset(
            symbols(value.op.attributes["size"])
        )

    def load_of(self, index: Value) -> Operation | None:
        """The read of an index in this level, from an argument that nobody writes to."""
        op = index.op
        if op is None or op.name != "load" or self.home.get(index) != len(self.levels) - 1:
            return None
        return op if self.memories.root(op.operands[0]) in self.memories.arguments else None

    def has_trips(self, level: _Level) -> bool:
        """Whether a level is a loop of which the first trip is sure to come."""
        loop = level.range
        if loop is None or loop.least is None or loop.greatest is None:
            return False
        return self.bounds.never_negative(loop.greatest - loop.least, level.known)

    def outside(self, check: _Check, level: _Level) -> _Check | None:
        """What to ask before the loop of ``level`` in place of ``check`` in its trips."""
        loop = level.range
        if loop is None or loop.least is None or loop.greatest is None:
            return None
        least, greatest = loop.least, loop.greatest
        if abs(level.step) > 1:
            if has_index(least) or has_index(greatest):
                return None
            whole = (greatest - least) // abs(level.step) * abs(level.step)
            if level.step > 0:
                greatest = least + whole
            else:
                least = greatest - whole
        factor = coefficient(check.passed, loop.name)
        if factor is None:
            return None
        trips = []
        signs = set()
        narrowed = False
        for lo, hi in check.trips:
            more = hi - lo - 1
            along = coefficient(more, loop.name)
            if along is None:
                return None
            if along and factor:
                # Only trips in which the inner loop has one count: they are an interval.
                if abs(along) != 1 or abs(level.step) != 1:
                    return None
                end = symbol(loop.name) - more * along
                if not self.bounds.never_negative(
                    end - least if along > 0 else greatest - end, level.known
                ):
                    return None
                least, greatest = (end, greatest) if along > 0 else (least, end)
                narrowed = True
                continue
            extreme = {loop.name: greatest if along > 0 else least}
            trips.append((substitute(lo, extreme), substitute(hi, extreme)))
            if along:
                signs.add(along > 0)
        if len(signs) > 1:
            return None
        if narrowed or not self.bounds.never_negative(greatest - least, level.known):
            down = level.step < 0
            trips.append((least - down, greatest + (not down)))
        extreme = {loop.name: least if factor > 0 else greatest}
        at, size = substitute(check.at, extreme), substitute(check.size, extreme)
        dims = [at, size, *(dim for trip in trips for dim in trip)]
        if not all(self.bounds.outside(dim, loop) for dim in dims):
            return None
        return _Check(at, size, tuple(trips))

    def make(self, check: _Check, op: Operation, target: int) -> None:
        """Ask for ``check`` at this place of the level ``target``."""
        if any(check in level.made for level in self.levels[: target + 1]):
            return
        self.levels[target].made.add(check)
        build = MemoryBuilder()
        with build.at(op.location, op.part):
            self.write(build, check, op)
        self.levels[target].ops += build.region.ops
        self.bounds.remember(check.passed, check.premises, target)

    def write(self, build: MemoryBuilder, check: _Check, op: Operation) -> None:
        """``if lo < hi: if at >= size: raise IndexError``."""
        if check.trips:
            (lo, hi), *rest = check.trips
            test = self.compared(build, "less", lo, hi)
        else:
            sides = self.sides(check)
            assert sides is not None
            more, less = sides
            test = self.compared(build, "greater", more, less)
        with build.open() as then:
            if check.trips:
                self.write(build, _Check(check.at, check.size, tuple(rest)), op)
            else:
                message = out_of_bounds(op)
                with build.at(None):
                    build.emit(REGISTRY["raise"], (), {"kind": "IndexError", "message": message})
        build.emit(REGISTRY["if"], [test], {}, [then, Region()], ())

    def sides(self, check: _Check) -> tuple[Dim, Dim] | None:
        """Two sums of which the first is the greater one where the check fails.

        None if 64 bits may not hold them.
        """
        over = check.at + 1 - check.size
        for more, less in (_parts(over), alone(over, self.bounds.spans)):
            if self.bounds.fits(more) and self.bounds.fits(less):
                return more, less
        return None

    def compared(self, build: MemoryBuilder, name: str, left: Dim, right: Dim) -> Value:
        return build.emit(
            REGISTRY[name], [build.affine(d, self.bounds.indices) for d in (left, right)]
        ).result


def _parts(dim: Dim) -> tuple[Dim, Dim]:
    """Two sums of what is added, whose difference is ``dim``."""
    if isinstance(dim, int):
        return max(dim, 0), max(-dim, 0)
    more: Dim = 0
    less: Dim = 0
    for monomial, factor in dim.terms:
        if factor > 0:
            more = more + Size(((monomial, factor),)) if monomial else more + factor
        else:
            less = less + Size(((monomial, -factor),)) if monomial else less - factor
    return more, less
