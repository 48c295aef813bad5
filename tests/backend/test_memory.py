"""Large pages under large fresh arrays: asked for where they pay, without effect on values."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit

import tracegrad as tg
from tracegrad.backend.compile import run_plain
from tracegrad.backend.memory import LARGE, large_pages, overlap


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


@njit
def shared(a, b, c, d):
    return overlap((a, b), (c, d))


def test_overlap_is_seen_between_what_is_written_and_anything_else():
    memory = np.zeros(100)
    parts = [memory[:10], memory[10:20], memory[20:40].reshape(4, 5), memory[40:50]]
    other = np.zeros(3, "f4")
    for a in parts[:2]:
        for b in (parts[1], parts[3]):
            for c in (parts[0], parts[3], memory[9:11], memory[12:12]):
                for d in (parts[2], memory[:40].reshape(8, 5)):
                    expected = any(
                        np.shares_memory(one, two)
                        for one, two in ((a, b), (a, c), (a, d), (b, c), (b, d))
                    )
                    assert shared(a, b, c, d) == overlap((a, b), (c, d)) == expected
    assert not shared(parts[0], parts[1], other, parts[2])
    assert not shared(memory[5:5], parts[1], memory[:10], parts[2])
