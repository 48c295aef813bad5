"""Travellers choose among the modes that they have: a conditional logit. No one tuned for it."""

from functools import partial

import numpy as np

from ..case import Case
from ..numba_limit import exp, limit, log


def loss(tastes, constants, attributes, available, chosen):
    utility = np.where(available, attributes @ tastes + constants, -np.inf)
    top = np.max(utility, axis=1, keepdims=True)
    together = top[:, 0] + np.log(np.sum(np.exp(utility - top), axis=1))
    return np.mean(together - utility[np.arange(len(chosen)), chosen])


@limit
def loss_kernel(tastes, constants, attributes, available, chosen, weights):
    """A traveller at a time: what was read is still in the cache on its way back."""
    n, modes, k = attributes.shape
    tastes_bar = np.zeros(k)
    constants_bar = np.zeros(modes)
    total = 0.0
    share = 1.0 / n
    for i in range(n):
        if not 0 <= chosen[i] < modes:
            raise IndexError
        top = -np.inf
        for j in range(modes):
            utility = -np.inf
            if available[i, j]:
                utility = constants[j]
                for m in range(k):
                    utility += attributes[i, j, m] * tastes[m]
            weights[j] = utility
            top = max(top, utility)
        picked = weights[chosen[i]]
        together = 0.0
        for j in range(modes):
            weights[j] = exp(weights[j] - top)
            together += weights[j]
        total += top + log(together) - picked
        scale = share / together
        for j in range(modes):
            bar = weights[j] * scale
            if j == chosen[i]:
                bar -= share
            constants_bar[j] += bar
            for m in range(k):
                tastes_bar[m] += bar * attributes[i, j, m]
    return total * share, tastes_bar, constants_bar


def loss_adjoint(tastes, constants, attributes, available, chosen):
    weights = np.empty(len(constants))
    value, *bars = loss_kernel(tastes, constants, attributes, available, chosen, weights)
    return value, tuple(bars)


def inputs(n, modes, k):
    rng = np.random.default_rng(71)
    attributes = rng.normal(size=(n, modes, k))
    chosen = rng.integers(0, modes, n)
    available = rng.random((n, modes)) < 0.8
    available[np.arange(n), chosen] = True
    return 0.3 * rng.normal(size=k), rng.normal(size=modes), attributes, available, chosen


CASES = [
    Case(
        name="choice of 10000 among 6 modes, 12 attributes",
        function=loss,
        argnums=(0, 1),
        inputs=partial(inputs, 10_000, 6, 12),
        limit=loss_adjoint,
        tiny=partial(inputs, 7, 3, 4),
        sized=lambda extra: inputs(20 + 3 * extra, 7 + extra, 9 + extra),
        untuned=True,
    ),
]
