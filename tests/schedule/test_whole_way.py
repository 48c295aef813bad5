"""Optimise, schedule, print, compile: kernels of loops and branches give what the IR means."""

import numpy as np
import pytest

from tests.ops.building import built
from tests.schedule.test_regions_adjoints import seeded
from tests.transforms.programs import PROGRAMS
from tests.transforms.reversal import adjoint, draw, run, second
from tracegrad import ops
from tracegrad.backend.compile import KernelOptions
from tracegrad.ir.interpreter import evaluate
from tracegrad.ir.parser import parse
from tracegrad.ir.types import ArrayType, f64, i64, symbol
from tracegrad.ir.verifier import VerificationError, verify
from tracegrad.ops.access import at
from tracegrad.ops.constants import dim_value
from tracegrad.ops.registry import constant
from tracegrad.pipeline import compile_function
from tracegrad.schedule import schedule

n, m = symbol("n"), symbol("m")

#: Second derivatives take most of the time: one program of each kind.
TWICE = [
    *("tanh_recurrence", "swapped_arrays", "gather_and_scatter", "triangular", "three_deep"),
    *("thomas", "burgers", "likelihood", "if_for_if_for", "newton_in_a_loop", "loop_with_break"),
]


def kernel_agrees(function, given):
    given = [np.asarray(g) for g in given]
    kernel = compile_function(function, KernelOptions(cache=False))
    found = kernel.dispatcher(*[g.copy() if g.ndim else g[()] for g in given])
    found = found if isinstance(found, tuple) else (found,)
    for e, r in zip(evaluate(function, *given), found, strict=True):
        np.testing.assert_allclose(r, e, rtol=1e-8, atol=1e-11, err_msg=kernel.source)


@pytest.mark.parametrize("name", PROGRAMS)
def test_kernels_of_programs_and_their_adjoints(name):
    program = PROGRAMS[name]
    kernel_agrees(program.function, program.arguments(5))
    kernel_agrees(adjoint(program.function), seeded(program, 4))


@pytest.mark.parametrize("name", TWICE)
def test_kernels_of_second_adjoints(name):
    program = PROGRAMS[name]
    first = adjoint(program.function, optimized=True)
    given = seeded(program, 4)
    bars = run(first, *given)[len(program.function.results) :]
    twice = second(program.function, first)
    kernel_agrees(twice, [*given, *draw(np.random.default_rng(2), bars)])


# --- which scheduler ------------------------------------------------------------------------


def scheduled(function):
    return verify(schedule(verify(function)), form="loop")


def count(function, name):
    return sum(op.name == name for op in function.walk())


def test_a_chain_of_writes_at_the_top_writes_one_array():
    def chain(x):
        y = ops.exp(x)
        for k in range(4):
            y = ops.update(y, at(x, 0, k) * 2.0, constant(k, i64))
        return ops.accumulate(y, at(x, 0, 1), constant(0, i64))

    loops = scheduled(built(chain, (n,)))
    assert count(loops, "alloc") == 1
    assert count(loops, "for") == 1


def test_a_written_argument_is_copied_once():
    def chain(x):
        for k in range(3):
            x = ops.update(x, constant(1.0), constant(k, i64))
        return x

    loops = scheduled(built(chain, (n,)))
    assert count(loops, "alloc") == count(loops, "for") == 1


def test_the_gradient_of_a_read_is_fused_with_what_it_adds():
    """Additions to a new array are straight-line code: one loop nest, no array of cotangents."""

    def read(x, i):
        return ops.sum(ops.square(ops.index(x, i)), axes=(0,))

    function = adjoint(built(read, (n,), ArrayType(i64, (m,))), optimized=True)
    assert count(scheduled(function), "alloc") == 1


def test_sizes_found_at_run_time_are_found_before_they_are_used():
    """The number of True places is read by a scalar operation while ``nonzero`` waits."""

    def positive(x):
        where = ops.nonzero(x > 0.0, size=m)
        y = ops.update(x, ops.index(x, where) * 2.0, where)
        return y, ops.cast(dim_value(m), dtype=f64) * at(x, 0, 0)

    f = built(positive, (n,))
    for x in ([1.0, -1.0, 2.0], [-1.0, -3.0], [1.0]):
        kernel_agrees(f, [np.array(x)])


def test_the_logarithm_of_a_sum_of_exponentials_is_vector_code_that_knows_infinity():
    f = built(lambda x, y: ops.logaddexp(x, y), (n,), (n,))
    names = {op.name for op in scheduled(f).walk()}
    assert "logaddexp" not in names
    values = [0.0, 1.0, -2.5, np.inf, -np.inf, np.nan, 1e300, -745.0]
    x, y = (grid.ravel() for grid in np.meshgrid(values, values))
    with np.errstate(invalid="ignore"):
        kernel_agrees(f, [x, y])


def test_a_size_that_is_not_known_where_it_is_used_is_an_error():
    """Printed, it would be the last one of another loop: a wrong result without a word."""
    text = """
    func @f(%x: f64[n]) -> (f64) {
      %0: i64 = 0
      %1: i64 = dim() {size=n}
      %2: i64 = 1
      %3: f64 = 0.0
      %a: f64 = for(%0, %1, %2, %3) (%i: i64, %s: f64) {
        %k: i64 = bind(%i) {size=k}
        %4: f64[k] = view(%x) {shape=(k,), map=[#0]}
        %5: f64 = sum(%4) {axes=(0,)}
        %6: f64 = add(%s, %5)
        yield %6
      }
      %b: f64 = for(%0, %1, %2, %3) (%j: i64, %r: f64) {
        %7: f64[k] = view(%x) {shape=(k,), map=[#0]}
        %8: f64 = sum(%7) {axes=(0,)}
        %9: f64 = add(%r, %8)
        yield %9
      }
      %c: f64 = add(%a, %b)
      return %c
    }"""
    with pytest.raises(VerificationError, match="symbol k"):
        compile_function(parse(text), KernelOptions(cache=False))
