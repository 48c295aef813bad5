"""Reverse mode: append the adjoint statements of a function.

Names: ``x_bar`` is the cotangent of ``x``, the derivative of the seeded results with respect
to ``x``. Going backwards over the active operations, each one turns the cotangent of its
result (*upstream*) into one contribution per operand (*downstream = local × upstream*), and
the contributions to one value add up.
"""

from __future__ import annotations

from collections.abc import Sequence

from tracegrad import ops
from tracegrad.errors import NotDifferentiable, Place
from tracegrad.ir.builder import Builder
from tracegrad.ir.core import Function, Location, Operation, Value
from tracegrad.ir.types import ArrayType
from tracegrad.ops.registry import Contribution, constant, expand_to
from tracegrad.transforms.activity import active_values
from tracegrad.transforms.masks import masked, support


def vjp(function: Function, wrt: Sequence[int], seeded: Sequence[int] | None = None) -> Function:
    """The function of primals and result cotangents that gives results and cotangents.

    Parameters
    ----------
    function : in array form.
    wrt : indices of the float parameters whose cotangents are wanted.
    seeded : indices of the results that have a cotangent; default: every float result.

    Returns
    -------
    Function ``(*params, *result_bars) -> (*results, *param_bars)``; each cotangent has the
    shape and dtype of its value.

    Raises
    ------
    NotDifferentiable : an operation on the active path has no derivative; quotes its reason.

    Notes
    -----
    Griewank & Walther, *Evaluating Derivatives*, 2nd ed., ch. 3.
    """
    if seeded is None:
        seeded = [i for i, r in enumerate(function.results) if r.dtype.is_float]
    with Builder() as build:
        env = _copy_primal(build, function)
        seeds = {}
        for i in seeded:
            result = function.results[i]
            seeds[i] = build.param(result.type, f"{result_name(function, i)}_bar")
        bars = _reverse(build, function, env, wrt, seeds)
        return build.function(
            f"{function.name}_vjp",
            [*(env[r] for r in function.results), *bars],
            like=function,
            result_names=_result_names(function, wrt),
            title=f"value and vjp of {function.name}",
        )


def gradient(function: Function, wrt: Sequence[int], of: int = 0) -> Function:
    """The function that gives all results of ``function``, then the gradient of result ``of``.

    The result ``of`` must be a float scalar; its cotangent is 1. Other results pass through.
    """
    with Builder() as build:
        env = _copy_primal(build, function)
        result = function.results[of]
        with build.at(function.origin, "reverse"):
            seed = constant(1.0, result.dtype)
            seed.hint = f"{result_name(function, of)}_bar"
        bars = _reverse(build, function, env, wrt, {of: seed})
        return build.function(
            f"{function.name}_value_and_grad",
            [*(env[r] for r in function.results), *bars],
            like=function,
            result_names=_result_names(function, wrt),
            title=f"value and gradient of {function.name}",
        )


def result_name(function: Function, index: int) -> str:
    """What result ``index`` is called in printed source."""
    if index < len(function.result_names) and function.result_names[index]:
        return function.result_names[index]
    hint = function.results[index].hint
    if hint:
        return hint
    return "out" if len(function.results) == 1 else f"out{index}"


def _result_names(function: Function, wrt: Sequence[int]) -> list[str]:
    names = [result_name(function, i) for i in range(len(function.results))]
    return names + [f"{function.params[i].hint or f'x{i}'}_bar" for i in wrt]


def _copy_primal(build: Builder, function: Function) -> dict[Value, Value]:
    env: dict[Value, Value] = {}
    for p in function.params:
        env[p] = build.param(p.type, p.hint)
    for op in function.body.ops:
        copied = build.copy(op, env)
        env.update(zip(op.results, copied.results, strict=True))
    for v in function.results:
        env.setdefault(v, v)  # a value of an enclosing trace
    return env


def _reverse(
    build: Builder,
    function: Function,
    env: dict[Value, Value],
    wrt: Sequence[int],
    seeds: dict[int, Value],
) -> list[Value]:
    """Append the reverse sweep; the cotangents of the parameters ``wrt``."""
    params = [function.params[i] for i in wrt]
    active = active_values(function, params)
    bars: dict[Value, Value] = {}
    for index, seed in seeds.items():
        if function.results[index] in active:
            with build.at(function.origin, "reverse"):
                _accumulate(bars, function.results[index], seed)

    for op in reversed(function.body.ops):
        if not any(r in active for r in op.results):
            continue
        out_bars = [bars.pop(r, None) for r in op.results]
        if all(b is None for b in out_bars):  # nothing flows back through this operation
            continue
        with build.at(op.location, "reverse"):
            contributions = _contributions(op, out_bars, env)
            for operand, downstream in zip(op.operands, contributions, strict=True):
                if operand in active and downstream is not None:
                    value = downstream if isinstance(downstream, Value) else None
                    if value is None:
                        value = expand_to(constant(downstream, operand.dtype), operand.shape)  # type: ignore[arg-type]  # a number here
                    _accumulate(bars, operand, project(value, operand.type))

    results: list[Value] = []
    with build.at(function.origin, "reverse"):
        for p in params:
            bar = bars.get(p)
            if bar is None:
                bar = expand_to(constant(0.0, p.dtype), p.shape)
                bar.hint = f"{p.hint}_bar" if p.hint else ""
            results.append(bar)
    return results


def _contributions(
    op: Operation, out_bars: list[Value | None], env: dict[Value, Value]
) -> tuple[Contribution, ...]:
    opdef = op.opdef
    if op.regions:
        raise NotDifferentiable(
            f"the derivative of a traced `{op.name}` is not available yet",
            way_out="write it with whole-array operations or np.where",
            place=place_of(op.location),
        )
    if opdef.nondifferentiable is not None:
        raise NotDifferentiable(
            f"{op.name} has no derivative: {opdef.nondifferentiable}",
            way_out="wrap its argument in tracegrad.stop_gradient if it is meant to be constant",
            place=place_of(op.location),
        )
    operands = [env.get(v, v) for v in op.operands]
    outs = [env[r] for r in op.results]
    if len(outs) == 1:
        (out_bar,) = out_bars
        assert out_bar is not None
        contributions = opdef.vjp(out_bar, outs[0], *operands, **op.attributes)
        mask = support(out_bar) if opdef.kind == "elementwise" else True
        if mask is True:
            return contributions
        if mask is False:
            return tuple(None for _ in contributions)
        return tuple(
            masked(c, mask) if isinstance(c, Value) and c is not out_bar else c
            for c in contributions
        )
    return opdef.vjp(tuple(out_bars), tuple(outs), *operands, **op.attributes)  # type: ignore[arg-type]  # ops of several results take tuples


def project(contribution: Value, like: ArrayType) -> Value:
    """Bring a contribution to its operand's shape and dtype.

    A scalar used beside arrays receives the sum; everything else must fit already.
    """
    if contribution.shape != like.shape:
        if like.rank == 0:
            contribution = ops.sum(contribution, axes=tuple(range(contribution.rank)))
        elif contribution.rank == 0:
            contribution = expand_to(contribution, like.shape)
        else:
            raise TypeError(f"a contribution of type {contribution.type} to a value of {like}")
    if contribution.dtype != like.dtype:
        contribution = ops.cast(contribution, dtype=like.dtype)
    return contribution


def _accumulate(bars: dict[Value, Value], value: Value, downstream: Value) -> None:
    """Contributions along several paths to one value add."""
    earlier = bars.get(value)
    total = downstream if earlier is None else earlier + downstream
    if value.hint and not total.hint:
        total.hint = f"{value.hint}_bar"
    bars[value] = total


def place_of(location: Location | None) -> Place | None:
    """The place that an error shows for an IR location."""
    if location is None:
        return None
    return Place(
        location.file, location.line, location.function, location.column, location.end_column
    )
