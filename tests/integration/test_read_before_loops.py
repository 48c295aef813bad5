"""An array that a loop goes on with is read first by whoever reads what it was before the loop."""

import numpy as np

import tracegrad as tg


def test_value():
    @tg.jit
    def function(x, c):
        z = c * 0.5
        a = z * np.cos(x)
        for _ in range(len(x) - 1):
            z = z * 0.5 + 0.1
        return a, z

    for size in (3, 5, 40):
        x, c = np.random.default_rng(size).normal(size=(2, size))
        for found, wanted in zip(function(x, c), function.py_func(x, c), strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_cotangent():
    def loss(x, y, c):
        s, z = 0.3 * x[0], np.tanh(y) * 0.5
        table = np.zeros((len(x), 3))
        table[:, 0] = x
        for _ in range(len(x) - 2, 0, -1):
            z = x * 0.5
        return np.sum((np.sin(x) * s + z * s + table[:, 1]) * c)

    for size in (3, 5, 12):
        x, y, c = np.random.default_rng(size).normal(size=(3, size))
        x_bar = tg.grad(loss)(x, y, c)
        wanted = 0.3 * x[0] * c * (np.cos(x) + 0.5)
        wanted[0] += 0.3 * np.sum(c * (np.sin(x) + 0.5 * x))
        np.testing.assert_allclose(x_bar, wanted, rtol=1e-12)
