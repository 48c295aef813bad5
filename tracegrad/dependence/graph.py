"""Sets of inputs, each a number: the union of other sets is a node with edges to them.

A program of n elementwise steps makes n nodes, whatever the sets hold; what an output really
depends on is looked up at the end, by walking the graph from it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Ids = np.ndarray
"""An array of node numbers (int64), one per element of a float array."""

NOTHING = 0
"""The empty set."""


@dataclass(frozen=True, eq=False)
class Pattern:
    """The nonzeros of a matrix of ``shape``, row by row, columns ascending."""

    shape: tuple[int, int]
    starts: np.ndarray
    columns: np.ndarray

    @property
    def count(self) -> int:
        return len(self.columns)

    @functools.cached_property
    def rows(self) -> np.ndarray:
        """The row of each nonzero."""
        return np.repeat(np.arange(self.shape[0]), np.diff(self.starts))

    @functools.cached_property
    def narrow(self) -> tuple[np.ndarray, np.ndarray]:
        """``starts`` and ``columns`` as `scipy.sparse` wants them: of 32 bits where these do."""
        kind = np.int32 if max(self.count, *self.shape) < 2**31 else np.int64
        return self.starts.astype(kind), self.columns.astype(kind)

    def transposed(self) -> Pattern:
        order = np.argsort(self.columns, kind="stable")
        counts = np.bincount(self.columns, minlength=self.shape[1])
        return Pattern(self.shape[::-1], _starts(counts), self.rows[order])

    def between(self, first: int, last: int) -> Pattern:
        """The columns from ``first`` up to ``last``."""
        here = (self.columns >= first) & (self.columns < last)
        counts = np.bincount(self.rows[here], minlength=self.shape[0])
        return Pattern((self.shape[0], last - first), _starts(counts), self.columns[here] - first)

    def symmetric(self) -> Pattern:
        """The nonzeros, and their mirror images."""
        rows = np.concatenate([self.rows, self.columns])
        columns = np.concatenate([self.columns, self.rows])
        return pattern_of(self.shape, rows, columns)


def stacked(parts: Sequence[Pattern]) -> Pattern:
    """Patterns of as many columns below each other."""
    rows = sum(part.shape[0] for part in parts)
    counts = [np.diff(part.starts) for part in parts]
    columns = np.concatenate([part.columns for part in parts])
    return Pattern((rows, parts[0].shape[1]), _starts(np.concatenate(counts)), columns)


def pattern_of(shape: tuple[int, int], rows: np.ndarray, columns: np.ndarray) -> Pattern:
    """The pattern with nonzeros at these places, which may repeat, in any order."""
    places = np.unique(rows.astype(np.int64) * max(1, shape[1]) + columns)
    rows, columns = np.divmod(places, max(1, shape[1]))
    return Pattern(shape, _starts(np.bincount(rows, minlength=shape[0])), columns)


def _starts(counts: np.ndarray) -> np.ndarray:
    found = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=found[1:])
    return found


class Graph:
    """Sets of the inputs 1 … ``inputs``; 0 is the empty set, later numbers are unions."""

    def __init__(self, inputs: int) -> None:
        self.inputs = inputs
        self.count = inputs + 1
        self._pairs: list[int] = []
        """The last unions of two, which are not in a chunk yet."""
        self._chunks: list[tuple[int | np.ndarray, np.ndarray]] = []
        """Unions in the order of their numbers: how many sets each is of, and these."""
        self._links: list[tuple[np.ndarray, np.ndarray]] = []

    # --- unions

    def join(self, a: int, b: int) -> int:
        """The union of two sets."""
        if a == b or not b:
            return a
        if not a:
            return b
        self._pairs += (a, b)
        self.count += 1
        return self.count - 1

    def joined(self, a: Any, b: Any) -> Ids:
        """The unions of two arrays of sets, element by element; always a new array."""
        a, b = np.broadcast_arrays(a, b)
        found: Ids = np.where(a == NOTHING, b, a)
        both = (a != b) & (a != NOTHING) & (b != NOTHING)
        if both.any():
            found[both] = self._new(2, np.stack([a[both], b[both]], axis=-1).ravel())
        return found

    def union(self, rows: Ids) -> Ids:
        """The union along the last axis."""
        shape, width = rows.shape[:-1], rows.shape[-1]
        if width == 0:
            return np.zeros(shape, np.int64)
        if width == 1:
            return rows[..., 0].copy()
        if width == 2:
            return self.joined(rows[..., 0], rows[..., 1])
        flat = rows.reshape(-1, width)
        found: Ids = flat.max(axis=1, initial=NOTHING)
        mixed = ((flat != found[:, None]) & (flat != NOTHING)).any(axis=1)
        if mixed.any():
            found[mixed] = self._new(width, flat[mixed].ravel())
        return found.reshape(shape)

    def whole(self, ids: Any) -> int:
        """The union of all elements."""
        flat = np.ravel(ids)
        some = np.unique(flat) if flat.size > 2 else flat
        return int(self.union(some[None, :])[0]) if flat.size else NOTHING

    def added(self, old: Ids, places: np.ndarray, more: Ids) -> Ids:
        """``old`` (flat) united with ``more`` at ``places``, which may repeat."""
        found = old.copy()
        some = more != NOTHING
        places, more = places[some], more[some]
        if not places.size:
            return found
        order = np.argsort(places, kind="stable")
        places, more = places[order], more[order]
        there, first = np.unique(places, return_index=True)
        if len(there) == len(places):
            found[there] = self.joined(found[there], more)
            return found
        # One set per place: what was there, then all that is added.
        children = np.insert(more, first, old[there])
        counts = np.diff(np.append(first, len(places))) + 1
        found[there] = self._new(counts, children)
        return found

    def _new(self, width: int | np.ndarray, children: np.ndarray) -> Ids:
        self._flush()
        made = len(children) // width if isinstance(width, int) else len(width)
        self._chunks.append((width, children))
        self.count += made
        return np.arange(self.count - made, self.count)

    def _flush(self) -> None:
        if self._pairs:
            self._chunks.append((2, np.array(self._pairs, np.int64)))
            self._pairs = []

    # --- sets that are known later

    def later(self, shape: tuple[int, ...]) -> Ids:
        """New sets, to which `link` adds what they hold."""
        size = int(np.prod(shape, dtype=np.int64))
        return np.asarray(self._new(np.zeros(size, np.int64), np.zeros(0, np.int64)).reshape(shape))

    def link(self, sets: Any, held: Any) -> None:
        """Each of ``sets``, made by `later`, holds the corresponding one of ``held`` too."""
        sets, held = np.broadcast_arrays(sets, held)
        self._links.append((sets.ravel().copy(), held.ravel().copy()))

    # --- what they hold

    def pattern(self, outputs: Ids) -> Pattern:
        """For each output, which inputs it holds."""
        starts, children = self._edges()
        outputs = np.ascontiguousarray(np.ravel(outputs), np.int64)
        room = max(64, 4 * len(outputs))
        while True:
            walk = _walk()
            ends, columns = walk(starts, children, outputs, self.inputs, room)
            needed = int(ends[-1]) if len(ends) else 0
            if needed <= room:
                break
            room = needed
        ends = np.concatenate([np.zeros(1, np.int64), ends])
        rows = np.repeat(np.arange(len(outputs)), np.diff(ends))
        order = np.lexsort((columns[:needed], rows))
        return Pattern((len(outputs), self.inputs), ends, columns[:needed][order])

    def _edges(self) -> tuple[np.ndarray, np.ndarray]:
        """Where the children of each node start, and all children."""
        self._flush()
        counts = [np.zeros(self.inputs + 1, np.int64)]
        parts = [np.zeros(0, np.int64)]
        for width, children in self._chunks:
            if isinstance(width, int):
                counts.append(np.full(len(children) // width, width))
            else:
                counts.append(width)
            parts.append(children)
        width, all_children = np.concatenate(counts), np.concatenate(parts)
        if self._links:
            parents = np.concatenate([np.repeat(np.arange(len(width)), width)]
                                     + [a for a, _ in self._links])  # fmt: skip
            all_children = np.concatenate([all_children] + [b for _, b in self._links])
            all_children = all_children[np.argsort(parents, kind="stable")]
            width = np.bincount(parents, minlength=len(width))
        return _starts(width), all_children


@functools.cache
def _walk() -> Callable[..., Any]:
    """`reached`, compiled."""
    from tracegrad.api import jit

    return jit(reached)


def reached(
    starts: np.ndarray, children: np.ndarray, outputs: np.ndarray, inputs: int, room: int
) -> tuple[np.ndarray, np.ndarray]:
    """For each output how many inputs there are up to it, and these, as far as there is room."""
    nodes = starts.shape[0] - 1
    seen = np.zeros(nodes, np.int64)
    stack = np.zeros(nodes + 1, np.int64)
    ends = np.zeros(outputs.shape[0], np.int64)
    found = np.zeros(room, np.int64)
    count = 0
    for k in range(outputs.shape[0]):
        top = 0
        if outputs[k] != 0:
            stack[0] = outputs[k]
            seen[outputs[k]] = k + 1
            top = 1
        while top > 0:
            top -= 1
            node = stack[top]
            if node <= inputs:
                if count < room:
                    found[count] = node - 1
                count += 1
            for e in range(starts[node], starts[node + 1]):
                child = children[e]
                if child != 0 and seen[child] != k + 1:
                    seen[child] = k + 1
                    stack[top] = child
                    top += 1
        ends[k] = count
    return ends, found


reached.__module__ = "reached"  # staged and compiled as if it were a user's function
