"""Comprehensions over arrays: one trace for all trips, and Python's own meaning."""

import math

import numpy as np
import pytest

import tracegrad as tg
from tests.integration.loop_programs_checks import Call, gradients_agree

X = np.random.default_rng(5).normal(size=70) + 0.05
A = np.random.default_rng(6).normal(size=(70, 3))


def filtered_sum(x):
    return sum(math.exp(-v) * v for v in x if v > 0)


def sum_from_a_start(x):
    return sum([v * v for v in x], x[0])


def sum_over_two_loops(x):
    return sum(x[i] * x[j] for i in range(len(x)) for j in range(i) if (i + j) % 3)


def largest(x):
    return max(math.sin(v) for v in x) + min([v * v for v in x if v < 0.5])


def decided_by_any_and_all(x):
    if any(v > 100.0 for v in x) or not all(v < 50.0 for v in x):
        return 0.0 * x[0]
    return np.sum(x**2)


def array_of_a_list(x):
    y = np.array([math.tanh(v) * k for k, v in enumerate(x)])
    return y @ y


def list_used_as_a_list(x):
    y = [v * v for v in x]
    s = 0.0
    for v in y:
        s += math.sin(v)
    y[3] = 2.0 * y[2]
    return s + y[-1] * y[3] + sum(y) + max(y) + len(y) * y[0] + sum(y[2:5])


def rows(a):
    y = [row * np.sum(row) for row in a]
    return np.sum(np.stack(y) ** 2) + y[2] @ y[-1]


def list_within_a_list(x):
    return np.sum(np.array([[u * v for v in x[:5]] for u in x]) ** 2)


def fold_in_a_loop(a):
    s = 0.0
    for i in range(a.shape[0]):
        s = 0.5 * s + sum(v * w for v, w in zip(a[i], a[i - 1], strict=True)) ** 2
    return s


def in_an_arm(x):
    if x[0] > -50.0:
        y = sum(v**3 for v in x)
    else:
        y = max(v for v in x)
    return y


def index_as_a_python_int(x):
    w = [1.0, 2.0, -1.0]
    return sum(w[i] * x[i] ** 2 for i in range(len(w)))


def middle_of_three(x):
    s = 0.0
    for i in range(1, len(x) - 1):
        _, b, c = sorted([x[i - 1], x[i], x[i + 1]])
        s += b * b + 0.5 * c
    return s


def sorted_list(x):
    y = sorted([math.sin(v) for v in x], reverse=True)
    return sum(k * v for k, v in enumerate(y))


PROGRAMS = [
    filtered_sum, sum_from_a_start, sum_over_two_loops, largest, decided_by_any_and_all,
    array_of_a_list, list_used_as_a_list, list_within_a_list, in_an_arm, middle_of_three,
    sorted_list,
]  # fmt: skip


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda f: f.__name__)
def test_value_and_gradient(program):
    f = tg.value_and_grad(program)
    value, gradient = f(X)
    np.testing.assert_allclose(value, program(X), rtol=1e-12)
    gradients_agree(program, Call(program, (X,)), [gradient])
    np.testing.assert_allclose(f(X[:66])[0], program(X[:66]), rtol=1e-12)
    assert len(f.signatures) == 1


@pytest.mark.parametrize("program", [rows, fold_in_a_loop], ids=lambda f: f.__name__)
def test_over_rows(program):
    value, gradient = tg.value_and_grad(program)(A)
    np.testing.assert_allclose(value, program(A), rtol=1e-12)
    gradients_agree(program, Call(program, (A,)), [gradient])


def test_a_body_that_needs_the_index_as_an_int_is_unrolled():
    value, gradient = tg.value_and_grad(index_as_a_python_int)(X)
    np.testing.assert_allclose(value, index_as_a_python_int(X), rtol=1e-12)
    np.testing.assert_allclose(gradient[:4], 2 * np.array([1.0, 2.0, -1.0, 0.0]) * X[:4])


def test_the_source_has_a_loop():
    source = tg.jit(filtered_sum).inspect_source(X)
    assert source.count("\n    for ") == source.count("total += exp(-v") == 1


def test_gradient_of_the_gradient():
    second = tg.grad(lambda x: np.sum(tg.grad(filtered_sum)(x) ** 2))

    def plain(x):
        return np.sum(np.where(x > 0, np.exp(-x) * (1 - x), 0.0) ** 2)

    gradients_agree(plain, Call(plain, (X,)), [second(X)])


def test_of_nothing():
    with pytest.raises(ValueError, match=r"max\(\)"):
        tg.jit(lambda x: max(v for v in x))(X[:0])
    assert tg.jit(lambda x: sum(v for v in x if v > 1e9))(X) == 0


def test_a_list_whose_length_would_change_is_refused():
    def f(x):
        y = [v * v for v in x]
        y.append(1.0)
        return y

    with pytest.raises(tg.UnsupportedError, match=r"can't be appended to"):
        tg.jit(f)(X)


def test_names_of_the_users_own():
    def sum(values):
        return values

    def f(x):
        total = 3.0
        items = x * 2.0
        return np.sum(np.array(list(sum(v * total for v in items))))

    np.testing.assert_allclose(tg.jit(f)(X[:9]), 6.0 * np.sum(X[:9]))


def test_a_list_of_rows_is_those_rows():
    def f(a):
        rows = [a[i] for i in range(a.shape[0])]
        rows[0][1] = 5.0
        return np.sum(a**2)

    a = np.arange(12.0).reshape(4, 3)
    np.testing.assert_allclose(tg.value_and_grad(f)(a)[0], f(a.copy()))


def test_a_list_of_lists_has_lists():
    def f(x):
        y = [[u * v for v in x] for u in x]
        assert isinstance(y[0], list)
        return y[1][2] + sum(y[3])

    np.testing.assert_allclose(tg.value_and_grad(f)(X)[0], f(X))
