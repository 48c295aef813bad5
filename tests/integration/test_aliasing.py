"""Inputs are never changed and never handed back; results are arrays of their own."""

import numpy as np
import pytest

import tracegrad as tg

CAPTURED = np.array([1.0, 2.0, 3.0])


def check_separate(results, inputs):
    for k, result in enumerate(results):
        assert type(result) is np.ndarray
        assert result.flags.writeable
        assert result.flags.c_contiguous
        for other in [*inputs, *results[:k]]:
            assert not np.shares_memory(result, other)


IDENTITIES = {
    "itself": lambda x: x,
    "view": lambda x: x[:],
    "transposed twice": lambda x: x.T.T,
    "reshaped": lambda x: x.reshape(x.shape),
    "slice": lambda x: x[1:],
    "reversed": lambda x: x[::-1],
    "row": lambda x: x[0],
    "transposed": lambda x: x.T,
    "raveled": lambda x: np.ravel(x),
    "asarray": lambda x: np.asarray(x),
    "astype": lambda x: x.astype(float),
    "broadcast": lambda x: np.broadcast_to(x, (2, *x.shape)),
    "stopped": tg.stop_gradient,
    "copy": lambda x: x.copy(),
    "expanded": lambda x: x[None, ..., None],
    "times one": lambda x: 1.0 * x,
    "real": lambda x: x.real,
}


@pytest.mark.parametrize("name", IDENTITIES)
def test_an_identity_returns_a_new_array(name):
    x = np.arange(6.0).reshape(3, 2)
    before = x.copy()
    result = tg.jit(IDENTITIES[name])(x)
    np.testing.assert_array_equal(result, IDENTITIES[name](x))
    check_separate([result], [x])
    result[...] = -1.0
    np.testing.assert_array_equal(x, before)


def test_a_result_returned_twice_is_two_arrays_or_one_but_no_input():
    x = np.arange(3.0)

    def f(x):
        y = x * 2.0
        return {"y": y, "again": y, "x": x, "twice": (x, y[::-1])}

    out = tg.jit(f)(x)
    for found in (out["y"], out["again"]):
        np.testing.assert_array_equal(found, x * 2)
    np.testing.assert_array_equal(out["twice"][1], (x * 2)[::-1])
    for leaf in (out["y"], out["again"], out["x"], *out["twice"]):
        assert not np.shares_memory(leaf, x)
    out["y"][0] = 99.0
    assert out["twice"][1][-1] == 0.0
    assert out["x"][0] == 0.0


def test_one_array_passed_twice():
    x = np.array([1.0, 2.0, 3.0])

    def f(a, b):
        return np.sum(a * a * b)

    a_bar, b_bar = tg.grad(f, argnums=(0, 1))(x, x)
    np.testing.assert_allclose(a_bar, 2 * x * x)
    np.testing.assert_allclose(b_bar, x * x)
    check_separate([a_bar, b_bar], [x])


def test_overlapping_views_as_arguments():
    x = np.arange(10.0)
    a_bar, b_bar = tg.grad(lambda a, b: np.sum(a * b), argnums=(0, 1))(x[:-1], x[1:])
    np.testing.assert_allclose(a_bar, x[1:])
    np.testing.assert_allclose(b_bar, x[:-1])


def test_equal_gradients_are_two_arrays():
    x, y = np.arange(3.0), np.ones(3)
    x_bar, y_bar = tg.grad(lambda x, y: np.sum(x) + np.sum(y), argnums=(0, 1))(x, y)
    check_separate([x_bar, y_bar], [x, y])
    x_bar[0] = 5.0
    assert y_bar[0] == 1.0


def test_a_gradient_that_is_another_argument_is_a_copy():
    x, w = np.arange(3.0), np.ones(3)
    value, (x_bar, w_bar) = tg.value_and_grad(lambda x, w: x @ w, argnums=(0, 1))(x, w)
    assert value == 3.0
    check_separate([x_bar, w_bar], [x, w])
    w_bar[:] = -1.0
    np.testing.assert_array_equal(x, np.arange(3.0))


def test_a_captured_array_is_not_handed_out():
    result = tg.jit(lambda x: (CAPTURED, x + CAPTURED))(np.zeros(3))
    check_separate(list(result), [CAPTURED])
    x_bar = tg.grad(lambda x: np.sum(x * CAPTURED))(np.zeros(3))
    check_separate([x_bar], [CAPTURED])


def test_results_of_earlier_calls_are_left_alone():
    f = tg.value_and_grad(lambda x: np.sum(np.cumsum(x) ** 2))
    _, first = f(np.ones(4))
    kept = first.copy()
    f(np.full(4, 7.0))
    np.testing.assert_array_equal(first, kept)


def test_residuals_of_vjp_are_safe_from_later_writes():
    x = np.array([1.0, 2.0, 3.0])
    w = np.array([2.0, 2.0, 2.0])
    out, pullback = tg.vjp(lambda x, w: x * w, x, w)
    out_bar = np.ones(3)
    expected = (w.copy(), x.copy())
    x[:] = 0.0
    w[:] = 0.0
    out[:] = 0.0
    for _ in range(2):
        bars = pullback(out_bar)
        for found, right in zip(bars, expected, strict=True):
            np.testing.assert_array_equal(found, right)
        check_separate(list(bars), [x, w, out, out_bar])


def test_the_cotangent_is_not_handed_back():
    x = np.arange(3.0)
    _, pullback = tg.vjp(lambda x: x + 1.0, x)
    out_bar = np.ones(3)
    (x_bar,) = pullback(out_bar)
    check_separate([x_bar], [out_bar, x])
    _, pullback = tg.vjp(lambda x, y: (x, y), x, x)
    first, second = pullback((out_bar, out_bar))
    check_separate([first, second], [out_bar])


def test_writes_to_a_local_copy_leave_the_argument_alone():
    def f(x):
        y = x.copy()
        y *= 2.0
        y += x
        return np.sum(y * y)

    x = np.arange(3.0)
    np.testing.assert_allclose(tg.grad(f)(x), 18 * x)
    np.testing.assert_array_equal(x, np.arange(3.0))


def test_an_argument_that_is_written_to_may_share_no_memory_with_another():
    def f(x, y):
        x[0] = 2.0 * y[1]
        return np.sum(x * y)

    g = tg.grad(f, argnums=(0, 1))
    x, y = np.arange(3.0), np.arange(3.0) + 1
    g(x, y)
    g(x, y)
    np.testing.assert_array_equal(x, np.arange(3.0))
    longer = np.arange(4.0)
    for first, second in ((x, x), (longer[:3], longer[1:])):
        with pytest.raises(tg.ArgumentError, match="share memory"):
            g(first, second)
    g(x, y)
