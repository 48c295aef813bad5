"""Programs that were wrong once, each for a reason of its own.

Random programs (`random_loops`) found most of them; they stand here shrunk, under a name that says
what was wrong.
"""

import numpy as np
import pytest

import tracegrad as tg
from tests.integration.loop_programs_checks import Checked, check_second
from tests.integration.stages import Stages
from tracegrad.errors import TraceError


def checked(fun, *args):
    """All stages agree with plain Python and with differences; what was traced."""
    found = Checked(fun, args)
    found.check()
    return found.stages


def raises(fun, *args, error, match):
    """Plain Python raises, and so does every stage."""
    with pytest.raises(error):
        fun(*args)
    stages = Stages(fun, args)
    for stage in (stages.value, stages.transformed, stages.optimized, stages.plain):
        with pytest.raises(error, match=match):
            stage()


# --- exceptions -------------------------------------------------------------------------------


def test_an_assertion_that_changes_no_name_is_checked():
    def f(x):
        for v in x:
            assert v > 0.2, "too small"
        return x[0] * x[1]

    checked(f, np.array([0.5, 0.7, 0.9]))
    raises(f, np.array([0.5, 0.7, 0.1]), error=AssertionError, match="too small")


def test_a_raise_in_an_arm_of_its_own_is_reached():
    def f(x, s):
        if s < 0.0:
            raise ValueError("negative")
        return np.sum(x) * s

    checked(f, np.ones(3), 0.5)
    raises(f, np.ones(3), -0.5, error=ValueError, match="negative")


# --- views ------------------------------------------------------------------------------------


def of_a_slice(x, places):
    part = x[1:-1]
    back = x[::-1]
    total = 0.0
    for i in range(len(places)):
        part[places[i]] *= 1.5
        total += part[places[i]] ** 2 * back[i] * back[i - 1]
    return total


def test_elements_of_a_slice_count_from_its_ends():
    stages = checked(of_a_slice, np.linspace(0.2, 0.9, 6), np.array([0, 3, -1, -4]))
    assert "iota" not in [op.name for op in stages.traced.function.walk()]


@pytest.mark.parametrize("at", [4, -5, 5, 100])
def test_elements_outside_of_a_slice_are_an_error(at):
    x, places = np.linspace(0.2, 0.9, 6), np.array([0, at])
    raises(of_a_slice, x, places, error=IndexError, match="out of bounds")


def test_a_window_of_a_slice():
    def f(x):
        part = x[::-2]
        total = 0.0
        for i in range(len(part) - 2):
            window = part[i : i + 3]
            window[1] += 0.1 * window[0] * window[2]
            total += np.sum(window)
        return total

    checked(f, np.linspace(0.2, 0.9, 9))


# --- names ------------------------------------------------------------------------------------


def test_a_name_given_an_older_array_in_each_trip_is_not_carried():
    def f(x):
        b = x * 2.0
        a = np.zeros(len(x))
        for i in range(len(x)):
            a = b
            a[i] = a[i - 1] * x[i]
        return np.sum(a) + np.sum(b * b)

    stages = checked(f, np.linspace(0.2, 0.9, 6))
    (loop,) = [op for op in stages.traced.function.walk() if op.name == "for"]
    assert len(loop.results) == 1


def test_a_copy_of_itself_in_each_trip_is_another_array():
    def f(y, k):
        v = y
        u = v
        for _ in range(k, 0, -1):
            v = v.copy()
        v[1] = 0.5
        return np.sum(u) * v[2]

    checked(f, np.linspace(0.2, 0.9, 6), 4)


def test_a_part_of_run_time_length_is_bound_in_a_loop_within_a_loop():
    def f(x, A):
        n = len(x)
        total = 0.0
        for _ in range(2):
            for i in range(n):
                part = A[1, :i]
                total += np.sum(part * part) * x[i]
                other = part
                if x[i] > 0.5:
                    large = A[0, i:]
                    total -= np.sum(large) * np.sum(other)
        return total

    stages = checked(f, np.linspace(0.2, 0.9, 4), np.linspace(0.2, 0.9, 8).reshape(2, 4))
    assert "for" in [op.name for op in stages.traced.function.walk()]


# --- schedules --------------------------------------------------------------------------------


def test_a_small_constant_read_at_a_place_known_at_run_time():
    def f(A):
        A[0, 1:] -= A[2, :1]
        v = A @ np.array([0.3, 0.2, 0.4])
        return np.sum(v)

    checked(f, np.linspace(0.2, 0.9, 15).reshape(5, 3))


def test_a_small_unrolled_array_read_at_a_place_known_at_run_time():
    def f(A):
        A[1, 1:] -= A[2, :1]
        return np.sum(np.cos(A))

    check_second(f, (np.linspace(0.2, 0.9, 9).reshape(3, 3),))


# --- memories that may be one -----------------------------------------------------------------


def refused(fun, *args):
    with pytest.raises(TraceError, match="may or may not be the same memory"):
        Stages(fun, args)


def test_a_choice_of_a_choice_may_be_the_first_of_all():
    def f(x, s):
        a = x * 1.0
        b = a if s[0] > 0.0 else x * 2.0
        c = b if s[1] > 0.0 else x * 3.0
        c[0] = 5.0 * x[1]
        return a[0] + c[1]

    refused(f, np.ones(3), np.array([1.0, 1.0]))


def test_what_a_trip_left_may_be_what_the_next_one_writes():
    def f(x, s):
        a, b = x * 1.0, x * 2.0
        total = 0.0
        for i in range(len(x)):
            b[0] = 5.0 * x[i] * (i + 1)
            total += a[0]
            a = b if s[i] > 0.0 else x * 3.0
        return total

    refused(f, np.ones(3), np.array([1.0, 1.0, -1.0]))


def test_an_array_from_before_may_be_written_under_another_name_in_each_trip():
    def f(x, s):
        a = x * 1.0
        b = a
        total = 0.0
        for i in range(len(x)):
            total += a[0]
            b[0] = 5.0 * x[i]
            b = x * 2.0 if s[i] > 0.0 else b
        return total

    refused(f, np.ones(3), np.array([1.0, 1.0, -1.0]))


def test_a_chosen_array_that_is_written_while_nobody_reads_the_others():
    def f(x, s):
        a = x * 1.0
        total = 0.0
        for i in range(len(x)):
            if s[i] > 0.0:
                a = np.sin(a) * s[i]
            a[i] = 5.0 * x[i] * a[i - 1]
            total += a[0]
        return total + np.sum(a)

    checked(f, np.linspace(0.2, 0.9, 3), np.array([1.0, -1.0, 2.0]))


CAPTURED = np.array([1.0, 2.0, 3.0])


def test_a_captured_array_is_not_written_under_a_chosen_name():
    def f(x):
        c = CAPTURED if x[0] > 0.0 else x * 1.0
        c[0] = x[0] * 2.0
        return np.sum(c)

    with pytest.raises(TraceError, match="captured array 'CAPTURED'"):
        Stages(f, (np.ones(3),))


def test_a_view_of_a_trip_is_not_looked_at_after_its_loop():
    def f(x, A):
        total = 0.0
        for i in range(len(x)):
            for row in A:
                total += row[0] * x[i]
            for v in x:
                total *= v
        return total

    checked(f, np.linspace(0.5, 1.4, 3), np.linspace(0.2, 0.9, 6).reshape(2, 3))


def test_a_kernel_raises_what_the_program_raises():
    def f(x, s):
        total = 0.0
        for v in x[1:-1]:
            assert v < s, "too large"
            total += v * s
        return total

    gradient = tg.grad(f)
    assert np.array_equal(gradient(np.array([9.0, 1.0, 9.0]), 2.0), [0.0, 2.0, 0.0])
    with pytest.raises(AssertionError, match="too large"):
        gradient(np.array([9.0, 3.0, 9.0]), 2.0)


def test_a_small_constant_array_that_loops_share():
    def f(x):
        h = np.zeros(4)
        places = np.array([0, 1, 2, 3, 0, 1, 2, 3, 0, 0])
        np.add.at(h, places, x**2)
        h[places[:3]] *= 2.0
        return np.sum(h**2)

    checked(f, np.linspace(0.3, 1.2, 10))
    value, _ = tg.value_and_grad(f)(np.linspace(0.3, 1.2, 10))
    np.testing.assert_allclose(value, f(np.linspace(0.3, 1.2, 10)))


def test_an_index_out_of_range_where_control_never_comes():
    def f(x, s):
        v = x * 2.0
        total = 0.0
        if s > 0.0:
            for i in range(3):
                total += v[-2 - i] * v[i]
                if total > -1e9:
                    break
            total += v[5]
        else:
            total = np.sum(v)
        return total

    checked(f, np.arange(1.0, 4.0), -1.0)
    gradient = tg.value_and_grad(f)
    assert np.array_equal(gradient(np.arange(3.0), -1.0)[1], [2.0, 2.0, 2.0])
    with pytest.raises(IndexError, match="test_found_programs"):
        gradient(np.arange(3.0), 1.0)
