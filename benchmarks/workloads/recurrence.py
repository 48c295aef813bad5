"""An in-place recurrence: each element is written from the one before it."""

from functools import partial

import numpy as np

from .. import lax
from ..case import Case
from ..numba_limit import limit, tanh


def recurrence(x, a):
    n = x.shape[0]
    y = np.zeros(n)
    y[0] = x[0]
    for i in range(1, n):
        y[i] = np.tanh(y[i - 1]) * a + x[i]
    return np.sum(y**2)


def recurrence_scan(x, a):
    def step(before, element):
        y = np.tanh(before) * a + element
        return y, y

    _, y = lax.scan(step, x[0], x[1:])
    return x[0] ** 2 + np.sum(y**2)


def recurrence_list(x, a):
    y = [x[0]]
    for i in range(1, x.shape[0]):
        y.append(np.tanh(y[-1]) * a + x[i])
    return np.sum(np.stack(y) ** 2)


@limit
def recurrence_kernel(x, a, y, x_bar):
    """The memory of x_bar holds the hyperbolic tangents until they have been read."""
    n = x.shape[0]
    here = x[0]
    y[0] = here
    value = here * here
    for i in range(1, n):
        t = tanh(here)
        here = t * a + x[i]
        y[i] = here
        x_bar[i] = t
        value += here * here
    # reverse
    y_bar = 2.0 * here
    a_bar = 0.0
    for i in range(n - 1, 0, -1):
        t = x_bar[i]
        x_bar[i] = y_bar
        a_bar += y_bar * t
        y_bar = 2.0 * y[i - 1] + y_bar * (a * (1.0 - t * t))
    x_bar[0] = y_bar
    return value, a_bar


def recurrence_adjoint(x, a):
    x_bar = np.empty(x.shape)
    value, a_bar = recurrence_kernel(x, a, np.empty(x.shape), x_bar)
    return value, (x_bar, a_bar)


def inputs(n):
    return np.random.default_rng(9).standard_normal(n), 0.9


CASES = [
    Case(
        name=f"recurrence n={label}",
        function=recurrence,
        argnums=(0, 1),
        inputs=partial(inputs, n),
        limit=recurrence_adjoint,
        tiny=partial(inputs, 12),
        sized=(lambda extra: inputs(9 + extra)) if label == "1e3" else None,
        group="loop",
        # In autograd the gradient of each x[i] is a whole array: 34 s at n = 1e4.
        # CasADi writes its steps out.
        texts={
            "jax": recurrence_scan,
            "autograd": recurrence_list if n <= 1000 else None,
            "casadi": recurrence_scan if n <= 10_000 else None,
        },
        elements=n,
        trips=inputs if label == "1e3" else None,
    )
    for label, n in (("1e3", 1000), ("1e4", 10_000), ("1e5", 100_000), ("1e6", 1_000_000))
]
