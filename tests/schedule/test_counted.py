"""Where loops that count from zero begin: places that are not negative, and are said not to be."""

import numpy as np
import pytest

import tracegrad as tg
from tests.schedule.support import scheduled
from tracegrad.ir.interpreter import evaluate

LATER = """
func @f(%x: f64[n], %y: f64[n]) -> (f64[n])
  guards n >= 1
{{
  %lo: i64 = {lo}
  %hi: i64 = dim() {{size={hi}}}
  %step: i64 = {step}
  %r: f64[n] = for(%lo, %hi, %step, %y) (%t: i64, %c: f64[n]) {{
    %k: i64 = bind(%t) {{size=k}}
    %a: f64[{count}] = view(%x) {{shape=({count},), map=[{place}]}}
    %b: f64[{count}] = tanh(%a)
    %s: f64 = sum(%b) {{axes=(0,)}}
    %d: f64[n] = update(%c, %s, %t)
    yield %d
  }}
  return %r
}}
"""


def told(loops):
    """How often it is said that a place is not negative."""
    return sum(op.name == "maximum" and op.result.dtype.is_integer for op in loops.walk())


PLACES = {
    # What is read in trip k, its length, and how often something is told of it.
    "#0 + n - 1 - k": ("k + 1", lambda x, k: x[len(x) - 1 - k :], 1),
    "2*#0 + n - 1 - k": ("(k + 2)//2", lambda x, k: x[len(x) - 1 - k :: 2], 1),
    # These are sums of what counts up, or go back.
    "#0 + k": ("n - k", lambda x, k: x[k:], 0),
    "-#0 + n - 1 - k": ("n - k", lambda x, k: x[: len(x) - k], 0),
    "#0": ("k + 1", lambda x, k: x[: k + 1], 0),
}


@pytest.mark.parametrize("place", PLACES)
def test_what_an_index_leaves_of_a_size_is_told(place):
    count, read, expected = PLACES[place]
    text = LATER.format(lo=0, hi="n", step=1, place=place, count=count)
    loops = scheduled(text)
    assert told(loops) == expected
    for n in (1, 2, 9):
        x = np.linspace(-1.0, 1.0, n)
        (found,) = evaluate(loops, x, np.zeros(n))
        np.testing.assert_allclose(found, [np.tanh(read(x, k)).sum() for k in range(n)])


def test_a_loop_without_trips_says_nothing_of_its_place():
    """``x[n - k:n - k]`` with k > n is empty, wherever it begins."""

    def f(x, several):
        total = 0.0
        for k in range(several):
            total = total + np.sum(np.tanh(x[max(len(x) - k, 0) :]))
        return total

    x = np.linspace(-1.0, 1.0, 4)
    for several in (1, 3, 5, 9):
        value, x_bar = tg.value_and_grad(f)(x, several)
        expected = sum(np.tanh(x[max(4 - k, 0) :]).sum() for k in range(several))
        assert abs(value - expected) < 1e-12
        count = np.array([sum(i >= max(4 - k, 0) for k in range(several)) for i in range(4)])
        np.testing.assert_allclose(x_bar, count * (1 - np.tanh(x) ** 2))


@pytest.mark.parametrize("n", [1, 2, 5, 18])
def test_every_second_element_of_rows_that_get_shorter(n):
    """The American option: the strides of what is read begin where an index leaves off."""

    def f(v, w):
        u = v.copy()
        for left in range(len(v) - 1, 0, -1):
            now = w[len(v) - left : len(v) + left - 1 : 2]
            u[:left] = np.maximum(0.4 * u[1 : left + 1] + 0.5 * u[:left], now)
        return u[0]

    rng = np.random.default_rng(n)
    v, w = rng.normal(size=n), rng.normal(size=2 * n - 1)
    value, (v_bar, w_bar) = tg.value_and_grad(f, argnums=(0, 1))(v, w)
    assert abs(value - f(v, w)) < 1e-14
    step = 1e-6
    for x, x_bar in ((v, v_bar), (w, w_bar)):
        for i in range(len(x)):
            x[i] += step
            above = f(v, w)
            x[i] -= 2 * step
            below = f(v, w)
            x[i] += step
            assert abs((above - below) / (2 * step) - x_bar[i]) < 1e-8
