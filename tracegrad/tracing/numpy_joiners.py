"""``np.r_`` and ``np.c_`` of traced arrays: what stands between brackets, joined."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tracegrad.tracing.dispatch import refuse
from tracegrad.tracing.numpy_creation import arange, linspace
from tracegrad.tracing.values import cast, common_dtype, is_traced, loose, operand

__all__ = ["JOINERS", "Joiner"]

JOINERS: frozenset[type] = frozenset({type(np.r_), type(np.c_)})
"""The types of the objects for which a `Joiner` stands in a trace."""


class Joiner:
    """Stands for ``np.r_`` or ``np.c_``.

    Parameters
    ----------
    plain : the object of NumPy's. It says along which axis arrays are joined, how many dimensions
        they have at least, and where the dimensions of an array that has fewer are put; a first
        item like ``"0,2"`` says otherwise.
    """

    def __init__(self, plain: Any) -> None:
        self.plain = plain

    def __len__(self) -> int:
        return len(self.plain)

    def __getitem__(self, key: Any) -> Any:
        items = key if isinstance(key, tuple) else (key,)
        ends = [end for item in items if type(item) is slice
                for end in (item.start, item.stop, item.step)]  # fmt: skip
        if not is_traced([*items, *ends]):
            return self.plain[key]
        axis, least, place = self.plain.axis, self.plain.ndmin, self.plain.trans1d
        if isinstance(items[0], str):
            axis, least, place = _directive(items[0], (axis, least, place))
            items = items[1:]
        if any(isinstance(item, str) for item in items):
            raise ValueError("special directives must be the first entry.")
        given = [_range(item) if type(item) is slice else item for item in items]
        dtype = common_dtype([loose(item) for item in given])
        parts = [
            _with_dimensions(cast(operand(part), dtype), least, place, type(item) is slice)
            for item, part in zip(items, given, strict=True)
        ]
        return np.concatenate(parts, axis=axis)


def _directive(text: str, usual: Sequence[int]) -> tuple[int, int, int]:
    if text in ("r", "c"):
        raise refuse("np.r_", f"with {text!r}, which makes a np.matrix")
    try:
        given = [int(number) for number in text.split(",")]
    except ValueError:
        raise ValueError(f"unknown special directive {text!r}") from None
    axis, least, place = [*given, *usual[len(given) :]][:3]
    return axis, least, place


def _range(item: slice) -> Any:
    """What ``start:stop:step`` stands for; an imaginary step counts points, both ends included."""
    start = 0 if item.start is None else item.start
    step = 1 if item.step is None else item.step
    if np.iscomplexobj(step):
        return linspace(start, item.stop, int(abs(complex(step))))
    return arange(start, item.stop, step)


def _with_dimensions(x: Any, least: int, place: int, is_range: bool) -> Any:
    """``x`` with at least so many dimensions: new ones in front, or those of ``x`` at ``place``."""
    more = least - x.ndim
    if more <= 0:
        return x
    had = x.ndim
    x = np.expand_dims(x, tuple(range(more)))
    if place == -1 or not had:
        return x
    if is_range:
        return np.swapaxes(x, -1, place)
    first = place + more + 1 if place < 0 else place
    axes = list(range(least))
    return np.transpose(x, axes[:first] + axes[more:] + axes[first:more])
