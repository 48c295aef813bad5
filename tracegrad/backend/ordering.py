"""Sorting and searching, as helpers of compiled kernels.

What is sorted lies along the middle one of three axes. Sorting is stable, and NaN comes last, as in
NumPy. A row whose elements lie one after the other is left to NumPy's own functions, which use the
processor's vectors; other rows are copied.
"""

from __future__ import annotations

import numpy as np

from tracegrad.backend.helpers import helper, numpys


@numpys("sort")
def sort_part(x: np.ndarray, row: int, first: int, last: int) -> None:
    """Sort these elements of a row, in place."""
    x[row, first:last, 0] = np.sort(x[row, first:last, 0])


@numpys("argsort")
def argsort_row(keys: np.ndarray, places: np.ndarray, row: int) -> None:
    """Put places into the order of their keys; equal ones come in any order."""
    order = np.argsort(keys[row, :, 0][places[row, :, 0]])
    places[row, :, 0] = places[row, :, 0][order]


@numpys("argmax")
def argmax_row(x: np.ndarray, row: int) -> int:
    """Where the first of a row's largest elements is; a NaN is the largest."""
    return int(np.argmax(x[row, :, 0]))


@numpys("argmin")
def argmin_row(x: np.ndarray, row: int) -> int:
    """Where the first of a row's least elements is; a NaN is the least."""
    return int(np.argmin(x[row, :, 0]))


@helper
def sort(x: np.ndarray, out: np.ndarray) -> None:
    """As ``np.sort``."""
    outer, n, inner = x.shape
    if inner == 1:
        for o in range(outer):
            for k in range(n):
                out[o, k, 0] = x[o, k, 0]
            sort_part(out, o, 0, n)
        return
    row = np.empty((1, n, 1), x.dtype)
    for o in range(outer):
        for i in range(inner):
            for k in range(n):
                row[0, k, 0] = x[o, k, i]
            sort_part(row, 0, 0, n)
            for k in range(n):
                out[o, k, i] = row[0, k, 0]


@helper
def argsort(x: np.ndarray, out: np.ndarray) -> None:
    """As ``np.argsort``, stable."""
    outer, n, inner = x.shape
    if inner == 1:
        for o in range(outer):
            for k in range(n):
                out[o, k, 0] = k
            argsort_row(x, out, o)
            settle(x, out, o)
        return
    keys = np.empty((1, n, 1), x.dtype)
    places = np.empty((1, n, 1), np.int64)
    for o in range(outer):
        for i in range(inner):
            for k in range(n):
                keys[0, k, 0] = x[o, k, i]
                places[0, k, 0] = k
            argsort_row(keys, places, 0)
            settle(keys, places, 0)
            for k in range(n):
                out[o, k, i] = places[0, k, 0]


@helper
def settle(keys: np.ndarray, places: np.ndarray, row: int) -> None:
    """Bring places of equal keys, which follow one another, into their order."""
    n = places.shape[1]
    first = 0
    while first < n:
        v = keys[row, places[row, first, 0], 0]
        last = first + 1
        same = True
        while last < n and same:
            w = keys[row, places[row, last, 0], 0]
            same = v == w or (v != v and w != w)
            last += int(same)
        if last - first > 1:
            sort_part(places, row, first, last)
        first = last


@helper
def argmax(x: np.ndarray, out: np.ndarray) -> None:
    """As ``np.argmax``: the first of several; a NaN is the largest."""
    outer, n, inner = x.shape
    if n == 0 and outer * inner > 0:
        raise ValueError("attempt to get argmax of an empty sequence")
    if inner == 1:
        for o in range(outer):
            out[o, 0] = argmax_row(x, o)
        return
    best = np.empty(inner, x.dtype)
    for o in range(outer):
        for i in range(inner):
            best[i] = x[o, 0, i]
            out[o, i] = 0
        for k in range(1, n):
            for i in range(inner):
                v = x[o, k, i]
                if best[i] == best[i] and not v <= best[i]:
                    best[i] = v
                    out[o, i] = k


@helper
def argmin(x: np.ndarray, out: np.ndarray) -> None:
    """As ``np.argmin``: the first of several; a NaN is the smallest."""
    outer, n, inner = x.shape
    if n == 0 and outer * inner > 0:
        raise ValueError("attempt to get argmin of an empty sequence")
    if inner == 1:
        for o in range(outer):
            out[o, 0] = argmin_row(x, o)
        return
    best = np.empty(inner, x.dtype)
    for o in range(outer):
        for i in range(inner):
            best[i] = x[o, 0, i]
            out[o, i] = 0
        for k in range(1, n):
            for i in range(inner):
                v = x[o, k, i]
                if best[i] == best[i] and not v >= best[i]:
                    best[i] = v
                    out[o, i] = k


@helper
def search(a: np.ndarray, values: np.ndarray, out: np.ndarray, right: bool) -> None:
    """As ``np.searchsorted``."""
    for i in range(values.shape[0]):
        out[i] = position(a, values[i], right)


@helper
def position(a: np.ndarray, v: np.float64, right: bool) -> int:
    """Where ``v`` would stand in ``a``; NaN is above everything."""
    low = 0
    high = a.shape[0]
    while low < high:
        middle = (low + high) // 2
        u = a[middle]
        if right:
            before = not v < u if v == v else True
            if u != u and v == v:
                before = False
        else:
            before = u < v if v == v else u == u
        if before:
            low = middle + 1
        else:
            high = middle
    return low
