"""Matrices that loops multiply with across their rows are laid out before the loop."""

import re

import numpy as np
import pytest

from tests.schedule.support import assert_same_results
from tracegrad.ir.text import parse
from tracegrad.ir.verifier import verify
from tracegrad.passes import simplify
from tracegrad.schedule import schedule
from tracegrad.schedule.packing import pack_matrices
from tracegrad.testing.ir import assert_pass

LOOP = """
    func @f(%w: {matrix}, %z: f64[n]{params}) -> (f64[n]) {hints} {{
      %lo: i64 = 0
      %hi: i64 = {hi}
      %step: i64 = 1
      %r: f64[n] = for(%lo, %hi, %step, %z) (%i: i64, %c: f64[n]) {{{body}
        %d: f64[n] = tanh(%e)
        yield %d
      }}
      return %r
    }}"""


def program(body, *, matrix="f64[n, n]", hi="9", hints="", params=""):
    return parse(LOOP.format(body=body, matrix=matrix, hi=hi, hints=hints, params=params))


def views_before_loops(function):
    return [op for op in function.body.ops if op.name == "view"]


def test_the_docstring_tells_the_truth():
    found = re.search(
        r"Before::\n(.*?\n    )After::\n(.*?\n {8}\}\n)", pack_matrices.__doc__, re.DOTALL
    )
    assert_pass(pack_matrices, before=found[1], after=found[2])


@pytest.mark.parametrize(
    ("matrix", "body"),
    [
        ("f64[n, n]", "%e: f64[n] = dot(%c, %w)"),
        (
            "f64[n, n]",
            "%v: f64[n, n] = view(%w) {shape=(n, n), map=[#1, #0]}\n %e: f64[n] = dot(%v, %c)",
        ),
        (
            "f64[k, n, n]",
            "%v: f64[n, n] = view(%w) {shape=(n, n), map=[1, #0, #1]}\n %e: f64[n] = dot(%c, %v)",
        ),
        (
            "f64[n + 2, n + 1]",
            "%v: f64[n, n] = view(%w) {shape=(n, n), map=[#0 + 1, #1 + 1]}\n"
            " %e: f64[n] = dot(%c, %v)",
        ),
    ],
    ids=["columns", "transposed", "one of several", "part"],
)
def test_a_product_across_rows_reads_rows_of_a_copy(matrix, body):
    function = program(body, matrix=matrix)
    packed = verify(pack_matrices(function))
    assert len(views_before_loops(packed)) == 1
    loops = verify(schedule(function), form="loop")
    (main,) = [op for op in loops.body.ops if op.name == "for" and len(op.operands) > 3]
    assert not any(op.name == "alloc" for op in main.regions[0].ops)
    rng = np.random.default_rng(0)
    for n in (1, 3, 17):
        sizes = {"n": n, "k": 2}
        shape = [
            d if isinstance(d, int) else eval(str(d), {}, sizes) for d in function.params[0].shape
        ]
        assert_same_results(function, rng.normal(size=shape), rng.normal(size=n))


def test_products_with_one_matrix_share_its_copy():
    function = program("%a: f64[n] = dot(%c, %w)\n %b: f64[n] = sin(%a)\n %e: f64[n] = dot(%b, %w)")
    packed = pack_matrices(function)
    assert len(views_before_loops(packed)) == 1
    rng = np.random.default_rng(0)
    assert_same_results(function, rng.normal(size=(5, 5)), rng.normal(size=5))


def test_the_copy_is_made_before_the_outermost_loop_that_does_not_change_the_matrix():
    function = parse("""
    func @f(%w: f64[n, n], %z: f64[n]) -> (f64[n]) {
      %lo: i64 = 0
      %hi: i64 = 5
      %step: i64 = 1
      %r: f64[n] = for(%lo, %hi, %step, %z) (%i: i64, %c: f64[n]) {
        %s: f64[n] = for(%lo, %hi, %step, %c) (%j: i64, %g: f64[n]) {
          %e: f64[n] = dot(%g, %w)
          %d: f64[n] = tanh(%e)
          yield %d
        }
        yield %s
      }
      return %r
    }""")
    assert len(views_before_loops(pack_matrices(function))) == 1
    rng = np.random.default_rng(0)
    assert_same_results(function, rng.normal(size=(4, 4)), rng.normal(size=4))


@pytest.mark.parametrize(
    "body",
    [
        "%a: f64[n] = dot(%w, %c)\n %s: f64 = sum(%a) {axes=(0,)}\n"
        " %b: f64[n] = multiply(%s, %c)\n %e: f64[n] = dot(%b, %w)",
        "%a: f64[n] = dot(%w, %c)\n %b: f64[n] = cumsum(%a) {axis=0}\n %e: f64[n] = dot(%b, %w)",
    ],
    ids=["all of the first product", "more of it than a row"],
)
def test_a_small_matrix_that_two_products_need_one_after_the_other_is_copied(body):
    function = program(body, hints="hints n = 20")
    assert len(views_before_loops(pack_matrices(function))) == 1


def test_rows_of_the_matrix_as_it_is_need_no_copy():
    function = program("%e: f64[n] = dot(%w, %c)")
    assert pack_matrices(function) is function


@pytest.mark.parametrize(
    ("body", "options"),
    [
        ("%e: f64[n] = dot(%c, %w)", {"hi": "3"}),
        (
            "%e: f64[n] = dot(%c, %w)",
            {"hi": "dim() {size=m}", "hints": "hints m = 2", "params": ", %y: f64[m]"},
        ),
        (
            "%a: f64[n] = dot(%w, %c)\n %e: f64[n] = dot(%a, %w)",
            {"hints": "hints n = 500"},
        ),
        (
            "%k: f64 = cast(%i) {dtype=f64}\n %w2: f64[n, n] = multiply(%k, %w)\n"
            " %e: f64[n] = dot(%c, %w2)",
            {},
        ),
        ("%v: f64[n, n] = view(%c) {shape=(n, n), map=[#1]}\n %e: f64[n] = dot(%c, %v)", {}),
        (
            "%a: f64[n] = dot(%w, %c)\n %b: f64[n] = tanh(%a)\n %e: f64[n] = dot(%b, %w)",
            {"hints": "hints n = 20"},
        ),
    ],
    ids=[
        *("few trips", "few trips by hint", "large and read by rows", "changing", "broadcast"),
        "a row serves both products",
    ],
)
def test_matrices_that_are_not_copied(body, options):
    function = program(body, **options)
    assert pack_matrices(function) is function


def test_a_matrix_that_the_loop_changes_is_not_copied():
    function = parse("""
    func @f(%w: f64[n, n], %z: f64[n]) -> (f64[n]) {
      %lo: i64 = 0
      %hi: i64 = 5
      %step: i64 = 1
      %r: f64[n], %w1: f64[n, n] = for(%lo, %hi, %step, %z, %w) (
        %i: i64, %c: f64[n], %m: f64[n, n]
      ) {
        %e: f64[n] = dot(%c, %m)
        %m2: f64[n, n] = update(%m, %e, %lo)
        yield %e, %m2
      }
      return %r
    }""")
    assert pack_matrices(function) is function


def test_a_small_static_matrix_is_not_copied():
    text = str(program("%e: f64[n] = dot(%c, %w)"))
    function = parse(text.replace("[n", "[3").replace(" n]", " 3]"))
    assert pack_matrices(function) is function


def test_a_transposed_copy_that_only_a_loop_reads_is_made_in_tiles():
    function = program("%e: f64[n] = dot(%c, %w)")
    loops = schedule(function)
    kinds = [op.attributes.get("kind") for op in loops.walk() if op.name == "for"]
    assert kinds.count("transpose") == 1
    rng = np.random.default_rng(0)
    for n in (0, 1, 7, 8, 9, 20):
        assert_same_results(function, rng.normal(size=(n, n)), rng.normal(size=n))


def test_a_matrix_changed_after_it_was_transposed():
    """The copy holds what the matrix was before the loop."""
    function = simplify(
        parse("""
    func @f(%x: f64[n, n], %z: f64[n]) -> (f64[n], f64[n, n]) {
      %lo: i64 = 0
      %hi: i64 = 5
      %step: i64 = 1
      %w: f64[n, n] = exp(%x)
      %r: f64[n], %w1: f64[n, n] = for(%lo, %hi, %step, %z, %w) (
        %i: i64, %c: f64[n], %m: f64[n, n]
      ) {
        %e: f64[n] = dot(%c, %w)
        %t: f64[n] = tanh(%e)
        %m2: f64[n, n] = update(%m, %t, %lo)
        yield %t, %m2
      }
      return %r, %w1
    }""")
    )
    assert len(views_before_loops(pack_matrices(function))) == 1
    rng = np.random.default_rng(0)
    assert_same_results(function, rng.normal(size=(4, 4)) * 0.1, rng.normal(size=4))


def test_a_part_that_is_another_in_each_trip_is_not_copied_before_the_loop():
    function = parse("""
    func @f(%w: f64[n, m], %z: f64[n], %y: f64[m]) -> (f64[m]) {
      %lo: i64 = 0
      %hi: i64 = dim() {size=n}
      %step: i64 = 1
      %r: f64[m] = for(%lo, %hi, %step, %y) (%i: i64, %c: f64[m]) {
        %k: i64 = bind(%i) {size=count}
        %v: f64[count] = view(%z) {shape=(count,), map=[#0]}
        %part: f64[count, m] = view(%w) {shape=(count, m), map=[#0, #1]}
        %d: f64[m] = dot(%v, %part)
        %e: f64[m] = add(%c, %d)
        yield %e
      }
      return %r
    }""")
    assert pack_matrices(function) is function
    rng = np.random.default_rng(0)
    for n in (0, 1, 9):
        assert_same_results(
            function, rng.normal(size=(n, 4)), rng.normal(size=n), rng.normal(size=4)
        )


def test_a_part_that_an_outer_loop_decides_is_copied_before_the_inner_one():
    function = parse("""
    func @f(%w: f64[n, m], %z: f64[n], %y: f64[m]) -> (f64[m]) {
      %lo: i64 = 0
      %hi: i64 = dim() {size=n}
      %step: i64 = 1
      %many: i64 = 6
      %r: f64[m] = for(%lo, %hi, %step, %y) (%i: i64, %c: f64[m]) {
        %k: i64 = bind(%i) {size=count}
        %v: f64[count] = view(%z) {shape=(count,), map=[#0]}
        %part: f64[count, m] = view(%w) {shape=(count, m), map=[#0, #1]}
        %s: f64[m] = for(%lo, %many, %step, %c) (%j: i64, %g: f64[m]) {
          %a: f64 = sum(%g) {axes=(0,)}
          %ab: f64[count] = view(%a) {shape=(count,), map=[]}
          %b: f64[count] = multiply(%v, %ab)
          %d: f64[m] = dot(%b, %part)
          %e: f64[m] = tanh(%d)
          yield %e
        }
        yield %s
      }
      return %r
    }""")
    packed = verify(pack_matrices(function))
    assert packed is not function
    assert not views_before_loops(packed)
    rng = np.random.default_rng(0)
    for n in (0, 1, 9):
        assert_same_results(
            function, rng.normal(size=(n, 4)), rng.normal(size=n), rng.normal(size=4)
        )
