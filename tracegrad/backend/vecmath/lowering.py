"""Give the public functions their Numba meaning: a typing rule and a kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba.core import types
from numba.extending import lower_builtin, type_callable


def result_type(operands: tuple[Any, ...]) -> Any:
    """float32 if every operand is, else float64, as NumPy's functions; None if not real."""
    if all(t == types.float32 for t in operands):
        return types.float32
    if all(isinstance(t, (types.Float, types.Integer, types.Boolean)) for t in operands):
        return types.float64
    return None


def register(function: Callable[..., Any], arity: int) -> None:
    """Let Numba compile calls of ``function`` to its kernel."""
    name = function.__name__

    def typer_of(context: Any) -> Callable[..., Any]:
        if arity == 1:

            def unary(x: Any) -> Any:
                result = result_type((x,))
                return None if result is None else result(result)

            return unary

        def binary(x: Any, y: Any) -> Any:
            result = result_type((x, y))
            return None if result is None else result(result, result)

        return binary

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        # The descriptions of all kernels take a while to import: not before one is needed.
        from tracegrad.backend.vecmath.emit import F32, F64
        from tracegrad.backend.vecmath.modules import kernel_function

        format = F32 if sig.return_type == types.float32 else F64
        return builder.call(kernel_function(builder.module, name, format, arity), args)

    type_callable(function)(typer_of)
    for real in (types.float64, types.float32):
        lower_builtin(function, *[real] * arity)(lower)  # type: ignore[no-untyped-call]  # numba
