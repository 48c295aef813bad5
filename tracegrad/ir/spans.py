"""Between which numbers a sum of sizes and indices lies, by what 64 bits, memory and time allow.

What is concluded of polynomials holds for whole numbers. A kernel computes them in 64 bits, and
``i + 1`` of the largest integer is the least one: what is concluded of a sum holds for the kernel
only if the sum fits.
"""

from __future__ import annotations

from collections.abc import Callable

from tracegrad.ir.core import Function
from tracegrad.ir.types import Atom, Dim, Extremum, FloorDiv, Monomial, Size, is_symbol, terms_of

Span = tuple[int, int]

LEAST, MOST = -(1 << 63), (1 << 63) - 1

LARGEST = 1 << 40
"""No dimension of an array is larger."""

ELEMENTS = 1 << 50
"""No product of dimensions is larger."""

TRIPS = 1 << 45
"""No loop makes more trips."""


class Spans:
    """The spans of a function's sizes and int arguments.

    Parameters
    ----------
    of_index : the span of a symbol that stands for the index of a loop, or for what it carries;
        None for any other symbol.
    """

    def __init__(self, function: Function, of_index: Callable[[str], Span | None]) -> None:
        self._of_index = of_index
        self._ints = dict.fromkeys(function.size_params, (LEAST, MOST))
        for guard in function.guards:
            name = is_symbol(guard.left)
            if name not in self._ints:
                continue
            low, high = self._ints[name]
            least, most = self.of(guard.right)
            if guard.relation in (">", ">=", "=="):
                low = max(low, least)
            if guard.relation in ("<", "<=", "=="):
                high = min(high, most)
            self._ints[name] = low, high

    def of(self, dim: Dim) -> Span:
        """The least and the greatest number that ``dim`` may be."""
        low = high = 0
        for monomial, factor in terms_of(dim):
            ends = [factor * end for end in self._product(monomial)]
            low, high = low + min(ends), high + max(ends)
        return low, high

    def _product(self, monomial: Monomial) -> Span:
        low = high = 1
        for atom in monomial:
            ends = [end * other for end in (low, high) for other in self._atom(atom)]
            low, high = min(ends), max(ends)
        if len(monomial) > 1 and all(self._is_size(atom) for atom in monomial):
            high = min(high, ELEMENTS)
        return low, high

    def _is_size(self, atom: Atom) -> bool:
        return isinstance(atom, str) and atom not in self._ints and self._of_index(atom) is None

    def _atom(self, atom: Atom) -> Span:
        if isinstance(atom, Extremum):
            (a, b), (c, d) = self.of(atom.left), self.of(atom.right)
            choose = max if atom.kind == "max" else min
            return choose(a, c), choose(b, d)
        if isinstance(atom, FloorDiv):
            low, high = self.of(atom.numerator)
            return min(low, -high - 1), max(high, -low)
        found = self._of_index(atom)
        return self._ints.get(atom, (0, LARGEST)) if found is None else found


def alone(dim: Dim, spans: Spans) -> tuple[Dim, Dim]:
    """Two sums whose difference is ``dim``: terms that may be anything stand on the left."""
    wide: Dim = 0
    narrow: Dim = 0
    for monomial, factor in terms_of(dim):
        term = Size(((monomial, factor),)) if monomial else factor
        low, high = spans.of(term)
        if low > -TRIPS and high < TRIPS:
            narrow = narrow - term
        else:
            wide = wide + term
    return wide, narrow


__all__ = ["LEAST", "MOST", "TRIPS", "Span", "Spans", "alone"]
