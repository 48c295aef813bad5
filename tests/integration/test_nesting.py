"""Transforms of transforms, transforms inside traced functions, and trees through both."""

import numpy as np
import pytest

import tracegrad as tg

X = np.array([0.5, -1.5, 2.0])


def test_derivatives_of_derivatives():
    f = tg.grad(tg.grad(tg.grad(lambda x: x**5)))
    assert f(2.0) == pytest.approx(60 * 4.0)
    assert tg.grad(tg.grad(np.sin))(0.3) == pytest.approx(-np.sin(0.3))


def test_the_gradient_of_a_gradients_norm():
    def f(x):
        return np.sum(np.sin(x) * x)

    def penalty(x):
        return np.sum(tg.grad(f)(x) ** 2)

    first = np.cos(X) * X + np.sin(X)
    second = -np.sin(X) * X + 2 * np.cos(X)
    np.testing.assert_allclose(tg.grad(penalty)(X), 2 * first * second)


def test_a_value_and_gradient_inside_a_function():
    inner = tg.value_and_grad(lambda w, x: np.sum((w * x) ** 3), argnums=(0, 1))

    def f(w):
        value, (w_bar, x_bar) = inner(w, X)
        return value + np.sum(w_bar * x_bar)

    def plain(w):
        return np.sum((w * X) ** 3) + np.sum(9 * w**5 * X**5)

    w = np.array([1.0, 2.0, 3.0])
    value, bar = tg.value_and_grad(f)(w)
    assert value == pytest.approx(plain(w))
    np.testing.assert_allclose(bar, 3 * w**2 * X**3 + 45 * w**4 * X**5)


def test_vjp_inside_a_gradient():
    def f(x):
        out, pullback = tg.vjp(lambda y: np.sin(y) * y, x)
        (bar,) = pullback(out)
        return np.sum(bar)

    def plain(x):
        return np.sum((np.cos(x) * x + np.sin(x)) * np.sin(x) * x)

    value, bar = tg.value_and_grad(f)(X)
    assert value == pytest.approx(plain(X))
    h = 1e-6
    for i in range(3):
        step = h * np.eye(3)[i]
        assert bar[i] == pytest.approx((plain(X + step) - plain(X - step)) / (2 * h), abs=1e-7)


def test_vjp_of_a_gradient_is_a_hessian_product():
    def f(x):
        return np.sum(x**2) * np.sum(np.exp(x))

    _, pullback = tg.vjp(tg.grad(f), X)
    v = np.array([1.0, -2.0, 0.5])
    s, e = np.sum(X**2), np.exp(X)
    hessian = 2 * np.eye(3) * e.sum() + 2 * np.outer(X, e) + 2 * np.outer(e, X) + s * np.diag(e)
    np.testing.assert_allclose(pullback(v)[0], hessian @ v)


def test_jit_inside_grad_and_grad_inside_jit():
    square = tg.jit(lambda x: x * x)
    np.testing.assert_allclose(tg.grad(lambda x: np.sum(square(x) * x))(X), 3 * X**2)
    f = tg.jit(lambda x: tg.grad(lambda y: np.sum(y**3))(x) + square(x))
    np.testing.assert_allclose(f(X), 4 * X**2)


def test_an_inner_function_uses_the_outer_ones_values():
    def outer(x):
        scale = np.sum(x)

        def inner(y):
            return np.sum(y * y) * scale

        return np.sum(tg.grad(inner)(x) * x)

    def plain(x):
        return 2 * np.sum(x * x) * np.sum(x)

    value, bar = tg.value_and_grad(outer)(X)
    assert value == pytest.approx(plain(X))
    np.testing.assert_allclose(bar, 4 * X * np.sum(X) + 2 * np.sum(X * X))


def test_perturbations_are_not_confused():
    def f(x):
        return x * tg.grad(lambda y: x + y)(1.0)

    assert tg.grad(f)(3.0) == 1.0

    def g(x):
        return x * tg.grad(lambda y: x * y)(1.0)

    assert tg.grad(g)(3.0) == 6.0


def test_trees_through_an_inner_gradient():
    def f(p):
        bars = tg.grad(lambda q: np.sum(q["a"] ** 3) + np.sum(q["b"][0] * q["a"]))(p)
        return np.sum(bars["a"] * p["a"]) + np.sum(bars["b"][0])

    p = {"a": X, "b": [X + 1.0]}
    bar = tg.grad(f)(p)
    np.testing.assert_allclose(bar["a"], 9 * X**2 + (X + 1) + 1)
    np.testing.assert_allclose(bar["b"][0], X)


def test_jit_of_trees():
    @tg.jit
    def f(tree, k):
        return {"sum": tree["x"] + k, "list": [tree["x"][0], (tree["y"], None, "name")], "k": k}

    out = f({"x": X, "y": 2.5}, 3)
    np.testing.assert_array_equal(out["sum"], X + 3)
    assert out["list"] == [0.5, (2.5, None, "name")]
    assert out["k"] == 3
    assert type(out["k"]) is int
    out = f({"x": X, "y": 1.5}, 4)
    assert out["k"] == 4
    assert out["list"][1][0] == 1.5


def test_a_decorated_function_called_twice_inside():
    inner = tg.grad(lambda x: np.sum(np.tanh(x)))

    def f(x):
        return np.sum(inner(inner(x)))

    h = 1e-6

    def plain(x):
        return np.sum(1 - np.tanh(1 - np.tanh(x) ** 2) ** 2)

    bar = tg.grad(f)(X)
    for i in range(3):
        step = h * np.eye(3)[i]
        assert bar[i] == pytest.approx((plain(X + step) - plain(X - step)) / (2 * h), abs=1e-8)


def test_a_static_argument_inside():
    inner = tg.grad(lambda x, n: np.sum(x**n), static_argnums=1)
    np.testing.assert_allclose(tg.grad(lambda x: np.sum(inner(x, 3)))(X), 6 * X)


def test_has_aux_inside():
    inner = tg.grad(lambda x: (np.sum(x**2), x * 3), has_aux=True)

    def f(x):
        bar, aux = inner(x)
        return np.sum(bar * aux)

    np.testing.assert_allclose(tg.grad(f)(X), 12 * X)


def test_pullback_takes_trees_and_refuses_misfits():
    def f(p):
        return {"u": p[0] * p[1], "v": np.sum(p[0])}

    out, pullback = tg.vjp(f, (X, X + 1.0))
    np.testing.assert_allclose(out["u"], X * (X + 1))
    ((first, second),) = pullback({"u": np.ones(3), "v": 2.0})
    np.testing.assert_allclose(first, X + 1 + 2)
    np.testing.assert_allclose(second, X)
    for wrong in (np.ones(3), {"u": np.ones(4), "v": 1.0}, {"u": np.ones(3)}, None):
        with pytest.raises(tg.errors.ArgumentError):
            pullback(wrong)


def test_vjp_of_many_shapes_and_scalars():
    out, pullback = tg.vjp(lambda x, s: np.outer(x, x) * s, X, 2.0)
    bar = np.arange(9.0).reshape(3, 3)
    np.testing.assert_allclose(out, 2 * np.outer(X, X))
    x_bar, s_bar = pullback(bar.T)
    np.testing.assert_allclose(x_bar, 2 * (bar + bar.T) @ X)
    assert s_bar == pytest.approx(X @ bar @ X)
    out, pullback = tg.vjp(np.sin, 0.5)
    assert pullback(1.0)[0] == pytest.approx(np.cos(0.5))
    assert pullback(np.float32(2.0))[0] == pytest.approx(2 * np.cos(0.5))


def test_a_gradient_called_on_numpy_while_another_trace_runs():
    inner = tg.grad(lambda x: np.sum(x * x))

    def f(x):
        constant = inner(X)  # no argument is traced: a number for the outer function
        return np.sum(x * constant)

    np.testing.assert_allclose(tg.grad(f)(X), 2 * X)
