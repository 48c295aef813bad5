"""What rules give where a derivative is not unique, infinite, or must not be NaN."""

import numpy as np
import pytest

from tracegrad import ops
from tracegrad.backend.compile import KernelOptions, compile_kernel
from tracegrad.ir.builder import Builder
from tracegrad.ir.types import ArrayType, f64, i64
from tracegrad.testing import emitted
from tracegrad.testing.laws import run
from tracegrad.transforms.vjp import vjp

SCALAR = ArrayType(f64)
INF, NAN = np.inf, np.nan


def traced(count, formula):
    """The function of ``count`` f64 scalars that ``formula`` builds."""
    with Builder() as build:
        params = [build.param(SCALAR, f"x{k}") for k in range(count)]
        return build.function("f", [formula(*params)])


def partials(formula, *point, out_bar=1.0):
    """The partial of ``formula`` by each operand at ``point``, times ``out_bar``."""
    function = vjp(traced(len(point), formula), range(len(point)))
    return tuple(float(x_bar) for x_bar in run(function, *map(np.float64, point), out_bar)[1:])


def second(formula, x):
    """The second derivative at ``x``."""
    first = vjp(traced(1, formula), [0])
    twice = vjp(first, [0], seeded=[1])
    return float(run(twice, np.float64(x), 1.0, 1.0)[-1])


def same(actual, expected):
    np.testing.assert_array_equal(actual, expected)


def test_absolute_has_slope_zero_at_zero():
    same(partials(ops.absolute, 0.0), [0.0])


@pytest.mark.parametrize("op", ["maximum", "minimum"])
def test_a_tie_is_shared_evenly(op):
    same(partials(getattr(ops, op), 2.0, 2.0), [0.5, 0.5])


@pytest.mark.parametrize(("op", "kept"), [("maximum", 1), ("minimum", 0)])
def test_the_loser_gets_a_true_zero_whatever_flows_back(op, kept):
    for out_bar in (INF, NAN):
        bars = partials(getattr(ops, op), 1.0, 2.0, out_bar=out_bar)
        same(bars[kept], out_bar)
        same(bars[1 - kept], 0.0)


def test_an_arm_that_was_not_chosen_gets_a_true_zero_whatever_flows_back():
    def formula(x, y):
        return ops.select(ops.greater(x, 0.0), x, y)

    same(partials(formula, 1.0, 1.0, out_bar=INF), [INF, 0.0])
    same(partials(formula, -1.0, 1.0, out_bar=NAN), [0.0, NAN])


def test_the_slope_of_sqrt_at_zero_is_infinite():
    same(partials(ops.sqrt, 0.0), [INF])


@pytest.mark.parametrize(
    ("x", "y", "by_x", "by_y"),
    [
        (0.0, 0.0, 0.0, 0.0),
        (0.0, 1.0, 1.0, 0.0),
        (0.0, 2.0, 0.0, 0.0),
        (0.0, 2.5, 0.0, 0.0),
        (2.0, 0.0, 0.0, np.log(2.0)),
    ],
)
def test_power_is_finite_at_zero_where_the_limit_is(x, y, by_x, by_y):
    same(partials(ops.power, x, y), [by_x, by_y])


@pytest.mark.parametrize("number", [0.0, 1.0, 2.0, 3.0, 4.0, 5.0])
@pytest.mark.parametrize("x", [0.0, -2.0, 1.5])
def test_power_with_a_constant_whole_exponent_is_clean_everywhere(number, x):
    def formula(x):
        return ops.power(x, number)

    same(partials(formula, x), [number * x ** (number - 1.0) if number else 0.0])
    twice = number * (number - 1.0)
    np.testing.assert_allclose(second(formula, x), twice * x ** (number - 2.0) if twice else 0.0)


@pytest.mark.parametrize("y", [0.0, 1.0, 2.0, 3.0])
def test_power_with_a_variable_exponent_has_finite_second_derivatives_at_zero(y):
    function = vjp(vjp(traced(2, ops.power), [0]), [0], seeded=[1])
    assert float(run(function, 0.0, y, 1.0, 1.0)[-1]) == (2.0 if y == 2.0 else 0.0)


def test_the_mixed_second_derivative_of_power_at_exponent_zero_is_one_over_x():
    function = vjp(vjp(traced(2, ops.power), [0]), [1], seeded=[1])
    assert float(run(function, 4.0, 0.0, 1.0, 1.0)[-1]) == 0.25


def test_the_partial_of_power_by_the_exponent_is_nan_for_a_negative_base():
    by_x, by_y = partials(ops.power, -2.0, 3.0)
    assert by_x == 12.0
    assert np.isnan(by_y)


def test_hypot_has_slopes_zero_at_the_origin():
    same(partials(ops.hypot, 0.0, 0.0), [0.0, 0.0])


def test_logaddexp_of_two_impossible_events_has_slopes_zero():
    same(partials(ops.logaddexp, -INF, -INF), [0.0, 0.0])
    same(partials(ops.logaddexp, -INF, 1.0), [0.0, 1.0])


@pytest.mark.parametrize("op", ["floor", "ceil", "rint", "trunc", "sign"])
@pytest.mark.parametrize("x", [-1.5, 0.0, 2.0])
def test_steps_have_slope_zero_everywhere(op, x):
    same(partials(getattr(ops, op), x), [0.0])


def test_softplus_and_sigmoid_do_not_overflow():
    for x in (-1000.0, 1000.0):
        same(partials(ops.softplus, x), [float(x > 0)])
        same(partials(ops.sigmoid, x), [0.0])


def test_an_integer_to_a_negative_power_is_refused_in_compiled_code_too():
    (loop,) = (each for each in emitted.scalar_loops(ops.power) if each.case.types[0].dtype is i64)
    x, y, out = np.array([2, 2]), np.array([3, -1]), np.zeros(2, np.int64)
    kernel = compile_kernel(
        emitted.loops_source([loop]), "run", ["int64[::1]"] * 3, options=KernelOptions(cache=False)
    )
    with pytest.raises(ValueError, match="negative integer powers"):
        kernel(x, y, out)
