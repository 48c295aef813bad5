"""Solutions, factors and eigenvalues by LAPACK.

Its matrices lie column by column, ours row by row. Where both orders must agree for the result to
be NumPy's (pivots, signs of vectors), a copy is turned; where they need not, LAPACK works on the
transpose as it lies: a lower triangle is an upper one to it, and a right side that stands in rows
is solved for from the other side. What LAPACK works in is scratch memory that is freed at once.

A return code other than 0 raises NumPy's ``LinAlgError``.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from tracegrad.backend.native import cholesky, fortran
from tracegrad.backend.native.fortran import Argument, Letter, Place, Real
from tracegrad.backend.native.types import F32, F64, I64, Array, Number, Scalar, Unsupported, View
from tracegrad.backend.native.writer import Writer, real

if TYPE_CHECKING:
    from tracegrad.backend.native.expressions import Expressions

RUNTIME = "tracegrad.backend.runtime"
DETERMINANT = "numpy.linalg.det"

SINGULAR = "Singular matrix"
NOT_POSITIVE = "Matrix is not positive definite"
NO_EIGENVALUES = "Eigenvalues did not converge"
NO_SINGULAR_VALUES = "SVD did not converge"
NO_FACTORS = "Incorrect argument found while performing QR factorization"

RANKS: dict[str, int | None] = {
    **dict.fromkeys(("cholesky", "cholesky_cotangent", "inv", "pinv"), 2),
    **dict.fromkeys(("eigh", "svd", "orthonormal"), 2),
    "slogdet": 1,
    **dict.fromkeys(("solve", "solve_triangular")),
}
"""The rank of what each function gives; None: that of its second argument."""

ARRAYS = {f"{RUNTIME}.{name}": name for name in RANKS}
"""The functions that give arrays."""


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


def determinant(within: Expressions, node: ast.Call) -> Number:
    """``np.linalg.det``."""
    if len(node.args) != 1 or node.keywords:
        raise Unsupported(ast.unparse(node))
    a = within.view(node.args[0])
    return _Call(within, [a], shared=False).det(a)


def _flag(node: ast.expr) -> bool:
    if not isinstance(node, ast.Constant) or not isinstance(node.value, bool):
        raise Unsupported(ast.unparse(node))
    return node.value


class _Call:
    """Writes one call.

    Parameters
    ----------
    given : the arrays that it takes: of one dtype, row by row.
    """

    def __init__(self, within: Expressions, given: list[View], shared: bool) -> None:
        self.writer = within.writer
        self.arrays = within.arrays
        self.scalars = within.scalars
        self.shared = shared
        element = given[0].type.element if given else I64
        plain = all(x.type.element is element and not x.column_major for x in given)
        if element not in (F64, F32) or not plain or sys.byteorder != "little":
            raise Unsupported("linear algebra of these arrays")
        self.element: Scalar = element

    # --- functions

    def cholesky(self, a: View) -> View:
        n, _ = a.shape
        out, held = self._symmetric(a, result=True)
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
        zero = self.writer.slot("i1", "false")
        self.writer.do(f"store i1 false, ptr {zero}")
        with self.writer.loop(n) as i:
            pivot = self._load(a, self._op(f"mul nsw i64 {i}, {self._op(f'add i64 {n}, 1')}"))
            none = self._op(f"fcmp oeq {self.element.llvm} {pivot}, 0.0")
            known = self._op(f"load i1, ptr {zero}")
            self.writer.do(f"store i1 {self._op(f'or i1 {known}, {none}')}, ptr {zero}")
        self._refuse(self._op(f"load i1, ptr {zero}"), SINGULAR)
        out, held = self._copy(b, result=True)
        triangle = (a, "U" if lower else "L", "N")
        self._substitute(triangle, out, turned=transposed, right=right)
        return self._give(out, held)

    def solve(self, a: View, b: View, *, transposed: bool = False) -> View:
        factors, pivots, held = self._factors(a, transposed=transposed, fails=SINGULAR)
        out, kept = self._copy(b, result=True)
        self._exchange(out, pivots)
        # The factors lie column by column, as the transposes of what would lie in rows.
        for triangle in ((factors, "L", "U"), (factors, "U", "N")):
            self._substitute(triangle, out, turned=True)
        self._free(held)
        return self._give(out, kept)

    def inv(self, a: View) -> View:
        n, _ = a.shape
        factors, pivots, held = self._factors(a, fails=SINGULAR)
        place = Place(factors.data), self._lead(n), Place(pivots.data)
        self._working("getri", n, *place, fails=SINGULAR)
        out, kept = self._turned(factors, (n, n), result=True)
        self._free(held)
        return self._give(out, kept)

    def det(self, a: View) -> Number:
        """The product of the pivots; 0 where LAPACK meets a pivot of zero."""
        n, _ = a.shape
        kind = self.element.llvm
        factors, pivots, held = self._factors(a)
        total = self.writer.slot(kind)
        self.writer.do(f"store {kind} {self._sign(pivots, n)}, ptr {total}")
        with self.writer.loop(n) as i:
            pivot = self._load(factors, self._op(f"mul i64 {i}, {self._op(f'add i64 {n}, 1')}"))
            before = self._op(f"load {kind}, ptr {total}")
            after = self._op(f"fmul {kind} {before}, {pivot}")
            self.writer.do(f"store {kind} {after}, ptr {total}")
        self._free(held)
        found = self._op(f"load {kind}, ptr {total}")
        singular = self._op(f"icmp sgt i32 {self._code()}, 0")
        return Number(self.element, self._op(f"select i1 {singular}, {kind} 0.0, {kind} {found}"))

    def slogdet(self, a: View) -> View:
        n, _ = a.shape
        kind = self.element.llvm
        factors, pivots, held = self._factors(a)
        out, kept = self._new("2", result=True)
        sign, total = self._at(out, "0"), self._at(out, "1")
        zero, one = real(0.0, self.element), real(-1.0, self.element)
        self.writer.do(f"store {kind} {self._sign(pivots, n)}, ptr {sign}")
        self.writer.do(f"store {kind} {zero}, ptr {total}")
        name = "log" if self.element is F64 else "logf"
        log = self.writer.module.declare(name, kind, kind)
        with self.writer.loop(n) as i:
            pivot = self._load(factors, self._op(f"mul i64 {i}, {self._op(f'add i64 {n}, 1')}"))
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
        singular = self._op(f"icmp sgt i32 {self._code()}, 0")
        for place, value in ((sign, zero), (total, real(float("-inf"), self.element))):
            found = self._op(f"load {kind}, ptr {place}")
            found = self._op(f"select i1 {singular}, {kind} {value}, {kind} {found}")
            self.writer.do(f"store {kind} {found}, ptr {place}")
        self._free(held)
        return self._give(out, kept)

    def eigh(self, a: View) -> View:
        n, _ = a.shape
        out, kept = self._new(self._op(f"add nsw i64 {n}, 1"), n, result=True)
        vectors, held = self._symmetric(a)
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

    def _pivot(self, pivots: View, i: str) -> str:
        """The row that row i was exchanged with, from 0."""
        size = self._op(f"ptrtoint ptr {self.writer.address('lapack.integer_size')} to i64")
        place = self._op(
            f"getelementptr i8, ptr {pivots.data}, i64 {self._op(f'mul i64 {i}, {size}')}"
        )
        number = self._op(f"sext i32 {self._op(f'load i32, ptr {place}')} to i64")
        return self._op(f"sub nsw i64 {number}, 1")

    def _sign(self, pivots: View, n: str) -> str:
        """1 or -1, by the number of exchanges."""
        kind = self.element.llvm
        sign = self.writer.slot(kind)
        self.writer.do(f"store {kind} {real(1.0, self.element)}, ptr {sign}")
        with self.writer.loop(n) as i:
            moved = self._op(f"icmp ne i64 {self._pivot(pivots, i)}, {i}")
            before = self._op(f"load {kind}, ptr {sign}")
            other = self._op(f"fneg {kind} {before}")
            after = self._op(f"select i1 {moved}, {kind} {other}, {kind} {before}")
            self.writer.do(f"store {kind} {after}, ptr {sign}")
        return self._op(f"load {kind}, ptr {sign}")

    def _exchange(self, out: View, pivots: View) -> None:
        """Bring rows where the factors have them."""
        kind = self.element.llvm
        n, width = out.shape[0], out.shape[1] if out.type.rank == 2 else "1"
        with self.writer.loop(n) as i:
            starts = [
                self._op(f"mul nsw i64 {row}, {width}") for row in (i, self._pivot(pivots, i))
            ]
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
        n = a.shape[0]
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

    # --- calls

    def _blas(self, name: str, *arguments: Argument) -> None:
        fortran.call(self.writer, f"blas.{name}", self.element, *arguments)

    def _lapack(self, name: str, *arguments: Argument, fails: str | None = None) -> None:
        """Call a function; unless its code is 0, fail with a message."""
        self.code = fortran.variable(self.writer, "i64", "0")
        fortran.call(self.writer, f"lapack.{name}", self.element, *arguments, Place(self.code))
        if fails is not None:
            self._refuse(self._op(f"icmp ne i32 {self._code()}, 0"), fails)

    def _code(self) -> str:
        return self._op(f"load i32, ptr {self.code}")

    def _working(
        self,
        name: str,
        *arguments: Argument,
        after: list[Place] | None = None,
        fails: str,
        integers: bool = False,
    ) -> None:
        """Call a function that works in memory, as much as it asks for.

        Parameters
        ----------
        after : arguments that stand behind that memory and its length.
        integers : whether it wants memory for integers, too.
        """
        more = after or []
        kind = self.element.llvm
        asked = self.writer.slot(kind)
        counted = self.writer.slot("i64")
        question: list[Argument] = [Place(asked), "-1"]
        question += [Place(counted), "-1"] if integers else []
        self._lapack(name, *arguments, *question, *more)
        size = self._lead(self._op(f"fptosi {kind} {self._op(f'load {kind}, ptr {asked}')} to i64"))
        work, held = self._new(size)
        answer: list[Argument] = [Place(work.data), size]
        kept = [held]
        if integers:
            number = self._op(f"sext i32 {self._op(f'load i32, ptr {counted}')} to i64")
            number = self._lead(number)
            room, other = self._integers(number)
            answer += [Place(room.data), number]
            kept.append(other)
        self._lapack(name, *arguments, *answer, *more, fails=fails)
        self._free(kept)

    def _refuse(self, condition: str, message: str) -> None:
        self.arrays.refuse(condition, "numpy.linalg.LinAlgError", message)

    # --- memory

    def _op(self, instruction: str) -> str:
        return self.writer.op(instruction)

    def _lead(self, size: str) -> str:
        """At least 1, as LAPACK wants distances between columns to be."""
        return self._op(f"call i64 {self._largest()}(i64 {size}, i64 1)")

    def _largest(self) -> str:
        return self.writer.module.declare("llvm.smax.i64", "i64", "i64, i64")

    def _new(self, *shape: str, result: bool = False) -> tuple[View, str]:
        """A new array, and what holds it."""
        type = Array(self.element, len(shape))
        made = self.arrays.make(type, shape, shared=result and self.shared, large=True)
        return made, self.arrays.hold(made)

    def _integers(self, count: str) -> tuple[View, str]:
        made = self.arrays.make(Array(I64, 1), (self._lead(count),))
        return made, self.arrays.hold(made)

    def _copy(self, source: View, *, result: bool = False) -> tuple[View, str]:
        made, held = self._new(*source.shape, result=result)
        self.arrays.move(made.data, source.data, self.arrays.bytes(source))
        return made, held

    def _give(self, view: View, held: str) -> View:
        self.arrays.let_go(held, release=False)
        return view

    def _free(self, held: list[str]) -> None:
        for slot in held:
            self.arrays.let_go(slot)

    def _at(self, view: View, index: str) -> str:
        kind = self.element.memory
        return self._op(f"getelementptr inbounds {kind}, ptr {view.data}, i64 {index}")

    def _load(self, view: View, index: str) -> str:
        return self._op(f"load {self.element.llvm}, ptr {self._at(view, index)}")

    def _move(self, target: str, source: str, count: str) -> None:
        self.arrays.move(target, source, self._op(f"mul nsw i64 {count}, {self.element.size}"))

    def _clear(self, target: str, count: str) -> None:
        function = self.writer.module.declare("llvm.memset.p0.i64", "void", "ptr, i8, i64, i1")
        size = self._op(f"mul nsw i64 {count}, {self.element.size}")
        self.writer.do(f"call void {function}(ptr {target}, i8 0, i64 {size}, i1 false)")

    def _symmetric(self, a: View, *, result: bool = False) -> tuple[View, str]:
        """(a + aᵀ) / 2."""
        n, _ = a.shape
        made, held = self._new(n, n, result=result)
        self._apply(_symmetric_part, made.data, a.data, n, n)
        return made, held

    def _turned(
        self, source: View, shape: tuple[str, str], *, result: bool = False
    ) -> tuple[View, str]:
        """A copy in the other order; ``shape`` is that of the copy."""
        made, held = self._new(*shape, result=result)
        columns, rows = shape
        self._turn(made.data, source.data, rows, columns)
        return made, held

    def _turn(self, target: str, source: str, rows: str, columns: str) -> None:
        """Write the transpose of what lies in rows."""
        self._apply(_transpose, target, source, rows, columns)

    def _apply(self, tile: _Tile, target: str, source: str, rows: str, columns: str) -> None:
        """Write a matrix that is made of another one, tile by tile."""
        name = f"{tile.__name__.strip('_')}_{self.element.name}"
        if name not in self.writer.module.definitions:
            self.writer.module.define(name, _in_tiles(name, tile, self.writer, self.element))
        given = f"ptr {target}, ptr {source}, i64 {rows}, i64 {columns}"
        self.writer.do(f"call void @{name}({given})")


_TILE = 8
"""Rows and columns of a tile: a line of a cache."""

_Tile = Callable[[Writer, Scalar, str, str], None]
"""Writes what is done for an element of the source, at its row and its column."""


def _place(writer: Writer, kind: Scalar, base: str, row: str, width: str, column: str) -> str:
    start = writer.op(f"mul nsw i64 {row}, {width}")
    index = writer.op(f"add nsw i64 {start}, {column}")
    return writer.op(f"getelementptr inbounds {kind.memory}, ptr {base}, i64 {index}")


def _transpose(writer: Writer, kind: Scalar, i: str, j: str) -> None:
    value = writer.op(
        f"load {kind.memory}, ptr {_place(writer, kind, '%source', i, '%columns', j)}"
    )
    target = _place(writer, kind, "%target", j, "%rows", i)
    writer.do(f"store {kind.memory} {value}, ptr {target}")


def _symmetric_part(writer: Writer, kind: Scalar, i: str, j: str) -> None:
    op, name = writer.op, kind.memory
    values = [
        op(f"load {name}, ptr {_place(writer, kind, '%source', row, '%columns', column)}")
        for row, column in ((i, j), (j, i))
    ]
    total = op(f"fadd {name} {values[0]}, {values[1]}")
    half = op(f"fmul {name} {total}, {real(0.5, kind)}")
    target = _place(writer, kind, "%target", i, "%columns", j)
    writer.do(f"store {name} {half}, ptr {target}")


def _in_tiles(name: str, tile: _Tile, within: Writer, kind: Scalar) -> str:
    """A function that goes through a matrix in tiles, so that columns stay in the cache, too."""
    writer = Writer(within.module)
    op = writer.op
    smaller = within.module.declare("llvm.smin.i64", "i64", "i64, i64")

    def limits(number: str, size: str) -> tuple[str, str]:
        start = op(f"mul nsw i64 {number}, {_TILE}")
        stop = op(f"add nsw i64 {start}, {_TILE}")
        return start, op(f"call i64 {smaller}(i64 {stop}, i64 {size})")

    def tiles(size: str) -> str:
        return op(f"sdiv i64 {op(f'add nsw i64 {size}, {_TILE - 1}')}, {_TILE}")

    down, across = tiles("%rows"), tiles("%columns")
    with writer.loop(down) as i_tile:
        i_start, i_stop = limits(i_tile, "%rows")
        with writer.loop(across) as j_tile:
            j_start, j_stop = limits(j_tile, "%columns")
            with writer.loop(i_stop, i_start) as i, writer.loop(j_stop, j_start) as j:
                tile(writer, kind, i, j)
    writer.do("ret void")
    parameters = "ptr noalias %target, ptr noalias %source, i64 %rows, i64 %columns"
    head = f"define internal void @{name}({parameters}) noinline nounwind {{\nstart:"
    return "\n".join([head, *writer.slots, *writer.lines, "}"])


_FUNCTIONS: dict[str, Callable[..., View]] = {
    "cholesky": _Call.cholesky,
    "cholesky_cotangent": _Call.cholesky_cotangent,
    "solve_triangular": _Call.solve_triangular,
    "solve": _Call.solve,
    "inv": _Call.inv,
    "slogdet": _Call.slogdet,
    "eigh": _Call.eigh,
    "svd": _Call.svd,
    "pinv": _Call.pinv,
    "orthonormal": _Call.orthonormal,
}
