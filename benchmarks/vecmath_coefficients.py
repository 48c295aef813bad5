"""Compute the polynomial tables of ``tracegrad.backend.vecmath`` with the Remez exchange.

Run ``python -m benchmarks.vecmath_coefficients > tracegrad/backend/vecmath/coefficients.py``.

Each table is a polynomial p of the stated degree on [a, b] that minimises the largest
``|weight(x) * (f(x) - p(x))|``, found in 60-digit arithmetic and then rounded coefficient by
coefficient. The weight turns the error of p into the relative error of the function the kernel
returns, so the number printed beside each table reads as "bits of the result".

Source: J.-M. Muller, *Elementary Functions*, 3rd ed., section 3.4 (Remez' algorithm).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mpmath as mp
import numpy as np

mp.mp.dps = 60

Real = Any  # an mpmath number: mpmath has no types
Fun = Callable[[Real], Real]


@dataclass(frozen=True)
class Table:
    """One polynomial to compute: ``f`` on [a, b] with the given error weight."""

    name: str
    doc: str
    f: Fun
    weight: Fun
    a: float
    b: float
    degree64: int
    degree32: int | None = None


def solve(table: Table, degree: int) -> tuple[list[Real], float]:
    """Minimax coefficients (lowest power first) and log2 of the largest weighted error."""
    a, b = mp.mpf(table.a), mp.mpf(table.b)
    m = degree + 2
    points = [(a + b) / 2 - (b - a) / 2 * mp.cos(mp.pi * (2 * i + 1) / (2 * m)) for i in range(m)]
    grid = [(a + b) / 2 - (b - a) / 2 * mp.cos(mp.pi * (i + 0.5) / (24 * m)) for i in range(24 * m)]
    f_grid = [table.f(x) for x in grid]
    w_grid = [table.weight(x) for x in grid]
    coefficients: list[Real] = []
    largest = mp.mpf(0)
    for _ in range(30):
        system = mp.matrix(m, m)
        right = mp.matrix(m, 1)
        for i, x in enumerate(points):
            for j in range(degree + 1):
                system[i, j] = x**j
            system[i, degree + 1] = (-1) ** i / table.weight(x)
            right[i] = table.f(x)
        solution = mp.lu_solve(system, right)
        coefficients = [solution[j] for j in range(degree + 1)]
        level = abs(solution[degree + 1])
        error = [
            w * (f - horner(coefficients, x)) for x, f, w in zip(grid, f_grid, w_grid, strict=True)
        ]
        largest = max(abs(e) for e in error)
        points = exchange(grid, error, m)
        if largest < level * 1.02:
            break
    return coefficients, float(mp.log(largest, 2))


def horner(coefficients: list[Real], x: Real) -> Real:
    """The polynomial's value, coefficients from the lowest power."""
    value = mp.mpf(0)
    for c in reversed(coefficients):
        value = value * x + c
    return value


def exchange(grid: list[Real], error: list[Real], count: int) -> list[Real]:
    """The largest error of each run of equal sign; the smallest at the ends go if too many."""
    best: list[int] = []
    for i, e in enumerate(error):
        if best and (error[best[-1]] > 0) == (e > 0):
            if abs(e) > abs(error[best[-1]]):
                best[-1] = i
        else:
            best.append(i)
    while len(best) > count:
        best.pop(0 if abs(error[best[0]]) < abs(error[best[-1]]) else -1)
    if len(best) < count:
        raise ArithmeticError("the error does not alternate often enough: raise the precision")
    return [grid[i] for i in best]


def series_safe(f: Fun, limit: Fun) -> Fun:
    """``f``, or ``limit`` next to the removable singularity at zero."""
    return lambda x: limit(x) if abs(x) < mp.mpf(10) ** -12 else f(x)


LN2_HALF = 0.34658
S2 = 0.029438  # ((sqrt(2) - 1) / (sqrt(2) + 1))**2 and a little
QUARTER_PI2 = 0.61686  # (pi / 4)**2 and a little
ERF_SPLIT = 1.0
ERFC_CENTRE = 4.0


def log_ratio(z: Real) -> Real:
    """(log((1 + s) / (1 - s)) - 2 s) / s^3 as a function of z = s^2."""
    s = mp.sqrt(z)
    return (mp.log((1 + s) / (1 - s)) - 2 * s) / s**3


def log_ratio5(z: Real) -> Real:
    """The same without its 2/3 s^3 term, over s^5."""
    return (log_ratio(z) - mp.mpf(2) / 3) / z


def erf_ratio(z: Real) -> Real:
    return mp.erf(mp.sqrt(z)) / mp.sqrt(z)


def erfcx_of_t(t: Real) -> Real:
    """(1 + 2 x) exp(x^2) erfc(x) for t = (x - K) / (x + K)."""
    x = ERFC_CENTRE * (1 + t) / (1 - t)
    return (1 + 2 * x) * mp.exp(x * x) * mp.erfc(x)


def odd(f: Fun, slope: int = 1) -> Fun:
    """(f(x) - slope x) / x^3 as a function of z = x^2."""
    return lambda z: (f(mp.sqrt(z)) - slope * mp.sqrt(z)) / mp.sqrt(z) ** 3


TABLES = [
    Table(
        "EXP",
        "(exp(r) - 1 - r) / r^2 on |r| <= ln(2)/2",
        series_safe(lambda r: (mp.expm1(r) - r) / r**2, lambda r: mp.mpf(1) / 2 + r / 6),
        lambda r: max(abs(r), mp.mpf(0.05)),
        -LN2_HALF,
        LN2_HALF,
        10,
        5,
    ),
    Table(
        "LOG",
        "(log((1+s)/(1-s)) - 2s) / s^3 in z = s^2",
        series_safe(log_ratio, lambda z: mp.mpf(2) / 3 + z * 2 / 5),
        lambda z: z if z > 1e-9 else mp.mpf(1e-9),
        0.0,
        S2,
        6,
        2,
    ),
    Table(
        "LOG_TAIL",
        "(log((1+s)/(1-s)) - 2s - 2/3 s^3) / s^5 in z = s^2",
        series_safe(log_ratio5, lambda z: mp.mpf(2) / 5 + z * 2 / 7),
        lambda z: z**2 if z > 1e-9 else mp.mpf(1e-18),
        0.0,
        S2,
        6,
    ),
    Table(
        "ERF",
        "erf(x) / x in z = x^2 on |x| <= 1",
        series_safe(erf_ratio, lambda z: 2 / mp.sqrt(mp.pi) * (1 - z / 3)),
        lambda z: mp.mpf(1),
        0.0,
        ERF_SPLIT**2,
        11,
        6,
    ),
    Table(
        "ERF_LOG",
        "-log(erfc(x)) on [1, 6]",
        lambda x: -mp.log(mp.erfc(x)),
        lambda x: mp.erfc(x) + mp.mpf(2) ** -54,
        1.0,
        6.0,
        17,
        6,
    ),
    Table(
        "ERFCX",
        "(1 + 2x) exp(x^2) erfc(x) in t = (x - 4) / (x + 4) on [0, 28]",
        erfcx_of_t,
        lambda t: mp.mpf(1),
        -1.0,
        0.75,
        22,
        12,
    ),
    Table(
        "SIN",
        "(sin(r) - r) / r^3 in z = r^2 on |r| <= pi/4",
        series_safe(odd(mp.sin), lambda z: -mp.mpf(1) / 6 + z / 120),
        lambda z: z if z > 1e-9 else mp.mpf(1e-9),
        0.0,
        QUARTER_PI2,
        5,
        2,
    ),
    Table(
        "COS",
        "(cos(r) - 1 + z/2) / z^2 in z = r^2 on |r| <= pi/4",
        series_safe(
            lambda z: (mp.cos(mp.sqrt(z)) - 1 + z / 2) / z**2, lambda z: mp.mpf(1) / 24 - z / 720
        ),
        lambda z: z**2 if z > 1e-9 else mp.mpf(1e-18),
        0.0,
        QUARTER_PI2,
        5,
        2,
    ),
    Table(
        "SINH",
        "(sinh(r) - r) / r^3 in z = r^2 on |r| <= ln(2)/2",
        series_safe(odd(mp.sinh), lambda z: mp.mpf(1) / 6 + z / 120),
        lambda z: z if z > 1e-9 else mp.mpf(1e-9),
        0.0,
        LN2_HALF**2,
        4,
        1,
    ),
    Table(
        "COSH",
        "(cosh(r) - 1 - z/2) / z^2 in z = r^2 on |r| <= ln(2)/2",
        series_safe(
            lambda z: (mp.cosh(mp.sqrt(z)) - 1 - z / 2) / z**2, lambda z: mp.mpf(1) / 24 + z / 720
        ),
        lambda z: z**2 if z > 1e-9 else mp.mpf(1e-18),
        0.0,
        LN2_HALF**2,
        4,
        1,
    ),
    Table(
        "ATAN",
        "(atan(t) - t) / t^3 in z = t^2 on |t| <= tan(pi/8)",
        series_safe(odd(mp.atan), lambda z: -mp.mpf(1) / 3 + z / 5),
        lambda z: z if z > 1e-9 else mp.mpf(1e-9),
        0.0,
        0.17158,
        10,
        3,
    ),
    Table(
        "ASIN",
        "(asin(x) - x) / x^3 in z = x^2 on |x| <= 1/2",
        series_safe(odd(mp.asin), lambda z: mp.mpf(1) / 6 + z * 3 / 40),
        lambda z: z if z > 1e-9 else mp.mpf(1e-9),
        0.0,
        0.25,
        12,
        4,
    ),
]

# A constant as a sum of parts: leading parts keep so many bits that their product with a
# reduction count is exact, the last one is rounded to the format.
SPLITS: list[tuple[str, Callable[[], Real], tuple[int, ...], tuple[int, ...] | None]] = [
    ("LN2", lambda: mp.log(2), (42,), (15,)),
    ("LOG2E", lambda: 1 / mp.log(2), (53,), (24,)),
    ("LOG10_2", lambda: mp.log10(2), (42,), None),
    ("LOG10E", lambda: 1 / mp.log(10), (53,), None),
    ("TWO_THIRDS", lambda: mp.mpf(2) / 3, (53,), None),
    ("HALF_PI", lambda: mp.pi / 2, (53, 53), None),
    ("TWO_OVER_PI", lambda: 2 / mp.pi, (), None),
]


def split(value: Real, widths: tuple[int, ...], dtype: type[np.floating[Any]]) -> list[float]:
    """``value`` as parts of the given widths and a rounded rest."""
    parts = []
    for width in widths:
        exponent = width - 1 - int(mp.floor(mp.log(abs(value), 2)))
        part = mp.nint(mp.ldexp(value, exponent))
        part = mp.ldexp(part, -exponent)
        parts.append(float(part))
        value -= part
    return [*parts, float(dtype(mp.nstr(value, 40)))]


def main() -> None:
    """Print the module ``coefficients.py``."""
    print('"""Polynomial tables, lowest power first; made by benchmarks/vecmath_coefficients.py.')
    print()
    print("The number in brackets is log2 of the largest relative error the table leaves in the")
    print('result, before rounding. Do not edit by hand.\n"""')
    for name, value, widths64, widths32 in SPLITS:
        print()
        for suffix, widths, dtype in (("64", widths64, np.float64), ("32", widths32, np.float32)):
            if widths is not None:
                parts = split(value(), widths, dtype)
                print(
                    f"{name}{suffix} = {parts[0]!r}"
                    if len(parts) == 1
                    else f"{name}{suffix} = ({', '.join(map(repr, parts))})"
                )
    for table in TABLES:
        for suffix, degree, dtype in (
            ("64", table.degree64, np.float64),
            ("32", table.degree32, np.float32),
        ):
            if degree is None:
                continue
            coefficients, bits = solve(table, degree)
            print(f"\n# {table.doc}  [{bits:.1f}]")
            print(f"{table.name}{suffix} = (")
            for c in coefficients:
                print(f"    {float(dtype(mp.nstr(c, 40)))!r},")
            print(")")


if __name__ == "__main__":
    main()
