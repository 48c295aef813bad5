"""How a loop in chunks is printed.

The trips of the loop are a function of their range, which gives the sums over these trips. Where
there is little to do it is called for all trips. Else `in_parallel` calls it for each chunk, and
puts its results into arrays; arrays that are only added to are pairs there, one array for the first
chunk and one with a row for each other. Then all is added up in order::

    chunks = chunk_count(n, 20 * n, m)
    if chunks == 1:
        out = loop_1(0, n, x, w_bar)
    else:
        out_parts = np.empty(chunks)
        w_bar_parts = large_empty((max(chunks - 1, 0), m))
        w_bar_parts.fill(0)
        in_parallel(loop_1, chunks, 0, n, (x, (w_bar, w_bar_parts)), (out_parts,))
        ...
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tracegrad.backend.expression import dim_text, dtype_text
from tracegrad.backend.lines import Line
from tracegrad.backend.values import Values
from tracegrad.ir.core import Operation, Region, Value
from tracegrad.ir.types import Dim, DType, f64, product

#: What a sum of no chunk is, as a float.
_STARTS = {"add": "0.0", "multiply": "1.0", "maximum": "-np.inf", "minimum": "np.inf"}


@dataclass(frozen=True)
class Chunked:
    """A loop in chunks, as it is printed.

    Attributes
    ----------
    part : the function that runs it.
    chunks : the variable that says how many there are.
    trips, work, shared : what that is found from; ``trips`` is None where it is no size.
    copies : the arrays of which each chunk has its own, and what those of all chunks but the first
        are called.
    """

    part: str
    chunks: str
    trips: Dim | None
    work: Dim
    shared: Dim
    copies: tuple[tuple[Value, str], ...]


class ChunkCalls(Values):
    """What stands where the loop stood.

    Attributes
    ----------
    chunked : the loops that were printed.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.chunked: list[Chunked] = []

    def _parallel(self, op: Operation, region: Region) -> None:
        """Run the loop, or its chunks; then put together what the chunks have."""
        for value in op.operands:
            self._settle(value)
        own = [op.operands[2 + k] for k in op.attributes["own"]]
        self._settle_readers([*own, *(op.operands[2 + k] for k in op.attributes["written"])])
        lo, hi, *captured = (self._take(value).text for value in op.operands)
        results = [self._variable(result) for result in op.results]
        chunks = self.names.new("chunks")
        trips = hi if lo == "0" else f"{hi} - {lo}"
        shared: Dim = 0
        for array in own:
            shared = shared + product(array.shape)
        sizes = f"{trips}, {self._size_text(op.attributes['work'])}, {self._size_text(shared)}"
        self._line(f"{chunks} = chunk_count({sizes})")
        part = op.attributes["part"]
        head = self._line(f"if {chunks} == 1:", op)
        with self._below(head):
            call = f"{part}({', '.join([lo, hi, *captured])})"
            self._line(f"{', '.join(results)} = {call}" if results else call).part = op.part
        split = self._line("else:")
        split.goes_on = True
        with self._below(split):
            parts = [self.names.new(f"{result}_parts", rank=1) for result in results]
            for name, result in zip(parts, op.results, strict=True):
                self._line(f"{name} = np.empty({chunks}{_kind(result.dtype)})")
            copies = [self._copies(array, chunks) for array in own]
            first, end = (_size(value) for value in op.operands[:2])
            self.chunked.append(
                Chunked(
                    part,
                    chunks,
                    None if first is None or end is None else end - first,
                    op.attributes["work"],
                    shared,
                    tuple(zip(own, copies, strict=True)),
                )
            )
            for k, copy in zip(op.attributes["own"], copies, strict=True):
                captured[k] = f"({captured[k]}, {copy})"
            given = f"{part}, {chunks}, {lo}, {hi}"
            run = f"in_parallel({given}, {_tuple(captured)}, {_tuple(parts)})"
            self._line(run).part = op.part
            self._sums(op, results, parts, chunks)
            for array, copy in zip(own, copies, strict=True):
                self._additions(array, copy, chunks)
        for result, name in zip(op.results, results, strict=True):
            self._define(result, name)

    def _size_text(self, dim: Dim) -> str:
        return dim_text(self._dim(dim)).text

    def _copies(self, array: Value, chunks: str) -> str:
        """The arrays of all chunks but the first, in one."""
        name = self.names.new(f"{self._take(array)}_parts", rank=array.rank + 1)
        sizes = ", ".join([f"max({chunks} - 1, 0)", *map(self._size_text, array.shape)])
        self._line(f"{name} = large_empty(({sizes}){_kind(array.dtype)})")
        self._line(f"{name}.fill(0)")
        return name

    def _sums(
        self, op: Operation, results: Sequence[str], parts: Sequence[str], chunks: str
    ) -> None:
        combined = list(zip(results, parts, op.attributes["combine"], op.results, strict=True))
        for name, _, combine, result in combined:
            self._line(f"{name} = {_start(combine, result.dtype)}")
        if not combined:
            return
        c = self.names.open_loop("c")
        head = self._line(f"for {c} in range({chunks}):")
        with self._below(head):
            for name, part, combine, _ in combined:
                if combine in ("add", "multiply"):
                    self._line(f"{name} {'+' if combine == 'add' else '*'}= {part}[{c}]")
                else:
                    self._line(f"{name} = np.{combine}({name}, {part}[{c}])")
        self.names.close_loop()

    def _additions(self, array: Value, copies: str, chunks: str) -> None:
        """Add what the later chunks have to what the first one has."""
        c = self.names.open_loop("c")
        indices = [self.names.open_loop("") for _ in array.shape]
        inside = ", ".join(indices)
        line = Line(f"{self._take(array)}[{inside}] += {copies}[{c}, {inside}]")
        for index, dim in zip(reversed(indices), reversed(array.shape), strict=True):
            line = Line(f"for {index} in range({self._size_text(dim)}):", below=[line])
        self.lines.append(Line(f"for {c} in range({chunks} - 1):", below=[line]))
        for _ in (c, *indices):
            self.names.close_loop()


def _size(value: Value) -> Dim | None:
    """The size that a number is; None if it is none."""
    op = value.op
    name = {"dim": "size", "const": "value"}.get("" if op is None else op.name)
    found: Dim | None = None if op is None or name is None else op.attributes[name]
    return found


def _tuple(texts: Sequence[str]) -> str:
    return f"({texts[0]},)" if len(texts) == 1 else f"({', '.join(texts)})"


def _kind(dtype: DType) -> str:
    return "" if dtype is f64 else f", {dtype_text(dtype)}"


def _start(combine: str, dtype: DType) -> str:
    if dtype.is_float:
        text = _STARTS[combine]
        return text if dtype is f64 else f"{dtype_text(dtype)}({text})"
    if combine in ("add", "multiply"):
        return f"{dtype_text(dtype)}({int(combine == 'multiply')})"
    return f"np.iinfo({dtype_text(dtype)}).{'min' if combine == 'maximum' else 'max'}"
