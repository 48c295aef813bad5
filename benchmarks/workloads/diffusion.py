"""Likelihood of a square-root diffusion: neighbours in time, scalars."""

from functools import partial

import numpy as np

from ..case import Case
from ..numba_limit import limit, log

STEP = 0.01


def negative_log_likelihood(rate, level, noise, path):
    here = path[:-1]
    variance = noise**2 * STEP * here
    shock = path[1:] - here - rate * (level - here) * STEP
    return 0.5 * np.mean(shock**2 / variance + np.log(variance))


@limit
def negative_log_likelihood_adjoint(rate, level, noise, path):
    """One pass in blocks: what a shock gives to the point after it waits in the cache."""
    n = path.shape[0]
    block = 512
    path_bar = np.empty(n)
    after = np.empty(block + 1)
    after[0] = 0.0
    scale = noise * noise * STEP
    share = 1.0 / (n - 1)
    value = 0.0
    pulled = 0.0
    away = 0.0
    spread = 0.0
    for start in range(0, n - 1, block):
        stop = min(start + block, n - 1)
        for i in range(start, stop):
            here = path[i]
            variance = scale * here
            inverse = 1.0 / variance
            gap = level - here
            shock = path[i + 1] - here - rate * gap * STEP
            scaled = shock * inverse
            value += shock * scaled + log(variance)
            # reverse
            shock_bar = scaled * share
            variance_bar = 0.5 * share * (inverse - scaled * scaled)
            after[i - start + 1] = shock_bar
            path_bar[i] = shock_bar * (rate * STEP - 1.0) + variance_bar * scale
            pulled += shock_bar * gap
            away += shock_bar
            spread += variance_bar * here
        for i in range(start, stop):
            path_bar[i] += after[i - start]
        after[0] = after[stop - start]
    path_bar[n - 1] = after[0]
    bars = -STEP * pulled, -STEP * rate * away, 2.0 * noise * STEP * spread, path_bar
    return 0.5 * share * value, bars


def inputs(n):
    rng = np.random.default_rng(31)
    return 2.0, 0.8, 0.3, 0.8 + 0.1 * rng.random(n)


CASES = [
    Case(
        name="square-root diffusion n=100000",
        function=negative_log_likelihood,
        argnums=(0, 1, 2, 3),
        inputs=partial(inputs, 100_000),
        memory=partial(inputs, 1_000_000),
        limit=negative_log_likelihood_adjoint,
        tiny=partial(inputs, 25),
        sized=lambda extra: inputs(12 + extra),
        elements=100_000,
    ),
]
