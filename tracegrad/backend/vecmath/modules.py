"""Put kernels into the LLVM modules that Numba builds. Imported when a kernel is first compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import llvmlite.ir as lir

from tracegrad.backend.vecmath import angles, kernels
from tracegrad.backend.vecmath.emit import (
    F32,
    F64,
    Format,
    Kernel,
    Value,
    kernel_text,
    narrow,
    widen,
)

LLVM_FLOAT = {"double": lir.DoubleType(), "float": lir.FloatType()}
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
        native = format is F64 or name in kernels.BOTH_FORMATS
        described = name if native else kernels.FLOAT32.get(name, name)
        build = getattr(angles if hasattr(angles, described) else kernels, described)
        build = build if native else in_double(build)
        KERNELS[key] = kernel_text(symbol(name, format), build, format, arity)
    return KERNELS[key]


def symbol(name: str, format: Format) -> str:
    """The kernel's name in LLVM."""
    return f"tracegrad_{name}_{format.suffix}"


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
