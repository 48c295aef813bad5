"""Solutions, factors and eigenvalues by LAPACK.

Its matrices lie column by column, ours row by row. Where both orders must agree for the result to
be NumPy's (pivots, signs of vectors), a copy is turned; where they need not, LAPACK works on the
transpose as it lies: a lower triangle is an upper one to it, and a right side that stands in rows
is solved for from the other side. What LAPACK works in is scratch memory that is freed at once.

A return code other than 0 raises NumPy's ``LinAlgError``.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import TYPE_CHECKING

from tracegrad.backend.native import cholesky
from tracegrad.backend.native.fortran import Letter, Place, Real
from tracegrad.backend.native.systems import Systems
from tracegrad.backend.native.types import Number, Unsupported, View
from tracegrad.backend.native.writer import real

if TYPE_CHECKING:
    from tracegrad.backend.native.expressions import Expressions

RUNTIME = "tracegrad.backend.runtime"

NOT_POSITIVE = "Matrix is not positive definite"
NO_EIGENVALUES = "Eigenvalues did not converge"
NO_SINGULAR_VALUES = "SVD did not converge"
NO_FACTORS = "Incorrect argument found while performing QR factorization"

RANKS: dict[str, int | None] = {
    **dict.fromkeys(("cholesky", "cholesky_cotangent", "inv", "pinv"), 2),
    **dict.fromkeys(("eigh", "svd", "orthonormal", "lu", "lu_inv"), 2),
    **dict.fromkeys(("slogdet", "lu_slogdet"), 1),
    **dict.fromkeys(("solve", "solve_triangular", "solve_banded", "lu_solve")),
}
"""The rank of what each function gives; None: that of its second argument."""

ARRAYS = {f"{RUNTIME}.{name}": name for name in RANKS}
"""The functions that give arrays."""

NUMBERS = {"numpy.linalg.det": "det", f"{RUNTIME}.lu_det": "lu_det"}
"""The functions that give a number."""


def array(within: Expressions, path: str, node: ast.Call, shared: bool) -> View:
    """The array that a call gives, held by whoever takes it.

    Parameters
    ----------
    shared : whether Python will see it.
    """
    given = [within.value(each) for each in node.args]
    options = {str(each.arg): _flag(each.value) for each in node.keywords}
    call = _Call(within, [each for each in given if isinstance(each, View)], shared)
    return _FUNCTIONS[ARRAYS[path]](call, *given, **options)


def number(within: Expressions, path: str, node: ast.Call) -> Number:
    """The number that a call gives."""
    if len(node.args) != 1 or node.keywords:
        raise Unsupported(ast.unparse(node))
    a = within.view(node.args[0])
    call = _Call(within, [a], shared=False)
    return call.det(a) if NUMBERS[path] == "det" else call.lu_det(a)


def _flag(node: ast.expr) -> bool:
    if not isinstance(node, ast.Constant) or not isinstance(node.value, bool):
        raise Unsupported(ast.unparse(node))
    return node.value


class _Call(Systems):
    """Writes one call."""

    def cholesky(self, a: View) -> View:
        n, _ = a.shape
        out, held = self._copy(a, result=True)
        refused = cholesky.factor(self.writer, self.element, out.data, n, self._lead(n))
        self._refuse(refused, NOT_POSITIVE)
        with self.writer.loop(n) as i:
            some = self._op(f"add nsw i64 {i}, 1")
            begin = self._op(f"add nsw i64 {self._op(f'mul nsw i64 {i}, {n}')}, {some}")
            self._clear(self._at(out, begin), self._op(f"sub nsw i64 {n}, {some}"))
        return self._give(out, held)

    def cholesky_cotangent(self, factor: View, factor_bar: View) -> View:
        n, _ = factor.shape
        out, held = self._copy(factor_bar, result=True)
        place = factor.data, out.data
        cholesky.cotangent(self.writer, self.element, *place, n, self._lead(n))
        return self._give(out, held)

    def eigh(self, a: View) -> View:
        n, _ = a.shape
        out, kept = self._new(self._op(f"add nsw i64 {n}, 1"), n, result=True)
        vectors, held = self._turned(a, (n, n))
        matrix = Place(vectors.data), self._lead(n), Place(out.data)
        options = Letter("V"), Letter("L")
        self._working("syevd", *options, n, *matrix, fails=NO_EIGENVALUES, integers=True)
        self._turn(self._at(out, n), vectors.data, n, n)
        self.arrays.let_go(held)
        return self._give(out, kept)

    def svd(self, a: View) -> View:
        n, k = a.shape
        rows = self._op(f"add nsw i64 {self._op(f'add nsw i64 {n}, {k}')}, 1")
        out, kept = self._new(rows, k, result=True)
        u, held = self._new(k, n)
        below = self._op(f"mul nsw i64 {n}, {k}")
        values = self._at(out, below)
        # v, row by row, is vᵀ column by column.
        vt = self._at(out, self._op(f"add nsw i64 {below}, {k}"))
        self._singular(a, u.data, values, vt, k)
        self._turn(out.data, u.data, k, n)
        self.arrays.let_go(held)
        return self._give(out, kept)

    def pinv(self, a: View, rcond: Number) -> View:
        """v · diag(1 / s) · uᵀ, whose transpose LAPACK's order makes of u · diag(1 / s) · vᵀ."""
        n, k = a.shape
        kind = self.element.llvm
        less = self._op(f"icmp slt i64 {n}, {k}")
        few = self._op(f"select i1 {less}, i64 {n}, i64 {k}")
        out, kept = self._new(k, n, result=True)
        (u, first), (vt, second) = self._new(few, n), self._new(k, few)
        values, third = self._new(self._lead(few))
        self._singular(a, u.data, values.data, vt.data, few)
        limit = self._op(
            f"fmul {kind} {self._load(values, '0')}, {self.scalars.cast(rcond, self.element).text}"
        )
        one, zero = real(1.0, self.element), real(0.0, self.element)
        with self.writer.loop(few) as j:
            value = self._load(values, j)
            counts = self._op(f"fcmp ogt {kind} {value}, {limit}")
            inverse = self._op(f"fdiv {kind} {one}, {value}")
            inverse = self._op(f"select i1 {counts}, {kind} {inverse}, {kind} {zero}")
            begin = self._op(f"mul nsw i64 {j}, {n}")
            with self.writer.loop(n) as i:
                place = self._at(u, self._op(f"add nsw i64 {begin}, {i}"))
                before = self._op(f"load {kind}, ptr {place}")
                after = self._op(f"fmul {kind} {before}, {inverse}")
                self.writer.do(f"store {kind} {after}, ptr {place}")
        factors = Place(u.data), self._lead(n), Place(vt.data), self._lead(few)
        self._blas(
            "gemm", *[Letter("N")] * 2, n, k, few, Real(1.0), *factors,
            Real(0.0), Place(out.data), self._lead(n),
        )  # fmt: skip
        self._free([first, second, third])
        return self._give(out, kept)

    def orthonormal(self, a: View) -> View:
        n, k = a.shape
        q, first = self._turned(a, (k, n))
        scales, second = self._new(k)
        matrix = Place(q.data), self._lead(n), Place(scales.data)
        self._working("geqrf", n, k, *matrix, fails=NO_FACTORS)
        self._working("orgqr", n, k, k, *matrix, fails=NO_FACTORS)
        out, kept = self._turned(q, (n, k), result=True)
        self._free([first, second])
        return self._give(out, kept)

    def _singular(self, a: View, u: str, values: str, vt: str, few: str) -> None:
        """The reduced singular value decomposition, in LAPACK's order."""
        n, k = a.shape
        work, held = self._turned(a, (k, n))
        places = (Place(values), Place(u), self._lead(n), Place(vt), self._lead(few))
        matrix = Place(work.data), self._lead(n)
        integers, kept = self._integers(self._op(f"mul nsw i64 {few}, 8"))
        self._working(
            "gesdd", Letter("S"), n, k, *matrix, *places,
            after=[Place(integers.data)], fails=NO_SINGULAR_VALUES,
        )  # fmt: skip
        self._free([held, kept])


_FUNCTIONS: dict[str, Callable[..., View]] = {
    "cholesky": _Call.cholesky,
    "cholesky_cotangent": _Call.cholesky_cotangent,
    "solve_triangular": _Call.solve_triangular,
    "solve": _Call.solve,
    "solve_banded": _Call.solve_banded,
    "inv": _Call.inv,
    "lu": _Call.lu,
    "lu_solve": _Call.lu_solve,
    "lu_inv": _Call.lu_inv,
    "lu_slogdet": _Call.lu_slogdet,
    "slogdet": _Call.slogdet,
    "eigh": _Call.eigh,
    "svd": _Call.svd,
    "pinv": _Call.pinv,
    "orthonormal": _Call.orthonormal,
}
