"""Every elementwise op, compiled by our own compiler, means its reference."""

import numpy as np
import pytest

from tracegrad import ops
from tracegrad.backend import vecmath
from tracegrad.backend.compile import DEFAULT_FASTMATH
from tracegrad.backend.native.kernel import compile_native
from tracegrad.backend.vecmath import texts
from tracegrad.testing import emitted

OPS = [op for op in ops.REGISTRY.values() if op.samples is not None and op.kind == "elementwise"]


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_scalar_text_means_the_reference(op):
    loops = list(emitted.scalar_loops(op))
    signature = [(array.dtype, 1) for loop in loops for array in (*loop.columns, loop.expected)]
    source = emitted.loops_source(loops)
    kernel = compile_native(source, "run", signature, sorted(DEFAULT_FASTMATH), None, "<text>")
    with np.errstate(all="ignore"):
        emitted.run_loops(kernel.call, loops)


def test_every_function_of_vector_maths_is_known():
    assert texts.ARITY.keys() == vecmath.PLAIN.keys()
