"""Reverse mode of loops and branches: derivatives of first and second order, and their cost."""

import numpy as np
import pytest

from tests.transforms.programs import PROGRAMS
from tests.transforms.random_programs import (
    arguments,
    random_program,
    random_table,
    table_arguments,
)
from tests.transforms.reversal import (
    adjoint,
    check_first,
    check_second,
    copies_in_loops,
    cost,
    draw,
    run,
    second,
    tape_elements,
)
from tracegrad.ir.core import Function, Region
from tracegrad.ir.verifier import verify
from tracegrad.passes import optimize

every_program = pytest.mark.parametrize("name", PROGRAMS)


@every_program
def test_the_adjoint_agrees_with_differences(name):
    program = PROGRAMS[name]
    for size in (4, 5):
        for optimized in (False, True):
            given = program.arguments(size)
            check_first(program.function, given, optimized=optimized, seed=size)


@every_program
def test_the_adjoint_of_the_adjoint_agrees_with_differences(name):
    program = PROGRAMS[name]
    check_second(program.function, program.arguments(4))
    check_second(program.function, program.arguments(4), optimized=True)


@every_program
def test_cotangents_alone_need_no_more_than_what_dead_code_elimination_keeps(name):
    """In particular a tape that only tells how long its cotangent is, still grows."""
    program = PROGRAMS[name]
    first = adjoint(program.function)
    twice = second(program.function, first)
    body = Region(twice.params, twice.body.ops, [twice.results[len(first.results)]])
    alone = verify(optimize(Function("f", body)))
    rng = np.random.default_rng(0)
    given = program.arguments(4)
    given += draw(rng, [r for r in run(program.function, *given) if r.dtype.kind == "f"])
    given += draw(rng, run(first, *given)[len(program.function.results) :])
    expected = run(twice, *given)[len(first.results) :]
    for a, b in zip(run(alone, *given), expected, strict=False):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("optimized", [False, True])
@every_program
def test_cost_and_tapes_grow_like_the_primal(name, optimized):
    """For n and 16 n, counted in elements: a cotangent that is not moved shows here only."""
    program = PROGRAMS[name]
    first = adjoint(program.function, optimized=optimized)
    twice = second(program.function, first)
    if optimized:
        twice = optimize(twice)
    # Loops over pairs of elements would take too long at 16 n.
    small, large = (8, 128) if program.work == 1 else (4, 32)
    costs = [_costs(program, first, twice, size) for size in (small, large)]
    allowed = 1.3 * (large / small) ** program.work
    for k in (1, 2):
        assert costs[1][k] <= allowed * costs[0][k] + 200, (name, k, costs)
    # A tape has at most a few elements for each operation of the primal.
    assert costs[1][3] <= 2 * costs[1][0], (name, costs)
    if program.work == 1:
        assert not copies_in_loops(first)
        assert not copies_in_loops(twice)


def _costs(program, first, twice, size):
    given = program.arguments(size)
    results = run(program.function, *given)
    rng = np.random.default_rng(0)
    given_first = [*given, *draw(rng, [r for r in results if r.dtype.kind == "f"])]
    bars = run(first, *given_first)[len(results) :]
    return (
        1 + cost(program.function, *given),
        1 + cost(first, *given_first),
        1 + cost(twice, *given_first, *draw(rng, bars)),
        tape_elements(first, *given_first),
    )


@pytest.mark.parametrize("block", range(8))
def test_random_programs(block):
    for seed in range(16 * block, 16 * block + 16):
        function, given = random_program(seed), arguments(seed)
        optimized = bool(seed % 2)
        check_first(function, given, optimized=optimized)
        check_second(function, given, optimized=optimized)


@pytest.mark.parametrize("block", range(4))
def test_random_tables(block):
    for seed in range(12 * block, 12 * block + 12):
        function = random_table(seed)
        given = table_arguments(function, seed)
        check_first(function, given, optimized=bool(seed % 2))
        if not seed % 3:
            check_second(function, given)


@pytest.mark.slow
@pytest.mark.parametrize("block", range(4))
def test_more_random_programs(block):
    for seed in range(1000 + 50 * block, 1050 + 50 * block):
        check_first(random_program(seed), arguments(seed), optimized=bool(seed % 2))
