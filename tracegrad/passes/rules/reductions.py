"""Sums and other reductions: what does not vary along the axis is taken out."""

from __future__ import annotations

from tracegrad.ir.core import Value
from tracegrad.ir.types import product
from tracegrad.ops.access import pad_into, squeeze, view_of
from tracegrad.ops.constants import dim_value
from tracegrad.ops.registry import REGISTRY, OpDef
from tracegrad.passes.table import EXACT, ROUNDING, rule
from tracegrad.passes.values import along_axes, free_axes, made_by, without_axes

Axes = tuple[int, ...]


def total(x: Value, axes: Axes) -> Value:
    result: Value = REGISTRY["sum"](x, axes=axes) if axes else x
    return result


def renumbered(axes: Axes, gone: frozenset[int]) -> Axes:
    """``axes`` numbered as they are once the axes ``gone`` have gone."""
    return tuple(a - sum(g < a for g in gone) for a in axes if a not in gone)


@rule("sum", "prod", "max", "min", "any", "all", mark=ROUNDING)
def reduce_nothing(x: Value, *, axes: Axes) -> Value | None:
    """A reduction over no axes. (NumPy's sum makes 0.0 of -0.0 even then.)

    x: f64[n]
    sum(x, axes=()) → x
    """
    return None if axes else x


@rule("sum", "prod", "max", "min", "any", "all", mark=EXACT, takes_op=True)
def reduce_below_broadcast(op: OpDef, x: Value, *, axes: Axes) -> Value | None:
    """What is the same along a kept axis is reduced once.

    x: f64[m]
    sum(broadcast_to(x, (n, m)), axes=(1,)) → broadcast_to(sum(x, axes=(0,)), (n,))
    """
    free = free_axes(x) - set(axes)
    if not free:
        return None
    small = op(without_axes(x, free), axes=renumbered(axes, free))
    kept = [a for a in range(x.rank) if a not in axes]
    repeated = frozenset(k for k, a in enumerate(kept) if a in free)
    return along_axes(small, tuple(x.shape[a] for a in kept), repeated)


@rule("sum", mark=ROUNDING)
def sum_of_invariant(x: Value, *, axes: Axes) -> Value | None:
    """What is the same along a summed axis is multiplied by the size.

    x: f64[m]
    sum(broadcast_to(x, (n, m)), axes=(0,)) → multiply(x, cast(dim(size=n), dtype=f64))
    """
    free = free_axes(x) & set(axes)
    if not free:
        return None
    count = dim_value(product(x.shape[a] for a in sorted(free)))
    if count.dtype is not x.dtype:
        count = REGISTRY["cast"](count, dtype=x.dtype)
    return total(without_axes(x, free), renumbered(axes, free)) * count


@rule("sum", mark=ROUNDING)
def sum_over_single(x: Value, *, axes: Axes) -> Value | None:
    """A sum over an axis of size 1 is that one element.

    x: f64[n, 1]
    sum(x, axes=(1,)) → squeeze(x, 1)
    """
    single = frozenset(a for a in axes if x.shape[a] == 1)
    if not single:
        return None
    return total(squeeze(x, sorted(single)), renumbered(axes, single))


@rule("sum", mark=ROUNDING)
def sum_of_product(x: Value, *, axes: Axes) -> Value | None:
    """A factor that is the same along the summed axis is taken out of the sum.

    x: f64[n, m], y: f64[m], s: f64
    sum(multiply(x, s), axes=(0,)) → multiply(sum(x, axes=(0,)), s)
    sum(multiply(multiply(x, s), exp(x)), axes=(0,))
    → multiply(sum(multiply(x, exp(x)), axes=(0,)), s)
    sum(multiply(x, broadcast_to(y, (n, m))), axes=(0,)) → multiply(sum(x, axes=(0,)), y)

    A scalar factor of one factor is found, too.

    An infinite factor beside a zero makes NaN inside the sum, and perhaps infinity outside of
    it; either way the result is not finite.
    """
    op = made_by(x, "multiply")
    if op is None:
        return None
    for a, b in (op.operands, op.operands[::-1]):
        if not a.rank:
            continue
        if not b.rank:
            return total(a, axes) * b
        free = free_axes(b) & set(axes)
        deep = _inner_factor(a, b)
        if deep is not None:
            return total(deep[0], axes) * deep[1]
        # Part of the axes only if the other factor then loses the rest: an outer product.
        if len(free) == len(axes) or (free and free_axes(a) & set(axes)):
            inner = total(a, tuple(sorted(free))) * without_axes(b, free)
            return total(inner, renumbered(axes, free))
    return None


def _inner_factor(a: Value, b: Value) -> tuple[Value, Value] | None:
    """``(x*b, s)`` when ``a`` is ``x*s`` with a scalar s: no more products than before."""
    op = made_by(a, "multiply")
    if op is None or not b.rank:
        return None
    for x, s in (op.operands, op.operands[::-1]):
        if not s.rank:
            return x * b, s
    return None


@rule("sum", mark=ROUNDING)
def sum_of_pad(x: Value, *, axes: Axes) -> Value | None:
    """The zeros around a value add nothing.

    x: f64[n]
    sum(pad(x, shape=(m,), map=((0, 2, 1),)), axes=(0,)) → sum(x, axes=(0,))
    """
    op = made_by(x, "pad")
    if op is None:
        return None
    map = op.attributes["map"]
    inner = tuple(sorted(map[a][0] for a in axes if map[a][0] is not None))
    rest = [entry for a, entry in enumerate(map) if a not in axes]
    entries = [
        (None if a is None else renumbered((a,), frozenset(inner))[0], offset, step)
        for a, offset, step in rest
    ]
    shape = [d for a, d in enumerate(x.shape) if a not in axes]
    return pad_into(total(op.operands[0], inner), shape, entries)


@rule("sum", "prod", "max", "min", "any", "all", mark=ROUNDING, takes_op=True)
def reduce_permuted(op: OpDef, x: Value, *, axes: Axes) -> Value | None:
    """A transposed value is reduced as it lies.

    x: f64[n, m]
    sum(transpose(x), axes=(0,)) → sum(x, axes=(1,))
    """
    read = made_by(x, "view")
    if read is None:
        return None
    base, map = read.operands[0], read.attributes["map"]
    if base.rank != x.rank or any(e[0] is None or e[1] != 0 or e[2] != 1 for e in map):
        return None
    if any(base.shape[d] != x.shape[e[0]] for d, e in enumerate(map)):
        return None
    gone = frozenset(d for d, e in enumerate(map) if e[0] in axes)
    small: Value = op(base, axes=tuple(sorted(gone)))
    kept = [a for a in range(x.rank) if a not in axes]
    order = [(kept.index(e[0]), 0, 1) for d, e in enumerate(map) if d not in gone]
    return view_of(small, [x.shape[a] for a in kept], order)
