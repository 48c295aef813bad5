"""``raise`` and what decides about it: kept by every pass, in its order."""

import pytest

from tracegrad.ir.text import parse, print_function, same
from tracegrad.ops.registry import REGISTRY
from tracegrad.passes import dce, optimize, simplify
from tracegrad.testing.ir import assert_pass


def test_dead_code_elimination_keeps_it_and_the_way_to_it():
    text = """
        func @f(%x: f64[n], %lo: f64) -> (f64) {
          %zero: i64 = 0
          %one: i64 = 1
          %n: i64 = dim() {size=n}
          for(%zero, %n, %one) (%i: i64) {
            %v: f64 = index(%x, %i)
            %p: bool = less(%v, %lo)
            if(%p) {
              raise() {kind="ValueError", message="too low"}
            } else {
            }
          }
          return %lo
        }"""
    assert_pass(dce, before=text, after=text)
    assert_pass(optimize, before=text, after=text)


def test_an_arm_that_raises_leaves_the_other_without_an_arm():
    assert_pass(
        simplify,
        before="""
        func @f(%x: f64, %p: bool) -> (f64) {
          %a: f64 = if(%p) {
            raise() {kind="ValueError", message=None}
            %zero: f64 = 0.0
            yield %zero
          } else {
            %s: f64 = sin(%x)
            yield %s
          }
          %t: f64 = sin(%x)
          %b: f64 = multiply(%a, %t)
          return %b
        }""",
        after="""
        func @f(%x: f64, %p: bool) -> (f64) {
          if(%p) {
            raise() {kind="ValueError", message=None}
          } else {
          }
          %s: f64 = sin(%x)
          %b: f64 = square(%s)
          return %b
        }""",
    )


def test_what_leads_to_a_raise_stays_in_its_arm():
    """The second arm raises, under a condition of its own at first."""
    text = """
        func @f(%x: f64, %p: bool, %q: bool) -> (f64) {{
          {head}if(%p) {{
          {first}
          }} else {{
            if(%q) {{
              raise() {{kind="KeyError", message="q"}}
            }} else {{
            }}
            raise() {{kind="ValueError", message="p"}}
          {second}
          }}
          {after}
        }}"""
    before = text.format(
        head="%a: f64 = ",
        first="%s: f64 = sin(%x) yield %s",
        second="%zero: f64 = 0.0 yield %zero",
        after="return %a",
    )
    after = text.format(head="", first="", second="", after="%s: f64 = sin(%x) return %s")
    assert_pass(simplify, before=before, after=after)


def test_equal_raises_are_not_one():
    text = """
        func @f(%x: f64, %p: bool) -> (f64) {
          if(%p) {
            raise() {kind="ValueError", message="p"}
          } else {
          }
          if(%p) {
            raise() {kind="ValueError", message="p"}
          } else {
          }
          return %x
        }"""
    assert_pass(optimize, before=text, after=text)


def test_a_loop_of_no_trips_raises_nothing():
    assert_pass(
        optimize,
        before="""
        func @f(%x: f64) -> (f64) {
          %one: i64 = 1
          for(%one, %one, %one) (%i: i64) {
            raise() {kind="ValueError", message="p"}
          }
          return %x
        }""",
        after="func @f(%x: f64) -> (f64) { return %x }",
    )


@pytest.mark.parametrize("message", [None, "", 'it\'s "odd"\n\\ é \u2028', "in np.scipy"])
def test_text_and_parser_agree(message):
    f = parse('func @f(%x: f64) -> (f64) { raise() {kind="ValueError", message="?"} return %x }')
    (op,) = f.body.ops
    op.attributes = {"kind": "OverflowError", "message": message}
    again = parse(print_function(f))
    assert same(f, again)
    assert again.body.ops[0].attributes == op.attributes


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"kind": "Nothing"}, "built-in exception, not 'Nothing'"),
        ({"kind": "SystemExit"}, "built-in exception"),
        ({"kind": "UnicodeDecodeError"}, "built-in exception"),
        ({"kind": "print"}, "built-in exception"),
        ({"kind": "ValueError", "message": 3}, "text or None"),
    ],
)
def test_what_can_not_be_raised(attributes, said):
    with pytest.raises(TypeError, match=said):
        REGISTRY["raise"].infer(**attributes)
