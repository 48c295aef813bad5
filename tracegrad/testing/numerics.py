"""Derivatives by differences, and comparison with a tolerance that follows the magnitude."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

# Fourth-order central differences: the error of the formula is about step⁴ times the fifth
# derivative, that of rounding eps/step; both are far below what a wrong derivative shows.
STEP = 3e-4
_OFFSETS = ((-2.0, 1.0 / 12.0), (-1.0, -2.0 / 3.0), (1.0, 2.0 / 3.0), (2.0, -1.0 / 12.0))


def numerical_jvp(
    function: Callable[..., Any],
    primals: Sequence[Any],
    tangents: Sequence[Any],
    step: float = STEP,
) -> Any:
    """The directional derivative of ``function`` at ``primals`` along ``tangents``.

    Parameters
    ----------
    function : takes arrays or scalars, gives an array, a scalar or a tuple of them.
    primals : the point. Float arguments are moved; others are handed on unchanged.
    tangents : one direction per primal, of its shape; None where a primal is not moved.
    step : the largest move of an element, relative to the larger of 1 and its magnitude.

    Returns
    -------
    An array or number of the shape of the result, or a tuple of them. A result that is not of
    floating dtype has the derivative zero.

    Examples
    --------
    >>> round(float(numerical_jvp(np.sin, [0.0], [2.0])), 9)
    2.0
    """
    moved = [
        (np.asarray(p, dtype=np.float64), np.asarray(t, dtype=np.float64))
        if t is not None and np.asarray(p).dtype.kind == "f"
        else (p, None)
        for p, t in zip(primals, tangents, strict=True)
    ]
    # One step for the whole direction, such that no element moves further than `step` says.
    speeds = [
        np.max(np.abs(t) / np.maximum(1.0, np.abs(p))) for p, t in moved if t is not None and t.size
    ]
    speed = max([float(s) for s in speeds], default=0.0)
    h = step / speed if speed else step
    total: list[Any] | None = None
    single = True
    for offset, weight in _OFFSETS:
        arguments = [p if t is None else (p + offset * h * t)[()] for p, t in moved]
        results = function(*arguments)
        single = not isinstance(results, tuple)
        terms = [
            np.asarray(r, dtype=np.float64) * (weight / h)
            if np.asarray(r).dtype.kind == "f"
            else np.zeros(np.shape(r))
            for r in ((results,) if single else results)
        ]
        total = terms if total is None else [a + b for a, b in zip(total, terms, strict=True)]
    assert total is not None
    return total[0] if single else tuple(total)


def assert_close(
    actual: Any, expected: Any, rtol: float, what: str = "", *, scale: float | None = None
) -> None:
    """Equal up to ``rtol`` times the magnitude of what is compared; NaN and infinities exactly.

    ``scale`` is the magnitude below which differences are taken as absolute; by default the
    largest finite magnitude of ``expected``, at most 1.
    """
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, f"{what}: shape {actual.shape}, not {expected.shape}"
    if scale is None:
        finite = np.abs(expected[np.isfinite(expected)]) if expected.dtype.kind == "f" else []
        scale = min(1.0, float(np.max(finite, initial=0.0)))
    np.testing.assert_allclose(
        actual, expected, rtol=rtol, atol=rtol * scale, equal_nan=True, err_msg=what
    )
