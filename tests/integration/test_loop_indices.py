"""Indices in loops: what is out of range raises, with the line, and only if a trip comes there."""

import numpy as np
import pytest

import tracegrad as tg

BOTH = [
    lambda f: tg.jit(f),
    lambda f: lambda *given: tg.value_and_grad(f, argnums=(0, 1))(*given)[0],
]


def weighted(x, y):
    s = 0.0
    for i in range(x.shape[0]):
        s += x[i] * y[i]  # here
    return s


def recurrence(x, y):
    z = x.copy()
    for i in range(1, x.shape[0]):
        z[i] += z[i - 1] * y[i]  # here
    return np.sum(z * z)


def filled(x, y):
    z = np.zeros(x.shape[0])
    for i in range(y.shape[0]):
        z[i] = y[i] * 2.0  # here
    return np.sum(z * z)


def backwards(x, y):
    s = 0.0
    for i in range(x.shape[0] - 1, -1, -1):
        s = s * 0.5 + x[i] * y[i]  # here
    return s


def guarded(x, y):
    s = 0.0
    for i in range(x.shape[0]):
        if x[i] > 0.0:
            s += y[i]  # here
    return s


def stopped(x, y):
    s = 0.0
    for i in range(x.shape[0]):
        if x[i] < 0.0:
            break
        s += y[i] * x[i]  # here
    return s


FUNCTIONS = [weighted, recurrence, filled, backwards, guarded, stopped]


def outcome(function, given):
    try:
        return float(function(*[g.copy() for g in given]))
    except IndexError as error:
        return error


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_kernels_raise_as_python_does(function):
    rng = np.random.default_rng(3)
    line = function.__code__.co_firstlineno
    with open(__file__) as text:
        lines = text.readlines()
    while "# here" not in lines[line - 1]:
        line += 1
    kernels = [made(function) for made in BOTH]
    raised = 0
    for sizes in [(4, 4), (0, 0), (0, 3), (3, 0), (1, 1), (1, 4), (4, 1), (4, 9), (5, 4)]:
        sizes = tuple(10 * size for size in sizes)  # small sizes would be constants
        for signs in (1.0, -1.0):
            given = np.abs(rng.normal(size=sizes[0])) * signs, rng.normal(size=sizes[1])
            expected = outcome(function, given)
            # Of arrays without elements there is nothing to differentiate.
            for kernel in kernels if all(sizes) else kernels[:1]:
                found = outcome(kernel, given)
                if isinstance(expected, IndexError):
                    raised += 1
                    assert isinstance(found, IndexError), (sizes, found)
                    assert f"test_loop_indices.py:{line}" in str(found)
                else:
                    assert found == pytest.approx(expected, rel=1e-12), sizes
    assert raised
