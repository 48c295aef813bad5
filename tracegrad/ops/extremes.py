"""What is compared with its own maximum must be the very numbers that the maximum was taken of.

A cotangent of a maximum goes to the elements that equal it. An element that is computed again where
it is compared need not: in one loop ``a * b + c`` may be rounded once and in the other twice, as
kernels may change that (products and sums contracted, sums reassociated, quotients by reciprocals).
Then no element equals the maximum, and its cotangent is lost. Such elements are computed once and
kept (`tracegrad.schedule.extremes`), or the maximum is found again with them
(`tracegrad.transforms.extremes`).
"""

from __future__ import annotations

COMPARISONS = frozenset({"less", "less_equal", "greater", "greater_equal", "equal", "not_equal"})
EXTREMES = frozenset({"max", "min"})

MANY = 2
"""Roundings that may come out differently: there is one result if there is only one of them."""

_NONE = frozenset(
    {
        *COMPARISONS,
        *("absolute", "negative", "maximum", "minimum", "select", "sign", "copy"),
        *("logical_and", "logical_or", "logical_xor", "logical_not", "stop_gradient"),
    }
)
_ONE = frozenset({"add", "subtract", "multiply", "square", "sqrt", "reciprocal", "cast"})


def roundings(name: str) -> int:
    """How often an elementwise operation rounds what it computes: not, once or `MANY` times."""
    return 0 if name in _NONE else 1 if name in _ONE else MANY
