"""One matrix in several systems: it is taken apart once.

The way back of ``x = solve(a, b)`` solves for the transpose of the same matrix, that of a
determinant needs the inverse. A system in a loop, of a matrix from before the loop, is the same
in every trip. In each the work is in the factors, n³, and the rest is n² for each right side.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tracegrad.ir.core import Function, Operation, Region, Value
from tracegrad.ir.rewrite import Rewriter
from tracegrad.ops.registry import REGISTRY

LATE = {"solve": "lu_solve", "inv": "lu_inv", "det": "lu_det", "slogdet": "lu_slogdet"}
"""What each operation is when the factors of its first operand are there."""


def shared_factors(function: Function) -> Function:
    """Compute the factors of a matrix once where several operations, or trips, need them.

    Before::

        func @f(%a: f64[n, n], %b: f64[n]) -> (f64[n], f64[n]) {
          %x: f64[n] = solve(%a, %b)
          %y: f64[n] = solve(%a, %x) {transposed=True}
          return %x, %y
        }

    After::

        func @f(%a: f64[n, n], %b: f64[n]) -> (f64[n], f64[n]) {
          %p: f64[n + 1, n] = lu(%a)
          %x: f64[n] = lu_solve(%p, %b)
          %y: f64[n] = lu_solve(%p, %x) {transposed=True}
          return %x, %y
        }

    They are made before the first of these, and only where one of them runs for certain, loops
    taken to have a trip: in the arm of a branch, for those in that arm. A singular matrix has
    factors, so that an error is raised where it was.
    """
    places = _places(function)
    return _Shared(places).rewrite(function) if places else function


def _places(function: Function) -> dict[Operation, list[Value]]:
    """For each operation before which factors are made, the matrices."""
    found: dict[Operation, list[Value]] = {}
    regions: dict[Value, Region] = {}
    chains: dict[Value, list[list[tuple[Region, Operation]]]] = {}

    def walk(region: Region, above: list[tuple[Region, Operation]]) -> None:
        regions.update(dict.fromkeys(region.params, region))
        for op in region.ops:
            here = [*above, (region, op)]
            regions.update(dict.fromkeys(op.results, region))
            if op.name in LATE:
                chains.setdefault(op.operands[0], []).append(here)
            for inner in op.regions:
                walk(inner, here)

    walk(function.body, [])
    for matrix, uses in chains.items():
        home = regions.get(matrix)
        if home is None:  # of an enclosing trace
            continue
        depth = next(k for k, (region, _) in enumerate(uses[0]) if region is home)
        for op in _before(uses, depth):
            found.setdefault(op, []).append(matrix)
    return found


def _before(uses: Sequence[list[tuple[Region, Operation]]], depth: int) -> list[Operation]:
    """The operations before which the factors are made that these uses need.

    Parameters
    ----------
    uses : for each use, the operations that it is in and itself, from the outside in, with their
        regions; all are in one region at ``depth``.
    """
    first = uses[0][depth][1]
    if any(_runs(use[depth:]) for use in uses):
        alone = len(uses) == 1 and len(uses[0]) == depth + 1
        return [] if alone else [first]
    inner: dict[Region, list[list[tuple[Region, Operation]]]] = {}
    for use in uses:
        inner.setdefault(use[depth + 1][0], []).append(use)
    return [op for each in inner.values() for op in _before(each, depth + 1)]


def _runs(use: Sequence[tuple[Region, Operation]]) -> bool:
    """Whether the last of these operations runs, as far as loops have trips."""
    return all(op.name in ("for", "while") for _, op in use[:-1])


class _Shared(Rewriter):
    """Makes the factors before certain operations, and uses them within and after.

    Attributes
    ----------
    factors : the factors of matrices of the old function, where they are there.
    """

    def __init__(self, places: dict[Operation, list[Value]]) -> None:
        super().__init__()
        self.places = places
        self.factors: dict[Value, Value] = {}

    def walk(self, ops: Iterable[Operation]) -> None:
        before = dict(self.factors)
        super().walk(ops)
        self.factors = before

    def visit(self, op: Operation) -> Sequence[Value]:
        for matrix in self.places.get(op, ()):
            (new,) = self.mapped([matrix])
            self.factors[matrix] = REGISTRY["lu"](new)
        factors = self.factors.get(op.operands[0]) if op.name in LATE else None
        if factors is None:
            return super().visit(op)
        rest = self.mapped(op.operands[1:])
        return [REGISTRY[LATE[op.name]](factors, *rest, **op.attributes)]
