"""The workloads, one module per program; ``all_cases`` lists them in the table's order."""

from __future__ import annotations

from ..case import Case


def all_cases() -> list[Case]:
    """Every case, in the table's order."""
    from . import (
        alignment,
        audio_filter,
        black_scholes,
        bundle,
        burgers,
        calls,
        density,
        diffusion,
        epidemic,
        excitable,
        garch,
        gaussian_process,
        hidden_markov,
        kepler,
        least_squares,
        logistic,
        lotka_volterra,
        lstm,
        mixture,
        mlp,
        nbody,
        pairs,
        recurrence,
        rnn,
        rosenbrock,
        scalar,
        small_network,
        softmax_regression,
        spring_chain,
        tridiagonal,
    )

    modules = (
        scalar,
        rosenbrock,
        logistic,
        mlp,
        small_network,
        black_scholes,
        mixture,
        nbody,
        least_squares,
        gaussian_process,
        recurrence,
        hidden_markov,
        lotka_volterra,
        burgers,
        kepler,
        rnn,
        lstm,
        bundle,
        pairs,
        alignment,
        tridiagonal,
        softmax_regression,
        spring_chain,
        epidemic,
        garch,
        diffusion,
        audio_filter,
        density,
        excitable,
        calls,
    )
    return [case for module in modules for case in module.CASES]
