"""Jobs through servers one after the other: when each leaves, by a recurrence of maxima."""

from functools import partial

import numpy as np

from .. import lax
from ..case import Case
from ..numba_limit import limit


def delay(services, arrivals, due):
    jobs, servers = services.shape
    leaves = np.zeros((jobs + 1, servers + 1))
    leaves[1:, 0] = arrivals
    for i in range(jobs):
        for k in range(servers):
            leaves[i + 1, k + 1] = max(leaves[i, k + 1], leaves[i + 1, k]) + services[i, k]
    late = leaves[1:, servers] - due
    return np.mean(np.where(late > 0.0, late * late, 0.0))


def delay_scan(services, arrivals, due):
    servers = services.shape[1]

    def step(free, job):
        service, arrival = job
        now, row = arrival, []
        for k in range(servers):
            now = np.maximum(free[k], now) + service[k]
            row.append(now)
        return np.stack(row), now

    _, left = lax.scan(step, np.zeros(servers), (services, arrivals))
    late = left - due
    return np.mean(np.where(late > 0.0, late * late, 0.0))


@limit
def delay_adjoint(services, arrivals, due):
    """The table is the tape; each cotangent goes to the later of the two that led there."""
    jobs, servers = services.shape
    leaves = np.zeros((jobs + 1, servers + 1))
    for i in range(jobs):
        leaves[i + 1, 0] = arrivals[i]
        for k in range(servers):
            leaves[i + 1, k + 1] = max(leaves[i, k + 1], leaves[i + 1, k]) + services[i, k]
    total = 0.0
    services_bar = np.empty((jobs, servers))
    row_bar = np.zeros(servers + 1)
    for back in range(jobs):
        i = jobs - 1 - back
        late = leaves[i + 1, servers] - due[i]
        if late > 0.0:
            total += late * late
            row_bar[servers] += 2.0 * late / jobs
        across_bar = 0.0
        for down in range(servers):
            k = servers - 1 - down
            bar = row_bar[k + 1] + across_bar
            services_bar[i, k] = bar
            free = leaves[i, k + 1]
            now = leaves[i + 1, k]
            share = 1.0 if free > now else (0.5 if free == now else 0.0)
            row_bar[k + 1] = share * bar
            across_bar = (1.0 - share) * bar
    return total / jobs, services_bar


def inputs(jobs, servers):
    rng = np.random.default_rng(63)
    services = rng.exponential(0.8, (jobs, servers))
    arrivals = np.cumsum(rng.exponential(1.0, jobs))
    return services, arrivals, arrivals + 0.8 * servers


CASES = [
    Case(
        name="queues, 5000 jobs, 8 servers",
        function=delay,
        argnums=0,
        inputs=partial(inputs, 5000, 8),
        limit=delay_adjoint,
        tiny=partial(inputs, 9, 3),
        sized=lambda extra: inputs(11 + extra, 4 + extra),
        group="loop",
        texts={"jax": delay_scan, "autograd": None, "pytensor": None, "casadi": None},
        elements=40_000,
    ),
]
