"""Exponentials and logarithms of matrices, written in plain NumPy where a trace can follow it."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from tracegrad.ir.core import Value
from tracegrad.ir.types import i64
from tracegrad.ops.control import for_loop
from tracegrad.ops.registry import REGISTRY, constant
from tracegrad.tracing.dispatch import implements_by_name, refuse
from tracegrad.tracing.numpy_linalg import floats, solve, square, unit
from tracegrad.tracing.state import current_trace
from tracegrad.tracing.values import operand, wrap


def _traced(function: Any) -> Any:
    """What to call in place of a function of this file: its loops are those of the trace."""
    from tracegrad.tracing.hooks import TraceHooks

    return TraceHooks(current_trace().captures).staged(function)


def _one_by_one(function: Any, rows: Any) -> Any:
    found = np.zeros_like(rows)
    for k in range(len(rows)):
        found[k] = function(rows[k])
    return found


def _of_each(name: str, x: Any) -> Any:
    """A function of scipy.linalg's of each matrix of a batch."""
    import scipy.linalg

    *lead, n, _ = x.shape
    rows = np.reshape(x, (-1, n, n))
    found = _traced(_one_by_one)(getattr(scipy.linalg, name), rows)
    return np.reshape(found, (*lead, n, n))


# --- exponential ------------------------------------------------------------------------------

# Coefficients of the numerator of the [13/13] Padé approximant of exp, and the largest 1-norm for
# which it is as exact as float64: Higham (2005), SIAM J. Matrix Anal. Appl. 26, table 2.3.
_PADE = (
    64764752532480000.0, 32382376266240000.0, 7771770303897600.0, 1187353796428800.0,
    129060195264000.0, 10559470521600.0, 670442572800.0, 33522128640.0, 1323241920.0,
    40840800.0, 960960.0, 16380.0, 182.0, 1.0,
)  # fmt: skip
_LARGEST = 5.371920351148152


@implements_by_name("scipy.linalg.expm")
def expm(A: Any) -> Any:
    x = square(floats(A)[0], "expm")
    if x.ndim != 2:
        return _of_each("expm", x)
    trace = current_trace()
    size = np.max(np.sum(np.abs(x), axis=0)) / _LARGEST
    halvings: Any = np.maximum(np.ceil(np.log2(np.where(size > 1.0, size, 1.0))), 0.0)
    halvings = wrap(trace.emit("stop_gradient", operand(halvings).value))
    x = np.multiply(x, np.exp2(-halvings))
    one = unit(x)
    b = _PADE
    x2 = x @ x
    x4 = x2 @ x2
    x6 = x4 @ x2
    odd = x @ (
        x6 @ (b[13] * x6 + b[11] * x4 + b[9] * x2) + b[7] * x6 + b[5] * x4 + b[3] * x2 + b[1] * one
    )
    even = (
        x6 @ (b[12] * x6 + b[10] * x4 + b[8] * x2) + b[6] * x6 + b[4] * x4 + b[2] * x2 + b[0] * one
    )
    start = solve(even - odd, even + odd)
    count = operand(halvings).astype(np.int64)

    def squared() -> Value:
        (found,) = for_loop(
            constant(0, i64), count.value, [start.value], lambda k, r: [REGISTRY["dot"](r, r)]
        )
        return found

    return wrap(trace.run(squared))


# --- logarithm --------------------------------------------------------------------------------

_DEGREE = 8
_NEAR = 0.264
"""The largest norm of A - 1 for which the approximant of degree 7 is exact to float64: Higham
(2008), Functions of Matrices, table 11.1. One degree more costs a solution and is safe."""

_STEPS = 100
"""Newton's steps for a root, at the most: a matrix that has one takes far fewer."""


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
        return _of_each("logm", x)
    one = unit(x)
    exact = float(np.sqrt(np.finfo(x.dtype).eps)) / 16
    return _traced(_logarithm)(x, one, exact, _nodes())
