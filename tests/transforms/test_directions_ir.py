"""All directions at once are the directions one by one, on every program of the IR."""

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
from tracegrad.ir.builder import Builder
from tracegrad.ir.verifier import verify
from tracegrad.passes import optimize
from tracegrad.transforms import jacobian as blocks
from tracegrad.transforms.jvp import jvp
from tracegrad.transforms.vjp import vjp


def built(function, seeded, append):
    """``function`` with the derivatives that ``append`` makes of ``seeded`` as further results."""
    with Builder() as build:
        values = [build.param(p.type, p.hint) for p in function.params]
        made = append(seeded, values, len(function.results))
        return verify(build.function("all", made, like=function, result_names=()))


def units(shape):
    for k in range(int(np.prod(shape))):
        yield np.eye(1, int(np.prod(shape)), k).reshape(shape)


def check(function, given):
    results = len(function.results)
    values = run(function, *given)
    for i in floats(function):
        seeded = optimize(jvp(function, [i]))
        found = run(built(function, seeded, blocks.forward_blocks), *given)
        columns = [run(seeded, *given, x_dot)[results:] for x_dot in units(np.shape(given[i]))]
        compare(found, values, columns, np.shape(given[i]), last=True)
    for k, value in enumerate(values):
        if value.dtype.kind == "f" and value.size:
            seeded = optimize(vjp(function, floats(function), [k], apart=True))
            found = run(built(function, seeded, blocks.reverse_blocks), *given)
            rows = [run(seeded, *given, bar)[results:] for bar in units(value.shape)]
            compare(found, values, rows, value.shape, last=False)


def compare(found, values, lines, shape, *, last):
    for a, b in zip(found, values, strict=False):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)
    for table, each in zip(found[len(values) :], zip(*lines, strict=True), strict=True):
        rest = np.shape(each[0])
        wanted = np.stack(each, axis=-1 if last else 0)
        wanted = wanted.reshape((*rest, *shape) if last else (*shape, *rest))
        np.testing.assert_allclose(table, wanted, rtol=1e-9, atol=1e-9)


@pytest.fixture(params=[64, 4], ids=["at once", "in blocks"])
def widest(request, monkeypatch):
    monkeypatch.setattr(blocks, "WIDEST", request.param)


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_program(name, widest):
    program = PROGRAMS[name]
    check(program.function, program.arguments(5))


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_gradient(name):
    """With tapes among what depends on the direction."""
    program = PROGRAMS[name]
    function = adjoint(program.function, optimized=True)
    given = program.arguments(3)
    values = run(program.function, *given)
    check(function, [*given, *(np.ones(v.shape) for v in values if v.dtype.kind == "f")])


@pytest.mark.parametrize("block", range(2))
def test_random_programs(block):
    for seed in range(block * 40, block * 40 + 40):
        check(random_program(seed), arguments(seed))


def test_random_tables():
    for seed in range(30):
        function = random_table(seed)
        check(function, table_arguments(function, seed))
