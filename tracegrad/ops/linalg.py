"""Linear algebra of one matrix: solutions, factors, determinants, eigenvalues.

LAPACK computes them, through NumPy. Batches are loops over these (`tracegrad.tracing`). Several
factors come as one array, side by side, so that one call computes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tracegrad.ir.core import Value
from tracegrad.ir.types import ArrayType, Dim, i64
from tracegrad.ops.access import (
    concatenate,
    expand_dims,
    slice_,
    squeeze,
    transpose,
    view_of,
    zeros,
)
from tracegrad.ops.products import dot, outer
from tracegrad.ops.registry import REGISTRY, Sample, constant, general

GILES = "Giles (2008), Collected matrix derivative results for forward and reverse mode"


def _square(name: str, a: ArrayType) -> ArrayType:
    if a.rank != 2 or a.shape[0] != a.shape[1] or not a.dtype.is_float:
        raise TypeError(f"{name}: a square matrix of floats is needed, not {a}")
    return a


def _right_side(name: str, a: ArrayType, b: ArrayType) -> ArrayType:
    _square(name, a)
    if b.rank not in (1, 2) or b.shape[0] != a.shape[0] or b.dtype is not a.dtype:
        raise TypeError(f"{name}: a right side of {a} is needed, not {b}")
    return b


def triangle(x: Value, *, lower: bool = True, diagonal: float = 1.0) -> Value:
    """The lower (or upper) triangle of a matrix, its diagonal times a number."""
    n, m = x.shape
    row = view_of(REGISTRY["iota"](size=n, dtype=i64), x.shape, [(0, 0, 1)])
    column = view_of(REGISTRY["iota"](size=m, dtype=i64), x.shape, [(1, 0, 1)])
    pair = (row, column) if lower else (column, row)
    zero = constant(0.0, x.dtype)
    rest: Value = zero
    inside = REGISTRY["greater_equal" if diagonal == 1.0 else "greater"](*pair)
    if diagonal not in (0.0, 1.0):
        on = x * constant(diagonal, x.dtype)
        rest = REGISTRY["select"](REGISTRY["equal"](row, column), on, zero)
    result: Value = REGISTRY["select"](inside, x, rest)
    return result


def mirrored(x: Value) -> Value:
    """The symmetric matrix whose lower triangle is that of ``x``."""
    half = triangle(x, diagonal=0.5)
    return half + transpose(half)


def symmetric_part(x: Value) -> Value:
    """(x + xᵀ) / 2."""
    return (x + transpose(x)) * constant(0.5, x.dtype)


def identity(n: Dim, dtype: Any) -> Value:
    """The unit matrix."""
    row = view_of(REGISTRY["iota"](size=n, dtype=i64), (n, n), [(0, 0, 1)])
    column = view_of(REGISTRY["iota"](size=n, dtype=i64), (n, n), [(1, 0, 1)])
    same = REGISTRY["equal"](row, column)
    result: Value = REGISTRY["select"](same, constant(1.0, dtype), constant(0.0, dtype))
    return result


def _product(a: Value, b: Value) -> Value:
    result: Value = dot(a, b)
    return result


def _across(b_bar: Value, out: Value) -> Value:
    """b_bar · outᵀ: the outer product, summed over the columns."""
    return outer(b_bar, out) if out.rank == 1 else _product(b_bar, transpose(out))


def _matrices(rng: np.random.Generator, n: int) -> np.ndarray:
    return np.asarray(rng.normal(size=(n, n)) + 3.0 * np.eye(n))


def _turned(x: Value, transposed: bool) -> Value:
    return transpose(x) if transposed else x


def _true(**flags: bool) -> dict[str, bool]:
    """The flags that are set; the others are left to their default."""
    return {name: flag for name, flag in flags.items() if flag}


def _call(name: str, *flags: str, **always: Any) -> Any:
    """The text of a call: its flags are printed where they are True, others always."""

    def text(operands: list[str], result: ArrayType, attributes: Any, dims: Any) -> str:
        shown = [f"{flag}={attributes[flag]}" for flag in always]
        shown += [f"{flag}=True" for flag in flags if attributes.get(flag, False)]
        return f"{name}({', '.join([*operands, *shown])})"

    return text


# --- solve ------------------------------------------------------------------------------------


def solve_vjp(
    out_bar: Value, out: Value, a: Value, b: Value, *, transposed: bool = False
) -> tuple[Value, Value]:
    """b_bar = a⁻ᵀ out_bar and a_bar = -b_bar · outᵀ."""
    b_bar = solve(a, out_bar, **_true(transposed=not transposed))
    pair = (out, b_bar) if transposed else (b_bar, out)
    return -_across(*pair), b_bar


def solve_jvp(
    tangents: Sequence[Value | None], out: Value, a: Value, b: Value, *, transposed: bool = False
) -> Value | None:
    a_dot, b_dot = tangents
    right = b_dot
    if a_dot is not None:
        moved = -_product(_turned(a_dot, transposed), out)
        right = moved if right is None else right + moved
    return None if right is None else solve(a, right, **_true(transposed=transposed))


def _right_samples(rng: np.random.Generator) -> list[Sample]:
    return [
        Sample((_matrices(rng, n), np.asarray(rng.normal(size=(n, *columns)))))
        for n, columns in ((3, ()), (1, ()), (3, (2,)), (1, (3,)))
    ]


def _solve_samples(rng: np.random.Generator) -> list[Sample]:
    turned = [Sample(each.operands, {"transposed": True}) for each in _right_samples(rng)]
    return [*_right_samples(rng), *turned]


solve = general(
    "solve",
    doc="""The solution of a · out = b, or aᵀ · out = b if ``transposed``, for a square matrix and
    one or more columns b.""",
    infer=lambda a, b, *, transposed=False: _right_side("solve", a, b),
    reference=lambda a, b, *, transposed=False: np.linalg.solve(a.T if transposed else a, b),
    array=_call("runtime.solve", "transposed"),
    vjp=solve_vjp,
    jvp=solve_jvp,
    samples=_solve_samples,
    cost=64.0,
    source=GILES,
)


# --- solve_triangular -------------------------------------------------------------------------


def _triangular_type(
    a: ArrayType, b: ArrayType, *, lower: bool, transposed: bool = False, right: bool = False
) -> ArrayType:
    if not right:
        return _right_side("solve_triangular", a, b)
    _square("solve_triangular", a)
    if b.rank != 2 or b.shape[1] != a.shape[0] or b.dtype is not a.dtype:
        raise TypeError(f"solve_triangular: rows as long as those of {a} are needed, not {b}")
    return b


def _triangular_reference(
    a: np.ndarray, b: np.ndarray, *, lower: bool, transposed: bool = False, right: bool = False
) -> np.ndarray:
    matrix = np.tril(a) if lower else np.triu(a)
    if transposed:
        matrix = matrix.T
    solution: np.ndarray = np.linalg.solve(matrix.T, b.T).T if right else np.linalg.solve(matrix, b)
    return solution


def solve_triangular_vjp(
    out_bar: Value,
    out: Value,
    a: Value,
    b: Value,
    *,
    lower: bool,
    transposed: bool = False,
    right: bool = False,
) -> tuple[Value, Value]:
    """As for `solve`; what the other triangle holds has no part in it."""
    flags = _true(transposed=not transposed, right=right)
    b_bar = solve_triangular(a, out_bar, lower=lower, **flags)
    if right:
        pair = (b_bar, out) if transposed else (out, b_bar)
        return triangle(-_product(transpose(pair[0]), pair[1]), lower=lower), b_bar
    pair = (out, b_bar) if transposed else (b_bar, out)
    return triangle(-_across(*pair), lower=lower), b_bar


def solve_triangular_jvp(
    tangents: Sequence[Value | None],
    out: Value,
    a: Value,
    b: Value,
    *,
    lower: bool,
    transposed: bool = False,
    right: bool = False,
) -> Value | None:
    a_dot, b_dot = tangents
    rest = b_dot
    if a_dot is not None:
        factor = _turned(triangle(a_dot, lower=lower), transposed)
        moved = -(_product(out, factor) if right else _product(factor, out))
        rest = moved if rest is None else rest + moved
    if rest is None:
        return None
    flags = _true(transposed=transposed, right=right)
    found: Value = solve_triangular(a, rest, lower=lower, **flags)
    return found


def _triangular_samples(rng: np.random.Generator) -> list[Sample]:
    left = [
        Sample(sample.operands, {"lower": lower, **turned})
        for sample in _right_samples(rng)
        for lower in (True, False)
        for turned in ({}, {"transposed": True})
    ]
    right = [
        Sample(
            (_matrices(rng, n), np.asarray(rng.normal(size=(m, n)))),
            {"lower": lower, "transposed": turned, "right": True},
        )
        for n, m in ((3, 2), (2, 1))
        for lower in (True, False)
        for turned in (True, False)
    ]
    return [*left, *right]


solve_triangular = general(
    "solve_triangular",
    doc="""As `solve`, for a triangular matrix; its other triangle is not read. With ``right`` the
    matrix stands on the other side: out · a = b.""",
    infer=_triangular_type,
    reference=_triangular_reference,
    array=_call("runtime.solve_triangular", "transposed", "right", lower=True),
    vjp=solve_triangular_vjp,
    jvp=solve_triangular_jvp,
    samples=_triangular_samples,
    cost=32.0,
    source=GILES,
)


# --- inv --------------------------------------------------------------------------------------


def inv_vjp(out_bar: Value, out: Value, a: Value) -> tuple[Value]:
    """a_bar = -outᵀ · out_bar · outᵀ."""
    turned = transpose(out)
    return (-_product(_product(turned, out_bar), turned),)


def inv_jvp(tangents: Sequence[Value | None], out: Value, a: Value) -> Value | None:
    (a_dot,) = tangents
    return None if a_dot is None else -_product(_product(out, a_dot), out)


def _square_samples(rng: np.random.Generator) -> list[Sample]:
    return [Sample((_matrices(rng, n),)) for n in (1, 2, 4)]


inv = general(
    "inv",
    doc="The inverse of a square matrix.",
    infer=lambda a: _square("inv", a),
    reference=lambda a: np.linalg.inv(a),
    array="runtime.inv({0})",
    vjp=inv_vjp,
    jvp=inv_jvp,
    samples=_square_samples,
    cost=64.0,
    source=GILES,
)


# --- pinv -------------------------------------------------------------------------------------


def _pinv_type(a: ArrayType, rcond: ArrayType) -> ArrayType:
    if a.rank != 2 or not a.dtype.is_float:
        raise TypeError(f"pinv: a matrix of floats is needed, not {a}")
    if rcond.rank or rcond.dtype is not a.dtype:
        raise TypeError(f"pinv: rcond must be a number of the matrix's dtype, not {rcond}")
    return a.with_shape(a.shape[::-1])


def pinv_vjp(out_bar: Value, out: Value, a: Value, rcond: Value) -> tuple[Value, None]:
    """The transpose of `pinv_jvp`."""
    p, pt = out, transpose(out)
    bar = transpose(out_bar)
    left, right = _outside_columns(a, p), _outside_rows(a, p)
    first = -_product(_product(pt, out_bar), pt)
    second = _product(_product(left(bar), p), pt)
    third = _product(_product(pt, p), right(bar))
    return first + second + third, None


def pinv_jvp(tangents: Sequence[Value | None], out: Value, a: Value, rcond: Value) -> Value | None:
    """-P A' P + P Pᵀ A'ᵀ (1 - A P) + (1 - P A) A'ᵀ Pᵀ P, for a matrix that keeps its rank."""
    a_dot, _ = tangents
    if a_dot is None:
        return None
    p, pt, turned = out, transpose(out), transpose(a_dot)
    first = -_product(_product(p, a_dot), p)
    second = _product(_product(p, pt), turned)
    second = second - _product(_product(second, a), p)
    third = _product(_product(turned, pt), p)
    third = third - _product(p, _product(a, third))
    return first + second + third


def _outside_columns(a: Value, p: Value) -> Any:
    """x → (1 - A P) x."""
    return lambda x: x - _product(a, _product(p, x))


def _outside_rows(a: Value, p: Value) -> Any:
    """x → x (1 - P A)."""
    return lambda x: x - _product(_product(x, p), a)


def _any_samples(rng: np.random.Generator) -> list[Sample]:
    shapes = ((3, 3), (4, 2), (2, 4), (1, 1))
    return [Sample((np.asarray(rng.normal(size=s)), np.asarray(1e-4))) for s in shapes]


pinv = general(
    "pinv",
    doc="The pseudo-inverse; singular values up to ``rcond`` times the largest count as zero.",
    infer=_pinv_type,
    reference=lambda a, rcond: np.linalg.pinv(a, rcond),
    array="runtime.pinv({0}, {1})",
    vjp=pinv_vjp,
    jvp=pinv_jvp,
    samples=_any_samples,
    cost=256.0,
    source="Golub and Pereyra (1973), SIAM J. Numer. Anal. 10, eq. 4.12",
)


# --- det, slogdet -----------------------------------------------------------------------------


def det_vjp(out_bar: Value, out: Value, a: Value) -> tuple[Value]:
    """a_bar = out_bar · det(a) · a⁻ᵀ; a singular matrix has no inverse and raises."""
    return (out_bar * out * transpose(inv(a)),)


def det_jvp(tangents: Sequence[Value | None], out: Value, a: Value) -> Value | None:
    (a_dot,) = tangents
    if a_dot is None:
        return None
    slope: Value = REGISTRY["sum"](transpose(inv(a)) * a_dot, axes=(0, 1))
    return out * slope


det = general(
    "det",
    doc="The determinant of a square matrix.",
    infer=lambda a: ArrayType(_square("det", a).dtype),
    reference=lambda a: np.asarray(np.linalg.det(a)),
    array="np.linalg.det({0})",
    vjp=det_vjp,
    jvp=det_jvp,
    samples=_square_samples,
    cost=64.0,
    source=GILES,
)


def slogdet_vjp(out_bar: Value, out: Value, a: Value) -> tuple[Value]:
    """a_bar = (cotangent of the logarithm) · a⁻ᵀ; the sign is constant."""
    return (_element(out_bar, 1) * transpose(inv(a)),)


def slogdet_jvp(tangents: Sequence[Value | None], out: Value, a: Value) -> Value | None:
    (a_dot,) = tangents
    if a_dot is None:
        return None
    slope = REGISTRY["sum"](transpose(inv(a)) * a_dot, axes=(0, 1))
    return _joined(zeros((1,), a.dtype), expand_dims(slope, 0))


def _joined(*parts: Value) -> Value:
    """Arrays below each other."""
    result: Value = concatenate(*parts, axis=0)
    return result


def _element(x: Value, k: int) -> Value:
    return squeeze(slice_(x, 0, k, k + 1), 0)


slogdet = general(
    "slogdet",
    doc="The sign of the determinant and the logarithm of its magnitude, in this order.",
    infer=lambda a: ArrayType(_square("slogdet", a).dtype, (2,)),
    reference=lambda a: np.asarray(np.linalg.slogdet(a), np.asarray(a).dtype),
    array="runtime.slogdet({0})",
    vjp=slogdet_vjp,
    jvp=slogdet_jvp,
    samples=_square_samples,
    cost=64.0,
    source=GILES,
)


# --- cholesky ---------------------------------------------------------------------------------


def cholesky_vjp(out_bar: Value, out: Value, a: Value) -> tuple[Value]:
    """L⁻ᵀ P L⁻¹, where P is Lᵀ L_bar's lower triangle, mirrored and halved: symmetric as a is."""
    inner = _product(transpose(out), triangle(out_bar))
    half = mirrored(inner) * constant(0.5, inner.dtype)
    left = solve_triangular(out, half, lower=True, transposed=True)
    return (solve_triangular(out, left, lower=True, right=True),)


def cholesky_jvp(tangents: Sequence[Value | None], out: Value, a: Value) -> Value | None:
    """L Φ(L⁻¹ a_dot L⁻ᵀ), where Φ takes the lower triangle with half the diagonal."""
    (a_dot,) = tangents
    if a_dot is None:
        return None
    left = solve_triangular(out, symmetric_part(a_dot), lower=True)
    inner = solve_triangular(out, left, lower=True, transposed=True, right=True)
    return _product(out, triangle(inner, diagonal=0.5))


def _symmetric(a: np.ndarray) -> np.ndarray:
    return np.asarray((a + a.T) * np.asarray(0.5, a.dtype))


def _positive(rng: np.random.Generator, n: int) -> np.ndarray:
    x = rng.normal(size=(n, n))
    return np.asarray(x @ x.T + n * np.eye(n))


def _positive_samples(rng: np.random.Generator) -> list[Sample]:
    uneven = np.asarray(_positive(rng, 3) + rng.normal(size=(3, 3)) * 0.1)
    return [*(Sample((_positive(rng, n),)) for n in (1, 2, 4)), Sample((uneven,))]


cholesky = general(
    "cholesky",
    doc="The lower triangular L with L · Lᵀ = (a + aᵀ) / 2.",
    infer=lambda a: _square("cholesky", a),
    reference=lambda a: np.linalg.cholesky(_symmetric(a)),
    array="runtime.cholesky({0})",
    vjp=cholesky_vjp,
    jvp=cholesky_jvp,
    samples=_positive_samples,
    cost=64.0,
    source="Murray (2016), Differentiation of the Cholesky decomposition, eq. 8 and 10",
)


# --- eigh -------------------------------------------------------------------------------------


def _eigh_reference(a: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(_symmetric(a))
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
    """The symmetric part of v (diag(w_bar) + F ∘ vᵀ v_bar) vᵀ."""
    values, v = eigen_parts(out)
    values_bar, v_bar = eigen_parts(out_bar)
    inner = _on_diagonal(values_bar) + _inverse_differences(values) * _product(transpose(v), v_bar)
    return (_product(_product(v, symmetric_part(inner)), transpose(v)),)


def eigh_jvp(tangents: Sequence[Value | None], out: Value, a: Value) -> Value | None:
    (a_dot,) = tangents
    if a_dot is None:
        return None
    values, v = eigen_parts(out)
    turned = _product(_product(transpose(v), symmetric_part(a_dot)), v)
    (n,) = values.shape
    values_dot = REGISTRY["sum"](turned * identity(n, v.dtype), axes=(0,))
    v_dot = _product(v, _inverse_differences(values) * turned)
    return _joined(expand_dims(values_dot, 0), v_dot)


eigh = general(
    "eigh",
    doc="""Eigenvalues of (a + aᵀ) / 2 in ascending order in the first row, below them the
    eigenvectors as columns.""",
    infer=lambda a: ArrayType(_square("eigh", a).dtype, (a.shape[0] + 1, a.shape[0])),
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
    r = triangle(_product(transpose(out), a), lower=False)
    inner = _product(transpose(out), out_bar)
    lower = triangle(inner - transpose(inner), diagonal=0.0)
    outside = out_bar - _product(out, inner) + _product(out, lower)
    return (solve_triangular(r, outside, lower=False, transposed=True, right=True),)


def orthonormal_jvp(tangents: Sequence[Value | None], out: Value, a: Value) -> Value | None:
    (a_dot,) = tangents
    if a_dot is None:
        return None
    r = triangle(_product(transpose(out), a), lower=False)
    scaled: Value = solve_triangular(r, a_dot, lower=False, right=True)
    inner = _product(transpose(out), scaled)
    lower = triangle(inner, diagonal=0.0)
    return scaled - _product(out, inner) + _product(out, lower - transpose(lower))


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
    u_inner, v_inner = _product(ut, u_bar), _product(vt, v_bar)
    skew_u = gaps * (u_inner - transpose(u_inner)) * _columns(s, k)
    skew_v = gaps * (v_inner - transpose(v_inner)) * view_of(s, (k, k), [(0, 0, 1)])
    core = skew_u + skew_v + _on_diagonal(s_bar)
    outside = (u_bar - _product(u, u_inner)) * _columns(inverse, n)
    return (_product(_product(u, core) + outside, vt),)


def svd_jvp(tangents: Sequence[Value | None], out: Value, a: Value) -> Value | None:
    (a_dot,) = tangents
    if a_dot is None:
        return None
    n, k = a.shape
    u, s, v = singular_parts(out, n)
    gaps, inverse = _svd_factors(s)
    turned = _product(_product(transpose(u), a_dot), v)
    wide = turned * _columns(s, k)
    tall = turned * view_of(s, (k, k), [(0, 0, 1)])
    s_dot = REGISTRY["sum"](turned * identity(k, s.dtype), axes=(0,))
    u_dot = _product(u, gaps * (wide + transpose(wide)))
    v_dot = _product(v, gaps * (tall + transpose(tall)))
    along = _product(a_dot, v)
    u_dot = u_dot + (along - _product(u, turned)) * _columns(inverse, n)
    return _joined(u_dot, expand_dims(s_dot, 0), v_dot)


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
