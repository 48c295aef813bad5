"""Constants that a loop leaves with: each side of a jump has its own, though neither is computed.

A constant is no value of the IR, so that no loop carries it: what it is after the loop is known
from the trace alone, and only the flag of the jump tells whether it counts.
"""

import numpy as np
import pytest

import tracegrad as tg
from tests.tracing.conftest import check, run, trace


def a_boolean(x):
    for v in x:  # noqa: SIM110  # the loop is what is tested
        if v > 0:
            return True
    return False


def a_number(x):
    for v in x:
        if v > 0:
            return 1
    return 0


def two_kinds_of_number(x):
    for v in x:
        if v > 0:
            return True
    return 0.5


def a_constant_or_a_value(x):
    for v in x:
        if v > 0:
            return 2.0
    return x[0] * 3.0


def a_value_or_a_constant(x):
    for v in x:
        if v > 0:
            return v
    return 0.0


def a_tuple(x):
    for v in x:
        if v > 0:
            return True, 2.0
    return False, 3.0


def from_a_while(x):
    i = 0
    while i < len(x):
        if x[i] > 0:
            return 5
        i += 1
    return 6


def from_the_inner_of_two(x):
    for v in x:
        for w in x:
            if v * w < 0:
                return 1.5
    return 2.5


def some(x):
    return any(v > 0 for v in x)


def every(x):
    return all(v > 0 for v in x)


def none_at_all(x):
    return not any(v > 0 for v in x)


CASES = [
    a_boolean, a_number, two_kinds_of_number, a_constant_or_a_value, a_value_or_a_constant,
    a_tuple, from_a_while, from_the_inner_of_two, some, every, none_at_all,
]  # fmt: skip
POINTS = [np.array(p) for p in ([-1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [-1.0, -2.0, -3.0])]


@pytest.mark.parametrize("function", CASES)
@pytest.mark.parametrize("first", POINTS, ids=str)
def test_which_constant_a_loop_leaves_with_is_decided_at_run_time(function, first):
    traced = trace(function, first)
    for x in POINTS:
        np.testing.assert_array_equal(run(traced, x), function(x))


def test_what_a_condition_on_it_chooses_is_differentiated():
    def chosen(x):
        weight = 3.0 if any(v > 2.5 for v in x) else 1.0
        return weight * np.sum(x * x)

    for x in POINTS:
        np.testing.assert_allclose(tg.grad(chosen)(x), (6.0 if max(x) > 2.5 else 2.0) * x)


def test_a_constant_that_every_trip_binds():
    def bound(x):
        scale = 1.0
        for v in x:
            kind = 2.0
            scale *= v
        return scale * kind

    check(bound, POINTS[0])
