"""Integer arithmetic that machines and NumPy mean differently, for compiled loops."""

from __future__ import annotations

from typing import Any

from tracegrad.backend.helpers import helper


@helper
def integer_power(x: Any, y: Any) -> Any:
    """``x ** y``; refuses a negative exponent, as NumPy does."""
    if y < 0:
        raise ValueError("Integers to negative integer powers are not allowed.")
    return x**y
