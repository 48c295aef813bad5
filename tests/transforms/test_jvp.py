"""Forward mode on every program of the IR: against differences, and against reverse mode."""

import numpy as np
import pytest

from tests.transforms.programs import PROGRAMS
from tests.transforms.random_programs import (
    arguments,
    random_program,
    random_table,
    table_arguments,
)
from tests.transforms.reversal import adjoint, floats, run
from tracegrad.ir.verifier import verify
from tracegrad.passes import optimize
from tracegrad.testing.numerics import numerical_jvp
from tracegrad.transforms.jvp import jvp

every_program = pytest.mark.parametrize("name", PROGRAMS)


def forward(function, *, optimized=False):
    result = verify(jvp(function, floats(function)))
    return verify(optimize(result)) if optimized else result


def directions(rng, function, given):
    return [np.asarray(rng.normal(size=np.shape(given[k]))) for k in floats(function)]


def check(function, given, *, rtol=1e-6, optimized=False, seed=0):
    """The values are those of the function, the tangents those of central differences."""
    rng = np.random.default_rng(seed)
    derived = forward(function, optimized=optimized)
    values = run(function, *given)
    dots = directions(rng, function, given)
    found = run(derived, *given, *dots)
    for a, b in zip(found[: len(values)], values, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)
    tangents = [None] * len(given)
    for k, dot in zip(floats(function), dots, strict=True):
        tangents[k] = dot
    wanted = numerical_jvp(lambda *xs: run(function, *xs), given, tangents)
    wanted = [d for v, d in zip(values, wanted, strict=True) if v.dtype.kind == "f"]
    for a, b in zip(found[len(values) :], wanted, strict=True):
        scale = 1.0 + np.max(np.abs(b), initial=0.0)
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * scale, err_msg=str(derived))
    return derived


def transposed(function, given, seed=0):
    """⟨out_bar, out_dot⟩ and ⟨x_bar, x_dot⟩ along one random pair of directions."""
    rng = np.random.default_rng(seed)
    dots = directions(rng, function, given)
    values = run(function, *given)
    bars = [rng.normal(size=v.shape) for v in values if v.dtype.kind == "f"]
    out_dots = run(forward(function), *given, *dots)[len(values) :]
    x_bars = run(adjoint(function), *given, *bars)[len(values) :]
    left = sum(np.sum(a * b) for a, b in zip(bars, out_dots, strict=True))
    right = sum(np.sum(a * b) for a, b in zip(x_bars, dots, strict=True))
    return left, right


@every_program
@pytest.mark.parametrize("optimized", [False, True])
def test_tangents_are_those_of_differences(name, optimized):
    program = PROGRAMS[name]
    for size in (3, 4):
        check(program.function, program.arguments(size), optimized=optimized)


@every_program
def test_forward_mode_is_the_transpose_of_reverse_mode(name):
    program = PROGRAMS[name]
    left, right = transposed(program.function, program.arguments(4))
    assert abs(left - right) <= 1e-10 * (1 + abs(left))


@every_program
def test_forward_over_forward_and_over_reverse(name):
    program = PROGRAMS[name]
    function = program.function
    given = program.arguments(3)
    rng = np.random.default_rng(1)
    dots = directions(rng, function, given)
    check(forward(function), [*given, *dots], rtol=1e-5)
    bars = [rng.normal(size=v.shape) for v in run(function, *given) if v.dtype.kind == "f"]
    check(adjoint(function), [*given, *bars], rtol=1e-5)


@every_program
def test_reverse_over_forward(name):
    program = PROGRAMS[name]
    function = program.function
    given = program.arguments(3)
    dots = directions(np.random.default_rng(2), function, given)
    left, right = transposed(forward(function), [*given, *dots])
    assert abs(left - right) <= 1e-9 * (1 + abs(left))


@pytest.mark.parametrize("block", range(4))
def test_random_programs(block):
    for seed in range(block * 40, block * 40 + 40):
        function = random_program(seed)
        check(function, arguments(seed), rtol=1e-5, optimized=seed % 2 == 0)
        left, right = transposed(function, arguments(seed))
        assert abs(left - right) <= 1e-8 * (1 + abs(left))


@pytest.mark.parametrize("block", range(2))
def test_random_tables(block):
    for seed in range(block * 40, block * 40 + 40):
        function = random_table(seed)
        check(function, table_arguments(function, seed), rtol=1e-5)
