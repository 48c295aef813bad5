"""The laws of `tracegrad.testing`, for every op of the registry."""

import numpy as np
import pytest

from tracegrad import ops
from tracegrad.backend.compile import KernelOptions, compile_kernel, run_plain
from tracegrad.testing import emitted, laws

OPS = [op for op in ops.REGISTRY.values() if op.samples is not None]
ELEMENTWISE = [op for op in OPS if op.kind == "elementwise"]

every_op = pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
every_elementwise_op = pytest.mark.parametrize("op", ELEMENTWISE, ids=lambda op: op.name)


@every_op
def test_inferred_types_are_those_of_the_reference(op):
    laws.inference_is_right(op)


@every_op
def test_inference_refuses_dtypes_that_the_reference_treats_otherwise(op):
    laws.inference_refuses_what_the_reference_refuses(op)


@every_elementwise_op
def test_inference_refuses_mixed_dtypes_and_shapes(op):
    laws.inference_refuses_mixed_operands(op)


@every_op
def test_jvp_equals_differences(op):
    laws.jvp_is_the_derivative(op)


@every_op
def test_vjp_is_the_transpose_of_jvp(op):
    laws.vjp_is_the_transpose(op)


@every_op
def test_rules_are_differentiable_again(op):
    laws.rules_are_differentiable(op)


@every_op
def test_contributions_have_the_types_of_their_operands(op):
    laws.contributions_fit(op)


@every_op
def test_rules_agree_in_both_floating_dtypes(op):
    laws.rules_keep_float32(op)


@every_op
def test_array_text_means_the_reference(op):
    emitted.array_text_means_the_reference(op)


# Numba compiles few large functions faster than many small ones.
LOOPS = [loop for op in ELEMENTWISE for loop in emitted.scalar_loops(op)]
CHUNKS = [LOOPS[start : start + 24] for start in range(0, len(LOOPS), 24)]


def _names(chunk):
    return f"{chunk[0].case.op.name}-{chunk[-1].case.op.name}"


@pytest.mark.parametrize("chunk", CHUNKS, ids=_names)
def test_scalar_text_means_the_reference_in_plain_python(chunk):
    emitted.run_loops(run_plain(emitted.loops_source(chunk), "run"), chunk)


@pytest.mark.parametrize("chunk", CHUNKS, ids=_names)
def test_scalar_text_means_the_reference_when_compiled(chunk):
    signature = [
        f"{'bool' if array.dtype == np.bool_ else array.dtype.name}[::1]"
        for loop in chunk
        for array in (*loop.columns, loop.expected)
    ]
    kernel = compile_kernel(
        emitted.loops_source(chunk), "run", signature, options=KernelOptions(cache=False)
    )
    emitted.run_loops(kernel, chunk)
