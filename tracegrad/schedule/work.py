"""How much work a loop is, as a size: what decides, at run time, whether threads are worth it."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from tracegrad.ir.bounds import Bounds
from tracegrad.ir.core import Operation, Region, Value
from tracegrad.ir.types import Dim, Size, evaluate, substitute, symbols

#: Trips of a loop of which nothing is known.
SOME_TRIPS = 8

#: What reading and writing memory costs, in multiplications.
COSTS = {"load": 1, "store": 1, "add_store": 2, "check_index": 1, "const": 0, "dim": 0, "alloc": 50}


class Work:
    """Estimates the operations of loops, in multiplications.

    Parameters
    ----------
    bounds : what is known of integers, inside the loops as they are walked.
    sizes : the symbols that may occur in an estimate; others get their hint.
    hints : sizes that are expected.
    """

    def __init__(self, bounds: Bounds, sizes: Collection[str], hints: Mapping[str, int]) -> None:
        self.bounds = bounds
        self.sizes = sizes
        self.hints = hints

    def of(self, op: Operation) -> Dim:
        """The work of one operation, what it holds included."""
        if op.name == "for":
            (body,) = op.regions
            with self.bounds.within(op, body):
                return self.trips(op) * (self.of_region(body) + 1)
        if op.name == "while":
            return SOME_TRIPS * sum((self.of_region(region) for region in op.regions), 1)
        if op.name == "if":
            return sum((self.of_region(region) for region in op.regions), 1)
        if op.name in COSTS:
            return COSTS[op.name]
        if op.name == "gemm":
            return self.of_product(op)
        if op.opdef.kind != "elementwise":
            return 1
        return round(op.opdef.cost)

    def of_product(self, op: Operation) -> Dim:
        """The work of a product of matrices, an operation for each multiplication."""
        left, _, out = (value.shape for value in op.operands)
        total: Dim = left[0] if op.attributes.get("transpose_a") else left[-1]
        for dim in out:
            total = total * dim
        return self.visible(total)

    def of_region(self, region: Region) -> Dim:
        total: Dim = 0
        for op in region.ops:
            total = total + self.of(op)
        return total

    def trips(self, loop: Operation) -> Dim:
        """The trips of an open loop: of one whose bounds move, the most."""
        lo, hi, step = loop.operands[:3]
        by = self.bounds.polynomial(step)
        first, end = self.bounds.polynomial(lo), self.bounds.polynomial(hi)
        if first is None or end is None or by not in (1, -1):
            limit = most(hi)
            return SOME_TRIPS if limit is None else limit
        trips = end - first if by == 1 else first - end
        for limits in reversed(self.bounds.ranges):
            if limits.name in symbols(trips):
                ends = (limits.least, limits.greatest)
                known = [substitute(trips, {limits.name: e}) for e in ends if e is not None]
                if not known:
                    return SOME_TRIPS
                trips = max(known, key=lambda t: self.expected(t, 0))
        return self.visible(trips)

    def visible(self, dim: Dim) -> Dim:
        """``dim`` over the symbols that may be used."""
        unknown = {name for name in symbols(dim) if name not in self.sizes}
        if not unknown:
            return dim
        return substitute(dim, {name: self.hints.get(name, SOME_TRIPS) for name in unknown})

    def expected(self, dim: Dim, otherwise: int) -> int:
        """``dim`` at the sizes that are expected; ``otherwise`` where there are none."""
        if any(name not in self.hints for name in symbols(dim)):
            return otherwise
        return evaluate(dim, self.hints)


def most(value: Value) -> int | None:
    """An upper limit that stands in the definition of a number: the 128 of a block."""
    op = value.op
    if op is None:
        return None
    if op.name == "const":
        return int(op.attributes["value"])
    limits = [most(v) for v in op.operands]
    if op.name == "minimum":
        return min((limit for limit in limits if limit is not None), default=None)
    if op.name == "floor_divide" and limits[0] is not None and limits[1]:
        return limits[0] // limits[1]
    return None


def simple(dim: Dim) -> Dim:
    """An estimate with fewer digits and no small terms: it is shown to readers."""
    if isinstance(dim, int):
        return _two_digits(dim)
    total: Dim = 0
    for monomial, factor in dim.terms:
        if monomial:
            total = total + Size(((monomial, _two_digits(factor)),))
    return total


def _two_digits(number: int) -> int:
    scale = int(10 ** max(0, len(str(abs(number))) - 2))
    return number // scale * scale
