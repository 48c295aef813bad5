"""Observers of the pipeline."""

import io

import pytest

from tracegrad.errors import InternalError
from tracegrad.ir.core import Function, Operation, Region, Value
from tracegrad.ir.text import parse
from tracegrad.ir.types import f64, scalar
from tracegrad.ops.registry import REGISTRY
from tracegrad.passes import Pipeline, Printing, Timings, cse, dce, optimize, verifying

TEXT = """
    func @f(%x: f64) -> (f64) {
      %a: f64 = sin(%x)
      %b: f64 = sin(%x)
      %c: f64 = multiply(%a, %b)
      return %c
    }"""


def test_observers_see_each_pass():
    out, times = io.StringIO(), Timings()
    pipeline = Pipeline((("cse", cse), ("dce", dce)))
    result = pipeline(parse(TEXT), [verifying, Printing(out), times])
    assert len(result.body.ops) == 2
    assert "; after cse\nfunc @f" in out.getvalue()
    assert "; dce: no change" in out.getvalue()
    assert set(times.seconds) == {"cse", "dce"}


def test_a_pass_that_breaks_an_invariant_is_named():
    def broken(function: Function) -> Function:
        stray = Value(scalar(f64))
        op = Operation(REGISTRY["sin"], (stray,), {}, (), (scalar(f64),))
        return Function("f", Region(function.params, [op], (op.result,)))

    with pytest.raises(InternalError, match="after the pass broken"):
        Pipeline((("broken", broken),))(parse(TEXT), [verifying])


def test_a_pass_that_changes_the_type_is_named():
    def narrow(function: Function) -> Function:
        return Function("f", Region(function.params, [], ()))

    with pytest.raises(InternalError, match="changed the type"):
        Pipeline((("narrow", narrow),))(parse(TEXT), [verifying])


def test_optimize_takes_observers():
    times = Timings()
    optimize(parse(TEXT), [times])
    assert sum(times.seconds.values()) > 0
