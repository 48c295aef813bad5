"""What kernels do about memory: large fresh arrays, and arrays that the caller gives.

The system gives memory page by page, at the first touch: with pages of 4 kB that costs several
times what writing costs. Arrays that are expected to be large come from a pool.

Here stand the functions as plain Python has them; `lowering` tells Numba about them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["large_empty", "overlap"]


def large_empty(shape: int | tuple[int, ...], dtype: Any = np.float64) -> np.ndarray:
    """``np.empty`` for an array that is expected to be large: its memory comes from the pool.

    See `tracegrad.backend.pool`. A small one is made as ever.
    """
    return np.empty(shape, dtype)


def overlap(written: Sequence[np.ndarray], read: Sequence[np.ndarray]) -> bool:
    """Whether an array that is written shares memory with another one, written or read.

    The arrays are contiguous, so that the ends of their memory tell.
    """
    return any(
        np.may_share_memory(one, other)
        for number, one in enumerate(written)
        for other in (*written[number + 1 :], *read)
    )
