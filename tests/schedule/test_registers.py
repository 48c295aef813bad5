"""Elements that loops carry: what is read, what is written, and where nothing may be carried."""

import itertools
import random

import numpy as np
import pytest

from tests.ops.building import built
from tests.schedule.region_programs import assert_all_forms_agree, lowered, numbers
from tracegrad import ops
from tracegrad.backend.emit import emit_loop_form
from tracegrad.ir.interpreter import evaluate
from tracegrad.ir.types import ArrayType, i64, scalar, symbol
from tracegrad.ops.access import zeros
from tracegrad.ops.control import branch, for_loop, raise_
from tracegrad.ops.registry import constant
from tracegrad.schedule.inplace import decide
from tracegrad.schedule.regions import _Regions
from tracegrad.schedule.registers import LONGEST, keep_in_registers

n, m = symbol("n"), symbol("m")


def in_loops(function, name):
    """How many operations of this name stand in loops of loop form."""
    loops = [op for op in lowered(function).walk() if op.name == "for"]
    found = {op for loop in loops for r in loop.regions for op in r.walk()}
    return sum(op.name == name for op in found)


def assert_same(function, *shapes):
    """Array form and loop form give the same, or both raise, for each list of shapes."""
    loops = lowered(function)
    for each in shapes:
        given = [numbers(*shape, seed=k) for k, shape in enumerate(each)]
        try:
            expected = evaluate(function, *given)
        except IndexError:
            with pytest.raises(IndexError):
                evaluate(loops, *given)
            continue
        for e, f in zip(expected, evaluate(loops, *given), strict=True):
            np.testing.assert_allclose(f, e, rtol=1e-12, atol=1e-12, err_msg=str(each))


def lengths(count=1, most=6):
    return [[(s,) for s in each] for each in itertools.product(range(most), repeat=count)]


def test_what_the_next_trip_reads_is_carried():
    def f(x, a):
        def trip(i, y):
            return [ops.update(y, ops.index(y, i - 1) * a + ops.index(y, i), i)]

        return for_loop(1, n, [x * 1.0], trip)

    f = built(f, (n,), ())
    source = emit_loop_form(lowered(f))
    assert "if 1 < n" in source, "y[0] is read before the loop only if there is a trip"
    assert_same(f, *[[s, ()] for (s,) in lengths()])
    assert_all_forms_agree(f, numbers(5), 0.5, compiled=True)
    loop = next(op for op in lowered(f).walk() if op.name == "for" and op.results)
    names = [op.name for op in loop.regions[0].ops]
    assert names.count("load") == 1
    assert names.count("store") == 1


def test_a_loop_that_runs_down_carries_too():
    def f(x):
        def trip(i, y):
            return [ops.update(y, ops.index(y, i + 1) * 0.5 + ops.index(y, i), i)]

        return for_loop(n - 2, -1, [x * 1.0], trip, step=-1)

    f = built(f, (n,))
    assert_same(f, *lengths())
    loop = next(op for op in lowered(f).walk() if op.name == "for" and op.results)
    assert len(loop.results) == 1


def test_two_trips_back():
    def f(x):
        def trip(i, y):
            v = ops.index(y, i - 2) - 0.5 * ops.index(y, i - 1)
            return [ops.update(y, v + ops.index(y, i), i)]

        return for_loop(2, n, [x * 1.0], trip)

    f = built(f, (n,))
    assert_same(f, *lengths(most=8))
    loop = next(op for op in lowered(f).walk() if op.name == "for" and op.results)
    assert len(loop.results) == 2


def test_what_is_added_ahead_is_stored_when_its_trip_comes():
    """The reverse of a recurrence: y[i + 1] gets its share, y[i] is read and cleared."""

    def f(x):
        def trip(i, y):
            v = ops.index(y, i)
            y = ops.update(y, constant(0.0), i)
            y = ops.accumulate(y, v * 0.5, i + 1)
            return [ops.accumulate(y, v * v, i)]

        return for_loop(0, n - 1, [x * 1.0], trip)

    f = built(f, (n,))
    assert_same(f, *lengths())
    loop = next(op for op in lowered(f).walk() if op.name == "for" and op.results)
    names = [op.name for op in loop.regions[0].ops]
    assert (names.count("load"), names.count("store"), names.count("add_store")) == (1, 1, 0)
    assert_all_forms_agree(f, numbers(5), compiled=True)


def test_an_element_that_every_trip_adds_to_is_written_once():
    def f(x, y):
        def trip(i, s):
            s = ops.accumulate(s, ops.index(x, i), constant(0, i64))
            return [ops.accumulate(s, ops.index(x, i) * 2.0, constant(1, i64))]

        return for_loop(0, n, [y * 1.0], trip)

    f = built(f, (n,), (2,))
    assert_same(f, *[[s, (2,)] for (s,) in lengths()])
    loop = next(op for op in lowered(f).walk() if op.name == "for" and op.results)
    assert len(loop.results) == 2
    assert "store" not in [op.name for op in loop.regions[0].ops]


def test_rows_of_a_product_add_up_in_a_register():
    def f(a, b):
        def row(i, c):
            def column(j, c):
                def inner(k, c):
                    return [ops.accumulate(c, ops.index(a, i, k) * ops.index(b, k, j), i, j)]

                return for_loop(0, n, [c], inner)

            return for_loop(0, m, [c], column)

        return for_loop(0, m, [zeros((m, m))], row)

    f = built(f, (m, n), (n, m))
    assert in_loops(f, "add_store") == 0
    assert_same(f, *[[(p, q), (q, p)] for p, q in itertools.product(range(4), repeat=2)])


def test_an_element_out_of_range_is_not_read_before_a_loop_without_trips():
    def f(x, y):
        def trip(i, s):
            return [ops.accumulate(s, ops.index(x, i), constant(1, i64))]

        return for_loop(0, n, [y * 1.0], trip)

    f = built(f, (n,), (m,))
    assert_same(f, *lengths(2, 4))


def test_arms_hand_on_what_they_hold():
    def f(x):
        def trip(i, y):
            v = ops.index(y, i - 1)
            return branch(
                v > 0.0,
                lambda: [ops.update(y, v * 0.5, i)],
                lambda: [ops.accumulate(y, v, i)],
            )

        return for_loop(1, n, [x * 1.0], trip)

    f = built(f, (n,))
    assert_same(f, *lengths())
    assert_all_forms_agree(f, numbers(9), compiled=True)
    loop = next(op for op in lowered(f).walk() if op.name == "for" and op.results)
    assert len(loop.results) == 1


def test_an_arm_that_stores_nothing():
    def f(x):
        def trip(i, y):
            v = ops.index(y, i - 1)
            return branch(v > 0.0, lambda: [ops.update(y, v * 0.5, i)], lambda: [y])

        return for_loop(1, n, [x * 1.0], trip)

    assert_same(built(f, (n,)), *lengths())


def test_an_arm_that_raises():
    def f(x):
        def trip(i, y):
            v = ops.index(y, i - 1)

            def stop():
                raise_(kind="ValueError", message="small")
                return [y]

            return branch(v > -9.0, lambda: [ops.update(y, v * 0.5, i)], stop)

        return for_loop(1, n, [x * 1.0], trip)

    f = built(f, (n,))
    assert_same(f, *lengths())
    with pytest.raises(ValueError, match="small"):
        evaluate(lowered(f), np.array([-10.0, 1.0]))


@pytest.mark.parametrize(
    "other",
    [
        lambda i, j: j,
        lambda i, j: i * 2,
        lambda i, j: j - i,
        lambda i, j: j + 1,
    ],
)
def test_places_that_may_meet_are_left_alone(other):
    """In the inner loop y[j] may be another name of the place that is carried."""

    def f(x, k):
        def row(j, y):
            def trip(i, y):
                v = ops.index(y, i - 1) + ops.index(y, other(i, j))
                return [ops.update(y, v * 0.5, i)]

            return for_loop(1, n, [y], trip)

        return for_loop(0, k, [x * 1.0], row)

    f = built(f, (n,), scalar(i64))
    for size, k in itertools.product(range(6), range(4)):
        given = numbers(size), np.int64(k)
        try:
            (expected,) = evaluate(f, *given)
        except IndexError:
            with pytest.raises(IndexError):
                evaluate(lowered(f), *given)
            continue
        np.testing.assert_allclose(evaluate(lowered(f), *given)[0], expected, rtol=1e-12)


def test_a_place_that_the_range_keeps_apart_does_not_hinder():
    def f(x):
        def trip(i, y):
            v = ops.index(y, i - 1) + ops.index(y, constant(0, i64))
            return [ops.update(y, v * 0.5, i)]

        return for_loop(2, n, [x * 1.0], trip)

    f = built(f, (n,))
    assert_same(f, *lengths())
    loop = next(op for op in lowered(f).walk() if op.name == "for" and op.results)
    assert len(loop.results) == 1


def test_rows_that_change_places_in_an_outer_loop():
    """Two rows of a table, swapped in each trip; the inner loop reads one and fills the other."""

    def rows(x):
        def row(i, a, b):
            def cell(j, b):
                v = ops.index(b, j - 1) + ops.index(a, j) * ops.index(a, j - 1)
                return [ops.update(b, v, j)]

            (b,) = for_loop(1, m, [b], cell)
            return [b, a]

        return for_loop(0, n, [x * 1.0, x * 2.0], row)

    f = built(lambda x, sized: rows(x), (m,), (n,))
    assert_same(f, *lengths(2, 5))
    inner = [op for op in lowered(f).walk() if op.name == "for"][-1]
    assert [op.name for op in inner.regions[0].ops].count("load") == 2


def test_a_stencil_that_only_reads_ahead_is_no_recurrence():
    def f(x):
        def trip(i, y):
            return [ops.update(y, ops.index(y, i + 1) - ops.index(y, i), i)]

        return for_loop(0, n - 1, [x * 1.0], trip)

    f = built(f, (n,))
    assert_same(f, *lengths())
    assert all(not op.results for op in lowered(f).walk() if op.name == "for")


def test_a_place_that_counts_with_the_trips_is_no_single_element():
    """The place on a tape is an integer that the loop carries."""

    def f(x, k):
        def trip(i, y, p):
            y = ops.update(y, ops.index(y, p) + ops.index(x, i), p)
            return [ops.accumulate(y, constant(1.0), p), p + k]

        return for_loop(0, n, [zeros((n,)), constant(0, i64)], trip)[0]

    f = built(f, (n,), scalar(i64))
    for k in (0, 1):
        given = numbers(4), np.int64(k)
        np.testing.assert_allclose(evaluate(lowered(f), *given)[0], evaluate(f, *given)[0])

    def g(x):
        def trip(i, y, p):
            return [ops.update(y, ops.index(y, p - 1) + ops.index(x, i), p), p + 1]

        return for_loop(1, n, [x * 1.0, constant(1, i64)], trip)[0]

    assert_same(built(g, (n,)), *lengths())


def test_trips_without_an_order_hand_nothing_on():
    f = built(
        lambda x: for_loop(
            0,
            n,
            [zeros((n,))],
            lambda i, y: [ops.accumulate(ops.update(y, ops.index(x, i), i), constant(1.0), i)],
        ),
        (n,),
    )
    assert in_loops(f, "add_store") == 0
    loops = _Regions(f, decide(f)).run()
    for op in loops.walk():
        if op.name == "for":
            op.attributes = {**op.attributes, "kind": "parallel"}
    before = [op.name for op in loops.walk()]
    assert [op.name for op in keep_in_registers(loops).walk()] == before


def test_a_long_body_is_left_alone():
    def f(x):
        def trip(i, y):
            for k in range(LONGEST):
                y = ops.accumulate(y, ops.index(x, i), i + k)
            return [y]

        return for_loop(0, n - 100, [x * 1.0], trip)

    assert in_loops(built(f, (n,)), "add_store") == LONGEST


def test_an_array_of_integers():
    def f(x):
        def trip(i, y):
            return [ops.accumulate(y, ops.index(y, i - 1), i)]

        return for_loop(1, n, [x + 1], trip)

    f = built(f, ArrayType(i64, (n,)))
    assert_all_forms_agree(f, np.arange(6), compiled=True)


def random_loops(draw):
    """Arrays written and read at random places near the index, in branches and inner loops too."""
    step = draw.choice([1, 1, -1])
    others = draw.random() < 0.4

    def place(i, j):
        near = draw.choice([-2, -1, -1, 0, 0, 0, 1, 1, 2])
        return (j if others and draw.random() < 0.2 else i) + near

    def statement(i, j, y, z, depth):
        kind = draw.random()
        if kind < 0.2 and depth < 2:
            v = ops.index(y, place(i, j))
            arms = [
                lambda: block(i, j, y, z, depth + 1),
                lambda: block(i, j, y, z, depth + 1) if draw.random() < 0.6 else [y, z],
            ]
            return branch(v > 0.1, *arms)
        if kind < 0.3 and depth < 1:
            lo = draw.choice([0, 1, i])
            return for_loop(
                lo, draw.choice([n, m, i]), [y, z], lambda k, y, z: block(k, i, y, z, depth + 1)
            )
        target, source = draw.choice([(y, y), (y, z), (z, y), (z, z)])
        value = ops.index(source, place(i, j)) * 0.5 + 0.1
        write = draw.choice([ops.update, ops.accumulate])
        made = write(target, value, place(i, j))
        return [made, z] if target is y else [y, made]

    def block(i, j, y, z, depth):
        for _ in range(draw.randint(1, 4 if not depth else 2)):
            y, z = statement(i, j, y, z, depth)
        return [y, z]

    def f(x, w):
        def row(j, y, z):
            lo, hi = draw.choice([0, 1, 2, 2]), n + draw.choice([-2, -2, -1, 0])
            if step < 0:
                lo, hi = hi - 1, draw.choice([-1, 0, 1, 1])
            return for_loop(lo, hi, [y, z], lambda i, y, z: block(i, j, y, z, 0), step=step)

        y = zeros((n,)) if draw.random() < 0.3 else x * 1.0
        return for_loop(0, m, [y, w * 1.0], row)

    return built(lambda x, w, sized: f(x, w), (n,), (n,), (m,))


@pytest.mark.parametrize("seed", range(80))
def test_random_reads_and_writes(seed):
    f = random_loops(random.Random(seed))
    assert_same(f, *[[(a,), (a,), (b,)] for a, b in itertools.product(range(6), range(4))])
