"""What is known of names before anything is compiled: integers that can't be negative."""

import ast
import textwrap

import pytest

from tracegrad.backend.native.names import Names


def natural(body):
    text = f"def f(x, n):\n{textwrap.indent(textwrap.dedent(body), '    ')}"
    (function,) = ast.parse(text).body
    return Names(function, {"x": 1}).natural


@pytest.mark.parametrize(
    "text",
    [
        "a = x.shape[0]",
        "a, b = x.shape",
        "a = max(1, n - 3)",
        "a = n % x.shape[0]",
        "a = min(2, x.shape[0])",
        "b = x.shape[0]\na = b + b // 3",
        "b = max(0, x.shape[0] - 1)\nfor i in range(b):\n    a = b + i",
        "b = max(0, n)\na = b // 2",
        "a = 0\nfor i in range(n):\n    a = a + i + 1",
        "for a in range(3, n):\n    pass",
        "b = 2\nfor a in range(b + 1, n):\n    pass",
        "for b in range(n):\n    for a in range(n, b, -1):\n        pass",
        "for a in range(n, -1, -1):\n    pass",
        # As large as what they are made of, whatever their signs.
        "b = x.shape[0] - 1\nc = b // 2 + 1 - x.shape[0]\nd = max(c, 0)\na = d + x.shape[0]",
        "b = x.shape[0]\nfor i in range(b):\n    c = -1 - i\n    d = max(c, 0)\n    a = d + i",
    ],
)
def test_these_are_never_negative(text):
    assert "a" in natural(text)


@pytest.mark.parametrize(
    "text",
    [
        "a = n",
        "a = n + 1",
        "a = x.shape[0] - 1",
        "a = n % n",
        "a = min(1, n)",
        "a = -1",
        "a = 1\nfor i in range(n):\n    a = a * 7",
        "a = 1\na = n",
        "a = 1\na -= 2",
        "a, b = n, 1",
        "a = x[0]",
        "b = n\na = b",
        "for a in range(n, 3):\n    pass",
        "for a in range(3, n, -1):\n    pass",
        "for a in range(3, -2, -1):\n    pass",
        "for b in range(n, 3):\n    for a in range(b, 3):\n        pass",
        "a = 0\nfor a in range(n, 5):\n    pass",
        # These run over 63 bits.
        "b = max(0, n)\na = b + 1",
        "b = max(0, n + 1)\na = b + 1",
        "c = x.shape[0] - 1\nc = c - n\nb = max(0, c)\na = b + 1",
        "c = 1\nfor i in range(n):\n    c = c + c - i\nb = max(0, c)\na = b + 1",
        "for c in range(n, 9):\n    b = max(0, c)\n    a = b + 1",
        "c = x.shape[0] - 5\nc -= n\nb = max(0, c)\na = b + 1",
        "a = 1\nfor i in range(n):\n    a = a + a",
        "a = 0\nb = 1\nfor i in range(n):\n    a, b = b, a + b",
        "a = 0\nb = 0\nfor i in range(n):\n    b = b + i\n    a = a + b",
        "for i in range(n):\n    a = i + 9223372036854775807",
    ],
)
def test_these_may_be(text):
    assert "a" not in natural(text)
