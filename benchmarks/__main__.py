"""``python -m benchmarks``: every workload and every peer, side by side in one run."""

from __future__ import annotations

import argparse
import compileall
import ctypes
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

# Nothing that starts threads may be imported before `settle` has set how many there are.

THREADS = (
    "OPENBLAS_NUM_THREADS",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    add = parser.add_argument
    add("--list", action="store_true", help="list workloads and peers, and stop")
    add("-w", "--workloads", nargs="+", metavar="TEXT", help="only those whose name holds a TEXT")
    add("-p", "--peers", nargs="+", metavar="NAME", help="only these columns")
    add("-r", "--rounds", type=int, help="interleaved samples of each contestant (default 20)")
    add("--quick", action="store_true", help="few short samples, no first calls, no memory")
    add("--pin", type=int, metavar="CORE", help="one thread on this core (default: all threads)")
    add("--no-first-call", action="store_true", help="skip first calls in fresh processes")
    add("--no-memory", action="store_true", help="skip the peak memory of one call")
    add("-o", "--output", type=Path, metavar="DIRECTORY", help="where JSON and Markdown go")
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


def main(argv: list[str] | None = None) -> int:
    """Measure, print, save; the exit code is 1 when a gradient disagrees."""
    options = parse(argv)
    settle(options.pin)
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    from .measure import TOLERANCE, measure
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
    unknown = set(options.peers or ()) - set(PEERS)
    if unknown or not cases:
        raise SystemExit("no such peer or workload; --list names them")
    peers = [name for name in PEERS if not options.peers or name in options.peers]
    versions = {}
    for name in peers:
        try:
            versions[PEERS[name].modules[0]] = PEERS[name].version()
        except ImportError as error:
            print(f"{name}: {error}", file=sys.stderr)
    peers = [name for name in peers if PEERS[name].modules[0] in versions]
    rounds = options.rounds or (5 if options.quick else 20)
    run = {
        "stamp": time.strftime("%Y%m%d-%H%M%S"),
        "python": platform.python_version(),
        "processor": processor(),
        "versions": versions,
        "blas": blas_kernels(),
        "peers": peers,
        "core": options.pin,
        "rounds": rounds,
        "cases": [],
    }
    # As an installer does, so that first calls and imports don't compile our text.
    root = Path(__file__).resolve().parent
    for package in (root, root.parent / "tracegrad"):
        if package.is_dir():
            compileall.compile_dir(package, quiet=1)
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as directory:
        # Kernels are those of the present sources, whatever earlier runs left.
        os.environ.setdefault("TRACEGRAD_CACHE_DIR", directory)
        for number, case in enumerate(cases, start=1):
            print(f"[{number}/{len(cases)}] {case.name}", file=sys.stderr, flush=True)
            found = measure(
                case,
                peers,
                rounds=rounds,
                sample=0.001 if options.quick else 0.005,
                first=not (options.quick or options.no_first_call),
                memory=not (options.quick or options.no_memory),
            )
            run["cases"].append(found)
    if "tracegrad" in peers and not (options.quick or options.no_first_call):
        run["imports"] = import_times()
    print(markdown(run))
    json_path, markdown_path = save(run, options.output or Path(__file__).parent / "results")
    print(f"saved {json_path.name} and {markdown_path.name} in {json_path.parent}")
    columns = [column for case in run["cases"] for column in case["columns"].values()]
    return int(any(column.get("disagreement", 0.0) > TOLERANCE for column in columns))


if __name__ == "__main__":
    sys.exit(main())
