"""Every elementwise op, compiled by our own compiler, means its reference."""

import numpy as np
import pytest

from tracegrad import ops
from tracegrad.backend import vecmath
from tracegrad.backend.compile import DEFAULT_FASTMATH
from tracegrad.backend.native import scalars
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


@pytest.mark.parametrize("flags", [(), tuple(sorted(DEFAULT_FASTMATH))], ids=["exact", "usual"])
@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", ["maximum", "minimum"])
def test_a_nan_wins_over_any_number(name, dtype, known, flags, monkeypatch):
    """With LLVM's own instruction, where it has one, and without; in loops and after them."""
    monkeypatch.setattr(scalars, "_KNOWS_EXTREMES", known and scalars._KNOWS_EXTREMES)
    body = f"    for i in range(x.shape[0]):\n        z[i] = np.{name}(x[i], y[i])\n"
    source = f"import numpy as np\n\n\ndef run(x, y, z):\n{body}"
    signature = [(np.dtype(dtype), 1)] * 3
    kernel = compile_native(source, "run", signature, flags, None, "<text>")
    some = np.array([0.0, 1.0, -2.5, np.inf, -np.inf, np.nan, 1e-310, -0.0], dtype)
    x, y = (each.ravel() for each in np.meshgrid(some, some))
    z = np.empty_like(x)
    kernel.call(x, y, z)
    np.testing.assert_array_equal(z, getattr(np, name)(x, y))
