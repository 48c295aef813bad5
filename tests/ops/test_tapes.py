"""Arrays that grow."""

import numpy as np
import pytest

from tests.ops.building import built
from tracegrad import ops
from tracegrad.backend import runtime
from tracegrad.ir.interpreter import evaluate
from tracegrad.ir.text import parse, print_function
from tracegrad.ir.types import ArrayType, f64, i64, symbol
from tracegrad.ir.verifier import verify
from tracegrad.ops.constants import dim_value
from tracegrad.ops.control import while_loop
from tracegrad.ops.registry import constant
from tracegrad.transforms.vjp import vjp

LENGTH = symbol("length")


def powers(x):
    """1, x, x², … below 100, their sum, and the length of the tape."""

    def trip(k, v, tape):
        tape = ops.update(ops.ensure(tape, k + 1), v, k)
        return k + 1, v * x, tape

    empty = ops.tape(constant(0, i64), size=LENGTH, shape=(), dtype=f64)
    inits = [constant(0, i64), x * 0.0 + 1.0, empty]
    k, _, tape = while_loop(inits, lambda k, v, tape: v < 100.0, trip)
    return ops.index(tape, k - 1), ops.index(tape, k - 2), dim_value(LENGTH)


def test_a_tape_grows_by_doubling():
    f = verify(built(powers, ()))
    last, before, length = evaluate(f, np.array(2.0))
    assert (last, before, length) == (64.0, 32.0, 8)


def test_writes_to_a_tape_are_differentiated():
    f = verify(vjp(built(powers, ()), [0]))
    x_bar = evaluate(f, np.array(2.0), np.array(1.0), np.array(10.0))[-1]
    assert x_bar == 6 * 2.0**5 + 10 * 5 * 2.0**4


def test_a_tape_in_a_loop_begins_anew():
    def rule(x):
        def trip(i, total):
            return [total + powers(x)[0]]

        return ops.control.for_loop(0, 3, [constant(0.0)], trip)

    assert evaluate(verify(built(rule, ())), np.array(2.0)) == (3 * 64.0,)


def test_a_tape_is_printed_and_parsed():
    text = print_function(built(powers, ()))
    assert print_function(parse(text)) == text


def test_the_runtime_function_means_the_reference():
    x = np.array([[1.0, 2.0], [3.0, 4.0]])
    for length in (0, 2, 3, 9):
        found = runtime.ensure(x, length)
        np.testing.assert_array_equal(found, ops.ensure.reference(x, np.array(length)))
    assert runtime.ensure(x, 2) is x


@pytest.mark.parametrize(
    ("op", "types", "attributes"),
    [
        (ops.tape, [ArrayType(i64)], {"size": 3, "shape": (), "dtype": f64}),
        (ops.tape, [ArrayType(i64)], {"size": LENGTH + 1, "shape": (), "dtype": f64}),
        (ops.tape, [ArrayType(f64)], {"size": LENGTH, "shape": (), "dtype": f64}),
        (ops.ensure, [ArrayType(f64), ArrayType(i64)], {}),
        (ops.ensure, [ArrayType(f64, (LENGTH,)), ArrayType(f64)], {}),
    ],
)
def test_what_is_no_tape_is_refused(op, types, attributes):
    with pytest.raises(TypeError, match=op.name):
        op.infer(*types, **attributes)
