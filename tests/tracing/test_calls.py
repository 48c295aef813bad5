"""Calls: helpers, methods, properties, classes, partials, Numba functions, inner verbs."""

import functools
import threading
import time
from typing import Any, NamedTuple

import numba
import numpy as np
import pytest

import tracegrad as tg
from tests.tracing.conftest import assert_like_numpy, check, run, trace
from tracegrad import tracing
from tracegrad.errors import UnsupportedError

x = np.arange(1.0, 6.0)


@numba.njit
def njitted(v):
    return np.sin(v) * 2


class Pair(NamedTuple):
    left: Any
    right: Any


class Box:
    def __init__(self, content):
        self.content = content
        self.seen = 0

    def total(self):
        self.seen += 1
        return np.sum(self.content)

    @property
    def doubled(self):
        return self.content * 2

    @staticmethod
    def shifted(x):
        return x + 1

    @classmethod
    def made(cls, x):
        return cls(x)


def squares(x):
    return x * x


@pytest.mark.parametrize(
    "f",
    [
        lambda x: njitted(x),
        lambda x: functools.partial(np.sum, axis=0)(x),
        lambda x: functools.reduce(lambda a, b: a + b, [x, x, x]),
        lambda x: [squares(v) for v in map(np.sin, [x, x])],
        lambda x: Box(x * 2).total(),
        lambda x: Box.made(x).doubled + Box.shifted(x),
        lambda x: (lambda v, *, k=2.0: v * k)(x, k=3.0),
        lambda x: Pair(x, right={"s": [x.sum(), None, "text", 2]}),
        lambda x: squares(x) if x.ndim == 1 else x,
    ],
)
def test_a_call_is_followed(f):
    check(f, x)


def test_objects_made_inside_may_change():
    def f(x):
        box = Box(x)
        box.content = box.content * 2
        box.content += 1.0
        table = {}
        table["y"] = box.total()
        return box.content, table["y"], box.seen

    check(f, x)


def test_recursion_of_known_depth():
    def power(x, n):
        return 1.0 if n == 0 else power(x, n - 1) * x

    check(lambda x: power(x, 3), x)


def test_trees_come_in_and_go_out():
    def f(params, *, scale):
        return {"sum": params["w"].sum() * scale, "pair": Pair(params["b"][0], scale)}

    check(f, {"w": np.ones(3), "b": [2.0, x]}, scale=3.0)


def test_python_floats_are_weak_and_strings_are_static():
    def f(v, s, mode):
        return (v * s if mode == "scale" else v), s * 2, v + 1, np.sqrt(s)

    check(f, x.astype(np.float32), 2.0, "scale")


def test_arguments_and_names_reach_the_operations():
    def loss(w, x):
        residual = w * x
        return np.sum(residual)

    traced = trace(loss, x, x)
    assert [p.hint for p in traced.function.params] == ["w", "x"]
    first = traced.function.body.ops[0]
    assert first.result.hint == "residual"
    assert first.location.source_line == "residual = w * x"
    assert first.location.function == "loss"
    assert traced.function.name == "loss"
    assert traced.place.file == __file__


def test_verbs_inside_a_trace_are_traced_with_it():
    square_sum = tg.jit(lambda v: np.sum(v * v))
    gradient = tg.grad(lambda v: np.sum(v**3))
    both = tg.value_and_grad(lambda v, k: np.sum(v**3) * k)

    def f(x):
        value, bar = both(x, 2.0)
        return square_sum(x) * 2, gradient(x), value, bar

    traced = trace(f, x)
    cubes = np.sum(x**3)
    expected = 2 * np.sum(x * x), 3 * x**2, 2 * cubes, 6 * x**2
    assert_like_numpy(run(traced, x), expected)


def test_a_verb_inside_may_use_values_of_the_outer_function():
    def f(x, n):
        scale = x * n
        return tg.grad(lambda p: np.sum(p["a"] * scale) + p["b"] ** 2)({"a": x, "b": 2.0})

    traced = trace(f, x, 3)
    assert_like_numpy(run(traced, x, 3), {"a": 3 * x, "b": 4.0})


def test_a_value_of_an_inner_function_may_not_be_used_outside():
    def f(x):
        kept = []

        def inner(v):
            kept.append(v * 2)
            return np.sum(v)

        tg.jit(inner)(x)
        return kept[0]

    with pytest.raises(UnsupportedError, match="outside the function call"):
        trace(f, x)


def test_stop_gradient_takes_trees():
    def f(x):
        stopped = tracing.stop_gradient({"a": x, "n": 3, "s": "text"})
        return stopped["a"] * stopped["n"]

    traced = trace(f, x)
    assert_like_numpy(run(traced, x), x * 3)
    assert any(op.name == "stop_gradient" for op in traced.function.walk())
    assert tracing.stop_gradient(2.0) == 2.0


def test_threads_trace_at_once_without_seeing_each_other():
    failures = []

    def work(n):
        def f(x):
            time.sleep(0.002)
            return squares(x) * n

        try:
            for _ in range(5):
                check(f, np.ones(n + 1))
        except BaseException as error:  # reported by the main thread
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert not tracing.active()


def test_nothing_is_left_active_after_an_error():
    with pytest.raises(UnsupportedError):
        trace(lambda x: np.lexsort(x), x)
    assert not tracing.active()
