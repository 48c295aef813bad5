"""Additions to one element per row of an array of zeros, as a choice for each element.

The adjoint of ``z[np.arange(n), labels]`` adds to zeros at ``(i, labels[i])``. Written so, it is a
loop over the rows of its own, which nothing shares and no lanes run. But each row gets one number::

    out[i, j] = v[i] if j == labels[i] else 0.0

which is computed where it is read. The labels are checked, and counted from the end where they are
negative, in the same order as ever: the checked ones are a value of their own (*place*).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tracegrad.ir.core import Operation, Value
from tracegrad.ir.types import ArrayType, boolean, i64
from tracegrad.ops.registry import REGISTRY

if TYPE_CHECKING:
    from tracegrad.schedule.graph import Graph, Node


def added_to_rows(
    graph: Graph, op: Operation, operands: Sequence[Node], value: Value
) -> Node | None:
    """``accumulate(zeros, v, *indices)`` as a choice, where it adds one number to each row."""
    from tracegrad.schedule.graph import counts_along, stand_in

    base, v, *indices = operands
    if op.name != "accumulate" or base.rank != 2 or len(indices) != 2 or v.rank != 1:
        return None
    counts = [counts_along(i, base, d) for d, i in enumerate(indices)]
    if sum(counts) != 1 or not is_zero(base):
        return None
    row = counts.index(True)
    places = indices[1 - row]
    if places.rank != 1:
        return None
    shape, type = base.shape, base.type
    attributes = {"size": shape[1 - row], "dimension": 1 - row}
    checked = graph.make(
        "place", "check_index", (places,), ArrayType(i64, places.shape), attributes, op
    )
    counted = ArrayType(i64, (shape[1 - row],))
    numbers = graph.make("iota", "iota", (), counted, {"size": shape[1 - row], "dtype": i64}, op)
    along_rows, across = ((row, 0, 1),), ((1 - row, 0, 1),)
    mask = graph.make(
        "ew",
        "equal",
        (graph.view(numbers, shape, across, op), graph.view(checked, shape, along_rows, op)),
        ArrayType(boolean, shape),
        {},
        stand_in(op, REGISTRY["equal"]),
    )
    zero = graph.make(
        "const", "const", (), type.with_shape(()), {"value": 0, "dtype": type.dtype}, op
    )
    chosen = (mask, graph.view(v, shape, along_rows, op), zero)
    made = stand_in(op, REGISTRY["select"])
    return graph.make("ew", "select", chosen, type, {}, made, value)


def is_zero(node: Node) -> bool:
    """Whether an array is full of zeros."""
    while node.kind == "view":
        node = node.operands[0]
    if node.kind != "const":
        return False
    number = node.attributes["value"]
    return number == 0 and str(number) != "-0.0"
