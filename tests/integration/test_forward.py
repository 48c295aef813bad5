"""Forward mode of every program of the catalogue: the transpose of reverse mode."""

import numpy as np
import pytest

from tests.integration.loop_programs import PROGRAMS
from tests.integration.stages import Stages
from tracegrad import tree
from tracegrad.errors import TraceError
from tracegrad.ir.interpreter import evaluate
from tracegrad.ir.verifier import verify
from tracegrad.passes import open_loops, optimize
from tracegrad.testing.numerics import assert_close
from tracegrad.transforms.jvp import jvp
from tracegrad.transforms.vjp import gradient


def floats_of(args):
    return tuple(
        k
        for k, a in enumerate(args)
        if any(
            np.asarray(v).dtype.kind == "f" for v in tree.flatten(a)[0] if not isinstance(v, str)
        )
    )


@pytest.mark.parametrize("name", PROGRAMS)
def test_forward_mode_agrees_with_reverse_mode(name):
    program = PROGRAMS[name]
    args = program.arguments(6)
    try:
        stages = Stages(program.function, args, floats_of(args))
    except TraceError:
        if program.refusal is None:
            raise
        return
    function = open_loops(stages.traced.function)
    wrt = [k for k, p in enumerate(function.params) if p.dtype.is_float]
    (out,) = [k for k, r in enumerate(function.results) if r.dtype.is_float][:1]
    forward = verify(optimize(verify(jvp(function, wrt, [out]))))
    rng = np.random.default_rng(3)
    dots = [
        np.asarray(rng.normal(size=np.shape(stages.arguments[k])), function.params[k].dtype.numpy)
        for k in wrt
    ]
    count = len(function.results)
    found = evaluate(forward, *stages.arguments, *dots)
    bars = evaluate(gradient(function, wrt, of=out), *stages.arguments)
    assert_close(found[out], bars[out], 1e-12)
    expected = sum(np.sum(b * d) for b, d in zip(bars[count:], dots, strict=True))
    size = sum(np.sum(np.abs(b * d)) for b, d in zip(bars[count:], dots, strict=True))
    single = any(d.dtype == np.float32 for d in dots)
    assert_close(found[count], expected, 1e-4 if single else 1e-9, scale=max(1.0, float(size)))
