"""New carried arrays that are written over the old ones, and those that are not."""

import numpy as np
import pytest

from tests.schedule.support import assert_same_results
from tracegrad.ir.text import parse
from tracegrad.ir.verifier import verify
from tracegrad.schedule import schedule


def vector(body, result="%d", hint=32):
    """A loop that carries a vector; ``w`` and ``x`` come from outside."""
    return parse(f"""
    func @f(%w: f64[n, n], %x: f64[n]) -> (f64[n]) hints n = {hint} {{
      %lo: i64 = 0
      %hi: i64 = 3
      %step: i64 = 1
      %one: f64 = 0.5
      %start: f64[n] = view(%one) {{shape=(n,), map=[]}}
      %r: f64[n] = for(%lo, %hi, %step, %start) (%i: i64, %c: f64[n]) {{
        {body}
        yield {result}
      }}
      return %r
    }}""")


def carried(function):
    """How many buffers the main loop exchanges."""
    loops = verify(schedule(function), form="loop")
    return max(sum(v.rank > 0 for v in op.results) for op in loops.walk() if op.name == "for")


def assert_right(function, sizes=(0, 1, 2, 9)):
    rng = np.random.default_rng(0)
    for n in sizes:
        assert_same_results(function, 0.3 * rng.normal(size=(n, n)), rng.normal(size=n))


@pytest.mark.parametrize(
    "body",
    [
        "%d: f64[n] = add(%c, %x)",
        "%e: f64[n] = sin(%c)\n %f: f64[n] = multiply(%e, %c)\n %d: f64[n] = tanh(%f)",
        # All of the old one is read before.
        "%e: f64[n] = dot(%w, %c)\n %d: f64[n] = tanh(%e)",
        "%e: f64[n] = exp(%c)\n %d: f64[n] = dot(%e, %w)",
        "%s: f64 = sum(%c) {axes=(0,)}\n %d: f64[n] = multiply(%s, %c)",
        "%d: f64[n] = multiply(%x, %x)",
    ],
    ids=["sum", "elementwise", "product", "product of new", "total", "unread"],
)
def test_one_buffer_is_enough(body):
    function = vector(body)
    assert carried(function) == 0
    assert_right(function)


@pytest.mark.parametrize(
    "body",
    [
        # Other elements of the old one are read.
        "%v: f64[n] = view(%c) {shape=(n,), map=[-#0 + n - 1]}\n %d: f64[n] = add(%v, %c)",
        "%d: f64[n] = dot(%w, %c)",
        "%a: f64[n - 1] = view(%c) {shape=(n - 1,), map=[#0]}\n"
        " %b: f64[n] = pad(%a) {shape=(n,), map=[#0 + 1]}\n %d: f64[n] = add(%b, %c)",
        # The old one is read with the whole of the new one.
        "%e: f64[n] = exp(%c)\n %s: f64 = sum(%e) {axes=(0,)}\n"
        " %g: f64[n] = multiply(%c, %s)\n %d: f64[n] = add(%g, %e)",
    ],
    ids=["flipped", "product", "shifted", "both"],
)
def test_results_are_right_where_other_elements_are_read(body):
    assert_right(vector(body), sizes=(1, 2, 9))


def test_blocks_of_rows_read_all_of_the_old_vector():
    body = "%e: f64[n] = dot(%w, %c)\n %d: f64[n] = tanh(%e)"
    function = vector(body, hint=500)
    assert carried(function) == 2
    assert_right(function, sizes=(3, 130))


def test_flipped_rows_take_two_buffers():
    body = "%v: f64[n] = view(%c) {shape=(n,), map=[-#0 + n - 1]}\n %d: f64[n] = add(%v, %c)"
    assert carried(vector(body)) == 2
    assert carried(vector("%d: f64[n] = dot(%w, %c)")) == 2


def test_a_new_array_that_is_read_with_the_old_one_afterwards():
    function = parse("""
    func @f(%x: f64[n]) -> (f64[n], f64) {
      %lo: i64 = 0
      %hi: i64 = 3
      %step: i64 = 1
      %one: f64 = 0.5
      %zero: f64 = 0.0
      %start: f64[n] = view(%one) {shape=(n,), map=[]}
      %r: f64[n], %t: f64 = for(%lo, %hi, %step, %start, %zero) (%i: i64, %c: f64[n], %a: f64) {
        %d: f64[n] = tanh(%c)
        %s: f64 = sum(%d) {axes=(0,)}
        %e: f64[n] = multiply(%c, %s)
        %q: f64 = sum(%e) {axes=(0,)}
        %b: f64 = add(%a, %q)
        %f: f64[n] = add(%d, %x)
        yield %f, %b
      }
      return %r, %t
    }""")
    rng = np.random.default_rng(0)
    for n in (0, 1, 5):
        assert_same_results(function, rng.normal(size=n))


def test_two_arrays_that_are_exchanged_keep_their_buffers():
    function = parse("""
    func @f(%x: f64[n]) -> (f64[n], f64[n]) {
      %lo: i64 = 0
      %hi: i64 = 3
      %step: i64 = 1
      %one: f64 = 0.5
      %start: f64[n] = view(%one) {shape=(n,), map=[]}
      %two: f64 = 2.0
      %other: f64[n] = view(%two) {shape=(n,), map=[]}
      %r: f64[n], %t: f64[n] = for(%lo, %hi, %step, %start, %other) (
        %i: i64, %c: f64[n], %a: f64[n]
      ) {
        %d: f64[n] = multiply(%c, %x)
        %e: f64[n] = add(%d, %a)
        yield %e, %c
      }
      return %r, %t
    }""")
    assert carried(function) > 1
    rng = np.random.default_rng(0)
    assert_same_results(function, rng.normal(size=4))


@pytest.mark.parametrize(
    ("body", "buffers"),
    [
        ("%d: f64[n, n] = add(%c, %w)", 0),
        ("%v: f64[n, n] = view(%c) {shape=(n, n), map=[#1, #0]}\n %d: f64[n, n] = add(%v, %c)", 2),
        (
            "%v: f64[n] = view(%c) {shape=(n,), map=[0, #0]}\n"
            " %b: f64[n, n] = view(%v) {shape=(n, n), map=[#1]}\n %d: f64[n, n] = add(%b, %c)",
            2,
        ),
        (
            "%s: f64[n] = sum(%c) {axes=(1,)}\n"
            " %b: f64[n, n] = view(%s) {shape=(n, n), map=[#1]}\n %d: f64[n, n] = add(%b, %c)",
            0,
        ),
    ],
    ids=["sum", "transposed", "first row", "sums of rows"],
)
def test_matrices(body, buffers):
    function = parse(f"""
    func @f(%w: f64[n, n]) -> (f64[n, n]) {{
      %lo: i64 = 0
      %hi: i64 = 3
      %step: i64 = 1
      %one: f64 = 0.5
      %start: f64[n, n] = view(%one) {{shape=(n, n), map=[]}}
      %r: f64[n, n] = for(%lo, %hi, %step, %start) (%i: i64, %c: f64[n, n]) {{
        {body}
        yield %d
      }}
      return %r
    }}""")
    assert carried(function) == buffers
    rng = np.random.default_rng(0)
    for n in (1, 2, 6):
        assert_same_results(function, rng.normal(size=(n, n)))


def test_a_small_static_vector():
    function = parse("""
    func @f(%x: f64[3]) -> (f64[3]) {
      %lo: i64 = 0
      %hi: i64 = 3
      %step: i64 = 1
      %one: f64 = 0.5
      %start: f64[3] = view(%one) {shape=(3,), map=[]}
      %r: f64[3] = for(%lo, %hi, %step, %start) (%i: i64, %c: f64[3]) {
        %v: f64[3] = view(%c) {shape=(3,), map=[-#0 + 2]}
        %e: f64[3] = multiply(%v, %x)
        %d: f64[3] = subtract(%e, %c)
        yield %d
      }
      return %r
    }""")
    assert_same_results(function, np.array([0.3, -0.2, 0.7]))
