"""The Rosenbrock function: slices that overlap."""

from functools import partial

import numpy as np

from ..case import Case
from ..numba_limit import limit


def rosenbrock(x):
    return np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)


@limit
def rosenbrock_kernel(x, x_bar):
    """Each element of x_bar gathers its two contributions; the end elements have one."""
    n = x.shape[0]
    if n < 2:
        for i in range(n):
            x_bar[i] = 0.0
        return 0.0
    first = x[0]
    r = x[1] - first * first
    s = 1.0 - first
    value = 100.0 * r * r + s * s
    x_bar[0] = -400.0 * r * first - 2.0 * s
    for i in range(1, n - 1):
        xi = x[i]
        before = x[i - 1]
        r = x[i + 1] - xi * xi
        s = 1.0 - xi
        value += 100.0 * r * r + s * s
        x_bar[i] = 200.0 * (xi - before * before) - 400.0 * r * xi - 2.0 * s
    before = x[n - 2]
    x_bar[n - 1] = 200.0 * (x[n - 1] - before * before)
    return value


def rosenbrock_adjoint(x):
    x_bar = np.empty(x.shape)
    return rosenbrock_kernel(x, x_bar), x_bar


def inputs(n):
    return (np.random.default_rng(0).uniform(-2.0, 2.0, n),)


CASES = [
    Case(
        name=f"rosenbrock n={label}",
        function=rosenbrock,
        argnums=0,
        inputs=partial(inputs, n),
        limit=rosenbrock_adjoint,
        tiny=partial(inputs, 12),
        sized=(lambda extra: inputs(9 + extra)) if label == "1e3" else None,
    )
    for label, n in (("10", 10), ("1e3", 1000), ("1e6", 1_000_000))
]
