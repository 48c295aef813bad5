"""The types of the printed language: numbers, and C-contiguous arrays of known rank."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


class Unsupported(Exception):
    """The text holds something that this compiler does not know: Numba's turn."""


class TypeChange(Unsupported):
    """A name is given values of two types."""


@dataclass(frozen=True)
class Scalar:
    """A number type.

    Attributes
    ----------
    name : NumPy's name.
    llvm : its type in registers; a truth value is one bit.
    memory : its type in arrays; a truth value is a byte.
    size : bytes in memory.
    kind : "f", "i", "u" or "b", as NumPy's.
    """

    name: str
    llvm: str
    memory: str
    size: int
    kind: str

    @property
    def is_float(self) -> bool:
        return self.kind == "f"

    @property
    def is_bool(self) -> bool:
        return self.kind == "b"

    @property
    def is_integer(self) -> bool:
        return self.kind in "iu"


def _integer(name: str, bits: int) -> Scalar:
    return Scalar(name, f"i{bits}", f"i{bits}", bits // 8, name[0])


F64 = Scalar("float64", "double", "double", 8, "f")
F32 = Scalar("float32", "float", "float", 4, "f")
BOOL = Scalar("bool", "i1", "i8", 1, "b")
I64 = _integer("int64", 64)
SCALARS: dict[str, Scalar] = {
    each.name: each
    for each in (
        F64,
        F32,
        BOOL,
        I64,
        *(_integer(f"int{bits}", bits) for bits in (8, 16, 32)),
        *(_integer(f"uint{bits}", bits) for bits in (8, 16, 32, 64)),
    )
}


U64 = SCALARS["uint64"]


def scalar(name: str) -> Scalar:
    """The number type of NumPy's name; ``bool_`` is ``bool``."""
    found = SCALARS.get(name.rstrip("_"))
    if found is None:
        raise Unsupported(f"dtype {name}")
    return found


@dataclass(frozen=True)
class Array:
    """A C-contiguous array."""

    element: Scalar
    rank: int

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(self.element.name)


Type = Scalar | Array

NATURAL = (1 << 62) - 1
"""The bits of a number that is not negative. No index is as large as 2**62, so sums with it stay
positive, which LLVM sees too."""

COUNTED = 31
"""Bits of a size or a loop's variable, as sums and products count them: nobody counts further in
two of them at once."""


def bits_of(value: int) -> int:
    """The bits of a number that is not negative; 0 for a negative one."""
    return max(1, value.bit_length()) if value >= 0 else 0


def natural_bits(operator: str, x: int, y: int) -> int:
    """How many bits a result has at most that can't be negative; 0 if that is not known.

    Parameters
    ----------
    operator : the name of an operator in a syntax tree, "min" or "max".
    x, y : the same of the operands.
    """
    if operator == "Mod":
        return y
    if operator == "max" and (x or y):
        return max(x, y) if x and y else 63
    if not (x and y):
        return 0
    if operator in ("Add", "Mult"):
        bits = x + y if operator == "Mult" else max(x, y) + 1
        return bits if bits <= 63 else 0
    if operator == "FloorDiv":
        return x
    if operator in ("BitAnd", "min"):
        return min(x, y)
    return max(x, y) if operator in ("BitOr", "BitXor") else 0


@dataclass(frozen=True)
class Settings:
    """How a text is compiled.

    Attributes
    ----------
    flags : LLVM's fast-math flags.
    nogil : whether the interpreter's lock is given up while a kernel computes.
    boundscheck : whether each index is checked, besides the checks in the text.
    """

    flags: tuple[str, ...] = ()
    nogil: bool = False
    boundscheck: bool = False

    @property
    def shown(self) -> str:
        """The flags as they stand in an instruction."""
        return "".join(f" {flag}" for flag in sorted(self.flags))


@dataclass(frozen=True, slots=True)
class Number:
    """A scalar value: its type and LLVM operand.

    ``natural`` is how many bits an integer has at most that can't be negative; 0 if that is not
    known, as of a sum or a product that may not fit into 63.
    """

    type: Scalar
    text: str
    natural: int = 0


@dataclass(frozen=True, slots=True)
class View:
    """An array value: where its elements are, its sizes, and who keeps them alive.

    ``owner`` is the operand of what is counted, "null" for an argument's memory. ``shared`` says
    whether Python sees it: an ndarray, not scratch memory. ``width`` is how many elements lie from
    a row in memory to the next, where that is not the length of a row. ``scope`` is what is said
    where elements are read or written (see `apart`).
    """

    type: Array
    data: str
    shape: tuple[str, ...]
    owner: str = "null"
    shared: bool = False
    column_major: bool = False
    width: str | None = None
    scope: str = ""


Value = Number | View


def type_of(dtype: np.dtype, rank: int) -> Type:
    """The type of an argument."""
    found = SCALARS.get(dtype.name)
    if found is None or not dtype.isnative:
        raise Unsupported(f"dtype {dtype}")
    return Array(found, rank) if rank else found
