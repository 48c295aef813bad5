"""Where the derivatives that trips compute stand in a Jacobian."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from tracegrad.dependence.analysis import dependence
from tracegrad.dependence.graph import Pattern, pattern_of
from tracegrad.ir.interpreter import bind_sizes
from tracegrad.ir.types import evaluate
from tracegrad.transforms.trip_rows import TripRows


@dataclass(frozen=True, eq=False)
class Block:
    """The derivatives of a result in a parameter.

    Attributes
    ----------
    chosen : which derivatives the table has of each trip, as `TripRows.tables` takes them.
    places : where the numbers that make up the nonzeros stand in the table of the trips.
    targets : the nonzero that each of them is added to; None where each is one.
    whole : whether the table holds the nonzeros one after the other as it is.
    """

    pattern: Pattern
    chosen: tuple[tuple[int, int], ...]
    places: np.ndarray
    targets: np.ndarray | None
    whole: bool

    @property
    def kind(self) -> str:
        return "whole" if self.whole else "picked" if self.targets is None else "added"

    @property
    def given(self) -> list[np.ndarray]:
        """The arrays that a kernel needs for it."""
        if self.whole:
            return []
        if self.targets is None:
            return [self.places]
        return [np.stack([self.places, self.targets]), np.zeros(self.pattern.count)]


@dataclass(frozen=True, eq=False)
class Found:
    """What `along_trips` finds.

    Attributes
    ----------
    patterns : of each result, as `tracegrad.dependence.dependence` gives them.
    blocks : per result, per parameter; None if the derivatives do not stand trip by trip.
    """

    patterns: list[Pattern]
    blocks: list[list[Block]] | None


def along_trips(rows: TripRows, arguments: Sequence[Any]) -> Found:
    """Which nonzeros the trips of a loop compute, for the integers and sizes of arguments."""
    function = rows.function
    arrays = [np.asarray(a) for a in arguments]
    trips = evaluate(rows.count, bind_sizes(function, arrays))
    results, params = range(len(rows.of)), range(len(rows.wrt))
    read, written = [rows.read(p) for p in params], [rows.written(q) for q in results]
    marks = [np.zeros((trips, n)) for n in (*read, *written)]
    marked = rows.marked()
    types = [p.dtype.numpy for p in marked.params[len(arrays) :]]
    marks = [m.astype(t) for m, t in zip(marks, types, strict=True)]
    wrt = [*range(len(arrays), len(arrays) + len(marks)), *rows.wrt]
    found = dependence(marked, wrt, range(len(marked.results)), [*arguments, *marks])
    ends = np.cumsum([0, *(m.size for m in marks), *(arrays[i].size for i in rows.wrt)]).tolist()
    columns = list(pairwise(ends))
    on_reads, on_writes = columns[: len(read)], columns[len(read) : len(marks)]
    first = ends[len(marks)]
    patterns = [found[q].between(first, ends[-1]) for q in results]
    none = Found(patterns, None)
    sources = [_only(found[len(rows.of) + p].between(*columns[len(marks) + p])) for p in params]
    slots = [_only(found[q].between(*on_writes[q])) for q in results]
    if trips == 0:
        return none
    element = []
    for p, source in enumerate(sources):
        if source is None:
            return none
        element.append(source.reshape(trips, read[p]))
    blocks: list[list[Block]] = []
    for q in results:
        line = []
        for p in params:
            slot = slots[q]
            on, width = found[q].between(*on_reads[p]), arrays[rows.wrt[p]].size
            block = None if slot is None else _block(on, slot, written[q], element[p], width)
            if block is None:
                return none
            line.append(block)
        blocks.append(line)
    return Found(patterns, blocks)


def _only(pattern: Pattern) -> np.ndarray | None:
    """The one column of each row, -1 for none; None where a row has several."""
    counts = np.diff(pattern.starts)
    if counts.max(initial=0) > 1:
        return None
    made = np.full(pattern.shape[0], -1)
    made[counts == 1] = pattern.columns
    return made


def _block(
    pattern: Pattern, slots: np.ndarray, written: int, element: np.ndarray, width: int
) -> Block | None:
    """The nonzeros of a block of ``width`` columns; None if it has some of several trips.

    Parameters
    ----------
    pattern : on which reads each element of the result depends.
    slots : the write that each element of the result was made by, or -1.
    written : how many elements of the result a trip writes.
    element : the element of the parameter that each read is of, or -1; trip by trip.
    """
    trips, count = element.shape
    slot = slots[pattern.rows]
    trip, read = np.divmod(pattern.columns, count)
    if (slot < 0).any() or (slot // written != trip).any():
        return None
    columns = element[trip, read]
    some = columns >= 0
    rows, columns, trip = pattern.rows[some], columns[some], trip[some]
    pair = ((slot % written) * count + read)[some]
    sort = np.lexsort((pair, columns, rows))
    rows, columns, trip, pair = rows[sort], columns[sort], trip[sort], pair[sort]
    # In a trip the derivatives stand in the order of the nonzeros of the first trip.
    chosen = np.array(list(dict.fromkeys([*pair[trip == 0].tolist(), *np.unique(pair).tolist()])))
    position = np.zeros(written * count, np.int64)
    position[chosen.astype(np.int64)] = np.arange(len(chosen))
    size = trips * len(chosen)
    places = trip * len(chosen) + position[pair]
    new = np.ones(len(rows), bool)
    new[1:] = (np.diff(rows) != 0) | (np.diff(columns) != 0)
    return Block(
        pattern_of((pattern.shape[0], width), rows, columns),
        tuple(divmod(int(n), count) for n in chosen),
        places.astype(np.int32) if size < 2**31 else places,
        None if new.all() else np.cumsum(new) - 1,
        bool(new.all()) and np.array_equal(places, np.arange(size)),
    )
