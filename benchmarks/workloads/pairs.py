"""Screened pairwise energy, each pair once: a triangular loop over scalars."""

from functools import partial

import numpy as np

from ..case import Case
from ..numba_limit import exp, limit


def energy(x, charge):
    n = x.shape[0]
    total = 0.0
    for i in range(n):
        for j in range(i + 1, n):
            dx = x[i, 0] - x[j, 0]
            dy = x[i, 1] - x[j, 1]
            dz = x[i, 2] - x[j, 2]
            r = np.sqrt(dx * dx + dy * dy + dz * dz)
            total += charge[i] * charge[j] * np.exp(-r) / r
    return total


def all_pairs(x, charge):
    """The same in array operations, for the peers that would unroll the loops."""
    n = x.shape[0]
    d = x[:, None, :] - x[None, :, :]
    # The diagonal is masked before the root: its derivative at zero would be NaN.
    above = np.triu(np.ones((n, n)), 1) > 0.0
    r = np.sqrt(np.where(above, np.sum(d * d, axis=-1), 1.0))
    pairs = charge[:, None] * charge[None, :] * np.exp(-r) / r
    return np.sum(np.where(above, pairs, 0.0))


def all_pairs_by_axes(x, charge):
    """For libraries without a third axis."""
    n = x.shape[0]
    above = np.triu(np.ones((n, n)), 1) > 0.0
    r2 = 0.0
    for axis in range(3):
        d = x[:, axis][:, None] - x[:, axis][None, :]
        r2 = r2 + d * d
    r = np.sqrt(np.where(above, r2, 1.0))
    return np.sum(np.where(above, charge[:, None] * charge[None, :] * np.exp(-r) / r, 0.0))


@limit
def energy_adjoint(x, charge):
    """Forward and reverse of a pair together, lanes over j: nothing is kept."""
    n = x.shape[0]
    px = np.empty(n)
    py = np.empty(n)
    pz = np.empty(n)
    px_bar = np.zeros(n)
    py_bar = np.zeros(n)
    pz_bar = np.zeros(n)
    charge_bar = np.zeros(n)
    for i in range(n):
        px[i] = x[i, 0]
        py[i] = x[i, 1]
        pz[i] = x[i, 2]
    value = 0.0
    for i in range(n):
        xi = px[i]
        yi = py[i]
        zi = pz[i]
        q = charge[i]
        potential = 0.0
        xi_bar = 0.0
        yi_bar = 0.0
        zi_bar = 0.0
        for above in range(n - 1 - i):
            j = i + 1 + above
            dx = xi - px[j]
            dy = yi - py[j]
            dz = zi - pz[j]
            r = np.sqrt(dx * dx + dy * dy + dz * dz)
            inverse = 1.0 / r
            p = exp(-r) * inverse
            potential += charge[j] * p
            charge_bar[j] += q * p
            # r_bar / r
            f = -q * charge[j] * p * (1.0 + inverse) * inverse
            xi_bar += f * dx
            yi_bar += f * dy
            zi_bar += f * dz
            px_bar[j] -= f * dx
            py_bar[j] -= f * dy
            pz_bar[j] -= f * dz
        value += q * potential
        charge_bar[i] += potential
        px_bar[i] += xi_bar
        py_bar[i] += yi_bar
        pz_bar[i] += zi_bar
    x_bar = np.empty((n, 3))
    for i in range(n):
        x_bar[i, 0] = px_bar[i]
        x_bar[i, 1] = py_bar[i]
        x_bar[i, 2] = pz_bar[i]
    return value, (x_bar, charge_bar)


def inputs(n):
    rng = np.random.default_rng(8)
    return rng.standard_normal((n, 3)), rng.uniform(-1.5, 1.5, n)


CASES = [
    Case(
        name="triangular pairs n=1000",
        function=energy,
        argnums=(0, 1),
        inputs=partial(inputs, 1000),
        limit=energy_adjoint,
        tiny=partial(inputs, 11),
        sized=lambda extra: inputs(9 + extra),
        group="loop",
        texts={"jax": all_pairs, "autograd": all_pairs, "casadi": all_pairs_by_axes},
    ),
]
