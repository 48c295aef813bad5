"""Reading and writing at index values: ``index`` and ``accumulate`` are each other's transpose.

The k index operands have one shape B and go with the k leading dimensions of x; a negative index
counts from the end, one outside raises IndexError. The slices have shape B + x.shape[k:].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tracegrad.ir.core import Value
from tracegrad.ir.types import ArrayType, Dim, Shape, boolean, i64, is_symbol, product, symbol
from tracegrad.ops.access import (
    broadcast_to,
    expand_dims,
    normal_axis,
    reshaped,
    view,
    view_of,
    zeros,
)
from tracegrad.ops.constants import Dims, dim_value, iota, is_dim
from tracegrad.ops.registry import REGISTRY, Contribution, Sample, general


def _slices_type(x: ArrayType, indices: tuple[ArrayType, ...], name: str) -> ArrayType:
    """The type of the slices of ``x`` at ``indices``, after a check of these."""
    if not 1 <= len(indices) <= x.rank:
        raise TypeError(f"{name}: {x} takes 1 to {x.rank} indices, not {len(indices)}")
    for index in indices:
        if not index.dtype.is_integer:
            raise TypeError(f"{name}: an index must be of integers, not {index}")
        if index.shape != indices[0].shape:
            raise TypeError(f"{name}: indices of different shapes: {', '.join(map(str, indices))}")
    return ArrayType(x.dtype, indices[0].shape + x.shape[len(indices) :])


def _where(indices: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    return tuple(np.asarray(i) for i in indices)


# --- samples: x.shape and the indices ---------------------------------------------------------

_INDICES: tuple[tuple[tuple[int, ...], tuple[Any, ...], bool], ...] = (
    # x.shape, indices, whether they repeat
    ((4,), (2,), False),
    ((4,), (-1,), False),
    ((1,), (0,), False),
    ((4,), ([0, 2, 3],), False),
    ((4,), ([1, -1, 0],), False),
    ((4,), ([2, 0, 2, 2, 0],), True),
    ((4,), ([3, -1, 3],), True),
    ((4,), ([[0, 1], [1, 0]],), True),
    ((4,), ([2, 0, 2, 1, 0, -4, 3, 2, 3, 1],), True),
    ((4,), (np.zeros(0, np.int64),), False),
    ((0, 3), (np.zeros((0,), np.int64),), False),
    ((2, 3), (1,), False),
    ((2, 3), (1, -2), False),
    ((2, 3), ([1, 1, -1],), True),
    ((2, 3), ([1, 0, 1], [2, 2, 2]), True),
    ((2, 3), ([1, 0, 1], [2, 2, 1]), False),
    ((3, 2, 2), ([2, 0], [1, 1]), False),
    ((3, 2, 2), ([[2, 0, -1]], [[1, 1, 1]], [[0, 1, 0]]), True),
    ((2, 0), ([1, 1],), True),
)


def _draws(rng: np.random.Generator) -> list[tuple[np.ndarray, np.ndarray, Any, bool]]:
    """(x, v, indices, whether they repeat) for each entry of the table."""
    found = []
    for shape, given, repeats in _INDICES:
        indices = tuple(np.array(i, np.int64) for i in given)
        part = indices[0].shape + shape[len(indices) :]
        found.append(
            (
                np.asarray(rng.normal(size=shape)),
                np.asarray(rng.normal(size=part)),
                indices,
                repeats,
            )
        )
    return found


# --- index ------------------------------------------------------------------------------------


def index_vjp(out_bar: Value, out: Value, x: Value, *indices: Value) -> tuple[Contribution, ...]:
    """x_bar = zeros, with out_bar added at the indices; repeated ones add up."""
    return (accumulate(zeros(x.shape, x.dtype), out_bar, *indices), *[None] * len(indices))


def index_jvp(
    tangents: Sequence[Value | None], out: Value, x: Value, *indices: Value
) -> Value | None:
    x_dot = tangents[0]
    return None if x_dot is None else index(x_dot, *indices)


def _index_samples(rng: np.random.Generator) -> list[Sample]:
    return [Sample((x, *indices)) for x, _, indices, _ in _draws(rng)]


def _index_text(
    operands: Sequence[str], result: ArrayType, attributes: Mapping[str, Any], dims: Dims
) -> str:
    return f"{operands[0]}[{', '.join(operands[1:])}]"


index = general(
    "index",
    doc="The slices of x at index values of its leading dimensions.",
    infer=lambda x, *indices: _slices_type(x, indices, "index"),
    reference=lambda x, *indices: np.asarray(x)[_where(indices)],
    array=_index_text,
    vjp=index_vjp,
    jvp=index_jvp,
    samples=_index_samples,
)


# --- update -----------------------------------------------------------------------------------


def _write_type(name: str, x: ArrayType, v: ArrayType, *indices: ArrayType) -> ArrayType:
    slices = _slices_type(x, indices, name)
    if v != slices:
        raise TypeError(f"{name}: {x} takes {slices} at these indices, not {v}")
    return x


def _update_reference(x: np.ndarray, v: np.ndarray, *indices: np.ndarray) -> np.ndarray:
    out = np.array(x)
    out[_where(indices)] = v
    return out


FEW = 8


def _kept(v: Value, x: Value, indices: Sequence[Value]) -> Value | None:
    """Where a written slice is still there: not overwritten by a later one at the same place.

    Each write leaves its number at its place; who then reads its own number was the last one.
    Few writes are compared with each other: that takes no array of the size of x. None when no
    place can be written twice.
    """
    if distinct(indices):
        return None
    shape = indices[0].shape
    count = product(shape)
    if isinstance(count, int) and count <= FEW:
        kept = reshaped(_last_of_few(x, indices, count), shape)
    else:
        numbers = reshaped(iota(size=count, dtype=i64), shape)
        places = zeros(x.shape[: len(indices)], i64)
        last = index(update(places, numbers, *indices), *indices)
        kept = REGISTRY["equal"](last, numbers)
    trailing = range(len(shape), v.rank)
    return broadcast_to(expand_dims(kept, tuple(trailing)), v.shape)


def _last_of_few(x: Value, indices: Sequence[Value], count: int) -> Value:
    """For each of ``count`` places, whether none of those after it is the same."""
    square = (count, count)
    numbers = iota(size=count, dtype=i64)
    again = view_of(numbers, square, [(1, 0, 1)]) > view_of(numbers, square, [(0, 0, 1)])
    for position, size in zip(indices, x.shape, strict=False):
        position = reshaped(position, (count,))
        position = REGISTRY["select"](position < 0, position + dim_value(size), position)
        same = REGISTRY["equal"](
            view_of(position, square, [(0, 0, 1)]), view_of(position, square, [(1, 0, 1)])
        )
        again = REGISTRY["logical_and"](again, same)
    last: Value = REGISTRY["logical_not"](REGISTRY["any"](again, axes=(1,)))
    return last


def update_vjp(
    out_bar: Value, out: Value, x: Value, v: Value, *indices: Value
) -> tuple[Contribution, ...]:
    """x_bar is out_bar cleared where x was overwritten; v_bar is what stands at the indices."""
    v_bar = index(out_bar, *indices)
    nothing = zeros(v.shape, v.dtype)
    kept = _kept(v, x, indices)
    if kept is not None:
        v_bar = REGISTRY["select"](kept, v_bar, nothing)
    return (update(out_bar, nothing, *indices), v_bar, *[None] * len(indices))


def update_jvp(
    tangents: Sequence[Value | None], out: Value, x: Value, v: Value, *indices: Value
) -> Value | None:
    x_dot, v_dot = tangents[:2]
    if x_dot is None and v_dot is None:
        return None
    x_dot = zeros(x.shape, x.dtype) if x_dot is None else x_dot
    v_dot = zeros(v.shape, v.dtype) if v_dot is None else v_dot
    out_dot: Value = update(x_dot, v_dot, *indices)
    return out_dot


def _write_samples(rng: np.random.Generator) -> list[Sample]:
    return [Sample((x, v, *indices)) for x, v, indices, _ in _draws(rng)]


def _runtime_text(name: str) -> Any:
    def text(
        operands: Sequence[str], result: ArrayType, attributes: Mapping[str, Any], dims: Dims
    ) -> str:
        return f"runtime.{name}({', '.join(operands)})"

    return text


update = general(
    "update",
    doc="x with v written at index values; of writes to one place the last one stays.",
    infer=lambda x, v, *indices: _write_type("update", x, v, *indices),
    reference=_update_reference,
    array=_runtime_text("update"),
    vjp=update_vjp,
    jvp=update_jvp,
    samples=_write_samples,
)


# --- accumulate -------------------------------------------------------------------------------


def _accumulate_type(x: ArrayType, v: ArrayType, *indices: ArrayType) -> ArrayType:
    if x.dtype.is_bool:
        raise TypeError("accumulate: numbers are needed, not bool")
    return _write_type("accumulate", x, v, *indices)


def _accumulate_reference(x: np.ndarray, v: np.ndarray, *indices: np.ndarray) -> np.ndarray:
    out = np.array(x)
    np.add.at(out, _where(indices), v)
    return out


def accumulate_vjp(
    out_bar: Value, out: Value, x: Value, v: Value, *indices: Value
) -> tuple[Contribution, ...]:
    """x_bar = out_bar; v_bar is out_bar at the indices."""
    return (out_bar, index(out_bar, *indices), *[None] * len(indices))


def accumulate_jvp(
    tangents: Sequence[Value | None], out: Value, x: Value, v: Value, *indices: Value
) -> Value | None:
    x_dot, v_dot = tangents[:2]
    if v_dot is None:
        return x_dot
    x_dot = zeros(x.shape, x.dtype) if x_dot is None else x_dot
    out_dot: Value = accumulate(x_dot, v_dot, *indices)
    return out_dot


accumulate = general(
    "accumulate",
    doc="x with v added at index values; additions to one place add up.",
    infer=_accumulate_type,
    reference=_accumulate_reference,
    array=_runtime_text("accumulate"),
    vjp=accumulate_vjp,
    jvp=accumulate_jvp,
    samples=_write_samples,
)


# --- indices that can't repeat ----------------------------------------------------------------


def distinct(indices: Sequence[Value]) -> bool:
    """Whether index values are known to be of different places: no place comes twice.

    True for one place, for the positions of a mask, and for (a grid of) ranges. False when that
    is not known.
    """
    shape = indices[0].shape
    if product(shape) in (0, 1):
        return True
    source = indices[0].op
    if (
        source is not None
        and source.opdef is nonzero
        and len(indices) == len(source.results)
        and set(indices) == set(source.results)
    ):
        return True
    told_apart = {axis for value in indices for axis in _ranging_axes(value)}
    return all(axis in told_apart or size == 1 for axis, size in enumerate(shape))


def _ranging_axes(value: Value) -> set[int]:
    """The axis along which ``value`` is a range of non-negative integers, constant along others."""
    op = value.op
    if op is None:
        return set()
    if op.opdef is iota:
        return {0}
    if op.opdef is view:
        inner = _ranging_axes(op.operands[0])
        entries = [op.attributes["map"][axis] for axis in inner]
        return {axis for axis, _, _ in entries if axis is not None}
    if op.opdef is REGISTRY["add"]:
        # A number that may be negative could make two indices of one place: -1 and n - 1.
        for one, other in (op.operands, op.operands[::-1]):
            if _constant(other) >= 0:
                return _ranging_axes(one)
    if op.opdef is REGISTRY["multiply"]:
        for one, other in (op.operands, op.operands[::-1]):
            if _constant(other) >= 1:
                return _ranging_axes(one)
    return set()


def _constant(value: Value) -> float:
    """The number that ``value`` holds everywhere; -1 when it isn't known to be one."""
    while value.op is not None and value.op.opdef is view:
        value = value.op.operands[0]
    if value.op is None or value.op.opdef is not REGISTRY["const"]:
        return -1
    number = value.op.attributes["value"]
    return -1 if isinstance(number, tuple) else float(number)


# --- nonzero ----------------------------------------------------------------------------------


def _nonzero_type(mask: ArrayType, *, size: Any) -> tuple[ArrayType, ...]:
    if mask.dtype is not boolean or mask.rank == 0:
        raise TypeError(f"nonzero: a bool array of rank ≥ 1 is needed, not {mask}")
    if not is_dim(size) or is_symbol(size) is None:
        raise TypeError(f"nonzero: size must be a symbol of its own, not {size!r}")
    return (ArrayType(i64, (size,)),) * mask.rank


def _nonzero_text(
    operands: Sequence[str], result: ArrayType, attributes: Mapping[str, Any], dims: Dims
) -> str:
    mask = operands[0]
    kind = getattr(mask, "type", None)
    return f"np.flatnonzero({mask})" if kind is None or kind.rank == 1 else f"np.nonzero({mask})"


def _nonzero_samples(rng: np.random.Generator) -> list[Sample]:
    shapes: tuple[tuple[int, ...], ...] = ((5,), (1,), (0,), (2, 3), (2, 0), (2, 2, 2))
    masks = [rng.random(shape) < 0.5 for shape in shapes] + [np.zeros(3, bool), np.ones(3, bool)]
    return [Sample((mask,), {"size": symbol("count")}) for mask in masks]


nonzero = general(
    "nonzero",
    doc="""Positions of True in C order: one vector for each dimension of the mask.

    ``size`` is the opaque symbol of their common length, bound by the results.""",
    infer=_nonzero_type,
    reference=lambda mask, *, size: np.nonzero(mask),
    array=_nonzero_text,
    nondifferentiable="its results are positions",
    samples=_nonzero_samples,
)


# --- made of them -----------------------------------------------------------------------------


def grid(shape: Shape) -> list[Value]:
    """For each axis the indices along it, in the whole ``shape``."""
    found = []
    for axis, size in enumerate(shape):
        found.append(view_of(iota(size=size, dtype=i64), shape, [(axis, 0, 1)]))
    return found


def positions(size: Dim, length: Dim, offset: Dim, step: int) -> Value:
    """The index values of a slice of an axis of ``size``, which is known to lie within it.

    Where its ends are no plain numbers it is that slice of 0, 1, …: so nobody need ask whether
    it names a place twice, or one that is not there.
    """
    if not isinstance(offset, int) or step < 0:
        return view_of(iota(size=size, dtype=i64), (length,), [(0, offset, step)])
    along: Value = iota(size=length, dtype=i64)
    if step != 1:
        along = along * step
    return along + dim_value(offset) if offset else along


def take_along(x: Value, positions: Value, axis: int) -> Value:
    """``np.take_along_axis`` with ``positions`` of the shape of ``x`` but along ``axis``."""
    axis = normal_axis(axis, x.rank)
    where = grid(positions.shape)
    where[axis] = positions
    result: Value = index(x, *where)
    return result
