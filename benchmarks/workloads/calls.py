"""Functions with next to no work in them: what a call itself costs.

Beside the peers stand tracegrad's own ways: the bare entry point of the kernel, a call, a call
into given arrays, and the entry point of the kernel that it goes to.
"""

import numpy as np

from ..case import Case
from ..numba_limit import limit


def cube(x):
    return x * x * x


def sum_of_squares(x):
    return np.sum(x * x)


@limit
def cube_adjoint(x):
    return x * x * x, 3.0 * x * x


@limit
def sum_of_squares_adjoint(x):
    n = x.shape[0]
    x_bar = np.empty(n)
    value = 0.0
    for i in range(n):
        value += x[i] * x[i]
        x_bar[i] = 2.0 * x[i]
    return value, x_bar


def ten():
    return (np.linspace(-1.0, 1.0, 10),)


CASES = [
    Case(
        name="call, one float",
        function=cube,
        argnums=0,
        inputs=lambda: (0.7,),
        limit=cube_adjoint,
        tiny=lambda: (0.7,),
        group="call",
    ),
    Case(
        name="call, 10 elements",
        function=sum_of_squares,
        argnums=0,
        inputs=ten,
        limit=sum_of_squares_adjoint,
        tiny=ten,
        group="call",
    ),
]
