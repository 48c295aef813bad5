"""Random programs with their loops in chunks: what the serial kernels give.

The interpreter runs three chunks, the last one first, so a trip that needs an earlier one shows.
The printed source is run as plain Python.
"""

import os

import numpy as np
import pytest

from tests.eager_threads import eager_threads
from tests.integration.random_loops import MOVED, draw
from tests.integration.stages import Stages, same
from tests.schedule.test_regions_random import Program
from tracegrad.backend.compile import run_plain
from tracegrad.backend.emit import emit_loop_form
from tracegrad.errors import NotDifferentiable, TraceError
from tracegrad.ir.interpreter import evaluate
from tracegrad.ir.verifier import verify
from tracegrad.schedule import schedule

PROGRAMS = int(os.environ.get("TRACEGRAD_PROGRAMS", "120"))
BLOCKS = 6


def blocks(count):
    return pytest.mark.parametrize(
        "block", [range(k, count, BLOCKS) for k in range(BLOCKS)], ids=str
    )


def check(function, arguments, expected, what):
    """How many loops are in chunks, if all is right with them."""
    with eager_threads():
        loops = verify(schedule(function, parallel=True), form="loop")
        same(evaluate(loops, *arguments), expected, 1e-9, f"{what}, interpreted")
        out = run_plain(emit_loop_form(loops), loops.name)(*arguments)
    same(out if isinstance(out, tuple) else (out,), expected, 1e-9, f"{what}, plain Python")
    return len(loops.parts)


@blocks(PROGRAMS)
def test_gradients_of_random_programs(block, tmp_path):
    split = 0
    for seed in block:
        source, fun, args = draw(seed, tmp_path / f"p{seed}.py", idioms=0.6 if seed % 2 else 0.0)
        try:
            stages = Stages(fun, args, MOVED)
        except (TraceError, NotDifferentiable):
            continue
        expected = stages.optimized()
        split += check(stages.array_form, stages.arguments, expected, f"seed {seed}\n{source}")
    assert split >= len(block) // 2


@blocks(PROGRAMS)
def test_random_functions(block):
    rng = np.random.default_rng(0)
    for seed in block:
        function = Program(seed).function()
        for n in (1, 4):
            arguments = [0.7, rng.normal(size=n), rng.normal(size=(n, n))]
            expected = evaluate(function, *arguments)
            check(function, arguments, expected, f"seed {seed}, n = {n}")


ARRAY_PROGRAMS = [
    lambda x: np.sum(np.cumsum(x * x, axis=0) * np.sin(x)),
    lambda x: np.sum(np.exp(np.cumsum(np.tanh(x), axis=0))),
    lambda x: np.sum(np.cumprod(1 + 0.1 * x, axis=0) * x),
    lambda x: np.sum(np.cumsum(np.exp(np.cumsum(x, axis=0)), axis=0) * x),
    lambda x: np.sum(np.cumsum(np.sum(x, axis=1)) * x[:, 0]),
    lambda x: np.sum(np.diff(x, axis=0) ** 2) + np.sum(np.roll(x, 2, axis=1) * x),
    lambda x: np.sum(np.log(np.sum(np.exp(x - np.max(x, axis=1)[:, None]), axis=1))),
    lambda x: np.max(x) + np.min(x * x) + np.prod(1 + 0.01 * x),
    lambda x: np.sum((x[:, None, :] - x[None, :, :]) ** 4),
    lambda x: np.mean(np.std(x, axis=0)) + np.sum(np.sort(x, axis=0)[0]),
    lambda x: np.sum((x[2:, 1:-1] + x[:-2, 1:-1] + x[1:-1, 2:] - 4 * x[1:-1, 1:-1]) ** 2),
    lambda x: np.sum(np.concatenate([x, 2 * x], axis=0) ** 3),
]


@pytest.mark.parametrize("shape", [(7, 5), (300, 4), (4, 300)])
def test_array_programs(shape):
    x = np.random.default_rng(0).normal(size=shape)
    split = 0
    for number, fun in enumerate(ARRAY_PROGRAMS):
        stages = Stages(fun, (x,))
        expected = stages.optimized()
        split += check(stages.array_form, stages.arguments, expected, f"program {number}")
    assert split > len(ARRAY_PROGRAMS)
