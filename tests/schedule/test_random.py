"""Random programs: the schedule gives what the interpreter gives, for sizes from 0 up."""

import numpy as np
import pytest

from tests.schedule.support import assert_same_results, random_arguments, random_program
from tracegrad.ir.interpreter import evaluate

SIZES = ({"n": 0, "m": 3}, {"n": 1, "m": 1}, {"n": 2, "m": 4}, {"n": 5, "m": 2})


def _runs(function, arguments):
    """Whether NumPy takes the program at these sizes (no maximum of nothing, say)."""
    try:
        results = evaluate(function, *arguments)
    except Exception:
        return False
    return all(np.all(np.isfinite(r)) for r in results)


@pytest.mark.parametrize("seed", range(80))
def test_random_programs_keep_their_results(seed):
    function = random_program(seed)
    with np.errstate(all="ignore"):
        for sizes in SIZES:
            arguments = random_arguments(function, sizes, seed)
            if _runs(function, arguments):
                assert_same_results(function, *arguments)


@pytest.mark.parametrize("seed", [2, 11, 23])
def test_random_programs_keep_their_results_in_blocks(seed):
    """Above the block size: full blocks and a last one that is not full."""
    function = random_program(seed)
    if any(r.rank > 2 for op in function.walk() for r in op.results):
        pytest.skip("too large for the interpreter")
    arguments = random_arguments(function, {"n": 150, "m": 3}, seed)
    if _runs(function, arguments):
        assert_same_results(function, *arguments)
