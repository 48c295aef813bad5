"""Measured figures as tables: printed, Markdown and JSON."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from .measure import SIZES, TOLERANCE, TRIPS
from .peers import PRIMALS

__all__ = ["markdown", "save"]

Row = list[str]


def markdown(run: dict[str, Any]) -> str:
    """The whole report as Markdown; it reads well on a terminal too."""
    cases = [case for case in run["cases"] if case["group"] != "call"]
    calls = [case for case in run["cases"] if case["group"] == "call"]
    parts = ["# Benchmarks", "", *_heading(run), ""]
    for group, title in (("workload", ""), ("loop", "Loops: ")):
        members = [case for case in cases if case["group"] == group]
        if members:
            heading = "value and gradient, steady (minimum, median in brackets)"
            parts += [f"## {title}{heading if title else heading.capitalize()}", ""]
            parts += [*_table(*_steady(run, members)), ""]
            parts += [f"## {title}{'ratios' if title else 'Ratios'} of minima", ""]
            parts += [*_table(*_ratios(run, members)), ""]
    counted = [case for case in cases if case["elements"]]
    if counted:
        parts += ["## Nanoseconds per element (minimum)", ""]
        parts += [*_table(*_per_element(run, counted)), ""]
    tripped = [case for case in cases if any("trips" in c for c in case["columns"].values())]
    if tripped:
        parts += ["## First call less a later one, by trip count (empty caches)", ""]
        parts += [*_table(*_trips(run, tripped)), ""]
    if any("first call" in column for case in cases for column in case["columns"].values()):
        parts += ["## First call: cold / warm (imports excluded)", ""]
        parts += [*_table(*_first(run, cases)), ""]
    if any("memory" in column for case in cases for column in case["columns"].values()):
        parts += ["## Peak memory of one call beyond its inputs, MB", ""]
        parts += [*_table(*_memory(run, cases)), ""]
    sized = [case for case in cases if "versions" in case["columns"].get("tracegrad", {})]
    if sized:
        parts += [f"## Versions compiled by tracegrad for {SIZES} calls of {SIZES} sizes", ""]
        rows = [[case["name"], str(case["columns"]["tracegrad"]["versions"])] for case in sized]
        parts += [*_table(["workload", "versions"], rows), ""]
    if calls:
        parts += ["## Call overhead", ""]
        parts += [*_table(*_calls(run, calls)), ""]
    if "imports" in run:
        took = run["imports"]
        parts += [
            f"`import numba` takes {_time(took['numba'])}; tracegrad, with all that a call needs, "
            f"adds {_time(took['tracegrad'])}.",
            "",
        ]
    parts += _verdicts(run)
    return "\n".join(parts) + "\n"


def save(run: dict[str, Any], directory: Path) -> tuple[Path, Path]:
    """Write ``<stamp>.json`` and ``<stamp>.md`` into ``directory``; the two paths."""
    directory.mkdir(parents=True, exist_ok=True)
    stem = directory / run["stamp"]
    paths = stem.with_suffix(".json"), stem.with_suffix(".md")
    paths[0].write_text(json.dumps(run, indent=1) + "\n")
    paths[1].write_text(markdown(run))
    return paths


def _heading(run: dict[str, Any]) -> list[str]:
    versions = ", ".join(f"{name} {version}" for name, version in run["versions"].items())
    core = f"pinned to core {run['core']}" if run["core"] is not None else "default threads"
    if run["blas"]:
        versions += f", OpenBLAS kernels for {run['blas']}"
    return [
        f"{run['processor']}; Python {run['python']}; {versions}.",
        f"{core}; float64; {run['rounds']} interleaved rounds.",
    ]


def _columns(
    run: dict[str, Any], cases: list[dict[str, Any]], *, gradient: bool | None = None
) -> list[str]:
    """Column names in their order; only those that (don't) compute a gradient, if asked."""
    names = {name for case in cases for name in case["columns"]}
    # A variant of the limit stands beside the limit.
    order = [*run["peers"], *sorted(names - set(run["peers"]))]
    order.sort(key=lambda name: run["peers"].index(name.split(",")[0]))
    return [name for name in order if name in names and gradient in (None, name not in PRIMALS)]


def _steady(run: dict[str, Any], cases: list[dict[str, Any]]) -> tuple[Row, list[Row]]:
    names = _columns(run, cases)
    header = ["workload", *(f"{name} (primal)" if name == "numpy" else name for name in names)]
    rows = []
    for case in cases:
        row = [case["name"]]
        for name in names:
            column = case["columns"].get(name, {})
            if "min" in column:
                row.append(f"{_time(column['min'])} ({_time(column['median'])})")
            else:
                row.append(next((key for key in ("refused", "error") if key in column), "–"))
        rows.append(row)
    return header, rows


def _ratios(run: dict[str, Any], cases: list[dict[str, Any]]) -> tuple[Row, list[Row]]:
    """Tracegrad's gradient against each column; without tracegrad, the limit stands for it."""
    measured = any("min" in case["columns"].get("tracegrad", {}) for case in cases)
    subject = "tracegrad" if measured else "limit"
    others = [name for name in _columns(run, cases) if name != subject]
    header = ["workload"]
    for name in others:
        over = name in PRIMALS or name.startswith("limit")
        header.append(f"{subject}/{name}" if over else f"{name}/{subject}")
    rows = []
    products: dict[str, list[float]] = {name: [] for name in others}
    for case in cases:
        row = [case["name"]]
        for name, label in zip(others, header[1:], strict=True):
            value = _ratio(case, *label.split("/"))
            row.append("–" if value is None else f"{value:.2f}")
            if value is not None:
                products[name].append(value)
        rows.append(row)
    rows.append(
        ["geometric mean"]
        + [
            f"{math.exp(sum(map(math.log, values)) / len(values)):.2f}" if values else "–"
            for values in products.values()
        ]
    )
    return header, rows


def _ratio(case: dict[str, Any], above: str, below: str) -> float | None:
    top = case["columns"].get(above, {}).get("min")
    bottom = case["columns"].get(below, {}).get("min")
    return None if top is None or bottom is None else float(top / bottom)


def _per_element(run: dict[str, Any], cases: list[dict[str, Any]]) -> tuple[Row, list[Row]]:
    names = _columns(run, cases)
    rows = []
    for case in cases:
        took = [case["columns"].get(name, {}).get("min") for name in names]
        cells = ["–" if t is None else f"{t * 1e9 / case['elements']:.3g}" for t in took]
        rows.append([case["name"], f"{case['elements']}", *cells])
    return ["workload", "elements", *names], rows


def _trips(run: dict[str, Any], cases: list[dict[str, Any]]) -> tuple[Row, list[Row]]:
    header = ["workload, column", *(f"{trips} trips" for trips in TRIPS), "versions for all"]
    rows = []
    for case in cases:
        for name in _columns(run, cases, gradient=True):
            column = case["columns"].get(name, {})
            if "trips" in column:
                cells = [_time(seconds) for seconds in column["trips"].values()]
                versions = str(column.get("versions for trips", "–"))
                rows.append([f"{case['name']}, {name}", *cells, versions])
    return header, rows


def _first(run: dict[str, Any], cases: list[dict[str, Any]]) -> tuple[Row, list[Row]]:
    names = [name for name in _columns(run, cases, gradient=True) if not name.startswith("limit, ")]
    rows = []
    for case in cases:
        row = [case["name"]]
        for name in names:
            found = case["columns"].get(name, {}).get("first call")
            row.append(f"{_time(found['cold'])} / {_time(found['warm'])}" if found else "–")
        rows.append(row)
    return ["workload", *names], rows


def _memory(run: dict[str, Any], cases: list[dict[str, Any]]) -> tuple[Row, list[Row]]:
    names = [name for name in _columns(run, cases) if not name.startswith("limit, ")]
    rows = []
    for case in cases:
        found = {name: case["columns"].get(name, {}).get("memory") for name in names}
        sizes = next((f"{f['inputs']:.1f}, {f['results']:.1f}" for n, f in found.items() if f), "")
        results = [f for n, f in found.items() if f and n not in PRIMALS]
        if results:
            sizes = f"{results[0]['inputs']:.1f}, {results[0]['results']:.1f}"
        temporary = f"{case['temporary']:.0f}" if case["temporary"] else "–"
        peaks = [f"{f['peak']:.1f}" if f else "–" for f in found.values()]
        rows.append([case["name"], sizes, temporary, *peaks])
    return ["workload", "inputs, results", "broadcast temporary", *names], rows


_DIFFERENCES = (
    ("tracegrad", "limit"),
    ("tracegrad", "tracegrad entry"),
    ("tracegrad into", "tracegrad into entry"),
)
"""What a call costs above what."""


def _calls(run: dict[str, Any], calls: list[dict[str, Any]]) -> tuple[Row, list[Row]]:
    names = [name for name in _columns(run, calls) if not name.startswith("limit, ")]
    differences = [pair for pair in _DIFFERENCES if pair[0] in names and pair[1] in names]
    header = ["function", *names, *(f"{above} - {below}" for above, below in differences)]
    rows = []
    for case in calls:
        columns = case["columns"]
        row = [case["name"].removeprefix("call, ")]
        for name in names:
            column = columns.get(name, {})
            row.append(_time(column["min"]) if "min" in column else "–")
        for above, below in differences:
            more, less = (columns.get(name, {}).get("min") for name in (above, below))
            row.append("–" if more is None or less is None else f"{(more - less) * 1e9:.0f} ns")
        rows.append(row)
    return header, rows


def _verdicts(run: dict[str, Any]) -> list[str]:
    """What disagrees and what failed, in words; a failure that cases share is told once."""
    lines = []
    failures: dict[str, list[str]] = {}
    worst = 0.0
    for case in run["cases"]:
        for name, column in case["columns"].items():
            worst = max(worst, column.get("disagreement", 0.0))
            if column.get("disagreement", 0.0) > TOLERANCE:
                lines.append(f"- DISAGREES: {case['name']}, {name}: {column['disagreement']:.1e}")
            for key in ("refused", "error", "probe error"):
                if key in column:
                    failures.setdefault(f"{key}: {name}: {column[key]}", []).append(case["name"])
    lines += [f"- {text} ({', '.join(names)})" for text, names in failures.items()]
    return [f"Largest disagreement of any gradient: {worst:.1e} (relative).", "", *lines]


def _table(header: Row, rows: list[Row]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]

    def line(cells: Row) -> str:
        padded = [cells[0].ljust(widths[0])]
        padded += [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)]
        return "| " + " | ".join(padded) + " |"

    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return [line(header), line(rule), *map(line, rows)]


def _time(seconds: float) -> str:
    """Three digits with the unit that keeps them readable."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"
