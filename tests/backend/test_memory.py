"""Large arrays, whose memory comes from the pool, and overlap of arrays."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit

import tracegrad as tg
import tracegrad.backend.lowering  # what the functions mean to Numba
from tracegrad.backend import pool
from tracegrad.backend.compile import run_plain
from tracegrad.backend.memory import large_empty, overlap
from tracegrad.backend.pool import LARGE


def squares(x):
    return np.sum(x * x)


def gathered(x):
    return np.sum(x[np.zeros(3, int)])


LENGTH = LARGE // 8


@pytest.mark.parametrize(("fun", "expected"), [(squares, 2.0), (gathered, 0.0)])
def test_a_large_result_is_made_of_memory_from_the_pool(fun, expected):
    f = tg.grad(fun)
    bar = f(np.ones(LENGTH))
    assert "x_bar = large_empty(" in f.inspect_source()
    assert np.all(bar[1:] == expected)
    kernel = f.lower()
    plain = run_plain(kernel.source, kernel.compiled.entry)
    np.testing.assert_array_equal(plain(np.ones(5)), f(np.ones(5)))


def test_a_small_result_is_just_allocated():
    f = tg.grad(squares)
    f(np.ones(LENGTH - 1))
    assert "large_empty" not in f.inspect_source()


@njit
def fresh(shape):
    return large_empty(shape), large_empty(shape, np.float32), large_empty(shape, np.bool_)


@pytest.mark.parametrize(
    "shape", [0, 1, 1000, LENGTH - 1, LENGTH, (3, 5), (0, 7), (700, 600), (2, 3, 100_000)]
)
def test_arrays_of_any_size_and_kind(shape):
    pool.register()
    for made in (fresh(shape), fresh.py_func(shape)):
        for array, dtype in zip(made, ("f8", "f4", "?"), strict=True):
            assert array.shape == (shape if isinstance(shape, tuple) else (shape,))
            assert array.dtype == dtype
            assert array.flags.carray
            array[...] = 1
            assert array.sum() == array.size


def test_shapes_that_can_not_be_are_refused():
    pool.register()
    for shape in (-1, (-1, -1), (3, -(10**9)), (1 << 40, 1 << 40)):
        with pytest.raises((ValueError, MemoryError)):
            fresh(shape)


def test_memory_is_used_again_when_nobody_holds_it_any_more():
    f = tg.grad(squares)
    x = np.arange(float(LENGTH))
    first = f(x)
    at = first.__array_interface__["data"][0]
    part = first[7:]
    del first
    second = f(2.0 * x)
    assert not np.shares_memory(part, second)
    np.testing.assert_array_equal(part, 2.0 * x[7:])
    np.testing.assert_array_equal(second, 4.0 * x)
    pool.clear()
    del part
    assert pool.held() >= x.nbytes
    third = f(x)
    assert third.__array_interface__["data"][0] == at
    np.testing.assert_array_equal(third, 2.0 * x)


def test_a_user_may_use_the_names_that_kernels_use():
    f = tg.value_and_grad(lambda overlap, large_empty: np.sum(overlap * large_empty), (0, 1))
    x = np.ones(LENGTH)
    out = np.empty(LENGTH), np.empty(LENGTH)
    value, bars = f.into(x, 2.0 * x, out=out)
    assert value == 2.0 * LENGTH
    assert np.all(bars[0] == 2.0)
    assert f(x, x)[0] == LENGTH


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
