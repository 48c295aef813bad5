"""Softmax regression with class weights: labels pick elements."""

from functools import partial

import numpy as np

from ..case import Case
from ..numba_limit import exp, limit, log


def weighted_loss(W, b, X, labels, class_weights):
    z = X @ W + b
    top = np.max(z, axis=1)
    log_norm = top + np.log(np.sum(np.exp(z - top[:, None]), axis=1))
    picked = z[np.arange(z.shape[0]), labels]
    weights = class_weights[labels]
    fit = np.sum(weights * (log_norm - picked)) / np.sum(weights)
    return fit + 0.01 * np.sum(W**2)


BLOCK = 256


@limit
def weighted_loss_adjoint(W, b, X, labels, class_weights):
    """Blocks of rows, X read once: products by BLAS, between them lanes; scaled at the end."""
    n, m = X.shape
    c = W.shape[1]
    W_bar = np.empty(W.shape)
    b_bar = np.zeros(c)
    sums = np.zeros((c, m))
    product = np.empty((c, m))
    scratch = np.empty(c * BLOCK)
    top = np.empty(BLOCK)
    total = np.empty(BLOCK)
    weight = np.empty(BLOCK)
    value = 0.0
    sum_weight = 0.0
    for block in range((n + BLOCK - 1) // BLOCK):
        first = block * BLOCK
        size = min(BLOCK, n - first)
        rows = X[first : first + size]
        label = labels[first : first + size]
        z = scratch[: c * size].reshape(c, size)
        np.dot(W.T, rows.T, z)
        for r in range(size):
            top[r] = -np.inf
            total[r] = 0.0
        for s in range(c):
            for r in range(size):
                out = z[s, r] + b[s]
                z[s, r] = out
                top[r] = out if out > top[r] else top[r]
        for r in range(size):
            s = label[r]
            if not 0 <= s < c:
                raise IndexError
            w = class_weights[s]
            weight[r] = w
            sum_weight += w
            value += w * (top[r] - z[s, r])
        for s in range(c):
            for r in range(size):
                e = exp(z[s, r] - top[r])
                z[s, r] = e
                total[r] += e
        for r in range(size):
            value += weight[r] * log(total[r])
            total[r] = weight[r] / total[r]
        for s in range(c):
            share = 0.0
            for r in range(size):
                out = z[s, r] * total[r]
                z[s, r] = out
                share += out
            b_bar[s] += share
        for r in range(size):
            s = label[r]
            z[s, r] -= weight[r]
            b_bar[s] -= weight[r]
        np.dot(z, rows, product)
        for s in range(c):
            for j in range(m):
                sums[s, j] += product[s, j]
    scale = 1.0 / sum_weight
    penalty = 0.0
    for j in range(m):
        for s in range(c):
            penalty += W[j, s] * W[j, s]
            W_bar[j, s] = sums[s, j] * scale + 0.02 * W[j, s]
    for s in range(c):
        b_bar[s] *= scale
    return value * scale + 0.01 * penalty, (W_bar, b_bar)


def inputs(n, m, c):
    rng = np.random.default_rng(21)
    return (
        0.3 * rng.standard_normal((m, c)),
        0.1 * rng.standard_normal(c),
        rng.standard_normal((n, m)),
        rng.integers(0, c, n),
        rng.uniform(0.5, 2.0, c),
    )


CASES = [
    Case(
        name="softmax regression 5000x30",
        function=weighted_loss,
        argnums=(0, 1),
        inputs=partial(inputs, 5000, 30, 7),
        memory=partial(inputs, 50_000, 30, 7),
        limit=weighted_loss_adjoint,
        tiny=partial(inputs, 13, 6, 4),
        sized=lambda extra: inputs(90 + extra, 9 + extra, 45 + extra),
    ),
]
