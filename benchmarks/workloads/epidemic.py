"""An epidemic with a lockdown that switches on and off: branches on state."""

from functools import partial

import numpy as np

from .. import lax
from ..case import Case
from ..numba_limit import limit, log

SUBSTEPS = 4


def misfit(rates, start, observed, limits, h):
    healthy = start[0]
    ill = start[1]
    locked = False
    total = 0.0
    for day in range(observed.shape[0]):
        if ill > limits[1]:
            locked = True
        elif ill < limits[0]:
            locked = False
        contact = rates[0]
        if locked:
            contact *= rates[2]
        for _ in range(4):
            infected = h * contact * healthy * ill
            recovered = h * rates[1] * ill
            healthy -= infected
            ill += infected - recovered
        total += (np.log(ill) - np.log(observed[day])) ** 2
    return total


def misfit_scan(rates, start, observed, limits, h):
    def day(state, seen):
        healthy, ill, locked = state
        locked = (ill > limits[1]) | (locked & ~(ill < limits[0]))
        contact = np.where(locked, rates[0] * rates[2], rates[0])
        for _ in range(4):
            infected = h * contact * healthy * ill
            recovered = h * rates[1] * ill
            healthy = healthy - infected
            ill = ill + infected - recovered
        return (healthy, ill, locked), (np.log(ill) - np.log(seen)) ** 2

    _, errors = lax.scan(day, (start[0], start[1], np.array(False)), observed)
    return np.sum(errors)


@limit
def misfit_adjoint(rates, start, observed, limits, h):
    """Keeps the two states of each substep and whether the day was locked."""
    days = observed.shape[0]
    healthy = start[0]
    ill = start[1]
    free = h * rates[0]
    held = free * rates[2]
    out = h * rates[1]
    tape = np.empty((days, SUBSTEPS, 2))
    errors = np.empty(days)
    was_locked = np.empty(days, dtype=np.bool_)
    locked = False
    for day in range(days):
        if ill > limits[1]:
            locked = True
        elif ill < limits[0]:
            locked = False
        was_locked[day] = locked
        contact = held if locked else free
        for sub in range(SUBSTEPS):
            tape[day, sub, 0] = healthy
            tape[day, sub, 1] = ill
            infected = contact * healthy * ill
            healthy -= infected
            ill += infected - out * ill
        errors[day] = ill
    # The logarithms don't wait for each other; errors becomes the cotangent of each day's `ill`.
    value = 0.0
    for day in range(days):
        e = log(errors[day]) - log(observed[day])
        value += e * e
        errors[day] = 2.0 * e / errors[day]
    # reverse
    healthy_bar = 0.0
    ill_bar = 0.0
    free_bar = 0.0
    held_bar = 0.0
    out_bar = 0.0
    for back in range(days):
        day = days - 1 - back
        contact = held if was_locked[day] else free
        contact_bar = 0.0
        ill_bar += errors[day]
        for up in range(SUBSTEPS):
            healthy = tape[day, SUBSTEPS - 1 - up, 0]
            ill = tape[day, SUBSTEPS - 1 - up, 1]
            infected_bar = ill_bar - healthy_bar
            contact_bar += infected_bar * (healthy * ill)
            out_bar -= ill_bar * ill
            scaled = infected_bar * contact
            healthy_bar += scaled * ill
            ill_bar += scaled * healthy - ill_bar * out
        if was_locked[day]:
            held_bar += contact_bar
        else:
            free_bar += contact_bar
    rates_bar = np.empty(3)
    rates_bar[0] = h * (free_bar + held_bar * rates[2])
    rates_bar[1] = h * out_bar
    rates_bar[2] = held_bar * free
    start_bar = np.empty(2)
    start_bar[0] = healthy_bar
    start_bar[1] = ill_bar
    return value, (rates_bar, start_bar)


def inputs(days):
    rng = np.random.default_rng(23)
    observed = 0.01 * np.exp(0.5 * np.sin(np.arange(days) / 9.0) + 0.1 * rng.standard_normal(days))
    rates = np.array([0.3, 0.1, 0.25])
    return rates, np.array([0.99, 0.01]), observed, np.array([0.005, 0.02]), 0.25


CASES = [
    Case(
        name="epidemic 2000 days",
        function=misfit,
        argnums=(0, 1),
        inputs=partial(inputs, 2000),
        memory=partial(inputs, 100_000),
        limit=misfit_adjoint,
        tiny=partial(inputs, 40),
        sized=lambda extra: inputs(12 + extra),
        group="loop",
        # A loop over arrays that autograd can trace as it stands.
        texts={"jax": misfit_scan},
        elements=2000,
    ),
]
