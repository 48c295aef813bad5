"""Neighbours in rows that indices pick become vectors, and results are what they should be."""

import ast
import textwrap

import numpy as np
import pytest

import tracegrad as tg
from tracegrad.backend.native import machine, neighbours
from tracegrad.backend.native.kernel import Settings, compile_native, optimised_text

FLAGS = ("reassoc", "contract", "arcp", "nsz")


def function(lines, *more):
    body = textwrap.indent(textwrap.dedent(lines), "    ")
    text = f"def f(x, y, k):\n    n, m = x.shape[0], k.shape[0]\n{body}\n"
    return ast.parse(text).body


PICKED = """
for i in range(m):
    at = k[i]
    x[at, 0] += y[i, 0]
    x[at, 1] += y[i, 1]
    x[at, 2] += y[i, 2]
    x[at, 3] += y[i, 3]
"""


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        pytest.param(PICKED, True, id="written"),
        pytest.param(PICKED.replace("at = k[i]", "t = k[i]\n    at = t"), True, id="by-way-of"),
        pytest.param(
            "total = 0.0\nfor i in range(m):\n    at = k[i]\n    total += x[at, 4] + x[at, 1]\n"
            "    total += x[at, 2] * x[at, 3]",
            True,
            id="read",
        ),
        pytest.param(PICKED.replace("at = k[i]", "at = i"), True, id="a-name-may-be-anything"),
        pytest.param(PICKED.replace("[at,", "[i,"), False, id="row-of-the-loop"),
        pytest.param(PICKED.replace("x[at, 3]", "x[at, 5]"), False, id="a-gap"),
        pytest.param(PICKED.replace("x[at, 3]", "y[at, 3]"), False, id="two-arrays"),
        pytest.param(PICKED.replace("x[at, 3] += y[i, 3]", "pass"), False, id="three"),
        pytest.param(PICKED.replace("0] +", "i] +"), False, id="a-column-of-the-loop"),
    ],
)
def test_rows_of_four_columns_that_an_index_picks_are_neighbours(lines, expected):
    assert neighbours.in_picked_rows(function(lines)) is expected


def written(lines):
    text = f"import numpy as np\n\n\ndef f(x, k):\n    n = x.shape[0]\n{lines}"
    signature = [(np.dtype(np.float64), 2), (np.dtype(np.int64), 1)]
    return text, signature


ADDS = """\
    y = np.empty((n, 4))
    for i in range(n):
        for j in range(4):
            y[i, j] = 0.5 * x[i, j]
    for i in range(k.shape[0]):
        at = k[i]
        y[at, 0] += 3.0 * x[i, 0]
        y[at, 1] += 3.0 * x[i, 1]
        y[at, 2] += 3.0 * x[i, 2]
        y[at, 3] += 3.0 * x[i, 3]
    return y
"""


def llvm(lines):
    text, signature = written(lines)
    return optimised_text(text, "f", signature, Settings(FLAGS, nogil=False, boundscheck=False))


def test_neighbours_become_a_vector():
    if "avx" not in machine.processor()[2].replace("-avx", ""):
        pytest.skip("a processor without vectors of four")
    assert "x double>" in llvm(ADDS).partition("!neighbours")[0]
    assert neighbours.MARK in llvm(ADDS)
    assert neighbours.MARK not in llvm(ADDS.replace("y[at,", "y[i,"))


def test_rows_picked_twice_are_added_to_twice():
    text, signature = written(ADDS)
    run = compile_native(text, "f", signature, FLAGS, None, "f.py").call
    x, k = np.arange(20.0).reshape(5, 4), np.array([1, 1, 4, 1])
    expected = 0.5 * x
    np.add.at(expected, k, 3.0 * x[:4])
    np.testing.assert_array_equal(run(x, k), expected)


def test_what_is_written_last_is_there_when_python_looks():
    text, signature = written("""\
    y = np.empty((n, 4))
    z = np.zeros((n, 4))
    if n > 3:
        z = np.empty((n, 4))
    for i in range(n):
        for j in range(4):
            y[i, j] = 2.0 * x[i, j]
            z[i, j] = 3.0 * x[i, j]
    return y, z, x.copy()
""")
    run = compile_native(text, "f", signature, FLAGS, None, "f.py").call
    for n in (0, 3, 5):
        x = np.arange(4.0 * n).reshape(n, 4)
        for factor, found in zip((2, 3, 1), run(x, np.zeros(0, int)), strict=True):
            np.testing.assert_array_equal(found, factor * x)


def test_results_that_are_given_and_overlap_an_argument_are_right():
    def smooth(x, k, j, w):
        d = x[k] - x[j]
        return np.sum(w * np.sum(d * d, axis=1)) + 0.5 * np.sum(x * x)

    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(6, 5)), rng.normal(size=9)
    k, j = rng.integers(-6, 6, 9), rng.integers(-6, 6, 9)
    k[:3] = j[:3] = [2, -4, 2]  # an edge from a row to itself, three times one row
    k[3:6], j[3:6] = 1, [-5, 3, 3]
    compiled = tg.value_and_grad(smooth)
    _, x_bar = compiled(x, k, j, w)
    expected = x.copy()
    d = 2 * w[:, None] * (x[k] - x[j])
    np.add.at(expected, k, d)
    np.subtract.at(expected, j, d)
    np.testing.assert_allclose(x_bar, expected, rtol=1e-12, atol=1e-13)
    out = np.empty_like(x)
    compiled.into(x, k, j, w, out=out)
    np.testing.assert_array_equal(out, x_bar)
    overlapping = x.copy()
    compiled.into(overlapping, k, j, w, out=overlapping)
    np.testing.assert_array_equal(overlapping, x_bar)
    k[4] = 6
    with pytest.raises(IndexError):
        compiled(x, k, j, w)
    empty = np.zeros(0, int)
    np.testing.assert_array_equal(compiled(x, empty, empty, np.zeros(0))[1], x)
