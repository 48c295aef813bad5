"""The whole way to source, as reviewed texts: each is the text that runs, and each is run.

``TRACEGRAD_REWRITE_GOLDEN=1 python -m pytest tests/test_golden.py`` writes them anew.
"""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

import tracegrad as tg
from tests import golden_models as models
from tracegrad.backend.compile import run_plain

GOLDEN = Path(__file__).parent / "golden"
rng = np.random.default_rng(0)

#: Programs with loops: accepted if one would take the text for a hand-written adjoint.
LOOPS = {
    "recurrence": (models.recurrence, (rng.normal(size=50), 0.5)),
    "kepler": (models.kepler, (1.0, 0.3)),
    "savings": (models.savings, (1.05, rng.normal(size=30), 4.0)),
    "pairs": (models.pairs, (rng.normal(size=12),)),
    "advection": (models.advection, (rng.normal(size=30), 0.01, 12)),
}

CASES = {
    "chain": (models.chain, (0.7,)),
    "rosenbrock": (models.rosenbrock, (rng.normal(size=12),)),
    "logistic": (
        models.logistic,
        (rng.normal(size=10), rng.normal(size=(100, 10)), rng.choice([-1.0, 1.0], size=100)),
    ),
    "network": (
        models.network,
        (
            {
                "W1": rng.normal(size=(20, 10)),
                "b1": rng.normal(size=10),
                "W2": rng.normal(size=(10, 12)),
            },
            rng.normal(size=(30, 20)),
            rng.normal(size=(30, 12)),
        ),
    ),
    "gathered": (models.gathered, (rng.normal(size=(20, 9)), np.array([3, 3, 0, -1]))),
    **LOOPS,
}


@pytest.fixture(scope="module", params=CASES)
def case(request):
    function, arguments = CASES[request.param]
    gradient = tg.value_and_grad(function)
    return request.param, gradient, arguments, gradient(*arguments)


@pytest.mark.parametrize("form", ["ir", "loop"])
def test_text_is_the_golden_one(case, form):
    name, gradient, _, _ = case
    if form == "ir" and name in LOOPS:
        pytest.skip("the text of a loop program is what its reader sees")
    if form == "ir":
        text, path = gradient.inspect_ir() + "\n", GOLDEN / f"{name}.ir.txt"
    else:
        text, path = gradient.inspect_source(), GOLDEN / f"{name}.loop.py.txt"
    if form == "loop" and sys.version_info < (3, 11):
        pytest.skip("comments quote whole lines where Python keeps no columns")
    if os.environ.get("TRACEGRAD_REWRITE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()


def flat(value):
    return [value[k] for k in sorted(value)] if isinstance(value, dict) else [value]


def agree(got, result):
    value, bar = result
    for left, right in zip(got, [value, *flat(bar)], strict=True):
        assert np.allclose(left, right, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("form", ["loop", "array"])
def test_the_text_runs_as_plain_python(case, form):
    _, gradient, arguments, result = case
    source = gradient.inspect_source(form=form)
    entry = source.split("\ndef ")[1].split("(")[0]
    leaves = [leaf for argument in arguments for leaf in flat(argument)]
    agree(run_plain(source, entry)(*leaves), result)


def test_the_gradient_is_the_slope_of_differences(case):
    _, gradient, arguments, (_, bar) = case
    first = arguments[0]
    for leaf, leaf_bar in zip(flat(first), flat(bar), strict=True):
        direction = rng.normal(size=np.shape(leaf))
        step = 1e-6

        def moved(by, leaf=leaf, direction=direction):
            if isinstance(first, dict):
                key = next(k for k in first if first[k] is leaf)
                point = first | {key: leaf + by * direction}
            else:
                point = leaf + by * direction
            return gradient.py_func(point, *arguments[1:])

        with np.errstate(invalid="ignore"):
            slope = (moved(step) - moved(-step)) / (2 * step)
        assert np.isclose(np.sum(leaf_bar * direction), slope, rtol=1e-6, atol=1e-7)
