"""Calls that machine code takes apart: they do what the function of Python does."""

import functools
import gc
import sys
from collections import namedtuple
from contextlib import suppress
from dataclasses import dataclass
from types import BuiltinFunctionType

import numpy as np
import pytest

import tracegrad as tg
from tracegrad import tables
from tracegrad.backend.compile import COMPILER_VARIABLE
from tracegrad.backend.native.caller import MOST, POSSIBLE
from tracegrad.calls import CALLS_BEFORE, Tables
from tracegrad.compiled import Compiled

pytestmark = pytest.mark.skipif(not POSSIBLE, reason="an interpreter that it is not made for")


@pytest.fixture(autouse=True)
def ours(monkeypatch):
    monkeypatch.delenv(COMPILER_VARIABLE, raising=False)


def warm(function, *args, **kwargs):
    for _ in range(CALLS_BEFORE + 2):
        result = function(*args, **kwargs)
    return result


def is_table(function):
    return isinstance(getattr(function, "func", function), BuiltinFunctionType)


Pair = namedtuple("Pair", "a b")


def scaled(p, x):
    return np.sum(p["w"] * x) * p["scale"]


def arguments():
    return {"w": np.array([1.0, 2.0, 3.0]), "scale": 2.0}, np.array([4.0, 5.0, 6.0])


def test_a_tree_goes_to_the_kernel_and_comes_back_as_one():
    f = tg.value_and_grad(scaled)
    p, x = arguments()
    first = f(p, x)
    value, bars = warm(f, p, x)
    assert is_table(f)
    assert value == first[0] == 64.0
    assert list(bars) == list(first[1]) == ["w", "scale"]
    assert np.array_equal(bars["w"], [8.0, 10.0, 12.0])
    assert bars["scale"] == 32.0
    assert type(value) is float
    assert type(bars["scale"]) is float


@pytest.mark.parametrize(
    ("fun", "args"),
    [
        (lambda p, x: p[0] * np.sum(x[1] * p[1]), ([2.0, np.ones(3)], (1, np.arange(3.0)))),
        (lambda p: Pair(p.b, p.a * 2.0), (Pair(np.ones(2), np.zeros(3)),)),
        (lambda x: [x, {"y": (x + 1.0, None), "name": "text"}], (np.ones(2),)),
        (lambda x: x * np.float32(2.0), (np.float32(1.5),)),
        (lambda x: np.sum(x), (np.ones(3, np.float32),)),
        (lambda x, n: x * n, (1.5, 3)),
        (lambda x, flag: x if flag else -x, (1.5, "yes")),
        (lambda x: (), (np.ones(2),)),
        (lambda p: p["a"][1]["b"] * 2.0, ({"a": [None, {"b": np.ones(2)}], 3: 1.0},)),
    ],
)
def test_results_are_those_of_the_first_call(fun, args):
    f = tg.jit(fun)
    first = f(*args)
    last = warm(f, *args)
    assert is_table(f)
    assert type(first) is type(last)
    assert repr(first) == repr(last)


def test_arguments_by_name_in_any_order():
    f = tg.jit(lambda a, b, c: a + 10.0 * b + 100.0 * c)
    warm(f, 1.0, 2.0, 3.0)
    assert is_table(f)
    assert f(1.0, c=3.0, b=2.0) == f(c=3.0, a=1.0, b=2.0) == f(1.0, 2.0, c=3.0) == 321.0
    for wrong in [{"a": 1.0}, {"c": 1.0, "d": 2.0}, {"b": 1.0, "a": 2.0}]:
        with pytest.raises(TypeError):
            f(1.0, **wrong)
    with pytest.raises(TypeError):
        f(1.0, 2.0)
    with pytest.raises(TypeError):
        f(1.0, 2.0, 3.0, 4.0)


def test_what_does_not_fit_goes_the_general_way():
    f = tg.value_and_grad(scaled)
    p, x = arguments()
    expected = warm(f, p, x)
    assert is_table(f)
    others = [
        ({"scale": 2.0, "w": p["w"]}, x),  # another order
        (p, np.repeat(x, 2)[::2]),  # strided
        ({**p, "scale": np.float64(2.0)}, x),
        (p, np.array([*x, 1.0])[:-1]),
    ]
    for q, y in others:
        assert np.array_equal(f(q, y)[1]["w"], expected[1]["w"])
        assert f(q, y)[0] == expected[0]
    with pytest.raises(tg.TracegradError):
        f({"w": p["w"], "scale": "two"}, x)
    with pytest.raises((KeyError, tg.TracegradError)):
        f({"w": p["w"]}, x)
    with pytest.raises((ValueError, tg.TracegradError)):
        f(p, np.ones(2))
    assert f({"w": np.float32(p["w"]), "scale": 2.0}, x)[1]["w"].dtype == np.float32
    assert f(p, x)[0] == expected[0]


def test_static_values_are_looked_at():
    f = tg.jit(lambda x, how: x + 1.0 if how == "up" else x - 1.0)
    warm(f, 1.0, "up")
    assert is_table(f)
    assert f(1.0, "down") == 0.0
    assert f(1.0, "".join(["u", "p"])) == 2.0  # equal, and not the same object


def test_a_guard_that_fails_goes_to_the_other_version():
    f = tg.grad(lambda x, y: np.sum(x * y))
    warm(f, np.ones(12), np.full(12, 2.0))
    assert is_table(f)
    assert np.array_equal(f(np.ones(12), np.ones(1)), np.ones(12))
    assert np.array_equal(warm(f, np.ones(12), np.full(12, 3.0)), np.full(12, 3.0))


def test_errors_of_the_kernel_are_raised_once_and_as_before():
    @tg.jit
    def picked(x, i):
        if x[0] < 0.0:
            raise ValueError("negative")
        return x[i] * 2.0

    x = np.ones(12)
    warm(picked, x, 3)
    assert is_table(picked)
    with pytest.raises(IndexError):
        picked(x, 12)
    with pytest.raises(ValueError, match="negative"):
        picked(-x, 1)
    assert picked(x, 3) == 2.0


def test_nothing_is_held_after_a_call():
    f = tg.value_and_grad(scaled)
    p, x = arguments()
    warm(f, p, x)
    assert is_table(f)
    scale = p["scale"] = float("2.5")
    counts = [sys.getrefcount(each) for each in (p, p["w"], x, scale)]
    gc.collect()
    for _ in range(100):
        f(p, x)
        f(p, x=x)
        for wrong in (np.ones(2), "text"):
            with pytest.raises((ValueError, tg.TracegradError)):
                f(p, wrong)
    warm(f, p, x)
    before = sys.getallocatedblocks()
    for _ in range(1000):
        f(p, x)
    assert abs(sys.getallocatedblocks() - before) < 100
    assert [sys.getrefcount(each) for each in (p, p["w"], x, scale)] == counts


def test_an_argument_lives_until_the_end_though_its_dict_lets_it_go():
    p = {"w": np.full(2000, 2.0)}

    def let_go(x):
        p.pop("w", None)
        gc.collect()
        np.full(2000, 7.0)  # might get its memory
        return x

    def fun(q, on):
        y = tg.pure_callback(let_go, on, on)
        return np.sum(q["w"]) + np.sum(y)

    f = tg.jit(fun)
    for _ in range(CALLS_BEFORE + 3):
        p["w"] = np.full(2000, 2.0)
        assert f(p, np.ones(1)) == 4001.0


def test_more_than_it_has_room_for_is_left_to_python():
    f = tg.grad(lambda p: sum(np.sum(each) for each in p.values()))
    p = {str(i): np.ones(9) for i in range(MOST + 1)}
    bars = warm(f, p)
    assert not is_table(f)
    assert len(bars) == len(p)


@dataclass
class Params:
    w: np.ndarray
    scale: float


def test_a_dataclass():
    f = tg.grad(lambda p, x: np.sum(p.w * x) * p.scale)
    p = Params(np.array([1.0, 2.0]), 3.0)
    count = sys.getrefcount(p.w)
    bars = warm(f, p, np.ones(2))
    assert np.array_equal(bars.w, [3.0, 3.0])
    assert bars.scale == 3.0
    after = sys.getrefcount(p.w)
    assert after == count


@dataclass
class Emptying:
    w: np.ndarray

    def __getattribute__(self, name):
        found = object.__getattribute__(self, name)
        if name == "w" and Emptying.around is not None:
            Emptying.around.clear()
            gc.collect()
            np.full(2000, 7.0)  # might get its memory
        return found


@pytest.mark.parametrize("first", [True, False])
def test_a_property_that_empties_the_list_it_is_in(first):
    Emptying.around = None
    f = tg.jit(lambda xs: np.sum(xs[0].w * xs[1]) if first else np.sum(xs[1].w * xs[0]))

    def items():
        found = [Emptying(np.full(2000, 2.0)), np.full(2000, 3.0)]
        return found if first else found[::-1]

    assert warm(f, items()) == 12000.0
    assert is_table(f)
    for _ in range(20):
        Emptying.around = items()
        with suppress(tg.TracegradError, TypeError, IndexError):  # it may be found empty
            assert f(Emptying.around) == 12000.0
        assert not Emptying.around
    Emptying.around = None


OFFSET = np.array([1.0, 2.0])
FACTOR = 2.0


def shifted(x):
    return FACTOR * (x + OFFSET)


class Model:
    def __init__(self):
        self.w = np.ones(2)

    @tg.jit
    def __call__(self, x):
        return self.w * x


def test_what_is_captured_is_looked_at_in_each_call(monkeypatch):
    data = np.ones(2)
    f = tg.jit(lambda x: np.sum(shifted(x) * data))
    x = np.ones(2)
    assert warm(f, x) == 10.0
    assert is_table(f)
    data[0] = 2.0
    assert f(x) == 14.0
    data = np.zeros(2)
    assert f(x) == 0.0
    data = np.ones(2, np.float32)
    assert f(x) == 10.0
    data = np.ones(2)
    monkeypatch.setitem(globals(), "OFFSET", np.zeros(2))
    assert f(x) == 4.0
    monkeypatch.setitem(globals(), "FACTOR", 3.0)
    assert warm(f, x) == 6.0
    monkeypatch.setitem(globals(), "shifted", lambda x: -x)
    assert warm(f, x) == -2.0
    monkeypatch.delitem(globals(), "shifted")
    with pytest.raises((NameError, tg.TracegradError)):
        f(x)


def test_attributes_are_fetched_in_each_call():
    model = Model()
    call = model.__call__
    x = np.full(2, 3.0)
    warm(call, x)
    assert is_table(call)
    model.w = np.full(2, 2.0)
    count = sys.getrefcount(model.w)
    assert np.array_equal(call(x), [6.0, 6.0])
    after = sys.getrefcount(model.w)
    assert after == count
    del model.w
    with pytest.raises((AttributeError, tg.TracegradError)):
        call(x)


def test_a_list_that_was_captured_is_left_to_python():
    weights = [1.0, 2.0]
    f = tg.jit(lambda x: x * weights[0])
    assert warm(f, 3.0) == 3.0
    weights[0] = 5.0
    assert f(3.0) == 15.0


def test_into_given_arrays():
    f = tg.value_and_grad(scaled)
    p, x = arguments()
    out = {"w": np.empty(3), "scale": None}
    warm(lambda *args, **kwargs: f.into(*args, **kwargs), p, x, out=out)
    assert is_table(f.into)
    value, bars = f.into(p, x, out=out)
    assert value == 64.0
    assert bars["scale"] == 32.0
    assert bars["w"] is out["w"]
    assert np.array_equal(out["w"], [8.0, 10.0, 12.0])
    assert f.into(out=out, x=x, p=p)[1]["w"] is out["w"]
    with pytest.raises(TypeError):
        f.into(p, x)
    with pytest.raises(tg.TracegradError):
        f.into(p, x, out={"w": np.empty(2), "scale": None})
    both = {"w": p["w"], "scale": None}  # it shares memory with an argument
    assert np.array_equal(f.into(p, x, out=both)[1]["w"], [8.0, 10.0, 12.0])


def test_a_second_object_of_the_function_is_not_kept_alive():
    f = tg.grad(lambda x: np.sum(x * x))
    warm(f, np.ones(9))
    assert is_table(f)
    import weakref

    dropped = weakref.ref(f)
    del f
    assert dropped() is None


def test_a_forked_child_makes_no_first_table(monkeypatch):
    monkeypatch.setattr(Tables, "made", False)
    monkeypatch.setattr(Tables, "forked", True)
    f = tg.grad(lambda x: np.sum(x * x))
    assert np.array_equal(warm(f, np.ones(9)), np.full(9, 2.0))
    assert not is_table(f)
    monkeypatch.setattr(Tables, "made", True)
    g = tg.grad(lambda x: np.sum(x * x))
    warm(g, np.ones(9))
    assert is_table(g)


def counted(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        wrapper.calls += 1
        return function(*args, **kwargs)

    wrapper.calls = 0
    return wrapper


@pytest.mark.parametrize("when", ["before", "after"])
def test_into_that_is_kept_stays_quick(when, monkeypatch):
    made, slow = counted(tables.table_into), counted(Compiled._into)
    monkeypatch.setattr(tables, "table_into", made)
    monkeypatch.setattr(Compiled, "_into", slow)
    f = tg.value_and_grad(lambda x: np.sum(x * x))
    x, out = np.array([1.0, 2.0]), np.empty(2)
    into = f.into if when == "before" else None
    if into is None:
        f.into(x, out=out)
        into = f.into
    for _ in range(CALLS_BEFORE + 20):
        value, x_bar = into(x, out=out)
    assert value == 5.0
    assert x_bar is out
    assert np.array_equal(out, [2.0, 4.0])
    assert made.calls == 1
    assert slow.calls <= 2
