"""What a loop keeps for the next one to add is added where it is computed, if nothing sees it."""

import numpy as np
import pytest

import tracegrad as tg
from tracegrad.ir.interpreter import evaluate
from tracegrad.ir.text import parse
from tracegrad.ir.verifier import verify
from tracegrad.schedule.added import add_where_computed

TEXT = """
func @f(%x: f64[n], %k: i64) -> (f64[2*n + 2])
{{
  %y: f64[2*n + 2] = alloc() {{shape=(2*n + 2,), dtype=f64, fill=0}}
  %t: f64[n] = alloc() {{shape=(n,), dtype=f64, fill=None}}
  %lo: i64 = 0
  %hi: i64 = dim() {{size=n}}
  %one: i64 = 1
  %two: i64 = 2
  for(%lo, {count}, %one) {{kind="plain"}} (%i: i64) {{
    %a: f64 = load(%x, %i)
    %b: f64 = sin(%a)
    {first}
    store(%b, %t, %i)
  }}
  {between}
  for(%lo, %hi, %one) {{kind="plain"}} (%j: i64) {{
    %c: f64 = load(%t, %j)
    %m: i64 = multiply(%two, %j)
    %s: i64 = add(%j, %one)
    %u: i64 = subtract(%hi, %s)
    {place}
    add_store({value}, %y, %p)
  }}
  return %y
}}
"""

BESIDE = "%p: i64 = add(%m, %one)"
NEXT = "%p: i64 = add(%j, %one)"
WRITE = "store(%a, %y, %i)"


def loops(**parts):
    given = {"count": "%hi", "first": "", "between": "", "place": BESIDE, "value": "%c", **parts}
    return TEXT.format(**given)


def both(text):
    """The function as it is and as it becomes, and how many loops it has then."""
    new = verify(add_where_computed(parse(text)), form="loop")
    return parse(text), new, sum(op.name == "for" for op in new.walk())


def assert_same(old, new, sizes=(0, 1, 2, 7)):
    for n in sizes:
        x = np.linspace(0.1, 1.0, n)
        np.testing.assert_array_equal(evaluate(new, x, 1)[0], evaluate(old, x, 1)[0])


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"place": "%p: i64 = add(%u, %one)"},
        {"between": "%q: i64 = add(%k, %one)", "place": "%p: i64 = add(%q, %j)"},
        # One place further on than what is written: what is added waits for the next trip.
        {"first": WRITE, "place": NEXT},
        {"first": f"%d: f64 = load(%y, %i)\n%e: f64 = add(%a, %d)\n{WRITE}", "place": NEXT},
        {
            "first": f"%z: i64 = add(%i, %two)\n%d: f64 = load(%y, %z)\n{WRITE}",
            "place": NEXT,
        },
    ],
)
def test_it_is_added_by_the_loop_that_computes_it(parts):
    old, new, count = both(loops(**parts))
    assert count == 1
    assert not any(op.name == "alloc" and op.result.hint == "t" for op in new.walk())
    assert_same(old, new)


@pytest.mark.parametrize(
    "parts",
    [
        # The array is read or written in between, or in the loop, otherwise than in step.
        {"between": "store(%a1, %y, %lo)", "first": ""},
        {"first": WRITE},
        {"first": WRITE, "place": "%p: i64 = add(%j, %two)"},
        {"first": WRITE, "place": "%p: i64 = add(%j, %lo)"},
        {"first": WRITE, "place": "%p: i64 = add(%u, %one)"},
        {"first": f"{WRITE}\n%d: f64 = load(%y, %i)", "place": NEXT},
        {
            "first": f"%z: i64 = subtract(%i, %one)\n%d: f64 = load(%y, %z)\n{WRITE}",
            "place": NEXT,
        },
        {"first": "add_store(%a, %y, %i)", "place": NEXT},
        {"first": f"{WRITE}\n{WRITE}", "place": NEXT},
        # The loops are not equally long.
        {"count": "%k"},
        # The place is found by what is not there before.
        {"between": "%q: i64 = load_count", "place": "%p: i64 = add(%q, %j)"},
        # It is no place that goes on, or not what was kept is added.
        {"place": "%p: i64 = add(%k, %one)"},
        {"value": "%c2", "place": f"%c2: f64 = add(%c, %c)\n{BESIDE}"},
    ],
)
def test_otherwise_loops_stay_as_they_are(parts):
    text = loops(**parts)
    text = text.replace("store(%a1, %y, %lo)", "%a1: f64 = 3.0\nstore(%a1, %y, %lo)")
    text = text.replace(
        "%q: i64 = load_count",
        "%w: f64 = load(%t, %lo)\n%q0: f64 = floor(%w)\n%q: i64 = cast(%q0) {dtype=i64}",
    )
    old, new, count = both(text)
    assert count == 2
    assert str(new) == str(old)


def test_what_is_kept_is_read_again():
    text = loops().replace("return %y", "%v: f64 = load(%t, %lo)\nstore(%v, %y, %lo)\nreturn %y")
    old, new, count = both(text)
    assert count == 2
    assert str(new) == str(old)


def test_sums_of_the_first_loop_stay():
    text = loops(first=WRITE, place=NEXT)
    text = text.replace(
        'for(%lo, %hi, %one) {kind="plain"} (%i: i64) {',
        "%zero: f64 = 0.0\n"
        '%r: f64 = for(%lo, %hi, %one, %zero) {kind="plain"} (%i: i64, %g: f64) {',
        1,
    )
    text = text.replace(
        "store(%b, %t, %i)\n", "store(%b, %t, %i)\n%h: f64 = add(%g, %a)\nyield %h\n"
    )
    text = text.replace("return %y", "store(%r, %y, %lo)\nreturn %y")
    old, new, count = both(text)
    assert count == 1
    assert_same(old, new)


@pytest.mark.parametrize("n", [1, 2, 3, 9, 30])
def test_rows_that_get_shorter(n):
    """A tree of choices, in place: shifted sums on the way back, compiled."""

    def f(v, c):
        u = v.copy()
        for left in range(len(v) - 1, 0, -1):
            u[:left] = np.sin(u[1 : left + 1]) * c[:left] + 0.5 * np.cos(u[:left])
        return u[0]

    rng = np.random.default_rng(n)
    v, c = rng.normal(size=(2, n))
    value, bars = tg.value_and_grad(f, argnums=(0, 1))(v, c)
    assert abs(value - f(v, c)) < 1e-14
    for k, bar in enumerate(bars):
        for i in range(n):
            z = np.array([v, c], complex)
            z[k, i] += 1e-30j
            assert abs(f(*z).imag / 1e-30 - bar[i]) < 1e-11 * (1 + abs(bar[i]))
