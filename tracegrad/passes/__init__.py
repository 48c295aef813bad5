"""Passes: Function → Function, the meaning kept.

`optimize` is the standard pipeline, run on a traced function and again on its derivative; `finish`
is for what is to be scheduled.
"""

from __future__ import annotations

from collections.abc import Sequence

from tracegrad.ir.core import Function
from tracegrad.passes.ahead import products_ahead as products_ahead
from tracegrad.passes.array_loops import open_loops as open_loops
from tracegrad.passes.carries import carries as carries
from tracegrad.passes.cells import cells as cells
from tracegrad.passes.cse import cse as cse
from tracegrad.passes.dce import dce as dce
from tracegrad.passes.elements import elements as elements
from tracegrad.passes.factors import shared_factors as shared_factors
from tracegrad.passes.fold import fold as fold
from tracegrad.passes.pipeline import Observer, Pipeline
from tracegrad.passes.pipeline import Printing as Printing
from tracegrad.passes.pipeline import Timings as Timings
from tracegrad.passes.pipeline import verifying as verifying
from tracegrad.passes.simplify import simplify as simplify
from tracegrad.passes.single import single_elements as single_elements
from tracegrad.passes.stacking import stack_products as stack_products
from tracegrad.passes.state_rows import state_rows as state_rows
from tracegrad.passes.tables import tables as tables

STANDARD = Pipeline((("carries", carries), ("simplify", simplify)))
"""`carries` merges carried values; `simplify` folds, rewrites, shares and drops in one walk."""

LAST = Pipeline(
    (
        *STANDARD.passes,
        ("tables", tables),
        ("elements", elements),
        ("single_elements", single_elements),
        ("cells", cells),
        ("shared_factors", shared_factors),
        ("products_ahead", products_ahead),
        ("stack_products", stack_products),
        ("state_rows", state_rows),
    )
)
"""The standard pipeline, and what only makes sense once all is known that a loop does."""


def optimize(function: Function, observers: Sequence[Observer] = ()) -> Function:
    """``function`` with less to compute: the standard pipeline.

    Results are equal up to rounding, infinities and NaN included; see `tracegrad.passes.table`.
    """
    return STANDARD(function, observers)


def finish(function: Function, observers: Sequence[Observer] = ()) -> Function:
    """``function`` optimised, in the form that is scheduled: no derivative is taken of it."""
    return LAST(function, observers)
