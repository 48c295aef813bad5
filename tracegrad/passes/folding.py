"""Computing what is known: operations on constants, and i64 arithmetic of dimensions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tracegrad.ir.core import Value
from tracegrad.ir.types import Dim, dim_max, dim_min, floor_div
from tracegrad.ops.constants import dim_value
from tracegrad.ops.registry import REGISTRY, OpDef, constant
from tracegrad.passes.values import dimension, number

_DIMENSIONS: dict[str, Callable[[Dim, Dim], Dim]] = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "maximum": dim_max,
    "minimum": dim_min,
}
_RELATIONS: dict[str, Callable[[int], bool]] = {
    "equal": lambda d: d == 0,
    "not_equal": lambda d: d != 0,
    "less": lambda d: d < 0,
    "less_equal": lambda d: d <= 0,
    "greater": lambda d: d > 0,
    "greater_equal": lambda d: d >= 0,
}
"""What a relation says of the difference of its operands."""

_OTHER = ("negative", "floor_divide")


def folded(opdef: OpDef, operands: Sequence[Value], attributes: Mapping[str, Any]) -> Value | None:
    """The result of an elementwise operation on scalars that are known, else None.

    Integer division by a known zero stays: what it does is up to the running program.
    """
    if opdef.kind != "elementwise" or not operands:
        return None
    if any(v.rank for v in operands):
        return None
    numbers = [number(v) for v in operands]
    if None not in numbers:
        return _computed(opdef, operands, numbers, attributes)
    return _dimension(opdef.name, operands)


def _computed(
    opdef: OpDef, operands: Sequence[Value], numbers: Sequence[Any], attributes: Mapping[str, Any]
) -> Value | None:
    if opdef.name in ("floor_divide", "remainder", "fmod", "power") and not (
        operands[0].dtype.is_float or numbers[1] > 0
    ):
        return None
    scalars = [v.dtype.numpy.type(x) for v, x in zip(operands, numbers, strict=True)]
    with np.errstate(all="ignore"):
        result = np.asarray(opdef.reference(*scalars, **attributes))
    dtype = opdef.infer(*[v.type for v in operands], **attributes).dtype  # type: ignore[union-attr]  # one result
    if result.dtype != dtype.numpy:
        return None
    found: Value = REGISTRY["const"](value=result.item(), dtype=dtype)
    return found


def _dimension(name: str, operands: Sequence[Value]) -> Value | None:
    if name not in _DIMENSIONS and name not in _RELATIONS and name not in _OTHER:
        return None
    dims = [dimension(v) for v in operands]
    if any(d is None for d in dims):
        return None
    if name == "negative":
        return dim_value(dims[0] * -1)  # type: ignore[operator]  # no None is left
    left, right = dims
    assert left is not None
    assert right is not None
    if name in _DIMENSIONS:
        return dim_value(_DIMENSIONS[name](left, right))
    if name == "floor_divide":
        positive = isinstance(right, int) and right > 0
        return dim_value(floor_div(left, right)) if positive else None
    difference = left - right
    return constant(_RELATIONS[name](difference)) if isinstance(difference, int) else None
