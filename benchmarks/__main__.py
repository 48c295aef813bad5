"""``python -m benchmarks``: every workload and every peer, side by side in one run."""

from __future__ import annotations

import argparse
import compileall
import ctypes
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

# Nothing that starts threads may be imported before `settle` has set how many there are.

THREADS = (
    "OPENBLAS_NUM_THREADS",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)
THREADED = ("tracegrad primal", "tracegrad", "tracegrad, parallel", "limit", "jax")
"""The columns of the run with default threads that goes with the one on one core."""


_RECORD = "all that the pages show: a run on CORE, one with default threads, then --docs"
_PLOT = "draw a saved run into docs/ (default: one-core.json in the output directory)"
_DOCS = "write docs/benchmarks.md, the README's figures and the pictures from the saved runs"


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    add = parser.add_argument
    add("--list", action="store_true", help="list workloads and peers, and stop")
    add("-w", "--workloads", nargs="+", metavar="TEXT", help="only those whose name holds a TEXT")
    add("-p", "--peers", nargs="+", metavar="NAME", help="only these columns")
    add("-r", "--rounds", type=int, help="interleaved samples of each contestant (default 20)")
    add("--quick", action="store_true", help="few short samples, no first calls, nothing else")
    add("--pin", type=int, metavar="CORE", help="one thread on this core (default: all threads)")
    add("--no-first-call", action="store_true", help="skip first calls in fresh processes")
    add("--no-memory", action="store_true", help="skip the peak memory of one call")
    add("--growth", action="store_true", help="growth curves too: time and memory by length")
    add("--threads", action="store_true", help="parallel kernels beside serial ones, no peers")
    add("-o", "--output", type=Path, metavar="DIRECTORY", help="where JSON and Markdown go")
    add("--name", help="of the files in it (default: the time)")
    add("--record", type=int, metavar="CORE", help=_RECORD)
    add("--plot", nargs="?", type=Path, const=True, metavar="JSON", help=_PLOT)
    add("--docs", action="store_true", help=_DOCS)
    return parser.parse_args(argv)


def settle(core: int | None) -> None:
    """Pin this process and its children to one core and one thread, if asked."""
    if core is None:
        return
    if not hasattr(os, "sched_setaffinity"):
        raise SystemExit("--pin needs os.sched_setaffinity (Linux)")
    os.sched_setaffinity(0, {core})
    for name in THREADS:
        os.environ[name] = "1"
    flags = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flags}".strip()


def processor() -> str:
    """The processor's name."""
    name = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                name = line.split(":", 1)[1].strip()
                break
    except OSError:
        pass  # not Linux: the platform module's name will do
    return name


def blas_kernels() -> str:
    """For which processor OpenBLAS, as loaded, chose its kernels; empty when that can't be told.

    Matrix products run half as fast with kernels for an older processor, which OpenBLAS takes when
    it does not know the present one (``OPENBLAS_CORETYPE`` overrides its choice).
    """
    try:
        maps = Path("/proc/self/maps").read_text().split()
        paths = sorted({word for word in maps if "openblas" in word and word.startswith("/")})
    except OSError:
        return ""
    found = set()
    for path in paths:
        library = ctypes.CDLL(path)
        for name in ("scipy_openblas_get_corename64_", "scipy_openblas_get_corename"):
            if hasattr(library, name):
                corename = getattr(library, name)
                corename.restype = ctypes.c_char_p
                found.add(corename().decode())
    chosen = os.environ.get("OPENBLAS_CORETYPE")
    why = f" (OPENBLAS_CORETYPE={chosen} is set)" if found and chosen else ""
    return ", ".join(sorted(found)) + why


def record(options: argparse.Namespace, output: Path) -> int:
    """Both runs that the pages need, each in a process of its own, and the pages."""
    command = [sys.executable, "-m", "benchmarks", "-o", str(output)]
    command += ["-r", str(options.rounds or 8)]
    command += ["--quick"] if options.quick else []
    command += ["-w", *options.workloads] if options.workloads else []
    one_core = ["--name", "one-core", "--pin", str(options.record), "--growth"]
    threads = ["--name", "threads", "--no-first-call", "--no-memory", "-p", *THREADED]
    failed = 0
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as directory:
        # The second run need not compile what the first has.
        environment = {"TRACEGRAD_CACHE_DIR": directory, **os.environ}
        for arguments in (one_core, threads):
            run = subprocess.run([*command, *arguments], env=environment, check=False)
            failed |= run.returncode
    # The pages tell what disagrees, too.
    return subprocess.run([*command, "--docs"], check=False).returncode or failed


def main(argv: list[str] | None = None) -> int:
    """Measure, print, save; the exit code is 1 when a gradient disagrees."""
    options = parse(argv)
    output: Path = options.output or Path(__file__).parent / "results"
    if options.record is not None:
        return record(options, output)
    if options.plot or options.docs:
        from .pages import write_pages, write_plots

        if options.docs:
            write_pages(output)
        else:
            write_plots(output / "one-core.json" if options.plot is True else options.plot)
        return 0
    settle(options.pin)
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    from . import memory
    from .growth import measure_growth
    from .measure import TOLERANCE, measure, peak_memory
    from .peers import PEERS
    from .probe import import_times
    from .report import markdown, save
    from .workloads import all_cases

    cases = all_cases()
    if options.list:
        print("workloads:", *(f"  {case.name}" for case in cases), sep="\n")
        print("peers:", *(f"  {name}" for name in PEERS), sep="\n")
        return 0
    if options.workloads:
        cases = [case for case in cases if any(text in case.name for text in options.workloads)]
    if options.threads and cases:
        from .threads import report_threads

        report_threads(
            [case for case in cases if case.group != "call"],
            rounds=options.rounds or 20,
            sample=0.005,
            first=not (options.quick or options.no_first_call),
            path=output / f"{options.name or 'parallel'}.md",
        )
        return 0
    unknown = set(options.peers or ()) - set(PEERS)
    if unknown or not cases:
        raise SystemExit("no such peer or workload; --list names them")
    peers = [name for name in PEERS if not options.peers or name in options.peers]
    versions, missing = {}, {}
    for name in peers:
        try:
            versions[PEERS[name].modules[0]] = PEERS[name].version()
        except ImportError as error:
            missing[name] = str(error)
            print(f"{name}: {error}", file=sys.stderr)
    peers = [name for name in peers if name not in missing]
    rounds = options.rounds or (5 if options.quick else 20)
    sample = 0.001 if options.quick else 0.005
    run: dict[str, Any] = {
        "stamp": time.strftime("%Y%m%d-%H%M%S"),
        "python": platform.python_version(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "load": list(os.getloadavg()) if hasattr(os, "getloadavg") else [],
        "versions": versions,
        "missing": missing,
        "blas": blas_kernels(),
        "peers": peers,
        "core": options.pin,
        "rounds": rounds,
        "cases": [],
    }
    start = time.monotonic()
    # As an installer does, so that first calls and imports don't compile our text.
    root = Path(__file__).resolve().parent
    for package in (root, root.parent / "tracegrad"):
        if package.is_dir():
            compileall.compile_dir(package, quiet=1)
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as directory:
        # Kernels are those of the present sources, whatever earlier runs left.
        os.environ.setdefault("TRACEGRAD_CACHE_DIR", directory)
        measured = []
        for number, case in enumerate(cases, start=1):
            print(f"[{number}/{len(cases)}] {case.name}", file=sys.stderr, flush=True)
            found, ready = measure(
                case,
                peers,
                rounds=rounds,
                sample=sample,
                first=not (options.quick or options.no_first_call),
                patience=1.0 if options.quick else 3.0,
            )
            run["cases"].append(found)
            measured.append((case, found, ready))
        if options.growth:
            run["growth"] = measure_growth(peers, rounds=min(rounds, 5), sample=sample)
        # Last, because it changes how malloc behaves.
        if not options.no_memory and (options.growth or not options.quick) and memory.available():
            for number, (case, found, ready) in enumerate(measured, start=1):
                if case.group != "call":
                    print(f"memory [{number}/{len(cases)}]", file=sys.stderr, flush=True)
                    peak_memory(case, found, ready)
    if "tracegrad" in peers and not (options.quick or options.no_first_call):
        run["imports"] = import_times()
    run["minutes"] = (time.monotonic() - start) / 60.0
    print(markdown(run))
    json_path, markdown_path = save(run, output, options.name)
    print(f"saved {json_path.name} and {markdown_path.name} in {json_path.parent}")
    columns = [column for case in run["cases"] for column in case["columns"].values()]
    return int(any(column.get("disagreement", 0.0) > TOLERANCE for column in columns))


if __name__ == "__main__":
    sys.exit(main())
