"""Values that go by one variable: where they may, and where they must not."""

from __future__ import annotations

import textwrap

import numpy as np

from tracegrad.backend.compile import run_plain
from tracegrad.backend.emit import emit_loop_form
from tracegrad.ir.interpreter import evaluate
from tracegrad.ir.parser import parse


def printed(text: str, *arguments: float) -> str:
    """The body of the function ``text``, printed; run on ``arguments`` it is the interpreter's."""
    function = parse(textwrap.dedent(text))
    source = emit_loop_form(function)
    found = run_plain(source, function.name)(*arguments)
    expected = evaluate(function, *arguments)
    found = found if len(expected) > 1 else (found,)
    for result, reference in zip(found, expected, strict=True):
        np.testing.assert_array_equal(result, reference, err_msg=source)
    body = source.split("):\n", 1)[1]
    return textwrap.dedent(body).strip()


def test_a_next_value_is_computed_into_the_variable_of_the_former():
    text = printed(
        """
        func @f(%x: f64, %n: i64) -> (f64)
        {
          %0: i64 = 0
          %1: i64 = 1
          %y: f64 = for(%0, %n, %1, %x) {kind="plain"} (%i: i64, %y: f64) {
            %2: f64 = tanh(%y)
            %new: f64 = subtract(%y, %2)
            yield %new
          }
          return %y
        }""",
        1.5,
        3,
    )
    assert text == "y = x\nfor i in range(n):\n    y -= tanh(y)\nreturn y"


def test_values_that_need_each_other_are_assigned_at_once():
    text = printed(
        """
        func @f(%x: f64, %z: f64, %n: i64) -> (f64)
        {
          %0: i64 = 0
          %1: i64 = 1
          %a: f64, %b: f64 = for(%0, %n, %1, %x, %z) {kind="plain"} (%i: i64, %a: f64, %b: f64) {
            %2: f64 = add(%a, %b)
            yield %b, %2
          }
          return %a
        }""",
        1.0,
        1.0,
        7,
    )
    assert "a, b = b, a + b" in text


def test_a_variable_changes_after_the_last_that_reads_its_former_value():
    text = printed(
        """
        func @f(%x: f64, %n: i64) -> (f64, f64)
        {
          %0: i64 = 0
          %1: i64 = 1
          %s: f64, %t: f64 = for(%0, %n, %1, %x, %x) {kind="plain"} (%i: i64, %s: f64, %t: f64) {
            %s.1: f64 = multiply(%s, %x)
            %2: f64 = add(%t, %s.1)
            %3: f64 = add(%2, %s.1)
            yield %s.1, %3
          }
          return %s, %t
        }""",
        0.5,
        4,
    )
    assert "    s *= x\n    t = t + s + s" in text


def test_a_former_value_that_is_read_later_keeps_its_variable():
    text = printed(
        """
        func @f(%x: f64, %n: i64) -> (f64, f64)
        {
          %0: i64 = 0
          %1: i64 = 1
          %s: f64, %t: f64 = for(%0, %n, %1, %x, %x) {kind="plain"} (%i: i64, %s: f64, %t: f64) {
            %s.1: f64 = multiply(%s, %x)
            %2: f64 = tanh(%s.1)
            %3: f64 = add(%s, %2)
            %4: f64 = add(%t, %3)
            yield %s.1, %4
          }
          return %s, %t
        }""",
        0.5,
        4,
    )
    assert "s_2 = s * x" in text
    assert "t += s + tanh(s_2)" in text


def test_the_arms_of_a_branch_update_the_variable_from_before():
    text = printed(
        """
        func @f(%x: f64, %n: i64) -> (f64)
        {
          %0: i64 = 0
          %1: i64 = 1
          %s: f64 = for(%0, %n, %1, %x) {kind="plain"} (%i: i64, %s: f64) {
            %2: bool = less(%s, %x)
            %s.1: f64 = if(%2) {
              %3: f64 = tanh(%s)
              %4: f64 = multiply(%3, %s)
              yield %4
            } else {
              %5: f64 = for(%0, %n, %1, %s) {kind="plain"} (%j: i64, %6: f64) {
                %7: f64 = add(%6, %x)
                yield %7
              }
              yield %5
            }
            yield %s.1
          }
          return %s
        }""",
        0.5,
        4,
    )
    assert text == textwrap.dedent("""\
        s = x
        for i in range(n):
            if s < x:
                s *= tanh(s)
            else:
                for j in range(n):
                    s += x
        return s""")


def test_what_an_inner_loop_reads_in_every_trip_keeps_its_variable():
    text = printed(
        """
        func @f(%x: f64, %n: i64) -> (f64)
        {
          %0: i64 = 0
          %1: i64 = 1
          %s: f64 = for(%0, %n, %1, %x) {kind="plain"} (%i: i64, %s: f64) {
            %t: f64 = for(%0, %n, %1, %s) {kind="plain"} (%j: i64, %t: f64) {
              %2: f64 = add(%t, %s)
              yield %2
            }
            yield %t
          }
          return %s
        }""",
        0.5,
        4,
    )
    assert "t = s\n    for j in range(n):\n        t += s\n    s = t" in text


def test_a_bound_of_a_loop_keeps_its_variable():
    # The head of the loop stands behind the first values of what it carries.
    text = printed(
        """
        func @f(%n: i64) -> (i64)
        {
          %0: i64 = 0
          %1: i64 = 1
          %m: i64 = for(%0, %n, %1, %1) {kind="plain"} (%i: i64, %m: i64) {
            %2: i64 = add(%m, %m)
            yield %2
          }
          %m.1: i64 = for(%0, %m, %1, %0) {kind="plain"} (%i.1: i64, %m.2: i64) {
            %3: i64 = add(%m.2, %1)
            yield %3
          }
          return %m.1
        }""",
        3,
    )
    assert "for i in range(m)" in text


def test_a_tape_that_grows_has_one_name():
    text = printed(
        """
        func @f(%x: f64, %n: i64) -> (f64)
        {
          %0: i64 = 0
          %1: i64 = 1
          %tape: f64[length] = tape(%0) {size=length, shape=(), dtype=f64}
          %all: f64[length], %trips: i64, %y: f64 = while(%tape, %0, %x)
              (%a: f64[length], %b: i64, %c: f64) {
            %2: bool = less(%b, %n)
            yield %2
          } do (%tape.1: f64[length], %trips.1: i64, %y.1: f64) {
            %3: i64 = add(%trips.1, %1)
            %tape.2: f64[length] = ensure(%tape.1, %3)
            store(%y.1, %tape.2, %trips.1)
            %4: f64 = multiply(%y.1, %x)
            yield %tape.2, %3, %4
          }
          %5: f64 = load(%all, %1)
          %6: f64 = add(%5, %y)
          return %6
        }""",
        0.5,
        3,
    )
    assert "tape_2" not in text
    assert "tape = runtime.ensure(tape, " in text


def test_a_name_bound_anew_from_itself_is_one_variable():
    text = printed(
        """
        func @f(%x: f64) -> (f64)
        {
          %y: f64 = tanh(%x)
          %0: f64 = multiply(%y, %x)
          %y.1: f64 = add(%0, %x)
          %y.2: f64 = multiply(%y.1, %y.1)
          return %y.2
        }""",
        0.5,
    )
    assert text == "y = tanh(x)\ny = y * x + x\ny *= y\nreturn y"


def test_two_values_of_one_name_are_two_variables_while_both_are_read():
    text = printed(
        """
        func @f(%x: f64) -> (f64)
        {
          %y: f64 = tanh(%x)
          %y.1: f64 = multiply(%y, %x)
          %z: f64 = subtract(%y.1, %y)
          return %z
        }""",
        0.5,
    )
    assert text == "y = tanh(x)\ny_2 = y * x\nz = y_2 - y\nreturn z"
