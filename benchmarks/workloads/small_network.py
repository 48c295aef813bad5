"""A small tanh network on one sample: products of a matrix and a vector, a call every sample."""

import itertools
from functools import partial

import numpy as np

from ..case import Case
from ..numba_limit import limit, tanh


def squared_error(params, x, y):
    h1 = np.tanh(params["W1"] @ x + params["b1"])
    h2 = np.tanh(params["W2"] @ h1 + params["b2"])
    out = params["W3"] @ h2 + params["b3"]
    return np.sum((out - y) ** 2)


@limit
def layer(W, b, x, out):
    """out = W @ x + b."""
    for i in range(W.shape[0]):
        s = b[i]
        for j in range(W.shape[1]):
            s += W[i, j] * x[j]
        out[i] = s


@limit
def layer_reverse(W, x, out_bar, W_bar, x_bar):
    """W_bar is the outer product of ``out_bar`` and ``x``; x_bar = W.T @ out_bar, in one pass."""
    for j in range(W.shape[1]):
        x_bar[j] = 0.0
    for i in range(W.shape[0]):
        bar = out_bar[i]
        for j in range(W.shape[1]):
            W_bar[i, j] = bar * x[j]
            x_bar[j] += bar * W[i, j]


@limit
def squared_error_kernel(W1, b1, W2, b2, W3, b3, x, y):
    m1 = W1.shape[0]
    m2 = W2.shape[0]
    W1_bar = np.empty(W1.shape)
    W2_bar = np.empty(W2.shape)
    W3_bar = np.empty(W3.shape)
    b1_bar = np.empty(m1)
    b2_bar = np.empty(m2)
    b3_bar = np.empty(W3.shape[0])
    h1 = np.empty(m1)
    h2 = np.empty(m2)
    layer(W1, b1, x, h1)
    for i in range(m1):
        h1[i] = tanh(h1[i])
    layer(W2, b2, h1, h2)
    for i in range(m2):
        h2[i] = tanh(h2[i])
    layer(W3, b3, h2, b3_bar)
    value = 0.0
    for i in range(W3.shape[0]):
        e = b3_bar[i] - y[i]
        value += e * e
        b3_bar[i] = 2.0 * e
    layer_reverse(W3, h2, b3_bar, W3_bar, b2_bar)
    for i in range(m2):
        b2_bar[i] *= 1.0 - h2[i] * h2[i]
    layer_reverse(W2, h1, b2_bar, W2_bar, b1_bar)
    for i in range(m1):
        b1_bar[i] *= 1.0 - h1[i] * h1[i]
    for i in range(m1):
        for j in range(W1.shape[1]):
            W1_bar[i, j] = b1_bar[i] * x[j]
    return value, W1_bar, b1_bar, W2_bar, b2_bar, W3_bar, b3_bar


NAMES = ("W1", "b1", "W2", "b2", "W3", "b3")


def squared_error_adjoint(params, x, y):
    value, *bars = squared_error_kernel(*(params[name] for name in NAMES), x, y)
    return value, dict(zip(NAMES, bars, strict=True))


def inputs(sizes):
    rng = np.random.default_rng(25)
    params = {}
    for number, (columns, rows) in enumerate(itertools.pairwise(sizes), start=1):
        params[f"W{number}"] = rng.standard_normal((rows, columns)) / np.sqrt(columns)
        params[f"b{number}"] = 0.1 * rng.standard_normal(rows)
    return params, rng.standard_normal(sizes[0]), rng.standard_normal(sizes[-1])


CASES = [
    Case(
        name="mlp 1, 8-16-16-1",
        function=squared_error,
        argnums=0,
        inputs=partial(inputs, (8, 16, 16, 1)),
        limit=squared_error_adjoint,
        tiny=partial(inputs, (5, 7, 6, 2)),
    ),
]
