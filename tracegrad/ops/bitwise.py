"""Operations on the bits of integers; no derivatives."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tracegrad.ir.types import ArrayType, Dim
from tracegrad.ops.registry import Emit, OpDef, elementwise, same_type
from tracegrad.ops.samples import integers

INTEGER_RESULT = "the operands and the result are integers"


def integer_type(*types: ArrayType, **attributes: object) -> ArrayType:
    """As `same_type`, for integers only."""
    result = same_type(*types)
    if not result.dtype.is_integer:
        raise TypeError(f"integers are needed, not {result.dtype}")
    return result


def _bitwise(
    name: str, sign: str, python: Callable[..., Any], *intervals: tuple[int, int]
) -> OpDef:
    reference = getattr(np, name)
    operands = ", ".join(f"{{{k}}}" for k in range(len(intervals)))
    return elementwise(
        name,
        doc=f"``{sign}`` of integers.",
        reference=reference,
        infix=sign,
        array=f"np.{name}({operands})",
        infer=integer_type,
        nondifferentiable=INTEGER_RESULT,
        samples=integers(*intervals),
        stands_for=(reference, python),
    )


bitwise_and = _bitwise("bitwise_and", "&", operator.and_, (-9, 9), (-9, 9))
bitwise_or = _bitwise("bitwise_or", "|", operator.or_, (-9, 9), (-9, 9))
bitwise_xor = _bitwise("bitwise_xor", "^", operator.xor, (-9, 9), (-9, 9))
invert = _bitwise("invert", "~", operator.invert, (-9, 9))


def narrowed(text: str, result: ArrayType) -> str:
    """Numba computes with small integers in 64 bits: bring the result back."""
    dtype = result.dtype.numpy
    return text if dtype.itemsize == 8 else f"np.{dtype.name}({text})"


def left_shift_scalar(
    operands: Sequence[str],
    result: ArrayType,
    attributes: Mapping[str, Any],
    dims: Callable[[Dim], str],
) -> str:
    """A machine shifts modulo the width; NumPy shifts everything out.

    The zero is ``x ^ x``, which has the dtype of ``x``: to Numba ``x * 0`` is a float for uint64.
    """
    x, n = operands
    width = 8 * result.dtype.numpy.itemsize
    return narrowed(f"({x} << {n} if 0 <= {n} < {width} else {x} ^ {x})", result)


def right_shift_scalar(
    operands: Sequence[str],
    result: ArrayType,
    attributes: Mapping[str, Any],
    dims: Callable[[Dim], str],
) -> str:
    """As `left_shift_scalar`; what is left of a signed integer is its sign."""
    x, n = operands
    width = 8 * result.dtype.numpy.itemsize
    beyond = f"{x} ^ {x}" if result.dtype.numpy.kind == "u" else f"{x} >> {width - 1}"
    return narrowed(f"({x} >> {n} if 0 <= {n} < {width} else {beyond})", result)


def _shift(name: str, sign: str, python: Callable[..., Any], scalar: Emit) -> OpDef:
    reference = getattr(np, name)
    return elementwise(
        name,
        doc=f"``{sign}`` of integers; a distance outside the width shifts every bit out.",
        reference=reference,
        scalar=scalar,
        array=f"np.{name}({{0}}, {{1}})",
        infer=integer_type,
        nondifferentiable=INTEGER_RESULT,
        samples=integers((-9, 9), (-1, 70), edges=(-1, 0, 1, 7, 8, 63, 64, 70, -8)),
        stands_for=(reference, python),
    )


left_shift = _shift("left_shift", "<<", operator.lshift, left_shift_scalar)
right_shift = _shift("right_shift", ">>", operator.rshift, right_shift_scalar)
