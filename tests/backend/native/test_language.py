"""Every construct of the printed language: compiled it means what Python and Numba make of it."""

import math
import textwrap

import numpy as np
import pytest

from tracegrad.backend.compile import (
    DEFAULT_FASTMATH,
    KernelOptions,
    array_type,
    compile_kernel,
    run_plain,
    scalar_type,
)
from tracegrad.backend.native.kernel import Settings, compile_native, optimised_text
from tracegrad.backend.native.types import Unsupported

IMPORTS = """\
import math

import numpy as np

from tracegrad.backend import runtime
from tracegrad.backend.memory import large_empty, overlap
from tracegrad.errors import GuardFailed
"""


def text(body, parameters):
    return f"{IMPORTS}\n\ndef f({parameters}):\n{textwrap.indent(textwrap.dedent(body), '    ')}\n"


def signature_of(arguments):
    return [
        (np.asarray(a).dtype, np.asarray(a).ndim if isinstance(a, np.ndarray) else 0)
        for a in arguments
    ]


def native(body, parameters, *arguments):
    source = text(body, parameters)
    flags = sorted(DEFAULT_FASTMATH)
    return compile_native(source, "f", signature_of(arguments), flags, None, "<text>").call


def check(body, parameters, *arguments):
    """Run ``body`` by both compilers and by Python, and compare."""
    found = native(body, parameters, *arguments)(*map(copied, arguments))
    plain = run_plain(text(body, parameters), "f")(*map(copied, arguments))
    same(found, plain)
    return found


def copied(x):
    return x.copy() if isinstance(x, np.ndarray) else x


def same(found, expected):
    if isinstance(expected, tuple):
        assert isinstance(found, tuple)
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            same(one, other)
        return
    if isinstance(expected, np.ndarray):
        assert found.dtype == expected.dtype
        assert found.shape == expected.shape
        assert found.flags.c_contiguous
        assert found.flags.owndata
    np.testing.assert_allclose(found, expected, rtol=1e-14, atol=0)


VECTOR = np.array([1.5, -2.0, 0.25, 4.0])
MATRIX = np.arange(12.0).reshape(3, 4)

PROGRAMS = {
    "numbers": ("return a + b * 2.0 - a / b, -a, +3, not a, a < b", "a, b", 2.0, 5.0),
    "elements": (
        "y = np.empty(4)\nfor i in range(4):\n    y[i] = x[i] * 2.0\nreturn y",
        *("x", VECTOR),
    ),
    "sizes": ("n, m = x.shape\nreturn n, m, x.shape[0], x.shape[-1], len(x), x.size", "x", MATRIX),
    "negative indices": ("return x[-1] + x[-4], x[k - 3]", "x, k", VECTOR, 1),
    "in place": ("y = np.zeros(4)\ny[1] += 2.0\ny[-1] -= 1.0\ny[1] *= 3.0\nreturn y", "x", VECTOR),
    "rank 0": ("s = np.empty(())\ns[()] = 2.0\ns[()] += a\nreturn s[()]", "a", 1.0),
    "rank 3": (
        """
        y = np.zeros((2, 3, 4))
        for i in range(2):
            for j in range(3):
                for k in range(4):
                    y[i, j, k] = x[j, k] * (i + 1)
        return y
        """,
        *("x", MATRIX),
    ),
    "downwards": (
        "s = 0.0\nfor i in range(3, -1, -1):\n    s = s * 0.5 + x[i]\nreturn s",
        *("x", VECTOR),
    ),
    "steps": ("s = 0\nfor i in range(1, n, 3):\n    s = s * 7 + i\nreturn s", "n", 17),
    "any step": (
        "s = 0\nfor i in range(1, n, k):\n    s = s * 7 + i\nfor i in range(n, 0, -k):\n"
        "    s = s * 7 + i\nfor i in range(n, 0, k):\n    s += 1\nreturn s",
        *("n, k", 17, 4),
    ),
    "no trips": ("s = 1\nfor i in range(n, 0):\n    s = 2\nreturn s", "n", 4),
    "while": ("k = 0\nwhile k * k < n:\n    k += 1\nreturn k", "n", 50),
    "break": (
        """
        k = 0
        while True:
            k += 1
            if k > 3 and x[k % 4] > 0.0:
                break
        return k
        """,
        *("x", VECTOR),
    ),
    "continue": (
        "s = 0\nfor i in range(9):\n    if i % 2 == 0:\n        continue\n    s += i\nreturn s",
        *("x", 1.0),
    ),
    "branches": (
        """
        if a > 1.0:
            y = 2.0
        elif a > 0.0 or b == 3:
            y = 3.0
        else:
            y = 4.0
        return y
        """,
        *("a, b", 0.5, 3),
    ),
    "choices": (
        "return (x[0] if a > 0.0 else x[1]), (1 if a > 9.0 else 2), (a if a > 0.0 else 1)",
        *("x, a", VECTOR, 0.5),
    ),
    "chains": ("return 0 <= k < 3, 0 <= k < len(x) - 3, 1 < 2 < k", "x, k", VECTOR, 2),
    "integers": (
        "return k // n, k % n, -k // n, -k % n, k // -n, k % -n, k & n, k | n, k ^ n, k << 2",
        *("k, n", 17, 5),
    ),
    "quotients": ("return a // b, a % b, -a // b, -a % b, a // -b, a % -b", "a, b", 7.5, 2.0),
    "extrema": ("return max(k, n), min(k, n), max(k, 3, n), abs(-k)", "k, n", 17, 5),
    "casts": (
        "return np.float64(k), np.int64(a), np.int32(k), np.float32(a), float(k), int(a), a != 0",
        *("a, k", -2.5, 3),
    ),
    "truth": ("t = a > 0.0\nu = t & (k == 3) | (not t)\nreturn t, u, u ^ t", "a, k", 1.0, 4),
    "truth in arrays": (
        "m = np.empty(4, np.bool_)\nfor i in range(4):\n    m[i] = x[i] > 0.0\nreturn m, m[1]",
        *("x", VECTOR),
    ),
    "exchange": (
        """
        a = np.zeros(4)
        b = np.empty(4)
        for i in range(4):
            b[i] = x[i]
        for t in range(3):
            for i in range(4):
                a[i] = b[i] + t
            a, b = b, a
        return a, b
        """,
        *("x", VECTOR),
    ),
    "rotation": ("a, b, c = 1.0, 2.0, y\na, b, c = b, c, a\nreturn a, b, c", "y", 3.0),
    "another name": (
        "a = np.zeros(4)\nb = a\nb[1] = x[0]\na = np.empty(2)\na[0] = 1.0\nreturn b",
        *("x", VECTOR),
    ),
    "copies": ("return x.copy(), x[0]", "x", VECTOR),
    "shapes": ("y = x.reshape((2, 6))\nz = y.reshape(12)\nreturn z[5], y[1, 0]", "x", MATRIX),
    "filled": (
        "y = large_empty((2, 3))\ny.fill(0)\nz = large_empty(3)\nz[0] = 1.0\nreturn y, z[0]",
        "x",
        VECTOR,
    ),
    "growth": (
        """
        tape = np.empty(0)
        for i in range(n):
            if len(tape) < i + 1:
                tape = runtime.ensure(tape, i + 1)
            tape[i] = i * 0.5
        return tape.copy(), len(tape)
        """,
        *("n", 11),
    ),
    "growth under a condition": (
        "t = np.zeros(n)\nt = t if len(t) >= 3 else runtime.ensure(t, 3)\nreturn len(t)",
        *("n", 2),
    ),
    "positions": (
        "m = np.empty(4, np.bool_)\nfor i in range(4):\n    m[i] = x[i] > 0.0\n"
        "at = np.flatnonzero(m)\nreturn at.copy(), at.shape[0]",
        *("x", VECTOR),
    ),
    "products": (
        """
        p = np.empty((3, 3))
        q = np.empty((4, 4))
        np.dot(x, x.T, p)
        np.dot(x.T, x, q)
        r = np.empty((3, 3))
        np.dot(p, p, r)
        return p, q, r
        """,
        *("x", MATRIX),
    ),
    "a matrix and a vector": (
        "p = np.empty(3)\nq = np.empty(4)\nnp.dot(x, v, p)\nnp.dot(x.T, p, q)\nreturn p, q",
        *("x, v", MATRIX, VECTOR),
    ),
    "an empty product": (
        "p = np.empty((3, 2))\nnp.dot(x, y, p)\nreturn p",
        *("x, y", np.empty((3, 0)), np.empty((0, 2))),
    ),
    "overlap": ("return overlap((x, y), (z,)), overlap((x,), (y,))", "x, y, z", *[VECTOR] * 3),
    "two meanings": (
        """
        for i in range(2):
            y = x[i] * 2.0
            z = y + 1.0
        y = np.empty(3)
        for i in range(3):
            y[i] = z
        return y
        """,
        *("x", VECTOR),
    ),
    "no result": ("pass", "x", 1.0),
    "arrays in branches": (
        """
        if a > 0.0:
            y = np.zeros(3)
        else:
            y = np.zeros(2)
        return y
        """,
        *("a", 1.0),
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_it_means_what_python_says(name):
    body, parameters, *arguments = PROGRAMS[name]
    if name == "no result":
        assert native(body, parameters, *arguments)(*arguments) is None
        return
    check(body, parameters, *arguments)


def test_it_means_what_numba_says(monkeypatch):
    # One module for all that Numba takes: it compiles few large functions faster than many.
    cases = {"numbers", "integers", "quotients", "casts", "truth", "choices", "branches", "steps"}
    for name in sorted(cases):
        body, parameters, *arguments = PROGRAMS[name]
        source = text(body, parameters)
        types = [
            array_type(dtype, rank) if rank else scalar_type(dtype)
            for dtype, rank in signature_of(arguments)
        ]
        monkeypatch.setenv("TRACEGRAD_COMPILER", "numba")
        by_numba = compile_kernel(source, "f", types, options=KernelOptions(cache=False))
        monkeypatch.setenv("TRACEGRAD_COMPILER", "native")
        ours = compile_kernel(source, "f", types, options=KernelOptions(cache=False))
        assert ours.native
        assert not by_numba.native
        expected, found = by_numba(*arguments), ours(*arguments)
        assert list(map(type, found if type(found) is tuple else (found,))) == list(
            map(type, expected if type(expected) is tuple else (expected,))
        )
        same(found, expected)


@pytest.mark.parametrize(
    ("k", "n"), [(7, 0), (-(2**63), -1), (0, 5), (-7, 7), (2**62, 3), (-(2**63), 3), (5, -5)]
)
def test_integer_quotients_at_the_edges(k, n):
    quotient, rest = native("return k // n, k % n", "k, n", 1, 1)(k, n)
    if n == 0:
        assert (quotient, rest) == (0, 0)
    elif k == -(2**63) and n == -1:
        assert (quotient, rest) == (k, 0)  # 2**63, in 64 bits
    else:
        assert (quotient, rest) == divmod(k, n)


@pytest.mark.parametrize("a", [0.0, -0.0, 1.0, -7.5, math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("b", [0.0, 2.0, -2.0, math.inf, -math.inf, math.nan])
def test_float_quotients_at_the_edges(a, b):
    found = native("return a // b, a % b, a / b", "a, b", 1.0, 1.0)(a, b)
    with np.errstate(all="ignore"):
        x, y = np.float64(a), np.float64(b)
        expected = (x // y, x % y, x / y)
    if b == 0.0 or math.isnan(a) or math.isnan(b) or math.isinf(a):
        assert [math.isfinite(f) for f in found] == [bool(np.isfinite(e)) for e in expected]
        return
    np.testing.assert_array_equal(found, expected)


def test_a_step_of_zero_is_an_error():
    with pytest.raises(ValueError, match="must not be zero"):
        native("for i in range(0, 3, k):\n    pass\nreturn k", "k", 1)(0)


def test_integers_wrap():
    assert native("return k + n, k * n, -k", "k, n", 1, 1)(2**63 - 1, 2) == (
        -(2**63) + 1,
        -2,
        -(2**63) + 1,
    )


def test_narrow_numbers_stay_narrow():
    body = "y = np.empty(2, np.float32)\ny[0] = x[0] * x[1]\ny[1] = x[0] * 0.1\nreturn y"
    x = np.array([1.1, 2.3], np.float32)
    found = native(body, "x", x)(x)
    np.testing.assert_array_equal(found, [x[0] * x[1], np.float32(float(x[0]) * 0.1)])


@pytest.mark.parametrize(
    "body",
    [
        "return np.sort(x)",
        "return x[1:]",
        "return x",
        "y = x + x\nreturn y",
        "return undefined(x)",
        "print(1)",
        "return sum(x)",
        "try:\n    return x[0]\nfinally:\n    pass",
        "for v in x:\n    return v",
        "return [x[0]]",
        "a = b = 1.0\nreturn a + b",
        "y = x[0]\nif y > 0.0:\n    y = 1\nreturn y",
        "for i in range(0, 4, 0):\n    pass",
    ],
)
def test_what_it_does_not_know_is_refused_beforehand(body):
    with pytest.raises(Unsupported):
        native(body, "x", VECTOR)


def test_a_loop_that_counts_down_leaves_the_one_within_to_vectors():
    # LLVM's question before both loops, "stride.check", has one answer where the outer counts down.
    body = """
        n, m = x.shape
        y = np.zeros((n, m))
        for i in range(n - 1, 0, -1):
            for j in range(m):
                y[0, j] += (y[i, j] + x[i, j]) * i
        return y
    """
    x = np.arange(200.0).reshape(5, 40)
    check(body, "x", x)
    signature = [(x.dtype, 2)]
    settings = Settings(tuple(DEFAULT_FASTMATH))
    written = optimised_text(text(body, "x"), "f", signature, settings)
    assert "stride.check" not in written
