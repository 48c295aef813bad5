"""Operations on the bits of integers; no derivatives."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from tracegrad.ir.types import ArrayType
from tracegrad.ops.registry import OpDef, elementwise, same_type
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
left_shift = _bitwise("left_shift", "<<", operator.lshift, (-9, 9), (0, 5))
right_shift = _bitwise("right_shift", ">>", operator.rshift, (-9, 9), (0, 5))
