"""Additions and writes at arrays of indices: which loops they share, and when they must not."""

import numpy as np
import pytest

from tests.schedule.support import assert_same_results, counts, scheduled
from tracegrad.ir.text import parse
from tracegrad.schedule.scatters import additions

I, J = np.array([2, -1, 0, 2, 2]), np.array([1, 2, 1, -3, 0])


def program(body, results="%z", types="f64[n, 3]"):
    """A function of rows over nodes and edges, with ``zeros``."""
    return f"""
    func @f(%x: f64[n, 3], %a: f64[m, 3], %i: i64[m], %j: i64[m]) -> ({types})
      hints n = 50, m = 40
    {{
      %zero: f64 = 0.0
      %zeros: f64[n, 3] = view(%zero) {{shape=(n, 3), map=[]}}
      %b: f64[m, 3] = square(%a)
      %c: f64[m, 3] = negative(%b){body}
      return {results}
    }}"""


def check(text):
    rng = np.random.default_rng(0)
    function = parse(text)
    assert_same_results(function, rng.normal(size=(3, 3)), rng.normal(size=(5, 3)), I, J)
    none = np.zeros(0, int)
    assert_same_results(function, rng.normal(size=(3, 3)), np.zeros((0, 3)), none, none)
    return counts(scheduled(text))


ROW = """
      %y: f64[n, 3] = accumulate(%zeros, %b, %i)
      %z: f64[n, 3] = accumulate(%y, %c, %j)"""


def test_a_row_of_additions_is_one_loop_without_buffers():
    found = check(program(ROW))
    assert found["for"] == 1
    assert found["alloc"] == 1
    assert found["check_index"] == 2, "once for each row"


def test_a_reader_in_between_sees_its_version():
    read = """
      %r: f64[m, 3] = index(%y, %i)"""
    found = check(program(ROW + read, "%z, %r", "f64[n, 3], f64[m, 3]"))
    assert found["for"] > 1


def test_what_is_added_may_be_read_from_the_version_before():
    check(
        program("""
      %y: f64[n, 3] = accumulate(%zeros, %b, %i)
      %r: f64[m, 3] = index(%y, %j)
      %z: f64[n, 3] = accumulate(%y, %r, %i)""")
    )


def test_additions_to_a_computed_array_leave_its_loop_alone():
    found = check(
        program(
            """
      %e: f64[n, 3] = square(%x)
      %y: f64[n, 3] = accumulate(%e, %b, %i)
      %z: f64[n, 3] = accumulate(%y, %c, %j)
      %s: f64 = sum(%z) {axes=(0, 1)}""",
            "%s",
            "f64",
        )
    )
    assert found["for"] == 2
    assert found["alloc"] == 1


def test_additions_to_an_argument_copy_it_once():
    found = check(
        program("""
      %y: f64[n, 3] = accumulate(%x, %b, %i)
      %z: f64[n, 3] = accumulate(%y, %c, %j)""")
    )
    assert found["alloc"] == 1


def test_of_writes_to_one_place_the_last_stays():
    found = check(
        program("""
      %z: f64[n, 3] = update(%x, %c, %i)""")
    )
    assert found["alloc"] == 1, "what is written is written where it is computed"
    check(
        program("""
      %y: f64[n, 3] = update(%zeros, %b, %i)
      %z: f64[n, 3] = update(%y, %c, %j)""")
    )
    check(
        program(
            """
      %y: f64[n, 3] = update(%zeros, %b, %i)
      %z: f64[n, 3] = accumulate(%y, %c, %j)
      %w: f64[n, 3] = update(%z, %b, %j)""",
            "%w",
        )
    )


def test_writes_of_what_is_put_together_keep_their_order():
    text = """
    func @f(%a: f64[k], %b: f64[k], %i: i64[2*k]) -> (f64[3])
    {
      %zero: f64 = 0.0
      %zeros: f64[3] = view(%zero) {shape=(3,), map=[]}
      %c: f64[2*k] = concatenate(%a, %b) {axis=0}
      %z: f64[3] = update(%zeros, %c, %i)
      return %z
    }"""
    rng = np.random.default_rng(0)
    at = np.array([1, 2, 1, 0, 1, 0])
    assert_same_results(parse(text), rng.normal(size=3), rng.normal(size=3), at)


def test_only_what_has_no_other_reader_belongs_to_a_row():
    function = parse(program(ROW))
    first, second = (op for op in function.body.ops if op.name == "accumulate")
    found = additions(function.body.ops, function.body.users())
    assert found == {first: first.operands[0], second: first.operands[0]}
    function = parse(program(ROW, "%z, %y", "f64[n, 3], f64[n, 3]"))
    first, second = (op for op in function.body.ops if op.name == "accumulate")
    found = additions(function.body.ops, function.body.users())
    assert found == {first: first.operands[0], second: first.result}


IN_A_LOOP = """
    func @f(%x: f64[n, 3], %a: f64[m, 3], %i: i64[m], %j: i64[m]) -> (f64[n, 3])
      hints n = 50, m = 40
    {{
      %lo: i64 = 0
      %hi: i64 = 4
      %by: i64 = 1
      %z: f64[n, 3] = for(%lo, %hi, %by, %x) (%t: i64, %x0: f64[n, 3]) {{{body}
        yield %x2
      }}
      return %z
    }}"""

FROM_ELSEWHERE = """
        %b: f64[m, 3] = square(%a)
        %c: f64[m, 3] = negative(%b)
        %x1: f64[n, 3] = accumulate(%x0, %b, %i)
        %x2: f64[n, 3] = accumulate(%x1, %c, %j)"""

FROM_ITSELF = """
        %g: f64[m, 3] = index(%x0, %j)
        %b: f64[m, 3] = tanh(%g)
        %x1: f64[n, 3] = accumulate(%x0, %b, %i)
        %c: f64[m, 3] = negative(%b)
        %x2: f64[n, 3] = accumulate(%x1, %c, %j)"""


@pytest.mark.parametrize(("body", "loops"), [(FROM_ELSEWHERE, 1), (FROM_ITSELF, 2)])
def test_additions_to_what_a_loop_carries_are_made_in_place(body, loops):
    text = IN_A_LOOP.format(body=body)
    found = check(text)
    copying = 2  # the argument, before the loop
    assert found["for"] == copying + 1 + loops
    (outer,) = (op for op in scheduled(text).body.ops if op.name == "for" and op.attributes == {})
    assert sum(op.name == "for" for op in outer.regions[0].ops) == loops


def test_what_is_picked_again_and_again_is_computed_once_for_each_place():
    text = """
    func @f(%x: f64[n], %i: i64[m], %b: f64[m]) -> (f64)
      hints n = 50, m = {edges}
    {{
      %y: f64[n] = sqrt(%x)
      %z: f64[m] = index(%y, %i)
      %v: f64[m] = multiply(%z, %b)
      %s: f64 = sum(%v) {{axes=(0,)}}
      return %s
    }}"""
    for edges, buffers in ((200, 1), (60, 0)):
        assert counts(scheduled(text.format(edges=edges)))["alloc"] == buffers
    given = np.array([1.0, 4.0, 9.0]), I, np.arange(5.0)
    assert_same_results(parse(text.format(edges=200)), *given)


def test_rows_that_are_picked_are_gone_along():
    text = """
    func @f(%x: f64[n, k], %i: i64[m]) -> (f64)
      hints n = 50, k = 90, m = 20
    {
      %y: f64[m, k] = index(%x, %i)
      %z: f64[m, k] = square(%y)
      %s: f64 = sum(%z) {axes=(0, 1)}
      return %s
    }"""
    (outer,) = (op for op in scheduled(text).body.ops if op.name == "for")
    assert sum(op.name == "check_index" for op in outer.regions[0].ops) == 1
    assert_same_results(parse(text), np.arange(12.0).reshape(3, 4), I)
