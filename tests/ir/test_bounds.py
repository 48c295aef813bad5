"""What is known of index values from the loops they stand in."""

from dataclasses import replace

import pytest

from tracegrad import ops
from tracegrad.ir.bounds import Bounds
from tracegrad.ir.builder import Builder
from tracegrad.ir.core import Guard
from tracegrad.ir.types import boolean, dim_max, dim_min, i64, scalar, symbol
from tracegrad.ops.constants import dim_value
from tracegrad.ops.control import branch, for_loop, while_loop
from tracegrad.ops.registry import constant

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
        found = []

        def trip(i):
            found.append(i)
            return []

        for_loop(0, n, [], trip)
        function = build.function("f", [])
        loop = function.body.ops[-1]
        bounds = Bounds(function)
        with bounds.within(loop, loop.regions[0]):
            assert bounds.place(found[0], n) == 0
        assert bounds.place(found[0], n) is None
        assert bounds.place(constant(0, i64), n) is None


def test_the_greater_of_two_sizes_is_at_least_each():
    assert placed(1, n, 1, lambda i: i - 1, dim_max(0, n - 1)) == 0
    assert placed(0, dim_min(n, m), 1, lambda i: i, n) == 0
    assert placed(0, dim_max(n, m), 1, lambda i: i, n) is None


# --- what arms and conditions say -------------------------------------------------------------


def in_arm(condition, index, *, taken=True, lo=0, hi=n):
    """What `Bounds.place` says of ``index(i)`` in an arm of ``if condition(i)``."""
    found = []

    with Builder() as build:

        def trip(i):
            def arm():
                found.append((build.region, index(i)))
                return []

            branch(condition(i), arm, arm)
            return []

        for_loop(lo, hi, [], trip)
        function = build.function("f", [])
    loop = function.body.ops[-1]
    body = loop.regions[0]
    region, at = found[0 if taken else 1]
    chosen = next(op for op in body.ops if region in op.regions)
    bounds = Bounds(function)
    with bounds.within(loop, body):
        before = bounds.place(at, n)
        with bounds.within(chosen, region):
            place = bounds.place(at, n)
        assert bounds.place(at, n) == before  # nothing is left of it after the arm
    return place


def before_it(i):
    return i - 1


def after_it(i):
    return i + 1


def last(i):
    return dim_value(n) - 1


CONDITIONS = {
    "not the first": (lambda i: i > 0, before_it, True, 0),
    "the first otherwise": (lambda i: ops.equal(i, 0), before_it, False, 0),
    "not equal to the first": (lambda i: ops.not_equal(i, 0), before_it, True, 0),
    "another one": (lambda i: ops.not_equal(i, 1), before_it, True, None),
    "the first": (lambda i: ops.equal(i, 0), before_it, True, n),
    "the first, exactly": (lambda i: ops.equal(i, 0), lambda i: i * 2, True, 0),
    "not the last": (lambda i: i < last(i), after_it, True, 0),
    "the last otherwise": (lambda i: ops.equal(i, last(i)), after_it, False, 0),
    "at most the last": (lambda i: i <= last(i), after_it, True, None),
    "both": (lambda i: ops.logical_and(i > 0, i < last(i)), before_it, True, 0),
    "not both": (lambda i: ops.logical_and(i > 0, i < last(i)), before_it, False, None),
    "neither": (lambda i: ops.logical_or(ops.equal(i, 0), i > 5), before_it, False, 0),
    "negated": (lambda i: ops.logical_not(i > 0), before_it, False, 0),
    "one after the other": (
        lambda i: branch(i > 0, lambda: [i < 9], lambda: [constant(False, boolean)])[0],
        before_it,
        True,
        0,
    ),
    "one or the other": (
        lambda i: branch(i > 0, lambda: [constant(True, boolean)], lambda: [i < 9])[0],
        before_it,
        True,
        None,
    ),
}


@pytest.mark.parametrize("case", CONDITIONS)
def test_arms_know_their_condition(case):
    condition, index, taken, expected = CONDITIONS[case]
    assert in_arm(condition, index, taken=taken) == expected


def while_place(condition, index, after, *, first=0):
    """What is known of ``index(k)`` in the trips of a ``while`` that carries ``k``."""
    found = []

    with Builder() as build:

        def trip(k):
            found.append(index(k))
            return [after(k)]

        while_loop([constant(first, i64)], condition, trip)
        function = build.function("f", [])
    (loop,) = [op for op in function.body.ops if op.name == "while"]
    bounds = Bounds(function)
    with bounds.within(loop, loop.regions[0]):
        pass
    with bounds.within(loop, loop.regions[1]):
        return bounds.place(found[0], n)


def test_a_while_loop_that_counts_is_bounded():
    def going(k):
        return k < dim_value(n)

    assert while_place(going, lambda k: k, lambda k: k + 1) == 0
    assert while_place(going, before_it, lambda k: k + 1, first=1) == 0
    assert while_place(going, before_it, lambda k: k + 1) is None
    assert while_place(going, after_it, lambda k: k + 1) is None
    assert while_place(going, lambda k: k, lambda k: k - 1) is None
    assert while_place(going, lambda k: k, lambda k: k * 2) is None
    assert while_place(lambda k: k < 3, lambda k: k, lambda k: k + 1) is None


def test_an_integer_argument_may_be_negative():
    with Builder() as build:
        k = build.param(scalar(i64), "k")
        function = build.function("f", [], size_params={"k": 0})
    assert not Bounds(function).never_negative(symbol("k"))
    assert Bounds(function).polynomial(k) == symbol("k")


@pytest.mark.parametrize(
    ("guards", "value", "fits"),
    [
        ((), n, True),
        ((), n + 1, False),
        ((), n * -1, False),
        ((Guard(n, ">=", 0),), m - n, True),
        ((Guard(n, ">=", 0), Guard(n, "<", m)), 3 * n + m, True),
        ((Guard(n, "<", m),), n - 1, False),
        ((), m * m * m, True),
        ((), m * 2**40, False),
    ],
)
def test_which_sums_64_bits_hold(guards, value, fits):
    """``n`` is an int argument, ``m`` the size of an array."""
    with Builder() as build:
        build.param(scalar(i64), "n")
        function = build.function("f", [], guards=guards)
    assert Bounds(replace(function, size_params={"n": 0})).fits(value) is fits
