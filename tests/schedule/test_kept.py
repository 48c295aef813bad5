"""What loops store for later only, what is computed before a write, places that LLVM can trust."""

import numpy as np
import pytest

import tracegrad as tg
from tests.schedule.support import assert_same_results, counts
from tracegrad.ir.text import parse
from tracegrad.schedule import schedule

X = np.array([0.3, -0.7, 0.2, 0.9, 0.5, -0.1, 0.4])
W = np.array([0.2, 0.5, -0.3])


def stepping(body, yields, *, blanks=1, hint="n = 7, m = 3"):
    """A loop over m trips that carries ``%u`` and stores to ``blanks`` arrays, which it yields."""
    names = range(blanks)
    shape = "f64[m, n]"
    made = "\n".join(
        f'%t{k}: {shape} = blank() {{shape=(m, n), dtype=f64, name="t{k}"}}' for k in names
    )
    results = "".join(f", %s{k}: {shape}" for k in names)
    inits = "".join(f", %t{k}" for k in names)
    params = "".join(f", %c{k}: {shape}" for k in names)
    return parse(f"""
    func @f(%x: f64[n], %w: f64[m]) -> (f64[n]{f", {shape}" * blanks})
      guards n >= 3
      hints {hint}
    {{
      %lo: i64 = 0
      %hi: i64 = dim() {{size=m}}
      %by: i64 = 1
      {made}
      %r: f64[n]{results} = for(%lo, %hi, %by, %x{inits}) (%i: i64, %u: f64[n]{params}) {{
        {body}
        yield {yields}
      }}
      return %r{"".join(f", %s{k}" for k in names)}
    }}""")


def test_what_is_kept_is_stored_where_it_is_computed():
    f = stepping(
        """
        %e: f64[n] = exp(%u)
        %d0: f64[m, n] = update(%c0, %e, %i)
        %v: f64[n] = tanh(%e)""",
        "%v, %d0",
    )
    # the copy of the argument, the trips, and one loop over the elements
    assert counts(schedule(f))["for"] == 3
    assert_same_results(f, X, W)


def test_one_value_is_kept_twice_and_carried():
    f = stepping(
        """
        %e: f64[n] = exp(%u)
        %v: f64[n] = tanh(%e)
        %d0: f64[m, n] = update(%c0, %v, %i)
        %d1: f64[m, n] = update(%c1, %v, %i)""",
        "%v, %d0, %d1",
        blanks=2,
    )
    assert_same_results(f, X, W)


def test_a_part_that_changes_later_is_kept_as_it_was():
    f = stepping(
        """
        %e: f64[n] = view(%u) {shape=(n,), map=[-#0 + n - 1]}
        %d0: f64[m, n] = update(%c0, %e, %i)
        %zero: i64 = 0
        %two: f64 = 2.0
        %v: f64[n] = update(%u, %two, %zero)""",
        "%v, %d0",
    )
    assert_same_results(f, X, W)


def test_many_arrays_are_not_kept_in_one_loop():
    body = "\n".join(
        f"""%e{k}: f64[n] = exp(%{"u" if k == 0 else f"v{k - 1}"})
        %d{k}: f64[m, n] = update(%c{k}, %e{k}, %i)
        %v{k}: f64[n] = tanh(%e{k})"""
        for k in range(4)
    )
    f = stepping(body, "%v3, " + ", ".join(f"%d{k}" for k in range(4)), blanks=4)
    assert counts(schedule(f))["for"] > 3
    assert_same_results(f, X, W)


def test_what_is_computed_from_a_part_comes_before_the_write():
    """No copy of the part: the sum and the new array read it where it stands."""
    f = parse("""
    func @f(%x: f64[n], %w: f64[m]) -> (f64[n], f64[n - 2], f64)
      guards n >= 3
    {
      %none: f64 = 0.0
      %lo: i64 = 0
      %two: i64 = 2
      %by: i64 = 1
      %start: f64[n - 2] = view(%none) {shape=(n - 2,), map=[]}
      %r: f64[n], %p: f64[n - 2], %t: f64 = for(%lo, %two, %by, %x, %start, %none) (
          %i: i64, %u: f64[n], %q: f64[n - 2], %s: f64) {
        %k: i64[n - 2] = iota() {size=n - 2, dtype=i64}
        %zeros: f64[n - 2] = view(%none) {shape=(n - 2,), map=[]}
        %part: f64[n - 2] = index(%u, %k)
        %v: f64[n] = update(%u, %zeros, %k)
        %e: f64[n - 2] = multiply(%part, %part)
        %z: f64[n - 2] = add(%e, %q)
        %g: f64 = sum(%e) {axes=(0,)}
        %l: f64 = add(%s, %g)
        yield %v, %z, %l
      }
      return %r, %p, %t
    }""")
    made = [op.result.type for op in schedule(f).walk() if op.name == "alloc"]
    assert len(made) == 2, f"the copy of the argument, and the sum in place, not {made}"
    assert_same_results(f, X, W)


# --- places ---------------------------------------------------------------------------------------


def back_substitution(a, b):
    n = b.shape[0]
    x = np.zeros(n)
    for i in range(n - 1, -1, -1):
        x[i] = (b[i] - np.dot(a[i, i + 1 :], x[i + 1 :])) / a[i, i]
    return np.sum(x * x)


def test_places_from_a_loop_that_counts_down_are_told_to_be_positive():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((6, 6)) + 6.0 * np.eye(6), rng.standard_normal(6)
    f = tg.jit(back_substitution)
    np.testing.assert_allclose(f(a, b), back_substitution(a, b), rtol=1e-12)
    assert "max(i + 1, 0)" in f.inspect_source()


def guarded(x):
    total = 0.0
    n = x.shape[0]
    for i in range(n - 1, -1, -1):
        for k in range(n):
            if k + i >= n:
                total += x[k + (i - n)] * (k + 1.0)
    return total


def test_a_place_in_a_branch_may_begin_below_zero():
    f = tg.jit(guarded)
    np.testing.assert_allclose(f(X), guarded(X), rtol=1e-12)
    assert "max(" not in f.inspect_source()


@pytest.mark.parametrize("n", [3, 4, 9])
def test_the_ends_of_a_stencil_are_there_where_a_guard_says_so(n):
    f = parse("""
    func @f(%x: f64[n]) -> (f64[n])
      guards n >= 3
    {
      %a: f64[n - 2] = view(%x) {shape=(n - 2,), map=[#0]}
      %b: f64[n] = pad(%a) {shape=(n,), map=[#0 + 1]}
      %c: f64[n] = add(%b, %x)
      return %c
    }""")
    assert counts(schedule(f))["if"] == 0
    assert_same_results(f, np.arange(float(n)))


def test_without_the_guard_they_may_not_be_there():
    f = parse("""
    func @f(%x: f64[n]) -> (f64[n])
    {
      %a: f64[n - 1] = view(%x) {shape=(n - 1,), map=[#0]}
      %b: f64[n] = pad(%a) {shape=(n,), map=[#0 + 1]}
      %c: f64[n] = add(%b, %x)
      return %c
    }""")
    assert counts(schedule(f))["if"] > 0
    assert_same_results(f, np.arange(1.0))
    assert_same_results(f, np.arange(5.0))


# --- row sums -------------------------------------------------------------------------------------


def test_row_sums_beside_other_statements_are_computed_four_at_a_time():
    f = parse("""
    func @f(%w: f64[n, m], %h: f64[m], %b: f64[n]) -> (f64[n])
      hints n = 64, m = 40
    {
      %d: f64[n] = dot(%w, %h)
      %z: f64[n] = add(%d, %b)
      return %z
    }""")
    loops = schedule(f)
    assert "jam" in [op.attributes["kind"] for op in loops.walk() if op.name == "for"]
    rng = np.random.default_rng(0)
    for n in (3, 9):
        args = rng.standard_normal((n, 5)), rng.standard_normal(5), rng.standard_normal(n)
        assert_same_results(f, *args)


def keeping_after_the_state(kept, extra=""):
    """A trip writes its state to the next row of an array, and then to a tape what it made."""
    return parse(f"""
    func @f(%x: f64[n], %w: f64[m]) -> (f64[m + 1, n], f64[m, n])
      guards n >= 3
      hints n = 7, m = 3
    {{
      %lo: i64 = 0
      %hi: i64 = dim() {{size=m}}
      %by: i64 = 1
      %s: f64[m + 1, n] = blank() {{shape=(m + 1, n), dtype=f64, name="s"}}
      %t: f64[m, n] = blank() {{shape=(m, n), dtype=f64, name="t"}}
      %s0: f64[m + 1, n] = update(%s, %x, %lo)
      {
        "%s3: f64[m + 1, n], %t3: f64[m, n] = for(%lo, %hi, %by, %s0, %t)"
        "(%i: i64, %s1: f64[m + 1, n], %t1: f64[m, n])"
    } {{
        %u: f64[n] = index(%s1, %i)
        %j: i64 = add(%i, %by)
        %e: f64[n] = multiply(%u, %u)
        %k: f64[n] = subtract(%e, %x)
        {extra}
        %s2: f64[m + 1, n] = update(%s1, %e, %j)
        %t2: f64[m, n] = update(%t1, {kept}, %i)
        yield %s2, %t2
      }}
      return %s3, %t3
    }}""")


def test_what_is_kept_after_the_state_is_stored_with_it():
    f = keeping_after_the_state("%k")
    found = counts(schedule(f))
    # the first state, the trips, and one loop over the elements; no buffer but the two arrays
    assert found["for"] == 3
    assert found["alloc"] == 2
    assert_same_results(f, X, W)


def test_what_is_kept_stays_behind_what_may_fail():
    late = """
        %a: f64 = index(%w, %i)
        %b: bool = greater(%a, %a)
        if(%b) {
          raise() {kind="ValueError", message="no"}
          yield
        } {
          yield
        }"""
    f = keeping_after_the_state("%k", late)
    assert_same_results(f, X, W)
