"""Threaded variables: what becomes a carried value, what a result, what is captured."""

import numpy as np

from tracegrad import ops
from tracegrad.ir.interpreter import evaluate
from tracegrad.ir.text import parse
from tracegrad.ir.threads import Threads, Variable, drop_unread, free_values, substitute
from tracegrad.ir.types import ArrayType, boolean, f64, i64, scalar
from tracegrad.ir.verifier import verify
from tracegrad.ops.control import for_, if_
from tracegrad.ops.registry import constant
from tracegrad.testing.ir import assert_same

SCALAR = ArrayType(f64)


def started():
    build = Threads()
    build.__enter__()
    x = build.param(SCALAR, "x")
    return build, x


def finished(build, *results):
    build.__exit__(None, None, None)
    return verify(build.function("f", results))


def variable(build, value, hint=""):
    made = Variable(value.type, home=build.scope, hint=hint)
    build.set(made, value)
    return made


def bounds(count):
    return [constant(k, i64) for k in (0, count, 1)]


def test_a_loop_carries_what_it_sets_and_captures_what_it_reads():
    build, x = started()
    total, factor = variable(build, x), variable(build, x * 2.0)
    three = bounds(3)
    with build.scoped(loops=True) as scope:
        build.param(scalar(i64), "i")
        build.set(total, build.get(total) + build.get(factor))
    op = build.close_loop(scope, for_, three, 0)
    assert len(op.results) == 1
    f = finished(build, build.get(total))
    assert evaluate(f, 1.0) == (7.0,)


def test_nested_loops_hand_a_variable_through():
    build, x = started()
    total = variable(build, x)
    outer_bounds = bounds(2)
    with build.scoped(loops=True) as outer:
        build.param(scalar(i64), "i")
        inner_bounds = bounds(3)
        with build.scoped(loops=True) as inner:
            build.param(scalar(i64), "j")
            build.set(total, build.get(total) * 2.0)
        build.close_loop(inner, for_, inner_bounds, 0)
    build.close_loop(outer, for_, outer_bounds, 0)
    assert evaluate(finished(build, build.get(total)), 1.0) == (64.0,)


def test_a_branch_yields_what_either_arm_sets():
    for start, expected in ((-1.0, (-1.0, 0.0)), (3.0, (9.0, 9.0))):
        build, x = started()
        kept = variable(build, x)
        fresh = Variable(SCALAR, home=build.scope)
        positive = x > 0.0
        with build.scoped(loops=False) as then:
            build.set(kept, x * x)
            build.set(fresh, build.get(kept))
        with build.scoped(loops=False) as otherwise:
            pass
        build.close_branch(if_, positive, [then, otherwise], lambda v: constant(0.0))
        f = finished(build, build.get(kept), build.get(fresh))
        assert evaluate(f, start) == expected


def test_a_branch_that_sets_nothing_is_nothing():
    build, x = started()
    with build.scoped(loops=False) as then:
        pass
    with build.scoped(loops=False) as otherwise:
        pass
    yes = constant(True)
    assert yes.dtype is boolean
    assert build.close_branch(if_, yes, [then, otherwise], lambda v: constant(0.0)) is None
    finished(build, x)


def test_a_variable_of_an_arm_ends_with_it():
    build, x = started()
    yes = constant(True)
    with build.scoped(loops=False) as then:
        local = variable(build, x)
    with build.scoped(loops=False) as otherwise:
        pass
    assert build.close_branch(if_, yes, [then, otherwise], lambda v: constant(0.0)) is None
    assert then.current[local] is x


def test_what_stands_before_the_outermost_loop():
    build, x = started()
    total = Variable(SCALAR, home=build.scope)
    with build.scoped(loops=True) as scope:
        build.param(scalar(i64), "i")
        assert build.get(total) is None
        with build.inside(build.loops_from_home(total)):
            build.set(total, constant(1.0))
        build.set(total, build.get(total) + x)
    build.close_loop(scope, for_, bounds(2), 0)
    assert evaluate(finished(build, build.get(total)), 3.0) == (7.0,)


def test_taking_leaves_no_value():
    build, x = started()
    once = variable(build, x)
    assert build.take(once) is x
    assert build.get(once) is None
    finished(build, x)


def test_splicing_inserts_into_a_finished_region():
    build, x = started()
    y = x * x
    with build.spliced(build.region, build.region.ops.index(y.op)):
        ops.sin(x)
    f = finished(build, y)
    assert [op.name for op in f.body.ops] == ["sin", "multiply"]


LOOP = """
    func @f(%x: f64, %y: f64) -> (f64) {
      %lo: i64 = 0
      %hi: i64 = 3
      %st: i64 = 1
      %unread: f64 = sin(%x)
      %r: f64 = for(%lo, %hi, %st, %x) (%i: i64, %s: f64) {
        %a: f64 = multiply(%s, %y)
        %b: f64 = cos(%y)
        yield %a
      }
      return %r
    }"""


def test_free_values_are_read_and_not_defined_within():
    f = parse(LOOP)
    (loop,) = [op for op in f.body.ops if op.name == "for"]
    assert free_values(loop.regions[0]) == [f.params[1]]


def test_unread_operations_are_dropped_at_every_depth():
    f = parse(LOOP)
    drop_unread(f.body)
    assert [op.name for op in f.walk()] == ["const", "const", "const", "for", "multiply"]
    verify(f)


def test_what_only_feeds_itself_or_is_yielded_for_nobody_is_dropped():
    f = parse("""
        func @f(%x: f64, %y: f64, %c: bool) -> (f64) {
          %lo: i64 = 0
          %hi: i64 = 3
          %st: i64 = 1
          %r: f64, %d: f64, %e: f64 = for(%lo, %hi, %st, %x, %y, %y)
              (%i: i64, %s: f64, %t: f64, %u: f64) {
            %a: f64 = multiply(%s, %u)
            %b: f64 = cos(%t)
            %v: f64, %w: f64 = if(%c) {
              %k: f64 = sin(%u)
              %l: f64 = cos(%u)
              yield %k, %l
            } else {
              yield %u, %t
            }
            yield %a, %b, %v
          }
          return %r
        }""")
    drop_unread(f.body)
    verify(f)
    names = [op.name for op in f.walk()]
    assert names == ["const", "const", "const", "for", "multiply", "if", "sin"]
    loop, branch = (op for op in f.walk() if op.regions)
    assert len(loop.results) == len(loop.regions[0].yields) == 2
    assert len(branch.results) == 1


def test_what_a_while_asks_for_is_read():
    f = parse("""
        func @f(%x: f64) -> (f64) {
          %0: f64 = 0.0
          %a: f64, %b: f64, %c: f64 = while(%x, %0, %0) (%a1: f64, %b1: f64, %c1: f64) {
            %p: bool = less(%b1, %x)
            yield %p
          } do (%a2: f64, %b2: f64, %c2: f64) {
            %s: f64 = sin(%a2)
            %t: f64 = add(%b2, %x)
            %u: f64 = add(%c2, %x)
            yield %s, %t, %u
          }
          return %a
        }""")
    drop_unread(f.body)
    verify(f)
    assert [op.name for op in f.walk()] == ["const", "while", "less", "sin", "add"]


def test_substitution_reaches_every_depth():
    f = parse(LOOP)
    substitute(f.body, {f.params[1]: f.params[0]})
    assert evaluate(f, np.float64(2.0), np.float64(5.0)) == (16.0,)
    assert_same(f, f)
