"""Peak memory of one call, measured in the process that runs it (Linux).

The resident peak is what counts: pages that a call touches, whoever allocates them. Before the
call, freed memory goes back to the system and malloc is told to map all large blocks, so that the
call touches them anew; tracegrad's pool is emptied too. Results of an earlier call stay alive
meanwhile: a buffer handed out again would hide an allocation.
"""

from __future__ import annotations

import ctypes
import gc
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["RESOLUTION", "available", "peak"]

RESOLUTION = 0.3e6
"""Bytes below which a peak is noise: the kernel counts pages in batches, per processor."""

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_BLOCK = 1 << 16


def available() -> bool:
    """Whether the system tells the peak and lets it be reset."""
    return Path("/proc/self/clear_refs").exists() and hasattr(ctypes.CDLL(None), "mallopt")


def peak(call: Callable[[], Any]) -> float:
    """Bytes that the resident peak grows by in ``call()``; the larger of two calls.

    ``call`` has been called before; nothing compiles here.
    """
    libc = ctypes.CDLL(None)
    libc.mallopt(_MMAP_THRESHOLD, _BLOCK)
    libc.mallopt(_TRIM_THRESHOLD, _BLOCK)
    try:
        kept = call()
        found = []
        gc.collect()
        gc.freeze()
        for _ in range(2):
            gc.collect()
            _empty_pools()
            libc.malloc_trim(0)
            time.sleep(0.02)  # what JAX's threads still hold of the last call is freed later
            before = _reset()
            result = call()
            found.append(_status("VmHWM") - before)
            del result
        del kept
    finally:
        gc.unfreeze()
        # What glibc starts with; it adapts the two by itself no more once they have been set.
        libc.mallopt(_MMAP_THRESHOLD, 32 << 20)
        libc.mallopt(_TRIM_THRESHOLD, 64 << 20)
    return max(0.0, *found)


def _empty_pools() -> None:
    """Memory that tracegrad holds back for later calls counts as not there."""
    pool = sys.modules.get("tracegrad.backend.pool")
    if pool is not None:
        pool.clear()


def _reset() -> float:
    """Start the peak afresh; bytes resident now."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError as error:
        raise RuntimeError(f"peak memory needs Linux's /proc/self/clear_refs: {error}") from error
    return _status("VmRSS")


def _status(key: str) -> float:
    found = re.search(rf"{key}:\s*(\d+) kB", Path("/proc/self/status").read_text())
    if found is None:
        raise RuntimeError(f"/proc/self/status has no {key}")
    return 1024.0 * int(found[1])
