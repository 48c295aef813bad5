"""What is known of index values from the loops they stand in."""

import pytest

from tracegrad.ir.builder import Builder
from tracegrad.ir.core import Guard
from tracegrad.ir.types import dim_max, dim_min, i64, scalar, symbol
from tracegrad.ops.constants import dim_value
from tracegrad.ops.registry import constant
from tracegrad.schedule.bounds import Bounds

n, m = symbol("n"), symbol("m")


def placed(lo, hi, step, index, size, *, guards=(), inner=None):
    """What `Bounds.place` says of ``index(i)``, or ``index(i, j)`` with ``inner(i)`` bounds."""
    with Builder() as build:
        i = build.param(scalar(i64), "i")
        j = build.param(scalar(i64), "j")
        bounds = Bounds(build.function("f", [], guards=guards))
        bounds.open(i, *(dim_value(d) for d in (lo, hi, step)))
        if inner is None:
            return bounds.place(index(i), size)
        first, last = inner(i)
        bounds.open(j, first, last, constant(1, i64))
        return bounds.place(index(i, j), size)


@pytest.mark.parametrize(
    ("lo", "hi", "step", "index", "expected"),
    [
        (0, n, 1, lambda i: i, 0),
        (1, n, 1, lambda i: i - 1, 0),
        (0, n, 1, lambda i: i - 1, None),
        (0, n, 1, lambda i: i + 1, None),
        (0, n - 1, 1, lambda i: i + 1, 0),
        (n - 1, -1, -1, lambda i: i, 0),
        (n, 0, -2, lambda i: i - 1, 0),
        (0, n, 1, lambda i: dim_value(n) - 1 - i, 0),
        (0, n, 1, lambda i: -i - 1, n),
        (0, n, 2, lambda i: i, 0),
        (0, m, 1, lambda i: i, None),
        (0, n, 1, lambda i: constant(0, i64), 0),
        (2, n, 1, lambda i: constant(2, i64), 0),
        (0, n, 1, lambda i: constant(1, i64), None),
        (0, n, 1, lambda i: i * i, None),
    ],
)
def test_places_in_a_loop(lo, hi, step, index, expected):
    assert placed(lo, hi, step, index, n) == expected


def test_the_inner_index_of_a_triangle():
    def after(i):
        return i + 1, dim_value(n)

    def before(i):
        return constant(0, i64), i

    assert placed(0, n, 1, lambda i, j: j, n, inner=after) == 0
    assert placed(0, n, 1, lambda i, j: j - 1, n, inner=after) == 0
    assert placed(0, n, 1, lambda i, j: i - j - 1, n, inner=before) == 0
    assert placed(0, n, 1, lambda i, j: i - j - 2, n, inner=before) is None


def test_guards_are_known():
    assert placed(0, m, 1, lambda i: i, n) is None
    assert placed(0, m, 1, lambda i: i, n, guards=[Guard(m, "<=", n)]) == 0
    assert placed(0, m, 1, lambda i: i + 1, n, guards=[Guard(m, "<", n)]) == 0
    assert placed(0, m, 1, lambda i: i, n, guards=[Guard(n, "==", m)]) == 0


def test_an_index_of_a_loop_that_is_over_is_unknown():
    with Builder() as build:
        i = build.param(scalar(i64), "i")
        bounds = Bounds(build.function("f", []))
        facts = bounds.facts
        bounds.open(i, *(dim_value(d) for d in (0, n, 1)))
        bounds.close(facts)
        assert bounds.place(i, n) is None
        assert bounds.place(constant(0, i64), n) is None


def test_the_greater_of_two_sizes_is_at_least_each():
    assert placed(1, n, 1, lambda i: i - 1, dim_max(0, n - 1)) == 0
    assert placed(0, dim_min(n, m), 1, lambda i: i, n) == 0
    assert placed(0, dim_max(n, m), 1, lambda i: i, n) is None
