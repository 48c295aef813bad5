"""Arrays that grow: rows are zero, nobody else's memory is used, a second call allocates once."""

import ctypes

import numpy as np
import pytest

from tracegrad.backend.compile import run_plain
from tracegrad.backend.native import externals
from tracegrad.backend.native.kernel import compile_native

GROWS = """import numpy as np

from tracegrad.backend import runtime


def f(x, trips):
    tape = np.zeros((4, x.shape[0]))
    for t in range(trips):
        tape = runtime.ensure(tape, t + 1)
        for i in range(x.shape[0]):
            tape[t, i] = x[i] + t
    total = 0.0
    for t in range(tape.shape[0]):
        for i in range(x.shape[0]):
            total += tape[t, i]
    return total, tape.shape[0]
"""

LENGTHENS = """import numpy as np

from tracegrad.backend import runtime


def f(x, length):
    tape = runtime.ensure(x, length)
    total = 0.0
    for t in range(tape.shape[0]):
        total += tape[t] * (t + 1)
    return total, tape.shape[0]
"""


def native(source):
    signature = [(np.dtype(np.float64), 1), (np.dtype(np.int64), 0)]
    return compile_native(source, "f", signature, [], None, "<text>").call


@pytest.fixture
def allocations(monkeypatch):
    """The bytes of each allocation that kernels make which are loaded from now on."""
    seen, held = [], []
    make = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_int64)
    real = externals.address

    def address(name):
        if name not in ("pool.malloc", "PyMem_RawMalloc"):
            return real(name)
        original = make(real(name))

        def counted(size):
            seen.append(size)
            return original(size)

        held.append(make(counted))
        return ctypes.cast(held[-1], ctypes.c_void_p).value

    monkeypatch.setattr(externals, "address", address)
    return seen


@pytest.mark.parametrize("width", [1, 3, 0])
def test_rows_are_zero_until_they_are_written(width):
    f, plain = native(GROWS), run_plain(GROWS, "f")
    x = np.arange(float(width)) + 1.0
    for trips in (0, 3, 5, 40_000, 5, 9, 70_000, 0, 100, 70_000, 1):
        assert f(x, trips) == plain(x, trips)


def test_the_array_of_a_caller_is_left_as_it_is():
    f, plain = native(LENGTHENS), run_plain(LENGTHENS, "f")
    big = np.full(1000, 7.0)
    x = big[:10]
    for length in (3, 10, 11, 500, 20_000, 12):
        assert f(x, length) == plain(x, length)
    assert np.all(big == 7.0)


def test_a_second_call_allocates_once(allocations):
    f = native(GROWS)
    x = np.ones(3)
    first = f(x, 20_000)
    assert len(allocations) > 5
    for _ in range(3):
        allocations.clear()
        assert f(x, 20_000) == first
        assert len(allocations) == 1
    # What one call needed is not asked for by all that follow.
    for _ in range(80):
        allocations.clear()
        f(x, 20)
    assert max(allocations, default=0) < 20_000
    with pytest.raises(ValueError, match="too big"):
        native(LENGTHENS)(x, 1 << 61)
