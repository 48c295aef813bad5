"""What printed array programs call where NumPy has no expression for it.

Only NumPy is used, so that the functions can be printed beside a program that is exported. Those
that kernels call, too, are compiled into them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tracegrad.backend.callbacks import call_python as call_python
from tracegrad.backend.helpers import helper
from tracegrad.ops.shape_derivatives import betainc_shape as betainc_shape
from tracegrad.ops.shape_derivatives import gammainc_shape as gammainc_shape


def pad(v: Any, shape: tuple[int, ...], map: Sequence[tuple[int | None, int, int]]) -> np.ndarray:
    """Zeros of ``shape`` with ``v`` put in.

    ``map`` has one ``(axis, offset, step)`` per dimension of the result: its index is
    ``offset + step * (index along that axis of v)``, or ``offset`` where the axis is None.
    """
    v = np.asarray(v)
    out = np.zeros(shape, v.dtype)
    places: list[Any] = []
    for axis, offset, step in map:
        if axis is None:
            places.append(offset)
        else:
            extent = [1] * v.ndim
            extent[axis] = -1
            places.append((offset + step * np.arange(v.shape[axis])).reshape(extent))
    out[tuple(places)] = v
    return out


def update(x: np.ndarray, v: Any, *indices: Any) -> np.ndarray:
    """``x`` with ``v`` written at the indices of its leading dimensions; the last write wins."""
    out = x.copy()
    out[indices] = v
    return out


def accumulate(x: np.ndarray, v: Any, *indices: Any) -> np.ndarray:
    """``x`` with ``v`` added at the indices of its leading dimensions; repeats add up."""
    out = x.copy()
    np.add.at(out, indices, v)
    return out


@helper
def ensure(x: np.ndarray, length: int) -> np.ndarray:
    """``x`` made at least ``length`` long, twice as long as it was if it must grow."""
    if len(x) >= length:
        return x
    longer = np.zeros((max(length, 2 * len(x)), *x.shape[1:]), x.dtype)
    for i in range(len(x)):  # as a slice it takes Numba two seconds to compile
        longer[i] = x[i]
    return longer


def recurrence(
    factors: np.ndarray, terms: np.ndarray, axis: int, reverse: bool = False
) -> np.ndarray:
    """``out[i] = terms[i] + factors[i - 1] * out[i - 1]`` along ``axis``."""
    out = terms.copy()
    rows, f = np.moveaxis(out, axis, 0), np.moveaxis(factors, axis, 0)
    if reverse:
        rows, f = rows[::-1], f[::-1]
    for i in range(1, len(rows)):
        rows[i] += f[i - 1] * rows[i - 1]
    return out


@helper
def _substituted(a: np.ndarray, b: np.ndarray, lower: bool, unit: bool = False) -> np.ndarray:
    """The solution of ``a @ out = b``, row by row; with ``unit`` the diagonal counts as ones."""
    n = a.shape[0]
    out = np.empty_like(b)
    for k in range(n):
        i = k if lower else n - 1 - k
        pivot = a[i, i]
        if pivot == 0.0 and not unit:
            raise np.linalg.LinAlgError("Singular matrix")
        first, last = (0, i) if lower else (i + 1, n)
        row = b[i] - np.dot(a[i, first:last], out[first:last])
        out[i] = row if unit else row / pivot
    return out


@helper
def solve_triangular(
    a: np.ndarray, b: np.ndarray, lower: bool, transposed: bool = False, right: bool = False
) -> np.ndarray:
    """The solution of ``a @ out = b``, or ``out @ a = b`` if ``right``.

    Only the lower (or upper) triangle of ``a`` is read; it is transposed if ``transposed``.
    """
    turned = transposed != right
    matrix = np.ascontiguousarray(a.T) if turned else a
    rows = np.ascontiguousarray(b.T) if right else b
    found = _substituted(matrix, rows, lower != turned)
    return np.ascontiguousarray(found.T) if right else found


@helper
def symmetric(a: np.ndarray) -> np.ndarray:
    """``(a + a.T) / 2``."""
    n = a.shape[0]
    out = np.empty_like(a)
    for i in range(n):
        for j in range(n):
            out[i, j] = (a[i, j] + a[j, i]) * 0.5
    return out


@helper
def cholesky(a: np.ndarray) -> np.ndarray:
    """``np.linalg.cholesky``, which reads the lower triangle of ``a``."""
    return np.linalg.cholesky(a)


@helper
def cholesky_cotangent(factor: np.ndarray, factor_bar: np.ndarray) -> np.ndarray:
    """The cotangent of a symmetric matrix, for one of its Cholesky factor."""
    n = factor.shape[0]
    turned, bar = np.zeros_like(factor), np.zeros_like(factor)
    for i in range(n):
        for j in range(i + 1):
            turned[j, i] = factor[i, j]
            bar[i, j] = factor_bar[i, j]
    half = np.dot(turned, bar)
    for i in range(n):
        for j in range(i + 1):
            half[i, j] = half[i, j] * 0.5
            half[j, i] = half[i, j]
    left = _substituted(turned, half, False)
    return symmetric(_substituted(turned, np.ascontiguousarray(left.T), False))


@helper
def slogdet(a: np.ndarray) -> np.ndarray:
    """The sign of the determinant and the logarithm of its magnitude, as one array."""
    out = np.empty(2, a.dtype)
    sign, logarithm = np.linalg.slogdet(a)
    out[0] = sign
    out[1] = logarithm
    return out


@helper
def eigh(a: np.ndarray) -> np.ndarray:
    """What ``np.linalg.eigh`` gives: eigenvalues, below them the eigenvectors as columns."""
    n = a.shape[0]
    values, vectors = np.linalg.eigh(a)
    out = np.empty((n + 1, n), a.dtype)
    out[0] = values
    out[1:] = vectors
    return out


@helper
def svd(a: np.ndarray) -> np.ndarray:
    """u, the singular values and v of the reduced decomposition, below each other."""
    n, k = a.shape
    u, s, vt = np.linalg.svd(a, False)
    out = np.empty((n + 1 + k, k), a.dtype)
    out[:n] = u
    out[n] = s
    out[n + 1 :] = vt.T
    return out


@helper
def solve(a: np.ndarray, b: np.ndarray, transposed: bool = False) -> np.ndarray:
    """``np.linalg.solve``, its rows side by side: Numba's lie the other way."""
    matrix = np.ascontiguousarray(a.T) if transposed else a
    return np.ascontiguousarray(np.linalg.solve(matrix, b))


@helper
def solve_banded(
    a: np.ndarray, b: np.ndarray, lower: int, upper: int, transposed: bool = False
) -> np.ndarray:
    """The solution of a banded system: Gaussian elimination with row exchanges.

    ``a[upper + i - j, j]`` is the element (i, j) of the matrix.
    """
    n = a.shape[1]
    down, up = (upper, lower) if transposed else (lower, upper)
    # Element (i, j) lies at [i, j - i + down]; exchanges fill ``down`` more diagonals.
    band = np.zeros((n, 2 * down + up + 1), a.dtype)
    for i in range(n):
        for j in range(max(0, i - down), min(n, i + up + 1)):
            band[i, j - i + down] = a[upper + j - i, i] if transposed else a[upper + i - j, j]
    out = b.copy()
    for k in range(n):
        last, end = min(n, k + down + 1), min(n, k + down + up + 1)
        p = k
        for i in range(k + 1, last):
            if abs(band[i, k - i + down]) > abs(band[p, k - p + down]):
                p = i
        if band[p, k - p + down] == 0.0:
            raise np.linalg.LinAlgError("singular matrix")
        if p != k:
            for j in range(k, end):
                above, below = band[k, j - k + down], band[p, j - p + down]
                band[k, j - k + down], band[p, j - p + down] = below, above
            row = out[k] + 0.0
            out[k] = out[p]
            out[p] = row
        for i in range(k + 1, last):
            factor = band[i, k - i + down] / band[k, down]
            for j in range(k + 1, end):
                band[i, j - i + down] -= factor * band[k, j - k + down]
            out[i] -= factor * out[k]
    for m in range(n):
        k = n - 1 - m
        for j in range(k + 1, min(n, k + down + up + 1)):
            out[k] -= band[k, j - k + down] * out[j]
        out[k] /= band[k, down]
    return out


@helper
def inv(a: np.ndarray) -> np.ndarray:
    """``np.linalg.inv``, its rows side by side."""
    return np.ascontiguousarray(np.linalg.inv(a))


@helper
def pinv(a: np.ndarray, rcond: float) -> np.ndarray:
    """``np.linalg.pinv``, its rows side by side."""
    return np.ascontiguousarray(np.linalg.pinv(a, rcond))


@helper
def orthonormal(a: np.ndarray) -> np.ndarray:
    """q of the reduced QR decomposition."""
    q, _ = np.linalg.qr(a)
    return np.ascontiguousarray(q)


@helper
def lu(a: np.ndarray) -> np.ndarray:
    """Triangular factors of ``a`` with its rows exchanged, as columns; below them the exchanges."""
    n = a.shape[0]
    rows = a.copy()
    out = np.empty((n + 1, n), a.dtype)
    for first in range(0, n, 64):
        last = min(first + 64, n)
        for k in range(first, last):
            other = k + np.argmax(np.abs(rows[k:, k]))
            out[n, k] = other
            if other != k:
                row = rows[k].copy()
                rows[k] = rows[other]
                rows[other] = row
            if rows[k, k] != 0.0:
                for i in range(k + 1, n):
                    rows[i, k] /= rows[k, k]
                    rows[i, k + 1 : last] -= rows[i, k] * rows[k, k + 1 : last]
        if last < n:
            beside = np.ascontiguousarray(rows[first:last, last:])
            for k in range(1, last - first):
                beside[k] -= np.dot(rows[first + k, first : first + k], beside[:k])
            below = np.dot(np.ascontiguousarray(rows[last:, first:last]), beside)
            for i in range(last, n):
                rows[i, last:] -= below[i - last]
            for k in range(first, last):
                rows[k, last:] = beside[k - first]
    for i in range(n):
        out[i] = rows[:, i]
    return out


@helper
def lu_solve(factors: np.ndarray, b: np.ndarray, transposed: bool = False) -> np.ndarray:
    """``solve`` with the factors that `lu` gives."""
    n = factors.shape[1]
    turned = np.ascontiguousarray(factors[:n])
    order = np.arange(n)
    for i in range(n):
        if turned[i, i] == 0.0:
            raise np.linalg.LinAlgError("Singular matrix")
        other = int(factors[n, i])
        here = order[i]
        order[i] = order[other]
        order[other] = here
    out = np.empty_like(b)
    if transposed:
        rows = _substituted(turned, _substituted(turned, b, True), False, True)
        for i in range(n):
            out[order[i]] = rows[i]
        return out
    for i in range(n):
        out[i] = b[order[i]]
    matrix = np.ascontiguousarray(turned.T)
    return _substituted(matrix, _substituted(matrix, out, True, True), False)


@helper
def lu_inv(factors: np.ndarray) -> np.ndarray:
    """``inv`` with the factors that `lu` gives."""
    n = factors.shape[1]
    unit = np.zeros((n, n), factors.dtype)
    for i in range(n):
        unit[i, i] = 1.0
    return lu_solve(factors, unit)


@helper
def lu_det(factors: np.ndarray) -> Any:
    """``np.linalg.det`` with the factors that `lu` gives."""
    total = np.ones(1, factors.dtype)
    n = factors.shape[1]
    for i in range(n):
        if factors[i, i] == 0.0:
            total[0] = 0.0
            return total[0]
        total[0] *= factors[i, i]
        if factors[n, i] != i:
            total[0] = -total[0]
    return total[0]


@helper
def lu_slogdet(factors: np.ndarray) -> np.ndarray:
    """`slogdet` with the factors that `lu` gives."""
    n = factors.shape[1]
    out = np.empty(2, factors.dtype)
    out[0] = 1.0
    out[1] = 0.0
    for i in range(n):
        pivot = factors[i, i]
        if pivot == 0.0:
            out[0] = 0.0
            out[1] = -np.inf
            return out
        if (pivot < 0.0) != (factors[n, i] != i):
            out[0] = -out[0]
        out[1] += np.log(np.abs(pivot))
    return out
