"""What can't be done is said in one error with file, line and a way out."""

import bisect

import numpy as np
import pytest

import tracegrad as tg
from tracegrad.errors import TracegradError

X = np.array([1.0, 2.0, 3.0])


def conversion(x):
    return np.sum(np.zeros(3) + np.fromiter([float(x)], float))  # here


def item(x):
    return x.item() * np.sum(x)  # here


def shapes(x):
    return np.sum(x + np.ones(4))  # here


def inner_dimensions(x):
    return x @ np.ones((4, 2))  # here


def no_such_axis(x):
    return np.sum(x, axis=1)  # here


def unsupported(x):
    return np.sum(np.fft.fft(x).real)  # here


def unsupported_linalg(x):
    return np.sum(np.linalg.eigvals(np.outer(x, x)))  # here


def out_of_range(x):
    return x[7]  # here


def too_many_indices(x):
    return x[0, 1]  # here


def float_index(x):
    return np.sum(x[x])  # here


def outside_array(x):
    KEPT[0] = np.sum(x)  # here
    return np.sum(x)


def through_a_library(x):
    return x[bisect.bisect_left(x, 2.0)]  # here


def bad_reshape(x):
    return np.sum(x.reshape(2, 2))  # here


def objects(x):
    return np.sum(x * np.array([None, 1, 2], dtype=object))  # here


KEPT = np.zeros(3)

BROKEN = [
    (conversion, Exception),
    (item, Exception),
    (shapes, ValueError),
    (inner_dimensions, ValueError),
    (no_such_axis, ValueError),
    (unsupported, TracegradError),
    (unsupported_linalg, TracegradError),
    (out_of_range, IndexError),
    (too_many_indices, IndexError),
    (float_index, IndexError),
    (outside_array, TracegradError),
    (through_a_library, TracegradError),
    (bad_reshape, ValueError),
    (objects, TracegradError),
]


@pytest.mark.parametrize(("function", "kind"), BROKEN, ids=lambda v: getattr(v, "__name__", ""))
def test_errors_name_the_line(function, kind):
    line = function.__code__.co_firstlineno
    while "# here" not in _line(line):
        line += 1
    with pytest.raises(kind) as caught:
        tg.grad(function)(X)
    assert isinstance(caught.value, TracegradError), repr(caught.value)
    message = str(caught.value)
    assert f"test_errors.py:{line}" in message, message
    assert function.__name__ in message
    if not isinstance(caught.value, (ValueError, IndexError)):
        assert "Way out" in message


def _line(number):
    with open(__file__) as text:
        return text.readlines()[number - 1]


def test_a_vector_result_is_told_what_to_use_instead():
    for verb in (tg.grad, tg.value_and_grad):
        with pytest.raises(TracegradError, match=r"has_aux|vjp") as caught:
            verb(lambda x: x * 2)(X)
        assert "test_errors.py" in str(caught.value)


def test_results_that_are_no_number():
    for f in (lambda x: None, lambda x: "text", lambda x: (np.sum(x), 1.0), lambda x: []):
        with pytest.raises(TracegradError, match="returns"):
            tg.grad(f)(X)
    with pytest.raises(TracegradError, match="float result"):
        tg.grad(lambda x: np.argmax(x))(X)
    with pytest.raises(TracegradError, match="aux"):
        tg.grad(lambda x: np.sum(x), has_aux=True)(X)


def test_errors_of_the_users_own_pass_through():
    class Mine(Exception):
        pass

    def f(x):
        raise Mine("as it is")

    with pytest.raises(Mine, match="as it is"):
        tg.grad(f)(X)

    def g(x):
        return undefined_name * x  # noqa: F821  # the error wanted

    with pytest.raises(NameError, match="undefined_name"):
        tg.grad(g)(X)


def test_an_error_leaves_nothing_behind():
    g = tg.grad(lambda x, bad: np.sum(x) if not bad else np.sum(x + np.ones(9)))
    for _ in range(2):
        with pytest.raises(ValueError, match="broadcast"):
            g(X, True)
        np.testing.assert_allclose(g(X, False), np.ones(3))


def test_a_traced_value_may_not_be_kept():
    kept = []

    def f(x):
        kept.append(x * 2)
        return np.sum(x)

    with pytest.raises(TracegradError, match="kept"):
        tg.grad(f)(X)


def test_what_numba_cannot_compile_is_refused_as_unsupported(monkeypatch):
    x = np.arange(12.0).reshape(3, 4)
    monkeypatch.setenv("TRACEGRAD_COMPILER", "native")
    np.testing.assert_array_equal(tg.grad(lambda x: np.sum(np.sort(x, axis=1)))(x), np.ones((3, 4)))
    monkeypatch.setenv("TRACEGRAD_COMPILER", "numba")
    with pytest.raises(tg.UnsupportedError, match=r"Numba can't compile.*argsort"):
        tg.grad(lambda x: np.sum(np.sort(x, axis=1)))(x)


def test_one_can_ask_for_our_compiler_alone(monkeypatch):
    monkeypatch.setenv("TRACEGRAD_COMPILER", "native")
    monkeypatch.setattr("tracegrad.backend.native.ordering.NAMES", ())
    with pytest.raises(tg.UnsupportedError, match=r"our compiler can't compile.*np.sort"):
        tg.jit(lambda x: np.sort(x) * 2.0)(np.arange(7.0))


@pytest.mark.parametrize(
    "f",
    [
        lambda x, i: x[i] * 2.0,  # here
        lambda x, i: x[i][i],
        lambda x, i: np.take(x, i) + x[0],
        lambda x, i: np.add.at(y := np.zeros(3), i, x[:2]) or y * 1.0,
    ],
)
def test_an_index_error_at_run_time_names_the_line(f):
    for i in (np.array([0, 3]), np.array([-4, 0])):
        with pytest.raises(IndexError, match=r"out of bounds for axis 0 \(test_errors.py:\d+\)"):
            tg.jit(f)(X, i)
