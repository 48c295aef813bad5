"""Integers as sizes: the bounds of slices that are known only at run time.

``dim`` gives a size as a number; ``bind`` is its inverse: from there on a symbol has the value of
an integer, in the region of the operation and those within. So a slice between run-time bounds
is an ordinary ``view``, whose shape and offsets mention such symbols::

    for(%lo, %hi, %step) (%j: i64) {
      %k: i64 = bind(%j) {size=j}
      %row: f64[n - j - 1] = view(%a) {shape=(n - j - 1,), map=((None, j, 1), (0, j + 1, 1))}
      ...
    }

Two operations may bind one symbol, to one value: a loop and its way back do. See
docs/decisions/0013-spans.md.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tracegrad.errors import InternalError
from tracegrad.ir.types import ArrayType, i64, is_symbol, scalar, symbol
from tracegrad.ops.constants import is_dim
from tracegrad.ops.registry import Sample, general


def _bind_type(value: ArrayType, *, size: Any) -> ArrayType:
    if value != scalar(i64):
        raise TypeError(f"bind: an i64 scalar is needed, not {value}")
    if not is_dim(size) or is_symbol(size) is None:
        raise TypeError(f"bind: size must be a symbol of its own, not {size!r}")
    return value


def _bind_reference(value: np.ndarray, *, size: Any) -> np.ndarray:
    if value < 0:
        raise InternalError(f"the size {size} was bound to {value}")
    return value


bind = general(
    "bind",
    doc="""The integer itself, which the opaque symbol ``size`` stands for from here on.

    Sizes are never negative: that the integer is not is the duty of who makes the operation.""",
    infer=_bind_type,
    reference=_bind_reference,
    array="{0}",
    nondifferentiable="its operand is an integer",
    samples=lambda rng: [Sample((np.array(n),), {"size": symbol("length")}) for n in (0, 1, 7)],
)
