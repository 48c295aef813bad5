"""What Numba makes of the functions of `tracegrad.backend.memory`.

Lowered by hand: an overload in Python would cost every kernel that uses one 50 ms of compile time.
This module loads a good part of Numba; it is imported before Numba's first compilation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils, imputils
from numba.core import types as nb
from numba.core.typing import npydecl
from numba.extending import lower_builtin, type_callable
from numba.np import arrayobj

from tracegrad.backend.memory import large_empty, overlap

# Numba's parts without types.
code: Any = cgutils
lower: Any = lower_builtin
parse_dtype: Any = npydecl.parse_dtype
populate_array: Any = arrayobj.populate_array
new_reference: Any = imputils.impl_ret_new_ref


@type_callable(large_empty)
def _empty_type(context: Any) -> Callable[..., Any]:
    def type_(shape: Any, dtype: Any = None) -> Any:
        rank = 1 if isinstance(shape, nb.Integer) else len(shape)
        return nb.Array(nb.float64 if dtype is None else parse_dtype(dtype), rank, "C")

    return type_


def _lower_empty(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    kind = signature.return_type
    word = context.get_value_type(nb.intp)
    shape_type = signature.args[0]
    if isinstance(shape_type, nb.Integer):
        given = [(shape_type, arguments[0])]
    else:
        given = list(zip(shape_type, code.unpack_tuple(builder, arguments[0]), strict=True))
    shape = [context.cast(builder, value, from_, nb.intp) for from_, value in given]
    size = word(context.get_abi_sizeof(context.get_data_type(kind.dtype)))
    wrong = ir.IntType(1)(0)
    strides: list[Any] = []
    for dim in reversed(shape):
        strides.insert(0, size)
        pair = builder.smul_with_overflow(size, dim)
        size = builder.extract_value(pair, 0)
        wrong = builder.or_(wrong, builder.extract_value(pair, 1))
        wrong = builder.or_(wrong, builder.icmp_signed("<", dim, word(0)))
    with builder.if_then(wrong, likely=False):
        said = ("negative dimensions, or more elements than there can be",)
        context.call_conv.return_user_exc(builder, ValueError, said)
    pointer = code.voidptr_t
    take = _function(builder, "tracegrad_pool_malloc", ir.FunctionType(pointer, [word]))
    data = builder.call(take, [size])
    with builder.if_then(code.is_null(builder, data), likely=False):
        context.call_conv.return_user_exc(builder, MemoryError, ("an array can't be made",))
    give = _function(builder, "tracegrad_pool_free", ir.FunctionType(ir.VoidType(), [pointer]))
    # Numba's counted memory with a destructor: ``NRT_api_functions.manage_memory``.
    api = builder.bitcast(context.nrt.get_nrt_api(builder), pointer.as_pointer())
    manage_type = ir.FunctionType(pointer, [pointer, pointer])
    manage = builder.load(builder.gep(api, [word(_MANAGE_MEMORY)]))
    manage = builder.bitcast(manage, manage_type.as_pointer())
    held = builder.call(manage, [data, builder.bitcast(give, pointer)])
    array = context.make_array(kind)(context, builder)
    made = populate_array(
        array,
        data=builder.bitcast(data, array.data.type),
        shape=shape,
        strides=strides,
        itemsize=word(context.get_abi_sizeof(context.get_data_type(kind.dtype))),
        meminfo=held,
    )
    return new_reference(context, builder, kind, made._getvalue())


_MANAGE_MEMORY = 2
"""Its place among the functions of ``NRT_api_functions``."""


def _function(builder: Any, name: str, kind: Any) -> Any:
    return builder.module.globals.get(name) or ir.Function(builder.module, kind, name)


for _shape in (nb.Integer, nb.BaseTuple):
    for _rest in ((), (nb.Any,)):
        lower(large_empty, _shape, *_rest)(_lower_empty)


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


lower(overlap, nb.BaseTuple, nb.BaseTuple)(_lower_overlap)
