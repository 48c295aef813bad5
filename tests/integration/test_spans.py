"""Slices with bounds known at run time: traced once for all trips, differentiated, scheduled."""

import numpy as np
import pytest

import tracegrad as tg
from tests.integration.span_programs import PROGRAMS
from tests.integration.stages import Stages, same
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
