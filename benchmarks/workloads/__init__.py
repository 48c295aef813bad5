"""The workloads, one module per program; ``all_cases`` lists them in the table's order."""

from __future__ import annotations

from ..case import Case


def all_cases() -> list[Case]:
    """Every case, in the table's order."""
    from . import (
        black_scholes,
        calls,
        least_squares,
        logistic,
        mixture,
        mlp,
        nbody,
        rosenbrock,
        scalar,
    )

    modules = (
        scalar,
        rosenbrock,
        logistic,
        mlp,
        black_scholes,
        mixture,
        nbody,
        least_squares,
        calls,
    )
    return [case for module in modules for case in module.CASES]
