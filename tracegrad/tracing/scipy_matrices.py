"""Functions of matrices that are written in plain NumPy, and traced as a user's own code is."""

from __future__ import annotations

import functools
from types import FunctionType
from typing import Any

import numpy as np

from tracegrad.tracing.dispatch import implements_by_name, refuse
from tracegrad.tracing.numpy_linalg import floats, square, unit
from tracegrad.tracing.state import current_trace

_DEGREE = 8
_NEAR = 0.264
"""The largest norm of A - 1 for which the approximant of degree 7 is exact to float64: Higham
(2008), Functions of Matrices, table 11.1. One degree more costs a solution and is safe."""

_STEPS = 100
"""At the most: Newton's steps for a root, and roots. A matrix that has a root takes far fewer."""


@functools.cache
def _nodes() -> tuple[tuple[float, float], ...]:
    """Nodes and weights of Gauss's quadrature on [0, 1]."""
    places, weights = np.polynomial.legendre.leggauss(_DEGREE)
    return tuple((float(x), float(w)) for x, w in zip((places + 1) / 2, weights / 2, strict=True))


def _logarithm(a: Any, one: Any, exact: float, nodes: tuple[tuple[float, float], ...]) -> Any:
    """Inverse scaling and squaring with the product form of Denman and Beavers' iteration.

    Cheng, Higham, Kenney and Laub (2001), SIAM J. Matrix Anal. Appl. 22, 1112; the approximant in
    partial fractions is Dieci, Morini and Papini's (1996), SIAM J. Matrix Anal. Appl. 17, 570.
    """
    scale = 1.0  # NaN is far from everything
    while not np.max(np.sum(np.abs(a - one), axis=0), initial=0.0) <= _NEAR:
        product, steps, far = a, 0, True
        while far:
            if steps == _STEPS:
                raise np.linalg.LinAlgError(
                    "logm: no real logarithm: the matrix is not finite or has an eigenvalue that "
                    "is zero or negative"
                )
            # One step more once it is as near as the square root of the precision.
            far = not np.max(np.sum(np.abs(product - one), axis=0), initial=0.0) <= exact
            inverse = np.linalg.inv(product)
            a = 0.5 * (a + a @ inverse)
            product = 0.5 * (one + 0.5 * (product + inverse))
            steps += 1
        scale *= 2.0
    rest = a - one
    total = np.zeros_like(rest)
    for place, weight in nodes:
        total = total + weight * np.linalg.solve(one + place * rest, rest)
    return scale * total


@implements_by_name("scipy.linalg.logm")
def logm(A: Any, disp: Any = True) -> Any:
    if disp is False:
        raise refuse("scipy.linalg.logm", "with disp=False")
    x = square(floats(A)[0], "logm")
    if x.ndim != 2:
        raise refuse("scipy.linalg.logm", "of a batch")
    one = unit(x)
    exact = float(np.sqrt(np.finfo(x.dtype).eps)) / 16
    from tracegrad.tracing.hooks import TraceHooks

    assert isinstance(_logarithm, FunctionType)
    logarithm = TraceHooks(current_trace().captures).staged(_logarithm)
    return logarithm(x, one, exact, _nodes())
