"""Products of matrices of which a part is taken, as plain Python and Numba have them.

The native compiler gives BLAS the parts as they lie. ``np.dot`` writes to whole arrays only, so
here the product is made and then put, or added, where it belongs.
"""

from __future__ import annotations

import numpy as np
from numba.extending import register_jitable

__all__ = ["add_product", "put_product"]


@register_jitable
def put_product(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    """``out[...] = np.dot(a, b)``."""
    product = np.dot(np.ascontiguousarray(a), np.ascontiguousarray(b))
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = product[i, j]


@register_jitable
def add_product(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    """``out += np.dot(a, b)``."""
    product = np.dot(np.ascontiguousarray(a), np.ascontiguousarray(b))
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] += product[i, j]
