"""Cutting a vjp in two: both halves together do what the whole did."""

import numpy as np
import pytest

from tests.transforms.test_vjp import SCALAR, VECTOR, function, total
from tracegrad import ops
from tracegrad.ir.interpreter import evaluate
from tracegrad.ir.verifier import verify
from tracegrad.transforms.cut import cut
from tracegrad.transforms.vjp import vjp

x, y, u = np.array([0.1, 0.2, 0.3]), np.array([3.0, 4.0, 5.0]), np.array([1.0, -1.0, 2.0])

CASES = {
    "product": ([VECTOR, VECTOR], lambda x, y: x * y, (x, y), (u,)),
    "chain": ([VECTOR], lambda x: ops.exp(ops.sin(x)), (x,), (u,)),
    "a size that only the primal tells": ([VECTOR], total, (x,), (np.float64(2.0),)),
    "linear": ([VECTOR], lambda x: x * 3.0, (x,), (u,)),
    "identity": ([VECTOR], lambda x: x, (x,), (u,)),
    "scalar": ([SCALAR], lambda x: x * x, (np.float64(3.0),), (np.float64(2.0),)),
}


@pytest.mark.parametrize("case", CASES)
def test_both_halves_do_what_the_whole_did(case):
    types, rule, primals, bars = CASES[case]
    f = function(types, rule)
    whole = vjp(f, range(len(types)))
    forward, pullback = cut(whole, len(types), len(f.results))
    verify(forward)
    verify(pullback)
    count = len(f.results)
    values = evaluate(forward, *primals)
    expected = evaluate(whole, *primals, *bars)
    for got, want in zip(values[:count], expected[:count], strict=True):
        assert np.array_equal(got, want)
    found = evaluate(pullback, *values[count:], *bars)
    for got, want in zip(found, expected[count:], strict=True):
        assert np.array_equal(got, want)


def test_residuals_are_only_what_the_way_back_reads():
    f = function([VECTOR], lambda x: ops.exp(ops.sin(x)) * 2.0)
    forward, _ = cut(vjp(f, [0]), 1, 1)
    # x for cos(x), and exp(sin x) for its own derivative; sin(x) itself is not read.
    assert len(forward.results) == 1 + 2
