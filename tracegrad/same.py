"""When two Python values are the same to a program that was traced with one of them."""

from __future__ import annotations

from typing import Any

import numpy as np


def same_value(a: Any, b: Any) -> bool:
    """Whether a trace made with ``a`` holds for ``b``: the same type and the same value.

    Python's ``==`` says more: that 1 equals 1.0 and True, and that 0.0 equals -0.0.
    Within tuples and frozensets the same rule holds; other objects say themselves what they
    are equal to.
    """
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if isinstance(a, float | complex | np.inexact):
        return repr(a) == repr(b)
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(same_value, a, b))
    if isinstance(a, frozenset):
        return len(a) == len(b) and all(any(same_value(x, y) for y in b) for x in a)
    try:
        return bool(a == b)
    except Exception:  # of arrays, say, which have no one answer: nobody knows that they are equal
        return False
