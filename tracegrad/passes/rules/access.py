"""Views, pads, reshapes: compositions and what they read or put in."""

from __future__ import annotations

from typing import Any

from tracegrad.ir.core import Operation, Value
from tracegrad.ir.types import Dim, Shape
from tracegrad.ops.access import (
    FEW,
    covering,
    is_identity,
    pad_into,
    reshaped,
    roll,
    view_of,
    zeros,
)
from tracegrad.ops.access_samples import Map
from tracegrad.ops.registry import REGISTRY
from tracegrad.passes.table import EXACT, ROUNDING, rule
from tracegrad.passes.values import free_axes, is_zero, made_by, operand_of


@rule("view", mark=EXACT)
def compose_views(x: Value, *, shape: Shape, map: Map) -> Value | None:
    """A view of a view is one view; one that reads everything in place is the value.

    x: f64[n]
    view(flip(x), shape=(n,), map=((0, n - 1, -1),)) → x
    """
    if made_by(x, "view") is not None or is_identity(x.shape, shape, map):
        return view_of(x, shape, map)
    return None


@rule("view", mark=EXACT)
def view_of_pad(x: Value, *, shape: Shape, map: Map) -> Value | None:
    """A view that reads just what a pad put in gives it back.

    x: f64[n]
    view(pad(x, shape=(m,), map=((0, 2, 1),)), shape=(n,), map=((0, 2, 1),)) → x
    """
    op = made_by(x, "pad")
    if op is None:
        return None
    v = op.operands[0]
    return v if shape == v.shape and map == op.attributes["map"] else None


@rule("view", mark=EXACT)
def view_beside_pad(x: Value, *, shape: Shape, map: Map) -> Value | None:
    """One place beside what a pad put in is zero.

    x: f64
    view(pad(x, shape=(n,), map=((None, 1, 1),)), shape=(), map=((None, 0, 1),)) → 0.0
    """
    op = made_by(x, "pad")
    if op is None:
        return None
    for here, there in zip(map, op.attributes["map"], strict=True):
        if here[0] is None and there[0] is None:
            distance = here[1] - there[1]
            if isinstance(distance, int) and distance:
                return zeros(shape, x.dtype)
    return None


@rule("view", mark=EXACT)
def view_of_concatenate(x: Value, *, shape: Shape, map: Map) -> Value | None:
    """A view that reads one of the joined parts is a view of that part.

    x: f64[n], y: f64[m]
    slice_(concatenate(x, y, axis=0), 0, n, n + m) → y
    """
    op = made_by(x, "concatenate")
    if op is None:
        return None
    along: int = op.attributes["axis"]
    axis, offset, step = map[along]
    if step != 1:
        return None
    length: Dim = 1 if axis is None else shape[axis]
    start: Dim = 0
    for part in op.operands:
        before, after = offset - start, start + part.shape[along] - offset - length
        if isinstance(before, int) and isinstance(after, int) and before >= 0 and after >= 0:
            entry = (axis, before, 1)
            return view_of(part, shape, (*map[:along], entry, *map[along + 1 :]))
        start = start + part.shape[along]
    return None


@rule("view", mark=EXACT)
def view_of_iota(x: Value, *, shape: Shape, map: Map) -> Value | None:
    """One place of ``0, 1, …`` is its position.

    k: i64
    at(iota(size=n, dtype=i64), 0, 3) → 3
    """
    from tracegrad.ops.constants import dim_value

    if made_by(x, "iota") is None or map[0][0] is not None:
        return None
    position = dim_value(map[0][1])
    if x.dtype is not position.dtype:
        position = REGISTRY["cast"](position, dtype=x.dtype)
    return view_of(position, shape, ())


@rule("pad", mark=EXACT)
def compose_pads(x: Value, *, shape: Shape, map: Map) -> Value | None:
    """A pad of a pad is one pad; one that fills all of its result is a view.

    x: f64[n]
    pad(pad(x, shape=(m,), map=((0, 1, 1),)), shape=(k,), map=((0, 2, 1),))
    → pad(x, shape=(k,), map=((0, 3, 1),))
    pad(flip(x), shape=(m,), map=((0, 1, 1),)) → pad(x, shape=(m,), map=((0, n, -1),))
    """
    fills = covering(shape, x.shape, map) is not None
    if fills or made_by(x, "pad") is not None or _rearranged(x):
        return pad_into(x, shape, map)
    return None


def _rearranged(x: Value) -> bool:
    """Whether ``x`` is a whole value transposed, flipped or expanded: `pad_into` takes that."""
    read = made_by(x, "view")
    if read is None:
        return False
    base = read.operands[0]
    undo = covering(base.shape, x.shape, read.attributes["map"])
    return undo is not None and sum(e[0] is not None for e in undo) == base.rank


@rule("pad", mark=EXACT)
def pad_of_zeros(x: Value, *, shape: Shape, map: Map) -> Value | None:
    """Zeros among zeros.

    x: f64[n]
    pad(view(0.0, shape=(n,), map=()), shape=(m,), map=((0, 1, 1),)) → view(0.0, shape=(m,), map=())
    """
    return zeros(shape, x.dtype) if is_zero(x) else None


@rule("add", mark=EXACT)
def add_pads(x: Value, y: Value) -> Value | None:
    """Two terms put in at the same places are added before.

    x: f64[n], y: f64[n]
    add(pad(x, shape=(m,), map=((0, 1, 1),)), pad(y, shape=(m,), map=((0, 1, 1),)))
    → pad(add(x, y), shape=(m,), map=((0, 1, 1),))
    """
    left, right = made_by(x, "pad"), made_by(y, "pad")
    if left is None or right is None or left.attributes != right.attributes:
        return None
    a, b = left.operands[0], right.operands[0]
    return pad_into(a + b, x.shape, left.attributes["map"]) if a.shape == b.shape else None


@rule("add", mark=ROUNDING, commutes=True)
def add_strided_pads(x: Value, y: Value) -> Value | None:
    """Terms put in at strides are added to each other first: they go to one array, part by part.

    Sums of three terms or more in another order: an overflow on the way may differ.

    x: f64[k], y: f64[n], z: f64[n], w: f64[n]
    p = pad(y, shape=(k,), map=((0, 0, 2),))
    q = pad(z, shape=(k,), map=((0, 1, 2),))
    add(add(x, p), q) → add(x, add(p, q))
    add(add(p, q), pad(w, shape=(k,), map=((0, 0, 2),)))
    → add(pad(add(y, w), shape=(k,), map=((0, 0, 2),)), q)
    """
    terms = _strided_pads(y)
    if not terms or not x.dtype.is_float or x.shape != y.shape:
        return None
    others = _strided_pads(x)
    if not others:
        op = made_by(x, "add")
        for p, q in (op.operands, op.operands[::-1]) if op is not None else ():
            if p.shape == q.shape and _strided_pads(q):
                return p + (q + y)
        return None
    merged: dict[tuple[Map, Shape], Value] = {}
    for pad in (*others, *terms):
        v = pad.operands[0]
        place = pad.attributes["map"], v.shape
        merged[place] = merged[place] + v if place in merged else v
    if len(merged) == len(others) + len(terms):
        return None
    first, *rest = (pad_into(v, x.shape, map) for (map, _), v in merged.items())
    for term in rest:
        first = first + term
    return first


def _strided_pads(value: Value) -> list[Operation]:
    """The terms of ``value``, if all of them are pads with strides."""
    found: list[Operation] = []
    pending = [value]
    while pending:
        op = pending.pop().op
        if op is None or not (op.name == "add" or _is_strided_pad(op)):
            return []
        if op.name == "pad":
            found.append(op)
            continue
        # A long sum of other things is left at its first term.
        if any(v.op is None or v.op.name not in ("add", "pad") for v in op.operands):
            return []
        pending += reversed(op.operands)
    return found


def _is_strided_pad(op: Operation) -> bool:
    if op.name != "pad":
        return False
    return any(axis is not None and abs(step) > 1 for axis, _, step in op.attributes["map"])


@rule("reshape", mark=EXACT)
def compose_reshapes(x: Value, *, shape: Shape) -> Value | None:
    """A reshape of a reshape is one; one that only adds or drops axes of size 1 is a view.

    x: f64[n]
    reshape(reshape(x, shape=(2, 3)), shape=(n,)) → x
    reshape(x, shape=(1, n)) → expand_dims(x, 0)
    """
    only_ones = [d for d in x.shape if d != 1] == [d for d in shape if d != 1]
    return reshaped(x, shape) if made_by(x, "reshape") is not None or only_ones else None


@rule("reshape", mark=EXACT)
def reshape_of_full(x: Value, *, shape: Shape) -> Value | None:
    """A repeated scalar has any shape.

    s: f64
    reshape(view(s, shape=(n, m), map=()), shape=(n*m,)) → view(s, shape=(n*m,), map=())
    """
    base = operand_of(x, "view")
    return None if base is None or base.rank else view_of(base, shape, ())


@rule("concatenate", mark=EXACT)
def join_one(*parts: Value, axis: Any) -> Value | None:
    """One part is joined already.

    x: f64[n]
    concatenate(x, axis=0) → x
    """
    return parts[0] if len(parts) == 1 else None


@rule("roll", mark=EXACT)
def roll_below_scale(x: Value, *, shift: Dim, axis: int) -> Value | None:
    """What is scaled as a whole is rolled before.

    x: f64[n], s: f64
    roll(multiply(x, s), shift=1, axis=0) → multiply(roll(x, shift=1, axis=0), s)
    roll(negative(x), shift=1, axis=0) → negative(roll(x, shift=1, axis=0))
    """
    op = x.op
    if op is None or op.name not in ("multiply", "divide", "negative"):
        return None
    if sum(bool(v.rank) for v in op.operands) != 1:
        return None
    parts = [roll(v, shift=shift, axis=axis) if v.rank else v for v in op.operands]
    result: Value = op.opdef(*parts)
    return result


@rule("roll", mark=EXACT)
def roll_back(x: Value, *, shift: Dim, axis: int) -> Value | None:
    """Rolled forth and back is not rolled.

    x: f64[n]
    roll(roll(x, shift=2, axis=0), shift=n - 2, axis=0) → x
    """
    op = made_by(x, "roll")
    if op is None or op.attributes["axis"] != axis:
        return None
    return op.operands[0] if op.attributes["shift"] + shift == x.shape[axis] else None


@rule("roll", mark=EXACT)
def roll_of_repeated(x: Value, *, shift: Dim, axis: int) -> Value | None:
    """What is the same along the axis stays as it is.

    x: f64[m]
    roll(broadcast_to(x, (n, m)), shift=1, axis=0) → broadcast_to(x, (n, m))
    """
    return x if axis in free_axes(x) else None


@rule("concatenate", mark=EXACT)
def join_rolled(*parts: Value, axis: int) -> Value | None:
    """The end of an array before its start is a roll; not of few elements, which stand apart.

    x: f64[n]
    concatenate(slice_(x, 0, 2, n), slice_(x, 0, 0, 2), axis=0) → roll(x, shift=n - 2, axis=0)
    """
    reads = [made_by(part, "view") for part in parts]
    if len(reads) != 2 or None in reads:
        return None
    (x, *_), (same, *_) = (read.operands for read in reads if read is not None)
    shape = (*x.shape[:axis], parts[0].shape[axis] + parts[1].shape[axis], *x.shape[axis + 1 :])
    size = x.shape[axis] if axis < x.rank else 0
    if x is not same or shape != x.shape or (isinstance(size, int) and size <= FEW):
        return None
    for part, read, start in zip(parts, reads, (parts[1].shape[axis], 0), strict=True):
        wanted = [(d, start if d == axis else 0, 1) for d in range(x.rank)]
        if part.rank != x.rank or read is None or list(read.attributes["map"]) != wanted:
            return None
    rolled: Value = roll(x, shift=parts[0].shape[axis], axis=axis)
    return rolled
