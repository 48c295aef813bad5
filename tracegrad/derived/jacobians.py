"""All first or second derivatives at once: `jacfwd`, `jacrev`, `jacobian`, `hessian`."""

from __future__ import annotations

import functools
from typing import Any

from tracegrad import tracing
from tracegrad.arguments import Binder
from tracegrad.derived.forward import bars_only
from tracegrad.derived.inner import Fun, Inner, traced_call
from tracegrad.ir.core import Function
from tracegrad.ir.types import evaluate, product
from tracegrad.passes import optimize
from tracegrad.transforms.jacobian import forward_blocks, reverse_blocks
from tracegrad.transforms.jvp import jvp
from tracegrad.transforms.vjp import gradient, vjp
from tracegrad.verbs import Verb


def jacobian(fun: Fun, verb: Verb, binder: Binder, args: Any, kwargs: Any) -> Any:
    """The Jacobian within the active trace; ``verb.name`` says which mode takes it."""
    inner = traced_call(fun, verb, binder, args, kwargs)
    groups = verb.groups(inner.selection)
    wrt = [inner.traced.param_of(leaf) for group in groups for leaf in group]
    seeded = inner.float_results()
    inner.refuse_other_results()
    function = inner.function
    if verb.name == "jacfwd" or (verb.name == "jacobian" and _is_tall(function, wrt, seeded)):
        primal, blocks = _by_columns(inner, function, wrt, seeded)
    else:
        primal, blocks = _by_rows(inner, function, wrt, seeded)
    arranged = verb.arranged(inner.selection, groups)
    leaves = [arranged([blocks[leaf.result, i] for i in wrt]) for leaf in inner.outputs()]
    found = inner.like_output(leaves)
    return (found, inner.rebuild(primal)[1]) if verb.has_aux else found


def hessian(fun: Fun, verb: Verb, binder: Binder, args: Any, kwargs: Any) -> Any:
    """The Hessian of a scalar function: the Jacobian, forward, of its gradient."""
    inner = traced_call(fun, verb, binder, args, kwargs)
    groups = verb.groups(inner.selection)
    wrt = [inner.traced.param_of(leaf) for group in groups for leaf in group]
    value = verb.scalar_result(inner.traced)
    both = gradient(inner.function, wrt, of=value)
    function = optimize(bars_only(both, inner.results))
    _, blocks = _by_columns(inner, function, wrt, list(range(len(wrt))))
    arranged = verb.arranged(inner.selection, groups)
    found = arranged([arranged([blocks[k, i] for i in wrt]) for k in range(len(wrt))])
    if not verb.has_aux:
        return found
    primal = tracing.append(
        lambda given: tracing.appended(inner.function, given), inner.traced.arguments
    )
    return found, inner.rebuild(primal)[1]


def _by_columns(
    inner: Inner, function: Function, wrt: list[int], of: list[int]
) -> tuple[list[Any], dict[tuple[Any, int], Any]]:
    """The primal results, and (result, parameter) → its block, one direction per column."""
    results = len(function.results)
    primal: list[Any] = []
    found: dict[tuple[Any, int], Any] = {}
    for i in dict.fromkeys(wrt):
        seeded = optimize(jvp(function, [i], of))
        made = tracing.append(
            functools.partial(forward_blocks, seeded, results=results),
            inner.traced.arguments,
        )
        primal = made[:results]
        found.update(((k, i), block) for k, block in zip(of, made[results:], strict=True))
    return primal, found


def _by_rows(
    inner: Inner, function: Function, wrt: list[int], of: list[int]
) -> tuple[list[Any], dict[tuple[Any, int], Any]]:
    """As `_by_columns`, one row per direction."""
    results = len(function.results)
    primal: list[Any] = []
    found: dict[tuple[Any, int], Any] = {}
    for k in of:
        seeded = optimize(vjp(function, wrt, [k], apart=True))
        made = tracing.append(
            functools.partial(reverse_blocks, seeded, results=results),
            inner.traced.arguments,
        )
        primal = made[:results]
        found.update(((k, i), block) for i, block in zip(wrt, made[results:], strict=True))
    return primal, found


def _is_tall(function: Function, wrt: list[int], of: list[int]) -> bool:
    """Whether there are fewer parameters than results, as far as the sizes are known."""
    try:
        columns = sum(int(evaluate(product(function.params[i].shape), function.hints)) for i in wrt)
        rows = sum(int(evaluate(product(function.results[k].shape), function.hints)) for k in of)
    except KeyError:
        return False
    return columns < rows
