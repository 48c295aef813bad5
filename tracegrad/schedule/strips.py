"""Products of tall matrices strip by strip, so that what is done to their rows is done at once.

Between the products of a regression there is work on rows: ``Z = X @ W``, then a logarithm, an
exponential, and ``W_bar = X.T @ Z_bar``. As whole products the two read all of X, Z and Z_bar from
far away. In strips of 256 rows the first product, the work on its rows and the second product
follow each other, and a strip stays near::

    for block in range((n + 255) // 256):
        i0 = block * 256
        count = min(256, n - i0)
        put_product(W.T, X[i0 : i0 + count].T, z[:, :count])
        for i in range(count):
            ...
        add_product(z_bar[:, :count], X[i0 : i0 + count], W_bar)

A product goes in strips along one of its three axes, if that is long and the other two are short,
where a product between short matrices is as fast as one between long ones. It is then a statement
of the loop over blocks: it takes one strip of its operand and makes one of its result, or, where
the long axis is the one that it sums over, adds the product of two strips to its result. It stays
a whole product unless the loop makes or reads elements of its strips.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from tracegrad.ir.types import Dim, evaluate, symbols
from tracegrad.schedule.graph import Graph, Node, is_transpose

if TYPE_CHECKING:
    from tracegrad.schedule.statements import Program, Stmt
    from tracegrad.schedule.tree import Item

STRIP = 256
LONG = 2 * STRIP
SHORTEST = 64
SHORTER = 1024
"""The long axis of a product has at least ``LONG`` elements; the shortest one at most ``SHORTEST``,
since products of larger matrices are limited by arithmetic; the other one at most ``SHORTER``."""

Along = Literal["rows", "columns", "sums"]
"""The long axis of a product ``a @ b``: the rows of a, the columns of b, or what it sums over."""


class NotInStrips(Exception):
    """A loop with products in strips can't go in blocks."""


def products_in_strips(graph: Graph, hints: Mapping[str, int]) -> dict[Node, Along]:
    """The products that may go in strips, and along which axis."""
    found: dict[Node, Along] = {}
    for node in graph.nodes:
        if node.kind == "gemm":
            along = _along(node, hints)
            if along is not None:
                found[node] = along
    return found


def _along(node: Node, hints: Mapping[str, int]) -> Along | None:
    a, b = node.operands
    sizes: dict[Along, int | None] = {
        "rows": _size(a.shape[0], hints),
        "columns": _size(b.shape[1], hints),
        "sums": _size(a.shape[1], hints),
    }
    if None in sizes.values():
        return None
    known = {axis: size for axis, size in sizes.items() if size is not None}
    longest = max(known, key=known.__getitem__)
    others = sorted(size for axis, size in known.items() if axis != longest)
    fits = known[longest] >= LONG and others[0] <= SHORTEST and others[1] <= SHORTER
    return longest if fits else None


def _size(dim: Dim, hints: Mapping[str, int]) -> int | None:
    if any(name not in hints for name in symbols(dim)):
        return None
    return evaluate(dim, hints)


def parts_of(along: Along) -> tuple[tuple[int, int], tuple[int, int]]:
    """Which of a, b and the result are taken in strips, and along which of their dimensions."""
    if along == "rows":
        return (0, 0), (2, 0)
    if along == "columns":
        return (1, 1), (2, 1)
    return (0, 1), (1, 0)


def base_of(node: Node) -> Node:
    """The matrix that BLAS reads for an operand: itself, or the one that it is the transpose of."""
    return node.operands[0] if is_transpose(node) else node


def taken_in_strips(node: Node, along: Along) -> list[tuple[Node, int]]:
    """The matrices that a product reads strip by strip, each with the dimension."""
    found = []
    for which, dimension in parts_of(along):
        if which < 2:
            operand = node.operands[which]
            found.append((base_of(operand), 1 - dimension if is_transpose(operand) else dimension))
    return found


def idle(program: Program, tree: Sequence[Item]) -> set[Node]:
    """Products in strips that no work on elements goes with: these are better off whole."""
    from tracegrad.schedule.tree import Loop, statements_in

    found: set[Node] = set()
    for item in tree:
        strips = [t for t in statements_in([item]) if t.strip is not None]
        if not strips:
            continue
        assert isinstance(item, Loop)
        others = {t for t in statements_in([item]) if t.strip is None}
        found |= {t.node for t in strips if not _goes_with(t, others)}
    return found


def _goes_with(stmt: Stmt, others: Collection[Stmt]) -> bool:
    return not stmt.deps.isdisjoint(others) or any(stmt in t.deps for t in others)
