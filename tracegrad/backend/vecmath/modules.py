"""Put kernels into the LLVM modules that Numba builds. Imported when a kernel is first compiled."""

from __future__ import annotations

from typing import Any

import llvmlite.ir as lir

from tracegrad.backend.vecmath.emit import F32, F64, Format
from tracegrad.backend.vecmath.texts import kernel, symbol

LLVM_FLOAT = {"double": lir.DoubleType(), "float": lir.FloatType()}


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
