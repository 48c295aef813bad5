"""Carried arrays that stand in the rows of the array that keeps them."""

import numpy as np
import pytest

from tracegrad.ir.interpreter import evaluate
from tracegrad.ir.text import parse
from tracegrad.ir.verifier import verify
from tracegrad.passes import finish, state_rows
from tracegrad.schedule import schedule

STEP = """
        %v: f64[n] = tanh(%u)"""
INNER = """
        %one: i64 = 1
        %k: i64[n - 2] = iota() {size=n - 2, dtype=i64}
        %at: i64[n - 2] = add(%k, %one)
        %p: f64[n - 2] = view(%u) {shape=(n - 2,), map=[#0]}
        %q: f64[n - 2] = view(%u) {shape=(n - 2,), map=[#0 + 2]}
        %s: f64[n - 2] = add(%p, %q)"""


def program(
    body=STEP,
    *,
    head="",
    store="%u, %t",
    yields="%v",
    lo="0",
    hi="dim() {size=m}",
    step="1",
    some="index(%kept, %zero)",
    guards="m >= 1, n >= 3",
):
    """A state ``u`` that is kept in each trip; one row of what keeps it is read afterwards."""
    return parse(f"""
    func @f(%x: f64[n], %w: f64[m]) -> (f64[n], f64[n])
      guards {guards}
    {{
      %lo: i64 = {lo}
      %hi: i64 = {hi}
      %step: i64 = {step}
      %zero: i64 = 0
      %minus: i64 = -1
      %tape: f64[m, n] = blank() {{shape=(m, n), dtype=f64, name="tape"}}
      %r: f64[n], %kept: f64[m, n] = for(%lo, %hi, %step, %x, %tape) (%t: i64, %u: f64[n], %c: f64[m, n]) {{{head}
        %d: f64[m, n] = update(%c, {store}){body}
        yield {yields}, %d
      }}
      %some: f64[n] = {some}
      return %r, %some
    }}""")  # noqa: E501  # lines of a kernel


def same(before, after, m, n):
    rng = np.random.default_rng(0)
    args = [rng.standard_normal(n), rng.standard_normal(m)]
    verify(after)
    for left, right in zip(evaluate(before, *args), evaluate(after, *args), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-12, atol=1e-12)


def carried(function):
    (loop,) = [op for op in function.body.ops if op.name == "for"]
    return len(loop.results)


ENDS = (
    INNER
    + """
        %nought: i64 = 0
        %last: i64 = dim() {size=n - 1}
        %half: f64 = 0.5
        %a: f64[n] = update(%u, %s, %at)
        %b: f64[n] = update(%a, %half, %nought)
        %e: f64 = index(%a, %nought)
        %f: f64 = index(%b, %nought)
        %g: f64 = add(%e, %f)
        %v: f64[n] = accumulate(%b, %g, %last)"""
)
WHOLE = {
    "computed": STEP,
    "inner": INNER
    + """
        %v: f64[n] = update(%u, %s, %at)""",
    "added": INNER
    + """
        %v: f64[n] = accumulate(%u, %s, %at)""",
    "ends": ENDS,
    "old element read": """
        %nought: i64 = 0
        %e: f64 = index(%u, %nought)
        %z: f64[n] = view(%e) {shape=(n,), map=[]}
        %v: f64[n] = add(%z, %u)""",
}


@pytest.mark.parametrize("m", [1, 4])
@pytest.mark.parametrize("body", WHOLE.values(), ids=WHOLE)
def test_a_state_stands_in_the_rows_of_its_tape(body, m):
    before = program(body)
    after = state_rows(before)
    assert carried(after) == 1
    same(before, after, m, 7)
    same(before, schedule(after), m, 7)


def test_trips_are_counted_from_the_first_index():
    before = program(
        STEP,
        lo="2",
        hi="dim() {size=m + 2}",
        head="""
        %two: i64 = 2
        %place: i64 = subtract(%t, %two)""",
        store="%u, %place",
    )
    after = state_rows(before)
    assert carried(after) == 1
    same(before, after, 5, 4)


def test_no_trips():
    before = program(STEP, some="view(%kept) {shape=(n,), map=[0, #0]}", guards="n >= 3")
    # Row 0 of the tape has no meaning then; the state is what it was.
    after = state_rows(before)
    assert carried(after) == 1
    x = np.arange(4.0)
    np.testing.assert_array_equal(evaluate(after, x, np.empty(0))[0], x)


REFUSED = {
    "one element changes": {
        "body": """
        %one: i64 = 1
        %half: f64 = 0.5
        %v: f64[n] = update(%u, %half, %one)"""
    },
    "a small part changes": {
        "body": """
        %k: i64[2] = iota() {size=2, dtype=i64}
        %p: f64[2] = view(%u) {shape=(2,), map=[#0 + 1]}
        %v: f64[n] = update(%u, %p, %k)"""
    },
    "the state before the last": {"store": "%x, %t"},
    "another place": {
        "head": """
        %zero2: i64 = 0
        %place: i64 = multiply(%t, %zero2)""",
        "store": "%u, %place",
    },
    "descending": {"lo": "dim() {size=m - 1}", "hi": "-1", "step": "-1"},
    "some trips only": {"hi": "dim() {size=m - 1}"},
    "an inner loop reads the old state": {
        "body": """
        %lo2: i64 = 0
        %hi2: i64 = dim() {size=n}
        %by: i64 = 1
        %none: f64 = 0.0
        %q: f64 = for(%lo2, %hi2, %by, %none) (%i: i64, %g: f64) {
          %e: f64 = index(%u, %i)
          %j: f64 = multiply(%g, %e)
          %l: f64 = add(%e, %j)
          yield %l
        }
        %z: f64[n] = view(%q) {shape=(n,), map=[]}
        %v: f64[n] = add(%z, %u)"""
    },
    "all rows are read": {
        "some": "sum(%kept) {axes=(0,)}",
    },
    "a place from the end is read": {
        "lo": "0",
        "some": "index(%kept, %minus)",
    },
}


@pytest.mark.parametrize("change", REFUSED.values(), ids=REFUSED)
def test_a_loop_is_left_alone(change):
    before = program(**change)
    assert state_rows(before) is before
    same(before, before, 3, 5)


# --- random programs ------------------------------------------------------------------------------


def random_body(rng):
    """A trip that makes the next state of pieces of the last one, and writes to it."""
    lines, arrays, scalars = [], ["%u"], ["%t0"]
    count = 0

    def add(type, text):
        nonlocal count
        count += 1
        lines.append(f"%a{count}: {type} = {text}")
        return f"%a{count}"

    lines.append("%t0: f64 = cast(%t) {dtype=f64}")
    one, zero = add("i64", "1"), add("i64", "0")
    last = add("i64", "dim() {size=n - 1}")
    counting = add("i64[n - 2]", "iota() {size=n - 2, dtype=i64}")
    inner = add("i64[n - 2]", f"add({counting}, {one})")

    def whole():
        x = arrays[rng.integers(len(arrays))]
        if rng.random() < 0.4:
            return add("f64[n]", f"tanh({x})")
        if rng.random() < 0.5:
            return add("f64[n]", f"view({x}) {{shape=(n,), map=[-#0 + n - 1]}}")
        y = arrays[rng.integers(len(arrays))]
        return add("f64[n]", f"{rng.choice(['add', 'multiply', 'subtract'])}({x}, {y})")

    def scalar():
        x = arrays[rng.integers(len(arrays))]
        kind = rng.integers(3)
        if kind == 0:
            return add("f64", f"sum({x}) {{axes=(0,)}}")
        if kind == 1:
            return add("f64", f"view({x}) {{shape=(), map=[1]}}")
        return add("f64", f"index({x}, {rng.choice([zero, one, last])})")

    def write(base):
        name = rng.choice(["update", "accumulate"])
        if rng.random() < 0.5:
            x = arrays[rng.integers(len(arrays))]
            part = add("f64[n - 2]", f"view({x}) {{shape=(n - 2,), map=[#0 + {rng.integers(3)}]}}")
            part = add("f64[n - 2]", f"tanh({part})")
            return add("f64[n]", f"{name}({base}, {part}, {rng.choice([counting, inner])})")
        return add("f64[n]", f"{name}({base}, {scalars[-1]}, {rng.choice([zero, one, last])})")

    for _ in range(rng.integers(1, 6)):
        if rng.random() < 0.6:
            arrays.append(whole())
        else:
            scalars.append(scalar())
    state = "%u" if rng.random() < 0.6 else arrays[-1]
    for _ in range(rng.integers(1 if state == "%u" else 0, 4)):
        state = write(state)
        if rng.random() < 0.5:
            arrays.append(state)
            scalars.append(scalar())
    more = add("f64", f"add(%total, {scalars[-1]})")
    return "\n".join(lines), state, more


@pytest.mark.parametrize("seed", range(60))
def test_random_trips(seed):
    rng = np.random.default_rng(seed)
    body, state, more = random_body(rng)
    before = parse(f"""
    func @f(%x: f64[n], %w: f64[m]) -> (f64[n], f64, f64[m, n])
      guards m >= 1, n >= 3
    {{
      %lo: i64 = 0
      %hi: i64 = dim() {{size=m}}
      %step: i64 = 1
      %none: f64 = 0.0
      %tape: f64[m, n] = blank() {{shape=(m, n), dtype=f64, name="tape"}}
      %out: f64[m, n] = view(%none) {{shape=(m, n), map=[]}}
      %total1: f64, %r: f64[n], %kept: f64[m, n] = for(%lo, %hi, %step, %none, %x, %tape) (
          %t: i64, %total: f64, %u: f64[n], %c: f64[m, n]) {{
        %d: f64[m, n] = update(%c, %u, %t)
        {body}
        yield {more}, {state}, %d
      }}
      %back: f64[m, n] = for(%lo, %hi, %step, %out) (%s: i64, %o: f64[m, n]) {{
        %row: f64[n] = index(%kept, %s)
        %twice: f64[n] = add(%row, %row)
        %p: f64[m, n] = update(%o, %twice, %s)
        yield %p
      }}
      return %r, %total1, %back
    }}""")
    after = state_rows(before)
    same(before, after, 4, 6)
    same(before, schedule(finish(before)), 4, 6)
    same(before, schedule(after), 3, 3)
