"""Robust regression with an offset for each group: one pass over rows."""

from functools import partial

import numpy as np

from ..case import Case
from ..numba_limit import limit


def loss(slopes, offsets, X, y, group):
    r = y - X @ slopes - offsets[group]
    a = np.abs(r)
    return np.mean(np.where(a < 1.0, 0.5 * r * r, a - 0.5)) + 0.1 * np.sum(offsets**2)


@limit
def loss_adjoint(slopes, offsets, X, y, group):
    """A row is read twice in a row."""
    n, m = X.shape
    groups = offsets.shape[0]
    slopes_bar = np.zeros(m)
    offsets_bar = np.zeros(groups)
    value = 0.0
    share = 1.0 / n
    for i in range(n):
        g = group[i]
        if not 0 <= g < groups:
            raise IndexError
        fit = 0.0
        for k in range(m):
            fit += X[i, k] * slopes[k]
        r = y[i] - fit - offsets[g]
        a = abs(r)
        value += 0.5 * r * r if a < 1.0 else a - 0.5
        bar = share * (r if a < 1.0 else (1.0 if r > 0.0 else -1.0))
        offsets_bar[g] -= bar
        for k in range(m):
            slopes_bar[k] -= bar * X[i, k]
    squares = 0.0
    for g in range(groups):
        squares += offsets[g] * offsets[g]
        offsets_bar[g] += 0.2 * offsets[g]
    return share * value + 0.1 * squares, (slopes_bar, offsets_bar)


def inputs(n, m, groups):
    rng = np.random.default_rng(51)
    X = rng.standard_normal((n, m))
    group = rng.integers(0, groups, n)
    y = X @ rng.standard_normal(m) + rng.standard_normal(groups)[group] + rng.standard_t(3, n)
    return 0.1 * rng.standard_normal(m), 0.1 * rng.standard_normal(groups), X, y, group


CASES = [
    Case(
        name="mixed effects 20000x40, 50 groups",
        function=loss,
        argnums=(0, 1),
        inputs=partial(inputs, 20_000, 40, 50),
        limit=loss_adjoint,
        tiny=partial(inputs, 12, 3, 4),
        sized=lambda extra: inputs(20 + 3 * extra, 4 + extra, 13 + extra),
        texts={"pytensor": loss, "casadi": None},
    ),
]
