"""``python -m benchmarks --threads``: parallel kernels beside serial ones, on one thread and all.

Three columns of each workload, in turn: the serial kernel, the parallel one with one thread, and
the parallel one with as many threads as there are cores. With one thread it should take the serial
kernel's time; where loops are small or the time is in recurrences or matrix products, all threads
should take no longer.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time
import timeit
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .case import Case
from .report import duration, table

FIRST = """
import sys, time
import tracegrad as tg
from benchmarks.workloads import all_cases
case = next(case for case in all_cases() if case.name == sys.argv[1])
args = case.inputs()
tg.jit(lambda x: x)(1.0)  # imports
start = time.process_time()
tg.value_and_grad(case.function, argnums=case.argnums, parallel=sys.argv[2] == "True")(*args)
print(time.process_time() - start)
"""


def measure_threads(
    cases: Sequence[Case], *, rounds: int, sample: float, first: bool
) -> list[dict[str, Any]]:
    """The rows: seconds by column, how many loops are split, seconds of the processor at first."""
    import tracegrad as tg

    cores = tg.get_num_threads()
    rows = []
    for case in cases:
        args = case.inputs()
        serial: Any = tg.value_and_grad(case.function, argnums=case.argnums)
        parallel: Any = tg.value_and_grad(case.function, argnums=case.argnums, parallel=True)
        serial(*args)
        parallel(*args)
        columns = {
            "serial": (serial, cores),
            "one thread": (parallel, 1),
            f"{cores} threads": (parallel, cores),
        }
        row: dict[str, Any] = {"name": case.name, **_in_turn(columns, args, rounds, sample)}
        row["loops"] = len(parallel.lower(*args).loop_form.parts)
        if first and row["loops"]:
            row["first"] = [_first_call(case.name, each) for each in (False, True)]
        print(f"  {case.name}", file=sys.stderr, flush=True)
        rows.append(row)
    tg.set_num_threads(cores)
    return rows


def _in_turn(
    columns: Mapping[str, tuple[Callable[..., Any], int]],
    args: tuple[Any, ...],
    rounds: int,
    sample: float,
) -> dict[str, float]:
    """Seconds of a call, by column: the least of the rounds, in which each has one sample."""
    from tracegrad import set_num_threads

    best = dict.fromkeys(columns, float("inf"))
    numbers: dict[str, int] = {}
    for turn in range(rounds + 1):
        gc.collect()
        for name, (call, count) in columns.items():
            set_num_threads(count)
            timer = timeit.Timer(lambda call=call: call(*args))  # type: ignore[misc]  # a default
            once = timer.timeit(1)
            if turn == 0:  # warms up, and tells how many calls fill a sample
                numbers[name] = max(1, int(sample / max(timer.timeit(1), 1e-7)))
                continue
            number = numbers[name]
            best[name] = min(best[name], once, timer.timeit(number) / number)
    return best


def _first_call(name: str, parallel: bool) -> float:
    """Seconds of the processor that a first call takes in a fresh process, nothing cached."""
    environment = {**os.environ, "TRACEGRAD_CACHE_DIR": ""}
    command = [sys.executable, "-c", FIRST, name, str(parallel)]
    root = Path(__file__).resolve().parent.parent
    return min(
        float(
            subprocess.run(
                command, cwd=root, env=environment, capture_output=True, text=True, check=True
            ).stdout
        )
        for _ in range(2)
    )


def threads_page(rows: Sequence[dict[str, Any]]) -> str:
    """A table of the rows, in Markdown."""
    columns = [key for key in rows[0] if key not in ("name", "loops", "first")]
    head = ["workload", "loops", *columns, f"one/{columns[0]}", f"{columns[0]}/all", "first call"]
    lines = []
    for row in rows:
        serial, one, several = (row[column] for column in columns)
        firsts = row.get("first")
        lines.append(
            [
                row["name"],
                str(row["loops"]),
                *(duration(row[column]) for column in columns),
                f"{one / serial:.2f}",
                f"{serial / several:.2f}",
                "–" if firsts is None else f"{firsts[0]:.2f} → {firsts[1]:.2f} s",
            ]
        )
    return "\n".join(table(head, lines))


def report_threads(
    cases: Sequence[Case], *, rounds: int, sample: float, first: bool, path: Path
) -> None:
    """Measure, print, and keep the table as ``path``."""
    start = time.monotonic()
    loads = os.getloadavg() if hasattr(os, "getloadavg") else ()
    rows = measure_threads(cases, rounds=rounds, sample=sample, first=first)
    minutes = (time.monotonic() - start) / 60.0
    page = threads_page(rows)
    load = f"; load {loads[0]:.1f} at the start" if loads else ""
    text = f"{page}\n\n{rounds} rounds, {minutes:.1f} minutes{load}.\n"
    print(text)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
