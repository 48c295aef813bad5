"""What is known of index values: which are never negative, which reads and writes need no check.

An integer scalar is read as a polynomial over sizes, the indices of the loops around it and what
these carry. Its least and greatest value follow from the bounds of those loops, from the inside
out: for ``for i in range(1, n)`` the index ``i - 1`` is at least 0 and at most ``n - 2``. What
the arms of branches and the conditions of ``while`` loops say holds as well: after ``if i == 0``,
``i - 1`` is at least 0 in the other arm, if 64 bits hold what is compared (`Bounds.fits`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from tracegrad.ir.core import Function, Guard, Operation, Region, Value
from tracegrad.ir.rewrite import first_carried, leading
from tracegrad.ir.spans import LEAST, MOST, TRIPS, Span, Spans
from tracegrad.ir.types import (
    Dim,
    Extremum,
    Monomial,
    Shape,
    Size,
    coefficient,
    i64,
    is_symbol,
    substitute,
    symbol,
    symbols,
    terms_of,
)

#: How the symbols of loop indices begin; no size of a user is called so.
INDEX = "__index_"

_OPPOSITE = {
    "less": "greater_equal",
    "less_equal": "greater",
    "greater": "less_equal",
    "greater_equal": "less",
    "equal": "not_equal",
    "not_equal": "equal",
}


@dataclass(frozen=True)
class Range:
    """The bounds of an open loop's index; None for one that is not a polynomial."""

    name: str
    least: Dim | None
    greatest: Dim | None


class Known(NamedTuple):
    """What was known at a place: the first ``facts``, and what was remembered to a ``depth``."""

    facts: int
    depth: int


class Bounds:
    """Knows integer scalars while the regions they stand in are walked.

    Parameters
    ----------
    params : the parameters of ``function`` in a copy of it, if that is what is walked.

    Attributes
    ----------
    ranges : the bounds of the indices of the open loops, and of what they carry.
    indices : symbol → the index, or the carried integer, that it stands for.
    """

    def __init__(self, function: Function, params: Sequence[Value] | None = None) -> None:
        self._known: dict[Value, Dim | None] = {}
        self._meant: dict[str, Dim] = {}
        self._facts: list[Dim] = []
        self.ranges: list[Range] = []
        self._remembered: list[tuple[tuple[Dim, ...], Dim, int]] = []
        self._symbols: dict[Value, str] = {}
        self.indices: dict[str, Value] = {}
        self._sizes = frozenset(function.size_sources())
        self._signed = signed_symbols(function)
        self.spans = Spans(function, self._span_of_index)
        params = function.params if params is None else params
        for name, index in function.size_params.items():
            self._known[params[index]] = symbol(name)
        for guard in function.guards:
            self._facts += _facts(guard)
        self._binds = any(op.name == "bind" for op in function.walk())
        self._bind(function.body)

    # --- regions

    @contextmanager
    def within(self, op: Operation, region: Region) -> Iterator[None]:
        """What is known within a region of a loop or branch."""
        facts, ranges, meant = len(self._facts), len(self.ranges), dict(self._meant)
        if op.name == "if":
            self.assume(op.operands[0], region is op.regions[0])
            self._bind(region)
        elif op.name == "custom":
            self._bind(region)
        else:
            if op.name == "for":
                self.open(region.params[0], *op.operands[:3])
            self._open_carried(op)
            if op.name == "while" and region is op.regions[1]:
                self.assume(op.regions[0].yields[0], True)
        try:
            yield
        finally:
            del self._facts[facts:]
            del self.ranges[ranges:]
            self._meant = meant

    @contextmanager
    def also(self, ranges: Sequence[Range]) -> Iterator[None]:
        """Further symbols are known, inner ones, which may mention the others."""
        count = len(self.ranges)
        self.ranges += ranges
        try:
            yield
        finally:
            del self.ranges[count:]

    def open(self, index: Value, lo: Value, hi: Value, step: Value) -> None:
        """Enter the body of ``for index in range(lo, hi, step)``."""
        first, end, by = (self.polynomial(v) for v in (lo, hi, step))
        least = greatest = None
        # A bound that runs over 64 bits, upwards, is a small number: as an end it still is one.
        if isinstance(by, int) and by > 0:
            least = first if first is not None and self.fits(first, below=False) else None
            greatest = end - 1 if end is not None and self.fits(end, above=False) else None
        elif isinstance(by, int) and by < 0:
            least = end + 1 if end is not None and self.fits(end, below=False) else None
            greatest = first if first is not None and self.fits(first, above=False) else None
        if least is not None and greatest is not None:
            # There is a trip, so there is room for one.
            if has_index(greatest - least):
                self._facts.append(greatest - least)
            room = self._bound(greatest - least, upper=True)
            if room is not None:
                self._facts.append(room)
        self.ranges.append(Range(self._name(index), least, greatest))

    def _open_carried(self, op: Operation) -> None:
        """The integers that a loop carries; those that count are bounded by their first value."""
        body = op.regions[-1]
        carried = [
            (param, k)
            for k, param in enumerate(body.params[first_carried(op) :])
            if not param.rank and param.dtype is i64
        ]
        for param, k in carried:
            self._name(param)
            if op.name == "while":
                self._known[op.regions[0].params[k]] = self._known[param]
        self._bind(body)
        for param, k in carried:
            name = self._name(param)
            after = self.polynomial(body.yields[k])
            step = None if after is None else after - symbol(name)
            least = greatest = None
            if isinstance(step, int):
                first = self.polynomial(op.operands[leading(op) + k])
                least = first if step >= 0 else None
                greatest = first if step <= 0 else None
            self.ranges.append(Range(name, least, greatest))

    def _name(self, param: Value) -> str:
        """The symbol of a region's parameter; the same whenever the region is entered."""
        if param not in self._symbols:
            self._symbols[param] = f"{INDEX}{len(self._symbols)}"
            self.indices[self._symbols[param]] = param
        self._known[param] = symbol(self._symbols[param])
        return self._symbols[param]

    def assume(self, predicate: Value, holds: bool) -> None:
        """From here on, until the region is left, ``predicate`` holds, or does not."""
        op = predicate.op
        if op is None or predicate.rank:
            return
        if op.name == "logical_not":
            self.assume(op.operands[0], not holds)
        elif op.name == ("logical_and" if holds else "logical_or"):
            for operand in op.operands:
                self.assume(operand, holds)
        elif op.name == "if":
            self._assume_chosen(op, op.results.index(predicate), holds)
        elif op.name in _OPPOSITE and op.operands[0].dtype is i64:
            left, right = (self.polynomial(v) for v in op.operands)
            if left is not None and right is not None and self.fits(left) and self.fits(right):
                self._assume(op.name if holds else _OPPOSITE[op.name], left - right)

    def _assume_chosen(self, op: Operation, k: int, holds: bool) -> None:
        """``a and b`` where b is only evaluated if a holds: one arm can't have been taken."""
        for arm, other in zip(op.regions, op.regions[::-1], strict=True):
            made = other.yields[k].op
            if (
                made is not None
                and made.name == "const"
                and made.attributes["value"] is (not holds)
            ):
                self.assume(op.operands[0], arm is op.regions[0])
                self.assume(arm.yields[k], holds)
                return

    def _assume(self, relation: str, difference: Dim) -> None:
        if relation == "not_equal":
            if self.never_negative(difference):
                self._facts.append(difference - 1)
            if self.never_negative(difference * -1):
                self._facts.append(difference * -1 - 1)
        else:
            self._facts += _relation(relation, difference)

    def _bind(self, region: Region) -> None:
        """The symbols that a region binds stand for the operands there."""
        if not self._binds:
            return
        for op in region.ops:
            if op.name == "bind":
                name, meaning = str(op.attributes["size"]), self.polynomial(op.operands[0])
                self._meant.pop(name, None)
                if meaning is not None:
                    self._meant[name] = meaning

    def outside(self, dim: Dim, loop: Range) -> bool:
        """Whether ``dim`` is a sum of multiples of what is known before ``loop``.

        Those are the sizes that are known from the start, and the indices of outer loops.
        """
        before = {each.name for each in self.ranges[: self.ranges.index(loop)]} | self._sizes
        return all(
            name in before and (name in self._sizes or coefficient(dim, name) is not None)
            for name in symbols(dim)
        )

    def range_of(self, index: Value) -> Range:
        """The bounds of the index of an open loop."""
        return next(each for each in self.ranges if each.name == self._symbols[index])

    # --- facts

    @property
    def facts(self) -> int:
        """How many facts are known."""
        return len(self._facts)

    def known(self) -> Iterator[Dim]:
        """What is at least 0 here."""
        yield from self._facts
        for premises, fact, _ in self._remembered:
            if all(self.never_negative(premise) for premise in premises):
                yield fact

    def remember(self, fact: Dim, premises: tuple[Dim, ...], depth: int) -> None:
        """``fact >= 0`` wherever all ``premises`` are at least 0, until ``depth`` is forgotten."""
        self._remembered.append((premises, fact, depth))

    def forget(self, depth: int) -> None:
        """What was remembered at this depth, or below, does not hold any more."""
        self._remembered = [each for each in self._remembered if each[2] < depth]

    def learn(self, op: Operation, depth: int) -> None:
        """What holds after ``op``, if that is an ``if`` that raises."""
        for premises, fact in self._passed(op):
            self.remember(fact, premises, depth)

    def _passed(self, op: Operation) -> Iterator[tuple[tuple[Dim, ...], Dim]]:
        """What is at least 0 after ``op``, and where."""
        if op.name != "if":
            return
        then, otherwise = op.regions
        start = len(self._facts)
        if any(inner.name == "raise" for inner in then.ops):
            self.assume(op.operands[0], False)
            facts = self._facts[start:]
            del self._facts[start:]
            yield from (((), fact) for fact in facts)
        elif not otherwise.ops:
            # Where the condition holds, what holds after the arm does.
            left, right = self._compared(op.operands[0])
            if left is None or right is None:
                return
            for inner in then.ops:
                for more, fact in self._passed(inner):
                    yield (right - left - 1, *more), fact

    def _compared(self, predicate: Value) -> tuple[Dim | None, Dim | None]:
        """The two sides of a ``less``."""
        if predicate.op is None or predicate.op.name != "less":
            return None, None
        left, right = (self.polynomial(v) for v in predicate.op.operands)
        return left, right

    # --- values

    def meaning(self, size: Dim) -> Dim:
        """``size`` over the sizes of arguments and loop indices, as far as it is known."""
        return substitute(size, self._meant) if self._meant else size

    def polynomial(self, value: Value) -> Dim | None:
        """``value`` over sizes and loop indices, if it is one."""
        if value not in self._known:
            self._known[value] = self._read(value)
        return self._known[value]

    def _read(self, value: Value) -> Dim | None:
        op = value.op
        if op is None or value.rank or value.dtype is not i64:
            return None
        if op.name == "const":
            number = op.attributes["value"]
            return number if isinstance(number, int) else None
        if op.name == "dim":
            return self.meaning(op.attributes["size"])
        if op.name == "bind":
            known = self.polynomial(op.operands[0])
            return op.attributes["size"] if known is None else known
        if op.name not in ("add", "subtract", "multiply", "negative"):
            return None
        terms = [self.polynomial(v) for v in op.operands]
        if op.name == "negative":
            return None if terms[0] is None else terms[0] * -1
        left, right = terms
        if left is None or right is None:
            return None
        if op.name == "multiply":
            return left * right
        return left + right if op.name == "add" else left - right

    def place(self, index: Value, size: Dim) -> Dim | None:
        """What to add to ``index`` to get a position in ``range(size)``; None if not known."""
        at, end = self.polynomial(index), self.meaning(size)
        if at is None:
            return None
        if self.never_negative(at) and self.never_negative(end - 1 - at):
            return 0
        if self.never_negative(at + end) and self.never_negative(-1 - at):
            return size
        return None

    def never_negative(self, value: Dim, known: Known | None = None) -> bool:
        """Whether ``value >= 0`` in every trip of the open loops that comes here.

        By no more than was ``known``, if that is given.
        """
        facts = self._facts[: None if known is None else known.facts]
        facts += [
            fact
            for premises, fact, depth in self._remembered
            if (known is None or depth <= known.depth)
            and all(self._follows(premise, facts) for premise in premises)
        ]
        for fact in (0, *filter(has_index, facts)):
            least = self._bound(value - fact, upper=False)
            if least is not None and self._follows(least, facts):
                return True
        return False

    def greatest(self, value: Dim) -> Dim | None:
        """The greatest that ``value`` is in the open loops, over sizes alone, if it is known."""
        return self._bound(value, upper=True)

    def fits(self, value: Dim, *, below: bool = True, above: bool = True) -> bool:
        """Whether 64 bits hold ``value`` in every trip of the open loops that comes here."""
        for asked, upper in ((below, False), (above, True)):
            if asked:
                extreme = self._bound(value, upper=upper)
                low, high = self.spans.of(value if extreme is None else extreme)
                if high > MOST if upper else low < LEAST:
                    return False
        return True

    def _span_of_index(self, name: str) -> Span | None:
        if not name.startswith(INDEX):
            return None
        loop = next((each for each in self.ranges if each.name == name), None)
        low, high = LEAST, MOST
        if loop is not None and loop.least is not None:
            low, high = self.spans.of(loop.least)
            high += TRIPS
        if loop is not None and loop.greatest is not None:
            least, most = self.spans.of(loop.greatest)
            low, high = (least - TRIPS if loop.least is None else low), most
        return max(low, LEAST), min(high, MOST)

    def _bound(self, value: Dim, *, upper: bool) -> Dim | None:
        """The greatest (or least) value over the trips of the open loops, over sizes alone."""
        for loop in reversed(self.ranges):
            factor = coefficient(value, loop.name)
            if factor is None:
                return None
            if factor == 0:
                continue
            extreme = loop.greatest if (factor > 0) == upper else loop.least
            if extreme is None:
                return None
            value = substitute(value, {loop.name: extreme})
        # An index of a loop that is closed.
        return None if has_index(value) else value

    def _holds(self, value: Dim) -> bool:
        """Whether ``value >= 0``."""
        return self._follows(value, self._facts)

    def _follows(self, value: Dim, facts: Sequence[Dim]) -> bool:
        """Whether ``value >= 0``, by itself or by one of the facts."""
        return any(
            self._plainly(least, 0) or any(self._plainly(least, fact) for fact in facts)
            for least in _at_least(value)
        )

    def _plainly(self, value: Dim, other: Dim) -> bool:
        """Whether each term of ``value - other`` is a number of sizes, and none is negative."""
        terms = dict(terms_of(other))
        for monomial, factor in terms_of(value):
            rest = factor - terms.pop(monomial, 0)
            if rest < 0 or (rest and not self._of_sizes(monomial)):
                return False
        return all(c < 0 and self._of_sizes(m) for m, c in terms.items())

    def _of_sizes(self, monomial: Monomial) -> bool:
        return all(
            isinstance(atom, str) and atom not in self._signed and not atom.startswith(INDEX)
            for atom in monomial
        )

    def inside(self, least: Dim, greatest: Dim, size: Dim) -> bool:
        """Whether a range that depends on no loop lies in ``range(size)``."""
        return self._holds(least) and self._holds(size - 1 - greatest)

    def spread(self, index: Value) -> tuple[int, Dim, Dim] | None:
        """(axis, factor, offset) of an array of indices that counts along one of its axes."""
        op = index.op
        if op is None or index.dtype is not i64:
            return None
        if op.name == "iota":
            return 0, 1, 0
        if op.name == "view":
            return self._viewed(index)
        if op.name not in ("add", "subtract", "multiply"):
            return None
        one, other = op.operands
        if not one.rank and op.name != "subtract":
            one, other = other, one
        if not one.rank or other.rank:
            return None
        found, number = self.spread(one), self.polynomial(other)
        if found is None or number is None or has_index(number):
            return None
        axis, factor, offset = found
        if op.name == "multiply":
            return axis, factor * number, offset * number
        return axis, factor, offset + number if op.name == "add" else offset - number

    def window(
        self, shape: Shape, indices: Sequence[Value]
    ) -> tuple[tuple[int, Dim, int], ...] | None:
        """The map of the view of an array of ``shape`` that reads it at ``indices``.

        None unless each index counts along an axis of its own and stays in the array.
        """
        grid = indices[0].shape
        found: list[tuple[int, Dim, int]] = []
        for index, size in zip(indices, shape, strict=False):
            counts = self.spread(index)
            if counts is None:
                return None
            along, factor, offset = counts
            if not isinstance(factor, int) or factor == 0:
                return None
            last = offset + factor * (grid[along] - 1)
            if not self.inside(*((offset, last) if factor > 0 else (last, offset)), size):
                return None
            found.append((along, offset, factor))
        if sorted(axis for axis, _, _ in found) != list(range(len(grid))):
            return None
        rest = range(len(grid), len(grid) + len(shape) - len(indices))
        return (*found, *((axis, 0, 1) for axis in rest))

    def _viewed(self, index: Value) -> tuple[int, Dim, Dim] | None:
        op = index.op
        assert op is not None
        (base,) = op.operands
        if not base.rank:
            return None
        found = self.spread(base)
        if found is None:
            return None
        axis, factor, offset = found
        out, start, step = op.attributes["map"][axis]
        if out is None:
            return None
        return out, factor * step, offset + factor * start


def has_index(value: Dim) -> bool:
    """Whether ``value`` depends on the index of a loop, or on what it carries."""
    return any(name.startswith(INDEX) for name in symbols(value))


def _at_least(value: Dim) -> Iterator[Dim]:
    """``value``, and less than it: each of the two that it has the greater (or less) of."""
    yield value
    if not isinstance(value, Size):
        return
    for monomial, factor in value.terms:
        if len(monomial) != 1 or not isinstance(monomial[0], Extremum):
            continue
        atom = monomial[0]
        if (atom.kind == "max") == (factor > 0):
            whole = Size(((monomial, factor),))
            for part in (atom.left, atom.right):
                yield from _at_least(value - whole + part * factor)


def _facts(guard: Guard) -> Sequence[Dim]:
    """What is at least 0 where the guard holds."""
    return _relation(_GUARDS[guard.relation], guard.left - guard.right)


def _relation(relation: str, difference: Dim) -> Sequence[Dim]:
    """What is at least 0 where ``difference`` is in this relation to 0."""
    below = difference * -1
    return {
        "less": [below - 1],
        "less_equal": [below],
        "greater": [difference - 1],
        "greater_equal": [difference],
        "equal": [difference, below],
        "not_equal": [],
    }[relation]


_GUARDS = {
    "<": "less",
    "<=": "less_equal",
    ">": "greater",
    ">=": "greater_equal",
    "==": "equal",
    "!=": "not_equal",
}


def signed_symbols(function: Function) -> frozenset[str]:
    """The symbols that stand for int arguments, which may be negative, unlike sizes."""
    kept = {
        is_symbol(guard.left)
        for guard in function.guards
        if guard.relation in (">=", ">", "==") and isinstance(guard.right, int) and guard.right >= 0
    }
    return frozenset(function.size_params) - kept


def non_negative(dim: Dim, signed: frozenset[str] = frozenset()) -> bool:
    """Whether ``dim >= 0`` whatever the sizes, which are never negative, unlike ``signed`` ones."""
    if isinstance(dim, int):
        return dim >= 0
    return isinstance(dim, Size) and all(
        c >= 0 and all(isinstance(atom, str) and atom not in signed for atom in m)
        for m, c in dim.terms
    )
