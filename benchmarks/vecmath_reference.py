"""What the error of a `tracegrad.backend.vecmath` function is measured against.

Used by the tests and by ``python -m benchmarks.vecmath``: exact values from mpmath, sample points
that reach every branch of a kernel and both ends of its range, and the special values.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath as mp
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]
CONTEXT = mp.mp.clone()
CONTEXT.prec = 140

EXACT: dict[str, Callable[..., Any]] = {
    "exp": CONTEXT.exp,
    "expm1": CONTEXT.expm1,
    "log": CONTEXT.log,
    "log1p": CONTEXT.log1p,
    "log2": lambda x: CONTEXT.log(x) / CONTEXT.ln2,
    "log10": CONTEXT.log10,
    "sin": CONTEXT.sin,
    "cos": CONTEXT.cos,
    "tan": CONTEXT.tan,
    "sinh": CONTEXT.sinh,
    "cosh": CONTEXT.cosh,
    "tanh": CONTEXT.tanh,
    "arcsin": CONTEXT.asin,
    "arccos": CONTEXT.acos,
    "arctan": CONTEXT.atan,
    "arctan2": CONTEXT.atan2,
    "erf": CONTEXT.erf,
    "erfc": CONTEXT.erfc,
    "pow": CONTEXT.power,
    "sigmoid": lambda x: 1 / (1 + CONTEXT.exp(-x)),
    "softplus": lambda x: CONTEXT.log1p(CONTEXT.exp(x)),
}

# The largest error a function may have, in units in the last place of the result.
ALLOWED = {"erf": 4.0, "erfc": 4.0, "pow": 4.0}
ALLOWED_ELSEWHERE = 2.0


def ulp_errors(got: Floats, exact: list[Any]) -> Floats:
    """Distance of each value from the exact one in units in the last place of the latter."""
    info = np.finfo(got.dtype)
    errors = np.empty(got.size)
    for i, (value, target) in enumerate(zip(got.tolist(), exact, strict=True)):
        overflows = abs(target) >= CONTEXT.ldexp(1 - CONTEXT.ldexp(1, -info.nmant - 2), info.maxexp)
        if overflows or not np.isfinite(value):
            same = overflows and np.isinf(value) and (value > 0) == (target > 0)
            errors[i] = 0.0 if same else np.inf
            continue
        exponent = info.minexp
        if target:
            exponent = max(exponent, CONTEXT.frexp(target)[1] - 1)
        errors[i] = float(CONTEXT.ldexp(abs(CONTEXT.mpf(value) - target), info.nmant - exponent))
    return errors


def exact_values(name: str, *operands: Floats) -> list[Any]:
    """The function of each point, to 140 bits."""
    function = EXACT[name]
    return [
        function(*map(CONTEXT.mpf, point))
        for point in zip(*(x.tolist() for x in operands), strict=True)
    ]


def sample_points(name: str, dtype: Any, count: int, seed: int = 0) -> tuple[Floats, ...]:
    """About 4 * ``count`` points of the function's domain, or that many pairs."""
    rng = np.random.default_rng(seed)
    single = dtype == np.float32
    top = 88.0 if single else 709.0
    uniform, n = rng.uniform, count
    tiny = np.exp(uniform(-0.99 * top, 0.0, n)) * rng.choice([-1.0, 1.0], n)
    logs = np.exp(uniform(-30.0, 4.0, n)) * rng.choice([-1.0, 1.0], n)
    parts: list[Floats]
    if name == "pow":
        x = np.exp(np.concatenate([uniform(-top, top, n), uniform(-1, 1, 2 * n)]))
        reach = uniform(-1.05 * top, 1.02 * top, 3 * n)
        y = np.concatenate([reach / np.log(x), uniform(-3, 3, n)])
        x = np.concatenate([x, uniform(0, 10, n)])
        return x.astype(dtype), y.astype(dtype)
    if name == "arctan2":
        size = np.exp(uniform(-0.9 * top, 0.9 * top, n)) * rng.choice([-1.0, 1.0], n)
        ratio = np.exp(np.concatenate([uniform(-0.09 * top, 0.09 * top, n), uniform(-1, 1, 2 * n)]))
        ratio *= rng.choice([-1.0, 1.0], 3 * n)
        y = np.concatenate([size, uniform(-3, 3, 2 * n), tiny])
        x = np.concatenate([size, uniform(-3, 3, 2 * n), logs])
        return y.astype(dtype), (x * np.concatenate([ratio, np.ones(n)])).astype(dtype)
    if name in ("exp", "expm1", "sinh", "cosh", "sigmoid", "softplus"):
        low, high = (-104.0, 90.0) if single else (-746.0, 711.0)
        if name in ("sinh", "cosh"):
            low = -high
        parts = [uniform(low, high, n), uniform(-2, 2, n), tiny, logs]
    elif name in ("log", "log2", "log10"):
        parts = [np.exp(uniform(-top, top, n)), uniform(0.5, 2, n), np.abs(tiny)]
        parts += [1 + 0.4 * logs[np.abs(logs) < 1]]
        parts += [np.finfo(dtype).smallest_normal * uniform(0, 2, n // 4)]
    elif name == "log1p":
        parts = [uniform(-1, 1, n), -1 + np.exp(uniform(-36, 0, n)), tiny, np.abs(logs)]
        parts += [np.exp(uniform(-1, top, n // 2)), uniform(-0.4, 1.1, n)]
    elif name == "tanh":
        parts = [uniform(-25, 25, n), uniform(-1.5, 1.5, n), tiny, logs]
    elif name == "erf":
        parts = [uniform(-6.2, 6.2, n), uniform(-1.5, 1.5, n), tiny, logs]
    elif name == "erfc":
        parts = [uniform(-6, 10.1 if single else 27.3, n), uniform(0, 3, n), tiny, logs]
    elif name in ("sin", "cos", "tan"):
        multiples = np.round(2.0 ** uniform(0, 29, n)) * (np.pi / 2)
        parts = [uniform(-10, 10, n), uniform(-1e6, 1e6, n), multiples, tiny]
        parts += [np.exp(uniform(10, 0.99 * top, n // 4)), uniform(2.0**29, 2.0**31, n // 4)]
    elif name in ("arcsin", "arccos"):
        parts = [uniform(-1, 1, n), 1 - np.exp(uniform(-30, 0, n)), np.exp(uniform(-30, 0, n)) - 1]
        parts += [tiny]
    else:
        parts = [uniform(-10, 10, n), tiny, logs, uniform(-0.6, 0.6, n)]
    return (np.concatenate(parts).astype(dtype),)


def special_points(name: str, dtype: Any) -> tuple[Floats, ...]:
    """Zeros, infinities, NaN, subnormals, and the ends of every function's range."""
    info = np.finfo(dtype)
    small, normal, large = float(info.smallest_subnormal), float(info.smallest_normal), info.max
    values = [0.0, small, normal, 1e-20, 0.5, 1.0, np.nextafter(dtype(1), dtype(0)), 2.0, 3.0]
    values += [2.5, 1e5 + 1, 2.0**30, float(large), np.inf]
    ends = [88.7, 88.8, 89.5, 103.0, 104.0, 709.7, 709.8, 710.4, 710.5, 745.0, 745.2, 2000.0]
    pair = name in ("pow", "arctan2")
    if not pair:
        values += [*ends, 7 * small, normal / 3, 1e30]
    both = np.array([*values, *(-v for v in values), np.nan], dtype)
    if pair:
        x, y = np.meshgrid(both, both)
        return x.ravel(), y.ravel()
    return (both,)
