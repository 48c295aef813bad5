"""Reverse mode: append the adjoint statements of a function.

Names: ``x_bar`` is the cotangent of ``x``, the derivative of the seeded results with respect
to ``x``. Going backwards over the active operations, each one turns the cotangent of its
result (*upstream*) into one contribution per operand (*downstream = local × upstream*), and
the contributions to one value add up.
"""

from __future__ import annotations

from collections.abc import Sequence

from tracegrad.ir.bounds import Bounds
from tracegrad.ir.core import Function, Value
from tracegrad.ir.threads import Threads
from tracegrad.ops.registry import constant
from tracegrad.transforms.activity import active_in
from tracegrad.transforms.contributions import zero_of
from tracegrad.transforms.hoist import hoist_reads
from tracegrad.transforms.primal import Primal
from tracegrad.transforms.sweep import Sweep


def vjp(
    function: Function,
    wrt: Sequence[int],
    seeded: Sequence[int] | None = None,
    *,
    apart: bool = False,
) -> Function:
    """The function of primals and result cotangents that gives results and cotangents.

    Parameters
    ----------
    function : in array form.
    wrt : indices of the float parameters whose cotangents are wanted.
    seeded : indices of the results that have a cotangent; default: every float result.
    apart : whether the results must be there before the cotangents of results are.

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
    with Threads() as build:
        env = _copy_primal(build, function)
        seeds = {}
        for i in seeded:
            result = function.results[i]
            seeds[i] = build.param(result.type, f"{result_name(function, i)}_bar")
        bars = _reverse(build, function, env, wrt, seeds, fuses=not apart)
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
    with Threads() as build:
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


def _copy_primal(build: Threads, function: Function) -> dict[Value, Value]:
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
    build: Threads,
    function: Function,
    env: dict[Value, Value],
    wrt: Sequence[int],
    seeds: dict[int, Value],
    *,
    fuses: bool = True,
) -> list[Value]:
    """Append the reverse sweep; the cotangents of the parameters ``wrt``."""
    params = [env[function.params[i]] for i in wrt]
    hoist_reads(build.region)
    primal = Primal(build, build.region)
    bounds = Bounds(function, [env[p] for p in function.params])
    results = {env[r] for r in function.results}
    active, known = active_in(build.region, params, results), list(function.size_sources())
    sweep = Sweep(build, primal, active, known, bounds, function.guards, fuses=fuses)
    with build.at(function.origin, "reverse"):
        for index, seed in seeds.items():
            sweep.add(env[function.results[index]], seed)
    sweep.block(primal.ops)
    bars: list[Value] = []
    with build.at(function.origin, "reverse"):
        for p in params:
            bar = build.get(sweep.bar(p))
            if bar is None:
                bar = zero_of(p.type)
                bar.hint = f"{p.hint}_bar" if p.hint else ""
            bars.append(bar)
    return bars
