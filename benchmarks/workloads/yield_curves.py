"""Yield curves of many days by three loadings (Nelson and Siegel)."""

from functools import partial

import numpy as np

from ..case import Case
from ..numba_limit import exp, limit


def loss(betas, decays, terms, rates):
    scaled = decays[:, None] * terms
    fading = np.exp(-scaled)
    loading = (1.0 - fading) / scaled
    fit = betas[:, :1] + betas[:, 1:2] * loading + betas[:, 2:] * (loading - fading)
    return np.sum((fit - rates) ** 2) + 0.1 * np.sum(np.diff(betas, axis=0) ** 2)


@limit
def loss_kernel(betas, decays, terms, rates, betas_bar, decays_bar):
    """A day at a time, each term once."""
    days, count = rates.shape
    value = 0.0
    smooth = 0.0
    for t in range(days):
        level = betas[t, 0]
        slope = betas[t, 1]
        hump = betas[t, 2]
        decay = decays[t]
        level_bar = 0.0
        slope_bar = 0.0
        hump_bar = 0.0
        decay_bar = 0.0
        for k in range(count):
            scaled = decay * terms[k]
            fading = exp(-scaled)
            inverse = 1.0 / scaled
            loading = (1.0 - fading) * inverse
            off = level + slope * loading + hump * (loading - fading) - rates[t, k]
            value += off * off
            bar = 2.0 * off
            level_bar += bar
            slope_bar += bar * loading
            hump_bar += bar * (loading - fading)
            loading_bar = bar * (slope + hump)
            fading_bar = -bar * hump - loading_bar * inverse
            decay_bar -= terms[k] * (loading_bar * loading * inverse + fading_bar * fading)
        betas_bar[t, 0] = level_bar
        betas_bar[t, 1] = slope_bar
        betas_bar[t, 2] = hump_bar
        decays_bar[t] = decay_bar
    for t in range(days - 1):
        for j in range(3):
            step = betas[t + 1, j] - betas[t, j]
            smooth += step * step
            betas_bar[t + 1, j] += 0.2 * step
            betas_bar[t, j] -= 0.2 * step
    return value + 0.1 * smooth


def loss_adjoint(betas, decays, terms, rates):
    bars = np.empty(betas.shape), np.empty(decays.shape)
    return loss_kernel(betas, decays, terms, rates, *bars), bars


def inputs(days, count):
    rng = np.random.default_rng(61)
    betas = np.array([0.04, -0.02, 0.01]) + 0.002 * np.cumsum(rng.standard_normal((days, 3)), 0)
    terms = np.linspace(0.25, 30.0, count)
    rates = 0.03 + 0.01 * rng.standard_normal((days, count))
    return betas, rng.uniform(0.3, 0.7, days), terms, rates


CASES = [
    Case(
        name="yield curves 2000 days, 12 terms",
        function=loss,
        argnums=(0, 1),
        inputs=partial(inputs, 2000, 12),
        limit=loss_adjoint,
        tiny=partial(inputs, 7, 5),
        sized=lambda extra: inputs(20 + 3 * extra, 5 + extra),
    ),
]
