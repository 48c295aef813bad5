"""Systems of linear equations, inverses and determinants, by the factors of a matrix.

Where both orders must agree for the result to be NumPy's (pivots), a copy is turned; where they
need not, LAPACK works on the transpose as it lies: a lower triangle is an upper one to it, and a
right side that stands in rows is solved for from the other side.

The factors that `lu` gives lie as LAPACK leaves them, column by column. Below them stands, as
numbers, which row each row was exchanged with.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from tracegrad.backend.native.fortran import Letter, Place, Real
from tracegrad.backend.native.lapack_calls import Calls
from tracegrad.backend.native.types import F64, Number, View
from tracegrad.backend.native.writer import real

SINGULAR = "Singular matrix"
BAND_SINGULAR = "singular matrix"

_Exchanged: TypeAlias = Callable[[str], str]
"""The row that a row was exchanged with, from 0."""


class Systems(Calls):
    """Writes one of these calls."""

    def solve_triangular(
        self,
        a: View,
        b: View,
        *,
        lower: bool,
        transposed: bool = False,
        right: bool = False,
    ) -> View:
        n, _ = a.shape
        self._refuse(self._has_zero(a, n), SINGULAR)
        out, held = self._copy(b, result=True)
        triangle = (a, "U" if lower else "L", "N")
        self._substitute(triangle, out, turned=transposed, right=right)
        return self._give(out, held)

    def solve(self, a: View, b: View, *, transposed: bool = False) -> View:
        factors, pivots, held = self._factors(a, transposed=transposed, fails=SINGULAR)
        out, kept = self._copy(b, result=True)
        self._exchange(out, self._pivots(pivots))
        # The factors lie column by column, as the transposes of what would lie in rows.
        for triangle in ((factors, "L", "U"), (factors, "U", "N")):
            self._substitute(triangle, out, turned=True)
        self._free(held)
        return self._give(out, kept)

    def solve_banded(
        self, a: View, b: View, lower: Number, upper: Number, *, transposed: bool = False
    ) -> View:
        """LAPACK wants the diagonals of a column side by side, after room for ``lower`` more."""
        rows, n = a.shape
        long = self._op(f"add nsw i64 {rows}, {lower.text}")
        band, first = self._new(n, long)
        pivots, second = self._integers(n)
        with self.writer.loop(n) as j:
            start = self._op(f"add nsw i64 {self._op(f'mul nsw i64 {j}, {long}')}, {lower.text}")
            with self.writer.loop(rows) as r:
                from_ = self._op(f"add nsw i64 {self._op(f'mul nsw i64 {r}, {n}')}, {j}")
                place = self._at(band, self._op(f"add nsw i64 {start}, {r}"))
                self.writer.do(f"store {self.element.llvm} {self._load(a, from_)}, ptr {place}")
        widths = lower.text, upper.text
        matrix = Place(band.data), long, Place(pivots.data)
        self._lapack("gbtrf", n, n, *widths, *matrix, fails=BAND_SINGULAR)
        way = Letter("T" if transposed else "N")
        if b.type.rank == 1:
            out, kept = self._copy(b, result=True)
            right = Place(out.data), self._lead(n)
            self._lapack("gbtrs", way, n, *widths, "1", *matrix, *right, fails=BAND_SINGULAR)
        else:
            _, columns = b.shape
            turned, third = self._turned(b, (columns, n))
            right = Place(turned.data), self._lead(n)
            self._lapack("gbtrs", way, n, *widths, columns, *matrix, *right, fails=BAND_SINGULAR)
            out, kept = self._turned(turned, (n, columns), result=True)
            self._free([third])
        self._free([first, second])
        return self._give(out, kept)

    def inv(self, a: View) -> View:
        n, _ = a.shape
        factors, pivots, held = self._factors(a, fails=SINGULAR)
        out, kept = self._inverse(factors, pivots, n)
        self._free(held)
        return self._give(out, kept)

    def det(self, a: View) -> Number:
        """The product of the pivots; 0 where LAPACK meets a pivot of zero."""
        n, _ = a.shape
        factors, pivots, held = self._factors(a)
        found = self._determinant(factors, self._pivots(pivots), n)
        self._free(held)
        return found

    def slogdet(self, a: View) -> View:
        n, _ = a.shape
        factors, pivots, held = self._factors(a)
        out, kept = self._logarithm(factors, self._pivots(pivots), n)
        self._free(held)
        return self._give(out, kept)

    def lu(self, a: View) -> View:
        n, _ = a.shape
        out, kept = self._new(self._op(f"add nsw i64 {n}, 1"), n, result=True)
        self._turn(out.data, a.data, n, n)
        pivots, held = self._integers(n)
        self._lapack("getrf", n, n, Place(out.data), self._lead(n), Place(pivots.data))
        exchanged = self._pivots(pivots)
        with self.writer.loop(n) as i:
            kind = self.element.llvm
            number = self._op(f"sitofp i64 {exchanged(i)} to {kind}")
            self.writer.do(f"store {kind} {number}, ptr {self._below(out, i)}")
        self._free([held])
        return self._give(out, kept)

    def lu_solve(self, factors: View, b: View, *, transposed: bool = False) -> View:
        n = factors.shape[1]
        self._refuse(self._has_zero(factors, n), SINGULAR)
        out, kept = self._copy(b, result=True)
        if not transposed:
            self._exchange(out, self._exchanged(factors))
        first, second = (factors, "L", "U"), (factors, "U", "N")
        for triangle in (second, first) if transposed else (first, second):
            self._substitute(triangle, out, turned=not transposed)
        if transposed:
            self._exchange(out, self._exchanged(factors), back=True)
        return self._give(out, kept)

    def lu_inv(self, factors: View) -> View:
        n = factors.shape[1]
        self._refuse(self._has_zero(factors, n), SINGULAR)
        work, first = self._new(n, n)
        self._move(work.data, factors.data, self._op(f"mul nsw i64 {n}, {n}"))
        pivots, second = self._integers(n)
        exchanged = self._exchanged(factors)
        with self.writer.loop(n) as i:
            place, size = self._integer(pivots, i)
            given = self._op(f"add nsw i64 {exchanged(i)}, 1")
            self._clear_bytes(place, size)
            self.writer.do(f"store i32 {self._op(f'trunc i64 {given} to i32')}, ptr {place}")
        out, kept = self._inverse(work, pivots, n)
        self._free([first, second])
        return self._give(out, kept)

    def lu_det(self, factors: View) -> Number:
        return self._determinant(factors, self._exchanged(factors), factors.shape[1])

    def lu_slogdet(self, factors: View) -> View:
        out, kept = self._logarithm(factors, self._exchanged(factors), factors.shape[1])
        return self._give(out, kept)

    # --- steps

    def _factors(
        self, a: View, *, transposed: bool = False, fails: str | None = None
    ) -> tuple[View, View, list[str]]:
        """The triangular factors of a matrix or its transpose, its pivots, and what holds them."""
        n, _ = a.shape
        factors, first = self._copy(a) if transposed else self._turned(a, (n, n))
        pivots, second = self._integers(n)
        place = Place(factors.data), self._lead(n), Place(pivots.data)
        self._lapack("getrf", n, n, *place, fails=fails)
        return factors, pivots, [first, second]

    def _integer(self, pivots: View, i: str) -> tuple[str, str]:
        """Where an integer of the library stands, and its bytes."""
        size = self._op(f"ptrtoint ptr {self.writer.address('lapack.integer_size')} to i64")
        offset = self._op(f"mul i64 {i}, {size}")
        return self._op(f"getelementptr i8, ptr {pivots.data}, i64 {offset}"), size

    def _pivots(self, pivots: View) -> _Exchanged:
        """The rows that rows were exchanged with, of LAPACK's integers, which count from 1."""

        def exchanged(i: str) -> str:
            place, _ = self._integer(pivots, i)
            number = self._op(f"sext i32 {self._op(f'load i32, ptr {place}')} to i64")
            return self._op(f"sub nsw i64 {number}, 1")

        return exchanged

    def _exchanged(self, factors: View) -> _Exchanged:
        """The same of the numbers below the factors of `lu`."""

        def exchanged(i: str) -> str:
            kind = self.element.llvm
            number = self._op(f"load {kind}, ptr {self._below(factors, i)}")
            return self._op(f"fptosi {kind} {number} to i64")

        return exchanged

    def _below(self, factors: View, i: str) -> str:
        """A place in the row below the factors."""
        n = factors.shape[1]
        return self._at(factors, self._op(f"add nsw i64 {self._op(f'mul nsw i64 {n}, {n}')}, {i}"))

    def _diagonal(self, a: View, n: str, i: str) -> str:
        return self._load(a, self._op(f"mul nsw i64 {i}, {self._op(f'add i64 {n}, 1')}"))

    def _has_zero(self, a: View, n: str) -> str:
        """Whether a zero is on the diagonal."""
        zero = self.writer.slot("i1", "false")
        self.writer.do(f"store i1 false, ptr {zero}")
        with self.writer.loop(n) as i:
            pivot = self._diagonal(a, n, i)
            none = self._op(f"fcmp oeq {self.element.llvm} {pivot}, 0.0")
            known = self._op(f"load i1, ptr {zero}")
            self.writer.do(f"store i1 {self._op(f'or i1 {known}, {none}')}, ptr {zero}")
        return self._op(f"load i1, ptr {zero}")

    def _inverse(self, factors: View, pivots: View, n: str) -> tuple[View, str]:
        """The inverse; the factors are overwritten."""
        place = Place(factors.data), self._lead(n), Place(pivots.data)
        self._working("getri", n, *place, fails=SINGULAR)
        return self._turned(factors, (n, n), result=True)

    def _determinant(self, factors: View, pivots: _Exchanged, n: str) -> Number:
        """The product of the pivots; 0 where one is zero."""
        kind = self.element.llvm
        total = self.writer.slot(kind)
        self.writer.do(f"store {kind} {self._sign(pivots, n)}, ptr {total}")
        with self.writer.loop(n) as i:
            before = self._op(f"load {kind}, ptr {total}")
            after = self._op(f"fmul {kind} {before}, {self._diagonal(factors, n, i)}")
            self.writer.do(f"store {kind} {after}, ptr {total}")
        found = self._op(f"load {kind}, ptr {total}")
        singular = self._has_zero(factors, n)
        return Number(self.element, self._op(f"select i1 {singular}, {kind} 0.0, {kind} {found}"))

    def _logarithm(self, factors: View, pivots: _Exchanged, n: str) -> tuple[View, str]:
        """The sign of the determinant and the logarithm of its magnitude."""
        kind = self.element.llvm
        out, kept = self._new("2", result=True)
        sign, total = self._at(out, "0"), self._at(out, "1")
        zero, one = real(0.0, self.element), real(-1.0, self.element)
        self.writer.do(f"store {kind} {self._sign(pivots, n)}, ptr {sign}")
        self.writer.do(f"store {kind} {zero}, ptr {total}")
        name = "log" if self.element is F64 else "logf"
        log = self.writer.module.declare(name, kind, kind)
        with self.writer.loop(n) as i:
            pivot = self._diagonal(factors, n, i)
            below = self._op(f"fcmp olt {kind} {pivot}, {zero}")
            factor = self._op(f"select i1 {below}, {kind} {one}, {kind} {real(1.0, self.element)}")
            before = self._op(f"load {kind}, ptr {sign}")
            after = self._op(f"fmul {kind} {before}, {factor}")
            self.writer.do(f"store {kind} {after}, ptr {sign}")
            size = self._op(f"fmul {kind} {pivot}, {factor}")
            before = self._op(f"load {kind}, ptr {total}")
            after = self._op(
                f"fadd {kind} {before}, {self._op(f'call {kind} {log}({kind} {size})')}"
            )
            self.writer.do(f"store {kind} {after}, ptr {total}")
        singular = self._has_zero(factors, n)
        for place, value in ((sign, zero), (total, real(float("-inf"), self.element))):
            found = self._op(f"load {kind}, ptr {place}")
            found = self._op(f"select i1 {singular}, {kind} {value}, {kind} {found}")
            self.writer.do(f"store {kind} {found}, ptr {place}")
        return out, kept

    def _sign(self, pivots: _Exchanged, n: str) -> str:
        """1 or -1, by the number of exchanges."""
        kind = self.element.llvm
        sign = self.writer.slot(kind)
        self.writer.do(f"store {kind} {real(1.0, self.element)}, ptr {sign}")
        with self.writer.loop(n) as i:
            moved = self._op(f"icmp ne i64 {pivots(i)}, {i}")
            before = self._op(f"load {kind}, ptr {sign}")
            other = self._op(f"fneg {kind} {before}")
            after = self._op(f"select i1 {moved}, {kind} {other}, {kind} {before}")
            self.writer.do(f"store {kind} {after}, ptr {sign}")
        return self._op(f"load {kind}, ptr {sign}")

    def _exchange(self, out: View, pivots: _Exchanged, *, back: bool = False) -> None:
        """Bring rows where the factors have them, or ``back``."""
        kind = self.element.llvm
        n, width = out.shape[0], out.shape[1] if out.type.rank == 2 else "1"
        with self.writer.loop(n) as step:
            i = step
            if back:
                i = self._op(f"sub nsw i64 {self._op(f'sub nsw i64 {n}, 1')}, {step}")
            starts = [self._op(f"mul nsw i64 {row}, {width}") for row in (i, pivots(i))]
            with self.writer.loop(width) as j:
                one, other = (
                    self._at(out, self._op(f"add nsw i64 {start}, {j}")) for start in starts
                )
                values = [self._op(f"load {kind}, ptr {place}") for place in (one, other)]
                self.writer.do(f"store {kind} {values[1]}, ptr {one}")
                self.writer.do(f"store {kind} {values[0]}, ptr {other}")

    def _substitute(
        self, triangle: tuple[View, str, str], out: View, *, turned: bool, right: bool = False
    ) -> None:
        """Solve for a triangle, in place.

        Parameters
        ----------
        triangle : a matrix, which of its triangles counts in LAPACK's order, and whether its
            diagonal does.
        turned : whether the system has the transpose of what lies in rows.
        right : whether the matrix stands on the right of the unknowns.
        """
        a, which, diagonal = triangle
        n = a.shape[1]  # factors have a row more
        matrix = Place(a.data), self._lead(n)
        if out.type.rank == 1:
            way = Letter("N" if turned else "T")
            options = Letter(which), way, Letter(diagonal)
            self._blas("trsv", *options, n, *matrix, Place(out.data), "1")
            return
        rows, columns = out.shape
        side, way = Letter("L" if right else "R"), Letter("T" if turned else "N")
        options = Letter(which), way, Letter(diagonal)
        sizes = columns, rows, Real(1.0)
        self._blas("trsm", side, *options, *sizes, *matrix, Place(out.data), self._lead(columns))
