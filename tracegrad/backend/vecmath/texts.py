"""The text of each kernel, written once per process when it is first needed."""

from __future__ import annotations

from collections.abc import Callable

from tracegrad.backend.vecmath import angles, kernels
from tracegrad.backend.vecmath.emit import (
    F64,
    Format,
    Kernel,
    Value,
    kernel_text,
    narrow,
    widen,
)

#: The functions that have a kernel, with the number of their operands.
ARITY = {
    **dict.fromkeys(("exp", "expm1", "log", "log1p", "log2", "log10"), 1),
    **dict.fromkeys(("sin", "cos", "tan", "arcsin", "arccos", "arctan"), 1),
    **dict.fromkeys(("sinh", "cosh", "tanh", "sigmoid", "softplus", "erf", "erfc"), 1),
    **dict.fromkeys(("pow", "arctan2"), 2),
}

KERNELS: dict[tuple[str, Format], Kernel] = {}


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
