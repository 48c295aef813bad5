"""Square matrices in blocks, for functions that take them apart by halves.

All matrices lie row by row, with ``%lead`` elements from a row to the next: BLAS takes them for
their transposes. A block of at most 16 rows is done in registers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tracegrad.backend.native import fortran
from tracegrad.backend.native.fortran import Argument, Letter, Place, Real
from tracegrad.backend.native.types import Scalar
from tracegrad.backend.native.writer import Writer

LEAF = 16
"""Rows of a block that is not taken apart."""


@dataclass(frozen=True)
class Halves:
    """A matrix cut into blocks: the sizes of the diagonal ones, and where three of them begin."""

    first: str
    second: str
    lead: str
    writer: Writer
    kind: Scalar

    def blocks(self, a: str) -> tuple[str, str, str]:
        """The first diagonal block, the one below it, and the second diagonal block."""
        op = self.writer.op
        below = op(f"mul nsw i64 {self.first}, {self.lead}")
        last = op(f"add nsw i64 {below}, {self.first}")
        return a, at(self.writer, self.kind, a, below), at(self.writer, self.kind, a, last)


def by_halves(writer: Writer, kind: Scalar, leaf: Callable[[], None]) -> Halves:
    """The halves of a matrix of ``%n`` rows; a small one is done by what ``leaf`` writes.

    The first has a multiple of LEAF rows.
    """
    op = writer.op
    small, large = writer.label("small"), writer.label("large")
    writer.branch(op(f"icmp sle i64 %n, {LEAF}"), small, large)
    writer.start(small)
    leaf()
    writer.start(large)
    pairs = op(f"sdiv i64 {op(f'add nsw i64 %n, {2 * LEAF - 1}')}, {2 * LEAF}")
    first = op(f"mul nsw i64 {pairs}, {LEAF}")
    return Halves(first, op(f"sub nsw i64 %n, {first}"), "%lead", writer, kind)


def blas(writer: Writer, kind: Scalar, name: str, letters: str, *rest: Real | str) -> None:
    """A call whose options are letters; every matrix has ``%lead``."""
    arguments: list[Argument] = [Letter(each) for each in letters]
    sizes = {"trsm": 2, "syrk": 2, "symm": 2, "gemm": 3}[name]
    for position, each in enumerate(rest):
        if position < sizes or isinstance(each, Real):
            arguments.append(each)
        else:
            arguments += [Place(each), "%lead"]
    fortran.call(writer, f"blas.{name}", kind, *arguments)


class Rows:
    """A block of LEAF rows of LEAF elements in memory of its own, full of zeros at first."""

    def __init__(self, writer: Writer, kind: Scalar) -> None:
        self.writer = writer
        self.kind = kind
        self.vector = f"<{LEAF} x {kind.llvm}>"
        # Aligned as LLVM takes memory of such vectors to be.
        self.memory = writer.slot(f"[{LEAF * LEAF} x {kind.llvm}], align {LEAF * kind.size}")
        size = LEAF * LEAF * kind.size
        clear = writer.module.declare("llvm.memset.p0.i64", "void", "ptr, i8, i64, i1")
        writer.do(f"call void {clear}(ptr {self.memory}, i8 0, i64 {size}, i1 false)")

    def place(self, i: str, j: str = "0") -> str:
        index = self.writer.op(f"add nsw i64 {self.writer.op(f'mul nsw i64 {i}, {LEAF}')}, {j}")
        return at(self.writer, self.kind, self.memory, index)

    def get(self, i: str, j: str) -> str:
        return self.writer.op(f"load {self.kind.llvm}, ptr {self.place(i, j)}")

    def put(self, value: str, i: str, j: str) -> None:
        self.writer.do(f"store {self.kind.llvm} {value}, ptr {self.place(i, j)}")

    def row(self, i: str) -> str:
        return self.writer.op(f"load {self.vector}, ptr {self.place(i)}")

    def put_row(self, value: str, i: str) -> None:
        self.writer.do(f"store {self.vector} {value}, ptr {self.place(i)}")

    def spread(self, number: str) -> str:
        """A row full of a number."""
        op = self.writer.op
        first = op(f"insertelement {self.vector} poison, {self.kind.llvm} {number}, i64 0")
        return op(
            f"shufflevector {self.vector} {first}, {self.vector} poison, "
            f"<{LEAF} x i32> zeroinitializer"
        )

    def less(self, row: str, factor: str, other: str) -> str:
        """row - factor · other."""
        op = self.writer.op
        product = op(f"fmul contract {self.vector} {self.spread(factor)}, {other}")
        return op(f"fsub contract {self.vector} {row}, {product}")

    def less_lane(self, row: str, lane: int, other: str) -> str:
        """row - row[lane] · other."""
        op = self.writer.op
        lanes = ", ".join([f"i32 {lane}"] * LEAF)
        same = op(
            f"shufflevector {self.vector} {row}, {self.vector} poison, <{LEAF} x i32> <{lanes}>"
        )
        product = op(f"fmul contract {self.vector} {same}, {other}")
        return op(f"fsub contract {self.vector} {row}, {product}")


def at(writer: Writer, kind: Scalar, base: str, index: str) -> str:
    return writer.op(f"getelementptr inbounds {kind.memory}, ptr {base}, i64 {index}")


def text(writer: Writer, head: str) -> str:
    return "\n".join([f"define {head} nounwind {{\nstart:", *writer.slots, *writer.lines, "}"])
