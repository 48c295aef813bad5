"""The runner: rebinding, comparison, errors that don't stop a run, the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.__main__ import main
from benchmarks.case import Case
from benchmarks.measure import disagreement, measure
from benchmarks.peers import Contestant
from benchmarks.probe import peak_memory
from benchmarks.rebind import rebind
from benchmarks.timing import interleave
from benchmarks.workloads import all_cases
from benchmarks.workloads.black_scholes import portfolio


class Recorder:
    """Stands for an array library: notes what is asked of it and lets NumPy answer."""

    def __init__(self, library: Any) -> None:
        self.library = library
        self.asked: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        self.asked.add(name)
        return getattr(self.library, name)


def test_rebinding_reaches_helpers_and_leaves_the_original_alone() -> None:
    import scipy.special

    case = next(case for case in all_cases() if case.function is portfolio)
    numpy, special = Recorder(np), Recorder(scipy.special)
    copy = rebind(portfolio, numpy, special)  # type: ignore[arg-type]
    assert copy(*case.tiny()) == case.function(*case.tiny())
    assert {"log", "exp", "sqrt", "sum"} <= numpy.asked
    assert special.asked == {"erf"}
    assert portfolio.__globals__["np"] is np


def test_disagreement_is_relative_to_the_largest_element() -> None:
    reference = [np.array([100.0, 1e-9])]
    assert disagreement([np.array([100.0, 2e-9])], reference) < 1e-10
    assert disagreement([np.array([100.1, 1e-9])], reference) == pytest.approx(1e-3)


@pytest.mark.parametrize("wrong", [np.array([np.nan, 0.0]), np.zeros(3), np.array([1e-300, 0.0])])
def test_a_gradient_of_nan_or_wrong_shape_disagrees(wrong: Any) -> None:
    assert disagreement([wrong], [np.zeros(2)]) == np.inf


def test_interleaving_gives_each_contestant_its_rounds() -> None:
    order: list[str] = []

    def call(name: str) -> Contestant:
        return Contestant(order.append, (name,))

    found = interleave({"a": call("a"), "b": call("b")}, rounds=3, sample=0.0)
    assert {name: len(seconds) for name, seconds in found.items()} == {"a": 3, "b": 3}
    # One call to size the sample, then per round one to warm up and one timed.
    assert "".join(order) == "ab" + "aabb" * 3


def test_a_failing_contestant_is_reported_and_the_others_are_timed() -> None:
    def broken(x: Any) -> Any:
        raise ValueError("no such luck\nand more")

    case = Case("broken", np.sum, 0, lambda: (np.ones(3),), broken, lambda: (np.ones(3),))
    found = measure(case, ["numpy", "limit"], rounds=1, sample=0.0, first=False, memory=False)
    assert found["columns"]["limit"] == {"error": "ValueError: no such luck"}
    assert found["columns"]["numpy"]["min"] > 0.0


def test_a_run_prints_and_saves_its_tables(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--quick", "-r", "1", "-w", "call, one", "-p", "numpy", "limit"]
    assert main([*arguments, "-o", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    (saved,) = tmp_path.glob("*.md")
    assert saved.read_text() in printed
    (data,) = tmp_path.glob("*.json")
    run = json.loads(data.read_text())
    assert [case["name"] for case in run["cases"]] == ["call, one float"]
    assert run["cases"][0]["columns"]["limit"]["median"] > 0.0


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux")
def test_peak_memory_shows_a_broadcast_temporary() -> None:
    case = next(case for case in all_cases() if case.name.startswith("n-body"))
    found = peak_memory(case.name, "numpy")
    assert found["peak"] * 1e6 > case.temporary
