"""One case measured: gradients compared, then times, then what fresh processes tell."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from . import memory
from .case import Case
from .peers import PEERS, Contestant, contestants, flat
from .probe import compile_time, first_calls
from .timing import interleave

__all__ = ["SIZES", "TOLERANCE", "TRIPS", "disagreement", "measure", "peak_memory"]

TOLERANCE = 1e-10
SIZES = 30
TRIPS = (100, 10_000, 1_000_000)
PATIENCE = 3.0
"""Seconds that a call may be expected to take when its memory is measured."""


def disagreement(
    found: Sequence[np.ndarray[Any, Any]], reference: Sequence[np.ndarray[Any, Any]]
) -> float:
    """Largest difference of any leaf, relative to the largest magnitude in that leaf."""
    if [leaf.shape for leaf in found] != [leaf.shape for leaf in reference]:
        return float("inf")
    worst = 0.0
    for leaf, expected in zip(found, reference, strict=True):
        scale = float(np.max(np.abs(expected), initial=0.0))
        difference = float(np.max(np.abs(leaf - expected), initial=0.0))
        if not np.isfinite(difference):
            return float("inf")
        if difference > 0.0:
            worst = max(worst, difference / scale if scale > 0.0 else float("inf"))
    return worst


def measure(
    case: Case,
    peers: list[str],
    *,
    rounds: int,
    sample: float,
    first: bool = True,
    patience: float = 10.0,
) -> tuple[dict[str, Any], dict[str, Contestant]]:
    """All figures of one case, by column: seconds, agreement; or an error's text.

    With them, the contestants that are ready: a peer's compiled function is used again where
    its memory is measured.
    """
    columns: dict[str, dict[str, Any]] = {}
    ready: dict[str, Contestant] = {}
    outputs: dict[str, list[np.ndarray[Any, Any]]] = {}
    for name, contestant in contestants(case, peers, case.inputs()).items():
        columns[name] = {}
        try:
            if isinstance(contestant, Exception):
                raise contestant
            start = time.perf_counter()
            outputs[name] = flat(contestant())
            columns[name]["prepared"] = contestant.seconds + time.perf_counter() - start
            ready[name] = contestant
        except Exception as error:
            columns[name][_failure(error)] = _one_line(error)
    _compare(outputs, columns)
    if ready:
        for name, seconds in interleave(
            ready, rounds=rounds, sample=sample, patience=patience
        ).items():
            columns[name]["min"] = min(seconds)
            columns[name]["median"] = statistics.median(seconds)
    for name in ready:
        if name not in PEERS:
            continue
        try:
            if first and PEERS[name].fresh and case.group != "call":
                columns[name]["first call"] = first_calls(case.name, name)
            if first and PEERS[name].fresh and case.trips is not None:
                columns[name]["trips"] = {
                    str(trips): compile_time(case.name, name, trips) for trips in TRIPS
                }
        except Exception as error:
            columns[name]["probe error"] = _one_line(error)
    if "tracegrad" in ready:
        try:
            if case.sized is not None:
                sizes = map(case.sized, range(SIZES))
                columns["tracegrad"]["versions"] = versions(case, sizes)
            if case.trips is not None:
                counts = map(case.trips, TRIPS)
                columns["tracegrad"]["versions for trips"] = versions(case, counts)
        except Exception as error:
            columns["tracegrad"]["probe error"] = _one_line(error)
    found = {
        "name": case.name,
        "group": case.group,
        "untuned": case.untuned,
        "elements": case.elements,
        "temporary": case.temporary / 1e6,
        "columns": columns,
    }
    return found, ready


def peak_memory(case: Case, found: dict[str, Any], ready: dict[str, Contestant]) -> None:
    """Add to ``found`` the megabytes that the peak grows by in a call of each contestant.

    Where the case has inputs of a larger size for this, peers that would take long are left out,
    and so are those whose buffers belong to a compiled size.
    """
    args = (case.memory or case.inputs)()
    inputs = sum(leaf.nbytes for leaf in flat(args))
    growth = inputs / max(1, sum(leaf.nbytes for leaf in flat(case.inputs())))
    for name, contestant in ready.items():
        column = found["columns"][name]
        if name not in PEERS or contestant.read or column["min"] * growth > PATIENCE:
            continue
        try:
            call = Contestant(contestant.call, PEERS[name].place(args))
            results = sum(leaf.nbytes for leaf in flat(call()))
            column["memory"] = {
                "peak": memory.peak(call) / 1e6,
                "inputs": inputs / 1e6,
                "results": results / 1e6,
            }
        except Exception as error:
            column["probe error"] = _one_line(error)


def versions(case: Case, calls: Iterable[tuple[Any, ...]]) -> int:
    """How many versions tracegrad compiles when it is called with each of ``calls``."""
    compiled = PEERS["tracegrad"].prepare(case, ())
    for args in calls:
        compiled(*args)
    signatures: list[str] = compiled.signatures  # type: ignore[attr-defined]  # tracegrad's
    return len(signatures)


def _compare(
    outputs: dict[str, list[np.ndarray[Any, Any]]], columns: dict[str, dict[str, Any]]
) -> None:
    """Hold every gradient against the first peer's, and every value against NumPy's."""
    gradients = [name for name, leaves in outputs.items() if len(leaves) > 1]
    # A library that differentiates by its own rules is the better witness.
    witness = next((name for name in ("jax", "autograd", *gradients) if name in gradients), None)
    for name, leaves in outputs.items():
        if name in gradients and witness is not None and name != witness:
            columns[name]["disagreement"] = disagreement(leaves, outputs[witness])
        elif name not in gradients and witness is not None:
            columns[name]["disagreement"] = disagreement(leaves, outputs[witness][:1])


def _failure(error: Exception) -> str:
    """What a failed first call counts as: tracegrad says no, or something is wrong."""
    from tracegrad.errors import TraceError

    return "refused" if isinstance(error, TraceError) else "error"


def _one_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__
