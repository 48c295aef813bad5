"""Burgers' equation: the initial state fitted to what a sensor records at one point."""

from functools import partial

import numpy as np

from .. import lax
from ..case import Case
from ..numba_limit import limit


def misfit_slices(u0, record, c, d):
    n = u0.shape[0]
    u = u0.copy()
    total = 0.0
    for t in range(record.shape[0]):
        v = u.copy()
        u[1:-1] = v[1:-1] - c * v[1:-1] * (v[1:-1] - v[:-2]) + d * (v[2:] - 2.0 * v[1:-1] + v[:-2])
        total += (u[n // 2] - record[t]) ** 2
    return total


def misfit_elements(u0, record, c, d):
    n = u0.shape[0]
    u = u0.copy()
    total = 0.0
    for t in range(record.shape[0]):
        v = u.copy()
        for i in range(1, n - 1):
            u[i] = v[i] - c * v[i] * (v[i] - v[i - 1]) + d * (v[i + 1] - 2.0 * v[i] + v[i - 1])
        total += (u[n // 2] - record[t]) ** 2
    return total


def misfit_scan(u0, record, c, d):
    def step(v, seen):
        inner = v[1:-1] - c * v[1:-1] * (v[1:-1] - v[:-2]) + d * (v[2:] - 2.0 * v[1:-1] + v[:-2])
        u = v.at[1:-1].set(inner)
        return u, (u[u0.shape[0] // 2] - seen) ** 2

    _, errors = lax.scan(step, u0, record)
    return np.sum(errors)


def misfit_scan_joined(u0, record, c, d):
    """For libraries without JAX's indexed update."""

    def step(v, seen):
        inner = v[1:-1] - c * v[1:-1] * (v[1:-1] - v[:-2]) + d * (v[2:] - 2.0 * v[1:-1] + v[:-2])
        u = np.concatenate([v[:1], inner, v[-1:]])
        return u, (u[u0.shape[0] // 2] - seen) ** 2

    _, errors = lax.scan(step, u0, record)
    return np.sum(errors)


def misfit_concatenated(u0, record, c, d):
    n = u0.shape[0]
    u = u0
    total = 0.0
    for t in range(record.shape[0]):
        inner = u[1:-1] - c * u[1:-1] * (u[1:-1] - u[:-2]) + d * (u[2:] - 2.0 * u[1:-1] + u[:-2])
        u = np.concatenate([u[:1], inner, u[-1:]])
        total = total + (u[n // 2] - record[t]) ** 2
    return total


@limit
def misfit_adjoint(u0, record, c, d):
    """Keeps the states; each element of the cotangent gathers its contributions. Four or more."""
    n = u0.shape[0]
    steps = record.shape[0]
    m = 1.0 - 2.0 * d
    states = np.empty((steps + 1, n))
    for i in range(n):
        states[0, i] = u0[i]
    value = 0.0
    for t in range(steps):
        states[t + 1, 0] = states[t, 0]
        for i in range(1, n - 1):
            here = states[t, i]
            before = states[t, i - 1]
            states[t + 1, i] = here * (m - c * (here - before)) + d * (states[t, i + 1] + before)
        states[t + 1, n - 1] = states[t, n - 1]
        e = states[t + 1, n // 2] - record[t]
        value += e * e
    # reverse
    v_bar = np.empty(n)
    u_bar = np.zeros(n)
    for t in range(steps - 1, -1, -1):
        u_bar[n // 2] += 2.0 * (states[t + 1, n // 2] - record[t])
        v = states[t]
        v_bar[0] = u_bar[0] + u_bar[1] * (c * v[1] + d)
        v_bar[1] = u_bar[1] * (m - c * (2.0 * v[1] - v[0])) + u_bar[2] * (c * v[2] + d)
        # Counted from 0, so that no index can be negative.
        for j in range(n - 4):
            i = j + 2
            v_bar[i] = (
                u_bar[i] * (m - c * (2.0 * v[i] - v[i - 1]))
                + u_bar[i + 1] * (c * v[i + 1] + d)
                + u_bar[i - 1] * d
            )
        i = n - 2
        v_bar[i] = u_bar[i] * (m - c * (2.0 * v[i] - v[i - 1])) + u_bar[i - 1] * d
        v_bar[n - 1] = u_bar[n - 1] + u_bar[n - 2] * d
        u_bar, v_bar = v_bar, u_bar
    return value, u_bar


def inputs(steps, n):
    x = np.linspace(0.0, 2.0 * np.pi, n)
    record = 1.5 + 0.5 * np.cos(np.linspace(0.0, 3.0, steps))
    spacing = x[1]
    step = 0.2 * spacing
    return 1.5 + np.sin(x), record, step / spacing, float(0.02 * step / spacing**2)


CASES = [
    Case(
        name=f"burgers {form} 500x200",
        function=function,
        argnums=0,
        inputs=partial(inputs, 500, 200),
        memory=partial(inputs, 2000, 1000),
        limit=misfit_adjoint,
        tiny=partial(inputs, 5, 12),
        sized=lambda extra: inputs(9 + extra, 60 + extra),
        group="loop",
        texts={
            "jax": misfit_scan,
            "pytensor": misfit_scan_joined,
            "casadi": misfit_scan_joined,
            "autograd": misfit_concatenated,
        },
        elements=500 * 200,
    )
    for form, function in (("slices", misfit_slices), ("elements", misfit_elements))
]
