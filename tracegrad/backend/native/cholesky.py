"""Cholesky factors and their cotangents, by halves.

A matrix is taken apart into two diagonal blocks and the block below the first. BLAS does what they
have to do with each other, in products and triangular systems as large as can be; a block of at
most 16 rows is done in registers, row by row. So matrices of some hundred rows, which are small to
a library, take half the time that LAPACK's factor takes, and a quarter of the time of a cotangent
made of full products. See docs/decisions/0032.

All matrices lie row by row, with ``lead`` elements from a row to the next: BLAS takes them for
their transposes. Only lower triangles are read; what is above a diagonal may be overwritten.
"""

from __future__ import annotations

from collections.abc import Callable

from tracegrad.backend.native import substitution
from tracegrad.backend.native.blocks import Rows, at, blas, by_halves, text
from tracegrad.backend.native.fortran import Real
from tracegrad.backend.native.types import F32, Scalar
from tracegrad.backend.native.writer import FEW_TRIPS, Module, Writer, real

FEW = 64
"""Up to so many rows all of a symmetric product takes less time than half of it by ``syrk``."""


def factor(writer: Writer, kind: Scalar, a: str, n: str, lead: str) -> str:
    """Write a call that makes of a symmetric matrix its factor.

    Returns
    -------
    Whether a pivot was not positive; then the matrix holds nothing of use.
    """
    name = f"cholesky_{kind.name}"
    module = writer.module
    if name not in module.definitions:
        leaf = module.define(f"{name}_leaf", _factor_leaf(module, kind, f"{name}_leaf"))
        module.define(name, _factor(module, kind, name, leaf))
    return writer.op(f"call i1 @{name}(ptr {a}, i64 {n}, i64 {lead})")


def cotangent(writer: Writer, kind: Scalar, factor: str, bar: str, n: str, lead: str) -> None:
    """Write a call that makes of a factor's cotangent that of the symmetric matrix.

    Both have ``lead``. The result is whole: its triangles are each other's mirror image.
    """
    name = f"cholesky_cotangent_{kind.name}"
    module = writer.module
    if name not in module.definitions:
        leaf = module.define(f"{name}_leaf", _cotangent_leaf(module, kind, f"{name}_leaf"))
        module.define(name, _cotangent(module, kind, name, leaf))
        module.define(f"mirror_{kind.name}", _mirror(module, kind, f"mirror_{kind.name}"))
    writer.do(f"call void @{name}(ptr {factor}, ptr {bar}, i64 {n}, i64 {lead})")
    writer.do(f"call void @mirror_{kind.name}(ptr {bar}, i64 {n}, i64 {lead})")


# --- by halves --------------------------------------------------------------------------------


def _factor(module: Module, kind: Scalar, name: str, leaf: str) -> str:
    """L11 of a11; l21 = a21 L11⁻ᵀ; L22 of a22 - l21 l21ᵀ."""
    writer = Writer(module)
    op = writer.op

    def small() -> None:
        found = op(f"call i1 {leaf}(ptr %a, i64 %n, i64 %lead)")
        writer.do(f"ret i1 {found}")
        writer.open = False

    halves = by_halves(writer, kind, small)
    m, k = halves.first, halves.second
    a11, a21, a22 = halves.blocks("%a")
    failed, fine = writer.label("failed"), writer.label("fine")
    writer.branch(op(f"call i1 @{name}(ptr {a11}, i64 {m}, i64 %lead)"), failed, fine)
    writer.start(failed)
    writer.do("ret i1 true")
    writer.open = False
    writer.start(fine)
    substitution.rows(writer, kind, a11, a21, k, m, turned=True)
    few, many, done = (writer.label(each) for each in ("few", "many", "done"))
    writer.branch(op(f"icmp sle i64 {k}, {FEW}"), few, many)
    writer.start(few)
    blas(writer, kind, "gemm", "TN", k, k, m, Real(-1.0), a21, a21, Real(1.0), a22)
    writer.jump(done)
    writer.start(many)
    blas(writer, kind, "syrk", "UT", k, m, Real(-1.0), a21, Real(1.0), a22)
    writer.start(done)
    found = op(f"call i1 @{name}(ptr {a22}, i64 {k}, i64 %lead)")
    writer.do(f"ret i1 {found}")
    return text(writer, f"internal i1 @{name}(ptr %a, i64 %n, i64 %lead)")


def _cotangent(module: Module, kind: Scalar, name: str, leaf: str) -> str:
    """The statements of `_factor`, reversed.

    Of a cotangent's block s22 of the matrix, l21_bar -= 2 s22 l21; s21 = l21_bar L11⁻¹ / 2, since
    the block stands above the diagonal, too; and L11_bar -= 2 s21ᵀ l21.
    """
    writer = Writer(module)

    def small() -> None:
        writer.do(f"call void {leaf}(ptr %l, ptr %bar, i64 %n, i64 %lead)")
        writer.do("ret void")
        writer.open = False

    halves = by_halves(writer, kind, small)
    m, k = halves.first, halves.second
    l11, l21, l22 = halves.blocks("%l")
    bar11, bar21, bar22 = halves.blocks("%bar")
    writer.do(f"call void @{name}(ptr {l22}, ptr {bar22}, i64 {k}, i64 %lead)")
    blas(writer, kind, "symm", "RU", m, k, Real(-2.0), bar22, l21, Real(1.0), bar21)
    substitution.rows(writer, kind, l11, bar21, k, m, scale=0.5)
    blas(writer, kind, "gemm", "NT", m, m, k, Real(-2.0), l21, bar21, Real(1.0), bar11)
    writer.do(f"call void @{name}(ptr {l11}, ptr {bar11}, i64 {m}, i64 %lead)")
    writer.do("ret void")
    return text(writer, f"internal void @{name}(ptr %l, ptr %bar, i64 %n, i64 %lead)")


# --- small blocks -----------------------------------------------------------------------------


def _factor_leaf(module: Module, kind: Scalar, name: str) -> str:
    """Row j of Lᵀ, then what it takes from the rows below it."""
    writer = Writer(module)
    op, type = writer.op, kind.llvm
    rows = Rows(writer, kind)
    _each_of_triangle(
        writer, kind, "%a", lambda place, i, j: rows.put(op(f"load {type}, ptr {place}"), j, i)
    )
    root = module.declare(f"llvm.sqrt.{'f32' if kind is F32 else 'f64'}", type, type)
    failed = writer.label("failed")
    with writer.loop("%n", wishes=FEW_TRIPS) as j:
        pivot = rows.get(j, j)
        fine = writer.label("fine")
        writer.branch(op(f"fcmp ogt {type} {pivot}, {real(0.0, kind)}"), fine, failed)
        writer.start(fine)
        diagonal = op(f"call {type} {root}({type} {pivot})")
        row = op(f"fdiv {rows.vector} {rows.row(j)}, {rows.spread(diagonal)}")
        rows.put_row(row, j)
        with writer.loop("%n", op(f"add nsw i64 {j}, 1"), wishes=FEW_TRIPS) as i:
            rows.put_row(rows.less(rows.row(i), rows.get(j, i), row), i)
    _each_of_triangle(
        writer,
        kind,
        "%a",
        lambda place, i, j: writer.do(f"store {type} {rows.get(j, i)}, ptr {place}"),
    )
    writer.do("ret i1 false")
    writer.open = False
    writer.start(failed)
    writer.do("ret i1 true")
    return text(writer, f"internal i1 @{name}(ptr %a, i64 %n, i64 %lead) noinline")


def _cotangent_leaf(module: Module, kind: Scalar, name: str) -> str:
    """From the last row on, with r the row of L before its diagonal element d, c the column below.

    d_bar -= cᵀ c_bar / d; d_bar and c_bar are divided by d; r_bar -= d_bar r + c_barᵀ B and
    B_bar -= c_bar r, where B stands beside c and below r; d_bar is halved.

    What this leaves is the cotangent of the lower triangle, whose elements stand for two of the
    matrix: those beside the diagonal are halved at the end.
    """
    writer = Writer(module)
    op, type = writer.op, kind.llvm
    factor, bar = Rows(writer, kind), Rows(writer, kind)
    total, sum_row = writer.slot(type), writer.slot(bar.vector)
    for rows, source in ((factor, "%l"), (bar, "%bar")):

        def take(place: str, i: str, j: str, rows: Rows = rows) -> None:
            rows.put(op(f"load {type}, ptr {place}"), i, j)

        _each_of_triangle(writer, kind, source, take)
    half = real(0.5, kind)
    with writer.loop("%n", wishes=FEW_TRIPS) as step:
        j = op(f"sub nsw i64 {op(f'sub nsw i64 %n, {step}')}, 1")
        after = op(f"add nsw i64 {j}, 1")
        diagonal = factor.get(j, j)
        inverse = op(f"fdiv {type} {real(1.0, kind)}, {diagonal}")
        factor.put(real(0.0, kind), j, j)
        row = factor.row(j)
        writer.do(f"store {type} {real(0.0, kind)}, ptr {total}")
        writer.do(f"store {bar.vector} {bar.row(j)}, ptr {sum_row}")
        with writer.loop("%n", after, wishes=FEW_TRIPS) as i:
            c, c_bar = factor.get(i, j), op(f"fmul {type} {bar.get(i, j)}, {inverse}")
            before = op(f"load {type}, ptr {total}")
            more = op(f"fmul contract {type} {c}, {c_bar}")
            writer.do(f"store {type} {op(f'fadd contract {type} {before}, {more}')}, ptr {total}")
            found = op(f"load {bar.vector}, ptr {sum_row}")
            writer.do(f"store {bar.vector} {bar.less(found, c_bar, factor.row(i))}, ptr {sum_row}")
            bar.put_row(bar.less(bar.row(i), c_bar, row), i)
            bar.put(c_bar, i, j)
        less = op(f"fsub {type} {bar.get(j, j)}, {op(f'load {type}, ptr {total}')}")
        d_bar = op(f"fmul {type} {less}, {inverse}")
        found = op(f"load {bar.vector}, ptr {sum_row}")
        bar.put_row(bar.less(found, d_bar, row), j)
        bar.put(op(f"fmul {type} {d_bar}, {half}"), j, j)

    def give(place: str, i: str, j: str) -> None:
        found = bar.get(i, j)
        beside = op(f"fmul {type} {found}, {half}")
        same = op(f"icmp eq i64 {i}, {j}")
        value = op(f"select i1 {same}, {type} {found}, {type} {beside}")
        writer.do(f"store {type} {value}, ptr {place}")

    _each_of_triangle(writer, kind, "%bar", give)
    writer.do("ret void")
    return text(writer, f"internal void @{name}(ptr %l, ptr %bar, i64 %n, i64 %lead) noinline")


def _each_of_triangle(
    writer: Writer, kind: Scalar, base: str, done: Callable[[str, str, str], None]
) -> None:
    """What ``done(place, row, column)`` writes, for each element of the lower triangle."""
    op = writer.op
    with writer.loop("%n", wishes=FEW_TRIPS) as i:
        begin = op(f"mul nsw i64 {i}, %lead")
        with writer.loop(op(f"add nsw i64 {i}, 1"), wishes=FEW_TRIPS) as j:
            done(at(writer, kind, base, op(f"add nsw i64 {begin}, {j}")), i, j)


def _mirror(module: Module, kind: Scalar, name: str) -> str:
    """Fill the upper triangle of a symmetric matrix, in tiles: columns stay in the cache."""
    writer = Writer(module)
    op, tile = writer.op, 8
    smaller = module.declare("llvm.smin.i64", "i64", "i64, i64")
    tiles = op(f"sdiv i64 {op(f'add nsw i64 %n, {tile - 1}')}, {tile}")
    with writer.loop(tiles, wishes=FEW_TRIPS) as down:
        top = op(f"mul nsw i64 {down}, {tile}")
        bottom = op(f"call i64 {smaller}(i64 {op(f'add nsw i64 {top}, {tile}')}, i64 %n)")
        with writer.loop(op(f"add nsw i64 {down}, 1"), wishes=FEW_TRIPS) as across:
            left = op(f"mul nsw i64 {across}, {tile}")
            right = op(f"add nsw i64 {left}, {tile}")
            with writer.loop(bottom, top, wishes=FEW_TRIPS) as i:
                stop = op(f"call i64 {smaller}(i64 {right}, i64 {i})")
                with writer.loop(stop, left, wishes=FEW_TRIPS) as j:
                    places = [
                        op(f"add nsw i64 {op(f'mul nsw i64 {row}, %lead')}, {column}")
                        for row, column in ((i, j), (j, i))
                    ]
                    source, target = (at(writer, kind, "%a", each) for each in places)
                    value = op(f"load {kind.llvm}, ptr {source}")
                    writer.do(f"store {kind.llvm} {value}, ptr {target}")
    writer.do("ret void")
    return text(writer, f"internal void @{name}(ptr %a, i64 %n, i64 %lead) noinline")
