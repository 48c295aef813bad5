"""The pool of threads, and what kernels call to use it."""

import ctypes
import os
import subprocess
import sys
import threading
import time

import numba
import numpy as np
import pytest

import tracegrad as tg
from tests.eager_threads import eager_threads
from tracegrad.backend import threads
from tracegrad.backend.threads import chunk_count, in_parallel, natural, pool
from tracegrad.errors import ArgumentError


@numba.njit
def loop(start, stop, x, out, bad):
    total = 0.0
    for i in range(natural(start), natural(stop)):
        if i == bad:
            raise IndexError("the bad one")
        if i == bad + 50:
            raise ValueError("a later one")
        out[i % len(out)] += x[i]
        total += x[i]
    return total, start


@numba.njit(nogil=True)
def chunked(x, out, bad, chunks):
    sums, starts = np.empty(chunks), np.empty(chunks, np.int64)
    rows = np.zeros((max(chunks - 1, 0), len(out)))
    in_parallel(loop, chunks, 0, len(x), (x, (out, rows), bad), (sums, starts))
    for c in range(chunks - 1):
        for j in range(len(out)):
            out[j] += rows[c, j]
    return sums.sum(), starts


@numba.njit
def count(trips, work, own):
    return chunk_count(trips, work, own)


@pytest.fixture(scope="module", autouse=True)
def compiled():
    from tracegrad.backend.threads import calls  # noqa: F401  # registers them

    return chunked(np.ones(8), np.zeros(3), -100, 2)


@pytest.mark.parametrize("chunks", [0, 1, 2, 3, 7, 100])
def test_all_trips_are_run_once_whatever_the_chunks(chunks):
    x, out = np.arange(100.0), np.zeros(9)
    total, starts = chunked(x, out, -100, chunks)
    expected = np.array([x[k::9].sum() for k in range(9)]) if chunks else np.zeros(9)
    assert total == expected.sum()
    assert np.array_equal(out, expected)
    assert np.array_equal(starts, [100 * c // chunks for c in range(chunks)])


@pytest.mark.parametrize("chunks", [1, 2, 5])
def test_the_first_error_in_the_order_of_the_trips_is_raised(chunks):
    with pytest.raises(IndexError, match="the bad one"):
        chunked(np.ones(100), np.zeros(3), 30, chunks)
    assert chunked(np.ones(100), np.zeros(3), -100, chunks)[0] == 100.0


def test_plain_python_gives_the_same():
    x, out, plain = np.arange(100.0), np.zeros(9), np.zeros(9)
    total, _ = chunked(x, out, -100, 3)
    sums, rows = np.empty(3), np.zeros((2, 9))
    pair = (plain, rows)
    in_parallel(loop.py_func, 3, 0, 100, (x, pair, -100), (sums, np.empty(3, np.int64)))
    assert np.array_equal(plain + rows[0] + rows[1], out)
    assert sums.sum() == total


def test_the_number_of_chunks_is_the_same_compiled():
    saved = threads.get_num_threads()
    try:
        for number in (1, 3, 256):
            tg.set_num_threads(number)
            for trips in (-1, 0, 1, 2, 1000):
                for work in (0, 19_999, 40_000, 10**7, 10**12):
                    for own in (0, 1, 1000, 10**6):
                        assert count(trips, work, own) == chunk_count(trips, work, own)
    finally:
        tg.set_num_threads(saved)


def test_many_threads_of_the_users_at_once_get_the_same():
    x = np.random.default_rng(0).normal(size=10_000)
    expected = chunked(x, np.zeros(3), -100, 4)[0]
    found = []

    def work():
        for _ in range(200):
            found.append(chunked(x, np.zeros(3), -100, 4)[0])

    workers = [threading.Thread(target=work) for _ in range(5)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert found == [expected] * 1000


Chunk = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)


def job(pause=0.0):
    """A job of two chunks for the pool itself; says whether a worker ran one of them."""
    who = []

    def chunk(_, number):
        who.append(threading.get_ident())
        if pause:
            time.sleep(pause)

    kept = Chunk(chunk)
    run = ctypes.CFUNCTYPE(None, Chunk, ctypes.c_void_p, ctypes.c_int64)(pool.address("run"))

    def start():
        who.clear()
        run(kept, None, 2)
        assert len(who) == 2
        return any(each != threading.get_ident() for each in who)

    return start


several_cores = pytest.mark.skipif(threads.cores() < 2, reason="there are no workers")


def soon(happened):
    """Try until it happens: a busy machine may keep workers waiting, or a chunk."""
    end = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < end


@several_cores
def test_a_long_job_wakes_workers():
    start = job(pause=0.01)

    def helped_after_sleep():
        time.sleep(0.002)
        return start()

    soon(helped_after_sleep)


@several_cores
def test_a_short_job_alone_wakes_nobody():
    def helped_never():
        start = job()
        found = []
        for _ in range(40):
            time.sleep(0.002)
            found.append(start())
        return not any(found[10:])

    soon(helped_never)


@several_cores
def test_short_jobs_one_after_the_other_wake_workers():
    start = job()
    soon(lambda: start() and start())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_starts_threads_of_its_own():
    x = np.arange(1000.0)
    expected = chunked(x, np.zeros(3), -100, 4)[0]
    child = os.fork()
    if child == 0:
        os._exit(int(chunked(x, np.zeros(3), -100, 4)[0] != expected))
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def test_the_environment_says_how_many_threads_there_are():
    script = "import tracegrad as tg; print(tg.get_num_threads())"

    def found(**variables):
        environment = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
        command = [sys.executable, "-c", script]
        out = subprocess.run(
            command, env={**environment, **variables}, capture_output=True, text=True, check=True
        )
        return int(out.stdout)

    assert found(NUMBA_NUM_THREADS="3") == 3
    assert found(NUMBA_NUM_THREADS="3", TRACEGRAD_NUM_THREADS="5") == 5
    assert found() == threads.cores()


@pytest.mark.parametrize("number", [0, -1, 257, 1.0, True, "2"])
def test_a_number_of_threads_that_makes_no_sense_is_refused(number):
    with pytest.raises(ArgumentError, match="from 1 to 256"):
        tg.set_num_threads(number)


def test_tests_can_ask_for_chunks_at_any_price():
    with eager_threads(3):
        assert count(10, 1, 10**9) == chunk_count(10, 1, 10**9) == 1
        assert count(10, 3, 10**9) == chunk_count(10, 3, 10**9) == 3
