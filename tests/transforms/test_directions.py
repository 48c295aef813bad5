"""Jacobians of loops: many directions at once, with the primal of a trip computed once."""

import numpy as np
import pytest

import tracegrad as tg
from tracegrad.transforms import jacobian as blocks

M = 3.0 * np.eye(5) + 0.3 * np.random.default_rng(1).normal(size=(5, 5))


def differences(f, x, h=1e-6):
    columns = []
    for k in range(x.size):
        step = np.zeros(x.size)
        step[k] = h
        columns.append((f(x + step) - f(x - step)) / (2.0 * h))
    return np.stack(columns, axis=-1)


def until_small(w):
    """A `while`, with a branch on what it carries."""
    s, trips = np.ones(3), 0
    while np.sum(s * s) > 1e-3 and trips < 50:
        s, trips = 0.8 * np.tanh(w[:3] * s), trips + 1
        if s[0] > 0.3:
            s = s * w[3]
        else:
            s = s + 0.01 * np.sin(w[4])
    return s


def products(w):
    """Matrices and vectors that move, at either side of a product."""
    A, x, X = np.reshape(w[:9], (3, 3)), np.ones(3), np.eye(3)
    for _ in range(4):
        x = np.tanh(A @ x) + 0.1 * (x @ A)
        X = np.sin(A @ X @ A.T) + X
    return X @ x


def systems(w):
    x, A = np.ones(5), M
    for _ in range(4):
        x = np.linalg.solve(A, np.sin(x * w[:5]))
        A = A + 0.01 * np.outer(x, w[4:9])
    return x


def arrays(w):
    """What has no form for many directions (a sort, running products) is done one by one."""
    x = w
    for _ in range(3):
        x = np.sort(np.sin(x * w)) + 0.1 * np.cumsum(x) + 0.1 * np.cumprod(x)
        x = x * np.max(x) + np.concatenate([x[1:], 2.0 * x[:1]])
    return x


def written(w):
    y = np.zeros((w.shape[0], 3))
    for i in range(w.shape[0]):
        y[i] = w[i] * np.array([1.0, 2.0, 3.0])
        y[i, 1] = np.sin(y[i - 1, 0] * w[i])
        for j in range(i):
            y[j, 2] += w[i] * w[j]
    return y.ravel()


def left_early(w):
    s, y = 0.0, np.zeros(7)
    for i in range(w.shape[0]):
        s += w[i] ** 2
        if s > 2.0:
            break
        y[i % 7] = s * w[0]
    return y


def in_segments(w):
    s = np.zeros(4)
    for _ in tg.checkpoint(range(20)):
        s = np.tanh(s * w[:4] + w[4:8])
    return s


PROGRAMS = [until_small, products, systems, arrays, written, left_early, in_segments]


@pytest.mark.parametrize("f", PROGRAMS, ids=lambda f: f.__name__)
def test_jacobian_of_a_loop(f):
    w = 0.7 * np.random.default_rng(0).normal(size=9)
    expected = differences(f, w)
    np.testing.assert_allclose(tg.jacfwd(f)(w), expected, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(tg.jacrev(f)(w), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("f", PROGRAMS, ids=lambda f: f.__name__)
def test_hessian_of_a_loop(f):
    def scalar(w):
        return np.sum(np.sin(f(w)))

    w = 0.7 * np.random.default_rng(0).normal(size=9)
    expected = differences(tg.grad(scalar), w)
    np.testing.assert_allclose(tg.hessian(scalar)(w), expected, rtol=1e-6, atol=1e-6)


def scan(w):
    s, y = 0.1, np.zeros(4)
    for t in range(30):
        a = 0.0
        for j in range(w.shape[0]):
            a += w[j] * np.sin(s + j)
        s = np.tanh(a)
        y[t % 4] += s
    return y


@pytest.mark.parametrize("n", [0, 1, 3, 9, 64, 65, 150])
def test_directions_in_blocks(n):
    w = 0.3 * np.random.default_rng(0).normal(size=n)
    expected = differences(scan, w) if n else np.zeros((4, 0))
    for verb in (tg.jacfwd, tg.jacrev):
        np.testing.assert_allclose(verb(scan)(w), expected, rtol=1e-6, atol=1e-6)


def test_a_kernel_for_few_directions_takes_many_and_the_other_way_round():
    for first, then in ((9, 200), (200, 9)):
        J = tg.jacfwd(scan)
        for n in (first, then):
            w = 0.3 * np.random.default_rng(0).normal(size=n)
            np.testing.assert_allclose(J(w), tg.jacrev(scan)(w), rtol=1e-9, atol=1e-10)


def test_values_too_large_for_the_cache_are_taken_one_direction_at_a_time(monkeypatch):
    monkeypatch.setattr(blocks, "CACHED", 30)
    w = 0.7 * np.random.default_rng(0).normal(size=9)
    J = tg.jacfwd(products)(w)
    np.testing.assert_allclose(J, differences(products, w), rtol=1e-6, atol=1e-7)


def test_the_primal_is_computed_once_per_trip():
    def wave(w):
        s = np.float64(0.1)
        for _ in range(30):
            s = np.sin(s * w[0] + w[1] * w[2] + w[3]) + w[4] * w[5] * w[6] * w[7] * w[8]
        return s

    J = tg.jacfwd(wave)
    w = 0.7 * np.random.default_rng(0).normal(size=9)
    np.testing.assert_allclose(J(w), tg.grad(wave)(w), rtol=1e-9)
    source = J.inspect_source()
    assert source.count(" sin(") == 1
    assert source.count("range(30)") == 1


def test_a_rule_within_the_loop():
    @tg.custom_vjp
    def root(a):
        return np.sqrt(a)

    root.defvjp(lambda a: (root(a), root(a)), lambda x, bar: (bar / (2.0 * x),))

    def f(w):
        s = np.ones(3)
        for _ in range(5):
            s = root(s * w[:3] ** 2 + w[6:9] ** 2 + 0.1)
        return s

    w = 0.7 * np.random.default_rng(0).normal(size=9)
    for verb in (tg.jacfwd, tg.jacrev):
        np.testing.assert_allclose(verb(f)(w), differences(f, w), rtol=1e-6, atol=1e-6)


def test_batches_and_gradients_of_jacobians():
    def norm(w):
        return np.sum(tg.jacfwd(until_small)(w) ** 2)

    w = 0.7 * np.random.default_rng(0).normal(size=(2, 9))
    each = tg.vmap(tg.jacfwd(until_small))(w)
    np.testing.assert_allclose(each[1], tg.jacrev(until_small)(w[1]), rtol=1e-9)
    np.testing.assert_allclose(tg.grad(norm)(w[0]), differences(norm, w[0]), rtol=1e-6, atol=1e-6)


def test_sparse_ones():
    def chain(x):
        y = np.zeros(x.shape[0])
        for i in range(2, x.shape[0]):
            y[i] = np.sin(x[i] * x[i - 1]) + x[i - 2] ** 2
        return y

    def wide(x):
        y = np.zeros(4)
        for i in range(x.shape[0]):
            y[0] += np.sin(x[i] * i)
            y[1 + i % 3] += x[i] ** 2
        return y

    for f, n in ((chain, 12), (wide, 21), (wide, 80)):
        x = np.random.default_rng(0).normal(size=n)
        for name in ("jacfwd", "jacrev"):
            found = getattr(tg, name)(f, sparse=True)(x).toarray()
            np.testing.assert_allclose(found, differences(f, x), rtol=1e-6, atol=1e-6)

    def total(x):
        return np.sum(wide(x) ** 2)

    x = np.random.default_rng(0).normal(size=21)
    H = tg.hessian(total, sparse=True)(x).toarray()
    np.testing.assert_allclose(H, tg.hessian(total)(x), rtol=1e-9, atol=1e-9)
