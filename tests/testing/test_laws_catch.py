"""The laws are only worth something if a wrong declaration breaks them."""

from dataclasses import replace

import numpy as np
import pytest

from tracegrad import ops
from tracegrad.backend.compile import run_plain
from tracegrad.ir.types import f64
from tracegrad.ops.registry import float_type
from tracegrad.testing import emitted, laws


def broken(op, **changes):
    """``op`` declared wrongly; it never enters the registry."""
    return replace(op, **changes)


def breaks(law, op, text):
    law(op)
    return pytest.raises(AssertionError, match=text)


def test_a_wrong_local_partial():
    wrong = broken(ops.tanh, local=lambda out, x: (1.0 - out,))
    with breaks(laws.jvp_is_the_derivative, ops.tanh, "tanh f64, sample 0"):
        laws.jvp_is_the_derivative(wrong)


def test_a_partial_that_is_forgotten():
    wrong = broken(ops.multiply, local=lambda out, x, y: (y, None))
    with breaks(laws.jvp_is_the_derivative, ops.multiply, "moving"):
        laws.jvp_is_the_derivative(wrong)


def test_a_vjp_that_is_not_the_transpose_of_the_jvp():
    wrong = broken(ops.maximum, vjp_rule=ops.minimum.vjp_rule)
    with breaks(laws.vjp_is_the_transpose, ops.maximum, "maximum"):
        laws.vjp_is_the_transpose(wrong)


def test_a_wrong_transpose_of_a_linear_op():
    wrong = broken(
        ops.reshape, transpose=lambda out_bar, x, *, shape: ops.reshape(-out_bar, shape=x.shape)
    )
    with breaks(laws.vjp_is_the_transpose, ops.reshape, "reshape"):
        laws.vjp_is_the_transpose(wrong)


def test_a_rule_that_leaves_float32():
    def widening(out_bar, out, x):
        return (ops.cast(-out_bar, dtype=f64),)

    wrong = broken(ops.negative, vjp_rule=widening)
    with breaks(laws.contributions_fit, ops.negative, "negative f32.*is f64"):
        laws.contributions_fit(wrong)


def test_a_dtype_that_is_inferred_wrongly():
    wrong = broken(ops.less, infer=float_type)
    with breaks(laws.inference_is_right, ops.less, "less"):
        laws.inference_is_right(wrong)


def test_operands_that_should_be_refused():
    wrong = broken(ops.add, infer=lambda *types: types[0])
    with breaks(laws.inference_refuses_mixed_operands, ops.add, "were taken"):
        laws.inference_refuses_mixed_operands(wrong)
    with breaks(laws.inference_refuses_what_the_reference_refuses, ops.sin, "sin"):
        laws.inference_refuses_what_the_reference_refuses(broken(ops.sin, infer=lambda x: x))


def test_a_reference_that_writes_into_its_operand():
    def careless(x):
        return np.multiply(x, 2.0, out=x)

    wrong = broken(ops.square, reference=careless)
    with breaks(laws.inference_is_right, ops.square, "changed an operand"):
        laws.inference_is_right(wrong)


def test_a_printed_array_form_that_means_something_else():
    wrong = broken(ops.arctan2, array="np.arctan2({1}, {0})")
    with breaks(emitted.array_text_means_the_reference, ops.arctan2, "arctan2"):
        emitted.array_text_means_the_reference(wrong)


def test_a_printed_element_that_ignores_special_values():
    def law(op):
        loops = emitted.scalar_loops(op)
        emitted.run_loops(run_plain(emitted.loops_source(loops), "run"), loops)

    wrong = broken(ops.maximum, scalar="({0} if {0} > {1} else {1})")
    with breaks(law, ops.maximum, "nan"):
        law(wrong)
