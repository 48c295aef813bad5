"""What only a fresh process can tell: the first call and imports.

``python -m benchmarks.probe first-call CASE PEER`` and ``... compile CASE PEER --trips T`` print
one line of JSON. The parent sets the cache directories, so that cold and warm are its choice.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from .numba_limit import CACHE_VARIABLE

__all__ = ["compile_time", "first_calls", "import_times"]


def first_calls(case: str, peer: str) -> dict[str, float]:
    """Seconds of the first call with empty caches (cold) and in a second process (warm)."""
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as directory:
        cold = _run("first-call", case, peer, directory)
        warm = _run("first-call", case, peer, directory)
    return {"cold": cold["seconds"], "warm": warm["seconds"], "import": warm["import"]}


def compile_time(case: str, peer: str, trips: int) -> float:
    """Seconds that the first call with ``trips`` trips takes beyond a later one; empty caches."""
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as directory:
        return _run("compile", case, peer, directory, "--trips", str(trips))["seconds"]


def import_times(repeats: int = 5) -> dict[str, float]:
    """Seconds of importing numba, and then all that tracegrad needs for a call; minima."""
    runs = [json.loads(_output(["-c", _IMPORTS], dict(os.environ))) for _ in range(repeats)]
    return {name: min(run[name] for run in runs) for name in runs[0]}


# Not a function of this module: importing that imports numba.
_IMPORTS = """
import json, time
start = time.perf_counter()
import numpy
between = time.perf_counter()
import tracegrad.api
print(json.dumps({"numpy": between - start, "tracegrad": time.perf_counter() - between}))
"""


def _run(what: str, case: str, peer: str, directory: str, *more: str) -> dict[str, float]:
    environment = {
        **os.environ,
        CACHE_VARIABLE: "1",
        "TRACEGRAD_CACHE_DIR": f"{directory}/tracegrad",
        "NUMBA_CACHE_DIR": f"{directory}/numba",
        "JAX_ENABLE_COMPILATION_CACHE": "1",
        "JAX_COMPILATION_CACHE_DIR": f"{directory}/jax",
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    found: dict[str, float] = json.loads(
        _output(["-m", "benchmarks.probe", what, case, peer, *more], environment)
    )
    return found


def _output(arguments: list[str], environment: dict[str, str]) -> str:
    """The last line that a fresh Python prints."""
    root = Path(__file__).resolve().parent.parent
    done = subprocess.run(
        [sys.executable, *arguments],
        env=environment,
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        raise RuntimeError(lines[-1] if lines else f"exit code {done.returncode}")
    return done.stdout.strip().splitlines()[-1]


def _first_call(case_name: str, peer_name: str) -> dict[str, float]:
    from .peers import PEERS, Contestant

    peer = PEERS[peer_name]
    case = _find(case_name)
    start = time.perf_counter()
    peer.version()
    imported = time.perf_counter()
    args = case.inputs()
    placed = peer.place(args)
    start_call = time.perf_counter()
    call = peer.prepare(case, args)
    call() if isinstance(call, Contestant) else call(*placed)
    return {"seconds": time.perf_counter() - start_call, "import": imported - start}


def _compile(case_name: str, peer_name: str, trips: int) -> dict[str, float]:
    from .peers import PEERS

    peer = PEERS[peer_name]
    case = _find(case_name)
    peer.version()
    args = case.trips(trips)
    placed = peer.place(args)
    start = time.perf_counter()
    call = peer.prepare(case, args)
    call(*placed)
    first = time.perf_counter() - start
    later = []
    for _ in range(3):
        start = time.perf_counter()
        call(*placed)
        later.append(time.perf_counter() - start)
    return {"seconds": first - min(later)}


def _find(name: str) -> Any:
    from .workloads import all_cases

    return next(case for case in all_cases() if case.name == name)


def main() -> None:
    """Measure what the command line names and print it as JSON."""
    parser = argparse.ArgumentParser(prog="benchmarks.probe", description=__doc__)
    parser.add_argument("what", choices=("first-call", "compile"))
    parser.add_argument("case")
    parser.add_argument("peer")
    parser.add_argument("--trips", type=int, default=100)
    arguments = parser.parse_args()
    if arguments.what == "compile":
        found = _compile(arguments.case, arguments.peer, arguments.trips)
    else:
        found = _first_call(arguments.case, arguments.peer)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
