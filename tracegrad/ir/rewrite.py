"""Walking one function while building another: what passes share.

A `Rewriter` is a builder that visits the operations of a function in order and appends what
takes their place. Operations that its `visit` makes have the location and part of the visited
one, and a value that replaces another takes over the name that the user gave it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from tracegrad.ir.builder import Builder
from tracegrad.ir.core import Function, Operation, Region, Value


class Rewriter(Builder):
    """Copies a function; a pass overrides `visit`, `visit_control` or `emit`.

    Attributes
    ----------
    env : old value → the new value that takes its place.
    """

    def __init__(self) -> None:
        super().__init__()
        self.env: dict[Value, Value] = {}

    def rewrite(self, function: Function) -> Function:
        """The new function."""
        with self:
            for param in function.params:
                self.env[param] = self.param(param.type, param.hint)
            self.walk(function.body.ops)
            return self.function(function.name, self.mapped(function.results), like=function)

    def walk(self, ops: Iterable[Operation]) -> None:
        """Visit operations in order."""
        for op in ops:
            self._location, self._part = op.location, op.part
            self.replace(op.results, self.visit(op))

    def replace(self, old: Sequence[Value], new: Sequence[Value]) -> None:
        """New values for old ones; hints are handed on, but not to shared numbers."""
        for before, after in zip(old, new, strict=True):
            self.env[before] = after
            if before.hint and not after.hint and not _is_number(after):
                after.hint = before.hint

    def mapped(self, values: Iterable[Value]) -> list[Value]:
        """The new values for old ones; a value of an enclosing function stands for itself."""
        env = self.env
        return [env.get(v, v) for v in values]

    def visit(self, op: Operation) -> Sequence[Value]:
        """Append what takes the place of ``op``; the values for its results."""
        if op.regions:
            return self.visit_control(op)
        types = [r.type for r in op.results]
        return self.emit(op.opdef, self.mapped(op.operands), op.attributes, (), types).results

    def visit_control(self, op: Operation) -> Sequence[Value]:
        """As `visit`, for an operation with regions."""
        return self.rebuilt(op, range(len(op.results))).results

    def rebuilt(self, op: Operation, kept: Collection[int]) -> Operation:
        """``op`` with its regions visited and only the ``kept`` results and carried values.

        What replaces the other results, and in a loop the region parameters that carry them,
        is up to the caller.
        """
        lead = leading(op)
        carries = op.name in ("for", "while")
        operands = [
            *op.operands[:lead],
            *(v for k, v in enumerate(op.operands[lead:]) if k in kept),
        ]
        regions = []
        for region in op.regions:
            first = first_carried(op)
            params = [
                *region.params[:first],
                *(v for k, v in enumerate(region.params[first:]) if k in kept),
            ]
            yields = list(region.yields)
            condition = op.name == "while" and region is op.regions[0]
            if not condition and op.name != "custom":
                yields = [v for k, v in enumerate(yields) if k in kept]
            regions.append(self.copied(region, params if carries else region.params, yields))
        types = [r.type for k, r in enumerate(op.results) if k in kept]
        self._location, self._part = op.location, op.part
        return super().emit(op.opdef, self.mapped(operands), op.attributes, regions, types)

    def copied(self, region: Region, params: Iterable[Value], yields: Iterable[Value]) -> Region:
        """A new region of the visited operations of ``region``."""
        with self.open() as new:
            for param in params:
                self.env[param] = self.param(param.type, param.hint)
            self.walk(region.ops)
            new.yields = tuple(self.mapped(yields))
        return new


def _is_number(value: Value) -> bool:
    return value.op is not None and value.op.name == "const"


def leading(op: Operation) -> int:
    """How many operands of an operation with regions stand before the carried values."""
    return {"for": 3, "while": 0, "if": 1}.get(op.name, len(op.operands))


def first_carried(op: Operation) -> int:
    """How many region parameters stand before the carried values."""
    return 1 if op.name == "for" else 0
