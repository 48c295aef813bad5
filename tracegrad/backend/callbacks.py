"""Calls of Python functions from kernels (see `tracegrad.ops.callbacks`).

Numba compiles them as blocks in object mode, which hold the interpreter's lock and hand exceptions
on with their tracebacks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tracegrad.backend.helpers import when_numba_compiles
from tracegrad.ops.callbacks import run


def call_python(number: int, out: np.ndarray, arguments: Sequence[Any]) -> np.ndarray:
    """``out``, with what the function made of the arguments written to it."""
    run(number, out, arguments)
    return out


def _tell() -> None:
    from numba import objmode
    from numba.extending import overload

    def compiled(number: Any, out: Any, arguments: Any) -> Any:
        def call(number: Any, out: Any, arguments: Any) -> Any:
            with objmode():
                run(number, out, arguments)
            return out

        return call

    made: Any = overload(call_python)
    made(compiled)


when_numba_compiles(_tell)
