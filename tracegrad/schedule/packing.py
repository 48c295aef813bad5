"""Matrices that a loop multiplies across their rows are laid out for it, once, before the loop.

``z @ W`` with a vector reads ``W`` by columns, or adds up its rows in memory. Where a loop does so
in each trip with the same matrix, a transposed copy made before the loop pays after a few trips:
each element of the product is then the sum of a row, in a register. The way back of ``W @ h`` is
of this kind.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tracegrad.ir.core import Function, Operation, Value
from tracegrad.ir.rewrite import Rewriter
from tracegrad.ir.sizes import BINDING, attribute_symbols, type_symbols
from tracegrad.ir.types import Dim, evaluate, symbols
from tracegrad.ops.access import view_of
from tracegrad.ops.access_samples import Entry
from tracegrad.ops.registry import REGISTRY
from tracegrad.passes.values import dimension
from tracegrad.schedule.graph import UNROLL_LIMIT

DEFAULT_SIZE = 1000
FEWEST_TRIPS = 4
CACHED = 32_768
"""Elements that stay in a processor's cache beside their transposed copy."""


def pack_matrices(function: Function) -> Function:
    """Products of vectors with matrices from outside of the loop read rows of the matrices.

    Before::

        func @f(%w: f64[n, m], %z: f64[n], %lo: i64, %hi: i64, %step: i64) -> (f64[m]) {
          %zero: f64 = 0.0
          %s: f64[m] = view(%zero) {shape=(m,), map=[]}
          %r: f64[m] = for(%lo, %hi, %step, %s) (%i: i64, %c: f64[m]) {
            %a: f64 = sum(%c) {axes=(0,)}
            %b: f64[n] = multiply(%z, %a)
            %d: f64[m] = dot(%b, %w)
            yield %d
          }
          return %r
        }

    After::

        func @f(%w: f64[n, m], %z: f64[n], %lo: i64, %hi: i64, %step: i64) -> (f64[m]) {
          %zero: f64 = 0.0
          %s: f64[m] = view(%zero) {shape=(m,), map=[]}
          %wt: f64[m, n] = view(%w) {shape=(m, n), map=[#1, #0]}
          %r: f64[m] = for(%lo, %hi, %step, %s) (%i: i64, %c: f64[m]) {
            %a: f64 = sum(%c) {axes=(0,)}
            %b: f64[n] = multiply(%z, %a)
            %d: f64[m] = dot(%wt, %b)
            yield %d
          }
          return %r
        }

    What a region reads from outside is an array of its own: here the view is copied. A matrix too
    large for the cache, whose rows the loop reads for another product, is left alone: it would be
    read twice. So is any matrix whose product by rows gives, element by element, the vector of the
    product across them (``X.T @ (X @ w - y)``): each row serves both as it passes.
    """
    packer = _Packer(function)
    new = packer.rewrite(function)
    return new if packer.packed else function


@dataclass(frozen=True)
class _Use:
    """A product of a vector with a matrix that ``base`` holds.

    ``rows``: whether what is summed over lies together in memory.
    """

    op: Operation
    base: Value
    rows: bool


class _Packer(Rewriter):
    def __init__(self, function: Function) -> None:
        super().__init__()
        self.hints = function.hints
        self.packed: dict[Operation, Value] = {}

    def visit(self, op: Operation) -> Sequence[Value]:
        matrix = self.packed.get(op)
        if matrix is None:
            return super().visit(op)
        a, b = self.mapped(op.operands)
        return self.emit(op.opdef, [matrix, a if a.rank == 1 else b]).results

    def visit_control(self, op: Operation) -> Sequence[Value]:
        if op.name in ("for", "while") and self._often(op):
            inside = set(_defined(op))
            sizes = _sizes_found(op)
            uses = [
                use
                for inner in _operations(op)
                if inner not in self.packed
                and (use := _use(inner)) is not None
                and use.base not in inside
                and sizes.isdisjoint(_mentioned(inner, inside))
            ]
            copies: dict[tuple[object, ...], Value] = {}
            for use in uses:
                if not use.rows and self._pays(use, uses):
                    self.packed[use.op] = self._copy(use.op, inside, copies)
        return super().visit_control(op)

    def _copy(
        self, op: Operation, inside: set[Value], copies: dict[tuple[object, ...], Value]
    ) -> Value:
        """Append the matrix of a product with what is summed over as its last axis."""
        a, b = op.operands
        matrix = a if a.rank == 2 else b
        key: tuple[object, ...] = (matrix, a is matrix)
        if matrix in inside:
            assert matrix.op is not None
            key = (matrix.op.operands[0], tuple(matrix.op.attributes.values()), a is matrix)
        if key not in copies:
            base = matrix
            map: Sequence[Entry] = [(0, 0, 1), (1, 0, 1)]
            if matrix in inside:
                assert matrix.op is not None
                (base,) = matrix.op.operands
                map = matrix.op.attributes["map"]
            shape = matrix.shape
            if a is not matrix:
                shape = shape[::-1]
                map = [(None if axis is None else 1 - axis, o, s) for axis, o, s in map]
            with self.at(op.location, op.part):
                (base,) = self.mapped([base])
                # A view in any case: of a matrix that is summed by rows there is no use here.
                new = copies[key] = view_of(base, shape, map)
            if base.hint and not new.hint:
                new.hint = f"{base.hint}_T"
        return copies[key]

    def _often(self, op: Operation) -> bool:
        """Whether the loop may have more than a few trips."""
        if op.name == "while":
            return True
        lo, hi, step = (dimension(v) for v in op.operands[:3])
        if lo is None or hi is None or not isinstance(step, int) or step == 0:
            return True
        return self._size(hi - lo) // step >= FEWEST_TRIPS

    def _pays(self, use: _Use, uses: Sequence[_Use]) -> bool:
        matrix = next(v for v in use.op.operands if v.rank == 2)
        if any(isinstance(d, int) and d <= UNROLL_LIMIT for d in matrix.shape):
            return False
        row_products = {u.op for u in uses if u.rows and u.base is use.base}
        if _follows(use.op, row_products):
            return False
        elements = self._size(matrix.shape[0]) * self._size(matrix.shape[1])
        return elements <= CACHED or not row_products

    def _size(self, dim: Dim) -> int:
        return evaluate(dim, {s: self.hints.get(s, DEFAULT_SIZE) for s in symbols(dim)})


def _operations(op: Operation) -> Iterator[Operation]:
    for region in op.regions:
        for inner in region.ops:
            yield inner
            yield from _operations(inner)


def _defined(op: Operation) -> Iterator[Value]:
    """The values that the regions of ``op`` define."""
    for region in op.regions:
        yield from region.params
        for inner in region.ops:
            yield from inner.results
            yield from _defined(inner)


def _sizes_found(op: Operation) -> set[str]:
    """The sizes and starts that trips find out: what mentions them is another in each."""
    return {
        name
        for inner in _operations(op)
        if inner.name in BINDING
        for name in attribute_symbols(inner.attributes["size"])
    }


def _mentioned(product: Operation, inside: set[Value]) -> set[str]:
    """The symbols of a product's matrix; of the view of it, where the loop takes one."""
    (matrix,) = (v for v in product.operands if v.rank == 2)
    found = set(type_symbols(matrix.type))
    if matrix in inside and matrix.op is not None:
        for value in matrix.op.attributes.values():
            found.update(attribute_symbols(value))
    return found


def _follows(product: Operation, others: set[Operation]) -> bool:
    """Whether a product's vector is computed element by element from the result of one of others.

    What is computed so can be known as soon as one row of the other product is done.
    """
    seen: set[Operation] = set()
    waiting = [v for v in product.operands if v.rank == 1]
    while waiting:
        value = waiting.pop()
        op = value.op
        if op is None or op in seen:
            continue
        if op in others:
            return True
        seen.add(op)
        if op.opdef.kind == "elementwise":
            waiting += [v for v in op.operands if v.shape == value.shape]
    return False


def _use(op: Operation) -> _Use | None:
    if op.opdef is not REGISTRY["dot"] or {v.rank for v in op.operands} != {1, 2}:
        return None
    a, b = op.operands
    matrix, summed = (a, 1) if a.rank == 2 else (b, 0)
    if matrix.op is None or matrix.op.name != "view":
        return _Use(op, matrix, summed == 1)
    base = matrix.op.operands[0]
    map = matrix.op.attributes["map"]
    if not map or base.rank < 2:
        return None
    axis, _, step = map[-1]
    return _Use(op, base, axis == summed and step == 1)
