"""NumPy's sorting and searching in kernels: axes, ties, NaN, dtypes, nothing at all."""

import numpy as np
import pytest

from tracegrad.backend.compile import DEFAULT_FASTMATH, run_plain
from tracegrad.backend.native.kernel import compile_native
from tracegrad.backend.native.types import Unsupported


def check(expression, parameters, *arguments):
    source = f"import numpy as np\n\n\ndef f({parameters}):\n    y = {expression}\n    return y\n"
    signature = [(np.asarray(a).dtype, np.ndim(a)) for a in arguments]
    kernel = compile_native(source, "f", signature, sorted(DEFAULT_FASTMATH), None, "<text>")
    expected = run_plain(source, "f")(*arguments)
    given = [a.copy() if isinstance(a, np.ndarray) else a for a in arguments]
    found = kernel.call(*given)
    np.testing.assert_array_equal(found, expected)
    if isinstance(found, np.ndarray):
        assert found.dtype == expected.dtype
        assert found.flags.c_contiguous
    for before, after in zip(arguments, given, strict=True):
        np.testing.assert_array_equal(before, after)


def numbers(rng, *shape):
    """Few values, so that there are ties; some NaN, infinities and both zeros."""
    x = rng.integers(-20, 20, shape) / 4.0
    x[rng.random(shape) < 0.1] = np.nan
    x[rng.random(shape) < 0.05] = np.inf
    x[rng.random(shape) < 0.05] = -np.inf
    x[rng.random(shape) < 0.05] = -0.0
    return x


@pytest.mark.parametrize("shape", [(0,), (1,), (15,), (16,), (17,), (33,), (500,), (1000,)])
def test_vectors(shape):
    rng = np.random.default_rng(sum(shape))
    x = numbers(rng, *shape)
    check("np.argsort(x, kind='mergesort')", "x", x)
    check("np.sort(x)", "x", x)
    if x.size:
        check("np.argmax(x, axis=0)", "x", x)
        check("np.argmin(x)", "x", x)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("shape", [(2, 40, 3), (3, 1, 2), (4, 0, 2), (0, 3, 2)])
def test_axes(shape, axis):
    x = numbers(np.random.default_rng(axis), *shape)
    check(f"np.argsort(x, axis={axis}, kind='mergesort')", "x", x)
    check(f"np.sort(x, axis={axis - 3})", "x", x)
    if shape[axis]:
        check(f"np.argmax(x, axis={axis})", "x", x)
        check(f"np.argmin(x, axis={axis})", "x", x)


@pytest.mark.parametrize("dtype", [np.int64, np.float32, np.bool_, np.int8, np.uint64])
def test_dtypes(dtype):
    x = np.random.default_rng(0).integers(0, 50, 100).astype(dtype)
    for function in ("argsort(x, kind='mergesort')", "sort(x)", "argmax(x, axis=0)"):
        check(f"np.{function}", "x", x)


@pytest.mark.parametrize("dtype", [*"bhilBHILfd", "?"])
def test_many_ties_keep_their_order(dtype):
    x = np.random.default_rng(0).integers(0, 7, 3000).astype(dtype)
    check("np.argsort(x, kind='mergesort')", "x", x)
    check("np.sort(x)", "x", x)
    check("np.argsort(x, axis=0, kind='mergesort')", "x", x.reshape(-1, 3))
    check("np.sort(x, axis=0)", "x", x.reshape(-1, 3))


def test_places_within_an_expression():
    x = numbers(np.random.default_rng(1), 100)
    check("2 * np.argmin(x, axis=0) + np.searchsorted(x, 0.5)", "x", x)
    check("np.argmax(x)", "x", np.zeros(3, bool))


def test_nothing_has_no_largest():
    source = "import numpy as np\n\n\ndef f(x):\n    k = np.argmax(x, axis=0)\n    return k\n"
    made = compile_native(source, "f", [(np.dtype(float), 2)], [], None, "<text>").call
    assert made(np.zeros((0, 0))).shape == (0,)
    with pytest.raises(ValueError, match="empty sequence"):
        made(np.zeros((0, 2)))


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("size", [0, 1, 2, 9, 64])
def test_searchsorted(side, size):
    rng = np.random.default_rng(size)
    edges, values = np.sort(numbers(rng, size)), numbers(rng, 30, 2)
    check(f"np.searchsorted(a, v, side='{side}')", "a, v", edges, values)
    for v in (0.0, -100.0, float("nan"), float("inf")):
        check(f"np.searchsorted(a, v, side='{side}')", "a, v", edges, v)


@pytest.mark.parametrize("call", ["np.sort(x)", "np.argsort(x, axis=k)", "np.sort(x, order='a')"])
def test_other_forms_are_left_to_numba(call):
    with pytest.raises(Unsupported):
        check(call, "x, k", np.zeros((2, 2)), 1)
