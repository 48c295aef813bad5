"""Triangular systems on the right of what is solved for: X · L = B and X · Lᵀ = B.

Blocks of 16 columns are solved for in registers, four rows at a time; what they take from other
columns is a product. That is several times as fast as ``trsm`` for matrices of some hundred rows.
"""

from __future__ import annotations

from tracegrad.backend.native.blocks import LEAF, Rows, at, blas, by_halves, text
from tracegrad.backend.native.fortran import Real
from tracegrad.backend.native.types import Scalar
from tracegrad.backend.native.writer import FEW_TRIPS, Module, Writer, real

TOGETHER = 4
"""Rows that are solved for at a time: each waits for itself in every step."""


def rows(
    writer: Writer,
    kind: Scalar,
    triangle: str,
    x: str,
    count: str,
    n: str,
    *,
    turned: bool = False,
    scale: float = 1.0,
) -> None:
    """Write a call that solves for ``count`` rows, in place.

    Parameters
    ----------
    triangle : where a lower triangle begins: its size ``n`` is a multiple of 16. All matrices
        have the distance ``%lead`` from a row to the next.
    turned : whether the system has its transpose.
    scale : what the solution is multiplied by.
    """
    name = f"substitute_{'turned_' if turned else ''}{kind.name}_{str(scale).replace('.', '_')}"
    module = writer.module
    if name not in module.definitions:
        leaf = f"{name}_leaf"
        module.define(leaf, _leaf(module, kind, leaf, turned, scale))
        module.define(name, _all(module, kind, name, leaf, turned, scale))
    given = f"ptr {triangle}, ptr {x}, i64 {count}, i64 {n}, i64 %lead"
    writer.do(f"call void @{name}({given})")


def _all(module: Module, kind: Scalar, name: str, leaf: str, turned: bool, scale: float) -> str:
    """X · Lᵀ = B has X1 · L11ᵀ = B1 and X2 · L22ᵀ = B2 - X1 · L21ᵀ; X · L = B begins with X2."""
    writer = Writer(module)

    def small() -> None:
        writer.do(f"call void @{leaf}(ptr %l, ptr %x, i64 %count, i64 %lead)")
        writer.do("ret void")
        writer.open = False

    halves = by_halves(writer, kind, small)
    m, k = halves.first, halves.second
    l11, l21, l22 = halves.blocks("%l")
    x1, x2 = "%x", at(writer, kind, "%x", m)

    def part(triangle: str, x: str, n: str) -> None:
        given = f"ptr {triangle}, ptr {x}, i64 %count, i64 {n}, i64 %lead"
        writer.do(f"call void @{name}({given})")

    # What is known is scaled already.
    less = Real(-1.0 / scale)
    if turned:
        part(l11, x1, m)
        blas(writer, kind, "gemm", "TN", k, "%count", m, less, l21, x1, Real(1.0), x2)
        part(l22, x2, k)
    else:
        part(l22, x2, k)
        blas(writer, kind, "gemm", "NN", m, "%count", k, less, l21, x2, Real(1.0), x1)
        part(l11, x1, m)
    writer.do("ret void")
    return text(writer, f"internal void @{name}(ptr %l, ptr %x, i64 %count, i64 %n, i64 %lead)")


def _leaf(module: Module, kind: Scalar, name: str, turned: bool, scale: float) -> str:
    """What column s is, others take from: x[j] -= x[s] · (L[j, s] / L[s, s]) where Lᵀ stands.

    The rows of factors have zeros where columns are known, so that whole rows can be used.
    """
    writer = Writer(module)
    op, type = writer.op, kind.llvm
    factors, spare = Rows(writer, kind), Rows(writer, kind)
    inverses = writer.slot(factors.vector)
    size = str(LEAF)
    with writer.loop(size, wishes=FEW_TRIPS) as i:
        begin = op(f"mul nsw i64 {i}, %lead")
        diagonal = op(f"load {type}, ptr {at(writer, kind, '%l', op(f'add nsw i64 {begin}, {i}'))}")
        inverse = op(f"fdiv {type} {real(1.0, kind)}, {diagonal}")
        writer.do(f"store {type} {inverse}, ptr {at(writer, kind, inverses, i)}")
    with writer.loop(size, wishes=FEW_TRIPS) as i:
        begin = op(f"mul nsw i64 {i}, %lead")
        with writer.loop(i, wishes=FEW_TRIPS) as j:
            place = at(writer, kind, "%l", op(f"add nsw i64 {begin}, {j}"))
            row, column = (j, i) if turned else (i, j)
            inverse = op(f"load {type}, ptr {at(writer, kind, inverses, row)}")
            factor = op(f"fmul {type} {op(f'load {type}, ptr {place}')}, {inverse}")
            factors.put(factor, row, column)
    inverse = op(f"load {factors.vector}, ptr {inverses}")
    if scale != 1.0:
        inverse = op(f"fmul {factors.vector} {inverse}, {factors.spread(real(scale, kind))}")
    groups = op(f"sdiv i64 {op(f'add nsw i64 %count, {TOGETHER - 1}')}, {TOGETHER}")
    with writer.loop(groups, wishes=FEW_TRIPS) as group:
        places, values = [], []
        for r in range(TOGETHER):
            i = op(f"add nsw i64 {op(f'mul nsw i64 {group}, {TOGETHER}')}, {r}")
            there = at(writer, kind, "%x", op(f"mul nsw i64 {i}, %lead"))
            inside = op(f"icmp slt i64 {i}, %count")
            place = op(f"select i1 {inside}, ptr {there}, ptr {spare.place(str(r))}")
            places.append(place)
            values.append(op(f"load {factors.vector}, ptr {place}, align {kind.size}"))
        for s in range(LEAF) if turned else reversed(range(LEAF)):
            factor = factors.row(str(s))
            values = [factors.less_lane(value, s, factor) for value in values]
        for place, value in zip(places, values, strict=True):
            found = op(f"fmul {factors.vector} {value}, {inverse}")
            writer.do(f"store {factors.vector} {found}, ptr {place}, align {kind.size}")
    writer.do("ret void")
    return text(writer, f"internal void @{name}(ptr %l, ptr %x, i64 %count, i64 %lead) noinline")
