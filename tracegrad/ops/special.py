"""Special functions: error functions, gamma functions, sigmoid and softplus.

SciPy is imported when a reference runs, never with the package.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tracegrad.ir.core import Value
from tracegrad.ir.types import ArrayType, Dim, f32, f64
from tracegrad.ops.exponential import exp
from tracegrad.ops.registry import Contribution, Emit, OpDef, Sample, elementwise, float_type
from tracegrad.ops.samples import both, real

TWO_OVER_SQRT_PI = 2.0 / math.sqrt(math.pi)

# Without -inf, where SciPy and C differ, and without subnormal numbers, where SciPy overflows.
GAMMA_EDGES = (0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3.0, math.inf, math.nan, 1e300, -20.0, 150.5)


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


def through_double(text: str) -> Emit:
    """A scalar text for a function that computes in f64: an f32 result is rounded back."""

    def emit(
        operands: Sequence[str],
        result: ArrayType,
        attributes: Mapping[str, Any],
        dims: Callable[[Dim], str],
    ) -> str:
        printed = text.format(*operands, **attributes)
        return f"np.float32({printed})" if result.dtype is f32 else printed

    return emit


lgamma = elementwise(
    "lgamma",
    doc="Logarithm of the absolute value of the gamma function (SciPy's ``gammaln``).",
    reference=_scipy("gammaln"),
    scalar=through_double("lgamma({0})"),
    vector_maths=("lgamma",),
    array="scipy.special.gammaln({0})",
    infer=float_type,
    cost=30,
    local=lambda out, x: (digamma(x),),
    samples=both(real(1.5, 6, edges=GAMMA_EDGES), real(-1.6, -1.4, edges=())),
    stands_for=(math.lgamma,),
    source="DLMF 5.2.2",
)

gamma = elementwise(
    "gamma",
    doc="Gamma function.",
    reference=_scipy("gamma"),
    scalar=through_double("gamma({0})"),
    vector_maths=("gamma",),
    array="scipy.special.gamma({0})",
    infer=float_type,
    cost=30,
    local=lambda out, x: (out * digamma(x),),
    samples=both(real(1.5, 5, edges=GAMMA_EDGES), real(-1.6, -1.4, edges=())),
    stands_for=(math.gamma,),
    source="DLMF 5.2.1",
)


digamma: OpDef = elementwise(
    "digamma",
    doc="ψ, the derivative of log Γ; NaN at its poles but ∓inf at ±0.",
    reference=_scipy("digamma"),
    scalar=through_double("digamma({0})"),
    vector_maths=("digamma",),
    array="scipy.special.digamma({0})",
    infer=float_type,
    cost=40,
    local=lambda out, x: (polygamma(x, order=1),),
    samples=both(real(1.5, 6, edges=GAMMA_EDGES), real(-1.6, -1.4, edges=())),
    source="DLMF 5.2.2",
)


def polygamma_type(x: ArrayType, *, order: int) -> ArrayType:
    if not isinstance(order, int) or order < 1:
        raise TypeError(f"the order must be an int of at least 1, not {order!r}")
    return float_type(x)


def _polygamma_reference(x: Any, *, order: int) -> Any:
    import scipy.special

    # SciPy answers in f64 whatever it is given.
    return scipy.special.polygamma(order, x).astype(np.asarray(x).dtype)


def _polygamma_array(
    operands: Sequence[str],
    result: ArrayType,
    attributes: Mapping[str, Any],
    dims: Callable[[Dim], str],
) -> str:
    text = f"scipy.special.polygamma({attributes['order']}, {operands[0]})"
    return text if result.dtype is f64 else f"{text}.astype(np.{result.dtype.numpy.name})"


def _polygamma_samples(rng: np.random.Generator) -> list[Sample]:
    plain = both(real(1.5, 6, edges=GAMMA_EDGES), real(-1.6, -1.4, edges=()))
    return [
        replace(sample, attributes={"order": order}) for order in (1, 2, 3) for sample in plain(rng)
    ]


polygamma: OpDef = elementwise(
    "polygamma",
    doc="The ``order``-th derivative of ψ, order ≥ 1; infinite at its poles.",
    reference=_polygamma_reference,
    scalar=through_double("polygamma({order}, {0})"),
    vector_maths=("polygamma",),
    array=_polygamma_array,
    infer=polygamma_type,
    cost=60,
    local=lambda out, x, *, order: (polygamma(x, order=order + 1),),
    samples=_polygamma_samples,
    source="DLMF 5.15.1",
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
