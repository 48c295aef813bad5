"""tracegrad: compiled gradients of the NumPy code people already write.

>>> import numpy as np, tracegrad as tg
>>> loss = tg.value_and_grad(lambda w: np.sum(np.tanh(w) ** 2))
>>> value, w_bar = loss(np.array([0.5, -1.0]))
>>> print(loss.inspect_source())          # doctest: +SKIP
"""

__version__ = "0.1.0"

from tracegrad.api import grad, jit, stop_gradient, value_and_grad, vjp
from tracegrad.compiled import Compiled
from tracegrad.errors import (
    ArgumentError,
    DTypeError,
    NotDifferentiable,
    ShapeError,
    TraceError,
    TracegradError,
    UnsupportedError,
)

__all__ = [
    "ArgumentError",
    "Compiled",
    "DTypeError",
    "NotDifferentiable",
    "ShapeError",
    "TraceError",
    "TracegradError",
    "UnsupportedError",
    "grad",
    "jit",
    "stop_gradient",
    "value_and_grad",
    "vjp",
]
