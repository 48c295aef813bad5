"""Common subexpression elimination."""

from __future__ import annotations

from tracegrad.ir.core import Function
from tracegrad.passes.dce import dce
from tracegrad.passes.engine import Simplifier


def cse(function: Function) -> Function:
    """Compute equal operations once.

    Before::

        %a: f64[n] = multiply(%x, %y)
        %b: f64[n] = multiply(%y, %x)
        %c: f64[n] = add(%a, %b)

    After::

        %a: f64[n] = multiply(%x, %y)
        %c: f64[n] = add(%a, %a)

    An operation in a region can be the equal of one before the region, not of one in another
    region. Memory operations and those with effects are never merged.
    """
    return dce(Simplifier(share=True).rewrite(function))
