"""Which size symbols operations mention."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tracegrad.ir.core import Operation
from tracegrad.ir.types import ArrayType, Size, symbols

BINDING = frozenset(("nonzero", "tape", "bind"))
"""Operations whose attribute ``size`` is an opaque symbol that their own results bind.

The symbol is the length of the results; the result of ``bind`` is the number itself."""


def attribute_symbols(attribute: Any) -> Iterator[str]:
    """The symbols in an attribute: a dimension, or tuples of them at any depth."""
    if isinstance(attribute, Size):
        yield from symbols(attribute)
    elif isinstance(attribute, (tuple, list)):
        for item in attribute:
            yield from attribute_symbols(item)


def type_symbols(type: ArrayType) -> Iterator[str]:
    """The symbols in a shape."""
    for dim in type.shape:
        yield from symbols(dim)


def operation_symbols(op: Operation) -> Iterator[str]:
    """The symbols in the types and attributes of an operation and of the regions it holds."""
    for value in (*op.operands, *op.results):
        yield from type_symbols(value.type)
    for attribute in op.attributes.values():
        yield from attribute_symbols(attribute)
    for region in op.regions:
        for value in (*region.params, *region.yields):
            yield from type_symbols(value.type)
        for inner in region.ops:
            yield from operation_symbols(inner)
