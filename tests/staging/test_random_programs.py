"""Random programs: with hooks that pass everything through, staged is plain."""

import linecache

import pytest

from tests.staging.plain import PassThrough
from tests.staging.programs import Generator, define, environment, outcome
from tracegrad.staging import stage, why_native, why_unstaged

ARGUMENTS = [(0, 0), (2, 1), (3, -1)]
BATCHES, PROGRAMS = 8, 250


def difference(seed):
    """How the staged program differs from the plain one, and whether its control flow is hooked."""
    text = Generator(seed).program()
    filename = f"<program {seed}>"
    world = environment()
    try:
        plain = define(text, filename, **world)
        staged = stage(plain, PassThrough())
        assert why_unstaged(plain) is None
        hooked = why_native(plain) is None
        for n, m in ARGUMENTS:
            runs = []
            for f in (plain, staged):
                world["log"].clear()
                f.__globals__["g"] = 0
                xs = [n, m, 1]
                found = outcome(f, (n, m, xs), filename)
                runs.append((found, list(world["log"]), xs, f.__globals__["g"]))
            if runs[0] != runs[1]:
                return f"seed {seed}, {(n, m)}\n{runs[0]}\n{runs[1]}\n{text}", hooked
        return None, hooked
    finally:
        linecache.cache.pop(filename, None)


@pytest.mark.slow
@pytest.mark.parametrize("batch", range(BATCHES))
def test_staged_programs_do_what_plain_ones_do(batch):
    hooked = 0
    for seed in range(batch * PROGRAMS, (batch + 1) * PROGRAMS):
        found, is_hooked = difference(seed)
        assert found is None, found
        hooked += is_hooked
    assert hooked > 0.9 * PROGRAMS
