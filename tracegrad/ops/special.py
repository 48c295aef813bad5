"""Special functions: error functions, gamma functions, sigmoid and softplus.

SciPy is imported when a reference runs, never with the package.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tracegrad.ir.core import Value
from tracegrad.ops.exponential import exp
from tracegrad.ops.registry import Contribution, elementwise, float_type
from tracegrad.ops.samples import real

TWO_OVER_SQRT_PI = 2.0 / math.sqrt(math.pi)


def _scipy(name: str) -> Callable[..., Any]:
    """The function of `scipy.special` with this name, imported at its first call."""

    def reference(*operands: Any) -> Any:
        import scipy.special

        return getattr(scipy.special, name)(*operands)

    return reference


erf = elementwise(
    "erf",
    doc="Error function.",
    reference=_scipy("erf"),
    scalar="erf({0})",
    vector_maths=("erf",),
    array="scipy.special.erf({0})",
    infer=float_type,
    cost=20,
    local=lambda out, x: (TWO_OVER_SQRT_PI * exp(-(x * x)),),
    samples=real(-2, 2),
    stands_for=(math.erf,),
    source="DLMF 7.2.1",
)

erfc = elementwise(
    "erfc",
    doc="Complementary error function ``1 - erf(x)``, accurate for large x.",
    reference=_scipy("erfc"),
    scalar="erfc({0})",
    vector_maths=("erfc",),
    array="scipy.special.erfc({0})",
    infer=float_type,
    cost=20,
    local=lambda out, x: (-TWO_OVER_SQRT_PI * exp(-(x * x)),),
    samples=real(-2, 2),
    stands_for=(math.erfc,),
    source="DLMF 7.2.2",
)


def sigmoid_local(out: Value, x: Value) -> tuple[Contribution, ...]:
    return (out * (1.0 - out),)


def sigmoid_reference(x: Any) -> Any:
    import scipy.special

    return scipy.special.expit(x)


sigmoid = elementwise(
    "sigmoid",
    doc="``1 / (1 + exp(-x))`` (SciPy's ``expit``) without overflow.",
    reference=sigmoid_reference,
    scalar="sigmoid({0})",
    vector_maths=("sigmoid",),
    array="scipy.special.expit({0})",
    infer=float_type,
    cost=15,
    local=sigmoid_local,
    samples=real(-3, 3),
)

softplus = elementwise(
    "softplus",
    doc="``log(1 + exp(x))`` without overflow.",
    reference=lambda x: np.logaddexp(np.zeros_like(x), x),
    scalar="softplus({0})",
    vector_maths=("softplus",),
    array="np.logaddexp(0.0, {0})",
    infer=float_type,
    cost=25,
    local=lambda out, x: (sigmoid(x),),
    samples=real(-3, 3),
)
