"""A chain of nonlinear springs, leapfrog steps written element by element."""

from functools import partial

import numpy as np

from .. import lax
from ..case import Case
from ..numba_limit import limit


def end_misfit(x0, v0, stiffness, record, h):
    n = x0.shape[0]
    x = x0.copy()
    v = v0.copy()
    total = 0.0
    for t in range(record.shape[0]):
        force = np.zeros(n)
        for i in range(n):
            x[i] += 0.5 * h * v[i]
        for i in range(n - 1):
            d = x[i + 1] - x[i]
            pull = stiffness[i] * (d + 0.3 * d**3)
            force[i] += pull
            force[i + 1] -= pull
        for i in range(n):
            v[i] += h * force[i]
            x[i] += 0.5 * h * v[i]
        total += (x[n - 1] - record[t]) ** 2
    return total


def end_misfit_scan(x0, v0, stiffness, record, h):
    def step(state, seen):
        x, v = state
        x = x + 0.5 * h * v
        d = x[1:] - x[:-1]
        pull = stiffness * (d + 0.3 * d**3)
        none = np.zeros(1)
        force = np.concatenate([pull, none]) - np.concatenate([none, pull])
        v = v + h * force
        x = x + 0.5 * h * v
        return (x, v), (x[-1] - seen) ** 2

    _, errors = lax.scan(step, (x0, v0), record)
    return np.sum(errors)


def end_misfit_arrays(x0, v0, stiffness, record, h):
    x = x0
    v = v0
    none = np.zeros(1)
    total = 0.0
    for t in range(record.shape[0]):
        x = x + 0.5 * h * v
        d = x[1:] - x[:-1]
        pull = stiffness * (d + 0.3 * d**3)
        v = v + h * (np.concatenate([pull, none]) - np.concatenate([none, pull]))
        x = x + 0.5 * h * v
        total = total + (x[-1] - record[t]) ** 2
    return total


@limit
def end_misfit_adjoint(x0, v0, stiffness, record, h):
    """Keeps where the masses are in the middle of a step; each mass gathers from its two springs.

    Row t of ``middle`` starts at 1, so that the loops count from 0; ends of the chain apart.
    """
    n = x0.shape[0]
    steps = record.shape[0]
    half = 0.5 * h
    x = x0.copy()
    v = v0.copy()
    middle = np.empty((steps, n))
    errors = np.empty(steps)
    # pull[i + 1] is spring i, between masses i and i + 1; no spring before 0 and after n - 1
    pull = np.zeros(n + 1)
    value = 0.0
    for t in range(steps):
        for i in range(n):
            middle[t, i] = x[i] + half * v[i]
        for i in range(n - 1):
            d = middle[t, i + 1] - middle[t, i]
            pull[i + 1] = stiffness[i] * d * (1.0 + 0.3 * d * d)
        for i in range(n):
            v[i] += h * (pull[i + 1] - pull[i])
            x[i] = middle[t, i] + half * v[i]
        e = x[n - 1] - record[t]
        errors[t] = e
        value += e * e
    # reverse
    x_bar = np.zeros(n)
    v_bar = np.zeros(n)
    stiffness_bar = np.zeros(n - 1)
    d_bar = np.zeros(n + 1)
    for back in range(steps):
        t = steps - 1 - back
        x_bar[n - 1] += 2.0 * errors[t]
        for i in range(n):
            v_bar[i] += half * x_bar[i]
        for i in range(n - 1):
            d = middle[t, i + 1] - middle[t, i]
            pull_bar = h * (v_bar[i] - v_bar[i + 1])
            square = d * d
            stiffness_bar[i] += pull_bar * d * (1.0 + 0.3 * square)
            d_bar[i + 1] = pull_bar * stiffness[i] * (1.0 + 0.9 * square)
        for i in range(n):
            x_bar[i] += d_bar[i] - d_bar[i + 1]
            v_bar[i] += half * x_bar[i]
    return value, (x_bar, v_bar, stiffness_bar)


def inputs(steps, n):
    rng = np.random.default_rng(22)
    return (
        np.arange(n) + 0.1 * rng.standard_normal(n),
        0.1 * rng.standard_normal(n),
        rng.uniform(0.5, 1.5, n - 1),
        n - 1.0 + 0.3 * rng.standard_normal(steps),
        0.05,
    )


CASES = [
    Case(
        name="spring chain 400x100",
        function=end_misfit,
        argnums=(0, 1, 2),
        inputs=partial(inputs, 400, 100),
        memory=partial(inputs, 2000, 1000),
        limit=end_misfit_adjoint,
        tiny=partial(inputs, 6, 9),
        sized=lambda extra: inputs(9 + extra, 50 + extra),
        group="loop",
        texts={"jax": end_misfit_scan, "autograd": end_misfit_arrays},
        elements=400 * 100,
    ),
]
