"""scipy.linalg, in the operations of `tracegrad.tracing.numpy_linalg`.

What SciPy may overwrite is left alone, and nobody looks whether what is given is finite.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tracegrad.tracing.dispatch import implements_by_name, refuse
from tracegrad.tracing.numpy_linalg import (
    apply,
    as_long,
    cholesky,
    det,
    eigh,
    floats,
    inv,
    is_taller,
    lstsq,
    matrix,
    pinv_within,
    precision,
    qr,
    solve,
    square,
    svd,
    symmetric,
    turned,
    unit,
)
from tracegrad.tracing.numpy_picking import positions
from tracegrad.tracing.state import current_trace
from tracegrad.tracing.values import operand, to_shape, wrap


@implements_by_name("scipy.linalg.solve_triangular")
def solve_triangular(
    a: Any,
    b: Any,
    trans: Any = 0,
    lower: bool = False,
    unit_diagonal: bool = False,
    overwrite_b: bool = False,
    check_finite: bool = True,
) -> Any:
    x, y = floats(a, b)
    x = square(x, "solve_triangular")
    if unit_diagonal:
        rest = np.tril(x, -1) if lower else np.triu(x, 1)
        x = rest + unit(x)
    columns = 1 if y.ndim == 1 else 2
    y = as_long(y, columns, x)
    flags = {"transposed": True} if trans in (1, 2, "T", "C") else {}
    return apply("solve_triangular", [x, y], [2, columns], lower=bool(lower), **flags)


@implements_by_name("scipy.linalg.solve_banded")
def solve_banded(
    l_and_u: Any,
    ab: Any,
    b: Any,
    overwrite_ab: bool = False,
    overwrite_b: bool = False,
    check_finite: bool = True,
) -> Any:
    lower, upper = l_and_u
    if not isinstance(lower, int | np.integer) or not isinstance(upper, int | np.integer):
        raise refuse("scipy.linalg.solve_banded", "with numbers of diagonals that are traced")
    x, y = floats(ab, b)
    matrix(x, "solve_banded")
    sizes = current_trace().sizes
    if not sizes.equal(x.value.shape[-2], lower + upper + 1):
        raise ValueError(
            f"invalid values for the number of lower and upper diagonals: l+u+1 "
            f"({lower + upper + 1}) does not equal ab.shape[0] ({x.shape[-2]})"
        )
    columns = 1 if y.ndim == 1 else 2
    n = x.value.shape[-1]
    if not sizes.equal(y.value.shape[-columns], n):
        raise ValueError("shapes of ab and b are not compatible.")
    x = wrap(to_shape(x.value, (*x.value.shape[:-2], int(lower + upper + 1), n)))
    return apply(
        "solve_banded",
        [x, as_long(y, columns, x)],
        [2, columns],
        lower=int(lower),
        upper=int(upper),
    )


@implements_by_name("scipy.linalg.solveh_banded")
def solveh_banded(
    ab: Any,
    b: Any,
    overwrite_ab: bool = False,
    overwrite_b: bool = False,
    lower: bool = False,
    check_finite: bool = True,
) -> Any:
    (x,) = floats(ab)
    count = int(x.shape[0]) - 1
    below, above = [], []
    for d in range(1, count + 1):
        if lower:
            below.append(x[d])
            above.append(np.pad(x[d, : x.shape[1] - d], (d, 0)))
        else:
            above.append(x[count - d])
            below.append(np.pad(x[count - d, d:], (0, d)))
    both = np.stack([*reversed(above), x[0 if lower else count], *below])
    return solve_banded((count, count), both, b)


@implements_by_name("scipy.linalg.cholesky")
def scipy_cholesky(
    a: Any, lower: bool = False, overwrite_a: bool = False, check_finite: bool = True
) -> Any:
    return cholesky(a, upper=not lower)


@implements_by_name("scipy.linalg.cho_factor")
def cho_factor(
    a: Any, lower: bool = False, overwrite_a: bool = False, check_finite: bool = True
) -> Any:
    return scipy_cholesky(a, lower), lower


@implements_by_name("scipy.linalg.cho_solve")
def cho_solve(
    c_and_lower: Any, b: Any, overwrite_b: bool = False, check_finite: bool = True
) -> Any:
    factor, lower = c_and_lower
    first = solve_triangular(factor, b, trans=0 if lower else 1, lower=lower)
    return solve_triangular(factor, first, trans=1 if lower else 0, lower=lower)


@implements_by_name("scipy.linalg.solve")
def scipy_solve(
    a: Any,
    b: Any,
    lower: bool = False,
    overwrite_a: bool = False,
    overwrite_b: bool = False,
    check_finite: bool = True,
    assume_a: Any = None,
    transposed: bool = False,
) -> Any:
    (x,) = floats(a)
    if assume_a in _POSITIVE:
        return cho_solve(cho_factor(x, lower), b)
    if assume_a in _TRIANGULAR:
        return solve_triangular(x, b, int(transposed), lower=assume_a.startswith("lower"))
    if assume_a in _SYMMETRIC:
        return solve(symmetric(x, lower), b)
    if assume_a == "diagonal":
        x = x * unit(square(x, "solve"))
    elif assume_a not in _GENERAL:
        raise refuse("scipy.linalg.solve", f"with assume_a={assume_a!r}")
    return solve(turned(x) if transposed else x, b)


_GENERAL = (None, "gen", "general", "banded", "tridiagonal")
_SYMMETRIC = ("sym", "symmetric", "her", "hermitian")
_POSITIVE = ("pos", "positive definite")
_TRIANGULAR = ("lower triangular", "upper triangular")


@implements_by_name("scipy.linalg.inv")
def scipy_inv(
    a: Any,
    overwrite_a: bool = False,
    check_finite: bool = True,
    *,
    assume_a: Any = None,
    lower: bool = False,
) -> Any:
    (x,) = floats(a)
    if assume_a in _TRIANGULAR:
        x = np.tril(x) if assume_a.startswith("lower") else np.triu(x)
    elif assume_a in _SYMMETRIC or assume_a in _POSITIVE:
        x = symmetric(x, lower)
    elif assume_a == "diagonal":
        x = x * unit(square(x, "inv"))
    elif assume_a not in _GENERAL:
        raise refuse("scipy.linalg.inv", f"with assume_a={assume_a!r}")
    return inv(x)


@implements_by_name("scipy.linalg.det")
def scipy_det(a: Any, overwrite_a: bool = False, check_finite: bool = True) -> Any:
    return det(a)


@implements_by_name("scipy.linalg.eigh")
def scipy_eigh(
    a: Any,
    b: Any = None,
    *,
    lower: bool = True,
    eigvals_only: bool = False,
    overwrite_a: bool = False,
    overwrite_b: bool = False,
    type: int = 1,
    check_finite: bool = True,
    subset_by_index: Any = None,
    subset_by_value: Any = None,
    driver: Any = None,
) -> Any:
    if subset_by_value is not None:
        raise refuse(
            "scipy.linalg.eigh", "with subset_by_value", "take all, and choose with a mask"
        )
    if b is None:
        values, vectors = eigh(a, "L" if lower else "U")
    else:
        values, vectors = _of_two(a, b, type, lower)
    if subset_by_index is not None:
        first, last = subset_by_index
        values, vectors = values[..., first : last + 1], vectors[..., first : last + 1]
    return values if eigvals_only else (values, vectors)


def _of_two(a: Any, b: Any, type: int, lower: bool) -> tuple[Any, Any]:
    """Eigenvalues of two matrices, as those of one by the Cholesky factor of the second.

    The three forms of LAPACK's sygvd: ``a v = w b v``, ``a b v = w v`` and ``b a v = w v``.
    """
    if type not in (1, 2, 3):
        raise ValueError('"type" keyword only accepts 1, 2, and 3.')
    x, y = floats(a, b)
    x = symmetric(square(x, "eigh"), lower)
    factor = scipy_cholesky(symmetric(square(y, "eigh"), lower), lower=True)
    if type == 1:
        half = solve_triangular(factor, x, lower=True)
        values, vectors = eigh(solve_triangular(factor, turned(half), lower=True))
    else:
        values, vectors = eigh(np.matmul(turned(factor), np.matmul(x, factor)))
    if type == 3:
        return values, np.matmul(factor, vectors)
    return values, solve_triangular(factor, vectors, trans=1, lower=True)


@implements_by_name("scipy.linalg.eigvalsh")
def scipy_eigvalsh(
    a: Any,
    b: Any = None,
    *,
    lower: bool = True,
    overwrite_a: bool = False,
    overwrite_b: bool = False,
    type: int = 1,
    check_finite: bool = True,
    subset_by_index: Any = None,
    subset_by_value: Any = None,
    driver: Any = None,
) -> Any:
    return scipy_eigh(
        a,
        b,
        lower=lower,
        eigvals_only=True,
        type=type,
        subset_by_index=subset_by_index,
        subset_by_value=subset_by_value,
    )


@implements_by_name("scipy.linalg.svd")
def scipy_svd(
    a: Any,
    full_matrices: bool = True,
    compute_uv: bool = True,
    overwrite_a: bool = False,
    check_finite: bool = True,
    lapack_driver: str = "gesdd",
) -> Any:
    return tuple(svd(a, full_matrices)) if compute_uv else svd(a, compute_uv=False)


@implements_by_name("scipy.linalg.svdvals")
def scipy_svdvals(a: Any, overwrite_a: bool = False, check_finite: bool = True) -> Any:
    return svd(a, compute_uv=False)


@implements_by_name("scipy.linalg.pinv")
def scipy_pinv(
    a: Any,
    *,
    atol: Any = None,
    rtol: Any = None,
    return_rank: bool = False,
    check_finite: bool = True,
) -> Any:
    (x,) = floats(a)
    matrix(x, "pinv")
    limit: Any = precision(x) if rtol is None else rtol
    if atol is None and not return_rank:
        return pinv_within(x, limit)
    values = svd(x, compute_uv=False)
    if atol is not None:
        limit = limit + atol / np.max(values)
    found = pinv_within(x, limit)
    return (found, np.sum(values > limit * np.max(values))) if return_rank else found


@implements_by_name("scipy.linalg.lstsq")
def scipy_lstsq(
    a: Any,
    b: Any,
    cond: Any = None,
    overwrite_a: bool = False,
    overwrite_b: bool = False,
    check_finite: bool = True,
    lapack_driver: Any = None,
) -> Any:
    (x,) = floats(a)
    limit = float(np.finfo(x.dtype).eps) if cond is None else cond
    found, rest, rank, values = lstsq(x, b, limit)
    rank = rank.astype(np.int64)
    if lapack_driver == "gelsy":
        return found, np.zeros(0, found.dtype), rank, None
    return found, rest[0] if found.ndim == 1 and is_taller(x) else rest, rank, values


@implements_by_name("scipy.linalg.norm")
def scipy_norm(
    a: Any, ord: Any = None, axis: Any = None, keepdims: bool = False, check_finite: bool = True
) -> Any:
    return np.linalg.norm(a, ord, axis, keepdims)


@implements_by_name("scipy.linalg.qr")
def scipy_qr(
    a: Any,
    overwrite_a: bool = False,
    lwork: Any = None,
    mode: str = "full",
    pivoting: bool = False,
    check_finite: bool = True,
) -> Any:
    (x,) = floats(a)
    matrix(x, "qr")
    if pivoting:
        raise refuse("scipy.linalg.qr", "with pivoting=True")
    if mode == "r":
        r = qr(x, "r")
        missing = x.shape[-2] - r.shape[-2] if is_taller(x) else 0
        around = [(0, 0)] * (x.ndim - 2)
        return (np.pad(r, [*around, (0, missing), (0, 0)]) if is_taller(x) else r,)
    if mode == "raw" or (mode == "full" and is_taller(x)):
        raise refuse("scipy.linalg.qr", f"with mode={mode!r} of this shape", "use mode='economic'")
    return tuple(qr(x))


@implements_by_name("scipy.linalg.block_diag")
def block_diag(*arrs: Any) -> Any:
    xs = [np.atleast_2d(x) for x in floats(*arrs)] if arrs else []
    columns = sum(x.shape[1] for x in xs)
    rows, before = [], 0
    for x in xs:
        width = x.shape[1]
        rows.append(np.pad(x, ((0, 0), (before, columns - before - width))))
        before = before + width
    return np.concatenate(rows, axis=0)


@implements_by_name("scipy.linalg.toeplitz")
def toeplitz(c: Any, r: Any = None) -> Any:
    (first,) = floats(np.ravel(operand(c)))
    across = first if r is None else np.ravel(floats(r)[0])
    n, m = first.shape[0], across.shape[0]
    # values[k] is the diagonal k - (n - 1): the column backwards, then the row without its head.
    values = np.concatenate([first[::-1], across[1:]])
    return values[(n - 1 - positions(n))[:, None] + positions(m)[None, :]]


@implements_by_name("scipy.linalg.solve_toeplitz")
def solve_toeplitz(c_or_cr: Any, b: Any, check_finite: bool = True) -> Any:
    return solve(_toeplitz_of(c_or_cr), b)


@implements_by_name("scipy.linalg.matmul_toeplitz")
def matmul_toeplitz(c_or_cr: Any, x: Any, check_finite: bool = False, workers: Any = None) -> Any:
    return np.matmul(_toeplitz_of(c_or_cr), operand(x))


def _toeplitz_of(c_or_cr: Any) -> Any:
    """The matrix of its first column, or of a tuple of its first column and row."""
    return toeplitz(*c_or_cr) if isinstance(c_or_cr, tuple) else toeplitz(c_or_cr)


@implements_by_name("scipy.linalg.hankel")
def hankel(c: Any, r: Any = None) -> Any:
    (first,) = floats(np.ravel(operand(c)))
    last = np.zeros_like(first) if r is None else np.ravel(floats(r)[0])
    values = np.concatenate([first, last[1:]])
    return values[positions(first.shape[0])[:, None] + positions(last.shape[0])[None, :]]


@implements_by_name("scipy.linalg.circulant")
def circulant(c: Any) -> Any:
    (first,) = floats(c)
    n = first.shape[0]
    at = positions(n)[:, None] - positions(n)[None, :]
    return first[np.where(at < 0, at + n, at)]
