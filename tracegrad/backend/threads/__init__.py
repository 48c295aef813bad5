"""Loops on several threads: how many there are, and what kernels with such loops import.

A kernel compiled with ``parallel=True`` splits a loop into as many contiguous chunks as there are
threads (`chunk_count`) and has a pool of threads of our own run them (`in_parallel`). Which thread
runs which chunk is left to chance; what a chunk computes is not, and chunks are put together in
order. So a result depends on the number of threads that is set, not on how many there really are.

This module is light: the pool is made when the first such kernel is (`calls`, `pool`).
"""

from __future__ import annotations

import ctypes
import math
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from tracegrad.ops.loopform import GRAIN

__all__ = [
    "CHUNKS",
    "GRAIN",
    "chunk_count",
    "get_num_threads",
    "in_parallel",
    "natural",
    "set_num_threads",
]

CHUNKS = 256
"""Chunks, and so threads, at most."""


def cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _at_start() -> int:
    """What the environment asks for, or a thread per core."""
    for name in ("TRACEGRAD_NUM_THREADS", "NUMBA_NUM_THREADS"):
        text = os.environ.get(name, "")
        if text.isdigit() and int(text) > 0:
            return min(int(text), CHUNKS)
    return min(cores(), CHUNKS)


#: How many threads, and the least work of a chunk: kernels read both at each call.
_state = (ctypes.c_int64 * 2)(_at_start(), GRAIN)


def get_num_threads() -> int:
    """How many threads, and so chunks, a parallel loop takes."""
    return _state[0]


def set_num_threads(count: int) -> None:
    """Let parallel loops take ``count`` threads from now on, in all kernels.

    Parameters
    ----------
    count : from 1 (each loop runs as a whole, on the calling thread) to 256. More than there are
        cores is allowed: loops are then split into that many chunks, and the result is that of a
        machine with so many cores, bit by bit.

    Notes
    -----
    At the start it is ``TRACEGRAD_NUM_THREADS`` or else ``NUMBA_NUM_THREADS`` of the environment,
    or else the number of cores that the process may use.
    """
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= CHUNKS:
        from tracegrad.errors import ArgumentError

        raise ArgumentError(f"the number of threads is from 1 to {CHUNKS}, not {count!r}")
    _state[0] = count


# --- what kernels call, as plain Python -------------------------------------------------------


def chunk_count(trips: int, work: int, own: int = 0) -> int:
    """Into how many chunks a loop is split: 0 if it has no trip, 1 if it is small.

    Parameters
    ----------
    work : the operations of all trips, in multiplications.
    own : elements of the arrays of which each chunk has its own. They are added up at the end,
        which is worth it as long as it takes less than a chunk does.
    """
    if trips <= 0:
        return 0
    # A grain that is less than the usual one is set by tests: they want chunks at any price.
    fair = math.isqrt(int(work) // (3 * own)) if own > 0 and _state[1] >= GRAIN else CHUNKS
    return max(1, min(get_num_threads(), int(trips), int(work) // _state[1], fair))


def in_parallel(
    loop: Callable[..., Any],
    chunks: int,
    lo: int,
    hi: int,
    arguments: tuple[Any, ...],
    sums: tuple[np.ndarray, ...],
) -> None:
    """``loop(start, stop, *arguments)`` for the chunks of ``range(lo, hi)``, in any order.

    Parameters
    ----------
    arguments : what the loop takes; a pair of arrays stands for one that each chunk has of its own:
        the first chunk the first of the pair, the others a row each of the second.
    sums : for each result of the loop an array, in which each chunk has an element for it.

    Notes
    -----
    An exception is raised after all chunks are done: that of the first one that raised.
    """
    for c in range(chunks):
        ends = (lo + (hi - lo) * c // chunks, lo + (hi - lo) * (c + 1) // chunks)
        given = [a if type(a) is not tuple else a[1][c - 1] if c else a[0] for a in arguments]
        results = loop(*ends, *given)
        for array, result in zip(sums, results if len(sums) > 1 else [results], strict=False):
            array[c] = result


def natural(number: int) -> int:
    """``number``, of which is known that it is not negative: LLVM is told so."""
    return number
