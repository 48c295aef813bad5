"""Loops with independent trips become statements on arrays, and others do not."""

import random

import numpy as np
import pytest

from tests.ops.building import built
from tests.schedule.region_programs import int_, numbers
from tracegrad import ops
from tracegrad.ir.core import Guard
from tracegrad.ir.interpreter import evaluate
from tracegrad.ir.types import ArrayType, i64, scalar, symbol
from tracegrad.ir.verifier import verify
from tracegrad.ops.constants import dim_value
from tracegrad.ops.control import branch, for_loop
from tracegrad.ops.registry import REGISTRY, constant
from tracegrad.passes.array_loops import open_loops
from tracegrad.transforms.vjp import vjp

n, m = symbol("n"), symbol("m")
sin, greater = REGISTRY["sin"], REGISTRY["greater"]


def loops(function):
    return [op.name for op in function.walk() if op.regions]


def assert_opened(make, *types, arguments, opened=True, least=0):
    """The function gives the same as before; whether its loops are gone."""
    f = built(make, *types)
    f.guards = (Guard(n, ">=", least),) if least else ()
    g = verify(open_loops(verify(f)))
    for given in arguments:
        for e, r in zip(evaluate(f, *given), evaluate(g, *given), strict=True):
            np.testing.assert_allclose(r, e, rtol=1e-12, atol=1e-12)
    assert (loops(g) == []) == opened
    return g


def vectors(*sizes, count=2):
    return [tuple(numbers(k, seed=j) for j in range(count)) for k in sizes]


# --- where trips are independent --------------------------------------------------------------


def test_a_stencil():
    def make(x, y):
        def trip(i, y):
            v = ops.index(x, i - 1) - 2.0 * ops.index(x, i) + ops.index(x, i + 1)
            return [ops.update(y, sin(v), i)]

        return for_loop(1, n - 1, [y], trip)

    g = assert_opened(make, (n,), (n,), arguments=vectors(0, 1, 2, 3, 9))
    assert "index" not in [op.name for op in g.walk()]


def test_the_whole_array_written_is_the_value():
    def make(x, y):
        return for_loop(0, n, [y], lambda i, y: [ops.update(y, ops.index(x, i) * 2.0, i)])

    g = assert_opened(make, (n,), (n,), arguments=vectors(0, 1, 5))
    assert [op.name for op in g.walk()] == ["const", "multiply"]


def test_backwards():
    def make(x, y):
        def trip(i, y):
            return [ops.update(y, ops.index(x, dim_value(n) - 1 - i) * 2.0, i)]

        return for_loop(n - 1, -1, [y], trip, step=-1)

    assert_opened(make, (n,), (n,), arguments=vectors(0, 1, 5))


def test_what_a_later_trip_writes_is_read_as_it_was():
    """``y[i] = y[i + 1]`` forwards, ``y[i] = y[i - 1]`` backwards."""

    def forwards(y):
        return for_loop(0, n - 1, [y], lambda i, y: [ops.update(y, ops.index(y, i + 1) * 2.0, i)])

    def backwards(y):
        def trip(i, y):
            return [ops.update(y, ops.index(y, i - 1) * 2.0, i)]

        return for_loop(n - 1, 0, [y], trip, step=-1)

    for make in (forwards, backwards):
        assert_opened(make, (n,), arguments=vectors(0, 1, 2, 6, count=1))


def test_what_the_trip_itself_wrote():
    def make(x, y):
        def trip(i, y):
            y = ops.update(y, ops.index(x, i), i)
            y = ops.update(y, ops.index(y, i) * ops.index(y, i + 1), i)
            return [ops.accumulate(y, ops.index(y, i), i)]

        return for_loop(0, n - 1, [y], trip)

    assert_opened(make, (n,), (n,), arguments=vectors(0, 1, 2, 7))


def test_even_places_are_read_and_odd_ones_written():
    def make(x, y):
        def trip(i, y):
            return [ops.update(y, ops.index(y, i * 2), i * 2 + 1)]

        return for_loop(0, n, [y], trip)

    given = [(numbers(k), numbers(2 * k, seed=1)) for k in (0, 1, 4)]
    assert_opened(make, (n,), (2 * n,), arguments=given)


def test_additions_to_neighbours():
    """The adjoint of a stencil, as one may write it by hand."""

    def make(x, y):
        def trip(i, y):
            y = ops.accumulate(y, ops.index(x, i), i)
            y = ops.accumulate(y, ops.index(x, i) * 2.0, i - 1)
            return [ops.accumulate(y, ops.index(x, i - 1) * 3.0, i + 1)]

        return for_loop(1, n - 1, [y], trip)

    assert_opened(make, (n,), (n,), arguments=vectors(0, 1, 2, 3, 8))


def test_sums():
    def make(x, y):
        def trip(i, total, less):
            t = sin(ops.index(x, i))
            return [total + t * ops.index(y, i) + 1.0, less - t]

        zero = constant(0.0)
        return for_loop(0, n, [zero, ops.sum(x, axes=(0,))], trip)

    assert_opened(make, (n,), (n,), arguments=vectors(0, 1, 5))


def test_two_vectors_and_a_sum():
    def make(x, y):
        def trip(i, y, z, total):
            t = ops.index(x, i) * ops.index(y, i)
            return [ops.update(y, t, i), ops.update(z, t + 1.0, i - 1), total + t]

        return for_loop(1, n, [y, x, constant(0.0)], trip)

    assert_opened(make, (n,), (n,), arguments=vectors(0, 1, 2, 5))


def test_the_index_as_a_number():
    def make(x, y):
        def trip(i, y):
            return [ops.update(y, ops.cast(i, dtype=y.dtype) * ops.index(x, i), i)]

        return for_loop(2, n, [y], trip)

    assert_opened(make, (n,), (n,), arguments=vectors(0, 1, 2, 3, 5))


def test_within_another_loop():
    def make(x, y):
        def step(t, x):
            def trip(i, y):
                return [ops.update(y, ops.index(x, i - 1) * ops.index(x, t), i)]

            return for_loop(1, n, [x], trip)

        return for_loop(0, n, [x], step)

    f = built(make, (n,), (n,))
    g = verify(open_loops(f))
    assert loops(f) == ["for", "for"]
    # That x[t] is in range where there is no inner trip is known from the outer loop.
    assert loops(g) == ["for"]
    for given in vectors(0, 1, 2, 5):
        np.testing.assert_allclose(evaluate(g, *given)[0], evaluate(f, *given)[0], rtol=1e-12)


def test_the_gradient_is_that_of_the_loop():
    def make(x, y):
        def trip(i, y, total):
            v = ops.index(x, i - 1) * ops.index(x, i) + ops.index(y, i + 1)
            return [ops.update(y, sin(v), i), total + v * v]

        return for_loop(1, n - 1, [y, constant(0.0)], trip)

    f = built(make, (n,), (n,))
    one, other = vjp(f, [0, 1]), vjp(open_loops(f), [0, 1])
    for k in (0, 1, 2, 3, 8):
        given = (*vectors(k)[0], numbers(k, seed=7), np.float64(0.7))
        for e, r in zip(evaluate(one, *given), evaluate(other, *given), strict=True):
            np.testing.assert_allclose(r, e, rtol=1e-12, atol=1e-12)


# --- where they are not -----------------------------------------------------------------------


def kept(make, *types, arguments=()):
    return assert_opened(make, *types, arguments=arguments, opened=False)


def test_a_recurrence_stays_a_loop():
    def make(y):
        return for_loop(1, n, [y], lambda i, y: [ops.update(y, sin(ops.index(y, i - 1)), i)])

    kept(make, (n,), arguments=vectors(1, 5, count=1))


def test_a_recurrence_backwards_stays_a_loop():
    def make(y):
        def trip(i, y):
            return [ops.update(y, sin(ops.index(y, i + 1)), i)]

        return for_loop(n - 2, -1, [y], trip, step=-1)

    kept(make, (n,), arguments=vectors(1, 5, count=1))


def test_what_another_trip_overwrites_stays_a_loop():
    def make(x, y):
        def trip(i, y):
            return [ops.update(ops.update(y, ops.index(x, i), i), ops.index(x, i - 1), i - 1)]

        return for_loop(1, n, [y], trip)

    kept(make, (n,), (n,), arguments=vectors(1, 5))


def test_additions_that_another_trip_overwrites_stay_a_loop():
    def make(x, y):
        def trip(i, y):
            return [ops.accumulate(ops.update(y, ops.index(x, i), i), ops.index(x, i), i - 1)]

        return for_loop(1, n, [y], trip)

    kept(make, (n,), (n,), arguments=vectors(1, 5))


def test_mirrored_places_stay_a_loop():
    def make(y):
        def trip(i, y):
            return [ops.update(y, ops.index(y, dim_value(n) - 1 - i) * 2.0, i)]

        return for_loop(0, n, [y], trip)

    kept(make, (n,), arguments=vectors(1, 5, count=1))


def test_places_that_may_be_out_of_range_stay_a_loop():
    def make(x, y):
        return for_loop(0, n, [y], lambda i, y: [ops.update(y, ops.index(x, i + 1), i)])

    kept(make, (n,), (n,))


def test_places_that_count_from_the_end_stay_a_loop():
    def make(x, y):
        return for_loop(0, n, [y], lambda i, y: [ops.update(y, ops.index(x, i - 1), i)])

    kept(make, (n,), (n,), arguments=vectors(1, 5))


def test_places_from_data_stay_a_loop():
    def make(x, y, i0):
        def trip(i, y):
            return [ops.accumulate(y, ops.index(x, i), ops.index(i0, i))]

        return for_loop(0, n, [y], trip)

    kept(make, (n,), (n,), ArrayType(i64, (n,)))


def test_a_read_that_only_a_trip_makes_safe_stays_a_loop():
    """``x[0]`` within a loop that may have no trip: nothing may be read then."""

    def make(x, y):
        def trip(i, y):
            return [ops.update(y, ops.index(x, int_(0)) * ops.index(x, i), i)]

        return for_loop(0, n, [y], trip)

    kept(make, (n,), (n,), arguments=vectors(0, 3))
    assert_opened(make, (n,), (n,), arguments=vectors(1, 3), least=1)


def test_one_place_for_all_trips_stays_a_loop():
    def make(x, y):
        return for_loop(0, n, [y], lambda i, y: [ops.update(y, ops.index(x, i), int_(0))])

    kept(make, (n,), (n,), arguments=vectors(1, 4))


def test_a_number_that_is_no_sum_stays_a_loop():
    def make(x, y):
        def trip(i, y, last):
            return [ops.update(y, last, i), ops.index(x, i)]

        return for_loop(0, n, [y, constant(0.0)], trip)

    kept(make, (n,), (n,), arguments=vectors(1, 4))


@pytest.mark.parametrize("form", ["read", "product", "twice", "swapped"])
def test_a_sum_that_is_read_on_its_way_stays_a_loop(form):
    def make(x, y):
        def trip(i, y, total):
            t = ops.index(x, i)
            after = {
                "read": lambda: total + t,
                "product": lambda: total * t,
                "twice": lambda: total + total,
                "swapped": lambda: t - total,
            }[form]()
            return [ops.update(y, total if form == "read" else t, i), after]

        return for_loop(0, n, [y, constant(1.0)], trip)

    kept(make, (n,), (n,), arguments=vectors(1, 4))


def test_exchanged_vectors_stay_a_loop():
    def make(x, y):
        def trip(i, x, y):
            return [y, ops.update(x, ops.index(y, i), i)]

        return for_loop(0, n, [x, y], trip)

    kept(make, (n,), (n,), arguments=vectors(1, 4))


def test_a_version_in_the_middle_yielded_stays_a_loop():
    def make(x, y):
        def trip(i, y):
            ops.update(y, ops.index(x, i), i)
            return [y]

        return for_loop(0, n, [y], trip)

    f = built(make, (n,), (n,))
    for given in vectors(0, 3):
        np.testing.assert_array_equal(evaluate(open_loops(f), *given)[0], evaluate(f, *given)[0])


def test_arms_stay_loops():
    def arm(x, y):
        def trip(i, y):
            v = ops.index(x, i)
            return [ops.update(y, branch(greater(v, 0.0), lambda: [v], lambda: [-v])[0], i)]

        return for_loop(0, n, [y], trip)

    kept(arm, (n,), (n,), arguments=vectors(1, 4))


def test_the_inner_loop_of_a_triangle_stays_a_loop():
    def make(x, y):
        def outer(i, y):
            return for_loop(0, i, [y], lambda j, y: [ops.accumulate(y, ops.index(x, j), j)])

        return for_loop(0, n, [y], outer)

    kept(make, (n,), (n,), arguments=vectors(1, 4))


def test_steps_of_two_and_few_trips_stay_loops():
    def two(x, y):
        return for_loop(0, n, [y], lambda i, y: [ops.update(y, ops.index(x, i), i)], step=2)

    def few(x, y):
        return for_loop(0, 4, [y], lambda i, y: [ops.update(y, ops.index(x, i), i)])

    kept(two, (n,), (n,), arguments=vectors(1, 4))
    kept(few, (4,), (4,), arguments=vectors(4))


def test_a_bound_that_is_no_size_stays_a_loop():
    def make(x, y, k):
        return for_loop(int_(0), k, [y], lambda i, y: [ops.update(y, ops.index(x, i), i)])

    kept(make, (n,), (n,), scalar(i64), arguments=[(*vectors(4)[0], np.int64(3))])


# --- random loops -----------------------------------------------------------------------------


def random_loop(seed):
    """A loop over up to three vectors at places around its index, with up to two sums."""
    draw = random.Random(seed)
    lo, cut = draw.choice([0, 1, 2, 3]), draw.choice([0, 1, 2, 3])
    step = draw.choice([1, 1, -1])
    factor = draw.choice([1, 1, 1, 2])

    def make(w, x, y, z):
        def place(i):
            return i * factor + draw.randint(-lo * factor, cut)

        def trip(i, y, z, *sums):
            y, z, sums = [y], [z], list(sums)
            pool = [ops.index(x, place(i))]
            for _ in range(draw.randint(1, 5)):
                kind = draw.choice(["read", "read", "write", "write", "add", "sum", "mix"])
                array = draw.choice([y, z])
                if kind == "read":
                    source = draw.choice([x, array[-1], array[-1], array[0]])
                    pool.append(ops.index(source, place(i)))
                elif kind in ("write", "add"):
                    write = ops.update if kind == "write" else ops.accumulate
                    array.append(write(array[-1], pool[-1] * 0.5, place(i)))
                elif kind == "sum":
                    k = draw.randrange(len(sums))
                    term = draw.choice(pool)
                    sums[k] = sums[k] + term if draw.random() < 0.7 else sums[k] - term
                else:
                    pool.append(sin(draw.choice(pool) + draw.choice(pool)))
            return [y[-1], z[-1], *sums]

        first, last = (lo, n - cut) if step == 1 else (n - cut - 1, lo - 1)
        zero = constant(0.25)
        return for_loop(first, last, [y, z, zero, zero], trip, step=step)

    def arguments(k):
        room = k * factor + 3 * factor
        return [numbers(k), *(numbers(room, seed=j) for j in (1, 2, 3))]

    size = n * factor + 3 * factor
    return make, [(n,), *[(size,)] * 3], arguments


def test_random_loops():
    opened = 0
    for seed in range(400):
        make, types, given = random_loop(seed)
        f = verify(built(make, *types))
        g = verify(open_loops(f))
        opened += not loops(g)
        if loops(g):
            continue
        for k in (0, 1, 3, 6, 9):
            for e, r in zip(evaluate(f, *given(k)), evaluate(g, *given(k)), strict=True):
                np.testing.assert_allclose(r, e, rtol=1e-12, atol=1e-12, err_msg=str(seed))
    assert opened > 60
