"""Volatility of returns (GARCH with a leverage term): a branch on data."""

from functools import partial

import numpy as np

from .. import lax
from ..case import Case
from ..numba_limit import limit, log


def negative_log_likelihood(parameters, first, returns):
    mean = parameters[0]
    variance = first
    total = 0.0
    for r in returns:
        shock = r - mean
        total += np.log(variance) + shock * shock / variance
        weight = parameters[2]
        if shock < 0.0:
            weight += parameters[3]
        variance = parameters[1] + weight * shock * shock + parameters[4] * variance
    return 0.5 * total


def negative_log_likelihood_scan(parameters, first, returns):
    def step(variance, r):
        shock = r - parameters[0]
        term = np.log(variance) + shock * shock / variance
        weight = np.where(shock < 0.0, parameters[2] + parameters[3], parameters[2])
        after = parameters[1] + weight * shock * shock + parameters[4] * variance
        return after, term

    _, terms = lax.scan(step, first, returns)
    return 0.5 * np.sum(terms)


@limit
def negative_log_likelihood_adjoint(parameters, first, returns):
    """Keeps the variances; logarithms and quotients in lanes, what is carried in loops apart."""
    n = returns.shape[0]
    mean = parameters[0]
    base = parameters[1]
    even = parameters[2]
    lower = even + parameters[3]
    keep = parameters[4]
    variance = np.empty(n)
    local = np.empty(n)
    here = first
    for t in range(n):
        variance[t] = here
        shock = returns[t] - mean
        weight = lower if shock < 0.0 else even
        here = base + weight * shock * shock + keep * here
    value = 0.0
    mean_bar = 0.0
    for t in range(n):
        shock = returns[t] - mean
        inverse = 1.0 / variance[t]
        scaled = shock * inverse
        value += log(variance[t]) + shock * scaled
        mean_bar -= scaled
        local[t] = 0.5 * inverse - 0.5 * scaled * scaled
    # reverse: local[t] becomes the cotangent of the variance after step t
    variance_bar = 0.0
    for back in range(n):
        t = n - 1 - back
        here = local[t]
        local[t] = variance_bar
        variance_bar = here + keep * variance_bar
    base_bar = 0.0
    even_bar = 0.0
    lower_bar = 0.0
    keep_bar = 0.0
    for t in range(n):
        shock = returns[t] - mean
        bar = local[t]
        base_bar += bar
        keep_bar += bar * variance[t]
        scaled = bar * shock * shock
        below = shock < 0.0
        even_bar += scaled
        lower_bar += scaled if below else 0.0
        mean_bar -= 2.0 * bar * shock * (lower if below else even)
    parameters_bar = np.empty(5)
    parameters_bar[0] = mean_bar
    parameters_bar[1] = base_bar
    parameters_bar[2] = even_bar
    parameters_bar[3] = lower_bar
    parameters_bar[4] = keep_bar
    return 0.5 * value, (parameters_bar, variance_bar)


def inputs(n):
    rng = np.random.default_rng(24)
    parameters = np.array([0.05, 0.1, 0.06, 0.08, 0.8])
    return parameters, 1.0, 0.05 + rng.standard_t(6, n)


CASES = [
    Case(
        name="garch n=5000",
        function=negative_log_likelihood,
        argnums=(0, 1),
        inputs=partial(inputs, 5000),
        memory=partial(inputs, 500_000),
        limit=negative_log_likelihood_adjoint,
        tiny=partial(inputs, 25),
        sized=lambda extra: inputs(12 + extra),
        group="loop",
        texts={"jax": negative_log_likelihood_scan},
        elements=5000,
    ),
]
