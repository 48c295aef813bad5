"""Sizes: one kernel for all of them, guards where the program depends on them."""

import numpy as np
import pytest

import tracegrad as tg
from tracegrad.errors import TracegradError

rng = np.random.default_rng(0)


def test_thirty_sizes_are_one_version():
    def loss(w, X, y):
        z = X @ w
        return np.mean(np.log1p(np.exp(-y * z))) + 0.1 * np.sum(w[1:] * w[:-1])

    f = tg.value_and_grad(loss)
    for n in range(9, 39):
        w, X, y = rng.normal(size=n), rng.normal(size=(2 * n, n)), rng.normal(size=2 * n)
        value, w_bar = f(w, X, y)
        assert value == pytest.approx(loss(w, X, y))
        assert w_bar.shape == (n,)
    assert len(f.signatures) == 1


def test_sizes_0_1_and_2_run_in_the_same_version():
    f = tg.value_and_grad(lambda x: np.sum(np.sin(x[::-1]) * x) + np.sum(x[:, None] * x[None, :]))
    for n in (5, 0, 1, 2, 17):
        x = rng.normal(size=n)
        value, bar = f(x)
        assert value == pytest.approx(np.sum(np.sin(x[::-1]) * x) + np.sum(x) ** 2)
        expected = np.cos(x) * x[::-1] + np.sin(x[::-1]) + 2 * np.sum(x)
        np.testing.assert_allclose(bar, expected)
    assert len(f.signatures) == 1


def test_a_size_of_1_that_broadcast_is_a_version_of_its_own():
    f = tg.grad(lambda x, y: np.sum(x * y * y))
    a, b, one = rng.normal(size=4), rng.normal(size=4), rng.normal(size=1)
    for _ in range(2):
        np.testing.assert_allclose(f(a, b), b * b)
        np.testing.assert_allclose(f(a, one), np.full(4, one[0] ** 2))
        np.testing.assert_allclose(f(one, b), [np.sum(b * b)])
        np.testing.assert_allclose(f(one, one), one * one)
        np.testing.assert_allclose(f(b, a), a * a)
        np.testing.assert_allclose(f(np.zeros(0), one), np.zeros(0))
        np.testing.assert_allclose(f(one, np.zeros(0)), [0.0])
        with pytest.raises(ValueError, match=r"could not be broadcast together .*\(4,\) .*\(3,\)"):
            f(a, np.zeros(3))
    count = len(f.signatures)
    f(a, b), f(a, one), f(one, b)
    assert len(f.signatures) == count


def test_equal_sizes_that_differ_later():
    def f(x, y):
        return np.sum(x[:, None] * y[None, :]) + np.sum(x**2) * y.shape[0]

    g = tg.grad(f)
    for n, m in ((5, 5), (5, 6), (6, 5), (3, 3), (1, 4), (4, 1), (0, 3)):
        x, y = rng.normal(size=n), rng.normal(size=m)
        np.testing.assert_allclose(g(x, y), np.sum(y) + 2 * x * m)
    assert len(g.signatures) == 1


def test_small_dimensions_that_change():
    g = tg.grad(lambda x, w: np.sum((x @ w) ** 2))
    for width in (3, 4, 20, 3, 1, 2, 0, 9):
        x, w = rng.normal(size=(6, width)), rng.normal(size=width)
        np.testing.assert_allclose(g(x, w), 2 * np.outer(x @ w, w))
    assert len(g.signatures) <= 3


def test_python_reads_a_size():
    def f(x):
        if x.shape[0] > 4:
            return np.sum(x) / len(x)
        total = 0.0
        for i in range(x.shape[0]):
            total = total + x[i] ** 2
        return total

    g = tg.grad(f)
    for n in (2, 6, 3, 100, 4, 2, 5):
        x = rng.normal(size=n)
        expected = np.full(n, 1 / n) if n > 4 else 2 * x
        np.testing.assert_allclose(g(x), expected)


def test_an_int_argument_is_symbolic_until_python_needs_it():
    def f(x, n):
        return np.sum(x[:n] ** 2) * n

    g = tg.grad(f)
    x = rng.normal(size=10)
    for n in (3, 4, 9, 0, 10, 12, -2, -10, -20, 3):
        expected = np.zeros(10)
        expected[:n] = 2 * x[:n] * n
        np.testing.assert_allclose(g(x, n), expected)

    def power(x, n):
        return np.sum(x**n)

    h = tg.grad(power)
    for n in (2, 3, 0, 1, 5):
        np.testing.assert_allclose(h(x, n), n * x ** (n - 1) if n else np.zeros(10))


def test_a_step_from_an_argument():
    g = tg.grad(lambda x, k: np.sum(x[::k] ** 2))
    x = rng.normal(size=10)
    for k in (1, 2, 3, -1, -2, 20, 2):
        expected = np.zeros(10)
        expected[::k] = 2 * x[::k]
        np.testing.assert_allclose(g(x, k), expected)


def test_an_index_from_an_argument():
    g = tg.grad(lambda x, k: x[k] ** 2)
    x = rng.normal(size=5)
    for k in (0, 4, -1, -5, 2):
        expected = np.zeros(5)
        expected[k] = 2 * x[k]
        np.testing.assert_allclose(g(x, k), expected)
    for k in (5, -6, 100):
        with pytest.raises(IndexError, match="out of bounds"):
            g(x, k)
    np.testing.assert_allclose(g(x, 1), [0, 2 * x[1], 0, 0, 0])


@pytest.mark.parametrize("form", ["gather", "scalar", "take", "pairs", "mask"])
def test_no_index_reads_outside(form):
    def f(x, i):
        if form == "gather":
            return np.sum(x[i])
        if form == "scalar":
            return np.sum(x[i[0], i[1]])
        if form == "take":
            return np.sum(np.take(x, i, axis=1))
        if form == "pairs":
            return np.sum(x[i, i[::-1]])
        return np.sum(x[i > 0])

    g = tg.value_and_grad(f)
    x = rng.normal(size=(3, 3))
    for i in ([0, 1, 2], [-1, -3, 0]):
        i = np.array(i)
        assert g(x, i)[0] == pytest.approx(f(x, i))
    if form == "mask":
        with pytest.raises(IndexError):
            g(x, np.array([1, 0, 1, 1]))
        return
    for bad in (3, -4, 10**12, -(2**63)):
        i = np.array([bad, 0, 1])
        with pytest.raises(IndexError):
            f(x, i)
        with pytest.raises(IndexError, match="out of bounds"):
            g(x, i)
    assert g(x, np.array([0, 1, 2]))[0] == pytest.approx(f(x, np.array([0, 1, 2])))


def test_an_index_into_nothing():
    g = tg.value_and_grad(lambda x, i: np.sum(x[i]))
    value, bar = g(np.zeros(0), np.zeros(0, dtype=int))
    assert value == 0.0
    assert bar.shape == (0,)
    with pytest.raises(IndexError):
        g(np.zeros(0), np.zeros(1, dtype=int))


def test_extrema_of_nothing_raise_as_numpys_do():
    g = tg.grad(lambda x: np.max(x))
    np.testing.assert_allclose(g(np.array([1.0, 3.0])), [0.0, 1.0])
    with pytest.raises(ValueError, match="zero-size array"):
        g(np.zeros(0))
    np.testing.assert_allclose(g(np.array([1.0, 3.0, 2.0])), [0.0, 1.0, 0.0])


def test_reshapes_by_a_size_that_must_divide():
    g = tg.grad(lambda x: np.sum(x.reshape(2, -1)[0] ** 2))
    for n in (10, 4, 2, 0):
        x = rng.normal(size=n)
        expected = np.zeros(n)
        expected[: n // 2] = 2 * x[: n // 2]
        np.testing.assert_allclose(g(x), expected)
    with pytest.raises(ValueError, match="cannot reshape array of size 5"):
        g(np.zeros(5))


def test_pairs_of_neighbours_at_every_size():
    f = tg.value_and_grad(lambda x: np.sum((x[1:] - x[:-1]) ** 2) + np.sum(x[::2]) * x.shape[0])
    for n in (6, 7, 1, 2, 3, 50):
        x = rng.normal(size=n)
        value, bar = f(x)
        assert value == pytest.approx(np.sum(np.diff(x) ** 2) + np.sum(x[::2]) * n)
        expected = np.zeros(n)
        expected[1:] += 2 * np.diff(x)
        expected[:-1] -= 2 * np.diff(x)
        expected[::2] += n
        np.testing.assert_allclose(bar, expected)


def test_even_and_odd_halves():
    f = tg.grad(lambda x: np.sum(x[::2] * x[1::2]))
    for n in (6, 8, 2, 0):
        x = rng.normal(size=n)
        expected = np.zeros(n)
        expected[::2], expected[1::2] = x[1::2], x[::2]
        np.testing.assert_allclose(f(x), expected)
    for n in (7, 5):
        with pytest.raises(ValueError, match="could not be broadcast"):
            f(np.zeros(n))
    x = rng.normal(size=3)  # here one half has size 1, which NumPy repeats
    np.testing.assert_allclose(f(x), [x[1], x[0] + x[2], x[1]])


def test_sizes_that_fit_only_by_their_product():
    g = tg.grad(lambda x, y: np.sum(x.ravel() * y))
    for a, b in ((3, 4), (6, 2), (12, 1), (9, 10), (0, 5)):
        x, y = rng.normal(size=(a, b)), rng.normal(size=a * b)
        np.testing.assert_allclose(g(x, y), y.reshape(a, b))


def test_min_of_two_sizes():
    g = tg.grad(lambda x, y: np.sum(np.diag(x) * y))
    for a, b in ((3, 4), (4, 3), (1, 5), (5, 1), (10, 12), (3, 3)):
        x, y = rng.normal(size=(a, b)), rng.normal(size=min(a, b))
        expected = np.zeros((a, b))
        np.fill_diagonal(expected, y)
        np.testing.assert_allclose(g(x, y), expected)
    x, y = rng.normal(size=(1, 4)), rng.normal(size=6)  # one element, repeated
    np.testing.assert_allclose(g(x, y), [[np.sum(y), 0, 0, 0]])


def test_masks_of_every_count():
    f = tg.value_and_grad(lambda x: np.mean(x[x > 0] ** 2) + np.sum(x[x <= 0]))
    for x in (np.array([1.0, -1.0, 2.0]), np.array([1.0]), rng.normal(size=50), np.ones(3)):
        value, bar = f(x)
        positive = x > 0
        assert value == pytest.approx(np.mean(x[positive] ** 2) + np.sum(x[~positive]))
        np.testing.assert_allclose(bar, np.where(positive, 2 * x / positive.sum(), 1.0))
    with np.errstate(all="ignore"):
        value, bar = f(np.array([-1.0, -2.0]))
    assert np.isnan(value)
    np.testing.assert_allclose(bar, [1.0, 1.0])


def test_a_failed_call_leaves_the_others_usable():
    g = tg.grad(lambda x, y: np.sum(x @ y))
    x, y = rng.normal(size=(10, 12)), rng.normal(size=(12, 11))
    expected = np.broadcast_to(y.sum(axis=1), (10, 12))
    for _ in range(3):
        np.testing.assert_allclose(g(x, y), expected)
        with pytest.raises(ValueError, match="mismatch in its core dimension"):
            g(x, y.T)
        with pytest.raises((TracegradError, ValueError)):
            g(x, np.zeros(()))
