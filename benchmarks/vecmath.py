"""Error and speed of the vector-maths kernels: ``python -m benchmarks.vecmath [name ...]``.

Prints a Markdown table; ``--docs`` writes docs/vector-maths.md. Error: the largest distance from
mpmath's value, in units in the last place, over some thousand points that cover the whole domain.
Special: how many of the special points (zeros, infinities, NaN, subnormal numbers, the ends of the
range) give another value than NumPy does. Time: nanoseconds per element of ``out[i] = f(x[i])`` on
4096 elements in cache, the least of many runs: the kernel in float64 and float32, NumPy's ufunc
(SciPy's for erf, erfc and sigmoid), and Numba's own function (libm) in float64. Compile:
milliseconds that the call adds to the compilation of a loop that has none.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np

from benchmarks.__main__ import processor
from benchmarks.vecmath_reference import (
    ALLOWED,
    ALLOWED_ELSEWHERE,
    Floats,
    exact_values,
    sample_points,
    special_points,
    ulp_errors,
)
from tracegrad.backend import vecmath
from tracegrad.backend.compile import DEFAULT_FASTMATH

LIBM: dict[str, Callable[..., Any]] = {
    "exp": math.exp, "expm1": math.expm1, "log": math.log, "log1p": math.log1p,
    "log2": math.log2, "log10": math.log10, "pow": math.pow, "sin": math.sin, "cos": math.cos,
    "tan": math.tan, "arcsin": math.asin, "arccos": math.acos, "arctan": math.atan,
    "arctan2": math.atan2,
    "sinh": math.sinh, "cosh": math.cosh, "tanh": math.tanh, "erf": math.erf, "erfc": math.erfc,
}  # fmt: skip


def loop(function: Callable[..., Any], arity: int) -> Any:
    """The loop that a generated kernel would hold."""

    def unary(x: Any, out: Any) -> None:
        for i in range(x.size):
            out[i] = function(x[i])

    def binary(x: Any, y: Any, out: Any) -> None:
        for i in range(x.size):
            out[i] = function(x[i], y[i])

    return numba.njit(unary if arity == 1 else binary, fastmath=set(DEFAULT_FASTMATH))


def nanoseconds(call: Callable[..., Any], *arrays: Floats) -> float:
    """The least time of ``call(*arrays)`` per element."""
    call(*arrays)
    best = math.inf
    for _ in range(300):
        start = time.perf_counter_ns()
        call(*arrays)
        best = min(best, time.perf_counter_ns() - start)
    return best / arrays[0].size


def compile_milliseconds(make: Callable[[], Any], arity: int) -> float:
    """Least time to compile what ``make`` returns, made anew each time."""
    array = numba.float64[::1]
    times = []
    for _ in range(7):
        kernel = make()
        start = time.perf_counter()
        kernel.compile((array,) * (arity + 1))
        times.append(time.perf_counter() - start)
    return min(times) * 1e3


def bare_loop(arity: int) -> Any:
    """The loop without a function."""

    def unary(x: Any, out: Any) -> None:
        for i in range(x.size):
            out[i] = 2.0 * x[i]

    def binary(x: Any, y: Any, out: Any) -> None:
        for i in range(x.size):
            out[i] = x[i] * y[i]

    return numba.njit(unary if arity == 1 else binary, fastmath=set(DEFAULT_FASTMATH))


def special_differences(name: str, kernel: Any) -> int:
    """At how many special points, float64 and float32, the kernel is not the plain function."""
    differ = 0
    for dtype in (np.float64, np.float32):
        operands = special_points(name, dtype)
        out = np.empty_like(operands[0])
        kernel(*operands, out)
        points = zip(*operands, strict=True)
        expected = np.array([vecmath.PLAIN[name](*point) for point in points], dtype)
        rest = np.isfinite(expected) & (expected != 0.0)
        # Among ordinary numbers the table's error counts; here only that they are ordinary.
        same = np.where(rest, np.isfinite(out) & (out != 0.0), out == expected)
        same &= np.signbit(out) == np.signbit(expected)
        differ += int(np.sum(~(same | (np.isnan(out) & np.isnan(expected)))))
    return differ


def library_function(name: str) -> Callable[..., Any] | None:
    """NumPy's ufunc, or SciPy's where NumPy has none."""
    import scipy.special

    found = {"pow": np.power, "erf": scipy.special.erf, "erfc": scipy.special.erfc}
    found["sigmoid"] = scipy.special.expit
    return found.get(name, getattr(np, name, None))


def row(name: str, count: int) -> list[str]:
    """The table's line of one function."""
    function = vecmath.PLAIN[name]
    arity = len(sample_points(name, np.float64, 1))
    kernel = loop(function, arity)
    cells = [f"`{name}`"]
    for dtype in (np.float64, np.float32):
        operands = sample_points(name, dtype, count, seed=1)
        out = np.empty_like(operands[0])
        kernel(*operands, out)
        cells.append(f"{np.max(ulp_errors(out, exact_values(name, *operands))):.2f}")
    cells.append(f"{ALLOWED.get(name, ALLOWED_ELSEWHERE):.0f}")
    cells.append(str(special_differences(name, kernel)))
    rng = np.random.default_rng(0)
    x = [rng.uniform(0.1, 0.9, 4096) for _ in range(arity)]
    single = [v.astype(np.float32) for v in x]
    ufunc = library_function(name)
    libm = loop(LIBM[name], arity) if name in LIBM else None
    cells.append(f"{nanoseconds(kernel, *x, np.empty(4096)):.2f}")
    cells.append(f"{nanoseconds(kernel, *single, np.empty(4096, np.float32)):.2f}")
    cells.append(f"{nanoseconds(ufunc, *x, np.empty(4096)):.2f}" if ufunc else "–")
    cells.append(f"{nanoseconds(libm, *x, np.empty(4096)):.2f}" if libm else "–")
    bare = compile_milliseconds(lambda: bare_loop(arity), arity)
    cells.append(f"{compile_milliseconds(lambda: loop(function, arity), arity) - bare:.0f}")
    return cells


HEADINGS = [
    "function", "ulp f64", "ulp f32", "allowed", "special", "ns f64", "ns f32", "ns NumPy f64",
    "ns libm f64", "compile, ms",
]  # fmt: skip

PAGE = Path(__file__).resolve().parent.parent / "docs" / "vector-maths.md"

INTRODUCTION = """\
# Vector maths

Generated loops call branch-free kernels for the elementary functions, written as LLVM text and
inlined by it, so that the loop becomes vector code
([tracegrad/backend/vecmath](../tracegrad/backend/vecmath)). This page is written by `python -m
benchmarks.vecmath --docs`.

- *ulp*: the largest distance from the exact value (mpmath, 140 bits), in units in the last place,
  over the whole domain: {points} points or more in each of its parts, both ends of the range,
  subnormal results; *allowed* is what the tests hold it to.
- *special*: how many special points (zeros of both signs, infinities, NaN, subnormal numbers,
  ends of the range; for two operands all pairs) differ from NumPy's value in kind or sign.
- *ns*: time per element of `out[i] = f(x[i])` on 4096 elements in cache, one core, beside NumPy's
  ufunc (SciPy's for `erf`, `erfc`, `sigmoid`) and beside Numba's own function, which calls libm.
- *compile*: what the call adds to the compilation of a loop.

Measured on {machine}; ratios within a line are what to compare.

"""


def main() -> None:
    """Measure the functions named on the command line, or all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", default=list(vecmath.PLAIN))
    parser.add_argument("--count", type=int, default=2000, help="points per part of the domain")
    parser.add_argument("--docs", action="store_true", help="write docs/vector-maths.md")
    arguments = parser.parse_args()
    lines = ["| " + " | ".join(HEADINGS) + " |", "|---" + "|--:" * (len(HEADINGS) - 1) + "|"]
    print(*lines, sep="\n")
    for name in arguments.names:
        lines.append("| " + " | ".join(row(name, arguments.count)) + " |")
        print(lines[-1], flush=True)
    if arguments.docs:
        machine = f"{processor()}, numpy {np.__version__}, numba {numba.__version__}"
        introduction = INTRODUCTION.format(points=arguments.count, machine=machine)
        PAGE.write_text(introduction + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
