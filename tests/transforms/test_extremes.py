"""A maximum is not read from a tape to be compared with elements that are computed again."""

import numpy as np
import pytest

import tracegrad as tg


def in_a_while(x, w, b):
    k, s = 0, b * 1.0
    while k < 6 and s[0] < 1e6:
        s = s * 0.9 + np.max(x[k % x.shape[0]] * w + s * b / (1.0 + b * b))
        k += 1
    return np.sum(s)


def in_an_arm(x, w, b):
    s = w * 1.0
    for i in range(x.shape[0]):
        if s[0] > -1e3:
            s = np.tanh(x[i] * w + b * s + np.max(x[i] * s + b * w))
    return np.sum(s)


def in_a_table(x, w, b):
    d = np.zeros((x.shape[0] + 1, x.shape[1]))
    d[0] = b
    for t in range(x.shape[0]):
        for j in range(x.shape[1]):
            d[t + 1, j] = np.max(d[t] * w + x[t] * b[j] / (1.0 + w * w))
    return np.sum(d[-1])


def compared_by_the_user(x, w, b):
    s, k = w * 1.0, 0
    while k < 5:
        z = x[k % x.shape[0]] * w + b * s / (1.0 + w * w)
        least = z.min()
        s = np.tanh(z) + least * np.where(z <= least, z * w, 0.5 * s)
        k += 1
    return np.sum(s)


PROGRAMS = [in_a_while, in_an_arm, in_a_table, compared_by_the_user]


@pytest.mark.parametrize("function", PROGRAMS, ids=lambda f: f.__name__)
def test_every_maximum_is_found_among_its_elements(function):
    rng = np.random.default_rng(0)
    gradient = tg.value_and_grad(function, argnums=(0, 1, 2))
    for shape in [(6, 17), (2, 12), (8, 20), (3, 25)]:
        x, w, b = rng.normal(size=shape), *rng.normal(size=(2, shape[1]))
        value, bars = gradient(x, w, b)
        np.testing.assert_allclose(value, function(x, w, b), rtol=1e-12)
        dots = [rng.normal(size=a.shape) for a in (x, w, b)]
        _, out_dot = tg.jvp(function, (x, w, b), tuple(dots))
        along = sum(np.sum(bar * d) for bar, d in zip(bars, dots, strict=True))
        np.testing.assert_allclose(along, out_dot, rtol=1e-7)


@pytest.mark.parametrize("function", [in_a_while, in_an_arm], ids=lambda f: f.__name__)
def test_no_tape_holds_the_maximum(function):
    x = np.random.default_rng(0).normal(size=(6, 17))
    gradient = tg.grad(function, argnums=(0, 1, 2))
    gradient(x, *x[:2])
    text = gradient.inspect_source()
    assert "residual of np.max" not in text


def test_a_maximum_of_what_is_rounded_once_is_kept():
    def function(x):
        k, s = 0, 0.1
        while k < 4:
            s = s * np.max(x - s)
            k += 1
        return s

    gradient = tg.grad(function)
    gradient(np.random.default_rng(0).normal(size=17))
    assert gradient.inspect_source().count("np.maximum") == 1
