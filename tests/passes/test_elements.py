"""Small arrays in loops, and tables that loops write in full."""

import numpy as np
import pytest

import tracegrad as tg
from tracegrad.ir.interpreter import evaluate
from tracegrad.ir.parser import parse
from tracegrad.ir.verifier import verify
from tracegrad.passes import elements, tables

HEAD = """func @f(%x: f64[n], %k: i64[n]) -> (f64[n, 2]) {
  %zero: f64 = 0.0
  %y: f64[n, 2] = view(%zero) {shape=(n, 2), map=[]}
  %lo: i64 = 0
  %hi: i64 = dim() {size=n}
  %step: i64 = 1
  %r: f64[n, 2] = for(%lo, %hi, %step, %y) (%i: i64, %c: f64[n, 2]) {
    %a: f64 = index(%x, %i)
    %b: f64 = sin(%a)
    %p: f64[2] = pad(%a) {shape=(2,), map=[0]}
    %q: f64[2] = pad(%b) {shape=(2,), map=[1]}
"""
TAIL = """
    yield %d
  }
  return %r
}
"""
X, K = np.linspace(0.1, 1.0, 5), np.array([1, 0, 0, -1, 3])


def names(function):
    return [op.name for op in function.walk()]


def same(text, transform):
    before = parse(text)
    after = transform(before)
    verify(after)
    for a, b in zip(evaluate(before, X, K), evaluate(after, X, K), strict=True):
        np.testing.assert_array_equal(a, b)
    return after


@pytest.mark.parametrize(
    "made",
    [
        "%s: f64[2] = add(%p, %q)",
        "%s: f64[2] = subtract(%p, %q)",
        "%m: f64[2] = multiply(%p, %q)\n    %s: f64[2] = subtract(%m, %q)",
        "%t: f64[1] = view(%a) {shape=(1,), map=[]}\n"
        "    %u: f64[1] = view(%q) {shape=(1,), map=[#0 + 1]}\n"
        "    %s: f64[2] = concatenate(%u, %t) {axis=0}",
        "%m: f64[2] = add(%p, %q)\n    %s: f64[2] = view(%m) {shape=(2,), map=[-1*#0 + 1]}",
        "%m: f64[2] = add(%p, %a)\n    %s: f64[2] = multiply(%m, %b)",
        "%e: f64[2] = index(%c, %i)\n    %s: f64[2] = add(%e, %p)",
    ],
)
@pytest.mark.parametrize("op", ["update", "accumulate"])
@pytest.mark.parametrize("at", ["%i", "%h"])
def test_rows_become_elements(made, op, at):
    """Also at places that repeat and count from the end."""
    place = "%h: i64 = index(%k, %i)"
    write = f"%d: f64[n, 2] = {op}(%c, %s, {at})"
    after = same(f"{HEAD}    {place}\n    {made}\n    {write}{TAIL}", elements)
    assert {"pad", "concatenate"}.isdisjoint(names(after))


@pytest.mark.parametrize(
    "use",
    [
        "%g: f64 = dot(%p, %q)\n    %d: f64[n, 2] = update(%c, %p, %i)",
        "%g: f64 = sum(%p) {axes=(0,)}\n    %h: f64[2] = multiply(%q, %g)\n"
        "    %d: f64[n, 2] = update(%c, %h, %i)",
        "%g: f64 = index(%p, %lo)\n    %h: f64[2] = multiply(%p, %g)\n"
        "    %d: f64[n, 2] = update(%c, %h, %i)",
    ],
)
def test_arrays_that_something_else_reads_stay_arrays(use):
    after = same(f"{HEAD}    {use}{TAIL}", elements)
    assert "pad" in names(after)


ROW = "    %s: f64[2] = add(%p, %q)\n"


def test_a_table_written_in_full_has_no_first_value():
    after = same(f"{HEAD}{ROW}    %d: f64[n, 2] = update(%c, %s, %i){TAIL}", tables)
    assert "blank" in names(after)


@pytest.mark.parametrize(
    "body",
    [
        "%d: f64[n, 2] = accumulate(%c, %s, %i)",
        "%h: i64 = index(%k, %i)\n    %d: f64[n, 2] = update(%c, %s, %h)",
        "%e: f64[2] = index(%c, %i)\n    %g: f64[2] = add(%e, %s)\n"
        "    %d: f64[n, 2] = update(%c, %g, %i)",
        "%d: f64[n, 2] = update(%c, %b, %i, %lo)",
        "%e: f64[n, 2] = update(%c, %s, %i)\n    %d: f64[n, 2] = update(%e, %a, %lo, %lo)",
    ],
)
def test_a_table_that_is_not_keeps_it(body):
    after = same(f"{HEAD}{ROW}    {body}{TAIL}", tables)
    assert "blank" not in names(after)


@pytest.mark.parametrize("change", [("%lo: i64 = 0", "%lo: i64 = 1"), ("size=n}", "size=n - 1}")])
def test_a_table_with_rows_that_no_trip_writes_keeps_its_first_value(change):
    text = f"{HEAD}{ROW}    %d: f64[n, 2] = update(%c, %s, %i){TAIL}"
    after = same(text.replace(*change), tables)
    assert "blank" not in names(after)


def test_derivatives_of_a_batch_stand_in_registers():
    def residual(p, x):
        a, b, c = p[0], p[1], p[2]
        u = np.sin(a) * x[0] + b
        v = np.sin(b) * x[1] * a + c
        return np.array([u * v, v - x[2]])

    rng = np.random.default_rng(0)
    p, x = rng.uniform(0.1, 0.9, (200, 4)), rng.normal(size=(200, 3))
    at = rng.integers(-200, 200, 300)

    def derivatives(p, x, at):
        return tg.vmap(tg.jacobian(residual, (0, 1)))(p[at], x[at])

    compiled = tg.jit(derivatives)
    found = compiled(p, x, at)
    for k in (0, 7, 299):
        one = tg.jacobian(residual, (0, 1))(p[at[k]], x[at[k]])
        for a, b in zip(found, one, strict=True):
            np.testing.assert_allclose(a[k], b, rtol=1e-13)
    body = compiled.inspect_source()
    assert "np.empty(4)" not in body
    assert "np.empty(3)" not in body
    with pytest.raises(IndexError):
        compiled(p, x, np.where(at == at[0], 200, at))


def test_batches_of_nothing_and_of_one():
    each = tg.vmap(tg.jacobian(lambda x: np.array([x[0] * x[1], x[1]])))
    assert each(np.zeros((0, 2))).shape == (0, 2, 2)
    np.testing.assert_array_equal(each(np.array([[2.0, 3.0]])), [[[3.0, 2.0], [0.0, 1.0]]])
