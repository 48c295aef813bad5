"""numpy.linalg: one matrix at a time; a batch is a loop over its matrices."""

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
from tracegrad.tracing.dispatch import implements, refuse
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


def matrix(x: Any, name: str) -> Any:
    """``x``, which has at least two dimensions."""
    if x.ndim < 2:
        raise np.linalg.LinAlgError(
            f"{x.ndim}-dimensional array given. Array must be at least two-dimensional"
        )
    return x


def square(x: Any, name: str) -> Any:
    """``x`` whose last two dimensions are one and the same."""
    matrix(x, name)
    *lead, n, m = x.value.shape
    if not current_trace().sizes.equal(n, m):
        raise np.linalg.LinAlgError("Last 2 dimensions of the array must be square")
    return wrap(to_shape(operand(x).value, (*lead, n, n)))


def apply(name: str, arrays: Sequence[Any], ranks: Sequence[int], **attributes: Any) -> Any:
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


def turned(x: Any) -> Any:
    """Each matrix transposed."""
    return np.swapaxes(x, -1, -2)


def symmetric(x: Any, lower: bool) -> Any:
    """The symmetric matrix of which one triangle is given."""
    return np.tril(x) + turned(np.tril(x, -1)) if lower else np.triu(x) + turned(np.triu(x, 1))


@implements(np.linalg.solve)
def solve(a: Any, b: Any) -> Any:
    x, y = floats(a, b)
    x = square(x, "solve")
    columns = 1 if y.ndim == 1 else 2
    y = as_long(y, columns, x)
    return apply("solve", [x, y], [2, columns])


def as_long(y: Any, columns: int, x: Any) -> Any:
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
    return apply("inv", [square(x, "inv")], [2])


@implements(np.linalg.det)
def det(a: Any) -> Any:
    (x,) = floats(a)
    return apply("det", [square(x, "det")], [2])


@implements(np.linalg.slogdet)
def slogdet(a: Any) -> Any:
    (x,) = floats(a)
    found = apply("slogdet", [square(x, "slogdet")], [2])
    return _result("slogdet")(found[..., 0], found[..., 1])


@implements(np.linalg.cholesky)
def cholesky(a: Any, /, *, upper: bool = False) -> Any:
    (x,) = floats(a)
    x = square(x, "cholesky")
    found = apply("cholesky", [turned(x) if upper else x], [2])
    return turned(found) if upper else found


@implements(np.linalg.eigh)
def eigh(a: Any, UPLO: str = "L") -> Any:
    (x,) = floats(a)
    if UPLO not in ("L", "U"):
        raise ValueError("UPLO argument must be 'L' or 'U'")
    x = square(x, "eigh")
    found = apply("eigh", [turned(x) if UPLO == "U" else x], [2])
    return _result("eigh")(found[..., 0, :], found[..., 1:, :])


@implements(np.linalg.eigvalsh)
def eigvalsh(a: Any, UPLO: str = "L") -> Any:
    return eigh(a, UPLO)[0]


def is_tall(x: Any) -> bool:
    rows, columns = x.value.shape[-2:]
    return current_trace().sizes.decide(rows, ">=", columns)


def is_taller(x: Any) -> bool:
    """Whether there are more rows than columns: a full Q then is not unique."""
    rows, columns = x.value.shape[-2:]
    return current_trace().sizes.decide(rows, ">", columns)


@implements(np.linalg.qr)
def qr(a: Any, mode: str = "reduced") -> Any:
    (x,) = floats(a)
    matrix(x, "qr")
    if mode not in ("reduced", "r", "complete") or (mode == "complete" and is_taller(x)):
        raise refuse("np.linalg.qr", f"with mode={mode!r} of this shape", "use mode='reduced'")
    q = apply("orthonormal", [x if is_tall(x) else x[..., : x.shape[-2]]], [2])
    r = np.triu(np.matmul(turned(q), x))
    return r if mode == "r" else _result("qr")(q, r)


@implements(np.linalg.svd)
def svd(
    a: Any, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False
) -> Any:
    (x,) = floats(a)
    matrix(x, "svd")
    x = symmetric(x, lower=True) if hermitian else x
    tall = is_tall(x)
    rows, columns = x.value.shape[-2:]
    if full_matrices and compute_uv and not current_trace().sizes.equal(rows, columns):
        raise UnsupportedError(
            "np.linalg.svd of a matrix that is not square gives full matrices, which aren't unique",
            way_out="pass full_matrices=False",
        )
    found = apply("svd", [x if tall else turned(x)], [2])
    n = max(x.shape[-2:]) if isinstance(rows, int) and isinstance(columns, int) else None
    n = x.shape[-2 if tall else -1] if n is None else n
    u, s, v = found[..., :n, :], found[..., n, :], found[..., n + 1 :, :]
    if not compute_uv:
        return s
    return _result("svd")(u, s, turned(v)) if tall else _result("svd")(v, s, turned(u))


@implements(*[f for f in (getattr(np.linalg, "svdvals", None),) if f is not None])
def svdvals(x: Any, /) -> Any:
    return svd(x, compute_uv=False)


def precision(x: Any) -> Any:
    """How small a singular value is that counts as rounding: the longer side times epsilon."""
    longest = x.shape[-2 if is_tall(x) else -1]
    return longest * float(np.finfo(x.dtype).eps)


def pinv_within(x: Any, limit: Any) -> Any:
    number = cast(operand(limit), np.dtype(x.dtype))
    if number.ndim:
        raise refuse("np.linalg.pinv", "with a limit for each matrix")
    return apply("pinv", [x, number], [2, 0])


@implements(np.linalg.pinv)
def pinv(a: Any, rcond: Any = None, hermitian: bool = False, *, rtol: Any = ...) -> Any:
    (x,) = floats(a)
    matrix(x, "pinv")
    x = symmetric(x, lower=True) if hermitian else x
    if rcond is None:
        rcond = 1e-15 if rtol is ... else precision(x) if rtol is None else rtol
    return pinv_within(x, rcond)


@implements(np.linalg.lstsq)
def lstsq(a: Any, b: Any, rcond: Any = None) -> Any:
    x, y = floats(a, b)
    if x.ndim != 2:
        raise np.linalg.LinAlgError("a matrix is needed")
    if rcond is None:
        limit = precision(x)
    elif isinstance(rcond, (int, float)) and rcond < 0:
        limit = float(np.finfo(x.dtype).eps)
    else:
        limit = rcond
    found = np.matmul(pinv_within(x, limit), y)
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
    s = svd(x, full_matrices=False, compute_uv=False, hermitian=hermitian)
    limit = np.max(s, axis=-1, keepdims=True) * (precision(x) if rtol is None else rtol)
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
