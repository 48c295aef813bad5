"""The decorator and the maths of the hand-written adjoints (the limit).

Large results are allocated in Python, with ``np.empty``, and filled by the kernel: NumPy asks the
system for huge pages, Numba does not, and page faults would cost more than the work.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from types import FunctionType
from typing import Any

from numba import njit

# A disk cache is wanted only where the warm first call is measured: Numba does not see a change
# in an imported helper, so a stale kernel could be timed otherwise.
CACHE_VARIABLE = "BENCHMARKS_CACHE_LIMITS"

# NaN and infinity keep their meaning under these four.
FLAGS = {"reassoc", "contract", "arcp", "nsz"}

limit = njit(fastmath=FLAGS, cache=CACHE_VARIABLE in os.environ, error_model="numpy")

try:
    from tracegrad.backend.vecmath import cos, erf, exp, log, log1p, sin, tanh
except ImportError:  # the limits still compile, with libm's scalar functions
    from math import cos, erf, exp, log, log1p, sin, tanh

__all__ = [
    "CACHE_VARIABLE",
    "FLAGS",
    "compiled_text",
    "cos",
    "erf",
    "exp",
    "limit",
    "log",
    "log1p",
    "sin",
    "tanh",
]


def compiled_text(function: Callable[..., Any]) -> Any:
    """``function`` itself compiled by Numba with the limits' flags, and so are its helpers.

    Helpers are the plain functions of its own module that it names.
    """
    if not isinstance(function, FunctionType):
        raise TypeError(f"can compile Python functions only, not {type(function).__name__}")
    names = dict(function.__globals__)
    for name in function.__code__.co_names:
        helper = names.get(name)
        if isinstance(helper, FunctionType) and helper.__globals__ is function.__globals__:
            names[name] = compiled_text(helper)
    copy = FunctionType(function.__code__, names, function.__name__, function.__defaults__)
    return njit(fastmath=FLAGS, error_model="numpy")(copy)
