"""Arrays that are written over what is computed from them, cleared places, and buffers of trips."""

import numpy as np
import pytest

import tracegrad as tg
from tests.schedule.region_programs import numbers
from tests.schedule.test_windows import allocations, assert_windows_agree, counting, opened, written
from tracegrad import ops
from tracegrad.ir.types import i64, symbol
from tracegrad.ops.access import slice_, view_of, zeros
from tracegrad.ops.constants import dim_value
from tracegrad.ops.control import for_loop
from tracegrad.testing.numerics import assert_close, numerical_jvp

n = symbol("n")


# --- read before they are written over --------------------------------------------------------


@pytest.mark.parametrize("write", [ops.update, ops.accumulate])
@pytest.mark.parametrize(("start", "buffers"), [(0, 2), (1, 1), (2, 1)])
def test_elements_further_on_may_be_read_for_what_is_written(write, start, buffers):
    """``x[1:-1] = x[2:]`` needs no array between, and ``x[1:-1] = x[:-2]`` needs one."""

    def make(x):
        def trip(t, x):
            there = slice_(x, 0, start, start + n - 2)
            return [write(x, there * 2.0 + slice_(x, 0, 1, n - 1), counting(1, n - 2))]

        return for_loop(0, 3, [x * 1.0], trip)

    assert len(allocations(make, (n,))) == buffers
    given = [(numbers(k),) for k in (3, 4, 7, 40)]
    assert_windows_agree(make, (n,), arguments=given, least=3, compiled=True)


def test_what_is_written_backwards_needs_an_array_between():
    """``x[-2:0:-1] = x[2:]``"""

    def make(x):
        def trip(t, x):
            back = dim_value(n - 2) - ops.iota(size=n - 2, dtype=i64)
            return [ops.update(x, slice_(x, 0, 2, n) * 2.0, back)]

        return for_loop(0, 3, [x * 1.0], trip)

    assert len(allocations(make, (n,))) == 2
    assert_windows_agree(make, (n,), arguments=[(numbers(k),) for k in (3, 4, 9)], least=3)


def test_what_is_read_backwards_needs_an_array_between():
    def make(x):
        def trip(t, x):
            return [ops.update(x, view_of(x, (n - 2,), [(0, n - 1, -1)]), counting(1, n - 2))]

        return for_loop(0, 3, [x * 1.0], trip)

    assert len(allocations(make, (n,))) == 2
    assert_windows_agree(make, (n,), arguments=[(numbers(k),) for k in (3, 4, 9)], least=3)


def test_what_else_is_read_of_the_array_afterwards_is_read_before():
    """The sum reads the elements that the loop has written over."""

    def make(x):
        def trip(t, x, total):
            there = slice_(x, 0, 2, n)
            new = ops.update(x, there * 0.5, counting(1, n - 2))
            return [new, total + ops.sum(there * slice_(x, 0, 0, n - 2), axes=(0,))]

        return for_loop(0, 3, [x * 1.0, ops.sum(x, axes=(0,))], trip)

    assert_windows_agree(make, (n,), arguments=[(numbers(k),) for k in (3, 4, 9)], least=3)


# --- added to what was cleared ----------------------------------------------------------------


def cleared(places, *, also=False):
    """A trip that sets ``places`` of x to zero and then adds to them."""

    def make(x, v):
        def trip(t, x, s):
            at = places()
            old = ops.index(x, at)
            zero = ops.update(x, zeros(old.shape), at)
            s = s + ops.index(zero, dim_value(0)) if also else s
            return [ops.accumulate(zero, old * 0.5 + slice_(v, 0, 0, old.shape[0]), at), s]

        return for_loop(0, 3, [x * 1.0, ops.sum(x, axes=(0,))], trip)

    return make


def test_adding_to_cleared_places_is_writing_to_them():
    half = cleared(lambda: counting(1, n - 12))
    _, w = opened(half, (n,), (n,), least=12)
    assert written(w) == ["update"]
    assert len(allocations(half, (n,), (n,), least=12)) == 1
    given = [(numbers(k), numbers(k, seed=1)) for k in (12, 13, 30)]
    assert_windows_agree(half, (n,), (n,), arguments=given, least=12, compiled=True)


@pytest.mark.parametrize(
    "make",
    [
        cleared(lambda: counting(-1, n - 12)),  # the last element, then the first ones
        cleared(lambda: view_of(dim_value(2), (n - 12,), [])),  # one place, again and again
        cleared(lambda: counting(0, n - 12), also=True),  # somebody reads the zeros
    ],
)
def test_other_additions_to_cleared_places_stay(make):
    _, w = opened(make, (n,), (n,), least=14)
    assert "accumulate" in written(w)
    given = [(numbers(k), numbers(k, seed=1)) for k in (14, 15, 30)]
    assert_windows_agree(make, (n,), (n,), arguments=given, least=14)


def test_what_a_raise_keeps_from_being_read_is_not_read_where_places_are_cleared():
    def f(x, k):
        v = x * 1.0
        total = 0.0
        for i in range(3):
            v[:3] = 0.0
            if k[i] >= len(x):
                raise ValueError("beyond the end")
            v[:3] += np.sin(x[k[i]]) * x[1:4]
            total += np.sum(v * x)
        return total

    with pytest.raises(ValueError, match="beyond the end"):
        tg.grad(f)(np.linspace(0.1, 0.7, 7), np.array([2, 9, 0]))


# --- buffers of trips -------------------------------------------------------------------------


def tree(payoff, p):
    """Rows that get shorter, in place."""
    v = payoff.copy()
    for left in range(len(payoff) - 1, 0, -1):
        v[:left] = np.maximum(p * v[1 : left + 1] + (1.0 - p) * v[:left], 0.9 * payoff[:left])
    return v[0]


def prefixes(x, p):
    """Rows that get longer."""
    total = 0.0
    for k in range(1, len(x)):
        y = np.sin(x[:k] * p)
        total += np.sum(y * y[::-1]) / k
    return total


def doubled(x, p):
    """What is at most twice as long as an argument."""
    total = 0.0
    for k in range(1, len(x)):
        y = np.zeros(2 * k)
        y[:k] = x[:k] * p
        y[k:] = x[k::-1][:k] * y[:k]
        total += np.sum(y * y[::-1])
    return total


@pytest.mark.parametrize("function", [tree, prefixes, doubled])
def test_buffers_of_trips_are_made_before_the_loop(function):
    """As long as the longest, and right for every length."""
    g = tg.value_and_grad(function, argnums=(0, 1))
    for size in (6, 2, 17):
        x = np.random.default_rng(size).normal(size=size)
        x_dot = np.cos(np.arange(size) + 1.0)
        value, (x_bar, p_bar) = g(x, 0.4)
        assert_close(value, function(x, 0.4), 1e-12, "value")
        expected = numerical_jvp(function, (x, 0.4), (x_dot, 0.7))
        assert_close(x_bar @ x_dot + 0.7 * p_bar, expected, 1e-6, "gradient")
    inside = [line for line in g.inspect_source().splitlines() if line.startswith(" " * 8)]
    assert not any("np.empty" in line or "np.zeros" in line for line in inside)


def test_a_buffer_whose_greatest_length_only_data_know_is_made_where_it_is():
    @tg.value_and_grad
    def f(x, lengths):
        total = 0.0
        for k in range(lengths.shape[0]):
            y = np.exp(x[: lengths[k]])
            total += np.sum(y * y[::-1])
        return total

    x = np.linspace(0.1, 0.9, 7)
    for lengths in ([3, 0, 7, 20], [-2, 1]):
        lengths = np.array(lengths)
        x_dot = np.cos(x * 9.0)
        value, x_bar = f(x, lengths)
        expected = numerical_jvp(lambda x: f.py_func(x, lengths), (x,), (x_dot,))  # noqa: B023  # called here
        assert_close(value, f.py_func(x, lengths), 1e-12, "value")
        assert_close(x_bar @ x_dot, expected, 1e-6, "gradient")
