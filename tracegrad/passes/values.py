"""What rules ask about values: numbers, zeros, negations, broadcast axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from tracegrad.ir.core import Operation, Value
from tracegrad.ir.types import Dim, Shape
from tracegrad.ops.access import view_of

Number: TypeAlias = "bool | int | float"


def made_by(value: Value, name: str) -> Operation | None:
    """The operation that defines ``value`` when it has this name."""
    op = value.op
    return op if op is not None and op.opdef.name == name else None


def operand_of(value: Value, name: str) -> Value | None:
    """The single operand of the operation of this name that defines ``value``."""
    op = made_by(value, name)
    return op.operands[0] if op is not None else None


def number(value: Value) -> Number | None:
    """The number when ``value`` is a scalar constant, or one seen in every element."""
    op = value.op
    if op is not None and op.opdef.name == "view" and not op.operands[0].shape:
        op = op.operands[0].op
    if op is None or op.opdef.name != "const":
        return None
    found = op.attributes["value"]
    return None if isinstance(found, tuple) else found


def dimension(value: Value) -> Dim | None:
    """The dimension when ``value`` is an i64 scalar that is one: ``dim``, or a constant."""
    op = value.op
    if op is None or value.shape or value.dtype.name != "i64":
        return None
    if op.opdef.name == "dim":
        size: Dim = op.attributes["size"]
        return size
    if op.opdef.name == "const":
        constant: int = op.attributes["value"]
        return constant
    return None


def is_zero(value: Value, *, negative: bool = False) -> bool:
    """Whether ``value`` is 0, and not -0.0 (with ``negative``: -0.0, and not 0.0)."""
    found = number(value)
    return (
        found is not None
        and not isinstance(found, bool)
        and found == 0
        and (math.copysign(1.0, found) < 0) == negative
    )


def is_normal(x: float, dtype: np.dtype) -> bool:
    """Whether ``x`` is a normal number of a float dtype: no zero, subnormal, infinity or NaN."""
    limits = np.finfo(dtype)
    return float(limits.tiny) <= abs(x) <= float(limits.max)


def power_of_two(x: float) -> bool:
    return math.frexp(x)[0] in (0.5, -0.5)


def minus(value: Value) -> Value | None:
    """``x`` when ``value`` is ``-x``, or a broadcast view of ``-x`` (then the same view of x)."""
    op = value.op
    if op is None:
        return None
    if op.opdef.name == "negative":
        return op.operands[0]
    if op.opdef.name == "view":
        inner = operand_of(op.operands[0], "negative")
        if inner is not None:
            return view_of(inner, op.attributes["shape"], op.attributes["map"])
    return None


def free_axes(value: Value) -> frozenset[int]:
    """The axes along which ``value`` is the same by construction: a broadcast view's."""
    op = made_by(value, "view")
    if op is None:
        return frozenset()
    named = {axis for axis, _, _ in op.attributes["map"]}
    return frozenset(a for a in range(value.rank) if a not in named)


def without_axes(value: Value, axes: frozenset[int]) -> Value:
    """``value``, a view that is free along ``axes``, without these axes."""
    if not value.rank:
        return value
    assert value.op is not None
    kept = [a for a in range(value.rank) if a not in axes]
    place = {a: k for k, a in enumerate(kept)}
    shape = tuple(value.shape[a] for a in kept)
    map = [
        (None if a is None else place[a], offset, step)
        for a, offset, step in value.op.attributes["map"]
    ]
    return view_of(value.op.operands[0], shape, map)


def along_axes(value: Value, shape: Shape, axes: Sequence[int] | frozenset[int]) -> Value:
    """``value`` repeated along new ``axes``, numbered in the result of ``shape``."""
    kept = [a for a in range(len(shape)) if a not in axes]
    return view_of(value, shape, [(a, 0, 1) for a in kept])


def transposed(value: Value) -> Value | None:
    """The matrix whose transpose ``value`` is."""
    op = made_by(value, "view")
    if op is None or value.rank != 2:
        return None
    base: Value = op.operands[0]
    swapped = op.attributes["map"] == ((1, 0, 1), (0, 0, 1))
    return base if swapped and base.shape == value.shape[::-1] else None


def array_shape(*values: Value) -> Shape:
    """The shape of an elementwise result."""
    return next((v.shape for v in values if v.rank), ())
