"""Derivatives along a direction: `jvp`, and `hvp`, the product with the Hessian."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tracegrad import tracing, tree
from tracegrad.arguments import Binder
from tracegrad.derived.inner import Fun, Inner, traced_call
from tracegrad.errors import ArgumentError
from tracegrad.ir.core import Function
from tracegrad.ir.types import f64
from tracegrad.ops.access import zeros
from tracegrad.passes import optimize
from tracegrad.transforms import jvp as forward
from tracegrad.transforms.vjp import gradient
from tracegrad.verbs import Verb, select_results


def jvp(fun: Fun, verb: Verb, primals: Any, tangents: Any) -> Any:
    """``(out, out_dot)``, with ``has_aux`` ``(out, out_dot, aux)``, within the active trace."""
    check_pairs(verb, primals, tangents)
    inner, moving, dots = _moved(fun, verb, primals, tangents)
    function = inner.function
    seeded = inner.float_results()
    wrt = [inner.traced.param_of(leaf) for leaf in moving]
    derived = forward.jvp(function, wrt, seeded)
    values = inlined(derived, [*inner.traced.arguments, *dots])
    out = inner.rebuild(values[: inner.results])
    tangent_of = dict(zip(seeded, values[inner.results :], strict=True))
    leaves = [
        _zeros(leaf.type) if leaf.result not in tangent_of else tangent_of[leaf.result]
        for leaf in inner.outputs()
    ]
    out_dot = inner.like_output(leaves)
    return (out[0], out_dot, out[1]) if verb.has_aux else (out, out_dot)


def hvp(fun: Fun, verb: Verb, primals: Any, tangents: Any) -> Any:
    """The Hessian of a scalar function times ``tangents``: a tangent of the gradient."""
    bare = not isinstance(primals, tuple | list)
    if bare:
        primals, tangents = (primals,), (tangents,)
    check_pairs(verb, primals, tangents)
    inner, moving, dots = _moved(fun, verb, primals, tangents)
    value = verb.scalar_result(inner.traced)
    wrt = [inner.traced.param_of(leaf) for leaf in moving]
    function = bars_only(gradient(inner.function, wrt, of=value), inner.results)
    derived = forward.jvp(optimize(function), wrt)
    values = inlined(derived, [*inner.traced.arguments, *dots])[len(wrt) :]
    found, start = [], 0
    for argument, tangent in zip(primals, tangents, strict=True):
        leaves, structure = tree.flatten(argument)
        if tangent is None:
            continue
        found.append(tree.unflatten(structure, values[start : start + len(leaves)]))
        start += len(leaves)
    return found[0] if len(found) == 1 else tuple(found)


def bars_only(function: Function, results: int) -> Function:
    """A gradient function without the results of its primal."""
    keep = range(results, len(function.results))
    return select_results(function, list(keep), f"gradient of {function.name}")


def check_pairs(verb: Verb, primals: Any, tangents: Any) -> None:
    """Raise `ArgumentError` unless there is a tuple of primals and one of as many tangents."""
    for what, given in (("primals", primals), ("tangents", tangents)):
        if not isinstance(given, tuple | list):
            raise ArgumentError(
                f"{verb.name} takes {what} as a tuple, not {type(given).__name__}",
                way_out=f"write tracegrad.{verb.name}(f, (x,), (x_dot,))",
            )
    if len(primals) != len(tangents):
        raise ArgumentError(
            f"{verb.name} got {len(primals)} primals and {len(tangents)} tangents",
            way_out="pass one tangent per primal, None for a primal that is constant",
        )


def _moved(
    fun: Fun, verb: Verb, primals: Sequence[Any], tangents: Sequence[Any]
) -> tuple[Inner, list[int], list[Any]]:
    """The traced call, the leaves that have a tangent, and their tangents."""
    moving: list[int] = []
    dots: list[Any] = []
    start = 0
    for number, (argument, tangent) in enumerate(zip(primals, tangents, strict=True)):
        leaves, structure = tree.flatten(argument)
        if tangent is not None:
            given, other = tree.flatten(tangent)
            if other != structure:
                raise ArgumentError(
                    f"the tangent of argument {number} has the structure {other}, the argument has "
                    f"{structure}",
                    way_out="pass a tree like the argument",
                )
            for k, (x, dot) in enumerate(zip(leaves, given, strict=True)):
                moving.append(start + k)
                dots.append(tracing.as_tangent(dot, x, f"argument {number}"))
        start += len(leaves)
    inner = traced_call(fun, verb, Binder(fun, (), ()), tuple(primals), {})
    for leaf in moving:
        verb.refuse_integer(inner.selection, leaf)
    return inner, moving, dots


def inlined(function: Function, values: Sequence[Any]) -> list[Any]:
    return list(tracing.append(lambda given: tracing.appended(function, given), values))


def _zeros(type: Any) -> Any:
    """The tangent of a result that is constant or no float."""
    if type is None:
        return None
    dtype = type.dtype if type.dtype.is_float else f64
    (made,) = tracing.append(lambda _: [zeros(type.shape, dtype)], [])
    return made
