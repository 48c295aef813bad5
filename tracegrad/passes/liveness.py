"""Which operations, results and carried values of a function matter to its results."""

from __future__ import annotations

from collections.abc import Iterable

from tracegrad.ir.core import Function, Operation, Region, Value
from tracegrad.ir.rewrite import first_carried, leading
from tracegrad.ir.sizes import BINDING, attribute_symbols, type_symbols


class Liveness:
    """The live values and operations of a function.

    An operation that finds out a size is live if a live operation mentions that size.
    A value is live if a result of the function, an operation with effects, or the way to one
    of them depends on it. A carried value of a loop is live only if its result is read after
    the loop or another live value of the body depends on it: one that only feeds itself is not.
    """

    def __init__(self, function: Function) -> None:
        self.values: set[Value] = set()
        self.operations: set[Operation] = set()
        self._param_of: dict[Value, tuple[Operation, int]] = {}
        self._holder: dict[Operation, Operation | None] = {}
        self._result_of: dict[Value, int] = {}
        self._pending: list[Value] = list(function.results)
        self._effects: list[Operation] = []
        self._binders: dict[str, list[Operation]] = {}
        self._enter(function.body, None)
        for op in self._effects:
            self._operation(op)
        while self._pending:
            self._value(self._pending.pop())

    def _enter(self, region: Region, holder: Operation | None) -> None:
        for op in region.ops:
            self._holder[op] = holder
            if op.opdef.effects:
                self._effects.append(op)
            if op.name in BINDING:
                for name in attribute_symbols(op.attributes["size"]):
                    self._binders.setdefault(name, []).append(op)
            elif op.name == "ensure":  # it changes what the size of a tape is
                for name in attribute_symbols(op.result.shape[0]):
                    self._binders.setdefault(name, []).append(op)
            for inner in op.regions:
                for k, param in enumerate(inner.params):
                    self._param_of[param] = op, k - first_carried(op)
                self._enter(inner, op)
            if op.regions:
                for k, result in enumerate(op.results):
                    self._result_of[result] = k

    def _value(self, value: Value) -> None:
        if value in self.values:
            return
        self.values.add(value)
        if self._binders:
            self._mentioned(type_symbols(value.type))
        if value.op is not None:
            self._operation(value.op)
            if value.op.regions and value.op.name != "custom":
                self._carried(value.op, self._result_of.get(value, 0))
        elif value in self._param_of:
            holder, k = self._param_of[value]
            self._operation(holder)
            if k >= 0 and holder.name != "custom":
                self._carried(holder, k)

    def _carried(self, op: Operation, k: int) -> None:
        """Result or carried value ``k`` of a control-flow operation is live."""
        yields = op.regions[1:] if op.name == "while" else op.regions
        self._pending += [region.yields[k] for region in yields]
        if op.name != "if":
            self._pending.append(op.operands[leading(op) + k])

    def _operation(self, op: Operation) -> None:
        """``op`` runs: what it needs to run is live, and so is the way to it."""
        if op in self.operations or op not in self._holder:
            return
        self.operations.add(op)
        self._pending += op.operands[: leading(op)] if op.regions else op.operands
        if op.name in ("while", "custom"):
            self._pending += op.regions[0].yields
        if self._binders:
            for attribute in op.attributes.values():
                self._mentioned(attribute_symbols(attribute))
        holder = self._holder[op]
        if holder is not None:
            self._operation(holder)

    def _mentioned(self, symbols: Iterable[str]) -> None:
        """What finds out these sizes is live."""
        for name in symbols:
            for binder in self._binders.get(name, ()):
                self._operation(binder)

    def kept(self, op: Operation) -> list[int]:
        """The results, in a loop the carried values, of a control-flow operation that are live."""
        if op.name == "custom":
            return list(range(len(op.results)))
        regions = op.regions if op.name in ("for", "while") else ()
        first = first_carried(op)
        return [
            k
            for k, result in enumerate(op.results)
            if result in self.values or any(r.params[first + k] in self.values for r in regions)
        ]


def live_operations(function: Function) -> set[Operation]:
    """The operations that the results and effects of ``function`` depend on."""
    return Liveness(function).operations
