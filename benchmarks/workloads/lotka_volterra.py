"""Predator and prey fitted to observations: Runge-Kutta steps on scalars in a Python loop."""

from functools import partial

import numpy as np

from .. import lax
from ..case import Case
from ..numba_limit import limit


def rates(prey, predators, rate):
    return (
        rate[0] * prey - rate[1] * prey * predators,
        rate[3] * prey * predators - rate[2] * predators,
    )


def misfit(rate, start, observed, h):
    x = start[0]
    y = start[1]
    total = 0.0
    for t in range(observed.shape[0]):
        k1, l1 = rates(x, y, rate)
        k2, l2 = rates(x + 0.5 * h * k1, y + 0.5 * h * l1, rate)
        k3, l3 = rates(x + 0.5 * h * k2, y + 0.5 * h * l2, rate)
        k4, l4 = rates(x + h * k3, y + h * l3, rate)
        x += h / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4)
        y += h / 6.0 * (l1 + 2.0 * l2 + 2.0 * l3 + l4)
        total += (x - observed[t, 0]) ** 2 + (y - observed[t, 1]) ** 2
    return total


def misfit_scan(rate, start, observed, h):
    def step(state, seen):
        x, y = state
        k1, l1 = rates(x, y, rate)
        k2, l2 = rates(x + 0.5 * h * k1, y + 0.5 * h * l1, rate)
        k3, l3 = rates(x + 0.5 * h * k2, y + 0.5 * h * l2, rate)
        k4, l4 = rates(x + h * k3, y + h * l3, rate)
        x += h / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4)
        y += h / 6.0 * (l1 + 2.0 * l2 + 2.0 * l3 + l4)
        return (x, y), (x - seen[0]) ** 2 + (y - seen[1]) ** 2

    _, errors = lax.scan(step, (start[0], start[1]), observed)
    return np.sum(errors)


@limit
def misfit_adjoint(rate, start, observed, h):
    """Keeps the state at the beginning of each step and computes the step's stages again."""
    steps = observed.shape[0]
    a = rate[0]
    b = rate[1]
    c = rate[2]
    d = rate[3]
    half = 0.5 * h
    sixth = h / 6.0
    xs = np.empty(steps + 1)
    ys = np.empty(steps + 1)
    x = start[0]
    y = start[1]
    value = 0.0
    for t in range(steps):
        xs[t] = x
        ys[t] = y
        k1 = x * (a - b * y)
        l1 = y * (d * x - c)
        x2 = x + half * k1
        y2 = y + half * l1
        k2 = x2 * (a - b * y2)
        l2 = y2 * (d * x2 - c)
        x3 = x + half * k2
        y3 = y + half * l2
        k3 = x3 * (a - b * y3)
        l3 = y3 * (d * x3 - c)
        x4 = x + h * k3
        y4 = y + h * l3
        k4 = x4 * (a - b * y4)
        l4 = y4 * (d * x4 - c)
        x += sixth * (k1 + 2.0 * (k2 + k3) + k4)
        y += sixth * (l1 + 2.0 * (l2 + l3) + l4)
        ex = x - observed[t, 0]
        ey = y - observed[t, 1]
        value += ex * ex + ey * ey
    xs[steps] = x
    ys[steps] = y
    # reverse
    x_bar = 0.0
    y_bar = 0.0
    a_bar = 0.0
    b_bar = 0.0
    c_bar = 0.0
    d_bar = 0.0
    for t in range(steps - 1, -1, -1):
        x_bar += 2.0 * (xs[t + 1] - observed[t, 0])
        y_bar += 2.0 * (ys[t + 1] - observed[t, 1])
        x = xs[t]
        y = ys[t]
        p1 = a - b * y
        q1 = d * x - c
        x2 = x + half * (x * p1)
        y2 = y + half * (y * q1)
        p2 = a - b * y2
        q2 = d * x2 - c
        x3 = x + half * (x2 * p2)
        y3 = y + half * (y2 * q2)
        p3 = a - b * y3
        q3 = d * x3 - c
        x4 = x + h * (x3 * p3)
        y4 = y + h * (y3 * q3)
        # fourth stage
        k_bar = sixth * x_bar
        l_bar = sixth * y_bar
        u = k_bar
        v = l_bar
        kx = u * x4
        ly = v * y4
        a_bar += kx
        b_bar -= kx * y4
        c_bar -= ly
        d_bar += ly * x4
        at_x = u * (a - b * y4) + d * ly
        at_y = v * (d * x4 - c) - b * kx
        x_bar += at_x
        y_bar += at_y
        # third
        u = 2.0 * k_bar + h * at_x
        v = 2.0 * l_bar + h * at_y
        kx = u * x3
        ly = v * y3
        a_bar += kx
        b_bar -= kx * y3
        c_bar -= ly
        d_bar += ly * x3
        at_x = u * p3 + d * ly
        at_y = v * q3 - b * kx
        x_bar += at_x
        y_bar += at_y
        # second
        u = 2.0 * k_bar + half * at_x
        v = 2.0 * l_bar + half * at_y
        kx = u * x2
        ly = v * y2
        a_bar += kx
        b_bar -= kx * y2
        c_bar -= ly
        d_bar += ly * x2
        at_x = u * p2 + d * ly
        at_y = v * q2 - b * kx
        x_bar += at_x
        y_bar += at_y
        # first
        u = k_bar + half * at_x
        v = l_bar + half * at_y
        kx = u * x
        ly = v * y
        a_bar += kx
        b_bar -= kx * y
        c_bar -= ly
        d_bar += ly * x
        x_bar += u * p1 + d * ly
        y_bar += v * q1 - b * kx
    return value, (np.array([a_bar, b_bar, c_bar, d_bar]), np.array([x_bar, y_bar]))


def inputs(steps):
    rng = np.random.default_rng(11)
    h = 0.02
    phase = 0.6 * h * np.arange(steps)
    cycle = np.stack([5.0 + 4.0 * np.cos(phase), 3.0 + 2.0 * np.sin(phase)], axis=1)
    observed = cycle + 0.1 * rng.standard_normal(cycle.shape)
    return np.array([1.1, 0.4, 0.4, 0.1]), np.array([9.0, 3.0]), observed, h


CASES = [
    Case(
        name="lotka-volterra T=1000",
        function=misfit,
        argnums=(0, 1),
        inputs=partial(inputs, 1000),
        memory=partial(inputs, 100_000),
        limit=misfit_adjoint,
        tiny=partial(inputs, 12),
        sized=lambda extra: inputs(12 + extra),
        group="loop",
        # A loop over arrays that autograd can trace as it stands.
        texts={"jax": misfit_scan},
        elements=1000,
        trips=inputs,
    ),
]
