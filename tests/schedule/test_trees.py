"""Golden loop trees: what shares a loop, what is kept where, and how much there is of it."""

from textwrap import dedent

import numpy as np

from tests.schedule.support import assert_same_results, counts, scheduled
from tracegrad.ir.text import parse
from tracegrad.schedule import explain

ROSENBROCK = """
    func @f(%x: f64[n]) -> (f64, f64[n]) {
      %a: f64[n - 1] = view(%x) {shape=(n - 1,), map=[#0 + 1]}
      %b: f64[n - 1] = view(%x) {shape=(n - 1,), map=[#0]}
      %b2: f64[n - 1] = square(%b)
      %r: f64[n - 1] = subtract(%a, %b2)
      %q: f64[n - 1] = square(%r)
      %s: f64 = sum(%q) {axes=(0,)}
      %pa: f64[n] = pad(%r) {shape=(n,), map=[#0 + 1]}
      %t: f64[n - 1] = multiply(%r, %b)
      %pb: f64[n] = pad(%t) {shape=(n,), map=[#0]}
      %g: f64[n] = subtract(%pa, %pb)
      return %s, %g
    }"""


def assert_tree(text, expected):
    assert explain(parse(text)).strip() == dedent(expected).strip()


def test_an_elementwise_chain_and_its_sum_share_a_loop():
    text = """
        func @f(%x: f64[n], %y: f64[n]) -> (f64, f64[n]) {
          %p: f64[n] = multiply(%x, %y)
          %e: f64[n] = exp(%p)
          %s: f64 = sum(%e) {axes=(0,)}
          %d: f64[n] = multiply(%e, %p)
          return %s, %d
        }"""
    assert_tree(
        text,
        """
        for i:
          e[i] = exp: register
          s = sum over i: register
          d[i] = multiply: result or operand (n)
        """,
    )
    found = counts(scheduled(text))
    assert (found["for"], found["alloc"], found["exp"], found["multiply"]) == (1, 1, 1, 2)


def test_what_needs_a_finished_sum_stands_in_a_later_loop():
    text = """
        func @f(%x: f64[n]) -> (f64[n]) {
          %e: f64[n] = exp(%x)
          %s: f64 = sum(%e) {axes=(0,)}
          %d: f64[n] = divide(%e, %s)
          return %d
        }"""
    assert_tree(
        text,
        """
        for i:
          e[i] = exp: buffer (n)
          s = sum over i: register
        for i:
          d[i] = divide: result or operand (n)
        """,
    )


def test_a_stencil_and_its_adjoint_are_one_peeled_loop():
    assert_tree(
        ROSENBROCK,
        """
        for i:
          s = sum over i: register
          g[i] = subtract: result or operand (n)
        """,
    )
    found = counts(scheduled(ROSENBROCK))
    assert (found["for"], found["alloc"]) == (1, 1)
    for n in range(1, 6):
        assert_same_results(parse(ROSENBROCK), np.linspace(-1.0, 2.0, n))


LOGISTIC = """
    func @f(%w: f64[m], %x: f64[n, m]) -> (f64, f64[m]) hints n = 100000, m = 100 {
      %z: f64[n] = dot(%x, %w)
      %e: f64[n] = exp(%z)
      %s: f64 = sum(%e) {axes=(0,)}
      %w_bar: f64[m] = dot(%e, %x)
      return %s, %w_bar
    }"""


def test_a_matrix_vector_product_and_its_adjoint_read_the_matrix_once_in_blocks():
    assert_tree(
        LOGISTIC,
        """
        for i in blocks:
          for i within the block (rows):
            for j:
              z[i] = sum over j: buffer (128)
          for i within the block (lanes):
            e[i] = exp: buffer (128)
            s = sum over i: register
          for i within the block (rows):
            for j:
              w_bar[j] = sum over i: result or operand (m), summed in memory
        """,
    )
    rng = np.random.default_rng(0)
    for n, m in ((0, 3), (1, 1), (300, 9)):
        x = rng.normal(size=(n, m)) * 0.1
        assert_same_results(parse(LOGISTIC), rng.normal(size=m), x)


def test_short_inner_axes_go_outside_the_lanes_of_a_block():
    text = """
        func @f(%x: f64[n, d], %mu: f64[k, d]) -> (f64[n]) hints n = 1000, d = 10, k = 25 {
          %a: f64[n, k, d] = view(%x) {shape=(n, k, d), map=[#0, #2]}
          %b: f64[n, k, d] = view(%mu) {shape=(n, k, d), map=[#1, #2]}
          %c: f64[n, k, d] = subtract(%a, %b)
          %q: f64[n, k, d] = square(%c)
          %r: f64[n, k] = sum(%q) {axes=(2,)}
          %e: f64[n, k] = exp(%r)
          %s: f64[n] = sum(%e) {axes=(1,)}
          return %s
        }"""
    assert_tree(
        text,
        """
        for i in blocks:
          for k:
            for i within the block:
              x[i, k] = copy: buffer (d, 128)
          for j:
            for k:
              for i within the block:
                r[i, j] = sum over k: buffer (k, 128), summed in memory
          for j:
            for i within the block:
              e[i, j] = exp: register
              s[i] = sum over j: result or operand (n), summed in memory
        """,
    )
    rng = np.random.default_rng(0)
    for n in (0, 1, 129):
        x, mu = rng.normal(size=(n, 3)) * 0.1, rng.normal(size=(9, 3))
        if n != 0:
            assert_same_results(parse(text), x, mu)


def test_pairs_keep_their_axes_apart_and_small_static_axes_are_unrolled():
    text = """
        func @f(%x: f64[n, 3]) -> (f64[n, 3]) {
          %a: f64[n, n, 3] = view(%x) {shape=(n, n, 3), map=[#0, #2]}
          %b: f64[n, n, 3] = view(%x) {shape=(n, n, 3), map=[#1, #2]}
          %c: f64[n, n, 3] = subtract(%a, %b)
          %q: f64[n, n, 3] = square(%c)
          %r: f64[n, n] = sum(%q) {axes=(2,)}
          %one: f64 = 1.0
          %r1: f64[n, n] = add(%r, %one)
          %w: f64[n, n] = reciprocal(%r1)
          %ww: f64[n, n, 3] = view(%w) {shape=(n, n, 3), map=[#0, #1]}
          %f: f64[n, n, 3] = multiply(%ww, %c)
          %force: f64[n, 3] = sum(%f) {axes=(1,)}
          return %force
        }"""
    tree = explain(parse(text)).splitlines()
    assert tree[0] == "for i:"
    assert "buffer (3, n)" in tree[1]
    assert [line.strip().split(" = ")[0] for line in tree[3:]] == [
        "for j:",
        "r[i, j]",
        "force[i, k]",
    ]
    found = counts(scheduled(text))
    assert (found["for"], found["reciprocal"]) == (3, 1)
    rng = np.random.default_rng(0)
    for n in (0, 1, 4):
        assert_same_results(parse(text), rng.normal(size=(n, 3)))


def test_matrix_products_go_to_blas_without_copies_of_transposes():
    text = """
        func @f(%a: f64[n, k], %b: f64[m, k]) -> (f64[n, m]) {
          %bt: f64[k, m] = view(%b) {shape=(k, m), map=[#1, #0]}
          %c: f64[n, m] = dot(%a, %bt)
          %d: f64[n, m] = tanh(%c)
          return %d
        }"""
    found = counts(scheduled(text))
    assert (found["gemm"], found["alloc"], found["for"]) == (1, 2, 2)
    rng = np.random.default_rng(0)
    assert_same_results(parse(text), rng.normal(size=(3, 4)), rng.normal(size=(2, 4)))


def test_a_maximum_over_a_long_row_runs_in_lanes_of_its_own():
    text = """
        func @f(%x: f64[n]) -> (f64, f64) hints n = 1000 {
          %m: f64 = max(%x) {axes=(0,)}
          %d: f64[n] = subtract(%x, %m)
          %e: f64[n] = exp(%d)
          %s: f64 = sum(%e) {axes=(0,)}
          return %m, %s
        }"""
    assert_tree(
        text,
        """
        for i (max):
          m = max over i: register
        for i:
          e[i] = exp: register
          s = sum over i: register
        """,
    )
    assert counts(scheduled(text))["maximum"] == 8 + 1 + 7
    for n in (1, 7, 8, 9, 30):
        assert_same_results(parse(text), np.sin(np.arange(float(n))))


def test_a_buffer_that_is_free_again_is_reused():
    text = """
        func @f(%x: f64[n]) -> (f64) {
          %a: f64[n] = exp(%x)
          %sa: f64 = sum(%a) {axes=(0,)}
          %a2: f64[n] = multiply(%a, %sa)
          %b: f64[n] = exp(%a2)
          %sb: f64 = sum(%b) {axes=(0,)}
          %b2: f64[n] = multiply(%b, %sb)
          %c: f64[n] = exp(%b2)
          %sc: f64 = sum(%c) {axes=(0,)}
          %c2: f64[n] = multiply(%c, %sc)
          %sum: f64 = sum(%c2) {axes=(0,)}
          return %sum
        }"""
    assert counts(scheduled(text))["alloc"] == 2
    assert_same_results(parse(text), np.array([-9.0, -8.0, -9.5]))


def test_a_costly_value_that_an_outer_loop_repeats_is_kept():
    text = """
        func @f(%x: f64[n], %y: f64[m]) -> (f64[n, m]) hints n = 300, m = 300 {
          %one: f64 = 1.0
          %q: f64[m] = square(%y)
          %r: f64[m] = add(%q, %one)
          %s: f64[m] = divide(%y, %r)
          %a: f64[n, m] = view(%s) {shape=(n, m), map=[#1]}
          %b: f64[n, m] = view(%x) {shape=(n, m), map=[#0]}
          %c: f64[n, m] = multiply(%a, %b)
          return %c
        }"""
    assert_tree(
        text,
        """
        for j:
          s[j] = divide: buffer (m)
        for i:
          for j:
            c[i, j] = multiply: result or operand (n, m)
        """,
    )


CELL = """
    func @f(%w: f64[n, m], %h: f64[m], %b: f64[n]) -> (f64[n], f64) hints n = 32, m = 32 {
      %z: f64[n] = dot(%w, %h)
      %zb: f64[n] = add(%z, %b)
      %y: f64[n] = tanh(%zb)
      %q: f64[n] = square(%y)
      %s: f64 = sum(%q) {axes=(0,)}
      return %y, %s
    }"""


def test_heavy_values_have_a_loop_apart_from_the_row_loops():
    assert_tree(
        CELL,
        """
        for i (rows):
          for j:
            z[i] = sum over j: buffer (n)
        for i (lanes):
          y[i] = tanh: result or operand (n)
          s = sum over i: register
        """,
    )
    rng = np.random.default_rng(0)
    for n, m in ((0, 3), (3, 0), (1, 1), (9, 5)):
        arguments = rng.normal(size=(n, m)), rng.normal(size=m), rng.normal(size=n)
        assert_same_results(parse(CELL), *arguments)


def test_rows_that_are_read_before_and_after_a_heavy_value_stay_with_it():
    text = """
        func @f(%z: f64[n, m]) -> (f64[n, m]) hints n = 32, m = 500 {
          %e: f64[n, m] = exp(%z)
          %s: f64[n] = sum(%e) {axes=(1,)}
          %l: f64[n] = log(%s)
          %lb: f64[n, m] = view(%l) {shape=(n, m), map=[#0]}
          %p: f64[n, m] = subtract(%z, %lb)
          return %p
        }"""
    assert_tree(
        text,
        """
        for i:
          for j:
            e[i, j] = exp: register
            s[i] = sum over j: register
          l[i] = log: register
          for j:
            p[i, j] = subtract: result or operand (n, m)
        """,
    )


def test_rows_within_an_outer_loop_have_heavy_values_apart():
    text = """
        func @f(%w: f64[n, m], %h: f64[k, m]) -> (f64[k]) hints k = 90, n = 40, m = 30 {
          %a: f64[k, n, m] = view(%w) {shape=(k, n, m), map=[#1, #2]}
          %b: f64[k, n, m] = view(%h) {shape=(k, n, m), map=[#0, #2]}
          %c: f64[k, n, m] = multiply(%a, %b)
          %z: f64[k, n] = sum(%c) {axes=(2,)}
          %y: f64[k, n] = exp(%z)
          %s: f64[k] = sum(%y) {axes=(1,)}
          return %s
        }"""
    tree = [line.split(":")[0] for line in explain(parse(text)).splitlines()]
    assert tree == [
        "for i",
        "  for j (rows)",
        "    for k",
        "      z[i, j] = sum over k",
        "  for j (lanes)",
        "    y[i, j] = exp",
        "    s[i] = sum over j",
    ]
    rng = np.random.default_rng(0)
    assert_same_results(parse(text), rng.normal(size=(5, 3)) * 0.1, rng.normal(size=(2, 3)))
