"""Linear algebra of one matrix: solutions, inverses and determinants.

LAPACK computes them. Batches are loops over these (`tracegrad.tracing`). For factors and
eigenvalues see `tracegrad.ops.decompositions`.
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


def square(name: str, a: ArrayType) -> ArrayType:
    if a.rank != 2 or a.shape[0] != a.shape[1] or not a.dtype.is_float:
        raise TypeError(f"{name}: a square matrix of floats is needed, not {a}")
    return a


def _right_side(name: str, a: ArrayType, b: ArrayType) -> ArrayType:
    square(name, a)
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


def product(a: Value, b: Value) -> Value:
    result: Value = dot(a, b)
    return result


def _across(b_bar: Value, out: Value) -> Value:
    """b_bar · outᵀ: the outer product, summed over the columns."""
    return outer(b_bar, out) if out.rank == 1 else product(b_bar, transpose(out))


def square_matrices(rng: np.random.Generator, n: int) -> np.ndarray:
    return np.asarray(rng.normal(size=(n, n)) + 3.0 * np.eye(n))


def _turned(x: Value, transposed: bool) -> Value:
    return transpose(x) if transposed else x


def _true(**flags: bool) -> dict[str, bool]:
    """The flags that are set; the others are left to their default."""
    return {name: flag for name, flag in flags.items() if flag}


def flagged_call(name: str, *flags: str, **always: Any) -> Any:
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
        moved = -product(_turned(a_dot, transposed), out)
        right = moved if right is None else right + moved
    return None if right is None else solve(a, right, **_true(transposed=transposed))


def right_samples(rng: np.random.Generator) -> list[Sample]:
    return [
        Sample((square_matrices(rng, n), np.asarray(rng.normal(size=(n, *columns)))))
        for n, columns in ((3, ()), (1, ()), (3, (2,)), (1, (3,)))
    ]


def _solve_samples(rng: np.random.Generator) -> list[Sample]:
    turned = [Sample(each.operands, {"transposed": True}) for each in right_samples(rng)]
    return [*right_samples(rng), *turned]


solve = general(
    "solve",
    doc="""The solution of a · out = b, or aᵀ · out = b if ``transposed``, for a square matrix and
    one or more columns b.""",
    infer=lambda a, b, *, transposed=False: _right_side("solve", a, b),
    reference=lambda a, b, *, transposed=False: np.linalg.solve(a.T if transposed else a, b),
    array=flagged_call("runtime.solve", "transposed"),
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
    square("solve_triangular", a)
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
        return triangle(-product(transpose(pair[0]), pair[1]), lower=lower), b_bar
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
        moved = -(product(out, factor) if right else product(factor, out))
        rest = moved if rest is None else rest + moved
    if rest is None:
        return None
    flags = _true(transposed=transposed, right=right)
    found: Value = solve_triangular(a, rest, lower=lower, **flags)
    return found


def _triangular_samples(rng: np.random.Generator) -> list[Sample]:
    left = [
        Sample(sample.operands, {"lower": lower, **turned})
        for sample in right_samples(rng)
        for lower in (True, False)
        for turned in ({}, {"transposed": True})
    ]
    right = [
        Sample(
            (square_matrices(rng, n), np.asarray(rng.normal(size=(m, n)))),
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
    array=flagged_call("runtime.solve_triangular", "transposed", "right", lower=True),
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
    return (-product(product(turned, out_bar), turned),)


def inv_jvp(tangents: Sequence[Value | None], out: Value, a: Value) -> Value | None:
    (a_dot,) = tangents
    return None if a_dot is None else -product(product(out, a_dot), out)


def _square_samples(rng: np.random.Generator) -> list[Sample]:
    return [Sample((square_matrices(rng, n),)) for n in (1, 2, 4)]


inv = general(
    "inv",
    doc="The inverse of a square matrix.",
    infer=lambda a: square("inv", a),
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
    first = -product(product(pt, out_bar), pt)
    second = product(product(left(bar), p), pt)
    third = product(product(pt, p), right(bar))
    return first + second + third, None


def pinv_jvp(tangents: Sequence[Value | None], out: Value, a: Value, rcond: Value) -> Value | None:
    """-P A' P + P Pᵀ A'ᵀ (1 - A P) + (1 - P A) A'ᵀ Pᵀ P, for a matrix that keeps its rank."""
    a_dot, _ = tangents
    if a_dot is None:
        return None
    p, pt, turned = out, transpose(out), transpose(a_dot)
    first = -product(product(p, a_dot), p)
    second = product(product(p, pt), turned)
    second = second - product(product(second, a), p)
    third = product(product(turned, pt), p)
    third = third - product(p, product(a, third))
    return first + second + third


def _outside_columns(a: Value, p: Value) -> Any:
    """x → (1 - A P) x."""
    return lambda x: x - product(a, product(p, x))


def _outside_rows(a: Value, p: Value) -> Any:
    """x → x (1 - P A)."""
    return lambda x: x - product(product(x, p), a)


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
    infer=lambda a: ArrayType(square("det", a).dtype),
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
    return joined(zeros((1,), a.dtype), expand_dims(slope, 0))


def joined(*parts: Value) -> Value:
    """Arrays below each other."""
    result: Value = concatenate(*parts, axis=0)
    return result


def _element(x: Value, k: int) -> Value:
    return squeeze(slice_(x, 0, k, k + 1), 0)


slogdet = general(
    "slogdet",
    doc="The sign of the determinant and the logarithm of its magnitude, in this order.",
    infer=lambda a: ArrayType(square("slogdet", a).dtype, (2,)),
    reference=lambda a: np.asarray(np.linalg.slogdet(a), np.asarray(a).dtype),
    array="runtime.slogdet({0})",
    vjp=slogdet_vjp,
    jvp=slogdet_jvp,
    samples=_square_samples,
    cost=64.0,
    source=GILES,
)
