"""Sorting and searching, as helpers of compiled kernels.

What is sorted lies along the middle one of three axes. Sorting is stable, and NaN comes last, as in
NumPy: runs of 16 are sorted by insertion, then merged from one piece of memory to another and back.
"""

from __future__ import annotations

import numpy as np

from tracegrad.backend.helpers import helper

RUN = 16
"""How many elements are sorted by insertion."""


@helper
def sort(x: np.ndarray, out: np.ndarray) -> None:
    """As ``np.sort``."""
    outer, n, inner = x.shape
    keys = np.empty(n, x.dtype)
    spare = np.empty(n, x.dtype)
    for o in range(outer):
        for i in range(inner):
            # NaN is put last, and has no part in what follows.
            m = 0
            for k in range(n):
                v = x[o, k, i]
                if v == v:
                    keys[m] = v
                    m += 1
                else:
                    spare[n - 1 - (k - m)] = v
            for k in range(m, n):
                out[o, k, i] = spare[k]
            sort_lane(keys, spare, m)
            for k in range(m):
                out[o, k, i] = keys[k]


@helper
def sort_lane(keys: np.ndarray, spare: np.ndarray, n: int) -> None:
    """Sort the first ``n`` elements, of which none is NaN."""
    for first in range(0, n, RUN):
        last = min(first + RUN, n)
        for k in range(first + 1, last):
            v = keys[k]
            j = k
            while j > first and v < keys[max(j - 1, 0)]:
                keys[j] = keys[j - 1]
                j -= 1
            keys[j] = v
    width = RUN
    inside = True
    while width < n:
        if inside:
            merge(keys, spare, n, width)
        else:
            merge(spare, keys, n, width)
        inside = not inside
        width = width * 2
    if not inside:
        for k in range(n):
            keys[k] = spare[k]


@helper
def merge(source: np.ndarray, target: np.ndarray, n: int, width: int) -> None:
    """Merge neighbouring runs of ``width``. Which one is next is no branch: it can't be guessed."""
    for first in range(0, n, 2 * width):
        middle = min(first + width, n)
        last = min(first + 2 * width, n)
        a = first
        b = middle
        k = first
        while a < middle and b < last:
            u = source[a]
            v = source[b]
            later = v < u
            target[k] = v if later else u
            a += int(not later)
            b += int(later)
            k += 1
        for j in range(a, middle):
            target[k + (j - a)] = source[j]
        for j in range(b, last):
            target[j] = source[j]


@helper
def argsort(x: np.ndarray, out: np.ndarray) -> None:
    """As ``np.argsort``, stable."""
    outer, n, inner = x.shape
    keys = np.empty(n, x.dtype)
    places = np.empty(n, np.int64)
    spare = np.empty(n, np.int64)
    for o in range(outer):
        for i in range(inner):
            m = 0
            for k in range(n):
                v = x[o, k, i]
                keys[k] = v
                if v == v:
                    places[m] = k
                    m += 1
                else:
                    spare[k - m] = k
            for k in range(m, n):
                out[o, k, i] = spare[k - m]
            argsort_lane(keys, places, spare, m)
            for k in range(m):
                out[o, k, i] = places[k]


@helper
def argsort_lane(keys: np.ndarray, places: np.ndarray, spare: np.ndarray, n: int) -> None:
    """Sort the first ``n`` places by their keys."""
    for first in range(0, n, RUN):
        last = min(first + RUN, n)
        for k in range(first + 1, last):
            place = places[k]
            v = keys[place]
            j = k
            while j > first and v < keys[places[max(j - 1, 0)]]:
                places[j] = places[j - 1]
                j -= 1
            places[j] = place
    width = RUN
    inside = True
    while width < n:
        if inside:
            merge_places(keys, places, spare, n, width)
        else:
            merge_places(keys, spare, places, n, width)
        inside = not inside
        width = width * 2
    if not inside:
        for k in range(n):
            places[k] = spare[k]


@helper
def merge_places(
    keys: np.ndarray, source: np.ndarray, target: np.ndarray, n: int, width: int
) -> None:
    """Merge neighbouring runs of ``width`` places."""
    for first in range(0, n, 2 * width):
        middle = min(first + width, n)
        last = min(first + 2 * width, n)
        a = first
        b = middle
        k = first
        while a < middle and b < last:
            one = source[a]
            other = source[b]
            later = keys[other] < keys[one]
            target[k] = other if later else one
            a += int(not later)
            b += int(later)
            k += 1
        for j in range(a, middle):
            target[k + (j - a)] = source[j]
        for j in range(b, last):
            target[j] = source[j]


@helper
def argmax(x: np.ndarray, out: np.ndarray) -> None:
    """As ``np.argmax``: the first of several; a NaN is the largest."""
    outer, n, inner = x.shape
    if n == 0 and outer * inner > 0:
        raise ValueError("attempt to get argmax of an empty sequence")
    if inner == 1:
        for o in range(outer):
            most = x[o, 0, 0]
            place = 0
            for k in range(1, n):
                v = x[o, k, 0]
                if not v <= most and most == most:
                    most = v
                    place = k
            out[o, 0] = place
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
            most = x[o, 0, 0]
            place = 0
            for k in range(1, n):
                v = x[o, k, 0]
                if not v >= most and most == most:
                    most = v
                    place = k
            out[o, 0] = place
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
