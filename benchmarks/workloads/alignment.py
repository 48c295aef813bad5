"""Soft global alignment (Needleman-Wunsch with a smooth maximum): a table filled cell by cell."""

from functools import partial

import numpy as np

from .. import lax
from ..case import Case
from ..numba_limit import exp, limit, log


def smooth_max(a, b, c):
    top = max(a, b, c)
    return top + np.log(np.exp(a - top) + np.exp(b - top) + np.exp(c - top))


def alignment_score(scores, gap):
    m, n = scores.shape
    best = np.zeros((m + 1, n + 1))
    for i in range(1, m + 1):
        best[i, 0] = best[i - 1, 0] - gap
    for j in range(1, n + 1):
        best[0, j] = best[0, j - 1] - gap
    for i in range(1, m + 1):
        for j in range(1, n + 1):
            best[i, j] = smooth_max(
                best[i - 1, j - 1] + scores[i - 1, j - 1],
                best[i - 1, j] - gap,
                best[i, j - 1] - gap,
            )
    return best[m, n]


def alignment_score_scan(scores, gap):
    """By antidiagonals, each a vector: the cells of one do not depend on each other.

    Row i of diagonal d holds the cell (i, d - i); what lies outside the table is never read.
    """
    m, n = scores.shape
    row = np.arange(m + 1)

    def fill(state, d):
        before, last = state
        column = d - row
        inside = (row > 0) & (column > 0) & (column <= n)
        score = scores[row - 1, np.clip(column - 1, 0, n - 1)]
        a = np.roll(before, 1) + score
        b = np.roll(last, 1) - gap
        c = last - gap
        # Outside, finite numbers stand in, so that no NaN comes back through the choice.
        a, b, c = (np.where(inside, v, 0.0) for v in (a, b, c))
        top = lax.stop_gradient(np.maximum(np.maximum(a, b), c))
        filled = top + np.log(np.exp(a - top) + np.exp(b - top) + np.exp(c - top))
        edge = np.where((row < 1) | (column < 1), -gap * d, 0.0)
        return (last, np.where(inside, filled, edge)), None

    first = np.zeros(m + 1)
    second = np.where(row < 2, -gap, 0.0)
    (_, last), _ = lax.scan(fill, (first, second), np.arange(2, m + n + 1))
    return last[m]


@limit
def alignment_score_adjoint(scores, gap):
    """Keeps the table. A row's reverse is a loop of lanes for the shares, then one carried sum."""
    m, n = scores.shape
    best = np.empty((m + 1, n + 1))
    best[0, 0] = 0.0
    for i in range(1, m + 1):
        best[i, 0] = best[i - 1, 0] - gap
    for j in range(1, n + 1):
        best[0, j] = best[0, j - 1] - gap
    # forward
    for i in range(m):
        left = best[i + 1, 0]
        for j in range(n):
            a = best[i, j] + scores[i, j]
            b = best[i, j + 1] - gap
            c = left - gap
            top = max(a, b, c)
            left = top + log(exp(a - top) + exp(b - top) + exp(c - top))
            best[i + 1, j + 1] = left
    # reverse; row[j] is the cotangent of best[i + 1, j], above[j] that of best[i, j]
    scores_bar = np.empty((m, n))
    row = np.zeros(n + 1)
    above = np.zeros(n + 1)
    share_a = np.empty(n)
    share_b = np.empty(n)
    share_c = np.empty(n)
    row[n] = 1.0
    gap_bar = 0.0
    for up in range(m):
        i = m - 1 - up
        for j in range(n):
            a = best[i, j] + scores[i, j]
            b = best[i, j + 1] - gap
            c = best[i + 1, j] - gap
            top = max(a, b, c)
            # What flows back through top is nothing: the shares sum to one.
            ea = exp(a - top)
            eb = exp(b - top)
            ec = exp(c - top)
            inverse = 1.0 / (ea + eb + ec)
            share_a[j] = ea * inverse
            share_b[j] = eb * inverse
            share_c[j] = ec * inverse
        for back in range(n):
            j = n - 1 - back
            row[j] += share_c[j] * row[j + 1]
        above[n] = 0.0
        for j in range(n):
            out = row[j + 1]
            gap_bar -= (share_b[j] + share_c[j]) * out
            scores_bar[i, j] = share_a[j] * out
            above[j] = scores_bar[i, j]
        for j in range(n):
            above[j + 1] += share_b[j] * row[j + 1]
        # The cell in column 0 hangs on the one above.
        gap_bar -= row[0]
        above[0] += row[0]
        row, above = above, row
    # Row 0: every cell hangs on the one to its left.
    for back in range(n):
        j = n - back
        gap_bar -= row[j]
        row[j - 1] += row[j]
    return best[m, n], (scores_bar, gap_bar)


@limit
def empty_diagonal(corner, above, left, score, gap, a_bar, b_bar, c_bar):
    """Replaces what the cells are given by what they give; returns what the gap is given."""
    gap_bar = 0.0
    for k in range(score.shape[0]):
        out = a_bar[k + 1] + b_bar[k + 1] + c_bar[k]
        a = corner[k] + score[k]
        b = above[k] - gap
        c = left[k] - gap
        top = max(a, b, c)
        ea = exp(a - top)
        eb = exp(b - top)
        ec = exp(c - top)
        out /= ea + eb + ec
        a_bar[k] = ea * out
        b_bar[k] = eb * out
        c_bar[k] = ec * out
        score[k] = ea * out
        gap_bar += (eb + ec) * out
    return gap_bar


@limit
def alignment_score_adjoint_wavefront(scores, gap):
    """By antidiagonals, in lanes: knows that the table may be filled in another order.

    Row d of a skewed table holds at i the cell (i, d - i).
    """
    m, n = scores.shape
    skewed = np.empty((m + n + 1, m + 1))
    for i in range(m):
        for j in range(n):
            skewed[i + j + 2, i + 1] = scores[i, j]
    best = np.empty((m + n + 1, m + 1))
    for i in range(m + 1):
        best[i, i] = -gap * i
    for j in range(n + 1):
        best[j, 0] = -gap * j
    # forward
    for d in range(2, m + n + 1):
        low = max(1, d - n)
        for k in range(min(m, d - 1) - low + 1):
            i = low + k
            a = best[d - 2, i - 1] + skewed[d, i]
            b = best[d - 1, i - 1] - gap
            c = best[d - 1, i] - gap
            top = max(a, b, c)
            best[d, i] = top + log(exp(a - top) + exp(b - top) + exp(c - top))
    # reverse; what the last diagonal gives to its neighbours, and in `far` the one before it
    a_bar = np.zeros(m + 2)
    b_bar = np.zeros(m + 2)
    c_bar = np.zeros(m + 2)
    far = np.zeros(m + 2)
    c_bar[m] = 1.0
    gap_bar = 0.0
    for down in range(m + n + 1):
        d = m + n - down
        low = max(1, d - n)
        if d <= n:
            gap_bar -= d * (b_bar[1] + far[1])
        if d <= m:
            gap_bar -= d * (c_bar[d] + far[d + 1])
        high = min(m, d - 1) + 1
        gap_bar -= empty_diagonal(
            best[d - 2, low - 1 : high - 1],
            best[d - 1, low - 1 : high - 1],
            best[d - 1, low:high],
            skewed[d, low:high],
            gap,
            far[low : high + 1],
            b_bar[low : high + 1],
            c_bar[low:high],
        )
        a_bar, far = far, a_bar
    scores_bar = np.empty((m, n))
    for i in range(m):
        for j in range(n):
            scores_bar[i, j] = skewed[i + j + 2, i + 1]
    return best[m + n, m], (scores_bar, gap_bar)


def inputs(m, n):
    rng = np.random.default_rng(10)
    return rng.standard_normal((m, n)), 0.8


CASES = [
    Case(
        name="soft alignment 500x500",
        function=alignment_score,
        argnums=(0, 1),
        inputs=partial(inputs, 500, 500),
        limit=alignment_score_adjoint,
        tiny=partial(inputs, 7, 9),
        sized=lambda extra: inputs(9 + extra, 40 + extra),
        variants={"wavefront": alignment_score_adjoint_wavefront},
        group="loop",
        texts={"jax": alignment_score_scan, "autograd": None, "casadi": None},
        elements=250_000,
    ),
]
