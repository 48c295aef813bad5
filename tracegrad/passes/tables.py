"""Zeros that a loop writes over, row by row, need not be there before.

What a batch gives is a table with a row per trip. Each trip writes its row and no trip reads
one, so what the table held at first is never seen::

    J = zeros; for k in range(n): J = update(J, row, k)
                             →  J = blank; for k in range(n): J = update(J, row, k)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count

from tracegrad.ir.core import Function, Operation, Region, Value
from tracegrad.ir.rewrite import Rewriter
from tracegrad.ops.registry import REGISTRY
from tracegrad.passes.dce import dce
from tracegrad.passes.values import dimension, number


def tables(function: Function) -> Function:
    """Leave tables that a loop writes in full without a first value.

    Before::

        func @f(%x: f64[n]) -> (f64[n]) {
          %zero: f64 = 0.0
          %y: f64[n] = view(%zero) {shape=(n,), map=[]}
          %lo: i64 = 0
          %hi: i64 = dim() {size=n}
          %step: i64 = 1
          %r: f64[n] = for(%lo, %hi, %step, %y) (%i: i64, %c: f64[n]) {
            %a: f64 = index(%x, %i)
            %d: f64[n] = update(%c, %a, %i)
            yield %d
          }
          return %r
        }

    After::

        func @f(%x: f64[n]) -> (f64[n]) {
          %lo: i64 = 0
          %hi: i64 = dim() {size=n}
          %step: i64 = 1
          %y: f64[n] = blank() {shape=(n,), dtype=f64, name="table1", residual=""}
          %r: f64[n] = for(%lo, %hi, %step, %y) (%i: i64, %c: f64[n]) {
            %a: f64 = index(%x, %i)
            %d: f64[n] = update(%c, %a, %i)
            yield %d
          }
          return %r
        }
    """
    users = function.body.users()
    found = {
        op: full
        for op in function.body.ops
        if op.name == "for" and (full := [k for k in range(len(op.results)) if _full(op, k, users)])
    }
    return dce(_Tables(found, function).rewrite(function)) if found else function


def _full(loop: Operation, k: int, users: Mapping[Value, Sequence[Operation | Region]]) -> bool:
    """Whether every row of carried value ``k`` is written, and none is read."""
    (body,) = loop.regions
    lo, hi, step, *inits = loop.operands
    param, result = body.params[1 + k], body.yields[k]
    write = result.op
    return (
        param.rank > 0
        and number(inits[k]) is not None
        and number(lo) == 0
        and number(step) == 1
        and dimension(hi) == param.shape[0]
        and write is not None
        and write.name == "update"
        and write in body.ops
        and write.operands[0] is param
        and write.operands[2:] == (body.params[0],)
        and users[param] == [write]
        and users[result] == [body]
    )


class _Tables(Rewriter):
    def __init__(self, found: Mapping[Operation, Sequence[int]], function: Function) -> None:
        super().__init__()
        self._found = found
        self._names = {op.attributes["name"] for op in function.walk() if op.name == "blank"}

    def visit_control(self, op: Operation) -> Sequence[Value]:
        blanks = {3 + k: self._blank(op.results[k]) for k in self._found.get(op, ())}
        new = self.rebuilt(op, range(len(op.results)))
        new.operands = tuple(blanks.get(n, v) for n, v in enumerate(new.operands))
        return new.results

    def _blank(self, like: Value) -> Value:
        """An array of its own, of the type of ``like``."""
        name = next(n for k in count(1) if (n := f"table{k}") not in self._names)
        self._names.add(name)
        attributes = {"shape": like.shape, "dtype": like.dtype, "name": name, "residual": ""}
        return self.emit(REGISTRY["blank"], [], attributes, (), [like.type]).result
