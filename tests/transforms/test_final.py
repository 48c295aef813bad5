"""What is stored and what is read from the arrays that the primal leaves behind."""

import numpy as np
import pytest

from tests.transforms.programs import PROGRAMS, VECTOR, n, total, zero
from tests.transforms.reversal import (
    adjoint,
    check_second,
    second,
    stored_by,
)
from tests.transforms.test_vjp import function
from tests.transforms.test_vjp import no_derivative as no_derivative
from tracegrad import ops
from tracegrad.ir.types import i64
from tracegrad.ops.access import zeros
from tracegrad.ops.control import branch, for_loop
from tracegrad.ops.registry import constant

X = np.array([0.3, 0.7, 0.2, 0.9, 0.5])


def tapes(function):
    """The types of the tapes that come out of the loops of the function, in order."""
    return [str(r.type) for op in function.body.ops for r in stored_by(op)]


def recurrence(read, write, lo, *, start=None):
    def rule(x):
        def trip(i, a):
            v = ops.exp(ops.index(a, i + read)) * ops.index(x, i)
            return [ops.update(a, v, i + write)]

        (a,) = for_loop(lo, n - 2, [x * 0.5], trip)
        return total(a * a)

    return function([VECTOR], rule)


@pytest.mark.parametrize(
    ("read", "write", "lo", "count"),
    [
        (-1, 0, 1, 0),
        (-1, 1, 1, 0),
        (-2, 0, 2, 0),
        (0, 2, 0, 0),
        (0, 0, 0, 1),  # written in the same trip
        (1, 0, 0, 1),  # written later
        (-1, 0, 0, 1),  # in the first trip this is the last element
    ],
)
def test_what_is_not_written_again_is_read_from_the_end(read, write, lo, count):
    f = recurrence(read, write, lo)
    # What is stored is exp(v) of v; of a final read, v would have to be computed again.
    reads = [op for op in adjoint(f).walk() if op.name == "index" and op.part == "reverse"]
    found = any(op.operands[0].op is not None and op.operands[0].op.name == "for" for op in reads)
    assert found
    check_second(f, [X])


def written(*writes, lo=1):
    """A loop with ``exp`` of the element before, and the writes of its result."""

    def rule(x):
        def trip(i, a):
            v = ops.exp(ops.index(a, i - 1) * 0.5)
            for write in writes:
                a = write(a, v, i)
            return [a]

        (a,) = for_loop(lo, n - 1, [x], trip)
        return total(a * a)

    return function([VECTOR], rule)


def put(offset, factor=1.0):
    return lambda a, v, i: ops.update(a, v if factor == 1.0 else v * factor, i + offset)


WRITES = {
    "once": ((put(0),), 0),
    "and further on in the same trip": ((put(0), put(1, 0.3)), 0),
    "and overwritten in the same trip": ((put(0), put(0, 0.3)), 1),
    "and overwritten by the next trip": ((put(1), put(0, 0.3)), 1),
    "and added to in the same trip": (
        (put(0), lambda a, v, i: ops.accumulate(a, v, i)),
        1,
    ),
    "to a place that the data tell": (
        (lambda a, v, i: ops.update(a, v, ops.cast(v, dtype=i64) * 0 + i),),
        1,
    ),
    "in an arm": (
        (lambda a, v, i: branch(v > 1.2, lambda: [put(0)(a, v, i)], lambda: [a])[0],),
        1,
    ),
}


@pytest.mark.parametrize("case", WRITES)
def test_what_was_written_and_stays_is_read_from_the_array(case):
    writes, count = WRITES[case]
    f = written(*writes)
    assert len(tapes(adjoint(f))) == count
    check_second(f, [X])


def test_a_write_that_wraps_around_does_not_stay():
    f = written(put(-1), put(1, 0.7), lo=0)
    check_second(f, [X])


def test_a_read_that_wraps_around_is_not_final():
    """``a[i - 1]`` of i = 0 is the last element, which is written later."""

    def rule(x):
        def trip(i, a):
            before = ops.index(a, i - 1)
            return [ops.update(a, before * before + 0.1, i)]

        (a,) = for_loop(0, n, [x], trip)
        return total(a * a)

    f = function([VECTOR], rule)
    assert tapes(adjoint(f)) == ["f64[n]"]
    check_second(f, [X])


def test_a_final_read_needs_no_tape():
    def rule(x):
        def trip(i, a):
            before = ops.index(a, i - 1)
            return [ops.update(a, before * before * 0.5 + ops.index(x, i), i)]

        (a,) = for_loop(1, n, [x], trip)
        return total(a * a)

    f = function([VECTOR], rule)
    assert tapes(adjoint(f)) == []
    check_second(f, [X])


def test_a_final_read_of_a_loop_that_runs_down():
    def rule(x):
        def trip(i, a):
            after = ops.index(a, i + 1)
            return [ops.update(a, after * after * 0.5 + ops.index(x, i), i)]

        (a,) = for_loop(n - 2, -1, [x], trip, step=-1)
        return total(a * a)

    f = function([VECTOR], rule)
    assert tapes(adjoint(f)) == []
    check_second(f, [X])


def test_a_read_behind_a_loop_that_runs_down_is_not_final():
    def rule(x):
        def trip(i, a):
            before = ops.index(a, i - 1)
            return [ops.update(a, before * before * 0.5 + ops.index(x, i), i)]

        (a,) = for_loop(n - 1, 0, [x], trip, step=-1)
        return total(a * a)

    f = function([VECTOR], rule)
    assert len(tapes(adjoint(f))) == 1
    check_second(f, [X])


def test_a_tape_of_the_adjoint_is_read_again_by_its_adjoint():
    """What the first reversal stored of the primal, the second does not store again."""
    for name, total_tapes in (("scalar_carry", 4), ("product_of_unknown_length", 2)):
        first = adjoint(PROGRAMS[name].function)
        twice = second(PROGRAMS[name].function, first)
        assert len(tapes(twice)) == total_tapes


def test_a_final_read_in_an_arm():
    def rule(x):
        def trip(i, a):
            def square():
                before = ops.index(a, i - 1)
                return [ops.update(a, before * before, i)]

            return branch(ops.index(x, i) > 0.4, square, lambda: [a])

        (a,) = for_loop(1, n, [x], trip)
        return total(a * a)

    f = function([VECTOR], rule)
    assert tapes(adjoint(f)) == []
    check_second(f, [X])


def first_or_later(condition, *, swapped=False):
    """A table whose first row, by ``condition``, is given, and others come from the row before."""

    def rule(x):
        def trip(i, a):
            def first():
                return [ops.update(a, ops.index(x, i) * 2.0, i)]

            def later():
                before = ops.index(a, i - 1)
                return [ops.update(a, before * before * 0.5 + ops.index(x, i), i)]

            arms = (later, first) if swapped else (first, later)
            return branch(condition(i), *arms)

        (a,) = for_loop(0, n, [zeros((n,))], trip)
        return total(a * a)

    return function([VECTOR], rule)


@pytest.mark.parametrize(
    ("condition", "swapped", "count"),
    [
        (lambda i: ops.equal(i, 0), False, 0),
        (lambda i: i < 1, False, 0),
        (lambda i: i > 0, True, 0),
        (lambda i: ops.not_equal(i, 0), True, 0),
        (lambda i: ops.logical_or(ops.equal(i, 0), ops.equal(i, 2)), False, 0),
        (lambda i: ops.equal(i, 1), False, 1),  # in the first trip this is the last element
        (lambda i: i >= 0, True, 1),
        (lambda i: ops.remainder(i, 2) < 1, False, 1),  # true of 0, but nobody knows
    ],
)
def test_the_condition_of_an_arm_tells_that_an_index_is_not_negative(condition, swapped, count):
    f = first_or_later(condition, swapped=swapped)
    assert len(tapes(adjoint(f))) == count
    check_second(f, [X])


def in_one_trip(*statements):
    """A loop over rows that writes and reads elements of one row, one statement after the other."""

    def rule(x):
        def trip(i, a, s):
            for statement in statements:
                a, s = statement(x, i, a, s)
            return a, s

        a, s = for_loop(0, n, [zeros((n, 2)), constant(0.3)], trip)
        return total(a * a) + s

    return function([VECTOR], rule)


def writing(column):
    def statement(x, i, a, s):
        return ops.update(a, ops.index(x, i) * 1.5, i, column()), s

    return statement


def reading(column):
    def statement(x, i, a, s):
        v = ops.index(a, i, column())
        return a, s + v * v * ops.index(x, i)

    return statement


def in_loop(statement):
    """The statement in a loop over the columns."""

    def whole(x, i, a, s):
        def trip(j, a, s):
            return statement(lambda: j)(x, i, a, s)

        return for_loop(0, 2, [a, s], trip)

    return whole


def halved(column):
    def statement(x, i, a, s):
        return ops.update(a, ops.index(a, i, column()) * 0.5, i, column()), s

    return statement


def in_arms(then, otherwise):
    def statement(x, i, a, s):
        return branch(
            ops.index(x, i) > 0.4, lambda: then(x, i, a, s), lambda: otherwise(x, i, a, s)
        )

    return statement


def one():
    return constant(1, i64)


ORDERS = {
    "read after the write": ([writing(zero), reading(zero)], 0),
    "read before the write": ([reading(zero), writing(zero)], 1),
    "read between two writes": ([writing(zero), reading(zero), writing(zero)], 1),
    "read after both writes": ([writing(zero), writing(zero), reading(zero)], 0),
    "read in a loop after the loop that writes": ([in_loop(writing), in_loop(reading)], 0),
    "read in a loop before one that writes": (
        [in_loop(writing), in_loop(reading), in_loop(halved)],
        1,
    ),
    "read in a loop after two that write": (
        [in_loop(writing), in_loop(halved), in_loop(reading)],
        0,
    ),
    "written in the other arm": ([writing(zero), in_arms(reading(zero), writing(zero))], 0),
    "written after the branch": (
        [writing(zero), in_arms(reading(zero), writing(one)), writing(zero)],
        1,
    ),
}


@pytest.mark.parametrize("case", ORDERS)
def test_a_read_is_final_after_the_writes_of_its_trip(case):
    statements, count = ORDERS[case]
    f = in_one_trip(*statements)
    assert len(tapes(adjoint(f))) == count
    check_second(f, [X])


def test_an_array_that_two_loops_write_is_read_after_the_right_one():
    def rule(x):
        def trip(i, a):
            before = ops.index(a, i - 1)
            return [ops.update(a, before * before * 0.5 + ops.index(x, i), i)]

        (a,) = for_loop(1, n, [x], trip)
        (a,) = for_loop(1, n, [a], trip)
        return total(a * a)

    check_second(function([VECTOR], rule), [X])
