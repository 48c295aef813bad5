"""``in_advance(x)``: x, computed before what reads it asks for it.

LLVM turns ``y * (1.0 / d)`` into ``y / d``. That is one operation less, but where a loop computes
y from trip to trip it has the trips wait for the division, which could be done before y is known.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import types as nb
from numba.extending import lower_builtin, type_callable


def in_advance(x: float) -> float:
    """``x``; in a kernel, as a value that nothing is merged with."""
    return x


@type_callable(in_advance)
def _type(context: Any) -> Callable[[Any], Any]:
    return lambda x: x if isinstance(x, nb.Float) else None


def _lower(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    (x,) = arguments
    fence = ir.FunctionType(x.type, [x.type])
    name = "llvm.arithmetic.fence." + ("f64" if signature.args[0] == nb.float64 else "f32")
    found = builder.module.globals.get(name) or ir.Function(builder.module, fence, name)
    return builder.call(found, [x])


for _real in (nb.float64, nb.float32):
    lower_builtin(in_advance, _real)(_lower)  # type: ignore[no-untyped-call]  # numba
