"""Stores that reach no read are dropped, and zeros that no store has reached are known."""

import random

import numpy as np
import pytest

from tests.ops.building import built
from tests.schedule.region_programs import assert_all_forms_agree, lowered
from tracegrad import ops
from tracegrad.ir.builder import Builder
from tracegrad.ir.types import ArrayType, f64, i64, symbol
from tracegrad.ir.verifier import verify
from tracegrad.ops.access import full, zeros
from tracegrad.ops.constants import dim_value
from tracegrad.ops.control import branch, for_loop
from tracegrad.ops.registry import REGISTRY, constant
from tracegrad.schedule import regions

n = symbol("n")


def at(x, index):
    return ops.index(x, constant(index, i64) if isinstance(index, int) else index)


def numbers(size, seed=0):
    return np.random.default_rng(seed).uniform(0.5, 1.5, size)


def accesses(function, name):
    """How many reads or stores there are, of arrays that the function makes."""
    loops = lowered(function)
    own = {op.result for op in loops.walk() if op.name == "alloc"}
    return sum(op.name == name and not own.isdisjoint(op.operands) for op in loops.walk())


def shifted(offset, step=1):
    """The sum of what a loop reads, ``offset`` places from where it then writes."""

    def f(x):
        lo, hi = constant(2, i64), dim_value(n) - 2
        if step < 0:
            lo, hi = hi - 1, lo - 1

        def trip(i, y, total):
            read = at(y, i + offset)
            return ops.update(y, read * 0.5 + at(x, i), i), total + read

        start = [zeros((n,)), constant(0.0)]
        return for_loop(lo, hi, start, trip, step=step)[1]

    return built(f, (n,))


@pytest.mark.parametrize("step", [1, -1])
def test_zeros_ahead_of_the_stores_are_known(step):
    f = shifted(2 * step, step)
    assert accesses(f, "load") == 0
    assert accesses(f, "store") == 0
    assert_all_forms_agree(f, numbers(9), compiled=True)


@pytest.mark.parametrize("step", [1, -1])
def test_what_a_later_trip_reads_is_stored(step, monkeypatch):
    monkeypatch.setattr(regions, "keep_in_registers", lambda loops: loops)
    f = shifted(-2 * step, step)
    assert accesses(f, "load") == 1
    assert accesses(f, "store") == 1
    assert_all_forms_agree(f, numbers(9))


def test_the_same_place_is_read_before_or_after_its_store(monkeypatch):
    monkeypatch.setattr(regions, "keep_in_registers", lambda loops: loops)

    def after(x):
        def trip(i, y, total):
            y = ops.update(y, at(x, i), i)
            return y, total + at(y, i)

        return for_loop(0, n, [zeros((n,)), constant(0.0)], trip)[1]

    assert accesses(shifted(0), "load") == accesses(shifted(0), "store") == 0
    assert accesses(built(after, (n,)), "store") == 1
    assert_all_forms_agree(built(after, (n,)), numbers(5))


def test_results_are_stored():
    def f(x):
        return for_loop(0, n, [zeros((n,))], lambda i, y: (ops.update(y, at(x, i) + at(y, i), i),))

    f = built(f, (n,))
    assert (accesses(f, "load"), accesses(f, "store")) == (0, 1)
    assert_all_forms_agree(f, numbers(5), compiled=True)


def test_the_first_addition_to_a_place_is_a_store():
    def f(x):
        def trip(i, y):
            y = ops.accumulate(y, at(x, i), i)
            return (ops.accumulate(y, at(x, i), i + 1),)

        return for_loop(0, dim_value(n) - 1, [zeros((n,))], trip)

    def g(x):
        return for_loop(0, n, [zeros((n,))], lambda i, y: (ops.accumulate(y, at(x, i), i),))

    assert accesses(built(g, (n,)), "add_store") == 0
    for each in (f, g):
        assert_all_forms_agree(built(each, (n,)), numbers(6))


def test_ranges_of_loops_that_do_not_meet():
    """A later loop reads what no trip of the first one has come to."""

    def reads(first):
        def f(x, size):
            def trip(i, y):
                return (ops.update(y, at(x, i), i),)

            (y,) = for_loop(1, dim_value(n) + 1, [zeros((n + 2,))], trip)
            return at(y, first) + at(y, dim_value(n) + 1)

        return built(f, (n + 2,), (n,))

    assert accesses(reads(0), "load") == 0
    assert accesses(reads(1), "load") == 1
    for first in (0, 1):
        assert_all_forms_agree(reads(first), numbers(5), numbers(3))


def test_inner_loops_and_indices_of_indices_are_let_alone():
    def inner(x):
        def trip(i, y, total):
            def sweep(j, y, total):
                read = at(y, j)
                return ops.update(y, read + at(x, j), j), total + read * read

            return for_loop(0, n, [y, total], sweep)

        return for_loop(0, 3, [zeros((n,)), constant(0.0)], trip)[1]

    f = built(inner, (n,))
    assert accesses(f, "load") == accesses(f, "store") == 1
    assert_all_forms_agree(f, numbers(4))


# --- random programs --------------------------------------------------------------------------


def program(seed):
    """Loops one after the other over three arrays, which read and write around their index."""
    draw = random.Random(seed)
    with Builder() as build:
        x = build.param(ArrayType(f64, (n + 4,)), "x")
        build.param(ArrayType(f64, (n,)), "size")
        arrays = [zeros((n + 4,)), zeros((n + 4,)), full((n + 4,), 0.5)]
        total = constant(0.0)

        def place(i):
            return i + draw.choice([-2, -1, 0, 0, 1, 2])

        def trip(i, *carried):
            state = list(carried)
            for _ in range(draw.randint(1, 4)):
                k = draw.randint(0, 2)
                kind = draw.choice(["read", "write", "add", "choice"])
                if kind == "read":
                    state[3] = state[3] * 0.9 + at(state[k], place(i)) * at(x, i)
                elif kind == "write":
                    state[k] = ops.update(state[k], state[3] * 0.3 + at(x, place(i)), place(i))
                elif kind == "add":
                    state[k] = ops.accumulate(state[k], at(x, i) * 0.2, place(i))
                else:
                    state[k], state[3] = branch(
                        REGISTRY["less"](at(x, i), 1.0),
                        lambda k=k: (ops.update(state[k], state[3] * 0.1, place(i)), state[3]),
                        lambda k=k: (state[k], state[3] + at(state[k], place(i))),
                    )
            return state

        for _ in range(draw.randint(1, 3)):
            lo, hi, step = constant(2, i64), dim_value(n) + 2, draw.choice([1, -1])
            if step < 0:
                lo, hi = hi - 1, lo - 1
            *arrays, total = for_loop(lo, hi, [*arrays, total], trip, step=step)
            if draw.random() < 0.5:
                total = total + at(arrays[draw.randint(0, 2)], draw.choice([0, 1, 2, 3]))
        found = [total, *(a for a in arrays if draw.random() < 0.4)]
        return verify(build.function("program", found))


@pytest.mark.parametrize("part", range(4))
def test_random_programs(part):
    for seed in range(part * 40, part * 40 + 40):
        size = (0, 1, 2, 5, 9)[seed % 5]
        assert_all_forms_agree(
            program(seed), numbers(size + 4, seed), numbers(size), compiled=seed % 40 == 1
        )
