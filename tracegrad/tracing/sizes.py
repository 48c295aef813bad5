"""Symbolic sizes while tracing: what is known, what was assumed.

Every dimension of an input gets its own symbol, with the size it has now as a *hint*. When
the traced program needs to know more (two sizes equal, one of them 1, which is larger), the
hints decide, and the decision is written down: an equality that can be solved for a symbol
becomes a substitution, so that types say it; anything else becomes a guard.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from tracegrad.errors import NeedsValue, ShapeError
from tracegrad.ir.core import RELATIONS, Guard
from tracegrad.ir.types import (
    Dim,
    Shape,
    Size,
    evaluate,
    is_symbol,
    substitute,
    symbol,
    symbols,
)

__all__ = ["Sizes", "shape_text"]

_SIZE_OF_A_RESULT = "a size that is only known at run time (such as the count of a mask)"


class Sizes:
    """The symbols of one trace, with hints, substitutions and guards.

    Attributes
    ----------
    hints : symbol → the size seen at this trace; symbols of run-time sizes have none.
    replaced : symbol → what it was found equal to; values are kept fully resolved.
    guards : assumptions that no substitution expresses, in order.
    lengths : the symbols that are dimensions of arrays, so never negative.
    same_at_run_time : has two sizes that are known only then compared; whether that can be.
    """

    def __init__(self, on_replaced: Callable[[Mapping[str, Dim]], None]) -> None:
        self._on_replaced = on_replaced
        self.same_at_run_time: Callable[[Dim, Dim], bool] = lambda one, other: False
        self.hints: dict[str, int] = {}
        self.replaced: dict[str, Dim] = {}
        self.guards: list[Guard] = []
        self.lengths: set[str | None] = set()
        self._pinned: list[tuple[str, Dim]] = []
        self._created: dict[str, int] = {}

    # -- symbols

    def new(self, name: str, hint: int | None, length: bool = True) -> Size:
        """A fresh symbol; ``hint`` None for a size that is only known at run time."""
        unique = name
        suffix = 2
        while unique in self._created:
            unique = f"{name}_{suffix}"
            suffix += 1
        self._created[unique] = len(self._created)
        if length:
            self.lengths.add(unique)
        if hint is not None:
            self.hints[unique] = hint
        return symbol(unique)

    def resolve(self, dim: Dim) -> Dim:
        """``dim`` with everything put in that has been found equal."""
        if isinstance(dim, int) or not self.replaced:
            return dim
        return substitute(dim, self.replaced)

    def shape(self, shape: Iterable[Dim]) -> Shape:
        return tuple(self.resolve(dim) for dim in shape)

    def number(self, dim: Dim) -> int | None:
        """What ``dim`` is at this trace; None if it depends on a run-time size."""
        if isinstance(dim, int):
            return dim
        try:
            return evaluate(dim, self.hints)
        except KeyError:
            return None

    def numbers(self, shape: Iterable[Dim]) -> tuple[int | None, ...]:
        return tuple(self.number(dim) for dim in shape)

    def known_numbers(self, shape: Sequence[Dim]) -> list[int] | None:
        """What the dimensions are at this trace; None if one depends on a run-time size."""
        found = [number for number in self.numbers(shape) if number is not None]
        return found if len(found) == len(shape) else None

    # -- decisions

    def decide(self, left: Dim, relation: str, right: Dim) -> bool:
        """Whether ``left relation right`` holds at this trace, remembered as an assumption.

        Raises
        ------
        NeedsValue : a run-time size takes part and the answer is not plain.
        """
        left, right = self.resolve(left), self.resolve(right)
        if isinstance(left - right, int):
            return bool(RELATIONS[relation](left - right, 0))
        low, high = self.number(left), self.number(right)
        if (low is None or high is None) and self.number(left - right) is not None:
            # What is known at run time only is on both sides: n - i and m - i.
            return self.decide(left - right, relation, 0)
        if low is None or high is None:
            if relation == "==":
                return False
            known = self.never_negative(left - right)
            if known and relation in (">=", "<"):
                return relation == ">="
            raise NeedsValue(
                f"whether {left} {relation} {right} can't be told: it involves {_SIZE_OF_A_RESULT}",
                way_out="compute with the sizes of the inputs, or use np.where instead of a mask",
            )
        holds = bool(RELATIONS[relation](low, high))
        kept = relation if holds else _NEGATED[relation]
        if kept == "==":
            self.unify(left, right)
        elif kept == "!=":
            self._assume(Guard(left, kept, right))
        else:
            self._bound(left - right, kept)
        return holds

    def never_negative(self, dim: Dim) -> bool:
        """Whether ``dim`` is a sum of lengths and of nothing below zero."""
        if isinstance(dim, int):
            return dim >= 0
        return all(c >= 0 and self.lengths.issuperset(m) for m, c in dim.terms)

    def _assume(self, guard: Guard) -> None:
        if guard not in self.guards:
            self.guards.append(guard)

    def _bound(self, difference: Dim, relation: str) -> None:
        """Remember ``difference relation 0`` as ``expression >= number`` (or ``<=``).

        Of several bounds of one expression the strongest is kept.
        """
        if relation in (">", "<"):
            difference = difference - 1 if relation == ">" else difference + 1
            relation += "="
        assert isinstance(difference, Size)
        constant = next((c for monomial, c in difference.terms if not monomial), 0)
        expression = difference - constant
        limit = -constant
        assert isinstance(expression, Size)
        if expression.terms[0][1] < 0:
            expression, limit = expression * -1, -limit
            relation = "<=" if relation == ">=" else ">="
        if relation == ">=" and limit <= 0 and is_symbol(expression) in self.lengths:
            return  # sizes are never negative
        for position, known in enumerate(self.guards):
            if known.left == expression and known.relation == relation:
                assert isinstance(known.right, int)
                stronger = max if relation == ">=" else min
                self.guards[position] = Guard(expression, relation, stronger(limit, known.right))
                return
        self.guards.append(Guard(expression, relation, limit))

    def equal(self, left: Dim, right: Dim) -> bool:
        return self.decide(left, "==", right)

    def concrete(self, dim: Dim, what: str = "this") -> int:
        """``dim`` as a number; from now on the trace is for this size only."""
        dim = self.resolve(dim)
        if isinstance(dim, int):
            return dim
        number = self.number(dim)
        if number is None:
            raise NeedsValue(
                f"{what} needs {_SIZE_OF_A_RESULT} as a Python int",
                way_out="use np.where instead of a mask, or compute the size outside",
            )
        self.unify(dim, number)
        return number

    def unify(self, left: Dim, right: Dim) -> None:
        """Take ``left == right`` for granted from here on; the hints must agree."""
        left, right = self.resolve(left), self.resolve(right)
        difference = left - right
        if difference == 0:
            return
        solved = self._solve(difference)
        if solved is None:
            self._assume(Guard(left, "==", right))
            return
        name, value = solved
        if name not in self.lengths:
            # An int argument keeps its symbol: the kernel must check the value it is given.
            self._pinned.append((name, value))
        for known in self.replaced:
            self.replaced[known] = substitute(self.replaced[known], {name: value})
        self.replaced[name] = value
        self._on_replaced({name: value})

    def _solve(self, difference: Dim) -> tuple[str, Dim] | None:
        """The symbol that ``difference == 0`` is solved for, and its value.

        The newest one, so that types are written in terms of the first arguments, and an
        array's before an int argument's, which has to be checked whatever it equals.
        """
        assert isinstance(difference, Size)
        occurrences = list(symbols(difference))
        candidates = [
            (monomial[0], coefficient)
            for monomial, coefficient in difference.terms
            if len(monomial) == 1
            and isinstance(monomial[0], str)
            and coefficient in (1, -1)
            and monomial[0] in self.hints
            and occurrences.count(monomial[0]) == 1
        ]
        if not candidates:
            return None
        name, coefficient = max(
            candidates, key=lambda found: (found[0] in self.lengths, self._created[found[0]])
        )
        rest = difference - symbol(name) * coefficient
        return name, rest * -coefficient

    def final_guards(self, renamed: Mapping[str, Dim]) -> tuple[Guard, ...]:
        """The guards under all substitutions, without those that became trivial."""
        final = Sizes(lambda _: None)
        final.lengths = {
            is_symbol(renamed.get(str(name), symbol(str(name)))) for name in self.lengths
        }
        for name, value in self._pinned:
            left = substitute(symbol(name), renamed)
            final._assume(Guard(left, "==", substitute(self.resolve(value), renamed)))
        for guard in self.guards:
            left = substitute(self.resolve(guard.left), renamed)
            right = substitute(self.resolve(guard.right), renamed)
            if isinstance(left - right, int):
                continue
            if guard.relation in ("==", "!="):
                final._assume(Guard(left, guard.relation, right))
            else:
                final._bound(left - right, guard.relation)
        return tuple(map(_readable, final.guards))

    # -- broadcasting

    def broadcast(self, shapes: Sequence[Shape], wording: str | None = None) -> Shape:
        """The common shape of arrays of ``shapes`` under NumPy's rules.

        Raises
        ------
        ShapeError : in NumPy's words, with the sizes of this trace.
        """
        rank = max(map(len, shapes), default=0)
        result: list[Dim] = [1] * rank
        for shape in shapes:
            for axis, size in enumerate(shape, rank - len(shape)):
                joined = self._join(result[axis], self.resolve(size))
                if joined is None:
                    shown = " ".join(shape_text(self, one) for one in shapes)
                    raise ShapeError(
                        wording or f"operands could not be broadcast together with shapes {shown}"
                    )
                result[axis] = joined
        return self.shape(result)

    def _join(self, one: Dim, other: Dim) -> Dim | None:
        if one == 1 or one == other:
            return other
        if other == 1:
            return one
        low, high = self.number(one), self.number(other)
        if (low is not None and low == high) or self.number(one - other) == 0:
            self.unify(one, other)
            return self.resolve(one)
        if low == 1 or high == 1:
            small, large = (one, other) if low == 1 else (other, one)
            if not isinstance(small, int):
                self.unify(small, 1)
            return self.resolve(large)
        if low is None or high is None:
            return one if self.same_at_run_time(one, other) else None
        return None


def _readable(guard: Guard) -> Guard:
    """``m - n <= -1`` as ``m < n``: only positive terms on both sides."""
    if guard.relation not in ("<=", ">=") or not isinstance(guard.left, Size):
        return guard
    limit = guard.right
    assert isinstance(limit, int)
    terms = guard.left.terms
    left, right = (_total(t for t in terms if (t[1] > 0) == positive) for positive in (True, False))
    if isinstance(right, int):
        return guard
    right = right * -1
    if limit == {"<=": -1, ">=": 1}[guard.relation]:
        return Guard(left, guard.relation[0], right)
    return Guard(left, guard.relation, right + limit)


def _total(terms: Iterable[tuple[Any, int]]) -> Dim:
    kept = tuple(terms)
    return Size(kept) if kept else 0


_NEGATED = {"==": "!=", "!=": "==", "<": ">=", "<=": ">", ">": "<=", ">=": "<"}


def shape_text(sizes: Sizes, shape: Iterable[Dim]) -> str:
    """A shape as NumPy prints it, with the numbers of this trace: ``(3,4)``, ``(3,)``."""
    known = [str(number if number is not None else "?") for number in sizes.numbers(shape)]
    return f"({','.join(known)}{',' if len(known) == 1 else ''})"
