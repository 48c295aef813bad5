"""Every workload's gradients agree, at tiny sizes; nothing here looks at a clock."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks.case import Case
from benchmarks.measure import TOLERANCE, disagreement
from benchmarks.peers import PEERS, flat
from benchmarks.workloads import all_cases

# Cases that differ in size only are one program here.
PROGRAMS = list({case.function: case for case in all_cases()}.values())

# PyTensor and CasADi take up to half a minute for one: a few that use all that we give them.
COMPILED_SLOWLY = (
    "rosenbrock n=10",
    "mlp 1, 8-16-16-1",
    "softmax regression 5000x30",
    "burgers slices 500x200",
    "tridiagonal n=1e4",
)


def direction(leaf: np.ndarray[Any, Any]) -> Any:
    drawn = np.random.default_rng(7).standard_normal(leaf.shape)
    return drawn if leaf.ndim else float(drawn)


def moved(case: Case, args: tuple[Any, ...], step: float) -> tuple[Any, ...]:
    import optree

    argnums = (case.argnums,) if isinstance(case.argnums, int) else case.argnums
    return tuple(
        optree.tree_map(lambda leaf: leaf + step * direction(np.asarray(leaf)), arg)
        if position in argnums
        else arg
        for position, arg in enumerate(args)
    )


@pytest.mark.parametrize("case", PROGRAMS, ids=lambda case: case.name)
def test_the_limit_has_the_slope_of_differences(case: Case) -> None:
    args = case.tiny()
    value, *bars = flat(case.limit(*args))
    assert value == pytest.approx(float(case.function(*args)), rel=1e-12)
    slope = sum(float(np.sum(bar * direction(bar))) for bar in bars)
    step = 1e-5
    ahead, behind = (float(case.function(*moved(case, args, s))) for s in (step, -step))
    assert slope == pytest.approx((ahead - behind) / (2 * step), rel=1e-6)


@pytest.mark.parametrize("peer", ["tracegrad", "jax", "autograd", "pytensor", "casadi"])
@pytest.mark.parametrize("case", PROGRAMS, ids=lambda case: case.name)
def test_a_peer_agrees_with_the_limit(case: Case, peer: str) -> None:
    if not PEERS[peer].takes(case):
        pytest.skip("the case leaves this peer out")
    if peer in ("pytensor", "casadi") and case.name not in COMPILED_SLOWLY:
        pytest.skip("takes long to compile; a run compares it")
    if peer != "tracegrad":
        pytest.importorskip(peer)
    args = case.tiny()
    found = flat(PEERS[peer].contestant(case, args)())
    assert disagreement(found, flat(case.limit(*args))) < TOLERANCE


@pytest.mark.parametrize(
    "case",
    [case for case in PROGRAMS if PEERS["numba primal"].takes(case)],
    ids=lambda case: case.name,
)
def test_a_loop_compiled_as_it_stands_gives_its_value(case: Case) -> None:
    args = case.tiny()
    found = flat(PEERS["numba primal"].contestant(case, args)())
    assert disagreement(found, flat(case.function(*args))) < TOLERANCE


@pytest.mark.parametrize(
    "case", [case for case in PROGRAMS if case.variants], ids=lambda case: case.name
)
def test_a_variant_agrees_with_the_limit(case: Case) -> None:
    args = case.tiny()
    for function in case.variants.values():
        assert disagreement(flat(function(*args)), flat(case.limit(*args))) < TOLERANCE


@pytest.mark.parametrize("case", all_cases(), ids=lambda case: case.name)
def test_inputs_are_the_same_at_each_call(case: Case) -> None:
    first, second = flat(case.tiny()), flat(case.tiny())
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
