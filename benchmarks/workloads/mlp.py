"""A tanh network with softmax cross-entropy: matrix products and row-wise work between them."""

import itertools
from functools import partial

import numpy as np

from ..case import Case
from ..numba_limit import exp, limit, log, tanh


def mlp_loss(params, X, targets):
    h1 = np.tanh(X @ params["W1"] + params["b1"])
    h2 = np.tanh(h1 @ params["W2"] + params["b2"])
    logits = h2 @ params["W3"] + params["b3"]
    top = np.max(logits, axis=1, keepdims=True)
    log_sum = top + np.log(np.sum(np.exp(logits - top), axis=1, keepdims=True))
    return -np.mean(np.sum(targets * (logits - log_sum), axis=1))


@limit
def mlp_kernel(W1, b1, W2, b2, W3, b3, X, targets):
    n = X.shape[0]
    m1 = W1.shape[1]
    m2 = W2.shape[1]
    c = W3.shape[1]
    W1_bar = np.empty(W1.shape)
    W2_bar = np.empty(W2.shape)
    W3_bar = np.empty(W3.shape)
    b1_bar = np.zeros(m1)
    b2_bar = np.zeros(m2)
    b3_bar = np.zeros(c)
    h1 = np.empty((n, m1))
    h2 = np.empty((n, m2))
    logits = np.empty((n, c))
    # forward
    np.dot(X, W1, h1)
    for i in range(n):
        for j in range(m1):
            h1[i, j] = tanh(h1[i, j] + b1[j])
    np.dot(h1, W2, h2)
    for i in range(n):
        for j in range(m2):
            h2[i, j] = tanh(h2[i, j] + b2[j])
    np.dot(h2, W3, logits)
    # loss and its reverse, row by row; logits becomes logits_bar
    value = 0.0
    scale = 1.0 / n
    for i in range(n):
        top = -np.inf
        for j in range(c):
            logits[i, j] += b3[j]
            top = max(top, logits[i, j])
        total = 0.0
        weight = 0.0
        for j in range(c):
            shifted = logits[i, j] - top
            value += targets[i, j] * shifted
            weight += targets[i, j]
            e = exp(shifted)
            logits[i, j] = e
            total += e
        value -= weight * log(total)
        for j in range(c):
            out = scale * (weight * logits[i, j] / total - targets[i, j])
            logits[i, j] = out
            b3_bar[j] += out
    # reverse; a block of rows of h2 and h1 is overwritten by what flows back through tanh
    np.dot(h2.T, logits, W3_bar)
    h2_bar = np.empty((n, m2))
    np.dot(logits, W3.T, h2_bar)
    for i in range(n):
        for j in range(m2):
            out = h2_bar[i, j] * (1.0 - h2[i, j] * h2[i, j])
            h2_bar[i, j] = out
            b2_bar[j] += out
    np.dot(h1.T, h2_bar, W2_bar)
    h1_bar = np.empty((n, m1))
    np.dot(h2_bar, W2.T, h1_bar)
    for i in range(n):
        for j in range(m1):
            out = h1_bar[i, j] * (1.0 - h1[i, j] * h1[i, j])
            h1_bar[i, j] = out
            b1_bar[j] += out
    np.dot(X.T, h1_bar, W1_bar)
    return -value * scale, W1_bar, b1_bar, W2_bar, b2_bar, W3_bar, b3_bar


NAMES = ("W1", "b1", "W2", "b2", "W3", "b3")


def mlp_adjoint(params, X, targets):
    value, *bars = mlp_kernel(*(params[name] for name in NAMES), X, targets)
    return value, dict(zip(NAMES, bars, strict=True))


def inputs(batch, sizes):
    rng = np.random.default_rng(2)
    params = {}
    for layer, (rows, columns) in enumerate(itertools.pairwise(sizes), start=1):
        params[f"W{layer}"] = rng.standard_normal((rows, columns)) / np.sqrt(rows)
        params[f"b{layer}"] = 0.1 * rng.standard_normal(columns)
    X = rng.uniform(0.0, 1.0, (batch, sizes[0]))
    targets = np.eye(sizes[-1])[rng.integers(0, sizes[-1], batch)]
    return params, X, targets


CASES = [
    Case(
        name="mlp 64, 784-128-64-10",
        function=mlp_loss,
        argnums=0,
        inputs=partial(inputs, 64, (784, 128, 64, 10)),
        limit=mlp_adjoint,
        tiny=partial(inputs, 9, (12, 11, 10, 9)),
        sized=lambda extra: inputs(9 + extra, [size + extra for size in (40, 30, 20, 10)]),
    ),
]
