"""Constant folding as a pass of its own."""

from __future__ import annotations

from tracegrad.ir.core import Function
from tracegrad.passes.dce import dce
from tracegrad.passes.engine import Simplifier


def fold(function: Function) -> Function:
    """Compute operations on constants and dimensions.

    Before::

        func @f(%x: f64[n]) -> (f64, i64) {
          %two: f64 = 2.0
          %half: f64 = reciprocal(%two)
          %n: i64 = dim() {size=n}
          %one: i64 = 1
          %m: i64 = subtract(%n, %one)
          return %half, %m
        }

    After::

        func @f(%x: f64[n]) -> (f64, i64) {
          %half: f64 = 0.5
          %m: i64 = dim() {size=n - 1}
          return %half, %m
        }
    """
    return dce(Simplifier(fold=True, share=True).rewrite(function))
