"""Solutions of linear systems: transposes go into the operation, which needs no copy for them."""

from __future__ import annotations

from typing import Any

from tracegrad.ir.core import Value
from tracegrad.ir.types import Shape
from tracegrad.ops.registry import REGISTRY
from tracegrad.passes.table import ROUNDING, rule
from tracegrad.passes.values import made_by, transposed


def _solved(name: str, a: Value, b: Value, **flags: Any) -> Value:
    """The solution, without the flags that are not set."""
    kept = {flag: value for flag, value in flags.items() if value or flag == "lower"}
    result: Value = REGISTRY[name](a, b, **kept)
    return result


@rule("solve", mark=ROUNDING)
def solve_with_transpose(a: Value, b: Value, **flags: Any) -> Value | None:
    """A system with the transpose of a matrix.

    a: f64[n, n], b: f64[n, m]
    solve(transpose(a), b) → solve(a, b, transposed=True)
    """
    base = transposed(a)
    if base is None:
        return None
    return _solved("solve", base, b, transposed=not flags.get("transposed", False))


@rule("solve_triangular", mark=ROUNDING)
def solve_with_transposed_triangle(a: Value, b: Value, *, lower: bool, **flags: Any) -> Any:
    """A system with the transpose of a triangular matrix.

    a: f64[n, n], b: f64[n, m]
    c = transpose(a)
    solve_triangular(c, b, lower=False) → solve_triangular(a, b, lower=True, transposed=True)
    """
    base = transposed(a)
    if base is None:
        return None
    flags = {**flags, "transposed": not flags.get("transposed", False)}
    return _solved("solve_triangular", base, b, lower=not lower, **flags)


@rule("view", mark=ROUNDING)
def transpose_of_solution(x: Value, *, shape: Shape, map: Any) -> Value | None:
    """The transpose of the solution for a transposed right side: the matrix changes its side.

    a: f64[n, n], b: f64[m, n]
    x = solve_triangular(a, transpose(b), lower=True)
    transpose(x) → solve_triangular(a, b, lower=True, transposed=True, right=True)
    """
    op = made_by(x, "solve_triangular")
    if op is None or x.rank != 2 or map != ((1, 0, 1), (0, 0, 1)) or shape != x.shape[::-1]:
        return None
    a, b = op.operands
    base = transposed(b)
    if base is None:
        return None
    flags = {flag: not op.attributes.get(flag, False) for flag in ("transposed", "right")}
    return _solved("solve_triangular", a, base, lower=op.attributes["lower"], **flags)
