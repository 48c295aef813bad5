"""Gaussian mixture log-likelihood with inverse covariance factors, as in ADBench.

The factors are dense k x d x d arrays (their values are lower triangular, with the logarithm of the
diagonal apart), so that plain NumPy makes n x k x d temporaries and the dense adjoint is the limit.
"""

from functools import partial

import numpy as np

from ..case import Case
from ..numba_limit import exp, limit, log


def log_sum_exp(a):
    top = np.max(a, axis=-1, keepdims=True)
    return top + np.log(np.sum(np.exp(a - top), axis=-1, keepdims=True))


def log_likelihood(alphas, means, log_diagonals, factors, x):
    n = x.shape[0]
    diff = x[:, None, :] - means[None, :, :]
    diagonals = np.exp(log_diagonals)
    z = diagonals * diff + np.einsum("kij,nkj->nki", factors, diff)
    terms = alphas + np.sum(log_diagonals, axis=1) - 0.5 * np.sum(z * z, axis=2)
    likelihood = np.sum(log_sum_exp(terms)) - n * np.sum(log_sum_exp(alphas))
    prior = 0.5 * (np.sum(diagonals**2) + np.sum(factors**2)) - np.sum(log_diagonals)
    return likelihood - prior


def log_likelihood_by_component(alphas, means, log_diagonals, factors, x):
    """For libraries without a third axis."""
    terms = []
    prior = 0.0
    for k in range(alphas.shape[0]):
        diff = x - means[k]
        diagonal = np.exp(log_diagonals[k])
        z = diagonal * diff + diff @ factors[k].T
        terms.append(alphas[k] + np.sum(log_diagonals[k]) - 0.5 * np.sum(z * z, axis=1))
        squares = np.sum(diagonal**2) + np.sum(factors[k] ** 2)
        prior = prior + 0.5 * squares - np.sum(log_diagonals[k])
    likelihood = np.sum(log_sum_exp(np.stack(terms, axis=1)))
    return likelihood - x.shape[0] * np.sum(log_sum_exp(alphas)) - prior


LANES = 128


@limit
def forward_products(dT, factors, diagonals, z, k):
    """z[i] = diagonals[k, i] * dT[i] + sum_j factors[k, i, j] * dT[j], two rows of i at a time."""
    d = dT.shape[0]
    for half in range((d + 1) // 2):
        i = 2 * half
        i2 = min(i + 1, d - 1)
        e = diagonals[k, i]
        e2 = diagonals[k, i2]
        for b in range(LANES):
            z[k, i, b] = e * dT[i, b]
        if i2 > i:
            for b in range(LANES):
                z[k, i2, b] = e2 * dT[i2, b]
            for quarter in range(d // 4):
                j = 4 * quarter
                l00 = factors[k, i, j]
                l01 = factors[k, i, j + 1]
                l02 = factors[k, i, j + 2]
                l03 = factors[k, i, j + 3]
                l10 = factors[k, i2, j]
                l11 = factors[k, i2, j + 1]
                l12 = factors[k, i2, j + 2]
                l13 = factors[k, i2, j + 3]
                for b in range(LANES):
                    d0 = dT[j, b]
                    d1 = dT[j + 1, b]
                    d2 = dT[j + 2, b]
                    d3 = dT[j + 3, b]
                    z[k, i, b] += l00 * d0 + l01 * d1 + l02 * d2 + l03 * d3
                    z[k, i2, b] += l10 * d0 + l11 * d1 + l12 * d2 + l13 * d3
            for j in range(d // 4 * 4, d):
                l00 = factors[k, i, j]
                l10 = factors[k, i2, j]
                for b in range(LANES):
                    z[k, i, b] += l00 * dT[j, b]
                    z[k, i2, b] += l10 * dT[j, b]
        else:
            for j in range(d):
                l00 = factors[k, i, j]
                for b in range(LANES):
                    z[k, i, b] += l00 * dT[j, b]


@limit
def reverse_products(dT, factors, diagonals, z_bar, factors_bar, means_bar, diagonals_bar, k):
    """What z_bar (d x lanes) adds to the cotangents of component k."""
    d = dT.shape[0]
    for i in range(d):
        s = 0.0
        t = 0.0
        for b in range(LANES):
            s += z_bar[i, b] * dT[i, b]
            t += z_bar[i, b]
        diagonals_bar[k, i] += s
        means_bar[k, i] -= t * diagonals[k, i]
    for half in range(d // 2):
        i = 2 * half
        for quarter in range(d // 4):
            j = 4 * quarter
            l00 = factors[k, i, j]
            l01 = factors[k, i, j + 1]
            l02 = factors[k, i, j + 2]
            l03 = factors[k, i, j + 3]
            l10 = factors[k, i + 1, j]
            l11 = factors[k, i + 1, j + 1]
            l12 = factors[k, i + 1, j + 2]
            l13 = factors[k, i + 1, j + 3]
            a00 = a01 = a02 = a03 = 0.0
            a10 = a11 = a12 = a13 = 0.0
            m0 = m1 = m2 = m3 = 0.0
            for b in range(LANES):
                u = z_bar[i, b]
                v = z_bar[i + 1, b]
                d0 = dT[j, b]
                d1 = dT[j + 1, b]
                d2 = dT[j + 2, b]
                d3 = dT[j + 3, b]
                a00 += u * d0
                a01 += u * d1
                a02 += u * d2
                a03 += u * d3
                a10 += v * d0
                a11 += v * d1
                a12 += v * d2
                a13 += v * d3
                m0 += l00 * u + l10 * v
                m1 += l01 * u + l11 * v
                m2 += l02 * u + l12 * v
                m3 += l03 * u + l13 * v
            factors_bar[k, i, j] += a00
            factors_bar[k, i, j + 1] += a01
            factors_bar[k, i, j + 2] += a02
            factors_bar[k, i, j + 3] += a03
            factors_bar[k, i + 1, j] += a10
            factors_bar[k, i + 1, j + 1] += a11
            factors_bar[k, i + 1, j + 2] += a12
            factors_bar[k, i + 1, j + 3] += a13
            means_bar[k, j] -= m0
            means_bar[k, j + 1] -= m1
            means_bar[k, j + 2] -= m2
            means_bar[k, j + 3] -= m3
        for j in range(d // 4 * 4, d):
            l00 = factors[k, i, j]
            l10 = factors[k, i + 1, j]
            a00 = a10 = m0 = 0.0
            for b in range(LANES):
                u = z_bar[i, b]
                v = z_bar[i + 1, b]
                a00 += u * dT[j, b]
                a10 += v * dT[j, b]
                m0 += l00 * u + l10 * v
            factors_bar[k, i, j] += a00
            factors_bar[k, i + 1, j] += a10
            means_bar[k, j] -= m0
    for i in range(d // 2 * 2, d):
        for j in range(d):
            l00 = factors[k, i, j]
            a00 = m0 = 0.0
            for b in range(LANES):
                a00 += z_bar[i, b] * dT[j, b]
                m0 += l00 * z_bar[i, b]
            factors_bar[k, i, j] += a00
            means_bar[k, j] -= m0


@limit
def differences(x_T, means, k, dT):
    for j in range(x_T.shape[0]):
        m = means[k, j]
        for b in range(LANES):
            dT[j, b] = x_T[j, b] - m


@limit
def log_likelihood_adjoint(alphas, means, log_diagonals, factors, x):
    """Blocks of rows of x in lanes; lanes past the last row carry weight zero."""
    n, d = x.shape
    count = alphas.shape[0]
    alphas_bar = np.zeros(count)
    means_bar = np.zeros((count, d))
    diagonals_bar = np.zeros((count, d))
    factors_bar = np.zeros((count, d, d))
    diagonals = np.empty((count, d))
    offset = np.empty(count)
    prior = 0.0
    for k in range(count):
        s = 0.0
        for i in range(d):
            q = log_diagonals[k, i]
            s += q
            diagonals[k, i] = exp(q)
            prior += 0.5 * diagonals[k, i] * diagonals[k, i] - q
            for j in range(d):
                prior += 0.5 * factors[k, i, j] * factors[k, i, j]
        offset[k] = alphas[k] + s
    top_alpha = -np.inf
    for k in range(count):
        top_alpha = max(top_alpha, alphas[k])
    total_alpha = 0.0
    for k in range(count):
        total_alpha += exp(alphas[k] - top_alpha)
    value = -prior - n * (top_alpha + log(total_alpha))
    x_T = np.empty((d, LANES))
    dT = np.empty((d, LANES))
    z = np.empty((count, d, LANES))
    z_bar = np.empty((d, LANES))
    weight = np.empty((count, LANES))
    top = np.empty(LANES)
    total = np.empty(LANES)
    for blk in range((n + LANES - 1) // LANES):
        first = blk * LANES
        size = min(LANES, n - first)
        for b in range(size):
            for j in range(d):
                x_T[j, b] = x[first + b, j]
        for b in range(size, LANES):
            for j in range(d):
                x_T[j, b] = x[first, j]
        # forward
        for b in range(LANES):
            top[b] = -np.inf
        for k in range(count):
            differences(x_T, means, k, dT)
            forward_products(dT, factors, diagonals, z, k)
            for b in range(LANES):
                weight[k, b] = 0.0
            for i in range(d):
                for b in range(LANES):
                    weight[k, b] += z[k, i, b] * z[k, i, b]
            for b in range(LANES):
                term = offset[k] - 0.5 * weight[k, b]
                weight[k, b] = term
                top[b] = term if term > top[b] else top[b]
        for b in range(LANES):
            total[b] = 0.0
        for k in range(count):
            for b in range(LANES):
                e = exp(weight[k, b] - top[b])
                weight[k, b] = e
                total[b] += e
        for b in range(size):
            value += top[b] + log(total[b])
        for b in range(LANES):
            total[b] = 1.0 / total[b] if b < size else 0.0
        # reverse
        for k in range(count):
            s = 0.0
            for b in range(LANES):
                w = weight[k, b] * total[b]
                weight[k, b] = w
                s += w
            alphas_bar[k] += s
            differences(x_T, means, k, dT)
            for i in range(d):
                for b in range(LANES):
                    z_bar[i, b] = -weight[k, b] * z[k, i, b]
            reverse_products(
                dT, factors, diagonals, z_bar, factors_bar, means_bar, diagonals_bar, k
            )
    for k in range(count):
        s = alphas_bar[k]
        for i in range(d):
            e = diagonals[k, i]
            diagonals_bar[k, i] = e * (diagonals_bar[k, i] - e) + s + 1.0
            for j in range(d):
                factors_bar[k, i, j] -= factors[k, i, j]
        alphas_bar[k] = s - n * exp(alphas[k] - top_alpha) / total_alpha
    return value, (alphas_bar, means_bar, diagonals_bar, factors_bar)


def inputs(n, k, d):
    rng = np.random.default_rng(4)
    factors = 0.3 * np.tril(rng.standard_normal((k, d, d)), -1)
    return (
        rng.standard_normal(k),
        rng.standard_normal((k, d)),
        0.2 * rng.standard_normal((k, d)),
        factors,
        rng.standard_normal((n, d)),
    )


CASES = [
    Case(
        name="mixture d=10 k=25 n=1000",
        function=log_likelihood,
        argnums=(0, 1, 2, 3),
        inputs=partial(inputs, 1000, 25, 10),
        limit=log_likelihood_adjoint,
        tiny=partial(inputs, 70, 11, 9),
        sized=lambda extra: inputs(100 + extra, 9 + extra, 10 + extra),
        texts={"casadi": log_likelihood_by_component},
        memory=partial(inputs, 20_000, 25, 10),
        temporary=20_000 * 25 * 10 * 8,
    ),
]
