"""``bind``: integers as sizes, in every form that the IR takes."""

import numpy as np
import pytest

from tracegrad import ops
from tracegrad.backend.compile import run_plain
from tracegrad.backend.emit import emit_array_form, emit_loop_form
from tracegrad.errors import InternalError
from tracegrad.ir.interpreter import evaluate
from tracegrad.ir.parser import parse
from tracegrad.ir.types import ArrayType, f64, i64
from tracegrad.ir.verifier import VerificationError, verify
from tracegrad.passes import optimize
from tracegrad.schedule import schedule
from tracegrad.testing.numerics import assert_close
from tracegrad.transforms.vjp import gradient

SUMS_OF_SLICES = """
func @f(%x: f64[n], %w: f64[n]) -> (f64) {
  %0: i64 = 0
  %1: i64 = dim() {size=n}
  %2: i64 = 1
  %3: f64 = 0.0
  %out: f64 = for(%0, %1, %2, %3) (%i: i64, %s: f64) {
    %k: i64 = bind(%i) {size=k}
    %part: f64[n - k] = view(%x) {shape=(n - k,), map=[#0 + k]}
    %4: f64[n - k] = sin(%part)
    %5: f64 = sum(%4) {axes=(0,)}
    %6: f64 = index(%w, %i)
    %7: f64 = multiply(%5, %6)
    %8: f64 = add(%s, %7)
    yield %8
  }
  return %out
}
"""


def expected(x, w):
    s, x_bar, w_bar = 0.0, np.zeros_like(x), np.zeros_like(w)
    for i in range(len(x)):
        s += np.sum(np.sin(x[i:])) * w[i]
        x_bar[i:] += np.cos(x[i:]) * w[i]
        w_bar[i] = np.sum(np.sin(x[i:]))
    return s, x_bar, w_bar


@pytest.mark.parametrize("n", [0, 1, 5])
def test_views_at_bound_sizes_run_and_are_differentiated(n):
    rng = np.random.default_rng(n)
    x, w = rng.normal(size=n), rng.normal(size=n)
    function = verify(parse(SUMS_OF_SLICES), form="array")
    adjoint = verify(optimize(gradient(function, (0, 1))), form="array")
    lowered = verify(schedule(adjoint), form="loop")
    source = emit_array_form(adjoint)
    scope = {}
    exec(compile(source, "<array form>", "exec"), scope)
    for found in (
        evaluate(adjoint, x, w),
        evaluate(lowered, x, w),
        scope[adjoint.name](x, w),
        run_plain(emit_loop_form(lowered), lowered.name)(x, w),
    ):
        for one, other in zip(found, expected(x, w), strict=True):
            assert_close(one, other, 1e-12)


def test_a_bound_size_is_printed_and_parsed():
    function = parse(SUMS_OF_SLICES)
    assert str(parse(str(function))) == str(function)


def test_the_index_of_a_loop_keeps_its_name_as_a_size():
    source = emit_loop_form(schedule(optimize(parse(SUMS_OF_SLICES))))
    assert "range(n - i)" in source


def test_a_size_is_bound_in_its_region_only():
    text = SUMS_OF_SLICES.replace("return %out", "%9: i64 = dim() {size=k}\n  return %out")
    with pytest.raises(VerificationError, match="symbol k"):
        verify(parse(text))


def test_a_size_that_is_negative_is_noticed():
    text = """
    func @f(%n: i64) -> (i64) {
      %k: i64 = bind(%n) {size=k}
      return %k
    }"""
    with pytest.raises(InternalError, match="bound to -1"):
        evaluate(parse(text), np.int64(-1))


@pytest.mark.parametrize(
    ("type", "attributes"),
    [
        (ArrayType(f64), {"size": parse(SUMS_OF_SLICES).params[0].shape[0]}),
        (ArrayType(i64), {"size": 3}),
        (ArrayType(i64, (2,)), {"size": 3}),
    ],
)
def test_what_is_no_size_is_refused(type, attributes):
    with pytest.raises(TypeError):
        ops.bind.infer(type, **attributes)
