"""Folding, sharing, control flow, and what the rules do together."""

import pytest

from tests.ops.building import built
from tracegrad.ir.builder import Builder
from tracegrad.ir.text import parse, same
from tracegrad.ir.types import ArrayType, f64, symbol
from tracegrad.ops.registry import REGISTRY
from tracegrad.passes import cse, fold, optimize, simplify
from tracegrad.passes.table import EXACT
from tracegrad.testing.ir import assert_pass


def test_fold_computes_constants_and_dimensions():
    assert_pass(
        fold,
        before="""
        func @f(%x: f64[n]) -> (f64, i64, bool, i64) {
          %two: f64 = 2.0
          %half: f64 = reciprocal(%two)
          %n: i64 = dim() {size=n}
          %one: i64 = 1
          %m: i64 = subtract(%n, %one)
          %p: bool = less(%m, %n)
          %q: i64 = floor_divide(%n, %one)
          return %half, %m, %p, %q
        }""",
        after="""
        func @f(%x: f64[n]) -> (f64, i64, bool, i64) {
          %half: f64 = 0.5
          %n: i64 = dim() {size=n}
          %m: i64 = dim() {size=n - 1}
          %p: bool = True
          return %half, %m, %p, %n
        }""",
    )


def test_integer_division_by_zero_is_left_to_the_program():
    text = """
        func @f() -> (i64) {
          %one: i64 = 1
          %zero: i64 = 0
          %q: i64 = floor_divide(%one, %zero)
          return %q
        }"""
    assert_pass(fold, before=text, after=text)


def test_f32_constants_are_computed_in_f32():
    f = fold(
        parse("""
        func @f() -> (f32) {
          %a: f32 = 0.10000000149011612
          %b: f32 = multiply(%a, %a)
          return %b
        }""")
    )
    assert f.body.ops[0].attributes["value"] == 0.010000000707805157


def test_cse_merges_equal_operations_and_exchanged_operands():
    assert_pass(
        cse,
        before="""
        func @f(%x: f64[n], %y: f64[n]) -> (f64[n]) {
          %a: f64[n] = multiply(%x, %y)
          %b: f64[n] = multiply(%y, %x)
          %c: f64[n] = subtract(%a, %b)
          return %c
        }""",
        after="""
        func @f(%x: f64[n], %y: f64[n]) -> (f64[n]) {
          %a: f64[n] = multiply(%x, %y)
          %c: f64[n] = subtract(%a, %a)
          return %c
        }""",
    )


def test_cse_keeps_the_zeros_apart():
    text = """
        func @f() -> (f64, f64) {
          %a: f64 = 0.0
          %b: f64 = -0.0
          return %a, %b
        }"""
    assert_pass(cse, before=text, after=text)


def test_cse_looks_out_of_a_region_but_not_across():
    assert_pass(
        cse,
        before="""
        func @f(%p: bool, %x: f64) -> (f64) {
          %a: f64 = sin(%x)
          %r: f64 = if(%p) {
            %b: f64 = sin(%x)
            %c: f64 = cos(%b)
            yield %c
          } else {
            %d: f64 = cos(%a)
            yield %d
          }
          return %r
        }""",
        after="""
        func @f(%p: bool, %x: f64) -> (f64) {
          %a: f64 = sin(%x)
          %r: f64 = if(%p) {
            %c: f64 = cos(%a)
            yield %c
          } else {
            %d: f64 = cos(%a)
            yield %d
          }
          return %r
        }""",
    )


def test_memory_is_not_merged():
    text = """
        func @f(%x: f64[n], %i: i64) -> (f64[n], f64[n]) {
          %y: f64[n] = alloc() {shape=(n,), dtype=f64, fill=0}
          %z: f64[n] = alloc() {shape=(n,), dtype=f64, fill=0}
          %a: f64 = load(%y, %i)
          store(%a, %z, %i)
          %b: f64 = load(%y, %i)
          store(%b, %z, %i)
          return %y, %z
        }"""
    assert_pass(cse, before=text, after=text)


def test_the_user_s_name_goes_to_what_replaces_the_value():
    with Builder() as build:
        x = build.param(ArrayType(f64, (symbol("n"),)), "x")
        y = x + -(x * 3.0)
        y.hint = "y"
        f = build.function("f", [y])
    assert simplify(f).results[0].hint == "y"


def test_a_known_predicate_chooses():
    assert_pass(
        simplify,
        before="""
        func @f(%x: f64) -> (f64) {
          %p: bool = True
          %r: f64 = if(%p) {
            %a: f64 = sin(%x)
            yield %a
          } else {
            yield %x
          }
          return %r
        }""",
        after="""
        func @f(%x: f64) -> (f64) {
          %a: f64 = sin(%x)
          return %a
        }""",
    )


def test_equal_arms_leave_the_branch():
    assert_pass(
        simplify,
        before="""
        func @f(%p: bool, %x: f64) -> (f64, f64) {
          %r: f64, %s: f64 = if(%p) {
            %a: f64 = sin(%x)
            yield %a, %x
          } else {
            yield %x, %x
          }
          return %r, %s
        }""",
        after="""
        func @f(%p: bool, %x: f64) -> (f64, f64) {
          %r: f64 = if(%p) {
            %a: f64 = sin(%x)
            yield %a
          } else {
            yield %x
          }
          return %r, %x
        }""",
    )


@pytest.mark.parametrize(("hi", "results"), [(0, "%x"), (1, "%b")])
def test_loops_of_no_or_one_trip_go(hi, results):
    body = "" if hi == 0 else "%z: f64 = 0.0 %b: f64 = maximum(%x, %z)"
    assert_pass(
        simplify,
        before=f"""
        func @f(%x: f64) -> (f64) {{
          %zero: i64 = 0
          %hi: i64 = {hi}
          %one: i64 = 1
          %r: f64 = for(%zero, %hi, %one, %x) (%i: i64, %s: f64) {{
            %f: f64 = cast(%i) {{dtype=f64}}
            %t: f64 = maximum(%s, %f)
            yield %t
          }}
          return %r
        }}""",
        after=f"func @f(%x: f64) -> (f64) {{ {body} return {results} }}",
    )


def test_what_no_trip_changes_is_not_carried():
    assert_pass(
        simplify,
        before="""
        func @f(%x: f64, %y: f64, %k: i64) -> (f64, f64) {
          %zero: i64 = 0
          %one: i64 = 1
          %a: f64, %b: f64 = for(%zero, %k, %one, %x, %y) (%i: i64, %s: f64, %t: f64) {
            %u: f64 = maximum(%s, %t)
            yield %u, %t
          }
          return %a, %b
        }""",
        after="""
        func @f(%x: f64, %y: f64, %k: i64) -> (f64, f64) {
          %zero: i64 = 0
          %one: i64 = 1
          %a: f64 = for(%zero, %k, %one, %x) (%i: i64, %s: f64) {
            %u: f64 = maximum(%s, %y)
            yield %u
          }
          return %a, %y
        }""",
    )


def test_while_conditions_read_what_is_not_carried_from_outside():
    assert_pass(
        simplify,
        before="""
        func @f(%x: f64, %y: f64) -> (f64) {
          %a: f64, %b: f64 = while(%x, %y) (%s: f64, %t: f64) {
            %p: bool = less(%s, %t)
            yield %p
          } do (%s2: f64, %t2: f64) {
            %s3: f64 = exp(%s2)
            yield %s3, %t2
          }
          return %a
        }""",
        after="""
        func @f(%x: f64, %y: f64) -> (f64) {
          %a: f64 = while(%x) (%s: f64) {
            %p: bool = less(%s, %y)
            yield %p
          } do (%s2: f64) {
            %s3: f64 = exp(%s2)
            yield %s3
          }
          return %a
        }""",
    )


def test_quotients_of_arrays_share_a_reciprocal():
    assert_pass(
        simplify,
        before="""
        func @f(%x: f64[n], %y: f64[n], %z: f64[n]) -> (f64[n], f64[n]) {
          %a: f64[n] = divide(%x, %z)
          %b: f64[n] = divide(%y, %z)
          return %a, %b
        }""",
        after="""
        func @f(%x: f64[n], %y: f64[n], %z: f64[n]) -> (f64[n], f64[n]) {
          %r: f64[n] = reciprocal(%z)
          %a: f64[n] = multiply(%x, %r)
          %b: f64[n] = multiply(%y, %r)
          return %a, %b
        }""",
    )


def test_quotients_of_scalars_stay():
    text = """
        func @f(%x: f64, %y: f64, %z: f64) -> (f64, f64) {
          %a: f64 = divide(%x, %z)
          %b: f64 = divide(%y, %z)
          return %a, %b
        }"""
    assert_pass(simplify, before=text, after=text)


def test_exact_rules_alone_keep_every_bit():
    text = """
        func @f(%x: f64[n], %y: f64[n]) -> (f64[n]) {
          %c: f64 = 3.0
          %a: f64[n] = divide(%x, %c)
          return %a
        }"""
    assert_pass(lambda f: simplify(f, marks=[EXACT]), before=text, after=text)


def test_optimize_comes_to_an_end_and_stays_there():
    names = ["sin", "exp", "negative", "square", "reciprocal", "sqrt"]
    with Builder() as build:
        x = build.param(ArrayType(f64, (symbol("n"),)), "x")
        y = x
        for k in range(60):
            y = REGISTRY[names[k % 6]](y) * -2.0 + (x if k % 3 else -y)
        f = build.function("f", [REGISTRY["sum"](y, axes=(0,))])
    once = optimize(f)
    assert same(optimize(once), once)


def test_the_second_of_two_writes_is_the_one_that_counts():
    assert_pass(
        simplify,
        before="""
        func @f(%x: f64[n], %v: f64, %w: f64, %i: i64) -> (f64[n]) {
          %y: f64[n] = update(%x, %v, %i)
          %z: f64[n] = update(%y, %w, %i)
          return %z
        }""",
        after="""
        func @f(%x: f64[n], %v: f64, %w: f64, %i: i64) -> (f64[n]) {
          %z: f64[n] = update(%x, %w, %i)
          return %z
        }""",
    )


def test_a_written_array_that_is_read_elsewhere_is_written_again():
    """Otherwise x and y would both be alive, and one of them a copy: in a loop, in each trip."""
    text = """
        func @f(%x: f64[n], %v: f64, %w: f64, %i: i64, %c: bool) -> (f64[n]) {
          %y: f64[n] = update(%x, %v, %i)
          %r: f64[n] = if(%c) {
            yield %y
          } else {
            %z: f64[n] = update(%y, %w, %i)
            yield %z
          }
          return %r
        }"""
    assert_pass(simplify, before=text, after=text)


def test_sums_of_any_length_are_simplified():
    """A rule that looks into the terms of a sum neither nests as deep nor goes through them all."""

    def make(x, y):
        total = x
        for k in range(1500):
            total = x * (y + float(k)) + total
        return total

    assert len(list(simplify(built(make, (symbol("n"),), ())).walk())) > 4500
