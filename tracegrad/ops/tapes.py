"""Arrays that a loop fills trip by trip: what it stores for its way back.

``blank`` makes one of a known size. A loop of unknown length needs a ``tape``, which grows. Its
leading dimension is an opaque symbol of its own, and all versions of the array share it. ``ensure``
may raise what the symbol stands for; earlier versions are then shorter than the symbol says, and
later arrays of this dimension (the cotangent of the last version, say) have the new length. So the
size is to be asked for only after the last ``ensure``, and from an earlier version only places that
were written may be read. Reversal, which makes these arrays, does so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tracegrad.ir.core import Value
from tracegrad.ir.types import ArrayType, DType, f64, i64, is_symbol, scalar, symbol
from tracegrad.ops.constants import (
    Dims,
    checked_dtype,
    checked_shape,
    dtype_text,
    is_dim,
)
from tracegrad.ops.registry import Contribution, Sample, general, structural

# --- blank ------------------------------------------------------------------------------------


def _blank_type(*, shape: Any, dtype: Any, name: str, residual: str = "") -> ArrayType:
    if not isinstance(name, str) or not isinstance(residual, str):
        raise TypeError("blank: name and residual must be texts")
    return ArrayType(checked_dtype(dtype, "blank"), checked_shape(shape, "blank"))


def _blank_reference(
    *, shape: tuple[int, ...], dtype: DType, name: str, residual: str = ""
) -> np.ndarray:
    # What is read before it is written should show.
    return np.full(shape, np.nan if dtype.is_float else 77, dtype.numpy)


blank = structural(
    "blank",
    doc="""A new array whose elements have no meaning until they are written.

    ``name`` is its own: no two of a function are one array. ``residual`` is what the user calls the
    value that it is to hold, if anything.""",
    infer=_blank_type,
    reference=_blank_reference,
)


# --- tape -------------------------------------------------------------------------------------


def _tape_type(
    length: ArrayType, *, size: Any, shape: Any, dtype: Any, residual: str = ""
) -> ArrayType:
    if length != scalar(i64):
        raise TypeError(f"tape: an i64 length is needed, not {length}")
    if not is_dim(size) or is_symbol(size) is None:
        raise TypeError(f"tape: size must be a symbol of its own, not {size!r}")
    return ArrayType(checked_dtype(dtype, "tape"), (size, *checked_shape(shape, "tape")))


def _tape_reference(
    length: np.ndarray, *, size: Any, shape: tuple[int, ...], dtype: DType, residual: str = ""
) -> np.ndarray:
    return np.zeros((int(length), *shape), dtype.numpy)


def _tape_text(
    operands: Sequence[str], result: ArrayType, attributes: Mapping[str, Any], dims: Dims
) -> str:
    rest = "".join(f" {dims(d)}," for d in result.shape[1:])
    return f"np.zeros(({operands[0]},{rest}), dtype={dtype_text(result.dtype)})"


def _tape_samples(rng: np.random.Generator) -> list[Sample]:
    shapes: tuple[tuple[int, ...], ...] = ((), (3,), (2, 2))
    return [
        Sample((np.array(length),), {"size": symbol("length"), "shape": shape, "dtype": dtype})
        for shape in shapes
        for length, dtype in ((0, f64), (3, i64))
    ]


tape = general(
    "tape",
    doc="""An array of a length known at run time, with elements of ``shape``.

    ``size`` is the opaque symbol of its length, bound by the result; ``residual`` is as for
    ``blank``.""",
    infer=_tape_type,
    reference=_tape_reference,
    array=_tape_text,
    nondifferentiable="its operand is an integer",
    samples=_tape_samples,
)


# --- ensure -----------------------------------------------------------------------------------


def _ensure_type(x: ArrayType, length: ArrayType) -> ArrayType:
    if x.rank == 0 or length != scalar(i64):
        raise TypeError(f"ensure: an array and an i64 length are needed, not {x} and {length}")
    return x


def _ensure_reference(x: np.ndarray, length: np.ndarray) -> np.ndarray:
    x = np.asarray(x)
    if len(x) >= length:
        return x.copy()
    longer = np.zeros((max(int(length), 2 * len(x)), *x.shape[1:]), x.dtype)
    longer[: len(x)] = x
    return longer


def _ensure_vjp(
    out_bar: Value, out: Value, x: Value, length: Value
) -> tuple[Contribution, Contribution]:
    """x_bar = out_bar; it is as long as the last version, and x may be read as if it were."""
    return out_bar, None


def _ensure_jvp(
    tangents: Sequence[Value | None], out: Value, x: Value, length: Value
) -> Value | None:
    x_dot, _ = tangents
    if x_dot is None:
        return None
    result: Value = ensure(x_dot, length)
    return result


def _ensure_samples(rng: np.random.Generator) -> list[Sample]:
    # An array of a size that is written down can't become longer.
    shapes: tuple[tuple[int, ...], ...] = ((4,), (3, 2), (0,))
    return [
        Sample((np.asarray(rng.normal(size=shape)), np.array(length, np.int64)))
        for shape in shapes
        for length in (0, shape[0])
    ]


ensure = general(
    "ensure",
    doc="""x made at least ``length`` long, and at least twice as long as it was if it must grow.

    What is added has no meaning until it is written. Growing copies; the cost of writing n
    elements one after the other is O(n) in all.""",
    infer=_ensure_type,
    reference=_ensure_reference,
    # Most of the time there is nothing to do: the test is not left to the call.
    array="{0} if len({0}) >= {1} else runtime.ensure({0}, {1})",
    vjp=_ensure_vjp,
    jvp=_ensure_jvp,
    samples=_ensure_samples,
)
