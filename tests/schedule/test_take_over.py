"""New buffers in the memory of dead ones, and those that are not."""

import numpy as np
import pytest

from tests.schedule.support import assert_same_results
from tracegrad.ir.text import parse
from tracegrad.ir.verifier import verify
from tracegrad.schedule import schedule


def program(body, results):
    """Straight-line code on two square matrices."""
    kinds = ", ".join(["f64[n, n]"] * len(results.split(",")))
    return parse(f"""
    func @f(%a: f64[n, n], %b: f64[n, n]) -> ({kinds}) hints n = 32 {{
      {body}
      return {results}
    }}""")


def buffers(function):
    loops = verify(schedule(function), form="loop")
    return sum(op.name == "alloc" for op in loops.walk())


def assert_right(function):
    rng = np.random.default_rng(0)
    for n in (0, 1, 2, 9):
        assert_same_results(function, *(0.3 * rng.normal(size=(n, n)) for _ in range(2)))


PRODUCT = "%1: f64[n, n] = dot(%a, %b)\n"


@pytest.mark.parametrize(
    ("body", "results", "count"),
    [
        (PRODUCT + "%r: f64[n, n] = subtract(%1, %b)\n %q: f64[n, n] = dot(%r, %a)", "%q", 2),
        (PRODUCT + "%r: f64[n, n] = subtract(%1, %b)", "%r", 1),
        (PRODUCT + "%q: f64[n, n] = dot(%1, %a)\n %r: f64[n, n] = dot(%q, %a)", "%r", 2),
    ],
    ids=["scratch", "result", "dead before"],
)
def test_a_dead_buffer_is_taken_over(body, results, count):
    function = program(body, results)
    assert buffers(function) == count
    assert_right(function)


@pytest.mark.parametrize(
    ("body", "results", "count"),
    [
        (PRODUCT + "%r: f64[n, n] = subtract(%1, %b)", "%1, %r", 2),
        (
            PRODUCT + "%t: f64[n, n] = view(%1) {shape=(n, n), map=[#1, #0]}\n"
            " %r: f64[n, n] = add(%1, %t)",
            "%r",
            2,
        ),
        (
            PRODUCT + "%f: f64[n, n] = view(%1) {shape=(n, n), map=[#0, -#1 + n - 1]}\n"
            " %r: f64[n, n] = multiply(%f, %b)",
            "%r",
            2,
        ),
        (PRODUCT + "%r: f64[n, n] = sin(%1)\n %q: f64[n, n] = dot(%1, %r)", "%q, %r", 3),
        (PRODUCT + "%q: f64[n, n] = dot(%1, %a)", "%q", 2),
        ("%r: f64[n, n] = sin(%a)\n %q: f64[n, n] = cos(%a)", "%q, %r", 2),
    ],
    ids=["a result", "transposed", "flipped", "read later", "operand", "results"],
)
def test_a_buffer_that_is_read_later_or_elsewhere_is_not(body, results, count):
    function = program(body, results)
    assert buffers(function) == count
    assert_right(function)


def test_a_vector_of_sums_is_no_place_for_elements():
    function = parse("""
    func @f(%a: f64[n, n]) -> (f64[n]) hints n = 32 {
      %s: f64[n] = sum(%a) {axes=(0,)}
      %m: f64 = max(%s) {axes=(0,)}
      %e: f64[n] = subtract(%s, %m)
      %x: f64[n] = exp(%e)
      return %x
    }""")
    rng = np.random.default_rng(0)
    for n in (1, 2, 9):
        assert_same_results(function, rng.normal(size=(n, n)))


def test_what_the_user_named_keeps_its_name():
    named = program("%p: f64[n, n] = dot(%a, %b)\n %r: f64[n, n] = subtract(%p, %b)", "%r")
    assert buffers(named) == 2
    assert_right(named)
