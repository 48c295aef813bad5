"""Waves in an excitable fibre (FitzHugh-Nagumo), two fields in place."""

from functools import partial

import numpy as np

from .. import lax
from ..case import Case
from ..numba_limit import limit

STEP = 0.05


def misfit(voltage, recovery, parameters, observed):
    diffusion, slowness, offset, decay = parameters
    v = voltage.copy()
    w = recovery.copy()
    total = 0.0
    for t in range(observed.shape[0]):
        current = v - v**3 / 3.0 - w
        current[1:-1] += diffusion * (v[2:] - 2.0 * v[1:-1] + v[:-2])
        w += STEP * slowness * (v + offset - decay * w)
        v += STEP * current
        total += (v[-1] - observed[t]) ** 2
    return total / observed.shape[0]


def misfit_scan(voltage, recovery, parameters, observed):
    def step(state, seen):
        v, w = state
        inner = parameters[0] * (v[2:] - 2.0 * v[1:-1] + v[:-2])
        current = v - v**3 / 3.0 - w + np.concatenate([0.0 * v[:1], inner, 0.0 * v[:1]])
        after = w + STEP * parameters[1] * (v + parameters[2] - parameters[3] * w)
        new = v + STEP * current
        return (new, after), (new[-1] - seen) ** 2

    _, errors = lax.scan(step, (voltage, recovery), observed)
    return np.sum(errors) / observed.shape[0]


@limit
def misfit_adjoint(voltage, recovery, parameters, observed):
    """Both fields of each step on tapes; cotangents between margins of zeros."""
    n = voltage.shape[0]
    steps = observed.shape[0]
    diffusion = parameters[0]
    slowness = parameters[1]
    offset = parameters[2]
    decay = parameters[3]
    vs = np.empty((steps + 1, n))
    ws = np.empty((steps + 1, n))
    vs[0] = voltage
    ws[0] = recovery
    value = 0.0
    for t in range(steps):
        v = vs[t]
        w = ws[t]
        v_after = vs[t + 1]
        w_after = ws[t + 1]
        for i in range(n):
            here = v[i]
            v_after[i] = here + STEP * (here - here * here * here / 3.0 - w[i])
            w_after[i] = w[i] + STEP * slowness * (here + offset - decay * w[i])
        for i in range(1, n - 1):
            v_after[i] += STEP * diffusion * (v[i + 1] - 2.0 * v[i] + v[i - 1])
        off = v_after[n - 1] - observed[t]
        value += off * off
    # reverse: inner_bar[i + 1] is the cotangent of an inner cell, zero for the two ends
    v_bar = np.zeros(n)
    w_bar = np.zeros(n)
    inner_bar = np.zeros(n + 2)
    diffusion_bar = 0.0
    slowness_bar = 0.0
    offset_bar = 0.0
    decay_bar = 0.0
    share = 2.0 / steps
    for back in range(steps):
        t = steps - 1 - back
        v = vs[t]
        w = ws[t]
        v_bar[n - 1] += share * (vs[t + 1, n - 1] - observed[t])
        for i in range(1, n - 1):
            inner_bar[i + 1] = v_bar[i]
        for i in range(1, n - 1):
            diffusion_bar += v_bar[i] * (v[i + 1] - 2.0 * v[i] + v[i - 1])
        for i in range(n):
            here = v[i]
            out = v_bar[i]
            slow = w_bar[i]
            slowness_bar += slow * (here + offset - decay * w[i])
            offset_bar += slow
            decay_bar += slow * w[i]
            spread = inner_bar[i] - 2.0 * inner_bar[i + 1] + inner_bar[i + 2]
            v_bar[i] = (
                out
                + STEP * (out * (1.0 - here * here) + diffusion * spread)
                + STEP * slowness * slow
            )
            w_bar[i] = slow - STEP * (slowness * decay * slow + out)
    parameters_bar = np.empty(4)
    parameters_bar[0] = STEP * diffusion_bar
    parameters_bar[1] = STEP * slowness_bar
    parameters_bar[2] = STEP * slowness * offset_bar
    parameters_bar[3] = -STEP * slowness * decay_bar
    return value / steps, (v_bar, w_bar, parameters_bar)


def inputs(n, steps):
    rng = np.random.default_rng(34)
    voltage = -1.2 + 0.1 * rng.standard_normal(n)
    voltage[: n // 5] = 1.5
    recovery = -0.6 + 0.1 * rng.standard_normal(n)
    parameters = np.array([1.0, 0.08, 0.7, 0.8])
    return voltage, recovery, parameters, rng.standard_normal(steps)


CASES = [
    Case(
        name="excitable fibre 200 cells, 400 steps",
        function=misfit,
        argnums=(0, 1, 2),
        inputs=partial(inputs, 200, 400),
        memory=partial(inputs, 200, 4000),
        limit=misfit_adjoint,
        tiny=partial(inputs, 9, 5),
        sized=lambda extra: inputs(12 + extra, 7 + 2 * extra),
        group="loop",
        texts={"jax": misfit_scan, "autograd": None},
        elements=80_000,
    ),
]
