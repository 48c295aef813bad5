"""Kepler's equation by Newton's method, element by element, until each has converged."""

from functools import partial

import numpy as np

from .. import lax
from ..case import Case
from ..numba_limit import cos, limit, sin

TOLERANCE = 1e-12


def misfit(anomaly, eccentricity, distance):
    total = 0.0
    for i in range(anomaly.shape[0]):
        x = anomaly[i]
        step = 1.0
        while abs(step) > 1e-12:
            step = (x - eccentricity[i] * np.sin(x) - anomaly[i]) / (
                1.0 - eccentricity[i] * np.cos(x)
            )
            x -= step
        total += (1.0 - eccentricity[i] * np.cos(x) - distance[i]) ** 2
    return total


def misfit_masked(anomaly, eccentricity, distance):
    """JAX has no reverse mode of ``while_loop``: ten trips for all, those that are done wait."""

    def trip(state, _):
        x, step = state
        new = (x - eccentricity * np.sin(x) - anomaly) / (1.0 - eccentricity * np.cos(x))
        going = np.abs(step) > 1e-12
        return (np.where(going, x - new, x), np.where(going, new, step)), None

    (x, _), _ = lax.scan(trip, (anomaly, np.ones_like(anomaly)), None, length=10)
    return np.sum((1.0 - eccentricity * np.cos(x) - distance) ** 2)


@limit
def misfit_kernel(anomaly, eccentricity, distance, tape, anomaly_bar, eccentricity_bar):
    """Each element forward and back at once; stops, and says so, where the tape is too short."""
    value = 0.0
    for i in range(anomaly.shape[0]):
        mean = anomaly[i]
        e = eccentricity[i]
        x = mean
        step = 1.0
        top = 0
        while abs(step) > TOLERANCE:
            if top + 3 > tape.shape[0]:
                return False, value
            s = sin(x)
            c = cos(x)
            step = (x - e * s - mean) / (1.0 - e * c)
            tape[top] = s
            tape[top + 1] = c
            tape[top + 2] = step
            top += 3
            x -= step
        c = cos(x)
        r = 1.0 - e * c - distance[i]
        value += r * r
        # reverse
        r_bar = 2.0 * r
        x_bar = r_bar * e * sin(x)
        e_bar = -r_bar * c
        mean_bar = 0.0
        while top > 0:
            top -= 3
            s = tape[top]
            c = tape[top + 1]
            below = 1.0 - e * c
            above_bar = -x_bar / below
            below_bar = -above_bar * tape[top + 2]
            e_bar -= above_bar * s + below_bar * c
            mean_bar -= above_bar
            x_bar += above_bar * below + below_bar * e * s
        anomaly_bar[i] = mean_bar + x_bar
        eccentricity_bar[i] = e_bar
    return True, value


def misfit_adjoint(anomaly, eccentricity, distance):
    bars = np.empty(anomaly.shape), np.empty(anomaly.shape)
    size = 48
    while True:
        done, value = misfit_kernel(anomaly, eccentricity, distance, np.empty(size), *bars)
        if done:
            return value, bars
        size *= 2


@limit
def misfit_implicit_kernel(anomaly, eccentricity, distance, anomaly_bar, eccentricity_bar):
    """Knows that x solves x - e * sin(x) = mean: the trips have no part in the derivative."""
    value = 0.0
    for i in range(anomaly.shape[0]):
        mean = anomaly[i]
        e = eccentricity[i]
        x = mean
        step = 1.0
        while abs(step) > TOLERANCE:
            step = (x - e * sin(x) - mean) / (1.0 - e * cos(x))
            x -= step
        s = sin(x)
        c = cos(x)
        r = 1.0 - e * c - distance[i]
        value += r * r
        r_bar = 2.0 * r
        mean_bar = r_bar * e * s / (1.0 - e * c)
        anomaly_bar[i] = mean_bar
        eccentricity_bar[i] = mean_bar * s - r_bar * c
    return value


def misfit_implicit(anomaly, eccentricity, distance):
    bars = np.empty(anomaly.shape), np.empty(anomaly.shape)
    return misfit_implicit_kernel(anomaly, eccentricity, distance, *bars), bars


def inputs(n):
    rng = np.random.default_rng(12)
    anomaly = rng.uniform(0.0, 2.0 * np.pi, n)
    eccentricity = rng.uniform(0.0, 0.7, n)
    distance = 1.0 - eccentricity * np.cos(anomaly) + 0.1 * rng.standard_normal(n)
    return anomaly, eccentricity, distance


CASES = [
    Case(
        name="kepler n=1000",
        function=misfit,
        argnums=(0, 1),
        inputs=partial(inputs, 1000),
        memory=partial(inputs, 300_000),
        limit=misfit_adjoint,
        tiny=partial(inputs, 11),
        variants={"implicit": misfit_implicit},
        sized=lambda extra: inputs(9 + extra),
        group="loop",
        texts={"jax": misfit_masked},
        elements=1000,
    ),
]
