"""Axis and keyword arguments as NumPy functions take them."""

from __future__ import annotations

from typing import Any

from tracegrad.errors import AxisError, UnsupportedError
from tracegrad.tracing.integers import as_dim

__all__ = ["no_out", "normal_axes", "normal_axis"]


def normal_axis(axis: Any, rank: int) -> int:
    """``axis`` counted from the front; NumPy's error if there is no such axis."""
    found = as_dim(axis)
    if not isinstance(found, int):
        found = axis.__index__()
    if not -rank <= found < rank:
        raise AxisError(f"axis {found} is out of bounds for array of dimension {rank}")
    return found % rank


def normal_axes(axis: Any, rank: int) -> tuple[int, ...]:
    """The axes that ``axis`` (None: all, an int, a tuple) means, sorted."""
    if axis is None or (not rank and axis in (0, -1)):  # a number has an axis to reduce over
        return tuple(range(rank))
    if not isinstance(axis, tuple | list):
        return (normal_axis(axis, rank),)
    axes = sorted(normal_axis(each, rank) for each in axis)
    if len(set(axes)) != len(axes):
        raise ValueError("duplicate value in 'axis'")
    return tuple(axes)


def no_out(out: Any, name: str) -> None:
    """Refuse a result array of the caller's."""
    if out is not None:
        raise UnsupportedError(
            f"{name} with out= writes into an array, which is not supported yet",
            way_out="use the result it returns",
        )
