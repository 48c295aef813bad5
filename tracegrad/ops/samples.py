"""Sample inputs for the law tests: what every elementwise op is tried on.

A helper takes the interval of each operand and gives a `Samples` function: random operands of
the shapes ``()``, ``(3,)``, ``(2, 3)``, ``(0,)`` and ``(1,)``, a scalar beside an array, and the
*edge* values of floating point, on which only values are compared, not differences.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np

from tracegrad.ops.registry import Sample, Samples

SHAPES: tuple[tuple[int, ...], ...] = ((), (3,), (2, 3), (0,), (1,))
EDGES = (0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3.0, np.inf, -np.inf, np.nan, 1e-310, 1e300, -700.0)
INTEGER_EDGES = (0, 1, -1, 7, -8)


def real(lo: float, hi: float, edges: Sequence[float] = EDGES) -> Samples:
    """Samples of one real operand in ``[lo, hi]``, then the edge values."""
    return reals((lo, hi), edges=edges)


def reals(
    *intervals: tuple[float, float],
    edges: Sequence[float] = EDGES,
    kinks: Sequence[tuple[float, ...]] = (),
) -> Samples:
    """Samples of real operands, one interval each.

    ``edges`` are combined freely (values only); ``kinks`` are further points, one number per
    operand, at which differences can't be taken.
    """

    def samples(rng: np.random.Generator) -> list[Sample]:
        def draw(shape: tuple[int, ...], lo: float, hi: float) -> np.ndarray:
            return np.asarray(rng.uniform(lo, hi, shape))

        found = [Sample(tuple(draw(s, *i) for i in intervals), note=str(s)) for s in SHAPES]
        for scalar in range(len(intervals) if len(intervals) > 1 else 0):
            operands = [draw(() if k == scalar else (3,), *i) for k, i in enumerate(intervals)]
            found.append(Sample(tuple(operands), note=f"operand {scalar} a scalar"))
        points = [*product(edges, repeat=len(intervals)), *kinks]
        if points:
            columns = tuple(np.array(c, dtype=np.float64) for c in zip(*points, strict=True))
            found.append(Sample(columns, note="edges", differentiable=False))
        return found

    return samples


def integers(*intervals: tuple[int, int], edges: Sequence[int] = INTEGER_EDGES) -> Samples:
    """Samples of i64 operands, one closed interval each; edges outside an interval are left out."""

    def samples(rng: np.random.Generator) -> list[Sample]:
        found = []
        for shape in SHAPES:
            operands = tuple(np.asarray(rng.integers(lo, hi + 1, shape)) for lo, hi in intervals)
            found.append(Sample(operands, note=f"i64 {shape}"))
        points = product(*([e for e in edges if lo <= e <= hi] for lo, hi in intervals))
        columns = tuple(np.array(c, dtype=np.int64) for c in zip(*points, strict=True))
        if columns:
            found.append(Sample(columns, note="i64 edges", differentiable=False))
        return found

    return samples


def booleans(count: int) -> Samples:
    """Samples of ``count`` boolean operands: random ones and the whole truth table."""

    def samples(rng: np.random.Generator) -> list[Sample]:
        found = [
            Sample(tuple(np.asarray(rng.random(s) < 0.5) for _ in range(count)), note=f"bool {s}")
            for s in SHAPES
        ]
        table = zip(*product((False, True), repeat=count), strict=True)
        found.append(Sample(tuple(np.array(c) for c in table), note="truth table"))
        return found

    return samples


def both(*groups: Samples) -> Samples:
    """All samples of several groups."""

    def samples(rng: np.random.Generator) -> list[Sample]:
        return [sample for group in groups for sample in group(rng)]

    return samples
