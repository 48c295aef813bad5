"""The pool of large blocks: never handed out while anybody holds them, and never too many."""

from __future__ import annotations

import copy
import ctypes
import gc
import itertools
import os
import pickle
import random
import subprocess
import sys
import threading

import numpy as np
import pytest

import tracegrad as tg
from tracegrad.backend import pool

MB = 1 << 20
_make = ctypes.PYFUNCTYPE(
    ctypes.py_object, ctypes.c_int, ctypes.c_void_p, ctypes.py_object, ctypes.c_int
)


@pytest.fixture(autouse=True)
def fresh_pool():
    gc.collect()
    pool.limit(256 * MB)
    pool.clear()
    yield
    pool.limit(256 * MB)
    pool.clear()


def array(kind, *shape, dtype=float):
    """What a kernel makes: ``PyArray_Empty`` or ``PyArray_Zeros`` by way of the pool."""
    dtype = np.dtype(dtype)
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(dtype))  # the function takes it over
    sizes = (ctypes.c_int64 * max(1, len(shape)))(*shape)
    return _make(pool.address(kind))(len(shape), ctypes.addressof(sizes), dtype, 0)


def place(a):
    return a.__array_interface__["data"][0]


def test_a_large_array_gets_the_memory_of_one_that_is_gone():
    a = array("empty", 1000, 1000)
    at = place(a)
    assert at % 64 == 0
    assert a.flags.owndata
    assert a.base is None
    a[...] = 7.0
    del a
    assert 8 * MB > pool.held() > 7 * MB
    b = array("empty", 1000, 999)
    assert place(b) == at
    assert pool.held() == 0
    del b
    c = array("zeros", 1000, 1000)
    assert place(c) == at
    assert not c.any()


def test_small_arrays_and_other_sizes_do_without():
    a = array("empty", 1000)
    del a
    assert pool.held() == 0
    a = array("empty", 10**6)
    at = place(a)
    del a
    for count in (10**6 // 2, 2 * 10**6):
        assert place(array("empty", count)) != at


@pytest.mark.parametrize("hold", [lambda a: a[5:], lambda a: a.T, memoryview, lambda a: a.ravel()])
def test_a_view_keeps_the_memory(hold):
    a = array("empty", 400, 1000)
    a[...] = 3.0
    kept = hold(a)
    del a
    others = [array("empty", 400, 1000) for _ in range(3)]
    for other in others:
        other[...] = 5.0
    assert np.all(np.asarray(kept) == 3.0)
    assert pool.held() == 0


def test_copies_pickles_and_resizes_are_as_for_any_array():
    a = array("empty", 300_000)
    a[...] = np.arange(300_000.0)
    expected = a.copy()
    for other in (pickle.loads(pickle.dumps(a)), copy.deepcopy(a), a.copy()):
        np.testing.assert_array_equal(other, expected)
        assert not np.shares_memory(other, a)
    a.resize(600_000, refcheck=False)
    np.testing.assert_array_equal(a[:300_000], expected)
    a.resize(10, refcheck=False)
    np.testing.assert_array_equal(a, expected[:10])
    a.resize(300_000, refcheck=False)
    np.testing.assert_array_equal(a[:10], expected[:10])


def test_wrong_shapes_raise_and_leave_other_arrays_to_numpy():
    with pytest.raises((MemoryError, ValueError)):
        array("empty", 1 << 40, 1 << 15)
    with pytest.raises(ValueError, match="negative"):
        array("empty", -(10**7))
    handler = np._core.multiarray.get_handler_name
    array("zeros", 10**6)
    assert handler() == handler(np.empty(10**6)) == "default_allocator"
    assert handler(array("empty", 10**6)) == "tracegrad"


def test_no_more_waits_than_the_limit_and_the_oldest_goes_first():
    pool.limit(20 * MB)
    blocks = [array("empty", MB) for _ in range(4)]
    places = [place(b) for b in blocks]
    for _ in range(4):
        blocks.pop(0)
        assert pool.held() <= 20 * MB
    assert pool.held() > 16 * MB
    assert place(array("empty", MB)) in places[2:]
    many = [array("empty", 140_000 + 9000 * k) for k in range(150)]
    pool.limit(256 * MB)
    del many
    assert 0 < pool.held() <= 256 * MB
    assert pool.limit(MB) == MB
    assert pool.held() <= MB
    pool.limit(0)
    del blocks
    gone = array("empty", MB)
    del gone
    assert pool.held() == 0
    with pytest.raises(ValueError, match="less"):
        pool.limit(-1)


def test_no_array_is_ever_given_memory_that_another_one_holds():
    draw = random.Random(0)
    pool.limit(30 * MB)
    live: dict[int, tuple[np.ndarray, float]] = {}
    for step in range(1500):
        if live and draw.random() < 0.5:
            key = draw.choice(list(live))
            found, value = live.pop(key)
            assert np.all(found == value)
            continue
        kind = draw.choice(["empty", "zeros"])
        made = array(kind, draw.choice([131_072, 135_000, 150_000, 200_000, 300_000, 5]))
        assert kind == "empty" or not made.any()
        made[...] = step
        live[step] = made[draw.randrange(4) :], step
        if len(live) > 8:
            del live[min(live)]
    spans = sorted((place(a), place(a) + a.nbytes) for a, _ in live.values())
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))


def test_threads_without_the_interpreter_lock():
    take = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_int64)(pool.address("malloc"))
    give = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(pool.address("free"))
    pool.limit(16 * MB)
    wrong = []

    def work(number: int) -> None:
        draw = random.Random(number)
        held: list[tuple[int, int, int]] = []
        for step in range(300):
            size = draw.choice([MB, MB + 5000, 2 * MB, 3 * MB, 100])
            at = take(size)
            mark = (31 * number + step) % 251
            ctypes.memset(at, mark, size)
            held.append((at, size, mark))
            if len(held) > 3:
                at, size, mark = held.pop(draw.randrange(4))
                seen = ctypes.string_at(at, size)
                if seen.count(mark) != size:
                    wrong.append((number, step))
                give(at)
        for at, _, _ in held:
            give(at)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert pool.held() <= 16 * MB


PROGRAM = """
import os, sys, numpy as np
sys.path.insert(0, {path!r})
from tests.backend.test_pool import array, pool
print(pool.limit())
kept = array("empty", 10**6)
kept[:] = 1.0
del kept
print(pool.held())
alive = array("empty", 500_000)
alive[:] = 2.0
if hasattr(os, "fork"):
    child = os.fork()
    if child == 0:
        other = array("zeros", 10**6)
        os._exit(0 if alive.sum() == 10**6 and not other.any() else 1)
    assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.parametrize(("given", "limit"), [("5000000", 5_000_000), ("x", 256 * MB), ("0", 0)])
def test_the_environment_sets_the_limit_and_processes_end_well(given, limit):
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(path=root)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "TRACEGRAD_POOL_BYTES": given},
    )
    assert done.returncode == 0, done.stderr
    found, held = map(int, done.stdout.split())
    assert found == limit
    assert held <= limit
    assert (held > 0) == (limit > 8 * MB)


def test_it_is_public():
    assert tg.pool.limit() == 256 * MB
    assert tg.pool.held() == 0
    tg.pool.clear()
