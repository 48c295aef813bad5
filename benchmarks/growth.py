"""Growth curves: time and memory of a gradient against the length of its input."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from . import memory
from .case import Case
from .measure import disagreement
from .peers import PEERS, Contestant, flat
from .timing import interleave

__all__ = ["Curve", "curves", "measure_growth"]

PATIENCE = 0.05
"""Seconds of a call after which a peer's curve ends: the next may take a hundred times as long."""


@dataclass(frozen=True)
class Curve:
    """A workload at several lengths.

    Parameters
    ----------
    case : the workload's name in the table, at one of its sizes.
    title : what the picture says.
    length : what the horizontal axis is.
    sizes : the lengths.
    inputs : makes the arguments of one length.
    """

    case: str
    title: str
    length: str
    sizes: tuple[int, ...]
    inputs: Any


def curves() -> list[Curve]:
    """The curves, in the order of the picture."""
    from .workloads import burgers, nbody, recurrence, rosenbrock

    decades = (10, 100, 1000, 10_000, 100_000, 1_000_000)
    return [
        Curve("rosenbrock n=1e3", "Rosenbrock", "n", decades, rosenbrock.inputs),
        Curve("n-body n=200", "all pairs of n bodies", "n", (10, 30, 100, 300, 1000, 3000),
              nbody.inputs),
        Curve("recurrence n=1e3", "tanh recurrence, written in place", "n", decades,
              recurrence.inputs),
        Curve("burgers slices 500x200", "Burgers' equation, 200 points", "steps", decades[:5],
              lambda steps: burgers.inputs(steps, 200)),
    ]  # fmt: skip


def measure_growth(peers: list[str], *, rounds: int, sample: float) -> list[dict[str, Any]]:
    """For each curve and peer: lengths, seconds (minimum) and megabytes (peak of a call)."""
    from .workloads import all_cases

    cases = {case.name: case for case in all_cases()}
    names = [name for name in peers if PEERS[name].gradient and name != "casadi"]
    found = []
    for curve in curves():
        print(f"growth: {curve.title}", file=sys.stderr, flush=True)
        points: dict[str, list[dict[str, float]]] = {name: [] for name in names}
        for size in curve.sizes:
            case = replace(cases[curve.case], inputs=partial(curve.inputs, size))
            going = [name for name in names if _goes_on(points[name], curve.sizes, size)]
            for name, point in _measure(case, going, rounds, sample).items():
                points[name].append({"size": size, **point})
        measured = {name: there for name, there in points.items() if there}
        found.append({"title": curve.title, "length": curve.length, "peers": measured})
    return found


def _goes_on(points: list[dict[str, float]], sizes: tuple[int, ...], size: int) -> bool:
    """Whether the curve has reached the size before, in less than its time."""
    before = sizes.index(size)
    reached = len(points) == before
    return reached and (not points or points[-1]["seconds"] < PATIENCE)


def _measure(
    case: Case, names: list[str], rounds: int, sample: float
) -> dict[str, dict[str, float]]:
    args = case.inputs()
    ready: dict[str, Contestant] = {}
    reference = None
    for name in names:
        try:
            if not PEERS[name].takes(case):
                continue
            contestant = PEERS[name].contestant(case, args)
            outputs = flat(contestant())
        except Exception as error:
            print(f"growth: {name}: {error}", file=sys.stderr)
            continue
        reference = reference or outputs
        if disagreement(outputs, reference) < 1e-8:
            ready[name] = contestant
    seconds = interleave(ready, rounds=rounds, sample=sample, patience=1.0)
    return {
        name: {
            "seconds": min(seconds[name]),
            **({"megabytes": memory.peak(ready[name]) / 1e6} if memory.available() else {}),
        }
        for name in ready
    }
