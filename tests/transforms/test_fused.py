"""Loops that only add, reversed trip by trip: when they are, and when they must not be."""

import random

import numpy as np
import pytest

from tests.ops.building import built
from tests.transforms.reversal import (
    adjoint,
    check_first,
    check_second,
    cost,
    draw,
    run,
    second,
    tape_elements,
)
from tracegrad import ops
from tracegrad.ir.types import ArrayType, f64, i64, symbol
from tracegrad.ir.verifier import verify
from tracegrad.ops.access import zeros
from tracegrad.ops.constants import dim_value
from tracegrad.ops.control import branch, for_loop, while_loop
from tracegrad.ops.registry import REGISTRY, constant
from tracegrad.passes import optimize
from tracegrad.transforms.cut import cut
from tracegrad.transforms.vjp import vjp

n, m = symbol("n"), symbol("m")
INDICES = ArrayType(i64, (n,))
sin, exp, tanh, log, greater = (REGISTRY[k] for k in ("sin", "exp", "tanh", "log", "greater"))


def at(x, i):
    return ops.index(x, constant(i, i64) if isinstance(i, int) else i)


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).uniform(0.2, 1.0, size=shape)


def zero():
    return constant(0.0)


def loops(function):
    return sum(op.name in ("for", "while") for op in optimize(function).walk())


def checked(program, types, arguments, *, twice=True):
    """The adjoint, which agrees with differences in every form."""
    f = built(program, *types)
    for optimized in (False, True):
        check_first(f, arguments, optimized=optimized)
        if twice:
            check_second(f, arguments, optimized=optimized)
    return f


def added_up(x, part, start=None):
    """The sum of ``part(i)`` over the elements of x."""
    return for_loop(0, n, [zero() if start is None else start], lambda i, s: [s + part(i)])[0]


# --- fused --------------------------------------------------------------------------------------


def test_a_sum_is_reversed_in_its_own_loop():
    f = checked(lambda x: added_up(x, lambda i: sin(at(x, i)) * at(x, i)), [(n,)], [numbers(5)])
    first = adjoint(f)
    assert loops(first) == 1
    assert tape_elements(first, numbers(5), np.float64(1.0)) == 0
    assert loops(second(f, first)) == 1, "and so is the derivative of the derivative"
    check_first(f, [numbers(0)])


def test_scaled_and_added_results_are_known_before():
    def program(x, w):
        one = added_up(x, lambda i: exp(at(x, i)), start=at(w, 0) * 1.0)
        two = added_up(x, lambda i: sin(at(x, i)), start=one)
        return (
            two / ops.cast(dim_value(n), dtype=f64) * 3.0
            + at(w, 1) * one
            - added_up(x, lambda i: at(w, i))
        )

    f = checked(program, [(n,), (n,)], [numbers(4), numbers(4, seed=1)])
    assert loops(adjoint(f)) == 3


def test_pairs_are_reversed_in_their_own_nest():
    def pairs(x, q):
        def outer(i, s):
            def inner(j, s):
                return [s + at(q, i) * at(q, j) * exp(at(x, i) - at(x, j))]

            return for_loop(i + 1, n, [s], inner)

        return for_loop(0, n, [zero()], outer)

    f = checked(pairs, [(n,), (n,)], [numbers(5), numbers(5, seed=1)])
    first = adjoint(f)
    assert loops(first) == 2
    small, large = (cost(first, numbers(k), numbers(k), np.float64(1.0)) for k in (8, 32))
    assert large < 1.3 * 16 * small


def test_repeated_places_and_sums_in_arrays():
    def program(x, w, where):
        def trip(i, bins, s):
            k = at(where, i)
            v = at(x, k) * at(w, i)
            return ops.accumulate(bins, tanh(v), k), s - v * at(x, i)

        return for_loop(0, n, [zeros((n,)), zero()], trip)

    given = [numbers(5), numbers(5, seed=1), np.array([0, 3, 3, -1, 0])]
    f = checked(program, [(n,), (n,), INDICES], given)
    assert loops(adjoint(f)) == 1


def test_branches_in_the_body():
    def program(x, w):
        def trip(i, s):
            v = at(x, i)

            def large():
                return s + exp(v) * at(w, i), sin(v)

            def small():
                return s, v

            s, u = branch(greater(v, 0.5), large, small)
            return [s + u * at(w, i)]

        return for_loop(0, n, [zero()], trip)

    f = checked(program, [(n,), (n,)], [numbers(6), numbers(6, seed=1)])
    first = adjoint(f)
    assert loops(first) == 1
    assert tape_elements(first, numbers(6), numbers(6), np.float64(1.0)) == 0


def test_other_carried_values_that_have_no_cotangent():
    def program(x, where):
        def trip(i, s, k, kept):
            new = at(where, k)
            return s + at(x, k) * kept, new, kept + 1.0

        return for_loop(0, n, [zero(), constant(1, i64), constant(2.0)], trip)[0]

    f = checked(program, [(n,), INDICES], [numbers(4), np.array([2, 0, 3, 1])])
    assert loops(adjoint(f)) == 1


def test_what_was_contributed_before_stays():
    def program(x, w):
        s = added_up(x, lambda i: sin(at(x, i)) * at(w, i))
        y = x * w
        t = added_up(x, lambda i: exp(at(y, i)) * at(x, i))
        return s + t + ops.sum(x * x * w, axes=(0,)) + at(x, 1), y

    checked(program, [(n,), (n,)], [numbers(4), numbers(4, seed=1)])


def test_one_cotangent_of_two_arrays():
    """What a loop adds to the cotangent of one of them must not reach the other."""

    def program(x, w):
        a, b = sin(x), exp(w)
        s = added_up(x, lambda i: at(a, i) * at(a, 0))
        both = a + b
        t = added_up(x, lambda i: tanh(at(both, i)) * at(both, 1))
        return s + t

    f = checked(program, [(n,), (n,)], [numbers(4), numbers(4, seed=1)])
    assert loops(adjoint(f)) == 2


# --- what else the body may hold ----------------------------------------------------------------


def with_inner(inner):
    """A sum whose trips each run ``inner(i, x)``, which gives a number."""
    return lambda x: added_up(x, lambda i: inner(i, x) * at(x, i))


def recurrence(i, x):
    return for_loop(0, n, [at(x, i)], lambda j, y: [tanh(y) * at(x, j)])[0]


def recurrence_to_the_index(i, x):
    return for_loop(0, i, [at(x, i)], lambda j, y: [tanh(y) * at(x, j)])[0]


def newton(i, x):
    more = lambda y, k: greater(4.0, k)  # noqa: E731  # short
    return while_loop(
        [at(x, i), zero()], more, lambda y, k: [y - 0.3 * sin(y) * at(x, i), k + 1.0]
    )[0]


def inner_logarithm(i, x):
    return log(added_up(x, lambda j: exp(at(x, j) * at(x, i))))


def row_filled_in_place(i, x):
    def trip(j, row):
        return [ops.update(row, at(row, j - 1) * at(x, j) + at(x, i), j)]

    (row,) = for_loop(1, n, [zeros((n,))], trip)
    return at(row, dim_value(n) - 1)


def newton_with_runs_of_its_own(i, x):
    """The tape of the innermost loop holds several runs per trip of the outermost."""
    more = lambda y, k: greater(3.0, k)  # noqa: E731  # short

    def body(y, k):
        (y,) = for_loop(0, i, [y], lambda j, y: [tanh(y) * at(x, j) + 0.1])
        return [y - 0.3 * sin(y) * at(x, i), k + 1.0]

    return while_loop([at(x, i), zero()], more, body)[0]


@pytest.mark.parametrize(
    "inner",
    [
        recurrence,
        recurrence_to_the_index,
        newton,
        newton_with_runs_of_its_own,
        inner_logarithm,
        row_filled_in_place,
    ],
)
def test_inner_loops_that_must_run_twice(inner):
    """They are reversed where they stand; their tapes hold one trip of the outer loop."""
    f = checked(with_inner(inner), [(n,)], [numbers(4)])
    first = adjoint(f, optimized=True)
    outer = [op for op in first.body.ops if op.name == "for"]
    assert len(outer) == 1
    small, large = (cost(first, numbers(k), np.float64(1.0)) for k in (8, 32))
    assert large < 1.3 * 16 * small
    assert tape_elements(first, numbers(8), np.float64(1.0)) <= 64 + 8


def test_inner_loop_and_branch_add_to_one_cotangent():
    """Each outer trip costs what it does, whatever else the array holds."""

    def program(x, w):
        def outer(i, s):
            (s,) = for_loop(0, 3, [s], lambda j, s: [s + sin(at(x, j)) * at(w, i)])
            v = at(w, i)

            def deeper():
                return [s + for_loop(0, 2, [zero()], lambda j, t: [t + at(x, i) * at(x, j)])[0]]

            return branch(greater(v, 0.5), deeper, lambda: [s + v * at(x, 0)])

        return for_loop(0, n, [zero()], outer)

    f = checked(program, [(n,), (n,)], [numbers(5), numbers(5, seed=1)])
    first = adjoint(f, optimized=True)
    assert sum(op.name == "for" for op in first.body.ops) == 1
    small, large = (cost(first, numbers(k), numbers(k), np.float64(1.0)) for k in (8, 128))
    assert large < 1.3 * 16 * small


# --- not fused ----------------------------------------------------------------------------------


def test_not_where_the_seed_depends_on_the_result():
    f = checked(lambda x: log(added_up(x, lambda i: exp(at(x, i)))), [(n,)], [numbers(5)])
    assert loops(adjoint(f)) == 2


def test_not_where_the_seed_depends_on_what_follows():
    def program(x):
        s = added_up(x, lambda i: exp(at(x, i)))
        t = for_loop(0, n, [constant(1.0)], lambda i, t: [t * at(x, i)])[0]
        return s * t

    f = checked(program, [(n,)], [numbers(4)])
    assert loops(adjoint(f)) == 4


def test_not_where_a_carried_value_is_more_than_a_sum():
    def program(x):
        def trip(i, s, y):
            y = tanh(y + at(x, i))
            return s + y, y

        return for_loop(0, n, [zero(), zero()], trip)[0]

    f = checked(program, [(n,)], [numbers(5)])
    assert loops(adjoint(f)) == 2


@pytest.mark.parametrize(
    "trip",
    [
        lambda i, s, x: s + s * at(x, i),
        lambda i, s, x: at(x, i) - s,
        lambda i, s, x: at(x, i),
        lambda i, s, x: s + at(x, i) * tanh(s),
    ],
)
def test_not_where_the_sum_is_read(trip):
    f = checked(
        lambda x: for_loop(0, n, [constant(0.5)], lambda i, s: [trip(i, s, x)]),
        [(n,)],
        [numbers(5)],
    )
    assert loops(adjoint(f)) == 2


def test_not_where_an_array_is_written_and_read():
    def program(x):
        def trip(i, a, s):
            a = ops.update(a, sin(at(x, i)), i)
            return a, s + at(a, i) * at(a, 0)

        return for_loop(0, n, [zeros((n,)), zero()], trip)[1]

    f = checked(program, [(n,)], [numbers(5)])
    assert loops(adjoint(f)) == 2


def test_not_where_a_flag_ends_the_loop():
    def program(x):
        def more(i, s):
            return greater(dim_value(n), i)

        def body(i, s):
            (step,) = branch(
                greater(at(x, i), 0.9), lambda: [dim_value(n)], lambda: [constant(1, i64)]
            )
            return [i + step, s + sin(at(x, i))]

        return while_loop([constant(0, i64), zero()], more, body)[1]

    f = checked(program, [(n,)], [numbers(5)])
    assert loops(adjoint(f)) == 2


def test_not_within_a_loop_that_is_not():
    def program(x):
        return for_loop(
            0, n, [constant(1.0)], lambda i, y: [tanh(y * added_up(x, lambda j: sin(at(x, j))))]
        )

    f = checked(program, [(n,)], [numbers(4)])
    assert loops(adjoint(f)) > 2


def test_not_where_the_two_sweeps_are_to_be_apart():
    f = built(lambda x: added_up(x, lambda i: exp(at(x, i)) * at(x, i)), (n,))
    forward, back = cut(optimize(vjp(f, [0], apart=True)), 1, 1)
    x = numbers(4)
    value, *residuals = run(forward, x)
    (x_bar,) = run(back, *residuals, np.float64(2.0))
    np.testing.assert_allclose(value, np.sum(np.exp(x) * x))
    np.testing.assert_allclose(x_bar, 2.0 * np.exp(x) * (1.0 + x))
    assert [loops(f) for f in (forward, back)] == [1, 1]


def test_sizes_found_after_the_loop_are_not_there_before():
    def program(x):
        s = added_up(x, lambda i: exp(at(x, i)))
        where = ops.nonzero(greater(x, 0.5), size=symbol("count"))
        count = ops.cast(dim_value(symbol("count")), dtype=f64)
        return s * count + ops.sum(at(x, where), axes=(0,))

    f = checked(program, [(n,)], [numbers(6)])
    assert loops(adjoint(f)) == 2


# --- random nests -------------------------------------------------------------------------------


class Nest:
    """Draws nests of loops, most of which only add."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.room = 14

    def program(self, x, w, where):
        self.arrays, self.where = [x, w], where
        totals = self.block([zero(), zeros((n,))], [constant(0, i64)], [constant(0.7)], 0)
        s, bins = totals
        kind = self.random.choice([0, 0, 1, 2, 3])
        out = [s * 0.5, exp(s * 0.1), s + at(bins, 0), s - ops.sum(bins * w, axes=(0,))][kind]
        return out, bins

    def block(self, sums, ints, floats, depth):
        """Some statements that add to the sums: a number and an array."""
        floats = list(floats)
        for _ in range(self.random.randint(1, 3)):
            if self.room <= 0:
                break
            self.room -= 1
            sums = self.statement(sums, ints, floats, depth)
        return sums

    def value(self, ints, floats):
        kind = self.random.randrange(4)
        array, i = self.random.choice(self.arrays), self.random.choice(ints)
        if kind == 0:
            return at(array, i)
        if kind == 1:
            return at(array, at(self.where, i))
        if kind == 2:
            return self.random.choice(floats)
        return tanh(self.random.choice(floats) * at(array, i))

    def statement(self, sums, ints, floats, depth):
        s, bins = sums
        draw = self.random.randrange(9) if depth else 8
        if draw < 2:
            return [s + self.value(ints, floats) * self.value(ints, floats), bins]
        if draw == 2:
            return [s, ops.accumulate(bins, self.value(ints, floats), self.random.choice(ints))]
        if draw == 3:
            floats.append(sin(self.value(ints, floats)) + self.value(ints, floats))
            return sums
        if draw == 4:

            def arm():
                return self.block(sums, ints, floats, depth)

            test = greater(at(self.arrays[0], ints[-1]), 0.6)
            return list(branch(test, arm, arm if self.random.random() < 0.5 else lambda: sums))
        if draw == 5 and depth:  # a number that is not a sum, and no cotangent of which is known
            y = self.value(ints, floats)
            (y,) = for_loop(0, n, [y], lambda j, y: [tanh(y * 0.5) + at(self.arrays[0], j)])
            floats.append(y)
            return sums
        if draw == 6 and self.random.random() < 0.3:  # the sum is read: not to be fused
            return [s + s * 0.1 * self.value(ints, floats), bins]
        if depth >= 3:
            return sums
        lo, hi = self.random.choice([(0, n), (1, n), (0, 2), (ints[-1], n)])
        step = 1
        if isinstance(lo, int) and hi is n and self.random.random() < 0.3:
            lo, hi, step = dim_value(n) - 1, lo - 1, -1
        return list(
            for_loop(
                lo,
                hi,
                sums,
                lambda i, *sums: self.block(list(sums), [*ints, i], floats, depth + 1),
                step=step,
            )
        )


@pytest.mark.parametrize("seed", range(60))
def test_random_nests(seed):
    f = verify(built(Nest(seed).program, (n,), (n,), INDICES))
    given = [numbers(4), numbers(4, seed=1), np.array([2, 0, 2, 3])]
    optimized = seed % 2 == 1
    check_first(f, given, optimized=optimized)
    if seed % 3 == 0:
        check_second(f, given, optimized=optimized)
    apart = verify(vjp(f, [0, 1], apart=True))
    bars = draw(np.random.default_rng(0), run(f, *given))
    for one, other in zip(
        run(apart, *given, *bars), run(vjp(f, [0, 1]), *given, *bars), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)
    first = adjoint(f, optimized=True)
    costs = []
    for k in (4, 12):
        inputs = [numbers(k), numbers(k, seed=1), np.arange(k) // 2]
        bars = [np.ones((k,) * r.rank) for r in f.results]
        costs.append(cost(first, *inputs, *bars) / cost(f, *inputs))
    assert costs[1] <= 1.5 * costs[0] + 1.0, "it grows like the primal"
