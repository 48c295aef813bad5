"""Matrix least squares, differentiated in both factors: three matrix products of equal cost."""

from functools import partial

import numpy as np

from ..case import Case
from ..numba_limit import limit


def residual(A, X, B):
    return np.sum((A @ X - B) ** 2)


@limit
def residual_kernel(A, X, B, R, A_bar, X_bar):
    np.dot(A, X, R)
    value = 0.0
    for i in range(R.shape[0]):
        for j in range(R.shape[1]):
            r = R[i, j] - B[i, j]
            value += r * r
            R[i, j] = 2.0 * r
    np.dot(R, X.T, A_bar)
    np.dot(A.T, R, X_bar)
    return value


def residual_adjoint(A, X, B):
    A_bar = np.empty(A.shape)
    X_bar = np.empty(X.shape)
    return residual_kernel(A, X, B, np.empty(B.shape), A_bar, X_bar), (A_bar, X_bar)


def inputs(n):
    rng = np.random.default_rng(6)
    return tuple(rng.standard_normal((n, n)) / np.sqrt(n) for _ in range(3))


CASES = [
    Case(
        name="least squares 512x512",
        function=residual,
        argnums=(0, 1),
        inputs=partial(inputs, 512),
        limit=residual_adjoint,
        tiny=partial(inputs, 10),
        sized=lambda extra: inputs(9 + extra),
    ),
]
