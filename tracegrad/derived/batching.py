"""`vmap`: a function applied to each element of a batch, in one loop within the kernel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from tracegrad import ops, tracing, tree
from tracegrad.arguments import Binder
from tracegrad.derived.inner import Fun, Inner, traced_call
from tracegrad.errors import ArgumentError, UnsupportedError
from tracegrad.ir.core import Function, Value
from tracegrad.ir.sizes import BINDING, attribute_symbols, type_symbols
from tracegrad.ir.types import ArrayType, Dim
from tracegrad.ops.access import zeros
from tracegrad.ops.control import for_loop
from tracegrad.transforms.directions import Spread
from tracegrad.verbs import Verb


def vmap(
    fun: Fun,
    verb: Verb,
    binder: Binder,
    in_axes: Any,
    out_axes: Any,
    axis_size: int | None,
    args: Any,
    kwargs: Any,
) -> Any:
    """The results of all elements of the batch, within the active trace."""
    args, kwargs = binder.normal(args, kwargs)
    _, leaves, kinds = binder.bind(args, kwargs)
    axes = _axes_of(in_axes, args, "in_axes")
    axes += [0] * (len(leaves) - len(axes))  # keyword arguments, as in JAX
    fronts: dict[int, Any] = {}
    for k, (leaf, axis, kind) in enumerate(zip(leaves, axes, kinds, strict=True)):
        if axis is None or kind.kind == "static":
            continue
        fronts[k] = _to_front(leaf, axis, binder, args, kwargs, k)
    count = _length(list(fronts.values()), axis_size)
    types = {k: ArrayType((t := x.value.type).dtype, t.shape[1:]) for k, x in fronts.items()}
    inner = traced_call(fun, verb, binder, args, kwargs, types)
    function = inner.function
    _refuse_ragged(function)
    param_of = {inner.traced.param_of(k): x for k, x in fronts.items()}
    given = [param_of.get(p, x) for p, x in enumerate(inner.traced.arguments)]
    batched = [p in param_of for p in range(len(given))]
    made = tracing.append(lambda values: _looped(function, values, batched, count), given)
    out = inner.rebuild(made)
    params = [p for p, b in zip(function.params, batched, strict=True) if b]
    each = Spread(function.body.ops, params).moving
    differs = [r in each for r in function.results]
    return _moved(out, inner, out_axes, count, differs)


def _length(fronts: list[Any], axis_size: int | None) -> Dim:
    """The length of the batch: of what is mapped over, or as given."""
    if axis_size is None:
        if not fronts:
            raise ArgumentError(
                "vmap has nothing to map over: every in_axes is None",
                way_out="give an axis for at least one array argument, or axis_size",
            )
        return tracing.same_length(fronts)
    if isinstance(axis_size, bool) or not isinstance(axis_size, int | np.integer) or axis_size < 0:
        raise ArgumentError(f"vmap with axis_size={axis_size!r}", way_out="give a length: an int")
    for front in fronts:
        if front.shape[0] != axis_size:  # a comparison of sizes holds for the kernel from here on
            raise ArgumentError(
                f"vmap got axis_size={axis_size} for a batch dimension of another length",
                way_out="leave out axis_size, or give arrays of this length",
            )
    return int(axis_size)


def _looped(
    function: Function, values: Sequence[Value], batched: Sequence[bool], count: Dim
) -> list[Value]:
    """Append the loop over the batch; one array per result, the batch along its first axis."""
    inits = [zeros((count, *r.shape), r.dtype) for r in function.results]

    def trip(k: Value, *arrays: Value) -> list[Value]:
        given = [ops.index(v, k) if b else v for v, b in zip(values, batched, strict=True)]
        results = tracing.appended(function, given)
        return [ops.update(a, r, k) for a, r in zip(arrays, results, strict=True)]

    return list(for_loop(0, count, inits, trip))


def _to_front(leaf: Any, axis: Any, binder: Binder, args: Any, kwargs: Any, number: int) -> Any:
    rank = np.ndim(leaf)
    if not isinstance(axis, int) or not -rank <= axis < rank:
        name = binder.leaf_names(binder.bind(args, kwargs)[0])[number]
        raise ArgumentError(
            f"vmap can't map over axis {axis!r} of {name!r}, which has {rank} dimensions",
            way_out="give an axis that the array has, or None for an argument that all share",
        )
    front = tracing.lifted(leaf)
    return front if axis % rank == 0 else np.moveaxis(front, axis, 0)


def _axes_of(axes: Any, args: tuple[Any, ...], name: str) -> list[Any]:
    """One axis (or None) per leaf of the positional arguments; ``axes`` is a prefix of them."""
    if isinstance(axes, list):
        axes = tuple(axes)
    if isinstance(axes, tuple) and len(axes) != len(args):
        raise ArgumentError(
            f"vmap got {name}={axes!r} for {len(args)} positional arguments",
            way_out=f"give one entry of {name} per positional argument",
        )
    each = axes if isinstance(axes, tuple) else (axes,) * len(args)
    found: list[Any] = []
    for axis, argument in zip(each, args, strict=True):
        found += _spread(axis, argument, name)
    return found


def _spread(axes: Any, value: Any, name: str) -> list[Any]:
    """``axes``, a number, None, or a tree that begins like ``value``, one for each leaf."""
    if axes is None or isinstance(axes, int):
        return [axes] * len(tree.flatten(value)[0])
    matches = type(axes) is type(value) or (
        isinstance(axes, tuple | list) and isinstance(value, tuple | list)
    )
    if matches and isinstance(axes, dict) and set(axes) == set(value):
        return [a for key in sorted(value) for a in _spread(axes[key], value[key], name)]
    if matches and isinstance(axes, tuple | list) and len(axes) == len(value):
        return [
            a for axis, part in zip(axes, value, strict=True) for a in _spread(axis, part, name)
        ]
    raise ArgumentError(
        f"{name}={axes!r} does not fit {type(value).__name__}",
        way_out=f"give an int or None, or a tree of these like the value, in {name}",
    )


def _moved(out: Any, inner: Inner, out_axes: Any, count: Dim, differs: Sequence[bool]) -> Any:
    """The batch dimension of each leaf of the result where ``out_axes`` wants it.

    ``differs`` says of each result of the function whether it may differ within the batch.
    """
    leaves, structure = tree.flatten(out)
    axes = _spread(out_axes, out, "out_axes")
    found = []
    for leaf, axis, output in zip(leaves, axes, inner.traced.output_types(), strict=True):
        if axis is None:
            if output.result is not None:
                if differs[output.result]:
                    raise ArgumentError(
                        "vmap got out_axes=None for a result that differs within the batch",
                        way_out="give an axis for it; None is for what all elements share",
                        place=inner.traced.place,
                    )
                leaf = leaf[0]
        else:
            if output.result is None and output.type is not None:
                length = cast("int", tracing.size_of(count))
                leaf = np.broadcast_to(tracing.lifted(leaf), (length,))
            rank = np.ndim(leaf)
            if rank and not -rank <= axis < rank:
                raise ArgumentError(
                    f"vmap got out_axes={axis} for a result that has {rank} dimensions with the "
                    "batch",
                    way_out=f"give an axis from {-rank} to {rank - 1}",
                    place=inner.traced.place,
                )
            if rank and axis % rank:
                leaf = np.moveaxis(leaf, 0, axis)
        found.append(leaf)
    return tree.unflatten(structure, found)


def _refuse_ragged(function: Function) -> None:
    inside = {
        name
        for op in function.walk()
        if op.name in BINDING
        for name in attribute_symbols(op.attributes["size"])
    }
    for result in function.results:
        if not inside.isdisjoint(type_symbols(result.type)):
            raise UnsupportedError(
                "vmap of a function whose result has a size that depends on values",
                way_out="return arrays whose sizes are the same for every element of the batch",
            )
