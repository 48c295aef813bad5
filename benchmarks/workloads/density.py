"""Density of points from kernels around centres: all pairs, a log-sum."""

from functools import partial

import numpy as np

from ..case import Case
from ..numba_limit import exp, limit, log


def negative_log_likelihood(points, centres, width):
    apart = points[:, None, :] - centres[None, :, :]
    exponent = -0.5 * np.sum(apart**2, axis=2) / width**2
    top = np.max(exponent, axis=1)
    total = np.sum(np.exp(exponent - top[:, None]), axis=1)
    return 2.0 * np.log(width) - np.mean(top + np.log(total))


@limit
def negative_log_likelihood_adjoint(points, centres, width):
    """A row of exponents at a time; coordinates of the centres in columns."""
    n = points.shape[0]
    m = centres.shape[0]
    first = np.empty(m)
    second = np.empty(m)
    first_bar = np.zeros(m)
    second_bar = np.zeros(m)
    squares = np.empty(m)
    row = np.empty(m)
    for j in range(m):
        first[j] = centres[j, 0]
        second[j] = centres[j, 1]
    scale = -0.5 / (width * width)
    value = 0.0
    scale_bar = 0.0
    share = 1.0 / n
    for i in range(n):
        x = points[i, 0]
        y = points[i, 1]
        nearest = np.inf
        for j in range(m):
            a = x - first[j]
            b = y - second[j]
            square = a * a + b * b
            squares[j] = square
            nearest = min(nearest, square)
        total = 0.0
        weighted = 0.0
        for j in range(m):
            e = exp(scale * (squares[j] - nearest))
            row[j] = e
            total += e
            weighted += e * squares[j]
        value += scale * nearest + log(total)
        # reverse
        weight = share / total
        scale_bar -= weight * weighted
        pull = 2.0 * scale * weight
        for j in range(m):
            e = pull * row[j]
            first_bar[j] += e * (x - first[j])
            second_bar[j] += e * (y - second[j])
    centres_bar = np.empty((m, 2))
    for j in range(m):
        centres_bar[j, 0] = first_bar[j]
        centres_bar[j, 1] = second_bar[j]
    width_bar = 2.0 / width + scale_bar / (width * width * width)
    return 2.0 * np.log(width) - share * value, (centres_bar, width_bar)


def inputs(n, m):
    rng = np.random.default_rng(33)
    return rng.standard_normal((n, 2)), rng.standard_normal((m, 2)), 0.3


CASES = [
    Case(
        name="kernel density 800x300",
        function=negative_log_likelihood,
        argnums=(1, 2),
        inputs=partial(inputs, 800, 300),
        memory=partial(inputs, 2000, 1000),
        temporary=2000 * 1000 * 2 * 8,
        limit=negative_log_likelihood_adjoint,
        tiny=partial(inputs, 7, 5),
        sized=lambda extra: inputs(12 + extra, 7 + 2 * extra),
    ),
]
