"""The memory that a kernel takes: tapes, scratch arrays, results, as formulas and as numbers."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any

import numpy as np

from tracegrad.backend.chunks import Chunked
from tracegrad.backend.compile import run_plain
from tracegrad.backend.emit import Allocation, allocations, entry_name
from tracegrad.backend.threads import chunk_count
from tracegrad.ir.core import Function
from tracegrad.ir.types import evaluate

#: What needs no parentheses as a factor.
_ATOM = re.compile(r"\w+|len\(\w+\)|(max|min)\([^()]*\)")


@dataclass(frozen=True)
class Buffer:
    """An array that a kernel makes.

    Attributes
    ----------
    name : its name in the source.
    role : "tape" (kept by the forward part of a loop for its reverse part), "scratch", or
        "result".
    dtype : of its elements.
    shape : its sizes as the source has them; ``len(name)`` where one is found at run time.
    formula : its bytes.
    nbytes : the number for the arguments of the report; None where it is found at run time.
    comment : of a tape, what it is a residual of and the user's line that computes that.
    """

    name: str
    role: str
    dtype: np.dtype[Any]
    shape: tuple[str, ...]
    formula: str
    nbytes: int | None
    comment: str = ""


@dataclass(frozen=True)
class MemoryReport:
    """The arrays that a call of a kernel makes; ``print`` it.

    A length that is found at run time (of a ``while``, say) stands in the formulas as
    ``len(tape)``. Such a tape grows by doubling: it has room for at most twice the trips that
    were made.

    Attributes
    ----------
    title : what the kernel computes.
    sizes : the sizes of the arguments, by their names in the source.
    buffers : the arrays, in the order of the source.
    """

    title: str
    sizes: Mapping[str, int]
    buffers: tuple[Buffer, ...]

    @property
    def tapes(self) -> tuple[Buffer, ...]:
        """What the forward part of loops keeps for the reverse part."""
        return self._of("tape")

    @property
    def scratch(self) -> tuple[Buffer, ...]:
        """Arrays of the function itself, cotangents on their way, and temporaries."""
        return self._of("scratch")

    @property
    def results(self) -> tuple[Buffer, ...]:
        """Arrays that the caller gets."""
        return self._of("result")

    @property
    def tape_bytes(self) -> int | None:
        """The bytes of all tapes; None where one is found at run time."""
        return total(self.tapes)

    @property
    def scratch_bytes(self) -> int | None:
        """The same for scratch arrays."""
        return total(self.scratch)

    @property
    def result_bytes(self) -> int | None:
        """The same for results."""
        return total(self.results)

    @property
    def tape_formula(self) -> str:
        """The bytes of all tapes as a formula in the sizes."""
        return formula(self.tapes)

    def _of(self, role: str) -> tuple[Buffer, ...]:
        return tuple(b for b in self.buffers if b.role == role)

    def __str__(self) -> str:
        at = ", ".join(f"{name} = {size}" for name, size in self.sizes.items())
        lines = [f"memory of {self.title}" + (f" at {at}" if at else "")]
        rows: list[tuple[str, ...]] = []
        for role, buffers in (
            ("tapes", self.tapes),
            ("scratch", self.scratch),
            ("results", self.results),
        ):
            rows.append((role, "", _number(total(buffers)), formula(buffers), ""))
            for b in buffers:
                type = f"{b.dtype}[{', '.join(b.shape)}]"
                rows.append((f"  {b.name}", type, _number(b.nbytes), b.formula, b.comment))
        widths = [max(len(row[k]) for row in rows) for k in range(5)]
        for name, type, number, text, said in rows:
            line = f"{name:<{widths[0]}}  {type:<{widths[1]}}  {number:>{widths[2]}} bytes"
            shown = f" = {text:<{widths[3]}}" if text != number.replace(",", "") else ""
            comment = f"  # {said}" if said else ""
            lines.append((line + shown + comment).rstrip())
        return "\n".join(lines)

    def __repr__(self) -> str:
        found = (f"{r} {_number(total(self._of(r)))}" for r in ("tape", "scratch", "result"))
        return f"<MemoryReport of {self.title}: {', '.join(found)} bytes>"


def total(buffers: Sequence[Buffer]) -> int | None:
    """The bytes of ``buffers``; None where one of them is found at run time."""
    numbers = [b.nbytes for b in buffers]
    known = [n for n in numbers if n is not None]
    return sum(known) if len(known) == len(numbers) else None


def formula(buffers: Sequence[Buffer]) -> str:
    """The bytes of ``buffers``, equal terms together."""
    counts: dict[str, int] = {}
    for b in buffers:
        factor, _, rest = b.formula.partition(" * ")
        counts[rest] = counts.get(rest, 0) + int(factor)
    terms = (f"{count} * {rest}" if rest else str(count) for rest, count in counts.items())
    return " + ".join(terms) or "0"


def _number(nbytes: int | None) -> str:
    return "?" if nbytes is None else f"{nbytes:,}"


def report(
    function: Function, source: str, arguments: Sequence[Any] | None, *, run: bool
) -> MemoryReport:
    """The memory of the kernel ``function``, which is in loop form and has the text ``source``.

    Parameters
    ----------
    arguments : those of the kernel; without any, sizes have no number.
    run : whether to run the text on them, as plain Python, and look how long arrays became.
    """
    made = allocations(function)
    sizes = {} if arguments is None else _sizes(function, arguments)
    found: Mapping[tuple[str, str], int] = {}
    if run and arguments is not None:
        found = _run(source, entry_name(function), arguments)
    return MemoryReport(
        function.title or function.name,
        sizes,
        tuple(_buffer(each, sizes, found) for each in made),
    )


def _buffer(
    made: Allocation, sizes: Mapping[str, int], found: Mapping[tuple[str, str], int]
) -> Buffer:
    itemsize = made.dtype.numpy.itemsize
    factor = itemsize
    factors = []
    loop = made.chunked
    if loop is not None:
        factors.append(f"({loop.chunks} - 1)" if made.without else loop.chunks)
    for text in made.texts:
        if text.isdigit():
            factor *= int(text)
        else:
            factors.append(text if _ATOM.fullmatch(text) else f"({text})")
    nbytes: int | None
    try:
        nbytes = itemsize * math.prod(evaluate(dim, sizes) for dim in made.shape)
        nbytes *= 1 if loop is None else max(_chunks(loop, sizes) - made.without, 0)
    except KeyError:  # a size that is known at run time only
        nbytes = found.get((made.function, made.name))
    comment = "  ".join(filter(None, (made.note, made.place)))
    if made.loops and not comment:
        comment = "anew in each trip"
    if loop is not None and not comment:
        comment = "each chunk's own"
    return Buffer(
        made.name,
        made.role,
        np.dtype(made.dtype.numpy),
        made.texts,
        " * ".join([str(factor), *factors]),
        nbytes,
        comment,
    )


def _chunks(loop: Chunked, sizes: Mapping[str, int]) -> int:
    """Into how many chunks a loop is split, with as many threads as are set now."""
    if loop.trips is None:
        raise KeyError(loop.chunks)
    return chunk_count(*(evaluate(dim, sizes) for dim in (loop.trips, loop.work, loop.shared)))


def _sizes(function: Function, arguments: Sequence[Any]) -> dict[str, int]:
    """The sizes that the parameters bind."""
    return {
        name: int(arguments[index]) if axis is None else np.shape(arguments[index])[axis]
        for name, (index, axis) in function.size_sources().items()
    }


def _run(source: str, entry: str, arguments: Sequence[Any]) -> dict[tuple[str, str], int]:
    """The bytes of the arrays that the functions of ``source`` have when they return.

    By the name of the function, and the array's; of a part, those of all chunks together.
    """
    found: dict[tuple[str, str], int] = {}

    def watch(frame: FrameType, event: str, result: object) -> None:
        code = frame.f_code
        if event == "return" and code.co_filename == filename:
            for name, value in frame.f_locals.items():
                if isinstance(value, np.ndarray):
                    key = (code.co_name, name)
                    found[key] = found.get(key, 0) + value.nbytes

    function = run_plain(source, entry)
    filename = f"<tracegrad {entry}, plain>"
    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        function(*arguments)
    finally:
        sys.setprofile(before)
    return found
