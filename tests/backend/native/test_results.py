"""Small arrays that a kernel made are used again, where nobody could tell."""

import sys
import threading
import weakref

import numpy as np
import pytest

from tracegrad.backend import cache, compile
from tracegrad.backend.compile import compile_kernel
from tracegrad.backend.native import results

SOURCE = """\
import numpy as np


def f(x, k):
    n = x.shape[0]
    y = np.empty((n, k))
    z = np.zeros(k, np.float32)
    for i in range(n):
        for j in range(k):
            y[i, j] = x[i] + j
    if k > 2:
        z[0] += 1.0
    if k == 9:
        raise IndexError("index out of bounds")
    return y, z
"""
X = np.arange(4.0)
RIGHT = X[:, None] + np.arange(3.0)

pytestmark = pytest.mark.skipif(not results.KEEPS, reason="no array is kept here")


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    monkeypatch.setenv(cache.DIRECTORY_VARIABLE, str(tmp_path))
    monkeypatch.setenv(compile.COMPILER_VARIABLE, "native")
    compile._kernels.clear()
    made = compile_kernel(SOURCE, "f", ("float64[::1]", "int64"))
    assert made.native
    return made


def place(array):
    return array.__array_interface__["data"][0]


def test_what_nobody_holds_is_used_again(kernel):
    y, z = kernel(X, 3)
    places = place(y), place(z)
    del y, z
    y, z = kernel(X, 3)
    assert (place(y), place(z)) == places
    np.testing.assert_array_equal(y, RIGHT)
    np.testing.assert_array_equal(z, [1, 0, 0])
    assert sys.getrefcount(y) == 3  # the name, the call, and the kernel


HELD = {
    "by a name": lambda y: y,
    "by a view": lambda y: y[1:],
    "by a list": lambda y: [y],
    "as memory": memoryview,
    "weakly": weakref.ref,
}


@pytest.mark.parametrize("how", HELD)
def test_what_somebody_holds_is_left_alone(kernel, how):
    y, _ = kernel(X, 3)
    was = place(y)
    held = HELD[how](y)
    del y
    other, _ = kernel(X + 1.0, 3)
    if how != "weakly":
        assert place(other) != was
        found = np.asarray(held[0] if how == "by a list" else held)
        np.testing.assert_array_equal(found, RIGHT[1:] if how == "by a view" else RIGHT)
    else:
        assert held() is not other
    np.testing.assert_array_equal(other, RIGHT + 1.0)


def change_shape(y):
    y.shape = (12,)


def change_dtype(y):
    y.dtype = np.int64


def change_strides(y):
    y.resize((3, 4), refcheck=False)


CHANGED = {
    "read-only": lambda y: y.setflags(write=False),
    "shape": change_shape,
    "dtype": change_dtype,
    "size": change_strides,
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("what", CHANGED)
def test_what_was_changed_is_not_used_again(kernel, what):
    y, _ = kernel(X, 3)
    CHANGED[what](y)
    del y
    y, _ = kernel(X, 3)
    assert (y.shape, y.dtype, y.flags.writeable) == ((4, 3), np.float64, True)
    np.testing.assert_array_equal(y, RIGHT)


def test_sizes_may_change_from_call_to_call(kernel):
    for n, k in ((4, 3), (2, 3), (0, 3), (4, 0), (4, 3)):
        y, z = kernel(np.arange(float(n)), k)
        np.testing.assert_array_equal(y, np.arange(float(n))[:, None] + np.arange(float(k)))
        assert (y.shape, z.shape) == ((n, k), (k,))


def test_large_arrays_are_the_callers_alone(kernel):
    x = np.zeros(results.MOST_KEPT)
    y, z = kernel(x, 3)
    assert (sys.getrefcount(y), sys.getrefcount(z)) == (2, 3)


def test_a_result_may_be_the_next_argument(kernel):
    x = X
    for _ in range(3):
        y, _ = kernel(x, 1)
        x = y[:, 0].copy()
    np.testing.assert_array_equal(x, X)
    source = SOURCE.replace("return y, z", "return x.copy()")
    same = compile_kernel(source, "f", ("float64[::1]", "int64"))
    np.testing.assert_array_equal(same(same(same(X, 1), 1), 1), X)


def test_a_call_that_fails_leaves_nothing_half_done(kernel):
    for _ in range(3):
        with pytest.raises(IndexError):
            kernel(X, 9)
        y, z = kernel(X, 3)
        np.testing.assert_array_equal(y, RIGHT)
        np.testing.assert_array_equal(z, [1, 0, 0])


def test_threads_get_arrays_of_their_own(kernel):
    wrong = []

    def run(shift):
        for _ in range(500):
            y, _ = kernel(X + shift, 3)
            if not np.array_equal(y, RIGHT + shift):
                wrong.append(shift)

    threads = [threading.Thread(target=run, args=(float(k),)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


STACK = """\
import numpy as np


def f(x, n, trips):
    total = 0.0
    for t in range(trips):
        a = np.zeros(n)
        b = np.empty(n)
        for i in range(n):
            b[i] = x[i] + t
        for i in range(n):
            a[i] += b[i] * 2.0
        for i in range(n):
            total += a[i]
    return total
"""


@pytest.mark.parametrize("n", [0, 1, 40, 300, 600])
def test_scratch_arrays_on_the_stack_and_off_it_are_the_same(n, tmp_path, monkeypatch):
    """Each trip takes new ones: the first stand on the stack, as many as fit."""
    monkeypatch.setenv(cache.DIRECTORY_VARIABLE, str(tmp_path))
    monkeypatch.setenv(compile.COMPILER_VARIABLE, "native")
    made = compile_kernel(STACK, "f", ("float64[::1]", "int64", "int64"))
    x = np.random.default_rng(n).normal(size=n)
    for trips in (0, 1, 2, 50):
        right = 2.0 * (x[:, None] + np.arange(trips)).sum()
        assert np.isclose(made(x, n, trips), right, rtol=1e-12, atol=1e-12)
