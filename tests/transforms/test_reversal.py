"""Reverse mode of loops and branches: derivatives of first and second order, and their cost."""

import pytest

from tests.transforms.programs import PROGRAMS
from tests.transforms.reversal import (
    check_first,
    check_second,
)

every_program = pytest.mark.parametrize("name", PROGRAMS)


@every_program
def test_the_adjoint_agrees_with_differences(name):
    program = PROGRAMS[name]
    for size in (4, 5):
        for optimized in (False, True):
            check_first(program.function, program.arguments(size), optimized=optimized, seed=size)


@every_program
def test_the_adjoint_of_the_adjoint_agrees_with_differences(name):
    program = PROGRAMS[name]
    check_second(program.function, program.arguments(4))
    check_second(program.function, program.arguments(4), optimized=True)
