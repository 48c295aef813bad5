"""Factors of one matrix: Cholesky, eigenvalues, QR and singular values.

LAPACK computes them. Several factors come as one array, below each other, so that one call
computes them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tracegrad.ir.core import Value
from tracegrad.ir.types import ArrayType, Dim
from tracegrad.ops.access import expand_dims, slice_, squeeze, transpose, view_of
from tracegrad.ops.linalg import (
    GILES,
    identity,
    joined,
    mirrored,
    product,
    solve_triangular,
    square,
    symmetric_part,
    triangle,
)
from tracegrad.ops.registry import REGISTRY, Sample, constant, general

# --- cholesky ---------------------------------------------------------------------------------


def cholesky_vjp(out_bar: Value, out: Value, a: Value) -> tuple[Value]:
    return (_of_triangle(cholesky_cotangent(out, out_bar)),)


def _of_triangle(bar: Value) -> Value:
    """The cotangent of a matrix of which the lower triangle is read, from that of the symmetric
    matrix whose triangle it is: an element beside the diagonal stands in two places there."""
    return triangle(bar + bar, diagonal=0.5)


def cholesky_jvp(tangents: Sequence[Value | None], out: Value, a: Value) -> Value | None:
    """L Φ(L⁻¹ a_dot L⁻ᵀ), where Φ takes the lower triangle with half the diagonal."""
    (a_dot,) = tangents
    if a_dot is None:
        return None
    return product(out, _half_of_congruence(out, mirrored(a_dot)))


def _half_of_congruence(factor: Value, a: Value) -> Value:
    """Φ(L⁻¹ a L⁻ᵀ) of a symmetric a; Φ: the lower triangle with half the diagonal."""
    left = solve_triangular(factor, a, lower=True)
    inner = solve_triangular(factor, left, lower=True, transposed=True, right=True)
    return triangle(inner, diagonal=0.5)


def _symmetric(a: np.ndarray) -> np.ndarray:
    return np.asarray((a + a.T) * np.asarray(0.5, a.dtype))


def _positive(rng: np.random.Generator, n: int) -> np.ndarray:
    x = rng.normal(size=(n, n))
    return np.asarray(x @ x.T + n * np.eye(n))


def _positive_samples(rng: np.random.Generator) -> list[Sample]:
    # What stands above the diagonal is not read.
    uneven = np.asarray(_positive(rng, 3) + np.triu(rng.normal(size=(3, 3)), 1))
    return [*(Sample((_positive(rng, n),)) for n in (1, 2, 4)), Sample((uneven,))]


cholesky = general(
    "cholesky",
    doc="""The lower triangular L with L · Lᵀ = the symmetric matrix whose lower triangle is that
    of a. The upper one is not read: its cotangent is zero.""",
    infer=lambda a: square("cholesky", a),
    reference=np.linalg.cholesky,
    array="runtime.cholesky({0})",
    vjp=cholesky_vjp,
    jvp=cholesky_jvp,
    samples=_positive_samples,
    cost=64.0,
    source="Murray (2016), Differentiation of the Cholesky decomposition, eq. 8 and 10",
)


# --- cholesky_cotangent -----------------------------------------------------------------------


def _of_one_size(name: str, factor: ArrayType, factor_bar: ArrayType) -> ArrayType:
    if factor_bar != square(name, factor):
        raise TypeError(f"{name}: two matrices of one type are needed, not {factor}, {factor_bar}")
    return factor


def _congruence(factor: Value, inner: Value) -> Value:
    """L⁻ᵀ (the mirrored lower triangle of ``inner``, halved) L⁻¹."""
    half = mirrored(inner) * constant(0.5, inner.dtype)
    left = solve_triangular(factor, half, lower=True, transposed=True)
    found: Value = solve_triangular(factor, left, lower=True, right=True)
    return found


def _cotangent_reference(factor: np.ndarray, factor_bar: np.ndarray) -> np.ndarray:
    lower = np.tril(factor)
    inner = np.tril(lower.T @ np.tril(factor_bar))
    half = (inner + np.tril(inner, -1).T) * np.asarray(0.5, factor.dtype)
    left = np.linalg.solve(lower.T, half)
    return _symmetric(np.linalg.solve(lower.T, left.T).T)


def cholesky_cotangent_vjp(
    out_bar: Value, out: Value, factor: Value, factor_bar: Value
) -> tuple[Value, Value]:
    """The transpose of `cholesky_cotangent_jvp`. In factor_bar the operation is linear, and the
    transpose of that is `cholesky_jvp`."""
    bar = symmetric_part(out_bar)
    half = _half_of_congruence(factor, bar)
    turned = product(out, bar)
    moved = solve_triangular(factor, turned, lower=True, transposed=True, right=True)
    inner = product(triangle(factor_bar), transpose(half))
    return triangle(inner - (moved + moved)), triangle(product(triangle(factor), half))


def cholesky_cotangent_jvp(
    tangents: Sequence[Value | None], out: Value, factor: Value, factor_bar: Value
) -> Value | None:
    factor_dot, bar_dot = tangents
    parts: list[Value] = []
    if bar_dot is not None:
        parts.append(cholesky_cotangent(factor, bar_dot))
    if factor_dot is not None:
        lower_dot = triangle(factor_dot)
        inner = product(transpose(lower_dot), triangle(factor_bar))
        moved = solve_triangular(factor, product(out, lower_dot), lower=True, right=True)
        parts.append(_congruence(factor, inner) - (moved + transpose(moved)))
    if not parts:
        return None
    return parts[0] if len(parts) == 1 else parts[0] + parts[1]


def _cotangent_samples(rng: np.random.Generator) -> list[Sample]:
    # What stands above the diagonals is not read.
    return [
        Sample((np.asarray(rng.normal(size=(n, n)) + 3.0 * np.eye(n)), rng.normal(size=(n, n))))
        for n in (1, 2, 4)
    ]


cholesky_cotangent = general(
    "cholesky_cotangent",
    doc="""The cotangent of a symmetric matrix, for a cotangent of its Cholesky factor L:
    L⁻ᵀ P L⁻¹, where P is the lower triangle of Lᵀ L_bar, mirrored and halved. Only lower triangles
    are read, the result is symmetric.""",
    infer=lambda factor, factor_bar: _of_one_size("cholesky_cotangent", factor, factor_bar),
    reference=_cotangent_reference,
    array="runtime.cholesky_cotangent({0}, {1})",
    vjp=cholesky_cotangent_vjp,
    jvp=cholesky_cotangent_jvp,
    samples=_cotangent_samples,
    cost=128.0,
    source="Murray (2016), Differentiation of the Cholesky decomposition, eq. 10",
)


# --- eigh -------------------------------------------------------------------------------------


def _eigh_reference(a: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(a)
    return np.concatenate([values[None, :], vectors])


def eigen_parts(out: Value) -> tuple[Value, Value]:
    """Eigenvalues, and eigenvectors as columns."""
    n = out.shape[1]
    return squeeze(slice_(out, 0, 0, 1), 0), slice_(out, 0, 1, n + 1)


def _inverse_differences(values: Value) -> Value:
    """1 / (values[j] - values[i]); 0 where they are equal: such eigenvectors are not unique."""
    (n,) = values.shape
    row = view_of(values, (n, n), [(0, 0, 1)])
    column = view_of(values, (n, n), [(1, 0, 1)])
    gap = column - row
    same = REGISTRY["equal"](gap, constant(0.0, gap.dtype))
    one, zero = constant(1.0, gap.dtype), constant(0.0, gap.dtype)
    result: Value = REGISTRY["select"](same, zero, one / REGISTRY["select"](same, one, gap))
    return result


def _on_diagonal(values: Value) -> Value:
    (n,) = values.shape
    spread = view_of(values, (n, n), [(0, 0, 1)])
    result: Value = triangle(triangle(spread), lower=False)
    return result


def eigh_vjp(out_bar: Value, out: Value, a: Value) -> tuple[Value]:
    """v (diag(w_bar) + F ∘ vᵀ v_bar) vᵀ, of which the symmetric part is taken."""
    values, v = eigen_parts(out)
    values_bar, v_bar = eigen_parts(out_bar)
    inner = _on_diagonal(values_bar) + _inverse_differences(values) * product(transpose(v), v_bar)
    return (_of_triangle(product(product(v, symmetric_part(inner)), transpose(v))),)


def eigh_jvp(tangents: Sequence[Value | None], out: Value, a: Value) -> Value | None:
    (a_dot,) = tangents
    if a_dot is None:
        return None
    values, v = eigen_parts(out)
    turned = product(product(transpose(v), mirrored(a_dot)), v)
    (n,) = values.shape
    values_dot = REGISTRY["sum"](turned * identity(n, v.dtype), axes=(0,))
    v_dot = product(v, _inverse_differences(values) * turned)
    return joined(expand_dims(values_dot, 0), v_dot)


eigh = general(
    "eigh",
    doc="""Eigenvalues in ascending order in the first row, below them the eigenvectors as columns;
    of the symmetric matrix whose lower triangle is that of a, as for `cholesky`.""",
    infer=lambda a: ArrayType(square("eigh", a).dtype, (a.shape[0] + 1, a.shape[0])),
    reference=_eigh_reference,
    array="runtime.eigh({0})",
    vjp=eigh_vjp,
    jvp=eigh_jvp,
    samples=_positive_samples,
    cost=128.0,
    source=GILES,
)


# --- qr ---------------------------------------------------------------------------------------


def _tall(name: str, a: ArrayType) -> ArrayType:
    if a.rank != 2 or not a.dtype.is_float:
        raise TypeError(f"{name}: a matrix of floats is needed, not {a}")
    if isinstance(a.shape[0], int) and isinstance(a.shape[1], int) and a.shape[0] < a.shape[1]:
        raise TypeError(f"{name}: at least as many rows as columns are needed, not {a}")
    return a


def orthonormal_vjp(out_bar: Value, out: Value, a: Value) -> tuple[Value]:
    """With r = qᵀ a: (q_bar - q (qᵀ q_bar - (lower triangle of M - Mᵀ))) r⁻ᵀ, M = qᵀ q_bar."""
    r = triangle(product(transpose(out), a), lower=False)
    inner = product(transpose(out), out_bar)
    lower = triangle(inner - transpose(inner), diagonal=0.0)
    outside = out_bar - product(out, inner) + product(out, lower)
    return (solve_triangular(r, outside, lower=False, transposed=True, right=True),)


def orthonormal_jvp(tangents: Sequence[Value | None], out: Value, a: Value) -> Value | None:
    (a_dot,) = tangents
    if a_dot is None:
        return None
    r = triangle(product(transpose(out), a), lower=False)
    scaled: Value = solve_triangular(r, a_dot, lower=False, right=True)
    inner = product(transpose(out), scaled)
    lower = triangle(inner, diagonal=0.0)
    return scaled - product(out, inner) + product(out, lower - transpose(lower))


def _tall_samples(rng: np.random.Generator) -> list[Sample]:
    return [Sample((np.asarray(rng.normal(size=s)),)) for s in ((3, 3), (4, 2), (1, 1))]


orthonormal = general(
    "orthonormal",
    doc="q of the reduced QR decomposition of a matrix with at least as many rows as columns.",
    infer=lambda a: _tall("orthonormal", a),
    reference=lambda a: np.linalg.qr(a)[0],
    array="runtime.orthonormal({0})",
    vjp=orthonormal_vjp,
    jvp=orthonormal_jvp,
    samples=_tall_samples,
    cost=128.0,
    source="Walter and Lehmann (2018), Algorithmic differentiation of linear algebra functions",
)


# --- svd --------------------------------------------------------------------------------------


def _svd_reference(a: np.ndarray) -> np.ndarray:
    u, s, vt = np.linalg.svd(a, full_matrices=False)
    return np.concatenate([u, s[None, :], vt.T])


def singular_parts(out: Value, rows: Dim) -> tuple[Value, Value, Value]:
    """u, the singular values, and v (not transposed), from the columns of one matrix."""
    k = out.shape[1]
    u, s = slice_(out, 0, 0, rows), squeeze(slice_(out, 0, rows, rows + 1), 0)
    return u, s, slice_(out, 0, rows + 1, rows + 1 + k)


def _svd_factors(s: Value) -> tuple[Value, Value]:
    """F = 1 / (s[j]² - s[i]²), 0 where they are equal, and 1 / s, 0 where s is."""
    squares = s * s
    none = REGISTRY["equal"](s, constant(0.0, s.dtype))
    one, zero = constant(1.0, s.dtype), constant(0.0, s.dtype)
    inverse = REGISTRY["select"](none, zero, one / REGISTRY["select"](none, one, s))
    return _inverse_differences(squares), inverse


def _columns(s: Value, rows: Dim) -> Value:
    """A vector as every row of a matrix."""
    return view_of(s, (rows, s.shape[0]), [(1, 0, 1)])


def svd_vjp(out_bar: Value, out: Value, a: Value) -> tuple[Value]:
    """Townsend (2016), eq. for a thin decomposition; parts outside the span of u and v included."""
    n, k = a.shape
    u, s, v = singular_parts(out, n)
    u_bar, s_bar, v_bar = singular_parts(out_bar, n)
    gaps, inverse = _svd_factors(s)
    ut, vt = transpose(u), transpose(v)
    u_inner, v_inner = product(ut, u_bar), product(vt, v_bar)
    skew_u = gaps * (u_inner - transpose(u_inner)) * _columns(s, k)
    skew_v = gaps * (v_inner - transpose(v_inner)) * view_of(s, (k, k), [(0, 0, 1)])
    core = skew_u + skew_v + _on_diagonal(s_bar)
    outside = (u_bar - product(u, u_inner)) * _columns(inverse, n)
    return (product(product(u, core) + outside, vt),)


def svd_jvp(tangents: Sequence[Value | None], out: Value, a: Value) -> Value | None:
    (a_dot,) = tangents
    if a_dot is None:
        return None
    n, k = a.shape
    u, s, v = singular_parts(out, n)
    gaps, inverse = _svd_factors(s)
    turned = product(product(transpose(u), a_dot), v)
    wide = turned * _columns(s, k)
    tall = turned * view_of(s, (k, k), [(0, 0, 1)])
    s_dot = REGISTRY["sum"](turned * identity(k, s.dtype), axes=(0,))
    u_dot = product(u, gaps * (wide + transpose(wide)))
    v_dot = product(v, gaps * (tall + transpose(tall)))
    along = product(a_dot, v)
    u_dot = u_dot + (along - product(u, turned)) * _columns(inverse, n)
    return joined(u_dot, expand_dims(s_dot, 0), v_dot)


svd = general(
    "svd",
    doc="""u, the singular values and v of the reduced singular value decomposition of a matrix with
    at least as many rows as columns, below each other: (rows + 1 + columns, columns).""",
    infer=lambda a: ArrayType(_tall("svd", a).dtype, (a.shape[0] + 1 + a.shape[1], a.shape[1])),
    reference=_svd_reference,
    array="runtime.svd({0})",
    vjp=svd_vjp,
    jvp=svd_jvp,
    samples=_tall_samples,
    cost=256.0,
    source="Townsend (2016), Differentiating the singular value decomposition",
)
