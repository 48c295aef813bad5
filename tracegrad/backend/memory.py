"""What kernels do about large fresh arrays.

The system gives memory page by page, at the first touch: with pages of 4 kB that costs several
times what writing costs. NumPy asks for huge pages under its large arrays; Numba doesn't.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types as nb
from numba.extending import lower_builtin, type_callable

__all__ = ["LARGE", "large_pages"]

#: Bytes from which an array can hold a huge page, and asking for it pays.
LARGE = 2 << 20

_HUGE_PAGES = 14
"""MADV_HUGEPAGE, the same on every Linux."""

_PAGE = 4096
"""An address that is no multiple of a larger page size is refused, and nothing happens."""


def large_pages(array: np.ndarray) -> None:
    """Ask the system for huge pages under a fresh array, before it is first written.

    Does nothing for a small array and where there is no way to ask. Changes no value.
    """


@type_callable(large_pages)
def _type(context: Any) -> Callable[[Any], Any]:
    return lambda array: nb.none if isinstance(array, nb.Array) else None


# Lowered by hand: an overload in Python would cost every large kernel 50 ms of compile time.
def _lower(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    if sys.platform == "linux":
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        word = array.nitems.type
        size = builder.mul(array.nitems, array.itemsize)
        with builder.if_then(builder.icmp_signed(">=", size, word(LARGE)), likely=False):
            start = builder.ptrtoint(array.data, word)
            skipped = builder.and_(builder.neg(start), word(_PAGE - 1))
            kind = ir.FunctionType(ir.IntType(32), [word, word, ir.IntType(32)])
            found = builder.module.globals.get("madvise")
            advise = found or ir.Function(builder.module, kind, "madvise")
            where = builder.add(start, skipped), builder.sub(size, skipped)
            builder.call(advise, [*where, ir.IntType(32)(_HUGE_PAGES)])
    return context.get_dummy_value()


lower_builtin(large_pages, nb.Array)(_lower)  # type: ignore[no-untyped-call]  # numba
