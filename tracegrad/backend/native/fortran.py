"""Calls by Fortran's convention: every argument by address.

Integers are 64-bit words, of which a library with 32-bit integers reads the lower half. Lengths
of letters follow as the hidden arguments that Fortran compilers expect.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from tracegrad.backend.native.types import F32, Scalar
from tracegrad.backend.native.writer import Writer, real


@dataclass(frozen=True)
class Letter:
    """An option such as ``"N"``."""

    text: str


@dataclass(frozen=True)
class Real:
    """A constant of the dtype of the call."""

    value: float


@dataclass(frozen=True)
class Place:
    """What is an address already."""

    pointer: str


Argument: TypeAlias = Letter | Real | Place | str
"""A string is the operand of an integer."""


def call(writer: Writer, name: str, element: Scalar, *arguments: Argument) -> None:
    """Call ``blas.gemm`` (or another one) for float64 or float32."""
    home, _, function = name.partition(".")
    given = [f"ptr {_address(writer, each, element)}" for each in arguments]
    hidden = ["i64 1" for each in arguments if isinstance(each, Letter)]
    prefix = "s" if element is F32 else "d"
    writer.call(f"{home}.{prefix}{function}", "void", *given, *hidden)


def _address(writer: Writer, argument: Argument, element: Scalar) -> str:
    if isinstance(argument, Place):
        return argument.pointer
    if isinstance(argument, Letter):
        return variable(writer, "i8", str(ord(argument.text)))
    if isinstance(argument, Real):
        return variable(writer, element.llvm, real(argument.value, element))
    return variable(writer, "i64", argument)


def variable(writer: Writer, type: str, value: str) -> str:
    """The address of a variable that holds a value."""
    slot = writer.slot(type)
    writer.do(f"store {type} {value}, ptr {slot}")
    return slot
