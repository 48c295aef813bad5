"""Products of vectors and matrices. Both operands take part linearly, one at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tracegrad.ir.core import Value
from tracegrad.ir.types import ArrayType
from tracegrad.ops.access import broadcast_to, expand_dims, swapaxes, transpose
from tracegrad.ops.registry import OpDef, Sample, general


def _checked_pair(a: ArrayType, b: ArrayType, name: str) -> None:
    if a.dtype is not b.dtype or a.dtype.is_bool:
        raise TypeError(f"{name}: operands of one number dtype are needed, not {a} and {b}")


def bilinear_jvp(op: OpDef, tangents: Sequence[Value | None], a: Value, b: Value) -> Value | None:
    """a_dot · b + a · b_dot."""
    a_dot, b_dot = tangents
    terms = [
        *([] if a_dot is None else [op(a_dot, b)]),
        *([] if b_dot is None else [op(a, b_dot)]),
    ]
    total: Value | None = terms[0] if terms else None
    return total + terms[1] if total is not None and len(terms) == 2 else total


# --- dot --------------------------------------------------------------------------------------


def _dot_type(a: ArrayType, b: ArrayType) -> ArrayType:
    _checked_pair(a, b, "dot")
    if a.rank not in (1, 2) or b.rank not in (1, 2):
        raise TypeError(f"dot: operands of rank 1 or 2 are needed, not {a} and {b}")
    if a.shape[-1] != b.shape[0]:
        raise TypeError(f"dot: the last dimension of {a} is not the first of {b}")
    return ArrayType(a.dtype, a.shape[:-1] + b.shape[1:])


def dot_vjp(out_bar: Value, out: Value, a: Value, b: Value) -> tuple[Value, Value]:
    """a_bar = out_bar · bᵀ and b_bar = aᵀ · out_bar, by rank."""
    match a.rank, b.rank:
        case 1, 1:
            return out_bar * b, out_bar * a
        case 2, 1:
            return outer(out_bar, b), dot(out_bar, a)
        case 1, 2:
            return dot(b, out_bar), outer(a, out_bar)
        case _:
            return dot(out_bar, transpose(b)), dot(transpose(a), out_bar)


def dot_jvp(tangents: Sequence[Value | None], out: Value, a: Value, b: Value) -> Value | None:
    return bilinear_jvp(dot, tangents, a, b)


def _dot_samples(rng: np.random.Generator) -> list[Sample]:
    shapes: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
        ((3,), (3,)),
        ((2, 3), (3,)),
        ((3,), (3, 2)),
        ((2, 3), (3, 4)),
        ((1,), (1,)),
        ((1, 1), (1, 1)),
        ((0,), (0,)),
        ((2, 0), (0,)),
        ((0, 3), (3,)),
        ((2, 0), (0, 3)),
        ((0,), (0, 2)),
        ((0, 2), (2, 3)),
    ]
    return [Sample((rng.normal(size=a), rng.normal(size=b))) for a, b in shapes]


dot = general(
    "dot",
    doc="Product of vectors and matrices: contracts a's last with b's first dimension.",
    infer=_dot_type,
    reference=np.dot,
    array="np.dot({0}, {1})",
    vjp=dot_vjp,
    jvp=dot_jvp,
    samples=_dot_samples,
    cost=16.0,
    source="Giles (2008), Collected matrix derivative results, 2.2.2",
)


# --- matmul -----------------------------------------------------------------------------------


def _matmul_type(a: ArrayType, b: ArrayType) -> ArrayType:
    _checked_pair(a, b, "matmul")
    if a.rank != b.rank or a.rank < 3 or a.shape[:-2] != b.shape[:-2]:
        raise TypeError(
            f"matmul: operands of one rank ≥ 3 and equal leading dimensions are needed, "
            f"not {a} and {b}"
        )
    if a.shape[-1] != b.shape[-2]:
        raise TypeError(f"matmul: the last dimension of {a} is not the last but one of {b}")
    return ArrayType(a.dtype, (*a.shape[:-1], b.shape[-1]))


def matmul_vjp(out_bar: Value, out: Value, a: Value, b: Value) -> tuple[Value, Value]:
    """As for `dot` of two matrices, for each pair of the batch."""
    return matmul(out_bar, swapaxes(b, -2, -1)), matmul(swapaxes(a, -2, -1), out_bar)


def matmul_jvp(tangents: Sequence[Value | None], out: Value, a: Value, b: Value) -> Value | None:
    return bilinear_jvp(matmul, tangents, a, b)


def _matmul_samples(rng: np.random.Generator) -> list[Sample]:
    shapes: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
        ((2, 3, 4), (2, 4, 2)),
        ((1, 1, 1), (1, 1, 1)),
        ((0, 2, 3), (0, 3, 2)),
        ((2, 2, 0), (2, 0, 3)),
        ((2, 2, 3, 1), (2, 2, 1, 2)),
    ]
    return [Sample((rng.normal(size=a), rng.normal(size=b))) for a, b in shapes]


matmul = general(
    "matmul",
    doc="Batched product of matrices: equal leading dimensions, one product for each.",
    infer=_matmul_type,
    reference=np.matmul,
    array="np.matmul({0}, {1})",
    vjp=matmul_vjp,
    jvp=matmul_jvp,
    samples=_matmul_samples,
    cost=16.0,
    source="Giles (2008), Collected matrix derivative results, 2.2.2",
)


# --- made of them -----------------------------------------------------------------------------


def outer(u: Value, v: Value) -> Value:
    """The matrix of all products of elements of two vectors."""
    if u.rank != 1 or v.rank != 1:
        raise TypeError(f"outer: two vectors are needed, not {u.type} and {v.type}")
    shape = (u.shape[0], v.shape[0])
    return broadcast_to(expand_dims(u, 1), shape) * broadcast_to(v, shape)
