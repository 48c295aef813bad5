"""Sums of products over the trips of a loop, made of all trips at once."""

import numpy as np
import pytest

from tracegrad.backend.compile import KernelOptions
from tracegrad.ir.interpreter import evaluate
from tracegrad.ir.text import parse
from tracegrad.ir.types import evaluate as size
from tracegrad.ir.verifier import verify
from tracegrad.passes import stack_products
from tracegrad.pipeline import compile_function

OUTER = """
        %left: f64[p, q] = view(%a) {shape=(p, q), map=[#0]}
        %right: f64[p, q] = view(%b) {shape=(p, q), map=[#1]}
        %m: f64[p, q] = multiply(%left, %right)"""


def program(
    body,
    *,
    rows="n",
    lo="0",
    hi="n",
    step="1",
    yields="%d",
    hints="p = 20, q = 30",
    params="",
):
    """``s += outer(a, b)`` in a loop over ``x: f64[rows, p]`` and ``y: f64[n, q]``."""
    lo, hi = (end if end.lstrip("-").isdigit() else f"dim() {{size={end}}}" for end in (lo, hi))
    return parse(f"""
    func @f(%x: f64[{rows}, p], %y: f64[n, q], %s: f64[p, q]{params}) -> (f64[p, q])
      hints {hints}
    {{
      %lo: i64 = {lo}
      %hi: i64 = {hi}
      %step: i64 = {step}
      %r: f64[p, q] = for(%lo, %hi, %step, %s) (%i: i64, %c: f64[p, q]) {{{body}
        yield {yields}
      }}
      return %r
    }}""")


READ = """
        %a: f64[p] = index(%x, %i)
        %b: f64[q] = index(%y, %i)"""
ADD = """
        %d: f64[p, q] = add(%c, %m)"""


def loops(function):
    return [op for op in function.walk() if op.name == "for"]


def arguments(function, n, p=3, q=2):
    rng = np.random.default_rng(0)
    sizes = {"n": n, "p": p, "q": q}
    return [rng.normal(size=[size(d, sizes) for d in v.shape]) for v in function.params]


def assert_same(function, sizes=(1, 2, 5), compiled=False):
    new = verify(stack_products(function))
    kernel = compile_function(function, KernelOptions()) if compiled else None
    for n in sizes:
        args = arguments(function, n)
        expected = evaluate(function, *args)
        for e, found in zip(expected, evaluate(new, *args), strict=True):
            np.testing.assert_allclose(found, e, rtol=1e-12, atol=1e-14)
        if kernel is not None:
            found = kernel.dispatcher(*args)
            np.testing.assert_allclose(found, expected[0], rtol=1e-12, atol=1e-14)
    return new


def test_rows_that_stand_in_arrays_need_no_loop():
    new = assert_same(program(READ + OUTER + ADD), sizes=(0, 1, 5), compiled=True)
    assert not loops(new)
    assert [op.name for op in new.body.ops].count("dot") == 1


def test_the_way_back_reads_the_same_rows():
    function = program(READ + OUTER + ADD, lo="n - 1", hi="-1", step="-1")
    assert not loops(assert_same(function, sizes=(0, 1, 5)))


def test_rows_begin_where_the_loop_does():
    body = """
        %one: i64 = 1
        %next: i64 = add(%i, %one)
        %a: f64[p] = index(%x, %next)
        %b: f64[q] = index(%y, %i)"""
    function = program(body + OUTER + ADD, rows="n + 1")
    assert not loops(assert_same(function, sizes=(0, 1, 5)))


def test_factors_are_stored_where_they_are_made():
    body = """
        %x1: f64[p] = index(%x, %i)
        %a: f64[p] = exp(%x1)
        %b: f64[q] = index(%y, %i)"""
    new = assert_same(program(body + OUTER + ADD), sizes=(0, 1, 5), compiled=True)
    (loop,) = loops(new)
    assert [str(v.type) for v in loop.results] == ["f64[n, p]"]


def test_signs_scalars_and_what_is_no_product():
    body = f"""{READ}
        %k: f64 = cast(%i) {{dtype=f64}}{OUTER}
        %m2: f64[p, q] = multiply(%m, %k)
        %m3: f64[p, q] = negative(%m2)
        %e: f64[p, q] = exp(%z)
        %d1: f64[p, q] = add(%e, %c)
        %d2: f64[p, q] = subtract(%d1, %m3)
        %d3: f64[p, q] = subtract(%d2, %z)
        %d: f64[p, q] = subtract(%d3, %m)"""
    new = assert_same(program(body, params=", %z: f64[p, q]"), sizes=(0, 1, 5))
    (loop,) = loops(new)
    assert "f64[p, q]" in [str(v.type) for v in loop.results]
    assert [op.name for op in new.body.ops].count("dot") == 2


def test_transposed_products():
    body = (
        READ
        + """
        %left: f64[q, p] = view(%b) {shape=(q, p), map=[#0]}
        %right: f64[q, p] = view(%a) {shape=(q, p), map=[#1]}
        %o: f64[q, p] = multiply(%left, %right)
        %m: f64[p, q] = view(%o) {shape=(p, q), map=[#1, #0]}"""
        + ADD
    )
    assert not loops(assert_same(program(body), sizes=(0, 1, 5)))


@pytest.mark.parametrize("exchanged", [False, True])
@pytest.mark.parametrize("upright", [False, True])
def test_products_of_batches_either_way_round(exchanged, upright):
    """Σ aᵀ·b or its transpose, with either factor as the trips have it or transposed."""
    left = "%a: f64[p, k] = index(%x, %i)"
    if upright:
        left = """%x1: f64[k, p] = index(%x, %i)
        %x2: f64[k, p] = exp(%x1)
        %a: f64[p, k] = view(%x2) {shape=(p, k), map=[#1, #0]}"""
    made = "%m: f64[p, q] = dot(%a, %b)"
    if exchanged:
        made = """%o: f64[p, q] = dot(%a, %b)
        %m: f64[q, p] = view(%o) {shape=(q, p), map=[#1, #0]}"""
    total = "f64[q, p]" if exchanged else "f64[p, q]"
    rows = "k, p" if upright else "p, k"
    function = parse(f"""
    func @f(%x: f64[n, {rows}], %y: f64[n, k, q], %s: {total}) -> ({total})
      hints k = 4, p = 50, q = 60
    {{
      %lo: i64 = 0
      %hi: i64 = dim() {{size=n}}
      %step: i64 = 1
      %r: {total} = for(%lo, %hi, %step, %s) (%i: i64, %c: {total}) {{
        {left}
        %b: f64[k, q] = index(%y, %i)
        {made}
        %d: {total} = add(%c, %m)
        yield %d
      }}
      return %r
    }}""")
    new = verify(stack_products(function))
    assert new is not function
    rng = np.random.default_rng(0)
    for n in (0, 1, 3):
        shapes = (n, 2, 3) if upright else (n, 3, 2), (n, 2, 4), (4, 3) if exchanged else (3, 4)
        args = [rng.normal(size=s) for s in shapes]
        np.testing.assert_allclose(
            evaluate(new, *args)[0], evaluate(function, *args)[0], rtol=1e-12, atol=1e-14
        )


def test_a_factor_stored_for_one_sum_serves_the_others():
    function = parse("""
    func @f(%x: f64[n, p], %y: f64[n, q], %w: f64[n, r]) -> (f64[p, q], f64[p, r])
      hints p = 20, q = 30, r = 40
    {
      %zero: f64 = 0.0
      %lo: i64 = 0
      %hi: i64 = dim() {size=n}
      %step: i64 = 1
      %s0: f64[p, q] = view(%zero) {shape=(p, q), map=[]}
      %t0: f64[p, r] = view(%zero) {shape=(p, r), map=[]}
      %s: f64[p, q], %t: f64[p, r] = for(%lo, %hi, %step, %s0, %t0) (
        %i: i64, %c: f64[p, q], %d: f64[p, r]
      ) {
        %x1: f64[p] = index(%x, %i)
        %a: f64[p] = exp(%x1)
        %b: f64[q] = index(%y, %i)
        %e: f64[r] = index(%w, %i)
        %l1: f64[p, q] = view(%a) {shape=(p, q), map=[#0]}
        %r1: f64[p, q] = view(%b) {shape=(p, q), map=[#1]}
        %m1: f64[p, q] = multiply(%l1, %r1)
        %l2: f64[p, r] = view(%a) {shape=(p, r), map=[#0]}
        %r2: f64[p, r] = view(%e) {shape=(p, r), map=[#1]}
        %m2: f64[p, r] = multiply(%r2, %l2)
        %c1: f64[p, q] = add(%c, %m1)
        %d1: f64[p, r] = add(%m2, %d)
        yield %c1, %d1
      }
      return %s, %t
    }""")
    new = verify(stack_products(function))
    (loop,) = loops(new)
    assert [str(v.type) for v in loop.results] == ["f64[n, p]"]
    rng = np.random.default_rng(0)
    args = [rng.normal(size=(4, k)) for k in (3, 2, 5)]
    for e, found in zip(evaluate(function, *args), evaluate(new, *args), strict=True):
        np.testing.assert_allclose(found, e, rtol=1e-12)


def test_products_of_batches():
    function = parse("""
    func @f(%x: f64[n, k, p], %y: f64[n, k, q], %s: f64[p, q]) -> (f64[p, q])
      hints k = 4, p = 50, q = 60
    {
      %lo: i64 = 0
      %hi: i64 = dim() {size=n}
      %step: i64 = 1
      %r: f64[p, q] = for(%lo, %hi, %step, %s) (%i: i64, %c: f64[p, q]) {
        %x1: f64[k, p] = index(%x, %i)
        %a: f64[k, p] = exp(%x1)
        %at: f64[p, k] = view(%a) {shape=(p, k), map=[#1, #0]}
        %b: f64[k, q] = index(%y, %i)
        %m: f64[p, q] = dot(%at, %b)
        %d: f64[p, q] = add(%c, %m)
        yield %d
      }
      return %r
    }""")
    new = verify(stack_products(function))
    (loop,) = loops(new)
    assert [str(v.type) for v in loop.results] == ["f64[n, k, p]"]
    rng = np.random.default_rng(0)
    kernel = compile_function(function, KernelOptions())
    for n in (0, 1, 3):
        args = [rng.normal(size=s) for s in ((n, 2, 3), (n, 2, 4), (3, 4))]
        (e,) = evaluate(function, *args)
        np.testing.assert_allclose(evaluate(new, *args)[0], e, rtol=1e-12)
        np.testing.assert_allclose(kernel.dispatcher(*args), e, rtol=1e-12)


def test_a_loop_within_a_loop():
    function = parse("""
    func @f(%x: f64[k, n, p], %y: f64[k, n, q], %s: f64[p, q]) -> (f64[p, q])
      hints p = 20, q = 30
    {
      %zero: i64 = 0
      %one: i64 = 1
      %k: i64 = dim() {size=k}
      %n: i64 = dim() {size=n}
      %r: f64[p, q] = for(%zero, %k, %one, %s) (%j: i64, %c0: f64[p, q]) {
        %r0: f64[p, q] = for(%zero, %n, %one, %c0) (%i: i64, %c: f64[p, q]) {
          %a: f64[p] = index(%x, %j, %i)
          %b1: f64[q] = index(%y, %j, %i)
          %b: f64[q] = exp(%b1)
          %left: f64[p, q] = view(%a) {shape=(p, q), map=[#0]}
          %right: f64[p, q] = view(%b) {shape=(p, q), map=[#1]}
          %m: f64[p, q] = multiply(%left, %right)
          %d: f64[p, q] = add(%c, %m)
          yield %d
        }
        yield %r0
      }
      return %r
    }""")
    new = verify(stack_products(function))
    assert len(loops(new)) == 2
    inner = loops(new)[1]
    assert [str(v.type) for v in inner.results] == ["f64[n, q]"]
    rng = np.random.default_rng(0)
    kernel = compile_function(function, KernelOptions())
    for k, n in ((0, 2), (2, 0), (3, 4)):
        args = [rng.normal(size=s) for s in ((k, n, 3), (k, n, 5), (3, 5))]
        (e,) = evaluate(function, *args)
        np.testing.assert_allclose(evaluate(new, *args)[0], e, rtol=1e-12)
        np.testing.assert_allclose(kernel.dispatcher(*args), e, rtol=1e-12)


def test_rows_that_may_be_out_of_range_are_still_checked():
    function = program(READ + OUTER + ADD, rows="k")
    new = stack_products(function)
    rng = np.random.default_rng(0)
    good = rng.normal(size=(6, 3)), rng.normal(size=(5, 2)), rng.normal(size=(3, 2))
    np.testing.assert_allclose(evaluate(new, *good)[0], evaluate(function, *good)[0])
    with pytest.raises(IndexError):
        evaluate(new, good[0][:4], *good[1:])


@pytest.mark.parametrize(
    "changes",
    [
        # The sum is read in the loop.
        {"body": READ + OUTER + ADD + "\n        %e: f64[p, q] = multiply(%d, %c)", "yields": "%e"},
        {"body": READ + OUTER + "\n        %d: f64[p, q] = subtract(%m, %c)"},
        {"body": READ + OUTER + ADD + "\n        %e: f64[p, q] = add(%d, %d)", "yields": "%e"},
        # A trip would store as much as it adds.
        {
            "body": READ.replace("%a:", "%a0:").replace("%b:", "%b0:")
            + "\n        %a: f64[p] = exp(%a0)\n        %b: f64[q] = exp(%b0)"
            + OUTER
            + ADD,
            "hints": "p = 2, q = 9",
        },
        # Steps that are not 1.
        {"body": READ + OUTER + ADD, "step": "2"},
        # Neither factor is the trip's own.
        {"body": OUTER + ADD, "params": ", %a: f64[p], %b: f64[q]"},
    ],
    ids=["read", "subtracted", "twice", "small", "step", "invariant"],
)
def test_loops_that_stay_as_they_are(changes):
    function = program(changes.pop("body"), **changes)
    assert stack_products(function) is function


def test_a_small_static_matrix_stays_in_the_loop():
    function = parse("""
    func @f(%x: f64[n, 3], %y: f64[n, 4], %s: f64[3, 4]) -> (f64[3, 4]) {
      %lo: i64 = 0
      %hi: i64 = dim() {size=n}
      %step: i64 = 1
      %r: f64[3, 4] = for(%lo, %hi, %step, %s) (%i: i64, %c: f64[3, 4]) {
        %a: f64[3] = index(%x, %i)
        %b: f64[4] = index(%y, %i)
        %left: f64[3, 4] = view(%a) {shape=(3, 4), map=[#0]}
        %right: f64[3, 4] = view(%b) {shape=(3, 4), map=[#1]}
        %m: f64[3, 4] = multiply(%left, %right)
        %d: f64[3, 4] = add(%c, %m)
        yield %d
      }
      return %r
    }""")
    assert stack_products(function) is function


def test_while_loops_stay():
    function = parse("""
    func @f(%x: f64[n, p], %y: f64[n, q], %s: f64[p, q]) -> (f64[p, q]) hints p = 20, q = 30 {
      %zero: i64 = 0
      %one: i64 = 1
      %n: i64 = dim() {size=n}
      %k: i64, %r: f64[p, q] = while(%zero, %s) (%j: i64, %c0: f64[p, q]) {
        %more: bool = less(%j, %n)
        yield %more
      } do (%i: i64, %c: f64[p, q]) {
        %a: f64[p] = index(%x, %i)
        %b: f64[q] = index(%y, %i)
        %left: f64[p, q] = view(%a) {shape=(p, q), map=[#0]}
        %right: f64[p, q] = view(%b) {shape=(p, q), map=[#1]}
        %m: f64[p, q] = multiply(%left, %right)
        %d: f64[p, q] = add(%c, %m)
        %next: i64 = add(%i, %one)
        yield %next, %d
      }
      return %r
    }""")
    assert stack_products(function) is function
