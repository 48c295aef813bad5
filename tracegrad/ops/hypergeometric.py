"""Hypergeometric functions, differentiable in their argument."""

from __future__ import annotations

import math

from tracegrad.ops.entries import NO_CLOSED_FORM, scipy_function
from tracegrad.ops.registry import OpDef
from tracegrad.ops.samples import reals

_EDGES = (0.0, 0.5, 1.0, math.nan)
PARAMETERS = f"{NO_CLOSED_FORM} in the parameters"

hyp0f1: OpDef = scipy_function(
    "hyp0f1",
    doc="Confluent hypergeometric limit function ₀F₁.",
    operands=2,
    local=lambda out, v, x: (None, hyp0f1(v + 1.0, x) / v),
    fixed={0: PARAMETERS},
    samples=reals((0.5, 4.0), (-3.0, 3.0), edges=(*_EDGES, -1.0, math.inf)),
    source="DLMF 16.3.1",
)
hyp1f1: OpDef = scipy_function(
    "hyp1f1",
    doc="Kummer's confluent hypergeometric function ₁F₁.",
    operands=3,
    local=lambda out, a, b, x: (None, None, a / b * hyp1f1(a + 1.0, b + 1.0, x)),
    fixed=dict.fromkeys((0, 1), PARAMETERS),
    samples=reals((0.5, 3.0), (0.6, 4.0), (-3.0, 3.0), edges=_EDGES),
    source="DLMF 13.3.15",
)
hyperu: OpDef = scipy_function(
    "hyperu",
    doc="Tricomi's confluent hypergeometric function U.",
    operands=3,
    local=lambda out, a, b, x: (None, None, -a * hyperu(a + 1.0, b + 1.0, x)),
    fixed=dict.fromkeys((0, 1), PARAMETERS),
    samples=reals((0.5, 3.0), (0.6, 2.4), (0.5, 3.0), edges=_EDGES),
    source="DLMF 13.3.22",
)
hyp2f1: OpDef = scipy_function(
    "hyp2f1",
    doc="Gauss's hypergeometric function ₂F₁.",
    operands=4,
    local=lambda out, a, b, c, x: (
        None,
        None,
        None,
        a * b / c * hyp2f1(a + 1.0, b + 1.0, c + 1.0, x),
    ),
    fixed=dict.fromkeys((0, 1, 2), PARAMETERS),
    samples=reals((0.5, 3.0), (0.5, 2.0), (0.6, 4.0), (-1.5, 0.8), edges=_EDGES),
    source="DLMF 15.5.1",
)
