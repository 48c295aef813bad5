"""Thomas' algorithm: a tridiagonal system solved by two sweeps that write into copies."""

from functools import partial

import numpy as np

from .. import lax
from ..case import Case
from ..numba_limit import limit


def solution_energy(lower, diagonal, upper, right):
    n = diagonal.shape[0]
    pivot = diagonal.copy()
    x = right.copy()
    for i in range(1, n):
        factor = lower[i] / pivot[i - 1]
        pivot[i] -= factor * upper[i - 1]
        x[i] -= factor * x[i - 1]
    x[n - 1] /= pivot[n - 1]
    for i in range(n - 2, -1, -1):
        x[i] = (x[i] - upper[i] * x[i + 1]) / pivot[i]
    return 0.5 * np.sum(x * x)


def solution_energy_scan(lower, diagonal, upper, right):
    def eliminate(row, entries):
        below, middle, above, value = entries
        factor = below / row[0]
        row = (middle - factor * row[1], above, value - factor * row[2])
        return row, row

    def substitute(after, row):
        pivot, above, value = row
        x = (value - above * after) / pivot
        return x, x

    first = (diagonal[0], upper[0], right[0])
    rest = (lower[1:], diagonal[1:], upper[1:], right[1:])
    last, rows = lax.scan(eliminate, first, rest)
    x_last = last[2] / last[0]
    rows = tuple(np.concatenate([np.array([a]), b[:-1]]) for a, b in zip(first, rows, strict=True))
    _, x = lax.scan(substitute, x_last, rows, reverse=True)
    return 0.5 * (np.sum(x * x) + x_last * x_last)


@limit
def solution_energy_kernel(
    lower, diagonal, upper, right, lower_bar, middle_bar, upper_bar, right_bar
):
    """Keeps pivots, the eliminated right-hand side and x; factors are taken again."""
    n = diagonal.shape[0]
    # forward; 1 / pivot is what both sweeps need
    inverse = np.empty(n)
    half = np.empty(n)
    x = np.empty(n)
    value = 0.0
    last = 1.0 / diagonal[0]
    right_last = right[0]
    inverse[0] = last
    half[0] = right_last
    for i in range(1, n):
        factor = lower[i] * last
        last = 1.0 / (diagonal[i] - factor * upper[i - 1])
        right_last = right[i] - factor * right_last
        inverse[i] = last
        half[i] = right_last
    after = right_last * last
    x[n - 1] = after
    value += after * after
    for down in range(n - 1):
        i = n - 2 - down
        after = (half[i] - upper[i] * after) * inverse[i]
        x[i] = after
        value += after * after
    # reverse of the substitution; right_bar holds the cotangent of `half`, middle_bar of the pivots
    out = 0.0
    for i in range(n - 1):
        u = (x[i] + out) * inverse[i]
        right_bar[i] = u
        middle_bar[i] = -u * x[i]
        upper_bar[i] = -u * x[i + 1]
        out = -u * upper[i]
    u = (x[n - 1] + out) * inverse[n - 1]
    right_bar[n - 1] = u
    middle_bar[n - 1] = -u * x[n - 1]
    upper_bar[n - 1] = 0.0
    # reverse of the elimination
    pivot_bar = middle_bar[n - 1]
    half_bar = right_bar[n - 1]
    for down in range(n - 1):
        i = n - 1 - down
        factor = lower[i] * inverse[i - 1]
        factor_bar = -(pivot_bar * upper[i - 1] + half_bar * half[i - 1])
        upper_bar[i - 1] -= factor * pivot_bar
        scaled = factor_bar * inverse[i - 1]
        lower_bar[i] = scaled
        half_bar = right_bar[i - 1] - factor * half_bar
        pivot_bar = middle_bar[i - 1] - scaled * factor
        right_bar[i - 1] = half_bar
        middle_bar[i - 1] = pivot_bar
    lower_bar[0] = 0.0
    return 0.5 * value


def solution_energy_adjoint(lower, diagonal, upper, right):
    bars = tuple(np.empty(diagonal.shape[0]) for _ in range(4))
    return solution_energy_kernel(lower, diagonal, upper, right, *bars), bars


def inputs(n):
    """Diagonally dominant; the first of ``lower`` and the last of ``upper`` are not read."""
    rng = np.random.default_rng(11)
    return (
        rng.uniform(-1.0, 1.0, n),
        rng.uniform(2.5, 3.5, n),
        rng.uniform(-1.0, 1.0, n),
        rng.standard_normal(n),
    )


CASES = [
    Case(
        name=f"tridiagonal n={label}",
        function=solution_energy,
        argnums=(0, 1, 2, 3),
        inputs=partial(inputs, n),
        limit=solution_energy_adjoint,
        tiny=partial(inputs, 11),
        sized=(lambda extra: inputs(9 + extra)) if n == 10_000 else None,
        group="loop",
        texts={
            "jax": solution_energy_scan,
            "autograd": None,
            "casadi": solution_energy_scan if n <= 10_000 else None,
        },
        elements=n,
    )
    for n, label in ((10_000, "1e4"), (100_000, "1e5"))
]
