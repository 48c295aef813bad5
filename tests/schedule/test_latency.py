"""What the next trip of a loop waits for."""

import numpy as np

from tests.ops.building import built
from tests.schedule.region_programs import assert_all_forms_agree, lowered
from tracegrad import ops
from tracegrad.backend.advance import in_advance
from tracegrad.backend.emit import emit_loop_form
from tracegrad.ir.recurrences import waited_for
from tracegrad.ir.types import i64, symbol
from tracegrad.ops.control import branch, for_loop, while_loop
from tracegrad.ops.registry import REGISTRY, constant

n = symbol("n")
exp, log = REGISTRY["exp"], REGISTRY["log"]


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).uniform(0.5, 1.5, shape)


def waited(function):
    return sorted(op.name for op in waited_for(lowered(function)))


def source(function):
    return emit_loop_form(lowered(function))


def test_a_division_by_what_is_known_ahead():
    def f(x, d):
        def trip(i, y):
            return [(ops.index(x, i) - y) / ops.index(d, i)]

        return for_loop(0, n, [constant(0.0)], trip)

    f = built(f, (n,), (n,))
    assert "* in_advance(1.0 / " in source(f)
    assert_all_forms_agree(f, numbers(6), numbers(6, seed=1), compiled=True)


def test_a_division_through_an_array():
    def f(x, d):
        def trip(i, y):
            v = (ops.index(y, i) - ops.index(y, i - 1)) / ops.index(d, i)
            return [ops.update(y, v, i)]

        return for_loop(1, n, [x * 1.0], trip)

    f = built(f, (n,), (n,))
    assert "* in_advance(1.0 / " in source(f)
    assert_all_forms_agree(f, numbers(6), numbers(6, seed=1), compiled=True)


def test_a_product_with_a_reciprocal_stays_one():
    def f(x, d):
        def trip(i, y):
            return [(ops.index(x, i) - y) * REGISTRY["reciprocal"](ops.index(d, i))]

        return for_loop(0, n, [constant(0.0)], trip)

    f = built(f, (n,), (n,))
    assert "* in_advance(1.0 / " in source(f)
    assert_all_forms_agree(f, numbers(6), numbers(6, seed=1), compiled=True)


def test_a_division_by_what_the_trips_compute_stays():
    def f(x):
        def trip(i, y):
            return [ops.index(x, i) / (y + 1.0)]

        return for_loop(0, n, [constant(0.0)], trip)

    f = built(f, (n,))
    assert "in_advance" not in source(f)
    assert_all_forms_agree(f, numbers(6))


def test_a_division_that_nothing_waits_for_stays():
    def f(x, d):
        def trip(i, s):
            return [s + ops.index(x, i) / ops.index(d, i)]

        return for_loop(0, n, [constant(0.0)], trip)

    f = built(f, (n,), (n,))
    assert waited(f) == ["add"]
    assert "in_advance" not in source(f)


def test_a_function_of_another_carried_value_is_not_waited_for():
    def f(x):
        def trip(i, y, s):
            return [y * ops.index(x, i), s + exp(y)]

        return for_loop(0, n, [constant(1.0), constant(0.0)], trip)

    f = built(f, (n,))
    assert waited(f) == ["add", "multiply"]
    assert "np.exp" not in source(f)


def test_two_values_that_wait_for_each_other():
    def f(x):
        def trip(i, y, z):
            return [log(z) + ops.index(x, i), exp(y * 0.1)]

        return for_loop(0, n, [constant(1.0), constant(2.0)], trip)

    f = built(f, (n,))
    assert {"exp", "log"} <= set(waited(f))
    assert "np.log" in source(f)
    assert_all_forms_agree(f, numbers(5), compiled=True)


def test_branches_and_while_loops():
    def f(x):
        def trip(y):
            return branch(
                y > 1.0, lambda: [exp(y * -0.5)], lambda: [y / ops.index(x, constant(0, i64)) + 0.5]
            )

        return while_loop([constant(2.0)], lambda y: y > 0.9, trip)

    f = built(f, (3,))
    assert "np.exp" in source(f)
    assert "in_advance" in source(f)
    assert_all_forms_agree(f, numbers(3), compiled=True)


def test_what_an_inner_loop_does_with_a_carried_value():
    def f(x):
        def trip(i, y):
            (t,) = for_loop(0, n, [y], lambda j, t: [t * ops.index(x, j)])
            return [log(t + 1.0)]

        return for_loop(0, 2, [constant(1.0)], trip)

    f = built(f, (n,))
    assert "np.log" in source(f)
    assert_all_forms_agree(f, numbers(5), compiled=True)


def test_plain_python_takes_a_value_ahead_as_it_is():
    assert in_advance(2.5) == 2.5
