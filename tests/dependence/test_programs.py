"""No nonzero of a Jacobian or Hessian is missed: the catalogue of loops, and random programs."""

import numpy as np
import pytest

from tests.dependence.checks import as_array, check_covers, dense, patterns
from tests.integration.loop_programs import PROGRAMS
from tests.integration.loop_programs_checks import Call
from tests.integration.programs import Generator
from tests.integration.random_loops import MOVED, draw
from tests.integration.span_programs import PROGRAMS as SPANS
from tests.integration.stages import Stages, load
from tracegrad.errors import TracegradError
from tracegrad.passes import open_loops, optimize

BLOCKS = 6


def check_both(fun, args, argnums, *, second=True):
    """The function's own pattern, and that of its gradient."""
    try:
        stages = Stages(fun, args, argnums)
    except TracegradError:
        return  # a program that may be refused
    check_covers(open_loops(stages.traced.function), stages.arguments)
    if second:
        check_covers(optimize(stages.recipe.function), stages.arguments)


@pytest.mark.parametrize("part", range(BLOCKS))
def test_the_catalogue(part):
    for program in list(PROGRAMS.values())[part::BLOCKS]:
        args = program.arguments(4)
        argnums = Call(program.function, args).argnums
        check_both(program.function, args, argnums, second=program.second)


@pytest.mark.parametrize("part", range(BLOCKS))
def test_random_loops(part, tmp_path):
    for seed in range(part, 30, BLOCKS):
        _, fun, args = draw(seed + 400, tmp_path / f"p{seed}.py", idioms=0.6 if seed % 2 else 0.0)
        check_both(fun, args, MOVED)


@pytest.mark.parametrize("part", range(2))
@pytest.mark.filterwarnings("ignore")
def test_random_array_programs(part, tmp_path):
    for seed in range(part, 60, 2):
        program = Generator(seed + 600, sizes=(1, 2, 3)).make(1 + seed % 7)
        fun = load(program.source(), tmp_path / f"p{seed}.py", program.globals)
        check_both(fun, program.arguments, None)


@pytest.mark.parametrize("name", SPANS)
def test_slices_between_bounds_known_at_run_time(name):
    fun, args = SPANS[name]
    check_both(fun, args, None)


def test_other_floats_have_no_more_nonzeros():
    """Branches go another way; the pattern stays what it was."""

    def folded(x, w):
        y = np.zeros(len(x))
        for i in range(len(x)):
            y[i] = x[i] * w[0] if x[i] > 0.0 else w[1]
        return y

    rng = np.random.default_rng(0)
    args = [rng.normal(size=6), np.ones(2)]
    function = Stages(lambda x, w: np.sum(folded(x, w)), args).recipe.function
    first = patterns(function, args)
    for _ in range(5):
        others = [rng.normal(size=6), np.ones(2)]
        for key, block in dense(function, others).items():
            assert not (np.any((block != 0) & ~as_array(first[key])))
