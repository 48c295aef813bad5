"""Elementary functions that vectorise inside Numba loops.

Generated source imports these functions and calls them on scalars. Compiled by Numba, a call
becomes a branch-free kernel in the caller's own LLVM module, so the loop around it vectorises;
libm's functions keep it scalar. Called from plain Python, each function is NumPy's (or
``math``'s) function without the warnings. `PLAIN` lists the functions by name.

Every function takes float64 or float32 and returns the same; integers count as float64, and two
operands of different kinds as float64. Zeros, signs, infinities, NaN and subnormal numbers are
as in NumPy. The errors named below are the largest measured against mpmath by
``python -m benchmarks.vecmath``, in units in the last place, for float64 and float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tracegrad.backend import helpers
from tracegrad.backend.gamma import digamma as digamma
from tracegrad.backend.gamma import gamma as gamma
from tracegrad.backend.gamma import lgamma as lgamma
from tracegrad.backend.gamma import polygamma as polygamma
from tracegrad.backend.integers import integer_power as integer_power

Scalar = Any  # a Python or NumPy real scalar
PLAIN: dict[str, Callable[..., Any]] = {}


def _real(x: Scalar) -> Scalar:
    return x if isinstance(x, (float, np.floating)) else float(x)


def _vectorised(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give ``function`` a kernel, silence its warnings and enter it in `PLAIN`."""
    quiet: Callable[..., Any] = np.errstate(all="ignore")(function)

    def tell() -> None:
        from tracegrad.backend.vecmath.lowering import register

        register(quiet, function.__code__.co_argcount)

    helpers.when_numba_compiles(tell)
    PLAIN[function.__name__] = quiet
    return quiet


@_vectorised
def exp(x: Scalar) -> Scalar:
    """Exponential, for all x; error 0.8, 0.8. Cody-Waite reduction and a minimax polynomial."""
    return np.exp(_real(x))


@_vectorised
def expm1(x: Scalar) -> Scalar:
    """exp(x) - 1, for all x; error 1.0, 1.0 As `exp`, the final sum compensated."""
    return np.expm1(_real(x))


@_vectorised
def log(x: Scalar) -> Scalar:
    """Natural logarithm, for x >= 0; error 0.8, 0.8 The atanh form of the Sun fdlibm method."""
    return np.log(_real(x))


@_vectorised
def log1p(x: Scalar) -> Scalar:
    """log(1 + x), for x >= -1; error 0.8, 0.9. As `log`, with the rounding error of 1 + x."""
    return np.log1p(_real(x))


@_vectorised
def log2(x: Scalar) -> Scalar:
    """Logarithm to base 2, for x >= 0; error 0.8, 0.5 As `log`, compensated; exact at 2**k."""
    return np.log2(_real(x))


@_vectorised
def log10(x: Scalar) -> Scalar:
    """Logarithm to base 10, for x >= 0; error 0.7, 0.5 As `log`, compensated."""
    return np.log10(_real(x))


@_vectorised
def pow(x: Scalar, y: Scalar) -> Scalar:
    """x**y, C's special values; error 0.9, 0.5. exp(y log x), the logarithm to 2**-64.

    NumPy's ``x ** 0.5`` is ``sqrt``, which differs at -0.0 and -inf; this is ``np.power`` of
    two arrays.
    """
    x, y = _real(x), _real(y)
    single = isinstance(x, np.float32) and isinstance(y, np.float32)
    return (np.float32 if single else np.float64)(np.float_power(x, y))


@_vectorised
def sin(x: Scalar) -> Scalar:
    """Sine, for finite x; error 0.8, 0.5. Cody-Waite reduction with fma; libm beyond 2**30."""
    return np.sin(_real(x))


@_vectorised
def cos(x: Scalar) -> Scalar:
    """Cosine, for finite x; error 0.8, 0.5. As `sin`."""
    return np.cos(_real(x))


@_vectorised
def tan(x: Scalar) -> Scalar:
    """Tangent, for finite x; error 1.0, 0.5 As `sin`, the quotient sin/cos compensated."""
    return np.tan(_real(x))


@_vectorised
def arcsin(x: Scalar) -> Scalar:
    """Inverse sine, for |x| <= 1; error 1.8, 0.5 Half-angle reduction beyond 1/2."""
    return np.arcsin(_real(x))


@_vectorised
def arccos(x: Scalar) -> Scalar:
    """Inverse cosine, for |x| <= 1; error 1.1, 0.5. As `arcsin`."""
    return np.arccos(_real(x))


@_vectorised
def arctan(x: Scalar) -> Scalar:
    """Inverse tangent, for all x; error 1.7, 0.5. Reduction at tan(pi/8) and tan(3 pi/8)."""
    return np.arctan(_real(x))


@_vectorised
def arctan2(y: Scalar, x: Scalar) -> Scalar:
    """Angle of the point (x, y), for all; error 0.8, 0.5. `arctan` of a compensated quotient."""
    y, x = _real(y), _real(x)
    single = isinstance(x, np.float32) and isinstance(y, np.float32)
    return (np.float32 if single else np.float64)(np.arctan2(y, x))


@_vectorised
def sinh(x: Scalar) -> Scalar:
    """Hyperbolic sine, for all x; error 1.3, 0.5 From sinh and cosh of `exp`'s reduced x."""
    return np.sinh(_real(x))


@_vectorised
def cosh(x: Scalar) -> Scalar:
    """Hyperbolic cosine, for all x; error 1.3, 0.5 As `sinh`."""
    return np.cosh(_real(x))


@_vectorised
def tanh(x: Scalar) -> Scalar:
    """Hyperbolic tangent, for all x; error 1.9, 1.9 (E - 1)/(E + 1), E = exp(2|x|)."""
    return np.tanh(_real(x))


@_vectorised
def sigmoid(x: Scalar) -> Scalar:
    """1 / (1 + exp(-x)), for all x; error 0.8, 0.8. No overflow: from exp(-|x|)."""
    x = _real(x)
    w = np.exp(-abs(x))
    return (w if x < 0 else type(w)(1.0)) / (1.0 + w)


@_vectorised
def softplus(x: Scalar) -> Scalar:
    """log(1 + exp(x)), for all x; error 1.1, 1.2. max(x, 0) + log1p(exp(-|x|))."""
    return np.logaddexp(_real(x), 0.0)


@_vectorised
def erf(x: Scalar) -> Scalar:
    """Error function, for all x; error 1.7, 2.4 x p(x^2) up to 1, then 1 - exp(-G(x))."""
    x = _real(x)
    return type(x)(math.erf(x))


@_vectorised
def erfc(x: Scalar) -> Scalar:
    """1 - erf(x), for all x; error 2.8, 0.5. Beyond 1/2, exp(-x^2) P((x-4)/(x+4)) / (1+2x)."""
    x = _real(x)
    return type(x)(math.erfc(x))
