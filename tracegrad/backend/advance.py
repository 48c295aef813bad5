"""``in_advance(x)``: x, computed before what reads it asks for it.

LLVM turns ``y * (1.0 / d)`` into ``y / d``. That is one operation less, but where a loop computes
y from trip to trip it has the trips wait for the division, which could be done before y is known.
"""

from __future__ import annotations

from tracegrad.backend.helpers import when_numba_compiles


def in_advance(x: float) -> float:
    """``x``; in a kernel, as a value that nothing is merged with."""
    return x


def _tell_numba() -> None:
    from tracegrad.backend.calls_by_numba import lower_in_advance

    lower_in_advance(in_advance)


when_numba_compiles(_tell_numba)
