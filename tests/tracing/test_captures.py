"""What a function uses besides its arguments."""

import types

import numpy as np
import pytest

import tracegrad as tg
from tests.tracing.conftest import assert_like_numpy, check, run, trace
from tracegrad.errors import DTypeError, UnsupportedError

X = np.arange(6.0).reshape(3, 2)
SCALE = 2.0
WEIGHTS = {"layers": [(np.ones(2), 0.5), (np.full(2, 3.0), 1.5)]}
LISTED = [np.ones(3), np.arange(3.0)]
NAMES = np.array(["a", "b"])


def helper(x):
    return x * SCALE


@pytest.fixture(autouse=True)
def restored():
    namespace = globals()
    kept = {name: namespace[name] for name in ("X", "SCALE", "WEIGHTS", "LISTED", "helper")}
    contents = X.copy()
    yield
    namespace.update(kept)
    X[...] = contents


def test_a_global_array_is_an_input_and_changes_in_place_are_seen():
    def f(w):
        return X @ w

    w = np.array([1.0, 2.0])
    traced = check(f, w)
    assert [param.hint for param in traced.function.params] == ["w", "X"]
    assert traced.has_captures()
    X[0, 0] = 100.0
    assert_like_numpy(run(traced, w), f(w))


def test_what_is_computed_from_a_captured_array_is_never_baked_in():
    def f(w):
        centred = X - X.mean(axis=0)
        return centred @ w + X.T[0, 0]

    w = np.array([1.0, 2.0])
    traced = check(f, w)
    X[1, 1] = -50.0
    assert_like_numpy(run(traced, w), f(w))


def test_a_rebound_array_of_the_same_type_is_used():
    def f(w):
        return np.sum(X * w)

    w = np.array([1.0, 2.0])
    traced = check(f, w)
    globals()["X"] = np.full((5, 2), 7.0)
    assert traced.captures_hold()
    assert_like_numpy(run(traced, w), f(w))


@pytest.mark.parametrize("other", [np.ones(2), np.ones((3, 2), np.float32), 3.0, None])
def test_a_name_rebound_to_another_type_needs_a_new_trace(other):
    def f(w):
        return np.sum(X * w)

    traced = trace(f, np.array([1.0, 2.0]))
    globals()["X"] = other
    assert not traced.captures_hold()


def test_closures_are_followed_like_globals():
    data = np.arange(3.0)
    rate = 0.5

    def f(w):
        return np.sum(data * w) * rate

    w = np.ones(3)
    traced = check(f, w)
    data[0] = 9.0
    assert_like_numpy(run(traced, w), f(w))
    rate = 0.25
    assert not traced.captures_hold()


def test_numbers_and_functions_are_checked_by_name():
    def f(w):
        return helper(w)

    traced = check(f, np.ones(2))
    assert traced.captures_hold()
    globals()["SCALE"] = 3.0
    assert not traced.captures_hold()
    globals()["SCALE"] = 2.0
    assert traced.captures_hold()
    globals()["helper"] = lambda x: x
    assert not traced.captures_hold()


def test_the_sign_of_a_zero_is_part_of_its_value(monkeypatch):
    signed = tg.jit(lambda x: np.copysign(x, SCALE))
    for zero in (0.0, -0.0, 0.0):
        monkeypatch.setitem(globals(), "SCALE", zero)
        assert signed(2.0) == np.copysign(2.0, zero)


def test_a_function_of_modules_alone_has_nothing_to_check():
    def f(w):
        return np.sum(np.sin(w)) * np.pi

    assert not check(f, np.ones(2)).has_captures()


def test_arrays_inside_containers_are_reached_by_their_path():
    def f(x):
        for weight, bias in WEIGHTS["layers"]:
            x = x * weight + bias
        return x @ WEIGHTS["layers"][0][0].T

    x = np.array([1.0, 2.0])
    traced = check(f, x)
    WEIGHTS["layers"][0][0][1] = 5.0
    assert_like_numpy(run(traced, x), f(x))
    WEIGHTS["layers"][0][0][1] = 1.0
    WEIGHTS["layers"].append((np.ones(2), 0.0))
    assert not traced.captures_hold()
    WEIGHTS["layers"].pop()
    assert traced.captures_hold()


def test_one_array_in_two_places_must_stay_one():
    both = [X, X]

    def f(w):
        total = 0.0
        for each in both:
            total = total + np.sum(each @ w)
        return total

    w = np.ones(2)
    traced = check(f, w)
    both[1] = np.zeros((3, 2))
    assert not traced.captures_hold()


def test_two_names_of_one_array_are_two_inputs():
    first = np.ones(2)
    second = first

    def f(w):
        return first * w + second

    traced = check(f, np.ones(2))
    second = np.full(2, 5.0)
    assert_like_numpy(run(traced, np.ones(2)), f(np.ones(2)))


class Model:
    def __init__(self):
        self.weight = np.array([1.0, 2.0])
        self.rate = 0.1
        self.parts = [np.ones(2)]
        self.history = []

    def loss(self, x):
        return self.scaled(x) @ self.weight.copy() + self.parts[0].sum()

    def scaled(self, x):
        return x * self.rate

    def __call__(self, x):
        return self.loss(x) * 2

    def counting(self, x):
        self.rate += 1.0
        return x * self.rate

    def growing(self, x):
        self.weight += 1.0
        return x * self.weight

    def remembering(self, x):
        self.history.append(x)
        return x


@pytest.mark.parametrize("pick", [lambda model: model.loss, lambda model: model])
def test_attributes_of_self_are_captures(pick):
    model = Model()
    x = np.array([3.0, 4.0])
    traced = check(pick(model), x)
    model.weight[0] = 7.0
    model.parts[0][:] = 2.0
    assert_like_numpy(run(traced, x), pick(model)(x))
    model.weight = np.array([5.0, 6.0])
    assert_like_numpy(run(traced, x), pick(model)(x))
    model.rate = 0.2
    assert not traced.captures_hold()


def test_changing_what_was_read_outside_is_refused():
    for method in ("counting", "growing", "remembering"):
        model = Model()
        with pytest.raises(UnsupportedError):
            trace(getattr(model, method), np.ones(2))
        assert model.weight.tolist() == [1.0, 2.0]


def test_arrays_of_a_users_module_are_captures():
    settings = types.ModuleType("users_settings")
    settings.grid = np.arange(3.0)
    settings.step = 0.5

    def f(x):
        return x * settings.grid * settings.step

    x = np.ones(3)
    traced = check(f, x)
    settings.grid = np.full(3, 4.0)
    assert_like_numpy(run(traced, x), f(x))
    settings.step = 0.25
    assert not traced.captures_hold()


def test_a_small_array_made_inside_is_a_constant():
    def f(x):
        return x * np.array([1.0, 2.0]) + x[np.array([1, 0])]

    traced = check(f, np.ones(2))
    assert len(traced.function.params) == 1


def test_unstaged_code_still_captures_by_reference():
    namespace = {"X": X, "np": np}
    exec("def f(w):\n    return X @ w", namespace)
    w = np.ones(2)
    traced = check(namespace["f"], w)
    X[0, 0] = 55.0
    assert_like_numpy(run(traced, w), namespace["f"](w))
    namespace["X"] = np.zeros((4, 2))
    assert_like_numpy(run(traced, w), namespace["f"](w))


def test_a_captured_array_of_strings_is_refused():
    def f(x):
        return x * (NAMES == "a")

    with pytest.raises(DTypeError, match="NAMES"):
        trace(f, np.ones(2))


def test_in_place_on_a_captured_array_is_refused_and_leaves_it_alone():
    def f(w):
        Y = X
        Y += 1.0
        return np.sum(X) * w

    before = X.copy()
    with pytest.raises(UnsupportedError, match="captured array 'X'"):
        trace(f, 2.0)
    np.testing.assert_array_equal(X, before)


def test_random_numbers_inside_are_refused():
    generator = np.random.default_rng(0)

    def f(x):
        return x + generator.normal(size=2)

    with pytest.raises(UnsupportedError, match="random"):
        trace(f, np.ones(2))


def test_matrices_and_masked_arrays_are_refused():
    matrix = np.matrix([[1.0, 2.0], [3.0, 4.0]])
    masked = np.ma.array([1.0, 2.0], mask=[True, False])
    with pytest.raises(DTypeError, match="matrix"):
        trace(lambda x: matrix * x, np.ones(2))
    with pytest.raises(DTypeError, match="MaskedArray"):
        trace(lambda x: masked * x, np.ones(2))


def test_arrays_in_defaults_are_captured():
    """What NumPy alone computes of them is part of the kernel, too."""
    w = np.array([1.0, -2.0])

    def make(w):
        def direct(x, *, w=w):
            return np.sum(x[w < 0.0])

        def listed(x, ws=(w, 2)):
            return inner(x, *ws)

        def inner(x, w, k):
            return np.sum(x * (w < 0.0)) * k

        return direct, listed

    x = np.array([1.0, 2.0])
    for function in make(w):
        kernel = tg.jit(function)
        for values in ([1.0, -2.0], [-3.0, 4.0], [1.0, 1.0]):
            w[:] = values
            assert kernel(x) == function(x)
