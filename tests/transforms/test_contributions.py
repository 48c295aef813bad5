"""A part of an array that a loop reads: its cotangent is added in place, wherever the part lies."""

import numpy as np
import pytest

from tests.transforms.test_vjp import function, total
from tracegrad import ops
from tracegrad.ir.interpreter import evaluate
from tracegrad.ir.types import ArrayType, f64
from tracegrad.ir.verifier import verify
from tracegrad.ops.access_samples import SHAPES
from tracegrad.ops.control import for_loop
from tracegrad.ops.registry import constant
from tracegrad.transforms.vjp import gradient


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
