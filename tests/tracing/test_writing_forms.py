"""Functions that write at places: ``ufunc.at``, put, place, putmask, fill_diagonal, flat."""

import numpy as np
import pytest

import tracegrad as tg
from tests.tracing.conftest import check

x = np.array([0.61, -1.17, 0.83, -0.27, 1.91])
y = np.array([-0.53, 0.79, 1.37, -0.71, 0.41])
A = np.linspace(-1.3, 1.9, 20).reshape(4, 5)
PLACES = np.array([0, 2, 1, 1, 4])

UFUNCS = (np.multiply, np.maximum, np.minimum, np.divide, np.logaddexp, np.power, np.arctan2)


def at(ufunc, places, q, values):
    q = np.abs(q) + 0.5
    ufunc.at(q, places, np.abs(values) + 0.4)
    return q


@pytest.mark.parametrize("ufunc", UFUNCS, ids=lambda u: u.__name__)
def test_at_applies_a_ufunc_place_by_place(ufunc):
    check(lambda q, v: at(ufunc, PLACES, q, v), x, y)
    check(lambda q, v: at(ufunc, (PLACES[:3], [2, 2, 0]), q, v), A, y[:3])
    check(lambda q, v: at(ufunc, (slice(None), [2, 0, 2]), q, v), A, y[:3])
    check(lambda q, v: at(ufunc, 1, q, v), A, y)
    check(lambda q, v: at(ufunc, v > 0, q, v[v > 0]), x, y)


@pytest.mark.parametrize("ufunc", UFUNCS[:3], ids=lambda u: u.__name__)
def test_the_derivatives_of_at_count_every_visit(ufunc):
    places = np.array([0, 2, 0, 2, 2])
    tg.check_grads(lambda q, v: np.sum(np.sin(at(ufunc, places, q, v))), (x, y), order=2)


def test_at_of_a_ufunc_of_one_operand():
    def f(q):
        q = q * 1.0
        np.negative.at(q, [0, 1, 0])
        np.exp.at(q, [1, 1])
        return q

    check(f, x)
    tg.check_grads(lambda q: np.sum(f(q) ** 2), (x,))


def put(q, v):
    np.put(q, [0, 9], v[:2], mode="wrap")


def put_clipped(q, v):
    np.put(q, [0, 99], v[0], mode="clip")


def put_again(q, v):
    np.put(q, [0, 1, 2], v[:2])


def place(q, v):
    np.place(arr=q, mask=q > 0, vals=v[:2])


def putmask(q, v):
    np.putmask(q, q > 0, v[:3])


def diagonal(q, v):
    np.fill_diagonal(q, v[:2])


def wrapped(q, v):
    np.fill_diagonal(q, v, wrap=True)


def flat(q, v):
    q.flat[3] = v[0]
    q.T.flat[1] = v[1]


def all_flat(q, v):
    q.flat = v


WRITERS = (put, put_clipped, put_again, place, putmask, diagonal, wrapped, flat, all_flat)


@pytest.mark.parametrize("write", WRITERS)
def test_values_that_are_written_start_again_and_get_their_cotangents(write):
    def f(q, v):
        q = np.concatenate([q, q]) * 2.0
        write(q, v)
        return np.sin(q)

    check(f, A, y)
    tg.check_grads(lambda q, v: np.sum(f(q, v)), (A, y))


def test_counts_decide_how_often_an_element_counts():
    counts = np.array([0, 3, 1, 2, 0])
    f = tg.value_and_grad(lambda x, n: np.sum(np.repeat(x, n) ** 2))
    value, x_bar = f(x, counts)
    assert np.isclose(value, np.sum(counts * x**2))
    assert np.allclose(x_bar, 2 * counts * x)
    with pytest.raises(ValueError, match="negative"):
        f(x, -counts)
    out, pullback = tg.vjp(lambda x: np.repeat(x, counts), x)
    assert np.allclose(pullback(np.ones_like(out))[0], counts)


def test_nothing_has_no_median_and_equal_values_no_slope_of_their_deviation():
    assert np.isnan(tg.jit(lambda x: np.median(x[:0]))(x))
    assert np.isnan(tg.jit(lambda x: np.nanmedian(x[:0]))(x))
    assert tg.jit(lambda x: np.logaddexp.reduce(x[:0]))(x) == -np.inf
    assert np.array_equal(tg.grad(np.std)(np.full(3, 2.0)), np.zeros(3))
    assert tg.jit(lambda x: np.var(x, ddof=9))(x) == np.inf
    with pytest.raises(NotImplementedError, match="leave dtype out"):
        tg.jit(lambda x: np.var(x, dtype=int))(x)
