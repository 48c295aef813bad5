"""What is read at several shifts, or by several loops, is computed once if that costs more."""

import numpy as np
import pytest

import tracegrad as tg
from tests.schedule.support import assert_same_results, counts
from tracegrad.ir.text import parse
from tracegrad.schedule import schedule
from tracegrad.schedule.graph import Graph
from tracegrad.schedule.shifted import read_at_shifts

SLOPE = """
      %{out}p: f64[n] = roll(%{x}) {{shift=n - 1, axis=0}}
      %{out}q: f64[n] = roll(%{x}) {{shift=2, axis=0}}
      %{out}d: f64[n] = subtract(%{out}p, %{out}q)
      %{out}r: f64[n] = roll(%{x}) {{shift=1, axis=0}}
      %{out}: f64[n] = multiply(%{out}d, %{out}r)"""


def two_stages(guard="n >= 3"):
    return parse(f"""
    func @f(%x: f64[n]) -> (f64[n])
      guards {guard}
      hints n = 40
    {{
      %h: f64 = 0.1{SLOPE.format(out="a", x="x")}
      %s: f64[n] = multiply(%h, %a)
      %y: f64[n] = add(%x, %s){SLOPE.format(out="b", x="y")}
      return %b
    }}""")


def test_what_is_shifted_is_kept_and_nothing_below_it_is_computed_again():
    found = counts(schedule(two_stages()))
    # three multiplications: in the interior, in the first two elements and in the last
    assert found["multiply"] == 3 * 4
    assert found["alloc"] == 2


@pytest.mark.parametrize("n", [3, 4, 5, 9])
def test_places_that_are_sure_to_be_there_are_written_without_tests(n):
    f = two_stages()
    found = counts(schedule(f))
    assert found["if"] == found["select"] == 0
    assert_same_results(f, np.linspace(-1.0, 2.0, n) ** 2)


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_places_that_may_be_missing_are_tested(n):
    f = two_stages("n >= 2")
    found = counts(schedule(f))
    assert found["if"] + found["select"] > 0
    assert_same_results(f, np.linspace(-1.0, 2.0, n) ** 2)


def shifted(body, size="n"):
    """The names of the values in ``body`` that are read at shifts and worth keeping."""
    f = parse(f"""
    func @f(%x: f64[n]) -> (f64[{size}])
      guards n >= 20
      hints n = 40
    {{
      {body}
      return %r
    }}""")
    return {n.op.result.hint for n in read_at_shifts(Graph(f.body).nodes, lambda n: False)}


COSTLY = "\n".join(f"%{b}: f64[n] = divide(%{a}, %x)" for a, b in ["xa", "ab", "bc", "cd", "dy"])


def test_overlapping_slices_are_shifts():
    views = """
      %u: f64[n - 1] = view(%y) {shape=(n - 1,), map=[#0]}
      %v: f64[n - 1] = view(%y) {shape=(n - 1,), map=[#0 + 1]}
      %r: f64[n - 1] = multiply(%u, %v)"""
    assert shifted(COSTLY + views, "n - 1") == {"y"}
    assert shifted("%y: f64[n] = divide(%x, %x)" + views, "n - 1") == set()


def test_parts_of_an_array_are_no_shifts():
    halves = """
      %u: f64[10] = view(%y) {shape=(10,), map=[#0]}
      %v: f64[10] = view(%y) {shape=(10,), map=[#0 + 10]}
      %r: f64[10] = multiply(%u, %v)"""
    assert shifted(COSTLY + halves, "10") == set()


def test_one_roll_is_one_place():
    one = "\n%r: f64[n] = roll(%y) {shift=1, axis=0}"
    assert shifted(COSTLY + one) == set()
    two = "\n%q: f64[n] = roll(%y) {shift=1, axis=0}\n%r: f64[n] = multiply(%q, %y)"
    assert shifted(COSTLY + two) == {"y"}


def in_two_loops(n):
    return parse(f"""
    func @f(%x: f64[n], %y: f64[n]) -> (f64[n])
      hints n = {n}
    {{
      %p: f64[n] = multiply(%x, %y)
      %q: f64[n] = add(%p, %x)
      %r: f64[n] = multiply(%q, %y)
      %z: f64[n] = subtract(%r, %x)
      %s: f64 = sum(%z) {{axes=(0,)}}
      %o: f64[n] = multiply(%z, %s)
      return %o
    }}""")


def test_what_two_loops_compute_is_kept_where_caches_hold_it():
    f = in_two_loops(40)
    assert counts(schedule(f))["alloc"] == 2
    assert counts(schedule(f))["subtract"] == 1
    assert_same_results(f, np.linspace(-1.0, 2.0, 9), np.linspace(0.3, 0.9, 9))


def test_it_is_computed_again_where_they_don_t():
    f = in_two_loops(1_000_000)
    assert counts(schedule(f))["alloc"] == 1
    assert_same_results(f, np.linspace(-1.0, 2.0, 9), np.linspace(0.3, 0.9, 9))


def test_what_picks_elements_is_not_kept_for_it():
    f = parse("""
    func @f(%x: f64[n], %y: f64[n], %k: i64[n]) -> (f64[n])
      hints n = 40
    {
      %g: f64[n] = index(%x, %k)
      %p: f64[n] = multiply(%g, %y)
      %q: f64[n] = add(%p, %x)
      %z: f64[n] = subtract(%q, %y)
      %s: f64 = sum(%z) {axes=(0,)}
      %o: f64[n] = multiply(%z, %s)
      return %o
    }""")
    x, y = np.linspace(-1.0, 2.0, 9), np.linspace(0.3, 0.9, 9)
    assert counts(schedule(f))["alloc"] == 1
    assert_same_results(f, x, y, np.arange(9)[::-1].copy())


def test_what_is_light_is_computed_again():
    f = parse("""
    func @f(%x: f64[n]) -> (f64[n])
      hints n = 40
    {
      %h: f64 = 0.5
      %z: f64[n] = multiply(%h, %x)
      %s: f64 = sum(%z) {axes=(0,)}
      %o: f64[n] = multiply(%z, %s)
      return %o
    }""")
    assert counts(schedule(f))["alloc"] == 1


def slope(x, forcing):
    return (np.roll(x, -1) - np.roll(x, 2)) * np.roll(x, 1) - x + forcing


def weather(x, forcing, wanted):
    total = 0.0
    for t in range(wanted.shape[0]):
        a = slope(x, forcing)
        b = slope(x + 0.05 * a, forcing)
        x = x + 0.05 * (a + b)
        total += np.mean((x - wanted[t]) ** 2)
    return total


@pytest.mark.parametrize("n", [3, 4, 7])
def test_stages_in_a_loop_keep_their_gradient(n):
    rng = np.random.default_rng(n)
    tg.check_grads(weather, (rng.normal(size=n), 0.7, rng.normal(size=(4, n))))
