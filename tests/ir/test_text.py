"""The text format: what is printed, and that reading it back gives the same function."""

import numpy as np
import pytest

from tracegrad import ops  # noqa: F401  # fills the registry
from tracegrad.ir.builder import Builder
from tracegrad.ir.core import Function, Guard, Location
from tracegrad.ir.parser import ParseError
from tracegrad.ir.text import canonical, parse, print_function, quoted, same
from tracegrad.ir.types import ArrayType, f64, i64, symbol
from tracegrad.ops.access import flip, slice_, view
from tracegrad.ops.registry import constant

n = symbol("n")

EVERYTHING = """\
func @f(%x: f64[n], %count: i64, %flag: bool) -> (f64[n - 1], f64)
  sizes m = %count
  guards n == 2*m, (n + 1)//2 >= max(1, m)
  hints n = 1000
  names "out", ""
  title "value and \\"gradient\\" of f"
{
  %half: f64 = 0.5
  %big: f64[2, 2] = ((1.0, -inf), (nan, 1e-300))
  %none: f64[0] = ()
  %yes: bool = True
  %three: i32[1] = (-3,)
  %right: f64[n - 1] = view(%x) {shape=(n - 1,), map=[#0 + 1]}
  %flip: f64[n] = view(%x) {shape=(n,), map=[-#0 + n - 1]}
  %v: f64[3, (n)//2] = view(%x) {shape=(3, (n)//2), map=[2*#1 + 1]}
  %v.1: f64 = view(%x) {shape=(), map=[n - 1]}
  %0: f64[n - 1] = multiply(%right, %half)  !reverse
  %n: i64 = dim() {size=n}
  %c: f32 = cast(%half) {dtype=f32}
  return %0, %v.1
}"""


def test_every_construct_survives_print_and_parse():
    assert print_function(parse(EVERYTHING)) == EVERYTHING


def test_str_of_a_function_is_its_text():
    assert str(parse(EVERYTHING)) == EVERYTHING


def test_regions_nest():
    text = """\
func @f(%x: f64, %k: i64, %p: bool) -> (f64, f64)  {
  %lo: i64 = 0
  %step: i64 = 1
  %total: f64 = for(%lo, %k, %step, %x) {kind="plain"} (%i: i64, %t: f64) {
    %next: f64 = if(%p) {
      %sum: f64 = add(%t, %x)
      yield %sum
    } else {
      yield %t
    }
    yield %next
  }  !reverse
  %last: f64 = while(%x) (%a: f64) {
    %small: bool = less(%a, %total)
    yield %small
  } do (%a.1: f64) {
    %twice: f64 = add(%a.1, %a.1)
    yield %twice
  }
  return %total, %last
}""".replace("  {\n  %lo", " {\n  %lo")
    assert print_function(parse(text)) == text


def test_hints_are_kept_and_made_unique():
    with Builder() as build:
        x = build.param(ArrayType(f64), "x")
        y = x + x
        y.hint = "x"
        z = y + x
        f = build.function("f", [z])
    assert print_function(f) == (
        "func @f(%x: f64) -> (f64) {\n"
        "  %x.1: f64 = add(%x, %x)\n"
        "  %0: f64 = add(%x.1, %x)\n"
        "  return %0\n}"
    )
    again = parse(str(f))
    assert again.body.ops[0].result.hint == "x"
    assert again.results[0].hint == ""


def test_a_hint_that_is_no_identifier_is_made_one():
    with Builder() as build:
        x = build.param(ArrayType(f64), "a.b c")
        f = build.function("<lambda>", [x])
    assert str(f) == 'func @"<lambda>"(%a_b_c: f64) -> (f64) {\n  return %a_b_c\n}'
    assert parse(str(f)).name == "<lambda>"


def test_locations_are_printed_when_asked_for():
    place = Location('a "b".py', 3, 4, 9, 3, "loss")
    with Builder() as build:
        x = build.param(ArrayType(f64), "x")
        with build.at(place, "reverse"):
            y = x + x
        f = build.function("f", [y], origin=Location("m.py", 1))
    text = print_function(f, locations=True)
    again = parse(text)
    assert again.body.ops[0].location == place
    assert again.body.ops[0].part == "reverse"
    assert again.origin == Location("m.py", 1)
    assert print_function(again, locations=True) == text
    assert parse(str(f)).body.ops[0].location is None


def test_views_print_as_index_expressions():
    with Builder() as build:
        x = build.param(ArrayType(f64, (n, 4)), "x")
        y = slice_(flip(x, 0), 1, 1, None, 2)
        z = view(x, shape=(n, n), map=((1, 0, 1), (None, 3, 1)))
        f = build.function("f", [y, z])
    assert "map=[-#0 + n - 1, 2*#1 + 1]" in str(f)
    assert "map=[#1, 3]" in str(f)
    assert [dict(op.attributes) for op in parse(str(f)).walk()] == [
        dict(op.attributes) for op in f.walk()
    ]


@pytest.mark.parametrize("value", [0.0, -0.0, np.nan, -np.inf, 1e22, 5e-324, 0.1])
def test_numbers_are_exact(value):
    with Builder() as build:
        f = build.function("f", [constant(value)])
    again = parse(str(f)).body.ops[0].attributes["value"]
    assert np.float64(again).tobytes() == np.float64(value).tobytes() or value != value


def test_same_ignores_names_but_not_structure():
    left = parse("func @f(%x: f64) -> (f64) { %a: f64 = sin(%x) return %a }")
    assert same(left, parse("func @g(%y: f64) -> (f64) { %0: f64 = sin(%y) return %0 }"))
    assert not same(left, parse("func @f(%x: f64) -> (f64) { %a: f64 = cos(%x) return %a }"))
    reverse = parse("func @f(%x: f64) -> (f64) { %a: f64 = sin(%x) !reverse return %a }")
    assert same(left, reverse)
    assert not same(left, reverse, parts=True)


def test_same_tells_the_zeros_apart():
    plus, minus = (
        parse(f"func @f() -> (f64) {{ %z: f64 = {zero} return %z }}") for zero in ("0.0", "-0.0")
    )
    assert canonical(plus) != canonical(minus)


def test_comments_and_blank_lines_are_skipped():
    f = parse("""
        ; a function
        func @f(%x: f64) -> (f64) {   ; its body

          return %x ; the end
        }
    """)
    assert f.results == f.params


def test_quoted_strings_stay_on_one_line():
    assert quoted('a\n"b"\\') == '"a\\n\\"b\\"\\\\"'


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("%y: f64 = sin(%z)", "%z is not defined"),
        ("%x: f64 = sin(%x)", "%x is defined twice"),
        ("%y: f64 = sine(%x)", "no operation is named 'sine'"),
        ("%y: f65 = sin(%x)", "no dtype 'f65'"),
        ("%y: f64 = sin %x", "expected '('"),
        ("%y: f64[n +] = sin(%x)", "not a dimension"),
    ],
)
def test_parse_errors_show_the_line(body, message):
    with pytest.raises(ParseError) as error:
        parse(f"func @f(%x: f64) -> (f64) {{\n  {body}\n  return %x\n}}")
    assert message in str(error.value)
    assert "line 2" in str(error.value)


def test_function_attributes_survive():
    f = parse(EVERYTHING)
    assert f.size_params == {"m": 1}
    assert f.guards == (
        Guard(n, "==", 2 * symbol("m")),
        parse(EVERYTHING).guards[1],
    )
    assert f.hints == {"n": 1000}
    assert f.result_names == ("out", "")
    assert f.title == 'value and "gradient" of f'
    assert isinstance(f, Function)
    assert f.params[1].type == ArrayType(i64)
