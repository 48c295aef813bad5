"""Shifts and scales that cancel: the maximum that is taken off before `exp`, and put back after.

``m + log(sum(exp(x - m)))`` and ``exp(x - m) / sum(exp(x - m))`` are computed with m and do not
depend on it, whatever m is; nor does ``m * sqrt(sum((x / m)**2))``. So m has no derivative there,
and no tie of a maximum is looked for.

Where m grows by δ (or by the factor 1 + δ), each value made of it grows by a multiple of δ, or by a
power of 1 + δ. The multiple and the power are followed from m on, up to where they are 0.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from tracegrad.ir.core import Operation, Region, Value

CANDIDATES = ("max", "min", "maximum", "minimum")
"""What shifts and scales are made by. It would be right for any operation; these have kinks."""

_COMPARISONS = ("less", "less_equal", "greater", "greater_equal", "equal", "not_equal")
_READS = ("view", "reshape", "roll", "index")

Axes: TypeAlias = "tuple[int, ...]"
Factors: TypeAlias = "tuple[tuple[Value, int], ...]"
Users: TypeAlias = "Mapping[Value, Sequence[Operation | Region]]"


@dataclass(frozen=True)
class Growth:
    """How a value grows with m.

    Attributes
    ----------
    scaled : whether by a power of a factor, not by a multiple of a difference.
    amount : the multiple or the power: a sum of numbers times products of powers of scalars that do
        not depend on m. Empty for 0.
    axes : for each axis of m, the axis of the value that is the same one.
    """

    scaled: bool
    amount: tuple[tuple[Factors, float], ...]
    axes: Axes


def without_effect(region: Region, results: Collection[Value]) -> set[Value]:
    """Values made in ``region``, or within, on which nothing depends that is computed with them.

    Parameters
    ----------
    results : what is read of the region besides what it yields.
    """
    if not any(op.name in CANDIDATES for op in _all(region)):
        return set()
    users = region.users()
    found: set[Value] = set()
    for home in _regions(region):
        places = {op: k for k, op in enumerate(home.ops)}
        for op in home.ops:
            if op.name not in CANDIDATES or not op.result.dtype.is_float:
                continue
            axes = tuple(range(op.result.rank))
            if any(
                _cancels(op.result, Growth(scaled, (((), 1.0),), axes), users, places, results)
                for scaled in (False, True)
            ):
                found.add(op.result)
    return found


def _all(region: Region) -> Iterator[Operation]:
    for home in _regions(region):
        yield from home.ops


def _regions(region: Region) -> Iterator[Region]:
    yield region
    for op in region.ops:
        for inner in op.regions:
            yield from _regions(inner)


def _cancels(
    shift: Value,
    start: Growth,
    users: Users,
    places: Mapping[Operation, int],
    results: Collection[Value],
) -> bool:
    """Whether all that is made of ``shift`` ends in what does not grow with it."""
    grows = {shift: start}
    waiting: list[int] = []
    by_place = {}

    def look_at(value: Value) -> bool:
        for user in users[value]:
            if not isinstance(user, Operation) or user not in places:
                return False  # yielded, or read within a loop or an arm
            place = places[user]
            if place not in by_place:
                by_place[place] = user
                heapq.heappush(waiting, place)
        return value not in results

    if not users[shift] or not look_at(shift):
        return False
    while waiting:
        op = by_place[heapq.heappop(waiting)]
        rule = _RULES.get(op.name)
        grown = rule(op, [grows.get(v) for v in op.operands]) if rule is not None else None
        if grown is None:
            return False
        if grown.amount:
            grows[op.result] = grown
            if not look_at(op.result):
                return False
    return True


# --- one operation at a time --------------------------------------------------------------------

Given: TypeAlias = "list[Growth | None]"
Rule: TypeAlias = "Callable[[Operation, Given], Growth | None]"


def _sum_of(one: Growth, other: Growth, sign: int) -> Growth:
    total = dict(one.amount)
    for factors, number in other.amount:
        before = total.get(factors, 0.0)
        after = before + sign * number
        # A number that was folded before, 1/0.7 say, has been rounded.
        total[factors] = after if abs(after) > 1e-15 * abs(before) else 0.0
    found = [(f, n) for f, n in total.items() if n]
    return replace(one, amount=tuple(sorted(found, key=lambda each: _order(each[0]))))


def _order(factors: Factors) -> list[tuple[int, int]]:
    return [(id(value), power) for value, power in factors]


def _times(growth: Growth, number: float) -> Growth:
    return replace(growth, amount=tuple((f, number * n) for f, n in growth.amount))


def _with_factor(growth: Growth, factor: Value, power: int) -> Growth:
    """``growth`` by an amount ``factor ** power`` times as large."""
    factor, power = _root(factor, power)
    found = []
    for factors, number in growth.amount:
        powers = dict(factors)
        powers[factor] = powers.get(factor, 0) + power
        kept = sorted(((v, p) for v, p in powers.items() if p), key=lambda each: id(each[0]))
        found.append((tuple(kept), number))
    return replace(growth, amount=tuple(sorted(found, key=lambda each: _order(each[0]))))


def _root(factor: Value, power: int) -> tuple[Value, int]:
    """A scalar as a power of another."""
    while factor.op is not None:
        if factor.op.name == "reciprocal":
            power = -power
        elif factor.op.name != "view" or factor.op.operands[0].rank:
            break
        factor = factor.op.operands[0]
    return factor, power


def _number(value: Value) -> float | None:
    root, power = _root(value, 1)
    if root.op is None or root.op.name != "const":
        return None
    found = root.op.attributes["value"]
    if isinstance(found, bool | tuple) or found - found != 0 or (found == 0 and power < 0):
        return None
    return float(found) ** power


def _is_scalar(value: Value) -> bool:
    """Whether ``value`` is one number, or one number in every element."""
    return not _root(value, 1)[0].rank


def _only(given: Given) -> Growth | None:
    """The growth of all operands that grow, if it is one and the same."""
    found = {each for each in given if each is not None}
    return found.pop() if len(found) == 1 else None


def _stopped(op: Operation, given: Given) -> Growth | None:
    """What takes part in no derivative is a number to all that is made of it."""
    growth = given[0]
    return None if growth is None else replace(growth, amount=())


def _negated(op: Operation, given: Given) -> Growth | None:
    growth = given[0]
    return growth if growth is None or growth.scaled else _times(growth, -1.0)


def _powered(power: float) -> Rule:
    def rule(op: Operation, given: Given) -> Growth | None:
        growth = given[0]
        return None if growth is None or not growth.scaled else _times(growth, power)

    return rule


def _power(op: Operation, given: Given) -> Growth | None:
    power = _number(op.operands[1])
    if power is None or given[1] is not None:
        return None
    return _powered(power)(op, given)


def _exp(op: Operation, given: Given) -> Growth | None:
    growth = given[0]
    return None if growth is None or growth.scaled else replace(growth, scaled=True)


def _log(op: Operation, given: Given) -> Growth | None:
    growth = given[0]
    return None if growth is None or not growth.scaled else replace(growth, scaled=False)


def _joined(sign: int) -> Rule:
    """A sum or a difference."""

    def rule(op: Operation, given: Given) -> Growth | None:
        one, other = given
        if one is not None and other is not None:
            if one.scaled or other.scaled:
                return one if one == other else None
            return _sum_of(one, other, sign) if one.axes == other.axes else None
        growth = _only(given)
        if growth is None or growth.scaled:
            return None
        return growth if other is None else _times(growth, float(sign))

    return rule


def _product(sign: int) -> Rule:
    """A product or a quotient."""

    def rule(op: Operation, given: Given) -> Growth | None:
        one, other = given
        if one is not None and other is not None:
            both = one.scaled and other.scaled and one.axes == other.axes
            return _sum_of(one, other, sign) if both else None
        growth = _only(given)
        if growth is None:
            return None
        if growth.scaled:
            return growth if other is None else _times(growth, float(sign))
        factor = op.operands[1] if other is None else op.operands[0]
        if other is not None and sign < 0:
            return None  # a number over a value that is shifted
        if (number := _number(factor)) is not None:
            if number == 0:
                return None
            return _times(growth, number**sign)
        return _with_factor(growth, factor, sign) if _is_scalar(factor) else None

    return rule


def _same(op: Operation, given: Given) -> Growth | None:
    """One of the operands, or a number between them: they grow alike."""
    return _only(given) if all(each is not None for each in given) else None


def _select(op: Operation, given: Given) -> Growth | None:
    """Of two that grow alike; zero is what every power of a factor leaves as it is."""
    condition, *arms = given
    growth = _only(arms)
    if condition is not None or growth is None:
        return None
    zeros = (_number(v) == 0 for v, each in zip(op.operands[1:], arms, strict=True) if each is None)
    return growth if all(growth.scaled and zero for zero in zeros) else None


def _compared(op: Operation, given: Given) -> Growth | None:
    """What grows alike compares as before, and what is scaled compares with 0 as before."""
    growth = _only(given)
    if growth is None:
        return None
    others = [v for v, each in zip(op.operands, given, strict=True) if each is None]
    fine = all(growth.scaled and _number(v) == 0 for v in others)
    return replace(growth, amount=()) if fine else None


def _cast(op: Operation, given: Given) -> Growth | None:
    return given[0] if op.result.dtype.is_float else None


def _read(op: Operation, given: Given) -> Growth | None:
    growth = _only(given)
    if growth is None or given[0] is None or not growth.axes:
        return growth if given[0] is not None else None
    if op.name != "view":
        return None
    x, entries = op.operands[0], op.attributes["map"]
    axes = []
    for d in growth.axes:
        axis, offset, step = entries[d]
        if axis is None or offset != 0 or step != 1 or op.result.shape[axis] != x.shape[d]:
            return None
        axes.append(axis)
    return replace(growth, axes=tuple(axes))


def _reduced(op: Operation, given: Given) -> Growth | None:
    """A sum of what is scaled, or the largest of what grows alike."""
    growth, gone = given[0], op.attributes["axes"]
    if growth is None or set(gone) & set(growth.axes) or (op.name == "sum" and not growth.scaled):
        return None
    return replace(growth, axes=tuple(a - sum(g < a for g in gone) for a in growth.axes))


def _scanned(op: Operation, given: Given) -> Growth | None:
    """Running sums of what is scaled by one factor."""
    growth = given[0]
    if growth is None or not growth.scaled or op.attributes["axis"] in growth.axes:
        return None
    return growth


def _contracted(op: Operation, given: Given) -> Growth | None:
    """`dot` sums over the last axis of the one operand and the first of the other."""
    growth = _only(given)
    if growth is None or not growth.scaled or None not in given:
        return None
    lead = op.operands[0].rank - 1
    if given[0] is not None:
        return growth if lead not in growth.axes else None
    return (
        None if 0 in growth.axes else replace(growth, axes=tuple(a + lead - 1 for a in growth.axes))
    )


def _multiplied(op: Operation, given: Given) -> Growth | None:
    """`matmul`, with axes of batches first."""
    growth = _only(given)
    if growth is None or not growth.scaled or None not in given:
        return None
    summed = op.operands[0].rank - (1 if given[0] is not None else 2)
    return growth if summed not in growth.axes else None


_RULES: dict[str, Rule] = {
    "add": _joined(1),
    "subtract": _joined(-1),
    "multiply": _product(1),
    "divide": _product(-1),
    "negative": _negated,
    "reciprocal": _powered(-1.0),
    "square": _powered(2.0),
    "sqrt": _powered(0.5),
    "cbrt": _powered(1.0 / 3.0),
    "power": _power,
    "absolute": _powered(1.0),
    "exp": _exp,
    "log": _log,
    "maximum": _same,
    "minimum": _same,
    "hypot": lambda op, given: g if (g := _same(op, given)) and g.scaled else None,
    "select": _select,
    "cast": _cast,
    "stop_gradient": _stopped,
    "sum": _reduced,
    "cumsum": _scanned,
    "max": _reduced,
    "min": _reduced,
    "dot": _contracted,
    "matmul": _multiplied,
    **dict.fromkeys(_READS, _read),
    **dict.fromkeys(_COMPARISONS, _compared),
}
