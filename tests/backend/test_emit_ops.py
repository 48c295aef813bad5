"""Every op of the registry, printed in array form and run, against its reference."""

from __future__ import annotations

import numpy as np
import pytest

from tracegrad import ops
from tracegrad.backend.compile import run_plain
from tracegrad.backend.emit import emit_array_form, emit_loop_form
from tracegrad.ir.builder import Builder
from tracegrad.ir.core import Function
from tracegrad.ir.types import ArrayType, dtype_of
from tracegrad.ops.registry import REGISTRY, OpDef, Sample

SAMPLED = [op for op in REGISTRY.values() if op.samples is not None]
SCALAR = [op for op in SAMPLED if op.kind == "elementwise"]


def function_of(op: OpDef, sample: Sample, types: list[ArrayType]) -> Function:
    with Builder() as build:
        params = [build.param(t, "x") for t in types]
        results = build.emit(op, params, sample.attributes).results
        return build.function("f", results)


def agree(found: object, expected: object) -> None:
    found = found if isinstance(found, tuple) else (found,)
    expected = expected if isinstance(expected, tuple) else (expected,)
    for result, reference in zip(found, expected, strict=True):
        np.testing.assert_allclose(result, reference, rtol=1e-14, atol=1e-300)
        assert np.asarray(result).dtype == np.asarray(reference).dtype


@pytest.mark.parametrize("op", SAMPLED, ids=lambda op: op.name)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_array_form_computes_the_reference(op):
    rng = np.random.default_rng(0)
    for sample in op.samples(rng):
        types = [ArrayType(dtype_of(x.dtype), x.shape) for x in sample.operands]
        source = emit_array_form(function_of(op, sample, types))
        found = run_plain(source, "f")(*sample.operands)
        agree(found, op.reference(*sample.operands, **sample.attributes))


@pytest.mark.parametrize("op", SCALAR, ids=lambda op: op.name)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_loop_form_computes_one_element(op):
    rng = np.random.default_rng(0)
    for sample in op.samples(rng):
        if len({x.shape for x in sample.operands}) != 1:
            continue
        types = [ArrayType(dtype_of(x.dtype)) for x in sample.operands]
        source = emit_loop_form(function_of(op, sample, types))
        run = run_plain(source, "f")
        reference = np.asarray(op.reference(*sample.operands, **sample.attributes))
        for at in list(np.ndindex(*sample.operands[0].shape))[:40]:
            found = np.asarray(run(*(x[at] for x in sample.operands)))
            with np.errstate(all="ignore"):
                np.testing.assert_allclose(found, reference[at], rtol=1e-12, atol=1e-300)


def test_a_result_is_never_an_argument_nor_returned_twice():
    x = np.arange(3.0)
    with Builder() as build:
        p = build.param(ArrayType(dtype_of(x.dtype), (3,)), "x")
        view = ops.view(p, shape=(2,), map=((0, 1, 1),))
        double = p + p
        function = build.function("f", [p, view, double, double])
    results = run_plain(emit_array_form(function), "f")(x)
    for number, result in enumerate(results):
        assert not np.shares_memory(result, x)
        assert not any(np.shares_memory(result, other) for other in results[:number])
