"""What is known of index values: which reads and writes need no check.

An integer scalar is read as a polynomial over sizes and the indices of the loops around it. Its
least and greatest value follow from the bounds of those loops, from the inside out: for
``for i in range(1, n)`` the index ``i - 1`` is at least 0 and at most ``n - 2``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tracegrad.ir.core import Function, Guard, Value
from tracegrad.ir.types import Dim, Extremum, Size, i64, substitute, symbol, symbols
from tracegrad.schedule.values import non_negative

#: How the symbols of loop indices begin; no size of a user is called so.
_INDEX = "__index_"


@dataclass(frozen=True)
class _Range:
    """The bounds of an open loop; None for one that is not a polynomial."""

    name: str
    least: Dim | None
    greatest: Dim | None


class Bounds:
    """Knows integer scalars of array form while the regions they stand in are walked."""

    def __init__(self, function: Function) -> None:
        self._known: dict[Value, Dim | None] = {}
        self._facts: list[Dim] = []
        self._ranges: list[_Range] = []
        self._opened = 0
        for name, index in function.size_params.items():
            self._known[function.params[index]] = symbol(name)
        for guard in function.guards:
            self._facts += _facts(guard)

    # --- loops

    def open(self, index: Value, lo: Value, hi: Value, step: Value) -> None:
        """Enter the body of ``for index in range(lo, hi, step)``."""
        self._opened += 1
        name = f"{_INDEX}{self._opened}"
        first, end, by = (self.polynomial(v) for v in (lo, hi, step))
        least = greatest = None
        if isinstance(by, int) and by > 0:
            least, greatest = first, None if end is None else end - 1
        elif isinstance(by, int) and by < 0:
            least, greatest = None if end is None else end + 1, first
        if least is not None and greatest is not None:
            # There is a trip, so there is room for one.
            room = self._bound(greatest - least, upper=True)
            if room is not None:
                self._facts.append(room)
        self._ranges.append(_Range(name, least, greatest))
        self._known[index] = symbol(name)

    def close(self, facts: int) -> None:
        """Leave the body of the innermost loop."""
        self._ranges.pop()
        del self._facts[facts:]

    @property
    def facts(self) -> int:
        """How many facts are known: what `close` wants to be told."""
        return len(self._facts)

    # --- values

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
            size: Dim = op.attributes["size"]
            return size
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
        at = self.polynomial(index)
        if at is None:
            return None
        least, greatest = self._bound(at, upper=False), self._bound(at, upper=True)
        if least is None or greatest is None:
            return None
        if self._holds(least) and self._holds(size - 1 - greatest):
            return 0
        if self._holds(least + size) and self._holds(-1 - greatest):
            return size
        return None

    def _bound(self, value: Dim, *, upper: bool) -> Dim | None:
        """The greatest (or least) value over the trips of the open loops, over sizes alone."""
        for loop in reversed(self._ranges):
            factor = _coefficient(value, loop.name)
            if factor is None:
                return None
            if factor == 0:
                continue
            extreme = loop.greatest if (factor > 0) == upper else loop.least
            if extreme is None:
                return None
            value = substitute(value, {loop.name: extreme})
        # An index of a loop that is closed.
        return None if any(name.startswith(_INDEX) for name in symbols(value)) else value

    def _holds(self, value: Dim) -> bool:
        """Whether ``value >= 0``."""
        return any(
            non_negative(least) or any(non_negative(least - fact) for fact in self._facts)
            for least in _at_least(value)
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
        if found is None or number is None or any(n.startswith(_INDEX) for n in symbols(number)):
            return None
        axis, factor, offset = found
        if op.name == "multiply":
            return axis, factor * number, offset * number
        return axis, factor, offset + number if op.name == "add" else offset - number

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


def _coefficient(value: Dim, name: str) -> int | None:
    """The factor of a symbol that stands alone in its terms; None where it does not."""
    if not isinstance(value, Size):
        return 0
    found = 0
    for monomial, factor in value.terms:
        if monomial == (name,):
            found = factor
        elif any(_mentions(atom, name) for atom in monomial):
            return None
    return found


def _mentions(atom: object, name: str) -> bool:
    if isinstance(atom, str):
        return atom == name
    return any(name in symbols(d) for d in vars(atom).values() if isinstance(d, Size))


def _facts(guard: Guard) -> Sequence[Dim]:
    """What is at least 0 where the guard holds."""
    difference = guard.left - guard.right
    less = {">=": difference, ">": difference - 1, "==": difference}
    more = {"<=": difference * -1, "<": difference * -1 - 1, "==": difference * -1}
    return [table[guard.relation] for table in (less, more) if guard.relation in table]
