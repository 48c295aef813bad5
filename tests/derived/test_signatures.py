"""Verbs take the arguments that JAX's take, in the same order and under the same names."""

from functools import partial

import numpy as np
import pytest

import tracegrad as tg

x = np.array([0.3, 0.7, -0.4])


def pair(z):
    return np.sum(np.sin(z) * z[::-1]), {"twice": 2.0 * z}


@pytest.mark.parametrize("verb", ["grad", "value_and_grad", "jacfwd", "jacrev", "jacobian",
                                  "hessian", "elementwise_grad"])  # fmt: skip
def test_has_aux_may_be_given_by_position(verb):
    by_position = getattr(tg, verb)(pair, 0, True)(x)
    by_name = getattr(tg, verb)(pair, argnums=0, has_aux=True)(x)
    np.testing.assert_equal(by_position, by_name)


def test_has_aux_of_a_sparse_jacobian_by_position():
    found, aux = tg.jacobian(lambda z: (z**2, z), 0, True, sparse=True)(x)
    np.testing.assert_allclose(found.toarray(), np.diag(2.0 * x))
    np.testing.assert_array_equal(aux, x)


def test_has_aux_of_jvp_by_position():
    _, dot, aux = tg.jvp(pair, (x,), (np.ones(3),), True)
    assert np.isclose(dot, np.sum(np.cos(x) * x[::-1] + np.sin(x)[::-1]))
    np.testing.assert_array_equal(aux["twice"], 2.0 * x)


def test_vmap_takes_a_name_for_its_axis():
    np.testing.assert_array_equal(tg.vmap(lambda a: 2.0 * a, 0, 0, "batch")(x), 2.0 * x)
    made = tg.vmap(lambda a: 2.0 * a, in_axes=None, axis_name="batch", axis_size=2)
    np.testing.assert_array_equal(made(3.0), [6.0, 6.0])


@pytest.mark.parametrize("verb", ["jacfwd", "jacrev", "hessian", "elementwise_grad"])
def test_a_python_int_is_refused_by_name(verb):
    with pytest.raises(tg.ArgumentError, match="'n', which is a Python int"):
        getattr(tg, verb)(lambda z, n: np.sum(z) * n, 1)(x, 3)


def test_linearize_of_a_constant():
    out, along = tg.linearize(lambda z: 3.0, x)
    assert (out, along(x)) == (3.0, 0.0)


@pytest.mark.parametrize("given", [{"nondiff_argnames": "n"}, {"nondiff_argnames": ("n",)},
                                   {"nondiff_argnums": (1,)}])  # fmt: skip
def test_an_argument_without_a_derivative_is_named(given):
    @partial(tg.custom_vjp, **given)
    def scaled(a, n):
        return np.sin(a) * n

    scaled.defvjp(lambda a, n: (scaled(a, n), a), lambda n, a, bar: (bar * n * np.cos(a),))
    assert np.isclose(tg.grad(lambda a: scaled(a, 3))(0.3), 3.0 * np.cos(0.3))
    assert np.isclose(tg.grad(lambda a: scaled(a, n=3))(0.3), 3.0 * np.cos(0.3))

    @tg.custom_jvp(**given)
    def other(a, n):
        return np.sin(a) * n

    @other.defjvp
    def rule(n, primals, tangents):
        return other(*primals, n), tangents[0] * n * np.cos(primals[0])

    assert np.isclose(tg.grad(lambda a: other(a, 3))(0.3), 3.0 * np.cos(0.3))


def test_a_name_that_is_no_parameter_is_refused():
    with pytest.raises(tg.ArgumentError, match="nondiff_argnames has 'm'"):
        tg.custom_vjp(lambda a, n: a, nondiff_argnames="m")


def test_a_rule_gets_the_defaults_of_the_function():
    @tg.custom_vjp
    def scaled(a, b=2.0, c=1.0):
        return np.sin(a) * b + c

    scaled.defvjp(
        lambda a, b, c: (scaled(a, b, c), (a, b)),
        lambda kept, bar: (bar * kept[1] * np.cos(kept[0]), bar * np.sin(kept[0]), bar),
    )
    assert np.isclose(tg.grad(lambda a: scaled(a))(0.3), 2.0 * np.cos(0.3))
    assert np.isclose(tg.grad(lambda a: scaled(a, c=4.0))(0.3), 2.0 * np.cos(0.3))
    assert np.isclose(tg.grad(lambda b: scaled(0.3, b=b))(3.0), np.sin(0.3))


def test_static_arguments_of_a_checkpointed_function():
    @partial(tg.checkpoint, static_argnums=(1,))
    def steps(z, names):
        for name in names:
            z = getattr(np, name)(z)
        return z

    found = tg.grad(lambda z: np.sum(steps(z, ("sin", "cos"))))(x)
    np.testing.assert_allclose(found, -np.sin(np.sin(x)) * np.cos(x))

    @tg.checkpoint(static_argnames="scale")
    def scaled(z, scale):
        assert isinstance(scale, float)
        return scale * np.sin(z)

    np.testing.assert_allclose(tg.grad(lambda z: np.sum(scaled(z, 2.0)))(x), 2.0 * np.cos(x))
    assert tg.remat is tg.checkpoint
