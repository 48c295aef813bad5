"""Rain through a cascade of reservoirs, fitted to what a river carries. No one tuned for it."""

from functools import partial

import numpy as np

from .. import lax
from ..case import Case
from ..numba_limit import limit


def misfit(rates, powers, depths, rain, demand, observed):
    stores = np.full(len(rates), 0.5)
    total = 0.0
    for t in range(len(rain)):
        flow = rain[t]
        for j in range(len(rates)):
            wet = stores[j] + flow
            wet -= demand[t] * wet / (wet + depths[j])
            flow = min(rates[j] * wet ** powers[j], wet)
            stores[j] = wet - flow
        total += (flow - observed[t]) ** 2
    return total / len(rain)


def misfit_scan(rates, powers, depths, rain, demand, observed):
    count = rates.shape[0]

    def step(stores, day):
        flow, wish, seen = day
        left = []
        for j in range(count):
            wet = stores[j] + flow
            wet = wet - wish * wet / (wet + depths[j])
            flow = np.minimum(rates[j] * wet ** powers[j], wet)
            left.append(wet - flow)
        return np.stack(left), (flow - seen) ** 2

    _, errors = lax.scan(step, np.full(count, 0.5), (rain, demand, observed))
    return np.mean(errors)


@limit
def misfit_kernel(rates, powers, depths, rain, demand, observed):
    """Kept of each reservoir and day: what it held, what evaporation left, what it gave."""
    days = rain.shape[0]
    count = rates.shape[0]
    held = np.empty((days, count))
    left = np.empty((days, count))
    gave = np.empty((days, count))
    stores = np.full(count, 0.5)
    total = 0.0
    for t in range(days):
        flow = rain[t]
        for j in range(count):
            wet = stores[j] + flow
            held[t, j] = wet
            wet -= demand[t] * wet / (wet + depths[j])
            left[t, j] = wet
            flow = min(rates[j] * wet ** powers[j], wet)
            gave[t, j] = flow
            stores[j] = wet - flow
        total += (flow - observed[t]) ** 2
    # reverse
    rates_bar = np.zeros(count)
    powers_bar = np.zeros(count)
    depths_bar = np.zeros(count)
    stores_bar = np.zeros(count)
    scale = 2.0 / days
    for back in range(days):
        t = days - 1 - back
        flow_bar = scale * (gave[t, count - 1] - observed[t])
        for up in range(count):
            j = count - 1 - up
            wet = left[t, j]
            flow = gave[t, j]
            wet_bar = stores_bar[j]
            flow_bar -= wet_bar
            if flow < wet:
                rates_bar[j] += flow_bar * flow / rates[j]
                powers_bar[j] += flow_bar * flow * np.log(wet)
                wet_bar += flow_bar * powers[j] * flow / wet
            else:
                wet_bar += flow_bar
            wet = held[t, j]
            room = 1.0 / (wet + depths[j])
            part = demand[t] * room * room * wet_bar
            depths_bar[j] += part * wet
            wet_bar -= part * depths[j]
            stores_bar[j] = wet_bar
            flow_bar = wet_bar
    return total / days, rates_bar, powers_bar, depths_bar


def misfit_adjoint(rates, powers, depths, rain, demand, observed):
    value, *bars = misfit_kernel(rates, powers, depths, rain, demand, observed)
    return value, tuple(bars)


def inputs(days, count):
    rng = np.random.default_rng(73)
    rain = rng.exponential(2.0, days) * (rng.random(days) < 0.3)
    demand = 0.1 + 0.2 * rng.random(days)
    rates = 0.2 + 0.3 * rng.random(count)
    return rates, 1.0 + 0.3 * rng.random(count), 1.0 + rng.random(count), rain, demand, 0.4 * rain


CASES = [
    Case(
        name="cascade of 3 reservoirs, 3000 days",
        function=misfit,
        argnums=(0, 1, 2),
        inputs=partial(inputs, 3000, 3),
        limit=misfit_adjoint,
        tiny=partial(inputs, 9, 2),
        sized=lambda extra: inputs(11 + extra, 3),
        group="loop",
        untuned=True,
        texts={"jax": misfit_scan, "autograd": None, "pytensor": None, "casadi": None},
        elements=9_000,
        trips=lambda trips: inputs(trips, 3),
    ),
]
