"""Results and scratch arrays as parameters: what is written in place, and what is copied."""

import numpy as np

from tests.ops.building import built
from tests.schedule.given_forms import run_given
from tests.schedule.region_programs import assert_all_forms_agree, lowered
from tests.schedule.support import counts, scheduled
from tracegrad.backend.emit import emit_loop_form
from tracegrad.ir.interpreter import evaluate
from tracegrad.ir.text import parse
from tracegrad.ir.types import symbol
from tracegrad.ops.access import flip
from tracegrad.ops.control import for_loop
from tracegrad.ops.registry import REGISTRY
from tracegrad.schedule.given import give

n = symbol("n")
tanh = REGISTRY["tanh"]

STRAIGHT = """
    func @f(%x: f64[n]) -> (f64[n], f64) {
      %s: f64[n] = sin(%x)
      %y: f64[n] = cumsum(%s) {axis=0, reverse=False}
      %t: f64 = sum(%y) {axes=(0,)}
      %z: f64[n] = multiply(%y, %x)
      return %z, %t
    }"""

ARGUMENT = """
    func @f(%x: f64[n]) -> (f64[n], f64[n]) {
      %y: f64[n] = sin(%x)
      return %x, %y
    }"""


def loops_of(text):
    return scheduled(text)


def agrees(text, *arguments):
    expected = evaluate(parse(text), *arguments)
    for scratch in (False, True):
        found = run_given(loops_of(text), arguments, expected, scratch=scratch)
        for f, e in zip(found, expected, strict=True):
            np.testing.assert_allclose(f, e)


def test_a_result_is_written_in_place():
    form = give(loops_of(ARGUMENT))
    assert form.results == (1, 2)
    assert form.scratch == ()
    assert counts(form.function)["alloc"] == 0
    agrees(ARGUMENT, np.arange(3.0))


def test_what_the_text_says_of_given_arrays():
    form = give(loops_of(ARGUMENT), scratch=True)
    source = emit_loop_form(form.function, form.outputs, form.scratch)
    assert "# takes x: f64[n]\n" in source
    assert "y: f64[n]\n" in source
    assert "if overlap((x_2, y), (x,)):" in source
    assert ".copy()" not in source
    only = give(loops_of(ARGUMENT), [1])
    assert only.results == (None, 1)


def copying(function):
    return sum(op.attributes.get("kind") == "copy" for op in function.walk())


def repeated(step):
    return built(lambda x: for_loop(0, 3, [x], lambda i, u: [step(u)]), (n,))


def test_a_buffer_that_a_loop_keeps_is_the_result_itself():
    function = repeated(tanh)
    loops = lowered(function)
    for scratch in (False, True):
        form = give(loops, scratch=scratch)
        assert copying(form.function) == copying(loops) == 1, "the argument is copied, once"
        assert counts(form.function)["alloc"] == 0
    assert_all_forms_agree(function, np.arange(4.0))


def test_buffers_that_a_loop_exchanges_are_copied_at_the_end():
    function = repeated(lambda u: tanh(flip(u, (0,))) + u)
    loops = lowered(function)
    form = give(loops)
    assert copying(form.function) == copying(loops) + 1
    assert counts(form.function)["alloc"] == 2
    assert counts(give(loops, scratch=True).function)["alloc"] == 0
    assert_all_forms_agree(function, np.arange(4.0))


def test_a_returned_array_is_no_part_of_the_workspace():
    loops = loops_of(STRAIGHT)
    form = give(loops, [], scratch=True)
    assert form.outputs == ()
    assert counts(form.function)["alloc"] == 1
    expected = evaluate(loops, np.arange(5.0))
    found = run_given(loops, [np.arange(5.0)], expected, scratch=True, wanted=[])
    np.testing.assert_array_equal(found[0], expected[0])


def test_scratch_arrays_become_parameters_and_zeros_are_written_each_time():
    loops = loops_of(STRAIGHT)
    before = counts(loops)["alloc"]
    assert before >= 1
    form = give(loops, scratch=True)
    assert counts(form.function)["alloc"] == 0
    assert len(form.outputs) + len(form.scratch) == before
    agrees(STRAIGHT, np.arange(5.0))
