"""Every form of the NumPy functions that tracing takes, against NumPy itself.

Each line of the modules `forms_*` is the body of a function that is written to a
source file, staged, traced, verified, run by the IR interpreter, and compared in value, shape and
dtype. Each is run again, from the same trace, for other sizes: it must agree, or a guard must fail.
"""

import inspect
import linecache
import math
import re

import numpy as np
import pytest
import scipy.linalg
import scipy.special

from tests.tracing.conftest import assert_like_numpy, check, run, trace
from tests.tracing.forms_arguments import ARGUMENTS
from tests.tracing.forms_documented import DOCUMENTED
from tests.tracing.forms_further import FURTHER
from tests.tracing.forms_numeric import NUMERIC
from tests.tracing.forms_other import OTHER
from tracegrad.errors import GuardFailed

CASES = [
    pytest.param(text.strip(), id=f"{group}: {text.strip()}")
    for forms in (NUMERIC, OTHER, ARGUMENTS, DOCUMENTED, FURTHER)
    for group, texts in forms.items()
    for text in texts.strip().splitlines()
]


def inputs(n, m, k, b, integers):
    """Arrays whose shapes fit together, by the names the forms use."""
    rng = np.random.default_rng(n)
    x = rng.normal(size=m)
    A = rng.normal(size=(n, m))
    return {
        "x": x,
        "y": rng.normal(size=m),
        "P": np.abs(x) + 0.1,
        "M": x > 0,
        "f32": x.astype(np.float32),
        "I": np.concatenate([[0], rng.integers(-3, 3, size=m - 1)]),
        "i4": np.arange(1, integers + 1, dtype=np.int32),
        "b": rng.random(integers) > 0.5,
        "A": A,
        "AM": A > 0,
        "B": rng.normal(size=(m, k)),
        "C": rng.normal(size=(b, n, m)),
        "D": rng.normal(size=(b, m, k)),
        "E": rng.normal(size=(n, m, 2)),
        "S": rng.normal(size=(n, n)),
        "V": positive(rng, (n, n)),
        "W": positive(rng, (b, n, n)),
    }


def positive(rng, shape):
    """Symmetric matrices with positive eigenvalues."""
    x = rng.normal(size=shape)
    return x @ np.swapaxes(x, -1, -2) + shape[-1] * np.eye(shape[-1])


SMALL = inputs(4, 5, 3, 2, 3)
LARGE = inputs(11, 12, 10, 9, 12)
LARGER = inputs(14, 16, 13, 12, 16)


def function_of(text):
    """A function with ``text`` as its body, with source that staging finds."""
    names = [name for name in SMALL if re.search(r"(?<![\w.'])" + name + r"(?![\w'])", text)]
    source = f"def form({', '.join(names)}):\n    return {text}\n"
    filename = f"<form {text}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(True), filename)
    namespace = {"np": np, "math": math, "sp": scipy.special, "la": scipy.linalg}
    exec(compile(source, filename, "exec"), namespace)
    return namespace["form"]


def arguments(function, values):
    return [values[name] for name in inspect.signature(function).parameters]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("text", CASES)
def test_a_form_does_what_numpy_does(text):
    function = function_of(text)
    check(function, *arguments(function, SMALL))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("text", CASES)
def test_a_trace_serves_other_sizes_or_says_so(text):
    function = function_of(text)
    first, second = arguments(function, LARGE), arguments(function, LARGER)
    try:
        expected, again = function(*first), function(*second)
    except (ValueError, IndexError):
        pytest.skip("NumPy itself does not take these sizes")
    traced = trace(function, *first)
    assert_like_numpy(run(traced, *first), expected)
    if text.startswith(("[", "A.tolist", "dict", "list", "np.array_split(x,3)", "np.unstack")):
        with pytest.raises(GuardFailed):
            run(traced, *second)  # unrolled
    else:
        assert_like_numpy(run(traced, *second), again)
