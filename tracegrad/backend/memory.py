"""What kernels do about memory: large fresh arrays, and arrays that the caller gives.

The system gives memory page by page, at the first touch: with pages of 4 kB that costs several
times what writing costs. NumPy asks for huge pages under its large arrays; Numba doesn't.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils as untyped
from numba.core import types as nb
from numba.extending import lower_builtin, type_callable

code: Any = untyped

__all__ = ["LARGE", "large_pages", "overlap"]

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


def overlap(written: Sequence[np.ndarray], read: Sequence[np.ndarray]) -> bool:
    """Whether an array that is written shares memory with another one, written or read.

    The arrays are contiguous, so that the ends of their memory tell.
    """
    return any(
        np.may_share_memory(one, other)
        for number, one in enumerate(written)
        for other in (*written[number + 1 :], *read)
    )


@type_callable(overlap)
def _overlap_type(context: Any) -> Callable[[Any, Any], Any]:
    def arrays(group: Any) -> bool:
        return bool(isinstance(group, tuples)) and all(isinstance(a, nb.Array) for a in group)

    tuples: Any = nb.BaseTuple
    return lambda written, read: nb.boolean if arrays(written) and arrays(read) else None


def _lower_overlap(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    # A table of first and last bytes and two loops over it: the code doesn't grow with the pairs.
    ends = []
    for group, values in zip(signature.args, arguments, strict=True):
        for type_, value in zip(group, code.unpack_tuple(builder, values), strict=True):
            array = context.make_array(type_)(context, builder, value)
            size = builder.mul(array.nitems, array.itemsize)
            start = builder.ptrtoint(array.data, size.type)
            empty = builder.icmp_signed("==", size, size.type(0))
            # An empty array begins after every other one.
            start = builder.select(empty, size.type(-1), start)
            ends.append((start, builder.add(start, size)))
    word = ends[0][0].type
    count = word(len(ends))
    starts, stops = (code.alloca_once(builder, word, count) for _ in range(2))
    for number, (start, stop) in enumerate(ends):
        builder.store(start, builder.gep(starts, [word(number)]))
        builder.store(stop, builder.gep(stops, [word(number)]))
    found = code.alloca_once_value(builder, ir.IntType(1)(0))

    def at(table: Any, index: Any) -> Any:
        return builder.load(builder.gep(table, [index]))

    with code.for_range(builder, word(len(signature.args[0]))) as outer:
        i = outer.index
        after = builder.add(i, word(1))
        with code.for_range(builder, count, start=after) as inner:
            j = inner.index
            one = builder.icmp_unsigned("<", at(starts, i), at(stops, j))
            other = builder.icmp_unsigned("<", at(starts, j), at(stops, i))
            builder.store(builder.or_(builder.load(found), builder.and_(one, other)), found)
    return builder.load(found)


lower_builtin(overlap, nb.BaseTuple, nb.BaseTuple)(_lower_overlap)  # type: ignore[no-untyped-call]  # numba
