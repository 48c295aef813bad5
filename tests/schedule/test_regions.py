"""Loops, branches and writes in loop form: values in every form, copies, and cost."""

import numpy as np
import pytest

from tests.ops.building import built, names_of
from tests.schedule.region_programs import (
    assert_all_forms_agree,
    assert_linear,
    body_of_loop,
    executed,
    exp,
    greater,
    int_,
    lowered,
    m,
    n,
    numbers,
    reasons,
    tanh,
)
from tracegrad import ops
from tracegrad.ir.types import ArrayType, i64, scalar
from tracegrad.ops.access import at, full, slice_, zeros
from tracegrad.ops.constants import dim_value
from tracegrad.ops.control import branch, for_loop, while_loop
from tracegrad.ops.registry import REGISTRY, constant

# --- one array, written in a loop -----------------------------------------------------------


def recurrence(x, a):
    def trip(i, y):
        return [ops.update(y, tanh(ops.index(y, i - 1)) * a + ops.index(x, i), i)]

    return for_loop(1, n, [zeros((n,))], trip)


def test_a_recurrence_writes_its_array_in_place():
    f = built(recurrence, (n,), ())
    assert reasons(f) == []
    assert_all_forms_agree(f, numbers(9), 0.7, compiled=True)
    loop = next(op for op in lowered(f).walk() if op.name == "for")
    assert not any(r.rank for r in loop.results), "the array is memory, not a carried value"
    assert_linear(f, lambda size: (numbers(size), np.float64(0.5)))


def test_indices_of_a_loop_over_its_array_need_no_check():
    f = built(recurrence, (n,), ())
    assert "check_index" not in names_of(lowered(f))


def test_an_index_that_may_be_out_of_range_is_checked():
    def shifted(x, k):
        def trip(i, y):
            return [ops.update(y, ops.index(x, i), i + k)]

        return for_loop(0, n, [zeros((n,))], trip)

    f = built(shifted, (n,), scalar(i64))
    assert_all_forms_agree(f, numbers(5), np.int64(0))
    with pytest.raises(IndexError):
        executed(f, numbers(5), np.int64(1))


def test_negative_indices_count_from_the_end():
    def reversed_(x):
        def trip(i, y):
            return [ops.update(y, ops.index(x, i), -i - 1)]

        return for_loop(0, n, [zeros((n,))], trip)

    f = built(reversed_, (n,))
    assert "check_index" not in names_of(lowered(f))
    assert_all_forms_agree(f, numbers(5))


def test_a_written_argument_is_copied_once():
    def doubled(x):
        return for_loop(0, n, [x], lambda i, y: [ops.update(y, ops.index(y, i) * 2.0, i)])

    f = built(doubled, (n,))
    assert reasons(f) == [("a loop carries an argument", 0)]
    assert_all_forms_agree(f, numbers(6), compiled=True)
    assert_linear(f, lambda size: (numbers(size),))


def test_an_argument_written_and_then_read():
    def kept(x):
        y = for_loop(0, n, [x], lambda i, y: [ops.accumulate(y, ops.index(x, n_minus(i)), i)])[0]
        return y, ops.sum(x, axes=(0,))

    def n_minus(i):
        return dim_value(n) - 1 - i

    f = built(kept, (n,))
    assert reasons(f) == [("a loop carries an argument", 0)]
    assert_all_forms_agree(f, numbers(6))


def test_accumulation_runs_down_with_repeated_places():
    def histogram(x, where):
        def trip(i, total):
            return [ops.accumulate(total, ops.index(x, i), ops.index(where, i))]

        return for_loop(dim_value(n) - 1, -1, [zeros((4,))], trip, step=-2)

    f = built(histogram, (n,), ArrayType(i64, (n,)))
    assert_all_forms_agree(f, numbers(7), np.array([0, 3, -1, 1, 0, 3, 0]), compiled=True)
    assert reasons(f) == []


def test_a_triangular_loop_needs_no_checks():
    def pairs(x):
        def outer(i, total):
            def inner(j, total):
                d = ops.index(x, i) - ops.index(x, j)
                total = ops.accumulate(total, d, i)
                return [ops.accumulate(total, -d * d, j)]

            return for_loop(i + 1, n, [total], inner)

        return for_loop(0, n, [zeros((n,))], outer)

    f = built(pairs, (n,))
    loops = lowered(f)
    assert "check_index" not in names_of(loops)
    assert names_of(loops).count("alloc") == 1
    assert reasons(f) == []
    assert_all_forms_agree(f, numbers(6), compiled=True)


# --- versions -------------------------------------------------------------------------------


def test_a_read_of_the_old_version_after_its_update_moves_above_it():
    def shift(x):
        def trip(i, y, total):
            new = ops.update(y, ops.index(x, i), i)
            return new, total + ops.index(y, i) * tanh(ops.index(y, i * 0))

        return for_loop(0, n, [x * 2.0, constant(0.0)], trip)

    f = built(shift, (n,))
    assert reasons(f) == []
    assert_all_forms_agree(f, numbers(6), compiled=True)
    assert_linear(f, lambda size: (numbers(size),))


def test_an_old_version_that_is_really_needed_is_copied():
    def both(x):
        y = x * 2.0
        z = ops.update(y, constant(1.0), int_(0))
        w = ops.update(z, at(z, 0, 1) + at(y, 0, 0), int_(2))
        return y, w

    f = built(both, (n,))
    assert reasons(f) == [("the old version is read afterwards", 0)]
    assert_all_forms_agree(f, numbers(4))


def test_updates_in_both_arms_of_a_branch():
    def signs(x):
        def trip(i, y):
            v = ops.index(x, i)
            return branch(
                v > 0.0,
                lambda: [ops.update(y, v * 2.0, i)],
                lambda: [ops.accumulate(y, -v, i)],
            )

        return for_loop(0, n, [zeros((n,))], trip)

    f = built(signs, (n,))
    assert reasons(f) == []
    assert names_of(lowered(f)).count("alloc") == 1
    assert_all_forms_agree(f, numbers(8), compiled=True)
    assert_linear(f, lambda size: (numbers(size),))


def test_an_update_in_one_arm_only():
    def clipped(x):
        def trip(i, y):
            v = ops.index(y, i)
            return branch(v > 0.5, lambda: [ops.update(y, constant(0.5), i)], lambda: [y])

        return for_loop(0, n, [x * 1.0 + 0.1], trip)

    f = built(clipped, (n,))
    assert reasons(f) == []
    assert_all_forms_agree(f, numbers(8))


def test_an_inner_loop_reads_the_array_that_the_outer_one_carries():
    def sums(x):
        def outer(i, y):
            (total,) = for_loop(
                0, i, [constant(0.0)], lambda j, s: [s + ops.index(y, j) * ops.index(x, i)]
            )
            return [ops.update(y, tanh(total + 1.0), i)]

        return for_loop(0, n, [zeros((n,))], outer)

    f = built(sums, (n,))
    assert reasons(f) == []
    assert_all_forms_agree(f, numbers(7), compiled=True)


# --- while ----------------------------------------------------------------------------------


def test_newton_iteration():
    def root(a):
        def close(x, k):
            return REGISTRY["absolute"](x * x - a) > 1e-12

        return while_loop([a, int_(0)], close, lambda x, k: [(x + a / x) * 0.5, k + 1])

    f = built(root, ())
    x, trips = assert_all_forms_agree(f, np.float64(2.0), compiled=True)
    assert abs(x - 2**0.5) < 1e-12
    assert 3 < trips < 8


def test_a_while_loop_writes_in_place():
    def tripled(x):
        def more(k, y):
            return branch(
                greater(dim_value(n), k),
                lambda: [ops.index(y, k) < 5.0],
                lambda: [constant(False)],
            )[0]

        def trip(k, y):
            return k + 1, ops.update(y, ops.index(y, k) * 3.0, k)

        return while_loop([int_(0), x], more, trip)

    f = built(tripled, (n,))
    assert reasons(f) == [("a loop carries an argument", 0)]
    assert_all_forms_agree(f, np.array([1.0, -2.0, 3.0, 9.0, 1.0]), compiled=True)
    assert_linear(f, lambda size: (np.zeros(size),))


def test_a_while_loop_that_swaps():
    def steps(x):
        def trip(k, a, b):
            b = ops.update(b, ops.index(a, int_(0)) * 2.0, int_(0))
            return k + 1, b, a

        return while_loop(
            [int_(0), x * 1.0, x * 3.0], lambda k, a, b: ops.index(a, int_(0)) < 20.0, trip
        )

    f = built(steps, (n,))
    assert reasons(f) == []
    assert_all_forms_agree(f, np.array([1.5, 0.0]), compiled=True)


# --- arrays within regions ------------------------------------------------------------------


def test_rows_are_written_where_they_belong():
    def forward(start, moves):
        """alpha[t] = (alpha[t-1] @ moves) normalised: a hidden Markov model."""
        alpha = ops.update(zeros((n, m)), start, int_(0))

        def trip(t, alpha):
            row = ops.dot(ops.index(alpha, t - 1), moves)
            total = ops.sum(row, axes=(0,))
            return [ops.update(alpha, row / total, t)]

        return for_loop(1, n, [alpha], trip)

    def sized(start, moves, x):
        return forward(start, moves)

    f = built(sized, (m,), (m, m), (n,))
    assert reasons(f) == []
    given = np.abs(numbers(3)), np.abs(numbers(3, 3)), numbers(6)
    assert_all_forms_agree(f, *given, compiled=True)
    assert "np.empty" not in body_of_loop(f)


def test_a_row_made_of_elements_goes_straight_to_its_place():
    def table(x):
        def trip(i, a):
            return [ops.update(a, exp(x * ops.index(x, i)), i)]

        return for_loop(0, n, [zeros((n, n))], trip)

    f = built(table, (n,))
    assert names_of(lowered(f)).count("alloc") == 1
    assert_all_forms_agree(f, numbers(4))


def test_writes_at_arrays_of_indices_keep_their_order():
    def scatter(x, where):
        def trip(i, y):
            y = ops.update(y, x * 2.0, where)
            return [ops.accumulate(y, x, where)]

        return for_loop(0, 3, [full((n,), 1.5)], trip)

    f = built(scatter, (n,), ArrayType(i64, (n,)))
    assert reasons(f) == []
    assert_all_forms_agree(f, numbers(5), np.array([0, 4, 0, -1, 2]))


def test_an_array_written_with_its_own_elements_is_copied():
    def turned(x, where):
        y = x * 2.0
        return ops.update(y, y, where)

    f = built(turned, (n,), ArrayType(i64, (n,)))
    assert [reason for reason, _ in reasons(f)] == ["it is written with its own elements"]
    assert_all_forms_agree(f, numbers(4), np.array([1, 2, 3, 0]))


def test_whole_array_operations_around_loops_are_scheduled():
    def loss(x, w):
        z = tanh(x * w)
        (y,) = for_loop(1, n, [z], lambda i, y: [ops.accumulate(y, ops.index(y, i - 1) * 0.5, i)])
        return ops.sum(y * y + z, axes=(0,))

    f = built(loss, (n,), (n,))
    assert [depth for _, depth in reasons(f)] == [0]
    assert_all_forms_agree(f, numbers(5), numbers(5, seed=1), compiled=True)


def test_a_choice_within_loops_within_a_choice_without_trips():
    def nest(x, c):
        def inner(i, y):
            def writes():
                return for_loop(0, i, [y], lambda j, y: [ops.accumulate(y, constant(1.0), j)])

            return branch(ops.index(x, i) > 0.0, writes, lambda: [y])

        def loops():
            return for_loop(0, n, [x * 1.0], inner)

        return branch(c > 0.0, loops, lambda: [x * 2.0])

    f = built(nest, (n,), ())
    for size in (0, 1, 5):
        assert_all_forms_agree(f, numbers(size), 1.0)
    assert_all_forms_agree(f, numbers(3), -1.0)


def test_static_reads_of_a_carried_array():
    def first(x):
        def trip(i, y):
            return [ops.update(y, ops.sum(slice_(y, 0, 0, 2), axes=(0,)) + at(y, 0, 1), i)]

        return for_loop(0, n, [x * 1.0], trip)

    f = built(first, (n,))
    assert reasons(f) == []
    assert_all_forms_agree(f, numbers(5), compiled=True)


# --- order: what reads memory comes before what writes it -----------------------------------


def test_an_array_made_of_one_that_is_written_next():
    def before(x, w):
        y = x * 2.0
        z = tanh(y)
        (y,) = for_loop(0, n, [y], lambda i, y: [ops.update(y, ops.index(z, i), i)])
        u = y + 1.0
        y = ops.update(y, constant(3.0), int_(0))
        return ops.sum(y, axes=(0,)), u * w

    f = built(before, (n,), (n,))
    assert reasons(f) == []
    assert_all_forms_agree(f, numbers(4), numbers(4, seed=1), compiled=True)


def test_an_element_read_before_its_buffer_changes_under_another_name():
    def element(x, c):
        a, b = x * 2.0, x * 3.0
        first = at(a, 0, 0) + ops.index(a, int_(1)) * c
        (z,) = branch(c > 0.0, lambda: [a], lambda: [b])
        z = ops.update(z, constant(7.0), int_(1))
        a, b = x * 4.0, z

        def trip(i, a, b):
            return ops.update(b, ops.index(a, i) + 1.0, i), a

        second = ops.index(a, int_(1))
        third = ops.index(b, int_(1))
        a, b = for_loop(0, n, [a, b], trip)
        return a, b, first, second * c, third * 2.0

    f = built(element, (n,), ())
    assert reasons(f) == []
    for c in (-1.0, 1.0):
        assert_all_forms_agree(f, numbers(3), c, compiled=c > 0)


def test_a_row_made_of_itself_has_a_buffer_between():
    def turned(a):
        def trip(i, a):
            row = ops.index(a, i)
            back = REGISTRY["view"](row, shape=(m,), map=((0, m - 1, -1),))
            a = ops.update(a, back + row, i)
            above = ops.index(a, REGISTRY["remainder"](i + 1, dim_value(n)))
            mirrored = REGISTRY["view"](above, shape=(m,), map=((0, m - 1, -1),))
            return [ops.update(a, mirrored, i)]

        return for_loop(0, n, [a * 1.0], trip)

    f = built(turned, (n, m))
    assert reasons(f) == []
    assert_all_forms_agree(f, numbers(3, 4), compiled=True)
    assert_all_forms_agree(f, numbers(1, 3))


def test_a_written_row_is_read_by_a_loop_before_it_changes():
    def rows(a):
        def trip(i, a, total):
            row = ops.index(a, i)
            (s,) = for_loop(0, m, [constant(0.0)], lambda j, s: [s + ops.index(row, j)])
            a = ops.update(a, row * s, i)
            return a, total + s

        return for_loop(0, n, [a * 1.0, constant(0.0)], trip)

    f = built(rows, (n, m))
    assert reasons(f) == []
    assert_all_forms_agree(f, numbers(3, 4), compiled=True)


def test_a_slice_is_written_without_an_array_of_indices():
    def smoothed(x):
        def trip(i, u):
            inner = (slice_(u, 0, 0, n - 2) + slice_(u, 0, 2, n)) * 0.5
            u = ops.update(u, inner, ops.iota(size=n - 2, dtype=i64) + 1)
            return [ops.accumulate(u, inner, dim_value(n) - 1 - ops.iota(size=n - 2, dtype=i64))]

        return for_loop(0, 3, [x * 1.0], trip)

    def even(x):
        return for_loop(
            0, 2, [x * 1.0], lambda i, u: [ops.update(u, x, ops.iota(size=n, dtype=i64) * 2 - 2)]
        )

    f = built(smoothed, (n,))
    assert_all_forms_agree(f, numbers(7), compiled=True)
    assert reasons(f) == []
    f = built(even, (n,))
    assert "check_index" in names_of(lowered(f))
    assert_all_forms_agree(f, numbers(2))
    with pytest.raises(IndexError):
        executed(f, numbers(4))
    f = built(lambda x: [ops.update(x * 1.0, x, ops.iota(size=n, dtype=i64))], (n,))
    assert "check_index" not in names_of(lowered(f))


def test_a_block_is_written_at_a_grid_of_indices():
    def block(a, b):
        rows = ops.iota(size=2, dtype=i64)
        grid = [
            REGISTRY["view"](rows + 1, shape=(2, 2), map=((0, 0, 1),)),
            REGISTRY["view"](rows, shape=(2, 2), map=((1, 1, -1),)),
        ]
        return for_loop(0, 2, [a * 1.0], lambda i, a: [ops.accumulate(a, b, *grid)])

    f = built(block, (n, n), (2, 2))
    assert_all_forms_agree(f, numbers(4, 4), numbers(2, 2), compiled=True)
