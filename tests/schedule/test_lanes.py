"""Loops over index arrays in blocks: every size, errors, and where they stay as they are."""

import random

import numpy as np
import pytest

from tests.ops.building import built
from tests.schedule.region_programs import assert_all_forms_agree, executed, lowered, numbers
from tracegrad import ops
from tracegrad.ir.types import ArrayType, f64, i64, scalar, symbol
from tracegrad.ops.access import zeros
from tracegrad.ops.control import branch, for_loop
from tracegrad.ops.registry import REGISTRY, constant
from tracegrad.transforms.vjp import gradient

n, m, k = symbol("n"), symbol("m"), symbol("k")
PLACES = ArrayType(i64, (n,))
sin, exp, tanh, greater = (REGISTRY[name] for name in ("sin", "exp", "tanh", "greater"))


def at(x, *indices):
    return ops.index(x, *[constant(i, i64) if isinstance(i, int) else i for i in indices])


def zero():
    return constant(0.0)


def places(size, count, seed=0):
    return np.random.default_rng(seed).integers(-count, count, size)


def in_lanes(function):
    kinds = [op.attributes.get("kind") for op in lowered(function).walk() if op.name == "for"]
    return kinds.count("lanes")


def work(v):
    """Enough to do for a number."""
    return exp(sin(v) * 0.3) * tanh(v) + sin(v * v)


def gathered(x, where, lo=0):
    def trip(i, s, t, bins):
        p = at(where, i)
        v = work(at(x, p))
        return s + v, t - v * v, ops.accumulate(bins, v, p)

    return for_loop(lo, n, [zero(), constant(1.0), zeros((m,))], trip)


@pytest.mark.parametrize("size", [0, 1, 127, 128, 129, 300])
def test_every_size(size):
    f = built(gathered, (m,), PLACES)
    assert in_lanes(f) == 1
    assert_all_forms_agree(f, numbers(5), places(size, 5), compiled=size in (0, 129))


@pytest.mark.parametrize("trips", [0, 3, 200])
def test_a_loop_that_begins_later(trips):
    f = built(lambda x, where: gathered(x, where, lo=2), (m,), PLACES)
    assert in_lanes(f) == 1
    assert_all_forms_agree(f, numbers(4), places(trips, 4))
    given = built(lambda x, where, lo: gathered(x, where, lo=lo), (m,), PLACES, scalar(i64))
    assert_all_forms_agree(given, numbers(4), places(trips, 4), np.int64(trips // 2))


@pytest.mark.parametrize(("size", "wrong"), [(1, 0), (130, 129), (130, 3)])
def test_a_position_out_of_range_is_an_error(size, wrong):
    f = built(gathered, (m,), PLACES)
    for value in (4, -5):
        where = places(size, 4)
        where[wrong] = value
        with pytest.raises(IndexError):
            executed(f, numbers(4), where)


def test_writes_keep_their_order():
    def program(x, where):
        def trip(i, y, z):
            p = at(where, i)
            v = work(at(x, i))
            z = ops.update(z, v * 2.0, p)
            return ops.update(y, v, p), ops.accumulate(z, work(v), constant(0, i64))

        return for_loop(0, n, [zeros((4,)), zeros((4,))], trip)

    f = built(program, (n,), PLACES)
    assert in_lanes(f) == 1
    assert_all_forms_agree(f, numbers(200), places(200, 4))


def test_indices_sizes_and_what_is_the_same_in_each_trip():
    def program(x, where, w):
        def trip(i, s):
            p = at(where, i)
            float_ = ops.cast(i, dtype=f64) * at(w, 1)
            near = at(x, ops.floor_divide(p + 1, constant(2, i64)))
            v = work(at(x, p) * float_) + work(near) * ops.cast(p, dtype=f64)
            return [s + v * work(at(w, 0))]

        return for_loop(0, n, [zero()], trip)

    f = built(program, (m,), PLACES, (k,))
    assert in_lanes(f) == 1
    assert_all_forms_agree(f, numbers(9), np.abs(places(140, 8)), numbers(2), compiled=True)


def test_branches_that_only_compute():
    def program(x, where):
        def trip(i, s, bins):
            p = at(where, i)
            v = at(x, p)
            small = greater(0.5, v)
            u, v = branch(small, lambda: [work(v), v], lambda: [v * 3.0, work(v * v)])
            return s + u * v, ops.accumulate(bins, v, p)

        return for_loop(0, n, [zero(), zeros((m,))], trip)

    f = built(program, (m,), PLACES)
    assert in_lanes(f) == 1
    assert_all_forms_agree(f, numbers(6), places(150, 6), compiled=True)


def test_an_inner_loop_and_its_buffers():
    def program(x, where):
        def outer(j, s, bins):
            def trip(i, s, bins):
                v = work(at(x, at(where, i)) * ops.cast(j, dtype=f64))
                return s + v, ops.accumulate(bins, v, at(where, i))

            return for_loop(0, n, [s, bins], trip)

        return for_loop(0, 3, [zero(), zeros((m,))], outer)

    f = built(program, (m,), PLACES)
    loops = lowered(f)
    assert in_lanes(f) == 1
    made = [op for op in loops.walk() if op.name == "alloc"]
    assert all(op in loops.body.ops for op in made)
    assert_all_forms_agree(f, numbers(5), places(140, 5), compiled=True)


def test_the_gradient_of_a_sum_over_places():
    def program(x, w, where):
        def trip(i, s):
            return [s + work(at(x, at(where, i)) * at(w, i))]

        return for_loop(0, n, [zero()], trip)

    f = gradient(built(program, (m,), (n,), PLACES), [0, 1])
    assert in_lanes(f) == 1
    assert_all_forms_agree(f, numbers(7), numbers(300), places(300, 7), compiled=True)


# --- as it was ----------------------------------------------------------------------------------


def test_little_work_is_not_worth_it():
    def program(x, where):
        return for_loop(0, n, [zero()], lambda i, s: [s + at(x, at(where, i)) * 2.0])

    assert in_lanes(built(program, (m,), PLACES)) == 0


def test_a_loop_without_index_arrays_is_left_to_the_compiler():
    assert (
        in_lanes(built(lambda x: for_loop(0, n, [zero()], lambda i, s: [s + work(at(x, i))]), (n,)))
        == 0
    )


def test_few_trips_are_not_worth_it():
    f = built(gathered, (m,), PLACES)
    f.hints.update({"n": 20})
    assert in_lanes(f) == 0
    f.hints.update({"n": 200})
    assert in_lanes(f) == 1


@pytest.mark.parametrize(
    "trip",
    [
        # It reads what it writes.
        lambda i, s, bins, x, p: (s, ops.accumulate(bins, work(at(bins, p)), i)),
        lambda i, s, bins, x, p: (s + at(bins, p), ops.accumulate(bins, work(at(x, p)), p)),
        # It carries more than a sum.
        lambda i, s, bins, x, p: (work(s + at(x, p)), bins),
        lambda i, s, bins, x, p: (s + work(at(x, p) * s), bins),
        lambda i, s, bins, x, p: (s + work(at(x, p)), ops.accumulate(bins, s, p)),
        # It reads in an arm.
        lambda i, s, bins, x, p: (
            s + branch(greater(0.0, at(x, i)), lambda: [work(at(x, p))], lambda: [zero()])[0],
            bins,
        ),
        # A function of which there is no vector form.
        lambda i, s, bins, x, p: (s + REGISTRY["cbrt"](work(at(x, p)) + 3.0), bins),
    ],
)
def test_what_must_stay_in_order(trip):
    def program(x, where):
        def body(i, s, bins):
            return trip(i, s, bins, x, at(where, i))

        return for_loop(0, n, [zero(), zeros((n,))], body)

    f = built(program, (n,), PLACES)
    assert in_lanes(f) == 0
    assert_all_forms_agree(f, numbers(140), places(140, 140))


def test_another_error_stays_where_it_is():
    def program(x, where):
        def trip(i, s):
            def refused():
                REGISTRY["raise"](kind="ValueError", message="negative")
                return []

            branch(greater(0.0, at(x, i)), refused, list)
            return [s + work(at(x, at(where, i)))]

        return for_loop(0, n, [zero()], trip)

    f = built(program, (n,), PLACES)
    kinds = [op.attributes.get("kind") for op in lowered(f).walk() if op.name == "for"]
    assert kinds[1:] == ["in turn", "lanes"]
    with pytest.raises(ValueError, match="negative"):
        executed(f, np.array([1.0, -1.0, 1.0]), np.array([0, 0, 9]))


# --- random bodies ------------------------------------------------------------------------------


def random_body(seed):
    draw = random.Random(seed)

    def program(x, w, where, there):
        def trip(i, s, t, bins, rows):
            ints = [i, at(where, i), at(there, i)]
            ints.append(at(there, ops.remainder(ints[1], constant(3, i64))))
            floats = [at(x, ints[1]), at(w, i), constant(0.5), ops.cast(ints[2], dtype=f64)]
            for _ in range(draw.randint(4, 12)):
                one, other = draw.choice(floats), draw.choice(floats)
                kind = draw.randrange(6)
                if kind == 0:
                    new = at(x, draw.choice(ints[1:]))
                elif kind == 1:
                    new = one * other
                elif kind == 2:
                    test = greater(one, other)
                    arms = (lambda a=one: [tanh(a)]), (lambda a=other: [a * 0.5])
                    (new,) = branch(test, *arms)
                else:
                    new = draw.choice([sin, tanh, work])(one) + other * 0.1
                floats.append(new)
            for _ in range(draw.randint(0, 3)):
                place, v = draw.choice(ints[1:]), draw.choice(floats)
                kind = draw.randrange(4)
                if kind == 0:
                    bins = ops.update(bins, v, place)
                elif kind == 1:
                    rows = ops.accumulate(rows, v, draw.choice([place, i]))
                else:
                    bins = ops.accumulate(bins, v, place)
            return s + floats[-1], t - draw.choice(floats), bins, rows

        return for_loop(0, n, [zero(), zero(), zeros((m,)), zeros((n,))], trip)

    return built(program, (m,), (n,), PLACES, PLACES)


@pytest.mark.parametrize("seed", range(25))
def test_random_bodies(seed):
    f = random_body(seed)
    for size in (3, 131, 256):
        given = numbers(3), numbers(size, seed=1), places(size, 3), places(size, 3, seed=1)
        assert_all_forms_agree(f, *given)


def test_most_random_bodies_are_split():
    assert sum(in_lanes(random_body(seed)) for seed in range(25)) >= 10


# --- counting from zero -------------------------------------------------------------------------


def begins(function):
    """The first index of each innermost loop: a number, or None."""
    loops = [op for op in lowered(function).walk() if op.name == "for"]
    inner = [op for op in loops if not any(o.name == "for" for o in op.regions[0].walk())]
    firsts = [op.operands[0].op for op in inner]
    return [None if first is None else first.attributes.get("value") for first in firsts]


def triangle(body, start):
    def program(x):
        def outer(i, s):
            return for_loop(start(i), n, [s], lambda j, s: [body(i, j, s, x)])

        return for_loop(0, n, [zero()], outer)

    return built(program, (n,))


def test_an_inner_loop_counts_from_zero():
    f = triangle(lambda i, j, s, x: s + at(x, i) * at(x, j), lambda i: i + 1)
    assert begins(f) == [0]
    for size in (0, 1, 2, 9):
        assert_all_forms_agree(f, numbers(size), compiled=size == 9)
    f = triangle(lambda i, j, s, x: s - at(x, j - 1), lambda i: i + 2)
    assert begins(f) == [0]
    assert_all_forms_agree(f, numbers(6))


@pytest.mark.parametrize(
    ("body", "start"),
    [
        (lambda i, j, s, x: tanh(s + at(x, j)), lambda i: i),  # one trip after the other
        (lambda i, j, s, x: s + at(x, i), lambda i: i),  # the index is no position
        (lambda i, j, s, x: s + at(x, j), lambda i: constant(1, i64)),
    ],
)
def test_other_loops_keep_their_index(body, start):
    f = triangle(body, start)
    assert begins(f) != [0]
    assert_all_forms_agree(f, numbers(5))


def in_rows(width):
    """Two places of each row of a table are computed from two of another's."""

    def program(x, y):
        def trip(i, table):
            v = work(at(x, i, 0)) + work(at(x, i, width - 1)) * at(y, i)
            table = ops.update(table, work(v), i, constant(1, i64))
            return [ops.update(table, v * v, i, constant(width - 1, i64))]

        return for_loop(0, n, [zeros((n, width))], trip)

    return built(program, (n, width), (n,))


@pytest.mark.parametrize("size", [0, 1, 129])
def test_rows_that_are_far_apart(size):
    f = in_rows(12)
    assert in_lanes(f) == 1
    assert_all_forms_agree(f, numbers(size, 12), numbers(size), compiled=size == 129)


def test_rows_that_are_near_stay_in_one_loop():
    assert in_lanes(in_rows(4)) == 0
