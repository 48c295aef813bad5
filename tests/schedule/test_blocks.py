"""Which loops are split into blocks, and whether rows or lanes run in them."""

import numpy as np
import pytest

from tests.schedule.support import assert_same_results, scheduled
from tracegrad.ir.text import parse
from tracegrad.schedule import explain

LOGISTIC = """
    func @f(%w: f64[m], %x: f64[n, m]) -> (f64, f64[m]) hints n = 1000, m = 20 {
      %z: f64[n] = dot(%x, %w)
      %e: f64[n] = exp(%z)
      %s: f64 = sum(%e) {axes=(0,)}
      %w_bar: f64[m] = dot(%e, %x)
      return %s, %w_bar
    }"""

SOFTMAX = """
    func @f(%x: f64[n, m], %w: f64[m, k]) -> (f64, f64[m, k])
        hints n = 1000, m = 2000, k = 10 {
      %z: f64[n, k] = dot(%x, %w)
      %e: f64[n, k] = exp(%z)
      %s: f64[n] = sum(%e) {axes=(1,)}
      %l: f64[n] = log(%s)
      %v: f64 = sum(%l) {axes=(0,)}
      %lk: f64[n, k] = view(%l) {shape=(n, k), map=[#0]}
      %d: f64[n, k] = subtract(%z, %lk)
      %p: f64[n, k] = exp(%d)
      %xt: f64[m, n] = view(%x) {shape=(m, n), map=[#1, #0]}
      %w_bar: f64[m, k] = dot(%xt, %p)
      return %v, %w_bar
    }"""


def lines(text):
    return [line.strip() for line in explain(parse(text)).splitlines()]


def test_a_matrix_that_is_read_twice_keeps_its_short_rows():
    found = lines(LOGISTIC)
    assert "for i within the block (rows):" in found
    assert not any("copy" in line for line in found)
    rng = np.random.default_rng(0)
    for n in (0, 1, 127, 300):
        assert_same_results(parse(LOGISTIC), rng.normal(size=20), 0.1 * rng.normal(size=(n, 20)))


def test_heavy_values_of_short_rows_run_in_lanes_and_read_a_packed_product():
    found = lines(SOFTMAX)
    assert "for i within the block:" in found
    assert "z[i, j] = copy: buffer (k, 128)" in found
    assert sum("copy" in line for line in found) == 1


@pytest.mark.parametrize("n", [0, 1, 127, 128, 300])
@pytest.mark.parametrize("k", [0, 1, 10])
def test_lanes_over_a_packed_product_are_right_at_any_size(n, k):
    rng = np.random.default_rng(n + k)
    x, w = rng.normal(size=(n, 3)), rng.normal(size=(3, k))
    if k:
        assert_same_results(parse(SOFTMAX), x, w)


def test_a_matrix_that_a_stencil_of_lanes_reads_at_several_rows_is_read_as_it_is():
    text = """
        func @f(%x: f64[n, k]) -> (f64[n - 1]) hints n = 1001, k = 10 {
          %a: f64[n - 1, k] = view(%x) {shape=(n - 1, k), map=[#0 + 1, #1]}
          %b: f64[n - 1, k] = view(%x) {shape=(n - 1, k), map=[#0, #1]}
          %c: f64[n - 1, k] = subtract(%a, %b)
          %e: f64[n - 1, k] = exp(%c)
          %s: f64[n - 1] = sum(%e) {axes=(1,)}
          return %s
        }"""
    rng = np.random.default_rng(0)
    for n in (1, 2, 129, 300):
        assert_same_results(parse(text), rng.normal(size=(n, 3)))


QUADRATIC = """
    func @f(%x: f64[n, d], %mu: f64[k, d], %l: f64[k, d, d]) -> (f64, f64[k, d, d], f64[k, d])
        hints n = 1000, d = 10, k = 25 {
      %a: f64[n, k, d] = view(%x) {shape=(n, k, d), map=[#0, #2]}
      %b: f64[n, k, d] = view(%mu) {shape=(n, k, d), map=[#1, #2]}
      %c: f64[n, k, d] = subtract(%a, %b)
      %c4: f64[n, k, d, d] = view(%c) {shape=(n, k, d, d), map=[#0, #1, #3]}
      %l4: f64[n, k, d, d] = view(%l) {shape=(n, k, d, d), map=[#1, #2, #3]}
      %m: f64[n, k, d, d] = multiply(%l4, %c4)
      %z: f64[n, k, d] = sum(%m) {axes=(3,)}
      %q: f64[n, k, d] = square(%z)
      %r: f64[n, k] = sum(%q) {axes=(2,)}
      %half: f64 = -0.5
      %h: f64[n, k] = multiply(%r, %half)
      %e: f64[n, k] = exp(%h)
      %v: f64 = sum(%e) {axes=(0, 1)}
      %e3: f64[n, k, d] = view(%e) {shape=(n, k, d), map=[#0, #1]}
      %t: f64[n, k, d] = multiply(%e3, %z)
      %t4: f64[n, k, d, d] = view(%t) {shape=(n, k, d, d), map=[#0, #1, #2]}
      %u: f64[n, k, d, d] = multiply(%t4, %c4)
      %l_bar: f64[k, d, d] = sum(%u) {axes=(0,)}
      %mu_bar: f64[k, d] = sum(%t) {axes=(0,)}
      return %v, %l_bar, %mu_bar
    }"""


def test_products_in_lanes_have_loops_of_their_own_and_are_tiled():
    found = lines(QUADRATIC)
    last = "l_bar[j, k, l] = sum over i: result or operand (k, d, d), summed in memory"
    place = found.index(last)
    assert found[place - 3 : place] == ["for k:", "for l:", "for i within the block:"]
    assert found[place + 1] == "for k:"
    kinds = [op.attributes["kind"] for op in scheduled(QUADRATIC).walk() if op.name == "for"]
    assert kinds.count("tile") == 2


@pytest.mark.parametrize("n", [0, 1, 129])
@pytest.mark.parametrize("d", [0, 1, 4, 9])
def test_tiles_are_right_at_any_size(n, d):
    rng = np.random.default_rng(n + d)
    for k in (1, 2):
        x, mu = 0.3 * rng.normal(size=(n, d)), 0.3 * rng.normal(size=(k, d))
        assert_same_results(parse(QUADRATIC), x, mu, 0.3 * rng.normal(size=(k, d, d)))


def test_sums_over_a_tiled_loop_are_added_up_once():
    text = """
        func @f(%x: f64[n, d], %w: f64[n, d], %l: f64[d, d]) -> (f64[n, d], f64[d, d])
            hints n = 1000, d = 10 {
          %w3: f64[n, d, d] = view(%w) {shape=(n, d, d), map=[#0, #1]}
          %l3: f64[n, d, d] = view(%l) {shape=(n, d, d), map=[#1, #2]}
          %x3: f64[n, d, d] = view(%x) {shape=(n, d, d), map=[#0, #2]}
          %p: f64[n, d, d] = multiply(%w3, %l3)
          %q: f64[n, d, d] = multiply(%w3, %x3)
          %a: f64[n, d] = sum(%p) {axes=(1,)}
          %b: f64[d, d] = sum(%q) {axes=(0,)}
          return %a, %b
        }"""
    rng = np.random.default_rng(0)
    for n, d in ((0, 3), (1, 1), (130, 3), (130, 9)):
        x, w = rng.normal(size=(n, d)), rng.normal(size=(n, d))
        assert_same_results(parse(text), x, w, rng.normal(size=(d, d)))
