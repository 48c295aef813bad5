"""Programs that keep an array as it was, or change a copy of it, and then write to it.

What the array holds in the end is then not what was read of the copy; the way back once took the
one for the other.
"""

import numpy as np
import pytest

from tests.integration.loop_programs_checks import Checked


def the_array_before_a_write(x, y):
    a = x.copy()
    total = 0.0
    for t in range(1, len(x)):
        old = a.copy()
        a[t] = old[t] ** 2 * 0.5
        assert y[t] < 50.0  # so that the read of old[t] stays where it is
        total += old[t] * old[t] * y[t]
    return total + np.sum(a * y)


def the_array_before_a_write_in_an_arm(x, y):
    a = x.copy()
    total = 0.0
    for t in range(1, len(x)):
        old = a.copy()
        a[t] = np.sin(a[t - 1])
        if y[t] > 0.5:
            total += old[t] * old[t] * y[t]
        else:
            total += old[t] * old[t - 1] * a[t]
    return total + np.sum(a * y)


def a_row_before_a_write(x, y):
    a = np.outer(x, y)
    total = 0.0
    for t in range(1, len(x)):
        old = a.copy()
        a[t] = np.sin(a[t - 1])
        assert y[t] < 50.0
        total += np.sum(old[t] * old[t]) + old[t, 0] * old[t, 0] * old[t, 1]
    return total + np.sum(a * y)


def a_row_before_a_loop_that_writes_to_it(x, y):
    a = np.outer(x, y)
    total = 0.0
    for t in range(1, len(x)):
        old = a.copy()
        for j in range(1, len(x)):
            a[t, j] = np.sin(a[t, j - 1]) * a[t - 1, j]
            total += old[t, j - 1] ** 2 * y[j] + old[t - 1, j] * a[t, j] * old[t, j] ** 2
    return total + np.sum(a * y)


def a_copy_that_is_written_to(x, y):
    a = x.copy()
    total = 0.0
    for t in range(1, len(x)):
        other = a.copy()
        other[t] = 2 * other[t - 1] * y[t]
        a[t] = np.sin(a[t - 1])
        total += other[t] * other[t] * y[t]
    return total + np.sum(a * y)


def a_copy_that_is_written_to_later(x, y):
    a = x.copy()
    total = 0.0
    for t in range(1, len(x)):
        other = a.copy()
        a[t] = np.sin(a[t - 1]) * a[t]
        other[t] = 2 * other[t - 1] * y[t] * other[t]
        total += other[t] * other[t] * y[t] + a[t] ** 2 * other[t]
    return total + np.sum(a * y)


def a_copy_that_a_while_writes_to(x, y):
    a = x.copy()
    total, t = 0.0, 1
    while t < len(x) and total < 50.0:
        other = a.copy()
        other[t] = other[t - 1] * y[t] * other[t]
        a[t] = np.sin(a[t - 1]) * other[t] * other[t]
        total += other[t] ** 3 * a[t]
        t += 1
    return total + np.sum(a * y)


def a_copy_that_a_loop_writes_to(x, y):
    a = x.copy()
    total = 0.0
    for t in range(len(x) - 1, 0, -1):
        other = a.copy()
        for j in range(t):
            a[t] = np.sin(a[t]) * y[j] + a[t] * other[t] * other[t]
            other[t] = a[t] * other[t]
        total += other[t] ** 3 * a[t]
    return total + np.sum(a * y)


@pytest.mark.parametrize(
    "fun",
    [
        the_array_before_a_write,
        the_array_before_a_write_in_an_arm,
        a_row_before_a_write,
        a_row_before_a_loop_that_writes_to_it,
        a_copy_that_is_written_to,
        a_copy_that_is_written_to_later,
        a_copy_that_a_while_writes_to,
        a_copy_that_a_loop_writes_to,
    ],
)
def test_the_way_back_reads_what_the_program_read(fun):
    rng = np.random.default_rng(0)
    found = Checked(fun, (rng.uniform(-0.9, 0.9, 6), rng.uniform(-0.9, 0.9, 6)))
    found.check()
