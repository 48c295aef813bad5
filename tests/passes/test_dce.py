"""Dead code: what nothing depends on goes, what has an effect stays."""

from tracegrad.ir.builder import Builder
from tracegrad.ir.core import Location
from tracegrad.ir.text import parse
from tracegrad.ir.types import ArrayType, f64
from tracegrad.passes import dce
from tracegrad.testing.ir import assert_pass


def test_unread_operations_go():
    assert_pass(
        dce,
        before="""
        func @f(%x: f64[n], %y: f64[n]) -> (f64[n]) {
          %a: f64[n] = sin(%x)
          %b: f64[n] = cos(%a)
          %c: f64[n] = exp(%a)
          return %c
        }""",
        after="""
        func @f(%x: f64[n], %y: f64[n]) -> (f64[n]) {
          %a: f64[n] = sin(%x)
          %c: f64[n] = exp(%a)
          return %c
        }""",
    )


def test_a_carried_value_that_only_feeds_itself_goes():
    assert_pass(
        dce,
        before="""
        func @f(%x: f64, %y: f64, %k: i64) -> (f64) {
          %zero: i64 = 0
          %one: i64 = 1
          %a: f64, %b: f64 = for(%zero, %k, %one, %x, %y) (%i: i64, %s: f64, %t: f64) {
            %u: f64 = add(%s, %s)
            %v: f64 = multiply(%t, %u)
            yield %u, %v
          }
          return %a
        }""",
        after="""
        func @f(%x: f64, %y: f64, %k: i64) -> (f64) {
          %zero: i64 = 0
          %one: i64 = 1
          %a: f64 = for(%zero, %k, %one, %x) (%i: i64, %s: f64) {
            %u: f64 = add(%s, %s)
            yield %u
          }
          return %a
        }""",
    )


def test_a_carried_value_that_feeds_a_live_one_stays():
    text = """
        func @f(%x: f64, %y: f64, %k: i64) -> (f64) {
          %zero: i64 = 0
          %one: i64 = 1
          %a: f64, %b: f64 = for(%zero, %k, %one, %x, %y) (%i: i64, %s: f64, %t: f64) {
            %u: f64 = add(%s, %t)
            %v: f64 = sin(%t)
            yield %u, %v
          }
          return %a
        }"""
    assert_pass(dce, before=text, after=text)


def test_what_the_condition_of_while_reads_stays():
    assert_pass(
        dce,
        before="""
        func @f(%x: f64, %y: f64, %z: f64) -> (f64) {
          %a: f64, %b: f64, %c: f64 = while(%x, %y, %z) (%s: f64, %t: f64, %u: f64) {
            %p: bool = less(%t, %x)
            yield %p
          } do (%s2: f64, %t2: f64, %u2: f64) {
            %s3: f64 = sin(%s2)
            %t3: f64 = exp(%t2)
            %u3: f64 = cos(%u2)
            yield %s3, %t3, %u3
          }
          return %a
        }""",
        after="""
        func @f(%x: f64, %y: f64, %z: f64) -> (f64) {
          %a: f64, %b: f64 = while(%x, %y) (%s: f64, %t: f64) {
            %p: bool = less(%t, %x)
            yield %p
          } do (%s2: f64, %t2: f64) {
            %s3: f64 = sin(%s2)
            %t3: f64 = exp(%t2)
            yield %s3, %t3
          }
          return %a
        }""",
    )


def test_results_of_a_branch_go_one_by_one():
    assert_pass(
        dce,
        before="""
        func @f(%p: bool, %x: f64) -> (f64) {
          %a: f64, %b: f64 = if(%p) {
            %c: f64 = sin(%x)
            %d: f64 = cos(%x)
            yield %c, %d
          } else {
            yield %x, %x
          }
          return %b
        }""",
        after="""
        func @f(%p: bool, %x: f64) -> (f64) {
          %b: f64 = if(%p) {
            %d: f64 = cos(%x)
            yield %d
          } else {
            yield %x
          }
          return %b
        }""",
    )


def test_effects_stay_and_so_does_the_way_to_them():
    text = """
        func @f(%x: f64[n], %p: bool) -> (f64[n]) {
          %zero: i64 = 0
          %n: i64 = dim() {size=n}
          %one: i64 = 1
          %y: f64[n] = alloc() {shape=(n,), dtype=f64, fill=0}
          for(%zero, %n, %one) (%i: i64) {
            if(%p) {
              %v: f64 = load(%x, %i)
              store(%v, %y, %i)
            } else {
            }
          }
          return %y
        }"""
    assert_pass(dce, before=text, after=text)


def test_nested_loops_lose_what_the_outer_one_does_not_need():
    assert_pass(
        dce,
        before="""
        func @f(%x: f64, %y: f64, %k: i64) -> (f64) {
          %z: i64 = 0
          %o: i64 = 1
          %a: f64, %b: f64 = for(%z, %k, %o, %x, %y) (%i: i64, %s: f64, %t: f64) {
            %c: f64, %d: f64 = for(%z, %i, %o, %s, %t) (%j: i64, %q: f64, %r: f64) {
              %q2: f64 = sin(%q)
              %r2: f64 = add(%q, %r)
              yield %q2, %r2
            }
            yield %c, %d
          }
          return %a
        }""",
        after="""
        func @f(%x: f64, %y: f64, %k: i64) -> (f64) {
          %z: i64 = 0
          %o: i64 = 1
          %a: f64 = for(%z, %k, %o, %x) (%i: i64, %s: f64) {
            %c: f64 = for(%z, %i, %o, %s) (%j: i64, %q: f64) {
              %q2: f64 = sin(%q)
              yield %q2
            }
            yield %c
          }
          return %a
        }""",
    )


def test_names_places_and_parts_are_kept():
    place = Location("m.py", 3)
    with Builder() as build:
        x = build.param(ArrayType(f64), "x")
        with build.at(place, "reverse"):
            y = x + x
            y.hint = "twice"
        f = build.function("f", [y], title="t", result_names=["twice"])
    after = dce(f)
    (op,) = after.body.ops
    assert (op.location, op.part, op.result.hint) == (place, "reverse", "twice")
    assert (after.title, after.result_names) == ("t", ("twice",))
    assert op is not y.op


def test_the_function_given_is_not_changed():
    f = parse("func @f(%x: f64) -> (f64) { %a: f64 = sin(%x) %b: f64 = cos(%x) return %b }")
    text = str(f)
    dce(f)
    assert str(f) == text
