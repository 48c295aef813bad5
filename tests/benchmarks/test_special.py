"""The page of special functions lists all of them, and their values are those of mpmath."""

from pathlib import Path

import mpmath as mp
import numpy as np
import pytest

from benchmarks.special import DIGITS
from benchmarks.special_reference import REFERENCES, function_of, sample_points
from tests.tracing.conftest import run, trace
from tracegrad.inspect import coverage

PAGE = Path(__file__).parents[2] / "docs" / "special-functions.md"
# SciPy's own errors.
ALLOWED = {"ker": 1e-10, "kei": 1e-10, "kerp": 1e-10, "keip": 1e-10, "ive": 1e-12}


def base(name):
    return name.partition("[")[0]


def test_the_page_lists_every_function_that_can_be_traced():
    sections = dict(coverage.sections())
    names = {name.rpartition(".")[2] for e in sections["scipy.special"] for name in e.names}
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    assert {base(line.split("`")[1]) for line in lines} == names
    assert [line.split("`")[1] for line in lines] == list(REFERENCES)


@pytest.mark.parametrize("name", REFERENCES)
def test_values_are_those_of_mpmath(name):
    points = sample_points(name, 3, seed=7)
    function = function_of(name)
    with np.errstate(all="ignore"):
        found = np.asarray(run(trace(function, *points), *points))
    with mp.workdps(DIGITS):
        for value, point in zip(found.tolist(), zip(*points, strict=True), strict=True):
            numbers = [mp.mpf(float(x)) for x in point]
            exact = mp.re(REFERENCES[name].exact(*numbers))
            assert abs(value - exact) <= ALLOWED.get(name, 1e-12) * max(1, abs(exact))
