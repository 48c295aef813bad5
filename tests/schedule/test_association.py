"""Sums and products that a recurrence waits for: what is known early comes first."""

import re

import numpy as np
import pytest

import tracegrad as tg
from tests.ops.building import built
from tests.schedule.region_programs import assert_all_forms_agree, lowered
from tracegrad import ops
from tracegrad.backend.emit import emit_loop_form
from tracegrad.ir.types import i64, symbol
from tracegrad.ops.control import branch, for_loop, while_loop
from tracegrad.ops.registry import REGISTRY, constant

n = symbol("n")
less = REGISTRY["less"]


def at(x, i):
    return ops.index(x, i)


def numbers(size, seed=0):
    return np.random.default_rng(seed).uniform(0.5, 1.5, size)


def source(function):
    return emit_loop_form(lowered(function))


def looped(trip, *starts):
    """The loop over x: f64[n] and w: f64[n] of ``trip(x[i], w[i], *carried)``."""

    def f(x, w):
        start = [constant(v) for v in starts]
        return for_loop(0, n, start, lambda i, *c: trip(at(x, i), at(w, i), *c))

    return built(f, (n,), (n,))


def agree(function):
    for size in (0, 1, 2, 9):
        given = numbers(size), numbers(size, 1)
        assert_all_forms_agree(function, *given, compiled=size == 9)


def test_what_waits_comes_last():
    f = looped(lambda x, w, y: [(y * 0.5 + x) - w * x], 1.0)
    assert re.search(r"y = in_advance\(.* - .*\) \+ .*y", source(f).replace("t1", "y"))
    agree(f)


@pytest.mark.parametrize("signs", range(8))
def test_signs(signs):
    """Whichever terms are subtracted, and in whatever order."""

    def trip(x, w, y):
        total = y * 0.1 - x if signs & 1 else x - y * 0.1
        total = w - total if signs & 2 else total - w
        return [x * w - total if signs & 4 else total + x * w]

    agree(looped(trip, 1.0))


def test_factors():
    f = looped(lambda x, w, y: [(y * x) * w * 0.5 + 0.1 * y], 1.0)
    assert "in_advance(" in source(f)
    agree(f)


def test_numbers_that_wait_for_each_other():
    def trip(x, w, y, z):
        flow = x * w * y * z * 0.1
        return y + (0.1 * x - flow), z + flow - w * z * 0.2 - 0.01

    f = looped(trip, 1.0, 0.5)
    assert "in_advance(" in source(f)
    agree(f)


def test_terms_in_branches():
    def trip(x, w, y):
        return branch(less(x, 1.0), lambda: [(y * 0.3 + x) + w * w], lambda: [y * 0.2 - w - x])

    agree(looped(trip, 1.0))


def test_while_loops():
    def f(x, w):
        def more(i, y):
            return less(i, 7)

        def trip(i, y):
            return i + 1, (y * 0.3 + at(x, i)) - at(w, i) * at(w, i)

        return while_loop([constant(0, i64), constant(1.0)], more, trip)[1]

    agree_at = built(f, (n,), (n,))
    assert "in_advance(" in source(agree_at)
    assert_all_forms_agree(agree_at, numbers(8), numbers(8, 1), compiled=True)


def test_a_term_that_others_read_too_is_left_whole():
    def trip(x, w, y, last):
        part = x + w
        moved = y * 0.5 + part
        return moved + x * x, moved * part

    agree(looped(trip, 1.0, 0.0))


# --- where it does not apply ------------------------------------------------------------------


@pytest.mark.parametrize(
    "trip",
    [
        lambda x, w, y: [y + x + w * x],
        lambda x, w, y: [x - w + y],
        lambda x, w, y: [y * x * w],
        lambda x, w, y: [x * w + w * x * x],
    ],
)
def test_sums_and_products_run_in_lanes(trip):
    """LLVM computes several trips at once of them; a number that stays apart would forbid it."""
    f = looped(trip, 1.0)
    assert "in_advance(" not in source(f)
    agree(f)


def some(x, w, total):
    return branch(less(x, 1.0), lambda: [total + x + w * x], lambda: [total])


def some_or_less(x, w, total):
    return branch(less(x, w), lambda: [total - x - w * x], lambda: [(total + w) - x * w])


def nested(x, w, total):
    inner = branch(less(w, 1.0), lambda: [total + w + w * x], lambda: [total])[0]
    return [inner - x - w]


@pytest.mark.parametrize("trip", [some, some_or_less, nested])
def test_sums_of_some_trips_run_in_lanes(trip):
    f = looped(lambda *given: list(trip(*given)), 1.0)
    assert "in_advance(" not in source(f)
    agree(f)


def decays(x, w, y):
    return branch(less(x, 1.0), lambda: [y * 0.5 + x + w * x], lambda: [y])


def is_read_beside(x, w, y):
    return branch(less(x, 1.0), lambda: [(y + x) - w * y - w], lambda: [y])


def decides(x, w, y):
    return branch(less(y, 1.0), lambda: [(y + x) - w * x - ops.exp(y * x)], lambda: [y])


@pytest.mark.parametrize("trip", [decays, is_read_beside, decides])
def test_numbers_in_branches_that_are_more_than_sums(trip):
    f = looped(lambda *given: list(trip(*given)), 1.0)
    assert "in_advance(" in source(f)
    agree(f)


def test_two_terms():
    f = looped(lambda x, w, y: [y * 0.5 + x], 1.0)
    assert "in_advance(" not in source(f)
    agree(f)


def test_only_where_sums_may_be_reassociated():
    def smoothed(x):
        y = 0.0
        for v in x:
            y = (0.5 * y + v) - 0.1 * v * v
        return y

    x = numbers(20)
    for fastmath in (True, False):
        f = tg.jit(smoothed, fastmath=fastmath)
        assert np.isclose(f(x), smoothed(x))
        assert ("in_advance(" in f.inspect_source()) == fastmath


def test_compensated_sums_stay_exact_without_fastmath():
    def compensated(x):
        total = 0.0
        lost = 0.0
        for v in x:
            more = v - lost
            new = total + more
            lost = (new - total) - more
            total = new
        return total

    x = np.array([1.0] + [1e-16] * 50)
    assert tg.jit(compensated, fastmath=False)(x) == compensated(x)
