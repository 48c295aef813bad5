"""Calls that write to arrays of the caller, and workspaces."""

from __future__ import annotations

import threading
from collections import namedtuple
from typing import Any

import numpy as np
import pytest

import tracegrad as tg
from tracegrad.backend.compile import COMPILER_VARIABLE
from tracegrad.errors import ArgumentError

Pair = namedtuple("Pair", "w b")
rng = np.random.default_rng(0)
X = rng.normal(size=(7, 3))
V = rng.normal(size=3)


def weighted(x, w):
    return np.sum(np.sin(x) * w)


def recurrence(x, a):
    y = np.zeros(len(x))
    y[0] = x[0]
    for i in range(1, len(x)):
        if y[i - 1] > 1.0:
            y[i] = x[i] - a * y[i - 1]
        else:
            y[i] = x[i] + a * np.tanh(y[i - 1])
    return np.sum(y**2)


def smoothed(u, n):
    for _ in range(n):
        u = 0.5 * u + 0.5 * u[::-1] * np.sin(u)
    return np.sum(u * u)


def converged(x):
    y = x
    while np.sum(np.abs(y * y - x)) > 1e-10:
        y = 0.5 * (y + x / y)
    return np.sum(y)


def keyed(p):
    return np.sum(p["w"] * p["w"]) * p["b"]


def attributed(p):
    return np.sum(p.w * p.w) * p.b


def with_aux(x, w):
    s = np.sin(x)
    return np.sum(s * w), {"s": s, "n": 2.0 * np.sum(s)}


def nan(*shape: int, dtype: Any = float) -> np.ndarray:
    return np.full(shape, np.nan, dtype)


CASES = {
    "one array": (tg.value_and_grad(weighted), (X, V), lambda: nan(7, 3)),
    "a tuple": (
        tg.value_and_grad(weighted, argnums=(0, 1)),
        (X, V),
        lambda: (nan(7, 3), nan(3)),
    ),
    "a gradient": (tg.grad(weighted, argnums=1), (X, V), lambda: nan(3)),
    "a loop": (tg.value_and_grad(recurrence, argnums=(0, 1)), (V, 0.5), lambda: (nan(3), None)),
    "buffers that take turns": (tg.value_and_grad(smoothed), (V, 5), lambda: nan(3)),
    "a while": (tg.value_and_grad(converged), (np.array([2.0, 3.0]),), lambda: nan(2)),
    "a dict": (tg.value_and_grad(keyed), ({"w": V, "b": 2.0},), lambda: {"w": nan(3), "b": None}),
    "a NamedTuple": (tg.grad(attributed), (Pair(V, 2.0),), lambda: Pair(nan(3), 0.0)),
    "aux": (tg.value_and_grad(with_aux, has_aux=True), (X, V), lambda: nan(7, 3)),
    "gradient and aux": (tg.grad(with_aux, has_aux=True), (X, V), lambda: nan(7, 3)),
    "a primal": (tg.jit(with_aux), (X, V), lambda: (None, {"s": nan(7, 3), "n": None})),
    "the argument itself": (tg.jit(lambda x: (x, 2.0 * x)), (V,), lambda: (nan(3), nan(3))),
    "a number": (tg.jit(weighted), (X, V), lambda: None),
    "single precision": (
        tg.value_and_grad(weighted),
        (X.astype("f4"), V.astype("f4")),
        lambda: nan(7, 3, dtype="f4"),
    ),
    "strided arguments": (tg.value_and_grad(weighted), (X[::2], V), lambda: nan(4, 3)),
    "no elements": (tg.value_and_grad(weighted), (X[:0], V), lambda: nan(0, 3)),
}


def leaves(tree: Any) -> list[Any]:
    from tracegrad.tree import flatten

    return flatten(tree)[0]


@pytest.mark.parametrize("case", CASES)
def test_into_gives_what_the_call_gives_in_the_arrays_of_the_caller(case):
    f, args, make = CASES[case]
    expected = f(*args)
    workspace = f.workspace(*args)
    for work in (None, None, None, workspace, workspace):
        out = make()
        given = [leaf for leaf in leaves(out) if isinstance(leaf, np.ndarray)]
        found = f.into(*args, out=out, workspace=work)
        for a, b in zip(leaves(found), leaves(expected), strict=True):
            assert type(a) is type(b)
            np.testing.assert_array_equal(a, b)
        arrays = [leaf for leaf in leaves(found) if isinstance(leaf, np.ndarray)]
        assert all(any(a is g for a in arrays) for g in given)
        assert type(found) is type(expected)


def test_repeated_calls_go_directly(monkeypatch):
    for name in ("one array", "a dict", "a loop", "a NamedTuple"):
        f, args, make = CASES[name]
        workspace = f.workspace(*args)
        for work in (None, workspace):
            f.into(*args, out=make(), workspace=work)
            with monkeypatch.context() as patch:
                patch.setattr(f, "_into", None)
                f.into(*args, out=make(), workspace=work)


def test_arguments_by_name_and_methods():
    class Model:
        def __init__(self, scale: float) -> None:
            self.scale = scale

        @tg.value_and_grad
        def loss(self, x, w):
            return np.sum(x * w) * self.scale

    out = nan(3)
    model = Model(3.0)
    for _ in range(2):
        value, bar = model.loss.into(w=2.0 * V, x=V, out=out)
        assert bar is out
        assert np.allclose(out, 6.0 * V)
        assert np.isclose(value, 6.0 * np.sum(V * V))


def test_a_function_whose_parameters_have_defaults():
    f = tg.value_and_grad(lambda x, a=1.0, b=2.0: np.sum(x * x) * a * b)
    out = nan(3)
    for _ in range(2):
        assert f.into(V, b=3.0, out=out)[0] == f(V, b=3.0)[0]
        assert f.into(V, 5.0, out=out)[0] == f(V, 5.0)[0]
        assert f.into(V, out=out)[0] == f(V)[0]


def test_another_size_and_another_type_after_the_first():
    f = tg.value_and_grad(lambda x: np.sum(x**3))
    for x in (V, np.ones(5), V.astype("f4"), 2.0, V, X):
        out = np.empty_like(x) if isinstance(x, np.ndarray) else None
        value, bar = f.into(x, out=out)
        np.testing.assert_allclose(bar, 3 * np.square(x), rtol=1e-6)
        assert np.isclose(value, np.sum(x**3))


def test_what_shares_memory_with_an_argument_gets_what_it_would_get_apart():
    f, g = tg.value_and_grad(weighted, argnums=(0, 1)), tg.jit(lambda x: np.cumsum(x) + x[::-1])
    for shift in range(4):
        memory = rng.normal(size=24)
        x, w = memory[:21].reshape(7, 3), memory[21:]
        expected = f(x.copy(), w.copy())
        found = f.into(x, w, out=(memory[shift : shift + 21].reshape(7, 3), nan(3)))
        np.testing.assert_array_equal(found[1][0], expected[1][0])
        assert found[0] == expected[0]
    x = V.copy()
    assert np.array_equal(g.into(x, out=x), g(V))
    assert np.array_equal(x, g(V))


def test_captured_arrays_count_as_arguments():
    held = V.copy()
    f = tg.grad(lambda x: np.sum(x * held[::-1]))
    expected = f(V)
    assert f.into(V, out=held) is held
    np.testing.assert_array_equal(held, expected)


def refusal(out: Any, *args: Any, f: Any = CASES["a tuple"][0], **more: Any) -> str:
    texts = []
    # By the general way, then by the direct one.
    for _ in range(2):
        with pytest.raises(ArgumentError) as info:
            f.into(*(args or (X, V)), out=out, **more)
        texts.append(str(info.value))
        assert info.value.__suppress_context__ or info.value.__context__ is None
        f.into(X, V, out=(nan(7, 3), nan(3)))
    assert texts[0] == texts[1]
    return texts[0]


def test_arrays_that_do_not_fit_are_refused():
    assert "out[1] has shape (4,), the result has (3,)" in refusal((nan(7, 3), nan(4)))
    assert "out[0] has dtype float32" in refusal((nan(7, 3, dtype="f4"), nan(3)))
    assert "out[0] has dtype >f8" in refusal((nan(7, 3, dtype=">f8"), nan(3)))
    assert "out[0] has shape (21,)" in refusal((nan(21), nan(3)))
    assert "not C-contiguous" in refusal((nan(3, 7).T, nan(3)))
    assert "not C-contiguous" in refusal((nan(7, 3), nan(6)[::2]))
    assert "out[1] is missing" in refusal((nan(7, 3), None))
    assert "out[0] is a list" in refusal(([1.0], nan(3)))
    assert "MaskedArray" in refusal((nan(7, 3), np.ma.masked_array(nan(3))))
    fixed = nan(3)
    fixed.flags.writeable = False
    assert "out[1] is read-only" in refusal((nan(7, 3), fixed))
    assert "structure" in refusal(nan(7, 3))
    assert "structure" in refusal([nan(7, 3), nan(3)])
    assert "structure" in refusal((nan(7, 3), nan(3), nan(3)))
    memory = nan(24)
    shared = memory[:21].reshape(7, 3), memory[20:23]
    assert "two arrays of out share memory" in refusal(shared)
    assert np.isnan(memory).all()
    assert np.isnan(fixed).all()


def test_an_array_in_the_place_of_a_number_is_refused():
    f = tg.value_and_grad(keyed)
    for _ in range(2):
        with pytest.raises(ArgumentError, match="the result there is a number"):
            f.into({"w": V, "b": 2.0}, out={"w": nan(3), "b": np.zeros(())})
        f.into({"w": V, "b": 2.0}, out={"w": nan(3), "b": 1.0})


def test_out_is_needed_and_vjp_and_traces_have_none():
    f = tg.value_and_grad(weighted)
    for _ in range(2):
        with pytest.raises(TypeError, match="out"):
            f.into(X, V)
        f.into(X, V, out=nan(7, 3))
    with pytest.raises(TypeError, match="argument"):
        f.into(X, out=nan(7, 3))
    with pytest.raises(ArgumentError, match="trace"):
        tg.grad(lambda x: f.into(x, V, out=nan(7, 3))[0])(X)


def test_a_pullback_writes_to_given_arrays():
    def g(p, w):
        return np.sin(p["x"]) * w, p["k"] * w

    primals = {"x": X, "k": 2.0}, V
    out, pullback = tg.vjp(g, *primals)
    seeds = np.ones_like(out[0]), V
    expected = pullback(seeds)
    for _ in range(2):
        given = {"x": nan(7, 3), "k": None}, nan(3)
        found = pullback.into(seeds, out=given)
        assert found[0]["x"] is given[0]["x"]
        assert found[1] is given[1]
        for a, b in zip(leaves(found), leaves(expected), strict=True):
            np.testing.assert_array_equal(a, b)
    with pytest.raises(ArgumentError, match="shape"):
        pullback.into(seeds, out=({"x": nan(3, 7), "k": None}, nan(3)))
    with pytest.raises(ArgumentError, match="trace"):
        tg.grad(lambda x: np.sum(tg.vjp(np.sin, x)[1].into(x, out=(nan(3),))[0]))(V)


def test_derived_verbs_write_to_given_arrays():
    for f in (tg.hessian(lambda x: np.sum(x**3)), tg.jacrev(np.sin), tg.elementwise_grad(np.sin)):
        expected = f(V)
        out = np.full_like(expected, np.nan)
        workspace = f.workspace(V)
        assert f.into(V, out=out, workspace=workspace) is out
        np.testing.assert_array_equal(out, expected)


def test_one_array_for_a_result_that_stands_twice():
    f = tg.jit(lambda x: (lambda y: (y, y))(2.0 * x))
    out = nan(3)
    one, other = f.into(V, out=(out, out))
    assert one is out
    assert other is out
    first, second = nan(3), nan(3)
    f.into(V, out=(first, second))
    np.testing.assert_array_equal(first, 2.0 * V)
    np.testing.assert_array_equal(second, 2.0 * V)


def test_a_result_whose_size_shows_at_run_time():
    f = tg.jit(lambda x: 2.0 * x[np.flatnonzero(x > 0.0)])
    x = np.array([1.0, -1.0, 3.0])
    out = nan(2)
    assert f.into(x, out=out) is out
    assert np.array_equal(out, [2.0, 6.0])
    with pytest.raises(ArgumentError, match="shape"):
        f.into(x, out=nan(3))


def test_one_kernel_makes_its_results_or_writes_to_those_given(monkeypatch):
    monkeypatch.delenv(COMPILER_VARIABLE, raising=False)
    f = tg.value_and_grad(lambda x: np.sum(np.cos(x)))
    f.into(V, out=nan(3))
    (version,) = next(iter(f._signatures.values())).versions
    assert version.given(scratch=False).compiled is version.kernel.compiled


def test_a_result_that_a_loop_exchanges_has_a_kernel_of_its_own(monkeypatch):
    monkeypatch.delenv(COMPILER_VARIABLE, raising=False)

    @tg.jit
    def smoothed(x):
        for _ in range(3):
            y = np.zeros(x.shape[0])
            for i in range(1, x.shape[0]):
                y[i] = 0.5 * (x[i] + x[i - 1])
            x = y
        return x

    x = np.arange(9.0)
    expected = smoothed(x)
    for _ in range(3):
        out = nan(9)
        assert smoothed.into(x, out=out) is out
        assert np.array_equal(out, expected)


def test_a_result_given_at_two_sizes_and_threads():
    f = tg.grad(lambda x, y: np.sum(np.sin(x) * np.exp(y)), argnums=(0, 1), parallel=True)
    for n in (3, 200_000, 0):
        x, y = np.linspace(0.0, 1.0, n), np.linspace(1.0, 2.0, n)
        out = nan(n), nan(n)
        found = f.into(x, y, out=out)
        assert all(a is b for a, b in zip(found, out, strict=True))
        for a, b in zip(out, f(x, y), strict=True):
            assert np.array_equal(a, b)


# --- workspaces -------------------------------------------------------------------------------


def test_a_workspace_holds_what_the_kernel_would_make():
    f, _args, _ = CASES["a loop"]
    x = np.ones(100)
    report = f.memory_report(x, 0.5)
    workspace = f.workspace(x, 0.5)
    assert workspace.nbytes == report.scratch_bytes + report.tape_bytes > 0
    assert workspace.made == ()
    source = workspace.version.given(scratch=True).source
    assert "np.empty" not in source
    assert "np.zeros" not in source
    assert "float64[:]" in repr(workspace)


def test_a_tape_of_unknown_length_is_made_at_each_call_and_said_so():
    f = CASES["a while"][0]
    workspace = f.workspace(np.ones(2))
    assert len(workspace.made) == 1
    assert "len(tape" in workspace.made[0]
    assert "without tape" in repr(workspace)


def test_a_workspace_for_other_arguments_is_refused():
    f = CASES["a loop"][0]
    workspace = f.workspace(np.ones(8), 0.5)
    f.into(np.ones(8), 0.5, out=(nan(8), None), workspace=workspace)
    for wrong in (workspace, f.workspace(np.ones(9, "f4"), 0.5), tg.grad(keyed), "workspace"):
        with pytest.raises(ArgumentError, match="workspace"):
            f.into(np.ones(9), 0.5, out=(nan(9), None), workspace=wrong)


def test_a_workspace_in_use_is_refused():
    f = CASES["a loop"][0]
    workspace = f.workspace(np.ones(8), 0.5)
    held = workspace.free.pop()
    for _ in range(2):
        with pytest.raises(ArgumentError, match="in use"):
            f.into(np.ones(8), 0.5, out=(nan(8), None), workspace=workspace)
    workspace.free.append(held)
    f.into(np.ones(8), 0.5, out=(nan(8), None), workspace=workspace)


def test_a_workspace_is_free_again_after_an_error():
    def picked(x, i):
        y = np.zeros(len(x))
        for k in range(len(x)):
            y[k] = x[i[k]] * x[k]
        return np.sum(y * y)

    f = tg.value_and_grad(picked)
    good, bad = np.array([0, 1, 2]), np.array([0, 7, 2])
    workspace = f.workspace(V, good)
    for _ in range(3):
        with pytest.raises(IndexError):
            f.into(V, bad, out=nan(3), workspace=workspace)
        assert f.into(V, good, out=nan(3), workspace=workspace)[0] == f(V, good)[0]


def test_two_threads_with_a_workspace_each():
    f = tg.value_and_grad(recurrence, nogil=True)
    points = [rng.normal(size=2000) for _ in range(2)]
    expected = [f(x, 0.5) for x in points]
    wrong = []

    def work(number: int) -> None:
        x, out = points[number], nan(2000)
        workspace = f.workspace(x, 0.5)
        for _ in range(200):
            value, bar = f.into(x, 0.5, out=out, workspace=workspace)
            if value != expected[number][0] or not np.array_equal(bar, expected[number][1]):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
