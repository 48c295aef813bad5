"""Helpers and externals: one function for plain Python, for our compiler and for Numba."""

import math
import os
import subprocess
import sys

import numpy as np
import pytest

from tracegrad.backend import helpers
from tracegrad.backend.compile import COMPILER_VARIABLE, compile_kernel, run_plain
from tracegrad.backend.helpers import external, helper

STEPS = (0.5, 0.25, 2.0)


@helper
def weighted(x: float, k: int) -> float:
    """A table of the module, a call of another helper, several ways out."""
    if k < 0:
        raise ValueError("below zero")
    for i in range(3):
        if i == k:
            return STEPS[i] * doubled(x)
    return math.pow(x, 2.5)


@helper
def doubled(x: float) -> float:
    return x + x


@helper
def extremes(x: np.ndarray, running: np.ndarray) -> tuple[float, int]:
    """Writes to an array that it is given; two results; memory of its own."""
    largest = np.zeros(1)
    largest[0] = x[0]
    place = 0
    for i in range(x.shape[0]):
        if x[i] > largest[0]:
            largest[0] = x[i]
            place = i
        running[i] = largest[0]
    return largest[0], place


@external("capsule.scipy.special.cython_special:ellipkm1", "d")
def ellipkm1(x: float) -> float:
    import scipy.special

    return scipy.special.ellipkm1(x)


@pytest.fixture(autouse=True)
def at_home(monkeypatch):
    """The texts below import from tracegrad, as all printed texts do."""
    for each in (weighted, doubled, extremes, ellipkm1):
        monkeypatch.setattr(helpers, each.__name__, each, raising=False)


def everywhere(monkeypatch, source, signature, *arguments):
    """What Python, our compiler and Numba make of it, which is to be the same."""
    found = [run_plain(source, "f")(*arguments)]
    for compiler in ("native", "numba"):
        monkeypatch.setenv(COMPILER_VARIABLE, compiler)
        kernel = compile_kernel(source, "f", signature)
        assert kernel.native == (compiler == "native")
        found.append(kernel(*arguments))
    first, *others = [np.hstack(x if isinstance(x, tuple) else (x,)) for x in found]
    for each in others:
        np.testing.assert_allclose(each, first, rtol=1e-14)
    return found[0]


SCALARS = """
from tracegrad.backend.helpers import weighted


def f(x, k):
    return weighted(x, k) + weighted(1, k)
"""


@pytest.mark.parametrize("k", [0, 2, 5])
def test_a_helper_is_compiled_with_what_it_calls(monkeypatch, k):
    found = everywhere(monkeypatch, SCALARS, ["float64", "int64"], 3.0, k)
    assert found == weighted(3.0, k) + weighted(1.0, k)


@pytest.mark.parametrize("compiler", ["native", "numba"])
def test_a_helper_raises_through_the_kernel(monkeypatch, compiler):
    monkeypatch.setenv(COMPILER_VARIABLE, compiler)
    kernel = compile_kernel(SCALARS, "f", ["float64", "int64"])
    with pytest.raises(ValueError, match="below zero"):
        kernel(3.0, -1)


def test_a_helper_takes_arrays_and_gives_several_numbers(monkeypatch):
    source = """
import numpy as np

from tracegrad.backend.helpers import extremes


def f(x):
    running = np.empty(x.shape[0])
    most, place = extremes(x, running)
    return running, most, place
"""
    x = np.array([1.0, 0.5, 3.0, 2.0])
    running, most, place = everywhere(monkeypatch, source, ["float64[::1]"], x)
    assert (most, place) == (3.0, 2)
    assert running.tolist() == [1.0, 1.0, 3.0, 3.0]


def test_an_external_is_called_by_its_address(monkeypatch):
    source = """
from tracegrad.backend.helpers import ellipkm1


def f(x):
    return ellipkm1(x) + ellipkm1(x + 0.25)
"""
    found = everywhere(monkeypatch, source, ["float64"], 0.5)
    assert found == ellipkm1(0.5) + ellipkm1(0.75)


def test_numba_is_not_imported_for_a_helper():
    text = (
        "import sys, tracegrad.backend.vecmath\n"
        "assert 'numba' not in sys.modules and 'llvmlite' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", text], check=True)


def test_numba_is_not_imported_for_a_gradient(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import sys\n"
        "import numpy as np\n"
        "import tracegrad as tg\n"
        "f = tg.value_and_grad(lambda x, w: np.sum(np.tanh(x @ w) ** 2) + np.sum(np.sort(w)))\n"
        "f(np.ones((4, 3)), np.ones(3))\n"
        "assert 'numba' not in sys.modules\n"
    )
    environment = {**os.environ, COMPILER_VARIABLE: "auto"}
    subprocess.run([sys.executable, str(program)], check=True, env=environment)
