"""Cutting a vjp function in two: a forward part and a pullback, joined by residuals.

The residuals are exactly the values that cross the cut. What costs nothing to make again
(constants, views) is made again; a parameter of the primal that the pullback reads crosses as
itself. A size that no residual's shape tells crosses as an integer.
"""

from __future__ import annotations

from collections.abc import Iterator

from tracegrad import ops
from tracegrad.ir.builder import Builder
from tracegrad.ir.core import Function, Operation, Value
from tracegrad.ir.sizes import BINDING, attribute_symbols, operation_symbols, type_symbols
from tracegrad.ir.types import i64, is_symbol, scalar, symbol

FREE = frozenset({"const", "dim", "iota", "view", "reshape", "tape"})
"""Operations that are repeated in the pullback instead of storing their results."""


def cut(function: Function, primals: int, results: int) -> tuple[Function, Function]:
    """Split ``(*primals, *result_bars) -> (*results, *param_bars)`` into two functions.

    Parameters
    ----------
    function : as made by `tracegrad.transforms.vjp.vjp`, in array form.
    primals : how many leading parameters are primals; the rest are result cotangents.
    results : how many leading results are primal results.

    Returns
    -------
    forward : ``(*primals) -> (*results, *residuals)``.
    pullback : ``(*residuals, *result_bars) -> (*param_bars)``; sizes are the last residuals.
    """
    bars = set(function.params[primals:])
    late = _depending_on(function, bars)
    crossing = _crossing(function, late, primals, results)
    sizes = _untold_sizes(function, primals, results, crossing)
    return (
        _forward(function, late, primals, results, crossing, sizes),
        _pullback(function, primals, results, crossing, sizes),
    )


def _depending_on(function: Function, values: set[Value]) -> set[Value]:
    late = set(values)
    for op in function.body.ops:
        if reads_of(op) & late:
            late.update(op.results)
    return late


def reads_of(op: Operation) -> set[Value]:
    """The values that an operation and what is in its regions read."""
    read = set(op.operands)
    for region in op.regions:
        read.update(region.yields)
        for inner in region.walk():
            read.update(inner.operands)
            for nested in inner.regions:
                read.update(nested.yields)
    return read


def _crossing(function: Function, late: set[Value], primals: int, results: int) -> list[Value]:
    """The early values that the pullback reads, in program order, free ones looked through."""
    needed: set[Value] = set()

    def need(value: Value) -> None:
        if value in late or value in needed:
            return
        if value.op is not None and value.op.name in FREE:
            for operand in value.op.operands:
                need(operand)
        else:
            needed.add(value)

    for op in function.body.ops:
        if any(r in late for r in op.results):
            for value in reads_of(op):
                need(value)
    for value in function.results[results:]:
        need(value)
    order = [*function.params[:primals], *(r for op in function.body.ops for r in op.results)]
    return [v for v in order if v in needed]


def _untold_sizes(
    function: Function, primals: int, results: int, crossing: list[Value]
) -> list[str]:
    """Symbols that the pullback mentions and no shape of its parameters gives, in order."""
    given = [*crossing, *function.params[primals:]]
    told = {is_symbol(d) for v in given for d in v.shape}
    mentioned = [s for v in given for s in type_symbols(v.type)]
    wanted = _needed_ops(function, set(given), function.results[results:])
    for op in function.body.ops:
        if op in wanted:
            mentioned.extend(operation_symbols(op))
            told.update(_bound_by(op))
    for value in function.results[results:]:
        mentioned.extend(type_symbols(value.type))
    return [s for s in dict.fromkeys(mentioned) if s not in told]


def _bound_by(op: Operation) -> Iterator[str]:
    """The symbols that an operation, or one in its regions, finds out by itself."""
    if op.name in BINDING:
        yield from attribute_symbols(op.attributes["size"])
    for region in op.regions:
        for inner in region.ops:
            yield from _bound_by(inner)


def _forward(
    function: Function,
    late: set[Value],
    primals: int,
    results: int,
    crossing: list[Value],
    sizes: list[str],
) -> Function:
    with Builder() as build:
        env: dict[Value, Value] = {}
        for p in function.params[:primals]:
            env[p] = build.param(p.type, p.hint)
        for op in function.body.ops:
            if late.isdisjoint(op.results):
                env.update(zip(op.results, build.copy(op, env).results, strict=True))
        # A value of an enclosing trace stands for itself.
        outs = [env.get(v, v) for v in (*function.results[:results], *crossing)]
        outs += [ops.dim(size=symbol(name)) for name in sizes]
        names = [*function.result_names[:results], *(v.hint for v in crossing), *sizes]
        return build.function(f"{function.name}_forward", outs, like=function, result_names=names)


def _inside(op: Operation, value: Value) -> bool:
    """Whether ``value`` is defined within the regions of ``op``."""
    for region in op.regions:
        if value in region.params:
            return True
        for inner in region.walk():
            if value in inner.results or any(value in r.params for r in inner.regions):
                return True
    return False


def _pullback(
    function: Function, primals: int, results: int, crossing: list[Value], sizes: list[str]
) -> Function:
    with Builder() as build:
        env: dict[Value, Value] = {}
        for v in crossing:
            env[v] = build.param(v.type, v.hint)
        for name in sizes:
            build.param(scalar(i64), name)
        for v in function.params[primals:]:
            env[v] = build.param(v.type, v.hint)
        wanted = _needed_ops(function, set(env), function.results[results:])
        for op in function.body.ops:
            if op in wanted:
                env.update(zip(op.results, build.copy(op, env).results, strict=True))
        outs = [env.get(v, v) for v in function.results[results:]]
        return build.function(
            f"{function.name}_pullback",
            outs,
            like=function,
            size_params={name: len(crossing) + i for i, name in enumerate(sizes)},
            guards=(),
            result_names=function.result_names[results:],
            title=function.title.replace("value and vjp", "pullback"),
        )


def _needed_ops(
    function: Function, given: set[Value], results: tuple[Value, ...]
) -> set[Operation]:
    wanted: set[Operation] = set()
    stack = [v for v in results if v not in given]
    while stack:
        value = stack.pop()
        op = value.op
        if op is None or op in wanted:
            continue
        wanted.add(op)
        stack.extend(v for v in reads_of(op) if v not in given and not _inside(op, v))
    return wanted
