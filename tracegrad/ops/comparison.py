"""Comparisons, tests and logic: boolean results, no derivatives."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from tracegrad.ir.types import ArrayType, boolean
from tracegrad.ops.registry import OpDef, elementwise, predicate_type, same_type
from tracegrad.ops.samples import booleans, both, integers, real, reals

BOOLEAN_RESULT = "the result is boolean"


def boolean_type(*types: ArrayType, **attributes: object) -> ArrayType:
    """As `same_type`, for booleans only."""
    result = same_type(*types)
    if not result.dtype.is_bool:
        raise TypeError(f"booleans are needed, not {result.dtype}; cast first")
    return result


def float_test_type(*types: ArrayType, **attributes: object) -> ArrayType:
    """A boolean for each float."""
    result = same_type(*types)
    if not result.dtype.is_float:
        raise TypeError(f"a floating dtype is needed, not {result.dtype}")
    return result.with_dtype(boolean)


def _comparison(
    name: str, sign: str, reference: Callable[..., Any], python: Callable[..., Any]
) -> OpDef:
    return elementwise(
        name,
        doc=f"``x {sign} y``, elementwise.",
        reference=reference,
        infix=sign,
        array=f"np.{name}({{0}}, {{1}})",
        infer=predicate_type,
        nondifferentiable=BOOLEAN_RESULT,
        samples=both(reals((-3, 3), (-3, 3)), integers((-2, 2), (-2, 2)), booleans(2)),
        stands_for=(reference, python),
    )


equal = _comparison("equal", "==", np.equal, operator.eq)
not_equal = _comparison("not_equal", "!=", np.not_equal, operator.ne)
less = _comparison("less", "<", np.less, operator.lt)
less_equal = _comparison("less_equal", "<=", np.less_equal, operator.le)
greater = _comparison("greater", ">", np.greater, operator.gt)
greater_equal = _comparison("greater_equal", ">=", np.greater_equal, operator.ge)


def _logic(name: str, sign: str, reference: Callable[..., Any]) -> OpDef:
    return elementwise(
        name,
        doc=f"{name.replace('_', ' ').capitalize()} of two booleans; both are evaluated.",
        reference=reference,
        infix=sign,
        array=f"np.{name}({{0}}, {{1}})",
        infer=boolean_type,
        nondifferentiable=BOOLEAN_RESULT,
        samples=booleans(2),
        stands_for=(reference,),
    )


logical_and = _logic("logical_and", "&", np.logical_and)
logical_or = _logic("logical_or", "|", np.logical_or)
logical_xor = _logic("logical_xor", "!=", np.logical_xor)

logical_not = elementwise(
    "logical_not",
    doc="True where a boolean is False.",
    reference=np.logical_not,
    scalar="(not {0})",
    array="np.logical_not({0})",
    infer=boolean_type,
    nondifferentiable=BOOLEAN_RESULT,
    samples=booleans(1),
    stands_for=(np.logical_not, operator.not_),
)


def _float_test(name: str, doc: str, reference: Callable[..., Any], python: Any) -> OpDef:
    return elementwise(
        name,
        doc=doc,
        reference=reference,
        scalar=f"np.{name}({{0}})",
        array=f"np.{name}({{0}})",
        infer=float_test_type,
        nondifferentiable=BOOLEAN_RESULT,
        samples=real(-3, 3),
        stands_for=(reference, python),
    )


isnan = _float_test("isnan", "True where a float is NaN.", np.isnan, math.isnan)
isinf = _float_test("isinf", "True where a float is infinite.", np.isinf, math.isinf)
isfinite = _float_test(
    "isfinite", "True where a float is neither NaN nor infinite.", np.isfinite, math.isfinite
)
