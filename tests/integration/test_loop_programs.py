"""The catalogue: values, gradients and gradients of gradients, as plain Python has them."""

import numpy as np
import pytest

import tracegrad as tg
from tests.integration.loop_programs import PROGRAMS
from tests.integration.loop_programs_checks import (
    Call,
    Checked,
    check_second,
    contract,
    contracted_gradient,
    gradients_agree,
)
from tests.integration.stages import same
from tracegrad.errors import TraceError
from tracegrad.testing.numerics import assert_close

every_program = pytest.mark.parametrize("name", PROGRAMS)
SIZE, OTHER, SMALL = 10, 17, 4


def right_or_refused(program, check):
    """A program with a ``refusal`` may be refused with it; others may not be refused."""
    try:
        check()
    except TraceError as error:
        if program.refusal is None:
            raise
        message = str(error)
        assert program.refusal in message, message
        assert program.function.__code__.co_filename in message, message
        assert "Way out" in message, message


@every_program
def test_value_and_gradient(name):
    program = PROGRAMS[name]

    def check():
        checked = Checked(program.function, program.arguments(SIZE))
        checked.check()
        if program.rolled and program.work is not None:
            checked.check_at(program.arguments(OTHER))

    right_or_refused(program, check)


@pytest.mark.parametrize("name", [p.name for p in PROGRAMS.values() if p.second])
def test_gradient_of_the_gradient(name):
    program = PROGRAMS[name]
    # A third also runs the source that is generated.
    emitted = sum(map(ord, name)) % 3 == 0
    right_or_refused(
        program, lambda: check_second(program.function, program.arguments(SMALL), emitted=emitted)
    )


@pytest.mark.parametrize("name", [p.name for p in PROGRAMS.values() if p.compiled])
def test_compiled(name):
    program = PROGRAMS[name]
    args = program.arguments(SIZE)
    call = Call(program.function, args)
    compiled = tg.value_and_grad(program.function, argnums=call.argnums)
    sizes = (SIZE, OTHER) if program.rolled and program.work is not None else (SIZE,)
    for size in sizes:
        call = Call(program.function, program.arguments(size))
        value, bars = compiled(*call.args)
        assert_close(value, call.value(), 1e-10, name)
        gradients_agree(call, call, [*_leaves(bars)], what=name)
        for leaf, again in zip(
            call.leaves, Call(call.fun, program.arguments(size)).leaves, strict=True
        ):
            assert np.array_equal(leaf, again)
    assert len(compiled.signatures) == 1


def _leaves(bars):
    for bar in bars:
        if isinstance(bar, tuple | list):
            yield from _leaves(bar)
        else:
            yield bar


TWICE_COMPILED = [
    "tanh_recurrence",
    "branchy_recurrence",
    "newton_iteration",
    "arrays_swapped",
    "upper_triangle",
    "return_from_a_loop",
]


@pytest.mark.parametrize("name", TWICE_COMPILED)
def test_compiled_gradient_of_the_gradient(name):
    program = PROGRAMS[name]
    args = program.arguments(SIZE)
    call = Call(program.function, args)
    twice = tg.value_and_grad(contracted_gradient(call.fun, call.argnums), argnums=call.argnums)
    value, bars = twice(*args)
    second = check_second(program.function, args, emitted=False)
    same((value, *bars), second.stages.transformed(), 1e-9, name)
    first = tg.grad(program.function, argnums=call.argnums)(*args)
    assert_close(value, contract(first), 1e-10, name)
