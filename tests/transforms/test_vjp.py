"""Reverse mode on small functions in array form, run by the IR interpreter."""

import numpy as np
import pytest

from tracegrad import ops
from tracegrad.errors import NotDifferentiable
from tracegrad.ir.builder import Builder
from tracegrad.ir.interpreter import evaluate
from tracegrad.ir.types import ArrayType, f32, f64, i64, symbol
from tracegrad.ir.verifier import verify
from tracegrad.ops.registry import REGISTRY, elementwise
from tracegrad.transforms.vjp import gradient, vjp

n, m = symbol("n"), symbol("m")
VECTOR = ArrayType(f64, (n,))
SCALAR = ArrayType(f64, ())


def function(types, rule, names="xyzuvw"):
    with Builder() as build:
        params = [build.param(t, names[i]) for i, t in enumerate(types)]
        out = rule(*params)
        outs = list(out) if isinstance(out, tuple) else [out]
        return build.function("f", outs)


def total(x):
    return ops.sum(x, axes=tuple(range(x.rank)))


def gradients(f, *arrays, wrt=None):
    wrt = range(len(arrays)) if wrt is None else wrt
    g = gradient(f, list(wrt))
    verify(g)
    return evaluate(g, *arrays)[len(f.results) :]


def test_contributions_along_two_paths_add():
    f = function([SCALAR], lambda x: x + x * x)
    (x_bar,) = gradients(f, np.float64(3.0))
    assert x_bar == 7.0


def test_a_scalar_beside_an_array_receives_the_sum():
    f = function([VECTOR, SCALAR], lambda x, y: total(x * y))
    x_bar, y_bar = gradients(f, np.array([1.0, 2.0, 3.0]), np.float64(2.0))
    assert np.array_equal(x_bar, [2.0, 2.0, 2.0])
    assert y_bar == 6.0


def test_a_parameter_that_does_not_reach_the_result_has_a_zero_gradient():
    f = function([VECTOR, VECTOR], lambda x, y: total(x))
    _, y_bar = gradients(f, np.ones(3), np.ones(3))
    assert np.array_equal(y_bar, np.zeros(3))


def test_a_parameter_that_is_the_result():
    f = function([SCALAR], lambda x: x)
    (x_bar,) = gradients(f, np.float64(3.0))
    assert x_bar == 1.0


def test_stop_gradient_is_a_constant():
    f = function([SCALAR], lambda x: x * ops.stop_gradient(x))
    (x_bar,) = gradients(f, np.float64(3.0))
    assert x_bar == 3.0


def test_integers_carry_no_derivative():
    f = function([VECTOR], lambda x: total(x * ops.cast(ops.cast(x, dtype=i64), dtype=f64)))
    (x_bar,) = gradients(f, np.array([1.5, 2.5]))
    assert np.array_equal(x_bar, [1.0, 2.0])


def test_float32_stays_float32():
    f = function([ArrayType(f32, (n,))], lambda x: total(ops.sin(x)))
    (x_bar,) = gradients(f, np.array([0.5], np.float32))
    assert x_bar.dtype == np.float32


def test_a_cast_between_floats_casts_the_cotangent_back():
    f = function([ArrayType(f32, (n,))], lambda x: total(ops.cast(x, dtype=f64) * 3.0))
    (x_bar,) = gradients(f, np.array([0.5], np.float32))
    assert x_bar.dtype == np.float32
    assert x_bar == 3.0


def test_vjp_takes_one_cotangent_per_float_result():
    f = function([VECTOR, VECTOR], lambda x, y: (x * y, total(ops.sin(x))))
    g = vjp(f, [0, 1])
    verify(g)
    x, y, u = np.array([0.1, 0.2]), np.array([3.0, 4.0]), np.array([1.0, -1.0])
    _, _, x_bar, y_bar = evaluate(g, x, y, u, np.float64(2.0))
    assert np.allclose(x_bar, u * y + 2 * np.cos(x))
    assert np.allclose(y_bar, u * x)


def test_gradient_of_a_gradient():
    f = function([VECTOR], lambda x: total(x * x * x))
    first = gradient(f, [0])
    with Builder() as build:
        x, v = build.param(VECTOR, "x"), build.param(VECTOR, "v")
        env = {first.params[0]: x}
        for op in first.body.ops:
            env.update(zip(op.results, build.copy(op, env).results, strict=True))
        product = build.function("product", [total(env[first.results[1]] * v)])
    x, v = np.array([1.0, 2.0]), np.array([1.0, -1.0])
    (hvp,) = gradients(product, x, v, wrt=[0])
    assert np.allclose(hvp, 6 * x * v)


@pytest.fixture
def no_derivative():
    opdef = elementwise(
        "no_derivative",
        doc="An op that has no derivative.",
        reference=np.fix,
        array="np.fix({0})",
        scalar="{0}",
        nondifferentiable="it is made for a test",
        samples=lambda rng: [],
    )
    yield opdef
    del REGISTRY["no_derivative"]


def test_an_op_without_a_derivative_on_the_active_path_is_refused_with_its_reason(no_derivative):
    f = function([VECTOR], lambda x: total(no_derivative(x)))
    with pytest.raises(NotDifferentiable, match="made for a test"):
        gradient(f, [0])


def test_names_of_cotangents_follow_the_primal():
    f = function([VECTOR], lambda x: total(ops.sin(x)))
    g = gradient(f, [0])
    assert g.result_names[-1] == "x_bar"
    assert {op.part for op in g.body.ops} == {"forward", "reverse"}


def test_an_arm_that_was_not_chosen_contributes_nothing_even_where_its_partial_is_infinite():
    def rule(x):
        zero = x * 0.0
        return total(ops.select(x > 0.0, ops.log(ops.sqrt(x)), zero))

    (x_bar,) = gradients(function([VECTOR], rule), np.array([4.0, 0.0, -1.0]))
    assert np.array_equal(x_bar, [0.125, 0.0, 0.0])


def test_masks_of_nested_arms_combine():
    def rule(x, y):
        inner = ops.select(y > 0.0, 1.0 / x, x * 0.0)
        return total(ops.select(x > 0.0, inner, x * 0.0))

    x, y = np.array([2.0, 0.0, 2.0, 0.0]), np.array([1.0, 1.0, -1.0, -1.0])
    (x_bar,) = gradients(function([VECTOR, VECTOR], rule), x, y, wrt=[0])
    assert np.array_equal(x_bar, [-0.25, 0.0, 0.0, 0.0])


def test_the_loser_of_a_maximum_contributes_nothing():
    def rule(x):
        return total(ops.maximum(ops.log(x), -1.0))

    (x_bar,) = gradients(function([VECTOR], rule), np.array([1.0, 0.0]))
    assert np.array_equal(x_bar, [1.0, 0.0])
