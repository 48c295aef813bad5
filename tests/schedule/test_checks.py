"""Checks of indices before loops: what is raised is what the trips would have raised."""

import itertools
import random

import numpy as np
import pytest

from tests.ops.building import built
from tests.schedule.region_programs import assert_all_forms_agree, lowered
from tracegrad import ops
from tracegrad.backend.emit import emit_loop_form
from tracegrad.ir.core import Guard, Location
from tracegrad.ir.interpreter import evaluate
from tracegrad.ir.types import ArrayType, i64, scalar, symbol
from tracegrad.ops.constants import dim_value
from tracegrad.ops.control import branch, for_loop, raise_, while_loop
from tracegrad.ops.registry import constant

n, m, k = symbol("n"), symbol("m"), symbol("k")


def checks_in_loops(function):
    """How many checks of loop form stand in a loop."""
    loops = [op for op in lowered(function).walk() if op.name in ("for", "while")]
    found = {op for loop in loops for r in loop.regions for op in r.walk()}
    return sum(op.name in ("check_index", "raise") for op in found)


def outcome(function, *given):
    try:
        return [np.asarray(r).tolist() for r in evaluate(function, *given)]
    except IndexError:
        return "IndexError"


def assert_raises_alike(function, *shapes):
    """Array form and loop form give the same, or raise alike, whatever the sizes."""
    loops = lowered(function)
    for sizes in shapes:
        given = [np.arange(float(np.prod(s))).reshape(s) for s in sizes]
        assert outcome(loops, *given) == outcome(function, *given), sizes


def sizes(count, most=4):
    return [tuple((s,) for s in each) for each in itertools.product(range(most), repeat=count)]


def total(lo, hi, read, step=1):
    """The sum of ``read(i)`` over a range."""
    return for_loop(lo, hi, [constant(0.0)], lambda i, s: [s + read(i)], step=step)


def test_one_check_stands_before_the_loop():
    f = built(lambda x, y: total(0, m, lambda i: ops.index(x, i) * ops.index(y, i)), (n,), (m,))
    assert checks_in_loops(f) == 0
    assert_raises_alike(f, *sizes(2))
    assert "if 0 < m:\n        if m > n:" in emit_loop_form(lowered(f))


def test_a_loop_known_to_have_a_trip_is_not_asked_for_one():
    f = built(lambda x, y: total(0, m + 1, lambda i: ops.index(x, i)), (n,), (m,))
    assert "    if m + 1 > n:" in emit_loop_form(lowered(f))
    assert_raises_alike(f, *sizes(2))


def test_the_error_names_the_line():
    f = built(lambda x, y: total(0, m, lambda i: ops.index(x, i)), (n,), (m,))
    for op in f.walk():
        if op.name == "index":
            op.location = Location("model.py", 12)
    with pytest.raises(IndexError, match=r"axis 0 \(model.py:12\)"):
        evaluate(lowered(f), np.zeros(2), np.zeros(3))


def test_what_one_loop_found_holds_in_the_next():
    def twice(x, y):
        (s,) = total(0, m, lambda i: ops.index(x, i))
        (t,) = total(0, m, lambda i: ops.index(x, dim_value(m) - 1 - i))
        (u,) = for_loop(m - 1, -1, [t], lambda i, u: [u + ops.index(x, i) * s], step=-1)
        return u

    f = built(twice, (n,), (m,))
    assert emit_loop_form(lowered(f)).count("IndexError") == 1
    assert_raises_alike(f, *sizes(2))


def test_an_index_that_may_be_negative_is_checked_in_each_trip():
    f = built(lambda x, y: total(0, m, lambda i: ops.index(x, i - 1)), (n,), (m,))
    assert checks_in_loops(f) == 1
    assert_raises_alike(f, *sizes(2))


def test_bounds_given_by_an_argument_may_be_negative():
    def f(x, lo):
        return for_loop(lo, n, [constant(0.0)], lambda i, s: [s + ops.index(x, i)])

    f = built(f, (n,), scalar(i64))
    assert checks_in_loops(f) == 1
    for lo in (-5, -4, 0, 3, 9):
        x = np.arange(4.0)
        assert outcome(lowered(f), x, np.int64(lo)) == outcome(f, x, np.int64(lo))


def test_a_check_in_a_branch_stays_there():
    def chosen(x, y):
        def read(i):
            v = ops.index(y, i)
            return branch(v > 1.0, lambda: [ops.index(x, i)], lambda: [v])[0]

        return total(0, m, read)

    f = built(chosen, (n,), (m,))
    assert checks_in_loops(f) == 1
    assert_raises_alike(f, *sizes(2, 5))


@pytest.mark.parametrize("first", [True, False])
def test_a_raise_in_the_loop_keeps_its_place(first):
    def guarded(x, y):
        def stop(i):
            def arm():
                raise_(kind="ValueError", message="stop")
                return [constant(0.0)]

            return branch(ops.index(y, i) > 1.0, arm, lambda: [constant(1.0)])[0]

        def read(i):
            one = stop(i) if first else ops.index(x, i)
            return one + (ops.index(x, i) if first else stop(i))

        return total(0, m, read)

    f = built(guarded, (n,), (m,))
    assert checks_in_loops(f) == 2
    with pytest.raises(ValueError, match="stop"):
        evaluate(lowered(f), np.zeros(3), np.arange(9.0))
    with pytest.raises(IndexError):
        evaluate(lowered(f), np.zeros(1), np.arange(9.0))


def test_a_check_in_a_while_stays_there():
    def loop(x, y):
        def trip(s, i):
            (t,) = total(0, m, lambda j: ops.index(x, j))
            return [s + t + ops.index(y, i), i + 1]

        start = [constant(0.0), constant(0, i64)]
        return while_loop(start, lambda s, i: i < dim_value(k), trip)[0]

    f = built(lambda x, y, z: loop(x, y), (n,), (m,), (k,))
    assert_raises_alike(f, *sizes(3, 3))
    assert checks_in_loops(f) == 2


def test_nested_loops_ask_once_for_what_no_outer_trip_changes():
    def table(a, x):
        def row(i, s):
            return for_loop(0, m, [s], lambda j, s: [s + ops.index(a, i, j) * ops.index(x, i + j)])

        return for_loop(0, n, [constant(0.0)], row)

    f = built(table, (n, m), (k,))
    assert checks_in_loops(f) == 0
    assert_raises_alike(f, *(((i, j), (l,)) for i, j, l in itertools.product(range(4), repeat=3)))


def test_a_triangle_asks_for_its_longest_row():
    def pairs(x, y):
        def row(i, s):
            return for_loop(i + 1, m, [s], lambda j, s: [s + ops.index(x, i) * ops.index(x, j)])

        return for_loop(0, m, [constant(0.0)], row)

    f = built(pairs, (n,), (m,))
    assert_raises_alike(f, *sizes(2, 5))
    assert checks_in_loops(f) == 0


def test_a_row_whose_length_goes_with_the_index_is_asked_for_by_row():
    def rows(x, y):
        def row(i, s):
            return for_loop(0, i, [s], lambda j, s: [s + ops.index(x, i + j)])

        return for_loop(0, m, [constant(0.0)], row)

    f = built(rows, (n,), (m,))
    assert_raises_alike(f, *sizes(2, 5))
    (outer, *_) = [op for op in lowered(f).walk() if op.name == "for"]
    inner = [op for op in outer.regions[0].ops if op.name == "for"]
    assert not any(op.name in ("check_index", "raise") for r in inner[0].regions for op in r.walk())


def test_writes_are_checked_too():
    f = built(
        lambda x, y: for_loop(
            1, m, [x * 1.0], lambda i, a: [ops.update(a, ops.index(y, i), i - 1)]
        ),
        (n,),
        (m,),
    )
    assert checks_in_loops(f) == 0
    assert_raises_alike(f, *sizes(2))
    assert_all_forms_agree(f, np.arange(4.0), np.arange(5.0), compiled=True)


def test_a_check_that_stays_knows_its_sign():
    def chosen(x, y):
        def read(i):
            return branch(
                ops.index(y, i) > 1.0, lambda: [ops.index(x, i)], lambda: [constant(0.0)]
            )[0]

        return total(0, m, read)

    source = emit_loop_form(lowered(built(chosen, (n,), (m,))))
    assert "at >= n" in source
    assert "+= n" not in source


@pytest.mark.parametrize("seed", range(60))
def test_random_loops_raise_where_they_did(seed):
    """Two loops, one in the other, over random ranges, and reads at random places."""
    draw = random.Random(seed)

    def bound(*more):
        base = draw.choice([0, 0, 1, n, m, m, *more])
        return base + draw.choice([-1, 0, 0, 1, 2])

    steps = [draw.choice([1, 1, -1, 2, -2, 3]) for _ in range(2)]

    def nest(x, y):
        lo, hi = bound(), bound()
        places = [draw.choice([-1, 0, 0, 1, 2]) for _ in range(3)]
        signs = [draw.choice([1, 1, 1, 2, -1]) for _ in range(3)]

        def row(i, s):
            def cell(j, s):
                return [s + ops.index(x, i * signs[0] + j * signs[1] + places[0])]

            if draw.random() < 0.7:
                s = s + ops.index(x, i * signs[2] + places[1])
            inner = [bound(), bound()]
            which = draw.random()
            if which < 0.4:
                inner[0] = i + places[2]
            elif which < 0.6:
                inner[1] = i + places[2]
            return for_loop(*inner, [s], cell, step=steps[1])

        return for_loop(lo, hi, [constant(0.0)], row, step=steps[0])

    assert_raises_alike(built(nest, (n,), (m,)), *sizes(2, 6))


def with_trips(function):
    """``function`` where its inner loops are known to have a trip."""
    function.guards = (Guard(m, ">=", 1),)
    return function


def rows_of(x, where):
    """An index that the inner loop does not change."""

    def trip(i, total):
        def column(j, total):
            return (total + ops.index(x, ops.index(where, i), j),)

        return for_loop(0, m, [total], column)

    return for_loop(0, n, [constant(0.0)], trip)


def test_an_index_that_an_inner_loop_does_not_change_is_checked_before_it():
    f = with_trips(built(rows_of, (k, m), ArrayType(i64, (n,))))
    (outer,) = [op for op in lowered(f).body.ops if op.name == "for"]
    (inner,) = [op for op in outer.regions[0].ops if op.name == "for"]
    assert not any(op.name == "check_index" for op in inner.regions[0].ops)
    assert any(op.name == "check_index" for op in outer.regions[0].ops)
    x = np.arange(12.0).reshape(4, 3)
    assert outcome(lowered(f), x, np.array([0, -4, 3])) == outcome(f, x, np.array([0, -4, 3]))
    for bad in (4, -5):
        assert outcome(lowered(f), x, np.array([0, bad])) == "IndexError"


def test_an_inner_loop_without_trips_checks_nothing():
    f = built(rows_of, (k, m), ArrayType(i64, (n,)))
    assert outcome(lowered(f), np.zeros((4, 0)), np.array([0, 9])) == [0.0]
    assert outcome(lowered(f), np.zeros((4, 2)), np.array([0, 9])) == "IndexError"


def test_an_index_that_the_inner_loop_writes_is_checked_in_each_trip():
    def f(x, where):
        def trip(i, where, total):
            def column(j, where, total):
                at = ops.index(where, i)
                return ops.update(where, at + 1, i), total + ops.index(x, at, j)

            return for_loop(0, m, [where, total], column)

        return for_loop(0, n, [where, constant(0.0)], trip)[1]

    g = with_trips(built(f, (k, m), ArrayType(i64, (n,))))
    x = np.arange(12.0).reshape(4, 3)
    for start in ([0, 1], [-4, -3], [0, 2], [-5, 0]):
        assert outcome(lowered(g), x, np.array(start)) == outcome(g, x, np.array(start))
