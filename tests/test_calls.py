"""The way of a call: what the direct way takes, and what it must leave to the general one."""

from __future__ import annotations

import collections
import copy
import dataclasses
import gc
import pickle
import weakref
from typing import Any

import numpy as np
import pytest

import tracegrad as tg
from tracegrad.compiled import Compiled

Pair = collections.namedtuple("Pair", "w b")  # the untyped kind must work too


@dataclasses.dataclass
class Model:
    w: np.ndarray
    b: float


def weighted(p: Any) -> Any:
    w, b = p
    return np.sum(w * w) * b


def keyed(p: Any) -> Any:
    return np.sum(p["w"] * p["w"]) * p["b"]


def attributed(p: Any) -> Any:
    return np.sum(p.w * p.w) * p.b


def general_way_is_closed(f: Compiled, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Any:
        raise AssertionError("the general way was taken")

    monkeypatch.setattr(f, "_call", refuse)


w = np.array([1.0, 2.0])

ARGUMENTS = {
    "float": (lambda x: x * x, 3.0, 6.0),
    "numpy scalar": (lambda x: x * x, np.float64(3.0), 6.0),
    "float32 scalar": (lambda x: x * x, np.float32(3.0), np.float32(6.0)),
    "array of rank 0": (lambda x: x * x, np.array(3.0), 6.0),
    "array": (lambda x: np.sum(x * x), w, 2 * w),
    "strided": (lambda x: np.sum(x * x), np.arange(4.0)[::2], np.array([0.0, 4.0])),
    "tuple": (weighted, (w, 2.0), (4 * w, 5.0)),
    "list": (weighted, [w, 2.0], [4 * w, 5.0]),
    "namedtuple": (attributed, Pair(w, 2.0), Pair(4 * w, 5.0)),
    "dict": (keyed, {"b": 2.0, "w": w}, {"w": 4 * w, "b": 5.0}),
    "dataclass": (attributed, Model(w, 2.0), Model(4 * w, 5.0)),
    "nested": (lambda p: keyed(p[0]), [{"w": w, "b": 2.0}, None], [{"w": 4 * w, "b": 5.0}, None]),
}


@pytest.mark.parametrize("case", ARGUMENTS)
def test_a_repeated_call_goes_directly_and_gives_the_same(case, monkeypatch):
    fun, argument, expected = ARGUMENTS[case]
    f = tg.grad(fun)
    first = f(argument)
    f(argument)  # a strided array is taken directly from now on
    general_way_is_closed(f, monkeypatch)
    for found in (first, f(argument)):
        assert type(found) is type(expected)
        np.testing.assert_equal(_plain(found), _plain(expected))


def _plain(tree: Any) -> Any:
    return vars(tree) if isinstance(tree, Model) else tree


def test_read_only_arrays_go_directly(monkeypatch):
    fixed = np.arange(3.0)
    fixed.flags.writeable = False
    f = tg.grad(lambda x: np.sum(x * x))
    f(fixed)
    f(fixed)
    general_way_is_closed(f, monkeypatch)
    np.testing.assert_array_equal(f(fixed), 2 * fixed)


def test_keywords_that_continue_the_arguments_go_directly(monkeypatch):
    f = tg.grad(lambda x, scale: np.sum(x * x) * scale)
    f(w, 2.0)
    general_way_is_closed(f, monkeypatch)
    np.testing.assert_array_equal(f(w, scale=2.0), 4 * w)
    np.testing.assert_array_equal(f(scale=2.0, x=w), 4 * w)


@pytest.mark.parametrize("arguments", [(), (w, 1.0, 2.0)])
def test_a_wrong_number_of_arguments_is_pythons_own_error(arguments):
    f = tg.grad(lambda x, scale: np.sum(x * x) * scale)
    f(w, 2.0)
    with pytest.raises(TypeError, match="argument"):
        f(*arguments)
    with pytest.raises(TypeError, match="argument"):
        f(w, 2.0, x=w)


def test_a_direct_way_never_takes_another_type():
    f = tg.value_and_grad(lambda x: np.sum(x * x))
    for dtype in ("f8", "f4", "f8"):
        value, bar = f(w.astype(dtype))
        assert bar.dtype == dtype
        assert np.asarray(value).dtype == dtype
    assert f(np.ones((2, 2)))[1].shape == (2, 2)
    assert tg.jit(lambda x: x * 2)(3) == 6
    double = tg.jit(lambda x: x * 2)
    assert isinstance(double(3.0), float)
    assert isinstance(double(3), int)
    assert isinstance(double(np.float32(3.0)), np.float32)


def test_a_tree_of_another_build_is_another_signature():
    f = tg.grad(lambda p: sum(np.sum(v * v) for v in p.values()))
    assert set(f({"a": w})) == {"a"}
    assert set(f({"b": w})) == {"b"}
    assert set(f({"a": w, "b": w})) == {"a", "b"}
    assert set(f({"a": w})) == {"a"}


def test_static_values_are_compared_with_their_types():
    f = tg.jit(lambda x, mode: x + 1.0 if mode else x, static_argnames="mode")
    assert [f(1.0, True), f(1.0, True), f(1.0, False), f(1.0, 1), f(1.0, "")] == [2, 2, 1, 2, 1]

    signed = tg.jit(lambda x, zero: np.copysign(x, zero), static_argnums=1)
    assert [signed(2.0, z) for z in (0.0, 0.0, -0.0, -0.0, 0.0)] == [2, 2, -2, -2, 2]
    within = tg.jit(lambda x, p: x * (1 if isinstance(p[0], int) else 2), static_argnums=1)
    assert [within(1.0, p) for p in ((1,), (1,), (1.0,), (1.0,), (1,))] == [1, 1, 2, 2, 1]


@dataclasses.dataclass(frozen=True)
class Named:
    """Two of one name are equal."""

    name: str
    weight: float = dataclasses.field(compare=False)

    def __call__(self, x: Any) -> Any:
        return self.weight * np.sum(x)

    @tg.grad
    def slope(self, x: Any) -> Any:
        return self.weight * np.sum(x)


def test_equal_objects_are_different_functions():
    for _ in range(2):
        for weight in (1.0, 2.0):
            model, expected = Named("a", weight), np.full(2, weight)
            np.testing.assert_array_equal(model.slope(w), expected)
            np.testing.assert_array_equal(tg.vjp(model, w)[1](1.0)[0], expected)
            assert tg.jvp(model, (w,), (w,))[1] == weight * w.sum()
            assert tg.linearize(model, w)[1](w) == weight * w.sum()


scale = 2.0
weights = np.ones(2)


def captured(x: Any) -> Any:
    return np.sum(x * x * weights) * scale


def test_captures_are_looked_up_by_the_direct_way(monkeypatch):
    f = tg.grad(captured)
    f(w)
    with monkeypatch.context() as closed:
        general_way_is_closed(f, closed)
        np.testing.assert_array_equal(f(w), 4 * w)
        closed.setitem(globals(), "weights", np.full(2, 2.0))
        np.testing.assert_array_equal(f(w), 8 * w)
        weights[0] = 0.0
        np.testing.assert_array_equal(f(w), [0.0, 16.0])
    monkeypatch.setitem(globals(), "scale", 3.0)
    np.testing.assert_array_equal(f(w), 6 * w)
    monkeypatch.delitem(globals(), "scale")
    with pytest.raises(NameError):
        f(w)


def test_results_are_built_as_the_function_builds_them(monkeypatch):
    f = tg.value_and_grad(
        lambda x: (np.sum(x), {"twice": Pair(2 * x, None), "kept": [x, "text"]}), has_aux=True
    )
    f(w)
    general_way_is_closed(f, monkeypatch)
    (value, aux), bar = f(w)
    assert value == 3.0
    assert type(aux["twice"]) is Pair
    np.testing.assert_array_equal(aux["twice"].w, 2 * w)
    assert aux["twice"].b is None
    np.testing.assert_array_equal(aux["kept"][0], w)
    assert aux["kept"][1] == "text"
    np.testing.assert_array_equal(bar, [1.0, 1.0])


@pytest.mark.parametrize("calls", [0, 1, 3])
def test_a_compiled_object_that_is_dropped_is_gone_at_once(calls):
    held = np.ones(2)
    f = tg.grad(lambda x: np.sum(x * held))
    for _ in range(calls):
        f(w)
    gone = weakref.ref(f)
    gc.disable()
    try:
        del f
        assert gone() is None
    finally:
        gc.enable()


@tg.grad
def squared(x: Any) -> Any:
    return np.sum(x * x)


def test_a_compiled_object_is_copied_and_pickled_as_a_function_is():
    for found in (copy.copy(squared), copy.deepcopy([squared])[0]):
        assert found is squared
    assert pickle.loads(pickle.dumps(squared)) is squared
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(tg.grad(lambda x: x * x))
