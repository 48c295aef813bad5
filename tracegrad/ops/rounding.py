"""Rounding to whole numbers, kept as floats: the derivatives are zero almost everywhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tracegrad.ops.registry import OpDef, elementwise, float_type
from tracegrad.ops.samples import both, real


def _rounding(name: str, doc: str, reference: Callable[..., Any]) -> OpDef:
    return elementwise(
        name,
        doc=doc,
        reference=reference,
        scalar=f"np.{name}({{0}})",
        array=f"np.{name}({{0}})",
        infer=float_type,
        cost=2,
        local=lambda out, x: (None,),
        samples=both(real(2.1, 2.4), real(-2.9, -2.6, edges=(1.5, 2.5, -0.4))),
        stands_for=(reference,),
    )


floor = _rounding("floor", "The largest whole number that is not above x.", np.floor)
ceil = _rounding("ceil", "The smallest whole number that is not below x.", np.ceil)
rint = _rounding("rint", "The nearest whole number, halves to even.", np.rint)
trunc = _rounding("trunc", "The whole part of x, rounded towards zero.", np.trunc)
