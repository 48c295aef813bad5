"""Log-likelihood of a Gaussian process: the adjoint of a Cholesky factor, and of distances."""

from functools import partial

import numpy as np
from scipy.linalg import blas, lapack, solve_triangular

from ..case import Case
from ..numba_limit import exp, limit, log


def log_likelihood(scales, amplitude, noise, x, y):
    n = x.shape[0]
    d = (x[:, None, :] - x[None, :, :]) / scales
    K = amplitude * np.exp(-0.5 * np.sum(d * d, axis=-1)) + noise * np.eye(n)
    L = np.linalg.cholesky(K)
    z = solve_triangular(L, y, lower=True)
    return -0.5 * np.sum(z * z) - np.sum(np.log(np.diag(L))) - 0.5 * n * np.log(2.0 * np.pi)


@limit
def covariance(scales, amplitude, noise, x, E, K):
    """The lower triangle: of E the exponentials, of K the covariances."""
    n, m = x.shape
    xT = np.empty((m, n))
    for i in range(n):
        for k in range(m):
            xT[k, i] = x[i, k] / scales[k]
    squares = np.empty(n)
    for i in range(n):
        squares[: i + 1] = 0.0
        for k in range(m):
            xi = xT[k, i]
            for j in range(i + 1):
                d = xi - xT[k, j]
                squares[j] += d * d
        for j in range(i + 1):
            e = exp(-0.5 * squares[j])
            E[i, j] = e
            K[i, j] = amplitude * e
        K[i, i] += noise


@limit
def seed(L, z, y_bar, L_bar):
    """The value's part of L, and the cotangent of L (upper triangle: zeros)."""
    n = L.shape[0]
    total = 0.0
    for i in range(n):
        total += log(L[i, i])
        b = y_bar[i]
        for j in range(i + 1):
            L_bar[i, j] = b * z[j]
        for j in range(i + 1, n):
            L_bar[i, j] = 0.0
        L_bar[i, i] -= 1.0 / L[i, i]
    return total


@limit
def mirror(P):
    """Half of the lower triangle, on both sides of the diagonal."""
    n = P.shape[0]
    for i in range(n):
        for j in range(i):
            half = 0.5 * P[i, j]
            P[i, j] = half
            P[j, i] = half
        P[i, i] *= 0.5


@limit
def parameters(scales, amplitude, x, E, S, scales_bar):
    """What the cotangent of the covariances adds up to; only S's lower triangle is read."""
    n, m = x.shape
    xT = np.empty((m, n))
    for i in range(n):
        for k in range(m):
            xT[k, i] = x[i, k] / scales[k]
    amplitude_bar = 0.0
    noise_bar = 0.0
    scaled = np.empty(n)
    for i in range(n):
        row = 0.0
        for j in range(i):
            scaled[j] = S[i, j] * E[i, j]
            row += scaled[j]
        amplitude_bar += 2.0 * row + S[i, i] * E[i, i]
        noise_bar += S[i, i]
        for k in range(m):
            xi = xT[k, i]
            s = 0.0
            for j in range(i):
                d = xi - xT[k, j]
                s += scaled[j] * d * d
            scales_bar[k] += 2.0 * s
    for k in range(m):
        scales_bar[k] *= amplitude / scales[k]
    return amplitude_bar, noise_bar


def log_likelihood_adjoint(scales, amplitude, noise, x, y):
    """Row by row a matrix is the transpose of what LAPACK takes it for: all calls say "upper"."""
    n = x.shape[0]
    E, K = np.empty((n, n)), np.empty((n, n))
    covariance(scales, amplitude, noise, x, E, K)
    lapack.dpotrf(K.T, lower=0, clean=0, overwrite_a=1)
    z = blas.dtrsv(K.T, y, lower=0, trans=1)
    y_bar = blas.dtrsv(K.T, z, lower=0)
    P = np.empty((n, n))
    total = seed(K, z, y_bar, P)
    blas.dtrmm(1.0, K.T, P.T, side=1, lower=0, trans_a=1, overwrite_b=1)
    mirror(P)
    blas.dtrsm(1.0, K.T, P.T, side=1, lower=0, trans_a=1, overwrite_b=1)
    blas.dtrsm(1.0, K.T, P.T, side=0, lower=0, overwrite_b=1)
    scales_bar = np.zeros(scales.shape[0])
    amplitude_bar, noise_bar = parameters(scales, amplitude, x, E, P, scales_bar)
    value = -0.5 * float(z @ z) - total - 0.5 * n * np.log(2.0 * np.pi)
    return value, (scales_bar, amplitude_bar, noise_bar, -y_bar)


def inputs(n, d=3):
    rng = np.random.default_rng(14)
    x = rng.standard_normal((n, d))
    y = np.sin(x.sum(axis=1)) + 0.1 * rng.standard_normal(n)
    return rng.uniform(0.8, 1.6, d), 1.3, 0.1, x, y


CASES = [
    Case(
        name="gaussian process n=200",
        function=log_likelihood,
        argnums=(0, 1, 2, 4),
        inputs=partial(inputs, 200),
        limit=log_likelihood_adjoint,
        tiny=partial(inputs, 9),
        sized=lambda extra: inputs(9 + extra),
        texts={"casadi": None},
    ),
]
