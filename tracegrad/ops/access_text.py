"""How views, pads, reshapes and concatenations are printed as NumPy expressions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tracegrad.ir.types import ArrayType, Dim, Shape, floor_div
from tracegrad.ops.constants import Dims, shape_text
from tracegrad.ops.registry import OperandText


def _shape_of(operand: str) -> Shape | None:
    kind = operand.type if isinstance(operand, OperandText) else None
    return None if kind is None else kind.shape


def _bound(at: Dim, size: Dim | None, dims: Dims) -> str:
    """A position: counted from the end when only that makes it a number."""
    if size is not None and not isinstance(at, int) and isinstance(at - size, int):
        back = at - size
        assert isinstance(back, int)
        if back < 0:
            return str(back)
    return dims(at)


def _slice(offset: Dim, step: int, length: Dim, size: Dim | None, dims: Dims) -> list[str]:
    """One dimension read as a slice; a second text where the result must still be reversed."""
    if step < 0:
        if step == -1 and size is not None and length == size and offset == size - 1:
            return ["::-1"]
        to_the_front = length == floor_div(offset - step, -step)
        if to_the_front and size is not None and offset == size - 1:
            return [f"::{step}"]
        # Read forwards, then reversed: a stop below zero would mean "from the end".
        first = offset + step * (length - 1)
        return [*_slice(first, -step, length, size, dims), "::-1"]
    start = "" if offset == 0 else _bound(offset, size, dims)
    end = offset + step * length
    stop = _bound(end, size, dims)
    if size is not None:
        beyond = end - size
        to_the_end = length == floor_div(size - offset + (step - 1), step)
        if to_the_end or (isinstance(beyond, int) and beyond >= 0):
            stop = ""
    return [f"{start}:{stop}" if step == 1 else f"{start}:{stop}:{step}"]


def view_text(
    operands: Sequence[str], result: ArrayType, attributes: Mapping[str, Any], dims: Dims
) -> str:
    """A view in its simplest form: slices, then a transpose, then new axes, then a broadcast."""
    text, shape, map = operands[0], attributes["shape"], attributes["map"]
    whole = _shape_of(text)
    if whole and _is_plain_broadcast(whole, shape, map):
        return f"np.broadcast_to({text}, {shape_text(shape, dims)})"
    subscripts: list[str] = []
    turned: list[str] = []  # a second subscript, for reversed reads
    axes: list[int] = []  # the output axis of each remaining dimension
    for d, (axis, offset, step) in enumerate(map):
        size = None if whole is None else whole[d]
        if axis is None:
            subscripts.append(_bound(offset, size, dims))
            continue
        first, *second = _slice(offset, step, shape[axis], size, dims)
        subscripts.append(first)
        turned.append(second[0] if second else ":")
        axes.append(axis)
    new = [axis for axis in range(len(shape)) if axis not in axes]
    repeated = any(shape[axis] != 1 for axis in new)
    # A scalar may be a Python number, which takes no subscript.
    if not axes and (repeated or (shape and not map)):
        return f"np.full({shape_text(shape, dims)}, {text}{_brackets(subscripts)})"
    if repeated:  # np.broadcast_to adds leading axes by itself
        new = [axis for axis in new if axis > min(axes)]
    out_of_order = axes != sorted(axes)
    again = any(t != ":" for t in turned)
    if not out_of_order and not again:
        text += _brackets(_with_new_axes(subscripts, axes, map, new))
    else:
        text += _brackets(subscripts)
        if again:
            text += _brackets(turned)
        if out_of_order:
            order = [axes.index(axis) for axis in sorted(axes)]
            if order == sorted(order, reverse=True):
                text += ".T"
            else:
                text += f".transpose({', '.join(str(k) for k in order)})"
        if new:
            text += _brackets(["None" if a in new else ":" for a in sorted([*axes, *new])])
    return f"np.broadcast_to({text}, {shape_text(shape, dims)})" if repeated else text


def _is_plain_broadcast(whole: Shape, part: Shape, map: Any) -> bool:
    """Whether NumPy's rule says the same: aligned at the right, only sizes of 1 repeated."""
    lead = len(part) - len(whole)
    named = [axis for axis, _, _ in map]
    if lead < 0 or all(size == 1 for axis, size in enumerate(part) if axis not in named):
        return False
    for d, (size, (axis, offset, step)) in enumerate(zip(whole, map, strict=True)):
        in_place = axis == lead + d and step == 1 and part[axis] == size
        if offset != 0 or not (in_place or (axis is None and size == 1)):
            return False
    return True


def _with_new_axes(
    subscripts: Sequence[str], axes: Sequence[int], map: Any, new: Sequence[int]
) -> list[str]:
    """Subscripts with ``None`` put in where an output axis of size 1 is new."""
    found: list[str] = []
    waiting = list(new)
    for subscript, (axis, _, _) in zip(subscripts, map, strict=True):
        while axis is not None and waiting and waiting[0] < axis:
            waiting.pop(0)
            found.append("None")
        found.append(subscript)
    return found + ["None"] * len(waiting)


def _brackets(subscripts: Sequence[str]) -> str:
    shown = list(subscripts)
    while shown and shown[-1] == ":":
        shown.pop()
    return f"[{', '.join(shown)}]" if shown else ""


def pad_text(
    operands: Sequence[str], result: ArrayType, attributes: Mapping[str, Any], dims: Dims
) -> str:
    """``np.pad`` where it says the same, else the helper that reads the map itself."""
    text, shape, map = operands[0], attributes["shape"], attributes["map"]
    lengths = _shape_of(text)
    if not shape:
        return text
    order = [axis for axis, _, _ in map if axis is not None]
    plain = all(axis is None or step == 1 for axis, _, step in map) and order == sorted(order)
    if lengths is None or not plain:
        entries = [f"({axis}, {dims(offset)}, {step})" for axis, offset, step in map]
        closing = ",)" if len(entries) == 1 else ")"
        return f"runtime.pad({text}, {shape_text(shape, dims)}, ({', '.join(entries)}{closing})"
    widths = []
    for size, (axis, offset, _) in zip(shape, map, strict=True):
        after = size - offset - (1 if axis is None else lengths[axis])
        widths.append(f"({dims(offset)}, {dims(after)})")
    if not order:  # a scalar may be a Python number
        text = "[" * len(map) + text + "]" * len(map)
    elif any(axis is None for axis, _, _ in map):
        text = text + _brackets(["None" if axis is None else ":" for axis, _, _ in map])
    return f"np.pad({text}, {widths[0] if len(widths) == 1 else '(' + ', '.join(widths) + ')'})"


def reshape_text(
    operands: Sequence[str], result: ArrayType, attributes: Mapping[str, Any], dims: Dims
) -> str:
    return f"np.reshape({operands[0]}, {shape_text(attributes['shape'], dims)})"


def concatenate_text(
    operands: Sequence[str], result: ArrayType, attributes: Mapping[str, Any], dims: Dims
) -> str:
    closing = ",)" if len(operands) == 1 else ")"
    axis = "" if attributes["axis"] == 0 else f", axis={attributes['axis']}"
    return f"np.concatenate(({', '.join(operands)}{closing}{axis})"


def roll_text(
    operands: Sequence[str], result: ArrayType, attributes: Mapping[str, Any], dims: Dims
) -> str:
    shift, axis = attributes["shift"], attributes["axis"]
    back = shift - result.shape[axis]
    shortest = back if isinstance(back, int) and not isinstance(shift, int) else shift
    return f"np.roll({operands[0]}, {dims(shortest)}, axis={axis})"
