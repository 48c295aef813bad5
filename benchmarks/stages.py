"""``python -m benchmarks.stages``: how long each stage of a first call takes.

Each workload makes its first call in a fresh process, so that what is done once (reading the
user's file, filling caches, importing what is imported late) is in the figures. The imports of
``numba`` and ``tracegrad.api`` are not, and the kernel is not compiled unless ``--compile`` is
given. Times are those of the processor; of several rounds the one with the smallest sum is shown.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

#: What is timed: the columns of the table, and the functions behind each. The time of a function
#: that runs within another belongs to the inner one's column.
STAGES = {
    "staging": ("staging.stage:stage",),
    "tracing": ("tracing.function:trace",),
    "array loops": ("passes.array_loops:open_loops",),
    "derivative": ("transforms.vjp:gradient",),
    "carries": ("passes.carries:carries",),
    "simplify": ("passes.simplify:simplify",),
    "cells": ("passes.cells:cells",),
    "products": ("passes.ahead:products_ahead", "passes.stacking:stack_products"),
    "windows": ("schedule.windows:open_windows", "schedule.packing:pack_matrices"),
    "in place": ("schedule.inplace:decide",),
    "regions": ("schedule.regions:schedule_regions",),
    "planning": ("schedule.pipeline:make_plan",),
    "lowering": ("schedule.pipeline:lower_region",),
    "checks": ("schedule.checks:hoist_checks",),
    "registers": ("schedule.registers:keep_in_registers",),
    "lanes": (
        "schedule.lanes:split_into_lanes",
        "schedule.counted:count_from_zero",
        "schedule.latency:shorten",
    ),
    "emission": ("backend.emit:emit_loop_form",),
    "compile": ("backend.compile:compile_kernel",),
    "other": ("compiled:Compiled._call",),
}


class NotCompiled(Exception):
    """Raised in place of compiling."""


class Clock:
    """Seconds that each stage takes by itself, without the stages within it."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(STAGES, 0.0)
        self._open: list[str] = []
        self._since = 0.0

    def _pass(self) -> None:
        now = time.process_time()
        if self._open:
            self.seconds[self._open[-1]] += now - self._since
        self._since = now

    @contextmanager
    def running(self, stage: str) -> Iterator[None]:
        """The time of the block is that of ``stage``."""
        self._pass()
        self._open.append(stage)
        try:
            yield
        finally:
            self._pass()
            self._open.pop()

    def timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """``function``, its time taken."""

        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with self.running(stage):
                return function(*args, **kwargs)

        return wrapper


def instrument(clock: Clock, *, compiles: bool) -> None:
    """Put the functions of `STAGES` under the clock, wherever tracegrad refers to them."""
    passes = importlib.import_module("tracegrad.passes")
    for stage, names in STAGES.items():
        for name in names:
            module, _, path = name.partition(":")
            owner: Any = importlib.import_module(f"tracegrad.{module}")
            *outer, last = path.split(".")
            for part in outer:
                owner = getattr(owner, part)
            function = getattr(owner, last)
            timed = clock.timed(stage, function)
            if stage == "compile" and not compiles:
                timed = _stop
            if outer:
                setattr(owner, last, timed)
                continue
            for found in [m for n, m in sys.modules.items() if n.startswith("tracegrad")]:
                for key, value in list(vars(found).items()):
                    if value is function:
                        setattr(found, key, timed)
            for pipeline in ("STANDARD", "LAST"):
                old = getattr(passes, pipeline)
                new = tuple((n, timed if p is function else p) for n, p in old.passes)
                setattr(passes, pipeline, type(old)(new))


def _stop(*args: Any, **kwargs: Any) -> None:
    raise NotCompiled


def measure(name: str, *, compiles: bool) -> dict[str, float]:
    """Seconds of each stage of the first call of a workload's gradient, here and now."""
    import tracegrad.api as tg

    from .workloads import all_cases

    case = next(case for case in all_cases() if case.name == name)
    arguments = case.inputs()
    clock = Clock()
    instrument(clock, compiles=compiles)
    gradient = tg.value_and_grad(case.function, argnums=case.argnums)
    with suppress(NotCompiled):
        gradient(*arguments)
    return clock.seconds


def _fresh(name: str, *, compiles: bool) -> dict[str, float]:
    """`measure` in a process of its own, with an empty cache of kernels."""
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as directory:
        command = [sys.executable, "-m", "benchmarks.stages", "--one", name]
        command += ["--compile"] if compiles else []
        environment = {"TRACEGRAD_CACHE_DIR": directory, "NUMBA_CACHE_DIR": directory}
        done = subprocess.run(
            command,
            env={**os.environ, **environment},
            cwd=Path(__file__).resolve().parent.parent,
            capture_output=True,
            text=True,
            check=True,
        )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def table(rows: dict[str, dict[str, float]]) -> str:
    """Markdown: a line for each workload, milliseconds, stages that take none left out."""
    used = [s for s in STAGES if any(row[s] >= 5e-5 for row in rows.values())]
    lines = [
        f"| workload | sum | {' | '.join(used)} |",
        f"| --- | {' | '.join(['---:'] * (len(used) + 1))} |",
    ]
    for name, row in rows.items():
        numbers = [f"{1e3 * row[stage]:.1f}" for stage in used]
        lines.append(f"| {name} | {1e3 * sum(row.values()):.1f} | {' | '.join(numbers)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure what the command line names, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stages", description=__doc__)
    parser.add_argument("-w", "--workloads", nargs="+", metavar="TEXT", default=[""])
    parser.add_argument("-r", "--rounds", type=int, default=3, help="fresh processes for each")
    parser.add_argument("--compile", action="store_true", help="compile the kernel too")
    parser.add_argument("--one", metavar="NAME", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one, compiles=options.compile)))
        return
    from .workloads import all_cases

    names = [c.name for c in all_cases() if any(text in c.name for text in options.workloads)]
    rows = {}
    for name in names:
        runs = [_fresh(name, compiles=options.compile) for _ in range(options.rounds)]
        rows[name] = min(runs, key=lambda run: sum(run.values()))
    print(table(rows))


if __name__ == "__main__":
    main()
