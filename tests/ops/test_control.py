"""Building loops and branches, and what their regions must take and yield."""

import numpy as np
import pytest

from tests.ops.building import built
from tracegrad import ops
from tracegrad.ir.interpreter import evaluate
from tracegrad.ir.types import ArrayType, boolean, f32, f64, i64, symbol
from tracegrad.ir.verifier import verify
from tracegrad.ops.control import branch, for_loop, while_loop
from tracegrad.ops.registry import constant
from tracegrad.transforms.vjp import gradient

n = symbol("n")


def test_a_loop_carries_values():
    def prefix_sums(x):
        def trip(i, total, sums):
            total = total + ops.index(x, i)
            return total, ops.update(sums, total, i)

        return for_loop(0, n, [constant(0.0), x], trip)

    f = verify(built(prefix_sums, (n,)))
    total, sums = evaluate(f, np.array([1.0, 2.0, 4.0]))
    assert total == 7.0
    np.testing.assert_array_equal(sums, [1.0, 3.0, 7.0])


def test_a_loop_may_run_down():
    def places(x):
        def trip(i, seen, at):
            return ops.update(seen, i, at), at + 1

        zero = constant(0, i64)
        return for_loop(5, 0, [x, zero], trip, step=-2)

    f = verify(built(places, ArrayType(i64, (3,))))
    np.testing.assert_array_equal(evaluate(f, np.zeros(3, np.int64))[0], [5, 3, 1])


def test_a_loop_without_trips_gives_its_initial_values():
    f = verify(built(lambda x: for_loop(3, 3, [x], lambda i, v: [v + 1.0]), ()))
    assert evaluate(f, np.array(2.0)) == (2.0,)


def test_a_while_loop_tests_before_each_trip():
    f = verify(built(lambda x: while_loop([x], lambda v: v < 100.0, lambda v: [v * 3.0]), ()))
    assert evaluate(f, np.array(5.0)) == (135.0,)
    assert evaluate(f, np.array(500.0)) == (500.0,)


def test_a_branch_runs_one_arm():
    f = verify(
        built(lambda x: branch(x < 0.0, lambda: [-x], lambda: [x * 2.0]), ()),
    )
    assert evaluate(f, np.array(-3.0)) == (3.0,)
    assert evaluate(f, np.array(3.0)) == (6.0,)


def test_nothing_flows_back_through_stop_gradient():
    f = gradient(built(lambda x: x * ops.stop_gradient(x), ()), [0])
    assert evaluate(f, np.array(3.0))[1] == 3.0


REFUSED = {
    "for: the values of a trip": lambda x: for_loop(0, 3, [x], lambda i, v: [v < 0.0]),
    "for: lo, hi and step": lambda x: for_loop(x, 3, [x], lambda i, v: [v]),
    "while: conditions": lambda x: while_loop([x], lambda v: v, lambda v: [v]),
    "while: the values of a trip": lambda x: while_loop([x], lambda v: v < 0.0, lambda v: []),
    "if: predicates": lambda x: branch(x, lambda: [x], lambda: [x]),
    "if: the other branch": lambda x: branch(x < 0.0, lambda: [x], lambda: [x < 1.0]),
}


@pytest.mark.parametrize(("message", "make"), REFUSED.items(), ids=REFUSED)
def test_regions_that_do_not_fit_are_refused(message, make):
    with pytest.raises(TypeError, match=message):
        built(make, ())


@pytest.mark.parametrize(
    "types", [(), (ArrayType(i64),) * 2, (ArrayType(i64), ArrayType(i64), ArrayType(f64))]
)
def test_the_bounds_of_a_loop_are_three_integers(types):
    with pytest.raises(TypeError, match="lo, hi and step"):
        ops.control.for_.infer(*types)


def test_the_types_of_a_branch_are_those_of_its_regions():
    with pytest.raises(TypeError, match="give result_types"):
        ops.control.if_.infer(ArrayType(boolean))


def test_a_trip_that_changes_the_dtype_is_refused():
    with pytest.raises(TypeError, match=r"have types \(f32\), not \(f64\)"):
        built(lambda x: for_loop(0, 2, [x], lambda i, v: [ops.cast(v, dtype=f32)]), ())
