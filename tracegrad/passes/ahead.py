"""Products that a loop makes of what stands before it, made of all trips at once before the loop.

A recurrent cell multiplies its input of each time with a matrix, ``U @ x[t]``, and the inputs of
all times are there already. All these products are one product of matrices, which BLAS does from
cache; the loop reads its rows::

    for t: z = W @ h + U @ x[t]      →      Ux = x @ U.T
                                             for t: z = W @ h + Ux[t]
"""

from __future__ import annotations

from collections.abc import Sequence

from tracegrad import ops
from tracegrad.ir.core import Function, Operation, Value
from tracegrad.ir.rewrite import Rewriter
from tracegrad.ir.types import Dim, evaluate, symbols
from tracegrad.ops.access import transpose
from tracegrad.passes.simplify import simplify
from tracegrad.passes.trips import Trips

DEFAULT_SIZE = 1000
SMALL = 8
MOST_STORED = 4
"""How many elements of a product are stored at most for each element of the vector."""


def products_ahead(function: Function) -> Function:
    """Make products of a matrix with a row per trip products of matrices before the loop.

    Before::

        func @f(%w: f64[p, q], %x: f64[n, q], %s: f64[p]) -> (f64[p]) {
          %lo: i64 = 0
          %hi: i64 = dim() {size=n}
          %step: i64 = 1
          %r: f64[p] = for(%lo, %hi, %step, %s) (%i: i64, %c: f64[p]) {
            %a: f64[q] = index(%x, %i)
            %b: f64[p] = dot(%w, %a)
            %d: f64[p] = multiply(%c, %b)
            yield %d
          }
          return %r
        }

    After::

        func @f(%w: f64[p, q], %x: f64[n, q], %s: f64[p]) -> (f64[p]) {
          %lo: i64 = 0
          %hi: i64 = dim() {size=n}
          %step: i64 = 1
          %wt: f64[q, p] = view(%w) {shape=(q, p), map=[#1, #0]}
          %wx: f64[n, p] = dot(%x, %wt)
          %r: f64[p] = for(%lo, %hi, %step, %s) (%i: i64, %c: f64[p]) {
            %b: f64[p] = index(%wx, %i)
            %d: f64[p] = multiply(%c, %b)
            yield %d
          }
          return %r
        }

    The matrix and the array of rows stand before the loop, a ``for`` by steps of 1 or -1 whose
    bounds are sizes, and all rows are in range. The products take memory: at most `MOST_STORED`
    times that of the rows.
    """
    ahead = _Ahead(function)
    new = ahead.rewrite(function)
    return simplify(new) if ahead.changed else function


class _Ahead(Rewriter):
    def __init__(self, function: Function) -> None:
        super().__init__()
        self.known = set(function.size_sources())
        self.hints = function.hints
        self.guards = function.guards
        self.changed = False
        self.rows: dict[Operation, tuple[Trips, Value]] = {}

    def visit_control(self, op: Operation) -> Sequence[Value]:
        trips = Trips.of(op, self.known, self.guards) if op.name == "for" else None
        if trips is not None:
            for inner in op.regions[0].ops:
                if inner.name == "dot":
                    self._product(inner, trips)
        return super().visit_control(op)

    def visit(self, op: Operation) -> Sequence[Value]:
        found = self.rows.get(op)
        if found is None:
            return super().visit(op)
        trips, rows = found
        (index,) = self.mapped([trips.index])
        return [ops.index(rows, trips.number(index))]

    def _product(self, op: Operation, trips: Trips) -> None:
        """Append the products of all trips, if ``op`` is one that can be made ahead."""
        a, b = op.operands
        if {a.rank, b.rank} != {1, 2} or not a.dtype.is_float:
            return
        matrix, vector = (a, b) if a.rank == 2 else (b, a)
        standing = trips.standing(vector)
        view = matrix.op if matrix in trips.inside else None
        if standing is None or (matrix in trips.inside and view is None):
            return
        if view is not None and (view.name != "view" or view.operands[0] in trips.inside):
            return
        if any(isinstance(d, int) and d <= SMALL for d in matrix.shape):
            return
        if self._size(op.result.shape[0]) > MOST_STORED * self._size(vector.shape[0]):
            return
        with self.at(op.location, op.part):
            rows = trips.rows(self, *standing)
            if view is not None:
                matrix = self.copy(view, self.env).result
            else:
                (matrix,) = self.mapped([matrix])
            columns = transpose(matrix) if a.rank == 2 else matrix
            self.rows[op] = trips, ops.dot(rows, columns)
        self.changed = True

    def _size(self, dim: Dim) -> int:
        return evaluate(dim, {s: self.hints.get(s, DEFAULT_SIZE) for s in symbols(dim)})
