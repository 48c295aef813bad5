"""The pattern of a function of the IR for given arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tracegrad.dependence.graph import NOTHING, Graph, Pattern
from tracegrad.dependence.machine import Machine, own, wrapped
from tracegrad.dependence.program import Program
from tracegrad.ir.core import Function, Value
from tracegrad.ir.interpreter import bind_sizes
from tracegrad.transforms.custom import without_rules
from tracegrad.transforms.jvp import jvp


def dependence(
    function: Function, wrt: Sequence[int], of: Sequence[int], arguments: Sequence[Any]
) -> list[Pattern]:
    """Which elements of results depend on which elements of parameters.

    Parameters
    ----------
    function : in array form.
    wrt : indices of float parameters, each once.
    of : indices of float results.
    arguments : one per parameter. Of floats only the shape is looked at; the pattern holds for
        these integers and sizes, whatever the floats are.

    Returns
    -------
    The pattern of each result, one row per element; the columns are the elements of the parameters
    ``wrt``, one parameter after the other. It may hold more than there is, never less.
    """
    if any(op.name == "custom" for op in function.walk()):
        return _along_tangents(function, wrt, of, arguments)
    arrays = [np.asarray(a) for a in arguments]
    sizes = bind_sizes(function, arrays)
    counts = [arrays[i].size for i in wrt]
    firsts = np.concatenate([[0], np.cumsum(counts)]).astype(int).tolist()
    graph = Graph(firsts[-1])
    program = Program(function, sizes)
    machine = Machine(graph, dict(sizes), program.ops)
    given = [_constant(p, a) for p, a in zip(function.params, arrays, strict=True)]
    for i, first in zip(wrt, firsts, strict=False):
        ids = np.arange(1 + first, 1 + first + arrays[i].size).reshape(arrays[i].shape)
        given[i] = ids if ids.ndim else int(ids)
    scope: dict[str, Any] = {"own": own, "wrapped": wrapped}
    exec(compile(program.text, f"<dependences of {function.name}>", "exec"), scope)
    made = scope["run"](machine, *given)
    return [graph.pattern(machine.all_of(function.results[k], made[k])) for k in of]


def _along_tangents(
    function: Function, wrt: Sequence[int], of: Sequence[int], arguments: Sequence[Any]
) -> list[Pattern]:
    """As `dependence`: how the tangents of results depend on those of parameters.

    That is the same pattern, of a program in which rules of the user's are written out.
    """
    count = len(function.params)
    forward = without_rules(jvp(function, wrt, of))
    tangents = [np.zeros_like(arguments[i]) for i in wrt]
    results = range(len(function.results), len(forward.results))
    return dependence(
        forward, range(count, count + len(tangents)), results, [*arguments, *tangents]
    )


def _constant(param: Value, array: np.ndarray) -> Any:
    """A parameter that nothing is asked about: an integer as it is, a float without a set."""
    if param.dtype.is_float:
        return np.zeros(array.shape, np.int64) if array.ndim else NOTHING
    return array.copy() if array.ndim else array.item()
