"""numpy.linalg and scipy.linalg: one matrix at a time; a batch is a loop over its matrices."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tracegrad.errors import UnsupportedError
from tracegrad.ir.core import Value
from tracegrad.ir.types import ArrayType, product
from tracegrad.ops.access import reshaped, zeros
from tracegrad.ops.control import for_loop
from tracegrad.ops.indexing import index, update
from tracegrad.ops.linalg import identity
from tracegrad.ops.registry import REGISTRY
from tracegrad.tracing.dispatch import implements, implements_by_name, refuse
from tracegrad.tracing.numpy_picking import positions
from tracegrad.tracing.state import current_trace
from tracegrad.tracing.values import cast, common_dtype, operand, to_shape, wrap


@functools.cache
def _result(name: str) -> Callable[..., Any]:
    """The named tuple that a function of NumPy gives."""
    return type(getattr(np.linalg, name)(np.eye(1)))


def floats(*arrays: Any) -> list[Any]:
    """Operands in one floating dtype; integers count as float64, as in NumPy."""
    xs = [operand(x) for x in arrays]
    dtype = common_dtype(xs)
    if dtype.kind != "f":
        dtype = np.dtype(np.float64)
    return [cast(x, dtype) for x in xs]


def _matrix(x: Any, name: str) -> Any:
    if x.ndim < 2:
        raise np.linalg.LinAlgError(
            f"{x.ndim}-dimensional array given. Array must be at least two-dimensional"
        )
    return x


def square(x: Any, name: str) -> Any:
    """``x`` whose last two dimensions are one and the same."""
    _matrix(x, name)
    *lead, n, m = x.value.shape
    if not current_trace().sizes.equal(n, m):
        raise np.linalg.LinAlgError("Last 2 dimensions of the array must be square")
    return wrap(to_shape(operand(x).value, (*lead, n, n)))


def _apply(name: str, arrays: Sequence[Any], ranks: Sequence[int], **attributes: Any) -> Any:
    """An operation on the last ``ranks`` dimensions of each array; one matrix after the other."""
    trace = current_trace()
    opdef = REGISTRY[name]
    values = [x.value for x in arrays]
    leads = [v.shape[: v.rank - rank] for v, rank in zip(values, ranks, strict=True)]
    if not any(leads):
        return wrap(trace.emit(name, *values, **attributes))
    lead = trace.sizes.broadcast(leads)
    cores = [v.shape[v.rank - rank :] for v, rank in zip(values, ranks, strict=True)]
    count = product(lead)
    rows = [
        trace.run(reshaped, to_shape(v, (*lead, *core)), (count, *core))
        for v, core in zip(values, cores, strict=True)
    ]
    types = [ArrayType(v.dtype, core) for v, core in zip(values, cores, strict=True)]
    type = opdef.infer(*types, **attributes)
    assert not isinstance(type, tuple)  # every one of these has one result

    def loop() -> Value:
        def trip(k: Value, out: Value) -> list[Value]:
            one = opdef(*(index(row, k) for row in rows), **attributes)
            return [update(out, one, k)]

        (out,) = for_loop(0, count, [zeros((count, *type.shape), type.dtype)], trip)
        return reshaped(out, (*lead, *type.shape))

    return wrap(trace.run(loop))


def unit(x: Any) -> Any:
    """The unit matrix of the size and dtype of a square matrix."""
    value = operand(x).value
    return wrap(current_trace().run(identity, value.shape[-1], value.dtype))


def _turned(x: Any) -> Any:
    return np.swapaxes(x, -1, -2)


@implements(np.linalg.solve)
def solve(a: Any, b: Any) -> Any:
    x, y = floats(a, b)
    x = square(x, "solve")
    columns = 1 if y.ndim == 1 else 2
    y = _as_long(y, columns, x)
    return _apply("solve", [x, y], [2, columns])


def _as_long(y: Any, columns: int, x: Any) -> Any:
    """A right side whose length is known to be that of the matrix."""
    sizes = current_trace().sizes
    at = y.ndim - columns
    if not sizes.equal(y.value.shape[at], x.value.shape[-1]):
        raise ValueError("the right side and the matrix have different numbers of rows")
    shape = list(y.value.shape)
    shape[at] = x.value.shape[-1]
    return wrap(to_shape(operand(y).value, tuple(shape)))


@implements(np.linalg.inv)
def inv(a: Any) -> Any:
    (x,) = floats(a)
    return _apply("inv", [square(x, "inv")], [2])


@implements(np.linalg.det)
def det(a: Any) -> Any:
    (x,) = floats(a)
    return _apply("det", [square(x, "det")], [2])


@implements(np.linalg.slogdet)
def slogdet(a: Any) -> Any:
    (x,) = floats(a)
    found = _apply("slogdet", [square(x, "slogdet")], [2])
    return _result("slogdet")(found[..., 0], found[..., 1])


@implements(np.linalg.cholesky)
def cholesky(a: Any, /, *, upper: bool = False) -> Any:
    (x,) = floats(a)
    found = _apply("cholesky", [square(x, "cholesky")], [2])
    return _turned(found) if upper else found


@implements(np.linalg.eigh)
def eigh(a: Any, UPLO: str = "L") -> Any:
    (x,) = floats(a)
    if UPLO not in ("L", "U"):
        raise ValueError("UPLO argument must be 'L' or 'U'")
    found = _apply("eigh", [square(x, "eigh")], [2])
    return _result("eigh")(found[..., 0, :], found[..., 1:, :])


@implements(np.linalg.eigvalsh)
def eigvalsh(a: Any, UPLO: str = "L") -> Any:
    return eigh(a, UPLO)[0]


def _is_tall(x: Any) -> bool:
    rows, columns = x.value.shape[-2:]
    return current_trace().sizes.decide(rows, ">=", columns)


@implements(np.linalg.qr)
def qr(a: Any, mode: str = "reduced") -> Any:
    if mode not in ("reduced", "r"):
        raise refuse("np.linalg.qr", f"with mode={mode!r}")
    (x,) = floats(a)
    _matrix(x, "qr")
    q = _apply("orthonormal", [x if _is_tall(x) else x[..., : x.shape[-2]]], [2])
    r = np.triu(np.matmul(_turned(q), x))
    return r if mode == "r" else _result("qr")(q, r)


@implements(np.linalg.svd)
def svd(
    a: Any, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False
) -> Any:
    (x,) = floats(a)
    _matrix(x, "svd")
    tall = _is_tall(x)
    rows, columns = x.value.shape[-2:]
    if full_matrices and compute_uv and not current_trace().sizes.equal(rows, columns):
        raise UnsupportedError(
            "np.linalg.svd of a matrix that is not square gives full matrices, which aren't unique",
            way_out="pass full_matrices=False",
        )
    found = _apply("svd", [x if tall else _turned(x)], [2])
    n = max(x.shape[-2:]) if isinstance(rows, int) and isinstance(columns, int) else None
    n = x.shape[-2 if tall else -1] if n is None else n
    u, s, v = found[..., :n, :], found[..., n, :], found[..., n + 1 :, :]
    if not compute_uv:
        return s
    return _result("svd")(u, s, _turned(v)) if tall else _result("svd")(v, s, _turned(u))


@implements(*[f for f in (getattr(np.linalg, "svdvals", None),) if f is not None])
def svdvals(x: Any, /) -> Any:
    return svd(x, compute_uv=False)


def _precision(x: Any) -> Any:
    """How small a singular value is that counts as rounding: the longer side times epsilon."""
    longest = x.shape[-2 if _is_tall(x) else -1]
    return longest * float(np.finfo(x.dtype).eps)


def _pinv(x: Any, limit: Any) -> Any:
    number = cast(operand(limit), np.dtype(x.dtype))
    if number.ndim:
        raise refuse("np.linalg.pinv", "with a limit for each matrix")
    return _apply("pinv", [x, number], [2, 0])


@implements(np.linalg.pinv)
def pinv(a: Any, rcond: Any = None, hermitian: bool = False, *, rtol: Any = ...) -> Any:
    (x,) = floats(a)
    _matrix(x, "pinv")
    if rcond is None:
        rcond = 1e-15 if rtol is ... else _precision(x) if rtol is None else rtol
    return _pinv(x, rcond)


@implements(np.linalg.lstsq)
def lstsq(a: Any, b: Any, rcond: Any = None) -> Any:
    x, y = floats(a, b)
    if x.ndim != 2:
        raise np.linalg.LinAlgError("a matrix is needed")
    if rcond is None:
        limit = _precision(x)
    elif isinstance(rcond, (int, float)) and rcond < 0:
        limit = float(np.finfo(x.dtype).eps)
    else:
        limit = rcond
    found = np.matmul(_pinv(x, limit), y)
    s = svd(x, compute_uv=False)
    rank = cast(operand(np.sum(s > limit * np.max(s))), np.int32)
    left = np.sum((y - np.matmul(x, found)) ** 2, axis=0)
    if not current_trace().sizes.decide(x.value.shape[0], ">", x.value.shape[1]):
        left = np.zeros(0, x.dtype)
    else:
        left = np.atleast_1d(left)
    return found, left, rank, s


@implements(np.linalg.cond)
def cond(x: Any, p: Any = None) -> Any:
    if p is None or p == 2:
        s = svd(x, full_matrices=False, compute_uv=False)
        return s[..., 0] / s[..., -1]
    if p == -2:
        s = svd(x, full_matrices=False, compute_uv=False)
        return s[..., -1] / s[..., 0]
    return np.linalg.norm(x, p, axis=(-2, -1)) * np.linalg.norm(inv(x), p, axis=(-2, -1))


@implements(np.linalg.matrix_rank)
def matrix_rank(A: Any, tol: Any = None, hermitian: bool = False, *, rtol: Any = None) -> Any:
    (x,) = floats(A)
    s = svd(x, full_matrices=False, compute_uv=False)
    limit = np.max(s, axis=-1, keepdims=True) * (_precision(x) if rtol is None else rtol)
    return np.sum(s > (limit if tol is None else tol), axis=-1)


@implements(np.linalg.tensorinv)
def tensorinv(a: Any, ind: int = 2) -> Any:
    (x,) = floats(a)
    front, back = x.shape[:ind], x.shape[ind:]
    return np.reshape(inv(np.reshape(x, (math.prod(back), -1))), (*back, *front))


@implements(np.linalg.tensorsolve)
def tensorsolve(a: Any, b: Any, axes: Any = None) -> Any:
    x, y = floats(a, b)
    if axes is not None:
        order = [k for k in range(x.ndim) if k not in axes]
        x = np.transpose(x, [*order, *axes])
    shape = x.shape[y.ndim :]
    rows = math.prod(y.shape)
    return np.reshape(solve(np.reshape(x, (rows, -1)), np.ravel(y)), shape)


# --- scipy.linalg -----------------------------------------------------------------------------


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
    y = _as_long(y, columns, x)
    flags = {"transposed": True} if trans in (1, 2, "T", "C") else {}
    return _apply("solve_triangular", [x, y], [2, columns], lower=bool(lower), **flags)


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
    _matrix(x, "solve_banded")
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
    return _apply(
        "solve_banded",
        [x, _as_long(y, columns, x)],
        [2, columns],
        lower=int(lower),
        upper=int(upper),
    )


@implements_by_name("scipy.linalg.cholesky")
def scipy_cholesky(
    a: Any, lower: bool = False, overwrite_a: bool = False, check_finite: bool = True
) -> Any:
    found = cholesky(a)
    return found if lower else _turned(found)


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
    if assume_a in ("pos", "positive definite"):
        return cho_solve(cho_factor(a, lower=True), b)
    if assume_a not in (None, "gen", "general", "sym", "symmetric", "her", "hermitian"):
        raise refuse("scipy.linalg.solve", f"with assume_a={assume_a!r}")
    x = operand(a)
    return solve(_turned(x) if transposed else x, b)


@implements_by_name("scipy.linalg.inv")
def scipy_inv(a: Any, overwrite_a: bool = False, check_finite: bool = True) -> Any:
    return inv(a)


@implements_by_name("scipy.linalg.det")
def scipy_det(a: Any, overwrite_a: bool = False, check_finite: bool = True) -> Any:
    return det(a)


@implements_by_name("scipy.linalg.eigh")
def scipy_eigh(a: Any, b: Any = None, *, lower: bool = True, eigvals_only: bool = False) -> Any:
    if b is not None:
        raise refuse("scipy.linalg.eigh", "of two matrices")
    values, vectors = eigh(a, "L" if lower else "U")
    return values if eigvals_only else (values, vectors)


@implements_by_name("scipy.linalg.eigvalsh")
def scipy_eigvalsh(a: Any, b: Any = None, *, lower: bool = True) -> Any:
    return scipy_eigh(a, b, lower=lower, eigvals_only=True)


@implements_by_name("scipy.linalg.svd")
def scipy_svd(a: Any, full_matrices: bool = True, compute_uv: bool = True) -> Any:
    return tuple(svd(a, full_matrices)) if compute_uv else svd(a, compute_uv=False)


@implements_by_name("scipy.linalg.svdvals")
def scipy_svdvals(a: Any, overwrite_a: bool = False, check_finite: bool = True) -> Any:
    return svd(a, compute_uv=False)


@implements_by_name("scipy.linalg.pinv")
def scipy_pinv(a: Any, *, atol: Any = None, rtol: Any = None) -> Any:
    if atol is not None and not _is_zero(atol):
        raise refuse("scipy.linalg.pinv", "with atol")
    return pinv(a, rtol=rtol)


def _is_zero(x: Any) -> bool:
    return isinstance(x, (int, float)) and x == 0


@implements_by_name("scipy.linalg.norm")
def scipy_norm(a: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    return np.linalg.norm(a, ord, axis, keepdims)


@implements_by_name("scipy.linalg.qr")
def scipy_qr(
    a: Any, overwrite_a: bool = False, lwork: Any = None, mode: str = "full", pivoting: bool = False
) -> Any:
    if mode != "economic" or pivoting:
        raise refuse("scipy.linalg.qr", f"with mode={mode!r}, pivoting={pivoting!r}")
    return tuple(qr(a))


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


@implements_by_name("scipy.linalg.circulant")
def circulant(c: Any) -> Any:
    (first,) = floats(c)
    n = first.shape[0]
    at = positions(n)[:, None] - positions(n)[None, :]
    return first[np.where(at < 0, at + n, at)]
