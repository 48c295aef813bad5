"""The runner: rebinding, comparison, errors that don't stop a run, the report."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import memory, timing
from benchmarks.__main__ import main
from benchmarks.case import Case
from benchmarks.measure import TRIPS, disagreement, measure, peak_memory
from benchmarks.peers import PEERS, Contestant, contestants
from benchmarks.rebind import rebind
from benchmarks.report import markdown
from benchmarks.timing import interleave
from benchmarks.workloads import all_cases
from benchmarks.workloads.black_scholes import portfolio
from tracegrad.errors import UnsupportedError


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
    copy = rebind(portfolio, numpy, special)  # type: ignore[arg-type]  # stand-ins for modules
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
    found, _ = measure(case, ["numpy", "limit"], rounds=1, sample=0.0, first=False)
    assert found["columns"]["limit"] == {"error": "ValueError: no such luck"}
    assert found["columns"]["numpy"]["min"] > 0.0


def test_what_tracegrad_refuses_is_told_apart_from_a_failure() -> None:
    def outside(x: Any) -> Any:
        raise UnsupportedError("no such loop")

    case = Case("outside", np.sum, 0, lambda: (np.ones(3),), outside, lambda: (np.ones(3),))
    found, _ = measure(case, ["numpy", "limit"], rounds=1, sample=0.0, first=False)
    assert set(found["columns"]["limit"]) == {"refused"}
    assert "min" in found["columns"]["numpy"]


def test_a_peer_runs_the_text_written_for_it_or_none() -> None:
    def double(x: Any) -> Any:
        return 2.0 * x

    case = Case(
        "texts",
        abs,
        0,
        lambda: (-3.0,),
        abs,
        tuple,
        group="loop",
        texts={"jax": double, "numpy": None},
    )
    assert case.text("jax") is double
    assert case.text("tracegrad") is abs
    assert list(contestants(case, ["numpy", "limit"], (-3.0,))) == ["limit"]
    assert PEERS["numba primal"].takes(case)
    assert not PEERS["numba primal"].takes(replace(case, group="workload"))


def test_a_slow_contestant_sits_out_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "SLOW", 0.0)
    calls: list[None] = []
    found = interleave({"a": Contestant(calls.append, (None,))}, rounds=9, sample=0.0, patience=0.0)
    assert len(found["a"]) == 3
    assert len(calls) == 4  # one to size the sample, none to warm up


def test_loops_have_tables_of_their_own() -> None:
    column = {
        "min": 2e-6,
        "median": 3e-6,
        "trips": dict.fromkeys(map(str, TRIPS), 0.5),
        "versions for trips": 1,
    }
    case = {"name": "sweep", "untuned": False, "temporary": 0.0, "columns": {"tracegrad": column}}
    run: dict[str, Any] = {
        "processor": "p", "python": "3", "versions": {}, "missing": {}, "blas": "", "core": None,
        "rounds": 1, "peers": ["tracegrad"], "cases": [case | {"group": "loop", "elements": 100}],
    }  # fmt: skip
    text = markdown(run)
    assert "## Loops: value and gradient" in text
    assert "## Straight-line" not in text
    assert "| sweep    |      100 |        20 |" in text
    assert "| sweep, tracegrad |    500 ms |" in text


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


@pytest.mark.skipif(not memory.available(), reason="needs Linux")
def test_peak_memory_shows_a_broadcast_temporary() -> None:
    case = next(case for case in all_cases() if case.name.startswith("n-body"))
    found, ready = measure(case, ["numpy", "limit"], rounds=1, sample=0.0, first=False)
    peak_memory(case, found, ready)
    peaks = {
        name: found["columns"][name]["memory"]["peak"] * 1e6 for name in ready if "," not in name
    }
    assert peaks["numpy"] > case.temporary
    assert peaks["limit"] < 0.1 * case.temporary


@pytest.mark.skipif(not memory.available(), reason="needs Linux")
def test_what_a_call_keeps_from_before_does_not_count() -> None:
    held = np.ones(1_000_000)
    assert memory.peak(lambda: held[:10].sum()) < memory.RESOLUTION
    assert memory.peak(lambda: held + 1.0) == pytest.approx(held.nbytes, rel=0.1)
