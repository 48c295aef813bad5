"""``callback``: a call of a Python function.

The operation names the function by a number, which holds in this process only: a text is printed
and compiled, or found among compiled ones, in the process that gave the number.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tracegrad.errors import ArgumentError, Place
from tracegrad.ir.types import ArrayType, DType, f64
from tracegrad.ops.constants import Dims, checked_dtype, checked_shape, dtype_text
from tracegrad.ops.registry import Sample, general


@dataclass(frozen=True, eq=False)
class Callback:
    """A function that is given arrays of its own, and gives one array."""

    function: Callable[..., np.ndarray]
    name: str
    place: Place | None = None

    def refuse(self, what: str) -> None:
        """Raise `ArgumentError`: the function gives something else than was declared."""
        raise ArgumentError(
            f"the callback {self.name} {what}",
            way_out="declare what it returns, or return what is declared",
            place=self.place,
        )


_numbers: dict[Any, int] = {}
_callbacks: list[Callback] = []
_lock = threading.Lock()


def number_of(callback: Callback, key: Any) -> int:
    """The number of a function; that of an earlier one with the same ``key``."""
    with _lock:
        if key not in _numbers:
            _numbers[key] = len(_callbacks)
            _callbacks.append(callback)
        return _numbers[key]


def run(number: int, out: np.ndarray, arguments: Sequence[Any]) -> None:
    """Call the function with copies of the arguments, and write what it gives to ``out``."""
    callback = _callbacks[number]
    given = [np.array(each) if isinstance(each, np.ndarray) else each for each in arguments]
    out[...] = callback.function(*given)


# --- the operation ----------------------------------------------------------------------------


def _type(*operands: ArrayType, number: Any, shape: Any, dtype: Any) -> ArrayType:
    if not isinstance(number, int) or isinstance(number, bool):
        raise TypeError(f"callback: a number is needed, not {number!r}")
    if len(checked_shape(shape, "callback")) != 1:
        raise TypeError(f"callback: the result is a vector, not of shape {shape}")
    return ArrayType(checked_dtype(dtype, "callback"), shape)


def _reference(
    *operands: np.ndarray, number: int, shape: tuple[int, ...], dtype: DType
) -> np.ndarray:
    out = np.empty(shape, dtype.numpy)
    run(number, out, [x if x.ndim else x.item() for x in operands])
    return out


def _text(
    operands: Sequence[str], result: ArrayType, attributes: Mapping[str, Any], dims: Dims
) -> str:
    given = "".join(f"{each}, " for each in operands).rstrip()
    (size,) = result.shape
    made = f"np.empty({dims(size)}, {dtype_text(result.dtype)})"
    return f"runtime.call_python({attributes['number']}, {made}, ({given}))"


def _samples(rng: np.random.Generator) -> list[Sample]:
    number = number_of(Callback(lambda x, k: x.ravel() * k, "scaled"), "a sample")
    attributes = {"number": number, "shape": (4,), "dtype": f64}
    return [Sample((np.asarray(rng.normal(size=(2, 2))), np.asarray(3.0)), attributes)]


callback = general(
    "callback",
    doc="""What a Python function makes of the operands: a vector, whose size is declared.

    The function has no effects that anybody waits for: it may be called again, or not at all.""",
    infer=_type,
    reference=_reference,
    array=_text,
    cost=1000.0,
    nondifferentiable="it runs Python, which tracegrad can't look into; give it a rule with "
    "tracegrad.custom_vjp",
    samples=_samples,
)
