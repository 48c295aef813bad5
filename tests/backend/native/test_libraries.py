"""Which library gives the functions of BLAS and LAPACK."""

import ctypes
import subprocess
import sys

import numpy as np
import pytest

from tracegrad.backend.native import libraries


@pytest.fixture
def without_wheels(monkeypatch):
    """As on a system whose SciPy is linked with a library of its own."""
    monkeypatch.setattr(libraries, "_files", lambda: iter(()))
    libraries._library.cache_clear()
    yield
    libraries._library.cache_clear()


def product(address, size):
    """A product of two matrices by ``dgemm`` at an address."""
    integer = {4: ctypes.c_int32, 8: ctypes.c_int64}[size]
    function = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 13)(address)
    a, b, out = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[0.0, 1.0], [1.0, 1.0]]), np.ones(4)
    n, one, zero = integer(2), ctypes.c_double(1.0), ctypes.c_double(0.0)
    letter = ctypes.c_char(b"N")
    given = [letter, letter, n, n, n, one, b, n, a, n, zero, out, n]
    places = [x.ctypes.data if isinstance(x, np.ndarray) else ctypes.addressof(x) for x in given]
    function(*places)
    return out.reshape(2, 2), a @ b


def test_a_function_is_found_and_called():
    size = libraries.address("lapack.integer_size")
    found, expected = product(libraries.address("blas.dgemm"), size)
    np.testing.assert_array_equal(found, expected)
    assert libraries.address("lapack.dpotrf")
    assert libraries.address("lapack.sgesdd")


def test_without_wheels_scipy_says_what_it_is_linked_with(without_wheels):
    assert libraries.address("lapack.integer_size") == 4
    found, expected = product(libraries.address("blas.dgemm"), 4)
    np.testing.assert_array_equal(found, expected)
    assert libraries.address("lapack.dpotrf")
    assert libraries.address("lapack.sgesdd")


def test_an_unknown_function_is_an_error():
    with pytest.raises((AttributeError, KeyError)):
        libraries.address("lapack.nothing")


def test_the_wheel_s_library_is_loaded_without_scipy():
    text = """
        import sys
        from tracegrad.backend.native import libraries
        libraries.address("blas.dgemm")
        print(libraries._library().functions is None or "scipy.linalg" not in sys.modules)
        """
    lines = "\n".join(line.strip() for line in text.splitlines())
    found = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True)
    assert found.stdout.strip() == "True", found.stderr
