"""What a trace gives to the rest of tracegrad (docs/decisions/0003-front-end.md)."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tracegrad.errors import Place, UnsupportedError
from tracegrad.ir.core import Function, Value
from tracegrad.ir.types import ArrayType, evaluate, is_symbol
from tracegrad.tracing.captures import Captures
from tracegrad.tracing.memory import Memory
from tracegrad.tracing.tracer import Tracer
from tracegrad.tree import LEAF, Structure, unflatten

__all__ = ["OutputLeaf", "Traced", "require_results"]


@dataclass(frozen=True, eq=False)
class OutputLeaf:
    """One leaf of what the user's function returned.

    ``value`` and ``result`` (its index among the function's results) are None for a constant;
    ``known`` is the type of a constant number, None for any other constant.
    """

    value: Value | None
    result: int | None
    known: ArrayType | None = None

    @property
    def type(self) -> Any:
        """The `ArrayType` of the leaf; None for a constant that is no number."""
        return self.known if self.value is None else self.value.type


@dataclass(frozen=True, eq=False)
class Traced:
    """A traced function and what is needed to call it.

    Attributes
    ----------
    function : parameters are the non-static leaves, in order, then the captured arrays;
        results are the distinct output values.
    rebuild_outputs : one value per result → the user's output.
    written : the parameters whose arrays the function writes to, in private copies.
    arguments : for a trace within a trace, the outer values of the parameters.
    memories : for a trace within a trace, where the arrays of the parameters lie.
    returned : for a trace within a trace, where the leaves of the output lie; None for a number.
    place : where the user's function is defined.
    """

    function: Function
    params: Mapping[int, int]
    outputs: tuple[OutputLeaf, ...]
    output_structure: Structure
    rebuild_outputs: Callable[[Sequence[Any]], Any]
    captures: Captures
    arguments: tuple[Tracer, ...]
    place: Place | None
    leaf_types: tuple[type, ...]
    written: tuple[int, ...] = ()
    memories: Mapping[int, Memory] = field(default_factory=dict)
    returned: tuple[Memory | None, ...] = ()

    def param_of(self, leaf: int) -> int:
        """The index of the parameter that a (non-static) leaf of the arguments is."""
        return self.params[leaf]

    def output_types(self) -> tuple[OutputLeaf, ...]:
        """The leaves of the output."""
        return self.outputs

    def first_of_pair(self) -> tuple[OutputLeaf, ...] | None:
        """The leaves of the first element, when the output is a pair; else None."""
        pair = unflatten(self.output_structure, range(len(self.outputs)))
        if not (isinstance(pair, tuple) and len(pair) == 2):
            return None
        from tracegrad.tree import flatten

        leaves, _ = flatten(pair[0])
        return tuple(self.outputs[leaf] for leaf in leaves)

    def returns_one_leaf(self) -> bool:
        """Whether the output is one leaf that is the function's only result."""
        return (
            self.output_structure == LEAF
            and len(self.function.results) == 1
            and self.outputs[0].result == 0
        )

    def overlapping(self, arguments: Sequence[Any]) -> tuple[str, str] | None:
        """An array that the function writes to and one that shares its memory; None if none does.

        The function would see its writes through the other; kernels write to a private copy.
        """
        for index in self.written:
            for other, value in enumerate(arguments):
                if other != index and np.may_share_memory(arguments[index], value):
                    return self.function.params[index].hint, self.function.params[other].hint
        return None

    # -- captures

    def has_captures(self) -> bool:
        """Whether there is anything to fetch or to check at each call."""
        return bool(self.captures.arrays or self.captures.checks)

    def captures_hold(self) -> bool:
        """Whether every captured name still has what the trace assumed of it."""
        return self.captures.hold_now()

    def captured_arrays(self) -> list[np.ndarray]:
        """The captured arrays, as they are now, in the order of the parameters."""
        return [captured.fetch() for captured in self.captures.arrays.values()]

    # -- guards

    def guards_hold(self, leaves: Sequence[Any]) -> bool:
        """Whether the sizes of ``leaves`` (of the right types) are a case of this trace."""
        values: list[Any] = [None] * len(self.function.params)
        for leaf, param in self.params.items():
            values[param] = leaves[leaf]
        values[len(self.params) :] = self.captured_arrays()
        sizes: dict[str, int] = {}
        for name, (param, axis) in self.function.size_sources().items():
            sizes[name] = int(values[param]) if axis is None else values[param].shape[axis]
        for value, wanted in zip(values, self.function.params, strict=True):
            for size, dim in zip(np.shape(value), wanted.shape, strict=True):
                if evaluate(dim, sizes) != size:
                    return False
        return all(guard.holds(sizes) for guard in self.function.guards)

    def differing_dims(self, leaves: Sequence[Any]) -> set[tuple[int, int]]:
        """The (leaf, axis) whose size was fixed by this trace and differs in ``leaves``."""
        found = set()
        for leaf, index in self.params.items():
            shape = self.function.params[index].shape
            for axis, (size, dim) in enumerate(zip(np.shape(leaves[leaf]), shape, strict=True)):
                if is_symbol(dim) is None and isinstance(dim, int) and dim != size:
                    found.add((leaf, axis))
        return found


def require_results(out: Any, fun: Any) -> None:
    """Refuse what a generator function or an async function gives: nothing has run yet."""
    if inspect.isgenerator(out) or inspect.iscoroutine(out) or inspect.isasyncgen(out):
        kind = "a coroutine (async def)" if inspect.iscoroutine(out) else "a generator (yield)"
        if inspect.iscoroutine(out):
            out.close()
        raise UnsupportedError(
            f"the function gives {kind}, of which nothing has run",
            way_out="return the values: make a list of them, or write a plain function",
            place=_place_of(fun),
        )


def _place_of(fun: Any) -> Place | None:
    """Where a function begins, if it has code."""
    code = getattr(inspect.unwrap(fun), "__code__", None)
    return None if code is None else Place(code.co_filename, code.co_firstlineno, code.co_name)
