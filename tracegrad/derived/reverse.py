"""Gradients of sums: `elementwise_grad`."""

from __future__ import annotations

from typing import Any

from tracegrad import tracing
from tracegrad.arguments import Binder
from tracegrad.derived.forward import inlined
from tracegrad.derived.inner import Fun, traced_call
from tracegrad.errors import ArgumentError
from tracegrad.ops.access import ones
from tracegrad.transforms.vjp import vjp
from tracegrad.verbs import Verb


def elementwise_grad(fun: Fun, verb: Verb, binder: Binder, args: Any, kwargs: Any) -> Any:
    """The gradient of the sum of all results, within the active trace."""
    inner = traced_call(fun, verb, binder, args, kwargs)
    groups = verb.groups(inner.selection)
    wrt = [inner.traced.param_of(leaf) for group in groups for leaf in group]
    seeded = inner.float_results()
    if not seeded:
        raise ArgumentError(
            f"{verb.name} needs float results that depend on the arguments",
            way_out="return an array computed from the arguments",
            place=inner.traced.place,
        )
    types = [inner.traced.function.results[k].type for k in seeded]
    seeds = tracing.append(lambda _: [ones(t.shape, t.dtype) for t in types], [])
    derived = vjp(inner.function, wrt, seeded)
    values = inlined(derived, [*inner.traced.arguments, *seeds])
    bars = verb.arranged(inner.selection, groups)(values[inner.results :])
    return (bars, inner.rebuild(values[: inner.results])[1]) if verb.has_aux else bars
