"""Loops reversed segment by segment: the derivatives of plain loops, with less to keep."""

import random
from dataclasses import replace

import numpy as np
import pytest

from tests.transforms.programs import PROGRAMS
from tests.transforms.random_programs import arguments, random_program
from tests.transforms.reversal import adjoint, cost, draw, run, second, stored_by
from tracegrad import ops
from tracegrad.ir.builder import Builder
from tracegrad.ir.rewrite import Rewriter
from tracegrad.ir.types import ArrayType, f64, i64
from tracegrad.ir.verifier import verify
from tracegrad.ops.control import EACH_TRIP, ROOT, for_loop, while_loop
from tracegrad.passes import optimize
from tracegrad.transforms.custom import without_rules
from tracegrad.transforms.jvp import jvp
from tracegrad.transforms.vjp import gradient, vjp


class Marker(Rewriter):
    """Marks loops; with a seed some of them, each in another way."""

    def __init__(self, segments=ROOT, seed=None):
        super().__init__()
        self.segments = segments
        self.random = None if seed is None else random.Random(seed)

    def visit_control(self, op):
        new = self.rebuilt(op, range(len(op.results)))
        if op.name in ("for", "while"):
            segments = self.segments
            if self.random is not None:
                ways = [ROOT, 1, 3, None, EACH_TRIP if op.name == "for" else ROOT]
                segments = self.random.choice(ways)
            if segments is not None:
                new.attributes = {**op.attributes, "segments": segments}
        return new.results


def marked(function, segments=ROOT, seed=None):
    return verify(Marker(segments, seed).rewrite(function))


def check_same(function, other, given, optimized, seed=0):
    """Both adjoints, and the adjoints of these, give the same."""
    rng = np.random.default_rng(seed)
    results = run(function, *given)
    firsts = [adjoint(f, optimized=optimized) for f in (function, other)]
    bars = draw(rng, [r for r in results if r.dtype.kind == "f"])
    expected, found = (run(f, *given, *bars) for f in firsts)
    for a, b in zip(expected, found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10)
    bars += draw(rng, expected[len(results) :])
    twice = [second(f, first) for f, first in zip((function, other), firsts, strict=True)]
    expected, found = (run(f, *given, *bars) for f in twice)
    for a, b in zip(expected, found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_program_has_the_same_derivatives_in_segments(name):
    program = PROGRAMS[name]
    for seed, size in enumerate((4, 5)):
        given = program.arguments(size)
        check_same(program.function, marked(program.function), given, optimized=bool(seed))
        check_same(program.function, marked(program.function, seed=seed), given, bool(seed))


@pytest.mark.parametrize("block", range(4))
def test_random_programs_with_some_loops_in_segments(block):
    for seed in range(12 * block, 12 * block + 12):
        function = random_program(seed)
        other = marked(function, seed=seed)
        check_same(function, other, arguments(seed), bool(seed % 2), seed)


# --- what is kept -----------------------------------------------------------------------------


def recurrence(size, *, ends_early=False):
    """A state of ``size`` numbers that each trip changes; the trips are an argument."""
    with Builder() as build:
        x = build.param(ArrayType(f64, (size,)), "x")
        trips = build.param(ArrayType(i64), "trips")

        def step(u):
            return ops.sin(u) + u * u * 0.1

        if ends_early:
            (_, u) = while_loop(
                [trips - trips, x],
                lambda k, u: k < trips,
                lambda k, u: [k + 1, step(u)],
            )
        else:
            (u,) = for_loop(trips - trips, trips, [x], lambda i, u: [step(u)])
        return verify(build.function("f", [ops.sum(u, axes=(0,))]))


def most_kept(function, *given):
    """The elements of tapes that are there at once: those of a segment last as long as it does."""
    most = {}

    def observer(op, operands, results):
        stored = stored_by(op) if op.regions else ()
        size = sum(r.size for v, r in zip(op.results, results, strict=True) if v in stored)
        most[op] = max(size, most.get(op, 0))

    run(function, *given, observer=observer)
    return sum(most.values())


def kept(function, trips, size):
    return most_kept(gradient(function, [0]), np.linspace(0.1, 0.9, size), np.int64(trips))


@pytest.mark.parametrize("ends_early", [False, True])
def test_the_root_of_the_trips_is_kept(ends_early):
    function = recurrence(5, ends_early=ends_early)
    for trips in (100, 1600):
        assert kept(function, trips, 5) >= 5 * trips
        assert kept(marked(function), trips, 5) <= 5 * (2 * trips**0.5 + 2)


def test_a_number_of_segments_says_what_is_kept():
    function = recurrence(5)
    for segments in (4, 25):
        # States before each segment, and of the 100 / segments trips of one.
        expected = 5 * (segments + 100 // segments)
        assert kept(marked(function, segments), 100, 5) == expected


def test_trips_that_do_not_divide_evenly():
    function = recurrence(3)
    x = np.linspace(0.1, 0.9, 3)
    for segments in (ROOT, 1, 4, 100):
        both = [gradient(f, [0]) for f in (function, marked(function, segments))]
        for trips in (0, 1, 2, 3, 7, 13):
            expected, found = (run(f, x, np.int64(trips)) for f in both)
            for a, b in zip(expected, found, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-12)


@pytest.mark.parametrize(("ends_early", "times"), [(False, 1), (True, 2)])
def test_time_is_that_of_the_loop_once_more(ends_early, times):
    """Twice, if its trips have to be counted first."""
    function = recurrence(5, ends_early=ends_early)
    x, trips = np.linspace(0.1, 0.9, 5), np.int64(900)
    primal = cost(function, x, trips)
    plain = cost(gradient(function, [0]), x, trips)
    assert cost(optimize(gradient(marked(function), [0])), x, trips) <= plain + 1.3 * times * primal


def table(size):
    """An array that a loop fills, each element from the one before."""
    with Builder() as build:
        x = build.param(ArrayType(f64, (size,)), "x")

        def step(i, y):
            before = ops.index(y, i - 1)
            return [ops.update(y, ops.sin(before) * ops.index(x, i), i)]

        (y,) = for_loop(1, size, [x], step)
        return verify(build.function("f", [ops.sum(y, axes=(0,))]))


def test_what_a_table_still_holds_is_not_kept():
    """The table is part of the state, but nothing that is read of it changes later."""
    function = marked(table(64))
    assert most_kept(gradient(function, [0]), np.linspace(0.1, 0.9, 64)) == 0


def test_cotangents_of_what_a_segment_reads_are_added_in_place():
    """Zeros for each segment would cost the root of n times n."""
    costs = [
        cost(optimize(gradient(marked(table(size)), [0])), np.linspace(0.1, 0.9, size))
        for size in (64, 1024)
    ]
    assert costs[1] < 1.2 * 16 * costs[0]


# --- what becomes of the mark -----------------------------------------------------------------


def marks(function):
    return [op.attributes["segments"] for op in function.walk() if "segments" in op.attributes]


def test_forward_mode_keeps_the_mark():
    assert marks(jvp(marked(recurrence(3), 7), [0])) == [7]
    assert marks(optimize(jvp(marked(recurrence(3, ends_early=True), 7), [0]))) == [7]


def test_both_loops_of_a_gradient_are_computed_again_in_its_own():
    first = optimize(gradient(marked(recurrence(5)), [0]))
    assert marks(first) == [EACH_TRIP, EACH_TRIP]
    twice = vjp(first, [0])
    x = np.linspace(0.1, 0.9, 5)
    for trips in (100, 1600):
        kept = most_kept(twice, x, np.int64(trips), np.float64(1.0), np.ones(5))
        assert kept <= 5 * (8 * trips**0.5 + 8)


def test_a_kernel_has_plain_loops():
    function = without_rules(gradient(marked(recurrence(5, ends_early=True)), [0]))
    assert not marks(verify(function))


def test_loops_that_only_add_keep_nothing_anyway():
    with Builder() as build:
        x = build.param(ArrayType(f64, (9,)), "x")
        zero = ops.const(value=0.0, dtype=f64)
        (s,) = for_loop(0, 9, [zero], lambda i, s: [s + ops.sin(ops.index(x, i))])
        function = replace(verify(build.function("f", [s])))
    assert most_kept(gradient(marked(function), [0]), np.ones(9)) == 0
