"""Banded systems: matrices whose elements lie near their diagonal, stored by diagonals.

``a[upper + i - j, j]`` is the element (i, j) of the matrix, as SciPy takes it;
the corners of ``a`` that stand for no element are not read, and their cotangents are zero. LAPACK
solves (gbtrf, gbtrs).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tracegrad.ir.core import Value
from tracegrad.ir.types import ArrayType
from tracegrad.ops.access import at, pad_into, stack, view_of
from tracegrad.ops.linalg import GILES
from tracegrad.ops.registry import REGISTRY, Sample, general


def _type(
    a: ArrayType, b: ArrayType, *, lower: int, upper: int, transposed: bool = False
) -> ArrayType:
    if a.rank != 2 or not a.dtype.is_float or a.shape[0] != lower + upper + 1:
        raise TypeError(f"solve_banded: {lower + upper + 1} rows of floats are needed, not {a}")
    if b.rank not in (1, 2) or b.shape[0] != a.shape[1] or b.dtype is not a.dtype:
        raise TypeError(f"solve_banded: a right side of {a} is needed, not {b}")
    return b


def _reference(
    a: np.ndarray, b: np.ndarray, *, lower: int, upper: int, transposed: bool = False
) -> np.ndarray:
    n = a.shape[1]
    matrix = np.zeros((n, n), a.dtype)
    for i in range(n):
        for j in range(max(0, i - lower), min(n, i + upper + 1)):
            matrix[i, j] = a[upper + i - j, j]
    found: np.ndarray = np.linalg.solve(matrix.T if transposed else matrix, b)
    return found


def _diagonals(x: Value, lower: int, upper: int) -> list[Value]:
    """Along each diagonal, ``x`` at the row that its element of column j stands in; else 0."""
    n, *columns = x.shape
    rest = [(1, 0, 1)] if columns else []
    longer = pad_into(x, (n + lower + upper, *columns), [(0, upper, 1), *rest])
    return [view_of(longer, x.shape, [(0, r, 1), *rest]) for r in range(lower + upper + 1)]


def _banded_product(a: Value, x: Value, lower: int, upper: int, transposed: bool) -> Value:
    """The matrix times ``x``."""
    n, *columns = x.shape
    rest = [(1, 0, 1)] if columns else []

    def wide(r: int) -> Value:
        row = at(a, 0, r)
        return view_of(row, x.shape, [(0, 0, 1)]) if columns else row

    if transposed:
        terms = [wide(r) * each for r, each in enumerate(_diagonals(x, lower, upper))]
    else:
        terms = []
        for r in range(lower + upper + 1):
            # What is outside the matrix falls off the ends.
            longer = pad_into(wide(r) * x, (n + lower + upper, *columns), [(0, lower, 1), *rest])
            start = lower + upper - r
            terms.append(view_of(longer, x.shape, [(0, start, 1), *rest]))
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def solve_banded_vjp(
    out_bar: Value,
    out: Value,
    a: Value,
    b: Value,
    *,
    lower: int,
    upper: int,
    transposed: bool = False,
) -> tuple[Value, Value]:
    """b_bar solves with the transpose; a_bar is the band of -b_bar · outᵀ."""
    flags = {} if transposed else {"transposed": True}
    b_bar = solve_banded(a, out_bar, lower=lower, upper=upper, **flags)
    rows, columns = (out, b_bar) if transposed else (b_bar, out)
    parts = [each * columns for each in _diagonals(rows, lower, upper)]
    if out.rank == 2:
        parts = [REGISTRY["sum"](part, axes=(1,)) for part in parts]
    return -stack(parts), b_bar


def solve_banded_jvp(
    tangents: Sequence[Value | None],
    out: Value,
    a: Value,
    b: Value,
    *,
    lower: int,
    upper: int,
    transposed: bool = False,
) -> Value | None:
    """The solution for b_dot - A_dot · out."""
    a_dot, right = tangents
    if a_dot is not None:
        moved = -_banded_product(a_dot, out, lower, upper, transposed)
        right = moved if right is None else right + moved
    if right is None:
        return None
    flags = {"transposed": True} if transposed else {}
    found: Value = solve_banded(a, right, lower=lower, upper=upper, **flags)
    return found


def _text(operands: list[str], result: ArrayType, attributes: Any, dims: Any) -> str:
    parts = [*operands, str(attributes["lower"]), str(attributes["upper"])]
    parts += ["transposed=True"] if attributes.get("transposed") else []
    return f"runtime.solve_banded({', '.join(parts)})"


def _samples(rng: np.random.Generator) -> list[Sample]:
    made = []
    for n, lower, upper, columns in (
        (6, 1, 1, ()),
        (5, 2, 1, (2,)),
        (4, 0, 2, ()),
        (5, 1, 0, (3,)),
        (2, 3, 0, ()),
        (1, 0, 0, ()),
    ):
        for flags in ({}, {"transposed": True}):
            band = rng.normal(size=(lower + upper + 1, n))
            band[upper] += 4.0 * rng.choice([-1.0, 1.0], n)
            right = np.asarray(rng.normal(size=(n, *columns)))
            made.append(Sample((band, right), {"lower": lower, "upper": upper, **flags}))
    return made


solve_banded = general(
    "solve_banded",
    doc="""The solution of A · out = b, or Aᵀ · out = b if ``transposed``, for a square matrix given
    by its ``upper`` + 1 + ``lower`` diagonals and one or more columns b.""",
    infer=_type,
    reference=_reference,
    array=_text,
    vjp=solve_banded_vjp,
    jvp=solve_banded_jvp,
    samples=_samples,
    cost=32.0,
    source=GILES,
)
