"""Pictures of a saved run: ratios as bars, growth as curves. SVG that reads on light and dark."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

__all__ = ["draw_growth", "draw_ratios"]

INK = "#757d88"
"""Grey that stands out against white and against black alike; backgrounds are transparent."""
COLOURS = {
    "tracegrad": "#e0702a",
    "limit": "#8a929c",
    "jax": "#4c8fd6",
    "pytensor": "#3aa675",
    "casadi": "#b07ad0",
    "autograd": "#c9a227",
}
NAMES = {
    "limit": "hand-written Numba adjoint",
    "jax": "JAX, jitted",
    "pytensor": "PyTensor",
    "casadi": "CasADi",
    "autograd": "autograd",
}


def draw_ratios(
    run: dict[str, Any],
    path: Path,
    *,
    cases: Sequence[str] | None = None,
    names: Mapping[str, str] = MappingProxyType({}),
    thickness: float = 0.095,
) -> None:
    """Bars of time over the hand-written adjoint's, on a logarithmic axis, grouped by workload.

    Parameters
    ----------
    run : as saved.
    path : of the picture.
    cases : names of the workloads, all by default.
    names : what the picture calls them.
    thickness : of a bar, in inches.
    """
    plt = _pyplot()
    peers = [name for name in COLOURS if name in run["peers"] and name != "limit"]
    rows = []
    for case in run["cases"]:
        base = case["columns"].get("limit", {}).get("min")
        if case["group"] == "call" or base is None or (cases and case["name"] not in cases):
            continue
        took = {name: case["columns"].get(name, {}).get("min") for name in peers}
        rows.append((case["name"], {name: t / base for name, t in took.items() if t}))
    if cases:
        rows.sort(key=lambda row: list(cases).index(row[0]))
    if not rows:
        return
    top = max(max(values.values()) for _, values in rows)
    lowest = min(min(values.values()) for _, values in rows)
    left = min(0.5, 0.8 * lowest)
    bar = 1.0 / (len(peers) + 1.2)
    height = thickness * (len(peers) + 1.2) * len(rows) + 1.15
    figure, axes = plt.subplots(figsize=(8.6, height))
    for place, (_, values) in enumerate(rows):
        for number, name in enumerate(peers):
            y = place + (number - (len(peers) - 1) / 2) * bar
            if name not in values:
                axes.text(left * 1.05, y, "–", va="center", color=INK, fontsize=6)
                continue
            value = values[name]
            axes.barh(y, value - left, bar * 0.9, left=left, color=COLOURS[name], lw=0)
            axes.text(value * 1.06, y, _label(value), va="center", color=INK, fontsize=6.4)
    axes.axvline(1.0, color=INK, lw=1.0, ls=(0, (4, 2)), zorder=3)
    axes.set_xscale("log")
    axes.set_xlim(left, top * 2.2)
    axes.set_ylim(len(rows) - 0.45, -0.55)
    axes.set_yticks(range(len(rows)), [names.get(name, name) for name, _ in rows])
    ticks = [10.0**k for k in range(math.ceil(math.log10(top)) + 1)]
    axes.set_xticks(ticks, [_label(tick) for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("time of value and gradient; 1 is the adjoint written by hand (log scale)")
    handles = [plt.Rectangle((0, 0), 1, 1, color=COLOURS[name]) for name in peers]
    _legend(figure, handles, [NAMES.get(name, name) for name in peers], height)
    _style(axes)
    axes.tick_params(axis="y", length=0)
    _save(figure, path)


def draw_growth(run: dict[str, Any], path: Path) -> None:
    """Time above and memory below against the length, one column for each curve."""
    plt = _pyplot()
    curves = run.get("growth", [])
    if not curves:
        return
    figure, grid = plt.subplots(
        2, len(curves), figsize=(3.05 * len(curves), 5.6), squeeze=False, sharex="col"
    )
    shown: dict[str, Any] = {}
    for column, curve in enumerate(curves):
        for row, key in enumerate(("seconds", "megabytes")):
            axes = grid[row][column]
            for name in reversed([name for name in COLOURS if name in curve["peers"]]):
                points = [p for p in curve["peers"][name] if p.get(key) is not None]
                # Less than a tenth of a megabyte can't be told from nothing.
                values = [max(p[key], 0.1) if key == "megabytes" else p[key] for p in points]
                (shown[name],) = axes.plot(
                    [p["size"] for p in points],
                    values,
                    color=COLOURS[name],
                    lw=1.6,
                    ls="--" if name == "limit" else "-",
                    marker="o",
                    ms=3,
                )
            axes.set_xscale("log")
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(plt.LogLocator(numticks=20))
            if key == "seconds":
                axes.yaxis.set_major_formatter(lambda value, _: _seconds(value))
                axes.set_title(curve["title"], color=INK, fontsize=9)
            else:
                axes.yaxis.set_major_formatter(lambda value, _: f"{value:g} MB")
                axes.set_xlabel(curve["length"])
            axes.minorticks_off()
            _style(axes)
            axes.grid(color=INK, alpha=0.18, lw=0.6)
    grid[0][0].set_ylabel("value and gradient")
    grid[1][0].set_ylabel("peak memory of the call")
    order = [name for name in COLOURS if name in shown]
    names = [NAMES.get(name, name) for name in order]
    _legend(figure, [shown[name] for name in order], names, 5.6)
    _save(figure, path)


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("Agg")
    # Text stays text, and the same picture gives the same file.
    matplotlib.rcParams.update(
        {
            "svg.fonttype": "none",
            "svg.hashsalt": "tracegrad",
            "font.family": "sans-serif",
            "font.sans-serif": ["Helvetica", "Arial", "DejaVu Sans"],
            "font.size": 8.5,
        }
    )
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogLocator

    plt.LogLocator = LogLocator  # type: ignore[attr-defined]  # the one more name that we use
    return plt


def _legend(figure: Any, handles: list[Any], names: list[str], height: float) -> None:
    figure.legend(
        handles,
        names,
        loc="upper center",
        bbox_to_anchor=(0.5, 1.0 + 0.1 / height),
        ncols=len(names),
        frameon=False,
        labelcolor=INK,
        handlelength=1.4,
        columnspacing=1.6,
    )


def _style(axes: Any) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(INK)
    axes.tick_params(colors=INK, which="both")
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)


def _save(figure: Any, path: Path) -> None:
    figure.tight_layout(rect=(0, 0, 1, 1 - 0.3 / figure.get_figheight()))
    options: dict[str, Any] = {"metadata": {"Date": None}} if path.suffix == ".svg" else {}
    figure.savefig(path, transparent=True, bbox_inches="tight", dpi=150, **options)
    _pyplot().close(figure)


def _label(value: float) -> str:
    if value < 10:
        return f"{value:.2g}" if value < 0.95 else f"{value:.1f}".removesuffix(".0")
    return f"{value:,.0f}"


def _seconds(value: float) -> str:
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= 0.999 * scale:
            return f"{value / scale:g} {unit}"
    return f"{value * 1e9:g} ns"
