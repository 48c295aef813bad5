"""`check_grads`: derivatives of a user's function against differences, in random directions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tracegrad import tracing, tree
from tracegrad.api import jit, vjp
from tracegrad.api_derived import jvp
from tracegrad.testing.numerics import numerical_jvp

STEPS = (1e-3, 1e-4, 1e-2, 1e-5)
"""Tried in turn until one agrees: a right derivative agrees for some step, a wrong one for none."""


def check_grads(
    fun: Callable[..., Any],
    args: Sequence[Any],
    order: int = 1,
    modes: Sequence[str] = ("fwd", "rev"),
    atol: float | None = None,
    rtol: float | None = None,
    eps: float | None = None,
    *,
    directions: int = 2,
    seed: int = 0,
) -> None:
    """Check the derivatives of ``fun`` at ``args`` against central differences.

    Parameters
    ----------
    fun : callable of float arrays or numbers, or trees of them; run as plain Python for the
        differences.
    args : tuple of arguments. Leaves that are no floats are not moved.
    order : up to which order; higher ones check derivatives of derivatives.
    modes : "fwd" checks `jvp`, "rev" checks `vjp`.
    atol, rtol : tolerances, relative to the magnitude of what is compared; default 1e-6, for
        float32 1e-2.
    eps : step of the differences; by default several are tried.
    directions : how many random directions are taken for each check.
    seed : of the random directions.

    Raises
    ------
    AssertionError : a derivative disagrees; says the mode, the order and by how much.

    Examples
    --------
    >>> import numpy as np, tracegrad as tg
    >>> tg.check_grads(lambda x: np.sum(np.sin(x)), (np.array([0.5, 1.0]),), order=2)
    """
    unknown = set(modes) - {"fwd", "rev"}
    if unknown or not modes:
        raise ValueError(f"modes are 'fwd' and 'rev', not {modes!r}")
    leaves, structure = tree.flatten(tuple(args))
    single = any(_is_float(v) and np.asarray(v).dtype == np.float32 for v in leaves)
    tolerance = (
        atol if atol is not None else 1e-2 if single else 1e-6,
        rtol if rtol is not None else 1e-2 if single else 1e-6,
    )
    steps = STEPS if eps is None else (eps,)
    rng = np.random.default_rng(seed)
    moved = [k for k, leaf in enumerate(leaves) if _is_float(leaf)]

    staged = jit(fun)

    def of_floats(*floats: Any) -> Any:
        full = list(leaves)
        for k, value in zip(moved, floats, strict=True):
            full[k] = value
        call = staged if tracing.active() else fun
        found, _ = tree.flatten(call(*tree.unflatten(structure, full)))
        return tuple(v for v in found if _is_float(v))

    point = [leaves[k] for k in moved]
    _check(of_floats, point, order, tuple(modes), tolerance, steps, directions, rng, "")


def _check(
    fun: Callable[..., Any],
    point: list[Any],
    order: int,
    modes: tuple[str, ...],
    tolerance: tuple[float, float],
    steps: Sequence[float],
    directions: int,
    rng: np.random.Generator,
    above: str,
) -> None:
    for _ in range(directions):
        dots = [_like(rng, x) for x in point]
        slopes = [numerical_jvp(fun, point, dots, step) for step in steps]
        if "fwd" in modes:
            out, found = jvp(fun, tuple(point), tuple(dots))
            _agree(found, slopes, tolerance, f"{above}jvp")
        if "rev" in modes:
            out, pullback = vjp(fun, *point)
            bars = tuple(_like(rng, v) for v in out)
            left = sum(float(np.sum(b * d)) for b, d in zip(pullback(bars), dots, strict=True))
            right = [
                sum(float(np.sum(b * s)) for b, s in zip(bars, slope, strict=True))
                for slope in slopes
            ]
            _agree((left,), [(r,) for r in right], tolerance, f"{above}vjp")
    if order <= 1:
        return
    dots = [_like(rng, x) for x in point]
    if "fwd" in modes:
        _check(
            lambda *xs: jvp(fun, xs, tuple(dots))[1],
            point, order - 1, modes, tolerance, steps, directions, rng, f"{above}jvp of ",
        )  # fmt: skip
    if "rev" in modes:
        bars = tuple(_like(rng, v) for v in fun(*point))
        _check(
            lambda *xs: vjp(fun, *xs)[1](bars),
            point, order - 1, modes, tolerance, steps, directions, rng, f"{above}vjp of ",
        )  # fmt: skip


def _agree(
    found: Sequence[Any],
    slopes: Sequence[Sequence[Any]],
    tolerance: tuple[float, float],
    what: str,
) -> None:
    atol, rtol = tolerance
    errors = []
    for slope in slopes:
        worst = 0.0
        for a, b in zip(found, slope, strict=True):
            a, b = np.asarray(a, float), np.asarray(b, float)
            scale = atol + rtol * np.max(np.abs(b), initial=0.0)
            with np.errstate(invalid="ignore"):
                off = np.max(np.abs(a - b), initial=0.0) / scale
            worst = max(worst, float(off) if np.isfinite(off) else np.inf)
        if worst <= 1.0:
            return
        errors.append(worst)
    raise AssertionError(
        f"{what} disagrees with differences: {min(errors):.3g} times the tolerance at best\n"
        f"derivative:  {found}\ndifferences: {slopes[errors.index(min(errors))]}"
    )


def _is_float(leaf: Any) -> bool:
    return isinstance(leaf, float) or getattr(getattr(leaf, "dtype", None), "kind", "") == "f"


def _like(rng: np.random.Generator, x: Any) -> Any:
    made = np.asarray(rng.normal(size=np.shape(x)))
    return made.astype(getattr(x, "dtype", float))[()]
