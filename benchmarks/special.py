"""Errors of the functions of scipy.special: ``python -m benchmarks.special [name ...]``.

Prints a Markdown table; ``--docs`` writes docs/special-functions.md. Values and derivatives of
compiled kernels are compared with mpmath's at random points of a domain, and at the edges of
floating point with SciPy's.
"""

from __future__ import annotations

import argparse
import itertools
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import mpmath as mp
import numpy as np
import scipy

import tracegrad as tg
from benchmarks.special_reference import REFERENCES, function_of, sample_points
from tracegrad.ops.registry import REGISTRY
from tracegrad.tracing.ufuncs import OPS_BY_NAME

PAGE = Path(__file__).resolve().parent.parent / "docs" / "special-functions.md"
DIGITS = 70
_STEP = mp.mpf(10) ** -10
_NOISE = mp.mpf(10) ** -40
"""What the differences of exact values leave where the derivative is 0."""


def kernels(name: str, operand: int) -> Any:
    """(value, first derivative), (…, second) of a function by one operand, as one kernel."""
    function = function_of(name)

    def first(*x: Any) -> Any:
        along = lambda t: function(*x[:operand], t, *x[operand + 1 :])  # noqa: E731  # short
        return tg.jvp(along, (x[operand],), (np.ones_like(x[operand]),))

    def second(*x: Any) -> Any:
        along = lambda t: first(*x[:operand], t, *x[operand + 1 :])  # noqa: E731  # short
        return tg.jvp(along, (x[operand],), (np.ones_like(x[operand]),))

    return first, second


def relative(found: np.ndarray, exact: Iterable[Any], scale: Iterable[Any]) -> float:
    """The largest error, relative to the value or what moving the operand would change it by."""
    worst = 0.0
    for value, target, size in zip(found.tolist(), exact, scale, strict=True):
        error = abs(mp.mpf(value) - target)
        if error < _NOISE:
            continue
        error /= max(abs(target), size)
        worst = max(worst, float(error)) if error == error else float("nan")
    return worst


def derivatives(name: str, points: list[np.ndarray], operand: int, order: int) -> list[list[Any]]:
    """Exact derivatives 0, …, order by one operand, a list per order."""
    exact, columns = REFERENCES[name].exact, list(zip(*points, strict=True))
    found: list[list[Any]] = [[] for _ in range(order + 1)]
    for point in columns:
        numbers = [mp.mpf(float(x)) for x in point]

        def along(t: Any, numbers: list[Any] = numbers) -> Any:
            return mp.re(exact(*numbers[:operand], t, *numbers[operand + 1 :]))

        at = numbers[operand]
        if order == 0:
            found[0].append(along(at))
            continue
        below, less, value, more, above = (along(at + k * _STEP) for k in (-2, -1, 0, 1, 2))
        near, far = more - less, above - below
        slopes = (
            value,
            (8 * near - far) / (12 * _STEP),
            (16 * (more + less) - above - below - 30 * value) / (12 * _STEP**2),
            (far - 2 * near) / (2 * _STEP**3),
        )
        for each, slope in zip(found, slopes, strict=False):
            each.append(slope)
    return found


def errors(name: str, count: int) -> tuple[float, list[tuple[float, ...]]]:
    """The error of the value, and of the derivatives by each operand that has one."""
    what, points = REFERENCES[name], sample_points(name, count)
    value, rows = 0.0, []
    with mp.workdps(DIGITS):
        for operand in range(len(points)):
            orders = what.orders[operand] if what.orders else 2
            if operand in what.fixed:
                if operand == 0 and len(points) == 1:
                    found = np.asarray(tg.jit(function_of(name))(*points))
                    (exact,) = derivatives(name, points, 0, 0)
                    value = relative(found, exact, [0] * count)
                continue
            first, second = kernels(name, operand)
            if orders == 2:
                (values, slopes), (_, bends) = tg.jit(second)(*points)
            else:
                (values, slopes), bends = tg.jit(first)(*points), None
            exact = derivatives(name, points, operand, orders + 1)
            sizes = [abs(float(x)) for x in points[operand]]
            moved = [[x * abs(d) for x, d in zip(sizes, each, strict=True)] for each in exact]
            value = max(value, relative(np.asarray(values), exact[0], moved[1]))
            row = [relative(np.asarray(slopes), exact[1], moved[2])]
            if bends is not None:
                row.append(relative(np.asarray(bends), exact[2], moved[3]))
            rows.append(tuple(row))
    return value, rows


def edge_differences(name: str) -> int:
    """At how many edge points the kernel's value is not SciPy's in kind."""
    function, count = function_of(name), len(REFERENCES[name].domain)
    columns = zip(*itertools.product(REFERENCES[name].edges, repeat=count), strict=True)
    points = [np.array(c) for c in columns]
    for k in REFERENCES[name].whole:
        points[k] = np.floor(np.where(np.isfinite(points[k]), points[k], 2.0))
    with np.errstate(all="ignore"):
        try:
            expected = np.asarray(function(*points))
        except ValueError:  # SciPy refuses some: those can't be compared
            return 0
        found = np.asarray(tg.jit(function)(*points))
    ordinary = np.isfinite(expected) & (expected != 0.0)
    same = np.where(ordinary, np.isfinite(found), found == expected)
    return int(np.sum(~(same | (np.isnan(found) & np.isnan(expected)))))


def source(name: str) -> str:
    """Where the formula comes from: what the op's declaration says."""
    base, _, part = name.partition("[")
    several = {"airy": ("ai", "aip", "bi", "bip"), "sici": ("si", "ci"), "shichi": ("shi", "chi")}
    several["fresnel"] = ("s", "c")
    op = f"{base}_{several[base][int(part[0])]}" if part else OPS_BY_NAME.get(base, base)
    op = {"zeta": "hurwitz", "expn": "expn", "kn": "kv", "yn": "yv"}.get(base, op)
    return REGISTRY[op].source if op in REGISTRY else ""


def _number(x: float) -> str:
    return "NaN" if x != x else "0" if x == 0 else f"{x:.0e}".replace("e-0", "e-")


def row(name: str, count: int) -> list[str]:
    """The table's line of one function."""
    what = REFERENCES[name]
    domain = ", ".join(f"[{low:g}, {high:g}]" for low, high in what.domain)
    value, rows = errors(name, count)
    firsts = ", ".join(_number(each[0]) for each in rows) or "–"
    seconds = ", ".join(_number(each[1]) if len(each) > 1 else "–" for each in rows) or "–"
    edges = str(edge_differences(name))
    return [f"`{name}`", domain, _number(value), edges, firsts, seconds, what.formula, source(name)]


HEADINGS = ["function", "domain", "value", "edges", "1st", "2nd", "derivative", "source"]

INTRODUCTION = """\
# Special functions

Every function of `scipy.special` that can be traced, with the errors of its compiled kernel. This
page is written by `python -m benchmarks.special --docs` ({count} points a function, SciPy
{scipy}, mpmath {mpmath}).

Compiled loops call SciPy's own functions by the addresses of its Cython entry points
([tracegrad/backend/special.py](../tracegrad/backend/special.py)); SciPy is imported by the
kernels that use one. The error functions, log Γ and ψ⁽ⁿ⁾ and everything elementary are [kernels
of our own](vector-maths.md). They compute in float64; a float32 result is rounded from it.
Integers are promoted as SciPy does.

- *domain*: where the points lie, per operand.
- *value*, *1st*, *2nd*: the largest relative error of the value and of the first and second
  derivatives (by each operand that has one, in turn) against mpmath with {digits} digits. Near a
  zero the error is relative to |x f'(x)| where that is larger than |f(x)|, that is, to what
  rounding the operand makes of it. The derivatives of `expm1`, `expit` and `log_expit` are made
  of the value (out + 1, out (1 - out)): where they tend to 0, their absolute error stays at
  1e-16, so that the relative one grows.
- *edges*: at how many of the edges of floating point (zeros of both signs, infinities, NaN,
  poles, subnormal and large numbers, for several operands all combinations) the value is another
  than SciPy's in kind: NaN, an infinity, zero, or an ordinary number.
- *derivative*: its formula. "Composition" is made of operations whose rules apply. Derivatives
  have all orders, unless an order is named; "none" raises `NotDifferentiable` in both modes, for
  an operand that is not constant.

Conventions: at a pole a derivative is NaN or infinite, as its formula gives it; the derivative of
`i0e`, `i1e` and `ive` at 0 is the mean of its two sides; `expn` takes whole orders; distribution
functions that take a count, such as `pdtr`, have derivative zero by it.

"""


def write(lines: dict[str, str], count: int) -> None:
    """Write the page; functions that were not measured now keep their lines."""
    known = PAGE.read_text().splitlines() if PAGE.exists() else []
    kept = {line.split("`")[1]: line for line in known if line.startswith("| `")}
    found = kept | lines
    versions = {"scipy": scipy.__version__, "mpmath": mp.__version__}
    head = INTRODUCTION.format(count=count, digits=DIGITS, **versions)
    rows = [found[name] for name in REFERENCES if name in found]
    PAGE.write_text(head + "\n".join([*TABLE, *rows]) + "\n")


TABLE = ("| " + " | ".join(HEADINGS) + " |", "|---|---|--:|--:|--:|--:|---|---|")


def main() -> None:
    """Measure the functions named on the command line, or all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", default=list(REFERENCES))
    parser.add_argument("--count", type=int, default=12, help="points per function")
    parser.add_argument("--docs", action="store_true", help="write docs/special-functions.md")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    print(*TABLE, sep="\n")
    lines = {}
    for name in arguments.names:
        lines[name] = "| " + " | ".join(row(name, arguments.count)) + " |"
        print(lines[name], flush=True)
    if arguments.docs:
        write(lines, arguments.count)


if __name__ == "__main__":
    main()
