"""Matrix products by BLAS."""

from __future__ import annotations

import sys

from tracegrad.backend.native import fortran
from tracegrad.backend.native.arrays import Arrays
from tracegrad.backend.native.fortran import Letter, Place, Real
from tracegrad.backend.native.types import F32, F64, Unsupported, View
from tracegrad.backend.native.writer import Writer


def dot(writer: Writer, arrays: Arrays, a: View, b: View, out: View) -> None:
    """``np.dot(a, b, out)`` of matrices, or of a matrix and a vector."""
    element = out.type.element
    if element not in (F64, F32) or any(x.type.element is not element for x in (a, b)):
        raise Unsupported("np.dot of these dtypes")
    ranks = (a.type.rank, b.type.rank, out.type.rank)
    if out.column_major or sys.byteorder != "little" or ranks not in ((2, 2, 2), (2, 1, 1)):
        raise Unsupported("np.dot of these arrays")
    op = writer.op
    wrong = [op(f"icmp ne i64 {a.shape[1]}, {b.shape[0]}")]
    wrong.append(op(f"icmp ne i64 {a.shape[0]}, {out.shape[0]}"))
    if ranks[1] == 2:
        wrong.append(op(f"icmp ne i64 {b.shape[1]}, {out.shape[1]}"))
    refused = wrong[0]
    for each in wrong[1:]:
        refused = op(f"or i1 {refused}, {each}")
    failed, fits = writer.label("failed"), writer.label("fits")
    writer.branch(refused, failed, fits, rare=True)
    writer.start(failed)
    arrays.fail("ValueError", "incompatible array sizes for np.dot(a, b)")
    writer.start(fits)
    # Sizes of zero are not for BLAS: a sum of nothing is 0.
    total = "1"
    for dim in (*out.shape, a.shape[1]):
        total = op(f"mul i64 {total}, {dim}")
    some, none, end = (writer.label(n) for n in ("some", "none", "end"))
    writer.branch(op(f"icmp ne i64 {total}, 0"), some, none)
    writer.start(none)
    arrays.clear(out)
    writer.jump(end)
    writer.start(some)
    if ranks[1] == 2:
        _matrices(writer, a, b, out)
    else:
        # A product with what is in memory is not made, but some libraries make it of NaN.
        arrays.clear(out)
        _vector(writer, a, b, out)
    writer.start(end)


def part(writer: Writer, a: View, b: View, out: View, add: bool) -> None:
    """``put_product(a, b, out)`` or ``add_product(a, b, out)`` of parts of matrices that fit."""
    element = out.type.element
    ranks = {x.type.rank for x in (a, b, out)}
    if element not in (F64, F32) or any(x.type.element is not element for x in (a, b)):
        raise Unsupported("a product of these dtypes")
    if out.column_major or sys.byteorder != "little" or ranks != {2}:
        raise Unsupported("a product of these arrays")
    # Of a sum of nothing BLAS makes zeros; only of nothing at all it has nothing to write.
    op = writer.op
    total = op(f"mul i64 {out.shape[0]}, {out.shape[1]}")
    some, end = writer.label("some"), writer.label("end")
    writer.branch(op(f"icmp ne i64 {total}, 0"), some, end)
    writer.start(some)
    _matrices(writer, a, b, out, add)
    writer.jump(end)
    writer.start(end)


def _matrices(writer: Writer, a: View, b: View, out: View, add: bool = False) -> None:
    """In Fortran's order all three are transposed: out.T = b.T @ a.T.

    With ``add`` the product is added to what ``out`` holds.
    """
    fortran.call(
        writer,
        "blas.gemm",
        out.type.element,
        Letter("T" if b.column_major else "N"),
        Letter("T" if a.column_major else "N"),
        out.shape[1],
        out.shape[0],
        a.shape[1],
        Real(1.0),
        Place(b.data),
        _width(writer, b),
        Place(a.data),
        _width(writer, a),
        Real(1.0 if add else 0.0),
        Place(out.data),
        _width(writer, out),
    )


def _vector(writer: Writer, a: View, b: View, out: View) -> None:
    rows, columns = a.shape if a.column_major else a.shape[::-1]
    fortran.call(
        writer,
        "blas.gemv",
        out.type.element,
        Letter("N" if a.column_major else "T"),
        rows,
        columns,
        Real(1.0),
        Place(a.data),
        _width(writer, a),
        Place(b.data),
        "1",
        Real(0.0),
        Place(out.data),
        "1",
    )


def _width(writer: Writer, x: View) -> str:
    """How far a row in memory is from the next; BLAS wants one, though there should be no row."""
    if x.width is None:
        return x.shape[0] if x.column_major else x.shape[1]
    some = writer.op(f"icmp sgt i64 {x.width}, 1")
    return writer.op(f"select i1 {some}, i64 {x.width}, i64 1")
