"""Large pages under large fresh arrays: asked for where they pay, without effect on values."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit

import tracegrad as tg
from tracegrad.backend.compile import run_plain
from tracegrad.backend.memory import LARGE, large_pages


def squares(x):
    return np.sum(x * x)


def gathered(x):
    return np.sum(x[np.zeros(3, int)])


LENGTH = LARGE // 8


@pytest.mark.parametrize(("fun", "expected"), [(squares, 2.0), (gathered, 0.0)])
def test_a_large_result_gets_large_pages(fun, expected):
    f = tg.grad(fun)
    bar = f(np.ones(LENGTH))
    assert "large_pages(x_bar" in f.inspect_source()
    assert np.all(bar[1:] == expected)
    kernel = f.lower()
    plain = run_plain(kernel.source, kernel.compiled.entry)
    np.testing.assert_array_equal(plain(np.ones(5)), f(np.ones(5)))


def test_a_small_result_is_just_allocated():
    f = tg.grad(squares)
    f(np.ones(LENGTH - 1))
    assert "large_pages" not in f.inspect_source()


@njit
def fresh(size, like):
    array = np.empty(size, like.dtype)
    large_pages(array)
    array[:] = 1
    return array


@pytest.mark.parametrize("size", [0, 1, 1000, LARGE - 1, LARGE, LARGE + 1, 3 * LARGE + 5])
@pytest.mark.parametrize("dtype", ["u1", "f8"])
def test_arrays_of_any_size_are_as_good_as_before(size, dtype):
    assert fresh(size, np.empty(0, dtype)).sum() == size
