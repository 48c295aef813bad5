"""Tracing: a user's function, run on tracers, becomes a `Function` of the IR.

See docs/decisions/0003-front-end.md for what the rest of tracegrad relies on.
"""

from typing import Any

from tracegrad.tracing import (
    builtin_functions,
    numpy_creation,
    numpy_elementwise,
    numpy_products,
    numpy_reductions,
    numpy_shapes,
    scipy_functions,
)
from tracegrad.tracing.function import inline, stop_gradient, subtrace, trace
from tracegrad.tracing.integers import TracedInt
from tracegrad.tracing.state import active
from tracegrad.tracing.traced import OutputLeaf, Traced
from tracegrad.tracing.tracer import Tracer

__all__ = [
    "OutputLeaf",
    "Traced",
    "active",
    "inline",
    "is_tracer",
    "stop_gradient",
    "subtrace",
    "trace",
]


def is_tracer(x: Any) -> bool:
    """Whether ``x`` stands for a value of a trace in progress."""
    return isinstance(x, Tracer | TracedInt)
