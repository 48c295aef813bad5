"""Several arrays carried through loops and branches: swaps, choices, and the copies they take."""

from tests.ops.building import built, names_of
from tests.schedule.region_programs import (
    assert_all_forms_agree,
    assert_linear,
    body_of_loop,
    int_,
    lowered,
    m,
    n,
    numbers,
    reasons,
)
from tracegrad import ops
from tracegrad.ir.types import i64
from tracegrad.ops.access import slice_, zeros
from tracegrad.ops.control import branch, for_loop
from tracegrad.ops.registry import REGISTRY, constant


def test_a_swap_exchanges_buffers():
    def ping_pong(x):
        def trip(i, a, b):
            k = REGISTRY["remainder"](i, 3)
            b = ops.update(b, ops.index(a, k) * 0.5 + 1.0, k)
            return b, a

        return for_loop(0, 5 * n, [x * 1.0, x * 2.0], trip)

    f = built(ping_pong, (n,))
    assert reasons(f) == []
    assert_all_forms_agree(f, numbers(3), compiled=True)
    assert_all_forms_agree(f, numbers(4))
    assert_linear(f, lambda size: (numbers(size),))
    assert "np.empty" not in body_of_loop(f)


def test_what_reads_an_array_that_a_loop_writes_over_comes_before():
    def function(x, c):
        z = c * 0.5
        a = z * ops.cos(x)  # waits for another value than the loop does
        (w,) = for_loop(0, 3, [z], lambda i, z: (z * 0.5,))
        return a, w

    f = built(function, (n,), (n,))
    assert_all_forms_agree(f, numbers(4), numbers(4, seed=1), compiled=True)


def test_what_reads_an_array_that_an_arm_writes_to_comes_before():
    def function(x, c):
        z = c * 0.5
        a = z * ops.cos(x)
        (w,) = branch(
            ops.index(x, int_(0)) > 0.0,
            lambda: [ops.update(z, constant(7.0), int_(1))],
            lambda: [z],
        )
        return a, w

    f = built(function, (n,), (n,))
    assert_all_forms_agree(f, numbers(4), numbers(4, seed=1))
    assert_all_forms_agree(f, -numbers(4), numbers(4, seed=1))


def test_rotating_three_arrays_costs_nothing():
    def rotate(x):
        def trip(i, a, b, c):
            c = ops.update(c, ops.index(a, int_(0)) - ops.index(b, int_(1)), int_(1))
            return b, c, a

        return for_loop(0, n, [x * 1.0, x * 2.0, x * 3.0], trip)

    f = built(rotate, (n,))
    assert reasons(f) == []
    for size in (2, 3, 4):
        assert_all_forms_agree(f, numbers(size))
    assert_linear(f, lambda size: (numbers(size),))


def test_a_swap_in_one_arm():
    def sometimes(x):
        def trip(i, a, b):
            a, b = branch(ops.index(x, i) > 0.0, lambda: (b, a), lambda: (a, b))
            return ops.update(a, ops.index(b, i) + 1.0, i), b

        return for_loop(0, n, [x * 1.0, x * 2.0], trip)

    f = built(sometimes, (n,))
    assert reasons(f) == []
    assert_all_forms_agree(f, numbers(9), compiled=True)
    assert_linear(f, lambda size: (numbers(size),))


def test_one_array_carried_twice_is_copied_once():
    def twice(x):
        y = x * 2.0

        def trip(i, a, b):
            return ops.update(a, ops.index(b, i), 0 * i), ops.update(b, ops.index(a, i) + 1.0, i)

        return for_loop(0, n, [y, y], trip)

    f = built(twice, (n,))
    assert reasons(f) == [("a loop carries one array twice", 0)]
    assert_all_forms_agree(f, numbers(5))


def test_zeros_are_made_once_for_each_that_is_written():
    def two(x):
        nothing = zeros((n,))

        def trip(i, a, b):
            return ops.update(a, ops.index(x, i), i), ops.update(b, ops.index(a, 0 * i), i)

        return (*for_loop(0, n, [nothing, nothing], trip), nothing)

    f = built(two, (n,))
    assert reasons(f) == []
    assert names_of(lowered(f)).count("alloc") == 3
    assert_all_forms_agree(f, numbers(5))


def test_both_carries_yielded_from_one_array():
    def merged(x):
        def trip(i, a, b):
            a = ops.update(a, ops.index(b, i) + 1.0, i)
            return a, a

        return for_loop(0, n, [x * 1.0, x * 2.0], trip)

    f = built(merged, (n,))
    assert reasons(f) == [("a loop goes on with one array under two names", 1)]
    assert_all_forms_agree(f, numbers(5))


def test_a_choice_of_arrays_then_a_write():
    def chosen(x, c):
        a, b = x * 2.0, x * 3.0
        (z,) = branch(c > 0.0, lambda: [a], lambda: [b])
        return ops.update(z, constant(7.0), int_(0))

    f = built(chosen, (n,), ())
    assert reasons(f) == []
    for c in (-1.0, 1.0):
        assert_all_forms_agree(f, numbers(3), c, compiled=c > 0)


def test_a_choice_of_arrays_that_are_read_later():
    def chosen(x, c):
        a, b = x * 2.0, x * 3.0
        (z,) = branch(c > 0.0, lambda: [a], lambda: [b])
        z = ops.update(z, constant(7.0), int_(0))
        return z, a

    f = built(chosen, (n,), ())
    assert reasons(f) == [("the old version is read afterwards", 0)]
    for c in (-1.0, 1.0):
        assert_all_forms_agree(f, numbers(3), c)


def test_a_choice_between_an_argument_and_an_array():
    def chosen(x, c):
        (z,) = branch(c > 0.0, lambda: [x], lambda: [x + 1.0])
        return ops.update(z, constant(7.0), int_(0))

    f = built(chosen, (n,), ())
    assert reasons(f) == [("an argument is written", 0)]
    for c in (-1.0, 1.0):
        assert_all_forms_agree(f, numbers(3), c)


def test_a_loop_that_goes_on_with_an_array_from_outside():
    def reset(x):
        start = x * 2.0

        def trip(i, y):
            y = ops.update(y, ops.index(y, i) + 5.0, i)
            return branch(ops.index(y, i) > 5.0, lambda: [start], lambda: [y])

        return for_loop(0, n, [start], trip)[0], start

    f = built(reset, (n,))
    assert [depth for _, depth in reasons(f)] == [0, 1]
    assert_all_forms_agree(f, numbers(6))


def test_a_new_array_in_each_trip_takes_turns_with_the_old_one():
    def smooth(x):
        def trip(i, u):
            left, right = slice_(u, 0, 0, n - 2), slice_(u, 0, 2, n)
            inner = slice_(u, 0, 1, n - 1) * 0.5 + (left + right) * 0.25
            ends = [slice_(u, 0, 0, 1), inner, slice_(u, 0, n - 1, n)]
            return [ops.concatenate(*ends, axis=0)]

        return for_loop(0, m, [x], trip)

    f = built(lambda x, y: smooth(x), (n,), (m,))
    assert reasons(f) == [("a loop carries an argument", 0)]
    assert_all_forms_agree(f, numbers(8), numbers(5), compiled=True)
    assert "np.empty" not in body_of_loop(f)


def test_results_that_are_one_array_are_the_callers_own():
    def same(x):
        y = for_loop(0, n, [x], lambda i, y: [ops.update(y, constant(1.0), i)])[0]
        return y, y, x

    f = built(same, (n,))
    source_results = assert_all_forms_agree(f, numbers(3))
    assert len(source_results) == 3


# --- rows that several loops read -------------------------------------------------------------


def two_fields(place):
    """Two states in the rows of one table each; ``place`` is where a trip writes, and reads from.

    The write in between cuts the trip in two, and both parts read the row.
    """

    def f(x):
        v = ops.update(zeros((n + 1, m)), ops.index(x, int_(0)), int_(0))
        w = ops.update(zeros((n + 1, m)), ops.index(x, int_(1)), int_(0))

        def trip(t, v, w):
            to, since = place(t)
            a, b = ops.index(v, since), ops.index(w, since)
            flow = ops.accumulate(a * b, a * 0.5, ops.iota(size=m, dtype=i64))
            w = ops.update(w, b + 0.1 * a, to)
            return ops.update(v, a - 0.1 * flow + 0.2 * b, to), w

        return for_loop(0, n, [v, w], trip)

    return built(f, (n, m))


def scratch(function):
    """The arrays with as many elements as a row that a function makes."""
    return [op for op in lowered(function).walk() if op.name == "alloc" and op.result.shape == (m,)]


def test_rows_are_read_in_place_by_each_loop():
    f = two_fields(lambda t: (t + 1, t))
    assert len(scratch(f)) == 1
    assert_all_forms_agree(f, numbers(5, 4), compiled=True)


def test_a_row_that_is_written_over_is_kept():
    for place in (lambda t: (t, t), lambda t: (int_(0), t), lambda t: (t + 1, int_(-1))):
        f = two_fields(place)
        assert_all_forms_agree(f, numbers(5, 4))
        assert_all_forms_agree(f, numbers(2, 3))
