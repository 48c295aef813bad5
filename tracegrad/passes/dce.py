"""Dead code elimination."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tracegrad.ir.core import Function, Operation, Value
from tracegrad.ir.rewrite import Rewriter
from tracegrad.passes.liveness import Liveness


def dce(function: Function) -> Function:
    """Drop operations, results of branches and carried values that nothing depends on.

    Before::

        func @f(%x: f64, %y: f64, %lo: i64, %hi: i64, %step: i64) -> (f64) {
          %c: f64 = sin(%x)
          %a: f64, %b: f64 = for(%lo, %hi, %step, %x, %y) (%i: i64, %s: f64, %t: f64) {
            %u: f64 = add(%s, %s)
            %v: f64 = multiply(%t, %u)
            yield %u, %v
          }
          return %a
        }

    After::

        func @f(%x: f64, %y: f64, %lo: i64, %hi: i64, %step: i64) -> (f64) {
          %a: f64 = for(%lo, %hi, %step, %x) (%i: i64, %s: f64) {
            %u: f64 = add(%s, %s)
            yield %u
          }
          return %a
        }

    Operations with effects are kept, and so is what decides whether they run.
    """
    return _Eliminator(Liveness(function)).rewrite(function)


class _Eliminator(Rewriter):
    def __init__(self, liveness: Liveness) -> None:
        super().__init__()
        self.liveness = liveness

    def walk(self, ops: Iterable[Operation]) -> None:
        live = self.liveness.operations
        super().walk([op for op in ops if op in live])

    def visit_control(self, op: Operation) -> Sequence[Value]:
        kept = self.liveness.kept(op)
        new = iter(self.rebuilt(op, kept).results)
        return [next(new) if k in kept else old for k, old in enumerate(op.results)]
