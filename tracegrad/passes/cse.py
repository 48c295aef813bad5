"""Common subexpression elimination."""

from __future__ import annotations

from tracegrad.ir.core import Function
from tracegrad.passes.dce import dce
from tracegrad.passes.engine import Simplifier


def cse(function: Function) -> Function:
    """Compute equal operations once.

    Before::

        func @f(%x: f64[n], %y: f64[n]) -> (f64[n]) {
          %a: f64[n] = multiply(%x, %y)
          %b: f64[n] = multiply(%y, %x)
          %c: f64[n] = add(%a, %b)
          return %c
        }

    After::

        func @f(%x: f64[n], %y: f64[n]) -> (f64[n]) {
          %a: f64[n] = multiply(%x, %y)
          %c: f64[n] = add(%a, %a)
          return %c
        }

    An operation in a region can be the equal of one before the region, not of one in another
    region. Memory operations and those with effects are never merged.
    """
    return dce(Simplifier(share=True).rewrite(function))
