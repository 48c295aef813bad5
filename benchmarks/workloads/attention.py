"""Causal attention: products around a row-wise softmax of a triangle."""

from functools import partial

import numpy as np

from ..case import Case
from ..numba_limit import exp, limit


def misfit(queries, keys, values, wanted):
    steps, width = queries.shape
    scores = queries @ keys.T / np.sqrt(width)
    scores = np.where(np.tri(steps, dtype=bool), scores, -np.inf)
    weights = np.exp(scores - np.max(scores, axis=1, keepdims=True))
    weights = weights / np.sum(weights, axis=1, keepdims=True)
    return np.mean((weights @ values - wanted) ** 2)


@limit
def misfit_kernel(queries, keys, values, wanted, W, W_bar, out, q_bar, k_bar, v_bar):
    """``W`` holds scores, then weights; ``W_bar`` their cotangents, then those of the scores."""
    steps, width = queries.shape
    scale = 1.0 / np.sqrt(width)
    np.dot(queries, keys.T, W)
    for i in range(steps):
        top = -np.inf
        for j in range(i + 1):
            top = max(top, W[i, j])
        total = 0.0
        for j in range(i + 1):
            e = exp(scale * (W[i, j] - top))
            W[i, j] = e
            total += e
        share = 1.0 / total
        for j in range(i + 1):
            W[i, j] *= share
        for j in range(i + 1, steps):
            W[i, j] = 0.0
    np.dot(W, values, out)
    value = 0.0
    size = steps * width
    for i in range(steps):
        for j in range(width):
            off = out[i, j] - wanted[i, j]
            value += off * off
            out[i, j] = 2.0 * off / size
    # reverse
    np.dot(W.T, out, v_bar)
    np.dot(out, values.T, W_bar)
    for i in range(steps):
        along = 0.0
        for j in range(i + 1):
            along += W[i, j] * W_bar[i, j]
        for j in range(i + 1):
            W_bar[i, j] = scale * W[i, j] * (W_bar[i, j] - along)
        for j in range(i + 1, steps):
            W_bar[i, j] = 0.0
    np.dot(W_bar, keys, q_bar)
    np.dot(W_bar.T, queries, k_bar)
    return value / size


def misfit_adjoint(queries, keys, values, wanted):
    steps = queries.shape[0]
    bars = tuple(np.empty(a.shape) for a in (queries, keys, values))
    W, W_bar = np.empty((steps, steps)), np.empty((steps, steps))
    out = np.empty(wanted.shape)
    return misfit_kernel(queries, keys, values, wanted, W, W_bar, out, *bars), bars


def inputs(steps, width):
    rng = np.random.default_rng(41)
    return tuple(rng.standard_normal((steps, width)) for _ in range(4))


CASES = [
    Case(
        name="causal attention 256x32",
        function=misfit,
        argnums=(0, 1, 2),
        inputs=partial(inputs, 256, 32),
        limit=misfit_adjoint,
        tiny=partial(inputs, 7, 3),
        sized=lambda extra: inputs(9 + 2 * extra, 5 + extra),
        texts={"casadi": None},
    ),
]
