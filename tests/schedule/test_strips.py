"""Products of tall matrices in strips, with the work on their rows."""

import random

import numpy as np
import pytest

from tests.eager_threads import eager_threads
from tests.schedule.support import assert_same_results, counts, scheduled
from tracegrad import ops
from tracegrad.backend.compile import KernelOptions
from tracegrad.backend.emit import emit_loop_form, entry_name
from tracegrad.ir.builder import Builder
from tracegrad.ir.interpreter import evaluate
from tracegrad.ir.text import parse
from tracegrad.ir.types import ArrayType, f64, symbol
from tracegrad.ir.verifier import verify
from tracegrad.ops import access
from tracegrad.pipeline import compile_function
from tracegrad.schedule import explain, schedule, tree

REGRESSION = """
    func @f(%x: f64[n, m], %w: f64[m, 7], %y: f64[n]) -> (f64, f64[m, 7])
      hints n = 1000, m = 30
    {
      %z: f64[n, 7] = dot(%x, %w)
      %e: f64[n, 7] = exp(%z)
      %s: f64[n] = sum(%e) {axes=(1,)}
      %l: f64[n] = log(%s)
      %t: f64 = sum(%l) {axes=(0,)}
      %q: f64[n] = divide(%y, %s)
      %v: f64[n, 7] = view(%q) {shape=(n, 7), map=[#0]}
      %z_bar: f64[n, 7] = multiply(%e, %v)
      %xt: f64[m, n] = view(%x) {shape=(m, n), map=[#1, #0]}
      %w_bar: f64[m, 7] = dot(%xt, %z_bar)
      return %t, %w_bar
    }"""


def regression(n, m, c, dtype=np.float64):
    rng = np.random.default_rng(n)
    x, w = 0.1 * rng.normal(size=(n, m)), 0.1 * rng.normal(size=(m, c))
    return [a.astype(dtype) for a in (x, w, rng.normal(size=n))]


def in_python(loops, *arguments):
    """The printed text, run as plain Python."""
    names = {}
    exec(emit_loop_form(loops), names)
    found = names[entry_name(loops)](*arguments)
    return found if isinstance(found, tuple) else (found,)


def test_two_products_and_what_is_between_share_a_loop_over_strips():
    assert explain(parse(REGRESSION)).splitlines()[:2] == [
        "for i in blocks:",
        "  z[l, i] = dot: buffer (7, 256)",
    ]
    found = counts(scheduled(REGRESSION))
    assert (found["gemm"], found["gemm_part"], found["for"]) == (0, 2, 3)


def test_the_text_says_which_rows():
    text = emit_loop_form(scheduled(REGRESSION))
    assert "put_product(w.T, x[i0 : i0 + count].T, z[:, :count])" in text
    assert "add_product(" in text


@pytest.mark.parametrize("n", [0, 1, 255, 256, 257, 600])
def test_every_number_of_rows_is_right(n):
    assert_same_results(parse(REGRESSION), *regression(n, 3, 7))


def test_sums_of_nothing_are_zeros():
    assert_same_results(parse(REGRESSION), *regression(300, 0, 7))


@pytest.mark.parametrize("m", [0, 5])
def test_printed_source_gives_the_same(m):
    function = parse(REGRESSION)
    assert_same_results(function, *regression(300, m, 7), run=in_python)


def with_columns(text, columns):
    return text.replace("7", columns)


@pytest.mark.parametrize("size", [3, 40])
def test_a_symbolic_number_of_columns(size):
    text = with_columns(REGRESSION, "c").replace("m = 30", f"m = 30, c = {size}")
    assert counts(scheduled(text))["gemm_part"] == 2
    for n in (1, 300):
        assert_same_results(parse(text), *regression(n, 5, size))


def test_single_precision():
    text = REGRESSION.replace("f64", "f32")
    x, w, y = regression(300, 4, 7, np.float32)
    loops = scheduled(text)
    assert counts(loops)["gemm_part"] == 2
    value, w_bar = in_python(loops, x, w, y)
    e = np.exp(x @ w)
    assert np.allclose(value, np.log(e.sum(axis=1)).sum(), rtol=1e-4)
    assert w_bar.dtype == np.float32
    assert np.allclose(w_bar, x.T @ (e * (y / e.sum(axis=1))[:, None]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_machine_code_gives_the_same(dtype):
    text = REGRESSION if dtype is np.float64 else REGRESSION.replace("f64", "f32")
    function = parse(text)
    kernel = compile_function(function, KernelOptions(cache=False))
    tolerance = 1e-9 if dtype is np.float64 else 1e-4
    for n, m in ((0, 3), (1, 1), (257, 3), (600, 0)):
        given = regression(n, m, 7, dtype)
        found = kernel.entry_point(*given)
        for right, left in zip(evaluate(function, *given), found, strict=True):
            np.testing.assert_allclose(left, right, rtol=tolerance, atol=tolerance)


def test_a_strip_that_is_also_a_result_is_written_where_it_belongs():
    text = REGRESSION.replace("(f64, f64[m, 7])", "(f64, f64[m, 7], f64[n, 7], f64[n, 7])")
    text = text.replace("return %t, %w_bar", "return %t, %w_bar, %z, %z_bar")
    assert counts(scheduled(text))["gemm_part"] == 2
    for n in (0, 257):
        assert_same_results(parse(text), *regression(n, 3, 7))


def test_rows_of_a_transposed_argument_are_its_columns():
    text = """
        func @f(%x: f64[m, n], %w: f64[m, k]) -> (f64[m, k])
          hints n = 1000, m = 20, k = 12
        {
          %xt: f64[n, m] = view(%x) {shape=(n, m), map=[#1, #0]}
          %z: f64[n, k] = dot(%xt, %w)
          %e: f64[n, k] = tanh(%z)
          %w_bar: f64[m, k] = dot(%x, %e)
          return %w_bar
        }"""
    assert counts(scheduled(text))["gemm_part"] == 2
    rng = np.random.default_rng(0)
    for n in (0, 300):
        assert_same_results(parse(text), rng.normal(size=(3, n)), rng.normal(size=(3, 4)))


def test_a_product_that_nothing_goes_with_stays_whole():
    text = """
        func @f(%x: f64[n, m], %w: f64[m, k]) -> (f64[n, k])
          hints n = 1000, m = 20, k = 12
        {
          %z: f64[n, k] = dot(%x, %w)
          return %z
        }"""
    found = counts(scheduled(text))
    assert (found["gemm"], found["gemm_part"]) == (1, 0)


@pytest.mark.parametrize("hints", ["n = 300, m = 30", "n = 1000, m = 2000", "m = 30"])
def test_short_large_and_unknown_matrices_stay_whole(hints):
    text = with_columns(REGRESSION, "c").replace("n = 1000, m = 30", hints + ", c = 100")
    found = counts(scheduled(text))
    assert (found["gemm"], found["gemm_part"]) == (2, 0)


def test_rows_that_read_their_neighbours_stay_whole():
    text = """
        func @f(%x: f64[n, m], %w: f64[m, k]) -> (f64[n, k])
          hints n = 1000, m = 20, k = 12
        {
          %z: f64[n, k] = dot(%x, %w)
          %i: f64[n - 1, k] = view(%z) {shape=(n - 1, k), map=[#0 + 1, #1]}
          %p: f64[n, k] = pad(%i) {shape=(n, k), map=[#0 + 1, #1]}
          %e: f64[n, k] = tanh(%p)
          return %e
        }"""
    found = counts(scheduled(text))
    assert (found["gemm"], found["gemm_part"]) == (1, 0)
    rng = np.random.default_rng(0)
    assert_same_results(parse(text), rng.normal(size=(5, 3)), rng.normal(size=(3, 4)))


def test_a_matrix_by_itself():
    text = """
        func @f(%x: f64[n, m]) -> (f64[m, m])
          hints n = 1000, m = 20
        {
          %e: f64[n, m] = tanh(%x)
          %t: f64[m, n] = view(%e) {shape=(m, n), map=[#1, #0]}
          %g: f64[m, m] = dot(%t, %e)
          return %g
        }"""
    assert counts(scheduled(text))["gemm_part"] == 1
    rng = np.random.default_rng(0)
    for n in (0, 300):
        assert_same_results(parse(text), rng.normal(size=(n, 3)))


def test_threads_do_not_run_a_loop_over_strips():
    given = regression(600, 5, 7)
    with eager_threads(3):
        loops = verify(schedule(parse(REGRESSION), parallel=True), form="loop")
        assert any(op.name == "gemm_part" for op in loops.walk())
        assert not any(op.name == "gemm_part" for p in loops.parts.values() for op in p.walk())
        found = evaluate(loops, *given), in_python(loops, *given)
    expected = evaluate(parse(REGRESSION), *given)
    for each in found:
        for one, other in zip(each, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-10)


# --- labels ---------------------------------------------------------------------------------

LABELS = """
    func @f(%x: f64[n, m], %w: f64[m, k], %y: i64[n]) -> (f64, f64[m, k])
      hints n = 1000, m = 20, k = 12
    {
      %z: f64[n, k] = dot(%x, %w)
      %e: f64[n, k] = exp(%z)
      %i: i64[n] = iota() {size=n, dtype=i64}
      %p: f64[n] = index(%z, %i, %y)
      %t: f64 = sum(%p) {axes=(0,)}
      %q: f64[n] = square(%p)
      %b: f64[n, k] = accumulate(%e, %q, %i, %y)
      %xt: f64[m, n] = view(%x) {shape=(m, n), map=[#1, #0]}
      %w_bar: f64[m, k] = dot(%xt, %b)
      return %t, %w_bar
    }"""


@pytest.mark.parametrize("k", ["k", "3"])
@pytest.mark.parametrize("n", [0, 1, 300])
def test_labels_pick_in_a_loop_of_the_strip(n, k):
    text = LABELS.replace("k]", f"{k}]").replace(", k = 12", "" if k == "3" else ", k = 12")
    found = counts(scheduled(text))
    assert (found["gemm"], found["gemm_part"]) == (0, 2)
    rng = np.random.default_rng(n)
    x, w, _ = regression(n, 4, 3)
    assert_same_results(parse(text), x, w, rng.integers(-3, 3, n))


@pytest.mark.parametrize("bad", [3, -4])
def test_labels_out_of_range_raise(bad):
    x, w, _ = regression(300, 4, 3)
    labels = np.zeros(300, np.int64)
    labels[299] = bad
    with pytest.raises(IndexError):
        assert_same_results(parse(LABELS), x, w, labels)


ADDED = """
    func @f(%v: f64[n], %y: i64[n]) -> (f64[n, k])
      hints n = 1000
    {
      %zero: f64 = 0.0
      %b: f64[n, k] = view(%zero) {shape=(n, k), map=[]}
      %i: i64[n] = iota() {size=n, dtype=i64}
      %a: f64[n, k] = accumulate(%b, %v, %i, %y)
      return %a
    }""".replace("n, k]) ->", "n, k]) ->")


def test_one_number_for_each_row_is_a_choice():
    text = ADDED.replace("%y: i64[n])", "%y: i64[n], %s: f64[k])")
    found = counts(scheduled(text))
    assert (found["select"], found["add_store"], found["check_index"]) == (1, 0, 1)
    rng = np.random.default_rng(0)
    for n, k in ((0, 0), (1, 1), (5, 3)):
        labels = rng.integers(-k, max(k, 1), n)
        assert_same_results(parse(text), rng.normal(size=n), labels, np.zeros(k))


def test_a_row_without_places_raises():
    text = ADDED.replace("%y: i64[n])", "%y: i64[n], %s: f64[k])")
    with pytest.raises(IndexError):
        assert_same_results(parse(text), np.ones(2), np.zeros(2, np.int64), np.zeros(0))


def test_a_row_that_gets_several_numbers_is_added_to():
    text = ADDED.replace("%y: i64[n])", "%y: i64[n], %s: f64[k], %r: i64[n])")
    text = text.replace("%v, %i, %y", "%v, %r, %y")
    assert counts(scheduled(text))["add_store"] == 1
    at = np.array([0, 0, 0, 1])
    assert_same_results(parse(text), np.ones(4), np.array([1, 1, 0, 2]), np.zeros(3), at)


# --- random programs ------------------------------------------------------------------------

N, M, K = symbol("n"), symbol("m"), symbol("k")


def random_program(draw):
    """Chains of products and work on rows; what is long is n."""
    with Builder() as build:
        x = build.param(ArrayType(f64, (N, M)), "x")
        w = build.param(ArrayType(f64, (M, draw.choice([K, 3]))), "w")
        tall, small, sums = [x], [w], []
        for _ in range(draw.randint(4, 10)):
            a = draw.choice(tall)
            match draw.randrange(7):
                case 0 | 1:
                    fits = [s for s in small if s.shape[0] == a.shape[1]]
                    back = [s for s in small if s.shape[1] == a.shape[1]]
                    if back and (not fits or draw.random() < 0.5):
                        tall.append(ops.dot(a, access.transpose(draw.choice(back))) * 0.3)
                    else:
                        tall.append(ops.dot(a, draw.choice(fits)) * 0.3)
                case 2:
                    small.append(ops.dot(access.transpose(draw.choice(tall)), a) * 0.01)
                case 3:
                    tall.append(ops.tanh(a))
                case 4:
                    row = ops.sum(ops.tanh(a), axes=(1,))
                    tall.append(a * ops.view(row, shape=a.shape, map=((0, 0, 1),)))
                case 5:
                    sums.append(ops.sum(a, axes=(draw.choice([0, 1]),)))
                case 6:
                    same = [t for t in tall if t.shape == a.shape]
                    tall.append(a * 0.5 - draw.choice(same))
        results = dict.fromkeys([tall[-1], draw.choice(tall), small[-1], *sums])
        kept = [v for v in results if v not in (x, w)] or [ops.tanh(x)]
        return build.function("f", kept, hints={"n": 1000, "m": 40, "k": 12})


@pytest.mark.parametrize("seed", range(60))
def test_random_chains_of_products_in_strips(seed, monkeypatch):
    monkeypatch.setattr(tree, "STRIP", 4)
    function = random_program(random.Random(seed))
    rng = np.random.default_rng(seed)
    for n, m, k in ((9, 3, 2), (4, 1, 4), (0, 2, 2), (3, 0, 2)):
        second = 3 if function.params[1].shape[1] == 3 else k
        given = rng.normal(size=(n, m)), rng.normal(size=(m, second))
        assert_same_results(function, *given)
        assert_same_results(function, *given, run=in_python)
