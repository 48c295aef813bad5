"""Choosing one of two values: ``select``, ``maximum``, ``minimum``.

Their rules mask with ``select`` and never multiply by a zero: the arm that was not chosen
receives a true zero, even where the cotangent or a partial is infinite or NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np

from tracegrad.ir.core import Value
from tracegrad.ir.types import ArrayType
from tracegrad.ops.comparison import equal, greater, less
from tracegrad.ops.registry import (
    Contribution,
    OpDef,
    Sample,
    common_shape,
    constant,
    elementwise,
    same_type,
    zeros_like,
)
from tracegrad.ops.samples import EDGES, both, integers, reals


def select_type(condition: ArrayType, x: ArrayType, y: ArrayType) -> ArrayType:
    """The dtype of the arms; a boolean condition; one shape, or scalars."""
    if not condition.dtype.is_bool:
        raise TypeError(f"the condition must be boolean, not {condition.dtype}")
    arms = same_type(x, y)
    return arms.with_shape(common_shape(condition, arms))


def choose(condition: Value, x: Value | float, y: Value | float) -> Value:
    """``select``, where one arm may be a number."""
    arm = x if isinstance(x, Value) else y
    assert isinstance(arm, Value), "one arm must be a value: it gives the dtype"
    x, y = (v if isinstance(v, Value) else constant(v, arm.dtype) for v in (x, y))
    result: Value = select(condition, x, y)
    return result


def select_vjp(
    out_bar: Value, out: Value, condition: Value, x: Value, y: Value
) -> tuple[Contribution, ...]:
    """The cotangent goes to the chosen arm; the other one gets zero."""
    return None, choose(condition, out_bar, 0.0), choose(condition, 0.0, out_bar)


def select_jvp(
    tangents: Sequence[Value | None], out: Value, condition: Value, x: Value, y: Value
) -> Value | None:
    """The tangent of the chosen arm."""
    _, x_dot, y_dot = tangents
    if x_dot is None and y_dot is None:
        return None
    return choose(condition, 0.0 if x_dot is None else x_dot, 0.0 if y_dot is None else y_dot)


def _select_samples(rng: np.random.Generator) -> list[Sample]:
    def floats(shape: tuple[int, ...]) -> np.ndarray:
        return np.asarray(rng.normal(size=shape))

    found = []
    for shapes in product([(), (3,)], repeat=3):
        condition = np.asarray(rng.random(shapes[0]) < 0.5)
        found.append(Sample((condition, floats(shapes[1]), floats(shapes[2])), note=f"{shapes}"))
    for shape in ((2, 3), (0,), (1,)):
        condition = np.asarray(rng.random(shape) < 0.5)
        found.append(Sample((condition, floats(shape), floats(shape)), note=f"{shape}"))
    points = zip(*product((False, True), EDGES, EDGES), strict=True)
    found.append(Sample(tuple(map(np.array, points)), note="edges", differentiable=False))
    mask = np.array([True, False, True])
    found.append(Sample((mask, np.arange(3), np.arange(3, 6)), note="i64"))
    found.append(Sample((mask, ~mask, mask), note="bool"))
    return found


select = elementwise(
    "select",
    doc="The second operand where the first is True, else the third (``np.where``).",
    reference=np.where,
    scalar="({1} if {0} else {2})",
    array="np.where({0}, {1}, {2})",
    infer=select_type,
    vjp=select_vjp,
    jvp=select_jvp,
    samples=_select_samples,
)


def _extremum(name: str, wins: OpDef, doc: str) -> OpDef:
    """``maximum`` or ``minimum``: ``wins(x, y)`` tells where x is the one that is chosen."""

    def vjp(out_bar: Value, out: Value, x: Value, y: Value) -> tuple[Contribution, ...]:
        shared = choose(equal(x, y), 0.5 * out_bar, 0.0)
        return choose(wins(x, y), out_bar, shared), choose(wins(y, x), out_bar, shared)

    def jvp(tangents: Sequence[Value | None], out: Value, x: Value, y: Value) -> Value | None:
        x_dot, y_dot = tangents
        if x_dot is None and y_dot is None:
            return None
        x_dot = zeros_like(x) if x_dot is None else x_dot
        y_dot = zeros_like(y) if y_dot is None else y_dot
        tie = 0.5 * (x_dot + y_dot)
        return choose(wins(x, y), x_dot, choose(wins(y, x), y_dot, tie))

    reference = getattr(np, name)
    return elementwise(
        name,
        doc=doc,
        reference=reference,
        scalar=f"np.{name}({{0}}, {{1}})",
        array=f"np.{name}({{0}}, {{1}})",
        vjp=vjp,
        jvp=jvp,
        samples=both(
            reals((-3, -1), (1, 3)), reals((1, 3), (-3, -1), edges=()), integers((-3, 3), (-3, 3))
        ),
        stands_for=(reference,),
    )


maximum = _extremum(
    "maximum", greater, "The larger of two numbers, or NaN; a tie shares its cotangent evenly."
)
minimum = _extremum(
    "minimum", less, "The smaller of two numbers, or NaN; a tie shares its cotangent evenly."
)
