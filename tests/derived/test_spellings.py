"""autograd's spellings: its argument orders and results."""

import doctest

import numpy as np
import pytest

import tracegrad as tg
from tracegrad import api_derived, spellings
from tracegrad.errors import ArgumentError
from tracegrad.testing.numerics import assert_close

A, B = np.array([0.1, 0.2]), np.array([1.0, 2.0])
M = np.arange(6.0).reshape(3, 2)


def energy(a, b, k):
    """A loop, and an argument that is no float."""
    total = 0.0
    for i in range(k):
        total = total + np.sum(np.sin(a * (i + 1)) * b**2)
    return total


def outer(x, m):
    y = m @ x
    return np.tanh(np.outer(y, m[:, 0]))


def test_make_vjp_gives_the_pullback_first():
    pullback, out = tg.make_vjp(energy, (0, 1))(A, B, 3)
    assert out == pytest.approx(energy(A, B, 3))
    found, expected = pullback(2.0), tg.grad(energy, (0, 1))(A, B, 3)
    assert isinstance(found, tuple)
    for one, other in zip(found, expected, strict=True):
        assert_close(one, 2.0 * other, 1e-12)
    assert_close(tg.make_vjp(energy, -2)(A, B, 3)[0](1.0), expected[1], 1e-12)
    assert_close(tg.make_vjp(energy)(A, B, k=3)[0](1.0), expected[0], 1e-12)
    (only,) = tg.make_vjp(energy, [1])(A, B, 3)[0](1.0)
    assert_close(only, expected[1], 1e-12)


def test_make_vjp_pulls_back_arrays_and_nests():
    pullback, _ = tg.make_vjp(outer)(A, M)
    bar = np.ones((3, 3))
    assert_close(pullback(bar), np.tensordot(bar, tg.jacobian(outer)(A, M), 2), 1e-12)
    found = tg.grad(lambda a: np.sum(tg.make_vjp(energy)(a, B, 3)[0](1.0)))(A)
    assert_close(found, np.sum(tg.hessian(energy)(A, B, 3), axis=0), 1e-11)


def test_make_jvp():
    out, out_dot = tg.make_jvp(energy, (1, 0))(A, B, 3)((B, A))
    expected = tg.grad(energy, (0, 1))(A, B, 3)
    assert out == pytest.approx(energy(A, B, 3))
    assert out_dot == pytest.approx(A @ expected[0] + B @ expected[1])


def test_products_with_the_hessian():
    expected = tg.hvp(energy, (A, B, 3), (B, A, None))
    product, gradient = tg.make_hvp(energy, (0, 1))(A, B, 3)
    results = [product((B, A)), tg.hessian_tensor_product(energy, (0, 1))(A, B, 3, (B, A))]
    for found in results:
        for one, other in zip(found, expected, strict=True):
            assert_close(one, other, 1e-11)
    assert_close(gradient[1], tg.grad(energy, 1)(A, B, 3), 1e-12)
    single = tg.hessian_vector_product(energy, 1)(A, B, 3, A)
    assert_close(single, tg.hessian(energy, 1)(A, B, 3) @ A, 1e-11)


@pytest.mark.parametrize("vector", [np.ones((3, 3)), np.array([1.0, 2.0, 3.0])])
def test_products_with_the_jacobian(vector):
    expected = np.tensordot(vector, tg.jacobian(outer)(A, M), vector.ndim)
    assert_close(tg.tensor_jacobian_product(outer)(A, M, vector), expected, 1e-12)


def test_gauss_newton():
    J, v = tg.jacobian(outer)(A, M), np.array([1.0, -2.0])
    flat = J.reshape(9, 2)
    assert_close(tg.make_ggnvp(outer)(A, M)(v), flat.T @ flat @ v, 1e-11)
    curvature = np.exp(outer(A, M)).reshape(9)
    found = tg.make_ggnvp(outer, lambda y: np.sum(np.exp(y)))(A, M)(v)
    assert_close(found, flat.T @ (curvature * (flat @ v)), 1e-11)


def test_derivatives_by_name():
    def fun(a, /, b=2.0, *, c=3.0):
        return a * b**2 * c

    assert tg.multigrad_dict(fun)(1.0) == {"a": 12.0, "b": 12.0, "c": 4.0}
    assert tg.multigrad_dict(fun)(1.0, 1.0, c=1.0) == {"a": 1.0, "b": 2.0, "c": 1.0}
    assert tg.grad_named(fun, "c")(1.0, 2.0, c=3.0) == 4.0
    with pytest.raises(ArgumentError, match="all have names"):
        tg.multigrad_dict(lambda *args: args[0])


def test_deriv_of_what_a_number_makes():
    assert_close(tg.deriv(lambda t, n: t**n * B)(3.0, 2), 6.0 * B, 1e-12)
    assert tg.deriv(tg.deriv(lambda t: t**3))(2.0) == pytest.approx(12.0)


@pytest.mark.parametrize("verb", [tg.grad, tg.value_and_grad, tg.jacobian, tg.hessian, tg.jacfwd])
def test_argnum_is_argnums(verb):
    found, expected = verb(energy, argnum=1)(A, B, 2), verb(energy, argnums=1)(A, B, 2)
    assert str(found) == str(expected)
    with pytest.raises(ArgumentError, match="name the same"):
        verb(energy, 0, argnum=1)


def test_what_is_refused():
    with pytest.raises(ArgumentError, match="needs 2 tangents, not 1"):
        tg.make_jvp(energy, (0, 1))(A, B, 3)((A,))
    with pytest.raises(ArgumentError, match="has 3 arguments"):
        tg.make_jvp(energy, 3)(A, B, 3)(A)
    with pytest.raises(ArgumentError, match="derivative in 'k'"):
        tg.make_vjp(energy, 2)(A, B, 3)


@pytest.mark.parametrize("module", [spellings, api_derived])
def test_the_examples_of_the_docstrings(module):
    assert doctest.testmod(module).failed == 0
