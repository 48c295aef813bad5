"""Forces in a network of springs: rows gathered along edges, added up at nodes."""

from functools import partial

import numpy as np

from ..case import Case
from ..numba_limit import limit


def imbalance(positions, stiffness, rest, start, end):
    apart = positions[end] - positions[start]
    length = np.sqrt(np.sum(apart**2, axis=1))
    tension = stiffness * (length - rest)
    pull = (tension / length)[:, None] * apart
    net = np.zeros_like(positions)
    np.add.at(net, start, pull)
    np.subtract.at(net, end, pull)
    return np.sum(net**2)


def imbalance_jax(positions, stiffness, rest, start, end):
    apart = positions[end] - positions[start]
    length = np.sqrt(np.sum(apart**2, axis=1))
    tension = stiffness * (length - rest)
    pull = (tension / length)[:, None] * apart
    net = np.zeros_like(positions).at[start].add(pull).at[end].add(-pull)
    return np.sum(net**2)


@limit
def imbalance_kernel(positions, stiffness, rest, start, end, positions_bar, stiffness_bar):
    """Edge by edge, twice; all of a node's three coordinates at once."""
    nodes = positions.shape[0]
    net = np.zeros((nodes, 3))
    for e in range(start.shape[0]):
        a = start[e]
        b = end[e]
        if not (0 <= a < nodes and 0 <= b < nodes):
            raise IndexError
        x = positions[b, 0] - positions[a, 0]
        y = positions[b, 1] - positions[a, 1]
        z = positions[b, 2] - positions[a, 2]
        length = np.sqrt(x * x + y * y + z * z)
        scale = stiffness[e] * (length - rest[e]) / length
        net[a, 0] += scale * x
        net[a, 1] += scale * y
        net[a, 2] += scale * z
        net[b, 0] -= scale * x
        net[b, 1] -= scale * y
        net[b, 2] -= scale * z
    value = 0.0
    for i in range(nodes):
        for k in range(3):
            value += net[i, k] * net[i, k]
            positions_bar[i, k] = 0.0
    # reverse
    for e in range(start.shape[0]):
        a = start[e]
        b = end[e]
        x = positions[b, 0] - positions[a, 0]
        y = positions[b, 1] - positions[a, 1]
        z = positions[b, 2] - positions[a, 2]
        inverse = 1.0 / np.sqrt(x * x + y * y + z * z)
        away = 1.0 - rest[e] * inverse
        x_bar = 2.0 * (net[a, 0] - net[b, 0])
        y_bar = 2.0 * (net[a, 1] - net[b, 1])
        z_bar = 2.0 * (net[a, 2] - net[b, 2])
        along = x_bar * x + y_bar * y + z_bar * z
        stiffness_bar[e] = along * away
        scale = stiffness[e] * away
        turn = stiffness[e] * along * rest[e] * inverse * inverse * inverse
        x_bar = scale * x_bar + turn * x
        y_bar = scale * y_bar + turn * y
        z_bar = scale * z_bar + turn * z
        positions_bar[b, 0] += x_bar
        positions_bar[b, 1] += y_bar
        positions_bar[b, 2] += z_bar
        positions_bar[a, 0] -= x_bar
        positions_bar[a, 1] -= y_bar
        positions_bar[a, 2] -= z_bar
    return value


def imbalance_adjoint(positions, stiffness, rest, start, end):
    bars = np.empty(positions.shape), np.empty(stiffness.shape)
    return imbalance_kernel(positions, stiffness, rest, start, end, *bars), bars


def inputs(nodes, edges):
    rng = np.random.default_rng(42)
    start = rng.integers(0, nodes, edges)
    end = (start + rng.integers(1, nodes, edges)) % nodes
    positions = rng.standard_normal((nodes, 3))
    return positions, rng.uniform(0.5, 2.0, edges), rng.uniform(0.5, 1.5, edges), start, end


CASES = [
    Case(
        name="spring network 2000 nodes, 10000 edges",
        function=imbalance,
        argnums=(0, 1),
        inputs=partial(inputs, 2000, 10_000),
        limit=imbalance_adjoint,
        tiny=partial(inputs, 6, 11),
        sized=lambda extra: inputs(7 + extra, 12 + 3 * extra),
        texts={"jax": imbalance_jax, "autograd": None, "pytensor": None, "casadi": None},
    ),
]
