"""An American option by a binomial tree: rows that get shorter, in place."""

from functools import partial

import numpy as np

from .. import lax
from ..case import Case
from ..numba_limit import exp, limit


def tree(spot, volatility, rate, strike, places):
    steps = (places.shape[0] - 1) // 2
    interval = 1.0 / steps
    move = volatility * np.sqrt(interval)
    growth = np.exp(rate * interval)
    up, down = np.exp(move), np.exp(-move)
    rises = (growth - down) / (up - down) / growth
    falls = 1.0 / growth - rises
    payoff = np.maximum(strike - spot * np.exp(move * places), 0.0)
    return steps, rises, falls, payoff


def price(spot, volatility, rate, strike, places):
    steps, rises, falls, payoff = tree(spot, volatility, rate, strike, places)
    v = payoff[::2].copy()
    for left in range(steps, 0, -1):
        held = rises * v[1 : left + 1] + falls * v[:left]
        v[:left] = np.maximum(held, payoff[steps - left + 1 : steps + left : 2])
    return v[0]


def price_scan(spot, volatility, rate, strike, places):
    steps, rises, falls, payoff = tree(spot, volatility, rate, strike, places)
    across = 2 * np.arange(steps)

    def step(v, left):
        held = rises * v[1:] + falls * v[:-1]
        now = np.maximum(held, payoff[np.minimum(steps - left + 1 + across, 2 * steps)])
        return np.concatenate([now, v[-1:]]), 0.0

    v, _ = lax.scan(step, payoff[::2], np.arange(steps, 0, -1))
    return v[0]


@limit
def price_adjoint(spot, volatility, rate, strike, places):
    """Every row of the tree on a tape; the cotangents of a row become those of the next."""
    steps = (places.shape[0] - 1) // 2
    interval = 1.0 / steps
    move = volatility * np.sqrt(interval)
    growth = np.exp(rate * interval)
    up = np.exp(move)
    down = np.exp(-move)
    rises = (growth - down) / (up - down) / growth
    falls = 1.0 / growth - rises
    size = 2 * steps + 1
    prices = np.empty(size)
    payoff = np.empty(size)
    payoff_bar = np.zeros(size)
    for i in range(size):
        prices[i] = spot * exp(move * places[i])
        payoff[i] = max(strike - prices[i], 0.0)
    tape = np.empty((steps + 1, steps + 1))
    for j in range(steps + 1):
        tape[steps, j] = payoff[2 * j]
    for left in range(steps, 0, -1):
        v = tape[left]
        new = tape[left - 1]
        first = steps - left + 1
        for j in range(left):
            new[j] = max(rises * v[j + 1] + falls * v[j], payoff[first + 2 * j])
    # reverse
    bar = np.zeros(steps + 2)
    held_bar = np.zeros(steps + 2)
    bar[1] = 1.0
    rises_bar = 0.0
    falls_bar = 0.0
    for left in range(1, steps + 1):
        v = tape[left]
        new = tape[left - 1]
        first = steps - left + 1
        for j in range(left):
            now = payoff[first + 2 * j]
            held = rises * v[j + 1] + falls * v[j]
            share = 1.0 if held > now else (0.5 if held == now else 0.0)
            payoff_bar[first + 2 * j] += (1.0 - share) * bar[j + 1]
            held_bar[j + 1] = share * bar[j + 1]
            rises_bar += held_bar[j + 1] * v[j + 1]
            falls_bar += held_bar[j + 1] * v[j]
        held_bar[left + 1] = 0.0
        for j in range(left + 1):
            bar[j + 1] = falls * held_bar[j + 1] + rises * held_bar[j]
    for j in range(steps + 1):
        payoff_bar[2 * j] += bar[j + 1]
    spot_bar = 0.0
    move_bar = 0.0
    for i in range(size):
        through = prices[i] * payoff_bar[i] if strike - prices[i] > 0.0 else 0.0
        spot_bar -= through
        move_bar -= through * places[i]
    rises_bar -= falls_bar
    wide = up - down
    move_bar += rises_bar * (down * wide - (growth - down) * (up + down)) / (wide * wide * growth)
    return tape[0, 0], (spot_bar / spot, move_bar * np.sqrt(interval))


def inputs(steps):
    return 100.0, 0.25, 0.04, 105.0, np.arange(-steps, steps + 1.0)


CASES = [
    Case(
        name="american option, tree of 400",
        function=price,
        argnums=(0, 1),
        inputs=partial(inputs, 400),
        limit=price_adjoint,
        tiny=partial(inputs, 7),
        sized=lambda extra: inputs(9 + extra),
        group="loop",
        texts={"jax": price_scan, "autograd": None, "pytensor": None, "casadi": None},
        elements=80_000,
    ),
]
