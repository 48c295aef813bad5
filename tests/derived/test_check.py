"""`check_grads` finds wrong derivatives and accepts right ones; `make_ir`."""

import numpy as np
import pytest

import tracegrad as tg

X = np.array([0.3, 0.7, 1.1])


def test_right_derivatives_pass():
    def fun(p, k):
        y = np.zeros(3)
        for i in range(3):
            y[i] = np.tanh(p["x"][i] * p["s"]) ** k
        return {"y": y, "n": 3}

    tg.check_grads(fun, ({"x": X, "s": 0.5}, 2), order=2)
    tg.check_grads(np.tanh, (X.astype(np.float32),))


@pytest.mark.parametrize("mode", ["fwd", "rev"])
def test_wrong_derivatives_do_not(mode):
    @tg.custom_vjp
    def wrong(x):
        return x**2

    wrong.defvjp(lambda x: (x**2, x), lambda x, bar: (2.001 * x * bar,))
    with pytest.raises(AssertionError, match="disagrees"):
        tg.check_grads(wrong, (X,), modes=[mode])


def test_modes_have_names():
    with pytest.raises(ValueError, match="modes"):
        tg.check_grads(np.sin, (X,), modes=["forward"])


def test_the_ir_of_a_function_and_of_its_gradient():
    fun = lambda x: np.sum(np.sin(x))  # noqa: E731  # short
    assert "sin(" in str(tg.make_ir(fun)(X))
    assert "cos(" in str(tg.make_ir(tg.grad(fun))(X))
    assert len(tg.make_ir(tg.value_and_grad(fun))(X).results) == 2
