"""A hidden Markov model's likelihood: the forward recursion, scaled in place."""

from functools import partial

import numpy as np

from .. import lax
from ..case import Case
from ..numba_limit import limit, log

STATES = 5


def log_likelihood(start, transition, emission, symbols):
    steps = symbols.shape[0]
    states = start.shape[0]
    alpha = np.zeros((steps, states))
    result = 0.0
    for t in range(steps):
        total = 0.0
        for s in range(states):
            if t == 0:
                alpha[t, s] = start[s]
            else:
                for r in range(states):
                    alpha[t, s] += alpha[t - 1, r] * transition[r, s]
            alpha[t, s] *= emission[s, symbols[t]]
            total += alpha[t, s]
        for s in range(states):
            alpha[t, s] /= total
        result += np.log(total)
    return result


def log_likelihood_scan(start, transition, emission, symbols):
    def step(prior, symbol):
        joint = prior * emission[:, symbol]
        total = np.sum(joint)
        return (joint / total) @ transition, np.log(total)

    _, logs = lax.scan(step, start, symbols)
    return np.sum(logs)


def log_likelihood_rows(start, transition, emission, symbols):
    prior = start
    result = 0.0
    for symbol in symbols:
        joint = prior * emission[:, symbol]
        total = np.sum(joint)
        result = result + np.log(total)
        prior = np.dot(joint / total, transition)
    return result


@limit
def log_likelihood_adjoint(start, transition, emission, symbols):
    """Keeps each step's scaled row, the row before the emission, and 1 / total; five states."""
    steps = symbols.shape[0]
    alpha = np.empty((steps, STATES))
    prior = np.empty((steps, STATES))
    inverse = np.empty(steps)
    value = 0.0
    for t in range(steps):
        symbol = symbols[t]
        total = 0.0
        for s in range(STATES):
            p = 0.0
            if t == 0:
                p = start[s]
            else:
                for r in range(STATES):
                    p += alpha[t - 1, r] * transition[r, s]
            prior[t, s] = p
            p *= emission[s, symbol]
            alpha[t, s] = p
            total += p
        scale = 1.0 / total
        inverse[t] = scale
        for s in range(STATES):
            alpha[t, s] *= scale
        value += log(total)
    # reverse
    start_bar = np.empty(STATES)
    transition_bar = np.zeros((STATES, STATES))
    emission_bar = np.zeros(emission.shape)
    alpha_bar = np.zeros(STATES)
    prior_bar = np.empty(STATES)
    for t in range(steps - 1, -1, -1):
        symbol = symbols[t]
        scale = inverse[t]
        shared = 1.0
        for s in range(STATES):
            shared -= alpha_bar[s] * alpha[t, s]
        for s in range(STATES):
            joint_bar = (alpha_bar[s] + shared) * scale
            emission_bar[s, symbol] += joint_bar * prior[t, s]
            prior_bar[s] = joint_bar * emission[s, symbol]
        if t > 0:
            for r in range(STATES):
                a = alpha[t - 1, r]
                a_bar = 0.0
                for s in range(STATES):
                    a_bar += transition[r, s] * prior_bar[s]
                    transition_bar[r, s] += a * prior_bar[s]
                alpha_bar[r] = a_bar
        else:
            for s in range(STATES):
                start_bar[s] = prior_bar[s]
    return value, (start_bar, transition_bar, emission_bar)


def inputs(steps):
    rng = np.random.default_rng(10)
    start = rng.uniform(0.5, 1.5, STATES)
    transition = rng.uniform(0.2, 1.0, (STATES, STATES))
    emission = rng.uniform(0.1, 1.0, (STATES, 10))
    return (
        start / np.sum(start),
        transition / np.sum(transition, axis=1, keepdims=True),
        emission / np.sum(emission, axis=1, keepdims=True),
        rng.integers(0, emission.shape[1], steps),
    )


CASES = [
    Case(
        name="hidden markov T=1000 S=5",
        function=log_likelihood,
        argnums=(0, 1, 2),
        inputs=partial(inputs, 1000),
        memory=partial(inputs, 100_000),
        limit=log_likelihood_adjoint,
        tiny=partial(inputs, 11),
        sized=lambda extra: inputs(12 + extra),
        group="loop",
        texts={"jax": log_likelihood_scan, "autograd": log_likelihood_rows},
        elements=1000,
    ),
]
