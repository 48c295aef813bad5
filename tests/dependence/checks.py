"""Comparing a pattern with the Jacobian that the interpreter computes, column by column."""

import numpy as np

from tracegrad.dependence import dependence
from tracegrad.ir.interpreter import evaluate
from tracegrad.transforms.jvp import jvp


def dense(function, arguments):
    """(result, parameter) → the Jacobian's block, as the IR's interpreter has it."""
    wrt = [i for i, p in enumerate(function.params) if p.dtype.is_float]
    of = [k for k, r in enumerate(function.results) if r.dtype.is_float]
    found = {}
    results = len(function.results)
    for i in wrt:
        forward = jvp(function, [i], of)
        x = np.asarray(arguments[i])
        columns = []
        for k in range(x.size):
            dot = np.zeros(x.size, x.dtype)
            dot[k] = 1
            made = evaluate(forward, *arguments, dot.reshape(x.shape))
            columns.append([np.ravel(d) for d in made[results:]])
        for at, k in enumerate(of):
            size = np.size(made[k]) if columns else 0
            block = [column[at] for column in columns]
            found[k, i] = np.stack(block, 1) if block else np.zeros((size, 0))
    return found


def patterns(function, arguments):
    """(result, parameter) → the pattern of the Jacobian's block."""
    wrt = [i for i, p in enumerate(function.params) if p.dtype.is_float]
    of = [k for k, r in enumerate(function.results) if r.dtype.is_float]
    found = {}
    for k, whole in zip(of, dependence(function, wrt, of, arguments), strict=True):
        first = 0
        for i in wrt:
            found[k, i] = whole.between(first, first + np.size(arguments[i]))
            first += np.size(arguments[i])
    return found


def as_array(pattern):
    found = np.zeros(pattern.shape, bool)
    found[pattern.rows, pattern.columns] = True
    assert found.sum() == pattern.count, "a nonzero twice"
    return found


def check_covers(function, arguments):
    """The pattern has every nonzero of the Jacobian; (nonzeros, size of the pattern)."""
    found = patterns(function, arguments)
    expected = dense(function, arguments)
    here = held = 0
    for key, block in expected.items():
        if not block.size:
            continue
        mask = as_array(found[key])
        assert mask.shape == block.shape
        missed = (block != 0) & ~mask  # NaN is not 0 either
        assert not missed.any(), (
            f"block {key}: {np.argwhere(missed)[:5].tolist()} missed\n{function}"
        )
        here += np.count_nonzero(block)
        held += found[key].count
    return here, held
