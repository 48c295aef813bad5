"""A matrix taken apart once, for several solutions, its inverse and its determinant.

Programs and rules say `solve`, `inv`, `slogdet`; `tracegrad.passes.factors` says these instead
where one matrix is in several of them, when no derivative will be taken any more.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tracegrad.ir.types import ArrayType
from tracegrad.ops.linalg import flagged_call, right_samples, square, square_matrices
from tracegrad.ops.registry import Sample, general

LATE = "it is made only after derivatives are taken"


def _factors_type(a: ArrayType) -> ArrayType:
    n = square("lu", a).shape[0]
    return a.with_shape((n + 1, n))


def _of_factors(name: str, factors: ArrayType) -> ArrayType:
    """The type of the matrix that the factors are those of."""
    if factors.rank != 2 or factors.shape[0] != factors.shape[1] + 1 or not factors.dtype.is_float:
        raise TypeError(f"{name}: factors as `lu` gives them are needed, not {factors}")
    return factors.with_shape((factors.shape[1], factors.shape[1]))


def _solution_type(factors: ArrayType, b: ArrayType, *, transposed: bool = False) -> ArrayType:
    a = _of_factors("lu_solve", factors)
    if b.rank not in (1, 2) or b.shape[0] != a.shape[0] or b.dtype is not a.dtype:
        raise TypeError(f"lu_solve: a right side of {a} is needed, not {b}")
    return b


def factors_of(a: np.ndarray) -> np.ndarray:
    """The meaning of `lu`, element by element."""
    n = a.shape[0]
    rows = np.array(a)
    pivots = np.zeros(n, a.dtype)
    for k in range(n):
        pivot = k + int(np.argmax(np.abs(rows[k:, k])))
        pivots[k] = pivot
        rows[[k, pivot]] = rows[[pivot, k]]
        if rows[k, k] != 0.0:
            rows[k + 1 :, k] /= rows[k, k]
        rows[k + 1 :, k + 1 :] -= np.outer(rows[k + 1 :, k], rows[k, k + 1 :])
    return np.ascontiguousarray(np.concatenate([rows.T, pivots[None]]))


def _matrix_of(factors: np.ndarray) -> np.ndarray:
    n = factors.shape[1]
    both = factors[:n].T
    matrix = (np.tril(both, -1) + np.eye(n, dtype=factors.dtype)) @ np.triu(both)
    for k in reversed(range(n)):
        other = min(int(factors[n, k]), n - 1)
        matrix[[k, other]] = matrix[[other, k]]
    return np.asarray(matrix)


def _solution(factors: np.ndarray, b: np.ndarray, *, transposed: bool = False) -> np.ndarray:
    matrix = _matrix_of(factors)
    return np.asarray(np.linalg.solve(matrix.T if transposed else matrix, b))


def _matrix_samples(rng: np.random.Generator) -> list[Sample]:
    return [Sample((square_matrices(rng, n)[::-1].copy(),)) for n in (1, 2, 5)]


def _factor_samples(rng: np.random.Generator) -> list[Sample]:
    return [Sample((factors_of(each.operands[0]),)) for each in _matrix_samples(rng)]


def _solution_samples(rng: np.random.Generator) -> list[Sample]:
    return [
        Sample((factors_of(a[::-1].copy()), b), flags)
        for a, b in (each.operands for each in right_samples(rng))
        for flags in ({}, {"transposed": True})
    ]


def _late(name: str, *, doc: str, infer: Any, reference: Any, array: Any, samples: Any) -> Any:
    return general(
        name,
        doc=doc,
        infer=infer,
        reference=reference,
        array=array,
        nondifferentiable=LATE,
        samples=samples,
        cost=64.0,
        source="Golub and Van Loan (2013), Matrix Computations, 3.4",
    )


lu = _late(
    "lu",
    doc="""The triangular factors of a square matrix with its rows exchanged, column by column in
    one matrix; below them, for each row, the row that it was exchanged with. A singular matrix has
    factors, with a zero on the diagonal.""",
    infer=_factors_type,
    reference=factors_of,
    array="runtime.lu({0})",
    samples=_matrix_samples,
)

lu_solve = _late(
    "lu_solve",
    doc="`solve`, with the `lu` of the matrix.",
    infer=_solution_type,
    reference=_solution,
    array=flagged_call("runtime.lu_solve", "transposed"),
    samples=_solution_samples,
)

lu_inv = _late(
    "lu_inv",
    doc="`inv`, with the `lu` of the matrix.",
    infer=lambda factors: _of_factors("lu_inv", factors),
    reference=lambda factors: np.linalg.inv(_matrix_of(factors)),
    array="runtime.lu_inv({0})",
    samples=_factor_samples,
)

lu_det = _late(
    "lu_det",
    doc="`det`, with the `lu` of the matrix.",
    infer=lambda factors: ArrayType(_of_factors("lu_det", factors).dtype),
    reference=lambda factors: np.asarray(np.linalg.det(_matrix_of(factors)), factors.dtype),
    array="runtime.lu_det({0})",
    samples=_factor_samples,
)

lu_slogdet = _late(
    "lu_slogdet",
    doc="`slogdet`, with the `lu` of the matrix.",
    infer=lambda factors: ArrayType(_of_factors("lu_slogdet", factors).dtype, (2,)),
    reference=lambda factors: np.asarray(np.linalg.slogdet(_matrix_of(factors)), factors.dtype),
    array="runtime.lu_slogdet({0})",
    samples=_factor_samples,
)
