"""Fewer carried values: equal ones are one, and flags that a loop's condition tells are known."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence

from tracegrad import ops
from tracegrad.ir.core import Function, Operation, Region, Value
from tracegrad.ir.rewrite import Rewriter, first_carried, leading
from tracegrad.ir.types import boolean


def carries(function: Function) -> Function:
    """Merge carried values that are equal in every trip, and use what a ``while`` tests.

    In the body of a ``while`` its condition holds, so a flag that it asks for is known there. A
    branch that chooses between true and false is its predicate.

    Before::

        func @f(%n: i64, %c: bool) -> (bool, bool) {
          %0: i64 = 0
          %no: bool = False
          %i: i64, %a: bool, %b: bool = while(%0, %no, %no) (%i1: i64, %a1: bool, %b1: bool) {
            %less: bool = less(%i1, %n)
            %not: bool = logical_not(%a1)
            %go: bool = logical_and(%less, %not)
            yield %go
          } do (%i2: i64, %a2: bool, %b2: bool) {
            %one: i64 = 1
            %next: i64 = add(%i2, %one)
            %done: bool = if(%c) {
              %yes: bool = True
              yield %yes
            } else {
              yield %b2
            }
            yield %next, %done, %done
          }
          return %a, %b
        }

    After::

        func @f(%n: i64, %c: bool) -> (bool, bool) {
          %0: i64 = 0
          %no: bool = False
          %i: i64, %a: bool = while(%0, %no) (%i1: i64, %a1: bool) {
            %less: bool = less(%i1, %n)
            %not: bool = logical_not(%a1)
            %go: bool = logical_and(%less, %not)
            yield %go
          } do (%i2: i64, %a2: bool) {
            %known: bool = False
            %one: i64 = 1
            %next: i64 = add(%i2, %one)
            %done: bool = if(%c) {
              %yes: bool = True
              yield %yes
            } else {
              yield %known
            }
            yield %next, %c
          }
          return %a, %a
        }
    """
    if not any(op.regions for op in function.body.ops):
        return function
    return _Carries().rewrite(function)


class _Carries(Rewriter):
    def __init__(self) -> None:
        super().__init__()
        #: Of a region: parameters that are gone, with those that stand for them.
        self._same: dict[Region, list[tuple[Value, Value]]] = {}
        #: Of a region: parameters that are known.
        self._known: dict[Region, list[tuple[Value, bool]]] = {}

    def visit_control(self, op: Operation) -> Sequence[Value]:
        if op.name == "if":
            return self._if(op)
        return self._loop(op) if op.name != "custom" else super().visit_control(op)

    def _if(self, op: Operation) -> Sequence[Value]:
        new = self.rebuilt(op, range(len(op.results)))
        results = list(new.results)
        predicate = new.operands[0]
        for k, pair in enumerate(zip(*(r.yields for r in new.regions), strict=True)):
            if [_flag(value) for value in pair] == [True, False]:
                results[k] = predicate
        return results

    def _loop(self, op: Operation) -> Sequence[Value]:
        stands_for = _equal_carries(op)
        kept = [k for k, other in enumerate(stands_for) if k == other]
        first = first_carried(op)
        for region in op.regions:
            self._same[region] = [
                (region.params[first + k], region.params[first + other])
                for k, other in enumerate(stands_for)
                if k != other
            ]
        if op.name == "while":
            self._known[op.regions[1]] = list(_known_flags(op))
        new = dict(zip(kept, self.rebuilt(op, kept).results, strict=True))
        return [new[other] for other in stands_for]

    def copied(self, region: Region, params: Iterable[Value], yields: Iterable[Value]) -> Region:
        with self.open() as new:
            kept: dict[Value, Value] = {}
            for param in params:
                kept[param] = self.env[param] = self.param(param.type, param.hint)
            for param, value in self._known.get(region, ()):
                self.env[param] = ops.const(value=value, dtype=boolean)
            for gone, other in self._same.get(region, ()):
                self.env[gone] = self.env[other]
                if not kept[other].hint:
                    kept[other].hint = gone.hint
            self.walk(region.ops)
            new.yields = tuple(self.mapped(yields))
        return new


def _equal_carries(op: Operation) -> list[int]:
    """For each carried value the first that equals it in every trip.

    Values with equal beginnings count as equal until what a trip makes of them tells them apart.
    """
    body = op.regions[-1]
    inits, params = op.operands[leading(op) :], body.params[first_carried(op) :]
    place = {param: k for k, param in enumerate(params)}
    group: list[Hashable] = [(v.type, _same(v)) for v in inits]
    while True:
        numbers = {key: n for n, key in enumerate(dict.fromkeys(group))}
        number = [numbers[key] for key in group]
        refined: list[Hashable] = [
            (number[k], ("carried", number[place[y]]) if y in place else _same(y))
            for k, y in enumerate(body.yields)
        ]
        if len(set(refined)) == len(numbers):
            first: dict[Hashable, int] = {}
            return [first.setdefault(key, k) for k, key in enumerate(refined)]
        group = refined


def _same(value: Value) -> Hashable:
    """Equal for values that are plainly equal."""
    if value.op is not None and value.op.name == "const":
        # The text tells zeros of either sign apart.
        return value.type, repr(value.op.attributes["value"])
    return value


def _known_flags(op: Operation) -> Iterator[tuple[Value, bool]]:
    """Parameters of the body of a ``while`` that its condition says all about."""
    condition, body = op.regions
    pending = [condition.yields[0]]
    while pending:
        value = pending.pop()
        made = value.op
        if made is not None and made.name == "logical_and":
            pending += made.operands
            continue
        truth = made is None or made.name != "logical_not"
        flag = value if made is None or truth else made.operands[0]
        if flag in condition.params:
            yield body.params[condition.params.index(flag)], truth


def _flag(value: Value) -> object:
    known = value.op is not None and value.op.name == "const" and value.dtype is boolean
    return value.op.attributes["value"] if known and value.op is not None else None
