"""Measured figures as tables: printed, Markdown and JSON."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

from .measure import SIZES, TOLERANCE, TRIPS
from .peers import PRIMALS

__all__ = ["Section", "duration", "markdown", "means", "save", "sections", "table"]

Row = list[str]


class Section(NamedTuple):
    """A table with what it says above it."""

    title: str
    note: str
    header: Row
    rows: list[Row]

    def lines(self, level: int = 2) -> list[str]:
        """As Markdown."""
        note = [self.note, ""] if self.note else []
        return [f"{'#' * level} {self.title}", "", *note, *table(self.header, self.rows), ""]


GROUPS = (
    ("Straight-line programs", lambda case: case["group"] == "workload" and not case["untuned"]),
    ("Loops", lambda case: case["group"] == "loop" and not case["untuned"]),
    ("Programs no one tuned for", lambda case: case["group"] != "call" and case["untuned"]),
)


def markdown(run: dict[str, Any]) -> str:
    """The whole report as Markdown; it reads well on a terminal too."""
    parts = ["# Benchmarks", "", *heading(run), ""]
    for section in sections(run):
        parts += section.lines()
    parts += closing(run)
    return "\n".join(parts) + "\n"


def sections(run: dict[str, Any]) -> list[Section]:
    """All tables of a run, in their order."""
    cases = [case for case in run["cases"] if case["group"] != "call"]
    calls = [case for case in run["cases"] if case["group"] == "call"]
    columns = [column for case in cases for column in case["columns"].values()]
    found = []
    for title, belongs in GROUPS:
        members = [case for case in cases if belongs(case)]
        if members:
            found.append(Section(f"{title}: ratios of minima", "", *_ratios(run, members)))
            found.append(Section(f"{title}: value and gradient", _spread(members),
                                 *_steady(run, members)))  # fmt: skip
            if any("memory" in c for case in members for c in case["columns"].values()):
                note = "Peak of one call beyond its inputs and what was there before; MB."
                found.append(Section(f"{title}: memory", note, *_memory(run, members)))
    counted = [case for case in cases if case["elements"]]
    if counted:
        found.append(Section("Nanoseconds per element (minimum)", "", *_per_element(run, counted)))
    if any("first call" in column for column in columns):
        note = "In fresh processes, without imports: empty caches / caches as the first left them."
        found.append(Section("First call: cold / warm", note, *_first(run, cases)))
    tripped = [case for case in cases if any("trips" in c for c in case["columns"].values())]
    if tripped:
        title = "First call less a later one, by trip count (empty caches)"
        found.append(Section(title, "", *_trips(run, tripped)))
    prepared = [name for name in run["peers"] if name in ("pytensor", "casadi")]
    if prepared:
        note = (
            "From the symbols to the first result within this run's process; PyTensor's disk cache "
            "is as earlier runs left it."
        )
        found.append(Section("Getting ready", note, *_prepared(cases, prepared)))
    sized = [case for case in cases if "versions" in case["columns"].get("tracegrad", {})]
    if sized:
        rows = [[case["name"], str(case["columns"]["tracegrad"]["versions"])] for case in sized]
        title = f"Versions compiled by tracegrad for {SIZES} calls of {SIZES} sizes"
        found.append(Section(title, "", ["workload", "versions"], rows))
    if calls:
        found.append(Section("Call overhead", "", *_calls(run, calls)))
    for curve in run.get("growth", ()):
        found.append(Section(f"Growth: {curve['title']}", "", *_growth(curve)))
    return found


def closing(run: dict[str, Any]) -> list[str]:
    """What follows the tables: imports, what disagrees, what failed, what was left out."""
    lines = []
    if "numpy" in run.get("imports", ()):
        took = run["imports"]
        lines += [
            f"`import numpy` takes {duration(took['numpy'])}; tracegrad, with all that a call "
            f"needs, adds {duration(took['tracegrad'])}.",
            "",
        ]
    return lines + _verdicts(run)


def means(run: dict[str, Any], above: str, below: str, *, untuned: bool = False) -> dict[str, Any]:
    """Geometric mean, worst and number of the ratios of ``above`` to ``below``."""
    found = [
        (value, case["name"])
        for case in run["cases"]
        if case["group"] != "call" and case["untuned"] == untuned
        if (value := _ratio(case, above, below)) is not None
    ]
    if not found:
        return {"mean": None, "count": 0}
    mean = _mean([value for value, _ in found])
    return {"mean": mean, "count": len(found), "largest": max(found), "smallest": min(found)}


def save(run: dict[str, Any], directory: Path, name: str | None = None) -> tuple[Path, Path]:
    """Write ``<name>.json`` and ``<name>.md`` into ``directory``; the two paths."""
    directory.mkdir(parents=True, exist_ok=True)
    name = name or run["stamp"]
    paths = directory / f"{name}.json", directory / f"{name}.md"
    paths[0].write_text(json.dumps(run, indent=1) + "\n")
    paths[1].write_text(markdown(run))
    return paths


def heading(run: dict[str, Any]) -> list[str]:
    versions = ", ".join(f"{name} {version}" for name, version in run["versions"].items())
    core = f"pinned to core {run['core']}" if run["core"] is not None else "default threads"
    if run["blas"]:
        versions += f", OpenBLAS kernels for {run['blas']}"
    """What was measured with what."""
    if run["missing"]:
        reasons = (f"{name} ({reason})" for name, reason in run["missing"].items())
        versions += f"; left out: {', '.join(reasons)}"
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
    places = {name: place for place, name in enumerate(run["peers"])}
    order.sort(key=lambda name: places.get(name, places.get(name.split(",")[0], len(places))))
    return [name for name in order if name in names and gradient in (None, name not in PRIMALS)]


def _steady(run: dict[str, Any], cases: list[dict[str, Any]]) -> tuple[Row, list[Row]]:
    names = _columns(run, cases)
    header = ["minimum", *(f"{name} (primal)" if name == "numpy" else name for name in names)]
    rows = []
    for case in cases:
        row = [case["name"]]
        for name in names:
            column = case["columns"].get(name, {})
            if "min" in column:
                row.append(duration(column["min"]))
            else:
                row.append(next((key for key in ("refused", "error") if key in column), "–"))
        rows.append(row)
    return header, rows


def _spread(cases: list[dict[str, Any]]) -> str:
    """How far medians lie above minima: what the noise of the machine was."""
    found = sorted(
        column["median"] / column["min"]
        for case in cases
        for column in case["columns"].values()
        if column.get("min")
    )
    if not found:
        return ""
    middle, most = found[len(found) // 2], found[int(0.9 * (len(found) - 1))]
    return (
        f"The median of a column's samples is {middle:.2f} times its minimum in the middle of all "
        f"entries, {most:.2f} times in one of ten."
    )


def _ratios(run: dict[str, Any], cases: list[dict[str, Any]]) -> tuple[Row, list[Row]]:
    """Tracegrad's gradient against each column; without tracegrad, the limit stands for it."""
    measured = any("min" in case["columns"].get("tracegrad", {}) for case in cases)
    subject = "tracegrad" if measured else "limit"
    others = [name for name in _columns(run, cases) if name != subject]
    # The limits come first, then the primals, then the peers.
    others.sort(key=lambda name: 0 if name.startswith("limit") else 1 if name in PRIMALS else 2)
    ours = "limit", "tracegrad"
    over = [name in PRIMALS or name.startswith(ours) for name in others]
    header = ["workload"]
    for name, divides in zip(others, over, strict=True):
        header.append(f"{subject}/{name}" if divides else f"{name}/{subject}")
    rows = []
    products: dict[str, list[float]] = {name: [] for name in others}
    for case in cases:
        row = [case["name"]]
        for name, divides in zip(others, over, strict=True):
            pair = (subject, name) if divides else (name, subject)
            value = _ratio(case, *pair)
            row.append("–" if value is None else _number(value))
            if value is not None:
                products[name].append(value)
        rows.append(row)
    found = products.values()
    rows.append(
        ["**geometric mean**"] + [_number(_mean(values)) if values else "–" for values in found]
    )
    worst = [
        _number((max if divides else min)(values)) if values else "–"
        for values, divides in zip(found, over, strict=True)
    ]
    rows.append(["**worst**", *worst])
    return header, rows


def _mean(values: list[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values))


def _number(value: float) -> str:
    return f"{value:.2f}" if value < 9.995 else f"{value:.3g}" if value < 1000 else f"{value:.0f}"


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
                cells = [duration(seconds) for seconds in column["trips"].values()]
                versions = str(column.get("versions for trips", "–"))
                rows.append([f"{case['name']}, {name}", *cells, versions])
    return header, rows


def _first(run: dict[str, Any], cases: list[dict[str, Any]]) -> tuple[Row, list[Row]]:
    names = [
        name
        for name in _columns(run, cases)
        if any("first call" in case["columns"].get(name, {}) for case in cases)
    ]
    rows = []
    kinds = "cold", "warm"
    times: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for case in cases:
        row = [case["name"]]
        for name in names:
            found = case["columns"].get(name, {}).get("first call")
            row.append(f"{duration(found['cold'])} / {duration(found['warm'])}" if found else "–")
            times[name] += [found] if found else []
        rows.append(row)
    for label, fold in (("**geometric mean**", _mean), ("**longest**", max)):
        cells = [
            " / ".join(duration(fold([took[kind] for took in times[name]])) for kind in kinds)
            for name in names
        ]
        rows.append([label, *cells])
    return ["workload", *names], rows


def _memory(run: dict[str, Any], cases: list[dict[str, Any]]) -> tuple[Row, list[Row]]:
    names = [
        name
        for name in _columns(run, cases)
        if any("memory" in case["columns"].get(name, {}) for case in cases)
    ]
    rows = []
    for case in cases:
        found = {name: case["columns"].get(name, {}).get("memory") for name in names}
        sizes = next((f"{f['inputs']:.1f}, {f['results']:.1f}" for n, f in found.items() if f), "")
        results = [f for n, f in found.items() if f and n not in PRIMALS]
        if results:
            sizes = f"{results[0]['inputs']:.1f}, {results[0]['results']:.1f}"
        temporary = f"{case['temporary']:.0f}" if case["temporary"] else "–"
        peaks = [f"{f['peak']:.2f}" if f else "–" for f in found.values()]
        rows.append([case["name"], sizes, temporary, *peaks])
    return ["workload", "inputs, results", "broadcast temporary", *names], rows


def _prepared(cases: list[dict[str, Any]], names: list[str]) -> tuple[Row, list[Row]]:
    rows = []
    for case in cases:
        took = [case["columns"].get(name, {}).get("prepared") for name in names]
        rows.append([case["name"], *("–" if t is None else duration(t) for t in took)])
    return ["workload", *names], rows


def _growth(curve: dict[str, Any]) -> tuple[Row, list[Row]]:
    names = list(curve["peers"])
    sizes = sorted({point["size"] for points in curve["peers"].values() for point in points})
    rows = []
    for size in sizes:
        row = [f"{size}"]
        for name in names:
            point = next((p for p in curve["peers"][name] if p["size"] == size), None)
            memory = "" if point is None else f", {point.get('megabytes', math.nan):.3g} MB"
            row.append("–" if point is None else duration(point["seconds"]) + memory)
        rows.append(row)
    return [curve["length"], *names], rows


_DIFFERENCES = (
    ("tracegrad", "limit"),
    ("tracegrad", "tracegrad entry"),
    ("tracegrad into", "tracegrad into entry"),
)
"""What a call costs above what."""


def _calls(run: dict[str, Any], calls: list[dict[str, Any]]) -> tuple[Row, list[Row]]:
    names = _columns(run, calls)
    pairs = [pair for pair in _DIFFERENCES if pair[0] in names and pair[1] in names]
    header = ["function", *names, *(f"{name} - {base}" for name, base in pairs)]
    rows = []
    for case in calls:
        took = {name: case["columns"].get(name, {}).get("min") for name in names}
        row = [case["name"].removeprefix("call, ")]
        row += ["–" if took[name] is None else duration(took[name]) for name in names]
        for name, base in pairs:
            known = took[name] is not None and took[base] is not None
            row.append(f"{(took[name] - took[base]) * 1e9:.0f} ns" if known else "–")
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


def table(header: Row, rows: list[Row]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]

    def line(cells: Row) -> str:
        padded = [cells[0].ljust(widths[0])]
        padded += [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)]
        return "| " + " | ".join(padded) + " |"

    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return [line(header), line(rule), *map(line, rows)]


def duration(seconds: float) -> str:
    """Three digits with the unit that keeps them readable."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"
