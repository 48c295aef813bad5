"""Integers that run over 64 bits: nothing is read or written outside an array."""

import numpy as np
import pytest

import tracegrad as tg

MOST = 2**63 - 1
X = np.arange(1.0, 8.0)


def after_an_argument(x, i, n):
    y = np.zeros(7)
    for k in range(n):
        if i >= 0:
            j = i + k
            if j < 7:
                y[j] += x[j]
    return y


def after_an_argument_in_rows(x, i, n):
    y = np.zeros(7)
    for k in range(n):
        for m in range(n):
            j = k * i + m
            if i > 0 and j < 7:
                y[j] += x[j]
    return y


@pytest.mark.parametrize("function", [after_an_argument, after_an_argument_in_rows])
@pytest.mark.parametrize("number", [int, np.int64])
@pytest.mark.parametrize("i", [2, MOST, MOST - 1, 2**62])
def test_a_sum_with_an_argument(function, number, i):
    compiled = tg.jit(function)
    try:
        found = compiled(X, number(i), 20)
    except IndexError:
        assert i > 7  # it ran over, to what is no index
    else:
        np.testing.assert_array_equal(found, function(X, i, 20))


def test_a_range_from_what_runs_over():
    def f(x, i, n):
        total = 0.0
        for k in range(i * 3 * 2**61, n):
            if i > 0:
                total += x[k]
        return total

    with pytest.raises(tg.errors.ArgumentError, match="too large"):
        tg.jit(f)(X, 2, 5)


def wrapped(values):
    """Of Python's integers, the ones of 64 bits."""
    return [(v + 2**63) % 2**64 - 2**63 for v in values]


def test_a_multiple_of_an_index():
    @tg.jit
    def f(x, n):
        found = np.zeros(n)
        for i in range(n):
            k = i * 4611686018427387904 + 4611686018427387904
            if 0 <= k < 7:
                found[i] = x[k]
            elif k < 0:
                found[i] = -1.0
        return found

    places = wrapped([i * 2**62 + 2**62 for i in range(30)])
    expected = [X[k] if 0 <= k < 7 else -1.0 if k < 0 else 0.0 for k in places]
    np.testing.assert_array_equal(f(X, 30), expected)


def test_a_generator_of_random_numbers():
    @tg.jit
    def f(x, n):
        found = np.zeros(n)
        for i in range(n):
            found[i] = x[(i * 6364136223846793005 + 1442695040888963407) % 5]
        return found

    places = [
        k % 5 for k in wrapped(i * 6364136223846793005 + 1442695040888963407 for i in range(200))
    ]
    np.testing.assert_array_equal(f(X, 200), X[places])


def test_numbers_that_grow():
    @tg.jit
    def f(x, n):
        found, a, b = np.zeros(n), 0, 1
        for i in range(n):
            if 0 <= a < 7:
                found[i] = x[a]
            a, b = b, a + b
        return found

    a, b, expected = 0, 1, []
    for _ in range(300):
        expected.append(X[a] if 0 <= a < 7 else 0.0)
        a, b = b, wrapped([a + b])[0]
    np.testing.assert_array_equal(f(X, 300), expected)


def test_what_is_asked_of_the_arguments():
    def f(x, i, n):
        return x * 2.0 if i + n < 7 else x

    assert tg.jit(f)(1.0, 3, 3) == 2.0
    with pytest.raises(tg.errors.ArgumentError, match="too large"):
        tg.jit(f)(1.0, MOST, 3)


@pytest.mark.parametrize("t", [np.nan, np.inf, -np.inf, 1e300, -1e300, 2.0**63])
def test_a_float_that_is_no_integer(t):
    def f(x, t):
        total = 0.0
        for k in range(3):
            total += x[int(t * (k + 1))]
        return total

    with pytest.raises(IndexError, match=r"out of bounds.*test_large_integers"):
        tg.jit(f)(X, t)
