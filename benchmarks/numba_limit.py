"""The decorator and the maths of the hand-written adjoints (the limit).

Large results are allocated in Python, with ``np.empty``, and filled by the kernel: NumPy asks the
system for huge pages, Numba does not, and page faults would cost more than the work.
"""

from __future__ import annotations

import os

from numba import njit

# A disk cache is wanted only where the warm first call is measured: Numba does not see a change
# in an imported helper, so a stale kernel could be timed otherwise.
CACHE_VARIABLE = "BENCHMARKS_CACHE_LIMITS"

# NaN and infinity keep their meaning under these four.
FLAGS = {"reassoc", "contract", "arcp", "nsz"}

limit = njit(fastmath=FLAGS, cache=CACHE_VARIABLE in os.environ, error_model="numpy")

try:
    from tracegrad.backend.vecmath import erf, exp, log, log1p, tanh
except ImportError:  # the limits still compile, with libm's scalar functions
    from math import erf, exp, log, log1p, tanh

__all__ = ["CACHE_VARIABLE", "FLAGS", "erf", "exp", "limit", "log", "log1p", "tanh"]
