"""Softened pairwise energy: a broadcast difference of all pairs."""

from functools import partial

import numpy as np

from ..case import Case
from ..numba_limit import limit


def energy(x, mass):
    d = x[:, None, :] - x[None, :, :]
    r2 = np.sum(d * d, axis=-1) + 0.01
    return -0.5 * np.sum(mass[:, None] * mass[None, :] / np.sqrt(r2))


def energy_by_axes(x, mass):
    """For libraries without a third axis."""
    r2 = 0.01
    for axis in range(3):
        d = x[:, axis][:, None] - x[:, axis][None, :]
        r2 = r2 + d * d
    return -0.5 * np.sum(mass[:, None] * mass[None, :] / np.sqrt(r2))


@limit
def energy_adjoint(x, mass):
    """The full double sum; each x_bar[i] gathers, and a pair's two equal contributions double."""
    n = x.shape[0]
    px = np.empty(n)
    py = np.empty(n)
    pz = np.empty(n)
    for i in range(n):
        px[i] = x[i, 0]
        py[i] = x[i, 1]
        pz[i] = x[i, 2]
    x_bar = np.empty((n, 3))
    value = 0.0
    for i in range(n):
        xi = px[i]
        yi = py[i]
        zi = pz[i]
        potential = 0.0
        gx = 0.0
        gy = 0.0
        gz = 0.0
        for j in range(n):
            dx = xi - px[j]
            dy = yi - py[j]
            dz = zi - pz[j]
            inverse = 1.0 / np.sqrt(dx * dx + dy * dy + dz * dz + 0.01)
            p = mass[j] * inverse
            f = p * inverse * inverse
            potential += p
            gx += f * dx
            gy += f * dy
            gz += f * dz
        value -= 0.5 * mass[i] * potential
        x_bar[i, 0] = mass[i] * gx
        x_bar[i, 1] = mass[i] * gy
        x_bar[i, 2] = mass[i] * gz
    return value, x_bar


@limit
def energy_adjoint_symmetric(x, mass):
    """Each pair once: knows that the summand is symmetric."""
    n = x.shape[0]
    px = np.empty(n)
    py = np.empty(n)
    pz = np.empty(n)
    fx = np.zeros(n)
    fy = np.zeros(n)
    fz = np.zeros(n)
    diagonal = 0.0
    for i in range(n):
        px[i] = x[i, 0]
        py[i] = x[i, 1]
        pz[i] = x[i, 2]
        diagonal += mass[i] * mass[i]
    value = -0.5 * diagonal / np.sqrt(0.01)
    for i in range(n):
        xi = px[i]
        yi = py[i]
        zi = pz[i]
        mi = mass[i]
        potential = 0.0
        gx = 0.0
        gy = 0.0
        gz = 0.0
        for j in range(i):
            dx = xi - px[j]
            dy = yi - py[j]
            dz = zi - pz[j]
            inverse = 1.0 / np.sqrt(dx * dx + dy * dy + dz * dz + 0.01)
            p = mi * mass[j] * inverse
            f = p * inverse * inverse
            potential += p
            gx += f * dx
            gy += f * dy
            gz += f * dz
            fx[j] -= f * dx
            fy[j] -= f * dy
            fz[j] -= f * dz
        value -= potential
        fx[i] += gx
        fy[i] += gy
        fz[i] += gz
    x_bar = np.empty((n, 3))
    for i in range(n):
        x_bar[i, 0] = fx[i]
        x_bar[i, 1] = fy[i]
        x_bar[i, 2] = fz[i]
    return value, x_bar


def inputs(n):
    rng = np.random.default_rng(5)
    return rng.standard_normal((n, 3)), rng.uniform(0.5, 1.5, n)


CASES = [
    Case(
        name="n-body n=200",
        function=energy,
        argnums=0,
        inputs=partial(inputs, 200),
        limit=energy_adjoint,
        tiny=partial(inputs, 11),
        sized=lambda extra: inputs(9 + extra),
        variants={"symmetric": energy_adjoint_symmetric},
        texts={"casadi": energy_by_axes},
        memory=partial(inputs, 1500),
        temporary=1500 * 1500 * 3 * 8,
    ),
]
