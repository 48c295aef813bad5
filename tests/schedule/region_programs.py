"""Running a function of regions in every form: what the tests of in-place lowering share."""

from __future__ import annotations

from collections import Counter

import numpy as np

from tests.schedule.given_forms import run_given
from tracegrad.backend.compile import array_type, compile_kernel, run_plain, scalar_type
from tracegrad.backend.emit import emit_loop_form, entry_name
from tracegrad.ir.interpreter import evaluate
from tracegrad.ir.text import print_function
from tracegrad.ir.types import i64, symbol
from tracegrad.ir.verifier import verify
from tracegrad.ops.registry import REGISTRY, constant
from tracegrad.schedule.regions import copies, schedule_regions

n, m = symbol("n"), symbol("m")
greater, tanh, exp = (REGISTRY[name] for name in ("greater", "tanh", "exp"))


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def int_(value):
    return constant(value, i64)


def lowered(function):
    """``function`` in loop form, verified."""
    return verify(schedule_regions(verify(function)), form="loop")


def called(source, entry, given):
    found = run_plain(source, entry)(*[g.copy() if g.ndim else g[()] for g in given])
    return found if isinstance(found, tuple) else (found,)


def compiled_kernel(loops):
    types = [
        array_type(p.dtype.numpy, p.rank) if p.rank else scalar_type(p.dtype.numpy)
        for p in loops.params
    ]
    return compile_kernel(emit_loop_form(loops), entry_name(loops), types)


def compiled_results(loops, given):
    found = compiled_kernel(loops)(*[g.copy() if g.ndim else g[()] for g in given])
    return found if isinstance(found, tuple) else (found,)


def assert_all_forms_agree(function, *given, compiled=False, rtol=1e-12):
    """Array form and loop form, interpreted, and the printed source give the same results.

    The arguments must be as before. Returns the results.
    """
    given = [np.asarray(g) for g in given]
    before = [g.copy() for g in given]
    with np.errstate(all="ignore"):
        expected = evaluate(function, *given)
        loops = lowered(function)
        source = emit_loop_form(loops)
        shown = f"{print_function(function)}\n{print_function(loops)}\n{source}"
        runs = {
            "loop form": evaluate(loops, *given),
            "source": called(source, entry_name(loops), given),
            "given results": run_given(loops, given, expected, scratch=False),
            "given all": run_given(loops, given, expected, scratch=True),
            "given some": run_given(loops, given, expected, scratch=True, wanted=range(0, 9, 2)),
        }
        if compiled:
            runs["kernel"] = compiled_results(loops, given)
    for name, results in runs.items():
        assert len(results) == len(expected)
        for e, r in zip(expected, results, strict=True):
            np.testing.assert_allclose(r, e, rtol=rtol, atol=1e-12, err_msg=f"{name}\n{shown}")
    own = [np.asarray(r) for r in runs["source"] if np.ndim(r) and np.size(r)]
    for k, r in enumerate(own):
        assert not any(np.shares_memory(r, other) for other in [*own[:k], *given]), shown
    for b, g in zip(before, given, strict=True):
        np.testing.assert_array_equal(g, b, err_msg=f"an argument was changed\n{shown}")
    return expected


def reasons(function):
    """Why copies are made, with the depth of loops around them."""
    return [(copy.reason, copy.depth) for copy in copies(function)]


def executed(function, *given):
    """How many operations loop form runs, and how many elements it allocates."""
    count = Counter()

    def observe(op, operands, results):
        count["operations"] += 1
        if op.name == "alloc":
            count["elements"] += results[0].size

    evaluate(lowered(function), *given, observer=observe)
    return count["operations"] + count["elements"]


def assert_linear(function, arguments, *, small=8):
    """16 times the size costs at most 16 times the work; ``arguments(n)`` makes the inputs."""
    less, more = (executed(function, *arguments(size)) for size in (small, 16 * small))
    assert more <= 17 * less, f"{less} operations at n = {small}, {more} at n = {16 * small}"


def body_of_loop(f):
    """The source of the last loop that stands at the top."""
    return emit_loop_form(lowered(f)).rsplit("\n    for ", 1)[1]
