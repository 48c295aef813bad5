"""Recurrences in strips: what is computed apart, every size, and where loops stay whole."""

import os
import random

import numpy as np
import pytest

from tests.ops.building import built
from tests.schedule.region_programs import assert_all_forms_agree, executed, lowered
from tracegrad import ops
from tracegrad.backend.emit import emit_loop_form
from tracegrad.ir.builder import Builder
from tracegrad.ir.types import ArrayType, f64, i64, scalar, symbol
from tracegrad.ir.verifier import verify
from tracegrad.ops.access import full, zeros
from tracegrad.ops.constants import dim_value
from tracegrad.ops.control import branch, for_loop, while_loop
from tracegrad.ops.registry import REGISTRY, constant
from tracegrad.passes import finish, optimize
from tracegrad.schedule import recurrence_plan, recurrence_strips
from tracegrad.transforms.vjp import gradient

n = symbol("n")
exp, log, greater, less, abs_of = (
    REGISTRY[name] for name in ("exp", "log", "greater", "less", "absolute")
)


def at(x, *indices):
    return ops.index(x, *[constant(i, i64) if isinstance(i, int) else i for i in indices])


def numbers(size, seed=0):
    return np.random.default_rng(seed).uniform(0.5, 1.5, size)


def kinds(function):
    found = [op.attributes.get("kind") for op in lowered(function).walk() if op.name == "for"]
    return [kind for kind in found if kind in ("ahead", "in turn", "lanes")]


def step(x, i, h):
    """A recurrence that waits for little."""
    return 0.8 * h + 0.1 * at(x, i)


def likelihood(x):
    def trip(i, h, total):
        return step(x, i, h), total + log(h) + at(x, i) / h

    return for_loop(0, n, [constant(1.0), constant(0.0)], trip)


# --- what is apart ----------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 127, 128, 129, 300])
def test_a_logarithm_of_the_state_comes_after_the_recurrence(size):
    f = built(likelihood, (n,))
    assert kinds(f) == ["in turn", "lanes"]
    assert_all_forms_agree(f, numbers(size), compiled=size in (0, 129))


@pytest.mark.parametrize("size", [0, 1, 130])
def test_an_exponential_that_the_recurrence_reads_comes_before_it(size):
    def f(x):
        return for_loop(0, n, [constant(1.0)], lambda i, h: [h * exp(-at(x, i)) + 0.5])

    f = built(f, (n,))
    assert kinds(f) == ["ahead", "in turn"]
    assert_all_forms_agree(f, numbers(size), compiled=size > 1)


@pytest.mark.parametrize("bounds", [(2, 0, 1), (0, 3, 1), (1, 1, -1), (0, 0, -1)])
@pytest.mark.parametrize("size", [4, 131])
def test_loops_that_begin_later_or_count_down(bounds, size):
    first, last, by = bounds

    def f(x):
        lo, hi = constant(first, i64), dim_value(n) - last
        if by < 0:
            lo, hi = hi - 1, lo - 1

        def trip(i, h, total):
            number = REGISTRY["cast"](i, dtype=f64)
            return step(x, i, h) + number * 1e-3, total + log(h) * at(x, i) * number

        return for_loop(lo, hi, [constant(1.0), constant(0.0)], trip, step=by)

    f = built(f, (n,))
    assert kinds(f) == ["in turn", "lanes"]
    assert_all_forms_agree(f, numbers(size), compiled=size > 4)


@pytest.mark.parametrize("ends", [(0, 0), (2, 1), (1, 140), (-3, 130), (5, 200)])
@pytest.mark.parametrize("by", [1, -1])
def test_bounds_found_at_run_time(ends, by):
    """Also negative indices, which are numbers like others."""

    def f(x, lo, hi):
        def trip(i, h, total):
            number = REGISTRY["cast"](i, dtype=f64)
            return 0.9 * h + at(x, 0), total + log(h) * number

        return for_loop(lo, hi, [constant(1.0), constant(0.0)], trip, step=by)

    f = built(f, (n,), scalar(i64), scalar(i64))
    assert kinds(f) == ["in turn", "lanes"]
    assert_all_forms_agree(f, numbers(2), *map(np.int64, ends[::by]), compiled=ends == (-3, 130))


@pytest.mark.parametrize("size", [1, 130])
def test_adjoints(size):
    """The derivative of a step at states on the tape is computed ahead of the cotangents."""

    def f(x):
        def trip(i, h, total):
            s = at(x, i)
            [scale] = branch(less(s, 1.0), lambda: [s * 0.3], lambda: [s * 0.1])
            return 0.2 + scale * s + 0.7 * h, total + log(h) + s * s / h

        return for_loop(0, n, [constant(1.0), constant(0.0)], trip)[1]

    first = finish(optimize(gradient(built(f, (n,)), [0])))
    assert kinds(first).count("in turn") == 2
    assert kinds(first).count("ahead") == 1
    assert_all_forms_agree(first, numbers(size), compiled=size > 1)


def test_sums_in_branches():
    """What a branch does not take is not added, be it infinite or no number at all."""

    def f(x):
        def trip(i, h, total, other):
            s = at(x, i)

            def low():
                return total + log(h), other

            def high():
                return branch(
                    greater(s, 1.4),
                    lambda: (total, other - log(s - 1.45)),
                    lambda: (total, other + log(h * s)),
                )

            total, other = branch(less(s, 0.9), low, high)
            return step(x, i, h), total, other + log(s)

        return for_loop(0, n, [constant(1.0), constant(0.0), constant(0.0)], trip)

    f = built(f, (n,))
    assert kinds(f) == ["in turn", "lanes"]
    found = assert_all_forms_agree(f, np.clip(numbers(200), 0.5, 1.4), compiled=True)
    assert np.all(np.isfinite(found))


def test_states_that_are_stored_are_read_where_they_are():
    def f(x):
        def trip(i, h, kept, total):
            return step(x, i, h), ops.update(kept, h, i), total + log(h)

        return for_loop(0, n, [constant(1.0), zeros((n,)), constant(0.0)], trip)

    f = built(f, (n,))
    source = emit_loop_form(lowered(f))
    assert kinds(f) == ["in turn", "lanes"]
    assert "states" not in source
    assert_all_forms_agree(f, numbers(130), compiled=True)


def test_writes_of_what_comes_after():
    """Each trip writes to its own places, and reads there what was before."""

    def f(x):
        def trip(i, h, out):
            out = ops.update(out, log(h) + at(out, i, 1), i, constant(0, i64))
            out = ops.accumulate(out, at(out, i, 0) * h, i, constant(1, i64))
            return step(x, i, h), out

        return for_loop(0, n, [constant(1.0), full((n, 2), 0.5)], trip)

    f = built(f, (n,))
    assert kinds(f) == ["in turn", "lanes"]
    assert_all_forms_agree(f, numbers(131), compiled=True)


# --- where it does not apply ------------------------------------------------------------------


def stays(function, *given, **options):
    f = built(function, (n,), **options)
    assert kinds(f) == []
    assert_all_forms_agree(f, *(given or [numbers(9)]))


def test_a_loop_without_a_recurrence_is_left_to_others():
    stays(lambda x: for_loop(0, n, [constant(0.0)], lambda i, s: [s + log(at(x, i))]))


def test_little_work():
    stays(
        lambda x: for_loop(
            0, n, [constant(1.0), constant(0.0)], lambda i, h, s: (step(x, i, h), s + h * h)
        )
    )


def test_a_sum_that_the_next_trip_reads():
    def trip(x):
        return lambda i, h, s: (step(x, i, h) + s * 1e-3, s + log(h))

    stays(lambda x: for_loop(0, n, [constant(1.0), constant(0.0)], trip(x)))


def test_a_sum_that_is_written_down_in_each_trip():
    """What is stored of the sum is not the sum at the end: it is a recurrence itself."""

    def f(x):
        def trip(i, h, s, out):
            s = s + h
            return step(x, i, h), s, ops.update(out, s, i)

        return for_loop(0, n, [constant(1.0), constant(0.0), zeros((n,))], trip)

    stays(f)


def test_a_loop_that_may_end_early():
    def f(x):
        def more(i, h, s):
            return REGISTRY["logical_and"](less(i, dim_value(n)), less(s, 3.0))

        def trip(i, h, s):
            return i + 1, step(x, i, h), s + log(h + 1.0)

        return while_loop([constant(0, i64), constant(1.0), constant(0.0)], more, trip)

    stays(f)


def test_the_way_back_of_a_while():
    def f(x):
        def trip(y):
            return [0.5 * (y + at(x, 0) / y)]

        def more(y):
            return greater(abs_of(y * y - at(x, 0)), 1e-12)

        return while_loop([at(x, 0)], more, trip)[0]

    first = finish(optimize(gradient(built(f, (n,)), [0])))
    assert kinds(first) == []
    assert_all_forms_agree(first, numbers(2))


def test_places_that_trips_share():
    """Reads of what the trip before wrote, and additions to one place, stay in order."""

    def f(x):
        def trip(i, y, bins):
            v = at(y, i - 1) * 0.5 + at(x, i)
            y = ops.update(y, log(v + 1.0), i)
            where = REGISTRY["cast"](greater(v, 1.0), dtype=i64)
            return y, ops.update(bins, at(bins, where) * 0.5 + exp(v), where)

        return for_loop(1, n, [x * 1.0, zeros((2,))], trip)

    f = built(f, (n,))
    assert kinds(f) == []
    assert_all_forms_agree(f, numbers(131))


def test_a_carried_array_that_takes_turns_with_another():
    def f(x):
        def trip(i, u, v, s):
            w = v * 0.5 + at(x, i)
            return w, u, s + log(at(u, 0) + at(v, 1))

        return for_loop(0, n, [full((2,), 1.0), full((2,), 2.0), constant(0.0)], trip)

    f = built(f, (n,))
    assert_all_forms_agree(f, numbers(131), compiled=True)


def test_short_loops():
    f = built(likelihood, (n,))
    for size, expected in ((10, []), (100, ["in turn", "lanes"])):
        hinted = verify(f)
        hinted.hints = {"n": size}
        assert kinds(hinted) == expected


def test_errors_keep_their_order():
    def f(x):
        def trip(i, h, total):
            def refused():
                REGISTRY["raise"](kind="ValueError", message="too large")
                return []

            branch(greater(log(h), 1.0), refused, list)
            where = REGISTRY["cast"](h, dtype=i64)
            return h + at(x, i), total + exp(-at(x, where))

        return for_loop(0, n, [constant(0.0), constant(0.0)], trip)

    f = built(f, (n,))
    assert_all_forms_agree(f, np.full(100, 0.01))
    with pytest.raises(ValueError, match="too large"):
        executed(f, np.full(10, 0.5))
    with pytest.raises(IndexError):
        executed(f, np.array([2.0, 9.0]))


def test_a_read_that_an_error_guards_is_not_made_before():
    """In the trips of a strip that never come, an index may be out of range."""

    def f(x, m):
        def trip(i, h):
            def refused():
                REGISTRY["raise"](kind="ValueError", message="the end")
                return []

            branch(REGISTRY["greater_equal"](i, dim_value(n)), refused, list)
            return [h * exp(at(x, i)) * 0.1 + 1.0]

        return for_loop(0, m, [constant(0.0)], trip)

    f = built(f, (n,), scalar(i64))
    assert "ahead" not in kinds(f)
    assert_all_forms_agree(f, numbers(5), np.int64(5))
    with pytest.raises((ValueError, IndexError)):
        executed(f, numbers(5), np.int64(9))


# --- random bodies ----------------------------------------------------------------------------


class Body:
    """A random function of x: f64[n + 2]: one loop, or one in another, over what a trip may do."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def function(self):
        with Builder() as build:
            x = build.param(ArrayType(f64, (n + 2,)), "x")
            by = self.random.choice([1, 1, -1])
            build.param(ArrayType(f64, (n,)), "size")
            lo, hi = constant(0, i64), dim_value(n)
            if by < 0:
                lo, hi = hi - 1, constant(-1, i64)
            arrays = [full((n + 2,), 0.25), zeros((n + 2, 2)), zeros((3,))]
            start = [constant(1.0), constant(0.5), constant(0.0), constant(0.0), *arrays]
            start += [constant(0.3), constant(-0.2)]
            found = for_loop(lo, hi, start, lambda i, *c: self.trip(x, i, list(c)), step=by)
            return verify(build.function("program", found))

    def trip(self, x, i, carried):
        pool = [*carried[:2], at(x, i), constant(0.7)]
        earlier = carried[7:]
        pool += self.random.sample(earlier, self.random.randint(0, 2))
        for _ in range(self.random.randint(3, 9)):
            kind = self.random.choice(["value", "value", "sum", "read", "write", "choice", "turn"])
            getattr(self, kind)(x, i, carried, pool)
        for k in (0, 1):
            if self.random.random() < 0.8:
                carried[k] = 0.5 * carried[k] + 0.1 * self.random.choice(pool)
            else:
                carried[k] = self.random.choice(pool)
        carried[7] = self.picked(pool)
        carried[8] = self.random.choice([earlier[0], earlier[0] * self.picked(pool), carried[0]])
        return carried

    def picked(self, pool):
        return self.random.choice(pool[-4:] if self.random.random() < 0.7 else pool)

    def value(self, x, i, carried, pool):
        v, w = self.picked(pool), self.picked(pool)
        made = self.random.choice(
            [
                lambda: log(v * v + 1.0),
                lambda: exp(-(v * v)) + w,
                lambda: v / (w * w + 1.0),
                lambda: ops.tanh(v - w),
                lambda: v * 0.5 - w,
            ]
        )
        pool.append(made())

    def sum(self, x, i, carried, pool):
        k = self.random.choice([2, 3])
        v = self.picked(pool)
        carried[k] = carried[k] + v if self.random.random() < 0.7 else carried[k] - v
        if self.random.random() < 0.1:
            pool.append(carried[k])

    def place(self, i):
        return i if self.random.random() < 0.7 else i + self.random.choice([1, 2])

    def read(self, x, i, carried, pool):
        made = self.random.choice(
            [
                lambda: at(x, self.place(i)),
                lambda: at(carried[4], self.place(i)),
                lambda: at(carried[5], self.place(i), self.random.choice([0, 1])),
                lambda: at(carried[6], self.random.choice([0, 1, 2])),
            ]
        )
        pool.append(made())

    def write(self, x, i, carried, pool):
        v = self.picked(pool)
        change = self.random.choice([ops.update, ops.accumulate])
        k = self.random.choice([4, 4, 5, 5, 6])
        indices = {
            4: lambda: [self.place(i)],
            5: lambda: [self.place(i), constant(self.random.choice([0, 1]), i64)],
            6: lambda: [constant(self.random.choice([0, 1, 2]), i64)],
        }[k]()
        carried[k] = change(carried[k], v * 0.5, *indices)

    def choice(self, x, i, carried, pool):
        k = self.random.choice([2, 3])
        v, w = self.picked(pool), self.picked(pool)
        old = carried[k]
        found = self.random.choice(
            [
                lambda: branch(less(v, w), lambda: [old + v, w], lambda: [old, v * w]),
                lambda: branch(less(v, 0.5), lambda: [old - w, v], lambda: [old + exp(-v * v), w]),
                lambda: branch(less(w, 0.5), lambda: [v, old], lambda: [old * 0.5, w]),
                lambda: branch(
                    less(w, 0.5),
                    lambda: branch(less(v, 0.2), lambda: [old + v, v], lambda: [old + w + v, w]),
                    lambda: [old, at(x, i)],
                ),
            ]
        )()
        carried[k], more = found
        pool.append(more)

    def turn(self, x, i, carried, pool):
        """A short loop in the trip."""
        v = self.picked(pool)
        found = for_loop(
            0,
            2,
            [v, carried[3]],
            lambda j, a, s: [a * 0.5 + at(x, i + j), s + a],
        )
        carried[3] = found[1]
        pool.append(found[0])


PROGRAMS = int(os.environ.get("TRACEGRAD_PROGRAMS", "200"))


@pytest.fixture
def everywhere(monkeypatch):
    """Strips of three trips, wherever they are allowed; how often that was."""
    made = []

    def counted(loop, memories):
        found = recurrence_plan.plan(loop, memories)
        if found is not None:
            made.append(loop)
        return found

    monkeypatch.setattr(recurrence_strips, "plan", counted)
    for module, name, value in (
        (recurrence_strips, "STRIP", 3),
        (recurrence_strips, "SHORT", 0),
        (recurrence_plan, "AHEAD", 1.0),
        (recurrence_plan, "PER_ROW", 0.0),
        (recurrence_plan, "AFTER", 0.5),
        (recurrence_plan, "PER_STATE", 0.0),
        (recurrence_plan, "SHARE", 0.0),
    ):
        monkeypatch.setattr(module, name, value)
    return made


@pytest.mark.parametrize("part", range(4))
def test_random_bodies(part, everywhere):
    count = PROGRAMS // 4
    for seed in range(part * count, (part + 1) * count):
        f = Body(seed).function()
        size = (0, 1, 3, 4, 7)[seed % 5]
        assert_all_forms_agree(
            f, numbers(size + 2, seed), numbers(size), compiled=seed % 50 == 1, rtol=1e-9
        )
        if seed % 4 == 0:
            first = finish(optimize(gradient(optimize(f), [0], of=2)))
            assert_all_forms_agree(first, numbers(size + 2, seed), numbers(size), rtol=1e-8)
    assert len(everywhere) > count // 3
