"""A recurrent network, one state carried through time: small matrix-vector products in a loop."""

from functools import partial

import numpy as np

from .. import lax
from ..case import Case
from ..numba_limit import limit, tanh


def squared_error(W, U, b, x, y):
    h = np.zeros(W.shape[0])
    total = 0.0
    for t in range(x.shape[0]):
        h = np.tanh(W @ h + U @ x[t] + b)
        total += np.sum((h - y[t]) ** 2)
    return total


def squared_error_scan(W, U, b, x, y):
    def step(h, at_t):
        x_t, y_t = at_t
        h = np.tanh(W @ h + U @ x_t + b)
        return h, np.sum((h - y_t) ** 2)

    _, errors = lax.scan(step, np.zeros(W.shape[0]), (x, y))
    return np.sum(errors)


@limit
def add_product(A, v, out):
    """out += A @ v, four rows at a time."""
    m, n = A.shape
    for block in range(m // 4):
        i = 4 * block
        s0 = s1 = s2 = s3 = 0.0
        for j in range(n):
            s0 += A[i, j] * v[j]
            s1 += A[i + 1, j] * v[j]
            s2 += A[i + 2, j] * v[j]
            s3 += A[i + 3, j] * v[j]
        out[i] += s0
        out[i + 1] += s1
        out[i + 2] += s2
        out[i + 3] += s3
    for i in range(m // 4 * 4, m):
        s0 = 0.0
        for j in range(n):
            s0 += A[i, j] * v[j]
        out[i] += s0


@limit
def squared_error_adjoint(W, U, b, x, y):
    """Keeps the states; products with x, and those of W_bar, are one for all times."""
    steps = x.shape[0]
    n = W.shape[0]
    W_T = np.ascontiguousarray(W.T)
    # forward; h[t + 1] is the state after step t
    h = np.zeros((steps + 1, n))
    np.dot(x, U.T, h[1:])
    value = 0.0
    for t in range(steps):
        z = h[t + 1]
        for i in range(n):
            z[i] += b[i]
        add_product(W, h[t], z)
        for i in range(n):
            z[i] = tanh(z[i])
            e = z[i] - y[t, i]
            value += e * e
    # reverse
    z_bar = np.empty((steps, n))
    h_bar = np.zeros(n)
    b_bar = np.zeros(n)
    for t in range(steps - 1, -1, -1):
        for i in range(n):
            s = h[t + 1, i]
            out = (h_bar[i] + 2.0 * (s - y[t, i])) * (1.0 - s * s)
            z_bar[t, i] = out
            b_bar[i] += out
            h_bar[i] = 0.0
        add_product(W_T, z_bar[t], h_bar)
    W_bar = np.empty((n, n))
    U_bar = np.empty(U.shape)
    np.dot(z_bar.T, h[:-1], W_bar)
    np.dot(z_bar.T, x, U_bar)
    return value, (W_bar, U_bar, b_bar)


def inputs(steps, n, m):
    rng = np.random.default_rng(6)
    return (
        rng.standard_normal((n, n)) / np.sqrt(n),
        rng.standard_normal((n, m)) / np.sqrt(m),
        0.1 * rng.standard_normal(n),
        rng.standard_normal((steps, m)),
        rng.uniform(-0.5, 0.5, (steps, n)),
    )


CASES = [
    Case(
        name="rnn T=100 H=32",
        function=squared_error,
        argnums=(0, 1, 2),
        inputs=partial(inputs, 100, 32, 4),
        memory=partial(inputs, 5000, 32, 4),
        limit=squared_error_adjoint,
        tiny=partial(inputs, 5, 11, 3),
        sized=lambda extra: inputs(9 + extra, 10 + extra, 40 + extra),
        group="loop",
        texts={"jax": squared_error_scan},
    ),
]
