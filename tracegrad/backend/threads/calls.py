"""What Numba makes of `in_parallel`, `chunk_count` and `natural`. Imported with the first kernel
that has a parallel loop.

``in_parallel(loop, chunks, …)`` puts the arguments into memory and gives the pool a small function
that takes them out again and calls ``loop`` for the trips of chunk ``c``. Each chunk leaves its
status; the first error in the order of the chunks is raised, as it would be if they ran in turn.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils as untyped
from numba.core import types as nb
from numba.core.callconv import excinfo_ptr_t
from numba.extending import lower_builtin, type_callable

from tracegrad.backend.threads import CHUNKS, GRAIN, chunk_count, in_parallel, natural, pool

__all__: list[str] = []

cgutils: Any = untyped

_word = ir.IntType(64)
_int = ir.IntType(32)
_address = ir.IntType(8).as_pointer()

pool.register()


@type_callable(in_parallel)
def _type_of_parallel(context: Any) -> Callable[..., Any]:
    def typer(loop: Any, chunks: Any, lo: Any, hi: Any, arguments: Any, sums: Any) -> Any:
        tuples = isinstance(arguments, nb.BaseTuple) and isinstance(sums, nb.BaseTuple)
        numbers = all(isinstance(each, nb.Integer) for each in (chunks, lo, hi))
        if not (isinstance(loop, nb.Dispatcher) and tuples and numbers):
            return None
        return nb.none(loop, nb.int64, nb.int64, nb.int64, arguments, sums)

    return typer


def _lower_parallel(context: Any, builder: Any, signature: Any, values: Any) -> Any:
    loop, arguments = signature.args[0], signature.args[4]
    chunks = values[1]
    called = context.typing_context.resolve_function_type(loop, _types(arguments), {})
    callee = context.get_function(loop, called)
    context.add_linking_libs(getattr(callee, "libs", ()))

    codes = cgutils.alloca_once(builder, ir.ArrayType(_int, CHUNKS))
    errors = cgutils.alloca_once(builder, ir.ArrayType(_address, CHUNKS))
    parts = [*values[1:], builder.bitcast(codes, _address), builder.bitcast(errors, _address)]
    closure = cgutils.alloca_once(builder, ir.LiteralStructType([p.type for p in parts]))
    for k, part in enumerate(parts):
        builder.store(part, cgutils.gep_inbounds(builder, closure, 0, k))

    chunk = _chunk(context, builder, callee, called, signature, [p.type for p in parts])
    run = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(ir.VoidType(), [chunk.type, _address, _word]),
        pool.RUN,
    )
    builder.call(run, [chunk, builder.bitcast(closure, _address), chunks])
    with cgutils.for_range(builder, chunks) as each:
        code = builder.load(cgutils.gep(builder, codes, 0, each.index))
        error = builder.load(cgutils.gep(builder, errors, 0, each.index))
        error = builder.bitcast(error, excinfo_ptr_t)
        status = context.call_conv._get_return_status(builder, code, error)
        with builder.if_then(status.is_error, likely=False):
            context.call_conv.return_status_propagate(builder, status)
    return context.get_dummy_value()


def _types(arguments: Any) -> tuple[Any, ...]:
    """The types of what a loop takes."""
    pairs = (getattr(each, "types", (each,)) for each in arguments.types)
    return (nb.int64, nb.int64, *(first for first, *_ in pairs))


def _chunk(
    context: Any, builder: Any, callee: Any, called: Any, signature: Any, parts: list[Any]
) -> Any:
    """The function ``(closure, c)`` that the pool calls."""
    module, convention = builder.module, context.call_conv
    kinds = (nb.voidptr, nb.int64)
    structure = ir.LiteralStructType(parts).as_pointer()
    name = module.get_unique_name(f"{builder.function.name}.chunk")
    # In Numba's convention, in which an error leaves the function by its status.
    inner = ir.Function(module, convention.get_function_type(nb.none, kinds), f"{name}.raising")
    inner.linkage = "internal"
    build = ir.IRBuilder(inner.append_basic_block())
    closure, c = convention.get_arguments(inner)
    place = build.bitcast(closure, structure)
    chunks, lo, hi, arguments, sums = (
        build.load(cgutils.gep_inbounds(build, place, 0, k)) for k in range(5)
    )
    trips = build.sub(hi, lo)
    ends = [
        build.add(lo, build.sdiv(build.mul(trips, number), chunks))
        for number in (c, build.add(c, _word(1)))
    ]
    given = [
        _own(context, build, kind, build.extract_value(arguments, k), c)
        if isinstance(kind, nb.BaseTuple)
        else build.extract_value(arguments, k)
        for k, kind in enumerate(signature.args[4].types)
    ]
    results = callee(build, [*ends, *given])
    one = not isinstance(called.return_type, nb.BaseTuple)
    for k, kind in enumerate(signature.args[5].types):
        array = context.make_array(kind)(context, build, build.extract_value(sums, k))
        result = results if one else build.extract_value(results, k)
        build.store(result, build.gep(array.data, [c]))
    convention.return_value(build, context.get_dummy_value())

    outer = ir.Function(module, ir.FunctionType(ir.VoidType(), [_address, _word]), name)
    outer.linkage = "internal"
    build = ir.IRBuilder(outer.append_basic_block())
    closure, c = outer.args
    status, _ = convention.call_function(build, inner, nb.none, kinds, [closure, c])
    place = build.bitcast(closure, structure)
    for k, value, kind in (
        (5, status.code, _int),
        (6, build.bitcast(status.excinfoptr, _address), _address),
    ):
        row = build.load(cgutils.gep_inbounds(build, place, 0, k))
        build.store(value, build.gep(build.bitcast(row, kind.as_pointer()), [c]))
    build.ret_void()
    return outer


def _own(context: Any, build: Any, kind: Any, pair: Any, c: Any) -> Any:
    """A chunk's own array: the first of the pair, or a row of the second."""
    first = context.make_array(kind.types[0])(context, build, build.extract_value(pair, 0))
    rows = context.make_array(kind.types[1])(context, build, build.extract_value(pair, 1))
    row = build.gep(rows.data, [build.mul(build.sub(c, _word(1)), first.nitems)])
    is_first = build.icmp_signed("==", c, _word(0))
    # The memory counts as the first array's: that outlives the chunk as the rows do.
    first.data = build.select(is_first, first.data, row)
    return first._getvalue()


lower_builtin(in_parallel, nb.Dispatcher, nb.int64, nb.int64, nb.int64, nb.BaseTuple, nb.BaseTuple)(  # type: ignore[no-untyped-call]  # numba
    _lower_parallel
)


@type_callable(chunk_count)
def _type_of_count(context: Any) -> Callable[..., Any]:
    def typer(trips: Any, work: Any, own: Any) -> Any:
        whole = all(isinstance(each, nb.Integer) for each in (trips, work, own))
        return nb.int64(nb.int64, nb.int64, nb.int64) if whole else None

    return typer


def _lower_count(context: Any, builder: Any, signature: Any, values: Any) -> Any:
    trips, work, own = values
    state = builder.module.globals.get(pool.STATE)
    if state is None:
        state = ir.GlobalVariable(builder.module, ir.ArrayType(_word, 2), pool.STATE)
        state.linkage = "external"
    count, grain = (builder.load(cgutils.gep_inbounds(builder, state, 0, k)) for k in (0, 1))
    usual = builder.icmp_signed(">=", grain, _word(GRAIN))
    fair = builder.select(usual, _fair(builder, work, own), _word(CHUNKS))
    for other in (trips, builder.sdiv(work, grain), fair):
        count = builder.select(builder.icmp_signed("<", other, count), other, count)
    count = builder.select(builder.icmp_signed("<", count, _word(1)), _word(1), count)
    return builder.select(builder.icmp_signed("<", trips, _word(1)), _word(0), count)


def _fair(builder: Any, work: Any, own: Any) -> Any:
    """The square root of ``work // (3 * own)``, exactly: it decides how sums are made."""
    some = builder.icmp_signed(">", own, _word(0))
    divisor = builder.select(some, builder.mul(own, _word(3)), _word(1))
    square = builder.sdiv(work, divisor)
    # Beyond so many chunks nobody asks, and below no float is rounded.
    least = builder.icmp_signed("<", square, _word(CHUNKS * CHUNKS))
    square = builder.select(least, square, _word(CHUNKS * CHUNKS))
    square = builder.select(builder.icmp_signed("<", square, _word(0)), _word(0), square)
    double = ir.DoubleType()
    root = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(double, [double]), "llvm.sqrt.f64"
    )
    found = builder.fptosi(builder.call(root, [builder.sitofp(square, double)]), _word)
    return builder.select(some, found, _word(CHUNKS))


lower_builtin(chunk_count, nb.int64, nb.int64, nb.int64)(_lower_count)  # type: ignore[no-untyped-call]  # numba


@type_callable(natural)
def _type_of_natural(context: Any) -> Callable[..., Any]:
    return lambda number: nb.int64(nb.int64) if isinstance(number, nb.Integer) else None


def _lower_natural(context: Any, builder: Any, signature: Any, values: Any) -> Any:
    # No index is as large as 2**62: sums with it stay positive, which LLVM sees too.
    return builder.and_(values[0], _word((1 << 62) - 1))


lower_builtin(natural, nb.int64)(_lower_natural)  # type: ignore[no-untyped-call]  # numba
