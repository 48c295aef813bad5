"""Matrix products: which way round BLAS is given them; additions at index values beside them."""

import numpy as np
import pytest

from tests.schedule.support import assert_same_results, counts, scheduled
from tracegrad.ir.text import parse

THIN = """
    func @f(%x: f64[n, m], %w: f64[m, 7]) -> (f64[n], f64[m, 7]) {
      %z: f64[n, 7] = dot(%x, %w)
      %e: f64[n, 7] = tanh(%z)
      %s: f64[n] = sum(%e) {axes=(1,)}
      %xt: f64[m, n] = view(%x) {shape=(m, n), map=[#1, #0]}
      %w_bar: f64[m, 7] = dot(%xt, %e)
      return %s, %w_bar
    }"""


def gemms(text):
    return [op.attributes for op in scheduled(text).walk() if op.name == "gemm"]


@pytest.mark.parametrize(("n", "m"), [(0, 3), (1, 1), (9, 4)])
def test_a_product_of_few_columns_is_computed_as_rows(n, m):
    assert gemms(THIN) == [
        {"transpose_a": True, "transpose_b": True},
        {"transpose_a": True, "transpose_b": False},
    ]
    rng = np.random.default_rng(0)
    assert_same_results(parse(THIN), rng.normal(size=(n, m)), rng.normal(size=(m, 7)))


def test_a_slice_that_has_to_be_copied_is_not_turned():
    text = """
        func @f(%x: f64[n, m], %w: f64[m + 1, 7]) -> (f64[n, 7]) {
          %v: f64[m, 7] = view(%w) {shape=(m, 7), map=[#0 + 1, #1]}
          %z: f64[n, 7] = dot(%x, %v)
          return %z
        }"""
    (gemm,) = gemms(text)
    assert not gemm["transpose_a"]
    rng = np.random.default_rng(0)
    assert_same_results(parse(text), rng.normal(size=(5, 3)), rng.normal(size=(4, 7)))


PICKED = """
    func @f(%z: f64[n, k], %y: i64[n]) -> (f64, f64[n, k]) {
      %e: f64[n, k] = exp(%z)
      %i: i64[n] = iota() {size=n, dtype=i64}
      %p: f64[n] = index(%e, %i, %y)
      %s: f64 = sum(%p) {axes=(0,)}
      %h: f64[n, k] = multiply(%e, %z)
      %b: f64[n, k] = accumulate(%h, %p, %i, %y)
      %t: f64[n, k] = tanh(%b)
      return %s, %t
    }"""


def test_adding_to_a_computed_array_keeps_one_program_and_counted_rows_need_no_check():
    found = counts(scheduled(PICKED))
    assert (
        found["check_index"] == 2
    )  # of the labels, where they are read and where they are written
    rng = np.random.default_rng(0)
    for n in (0, 1, 5):
        labels = rng.integers(-3, 3, n)
        assert_same_results(parse(PICKED), rng.normal(size=(n, 3)), labels)


def test_a_label_beyond_the_row_raises():
    for bad in (3, -4):
        with pytest.raises(IndexError):
            assert_same_results(parse(PICKED), np.zeros((2, 3)), np.array([0, bad]))


def test_a_count_that_is_not_that_of_the_dimension_is_checked():
    text = """
        func @f(%z: f64[n, k], %y: i64[m]) -> (f64[m]) {
          %i: i64[m] = iota() {size=m, dtype=i64}
          %p: f64[m] = index(%z, %i, %y)
          return %p
        }"""
    assert counts(scheduled(text))["check_index"] == 2
    assert_same_results(parse(text), np.ones((3, 2)), np.array([0, 1]))
