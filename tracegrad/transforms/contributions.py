"""What one operation hands back to its operands: the rule of its op, brought into form."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence

from tracegrad import ops
from tracegrad.errors import NotDifferentiable, Place
from tracegrad.ir.core import Location, Operation, Value
from tracegrad.ir.types import ArrayType
from tracegrad.ops.access import is_identity, transpose, view_of, zeros
from tracegrad.ops.constants import dim_value
from tracegrad.ops.indexing import positions
from tracegrad.ops.registry import Contribution, expand_to
from tracegrad.transforms.masks import masked, support

Part = Callable[[Value], "tuple[Value, list[Value]]"]


def part_read(op: Operation) -> Part | None:
    """For an operation that reads a part of an array: what its cotangent adds to, and where."""
    if op.name == "index":
        return lambda out_bar: (out_bar, list(op.operands[1:]))
    if op.name != "view" or not op.operands[0].rank:
        return None
    source, shape, map = op.operands[0], op.attributes["shape"], op.attributes["map"]
    if all(axis is not None for axis, _, _ in map) and all(
        shape[axis] == size for (axis, _, _), size in zip(map, source.shape, strict=True)
    ):
        return None  # all of it

    def part(out_bar: Value) -> tuple[Value, list[Value]]:
        named = [axis for axis, _, _ in map if axis is not None]
        broadcast = [axis for axis in range(len(shape)) if axis not in named]
        if broadcast:
            out_bar = ops.sum(out_bar, axes=tuple(broadcast))
        remaining = sorted(named)
        if named != remaining:
            out_bar = transpose(out_bar, [remaining.index(axis) for axis in named])
        # The trailing dimensions that are read whole need no index.
        count = max(
            k + 1
            for k, ((axis, offset, step), size) in enumerate(zip(map, source.shape, strict=True))
            if axis is None or not is_identity((size,), (shape[axis],), ((0, offset, step),))
        )
        axes = [axis for axis, _, _ in map[:count] if axis is not None]
        grid = tuple(shape[axis] for axis in axes)
        indices = []
        for (axis, offset, step), size in zip(map[:count], source.shape, strict=False):
            if axis is None:
                indices.append(view_of(dim_value(offset), grid, []))
                continue
            along = positions(size, shape[axis], offset, step)
            indices.append(view_of(along, grid, [(axes.index(axis), 0, 1)]))
        return out_bar, indices

    return part


def contributions_of(op: Operation, out_bars: Sequence[Value | None]) -> tuple[Contribution, ...]:
    """One contribution per operand, by the rule of the op; masked where upstream is masked."""
    opdef = op.opdef
    refuse_nondifferentiable(op)
    if len(op.results) != 1:
        return opdef.vjp(tuple(out_bars), op.results, *op.operands, **op.attributes)  # type: ignore[arg-type]  # ops of several results take tuples
    (out_bar,) = out_bars
    assert out_bar is not None
    contributions = opdef.vjp(out_bar, op.result, *op.operands, **op.attributes)
    mask = support(out_bar) if opdef.kind == "elementwise" else True
    if mask is True:
        return contributions
    if mask is False:
        return tuple(None for _ in contributions)
    return tuple(
        masked(c, mask) if isinstance(c, Value) and c is not out_bar else c for c in contributions
    )


def refuse_nondifferentiable(op: Operation) -> None:
    """Raise `NotDifferentiable` for an operation that has no derivative, with its reason."""
    if op.opdef.nondifferentiable is not None:
        raise NotDifferentiable(
            f"{op.name} has no derivative: {op.opdef.nondifferentiable}",
            way_out="wrap its argument in tracegrad.stop_gradient if it is meant to be constant",
            place=place_of(op.location),
        )


def refuse_fixed(op: Operation, moved: Container[Value]) -> None:
    """Raise `NotDifferentiable` if an operand moves that has no derivative, with the reason."""
    for number, reason in op.opdef.fixed.items():
        if op.operands[number] in moved:
            raise NotDifferentiable(
                f"{op.name} has no derivative with respect to operand {number + 1}: {reason}",
                way_out="wrap that operand in tracegrad.stop_gradient if it is meant to be "
                "constant, or give a derivative with tracegrad.custom_vjp",
                place=place_of(op.location),
            )


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


def zero_of(type: ArrayType) -> Value:
    """Append zeros of a type."""
    return zeros(type.shape, type.dtype)


def place_of(location: Location | None) -> Place | None:
    """The place that an error shows for an IR location."""
    if location is None:
        return None
    return Place(
        location.file, location.line, location.function, location.column, location.end_column
    )
