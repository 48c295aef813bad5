"""A part of an array that a loop reads: its cotangent is added in place, wherever the part lies."""

import numpy as np
import pytest

from tests.transforms.test_vjp import function, total
from tracegrad import ops
from tracegrad.ir.interpreter import evaluate
from tracegrad.ir.types import ArrayType, f64, i64, symbol
from tracegrad.ir.verifier import verify
from tracegrad.ops.access_samples import SHAPES
from tracegrad.ops.control import for_loop
from tracegrad.ops.registry import constant
from tracegrad.transforms.vjp import gradient

n = symbol("n")


@pytest.mark.parametrize("sample", range(len(SHAPES)))
def test_a_view_in_a_loop(sample):
    whole, part, map = SHAPES[sample]
    types = [ArrayType(f64, whole), ArrayType(f64, part)]

    def read(x, w):
        return total(ops.sin(ops.view(x, shape=part, map=map)) * w)

    def looped(x, w):
        return for_loop(0, 2, [constant(0.0)], lambda i, s: [s + read(x, w)])

    rng = np.random.default_rng(sample)
    given = rng.normal(size=whole), rng.normal(size=part)
    once = evaluate(gradient(function(types, read), [0]), *given)[1]
    g = verify(gradient(function(types, looped), [0]))
    twice = evaluate(g, *given)[1]
    np.testing.assert_allclose(twice, 2.0 * once, rtol=1e-13, atol=1e-15)
    back = [op for op in g.body.ops if op.name == "for"][-1]
    if np.prod(whole) > 4 * np.prod(part) and np.prod(part):
        # Nothing of the size of the whole array is computed in a trip.
        made = {
            r.shape for op in back.regions[0].ops for r in op.results if op.name != "accumulate"
        }
        assert whole not in made


def test_a_part_of_an_array_made_in_the_body_is_padded():
    """There is no array to add to yet: the rule of the op makes it."""
    types = [ArrayType(f64, (4,))]

    def rule(x):
        def trip(i, s):
            y = ops.sin(x) * s
            return [s + total(ops.view(y, shape=(2,), map=((0, 1, 1),)))]

        return for_loop(0, 2, [constant(0.5)], trip)

    g = gradient(function(types, rule), [0])
    assert "pad" in {op.name for op in g.walk()}


def test_a_span_written_in_a_loop():
    """Which of a few places are written twice is told without an array of the size of the whole."""
    types = [ArrayType(f64, (n,)), ArrayType(f64, (n,))]

    def rule(x, y):
        def trip(i, y):
            places = ops.iota(size=3, dtype=i64) * 0 + i
            return [ops.update(y, ops.sin(ops.index(x, places)) * ops.index(y, places), places)]

        return total(*for_loop(1, n, [y], trip))

    g = verify(gradient(function(types, rule), [0, 1]))
    loops = [op for op in g.body.ops if op.name == "for"]
    made = [r for op in loops for inner in op.regions[0].ops for r in inner.results if r.rank]
    assert {r.op.name for r in made if r.shape == (n,)} <= {"update", "accumulate"}
    x, y = np.array([0.3, 0.8, -0.4]), np.array([1.0, 0.5, 2.0])
    value, x_bar, y_bar = evaluate(g, x, y)
    np.testing.assert_allclose(value, y[0] + np.sum(np.sin(x[1:]) * y[1:]))
    np.testing.assert_allclose(x_bar, [0.0, *(np.cos(x[1:]) * y[1:])])
    np.testing.assert_allclose(y_bar, [1.0, *np.sin(x[1:])])
