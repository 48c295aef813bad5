"""``parallel=True``: what serial kernels give, the same bits at each call, errors of chunks."""

import threading

import numpy as np
import pytest

import tracegrad as tg
from tests.eager_threads import eager_threads
from tracegrad.backend import threads
from tracegrad.testing.numerics import assert_close


def elementwise(x, w):
    return np.sum(np.exp(-x * x) * w) + np.sum(w)


def logistic(w, X, y):
    return np.mean(np.log1p(np.exp(-y * (X @ w))))


def gathered(x, w, at):
    total = 0.0
    for i in range(len(at)):
        total += np.sin(x[at[i]]) * w[at[i]] / (1.0 + x[at[i]] ** 2)
    return total


def pairs(x, w):
    total = 0.0
    for i in range(len(x)):
        for j in range(i + 1, len(x)):
            total += w[i] * w[j] * np.exp(-((x[i] - x[j]) ** 2))
    return total


def newton(x, w):
    total = 0.0
    for i in range(len(x)):
        y = x[i]
        while abs(y * y - 2.0) > 1e-10:
            y = 0.5 * (y + 2.0 / y)
        total += y * w[i]
    return total


def greatest(x, w):
    best = -np.inf
    for i in range(len(x)):
        best = max(best, x[i] * w[i])
    return best


def scratch(x, w):
    total = 0.0
    for i in range(len(x)):
        row = np.zeros(3)
        row[0] = x[i]
        for k in range(1, 3):
            row[k] = row[k - 1] * w[i] + x[i]
        total += np.sum(row) ** 2
    return total


def vectors(rng, n, dtype=float):
    return 1.5 + rng.random(n).astype(dtype), rng.random(n).astype(dtype)


def design(rng, n, dtype=float):
    return (
        rng.normal(size=3).astype(dtype),
        rng.normal(size=(n, 3)).astype(dtype),
        np.ones(n, dtype),
    )


def places(rng, n, dtype=float):
    return *vectors(rng, 7, dtype), rng.integers(0, 7, n)


PROGRAMS = {
    elementwise: vectors,
    logistic: design,
    gathered: places,
    pairs: vectors,
    newton: vectors,
    scratch: vectors,
}


def gradients(fun, inputs, **options):
    floats = [i for i, a in enumerate(inputs(np.random.default_rng(0), 3)) if a.dtype.kind == "f"]
    return tg.value_and_grad(fun, argnums=tuple(floats), **options)


def leaves(result):
    value, bars = result
    return [np.asarray(value), *bars]


@pytest.mark.parametrize(
    ("fun", "dtype"),
    [*((fun, float) for fun in PROGRAMS), (logistic, np.float32)],
    ids=lambda each: each.__name__,
)
def test_chunks_give_what_one_loop_gives_and_the_same_at_each_call(fun, dtype):
    inputs = PROGRAMS[fun]
    serial = gradients(fun, inputs)
    tolerance = 1e-12 if dtype is float else 3e-5
    with eager_threads(3):
        parallel = gradients(fun, inputs, parallel=True)
        for n in (2000, 1, 2, 5, 300):
            rng = np.random.default_rng(n)
            args = inputs(rng, n, dtype)
            expected, found = leaves(serial(*args)), leaves(parallel(*args))
            for a, b in zip(found, expected, strict=True):
                assert a.dtype == b.dtype == dtype
                assert_close(a, b, tolerance, f"n = {n}")
            for _ in range(20):
                again = leaves(parallel(*args))
                assert all(np.array_equal(a, b) for a, b in zip(found, again, strict=True))
        assert parallel.lower(*args).loop_form.parts


def test_the_bits_depend_on_the_number_of_threads_alone():
    x, w = vectors(np.random.default_rng(0), 5000)
    with eager_threads(1):
        found = {}
        kernel = tg.value_and_grad(elementwise, parallel=True)
        for number in (1, 2, 7, 1, 7, 2):
            tg.set_num_threads(number)
            value = kernel(x, w)[0]
            assert found.setdefault(number, value) == value
    assert kernel(x[:0], w[:0])[0] == 0.0


def test_small_loops_are_run_as_a_whole():
    saved = tg.get_num_threads()
    try:
        tg.set_num_threads(64)
        for trips, chunks in ((0, 0), (3, 1), (10**3, 1), (10**4, 15), (10**6, 64)):
            assert threads.chunk_count(trips, 30 * trips) == chunks
    finally:
        tg.set_num_threads(saved)


def test_an_error_in_a_chunk_reaches_the_caller():
    x, w = np.ones(5), np.ones(5)
    at = np.zeros(1000, int)
    with eager_threads(4):
        kernel = tg.value_and_grad(gathered, parallel=True)
        expected = kernel(x, w, at)[0]
        for bad in (999, 0, 500):
            wrong = at.copy()
            wrong[bad] = 5
            with pytest.raises(IndexError, match="out of bounds"):
                kernel(x, w, wrong)
        assert kernel(x, w, at)[0] == expected


def test_second_derivatives():
    x, w = vectors(np.random.default_rng(0), 400)
    v = np.random.default_rng(1).normal(size=400)

    def along(fun, **options):
        return tg.grad(lambda x, w: np.sum(tg.grad(fun)(x, w) * v), **options)

    with eager_threads(3):
        for fun in (elementwise, pairs):
            assert_close(along(fun, parallel=True)(x, w), along(fun)(x, w), 1e-11, fun.__name__)


def test_users_threads_may_call_at_once():
    x, w = vectors(np.random.default_rng(0), 20_000)
    with eager_threads(4):
        kernel = tg.value_and_grad(elementwise, parallel=True, nogil=True)
        expected = kernel(x, w)[0]
        found = []
        workers = [
            threading.Thread(target=lambda: found.extend(kernel(x, w)[0] for _ in range(50)))
            for _ in range(4)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    assert found == [expected] * 200


def test_into_given_arrays():
    x, w = vectors(np.random.default_rng(0), 3000)
    with eager_threads(3):
        kernel = tg.value_and_grad(elementwise, argnums=(0, 1), parallel=True)
        value, bars = kernel(x, w)
        given = (np.full(3000, np.nan), np.full(3000, np.nan))
        assert kernel.into(x, w, out=given)[0] == value
        assert all(np.array_equal(a, b) for a, b in zip(given, bars, strict=True))


def test_explain_says_which_loops_are_split_and_why_others_are_not():
    def program(x):
        y = np.zeros(len(x))
        y[0] = x[0]
        for i in range(1, len(x)):
            y[i] = np.tanh(y[i - 1]) + x[i]
        total = 0.0
        for i in range(len(x)):
            total += np.exp(y[i]) * x[i]
        return total

    shown = tg.jit(program, parallel=True).explain(np.ones(100_000))
    assert "serial: trips read and write y, perhaps at the same places" in shown
    assert "): in chunks\n" in shown
    assert "threads" not in tg.jit(program).explain(np.ones(100_000))


def test_the_source_says_what_is_done_in_chunks():
    source = tg.jit(elementwise, parallel=True).inspect_source(np.ones(9), np.ones(9))
    assert "# parallel: loops in chunks" in source
    assert "def loop_1(start, stop, " in source
    assert "in_parallel(loop_1, chunks, 0, n, " in source
    assert "in_parallel" not in tg.jit(elementwise).inspect_source(np.ones(9), np.ones(9))


# --- what must not be split ---------------------------------------------------------------------


def prefix(x):
    y = np.zeros(len(x))
    for i in range(1, len(x)):
        y[i] = y[i - 1] + x[i]
    return np.sum(y * y)


def shifted(x):
    y = np.ones(len(x))
    for i in range(len(x) - 1):
        y[i + 1] = x[i] * y[i]
    return y[len(x) - 1]


def last_wins(x, at):
    y = np.zeros(len(x))
    for i in range(len(at)):
        y[at[i]] = np.sin(x[i])
    return np.sum(y)


def wrapped(x):
    y = np.zeros(len(x))
    for i in range(len(x)):
        y[i - 1] = y[i] * 0.5 + np.cos(x[i])
    return np.sum(y)


def product_and_sum(x):
    s = 1.0
    for i in range(len(x)):
        s = s * 0.9 + x[i]
    return s


def counted_out(x):
    total = 0.0
    for i in range(len(x)):
        total += np.sin(total) + x[i]
    return total


def reused(x):
    tmp = np.zeros(2)
    total = 0.0
    for i in range(len(x)):
        total += tmp[0] * x[i]
        tmp[0] = x[i]
    return total


@pytest.mark.parametrize(
    "fun", [prefix, shifted, last_wins, wrapped, product_and_sum, counted_out, reused]
)
def test_trips_that_need_each_other_stay_in_one_loop(fun):
    x = np.linspace(0.5, 1.5, 50)
    args = (x, np.arange(50) % 7) if fun is last_wins else (x,)
    with eager_threads(3):
        shown = tg.jit(fun, parallel=True).explain(*args)
    assert "serial: trips" in shown or "serial: it carries" in shown


def test_verbs_that_take_the_function_at_each_call_may_be_parallel_too():
    x, w = vectors(np.random.default_rng(0), 300)
    with eager_threads(3):
        out, pullback = tg.vjp(elementwise, x, w, parallel=True)
        expected, serial = tg.vjp(elementwise, x, w)
        assert_close(out, expected, 1e-13, "vjp")
        assert "in_parallel" in pullback.source
        assert "in_parallel" not in serial.source
        for found, bar in zip(pullback(2.0), serial(2.0), strict=True):
            assert_close(found, bar, 1e-13, "pullback")
        _, f_jvp = tg.linearize(elementwise, x, w, parallel=True)
        assert "in_parallel" in f_jvp.source
        dots = (np.ones(300), w)
        along = tg.jvp(elementwise, (x, w), dots)[1]
        assert_close(f_jvp(*dots), along, 1e-13, "linearize")
        assert_close(tg.jvp(elementwise, (x, w), dots, parallel=True)[1], along, 1e-13, "jvp")
        product = tg.hvp(elementwise, (x, w), dots)
        for found, part in zip(
            tg.hvp(elementwise, (x, w), dots, parallel=True), product, strict=True
        ):
            assert_close(found, part, 1e-13, "hvp")
        mapped = tg.vmap(lambda a: np.sin(a) * a, parallel=True)
        assert_close(mapped(x), np.sin(x) * x, 1e-13, "vmap")
        assert "in_parallel" in mapped.inspect_source(x)
