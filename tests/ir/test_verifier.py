"""Each invariant of the verifier is broken once; the comment marks the faulty line."""

import re
from textwrap import dedent

import pytest

from tracegrad import ops  # noqa: F401  # fills the registry
from tracegrad.ir.core import Function, Operation, Region, Value
from tracegrad.ir.text import parse
from tracegrad.ir.types import ArrayType, f64, scalar
from tracegrad.ir.verifier import VerificationError, verify
from tracegrad.ops.registry import REGISTRY

FAULTY = {
    "types_as_inferred": """
        func @f(%x: f64[n]) -> (f64[n]) {
          %y: f64[n] = sin(%x)
          %z: f64[m] = sin(%y)             ; error 3: results have types (f64[m]), not (f64[n])
          return %y
        }""",
    "elementwise_of_two_shapes": """
        func @f(%x: f64[n], %y: f64[m]) -> (f64[n]) {
          %z: f64[n] = add(%x, %y)         ; error 3: operands of different shapes
          return %z
        }""",
    "two_dtypes": """
        func @f(%x: f64[n], %y: f32[n]) -> (f64[n]) {
          %z: f64[n] = add(%x, %y)         ; error 3: operands of different dtypes
          return %z
        }""",
    "axis_twice": """
        func @f(%x: f64[n, n]) -> (f64[n]) {
          %z: f64[n] = view(%x) {shape=(n,), map=[#0, #0]}    ; error 3: named twice
          return %z
        }""",
    "step_of_a_single_index": """
        func @f(%x: f64[4]) -> (f64[1]) {
          %z: f64[1] = view(%x) {shape=(1,), map=[2*#0]}      ; error 5: has the step 2
          return %z
        }""",
    "unexpected_attribute": """
        func @f(%x: f64[4]) -> (f64[4]) {
          %z: f64[4] = reshape(%x) {shape=(4,), form=1}    ; error 3: form
          return %z
        }""",
    "unbound_symbol": """
        func @f(%x: f64[n]) -> (i64) {
          %d: i64 = dim() {size=n + m}     ; error 10: the symbol m in attribute size
          return %d
        }""",
    "part": """
        func @f(%x: f64[n]) -> (f64[n]) {
          %y: f64[n] = sin(%x) !backward   ; error 14: 'backward' is not a part
          return %y
        }""",
    "carried_type": """
        func @f(%x: f64, %k: i64, %s: f32) -> (f64) {
          %y: f64 = for(%k, %k, %k, %x) (%i: i64, %c: f64) {   ; error 7: yielded values
            yield %s
          }
          return %y
        }""",
    "bounds": """
        func @f(%x: f64, %k: i64) -> (f64) {
          %y: f64 = for(%k, %k, %x, %x) (%i: i64, %c: f64) {   ; error 7: the bounds of for
            yield %c
          }
          return %y
        }""",
    "condition": """
        func @f(%x: f64) -> (f64) {
          %y: f64 = while(%x) (%c: f64) {   ; error 8: yielded values have types (f64), not (bool)
            yield %c
          } do (%d: f64) {
            yield %d
          }
          return %y
        }""",
    "arms": """
        func @f(%p: bool, %x: f64, %s: f32) -> (f64) {
          %y: f64 = if(%p) {              ; error 9: yielded values have types (f32), not (f64)
            yield %x
          } else {
            yield %s
          }
          return %y
        }""",
    "regions": """
        func @f(%p: bool, %x: f64) -> (f64) {
          %y: f64 = if(%p) {              ; error 6: if has 1 regions
            yield %x
          }
          return %y
        }""",
    "out_of_scope": """
        func @f(%p: bool, %x: f64) -> (f64) {
          %y: f64 = if(%p) {
            %a: f64 = sin(%x)
            yield %a
          } else {
            %b: f64 = sin(%a)             ; error 1: defined in another region
            yield %b
          }
          return %y
        }""",
    "writes_a_parameter": """
        func @f(%x: f64[n], %v: f64, %i: i64) -> (f64[n]) {
          store(%v, %x, %i)               ; error 13: writes to a parameter
          return %x
        }""",
}


@pytest.mark.parametrize("name", FAULTY)
def test_the_faulty_line_is_named(name):
    text = dedent(FAULTY[name]).strip()
    (line,) = (k for k, shown in enumerate(text.split("\n"), 1) if "; error" in shown)
    number, message = re.search(r"; error (\d+): (.*)", text).groups()
    with pytest.raises(VerificationError, match=re.escape(message)) as error:
        verify(parse(text))
    assert error.value.ir_line == line
    assert error.value.number == int(number)


def test_a_value_of_no_operation_is_not_visible():
    stray = Value(ArrayType(f64), "stray")
    op = Operation(REGISTRY["sin"], (stray,), {}, (), (scalar(f64),))
    with pytest.raises(VerificationError, match="not defined here") as error:
        verify(Function("f", Region((), [op], (op.result,))))
    assert "sin(%?stray)" in str(error.value)


def test_an_operation_stands_once():
    x = Value(ArrayType(f64), "x")
    op = Operation(REGISTRY["sin"], (x,), {}, (), (scalar(f64),))
    with pytest.raises(VerificationError, match="appears twice"):
        verify(Function("f", Region((x,), [op, op], (op.result,))))


def test_the_order_of_definitions_is_that_of_the_text():
    x = Value(ArrayType(f64), "x")
    first = Operation(REGISTRY["sin"], (x,), {}, (), (scalar(f64),))
    second = Operation(REGISTRY["cos"], (first.result,), {}, (), (scalar(f64),))
    with pytest.raises(VerificationError, match="IR invariant 1, line 2"):
        verify(Function("f", Region((x,), [second, first], (second.result,))))


def test_attributes_are_plain_data():
    x = Value(ArrayType(f64), "x")
    op = Operation(REGISTRY["sum"], (x,), {"axes": [0]}, (), (scalar(f64),))
    with pytest.raises(VerificationError, match="IR invariant 4"):
        verify(Function("f", Region((x,), [op], (op.result,))))


def test_size_parameters_are_integers():
    with pytest.raises(VerificationError, match="IR invariant 11"):
        verify(parse("func @f(%x: f64) -> (f64) sizes k = %x { return %x }"))


def test_guards_use_bound_symbols():
    with pytest.raises(VerificationError, match="unbound symbol m"):
        verify(parse("func @f(%x: f64[n]) -> (f64[n]) guards n == m { return %x }"))


def test_result_names_fit():
    with pytest.raises(VerificationError, match="IR invariant 14"):
        verify(parse('func @f(%x: f64) -> (f64) names "a", "b" { return %x }'))


def test_array_form_has_no_buffers():
    f = parse("""
        func @f(%x: f64[n]) -> (f64[n]) {
          %y: f64[n] = alloc() {shape=(n,), dtype=f64, fill=0}
          return %y
        }""")
    verify(f, form="loop")
    with pytest.raises(VerificationError, match="operation of loop form"):
        verify(f, form="array")
