"""Calls of `tracegrad.backend.vecmath`: the same kernels that Numba's modules get, as text."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from tracegrad.backend.native.types import F32, F64, Number, Unsupported
from tracegrad.backend.vecmath import texts
from tracegrad.backend.vecmath.emit import F32 as SINGLE
from tracegrad.backend.vecmath.emit import F64 as DOUBLE

if TYPE_CHECKING:
    from tracegrad.backend.native.expressions import Expressions

MODULE = "tracegrad.backend.vecmath"


def knows(name: str) -> bool:
    return name in texts.ARITY


def called_in(within: Expressions, node: ast.stmt) -> bool:
    """Whether a statement calls one of these functions."""
    paths = [within.path(each.func) for each in ast.walk(node) if isinstance(each, ast.Call)]
    return any(path is not None and path.startswith(f"{MODULE}.") for path in paths)


def call(within: Expressions, name: str, operands: list[Number]) -> Number:
    """float32 if every operand is, else float64."""
    arity = texts.ARITY.get(name)
    if arity is None or arity != len(operands):
        raise Unsupported(f"the function {name}")
    type = F32 if all(x.type is F32 for x in operands) else F64
    given = [within.scalars.cast(x, type) for x in operands]
    module = within.writer.module
    format = SINGLE if type is F32 else DOUBLE
    symbol = texts.symbol(name, format)
    if symbol not in module.definitions:
        made = texts.kernel(name, format, arity)
        for callee, (real, count) in made.callees.items():
            module.declare(callee, real, ", ".join([real] * count))
        for companion, text in made.companions.items():
            module.define(companion, text)
        module.define(symbol, made.definition)
    arguments = ", ".join(f"{type.llvm} {x.text}" for x in given)
    flags = within.flags
    return Number(type, within.writer.op(f"call{flags} {type.llvm} @{symbol}({arguments})"))
