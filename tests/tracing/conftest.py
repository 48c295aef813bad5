"""Shared by the tests of tracing: trace a function, run what was traced, compare with NumPy."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

from tracegrad import tree
from tracegrad.errors import GuardFailed
from tracegrad.ir.interpreter import evaluate
from tracegrad.ir.verifier import verify
from tracegrad.tracing import trace as trace_function


def leaf_for_kernel(value):
    return value[()] if isinstance(value, np.ndarray) and value.ndim == 0 else value


def trace(f, *args, static=(), varying=frozenset(), **kwargs):
    """``f`` traced for these arguments (trees allowed)."""
    leaves, structure = tree.flatten((args, kwargs))
    leaves = [leaf_for_kernel(leaf) for leaf in leaves]
    try:
        parameters = list(inspect.signature(f).parameters)
    except (TypeError, ValueError):
        parameters = []
    names = []
    for path in tree.names(structure):
        if path.startswith("[0]["):
            position, _, rest = path[4:].partition("]")
            known = int(position) < len(parameters)
            names.append((parameters[int(position)] if known else f"arg{position}") + rest)
        else:
            names.append(path[4:].replace("'", "").replace("]", "", 1))
    fixed = {
        i
        for i, leaf in enumerate(leaves)
        if isinstance(leaf, (bool, str, type(None)))
        or not isinstance(leaf, (int, float, np.ndarray, np.generic))
    }
    traced = trace_function(
        f,
        lambda values: tree.unflatten(structure, values),
        leaves,
        static=frozenset(fixed | set(static)),
        varying=varying,
        names=names,
    )
    verify(traced.function, form="array")
    return traced


def run(traced, *args, **kwargs):
    """What the traced function gives for these arguments, through the IR interpreter."""
    leaves, _ = tree.flatten((args, kwargs))
    leaves = [leaf_for_kernel(leaf) for leaf in leaves]
    if not traced.captures_hold():
        raise GuardFailed("captures")
    values = [leaves[leaf] for leaf in traced.params]
    values += [leaf_for_kernel(array) for array in traced.captured_arrays()]
    values = [np.asarray(v) for v in values]
    return traced.rebuild_outputs(evaluate(traced.function, *values))


def assert_like_numpy(found, expected):
    found, structure = tree.flatten(found)
    expected, wanted = tree.flatten(expected)
    assert structure == wanted
    for a, b in zip(found, expected, strict=True):
        if isinstance(b, (str, type(None), bool)):
            assert a == b
            continue
        a, b = np.asarray(a), np.asarray(b)
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=1e-6 if b.dtype == np.float32 else 1e-12, atol=1e-12)


def check(f, *args, **kwargs):
    """``f`` traced and run agrees with ``f``; gives the trace."""
    traced = trace(f, *args, **kwargs)
    assert_like_numpy(run(traced, *args, **kwargs), f(*args, **kwargs))
    return traced


@pytest.fixture
def rng():
    return np.random.default_rng(7)
