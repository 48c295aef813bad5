"""One cloud of points turned onto another, each point near a mixture."""

from functools import partial

import numpy as np

from ..case import Case
from ..numba_limit import cos, exp, limit, log, sin


def loss(angle, shift, width, cloud, target):
    c, s = np.cos(angle), np.sin(angle)
    x = c * cloud[:, 0] - s * cloud[:, 1] + shift[0]
    y = s * cloud[:, 0] + c * cloud[:, 1] + shift[1]
    squares = (x[:, None] - target[:, 0]) ** 2 + (y[:, None] - target[:, 1]) ** 2
    near = np.mean(np.exp(-squares / (2.0 * width**2)), axis=1)
    return -np.sum(np.log(near / width**2 + 0.01))


@limit
def loss_kernel(angle, shift, width, cloud, target, weights):
    """A point at a time: its weights are kept for its own way back."""
    n = cloud.shape[0]
    m = target.shape[0]
    c = cos(angle)
    s = sin(angle)
    square = width * width
    half = 0.5 / square
    share = 1.0 / m
    value = 0.0
    angle_bar = 0.0
    across_bar = 0.0
    up_bar = 0.0
    square_bar = 0.0
    for i in range(n):
        x = c * cloud[i, 0] - s * cloud[i, 1] + shift[0]
        y = s * cloud[i, 0] + c * cloud[i, 1] + shift[1]
        total = 0.0
        for j in range(m):
            a = x - target[j, 0]
            b = y - target[j, 1]
            weights[j] = exp(-(a * a + b * b) * half)
            total += weights[j]
        near = share * total / square
        value -= log(near + 0.01)
        near_bar = -1.0 / (near + 0.01)
        bar = near_bar * share / square
        square_bar -= near_bar * near / square
        x_bar = 0.0
        y_bar = 0.0
        half_bar = 0.0
        for j in range(m):
            a = x - target[j, 0]
            b = y - target[j, 1]
            x_bar += weights[j] * a
            y_bar += weights[j] * b
            half_bar += weights[j] * (a * a + b * b)
        x_bar *= -2.0 * half * bar
        y_bar *= -2.0 * half * bar
        square_bar += bar * half_bar * half / square
        across_bar += x_bar
        up_bar += y_bar
        angle_bar += y_bar * (x - shift[0]) - x_bar * (y - shift[1])
    return value, angle_bar, across_bar, up_bar, 2.0 * width * square_bar


def loss_adjoint(angle, shift, width, cloud, target):
    weights = np.empty(target.shape[0])
    value, angle_bar, *shift_bar, width_bar = loss_kernel(
        angle, shift, width, cloud, target, weights
    )
    return value, (angle_bar, np.array(shift_bar), width_bar)


def inputs(n, m):
    rng = np.random.default_rng(62)
    target = rng.standard_normal((m, 2))
    cloud = target[rng.integers(0, m, n)] + 0.1 * rng.standard_normal((n, 2))
    return 0.2, np.array([0.1, -0.05]), 0.5, cloud, target


CASES = [
    Case(
        name="registration of 500 points on 400",
        function=loss,
        argnums=(0, 1, 2),
        inputs=partial(inputs, 500, 400),
        limit=loss_adjoint,
        tiny=partial(inputs, 6, 5),
        sized=lambda extra: inputs(20 + 3 * extra, 11 + extra),
        elements=200_000,
    ),
]
