"""Merging carried values: only those that are equal in every trip."""

import textwrap

import numpy as np

from tracegrad.ir.interpreter import evaluate
from tracegrad.ir.parser import parse
from tracegrad.ir.verifier import verify
from tracegrad.passes import carries


def merged(text, *arguments):
    """How many values the only loop carries after the pass; results are as before."""
    before = parse(textwrap.dedent(text))
    after = verify(carries(before))
    for old, new in zip(evaluate(before, *arguments), evaluate(after, *arguments), strict=True):
        np.testing.assert_array_equal(old, new)
    (loop,) = (op for op in after.body.ops if op.regions)
    return len(loop.results)


def test_values_that_trade_places_are_one_if_they_begin_equal():
    count = merged(
        """
        func @f(%n: i64, %x: f64) -> (f64, f64) {
          %0: i64 = 0
          %1: i64 = 1
          %a: f64, %b: f64 = for(%0, %n, %1, %x, %x) {kind="plain"} (%i: i64, %a1: f64, %b1: f64) {
            yield %b1, %a1
          }
          return %a, %b
        }""",
        np.array(3),
        np.array(2.0),
    )
    assert count == 1


def test_values_that_begin_equal_and_part_are_two():
    count = merged(
        """
        func @f(%n: i64, %x: f64) -> (f64, f64) {
          %0: i64 = 0
          %1: i64 = 1
          %a: f64, %b: f64 = for(%0, %n, %1, %x, %x) {kind="plain"} (%i: i64, %a1: f64, %b1: f64) {
            %2: f64 = add(%a1, %x)
            %3: f64 = multiply(%b1, %x)
            yield %2, %3
          }
          return %a, %b
        }""",
        np.array(3),
        np.array(1.5),
    )
    assert count == 2


def test_values_told_apart_only_by_the_second_trip_are_two():
    # a and b begin equal and take c and d, which begin equal and then part.
    count = merged(
        """
        func @f(%n: i64, %x: f64) -> (f64, f64) {
          %0: i64 = 0
          %1: i64 = 1
          %a: f64, %b: f64, %c: f64, %d: f64 = for(%0, %n, %1, %x, %x, %x, %x) {kind="plain"}
              (%i: i64, %a1: f64, %b1: f64, %c1: f64, %d1: f64) {
            %2: f64 = tanh(%c1)
            %3: f64 = multiply(%d1, %x)
            yield %c1, %d1, %2, %3
          }
          return %a, %b
        }""",
        np.array(2),
        np.array(1.5),
    )
    assert count == 4


def test_zeros_of_either_sign_are_two():
    count = merged(
        """
        func @f(%n: i64) -> (f64, f64) {
          %0: i64 = 0
          %1: i64 = 1
          %p: f64 = 0.0
          %m: f64 = -0.0
          %a: f64, %b: f64 = for(%0, %n, %1, %p, %m) {kind="plain"} (%i: i64, %a1: f64, %b1: f64) {
            yield %a1, %b1
          }
          return %a, %b
        }""",
        np.array(2),
    )
    assert count == 2


FLAG = """
    func @f(%n: i64, %x: f64) -> (i64, f64) {
      %0: i64 = 0
      %no: bool = False
      %i: i64, %stop: bool, %y: f64 = while(%0, %no, %x) (%i1: i64, %stop1: bool, %y1: f64) {
        %less: bool = less(%i1, %n)
        %not: bool = logical_not(%stop1)
        %go: bool = CONDITION(%less, %not)
        yield %go
      } do (%i2: i64, %stop2: bool, %y2: f64) {
        %one: i64 = 1
        %next: i64 = add(%i2, %one)
        %z: f64 = if(%stop2) {
          yield %x
        } else {
          %t: f64 = tanh(%y2)
          yield %t
        }
        %last: i64 = 5
        %stop3: bool = less(%last, %next)
        yield %next, %stop3, %z
      }
      return %i, %y
    }"""


def reads_of_the_flag(condition):
    """Operations of the body that read the flag."""
    before = parse(textwrap.dedent(FLAG.replace("CONDITION", condition)))
    after = verify(carries(before))
    arguments = np.array(3), np.array(0.5)
    assert evaluate(before, *arguments) == evaluate(after, *arguments)
    (loop,) = (op for op in after.body.ops if op.regions)
    flag = loop.regions[1].params[1]
    return sum(flag in op.operands for op in loop.regions[1].walk())


def test_a_flag_that_the_condition_denies_is_known_in_the_body():
    assert reads_of_the_flag("logical_and") == 0


def test_a_flag_that_the_condition_only_may_ask_for_is_not():
    assert reads_of_the_flag("logical_or") == 1
