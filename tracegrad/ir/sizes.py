"""Sizes: which symbols operations mention, what guards say of one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tracegrad.ir.core import Guard, Operation
from tracegrad.ir.types import ArrayType, Dim, Size, dim_max, never_negative, substitute, symbols

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


def rename_sizes(operations: Iterable[Operation], names: Mapping[str, Dim]) -> None:
    """Replace size symbols by others in operations that are being built, at any depth."""
    for op in operations:
        for result in op.results:
            result.type = result.type.substitute(names)
        op.attributes = {k: _renamed(attribute, names) for k, attribute in op.attributes.items()}
        for region in op.regions:
            for param in region.params:
                param.type = param.type.substitute(names)
            rename_sizes(region.ops, names)


def _renamed(attribute: Any, names: Mapping[str, Dim]) -> Any:
    if isinstance(attribute, Size):
        return substitute(attribute, names)
    if isinstance(attribute, tuple):
        return tuple(_renamed(part, names) for part in attribute)
    return attribute


def no_less_than_zero(dim: Dim, guards: Iterable[Guard] = ()) -> Dim:
    """``max(dim, 0)``; ``dim`` itself where that is known, perhaps from a guard."""
    for guard in guards:
        away = guard.left - guard.right
        if guard.relation == ">":
            away = away - 1
        # The guard says that ``away`` is not negative.
        if guard.relation in (">", ">=") and never_negative(dim - away):
            return dim
    return dim if never_negative(dim) else dim_max(dim, 0)
