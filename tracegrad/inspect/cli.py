"""The command line: ``tracegrad demo``, ``tracegrad cache`` and ``tracegrad coverage``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import tracegrad


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status."""
    parser = argparse.ArgumentParser(
        prog="tracegrad", description="Compiled gradients of NumPy code."
    )
    parser.add_argument("--version", action="version", version=f"tracegrad {tracegrad.__version__}")
    commands = parser.add_subparsers(dest="command", required=True)

    demo = commands.add_parser("demo", help="fit two models on real data and show the gradients")
    demo.add_argument("--no-source", action="store_true", help="leave out the generated source")
    demo.add_argument(
        "--iterations", type=_positive, default=100, help="L-BFGS iterations at most (default 100)"
    )

    cache = commands.add_parser("cache", help="show or clear the kernel cache")
    cache.add_argument("--clear", action="store_true", help="remove every cached kernel")

    commands.add_parser("coverage", help="print the page that lists the supported functions")

    options = parser.parse_args(argv)
    if options.command == "coverage":
        from tracegrad.inspect.coverage import page

        print(page(), end="")
        return 0
    if options.command == "demo":
        from tracegrad.inspect import demo as demonstration

        return demonstration.run(show_source=not options.no_source, iterations=options.iterations)
    return _cache(clear=options.clear)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def _cache(*, clear: bool) -> int:
    from tracegrad.backend import cache

    directory = cache.usable_directory()
    if directory is None:
        print("There is no cache: no directory is writable by this user alone.")
        return 0
    files = [p for p in directory.iterdir() if p.suffix in (".py", ".o", ".nbc")]
    size = sum(p.stat().st_size for p in files)
    if clear:
        for path in files:
            path.unlink(missing_ok=True)
        print(f"Removed {len(files)} files ({size / 1e6:.1f} MB) from {directory}")
    else:
        print(f"{directory}: {len(files)} files, {size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
