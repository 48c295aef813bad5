"""Products of a matrix with a row per trip, made of all trips before the loop."""

import numpy as np
import pytest

from tracegrad.backend.compile import KernelOptions
from tracegrad.ir.interpreter import evaluate
from tracegrad.ir.text import parse
from tracegrad.ir.types import evaluate as size
from tracegrad.ir.verifier import verify
from tracegrad.passes import products_ahead
from tracegrad.pipeline import compile_function


def program(body, *, rows="n", lo="0", hi="n", step="1", params="", hints="p = 20, q = 30"):
    lo, hi = (end if end.lstrip("-").isdigit() else f"dim() {{size={end}}}" for end in (lo, hi))
    return parse(f"""
    func @f(%w: f64[p, q], %x: f64[{rows}, q], %s: f64[p], %y: f64[n]{params}) -> (f64[p])
      hints {hints}
    {{
      %lo: i64 = {lo}
      %hi: i64 = {hi}
      %step: i64 = {step}
      %r: f64[p] = for(%lo, %hi, %step, %s) (%i: i64, %c: f64[p]) {{
        {body}
        %half: f64 = 0.5
        %e: f64[p] = multiply(%c, %half)
        %d: f64[p] = add(%e, %b)
        yield %d
      }}
      return %r
    }}""")


PRODUCT = """%a: f64[q] = index(%x, %i)
        %b: f64[p] = dot(%w, %a)"""


def in_loops(function):
    return [op.name for loop in function.walk() if loop.name == "for" for op in loop.regions[0].ops]


def assert_same(function, sizes=(0, 1, 4), compiled=False):
    new = verify(products_ahead(function))
    rng = np.random.default_rng(0)
    kernel = compile_function(function, KernelOptions()) if compiled else None
    for n in sizes:
        known = {"n": n, "p": 3, "q": 2, "k": 2}
        args = [rng.normal(size=[size(d, known) for d in v.shape]) for v in function.params]
        (expected,) = evaluate(function, *args)
        np.testing.assert_allclose(evaluate(new, *args)[0], expected, rtol=1e-12)
        if kernel is not None:
            np.testing.assert_allclose(kernel.dispatcher(*args), expected, rtol=1e-12)
    return new


def test_the_loop_reads_rows_of_one_product():
    new = assert_same(program(PRODUCT), compiled=True)
    assert "dot" not in in_loops(new)


def test_from_the_last_to_the_first_and_at_an_offset():
    assert "dot" not in in_loops(assert_same(program(PRODUCT, lo="n - 1", hi="-1", step="-1")))
    body = """%one: i64 = 1
        %next: i64 = add(%i, %one)
        %a: f64[q] = index(%x, %next)
        %b: f64[p] = dot(%w, %a)"""
    assert "dot" not in in_loops(assert_same(program(body, rows="n + 1")))


def test_a_vector_times_a_matrix():
    body = """%a: f64[q] = index(%x, %i)
        %v: f64[q, p] = view(%w) {shape=(q, p), map=[#1, #0]}
        %b: f64[p] = dot(%a, %v)"""
    assert "dot" not in in_loops(assert_same(program(body)))


def test_part_of_a_matrix():
    body = """%a: f64[q] = index(%x, %i)
        %v: f64[p, q] = view(%u) {shape=(p, q), map=[1, #0, #1]}
        %b: f64[p] = dot(%v, %a)"""
    new = assert_same(program(body, params=", %u: f64[k, p, q]"))
    assert "dot" not in in_loops(new)


def test_a_loop_within_a_loop():
    function = parse("""
    func @f(%w: f64[p, q], %x: f64[k, n, q], %s: f64[p]) -> (f64[p]) hints p = 20, q = 30 {
      %zero: i64 = 0
      %one: i64 = 1
      %k: i64 = dim() {size=k}
      %n: i64 = dim() {size=n}
      %r: f64[p] = for(%zero, %k, %one, %s) (%j: i64, %c0: f64[p]) {
        %r0: f64[p] = for(%zero, %n, %one, %c0) (%i: i64, %c: f64[p]) {
          %a: f64[q] = index(%x, %j, %i)
          %b: f64[p] = dot(%w, %a)
          %t: f64[p] = tanh(%c)
          %d: f64[p] = add(%t, %b)
          yield %d
        }
        yield %r0
      }
      return %r
    }""")
    new = verify(products_ahead(function))
    inner = [op for op in new.walk() if op.name == "for"][1]
    assert "dot" not in [op.name for op in inner.regions[0].ops]
    rng = np.random.default_rng(0)
    for k, n in ((0, 2), (2, 0), (2, 3)):
        args = [rng.normal(size=s) for s in ((3, 2), (k, n, 2), (3,))]
        np.testing.assert_allclose(evaluate(new, *args)[0], evaluate(function, *args)[0])


def test_rows_that_may_be_out_of_range_are_still_checked():
    function = program(PRODUCT, rows="k")
    assert products_ahead(function) is function
    rng = np.random.default_rng(0)
    args = [rng.normal(size=s) for s in ((3, 2), (4, 2), (3,), (5,))]
    with pytest.raises(IndexError):
        evaluate(products_ahead(function), *args)


@pytest.mark.parametrize(
    "changes",
    [
        {"body": PRODUCT, "step": "2"},
        # The matrix is one of the trip's.
        {
            "body": """%a: f64[q] = index(%x, %i)
        %f: f64 = cast(%i) {dtype=f64}
        %v: f64[p, q] = multiply(%f, %w)
        %b: f64[p] = dot(%v, %a)"""
        },
        # So is the vector.
        {
            "body": """%a0: f64[q] = index(%x, %i)
        %a: f64[q] = exp(%a0)
        %b: f64[p] = dot(%w, %a)"""
        },
        # Much would be stored.
        {"body": PRODUCT, "hints": "p = 100, q = 20"},
        # Not every row once.
        {
            "body": """%two: i64 = 2
        %half: i64 = floor_divide(%i, %two)
        %a: f64[q] = index(%x, %half)
        %b: f64[p] = dot(%w, %a)"""
        },
    ],
    ids=["step", "matrix", "vector", "large", "rows"],
)
def test_products_that_stay_in_the_loop(changes):
    changes = dict(changes)
    body = changes.pop("body")
    function = program(body.replace("%half: i64", "%h: i64").replace("%half)", "%h)"), **changes)
    assert products_ahead(function) is function


def test_what_an_arm_computes_stays_there():
    function = program(
        """%t: f64 = index(%y, %i)
        %z: f64 = 0.0
        %p: bool = less(%t, %z)
        %b: f64[p] = if(%p) {
          %a: f64[q] = index(%x, %i)
          %g: f64[p] = dot(%w, %a)
          yield %g
        } else {
          yield %c
        }"""
    )
    assert products_ahead(function) is function


def test_rows_of_an_array_that_the_loop_writes_stay():
    function = parse("""
    func @f(%w: f64[p, p], %x: f64[n + 1, p]) -> (f64[n + 1, p]) hints p = 20 {
      %lo: i64 = 0
      %hi: i64 = dim() {size=n}
      %step: i64 = 1
      %r: f64[n + 1, p] = for(%lo, %hi, %step, %x) (%i: i64, %c: f64[n + 1, p]) {
        %a: f64[p] = index(%c, %i)
        %b: f64[p] = dot(%w, %a)
        %next: i64 = add(%i, %step)
        %d: f64[n + 1, p] = update(%c, %b, %next)
        yield %d
      }
      return %r
    }""")
    assert products_ahead(function) is function
