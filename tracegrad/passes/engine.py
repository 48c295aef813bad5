"""The engine of the simplifying passes: append an operation only if nothing simpler will do.

A `Simplifier` is a `Rewriter` whose `emit` first tries the rules of the op, then folds constants,
then looks for an equal operation that is visible already. Since rules append their replacements
through the same `emit`, these are simplified in turn, and one walk reaches a normal form.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from tracegrad.ir.builder import current
from tracegrad.ir.core import Function, Operation, Region, Value
from tracegrad.ir.rewrite import Rewriter
from tracegrad.ir.types import ArrayType
from tracegrad.ops.registry import REGISTRY, OpDef, expand_to
from tracegrad.passes.folding import folded
from tracegrad.passes.liveness import live_operations
from tracegrad.passes.table import ELEMENTWISE, Rule
from tracegrad.passes.values import array_shape

COMMUTATIVE = frozenset(
    (
        *("add", "multiply", "equal", "not_equal", "logical_and", "logical_or", "logical_xor"),
        *("bitwise_and", "bitwise_or", "bitwise_xor"),
    )
)
"""Operations with the same bits for exchanged operands: ``maximum(0.0, -0.0)`` has not."""
UNSHARED = frozenset(
    (
        *("alloc", "load", "store", "add_store", "gemm", "gemm_part", "alias", "check_index"),
        *("for", "while", "if"),
    )
)
"""Operations that are never merged: memory, and what holds regions."""

DEEPEST = 60
"""How deep replacements may be simplified in turn; never reached unless a rule is faulty."""


class Found(Operation):
    """What `emit` returns for an operation that was not appended: only its results are there."""

    __slots__ = ()

    def __init__(self, value: Value) -> None:
        self.results = (value,)


class Simplifier(Rewriter):
    """Copies a function through rules, constant folding and sharing of equal operations.

    Parameters
    ----------
    rules : the rules to apply.
    fold : whether operations on constants and on dimensions are computed.
    share : whether equal operations are merged.

    Attributes
    ----------
    fired : how often each rule applied, with ``"fold"`` and ``"share"`` among them, and
        ``"too deep"`` if rules were not applied because of `DEEPEST`.
    """

    def __init__(
        self, rules: Iterable[Rule] = (), *, fold: bool = False, share: bool = False
    ) -> None:
        super().__init__()
        self.rules = _by_op(tuple(rules), len(REGISTRY))
        self.fold = fold
        self.share = share
        self.fired: Counter[str] = Counter()
        self._scopes: list[dict[Hashable, Operation]] = [{}]
        self._number: dict[Value, int] = {}
        self._depth = 0
        self._live: Collection[Operation] | None = None

    def rewrite(self, function: Function) -> Function:
        # Operations that nothing reads are not worth simplifying.
        self._live = live_operations(function)
        return super().rewrite(function)

    def walk(self, ops: Iterable[Operation]) -> None:
        live = self._live
        super().walk(ops if live is None else [op for op in ops if op in live])

    def copied(self, region: Region, params: Iterable[Value], yields: Iterable[Value]) -> Region:
        self._scopes.append({})
        try:
            return super().copied(region, params, yields)
        finally:
            self._scopes.pop()

    def emit(
        self,
        opdef: OpDef,
        operands: Sequence[Value],
        attributes: Mapping[str, Any] | None = None,
        regions: Sequence[Region] = (),
        result_types: Sequence[ArrayType] | None = None,
    ) -> Operation:
        attributes = {} if attributes is None else attributes
        if regions or opdef.effects or opdef.name in UNSHARED:
            return super().emit(opdef, operands, attributes, regions, result_types)
        if self._depth >= DEEPEST:
            self.fired["too deep"] += 1
        else:
            self._depth += 1
            try:
                value = self._simpler(opdef, operands, attributes)
            finally:
                self._depth -= 1
            if value is not None:
                return Found(value)
        if not self.share:
            return super().emit(opdef, operands, attributes, (), result_types)
        key = self.key(opdef, operands, attributes)
        for scope in reversed(self._scopes):
            if (shared := scope.get(key)) is not None:
                self.fired["share"] += 1
                return shared
        op = super().emit(opdef, operands, attributes, (), result_types)
        if op.results:
            self._scopes[-1][key] = op
        return op

    def _simpler(
        self, opdef: OpDef, operands: Sequence[Value], attributes: Mapping[str, Any]
    ) -> Value | None:
        for rule in self.rules.get(opdef.name, ()):
            value = (
                rule.apply(opdef, *operands, **attributes)
                if rule.takes_op
                else rule.apply(*operands, **attributes)
            )
            if value is None and rule.commutes and operands[0] is not operands[1]:
                value = rule.apply(operands[1], operands[0], **attributes)
            if value is not None:
                self.fired[rule.name] += 1
                if value.rank == 0 and opdef.kind == "elementwise":
                    # Of select(c, select(c, x, y), z) with a scalar c, only y may be an array.
                    return expand_to(value, array_shape(*operands))
                return value
        if self.fold:
            value = folded(opdef, operands, attributes)
            if value is not None:
                self.fired["fold"] += 1
            return value
        return None

    # --- equal operations

    def key(
        self, opdef: OpDef, operands: Sequence[Value], attributes: Mapping[str, Any]
    ) -> Hashable:
        """Equal for operations that give the same value."""
        if opdef.name == "const":
            # By text, which tells 0.0 from -0.0 and takes one NaN for another.
            return "const", attributes["dtype"], repr(attributes["value"])
        args = tuple(operands)
        if opdef.name in COMMUTATIVE and self.order(args[1]) < self.order(args[0]):
            args = (args[1], args[0])
        if not attributes:
            return opdef, args
        return opdef, args, tuple(sorted(attributes.items()))

    def order(self, value: Value) -> int:
        """A number of the value, in the order in which values were first asked for."""
        return self._number.setdefault(value, len(self._number))

    def lookup(self, opdef: OpDef, *operands: Value, **attributes: Any) -> Value | None:
        """The value of an equal operation that is visible here, if there is one."""
        key = self.key(opdef, operands, attributes)
        for scope in reversed(self._scopes):
            if key in scope:
                return scope[key].results[0]
        return None


def existing(opdef: OpDef, *operands: Value, **attributes: Any) -> Value | None:
    """For rules: the value of an equal operation that the current builder has already."""
    build = current()
    return build.lookup(opdef, *operands, **attributes) if isinstance(build, Simplifier) else None


@lru_cache(maxsize=16)
def _by_op(rules: tuple[Rule, ...], count: int) -> dict[str, list[Rule]]:
    """Op name → its rules in order; ``count`` of ops, since more may be registered later."""
    general = [r for r in rules if r.ops == ELEMENTWISE]
    return {
        name: [r for r in rules if name in r.ops or (r in general and op.kind == "elementwise")]
        for name, op in REGISTRY.items()
    }
