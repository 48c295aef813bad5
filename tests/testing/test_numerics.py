"""Derivatives by differences."""

import numpy as np
import pytest

from tracegrad.testing import assert_close, numerical_jvp


def test_differences_give_the_derivative_of_plain_numpy_code():
    x, x_dot = np.array([0.3, -1.2, 4.0]), np.array([1.0, -2.0, 0.5])
    assert_close(numerical_jvp(np.sin, [x], [x_dot]), np.cos(x) * x_dot, 1e-10)


def test_every_result_has_a_tangent_and_integers_have_none():
    square, position = numerical_jvp(lambda x: (x * x, np.argmax(x)), [np.array([1.0, 3.0])], [1.0])
    assert_close(square, [2.0, 6.0], 1e-10)
    assert position == 0.0


def test_primals_without_a_tangent_stay_as_they_are():
    def function(x, n, w):
        assert isinstance(n, int)
        return x[n] * w

    found = numerical_jvp(function, [np.array([2.0, 3.0]), 1, 5.0], [np.ones(2), None, None])
    assert_close(found, 5.0, 1e-10)


def test_large_and_small_arguments_keep_their_accuracy():
    for x in (1e-8, 1e8):
        assert_close(numerical_jvp(lambda x: x * x, [x], [1.0]), 2.0 * x, 1e-9, scale=1.0)


def test_nan_is_compared_not_cleaned():
    assert_close([np.nan, 1.0], [np.nan, 1.0], 1e-10)
    with pytest.raises(AssertionError):
        assert_close([np.nan, 1.0], [0.0, 1.0], 1e-10)
    with pytest.raises(AssertionError):
        assert_close([1.0], [np.inf], 1e-10)
