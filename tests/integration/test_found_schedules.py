"""Programs that the scheduler once got wrong, each for a reason of its own."""

import numpy as np
import pytest

import tracegrad as tg
from tests.integration.stages import Stages, check


def compiled(fun, *args):
    """All stages agree with plain Python and with differences, and so does the kernel."""
    _, first = check(fun, args)
    floats = tuple(k for k, a in enumerate(args) if np.asarray(a).dtype.kind == "f")
    value, bars = tg.value_and_grad(fun, argnums=floats)(*args)
    for found, expected in zip((value, *bars), first, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


# --- loops that count down ----------------------------------------------------------------------


def test_a_place_that_an_inner_loop_counts_twice():
    """Where a place begins may be computed in the loop itself, and then is not known before it."""

    def f(x, y):
        total = 0.0
        for i in range(len(x) // 3, -1, -1):
            for k in range(len(x) // 3):
                total += x[k + (i + k)] * y[i + k]
        return total

    rng = np.random.default_rng(0)
    compiled(f, rng.normal(size=10), rng.normal(size=10))


# --- indices ------------------------------------------------------------------------------------


def of_zeros(x, places):
    zeros = np.zeros(len(x))
    total = np.sum(x)
    for i in range(len(places)):
        total += zeros[places[i]] * x[i]
    return total


def of_one_number(x, places):
    return np.sum(np.full(len(x), x[0])[places])


def of_equal_rows(x, places):
    table = np.outer(np.ones(4), x)
    return np.sum(table[places, 1] * x[0])


@pytest.mark.parametrize("fun", [of_zeros, of_one_number, of_equal_rows])
def test_an_array_of_equal_elements_has_an_end_too(fun):
    """No element is read where all are the same; whether there is one is checked nonetheless."""
    x = np.array([0.5, 0.7, 0.9, 1.1])
    compiled(fun, x, np.array([0, -4, 3]))
    for at in (4, -5):
        stages = Stages(fun, (x, np.array([0, at])))
        for run in (stages.value, stages.optimized, stages.plain):
            with pytest.raises(IndexError):
                run()
        with pytest.raises(IndexError):
            tg.grad(fun)(x, np.array([0, at]))


def test_a_row_that_another_write_may_meet_is_read_before_it():
    def f(x):
        a = x * 1.0
        m = a.shape[0]
        for i in range(m - 1):
            a[i, 1:] += 0.35 * a[i, :-1][::-1]
            a[m - 1 - i, 2:] = 0.35 * a[i + 1, :-2][::-1]
        return a

    for shape in ((2, 4), (5, 7), (6, 5)):
        x = np.random.default_rng(7).normal(size=shape)
        np.testing.assert_allclose(tg.jit(f)(x), f(x), rtol=1e-14)
        tg.check_grads(lambda x: np.sum(f(x) ** 2), (x,), order=1)
