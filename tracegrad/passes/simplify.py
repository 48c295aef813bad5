"""Simplification: the rewrite rules, folding and sharing in one walk, repeated until nothing fires.

The rules are in `tracegrad.passes.rules`, what they may change in `tracegrad.passes.table`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

from tracegrad.ir.builder import Builder
from tracegrad.ir.core import Function, Operation, Region, Value
from tracegrad.ir.rewrite import leading
from tracegrad.ops.control import raises
from tracegrad.passes import rules as _rules  # noqa: F401  # fills the table
from tracegrad.passes.dce import dce
from tracegrad.passes.engine import Simplifier
from tracegrad.passes.rules.quotients import reciprocal_of
from tracegrad.passes.table import EXACT, ROUNDING, RULES, Mark, Rule
from tracegrad.passes.values import made_by, number

ROUNDS = 4
DEFAULT = (EXACT, ROUNDING)


def simplify(
    function: Function, *, marks: Collection[Mark] = DEFAULT, fired: Counter[str] | None = None
) -> Function:
    """Apply the rewrite rules, fold what is known, compute equal operations once.

    Before::

        func @f(%x: f64[n], %y: f64[n]) -> (f64[n]) {
          %one: f64 = 1.0
          %a: f64[n] = multiply(%x, %one)
          %b: f64[n] = negative(%a)
          %c: f64[n] = add(%y, %b)
          return %c
        }

    After::

        func @f(%x: f64[n], %y: f64[n]) -> (f64[n]) {
          %c: f64[n] = subtract(%y, %x)
          return %c
        }

    Parameters
    ----------
    marks : the rules to apply; with only ``EXACT`` the result has the same bits.
    fired : counts how often each rule applied.
    """
    chosen = chosen_rules(marks)
    inexact = ROUNDING in marks
    for round in range(ROUNDS):
        divisors = shared_divisors(function) if inexact and round else frozenset()
        engine = _Simplify(chosen, divisors)
        function = engine.rewrite(function)
        if fired is not None:
            fired.update(engine.fired)
        if not engine.fired and (round or not (inexact and shared_divisors(function))):
            break
    return dce(function)


_CHOSEN: dict[frozenset[Mark], list[Rule]] = {}


def chosen_rules(marks: Collection[Mark]) -> list[Rule]:
    """The rules with these marks."""
    key = frozenset(marks)
    if key not in _CHOSEN:
        _CHOSEN[key] = [r for r in RULES if r.mark in key]
    return _CHOSEN[key]


def shared_divisors(function: Function) -> frozenset[Value]:
    """The float values by which two or more arrays of one region are divided.

    Scalars keep their exact quotients: nothing is gained for them.
    """
    found: set[Value] = set()

    def search(ops: Sequence[Operation]) -> None:
        dividends: dict[Value, set[Value]] = {}
        for op in ops:
            if op.name == "divide" and op.result.rank and op.result.dtype.is_float:
                dividends.setdefault(op.operands[1], set()).add(op.operands[0])
            elif op.name == "reciprocal" and op.result.rank and op.result.dtype.is_float:
                dividends.setdefault(op.operands[0], set()).add(op.result)
            for region in op.regions:
                search(region.ops)
        found.update(v for v, seen in dividends.items() if len(seen) > 1 and number(v) is None)

    search(function.body.ops)
    return frozenset(found)


class _Simplify(Simplifier):
    """The engine with all that is wanted, and the rules for control flow."""

    def __init__(self, rules: Sequence[Rule], divisors: frozenset[Value]) -> None:
        super().__init__(rules, fold=True, share=True)
        self.divisors = divisors
        self.users: dict[Value, list[Operation | Region]] = {}

    def rewrite(self, function: Function) -> Function:
        self.users = function.body.users()
        return super().rewrite(function)

    def visit(self, op: Operation) -> Sequence[Value]:
        if op.name == "update" and self.overwrites(op):
            return [self.update_twice(op)]
        if op.name == "divide" and op.operands[1] in self.divisors:
            return [self.by_reciprocal(op)]
        return super().visit(op)

    def overwrites(self, op: Operation) -> bool:
        """Whether ``op`` writes where its array was just written to, and nothing else reads that.

        If something does, both versions are needed, and one would have to be a copy.
        """
        first = made_by(op.operands[0], "update")
        return (
            first is not None
            and first.operands[2:] == op.operands[2:]
            and len(self.users[first.result]) == 1
        )

    def update_twice(self, op: Operation) -> Value:
        """Before → after: ``y = update(x, v, i)``, ``update(y, w, i)`` → ``update(x, w, i)``."""
        first = op.operands[0].op
        assert first is not None
        self.fired["update_twice"] += 1
        operands = self.mapped((first.operands[0], *op.operands[1:]))
        return self.emit(op.opdef, operands).results[0]

    def by_reciprocal(self, op: Operation) -> Value:
        """Before → after: ``x / z``, ``y / z`` → ``r = reciprocal(z)``, ``x * r``, ``y * r``."""
        x, y = self.mapped(op.operands)
        self.fired["shared_reciprocal"] += 1
        inverse = reciprocal_of(y)
        product = inverse if number(x) == 1 and x.rank <= y.rank else x * inverse
        assert product.type == op.result.type
        return product

    def visit_control(self, op: Operation) -> Sequence[Value]:
        if op.name == "if":
            return self.visit_if(op)
        return self.visit_loop(op) if op.name != "custom" else super().visit_control(op)

    def visit_if(self, op: Operation) -> Sequence[Value]:
        """A known predicate chooses now; a result that is one value in both arms is that value.

        Before → after: ``if(True) { A; yield a } else { B; yield b }`` → ``A``, and ``a``.
        """
        known = number(self.mapped(op.operands)[0])
        if known is not None:
            self.fired["if_known"] += 1
            region = op.regions[0 if known else 1]
            self.walk(region.ops)
            return self.mapped(region.yields)
        if op.results or any(r.ops and raises(r) is None for r in op.regions):
            for arm, other in zip(op.regions, op.regions[::-1], strict=True):
                if raises(arm) is not None:
                    return self.with_raise(op, arm, other)
        new = self.rebuilt(op, range(len(op.results)))
        results = list(new.results)
        then, otherwise = new.regions
        defined = {r for region in new.regions for inner in region.ops for r in inner.results}
        for k, (a, b) in enumerate(zip(then.yields, otherwise.yields, strict=True)):
            if a is b and a not in defined:
                self.fired["if_equal_arms"] += 1
                results[k] = a
        return results

    def with_raise(self, op: Operation, arm: Region, other: Region) -> Sequence[Value]:
        """An arm that raises gives nothing: what the other does needs no arm.

        Before → after: ``if(c) { A; raise; yield a } else { B; yield b }`` →
        ``if(c) { A; raise } else { }``, ``B``, and ``b``.
        """
        self.fired["if_raises"] += 1
        kept = {arm: arm.ops[: (raises(arm) or 0) + 1], other: []}
        regions = [self.copied(Region((), kept[r]), (), ()) for r in op.regions]
        self._location, self._part = op.location, op.part
        Builder.emit(self, op.opdef, self.mapped(op.operands), op.attributes, regions, ())
        self.walk(other.ops)
        return self.mapped(other.yields)

    def visit_loop(self, op: Operation) -> Sequence[Value]:
        """Carried values that no trip changes are their initial values; loops of 0 and 1 trips go.

        Before → after: ``for(0, 1, 1, x) (i, c) { A; yield a }`` → ``A`` with i = 0 and c = x.
        """
        first = leading(op)
        inits = op.operands[first:]
        body = op.regions[-1]
        offset = len(body.params) - len(inits)
        trips = self.trips(op) if op.name == "for" else None
        if trips == 0:
            self.fired["for_no_trips"] += 1
            return self.mapped(inits)
        if trips == 1:
            self.fired["for_one_trip"] += 1
            for param, value in zip(body.params, self.mapped(op.operands[:1] + inits), strict=True):
                self.env[param] = value
            self.walk(body.ops)
            return self.mapped(body.yields)
        changed = [k for k, v in enumerate(body.yields) if v is not body.params[offset + k]]
        if len(changed) == len(inits):
            return self.rebuilt(op, changed).results
        self.fired["loop_invariant"] += 1
        results = self.mapped(inits)
        for k in range(len(inits)):
            if k not in changed:
                for region in op.regions:
                    start = len(region.params) - len(inits)
                    self.env[region.params[start + k]] = results[k]
        if op.name == "for" and not changed and not op.has_effects:
            return results
        for k, value in zip(changed, self.rebuilt(op, changed).results, strict=True):
            results[k] = value
        return results

    def trips(self, op: Operation) -> int | None:
        """The number of trips when all three bounds are known."""
        bounds = [number(v) for v in self.mapped(op.operands[:3])]
        if any(b is None for b in bounds):
            return None
        lo, hi, step = (int(b) for b in bounds if b is not None)
        return len(range(lo, hi, step)) if step else None
