"""Random programs of loops, branches and writes: values as plain Python has them, gradients as
differences see them.

By default a few hundred programs run. ``TRACEGRAD_PROGRAMS=2000 pytest
tests/integration/test_random_loops.py`` runs that many. A program that once failed stands below
under its own name.
"""

import ast
import copy
import os

import numpy as np
import pytest

import tracegrad as tg
from tests.integration.loop_programs_checks import check_second
from tests.integration.random_loops import MOVED, arguments, draw, is_tame, load, run
from tests.integration.random_loops_shrink import shrink
from tests.integration.stages import Stages, same
from tracegrad.errors import NotDifferentiable, TraceError
from tracegrad.ir.interpreter import evaluate
from tracegrad.testing.numerics import assert_close, numerical_jvp

PROGRAMS = int(os.environ.get("TRACEGRAD_PROGRAMS", "200"))
BLOCKS = 8
REFUSALS = (TraceError, NotDifferentiable)


def failure(fun, args, seed, *, thorough=False):
    """``(stage, what is wrong)`` of the first stage that is wrong, or None.

    The stage "refused" is for errors that say that a program can't be traced.
    """
    copies = copy.deepcopy(args)
    stage = "tracing"
    try:
        value = run(fun, args)
        stages = Stages(fun, args, MOVED)
        assert_close(stages.value(), value, 1e-11, "traced")
        stage = "reversal"
        first = stages.transformed()
        assert_close(first[0], value, 1e-11, "transformed")
        gradient_agrees(fun, args, first[1:], seed)
        stage = "passes"
        if thorough or seed % 2:
            same(stages.optimized(), first, 1e-9, "optimized")
            stage = "schedule"
            if thorough or seed % 4 == 1:
                same(stages.plain(), first, 1e-9, "loop form")
                same(stages.given(first), first, 1e-9, "given arrays")
        stage = "arguments"
        for a, b in zip(args, copies, strict=True):
            assert np.array_equal(a, b), "an argument was changed"
    except REFUSALS as error:
        return "refused", str(error)
    except Exception as error:
        return stage, f"{type(error).__name__}: {error}"
    return None


def gradient_agrees(fun, args, bars, seed):
    """Along two directions, unless a kink is so near that differences of two steps differ."""
    rng = np.random.default_rng(seed)
    for _ in range(2):
        tangents = [
            rng.normal(size=np.shape(a)) if i in MOVED else None for i, a in enumerate(args)
        ]
        moved = [tangents[i] for i in MOVED]
        found = sum(float(np.sum(b * t)) for b, t in zip(bars, moved, strict=True))
        size = 1.0 + sum(float(np.sum(np.abs(b * t))) for b, t in zip(bars, moved, strict=True))
        steps = [
            float(numerical_jvp(lambda *xs: run(fun, xs), args, tangents, step))
            for step in (1e-4, 2e-5)
        ]
        if abs(steps[0] - steps[1]) <= 1e-6 * size:
            assert abs(found - steps[1]) <= 3e-6 * size, f"gradient {found}, differences {steps}"


def blocks(count):
    return pytest.mark.parametrize(
        "block", [range(k, count, BLOCKS) for k in range(BLOCKS)], ids=str
    )


def share(seed):
    """Every other program has idioms; all its stages are run."""
    return 0.6 if seed % 2 else 0.0


@blocks(PROGRAMS)
def test_random_programs(block, tmp_path):
    refused = []
    for seed in block:
        source, fun, args = draw(seed, tmp_path / f"p{seed}.py", idioms=share(seed))
        found = failure(fun, args, seed, thorough=seed % 2 == 1)
        if found is not None and found[0] == "refused":
            refused.append(found[1])
        else:
            assert found is None, f"seed {seed}, {found[0]}: {found[1]}\n{source}"
    assert len(refused) <= 0.3 * len(block) + 1, "\n".join(refused)


@blocks(PROGRAMS // 8)
def test_random_programs_at_other_sizes(block, tmp_path):
    """Where the guards hold; also sizes at which the program was not traced."""
    for seed in block:
        source, fun, args = draw(
            seed + 100_000, tmp_path / f"p{seed}.py", size=9, idioms=share(seed)
        )
        try:
            stages = Stages(fun, args, MOVED)
        except REFUSALS:
            continue
        for size in (1, 2, 4, 12):
            others = arguments(seed, size)
            if not is_tame(fun, others) or not stages.traced.guards_hold(others):
                continue
            value, *bars = evaluate(
                stages.recipe.function, *others, *stages.arguments[len(others) :]
            )
            try:
                assert_close(value, run(fun, others), 1e-11, f"n = {size}")
                gradient_agrees(fun, others, bars, seed)
            except AssertionError as error:
                raise AssertionError(f"seed {seed}, n = {size}: {error}\n{source}") from error


@blocks(PROGRAMS // 8)
def test_gradients_of_gradients(block, tmp_path):
    for seed in block:
        source, fun, args = draw(
            seed + 200_000, tmp_path / f"p{seed}.py", size=3, idioms=share(seed)
        )
        # The arguments that decide about branches are not moved.
        decided = args[4:]

        def moved(x, y, A, s, fun=fun, decided=decided):
            return fun(x, y, A, s, *decided)

        try:
            check_second(moved, args[:4], emitted=seed % 4 == 1)
        except REFUSALS:
            continue
        except Exception as error:
            raise AssertionError(f"seed {seed}: {error}\n{source}") from error


@pytest.mark.parametrize("seed", range(300_000, 300_008))
def test_compiled_random_programs(seed, tmp_path):
    source, fun, args = draw(seed, tmp_path / f"p{seed}.py", idioms=share(seed))
    try:
        value, bars = tg.value_and_grad(fun, argnums=MOVED)(*args)
    except REFUSALS:
        pytest.skip("refused")
    assert_close(value, run(fun, args), 1e-10, source)
    gradient_agrees(fun, args, bars, seed)


# --- the generator itself ---------------------------------------------------------------------


def test_programs_are_tame_and_smooth_and_depend_on_their_arguments(tmp_path):
    rough = flat = 0
    for seed in range(60):
        _, fun, args = draw(seed, tmp_path / f"p{seed}.py")
        rng = np.random.default_rng(seed)
        tangents = [
            rng.normal(size=np.shape(a)) if i in MOVED else None for i, a in enumerate(args)
        ]
        steps = [
            float(numerical_jvp(lambda *xs, fun=fun: run(fun, xs), args, tangents, step))
            for step in (1e-4, 2e-5)
        ]
        rough += abs(steps[0] - steps[1]) > 1e-6 * max(1.0, abs(steps[0]))
        flat += abs(steps[0]) < 1e-9
    assert rough <= 3
    assert flat <= 3


def test_programs_use_the_language(tmp_path):
    seen = {type(node).__name__ for seed in range(60) for node in ast.walk(_tree(seed, tmp_path))}
    wanted = "For While If Break Continue Return IfExp BoolOp AugAssign Tuple Lambda Try With List"
    assert set(wanted.split()) <= seen


def _tree(seed, tmp_path):
    return ast.parse(draw(seed, tmp_path / "p.py")[0])


def test_shrinking_finds_the_statement_that_matters(tmp_path):
    def fails(text):
        try:
            fun = load(text, tmp_path / "p.py")
            return "u[0] = 17.0" in text and bool(np.isfinite(run(fun, arguments(0, 5))))
        except Exception:
            return False

    source, _, _ = draw(1, tmp_path / "p.py")
    lines = source.splitlines(keepends=True)
    source = "".join([*lines[:-1], "    for q in range(n):\n        u[0] = 17.0\n", lines[-1]])
    small = shrink(source, fails)
    assert small.count("\n") <= 7, small
