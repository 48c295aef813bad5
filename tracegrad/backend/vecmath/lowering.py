"""Give the public functions their Numba meaning: a typing rule and a kernel in the module."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import llvmlite.ir as lir
from numba.core import types
from numba.extending import lower_builtin, type_callable

from . import kernels
from .emit import F32, F64, Format, Kernel, Value, kernel_text, narrow, widen

LLVM_FLOAT = {"double": lir.DoubleType(), "float": lir.FloatType()}
NUMBA_FORMAT = {types.float64: F64, types.float32: F32}
KERNELS: dict[tuple[str, Format], Kernel] = {}


class TextFunction(lir.Function):  # type: ignore[misc]  # llvmlite has no types
    """A function whose definition is a given text.

    It has no blocks that llvmlite knows of, so Numba's pass that adds fast-math flags leaves it
    alone.
    """

    text = ""

    def __str__(self) -> str:
        return self.text


def declare(module: Any, name: str, format: Format, arity: int) -> Any:
    """The function ``name`` of the module, declared if it isn't there."""
    found = module.globals.get(name)
    if found is None:
        real = LLVM_FLOAT[format.real]
        found = lir.Function(module, lir.FunctionType(real, [real] * arity), name)
    return found


def in_double(build: Callable[..., Value]) -> Callable[..., Value]:
    """The float32 kernel that computes in float64."""
    return lambda *operands: narrow(build(*map(widen, operands)))


def kernel(name: str, format: Format, arity: int) -> Kernel:
    """The kernel of a function, written once per process."""
    key = (name, format)
    if key not in KERNELS:
        if format is F64 or name in kernels.BOTH_FORMATS:
            build = getattr(kernels, name)
        else:
            build = in_double(getattr(kernels, kernels.FLOAT32.get(name, name)))
        KERNELS[key] = kernel_text(symbol(name, format), build, format, arity)
    return KERNELS[key]


def symbol(name: str, format: Format) -> str:
    """The kernel's name in LLVM."""
    return f"vecmath_{name}_{format.suffix}"


def define(module: Any, name: str, text: str, format: Format, arity: int) -> Any:
    """A function of ``module`` with the given text."""
    real = LLVM_FLOAT[format.real]
    function = TextFunction(module, lir.FunctionType(real, [real] * arity), name)
    function.text = text
    return function


def kernel_function(module: Any, name: str, format: Format, arity: int) -> Any:
    """The kernel's function in ``module``, with everything it calls."""
    found = module.globals.get(symbol(name, format))
    if found is not None:
        return found
    made = kernel(name, format, arity)
    for callee, (kind, count) in made.callees.items():
        declare(module, callee, F64 if kind == "double" else F32, count)
    for companion, text in made.companions.items():
        if companion not in module.globals:
            define(module, companion, text, F64, 2)
    return define(module, symbol(name, format), made.definition, format, arity)


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
        format = NUMBA_FORMAT[sig.return_type]
        return builder.call(kernel_function(builder.module, name, format, arity), args)

    type_callable(function)(typer_of)
    for real in NUMBA_FORMAT:
        lower_builtin(function, *[real] * arity)(lower)  # type: ignore[no-untyped-call]  # numba
