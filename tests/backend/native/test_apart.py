"""What a kernel makes shares no memory: LLVM is told so, and of nothing else."""

import re
from textwrap import dedent

import numpy as np
import pytest

from tracegrad.backend import cache, compile
from tracegrad.backend.compile import compile_kernel
from tracegrad.backend.native import kernel, machine

ROWS = """
    def f(x, k):
        n, m = x.shape
        y = np.zeros(m)
        for i in range(n):
            for j in range(m):
                y[j] += k * x[i, j]
        return y
    """

NEIGHBOURS = """
    def f(x, k):
        n, m = x.shape
        y = np.zeros(m)
        for i in range(n):
            for j in range(m - 1):
                y[j] += k * (x[i, j + 1] - x[i, j])
        return y
    """

CHOSEN = """
    def f(x, k):
        n, m = x.shape
        y = np.zeros(m)
        z = np.zeros(m)
        w = y if k > 0.0 else z
        for j in range(m):
            y[j] += x[0, j]
            w[j] += 2.0 * y[j]
            z[j] += w[j]
        return y, z
    """

EXCHANGED = """
    def f(x, k):
        n, m = x.shape
        y = np.zeros(m)
        z = np.zeros(m)
        for i in range(n):
            for j in range(m):
                z[j] = y[m - 1 - j] + k * x[i, j]
            y, z = z, y
        return y, z
    """

SAME = """
    def f(x, k):
        n, m = x.shape
        y = np.zeros(m)
        w = y
        for j in range(m):
            w[j] = x[0, j]
            y[j] *= k
            w[j] += y[m - 1 - j]
        return y
    """

EACH_TRIP = """
    def f(x, k):
        n, m = x.shape
        z = np.zeros(m)
        for i in range(n):
            y = np.zeros(m)
            for j in range(m):
                y[j] = k * x[i, j] + z[j]
            z = y
        return z
    """

ALL = {"rows": ROWS, "neighbours": NEIGHBOURS, "chosen": CHOSEN, "exchanged": EXCHANGED}
ALL |= {"same": SAME, "each trip": EACH_TRIP}


def source(text):
    return f"import numpy as np\n\n\n{dedent(text).strip()}\n"


def written(text):
    texts = []

    def keep(llvm):
        texts.append(llvm)
        return original(llvm)

    original = machine.compile_text
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine, "compile_text", keep)
        patch.setattr(kernel, "compile_text", keep, raising=False)
        compile_kernel(source(text), "f", ("float64[:, ::1]", "float64"))
    return texts[-1]


@pytest.fixture(autouse=True)
def native(tmp_path, monkeypatch):
    monkeypatch.setenv(cache.DIRECTORY_VARIABLE, str(tmp_path))
    monkeypatch.setenv(compile.COMPILER_VARIABLE, "native")
    compile._kernels.clear()


def test_rows_are_added_to_a_result_without_a_question():
    text = written(ROWS)
    assert "alias.scope" in text
    with machine.lock:
        assert "memcheck" not in str(machine.optimise(text))


def test_what_is_read_beside_itself_says_nothing():
    reads = [line for line in written(NEIGHBOURS).splitlines() if "load double" in line]
    told = [line for line in reads if "alias.scope" in line]
    assert len(told) == 1, "the element of y"
    assert len(reads) > len(told)


def test_what_may_be_one_of_two_arrays_says_nothing():
    text = written(CHOSEN)
    stores = [line for line in text.splitlines() if re.search(r"store double %\w+, ptr %t", line)]
    assert sum("alias.scope" in line for line in stores) == 2, stores


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("m", [0, 1, 5, 67])
def test_the_results_are_those_of_plain_python(name, m):
    names = {}
    exec(source(ALL[name]), {"np": np}, names)
    made = compile_kernel(source(ALL[name]), "f", ("float64[:, ::1]", "float64"))
    assert made.native
    x = np.random.default_rng(m).normal(size=(3, m))
    for k in (0.5, -0.5):
        expected, found = names["f"](x, k), made(x, k)
        for e, f in zip(np.atleast_2d(expected), np.atleast_2d(found), strict=True):
            np.testing.assert_allclose(f, e, rtol=1e-13)
