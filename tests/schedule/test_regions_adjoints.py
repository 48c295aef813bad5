"""Programs of loops and branches, and their adjoints, lowered in place."""

import numpy as np
import pytest

from tests.schedule.region_programs import (
    assert_all_forms_agree,
    compiled_results,
    executed,
    lowered,
)
from tests.transforms.programs import PROGRAMS
from tests.transforms.reversal import adjoint, draw, run, second
from tracegrad.ir.interpreter import evaluate
from tracegrad.passes import optimize
from tracegrad.schedule.regions import copies

#: Programs that need a copy in a loop, whoever writes them down.
COPYING = {
    "both_carries_become_one",
    "carry_becomes_a_capture",
    "branch_chooses_between_arrays_then_writes",
}
every_program = pytest.mark.parametrize("name", PROGRAMS)


def seeded(program, size):
    """Arguments of the adjoint of ``program``."""
    given = program.arguments(size)
    results = run(program.function, *given)
    bars = draw(np.random.default_rng(1), [r for r in results if r.dtype.kind == "f"])
    return [*given, *bars]


@every_program
def test_programs_and_their_adjoints_agree_in_every_form(name):
    program = PROGRAMS[name]
    for size in (3, 6):
        assert_all_forms_agree(program.function, *program.arguments(size), rtol=1e-9)
        for optimized in (False, True):
            function = adjoint(program.function, optimized=optimized)
            assert_all_forms_agree(function, *seeded(program, size), rtol=1e-9)


@every_program
def test_no_copies_in_loops(name):
    function = PROGRAMS[name].function
    for f in (optimize(function), adjoint(function, optimized=True)):
        found = [copy for copy in copies(f) if copy.depth]
        assert bool(found) == (name in COPYING), list(map(str, found))


@every_program
def test_work_grows_as_it_should(name):
    program = PROGRAMS[name]
    function = adjoint(program.function, optimized=True)
    sizes = (8, 128) if program.work == 1 else (8, 32)
    few, many = (executed(function, *seeded(program, size)) for size in sizes)
    assert many <= 1.2 * few * (sizes[1] // sizes[0]) ** program.work


@pytest.mark.parametrize("name", ["likelihood", "rotated_arrays", "hidden_markov", "newton"])
def test_kernels_of_adjoints_agree(name):
    program = PROGRAMS[name]
    function = adjoint(program.function, optimized=True)
    given = [np.asarray(g) for g in seeded(program, 5)]
    expected = evaluate(function, *given)
    for e, r in zip(expected, compiled_results(lowered(function), given), strict=True):
        np.testing.assert_allclose(r, e, rtol=1e-9, atol=1e-12)


@every_program
def test_adjoints_of_adjoints_agree_in_every_form(name):
    """Tapes that grow, their cotangents as long as the last version, among them."""
    program = PROGRAMS[name]
    first = adjoint(program.function, optimized=True)
    twice = optimize(second(program.function, first))
    given = seeded(program, 4)
    bars = run(first, *given)[len(program.function.results) :]
    given += draw(np.random.default_rng(2), bars)
    assert_all_forms_agree(twice, *given, rtol=1e-8)
    assert bool([copy for copy in copies(twice) if copy.depth]) == (name in COPYING)
