"""Kernels that are compiled in a thread while NumPy answers."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import numpy as np
import pytest

import tracegrad as tg
from tracegrad import pipeline
from tracegrad.errors import ArgumentError, UnsupportedError

X = np.random.default_rng(0).normal(size=(6, 4))


class Gate:
    """Holds compilations back until it is opened."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.open = threading.Event()
        self.compiled = 0
        self.error: Exception | None = None
        real = pipeline.compile_kernel

        def held(*args, **options):
            assert self.open.wait(60)
            self.compiled += 1
            if self.error is not None:
                raise self.error
            return real(*args, **options)

        patch.setattr(pipeline, "compile_kernel", held)


@pytest.fixture
def gate(monkeypatch):
    gate = Gate(monkeypatch)
    yield gate
    gate.open.set()


def finished(f):
    """The version of ``f``, its kernel compiled."""
    (version,) = next(iter(f._signatures.values())).versions
    if version.pending is not None:
        version.pending.wait()
    return version


def smooth(x):
    return np.sum(np.sin(x) * x[::-1])


def recurrence(x, a):
    y = np.zeros(len(x))
    y[0] = x[0]
    for i in range(1, len(x)):
        if y[i - 1] > 0.5:
            y[i] = x[i] - a * y[i - 1]
        else:
            y[i] = x[i] + a * np.tanh(y[i - 1])
    return np.sum(y**2)


def several(x):
    return x.T, x, np.sum(x), np.argmax(x), x > 0, np.sum(x) > 0


CASES = {
    "a gradient": (tg.value_and_grad, smooth, (X,)),
    "a loop": (lambda f, **o: tg.value_and_grad(f, (0, 1), **o), recurrence, (X.ravel(), 0.5)),
    "single precision": (tg.value_and_grad, smooth, (X.astype("f4"),)),
    "results of all kinds": (tg.jit, several, (X,)),
    "one number": (tg.grad, lambda x: x * x * x, (2.0,)),
    "a NumPy number": (tg.value_and_grad, lambda x: x * x, (np.float32(2.1),)),
}


def leaves(tree):
    from tracegrad.tree import flatten

    return flatten(tree)[0]


@pytest.mark.parametrize("case", CASES)
def test_numpy_answers_until_the_kernel_is_there(case, gate):
    verb, fun, args = CASES[case]
    f = verb(fun, tier="background")
    early = [f(*args) for _ in range(3)]
    assert gate.compiled == 0
    gate.open.set()
    assert finished(f).pending is None
    assert gate.compiled == 1
    late = f(*args)
    for found in early:
        for a, b in zip(leaves(found), leaves(late), strict=True):
            assert type(a) is type(b)
            assert np.asarray(a).dtype == np.asarray(b).dtype
            np.testing.assert_allclose(a, b, rtol=1e-5 if np.asarray(b).dtype == "f4" else 1e-12)
            if isinstance(a, np.ndarray):
                assert a.flags.carray
                assert not any(np.shares_memory(a, x) for x in args if np.ndim(x))


def test_the_kernel_is_called_directly_then(gate, monkeypatch):
    f = tg.value_and_grad(smooth, tier="background")
    f(X)
    gate.open.set()
    finished(f)
    monkeypatch.setattr(f, "_call", None)
    assert np.isclose(f(X)[0], smooth(X))


def test_errors_are_the_same_and_those_of_the_compiler_come_later(gate):
    f = tg.grad(lambda x, i: np.sum(x[i] ** 2), tier="background")
    good, bad = np.array([0, 2]), np.array([0, 9])
    for _ in range(2):
        assert f(np.ones(3), good)[2] == 2.0
        with pytest.raises(IndexError):
            f(np.ones(3), bad)
    gate.error = UnsupportedError("the compiler says no")
    gate.open.set()
    finished(f)
    for _ in range(2):
        with pytest.raises(UnsupportedError, match="the compiler says no"):
            f(np.ones(3), good)


def test_methods_have_the_tier_of_their_function(gate):
    class Model:
        @tg.grad(tier="background")
        def loss(self, x):
            return np.sum(x**3)

    model = Model()
    np.testing.assert_allclose(model.loss(X), 3 * X**2)
    assert gate.compiled == 0


def test_refusals_of_the_trace_come_at_once():
    with pytest.raises(ArgumentError):
        tg.grad(lambda x: x, tier="background")(X)
    with pytest.raises(ArgumentError, match="tier"):
        tg.grad(smooth, tier="later")


def test_other_sizes_and_types_while_the_first_kernel_is_compiled(gate):
    f = tg.value_and_grad(smooth, tier="background")
    for x in (X, X[:3], X.astype("f4"), X[0], X):
        assert np.isclose(f(x)[0], smooth(x))
    gate.open.set()
    for signature in list(f._signatures.values()):
        for version in signature.versions:
            if version.pending is not None:
                version.pending.wait()
    for x in (X, X[:3], X.astype("f4"), X[0], X):
        assert np.isclose(f(x)[0], smooth(x))


def test_many_threads_call_while_the_kernel_is_compiled(gate):
    f = tg.value_and_grad(smooth, tier="background")
    wrong = []

    def work() -> None:
        for number in range(200):
            if number == 50:
                gate.open.set()
            if not np.isclose(f(X)[0], smooth(X)):
                wrong.append(number)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(f._signatures) == 1
    finished(f)
    assert gate.compiled == 1


def test_given_arrays_and_inspection_wait_for_their_kernels():
    f = tg.value_and_grad(smooth, tier="background")
    f(X)
    out = np.empty_like(X)
    assert np.isclose(f.into(X, out=out)[0], smooth(X))
    assert "def smooth_value_and_grad" in f.inspect_source()
    f.lower(X)
    assert finished(f).pending is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_goes_on_with_numpy(gate):
    f = tg.value_and_grad(smooth, tier="background")
    g = tg.value_and_grad(lambda x: np.sum(x**4), tier="background")
    f(X)
    child = os.fork()
    if child == 0:
        right = False
        try:
            right = np.isclose(f(X)[0], smooth(X)) and np.isclose(g(X)[0], np.sum(X**4))
            right = right and "for i in range" in f.inspect_source()
        finally:
            os._exit(0 if right else 1)
    assert os.waitpid(child, 0)[1] == 0
    gate.open.set()
    assert finished(f).pending is None


def test_an_interpreter_that_exits_while_compiling_ends_well(tmp_path):
    program = """
import numpy as np, tracegrad as tg
x = np.linspace(0.0, 1.0, 20)
fs = [tg.value_and_grad(lambda x, k=k: np.sum(np.sin(x + k)), tier="background") for k in range(4)]
print(sum(f(x)[0] for f in fs))
"""
    path = tmp_path / "program.py"
    path.write_text(program)
    done = subprocess.run(
        [sys.executable, str(path)], capture_output=True, text=True, timeout=120, env={**os.environ}
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert float(done.stdout) == pytest.approx(
        sum(np.sum(np.sin(np.linspace(0, 1, 20) + k)) for k in range(4))
    )
