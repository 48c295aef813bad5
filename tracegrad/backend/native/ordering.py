"""NumPy's functions that sort and search: calls of the helpers in `tracegrad.backend.ordering`."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tracegrad.backend import helpers
from tracegrad.backend.native import functions
from tracegrad.backend.native.types import BOOL, I64, Array, Number, Unsupported, Value, View

if TYPE_CHECKING:
    from tracegrad.backend.native.expressions import Expressions
    from tracegrad.backend.native.program import Program

NAMES = ("sort", "argsort", "argmax", "argmin", "searchsorted")

_HOME = "tracegrad.backend.ordering"


def assign(program: Program, name: str, function: str, node: ast.Call) -> None:
    """``name = np.sort(...)``, or another of `NAMES`."""
    if function == "searchsorted":
        _search(program, name, node)
        return
    x, axis, lanes = _lanes(program, node)
    outer, _, inner = lanes.shape
    if function in ("sort", "argsort"):
        type = x.type if function == "sort" else Array(I64, x.type.rank)
        _make(program, name, function, type, x.shape, [lanes], lanes.shape)
        return
    rest = (*x.shape[:axis], *x.shape[axis + 1 :])
    if rest:
        type = Array(I64, len(rest))
        _make(program, name, function, type, rest, [lanes], (outer, inner))
        return
    program.assign(name, number(program, function, node))


def number(within: Expressions, function: str, node: ast.Call) -> Number:
    """One of `NAMES` whose result is a number."""
    if function == "searchsorted":
        table, values, side = _searched(within, node)
        if isinstance(values, Number):
            (found,) = _call(within, "position", [table, values, side])
            return found
    elif function in ("argmax", "argmin"):
        x, _, lanes = _lanes(within, node)
        if x.type.rank == 1:
            place = within.writer.slot("i64")
            _call(within, function, [lanes, View(Array(I64, 2), place, ("1", "1"))])
            return within.arrays.load(I64, place)
    raise Unsupported(ast.unparse(node))


def _lanes(within: Expressions, node: ast.Call) -> tuple[View, int, View]:
    """The operand, the axis, and the operand with the axis as the middle one of three."""
    if not node.args:
        raise Unsupported(ast.unparse(node))
    x = within.view(node.args[0])
    axis = _axis(node, x.type.rank)
    if x.column_major or x.type.rank == 0:
        raise Unsupported(ast.unparse(node))
    outer, inner = (_product(within, part) for part in (x.shape[:axis], x.shape[axis + 1 :]))
    return x, axis, View(Array(x.type.element, 3), x.data, (outer, x.shape[axis], inner))


def _axis(node: ast.Call, rank: int) -> int:
    axis = -1
    for keyword in node.keywords:
        if keyword.arg == "axis":
            axis = _integer(keyword.value)
        elif keyword.arg != "kind":
            raise Unsupported(ast.unparse(node))
    if len(node.args) > 2 or not -rank <= axis < rank:
        raise Unsupported(ast.unparse(node))
    if len(node.args) == 2:
        axis = _integer(node.args[1])
    elif rank > 1 and not any(keyword.arg == "axis" for keyword in node.keywords):
        raise Unsupported(ast.unparse(node))
    return axis % rank


def _integer(node: ast.expr) -> int:
    try:
        found = ast.literal_eval(node)
    except ValueError:
        found = None
    if type(found) is not int:
        raise Unsupported(ast.unparse(node))
    return found


def _product(within: Expressions, sizes: Sequence[str]) -> str:
    total = "1"
    for size in sizes:
        total = size if total == "1" else within.writer.op(f"mul nsw i64 {total}, {size}")
    return total


def _searched(within: Expressions, node: ast.Call) -> tuple[View, Value, Number]:
    """The operands of ``np.searchsorted``, and whether its side is the right one."""
    right = False
    for keyword in node.keywords:
        if keyword.arg != "side" or not isinstance(keyword.value, ast.Constant):
            raise Unsupported(ast.unparse(node))
        right = keyword.value.value == "right"
    if len(node.args) != 2:
        raise Unsupported(ast.unparse(node))
    table, values = within.view(node.args[0]), within.value(node.args[1])
    return table, values, Number(BOOL, "true" if right else "false")


def _search(program: Program, name: str, node: ast.Call) -> None:
    table, values, side = _searched(program, node)
    if isinstance(values, Number):
        program.assign(name, _call(program, "position", [table, values, side])[0])
        return
    if table.column_major or values.column_major:
        raise Unsupported(ast.unparse(node))
    flat = View(Array(values.type.element, 1), values.data, (program.arrays.size(values),))
    type = Array(I64, values.type.rank)
    _make(program, name, "search", type, values.shape, [table, flat], flat.shape, side)


def _make(
    program: Program,
    name: str,
    function: str,
    type: Array,
    shape: Sequence[str],
    given: Sequence[View],
    seen: Sequence[str],
    *more: Number,
) -> None:
    """Have a helper write to a new array, which it sees with the sizes ``seen``."""
    shared = program.names.is_returned(name)
    made = program.arrays.make(type, shape, shared=shared)
    # Where the helper raises, it is released with everything else.
    held = program.arrays.hold(made)
    out = View(Array(type.element, len(seen)), made.data, tuple(seen))
    _call(program, function, [*given, out, *more])
    program.arrays.let_go(held, release=False)
    program.assign(name, made, counted=True)


def _call(within: Expressions, function: str, operands: Sequence[Value]) -> list[Number]:
    found = helpers.find(f"{_HOME}.{function}")
    assert isinstance(found, helpers.Helper)
    return functions.call(within, found, operands)
