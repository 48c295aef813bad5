"""A digital filter of second order, fitted to a signal: writes to an array."""

from functools import partial

import numpy as np

from .. import lax
from ..case import Case
from ..numba_limit import limit


def mismatch(forward, back, signal, wanted):
    filtered = np.zeros_like(signal)
    for t in range(2, signal.shape[0]):
        filtered[t] = (
            forward[0] * signal[t] + forward[1] * signal[t - 1] + forward[2] * signal[t - 2]
        )
        filtered[t] -= back[0] * filtered[t - 1] + back[1] * filtered[t - 2]
    return np.mean((filtered - wanted) ** 2)


def mismatch_scan(forward, back, signal, wanted):
    given = forward[0] * signal[2:] + forward[1] * signal[1:-1] + forward[2] * signal[:-2]

    def step(kept, x):
        last, before = kept
        new = x - back[0] * last - back[1] * before
        return (new, last), new

    zero = 0.0 * signal[0]
    _, filtered = lax.scan(step, (zero, zero), given)
    squares = np.sum((filtered - wanted[2:]) ** 2) + wanted[0] ** 2 + wanted[1] ** 2
    return squares / signal.shape[0]


@limit
def mismatch_adjoint(forward, back, signal, wanted):
    """What is not carried in lanes; two recurrences, each of two numbers, in registers."""
    n = signal.shape[0]
    f0 = forward[0]
    f1 = forward[1]
    f2 = forward[2]
    b0 = back[0]
    b1 = back[1]
    filtered = np.empty(n)
    bar = np.empty(n)
    filtered[0] = 0.0
    filtered[1] = 0.0
    for t in range(2, n):
        filtered[t] = f0 * signal[t] + f1 * signal[t - 1] + f2 * signal[t - 2]
    last = 0.0
    before = 0.0
    for t in range(2, n):
        new = filtered[t] - b1 * before - b0 * last
        filtered[t] = new
        before = last
        last = new
    value = 0.0
    share = 2.0 / n
    for t in range(n):
        off = filtered[t] - wanted[t]
        value += off * off
        bar[t] = share * off
    # reverse: bar[t] becomes the cotangent of what was written at t
    later = 0.0
    latest = 0.0
    for back_from in range(2, n):
        t = n + 1 - back_from
        new = bar[t] - b1 * latest - b0 * later
        bar[t] = new
        latest = later
        later = new
    bar[0] = 0.0
    bar[1] = 0.0
    f0_bar = 0.0
    f1_bar = 0.0
    f2_bar = 0.0
    b0_bar = 0.0
    b1_bar = 0.0
    for t in range(2, n):
        here = bar[t]
        f0_bar += here * signal[t]
        f1_bar += here * signal[t - 1]
        f2_bar += here * signal[t - 2]
        b0_bar -= here * filtered[t - 1]
        b1_bar -= here * filtered[t - 2]
    signal_bar = np.empty(n)
    for t in range(n - 2):
        signal_bar[t] = f0 * bar[t] + f1 * bar[t + 1] + f2 * bar[t + 2]
    signal_bar[n - 2] = f0 * bar[n - 2] + f1 * bar[n - 1]
    signal_bar[n - 1] = f0 * bar[n - 1]
    forward_bar = np.empty(3)
    forward_bar[0] = f0_bar
    forward_bar[1] = f1_bar
    forward_bar[2] = f2_bar
    back_bar = np.empty(2)
    back_bar[0] = b0_bar
    back_bar[1] = b1_bar
    return value / n, (forward_bar, back_bar, signal_bar)


def inputs(n):
    rng = np.random.default_rng(32)
    forward = np.array([0.2, 0.3, 0.2])
    back = np.array([-0.9, 0.4])
    return forward, back, rng.standard_normal(n), rng.standard_normal(n)


CASES = [
    Case(
        name="filter of order 2, n=20000",
        function=mismatch,
        argnums=(0, 1, 2),
        inputs=partial(inputs, 20_000),
        memory=partial(inputs, 500_000),
        limit=mismatch_adjoint,
        tiny=partial(inputs, 25),
        sized=lambda extra: inputs(12 + extra),
        group="loop",
        texts={"jax": mismatch_scan, "autograd": None},
        elements=20_000,
    ),
]
