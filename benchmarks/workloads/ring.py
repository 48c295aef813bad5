"""Lorenz's model of weather on a ring, by Runge and Kutta, with rolls."""

from functools import partial

import numpy as np
from numba import njit

from .. import lax
from ..case import Case
from ..numba_limit import FLAGS, limit

STEP = 0.02


def slope(x, forcing):
    return (np.roll(x, -1) - np.roll(x, 2)) * np.roll(x, 1) - x + forcing


def misfit(x, forcing, wanted):
    total = 0.0
    for t in range(wanted.shape[0]):
        a = slope(x, forcing)
        b = slope(x + 0.5 * STEP * a, forcing)
        c = slope(x + 0.5 * STEP * b, forcing)
        d = slope(x + STEP * c, forcing)
        x = x + STEP / 6.0 * (a + 2.0 * b + 2.0 * c + d)
        total += np.mean((x - wanted[t]) ** 2)
    return total


def misfit_scan(x, forcing, wanted):
    def step(x, seen):
        a = slope(x, forcing)
        b = slope(x + 0.5 * STEP * a, forcing)
        c = slope(x + 0.5 * STEP * b, forcing)
        d = slope(x + STEP * c, forcing)
        x = x + STEP / 6.0 * (a + 2.0 * b + 2.0 * c + d)
        return x, np.mean((x - seen) ** 2)

    _, errors = lax.scan(step, x, wanted)
    return np.sum(errors)


@njit(fastmath=FLAGS, error_model="numpy", forceinline=True)
def close(x):
    """Two elements of each end, beyond the other."""
    n = x.shape[0] - 4
    x[0] = x[n]
    x[1] = x[n + 1]
    x[n + 2] = x[2]
    x[n + 3] = x[3]


@njit(fastmath=FLAGS, error_model="numpy", forceinline=True)
def stage(x, base, scale, slopes, forcing, out):
    """``slopes`` at ``x``, and ``base + scale * slopes`` in ``out``, closed."""
    n = x.shape[0] - 4
    for i in range(2, n + 2):
        slopes[i] = (x[i + 1] - x[i - 2]) * x[i - 1] - x[i] + forcing
        out[i] = base[i] + scale * slopes[i]
    close(out)


@njit(fastmath=FLAGS, error_model="numpy", forceinline=True)
def back(x, bar, x_bar):
    """What cotangents of slopes at ``x``, closed, are for ``x``; their sum."""
    n = x.shape[0] - 4
    total = 0.0
    for i in range(2, n + 2):
        total += bar[i]
        x_bar[i] = (
            bar[i - 1] * x[i - 2]
            - bar[i + 2] * x[i + 1]
            + bar[i + 1] * (x[i + 2] - x[i - 1])
            - bar[i]
        )
    return total


@limit
def misfit_adjoint(x, forcing, wanted):
    """States on a tape with two elements more at each end; stages are computed again."""
    steps, n = wanted.shape
    tape = np.empty((steps + 1, n + 4))
    a, b, c, d = np.empty(n + 4), np.empty(n + 4), np.empty(n + 4), np.empty(n + 4)
    at_b, at_c, at_d = np.empty(n + 4), np.empty(n + 4), np.empty(n + 4)
    unused = np.empty(n + 4)
    tape[0, 2 : n + 2] = x
    close(tape[0])
    value = 0.0
    for t in range(steps):
        now = tape[t]
        new = tape[t + 1]
        stage(now, now, 0.5 * STEP, a, forcing, at_b)
        stage(at_b, now, 0.5 * STEP, b, forcing, at_c)
        stage(at_c, now, STEP, c, forcing, at_d)
        stage(at_d, now, STEP, d, forcing, unused)
        error = 0.0
        for i in range(2, n + 2):
            new[i] = now[i] + STEP / 6.0 * (a[i] + 2.0 * b[i] + 2.0 * c[i] + d[i])
            off = new[i] - wanted[t, i - 2]
            error += off * off
        close(new)
        value += error / n
    # reverse
    x_bar = np.zeros(n + 4)
    bar = np.empty(n + 4)
    a_bar, b_bar, c_bar = np.empty(n + 4), np.empty(n + 4), np.empty(n + 4)
    after = np.empty(n + 4)
    forcing_bar = 0.0
    for back_t in range(steps):
        t = steps - 1 - back_t
        now = tape[t]
        stage(now, now, 0.5 * STEP, a, forcing, at_b)
        stage(at_b, now, 0.5 * STEP, b, forcing, at_c)
        stage(at_c, now, STEP, c, forcing, at_d)
        for i in range(2, n + 2):
            x_bar[i] += 2.0 / n * (tape[t + 1, i] - wanted[t, i - 2])
            a_bar[i] = STEP / 6.0 * x_bar[i]
            b_bar[i] = STEP / 3.0 * x_bar[i]
            c_bar[i] = b_bar[i]
            bar[i] = a_bar[i]
        close(bar)
        forcing_bar += back(at_d, bar, after)
        for i in range(2, n + 2):
            x_bar[i] += after[i]
            c_bar[i] += STEP * after[i]
        close(c_bar)
        forcing_bar += back(at_c, c_bar, after)
        for i in range(2, n + 2):
            x_bar[i] += after[i]
            b_bar[i] += 0.5 * STEP * after[i]
        close(b_bar)
        forcing_bar += back(at_b, b_bar, after)
        for i in range(2, n + 2):
            x_bar[i] += after[i]
            a_bar[i] += 0.5 * STEP * after[i]
        close(a_bar)
        forcing_bar += back(now, a_bar, after)
        for i in range(2, n + 2):
            x_bar[i] += after[i]
    return value, (x_bar[2 : n + 2].copy(), forcing_bar)


def inputs(n, steps):
    rng = np.random.default_rng(52)
    return 8.0 + rng.standard_normal(n), 8.0, 8.0 + 3.0 * rng.standard_normal((steps, n))


CASES = [
    Case(
        name="weather on a ring of 40, 100 steps",
        function=misfit,
        argnums=(0, 1),
        inputs=partial(inputs, 40, 100),
        memory=partial(inputs, 40, 10_000),
        limit=misfit_adjoint,
        tiny=partial(inputs, 10, 4),
        sized=lambda extra: inputs(12 + extra, 5 + 2 * extra),
        group="loop",
        texts={"jax": misfit_scan, "autograd": None, "casadi": None},
        elements=4000,
    ),
]
