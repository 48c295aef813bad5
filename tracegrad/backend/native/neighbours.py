"""Rows of a few columns that indices pick, written out element by element.

A loop over a few columns is written out, and its trips are left to LLVM, which runs the loop
around it in lanes. Where an index picks the row, lanes are elements far from each other::

    at = k[i]
    d = x[at, 0] - y[i, 0]
    net[at, 0] += d
    d_2 = x[at, 1] - y[i, 1]
    net[at, 1] += d_2
    ...

There the elements of one row make a vector. LLVM looks for such neighbours only if it is told to
(its SLP vectoriser): in other code it finds some that are not worth their way into a vector, in
recurrences above all.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

MARK = "!neighbours = !{}"
"""What stands in the LLVM text of a module in which LLVM is to look for neighbours."""

FEWEST = 4
"""Elements of a row that are worth a vector."""


def in_picked_rows(functions: Sequence[ast.FunctionDef]) -> bool:
    """Whether functions hold straight text on neighbours in rows that indices pick."""
    return any(
        _has_row(block, picked)
        for function in functions
        for picked in [_read(function)]
        for block in _blocks(function)
    )


def _read(function: ast.FunctionDef) -> set[str]:
    """The names that get a value from an array, as indices do that pick."""
    return {
        target.id
        for node in ast.walk(function)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name) and isinstance(node.value, (ast.Subscript, ast.Name))
    }


def _blocks(function: ast.FunctionDef) -> Iterator[list[ast.stmt]]:
    for node in ast.walk(function):
        if isinstance(node, (ast.For, ast.While, ast.If)):
            yield node.body
            yield node.orelse


def _has_row(block: Sequence[ast.stmt], picked: set[str]) -> bool:
    """Whether the statements of a block, not those within them, name enough of one row."""
    columns: dict[str, set[int]] = {}
    for statement in block:
        if not isinstance(statement, (ast.Assign, ast.AugAssign)):
            continue
        for node in ast.walk(statement):
            if not isinstance(node, ast.Subscript) or not isinstance(node.slice, ast.Tuple):
                continue
            *rows, column = node.slice.elts
            if not isinstance(column, ast.Constant) or type(column.value) is not int:
                continue
            if any(isinstance(row, ast.Name) and row.id in picked for row in rows):
                row = ast.unparse(ast.Tuple([node.value, *rows], ast.Load()))
                columns.setdefault(row, set()).add(column.value)
    return any(
        all(first + step in found for step in range(FEWEST))
        for found in columns.values()
        for first in found
    )
