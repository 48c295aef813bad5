"""Elements that loops and trips work on are held in scalars, where nothing else can touch them."""

import numpy as np
import pytest

from tests.transforms.programs import PROGRAMS
from tests.transforms.random_programs import (
    arguments,
    random_program,
    random_table,
    table_arguments,
)
from tests.transforms.reversal import adjoint, draw, run
from tracegrad import ops
from tracegrad.ir.builder import Builder
from tracegrad.ir.core import Guard
from tracegrad.ir.interpreter import evaluate
from tracegrad.ir.types import ArrayType, f64, i64, symbol
from tracegrad.ir.verifier import verify
from tracegrad.ops.access import zeros
from tracegrad.ops.control import branch, for_loop, while_loop
from tracegrad.ops.registry import constant
from tracegrad.passes import cells, optimize

n, m = symbol("n"), symbol("m")
VECTOR, OTHER, MATRIX = (ArrayType(f64, s) for s in ((n,), (m,), (n, n)))
X, Y = np.array([0.3, 0.7, 0.2, 0.9, 0.5]), np.array([1.1, 0.4, 0.6])


def number(k):
    return constant(k, i64)


def made(rule, *types, guards=()):
    with Builder() as build:
        params = [build.param(t, f"x{k}") for k, t in enumerate(types)]
        outs = rule(*params)
        outs = list(outs) if isinstance(outs, (tuple, list)) else [outs]
        return verify(optimize(build.function("f", outs, guards=guards)))


def accesses(function, *, loops=True):
    """How many elements are read and written in loops (or anywhere)."""
    found = {"index": 0, "update": 0, "accumulate": 0}

    def walk(region, inside):
        for op in region.ops:
            if op.name in found and inside:
                found[op.name] += 1
            for inner in op.regions:
                walk(inner, inside or not loops or op.name != "if")

    walk(function.body, not loops)
    return found


def held(function, *given, same=True, loops=True):
    """What is accessed in loops after the pass; the values are those of before."""
    after = verify(cells(function))
    for a, b in zip(run(function, *given), run(after, *given), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-15)
    assert (after is not function) == same
    return accesses(after, loops=loops)


# --- where it applies --------------------------------------------------------------------------


def test_a_loop_that_adds_to_one_element_carries_a_scalar():
    def rule(x, y):
        def trip(i, a):
            return [ops.accumulate(a, ops.sin(ops.index(x, i)), number(1))]

        return for_loop(0, n, [y], trip)

    f = made(rule, VECTOR, OTHER, guards=[Guard(m, ">=", 2)])
    assert held(f, X, Y) == {"index": 1, "update": 0, "accumulate": 0}
    np.testing.assert_array_equal(run(cells(f), X[:0], Y)[0], Y)


def test_an_element_of_the_outer_index_is_held_in_the_inner_loop():
    """A row sum in place: one read and one write per row."""

    def rule(a):
        def row(i, y):
            def trip(j, y):
                return [ops.accumulate(y, ops.index(a, i, j), i)]

            return for_loop(0, n, [y], trip)

        return for_loop(0, n, [zeros((n,))], row)

    f = made(rule, MATRIX)
    assert held(f, np.arange(16.0).reshape(4, 4)) == {"index": 2, "update": 1, "accumulate": 0}


def test_reads_of_one_element_go_before_the_loop():
    def rule(x, y):
        def trip(i, a, s):
            v = ops.index(x, i) * ops.index(y, number(0))
            return [ops.update(a, v, i), s + v]

        return for_loop(0, n, [zeros((n,)), constant(0.0)], trip)

    f = made(rule, VECTOR, OTHER, guards=[Guard(m, ">=", 1)])
    assert held(f, X, Y) == {"index": 1, "update": 1, "accumulate": 0}


def test_a_trip_reads_and_writes_an_element_once():
    """Through a branch and a loop; the other reads are of elements before."""

    def rule(x, w):
        def row(t, a):
            def first():
                return [ops.update(a, ops.index(x, t), t)]

            def later():
                def trip(r, a):
                    v = ops.index(a, t - 1) * ops.index(w, r)
                    return [ops.accumulate(a, v, t)]

                return for_loop(0, n, [a], trip)

            (a,) = branch(ops.equal(t, 0), first, later)
            v = ops.index(a, t)
            return [ops.update(a, v * v * 0.1, t)]

        return for_loop(0, n, [x], row)

    f = made(rule, VECTOR, VECTOR)
    # Reads: of the element, of that before (once, for it is the same in all trips), x[t], w[r].
    assert held(f, X, X[::-1].copy()) == {"index": 4, "update": 1, "accumulate": 0}


def test_several_writes_in_a_trip_are_one():
    def rule(x):
        def trip(i, a):
            a = ops.accumulate(a, ops.index(x, i), i)
            v = ops.index(a, i)
            a = ops.update(a, constant(0.0), i)
            return [ops.accumulate(a, ops.sin(v), i)]

        return for_loop(0, n, [x * 2.0], trip)

    assert held(made(rule, VECTOR), X) == {"index": 2, "update": 1, "accumulate": 0}


def test_an_element_is_held_in_a_while_loop_and_in_its_condition():
    def rule(x):
        def going(k, a):
            return ops.logical_and(k < 40, ops.index(a, number(0)) < 3.0)

        def trip(k, a):
            return [k + 1, ops.accumulate(a, ops.index(x, number(1)), number(0))]

        return while_loop([number(0), x], going, trip)[1]

    f = made(rule, VECTOR, guards=[Guard(n, ">=", 2)])
    assert held(f, X)["accumulate"] == 0


def test_an_element_that_only_one_arm_writes_is_held():
    def rule(x):
        def trip(i, a):
            def more():
                return [ops.accumulate(a, ops.index(x, i), number(2))]

            return branch(ops.index(x, i) > 0.4, more, lambda: [a])

        return for_loop(0, n, [x], trip)

    f = made(rule, VECTOR, guards=[Guard(n, ">=", 3)])
    assert held(f, X) == {"index": 1, "update": 0, "accumulate": 0}


def test_the_neighbours_of_an_element_are_elsewhere():
    def rule(x):
        def row(i, a):
            def trip(j, a):
                a = ops.accumulate(a, ops.index(a, i - 1) * 0.1, i)
                return [ops.accumulate(a, ops.index(x, j), i + 1)]

            return for_loop(0, n, [a], trip)

        return for_loop(1, n - 1, [x], row)

    assert held(made(rule, VECTOR), X) == {"index": 4, "update": 2, "accumulate": 0}


def test_an_element_counted_from_the_end_is_held_alone():
    def rule(x):
        def trip(i, a):
            return [ops.accumulate(a, ops.index(x, i), number(-1))]

        return for_loop(0, n, [x], trip)

    f = made(rule, VECTOR, guards=[Guard(n, ">=", 1)])
    assert held(f, X) == {"index": 1, "update": 0, "accumulate": 0}


def test_what_was_read_before_at_the_same_index_exists():
    """Nothing tells that i is in range of y, but it was read there."""

    def rule(x, y):
        def row(i, a, s):
            s = s + ops.index(y, i)

            def trip(j, a):
                return [ops.accumulate(a, ops.index(x, j), i)]

            (a,) = for_loop(0, n, [a], trip)
            return a, s

        return for_loop(0, 3, [zeros((m,)), constant(0.0)], row)

    assert held(made(rule, VECTOR, OTHER), X, Y) == {"index": 3, "update": 1, "accumulate": 0}


def test_an_array_that_a_loop_changes_is_read_as_it_was_before():
    """The loop carries x, and reads the x of before."""

    def rule(x):
        def trip(i, a):
            return [ops.accumulate(a, ops.index(x, number(0)), number(0))]

        return for_loop(0, n, [x], trip)

    f = made(rule, VECTOR, guards=[Guard(n, ">=", 1)])
    assert held(f, X) == {"index": 0, "update": 0, "accumulate": 0}


def test_an_array_that_was_written_before_is_read_as_it_is_then():
    """The write before the loop is in the memory that the loop reads besides what it carries."""

    def rule(x):
        def row(k, a):
            a = ops.accumulate(a, ops.index(x, k), number(0))

            def trip(i, b):
                return [ops.accumulate(b, ops.index(a, number(0)), number(0))]

            return for_loop(0, 2, [a], trip)

        return for_loop(0, n, [x], row)

    f = made(rule, VECTOR, guards=[Guard(n, ">=", 2)])
    after = verify(cells(f))
    np.testing.assert_allclose(run(after, X)[0], run(f, X)[0], rtol=1e-13)


# --- where it does not -------------------------------------------------------------------------


def unchanged(rule, *types, guards=()):
    f = made(rule, *types, guards=guards)
    assert cells(f) is f, str(cells(f))


def test_an_element_that_may_not_exist_is_not_read_before_its_loop():
    def rule(x, y):
        def trip(i, a):
            return [ops.accumulate(a, ops.index(x, i), number(5))]

        return for_loop(0, n, [y], trip)

    unchanged(rule, VECTOR, OTHER)
    f = made(rule, VECTOR, OTHER)
    np.testing.assert_array_equal(run(f, X[:0], Y)[0], Y)  # no trip, no error
    with pytest.raises(IndexError):
        run(f, X, Y)


def test_an_element_of_a_guarded_arm_is_not_read_outside_of_it():
    def rule(x):
        def row(i, a):
            def before():
                def trip(j, a):
                    return [ops.accumulate(a, ops.index(x, j), i - 1)]

                return for_loop(0, n, [a], trip)

            return branch(i > 0, before, lambda: [a])

        return for_loop(0, n, [x], row)

    f = made(rule, VECTOR)
    after = cells(f)
    for a, b in zip(run(f, X), run(after, X), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13)
    arm = next(op for op in after.walk() if op.name == "if").regions[0]
    assert [op.name for op in arm.ops if op.name in ("index", "update")] == ["index", "update"]


ELSEWHERE = {
    "at an index from data": lambda x, i: ops.cast(ops.index(x, i) * 4.0, dtype=i64),
    "at each place": lambda x, i: i,
    "counted from the end": lambda x, i: number(-1),
    "perhaps counted from the end": lambda x, i: i - 1,
}


@pytest.mark.parametrize("kind", ["read", "written", "added to"])
@pytest.mark.parametrize("where", ELSEWHERE)
def test_an_element_that_may_be_used_under_another_index_is_not_held(where, kind):
    place = ELSEWHERE[where]

    def rule(x):
        def trip(i, a):
            a = ops.accumulate(a, ops.index(x, i), number(2))
            if kind == "read":
                return [ops.accumulate(a, ops.index(a, place(x, i)), number(2))]
            write = ops.update if kind == "written" else ops.accumulate
            return [write(a, ops.index(x, i), place(x, i))]

        return for_loop(0, n, [x], trip)

    f = made(rule, VECTOR, guards=[Guard(n, ">=", 3)])
    after = cells(f)
    for size in (3, 4, 5):
        expected = evaluate(f, X[:size])
        np.testing.assert_allclose(evaluate(after, X[:size])[0], expected[0], rtol=1e-13)
    (loop,) = [op for op in after.walk() if op.name == "for"]
    assert any(r.rank for r in loop.results)


def test_what_an_unknown_index_only_reads_elsewhere_may_be_read_before():
    """The array is not written: one element is read once, whatever else is read."""

    def rule(x, y):
        def trip(i, s):
            where = ops.cast(ops.index(x, i) * 2.0, dtype=i64)
            return [s + ops.index(y, where) * ops.index(y, number(0))]

        return for_loop(0, n, [constant(0.0)], trip)

    f = made(rule, VECTOR, OTHER, guards=[Guard(m, ">=", 1)])
    assert held(f, X, Y)["index"] == 2


def test_a_whole_array_is_brought_up_to_date_before_it_is_used():
    def rule(x):
        def trip(i, a, s):
            a = ops.accumulate(a, ops.index(x, i), number(0))
            total = ops.sum(a * a, axes=(0,))
            a = ops.accumulate(a, total * 0.1, number(0))
            return a, s + total

        return for_loop(0, n, [x, constant(0.0)], trip)

    f = made(rule, VECTOR, guards=[Guard(n, ">=", 1)])
    assert held(f, X, same=False) == {"index": 1, "update": 0, "accumulate": 2}


def test_an_old_version_that_is_used_later_keeps_its_element():
    def rule(x):
        def trip(i, a, b):
            first = ops.accumulate(a, ops.index(x, i), i)
            second = ops.accumulate(first, constant(1.0), i)
            third = ops.update(second, ops.index(second, i) * 0.5, i)
            return third, b + first

        return for_loop(0, n, [x, x], trip)

    f = made(rule, VECTOR)
    after = verify(cells(f))
    for a, b in zip(run(f, X), run(after, X), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13)


def test_an_array_carried_twice_or_swapped_is_left_alone():
    def rule(x):
        def trip(i, a, b):
            a = ops.accumulate(a, ops.index(b, i), number(0))
            return b, a

        return for_loop(0, n, [x, x * 2.0], trip)

    unchanged(rule, VECTOR, guards=[Guard(n, ">=", 1)])


def test_one_read_and_one_write_stay_as_they_are():
    def rule(x):
        def trip(i, a):
            return [ops.update(a, ops.sin(ops.index(a, i)), i)]

        return for_loop(0, n, [x], trip)

    unchanged(rule, VECTOR)


def test_a_write_that_is_seldom_done_is_not_done_always():
    def rule(x):
        def trip(i, a):
            def write():
                return [ops.update(a, constant(0.0), i)]

            return branch(ops.index(x, i) > 0.5, write, lambda: [a])

        return for_loop(0, n, [x * 1.0], trip)

    unchanged(rule, VECTOR)


def test_functions_without_loops_are_left_alone():
    def rule(x):
        a = ops.accumulate(x, constant(1.0), number(0))
        return ops.accumulate(a, ops.index(a, number(0)), number(0))

    unchanged(rule, VECTOR)


# --- all programs ------------------------------------------------------------------------------


def check(function, given):
    after = verify(cells(function))
    for a, b in zip(run(function, *given), run(after, *given), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)
    return after is not function


def check_adjoint(function, given):
    first = optimize(adjoint(function))
    rng = np.random.default_rng(0)
    bars = draw(rng, [r for r in run(function, *given) if r.dtype.kind == "f"])
    return check(first, [*given, *bars])


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_and_their_adjoints_keep_their_values(name):
    program = PROGRAMS[name]
    for size in (4, 5):
        check(optimize(program.function), program.arguments(size))
        check_adjoint(program.function, program.arguments(size))


@pytest.mark.parametrize("block", range(4))
def test_random_programs_keep_their_values(block):
    count = 0
    for seed in range(30 * block, 30 * block + 30):
        function, given = random_program(seed), arguments(seed)
        count += check(optimize(function), given)
        count += check_adjoint(function, given)
        function = random_table(seed)
        given = table_arguments(function, seed)
        count += check(optimize(function), given)
        count += check_adjoint(function, given)
    assert count > 20
