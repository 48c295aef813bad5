"""Which loops are split into blocks, and whether rows or lanes run in them."""

import numpy as np
import pytest

from tests.schedule.support import assert_same_results
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
        hints n = 1000, m = 40, k = 10 {
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
