"""Rows that are summed and multiplied again, with what is picked and added at indices between."""

import warnings

import numpy as np
import pytest

import tracegrad as tg
from tests.schedule.support import assert_same_results
from tracegrad.ir.text import parse
from tracegrad.schedule import explain

PROGRAM = """
    func @f(%x: f64[n, m], %w: f64[m], %t: f64[k], %i: i64[n]) -> (f64, f64[m], f64[k])
      hints n = 1000, m = 40, k = 9
    {
      %wb: f64[n, m] = view(%w) {shape=(n, m), map=[#1]}
      %p: f64[n, m] = multiply(%x, %wb)
      %z: f64[n] = sum(%p) {axes=(1,)}
      %o: f64[n] = index(%t, %i)
      %r: f64[n] = subtract(%z, %o)
      %q: f64[n] = square(%r)
      %s: f64 = sum(%q) {axes=(0,)}
      %d: f64[n] = add(%q, %r)
      %e: f64[n] = divide(%d, %o)
      %eb: f64[n, m] = view(%e) {shape=(n, m), map=[#0]}
      %g: f64[n, m] = multiply(%eb, %x)
      %wbar: f64[m] = sum(%g) {axes=(0,)}
      %zero: f64 = 0.0
      %zeros: f64[k] = view(%zero) {shape=(k,), map=[]}
      %tbar: f64[k] = accumulate(%zeros, %e, %i)
      return %s, %wbar, %tbar
    }"""


def arguments(n, m=5, k=3):
    rng = np.random.default_rng(n)
    picked = rng.integers(-k, k, n)
    return rng.normal(size=(n, m)), rng.normal(size=m), rng.uniform(1.0, 2.0, k), picked


def test_products_go_by_several_rows_and_what_is_picked_has_loops_of_its_own():
    tree = explain(parse(PROGRAM))
    kinds = [line.split("(")[1][:-2] for line in tree.splitlines() if "within the block" in line]
    assert sorted(kinds) == ["lanes", "picks", "picks", "rows", "rows"], tree


@pytest.mark.parametrize("n", [0, 1, 7, 127, 128, 129, 300])
def test_blocks_of_any_length_give_the_same(n):
    assert_same_results(parse(PROGRAM), *arguments(n))


def test_a_few_rows_go_one_after_the_other():
    few = PROGRAM.replace("n = 1000", "n = 20")
    assert "block" not in explain(parse(few))
    assert_same_results(parse(few), *arguments(20))


def test_other_rows_than_those_that_were_summed_are_no_reason_for_blocks():
    other = PROGRAM.replace("%w: f64[m],", "%w: f64[m], %v: f64[n, m],").replace(
        "multiply(%eb, %x)", "multiply(%eb, %v)"
    )
    assert "block" not in explain(parse(other))
    x, *rest = arguments(140)
    assert_same_results(parse(other), x, rest[0], x + 1.0, *rest[1:])


# --- whole gradients ---------------------------------------------------------------------------


def regression(w, t, x, y, i):
    r = y - x @ w - t[i]
    return np.mean(np.where(np.abs(r) < 1.0, r * r, 2.0 * np.abs(r) - 1.0))


def counts(w, t, x, y, i):
    z = x @ w + t[i]
    return np.sum(np.exp(0.1 * z) - y * z)


def two_tables(w, t, x, y, i):
    z = x @ w + t[i] * t[i[::-1]]
    return np.sum(np.log1p(np.exp(-y * z)) * t[i])


def only_where_it_counts(w, t, x, y, i):
    z = x @ w
    return np.sum(np.where(z > 0.0, np.sqrt(np.abs(t[i])) * z, z * z))


def given(n):
    rng = np.random.default_rng(n)
    i = rng.integers(-4, 4, n)
    return rng.normal(size=6), rng.normal(size=4), rng.normal(size=(n, 6)), rng.normal(size=n), i


PROGRAMS = [regression, counts, two_tables, only_where_it_counts]


@pytest.mark.parametrize("function", PROGRAMS, ids=lambda f: f.__name__)
def test_gradients_are_those_of_differences(function):
    compiled = tg.value_and_grad(function, argnums=(0, 1, 2))
    for n in (300, 129, 1, 0):
        arguments = given(n)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of the mean of nothing
            value, bars = compiled(*arguments)
            assert np.array_equal(value, function(*arguments), equal_nan=True) or np.isclose(
                value, function(*arguments), rtol=1e-12
            )
            if not n:
                continue
            for k, bar in enumerate(bars):
                direction = np.random.default_rng(k).normal(size=bar.shape)
                values = []
                for step in (1e-6, -1e-6):
                    moved = list(arguments)
                    moved[k] = moved[k] + step * direction
                    values.append(function(*moved))
                slope = (values[0] - values[1]) / 2e-6
                np.testing.assert_allclose(np.sum(bar * direction), slope, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("wrong", [4, -5])
def test_an_index_that_is_out_of_bounds_is_an_error(wrong):
    compiled = tg.value_and_grad(regression, argnums=(0, 1))
    compiled(*given(300))
    for place in (0, 130, 299):
        *rest, i = given(300)
        i[place] = wrong
        with pytest.raises(IndexError):
            compiled(*rest, i)


def test_no_rows_and_no_tables():
    compiled = tg.value_and_grad(counts, argnums=(0, 1))
    compiled(*given(300))
    value, (w_bar, t_bar) = compiled(
        np.zeros(6), np.zeros(0), np.zeros((0, 6)), np.zeros(0), np.zeros(0, int)
    )
    assert value == 0.0
    assert not w_bar.any()
    assert t_bar.shape == (0,)
