"""Buffers that take turns in a loop are memory of their own in each trip."""

import numpy as np
import pytest

from tests.ops.building import built
from tests.schedule.region_programs import assert_all_forms_agree, lowered, numbers
from tests.schedule.test_lanes import PLACES, at, in_lanes, n, work
from tracegrad import ops
from tracegrad.ir.text import parse
from tracegrad.ops.control import for_loop
from tracegrad.schedule.memory import taking_turns


def sweeps(x, where, reads_new=False):
    """Each sweep computes a new array from picked elements of the old one."""

    def sweep(t, old, new):
        def element(i, new):
            source = new if reads_new else old
            return [ops.update(new, work(at(source, at(where, i))), i)]

        return [*for_loop(0, n, [new], element), old]

    return for_loop(0, 3, [x * 1.0, x * 2.0], sweep)


@pytest.mark.parametrize("size", [0, 1, 129])
def test_sweeps_from_one_array_to_the_other_run_in_lanes(size):
    f = built(sweeps, (n,), PLACES)
    assert in_lanes(f) == 1
    places = np.random.default_rng(0).integers(-size, size, size) if size else np.zeros(0, int)
    assert_all_forms_agree(f, numbers(size), places, compiled=size == 129)


def test_a_sweep_that_reads_what_it_has_written_does_not():
    f = built(lambda x, where: sweeps(x, where, reads_new=True), (n,), PLACES)
    assert in_lanes(f) == 0
    places = np.random.default_rng(0).integers(-20, 20, 20)
    assert_all_forms_agree(f, numbers(20), places)


def turns(text):
    function = parse(text)
    made = {op.result for op in function.walk() if op.name == "alloc"}
    return sorted(v.hint for v in taking_turns(function, made))


SWAP = """
func @f(%x: f64[n]) -> () {
  %lo: i64 = 0
  %hi: i64 = 4
  %step: i64 = 1
  %p: f64[n] = alloc() {shape=(n,), dtype=f64, fill=None}
  %q: f64[n] = alloc() {shape=(n,), dtype=f64, fill=None}
  %r: f64[n], %s: f64[n] = for(%lo, %hi, %step, %p, %q) (%i: i64, %a: f64[n], %b: f64[n]) {
    %v: f64 = load(%a, %lo)
    store(%v, %b, %lo)
    yield %b, %a
  }
  return
}"""


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ["a", "b"]),
        ({"yield %b, %a": "yield %a, %b"}, ["a", "b"]),
        ({"%p, %q)": "%p, %p)"}, []),
        ({"%p, %q)": "%x, %q)"}, []),
        ({"load(%a": "load(%q"}, []),
        ({"yield %b, %a": "yield %b, %b"}, []),
    ],
    ids=["exchanged", "kept", "one allocation", "an argument", "another name", "one is dropped"],
)
def test_what_takes_turns(changes, expected):
    text = SWAP
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    assert turns(text) == expected


def test_loop_form_of_a_swap_is_as_the_tests_above_have_it():
    assert taking_turns_of(built(sweeps, (n,), PLACES))


def taking_turns_of(function):
    loops = lowered(function)
    return taking_turns(loops, {op.result for op in loops.walk() if op.name == "alloc"})
