"""Shifts and scales that cancel have no derivative; those that don't, have theirs."""

import numpy as np
import pytest

import tracegrad as tg
from tracegrad.ir.core import Function
from tracegrad.transforms.shifts import without_effect

weights = np.random.default_rng(1).normal(size=(4, 3))
row = np.array([0.5, -1.0, 2.0, 0.3])
temperature = 0.7


def log_sum_exp(x):
    top = np.max(x, axis=1)
    return np.sum(row * (top + np.log(np.sum(np.exp(x - top[:, None]), axis=1))))


def softmax(x):
    e = np.exp(x - np.max(x, axis=1, keepdims=True))
    return np.sum(((e / e.sum(axis=1, keepdims=True)) @ weights) ** 2)


def softmin(x):
    e = np.exp(np.min(x, axis=0) - x)
    return np.sum((e / e.sum(axis=0)) ** 3)


def log_softmax_of_a_part(x):
    z = x - x.max(axis=0)
    return np.sum((z - np.log(np.exp(z).sum(axis=0)))[1:, ::2] ** 2)


def softmax_at_a_temperature(x):
    top = np.max(x)
    e = np.exp((x - top) / temperature)
    return np.sum((e / e.sum()) ** 2) + top + temperature * np.log(e.sum())


def softmax_of_what_is_positive(x):
    e = np.where(x > -9.0, np.exp(x - np.max(x, axis=1, keepdims=True)), 0.0)
    total = e.sum(axis=1, keepdims=True)
    return np.sum(np.where(total > 0.0, (e / total) ** 3, 0.0))


def weighted_mean(x):
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return np.sum((np.sum(e * row, axis=1) / np.sum(e, axis=1)) ** 2)


def log_of_two(x):
    a, b = x[0], x[1]
    top = np.maximum(a, b)
    return np.sum((top + np.log(np.exp(a - top) + np.exp(b - top))) ** 2)


def norm_without_overflow(x):
    top = np.max(np.abs(x))
    return top * np.sqrt(np.sum((x / top) ** 2))


def in_a_loop(x):
    total = 0.0
    for i in range(x.shape[0]):
        top = np.max(x[i])
        total = total + (top + np.log(np.sum(np.exp(x[i] - top)))) * (total + 1.0)
    return total


def running_log_sum_exp(x):
    top = np.max(x, axis=1, keepdims=True)
    return np.sum((top + np.log(np.cumsum(np.exp(x - top), axis=1))) * x)


def risk_sets(x):
    eta = x[:, 0]
    top = np.max(eta)
    at_risk = np.cumsum(np.exp(eta - top)[::-1])[::-1]
    return np.sum(x[:, 1] ** 2 * (eta - np.log(at_risk) - top))


CANCEL = [
    log_sum_exp,
    softmax,
    softmin,
    log_softmax_of_a_part,
    softmax_at_a_temperature,
    softmax_of_what_is_positive,
    weighted_mean,
    log_of_two,
    norm_without_overflow,
    in_a_loop,
    running_log_sum_exp,
    risk_sets,
]

# --- what looks the same, and is not ------------------------------------------------------------


def taken_off_other_rows(x):
    e = np.exp(x - np.max(x, axis=1))
    return np.sum((e / e.sum(axis=1, keepdims=True)) ** 2)


def added_up_over_all_shifts(x):
    e = np.exp(x - np.max(x, axis=1)[:, None])
    return np.sum((e / e.sum(axis=0)) ** 2)


def taken_off_the_rows_before(x):
    top = np.max(x, axis=1)
    e = np.exp(x[1:] - top[:-1, None])
    whole = np.exp(x - top[:, None])
    return np.sum(e[:, :2] ** 2 / np.sum(whole, axis=1)[1:, None])


def put_back_at_another_scale(x):
    top = np.max(x)
    return top + np.log(np.sum(np.exp((x - top) / temperature)))


def read_elsewhere(x):
    top = np.max(x, axis=1)
    return np.sum(top + np.log(np.sum(np.exp(x - top[:, None]), axis=1))) + top[1] ** 2


def returned(x):
    top = np.max(x)
    return top + np.log(np.sum(np.exp(x - top))), 3.0 * top


def running_over_other_rows(x):
    top = np.max(x, axis=1, keepdims=True)
    return np.sum((top + np.log(np.cumsum(np.exp(x - top), axis=0))) ** 2)


def running_sums_of_differences(x):
    top = np.max(x, axis=1, keepdims=True)
    return np.sum((np.cumsum(x - top, axis=1) + top) ** 2)


def beside_a_number(x):
    e = np.exp(x - np.max(x, axis=1, keepdims=True))
    return np.sum(e / (0.1 + e.sum(axis=1, keepdims=True)))


def filled_with_a_number(x):
    e = np.where(x > -0.2, np.exp(x - np.max(x, axis=1, keepdims=True)), 0.1)
    return np.sum((e / e.sum(axis=1, keepdims=True)) ** 3)


def norm_squared_too_often(x):
    top = np.max(np.abs(x))
    return top**2 * np.sqrt(np.sum((x / top) ** 2))


def between_the_ends(x):
    low, high = np.min(x), np.max(x)
    return np.sum(((x - low) / (high - low)) ** 2)


def put_back_and_taken_off_as_a_constant(x):
    top = np.max(x)
    return top + np.log(np.sum(np.exp(x - tg.stop_gradient(top))))


def scaled_by_what_is_put_back_as_a_constant(x):
    top = np.max(np.abs(x))
    return np.sum((x / top) ** 2) * tg.stop_gradient(top) ** 2


def in_an_arm(x):
    top = np.max(x)
    scale = top * 2.0 if x[0, 0] > 0.0 else top
    return scale + np.log(np.sum(np.exp(x - top)))


REMAIN = [
    taken_off_other_rows,
    added_up_over_all_shifts,
    taken_off_the_rows_before,
    put_back_at_another_scale,
    read_elsewhere,
    returned,
    running_over_other_rows,
    running_sums_of_differences,
    beside_a_number,
    filled_with_a_number,
    norm_squared_too_often,
    between_the_ends,
    put_back_and_taken_off_as_a_constant,
    scaled_by_what_is_put_back_as_a_constant,
    in_an_arm,
]


def inputs():
    return np.random.default_rng(4).normal(size=(4, 4))


def ir(function) -> Function:
    return tg.make_ir(function)(inputs())


def cut(function):
    found = ir(function)
    return without_effect(found.body, found.results)


@pytest.mark.parametrize("function", CANCEL, ids=lambda f: f.__name__)
def test_what_cancels_is_found(function):
    assert cut(function)


@pytest.mark.parametrize("function", REMAIN, ids=lambda f: f.__name__)
def test_what_does_not_cancel_is_left(function):
    assert not cut(function)


def scalar(function):
    def of(x):
        out = function(x)
        return sum(out) if isinstance(out, tuple) else out

    return of


STOPPED = [put_back_and_taken_off_as_a_constant, scaled_by_what_is_put_back_as_a_constant]


def test_a_shift_has_its_derivative_where_it_is_taken_off_as_a_constant():
    x = inputs()
    e = np.exp(x - x.max())
    x_bar = tg.grad(put_back_and_taken_off_as_a_constant)(x)
    np.testing.assert_allclose(x_bar, e / e.sum() + (x == x.max()), rtol=1e-12)


def test_a_scale_has_its_derivative_where_it_is_put_back_as_a_constant():
    x = inputs()
    top = np.abs(x).max()
    top_bar = -2.0 * np.sum(x**2) / top
    x_bar = tg.grad(scaled_by_what_is_put_back_as_a_constant)(x)
    wanted = 2.0 * x + top_bar * np.sign(x) * (np.abs(x) == top)
    np.testing.assert_allclose(x_bar, wanted, rtol=1e-12)


def test_a_shift_that_is_always_stopped_has_no_effect():
    def softmax_of_a_constant_shift(x):
        e = np.exp(x - tg.stop_gradient(np.max(x)))
        return np.sum((e / e.sum()) ** 2)

    assert cut(softmax_of_a_constant_shift)


@pytest.mark.parametrize(
    "function", [f for f in CANCEL + REMAIN if f not in STOPPED], ids=lambda f: f.__name__
)
def test_derivatives_of_both_modes_and_orders(function):
    tg.check_grads(scalar(function), (inputs(),), order=2)


def test_no_tie_is_looked_for():
    gradient = tg.grad(softmax)
    gradient(inputs())
    assert "==" not in gradient.inspect_source().split("# forward")[1]


def test_ties_and_infinities():
    x = inputs()
    x[0, :] = 2.0
    x[1, 1] = -np.inf
    values = tg.grad(log_sum_exp)(x)
    e = np.exp(x - x.max(axis=1, keepdims=True))
    np.testing.assert_allclose(values, row[:, None] * e / e.sum(axis=1, keepdims=True), atol=1e-15)
