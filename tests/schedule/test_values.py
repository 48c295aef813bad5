"""Values: dtypes, NaN, results as arrays of their own, and operations with nests of their own."""

import numpy as np
import pytest

from tests.schedule.support import assert_same_results, counts, scheduled
from tracegrad.ir.interpreter import evaluate
from tracegrad.ir.text import parse


def test_results_are_never_inputs_nor_each_other():
    f = parse("""
        func @f(%x: f64[n, m]) -> (f64[n, m], f64[n, m], f64[m*n], f64[n, m], f64[n, m]) {
          %y: f64[n, m] = multiply(%x, %x)
          %z: f64[m*n] = reshape(%x) {shape=(m*n,)}
          return %x, %x, %z, %y, %y
        }""")
    assert_same_results(f, np.arange(6.0).reshape(2, 3))


def test_a_scalar_result_stays_a_scalar():
    f = parse("""
        func @f(%x: f64[n], %a: f64) -> (f64, f64, i64, f64) {
          %last: f64 = view(%x) {shape=(), map=[n - 1]}
          %t: f64 = tanh(%last)
          %n: i64 = dim() {size=n}
          return %t, %a, %n, %t
        }""")
    assert_same_results(f, np.array([1.0, 0.5]), np.float64(3.0))


@pytest.mark.parametrize("dtype", ["f64", "f32", "i64", "i32"])
def test_reductions_keep_the_dtype(dtype):
    f = parse(f"""
        func @f(%x: {dtype}[n, m]) -> ({dtype}, {dtype}[m], {dtype}[n], {dtype}[m]) {{
          %s: {dtype} = sum(%x) {{axes=(0, 1)}}
          %p: {dtype}[m] = prod(%x) {{axes=(0,)}}
          %big: {dtype}[n] = max(%x) {{axes=(1,)}}
          %small: {dtype}[m] = min(%x) {{axes=(0,)}}
          return %s, %p, %big, %small
        }}""")
    numpy_name = {"f64": "float64", "f32": "float32", "i64": "int64", "i32": "int32"}[dtype]
    assert_same_results(f, np.arange(-5, 7).reshape(4, 3).astype(numpy_name))


def test_any_and_all_of_booleans():
    f = parse("""
        func @f(%x: bool[n, m]) -> (bool[n], bool[m], bool) {
          %a: bool[n] = any(%x) {axes=(1,)}
          %b: bool[m] = all(%x) {axes=(0,)}
          %c: bool = all(%x) {axes=(0, 1)}
          return %a, %b, %c
        }""")
    assert_same_results(f, np.array([[True, False, True], [False, False, True]]))
    assert_same_results(f, np.zeros((0, 2), bool))


@pytest.mark.parametrize("place", [0, 3, 8, 19])
def test_nan_passes_through_a_maximum_wherever_it_stands(place):
    f = parse("""
        func @f(%x: f64[n]) -> (f64, f64) hints n = 1000 {
          %a: f64 = max(%x) {axes=(0,)}
          %b: f64 = min(%x) {axes=(0,)}
          return %a, %b
        }""")
    x = np.arange(20.0)
    x[place] = np.nan
    assert_same_results(f, x)


def test_indices_are_checked_and_may_be_negative():
    f = parse("""
        func @f(%x: f64[n, m], %i: i64[k]) -> (f64[k, m], f64[n, m], f64[n, m]) {
          %y: f64[k, m] = index(%x, %i)
          %u: f64[n, m] = update(%x, %y, %i)
          %two: f64 = 2.0
          %v: f64[k, m] = multiply(%y, %two)
          %w: f64[n, m] = accumulate(%x, %v, %i)
          return %y, %u, %w
        }""")
    x = np.arange(8.0).reshape(4, 2)
    assert_same_results(f, x, np.array([1, -1, 1]))
    assert_same_results(f, x, np.zeros(0, np.int64))
    loops = scheduled(str(f))
    for outside in (4, -5):
        with pytest.raises(IndexError):
            evaluate(loops, x, np.array([0, outside]))


def test_a_write_keeps_the_last_of_repeated_indices():
    f = parse("""
        func @f(%x: f64[n], %v: f64[k], %i: i64[k]) -> (f64[n]) {
          %y: f64[n] = update(%x, %v, %i)
          return %y
        }""")
    assert_same_results(f, np.zeros(3), np.array([1.0, 2.0, 3.0]), np.array([1, 1, -2]))


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("reverse", [False, True])
def test_running_sums_along_either_axis(axis, reverse):
    f = parse(f"""
        func @f(%x: f64[n, m]) -> (f64[n, m], f64[n, m]) {{
          %s: f64[n, m] = cumsum(%x) {{axis={axis}, reverse={reverse}}}
          %e: f64[n, m] = exp(%s)
          return %s, %e
        }}""")
    for shape in ((0, 2), (1, 1), (3, 4)):
        assert_same_results(f, np.sin(np.arange(float(shape[0] * shape[1]))).reshape(shape))


def test_a_running_sum_is_fused_with_what_it_sums():
    loops = scheduled("""
        func @f(%x: f64[n]) -> (f64[n], f64) {
          %y: f64[n] = square(%x)
          %s: f64[n] = cumsum(%y) {axis=0, reverse=False}
          %t: f64 = sum(%s) {axes=(0,)}
          return %s, %t
        }""")
    assert (counts(loops)["for"], counts(loops)["alloc"]) == (1, 1)


def test_concatenate_writes_its_parts_in_place():
    f = parse("""
        func @f(%x: f64[n], %y: f64[m]) -> (f64[m + n], f64[n]) {
          %a: f64[n] = exp(%x)
          %c: f64[m + n] = concatenate(%a, %y) {axis=0}
          %v: f64[n] = view(%c) {shape=(n,), map=[#0 + m]}
          return %c, %v
        }""")
    assert counts(scheduled(str(f)))["alloc"] == 2
    assert_same_results(f, np.arange(3.0), np.arange(3.0) + 5.0)


def test_small_constant_arrays_are_numbers_where_unrolled_and_buffers_in_loops():
    f = parse("""
        func @f(%x: f64[3], %y: f64[n]) -> (f64[3], f64[n, 9]) {
          %c: f64[3] = const() {value=(1.0, -2.0, 4.0), dtype=f64}
          %d: f64[3] = multiply(%x, %c)
          %l: f64[9] = const() {value=(0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0), dtype=f64}
          %a: f64[n, 9] = view(%l) {shape=(n, 9), map=[#1]}
          %b: f64[n, 9] = view(%y) {shape=(n, 9), map=[#0]}
          %e: f64[n, 9] = multiply(%a, %b)
          return %d, %e
        }""")
    assert_same_results(f, np.arange(3.0), np.arange(2.0))


def test_regions_are_nests_of_their_own():
    f = parse("""
        func @f(%x: f64[n]) -> (f64, f64[n]) {
          %zero: i64 = 0
          %one: i64 = 1
          %n: i64 = dim() {size=n}
          %s0: f64 = 0.0
          %y0: f64[n] = multiply(%x, %x)
          %s: f64, %y: f64[n] = for(%zero, %n, %one, %s0, %y0) (%i: i64, %c: f64, %z: f64[n]) {
            %xi: f64 = index(%x, %i)
            %p: bool = less(%xi, %c)
            %d: f64 = if(%p) {
              %a: f64 = exp(%xi)
              yield %a
            } else {
              %m: f64 = sum(%z) {axes=(0,)}
              yield %m
            }
            %e: f64 = add(%c, %d)
            %t: f64[n] = tanh(%z)
            %w: f64[n] = update(%t, %e, %i)
            yield %e, %w
          }
          return %s, %y
        }""")
    for n in (0, 1, 5):
        assert_same_results(f, np.linspace(-1.0, 1.0, n))


def test_a_loop_that_runs_no_trip_does_not_hand_out_an_input():
    f = parse("""
        func @f(%x: f64[n]) -> (f64[n]) {
          %zero: i64 = 0
          %one: i64 = 1
          %y: f64[n] = for(%zero, %zero, %one, %x) (%i: i64, %z: f64[n]) {
            %t: f64[n] = tanh(%z)
            yield %t
          }
          return %y
        }""")
    assert_same_results(f, np.ones(2))


def test_whole_array_operations_stand_between_the_loops():
    f = parse("""
        func @f(%x: f64[n]) -> (f64[n], f64) {
          %y: f64[n] = exp(%x)
          %z: f64[n] = sort(%y) {axis=0}
          %s: f64 = sum(%z) {axes=(0,)}
          return %z, %s
        }""")
    assert_same_results(f, np.array([3.0, -1.0, 2.0]))
