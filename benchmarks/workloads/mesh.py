"""The energy of a rubber sheet: triangles that pick their corners. No one tuned for it."""

from functools import partial

import numpy as np

from ..case import Case
from ..numba_limit import limit, log


def energy(points, triangles, inverse, area, stiffness, bulk):
    """A neo-Hookean material; ``inverse`` has of each triangle the inverse of its sides at rest."""
    first = points[triangles[:, 0]]
    u = points[triangles[:, 1]] - first
    v = points[triangles[:, 2]] - first
    turned = u[:, :, None] * inverse[:, None, 0, :] + v[:, :, None] * inverse[:, None, 1, :]
    volume = turned[:, 0, 0] * turned[:, 1, 1] - turned[:, 0, 1] * turned[:, 1, 0]
    stretch = np.sum(turned**2, axis=(1, 2))
    change = np.log(volume)
    density = 0.5 * stiffness * (stretch - 2.0) - stiffness * change + 0.5 * bulk * change**2
    return np.sum(area * density)


@limit
def energy_kernel(points, triangles, inverse, area, stiffness, bulk, points_bar):
    """Each triangle's way back beside its way there."""
    count = points.shape[0]
    for i in range(count):
        points_bar[i, 0] = 0.0
        points_bar[i, 1] = 0.0
    total = 0.0
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        if not (0 <= a < count and 0 <= b < count and 0 <= c < count):
            raise IndexError
        u0 = points[b, 0] - points[a, 0]
        u1 = points[b, 1] - points[a, 1]
        v0 = points[c, 0] - points[a, 0]
        v1 = points[c, 1] - points[a, 1]
        i00, i01, i10, i11 = inverse[t, 0, 0], inverse[t, 0, 1], inverse[t, 1, 0], inverse[t, 1, 1]
        f00 = u0 * i00 + v0 * i10
        f01 = u0 * i01 + v0 * i11
        f10 = u1 * i00 + v1 * i10
        f11 = u1 * i01 + v1 * i11
        volume = f00 * f11 - f01 * f10
        stretch = f00 * f00 + f01 * f01 + f10 * f10 + f11 * f11
        change = log(volume)
        density = 0.5 * stiffness * (stretch - 2.0) - stiffness * change
        total += area[t] * (density + 0.5 * bulk * change * change)
        # reverse
        scale = area[t] * stiffness
        volume_bar = area[t] * (bulk * change - stiffness) / volume
        f00_bar = scale * f00 + volume_bar * f11
        f01_bar = scale * f01 - volume_bar * f10
        f10_bar = scale * f10 - volume_bar * f01
        f11_bar = scale * f11 + volume_bar * f00
        u0_bar = f00_bar * i00 + f01_bar * i01
        v0_bar = f00_bar * i10 + f01_bar * i11
        u1_bar = f10_bar * i00 + f11_bar * i01
        v1_bar = f10_bar * i10 + f11_bar * i11
        points_bar[b, 0] += u0_bar
        points_bar[b, 1] += u1_bar
        points_bar[c, 0] += v0_bar
        points_bar[c, 1] += v1_bar
        points_bar[a, 0] -= u0_bar + v0_bar
        points_bar[a, 1] -= u1_bar + v1_bar
    return total


def energy_adjoint(points, triangles, inverse, area, stiffness, bulk):
    points_bar = np.empty_like(points)
    value = energy_kernel(points, triangles, inverse, area, stiffness, bulk, points_bar)
    return value, points_bar


def inputs(rows, columns):
    """A sheet of rows by columns of squares, each of two triangles, slightly bent."""
    rng = np.random.default_rng(72)
    i, j = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
    corner = (i * (columns + 1) + j).ravel()
    beside, below = corner + 1, corner + columns + 1
    upper = np.stack([corner, beside, below], axis=1)
    lower = np.stack([below + 1, below, beside], axis=1)
    triangles = np.concatenate([upper, lower])
    i, j = np.meshgrid(np.arange(rows + 1.0), np.arange(columns + 1.0), indexing="ij")
    rest = np.stack([j.ravel(), i.ravel()], axis=1)
    sides = rest[triangles[:, 1:]] - rest[triangles[:, :1]]
    inverse = np.linalg.inv(np.swapaxes(sides, 1, 2))
    area = 0.5 * np.abs(np.linalg.det(sides))
    points = rest * np.array([1.1, 0.95]) + 0.05 * rng.normal(size=rest.shape)
    return points, triangles, inverse, area, 1.0, 4.0


CASES = [
    Case(
        name="rubber sheet of 80x80 squares",
        function=energy,
        argnums=0,
        inputs=partial(inputs, 80, 80),
        limit=energy_adjoint,
        tiny=partial(inputs, 3, 2),
        sized=lambda extra: inputs(5 + extra, 7 + extra),
        untuned=True,
        elements=12_800,
    ),
]
