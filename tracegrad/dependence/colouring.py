"""Directions that take several columns at once: colours of columns that never meet in a row.

Greedy, columns with the most neighbours first. Gebremedhin, Manne and Pothen (2005), What color is
your Jacobian?, SIAM Review 47; the star colouring is their algorithm 4.1 of Gebremedhin, Tarafdar,
Manne and Pothen (2007), SIAM J. Sci. Comput. 29.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from tracegrad.dependence.graph import Pattern

AFFORDABLE = 500_000_000
"""Visits of neighbours up to which a colouring that may turn out worse is tried."""


def column_colours(pattern: Pattern) -> np.ndarray:
    """A number per column, 0, 1, …: columns of one number have no row in common."""
    turned = pattern.transposed()
    order = np.argsort(-np.diff(turned.starts), kind="stable")
    return _compiled(apart)(  # type: ignore[no-any-return]  # an array
        pattern.starts, pattern.columns, turned.starts, turned.columns, order
    )


def least_colours(pattern: Pattern) -> int:
    """Columns need no fewer: those of the longest row."""
    return int(np.diff(pattern.starts).max(initial=0))


def work(pattern: Pattern) -> int:
    """How many neighbours `column_colours` visits."""
    return int(np.sum(np.diff(pattern.starts).astype(float) ** 2))


def star_colours(pattern: Pattern) -> np.ndarray | None:
    """Colours of a symmetric pattern from which each nonzero, or its mirror image, can be read.

    None where looking for them takes too long.
    """
    degrees = np.diff(pattern.starts)
    if float(np.sum(degrees.astype(float)[pattern.columns] * degrees[pattern.rows])) > AFFORDABLE:
        return None
    order = np.argsort(-degrees, kind="stable")
    colours: np.ndarray = _compiled(star)(pattern.starts, pattern.columns, order)
    return colours


def readable(pattern: Pattern, colours: np.ndarray) -> np.ndarray:
    """Which nonzeros stand alone in their row among the columns of their colour."""
    count = int(colours.max(initial=-1)) + 1
    places = pattern.rows * max(1, count) + colours[pattern.columns]
    _, which, often = np.unique(places, return_inverse=True, return_counts=True)
    return np.asarray(often[which] == 1)


def apart(
    starts: np.ndarray,
    columns: np.ndarray,
    column_starts: np.ndarray,
    rows: np.ndarray,
    order: np.ndarray,
) -> np.ndarray:
    """For each column in this order the first colour that no column has it shares a row with."""
    n = column_starts.shape[0] - 1
    colours = np.full(n, -1)
    taken = np.full(n + 1, -1)
    for k in range(order.shape[0]):
        j = order[k]
        for e in range(column_starts[j], column_starts[j + 1]):
            i = rows[e]
            for f in range(starts[i], starts[i + 1]):
                other = colours[columns[f]]
                if other >= 0:
                    taken[other] = j
        colour = 0
        while taken[colour] == j:
            colour += 1
        colours[j] = colour
    return colours


def star(starts: np.ndarray, columns: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Neighbours differ, and no path of four has only two colours."""
    n = starts.shape[0] - 1
    colours = np.full(n, -1)
    taken = np.full(n + 1, -1)
    for k in range(order.shape[0]):
        v = order[k]
        for e in range(starts[v], starts[v + 1]):
            w = columns[e]
            if w != v:
                if colours[w] >= 0:
                    taken[colours[w]] = v
                for f in range(starts[w], starts[w + 1]):
                    x = columns[f]
                    if x != v and x != w and colours[x] >= 0 and taken[colours[x]] != v:
                        if colours[w] < 0:
                            taken[colours[x]] = v
                        else:
                            for g in range(starts[x], starts[x + 1]):
                                y = columns[g]
                                if y != w and y != x and colours[y] == colours[w]:
                                    taken[colours[x]] = v
        colour = 0
        while taken[colour] == v:
            colour += 1
        colours[v] = colour
    return colours


for _function in (apart, star):
    _function.__module__ = "colouring"  # staged and compiled as if it were a user's function


@functools.cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    from tracegrad.api import jit

    return jit(function)
