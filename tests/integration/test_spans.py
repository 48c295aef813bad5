"""Slices with bounds known at run time: traced once for all trips, differentiated, scheduled."""

import numpy as np
import pytest

import tracegrad as tg
from tests.integration.span_programs import PROGRAMS
from tests.integration.stages import Stages, same
from tracegrad.ir.interpreter import evaluate
from tracegrad.testing.numerics import assert_close, numerical_jvp


def floats(args):
    return tuple(k for k, a in enumerate(args) if np.asarray(a).dtype.kind == "f")


def agree(stages, fun, args, rtol):
    """Each stage gives the value and, along a direction, the derivative by differences."""
    value = fun(*args)
    assert_close(stages.value(), value, 1e-12, "traced")
    found = stages.transformed()
    assert_close(found[0], value, 1e-12, "transformed")
    rng = np.random.default_rng(0)
    tangents = [rng.normal(size=a.shape) if k in floats(args) else None for k, a in enumerate(args)]
    expected = numerical_jvp(fun, args, tangents, 1e-4)
    moved = [t for t in tangents if t is not None]
    total = sum(np.sum(bar * t) for bar, t in zip(found[1:], moved, strict=True))
    assert_close(total, expected, rtol, "gradient")
    same(stages.optimized(), found, 1e-10, "optimized")
    same(stages.array_source(), found, 1e-10, "array form")
    same(stages.plain(), found, 1e-10, "loop form")


@pytest.mark.parametrize("name", PROGRAMS)
def test_slices_are_traced_and_differentiated(name):
    fun, args = PROGRAMS[name]
    stages = Stages(fun, args)
    agree(stages, fun, args, 1e-6)
    names = {op.name for op in stages.traced.function.walk()}
    assert names & {"for", "while"}, "the loop was unrolled"


@pytest.mark.parametrize("name", PROGRAMS)
def test_gradients_of_slices_are_differentiated(name):
    fun, args = PROGRAMS[name]
    gradient = tg.grad(fun, argnums=floats(args))
    rng = np.random.default_rng(1)
    weights = [rng.normal(size=args[k].shape) for k in floats(args)]

    def slope(*args):
        total = 0.0
        for bar, weight in zip(gradient(*args), weights, strict=True):
            total = total + np.sum(bar * weight)
        return total

    agree(Stages(slope, args), slope, args, 1e-5)


def test_slices_of_different_lengths_are_an_error_at_run_time():
    fun, args = PROGRAMS["slices_compared_at_run_time"]
    stages = Stages(fun, args)
    x, y, first, _ = stages.arguments
    with pytest.raises(ValueError, match="could not be broadcast together"):
        evaluate(stages.traced.function, x, y, first, np.array([4, 1, 6]))


def test_a_window_beyond_the_array_is_an_error_at_run_time():
    def program(x, starts):
        s = 0.0
        for g in range(starts.shape[0]):
            k = starts[g]
            s += np.sum(x[k : k + 3] ** 2)
        return s

    x = np.arange(9.0)
    stages = Stages(program, (x, np.array([0, 6, 3, 2])))
    assert stages.value() == program(x, np.array([0, 6, 3, 2]))
    for beyond in (7, -1):
        with pytest.raises(IndexError, match="beyond the array"):
            evaluate(stages.traced.function, x, np.array([0, beyond, 3, 2]))


@pytest.mark.parametrize("length", [1, 2, 7])
def test_one_trace_serves_all_sizes(length):
    def program(x):
        s = 0.0
        for i in range(x.shape[0]):
            s += np.sum(x[:i] * x[: -i - 1 : -1][:i]) + np.prod(x[i:]) + np.sum(x[i + 1 : -1])
        return s

    traced = Stages(program, (np.arange(1.0, 6.0),)).traced.function
    x = np.linspace(0.5, 1.5, length)
    (found,) = evaluate(traced, x)
    assert_close(found, program(x), 1e-12)


def test_an_array_whose_length_depends_on_the_trip_is_not_carried():
    def program(x):
        part = x[:1]
        for i in range(1, x.shape[0]):
            part = x[:i] + np.sum(part)
        return np.sum(part)

    with pytest.raises(tg.errors.TracegradError):
        Stages(program, (np.ones(100),))


def test_what_later_trips_write_over_is_stored():
    """The slice that is read is written in a later trip: it can't be read again from the array."""

    def program(x):
        y = x.copy()
        s = 0.0
        for i in range(1, x.shape[0]):
            s += np.sum(np.sin(y[:i]))
            y[i - 1 : i + 1] = y[i - 1 : i + 1] ** 2 * 0.9
            y[: i - 1] *= x[i]
        return s + np.sum(y**2)

    args = (np.linspace(0.3, 1.2, 6),)
    agree(Stages(program, args), program, args, 1e-6)


def test_slices_of_two_loops_over_one_array():
    """Read in one inner loop, written by the next: in every trip but the last one also later."""

    def program(x):
        y = x.copy()
        s = 0.0
        n = x.shape[0]
        for i in range(n):
            for j in range(i, n):
                s += np.sum(y[i:j] ** 2) * x[j]
            for j in range(i, n):
                y[j:] = np.cos(y[j:]) * x[i]
        return s

    args = (np.linspace(0.3, 1.2, 5),)
    agree(Stages(program, args), program, args, 1e-6)


def test_a_stored_bound_is_bound_again_on_the_way_back():
    """The length of a slice is made of both bounds: each must be that of the trip, not a number."""

    def program(x, bounds):
        y = x * 1.0
        n = x.shape[0]
        for i in range(1, n):
            y[i : i // 2] *= 0.8
            y[i // 2 : bounds[i] // 2 + 1] *= x[i]
        return np.sum(y * x)

    args = (np.linspace(0.3, 1.2, 9), np.array([3, 9, 1, 16, 5, 8, 2, 14, 11]))
    agree(Stages(program, args), program, args, 1e-6)


def test_a_stored_bound_of_a_branch_is_bound_again_in_its_arm():
    def program(x, bounds):
        y = x * 1.0
        for i in range(1, x.shape[0]):
            if x[i] > 0.5:
                y[i : bounds[i] // 2 + i // 2] *= y[i] * 0.8
        return np.sum(y * x)

    args = (np.linspace(0.3, 1.2, 9), np.array([3, 9, 1, 16, 5, 8, 2, 14, 11]))
    agree(Stages(program, args), program, args, 1e-6)


def test_a_slice_may_begin_at_the_end():
    """Its length is only known at run time: it is empty, as it is in NumPy."""

    def program(x, k):
        y = x * 1.0
        y[len(x) : k[0]] = np.sin(y[len(x) : k[0]]) * 2.0
        return np.sum(x[len(x) : k[0]] * 2.0) + np.sum(y * x)

    for end in (12, 4, -1):
        args = (np.linspace(0.3, 1.2, 12), np.array([end]))
        agree(Stages(program, args), program, args, 1e-6)
