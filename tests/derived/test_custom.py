"""Derivatives that the user gives, in both modes and of higher order; checkpoints."""

import numpy as np
import pytest

import tracegrad as tg
from tracegrad.errors import ArgumentError, NotDifferentiable, UnsupportedError
from tracegrad.testing.numerics import assert_close, numerical_jvp

rng = np.random.default_rng(8)
X = rng.uniform(0.2, 0.9, 5)


def cubed():
    """x³ · y with the rule written out."""

    @tg.custom_vjp
    def f(x, y):
        return x**3 * y

    f.defvjp(
        lambda x, y: (x**3 * y, (x, y)),
        lambda res, bar: (3.0 * res[0] ** 2 * res[1] * bar, np.sum(res[0] ** 3 * bar)),
    )
    return f


def tripled():
    """x with the derivative 3: to see that the rule is taken."""

    @tg.custom_vjp
    def f(x):
        return x * 1.0

    f.defvjp(lambda x: (x * 1.0, None), lambda _, bar: (3.0 * bar,))
    return f


def test_outside_a_trace_it_is_the_function():
    np.testing.assert_array_equal(cubed()(X, 2.0), X**3 * 2.0)


def test_the_rule_is_taken_and_not_the_function():
    f = tripled()
    assert_close(tg.grad(lambda x: np.sum(f(x) ** 2))(X), 6.0 * X, 1e-14)
    assert_close(tg.jacfwd(f)(X), 3.0 * np.eye(5), 1e-14)
    assert_close(tg.jvp(f, (X,), (X,))[1], 3.0 * X, 1e-14)
    assert_close(tg.vmap(tg.grad(lambda x: f(x)))(X), np.full(5, 3.0), 1e-14)


def test_a_right_rule_gives_right_derivatives_of_all_orders():
    f = cubed()
    plain = lambda x: np.sum(np.sin(x**3 * 2.0))  # noqa: E731  # short
    ruled = lambda x: np.sum(np.sin(f(x, 2.0)))  # noqa: E731  # short
    for verb in (tg.grad, tg.hessian, lambda g: tg.grad(lambda x: np.sum(tg.grad(g)(x) ** 2))):
        assert_close(verb(ruled)(X), verb(plain)(X), 1e-11)
    assert_close(tg.grad(lambda y: np.sum(f(X, y)))(2.0), np.sum(X**3), 1e-13)
    assert_close(tg.value_and_grad(ruled)(X)[0], plain(X), 1e-14)


def test_rules_in_loops_and_branches():
    f = cubed()

    def loop(x, step):
        s = 0.5
        for i in range(x.shape[0]):
            if x[i] > 0.5:
                s = step(s, x[i])
            else:
                s = s * x[i]
        return s

    ruled, plain = lambda x: loop(x, f), lambda x: loop(x, lambda a, b: a**3 * b)
    assert_close(tg.grad(ruled)(X), tg.grad(plain)(X), 1e-12)
    assert_close(tg.hessian(ruled)(X), tg.hessian(plain)(X), 1e-11)
    assert_close(tg.jvp(ruled, (X,), (X,))[1], tg.jvp(plain, (X,), (X,))[1], 1e-12)


def test_rules_with_trees_integers_and_fixed_arguments():
    @tg.custom_vjp(nondiff_argnums=(0,))
    def f(kind, p, k):
        return {"out": p["a"][k] * 2.0, "k": k}

    def fwd(kind, p, k):
        return f.py_func(kind, p, k), (p, k)

    def bwd(kind, residuals, bar):
        p, k = residuals
        a_bar = np.zeros_like(p["a"])
        a_bar[k] = bar["out"] * (20.0 if kind == "ten" else 2.0)
        return {"a": a_bar}, None

    f.defvjp(fwd, bwd)
    found = tg.grad(lambda p: f("ten", p, 2)["out"])({"a": X})
    assert_close(found["a"], 20.0 * np.eye(5)[2], 1e-14)


def test_a_value_that_is_differentiated_must_be_an_argument():
    def loss(w):
        @tg.custom_vjp
        def f(x):
            return x * w

        f.defvjp(lambda x: (x * w, None), lambda _, bar: (bar,))
        return f(2.0)

    with pytest.raises(NotDifferentiable, match="not among its arguments"):
        tg.grad(loss)(3.0)
    assert tg.jit(loss)(3.0) == 6.0


def test_forward_rules():
    @tg.custom_jvp
    def f(x, y):
        return np.sin(x) * y

    @f.defjvp
    def rule(primals, tangents):
        x, y = primals
        x_dot, y_dot = tangents
        return f(x, y), np.cos(x) * x_dot * y + np.sin(x) * y_dot

    plain = lambda x: np.sum((np.sin(x) * x[::-1]) ** 2)  # noqa: E731  # short
    ruled = lambda x: np.sum(f(x, x[::-1]) ** 2)  # noqa: E731  # short
    assert_close(tg.grad(ruled)(X), tg.grad(plain)(X), 1e-13)
    assert_close(tg.hessian(ruled)(X), tg.hessian(plain)(X), 1e-12)
    dot = rng.normal(size=5)
    assert_close(tg.jvp(ruled, (X,), (dot,))[1], numerical_jvp(plain, [X], [dot]), 1e-9)


def test_rules_per_argument():
    @tg.custom_jvp
    def f(x, y):
        return x * y

    f.defjvps(lambda x_dot, out, x, y: 10.0 * y * x_dot, None)
    assert tg.grad(f, argnums=(0, 1))(2.0, 3.0) == (30.0, 0.0)


def test_rules_that_use_their_function():
    @tg.custom_jvp
    def exp(x):
        return np.exp(x)

    exp.defjvps(lambda x_dot, out, x: exp(x) * x_dot)
    third = tg.grad(tg.grad(tg.grad(exp)))
    assert third(0.3) == pytest.approx(np.exp(0.3))
    assert tg.grad(tg.grad(third))(0.3) == pytest.approx(np.exp(0.3))

    @tg.custom_vjp
    def square(x):
        return x * x

    square.defvjp(lambda x: (square(x), x), lambda x, bar: (2.0 * x * bar,))
    assert tg.grad(square)(3.0) == 6.0
    assert tg.grad(tg.grad(square))(3.0) == 2.0


def test_wrong_rules_are_refused():
    @tg.custom_vjp
    def f(x):
        return x * 2.0

    with pytest.raises(ArgumentError, match="no rule yet"):
        tg.grad(f)(1.0)
    f.defvjp(lambda x: x, lambda res, bar: (bar,))
    with pytest.raises(ArgumentError, match="no pair"):
        tg.grad(f)(1.0)
    f.defvjp(lambda x: (x, x), lambda res, bar: (bar, bar))
    with pytest.raises(ArgumentError, match="2 cotangents for 1"):
        tg.grad(f)(1.0)
    f.defvjp(lambda x: (x, x), lambda res, bar: (np.ones(3),))
    with pytest.raises(ArgumentError, match="shape"):
        tg.grad(f)(1.0)
    f.defvjp(lambda x: (x, x), lambda res, bar: None)
    with pytest.raises(ArgumentError, match="returns None"):
        tg.grad(f)(1.0)


def test_checkpointed_functions_have_the_same_derivatives():
    def body(x, a, k):
        t = np.sin(x) * a
        return np.tanh(t * np.exp(t) + x) * k

    def loss(x, step):
        for i in range(6):
            x = step(x, 0.1 * i, 2)
        return np.sum(x**2)

    plain = lambda x: loss(x, body)  # noqa: E731  # short
    kept = lambda x: loss(x, tg.checkpoint(body))  # noqa: E731  # short
    assert_close(tg.grad(kept)(X), tg.grad(plain)(X), 1e-12)
    assert_close(tg.hessian(kept)(X), tg.hessian(plain)(X), 1e-10)


def newton(a, b):
    """The solution of x + a tanh(x) = b, element by element, by Newton's method."""
    x = b
    for _ in range(40):
        x = x - (x + a * np.tanh(x) - b) / (1.0 + a / np.cosh(x) ** 2)
    return x


def test_the_derivative_of_a_solution_is_not_that_of_its_steps():
    root = tg.implicit_root(lambda x, a, b: x + a * np.tanh(x) - b, newton)
    plain = lambda a, b: np.sum(np.sin(newton(a, b)))  # noqa: E731  # short
    ruled = lambda a, b: np.sum(np.sin(root(a, b)))  # noqa: E731  # short
    np.testing.assert_allclose(root(0.7, X), newton(0.7, X))
    for argnums in (0, 1):
        found = tg.grad(ruled, argnums)(0.7, X)
        assert_close(found, tg.grad(plain, argnums)(0.7, X), 1e-10)
    assert_close(tg.hessian(ruled)(0.7, X), tg.hessian(plain)(0.7, X), 1e-8)
    assert_close(tg.jvp(ruled, (0.7, X), (1.0, X))[1], tg.jvp(plain, (0.7, X), (1.0, X))[1], 1e-10)


@pytest.mark.parametrize(
    "residual",
    [
        lambda x, a: (x * x - a, x),
        lambda x, a: {"r": x * x - a},
        lambda x, a: np.sum(x * x - a),
        lambda x, a: (x * x - a)[:, None],
    ],
)
def test_a_residual_that_is_no_array_like_the_solution_is_refused(residual):
    root = tg.implicit_root(residual, lambda a: np.sqrt(a))
    with pytest.raises(ArgumentError, match="residual of the shape of the solution"):
        tg.grad(lambda a: np.sum(root(a)))(np.array([4.0, 9.0]))


def test_a_linear_system_as_an_implicit_root():
    matrix = rng.normal(size=(3, 3)) + 4.0 * np.eye(3)

    @tg.implicit_root(lambda x, m, b: m @ x - b)
    def solve(m, b):
        x = np.zeros(3)
        for _ in range(200):
            x = x + 0.1 * (b - m @ x)
        return x

    found = tg.grad(lambda m, b: np.sum(solve(m, b) ** 2), (0, 1))(matrix, X[:3])
    expected = tg.grad(lambda m, b: np.sum(np.linalg.solve(m, b) ** 2), (0, 1))(matrix, X[:3])
    assert_close(found[0], expected[0], 1e-5)
    assert_close(found[1], expected[1], 1e-5)


def test_a_function_with_a_rule_may_not_write_to_its_arguments():
    def change(x):
        x[0] = 2.0 * x[1]
        return np.sum(x)

    with pytest.raises(UnsupportedError, match="writes to its argument 'x'"):
        tg.grad(lambda x: tg.checkpoint(change)(x.copy()))(X)


@pytest.mark.parametrize("part", [slice(None), slice(1, None)])
@pytest.mark.parametrize("writes_argument", [False, True])
def test_an_argument_that_comes_back_is_not_written_to_unseen(part, writes_argument):
    f = tg.custom_vjp(lambda x: x[part])

    def bwd(_, bar):
        whole = np.zeros(5)
        whole[part] = bar
        return (whole,)

    f.defvjp(lambda x: (x[part], None), bwd)

    def both(x):
        u = x * 1.0
        y = f(u)
        if writes_argument:
            u[2] = 7.0
        else:
            y[0] = 7.0
        return np.sum(u**2) + np.sum(y)

    with pytest.raises(UnsupportedError, match="may not be the same memory"):
        tg.grad(both)(X)
    assert_close(tg.grad(lambda x: np.sum(f(x * 2.0)[:2] ** 2))(X)[-1], 0.0, 1e-14)


def test_a_hessian_is_the_jacobian_of_the_gradient_even_where_a_rule_is_no_gradient():
    @tg.custom_vjp
    def odd(x):
        return x * 1.0

    odd.defvjp(lambda x: (x * 1.0, x), lambda x, bar: (bar * x[::-1] * np.arange(5.0),))
    f = lambda x: np.sum(odd(x) ** 2)  # noqa: E731  # short
    expected = tg.jacfwd(tg.grad(f))(X)
    assert not np.allclose(expected, expected.T)
    assert_close(tg.hessian(f)(X), expected, 1e-12)


def test_rules_may_have_loops_branches_and_writes():
    @tg.custom_vjp
    def f(x):
        return np.cumsum(x)

    def bwd(n, bar):
        x_bar = np.zeros(n)
        total = 0.0
        for i in range(n - 1, -1, -1):
            total = total + bar[i]
            if bar[i] > -1e9:
                x_bar[i] = total
        return (x_bar,)

    f.defvjp(lambda x: (np.cumsum(x), x.shape[0]), bwd)
    x = rng.normal(size=20)
    plain = tg.grad(lambda x: np.sum(np.cumsum(x) ** 2))(x)
    assert_close(tg.grad(lambda x: np.sum(f(x) ** 2))(x), plain, 1e-12)

    @tg.custom_jvp
    def g(x):
        return np.cumsum(x)

    @g.defjvp
    def rule(primals, tangents):
        (x,), (x_dot,) = primals, tangents
        dot = np.zeros(x.shape[0])
        for i in range(x.shape[0]):
            dot[i] = x_dot[i] + (dot[i - 1] if i > 0 else 0.0)
        return np.cumsum(x), dot

    assert_close(tg.grad(lambda x: np.sum(g(x) ** 2))(x), plain, 1e-12)


def test_rules_that_call_their_function_nest_as_deep_as_verbs_do():
    @tg.custom_vjp
    def root(a):
        return np.sqrt(a)

    root.defvjp(lambda a: (root(a), root(a)), lambda x, bar: (bar / (2.0 * x),))

    def f(x):
        return root(x) * x

    fourth, fifth = 0.5625 * 2.0**-2.5, -1.40625 * 2.0**-3.5
    for verb in (tg.grad, tg.jacfwd, tg.jacrev):
        g = f
        for _ in range(4):
            g = verb(g)
        assert_close(g(2.0), fourth, 1e-12)
    assert_close(tg.grad(g)(2.0), fifth, 1e-12)
    assert_close(tg.hessian(tg.hessian(f))(2.0), fourth, 1e-12)
    assert_close(tg.jit(lambda x: tg.hvp(tg.hessian(f), x, 1.0))(2.0), fourth, 1e-12)


def test_a_rule_that_needs_itself_is_refused():
    @tg.custom_vjp
    def f(x):
        return np.sin(x)

    f.defvjp(lambda x: (f(x), x), lambda x, bar: (bar * tg.grad(f)(x),))
    with pytest.raises(NotDifferentiable, match="3 levels deep; deeper it has no rule"):
        tg.grad(f)(0.3)


def test_a_rule_that_is_not_linear_is_not_turned_round():
    @tg.custom_vjp
    def clipped(x):
        return 1.0 * x

    clipped.defvjp(lambda x: (1.0 * x, None), lambda residuals, bar: (np.clip(bar, -1.0, 1.0),))
    x = np.array([0.1, 3.0])
    np.testing.assert_allclose(tg.grad(lambda x: np.sum(clipped(x) ** 2))(x), [0.2, 1.0])
    with pytest.raises(tg.NotDifferentiable, match="not linear in the cotangents"):
        tg.jvp(clipped, (x,), (x,))
    with pytest.raises(tg.NotDifferentiable, match="not linear in the cotangents"):
        tg.hessian(lambda x: np.sum(clipped(x) ** 2))(x)

    @tg.custom_jvp
    def upwards(x):
        return np.sin(x)

    upwards.defjvp(lambda primals, tangents: (np.sin(primals[0]), np.abs(tangents[0])))
    with pytest.raises(tg.NotDifferentiable, match="not linear in the tangents"):
        tg.grad(lambda x: np.sum(upwards(x)))(x)
