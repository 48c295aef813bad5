"""Reads and writes at ranges of indices: views, and chains of writes in one loop."""

import random

import numpy as np
import pytest

from tests.ops.building import built
from tests.schedule.region_programs import assert_all_forms_agree, numbers
from tracegrad import ops
from tracegrad.ir.core import Guard
from tracegrad.ir.interpreter import evaluate
from tracegrad.ir.types import ArrayType, i64, scalar, symbol
from tracegrad.ir.verifier import verify
from tracegrad.ops.access import slice_, view_of, zeros
from tracegrad.ops.constants import dim_value
from tracegrad.ops.control import for_loop
from tracegrad.schedule import schedule
from tracegrad.schedule.windows import open_windows

n, m = symbol("n"), symbol("m")


def counting(start, length, step=1):
    """The indices ``start, start + step, …``."""
    along = ops.iota(size=length, dtype=i64)
    if step != 1:
        along = along * step
    return along + dim_value(start)


def guarded(function, *guards):
    function.guards = tuple(Guard(n, ">=", least) for least in guards)
    return function


def opened(make, *types, least=2):
    """(the function as it is, with windows); ``least``: what n is at least."""
    f = verify(guarded(built(make, *types), least))
    return f, verify(open_windows(f))


def assert_windows_agree(make, *types, arguments, least=2, compiled=False):
    """The function with windows gives the same, in each form and at each size."""
    f, w = opened(make, *types, least=least)
    for given in arguments:
        for e, r in zip(evaluate(f, *given), evaluate(w, *given), strict=True):
            np.testing.assert_allclose(r, e, rtol=1e-12, atol=1e-12)
        assert_all_forms_agree(w, *given)
    if compiled:
        assert_all_forms_agree(w, *arguments[-1], compiled=True)
    return w


def written(function):
    """The operations of ``function`` that write at index values."""
    return [op.name for op in function.walk() if op.name in ("update", "accumulate", "index")]


def time_loop(body, *extra, trips=3):
    """``for t in range(trips): x = body(x, *extra)`` over a copy of x."""

    def make(x, *extra):
        return for_loop(0, trips, [x * 1.0], lambda t, x: [body(x, *extra)])

    return make


# --- reads ----------------------------------------------------------------------------------


def test_a_read_at_a_range_is_a_view():
    def read(x):
        def trip(t, total):
            return [total + ops.sum(ops.index(x, counting(1, n - 2)), axes=(0,))]

        return for_loop(0, 2, [ops.sum(x, axes=(0,))], trip)

    w = assert_windows_agree(read, (n,), arguments=[(numbers(k),) for k in (2, 3, 7)])
    assert written(w) == []


def test_a_read_backwards_is_a_view():
    def read(x):
        return ops.index(x, counting(n - 1, n, -1)) + ops.index(x, counting(0, n))

    w = assert_windows_agree(read, (n,), arguments=[(numbers(k),) for k in (2, 5)])
    assert written(w) == []


def test_a_window_of_rows_and_columns_is_a_view():
    def read(a):
        grid = (n - 2, m)
        rows = view_of(counting(1, n - 2), grid, [(0, 0, 1)])
        columns = view_of(counting(0, m), grid, [(1, 0, 1)])
        return ops.index(a, rows, columns) * 2.0

    w = assert_windows_agree(read, (n, m), arguments=[(numbers(5, 3),), (numbers(2, 1),)])
    assert written(w) == []


@pytest.mark.parametrize("start", [-1, 1, 3])
def test_a_read_that_may_leave_the_array_stays_checked(start):
    f, w = opened(lambda x: ops.index(x, counting(start, n)), (n,))
    assert "index" in written(w)
    if start < 0:
        np.testing.assert_array_equal(evaluate(w, numbers(4))[0], np.roll(numbers(4), 1))
    else:
        with pytest.raises(IndexError):
            evaluate(schedule(f), numbers(4))


def test_a_read_at_positions_from_data_stays():
    _, w = opened(lambda x, i: ops.index(x, i + 1), (n,), ArrayType(i64, (n,)))
    assert written(w) == ["index"]


def test_a_read_whose_start_is_an_argument_stays():
    _, w = opened(lambda x, k: ops.index(x, ops.iota(size=n - 2, dtype=i64) + k), (n,), scalar(i64))
    assert written(w) == ["index"]


def test_one_index_for_two_dimensions_reads_a_diagonal():
    def read(a):
        return ops.index(a, counting(0, n), counting(0, n)) * 1.0

    w = assert_windows_agree(read, (n, n), arguments=[(numbers(4, 4),)])
    assert written(w) == ["index"]


# --- chains of writes -----------------------------------------------------------------------


def stencil_adjoint(x, u):
    """The cotangent of ``u[1:-1] = u[1:-1] * u[:-2] + 0.3 * u[2:]``."""
    at = counting(1, n - 2)
    up = ops.index(x, at)
    x = ops.update(x, zeros((n - 2,)), at)
    x = ops.accumulate(x, up * slice_(u, 0, 0, n - 2), at)
    x = ops.accumulate(x, up * slice_(u, 0, 1, n - 1), counting(0, n - 2))
    return ops.accumulate(x, up * 0.3, counting(2, n - 2))


def test_a_chain_of_writes_is_one_loop():
    make = time_loop(stencil_adjoint)
    given = [(numbers(k), numbers(k, seed=1)) for k in (2, 3, 4, 5, 9)]
    w = assert_windows_agree(make, (n,), (n,), arguments=given, compiled=True)
    assert written(w) == []
    body = next(op for op in schedule(w).walk() if op.name == "for" and op.results).regions[0]
    names = [op.name for op in body.walk()]
    assert "alloc" not in names
    # The interior of the one loop; its ends are loops too.
    assert names.count("for") <= 3
    assert "check_index" not in names


def test_later_writes_win_over_earlier_ones():
    def body(x, v):
        x = ops.update(x, slice_(v, 0, 0, n - 1), counting(0, n - 1))
        x = ops.accumulate(x, slice_(v, 0, 1, n), counting(1, n - 1))
        x = ops.update(x, slice_(x, 0, 1, n - 1) * 2.0, counting(1, n - 2))
        return ops.update(x, slice_(v, 0, 0, n - 1) * 3.0, counting(1, n - 1))

    given = [(numbers(k), numbers(k, seed=1)) for k in (2, 3, 8)]
    assert_windows_agree(time_loop(body), (n,), (n,), arguments=given)


def test_what_is_written_may_come_from_the_array_itself():
    """``x[1:] = x[:-1]`` and ``x[:-1] += x[1:]``: the old elements are meant."""

    def body(x):
        x = ops.update(x, slice_(x, 0, 0, n - 1), counting(1, n - 1))
        return ops.accumulate(x, slice_(x, 0, 1, n), counting(0, n - 1))

    given = [(numbers(k),) for k in (2, 3, 8)]
    assert_windows_agree(time_loop(body), (n,), arguments=given, compiled=True)


def test_backwards_windows():
    def body(x):
        x = ops.accumulate(x, x * 0.5, counting(n - 1, n, -1))
        return ops.update(x, slice_(x, 0, 0, n - 1), counting(n - 1, n - 1, -1))

    assert_windows_agree(time_loop(body), (n,), arguments=[(numbers(k),) for k in (2, 3, 6)])


def test_nothing_is_lost_where_a_window_meets_infinity():
    def body(x, v):
        x = ops.update(x, slice_(v, 0, 0, n - 2), counting(1, n - 2))
        return ops.accumulate(x, slice_(v, 0, 1, n - 1), counting(2, n - 2))

    v = np.array([1.0, np.inf, np.nan, 2.0, -np.inf, 4.0])
    x = np.array([np.inf, np.nan, 1.0, 2.0, 3.0, -np.inf])
    assert_windows_agree(time_loop(body), (n,), (n,), arguments=[(x, v)])


def test_a_window_in_two_dimensions():
    def body(a, b):
        def grid(start):
            rows = view_of(counting(start, n - 2), (n - 2, m - 2), [(0, 0, 1)])
            return [rows, view_of(counting(1, m - 2), (n - 2, m - 2), [(1, 0, 1)])]

        part = view_of(b, (n - 2, m - 2), [(0, 1, 1), (1, 2, 1)])
        a = ops.update(a, part, *grid(1))
        return ops.accumulate(a, part * 2.0, *grid(0))

    f = built(time_loop(body), (n, m), (n, m))
    f.guards = (Guard(n, ">=", 2), Guard(m, ">=", 2))
    w = open_windows(f)
    assert written(w) == []
    for shape in ((2, 2), (4, 5), (3, 2)):
        given = numbers(*shape), numbers(*shape, seed=1)
        np.testing.assert_allclose(evaluate(w, *given)[0], evaluate(f, *given)[0], rtol=1e-13)
        assert_all_forms_agree(w, *given)


def test_rows_whole_in_the_other_dimension():
    def body(a, b):
        a = ops.update(a, slice_(b, 0, 1, n), counting(0, n - 1))
        return ops.accumulate(a, slice_(b, 0, 0, n - 1), counting(1, n - 1))

    given = [(numbers(k, 3), numbers(k, 3, seed=1)) for k in (2, 5)]
    assert_windows_agree(time_loop(body), (n, m), (n, m), arguments=given)


def row_window(t, start, length, step=1):
    """The indices of ``a[t, start:start + length]``."""
    return [view_of(t, (length,), []), counting(start, length, step)]


def test_windows_of_rows_are_read_and_written_without_arrays_of_indices():
    """An explicit table of states: ``a[t + 1, 1:-1] = f(a[t])``."""

    def make(a):
        def trip(t, a):
            part = ops.index(a, *row_window(t, 1, n - 2)) * 0.5
            part = part + ops.index(a, *row_window(t, 2, n - 2))
            return [ops.update(a, part, *row_window(t + 1, 1, n - 2))]

        return for_loop(0, m - 1, [a * 1.0], trip)

    f = built(make, (m, n))
    f.guards = (Guard(n, ">=", 2),)
    w = open_windows(f)
    loops = schedule(f)
    assert [op.attributes["dtype"].name for op in loops.walk() if op.name == "alloc"] == ["f64"]
    for shape in ((0, 2), (1, 4), (3, 2), (4, 6)):
        given = numbers(*shape)
        np.testing.assert_allclose(evaluate(w, given)[0], evaluate(f, given)[0], rtol=1e-13)
        assert_all_forms_agree(w, given)


def test_a_chain_of_writes_to_one_row_is_one_loop_in_place():
    def make(a):
        def trip(t, a):
            up = ops.index(a, *row_window(t + 1, 1, n - 2))
            a = ops.accumulate(a, up * 0.5, *row_window(t, 0, n - 2))
            a = ops.accumulate(a, up * 0.25, *row_window(t, 1, n - 2))
            return [ops.accumulate(a, up, *row_window(t, 2, n - 2))]

        return for_loop(m - 2, -1, [a * 1.0], trip, step=-1)

    f = built(make, (m, n))
    f.guards = (Guard(n, ">=", 2),)
    assert [op.name for op in schedule(f).walk()].count("alloc") == 1
    w = open_windows(f)
    for shape in ((0, 2), (1, 4), (3, 2), (4, 6), (3, 3)):
        given = numbers(*shape)
        np.testing.assert_allclose(evaluate(w, given)[0], evaluate(f, given)[0], rtol=1e-13)
        assert_all_forms_agree(w, given, compiled=shape == (4, 6))


# --- writes to where they are wanted --------------------------------------------------------


def allocations(make, *types, least=3):
    f = guarded(built(make, *types), least)
    return [op.result.hint for op in schedule(f).walk() if op.name == "alloc"]


@pytest.mark.parametrize("write", [ops.update, ops.accumulate])
def test_what_is_computed_for_a_window_goes_there_at_once(write):
    def make(x, v):
        def trip(t, x):
            return [write(x, slice_(v, 0, 0, n - 3) * slice_(v, 0, 2, n - 1), counting(1, n - 3))]

        return for_loop(0, 3, [x * 1.0], trip)

    assert len(allocations(make, (n,), (n,))) == 1
    given = [(numbers(k), numbers(k, seed=1)) for k in (3, 4, 7)]
    assert_windows_agree(make, (n,), (n,), arguments=given, least=3, compiled=True)


@pytest.mark.parametrize("write", [ops.update, ops.accumulate])
def test_the_elements_that_are_overwritten_may_be_read(write):
    def make(x, v):
        def trip(t, x):
            here = slice_(x, 0, 1, n - 1)
            return [write(x, here * here + slice_(v, 0, 2, n), counting(1, n - 2))]

        return for_loop(0, 3, [x * 0.5], trip)

    assert len(allocations(make, (n,), (n,))) == 1
    given = [(numbers(k), numbers(k, seed=1)) for k in (3, 4, 7)]
    assert_windows_agree(make, (n,), (n,), arguments=given, least=3)


def test_what_is_shifted_afterwards_is_not_written_to_where_it_is_read():
    """The element that is read at its own place is used for another one as well."""

    def make(x):
        def trip(t, x):
            square = slice_(x, 0, 1, n - 1) * slice_(x, 0, 1, n - 1)
            back = view_of(square, (n - 2,), [(0, n - 3, -1)])
            return [ops.update(x, square + back, counting(1, n - 2))]

        return for_loop(0, 2, [x * 1.0], trip)

    assert_windows_agree(make, (n,), arguments=[(numbers(k),) for k in (3, 4, 7)], least=3)


def test_what_else_is_made_of_the_old_elements_comes_before():
    def make(x):
        def trip(t, x, total):
            here = slice_(x, 0, 1, n - 1)
            return [
                ops.update(x, here * 2.0, counting(1, n - 2)),
                total + ops.sum(here * here, axes=(0,)),
            ]

        return for_loop(0, 3, [x * 1.0, ops.sum(x, axes=(0,))], trip)

    assert_windows_agree(make, (n,), arguments=[(numbers(k),) for k in (3, 4, 7)], least=3)


def test_a_sum_that_is_added_to_a_window():
    def make(x, a):
        def trip(t, x):
            part = ops.sum(view_of(a, (m, n - 2), [(0, 0, 1), (1, 1, 1)]), axes=(0,))
            return [ops.accumulate(x, part, counting(1, n - 2))]

        return for_loop(0, 2, [x * 1.0], trip)

    f = guarded(built(make, (n,), (m, n)), 2)
    w = open_windows(f)
    for shape in ((2, 2), (0, 3), (3, 5)):
        given = numbers(shape[1]), numbers(*shape)
        np.testing.assert_allclose(evaluate(w, *given)[0], evaluate(f, *given)[0], rtol=1e-13)
        assert_all_forms_agree(w, *given)


# --- where it must not apply ----------------------------------------------------------------


def test_a_small_window_is_written_in_place():
    """As an expression it would cost as much as the array has elements, in each trip."""

    def body(x, v):
        x = ops.accumulate(x, v, counting(0, 3))
        return ops.accumulate(x, v, counting(1, 3))

    _, w = opened(time_loop(body), (n,), (3,), least=4)
    assert written(w) == ["accumulate", "accumulate"]


def test_half_of_an_array_is_written_in_place():
    def body(x, v):
        x = ops.accumulate(x, v, counting(0, m))
        return ops.accumulate(x, v, counting(0, m))

    def make(x, v):
        return for_loop(0, 3, [x * 1.0], lambda t, x: [body(x, v)])

    f = built(make, (2 * m,), (m,))
    assert written(open_windows(f)) == ["accumulate", "accumulate"]


def test_one_write_stays_in_place():
    def body(x, v):
        return ops.accumulate(x, slice_(v, 0, 0, n - 1), counting(1, n - 1))

    _, w = opened(time_loop(body), (n,), (n,))
    assert written(w) == ["accumulate"]


def test_a_version_that_something_else_reads_ends_a_chain():
    def body(x, v):
        part = slice_(v, 0, 1, n)
        first = ops.accumulate(x, part, counting(1, n - 1))
        second = ops.accumulate(first, part, counting(0, n - 1))
        return second * ops.sum(first, axes=(0,))

    _, w = opened(time_loop(body), (n,), (n,))
    assert written(w) == ["accumulate", "accumulate"]
    given = [(numbers(k), numbers(k, seed=1)) for k in (2, 6)]
    assert_windows_agree(time_loop(body), (n,), (n,), arguments=given)


def test_indices_repeated_by_a_view_are_no_window():
    def body(x, v):
        at = view_of(counting(0, n - 1), (n - 1, 2), [(0, 0, 1)])
        value = view_of(slice_(v, 0, 0, n - 1), (n - 1, 2), [(0, 0, 1)])
        x = ops.accumulate(x, value, at)
        return ops.accumulate(x, value, at)

    _, w = opened(time_loop(body), (n,), (n,))
    assert written(w) == ["accumulate", "accumulate"]
    assert_windows_agree(time_loop(body), (n,), (n,), arguments=[(numbers(4), numbers(4))])


# --- random chains --------------------------------------------------------------------------


def random_chain(seed):
    """A loop with a chain of up to six writes whose values read any version before."""
    draw = random.Random(seed)

    def window():
        left = draw.choice([0, 0, 1, 2])
        return left, n - left - draw.choice([0, 0, 1, 2]), draw.choice([1, 1, 1, -1])

    def body(x, v):
        versions = [x, v]
        for _ in range(draw.randint(2, 6)):
            start, length, step = window()
            source = draw.choice([*versions[-2:], v])
            offset = draw.randint(0, n - length)
            value = slice_(source, 0, offset, offset + length) * draw.choice([0.5, -0.3])
            if draw.random() < 0.2:
                value = zeros((length,))
            first = start if step == 1 else start + length - 1
            write = draw.choice([ops.update, ops.accumulate, ops.accumulate])
            x = write(x, value, counting(first, length, step))
            if draw.random() < 0.3:
                versions.append(x)
        if draw.random() < 0.3:
            x = x + ops.sum(draw.choice(versions), axes=(0,)) * 0.1
        return x

    return time_loop(body)


@pytest.mark.parametrize("seed", range(60))
def test_random_chains(seed):
    given = [(numbers(k, seed=k), numbers(k, seed=k + 1)) for k in (4, 5, 11)]
    assert_windows_agree(
        random_chain(seed), (n,), (n,), arguments=given, least=4, compiled=seed % 20 == 0
    )


def random_table(seed):
    """Writes to windows of rows of a table, of what windows of its rows hold."""
    draw = random.Random(seed)

    def trip(t, a, v):
        versions = [a]

        def row():
            return draw.choice([t, t, t + 1, dim_value(m) - 1 - t, dim_value(0)])

        for _ in range(draw.randint(1, 5)):
            left, right = draw.choice([0, 1, 2]), draw.choice([0, 0, 1])
            length = n - left - right
            value = slice_(v, 0, 1, 1 + length) if draw.random() < 0.2 and left else None
            for _ in range(draw.randint(0 if value is not None else 1, 3)):
                start = draw.randint(0, left + right)
                step = draw.choice([1, 1, 1, -1])
                first = start if step == 1 else start + length - 1
                source = draw.choice([versions[-1], versions[-1], versions[0]])
                read = ops.index(source, *row_window(row(), first, length, step)) * 0.5
                value = read if value is None else value + read * value
            write = draw.choice([ops.update, ops.accumulate])
            a = write(a, value * 0.7, *row_window(row(), left, length))
            if draw.random() < 0.5:
                versions.append(a)
        return [a, v * 1.1 if draw.random() < 0.3 else v]

    def make(a, v):
        return for_loop(0, m - 1, [a * 1.0, v], trip)

    return make


@pytest.mark.parametrize("seed", range(80))
def test_random_tables(seed):
    f = guarded(built(random_table(seed), (m, n), (n,)), 4)
    w = verify(open_windows(f))
    for shape in ((0, 4), (2, 4), (4, 7)):
        given = numbers(*shape, seed=seed), numbers(shape[1], seed=seed + 1)
        for e, r in zip(evaluate(f, *given), evaluate(w, *given), strict=True):
            np.testing.assert_allclose(r, e, rtol=1e-12, atol=1e-12)
        assert_all_forms_agree(w, *given, compiled=seed % 40 == 0 and shape[0] == 4)


def test_a_position_that_is_read_from_an_array_is_there_in_time():
    def make(x, i):
        x = ops.update(x * 1.0, ops.sum(x, axes=(0,)), view_of(i, (), [(None, n - 1, 1)]))
        return ops.update(x, ops.index(x, counting(0, 2)), view_of(i, (2,), [(None, 0, 1)]))

    f = guarded(built(make, (n,), ArrayType(i64, (n,))), 2)
    assert_all_forms_agree(f, numbers(4), np.array([2, 0, 1, -1]))
