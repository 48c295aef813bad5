"""Tracing: a user's function, run on tracers, becomes a `Function` of the IR.

See docs/decisions/0003-front-end.md for what the rest of tracegrad relies on.
"""

from typing import Any

# These fill the dispatch tables.
from tracegrad.tracing import builtin_functions as builtin_functions
from tracegrad.tracing import numpy_calls as numpy_calls
from tracegrad.tracing import numpy_creation as numpy_creation
from tracegrad.tracing import numpy_elementwise as numpy_elementwise
from tracegrad.tracing import numpy_filters as numpy_filters
from tracegrad.tracing import numpy_folding as numpy_folding
from tracegrad.tracing import numpy_grids as numpy_grids
from tracegrad.tracing import numpy_linalg as numpy_linalg
from tracegrad.tracing import numpy_ordering as numpy_ordering
from tracegrad.tracing import numpy_padding as numpy_padding
from tracegrad.tracing import numpy_picking as numpy_picking
from tracegrad.tracing import numpy_products as numpy_products
from tracegrad.tracing import numpy_reductions as numpy_reductions
from tracegrad.tracing import numpy_repeating as numpy_repeating
from tracegrad.tracing import numpy_sets as numpy_sets
from tracegrad.tracing import numpy_shapes as numpy_shapes
from tracegrad.tracing import numpy_statistics as numpy_statistics
from tracegrad.tracing import numpy_writing as numpy_writing
from tracegrad.tracing import scipy_distributions as scipy_distributions
from tracegrad.tracing import scipy_functions as scipy_functions
from tracegrad.tracing import scipy_linalg as scipy_linalg
from tracegrad.tracing import scipy_matrices as scipy_matrices
from tracegrad.tracing import scipy_special as scipy_special
from tracegrad.tracing.function import (
    append,
    appended,
    as_tangent,
    inline,
    same_length,
    share_returned,
    staged,
    stop_gradient,
    subtrace,
    trace,
)
from tracegrad.tracing.integers import TracedInt
from tracegrad.tracing.integers import dim_or_int as size_of
from tracegrad.tracing.iteration import in_segments
from tracegrad.tracing.state import active
from tracegrad.tracing.traced import OutputLeaf, Traced
from tracegrad.tracing.tracer import Tracer
from tracegrad.tracing.values import operand as lifted

__all__ = [
    "OutputLeaf",
    "Traced",
    "active",
    "append",
    "appended",
    "as_tangent",
    "in_segments",
    "inline",
    "is_tracer",
    "lifted",
    "same_length",
    "share_returned",
    "size_of",
    "staged",
    "stop_gradient",
    "subtrace",
    "trace",
]


def is_tracer(x: Any) -> bool:
    """Whether ``x`` stands for a value of a trace in progress."""
    return isinstance(x, Tracer | TracedInt)
