"""Integers that are known at run time as sizes: what slices between such bounds are made of.

A loop's index, and whatever else is an integer at run time, gets a size symbol (an *atom*), so that
sums and products of them are dimensions like others: ``a[i, i + 1:]`` of an n × n matrix has
``n - i - 1`` elements, and so has ``b[i + 1:]``. What the bounds of the loops around say about the
atoms shows most slices to lie within their array; where it doesn't, bounds are clipped at run time
as Python clips them, and the clipped bound is an atom of its own.

A shape mentions atoms that are never negative, each bound (``bind``) in the region that uses it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

from tracegrad.ir.core import Region, Value
from tracegrad.ir.types import (
    Dim,
    Extremum,
    Size,
    dim_max,
    dim_min,
    i64,
    is_symbol,
    substitute,
    symbol,
    symbols,
)
from tracegrad.ops.registry import REGISTRY

if TYPE_CHECKING:
    from tracegrad.tracing.state import Trace

__all__ = ["Spans"]

_DEEPEST = 24

Limits: TypeAlias = "tuple[Dim | None, Dim | None]"
"""The least and the greatest that an integer can be, as far as they are known."""

_COMBINE: dict[str, Callable[..., Dim]] = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "maximum": dim_max,
    "minimum": dim_min,
    "negative": lambda a: a * -1,
}


class Spans:
    """The atoms of one trace.

    Attributes
    ----------
    loops : index of a ``for`` → its bounds and step.
    """

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self.loops: dict[Value, tuple[Value, Value, Value]] = {}
        self._dims: dict[Value, Dim] = {}
        self._values: dict[str, Value] = {}  # atom → the integer it is
        self._limits: dict[str, Limits] = {}
        self._meant: dict[str, Dim] = {}  # atom → the sum that it stands for
        self._named: dict[object, tuple[Dim, Region]] = {}
        self._bound: dict[str, list[Region]] = {}

    # -- integers as dimensions

    def dim(self, value: Value) -> Dim:
        """An i64 scalar as a dimension over sizes and atoms. It may be negative."""
        known = self._dims.get(value)
        if known is None:
            known = self._read(value)
            if known is None:
                known = self._atom(value, self._limits_of(value))
            self._dims[value] = known
        return self._trace.sizes.resolve(known)

    def _read(self, value: Value) -> Dim | None:
        op = value.op
        if op is None:
            return None
        if op.name == "const":
            return int(op.attributes["value"])
        if op.name == "dim":
            size: Dim = op.attributes["size"]
            return size
        if op.name == "bind":
            return self.dim(op.operands[0])
        if op.name not in _COMBINE or any(v.rank or v.dtype is not i64 for v in op.operands):
            return None
        return _COMBINE[op.name](*(self.dim(v) for v in op.operands))

    def _limits_of(self, value: Value) -> Limits:
        """What the bounds of its loop say of an index."""
        if value not in self.loops:
            return None, None
        lo, hi, step = (self.dim(v) for v in self.loops[value])
        if not isinstance(step, int) or step == 0:
            return None, None
        return (lo, hi - 1) if step > 0 else (hi + 1, lo)

    def _atom(self, value: Value, limits: Limits) -> Dim:
        """A new symbol for ``value``; among the lengths if it is never negative."""
        least, _ = limits
        length = least is not None and self.not_negative(least)
        atom = self._trace.sizes.new(value.hint or "at", None, length=length)
        name = str(is_symbol(atom))
        self._values[name], self._limits[name] = value, limits
        return atom

    # -- what is known of them

    def not_negative(self, dim: Dim) -> bool:
        """Whether ``dim >= 0`` in each trip; what the sizes of this trace decide is a guard."""
        return self._holds(dim, False) or self._holds(dim, True)

    def _holds(self, dim: Dim, assume: bool, depth: int = _DEEPEST) -> bool:
        sizes = self._trace.sizes
        dim = substitute(sizes.resolve(dim), self._meant)
        if isinstance(dim, int) or not depth:
            return isinstance(dim, int) and dim >= 0
        split = _extremum(dim)
        if split is not None:
            needs_both, parts = split
            found = (self._holds(part, assume, depth - 1) for part in parts)
            return all(found) if needs_both else any(found)
        # The newest atom first: the bounds of an inner loop may mention the outer one.
        name = next((name for name in reversed(self._limits) if name in symbols(dim)), None)
        if name is None:
            return self._of_sizes(dim, assume)
        factor = _coefficient(dim, name)
        extreme = None if factor is None else self._limits[name][factor < 0]
        if extreme is None:
            return sizes.never_negative(dim)
        return self._holds(substitute(dim, {name: extreme}), assume, depth - 1)

    def _of_sizes(self, dim: Dim, assume: bool) -> bool:
        """The same for a dimension of sizes alone."""
        sizes = self._trace.sizes
        if sizes.never_negative(dim):
            return True
        for guard in sizes.guards:
            if guard.relation in (">=", ">") and sizes.never_negative(
                dim - sizes.resolve(guard.left) + sizes.resolve(guard.right)
            ):
                return True
        number = sizes.number(dim)
        return assume and number is not None and number >= 0 and sizes.decide(dim, ">=", 0)

    # -- dimensions that shapes and offsets may mention

    def size(self, dim: Dim) -> Dim:
        """``dim``, which is not negative and has no atoms that may be, for use here."""
        dim = self._trace.sizes.resolve(dim)
        if isinstance(dim, Size) and any(not isinstance(a, str) for m, _ in dim.terms for a in m):
            dim = self._name(dim, self.value(dim))
        for name in symbols(dim):
            self._bind(name)
        return dim

    def value(self, dim: Dim) -> Value:
        """The same as an i64 scalar."""
        for name in symbols(dim):
            self._bind(name)
        return self._trace.size_value(dim)

    def _name(self, key: object, value: Value, limits: Limits = (0, None)) -> Dim:
        """One symbol for all that goes under ``key``, whose value is given."""
        known = self._named.get(key)
        if known is None or not self._trace.is_visible(known[1]):
            known = self._atom(value, limits), self._trace.build.region
            self._named[key] = known
        return known[0]

    def _bind(self, name: str) -> None:
        trace, value = self._trace, self._values.get(name)
        if value is None or any(map(trace.is_visible, self._bound.get(name, ()))):
            return
        trace.emit_all("bind", value, size=symbol(name))
        self._bound.setdefault(name, []).append(trace.build.region)

    def compared(self, one: Dim, other: Dim) -> bool:
        """Check at run time that two sizes, one of them of a slice, are the same."""
        from tracegrad.tracing.raising import raise_if
        from tracegrad.tracing.values import wrap

        trace = self._trace
        names = symbols(one - other)
        if isinstance(one - other, int) or not any(name in self._values for name in names):
            return False
        key = ("compared", one, other)
        known = self._named.get(key)
        if known is None or not trace.is_visible(known[1]):
            self._named[key] = one, trace.build.region
            raise_if(
                wrap(self.value(one)) != wrap(self.value(other)),
                ValueError,
                "operands could not be broadcast together: slices of different lengths (a slice of "
                "one element counts as one here)",
            )
        return True

    # -- slices

    def clipped(self, bound: Value, size: Dim, low: Dim, high: Dim) -> Dim:
        """A bound of a slice as Python clips it: a negative one counts from the end.

        Parameters
        ----------
        size : of the axis.
        low, high : what it is at least and at most.
        """
        at = self.dim(bound)
        if not self.not_negative(at):
            from_end = at + size
            if self._signed(from_end) or not self.not_negative(-1 - at):
                return self._clipped_at_run_time(bound, size, low, high)
            return from_end if self.not_negative(from_end - low) else dim_max(from_end, low)
        at = self.known(bound)
        return at if self.not_negative(high - at) else dim_min(at, high)

    def inside(self, index: Value, size: Dim) -> Dim | None:
        """A scalar index as a dimension for use here, if it is known to be in ``range(size)``."""
        if index.rank:
            return None
        at = self.dim(index)
        if not (self._holds(at, False) and self.not_negative(size - 1 - at)):
            return None
        return self.size(self.known(index))

    def known(self, value: Value, least: Dim = 0, most: Dim | None = None) -> Dim:
        """An integer that has turned out not to be negative, as a dimension without signs."""
        at = self.dim(value)
        if most is None and not self._signed(at):
            return at
        named = self._name(("known", at, least, most), value, (least, most))
        if most is None:
            self._meant[str(is_symbol(named))] = at
        return named

    def bound_in(self, shape: Sequence[Dim]) -> bool:
        """Whether a shape is made of integers that the program computes, not of sizes alone."""
        return any(name in self._values for dim in shape for name in symbols(dim))

    def _signed(self, dim: Dim) -> bool:
        """Whether a dimension mentions an atom that may be negative."""
        lengths = self._trace.sizes.lengths
        return any(name in self._values and name not in lengths for name in symbols(dim))

    def _clipped_at_run_time(self, bound: Value, size: Dim, low: Dim, high: Dim) -> Dim:
        key = ("clipped", self.dim(bound), size, low, high)

        def clip() -> Value:
            from_end = bound + self.value(size)
            at = REGISTRY["select"](
                bound < 0, REGISTRY["maximum"](from_end, self.value(low)), bound
            )
            result: Value = REGISTRY["minimum"](at, self.value(high))
            return result

        known = self._named.get(key)
        if known is None or not self._trace.is_visible(known[1]):
            return self._name(key, self._trace.run(clip), (low, high))
        return known[0]


def _extremum(dim: Size) -> tuple[bool, tuple[Dim, Dim]] | None:
    """What ``dim`` is with either side of an extremum in it; whether both must be looked at."""
    for monomial, factor in dim.terms:
        if len(monomial) == 1 and isinstance(monomial[0], Extremum):
            atom = monomial[0]
            rest = dim - Size(((monomial, factor),))
            both = (atom.kind == "max") != (factor > 0)
            return both, (rest + atom.left * factor, rest + atom.right * factor)
    return None


def _coefficient(dim: Size, name: str) -> int | None:
    """The factor of a symbol that stands alone in its terms; None where it does not."""
    found = 0
    for monomial, factor in dim.terms:
        if monomial == (name,):
            found = factor
        elif name in symbols(Size(((monomial, 1),))):
            return None
    return found
