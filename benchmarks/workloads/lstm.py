"""A long short-term memory cell: two states carried through time, gates cut from one product."""

from functools import partial

import numpy as np
from scipy.special import expit

from .. import lax
from ..case import Case
from ..numba_limit import exp, limit, tanh
from .rnn import add_product


def sigmoid(z):
    return 1.0 / (1.0 + np.exp(-z))


def squared_error(W, U, b, x, y):
    n = W.shape[1]
    h = np.zeros(n)
    c = np.zeros(n)
    total = 0.0
    for t in range(x.shape[0]):
        z = W @ h + U @ x[t] + b
        enter = sigmoid(z[:n])
        keep = sigmoid(z[n : 2 * n])
        show = sigmoid(z[2 * n : 3 * n])
        c = keep * c + enter * np.tanh(z[3 * n :])
        h = show * np.tanh(c)
        total += np.sum((h - y[t]) ** 2)
    return total


def squared_error_scan(W, U, b, x, y):
    n = W.shape[1]

    def step(state, at_t):
        h, c = state
        x_t, y_t = at_t
        z = W @ h + U @ x_t + b
        gates = expit(z[: 3 * n])
        enter, keep, show = gates[:n], gates[n : 2 * n], gates[2 * n :]
        c = keep * c + enter * np.tanh(z[3 * n :])
        h = show * np.tanh(c)
        return (h, c), np.sum((h - y_t) ** 2)

    _, errors = lax.scan(step, (np.zeros(n), np.zeros(n)), (x, y))
    return np.sum(errors)


@limit
def squared_error_adjoint(W, U, b, x, y):
    """Keeps gates and states; products with x, and those of W_bar, are one for all times."""
    steps = x.shape[0]
    n = W.shape[1]
    W_T = np.ascontiguousarray(W.T)
    # forward; h[t + 1] and c[t + 1] are the states after step t, gates[t] rows enter, keep, show, g
    h = np.zeros((steps + 1, n))
    c = np.zeros((steps + 1, n))
    tanh_c = np.empty((steps, n))
    z = np.empty((steps, 4 * n))
    gates = z.reshape(steps, 4, n)
    np.dot(x, U.T, z)
    value = 0.0
    for t in range(steps):
        for i in range(4 * n):
            z[t, i] += b[i]
        add_product(W, h[t], z[t])
        for gate in range(3):
            for i in range(n):
                gates[t, gate, i] = 1.0 / (1.0 + exp(-gates[t, gate, i]))
        # Loops of their own: one that also writes elsewhere in z would not be vectorised.
        for i in range(n):
            gates[t, 3, i] = tanh(gates[t, 3, i])
        for i in range(n):
            state = gates[t, 1, i] * c[t, i] + gates[t, 0, i] * gates[t, 3, i]
            c[t + 1, i] = state
            s = tanh(state)
            tanh_c[t, i] = s
            out = gates[t, 2, i] * s
            h[t + 1, i] = out
            e = out - y[t, i]
            value += e * e
    # reverse
    z_bar = np.empty((steps, 4 * n))
    gates_bar = z_bar.reshape(steps, 4, n)
    h_bar = np.zeros(n)
    c_bar = np.zeros(n)
    b_bar = np.zeros(4 * n)
    for t in range(steps - 1, -1, -1):
        for i in range(n):
            enter = gates[t, 0, i]
            keep = gates[t, 1, i]
            show = gates[t, 2, i]
            g = gates[t, 3, i]
            s = tanh_c[t, i]
            out_bar = h_bar[i] + 2.0 * (h[t + 1, i] - y[t, i])
            state_bar = c_bar[i] + out_bar * show * (1.0 - s * s)
            gates_bar[t, 0, i] = state_bar * g * enter * (1.0 - enter)
            gates_bar[t, 1, i] = state_bar * c[t, i] * keep * (1.0 - keep)
            gates_bar[t, 2, i] = out_bar * s * show * (1.0 - show)
            gates_bar[t, 3, i] = state_bar * enter * (1.0 - g * g)
            c_bar[i] = state_bar * keep
            h_bar[i] = 0.0
        add_product(W_T, z_bar[t], h_bar)
        for i in range(4 * n):
            b_bar[i] += z_bar[t, i]
    W_bar = np.empty(W.shape)
    U_bar = np.empty(U.shape)
    np.dot(z_bar.T, h[:-1], W_bar)
    np.dot(z_bar.T, x, U_bar)
    return value, (W_bar, U_bar, b_bar)


def inputs(steps, n, m):
    rng = np.random.default_rng(7)
    return (
        rng.standard_normal((4 * n, n)) / np.sqrt(n),
        rng.standard_normal((4 * n, m)) / np.sqrt(m),
        0.1 * rng.standard_normal(4 * n),
        rng.standard_normal((steps, m)),
        rng.uniform(-0.5, 0.5, (steps, n)),
    )


CASES = [
    Case(
        name="lstm T=100 H=32",
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
