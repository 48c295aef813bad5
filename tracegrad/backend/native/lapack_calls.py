"""Calls of BLAS and LAPACK on arrays of a kernel, and the memory that they need.

Its matrices lie column by column, ours row by row: what stands here turns them, tile by tile.
What LAPACK works in is scratch memory that is freed at once.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from tracegrad.backend.native import fortran
from tracegrad.backend.native.fortran import Argument, Place
from tracegrad.backend.native.types import F32, F64, I64, Array, Scalar, Unsupported, View
from tracegrad.backend.native.writer import Writer

if TYPE_CHECKING:
    from tracegrad.backend.native.expressions import Expressions


class Calls:
    """Writes one call of the printed text.

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
        self._clear_bytes(target, self._op(f"mul nsw i64 {count}, {self.element.size}"))

    def _clear_bytes(self, target: str, size: str) -> None:
        function = self.writer.module.declare("llvm.memset.p0.i64", "void", "ptr, i8, i64, i1")
        self.writer.do(f"call void {function}(ptr {target}, i8 0, i64 {size}, i1 false)")

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
