"""The verbs beyond `grad`, on arrays and trees: against differences, and against each other."""

from typing import NamedTuple

import numpy as np
import pytest

import tracegrad as tg
from tracegrad.errors import ArgumentError
from tracegrad.testing.numerics import assert_close, numerical_jvp

rng = np.random.default_rng(5)
X, Y, M = rng.uniform(0.2, 0.9, 4), rng.uniform(0.2, 0.9, 4), rng.uniform(0.2, 0.9, (3, 4))


class Pair(NamedTuple):
    left: np.ndarray
    right: np.ndarray


def squares(x, y):
    return np.sin(x) * y + np.sum(x**2)


def recurrence(w, x):
    """A loop with a branch and writes."""
    y = np.zeros(x.shape[0])
    y[0] = w[0]
    for t in range(1, x.shape[0]):
        if x[t] > 0.5:
            y[t] = np.tanh(y[t - 1]) * w[1] + x[t]
        else:
            y[t] = y[t - 1] * x[t]
    return y


def newton(a):
    """A loop whose trips depend on the argument."""
    x = 1.0
    while abs(x * x - a) > 1e-12:
        x = 0.5 * (x + a / x)
    return x


W = np.array([0.3, 0.7])
LONG = rng.uniform(0.1, 0.9, 9)


def columns(fun, x):
    """The Jacobian of ``fun`` by differences, results first."""
    x = np.asarray(x, float)
    found = []
    for k in range(x.size):
        dot = np.zeros(x.size)
        dot[k] = 1.0
        found.append(np.asarray(numerical_jvp(fun, [x], [dot.reshape(x.shape)])))
    return np.stack(found, axis=-1).reshape((*found[0].shape, *x.shape))


# --- jvp --------------------------------------------------------------------------------------


def test_jvp_gives_value_and_tangent():
    dots = rng.normal(size=4), rng.normal(size=4)
    out, out_dot = tg.jvp(squares, (X, Y), dots)
    assert_close(out, squares(X, Y), 1e-14)
    assert_close(out_dot, numerical_jvp(squares, [X, Y], dots), 1e-9)


@pytest.mark.parametrize(
    "fun", [lambda w: recurrence(w, LONG), lambda w: newton(w[0] + 2.0 * w[1])]
)
def test_jvp_of_loops(fun):
    dot = rng.normal(size=2)
    _, out_dot = tg.jvp(fun, (W,), (dot,))
    assert_close(out_dot, numerical_jvp(fun, [W], [dot]), 1e-8)


def test_jvp_takes_trees_and_gives_trees():
    def fun(p, scale):
        return {"a": p.left * scale, "b": [np.sum(p.right), 3.0, np.argmax(p.left)]}

    point, dot = Pair(X, Y), Pair(np.ones(4), 2 * np.ones(4))
    out, out_dot = tg.jvp(fun, (point, 2.0), (dot, 1.0))
    assert_close(out_dot["a"], X + 2.0 * np.ones(4), 1e-14)
    assert out_dot["b"] == [8.0, 0.0, 0.0]
    assert out["b"][1] == 3.0
    assert out["b"][2] == np.argmax(X)


def test_none_marks_a_constant_primal():
    _, out_dot = tg.jvp(lambda x, k: x**k, (X, 3), (np.ones(4), None))
    assert_close(out_dot, 3 * X**2, 1e-12)


def test_jvp_with_aux():
    out, out_dot, aux = tg.jvp(lambda x: (np.sum(x), {"x": x}), (X,), (np.ones(4),), has_aux=True)
    assert out_dot == 4.0
    assert out == pytest.approx(np.sum(X))
    np.testing.assert_array_equal(aux["x"], X)


def test_float32_stays_float32():
    x = X.astype(np.float32)
    _, out_dot = tg.jvp(np.tanh, (x,), (np.ones(4, np.float32),))
    assert out_dot.dtype == np.float32
    assert tg.jacfwd(np.tanh)(x).dtype == np.float32
    assert tg.vmap(np.tanh)(x).dtype == np.float32


def test_an_untaken_arm_contributes_nothing_forward():
    fun = lambda x: np.sqrt(np.where(x > 0, x, 0.0))  # noqa: E731  # short
    _, out_dot = tg.jvp(fun, (np.array([4.0, -1.0]),), (np.ones(2),))
    assert_close(out_dot, [0.25, 0.0], 1e-14)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ArgumentError, match="2 primals and 1 tangents"):
        tg.jvp(squares, (X, Y), (X,))
    with pytest.raises(ArgumentError, match="as a tuple"):
        tg.jvp(np.sin, X, X)
    with pytest.raises(ArgumentError, match="shape"):
        tg.jvp(np.sin, (X,), (np.ones(3),))
    with pytest.raises(ArgumentError, match="structure"):
        tg.jvp(lambda p: p["a"], ({"a": X},), ({"b": X},))
    with pytest.raises(ArgumentError, match="int"):
        tg.jvp(lambda x: x * 1.0, (np.arange(3),), (np.ones(3),))


# --- linearize --------------------------------------------------------------------------------


def test_linearize_keeps_the_point():
    x = X.copy()
    out, f_jvp = tg.linearize(squares, x, Y)
    x[:] = 100.0
    dots = rng.normal(size=4), rng.normal(size=4)
    for scale in (1.0, -2.0):
        expected = numerical_jvp(squares, [X, Y], [scale * d for d in dots])
        assert_close(f_jvp(*(scale * d for d in dots)), expected, 1e-9)
    assert_close(out, squares(X, Y), 1e-14)
    with pytest.raises(ArgumentError, match="shape"):
        f_jvp(np.ones(3), np.ones(4))
    with pytest.raises(ArgumentError, match="structure"):
        f_jvp(np.ones(4))


def test_linearize_of_loops_and_trees():
    out, f_jvp, aux = tg.linearize(
        lambda p: (recurrence(p["w"], LONG), 1.5), {"w": W}, has_aux=True
    )
    dot = rng.normal(size=2)
    assert_close(out, recurrence(W, LONG), 1e-14)
    assert_close(f_jvp({"w": dot}), numerical_jvp(lambda w: recurrence(w, LONG), [W], [dot]), 1e-9)
    assert aux == 1.5


# --- Jacobians --------------------------------------------------------------------------------

JACOBIANS = [tg.jacfwd, tg.jacrev, tg.jacobian]


@pytest.mark.parametrize("verb", JACOBIANS)
@pytest.mark.parametrize(
    ("fun", "point"),
    [
        (lambda x: np.sin(x) * np.sum(x), X),
        (lambda x: x @ M.T, X),
        (lambda x: np.sum(x**2), X),
        (lambda x: np.outer(x, x[:2]) * 2.0, X),
        (lambda x: x * np.array([1.0, 2.0, 3.0]), 0.7),
        (lambda x: x**3, 2.0),
        (lambda m: m.T @ m, M),
        (lambda x: x[::-1] * x, rng.uniform(0.1, 1.0, 11)),
        (lambda x: np.cumsum(x)[3:] * x[:-3], rng.uniform(0.1, 1.0, 11)),
        (lambda w: recurrence(w, LONG), W),
        (lambda x: recurrence(W, x), LONG),
        (lambda w: np.array([newton(w[0]), newton(w[1]) * w[0]]), W + 1.0),
    ],
)
def test_jacobians_are_those_of_differences(verb, fun, point):
    found = verb(fun)(point)
    expected = columns(fun, point)
    assert np.shape(found) == np.shape(expected)
    assert_close(found, expected, 1e-8)


@pytest.mark.parametrize("verb", JACOBIANS)
def test_a_jacobian_has_the_tree_of_the_result_of_trees_of_the_arguments(verb):
    def fun(p, s):
        return {"u": p["x"] * s, "v": np.sum(p["x"]) * p["m"]}

    found = verb(fun, argnums=(0, 1))({"x": X, "m": M}, 2.0)
    assert set(found) == {"u", "v"}
    by_tree, by_number = found["v"]
    assert by_tree["m"].shape == (3, 4, 3, 4)
    assert by_tree["x"].shape == (3, 4, 4)
    assert by_number.shape == (3, 4)
    assert not by_number.any()
    assert_close(found["u"][0]["x"], 2.0 * np.eye(4), 1e-14)
    assert_close(found["u"][1], X, 1e-14)
    assert_close(by_tree["x"], np.repeat(M[:, :, None], 4, axis=2), 1e-14)


@pytest.mark.parametrize("verb", JACOBIANS)
def test_a_jacobian_with_aux_names_and_static_arguments(verb):
    jac = verb(lambda x, kind, y=1.0: (x * y, kind), argnames="y", has_aux=True,
               static_argnames="kind")  # fmt: skip
    found, aux = jac(X, "k", y=3.0)
    assert_close(found, X, 1e-14)
    assert aux == "k"


def test_one_version_serves_all_sizes():
    jac = tg.jacobian(lambda x: np.sin(x) * np.sum(x))
    for n in (9, 12, 30):
        x = rng.normal(size=n)
        assert_close(jac(x), np.diag(np.cos(x) * np.sum(x)) + np.sin(x)[:, None], 1e-12)
    assert len(jac.signatures) == 1


def test_a_jacobian_of_no_float_is_refused():
    with pytest.raises(ArgumentError, match="float results"):
        tg.jacobian(lambda x: np.argmax(x))(X)
    with pytest.raises(ArgumentError, match="float results"):
        tg.jacobian(lambda x: (x, "text"))(X)


# --- Hessians ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fun", "point"),
    [
        (lambda x: np.sum(np.sin(x)[:, None] * np.cos(x)[None, :]), X),
        (lambda x: np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2), LONG),
        (lambda m: np.sum(np.tanh(m @ m.T)), M),
        (lambda w: np.sum(recurrence(w, LONG) ** 2), W),
        (lambda x: np.sum(recurrence(W, x) ** 2), LONG),
        (lambda w: newton(w[0]) * newton(w[1]), W + 1.0),
        (lambda x: x**4, 1.5),
    ],
)
def test_hessians_and_products_with_them(fun, point):
    found = tg.hessian(fun)(point)
    expected = columns(tg.grad(fun), point)
    assert_close(found, expected, 1e-7)
    assert_close(found, tg.jacrev(tg.grad(fun))(point), 1e-10)
    vector = np.asarray(rng.normal(size=np.shape(point)))[()]
    product = tg.hvp(fun, point, vector)
    assert_close(product, np.tensordot(found, vector, np.ndim(point)), 1e-10)


def test_a_hessian_of_trees_is_a_tree_of_trees():
    def fun(p, s):
        return np.sum(p["x"] ** 2) * s + s**3 * np.sum(p["m"])

    found = tg.hessian(fun, argnums=(0, 1))({"x": X, "m": M}, 2.0)
    assert_close(found[0]["x"][0]["x"], 4.0 * np.eye(4), 1e-12)
    assert_close(found[0]["x"][1], 2.0 * X, 1e-12)
    assert_close(found[1][0]["m"], np.full((3, 4), 12.0), 1e-12)
    assert found[1][1] == pytest.approx(12.0 * np.sum(M))
    assert found[0]["x"][0]["m"].shape == (4, 3, 4)


def test_hvp_takes_several_primals():
    def fun(x, y):
        return np.sum(x * x * y)

    found = tg.hvp(fun, (X, Y), (np.ones(4), np.zeros(4)))
    assert_close(found[0], 2.0 * Y, 1e-12)
    assert_close(found[1], 2.0 * X, 1e-12)
    assert_close(tg.hvp(fun, (X, Y), (np.ones(4), None)), 2.0 * Y, 1e-12)


def test_third_order():
    fun = lambda x: np.sum(np.exp(x) * x)  # noqa: E731  # short
    third = tg.jacfwd(tg.hessian(fun))(X)
    expected = np.zeros((4, 4, 4))
    expected[range(4), range(4), range(4)] = np.exp(X) * (X + 3)
    assert_close(third, expected, 1e-10)
    slope = tg.grad(tg.grad(tg.grad(lambda a: newton(a))))
    assert slope(2.0) == pytest.approx(3 / 8 * 2.0**-2.5, rel=1e-6)


def test_elementwise_grad():
    assert_close(tg.elementwise_grad(lambda x: np.exp(x) * x)(M), np.exp(M) * (M + 1), 1e-12)
    assert_close(tg.elementwise_grad(tg.elementwise_grad(np.sin))(X), -np.sin(X), 1e-12)


# --- vmap -------------------------------------------------------------------------------------


def test_vmap_over_axes():
    found = tg.vmap(lambda x, y: np.sum(x * y), in_axes=(1, None))(M, Y[:3])
    assert_close(found, M.T @ Y[:3], 1e-12)
    found = tg.vmap(lambda x: np.outer(x, x), out_axes=2)(M)
    assert_close(found, np.einsum("bi,bj->ijb", M, M), 1e-12)
    found = tg.vmap(lambda x: np.sum(x), in_axes=-1)(M)
    assert_close(found, M.sum(axis=0), 1e-12)


def test_vmap_of_trees():
    found = tg.vmap(lambda p, s: {"a": p["x"] * s, "b": (np.sum(p["m"]), 2.0)},
                    in_axes=({"x": 0, "m": None}, None))({"x": X, "m": M}, 3.0)  # fmt: skip
    assert_close(found["a"], 3.0 * X, 1e-12)
    assert_close(found["b"][0], np.full(4, np.sum(M)), 1e-12)
    assert_close(found["b"][1], np.full(4, 2.0), 1e-12)


def test_vmap_of_a_given_length():
    assert tg.vmap(lambda x: x * 2.0, in_axes=None, axis_size=3)(X).shape == (3, *X.shape)
    assert tg.vmap(lambda: np.ones(2), axis_size=3)().shape == (3, 2)
    double = tg.vmap(lambda x: 2.0 * x, axis_size=20)
    assert double(np.ones(20)).shape == (20,)
    with pytest.raises(ArgumentError, match="of another length"):
        double(np.ones(21))
    with pytest.raises(ArgumentError, match="axis_size=-1"):
        tg.vmap(np.sin, axis_size=-1)(X)


def test_vmap_of_results_that_all_share():
    found = tg.vmap(lambda x, y: (x * y, 2.0 * y), (0, None), (0, None))(X, 3.0)
    assert_close(found[0], 3.0 * X, 1e-15)
    assert found[1] == 6.0
    with pytest.raises(ArgumentError, match="differs within the batch"):
        tg.vmap(lambda x: 2.0 * x, out_axes=None)(X)
    with pytest.raises(ArgumentError, match="out_axes=1 for a result that has 1 dimension"):
        tg.vmap(lambda x: 2.0 * x, out_axes=1)(X)


def test_vmap_nests():
    found = tg.vmap(tg.vmap(lambda a, b: a * b, in_axes=(None, 0)), in_axes=(0, None))(X, Y)
    assert_close(found, np.outer(X, Y), 1e-12)


def test_vmap_of_control_flow():
    batch = rng.uniform(0.1, 0.9, (6, 9))
    found = tg.vmap(recurrence, in_axes=(None, 0))(W, batch)
    assert_close(found, np.stack([recurrence(W, row) for row in batch]), 1e-12)
    assert_close(tg.vmap(newton)(X + 1.0), np.sqrt(X + 1.0), 1e-12)


def test_vmap_of_grad_and_grad_of_vmap():
    batch = rng.uniform(0.1, 0.9, (6, 9))
    loss = lambda w, x: np.sum(recurrence(w, x) ** 2)  # noqa: E731  # short
    each = tg.vmap(tg.grad(loss), in_axes=(None, 0))(W, batch)
    assert_close(each, np.stack([tg.grad(loss)(W, row) for row in batch]), 1e-12)
    total = tg.grad(lambda w: np.sum(tg.vmap(loss, in_axes=(None, 0))(w, batch)))(W)
    assert_close(total, each.sum(axis=0), 1e-12)
    both = tg.vmap(tg.hessian(loss), in_axes=(None, 0))(W, batch)
    assert_close(both, np.stack([tg.hessian(loss)(W, row) for row in batch]), 1e-12)


def test_an_empty_batch():
    assert tg.vmap(lambda x: np.sum(x))(np.zeros((0, 3))).shape == (0,)


def test_integers_are_mapped_too():
    found = tg.vmap(lambda k, x: x[k] ** 2, in_axes=(0, None))(np.array([2, 0, -1]), X)
    assert_close(found, X[[2, 0, -1]] ** 2, 1e-12)
    with pytest.raises(IndexError):
        tg.vmap(lambda k, x: x[k] ** 2, in_axes=(0, None))(np.array([2, 7]), X)


def test_wrong_axes_are_refused():
    with pytest.raises(ArgumentError, match="different lengths"):
        tg.vmap(lambda x, y: x * y)(X, np.ones(3))
    with pytest.raises(ArgumentError, match="axis 2"):
        tg.vmap(np.sum, in_axes=2)(M)
    with pytest.raises(ArgumentError, match="nothing to map over"):
        tg.vmap(np.sum, in_axes=None)(M)
    with pytest.raises(ArgumentError, match="in_axes"):
        tg.vmap(lambda x, y: x, in_axes=(0,))(X, Y)


# --- together ---------------------------------------------------------------------------------


def test_jvp_of_vjp_and_vjp_of_jvp():
    fun = lambda x: np.sum(np.sin(x) ** 2)  # noqa: E731  # short
    dot = rng.normal(size=4)
    expected = 2.0 * np.cos(2.0 * X) * dot
    _, found = tg.jvp(lambda x: tg.vjp(fun, x)[1](1.0)[0], (X,), (dot,))
    assert_close(found, expected, 1e-12)
    _, pullback = tg.vjp(lambda x: tg.jvp(fun, (x,), (dot,))[1], X)
    assert_close(pullback(1.0)[0], expected, 1e-12)
    assert_close(tg.grad(lambda x: tg.linearize(fun, x)[1](dot))(X), expected, 1e-12)


def test_verbs_as_decorators_and_methods():
    class Model:
        def __init__(self, scale):
            self.scale = scale

        @tg.jacobian
        def scaled(self, x):
            return self.scale * x

    assert_close(Model(3.0).scaled(X), 3.0 * np.eye(4), 1e-14)

    @tg.vmap(in_axes=(0, None))
    def product(x, y):
        return x @ y

    assert_close(product(M, Y), M @ Y, 1e-12)
    assert product.py_func(X, Y) == X @ Y


def test_the_source_names_the_verb_and_the_function():
    jac = tg.jacobian(squares)
    jac(X, Y)
    source = jac.inspect_source()
    assert "squares_jacobian" in source
    assert "test_verbs.py" in source


def test_a_pullback_within_a_trace_may_use_values_from_around_it():
    def fun(x):
        inner = lambda y: recurrence(W * np.sum(y), x)  # noqa: E731  # short
        out, pullback = tg.vjp(inner, x)
        _, along = tg.linearize(inner, x)
        return np.sum(pullback(out)[0] ** 2) + np.sum(along(x) ** 2)

    slope = tg.grad(fun)(LONG)
    dot = rng.normal(size=9)
    assert_close(np.sum(slope * dot), numerical_jvp(tg.jit(fun), [LONG], [dot]), 1e-8)


def test_a_constant_has_zero_derivatives():
    def loss(x, penalised):
        if not penalised:
            return 0.25
        return np.sum(x * x)

    x = np.array([1.0, 2.0, 3.0])
    value, x_bar = tg.value_and_grad(loss, static_argnums=1)(x, False)
    assert (value, x_bar.tolist()) == (0.25, [0.0, 0.0, 0.0])
    assert tg.grad(lambda x: 1.0)(2.0) == 0.0
    assert tg.hvp(lambda x: 1.0, (x,), (x,)).tolist() == [0.0, 0.0, 0.0]
    assert tg.hessian(lambda x: 1.0)(x).tolist() == np.zeros((3, 3)).tolist()
    x_bar, (rate, count, name) = tg.grad(lambda x: (np.sum(x), (0.1, 3, "adam")), has_aux=True)(x)
    assert (x_bar.tolist(), rate, count, name) == ([1.0, 1.0, 1.0], 0.1, 3, "adam")
    assert tg.vmap(lambda x: (x, 2.5))(x)[1].tolist() == [2.5, 2.5, 2.5]


def test_a_constant_integer_is_no_loss():
    with pytest.raises(ArgumentError, match="float result; this one returns i64"):
        tg.grad(lambda x: 1)(2.0)
