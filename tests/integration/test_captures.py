"""Arrays and numbers that a function finds outside of its arguments."""

import types

import numpy as np
import pytest

import tracegrad as tg

X = np.array([0.5, -1.5, 2.0])

WEIGHTS = np.array([1.0, 2.0, 3.0])
FACTOR = 2.0
SETTINGS = {"scale": 1.0, "weights": np.ones(3), "nested": [np.zeros(3), 5.0]}
HOLDER = types.SimpleNamespace(w=np.ones(3), k=1.0)


def test_a_global_array_changed_in_place_and_rebound(monkeypatch):
    monkeypatch.setitem(globals(), "WEIGHTS", np.array([1.0, 2.0, 3.0]))
    g = tg.grad(lambda x: np.sum(WEIGHTS * x * x))
    np.testing.assert_allclose(g(X), 2 * X * [1.0, 2.0, 3.0])
    WEIGHTS[0] = 10.0
    np.testing.assert_allclose(g(X), 2 * X * [10.0, 2.0, 3.0])
    monkeypatch.setitem(globals(), "WEIGHTS", np.array([5.0, 5.0, 5.0]))
    np.testing.assert_allclose(g(X), 10 * X)
    assert len(g.signatures) == 1
    monkeypatch.setitem(globals(), "WEIGHTS", np.array([[1.0], [2.0]]))
    np.testing.assert_allclose(g(X), 6 * X)
    monkeypatch.setitem(globals(), "WEIGHTS", 7.0)
    np.testing.assert_allclose(g(X), 14 * X)
    monkeypatch.setitem(globals(), "WEIGHTS", np.ones(3, dtype=np.float32))
    np.testing.assert_allclose(g(X), 2 * X)
    monkeypatch.setitem(globals(), "WEIGHTS", np.asfortranarray(np.ones((3, 3)))[::-1, 0])
    np.testing.assert_allclose(g(X), 2 * X)


def test_a_closure_changed_and_rebound():
    w, k = np.ones(3), 2.0

    def f(x):
        return k * np.sum(w * x)

    g = tg.grad(f)
    np.testing.assert_allclose(g(X), 2 * np.ones(3))
    w *= 3.0
    np.testing.assert_allclose(g(X), 6 * np.ones(3))
    w = np.array([1.0, 2.0, 3.0])
    np.testing.assert_allclose(g(X), 2 * w)
    k = 5.0
    np.testing.assert_allclose(g(X), 5 * w)
    k = 5
    np.testing.assert_allclose(g(X), 5 * w)


def test_attributes_and_items_changed_and_rebound(monkeypatch):
    monkeypatch.setitem(SETTINGS, "weights", np.ones(3))
    monkeypatch.setattr(HOLDER, "w", np.ones(3))

    def f(x):
        first, second = SETTINGS["nested"]
        return (
            SETTINGS["scale"] * np.sum(SETTINGS["weights"] * x) * HOLDER.k
            + np.sum(HOLDER.w * x)
            + second * np.sum((x + first) ** 2)
        )

    g = tg.grad(f)

    def expected():
        scale = SETTINGS["scale"] * HOLDER.k
        first, second = SETTINGS["nested"]
        return scale * SETTINGS["weights"] + HOLDER.w + 2 * second * (X + first)

    np.testing.assert_allclose(g(X), expected())
    SETTINGS["weights"][1] = 7.0
    np.testing.assert_allclose(g(X), expected())
    monkeypatch.setitem(SETTINGS, "weights", np.array([3.0, 2.0, 1.0]))
    np.testing.assert_allclose(g(X), expected())
    monkeypatch.setitem(SETTINGS, "scale", 4.0)
    np.testing.assert_allclose(g(X), expected())
    HOLDER.w[:] = 9.0
    np.testing.assert_allclose(g(X), expected())
    monkeypatch.setattr(HOLDER, "w", np.array([1.0, 0.0, -1.0]))
    np.testing.assert_allclose(g(X), expected())
    monkeypatch.setattr(HOLDER, "k", -2.0)
    np.testing.assert_allclose(g(X), expected())
    monkeypatch.setitem(SETTINGS, "nested", [X.copy(), 3.0])
    np.testing.assert_allclose(g(X), expected())
    SETTINGS["nested"][1] = -1.0
    np.testing.assert_allclose(g(X), expected())
    SETTINGS["nested"][0][:] = 1.0
    np.testing.assert_allclose(g(X), expected())


def test_a_rebound_scalar_is_never_stale(monkeypatch):
    g = tg.grad(lambda x: FACTOR * np.sum(x))
    for value in (2.0, 3.0, 2.0, 3, True, np.float64(4.0), np.float32(0.5), -0.0, 0.0, 2.0):
        monkeypatch.setitem(globals(), "FACTOR", value)
        np.testing.assert_allclose(g(X), np.full(3, float(value)))


def helper(x):
    return x * FACTOR + WEIGHTS


def test_what_a_helper_captures_counts_too(monkeypatch):
    monkeypatch.setitem(globals(), "FACTOR", 2.0)
    monkeypatch.setitem(globals(), "WEIGHTS", np.ones(3))

    def f(x):
        return np.sum(helper(x) ** 2)

    g = tg.grad(f)
    np.testing.assert_allclose(g(X), 2 * (2 * X + 1) * 2)
    monkeypatch.setitem(globals(), "FACTOR", 3.0)
    np.testing.assert_allclose(g(X), 2 * (3 * X + 1) * 3)
    WEIGHTS[:] = 4.0
    np.testing.assert_allclose(g(X), 2 * (3 * X + 4) * 3)
    monkeypatch.setitem(globals(), "helper", lambda x: x)
    np.testing.assert_allclose(g(X), 2 * X)


def test_the_same_array_as_argument_and_capture():
    w = np.array([1.0, 2.0, 3.0])
    g = tg.grad(lambda x: np.sum(x * w))
    np.testing.assert_allclose(g(w), w)  # only the argument is differentiated
    other = w.copy()
    np.testing.assert_allclose(g(other), w)


def test_one_array_under_two_names_may_part():
    a = np.array([1.0, 2.0, 3.0])
    b = a

    def f(x):
        return np.sum(a * b * x)

    g = tg.grad(f)
    np.testing.assert_allclose(g(X), a * a)
    b = np.array([1.0, 1.0, 1.0])
    np.testing.assert_allclose(g(X), a)
    a = np.array([4.0, 4.0, 4.0])
    np.testing.assert_allclose(g(X), a)


def test_a_captured_size_that_no_longer_fits():
    w = np.ones(3)
    g = tg.grad(lambda x: np.sum(x * w))
    np.testing.assert_allclose(g(X), np.ones(3))
    w = np.ones(4)
    with pytest.raises(ValueError, match="broadcast"):
        g(X)
    np.testing.assert_allclose(g(np.zeros(4)), np.ones(4))
    w = np.ones(1)
    np.testing.assert_allclose(g(X), np.ones(3))


def test_captured_arrays_of_any_layout_and_dtype():
    table = np.arange(12.0).reshape(3, 4)[::-1, ::2]
    index = np.array([2, 0, 1], dtype=np.int32)
    mask = np.array([True, False, True])
    g = tg.grad(lambda x: np.sum(x[index] * table[:, 1]) + np.sum(np.where(mask, x, 0.0)))
    expected = np.zeros(3)
    np.add.at(expected, index, table[:, 1])
    np.testing.assert_allclose(g(X), expected + mask)
    index[:] = [0, 0, 0]
    table *= 2.0
    expected = np.array([np.sum(table[:, 1]), 0.0, 0.0])
    np.testing.assert_allclose(g(X), expected + mask)
    index[1] = 7
    with pytest.raises(IndexError):
        g(X)


def test_a_list_that_grows_is_traced_again():
    terms = [1.0, 2.0]
    g = tg.grad(lambda x: sum(t * np.sum(x) for t in terms))
    np.testing.assert_allclose(g(X), np.full(3, 3.0))
    terms.append(4.0)
    np.testing.assert_allclose(g(X), np.full(3, 7.0))
    terms[0] = 0.0
    np.testing.assert_allclose(g(X), np.full(3, 6.0))


class Model:
    power = 1.0

    def __init__(self, factor, weights):
        self.factor, self.weights, self.settings = factor, weights, {"shift": 0.0}

    def __call__(self, x):
        return np.sum(self.weights * self.factor * x) ** self.power + self.settings["shift"]


def test_what_an_object_holds_that_is_an_argument(monkeypatch):
    g = tg.value_and_grad(lambda model, x: model(x), 1)

    def check(model):
        value, bar = g(model, X)
        np.testing.assert_allclose(value, model(X))
        np.testing.assert_allclose(bar, tg.grad(lambda x: model(x))(X))

    model, other = Model(2.0, np.ones(3)), Model(-1.0, np.arange(3.0))
    check(model)
    model.factor = 3.0
    check(model)
    model.weights[1] = 5.0
    check(model)
    model.weights = np.array([1.0, 0.0, 2.0])
    check(model)
    model.settings["shift"] = 4.0
    check(model)
    check(other)
    monkeypatch.setattr(Model, "power", 2.0)
    check(other)
    check(model)
