"""The interpreter: sizes, guards, control flow."""

import numpy as np
import pytest

from tracegrad import ops  # noqa: F401  # fills the registry
from tracegrad.errors import ArgumentError, GuardFailed
from tracegrad.ir.interpreter import evaluate
from tracegrad.ir.text import parse


def test_attributes_get_their_sizes_from_the_arguments():
    f = parse("""
        func @f(%x: f64[n]) -> (f64[n - 1], i64) {
          %y: f64[n - 1] = view(%x) {shape=(n - 1,), map=[-#0 + n - 1]}
          %d: i64 = dim() {size=2*n}
          return %y, %d
        }""")
    y, d = evaluate(f, np.array([1.0, 2.0, 3.0]))
    np.testing.assert_array_equal(y, [3.0, 2.0])
    assert d == 6


def test_an_int_argument_gives_a_size():
    f = parse("""
        func @f(%k: i64) -> (f64[k]) sizes k = %k {
          %x: f64[k] = iota() {size=k, dtype=f64}
          return %x
        }""")
    np.testing.assert_array_equal(evaluate(f, np.int64(3))[0], [0.0, 1.0, 2.0])


def test_guards_and_parameter_types_are_checked():
    f = parse("""
        func @f(%x: f64[n, 3], %y: f64[2*n])  -> (f64[n, 3])
          guards n >= 2
        {
          return %x
        }""")
    evaluate(f, np.ones((2, 3)), np.ones(4))
    with pytest.raises(GuardFailed, match=r"x.shape\[1\] == 3"):
        evaluate(f, np.ones((2, 2)), np.ones(4))
    with pytest.raises(GuardFailed, match=r"y.shape\[0\] == 2\*n"):
        evaluate(f, np.ones((2, 3)), np.ones(5))
    with pytest.raises(GuardFailed, match="n >= 2"):
        evaluate(f, np.ones((1, 3)), np.ones(2))
    with pytest.raises(ArgumentError, match="float32 of rank 2"):
        evaluate(f, np.ones((2, 3), np.float32), np.ones(4))
    with pytest.raises(ArgumentError, match="takes 2"):
        evaluate(f, np.ones((2, 3)))


def test_loops_and_branches_run():
    f = parse("""
        func @f(%x: f64[n], %limit: f64) -> (f64, f64) {
          %zero: i64 = 0
          %one: i64 = 1
          %n: i64 = dim() {size=n}
          %start: f64 = 0.0
          %total: f64 = for(%zero, %n, %one, %start) (%i: i64, %t: f64) {
            %item: f64 = index(%x, %i)
            %p: bool = less(%item, %start)
            %next: f64 = if(%p) {
              yield %t
            } else {
              %more: f64 = add(%t, %item)
              yield %more
            }
            yield %next
          }
          %grown: f64 = while(%total) (%a: f64) {
            %small: bool = less(%a, %limit)
            yield %small
          } do (%b: f64) {
            %twice: f64 = add(%b, %b)
            yield %twice
          }
          return %total, %grown
        }""")
    total, grown = evaluate(f, np.array([1.0, -5.0, 2.0]), np.array(20.0))
    assert total == 3.0
    assert grown == 24.0


def test_an_opaque_size_is_bound_by_its_first_result():
    f = parse("""
        func @f(%x: f64[n]) -> (f64[k]) {
          %zero: f64 = 0.0
          %mask: bool[n] = greater(%x, %zero)
          %i: i64[k] = nonzero(%mask) {size=k}
          %y: f64[k] = index(%x, %i)
          return %y
        }""")
    np.testing.assert_array_equal(evaluate(f, np.array([1.0, -1.0, 3.0]))[0], [1.0, 3.0])
