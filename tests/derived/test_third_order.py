"""Third derivatives: every way to them, on every construct."""

import numpy as np
import pytest

import tracegrad as tg
from tracegrad.testing.numerics import assert_close, numerical_jvp

W, V = np.array([0.4, 1.3]), np.array([0.7, -0.5])


def recurrence(w):
    """A `for` with a branch and writes, like a scan."""
    y = np.zeros(9)
    y[0] = w[0]
    for t in range(1, 9):
        if t % 3 == 1:
            y[t] = np.tanh(y[t - 1]) * w[1] + 0.1 * t
        elif y[t - 1] > 0.6:
            y[t] = np.sin(y[t - 1]) + w[0] * y[0]
        else:
            y[t] = y[t - 1] * w[1]
    return np.sum(y**2)


def newton(w):
    """A `while` whose trips depend on values; its last steps carry the higher derivatives."""
    x, k = 1.0, 0
    while abs(x**3 + w[0] * x - w[1]) > 1e-14 or k < 8:
        x = x - (x**3 + w[0] * x - w[1]) / (3.0 * x**2 + w[0])
        k += 1
    return x * x


def leaves_early(w):
    s = w[0]
    for k in range(50):
        s = np.sin(s * w[1]) + 0.1 * k
        if s > 1.3:
            break
    return s * w[0]


def nested(w):
    s = w[0]
    for i in range(4):
        q = s
        for j in range(i + 1):
            q = np.sin(q * w[1]) + 0.1 * j
        s = 0.5 * s + q
    return s


def overwrites(w):
    u = np.concatenate([w, w * w])
    for t in range(11):
        u[t % 4] = np.sin(u[(t + 1) % 4]) * u[t % 4] + 0.2
    return np.sum(u)


def checkpointed(w):
    u = w * 1.0
    for _ in tg.checkpoint(range(10)):
        u = np.sin(u[::-1]) + u * u * 0.3
    return np.sum(u)


@tg.custom_vjp
def sine(x):
    return np.sin(x)


sine.defvjp(lambda x: (sine(x), x), lambda x, bar: (np.cos(x) * bar,))


def ruled(w):
    return np.sum(sine(w * w)) * w[0]


def arrays(w):
    a = np.outer(w, w) + np.diag(np.exp(w)) + np.eye(2)
    return np.sum(np.linalg.solve(a, w)) + np.max(np.tanh(a))


FUNCTIONS = [
    recurrence,
    newton,
    leaves_early,
    nested,
    overwrites,
    checkpointed,
    ruled,
    arrays,
]


def along(fun):
    return lambda s: fun(W + s * V)


def pulled(fun, w):
    return tg.vjp(lambda w: tg.jvp(fun, (w,), (V,))[1], w)[1](1.0)[0]


def tangent(fun):
    return lambda s: tg.jvp(fun, (s,), (1.0,))[1]


#: Each gives the third derivative of a function at W along V.
WAYS = {
    "grad of grad of grad": lambda f: tg.grad(tg.grad(tg.grad(along(f))))(0.0),
    "jvp of jvp of jvp": lambda f: tangent(tangent(tangent(along(f))))(0.0),
    "grad of hvp": lambda f: tg.grad(lambda w: V @ tg.hvp(f, w, V))(W) @ V,
    "jvp of vjp of jvp": lambda f: tg.jvp(lambda w: pulled(f, w) @ V, (W,), (V,))[1],
    "jacobian of hessian": lambda f: np.einsum("ijk,i,j,k", tg.jacfwd(tg.hessian(f))(W), V, V, V),
    "jacrev of hessian": lambda f: np.einsum("ijk,i,j,k", tg.jacrev(tg.hessian(f))(W), V, V, V),
    "hessian of grad": lambda f: tg.hessian(lambda s: tg.grad(along(f))(s))(0.0),
    "vmap of grads": lambda f: tg.vmap(tg.grad(tg.grad(tg.grad(along(f)))))(np.zeros(2))[1],
    "linearize of grad of grad": lambda f: tg.linearize(tg.grad(tg.grad(along(f))), 0.0)[1](1.0),
    "elementwise_grad": lambda f: tg.elementwise_grad(tg.elementwise_grad(tg.grad(along(f))))(0.0),
    "make_hvp of grad": lambda f: tg.make_hvp(lambda s: tg.grad(along(f))(s))(0.0)[0](1.0),
}


FEW = ("grad of grad of grad", "jvp of vjp of jvp", "linearize of grad of grad")


@pytest.mark.parametrize("fun", FUNCTIONS)
def test_ways_to_the_third_derivative(fun):
    """All of them for a loop with branches, and for one that computes its segments again."""
    expected = numerical_jvp(lambda w: V @ tg.hvp(fun, w, V), [W], [V])
    for name in WAYS if fun in (recurrence, checkpointed) else FEW:
        assert_close(WAYS[name](fun), expected, 1e-6, name)


def test_fourth_order():
    fourth = tg.grad(tg.grad(tg.grad(tg.grad(along(nested)))))(0.0)
    expected = numerical_jvp(tg.grad(tg.grad(tg.grad(along(nested)))), [0.0], [1.0])
    assert_close(fourth, expected, 1e-6)
