"""`pure_callback`: Python functions called from kernels, and rules for them."""

import traceback

import numpy as np
import pytest

import tracegrad as tg
from tracegrad.errors import ArgumentError, NotDifferentiable
from tracegrad.testing.numerics import assert_close

X = np.array([3.0, 1.0, 2.0])


def opaque(x, k):
    """What nothing can look into; it spoils what it is given."""
    assert type(x) is np.ndarray
    assert type(k) is float
    found = np.sort(x) * k, float(np.sum(x))
    x[:] = np.nan
    return found


def test_results_are_a_tree_and_the_arguments_are_copies():
    def fun(x, k):
        y, s = tg.pure_callback(opaque, (x, 0.0), x, k)
        return np.sum(y**2) + s + x[0]

    compiled = tg.jit(fun)
    for x in (X.copy(), np.arange(5.0)):
        expected = np.sum((2.0 * x) ** 2) + np.sum(x) + x[0]
        assert compiled(x, 2.0) == pytest.approx(expected)
        assert not np.isnan(x).any()


def test_dtypes_static_arguments_and_sizes():
    def ordered(a, *, mode, n):
        assert (mode, n) == ("fast", 3)
        return {"at": np.argsort(a), "n": n, "large": a > 1.5}

    def fun(x):
        like = {
            "at": tg.ShapeDtypeStruct(x.shape, np.int32),
            "n": np.float32(0.0),
            "large": tg.ShapeDtypeStruct(x.shape[0], bool),
        }
        return tg.pure_callback(ordered, like, x, mode="fast", n=x.shape[0])

    for found in (tg.jit(fun)(X), fun(X)):
        np.testing.assert_array_equal(found["at"], [1, 2, 0])
        np.testing.assert_array_equal(found["large"], [True, False, True])
        assert found["n"] == 3.0
        assert (found["at"].dtype, found["large"].dtype) == (np.int32, bool)


@tg.custom_vjp
def square(x):
    return tg.pure_callback(lambda x: x * x, x, x)


square.defvjp(
    lambda x: (square(x), x),
    lambda x, bar: (tg.pure_callback(lambda x, bar: 2.0 * x * bar, x, x, bar),),
)


def in_a_loop(x):
    total = 0.0
    for i in range(4):
        if x[0] > 0.0:
            total = total + np.sum(square(x * i))
    return total


def test_rules_that_are_callbacks_in_loops_and_branches():
    value, x_bar = tg.value_and_grad(in_a_loop)(X)
    assert value == pytest.approx(14.0 * np.sum(X**2))
    assert_close(x_bar, 28.0 * X, 1e-12)
    both = tg.vmap(tg.grad(in_a_loop))(np.stack([X, -X]))
    assert_close(both, np.stack([28.0 * X, 0.0 * X]), 1e-12)


def test_a_forward_rule_whose_slope_is_a_callback_works_in_both_modes():
    @tg.custom_jvp
    def cube(x):
        return tg.pure_callback(lambda x: x**3, x, x)

    @cube.defjvp
    def rule(primals, tangents):
        (x,), (x_dot,) = primals, tangents
        return cube(x), tg.pure_callback(lambda x: 3.0 * x * x, x, x) * x_dot

    assert_close(tg.jacobian(cube)(X), np.diag(3.0 * X**2), 1e-12)
    assert_close(tg.jvp(cube, (X,), (X,))[1], 3.0 * X**3, 1e-12)


def test_functions_made_within_the_traced_one_run_as_plain_python():
    def fun(x):
        def largest(v):
            best = v[0]
            for each in v:
                if each > best:
                    best += each - best
            return best

        def callback(v):
            found = np.array([largest(v), 1.0])
            found += 1.0
            return float(found[0])

        return tg.pure_callback(callback, 0.0, x * 2.0)

    assert tg.jit(fun)(X) == fun(X) == 7.0


def failing(x):
    raise ZeroDivisionError("in the callback")


def test_exceptions_come_out_with_the_traceback_of_the_callback():
    with pytest.raises(ZeroDivisionError, match="in the callback") as caught:
        tg.jit(lambda x: tg.pure_callback(failing, x, x))(X)
    frames = traceback.extract_tb(caught.value.__traceback__)
    assert frames[-1].name == "failing"
    assert frames[-1].line == 'raise ZeroDivisionError("in the callback")'


@pytest.mark.parametrize(
    ("callback", "like", "words"),
    [
        (lambda x: x[:2], X, r"returned an array of shape \(2,\); \(3,\) was declared"),
        (lambda x: x * 1j, X, "returned complex128; float64 was declared"),
        (lambda x: (x, x), X, "returned the structure"),
    ],
    ids=["shape", "dtype", "tree"],
)
def test_what_does_not_fit_the_declaration_is_refused(callback, like, words):
    for call in (tg.jit(lambda x: tg.pure_callback(callback, like, x)), None):
        with pytest.raises(ArgumentError, match=words):
            tg.pure_callback(callback, like, X) if call is None else call(X)


def test_derivatives_need_a_rule():
    with pytest.raises(NotDifferentiable, match="custom_vjp"):
        tg.grad(lambda x: np.sum(tg.pure_callback(np.sin, x, x)))(X)


def test_traced_values_come_as_arguments():
    with pytest.raises(ArgumentError, match="uses 'x', which is only known"):
        tg.jit(lambda x: tg.pure_callback(lambda y: y * x, 0.0, x))(2.0)


def test_declarations():
    with pytest.raises(ArgumentError, match="declaration of a result"):
        tg.pure_callback(np.sin, "x", 1.0)
    with pytest.raises(ArgumentError, match="at least one result"):
        tg.pure_callback(np.sin, (), 1.0)
    with pytest.raises(ArgumentError, match="negative size"):
        tg.jit(lambda x: tg.pure_callback(np.sin, tg.ShapeDtypeStruct((-3,)), x))(X)
    assert repr(tg.ShapeDtypeStruct(3)) == "ShapeDtypeStruct((3,), float64)"
