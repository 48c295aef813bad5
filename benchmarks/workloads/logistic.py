"""Logistic regression: a matrix read forward and in reverse."""

from functools import partial

import numpy as np

from ..case import Case
from ..numba_limit import exp, limit, log1p


def logistic_loss(w, X, y):
    z = X @ w
    return np.mean(np.log1p(np.exp(-y * z))) + 0.05 * np.sum(w * w)


BLOCK = 64


@limit
def logistic_adjoint(w, X, y):
    """Blocks of rows: dots, then the vector maths, then the rank-one updates, so X is read once."""
    n, m = X.shape
    w_bar = np.empty(m)
    penalty = 0.0
    for j in range(m):
        penalty += w[j] * w[j]
        w_bar[j] = 0.1 * w[j]
    z = np.empty(BLOCK)
    scale = 1.0 / n
    total = 0.0
    blocks = n // BLOCK
    for blk in range(blocks):
        first = blk * BLOCK
        for r in range(BLOCK // 4):
            i = first + 4 * r
            d0 = 0.0
            d1 = 0.0
            d2 = 0.0
            d3 = 0.0
            for j in range(m):
                wj = w[j]
                d0 += X[i, j] * wj
                d1 += X[i + 1, j] * wj
                d2 += X[i + 2, j] * wj
                d3 += X[i + 3, j] * wj
            z[4 * r] = d0
            z[4 * r + 1] = d1
            z[4 * r + 2] = d2
            z[4 * r + 3] = d3
        for b in range(BLOCK):
            yi = y[first + b]
            t = exp(-yi * z[b])
            total += log1p(t)
            z[b] = -yi * scale * t / (1.0 + t)
        for r in range(BLOCK // 8):
            i = first + 8 * r
            c0 = z[8 * r]
            c1 = z[8 * r + 1]
            c2 = z[8 * r + 2]
            c3 = z[8 * r + 3]
            c4 = z[8 * r + 4]
            c5 = z[8 * r + 5]
            c6 = z[8 * r + 6]
            c7 = z[8 * r + 7]
            for j in range(m):
                low = c0 * X[i, j] + c1 * X[i + 1, j] + c2 * X[i + 2, j] + c3 * X[i + 3, j]
                high = c4 * X[i + 4, j] + c5 * X[i + 5, j] + c6 * X[i + 6, j] + c7 * X[i + 7, j]
                w_bar[j] += low + high
    for i in range(blocks * BLOCK, n):
        d0 = 0.0
        for j in range(m):
            d0 += X[i, j] * w[j]
        t = exp(-y[i] * d0)
        total += log1p(t)
        c0 = -y[i] * scale * t / (1.0 + t)
        for j in range(m):
            w_bar[j] += c0 * X[i, j]
    return total * scale + 0.05 * penalty, w_bar


def inputs(n, m):
    rng = np.random.default_rng(1)
    X = rng.standard_normal((n, m))
    truth = rng.standard_normal(m)
    y = np.where(X @ truth + rng.standard_normal(n) > 0.0, 1.0, -1.0)
    return 0.1 * rng.standard_normal(m), X, y


CASES = [
    Case(
        name=f"logistic {n}x{m}",
        function=logistic_loss,
        argnums=0,
        inputs=partial(inputs, n, m),
        limit=logistic_adjoint,
        tiny=partial(inputs, 131, 9),
        sized=(lambda extra: inputs(90 + extra, 9 + 2 * extra)) if n == 1000 else None,
    )
    for n, m in ((1000, 50), (100_000, 100))
]
