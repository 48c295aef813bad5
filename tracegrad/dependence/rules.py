"""What each operation does to sets of dependences: one function per family, by name.

A rule takes the graph, what it has for each operand, and the attributes with numbers for sizes.
Floats are arrays of sets; integers and booleans are themselves, or None where floats decide them.
It gives the sets of the result. Operations without a rule make each element of their results
depend on every element of their operands.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from tracegrad.dependence.graph import NOTHING, Graph, Ids
from tracegrad.ir.builder import Builder
from tracegrad.ir.core import Operation, Value
from tracegrad.ir.types import ArrayType

Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Step:
    """One operation at known sizes.

    Attributes
    ----------
    attributes : with numbers for sizes.
    shapes : of the results.
    """

    op: Operation
    attributes: dict[str, Any]
    shapes: tuple[Shape, ...]

    @property
    def shape(self) -> Shape:
        return self.shapes[0]


Rule = Callable[[Graph, Step, Sequence[Any]], Any]
RULES: dict[str, Rule] = {}


def rule(*names: str) -> Callable[[Rule], Rule]:
    def enter(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, function))
        return function

    return enter


# --- elementwise ------------------------------------------------------------------------------


def carriers(op: Operation) -> tuple[int, ...]:
    """The operands of an elementwise operation that its derivative is not zero in."""
    if not op.result.dtype.is_float or op.name == "stop_gradient":
        return ()
    floats = tuple(k for k, v in enumerate(op.operands) if v.dtype.is_float)
    if op.opdef.local is None or op.opdef.vjp_rule is not None:
        return floats
    key = tuple(sorted(op.attributes.items(), key=lambda item: item[0]))
    zero = _zero_partials(op.opdef, tuple(v.dtype for v in op.operands), key)
    return tuple(k for k in floats if k not in zero)


@functools.cache
def _zero_partials(opdef: Any, dtypes: tuple[Any, ...], attributes: Any) -> frozenset[int]:
    """The operands in which the local partial is zero everywhere, as the rule states it."""
    with Builder() as build:
        operands = [build.param(ArrayType(dtype), "") for dtype in dtypes]
        out = build.param(ArrayType(dtypes[-1]), "")
        partials = opdef.local(out, *operands, **dict(attributes))
    return frozenset(
        k for k, p in enumerate(partials) if p is None or (not isinstance(p, Value) and p == 0)
    )


def elementwise(graph: Graph, step: Step, given: Sequence[Any]) -> Ids:
    found: Any = NOTHING
    for k in carriers(step.op):
        found = graph.joined(found, given[k])
    return _spread(found, step.shape)


@rule("select")
def select(graph: Graph, step: Step, given: Sequence[Any]) -> Ids:
    condition, x, y = given
    if condition is None:
        return _spread(graph.joined(x, y), step.shape)
    return _spread(np.where(condition, x, y), step.shape)


def _spread(ids: Any, shape: Shape) -> Ids:
    """``ids`` as a new array of ``shape``."""
    found = np.empty(shape, np.int64)
    found[...] = ids
    return found


# --- reading ----------------------------------------------------------------------------------


@rule("view", "reshape", "concatenate", "pad", "roll")
def moved(graph: Graph, step: Step, given: Sequence[Any]) -> Ids:
    """Elements in other places: the operation itself, on sets instead of numbers; 0 is empty."""
    found = step.op.opdef.reference(*given, **step.attributes)
    return np.array(found, np.int64)


@rule("ensure")
def ensure(graph: Graph, step: Step, given: Sequence[Any]) -> Ids:
    x, length = given
    return np.array(step.op.opdef.reference(x, length), np.int64)


@rule("blank", "tape")
def nothing(graph: Graph, step: Step, given: Sequence[Any]) -> Ids:
    return np.zeros(step.shape, np.int64)


def _known_first(graph: Graph, x: Ids, indices: Sequence[Any]) -> tuple[Ids, list[np.ndarray]]:
    """``x`` without the dimensions whose index nobody knows, and the other indices."""
    gone = tuple(k for k, i in enumerate(indices) if i is None)
    kept = [k for k in range(x.ndim) if k not in gone]
    rest = [x.shape[k] for k in kept]
    x = graph.union(x.transpose(*kept, *gone).reshape(*rest, math.prod(x.shape[k] for k in gone)))
    return x, [np.asarray(i) for i in indices if i is not None]


@rule("index")
def index(graph: Graph, step: Step, given: Sequence[Any]) -> Ids:
    x, *indices = given
    if all(i is not None for i in indices):
        return np.array(x[tuple(indices)], np.int64)
    places = step.op.operands[1].rank
    x, known = _known_first(graph, x, indices)
    if known:
        return np.array(x[tuple(known)], np.int64)
    return _spread(x.reshape((1,) * places + x.shape), step.shape)


@rule("update")
def update(graph: Graph, step: Step, given: Sequence[Any]) -> Ids:
    """In place: the program hands over an array of its own."""
    x, v, *indices = given
    if all(i is not None for i in indices):
        x[tuple(indices)] = v
        return x  # type: ignore[no-any-return]  # an array of sets
    return _anywhere(graph, step, x, v, indices)


@rule("accumulate")
def accumulate(graph: Graph, step: Step, given: Sequence[Any]) -> Ids:
    x, v, *indices = given
    if any(i is None for i in indices):
        return _anywhere(graph, step, x, v, indices)
    places = np.arange(x.size).reshape(x.shape)[tuple(indices)]
    return graph.added(x.ravel(), np.ravel(places), np.ravel(v)).reshape(x.shape)


def _anywhere(graph: Graph, step: Step, x: Ids, v: Any, indices: Sequence[Any]) -> Ids:
    """Written to places that nobody knows: each may hold what it held, and what is written."""
    v = np.asarray(v)
    if all(np.ndim(i) == 0 for i in indices if i is not None) and v.ndim == x.ndim - len(indices):
        found = x.copy()
        place = tuple(slice(None) if i is None else int(i) for i in indices)
        found[place] = graph.joined(found[place], v)
        return found
    places = step.op.operands[2].rank
    rest = v.shape[places:]
    v = graph.union(np.moveaxis(v.reshape(-1, *rest), 0, -1)) if places else v
    return graph.joined(x, v)


# --- reductions and scans ---------------------------------------------------------------------


@rule("sum", "prod", "max", "min")
def reduced(graph: Graph, step: Step, given: Sequence[Any]) -> Ids:
    (x,) = given
    x = np.asarray(x)
    axes = step.attributes["axes"]
    kept = [a for a in range(x.ndim) if a not in axes]
    count = math.prod(x.shape[a] for a in axes)
    return graph.union(x.transpose(*kept, *axes).reshape(*step.shape, count))


@rule("cumsum", "cumprod", "recurrence")
def scanned(graph: Graph, step: Step, given: Sequence[Any]) -> Ids:
    """Each element holds what those before it hold."""
    axis = step.attributes["axis"]
    found = np.array(given[-1], np.int64)
    rows = np.moveaxis(found, axis, 0)
    factors = np.moveaxis(given[0], axis, 0) if len(given) == 2 else None
    order = range(len(rows))
    if step.attributes.get("reverse", False):
        order = order[::-1]
    if rows.ndim == 1 and factors is None:
        whole = NOTHING
        for here in order:
            whole = rows[here] = graph.join(whole, int(rows[here]))
        return found
    for last, here in pairwise(order):
        before = rows[last] if factors is None else graph.joined(rows[last], factors[last])
        rows[here] = graph.joined(rows[here], before)
    return found


@rule("sort")
def sort(graph: Graph, step: Step, given: Sequence[Any]) -> Ids:
    """Any element of the row may come to any place."""
    (x,) = given
    axis = step.attributes["axis"]
    whole = graph.union(np.moveaxis(x, axis, -1))
    return _spread(np.expand_dims(whole, axis), step.shape)


# --- products ---------------------------------------------------------------------------------


@rule("dot", "matmul")
def product(graph: Graph, step: Step, given: Sequence[Any]) -> Ids:
    """Row by column: all of the row, and all of the column."""
    a, b = given
    rows = graph.union(a)
    columns = graph.union(b if b.ndim == 1 else np.swapaxes(b, -1, -2))
    if a.ndim == 1 or b.ndim == 1:
        return _spread(graph.joined(rows, columns), step.shape)
    return graph.joined(rows[..., :, None], columns[..., None, :])


@rule("solve", "solve_triangular")
def solve(graph: Graph, step: Step, given: Sequence[Any]) -> Ids:
    """A column of the solution holds the matrix and its own right side; a row, from the right."""
    a, b = given
    if step.attributes.get("right", False):
        own = graph.union(b)[:, None]
    else:
        own = graph.union(np.moveaxis(b, 0, -1))
    return _spread(graph.joined(graph.whole(a), own), step.shape)
