"""What Numba makes of ``in_advance`` and of externals (see `tracegrad.backend.helpers`)."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils
from numba.core import types as nb
from numba.extending import lower_builtin, type_callable

from tracegrad.backend.helpers import External

# No types.
lower: Any = lower_builtin
code: Any = cgutils


def _function(builder: Any, name: str, kind: Any) -> Any:
    return builder.module.globals.get(name) or ir.Function(builder.module, kind, name)


# --- in_advance -------------------------------------------------------------------------------


def lower_in_advance(in_advance: Callable[..., Any]) -> None:
    """As a fence, which LLVM moves nothing across."""

    def type_of(context: Any) -> Callable[[Any], Any]:
        return lambda x: x if isinstance(x, nb.Float) else None

    def write(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        (x,) = arguments
        suffix = "f64" if signature.args[0] == nb.float64 else "f32"
        fence = ir.FunctionType(x.type, [x.type])
        return builder.call(_function(builder, f"llvm.arithmetic.fence.{suffix}", fence), [x])

    type_callable(in_advance)(type_of)
    for real in (nb.float64, nb.float32):
        lower(in_advance, real)(write)


# --- externals --------------------------------------------------------------------------------

_LETTERS: dict[str, Any] = {"d": nb.float64, "f": nb.float32, "l": nb.int64, "i": nb.int32}

_addresses: dict[str, tuple[str, str]] = {}
"""Of LLVM's symbols: their providers, and the names by which texts call them."""


def lower_external(external: External) -> None:
    """A call of a symbol; `give_addresses` tells LLVM where it is."""
    operands = [_LETTERS[letter] for letter in external.operands]
    result = _LETTERS[external.result]
    symbol = f"tracegrad_{external.function.__name__}"
    _addresses[symbol] = (external.provider, external.function.__name__)

    def type_of(context: Any) -> Callable[..., Any]:
        def given(*types: Any) -> Any:
            return result(*operands)

        # By this Numba knows how many there are.
        given.__signature__ = inspect.signature(external.function)  # type: ignore[attr-defined]  # read by Numba
        return given

    def write(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        words = [context.get_value_type(each) for each in operands]
        found = context.get_value_type(result)
        if external.written:
            kind = ir.FunctionType(ir.VoidType(), words + [found.as_pointer()] * external.written)
            slots = [code.alloca_once(builder, found) for _ in range(external.written)]
            builder.call(_function(builder, symbol, kind), [*arguments, *slots])
            return builder.load(slots[external.taken])
        kind = ir.FunctionType(found, [*words, ir.IntType(32)])
        # The last word: as Cython's functions want it.
        return builder.call(_function(builder, symbol, kind), [*arguments, ir.IntType(32)(0)])

    type_callable(external.function)(type_of)
    lower(external.function, *operands)(write)


def give_addresses(source: str) -> None:
    """Tell LLVM where the externals are that a text imports."""
    import llvmlite.binding as llvm

    from tracegrad.backend.native.externals import address

    for symbol, (provider, name) in _addresses.items():
        if llvm.address_of_symbol(symbol) is None and name in source:
            llvm.add_symbol(symbol, address(provider))
