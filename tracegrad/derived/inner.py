"""A call of a user's function, traced within the active trace."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tracegrad import tracing, tree
from tracegrad.arguments import Binder, Selection
from tracegrad.errors import ArgumentError
from tracegrad.ir.core import Function
from tracegrad.ir.types import ArrayType
from tracegrad.passes import open_loops
from tracegrad.tracing import OutputLeaf
from tracegrad.verbs import Verb

Fun = Callable[..., Any]


@dataclass(frozen=True, eq=False)
class Inner:
    """A function traced for the arguments of one call.

    Attributes
    ----------
    verb : who asks, for messages and for what is differentiated.
    leaves : the arguments as leaves.
    """

    verb: Verb
    traced: tracing.Traced
    selection: Selection
    leaves: Sequence[Any]

    @functools.cached_property
    def function(self) -> Function:
        """The traced function, ready to be transformed."""
        return open_loops(self.traced.function)

    @property
    def results(self) -> int:
        return len(self.traced.function.results)

    def outputs(self) -> tuple[OutputLeaf, ...]:
        """The leaves of the result; with ``has_aux`` those of its first element."""
        if not self.verb.has_aux:
            return self.traced.output_types()
        first = self.traced.first_of_pair()
        if first is None:
            raise ArgumentError(
                f"{self.verb.name} with has_aux=True needs a function that returns (value, aux)",
                way_out="return a pair, or leave out has_aux",
                place=self.traced.place,
            )
        return first

    def float_results(self) -> list[int]:
        """The results that have a derivative, each once."""
        return list(
            dict.fromkeys(
                leaf.result
                for leaf in self.outputs()
                if leaf.result is not None and leaf.type.dtype.is_float
            )
        )

    def refuse_other_results(self) -> None:
        """Raise `ArgumentError` unless every result is a float that depends on the arguments."""
        for leaf in self.outputs():
            if leaf.type is None or leaf.result is None or not leaf.type.dtype.is_float:
                what = "no number" if leaf.type is None else str(leaf.type)
                why = "" if leaf.result is not None else ", which does not depend on any argument"
                raise ArgumentError(
                    f"{self.verb.name} needs float results; this function returns {what}{why}",
                    way_out="return floats that are computed from the arguments, or use "
                    "has_aux=True for further results",
                    place=self.traced.place,
                )

    def rebuild(self, values: Sequence[Any]) -> Any:
        """The user's result from one value per result of the function."""
        return self.traced.rebuild_outputs([_as_size(value) for value in values])

    def like_output(self, values: Sequence[Any]) -> Any:
        """A tree like the result (with ``has_aux``: its first element), of these leaves."""
        found = tree.unflatten(self.traced.output_structure, range(len(self.traced.outputs)))
        _, structure = tree.flatten(found[0] if self.verb.has_aux else found)
        return tree.unflatten(structure, values)


def _as_size(value: Any) -> Any:
    """A result that is a size goes on as one: an array may be made of it."""
    op = value.value.op
    return tracing.size_of(op.attributes["size"]) if op is not None and op.name == "dim" else value


def traced_call(
    fun: Fun,
    verb: Verb,
    binder: Binder,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    types: Mapping[int, ArrayType] | None = None,
) -> Inner:
    """Trace ``fun`` for these arguments.

    Parameters
    ----------
    types : for some leaves another type than that of the argument, if what ``fun`` is applied to
        is only a part of it.
    """
    shape, leaves, kinds = binder.bind(args, kwargs)
    static = frozenset(i for i, leaf in enumerate(kinds) if leaf.kind == "static")
    with verb.applied():
        traced = tracing.subtrace(
            fun,
            shape.rebuild,
            leaves,
            static=static,
            names=binder.leaf_names(shape),
            types=types or {},
        )
    return Inner(verb, traced, binder.selection(shape, kinds), leaves)
