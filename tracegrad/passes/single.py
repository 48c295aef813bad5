"""One element in zeros that are written to later: zeros, and a write.

The cotangent of an array of which the program reads one element at the end is zero but there. As
the array that a loop goes on to change it has to be in memory: filled with zeros, which the
allocation gives, it takes one store more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tracegrad import ops
from tracegrad.ir.bounds import non_negative
from tracegrad.ir.core import Function, Operation, Region, Value
from tracegrad.ir.rewrite import Rewriter
from tracegrad.ops.access import zeros
from tracegrad.ops.constants import dim_value

WRITTEN = ("update", "accumulate")


def single_elements(function: Function) -> Function:
    """Make a padded scalar that loops change an update of zeros.

    Before::

        func @f(%v: f64, %k: i64) -> (f64[5]) {
          %p: f64[5] = pad(%v) {shape=(5,), map=[4]}
          %y: f64[5] = accumulate(%p, %v, %k)
          return %y
        }

    After::

        func @f(%v: f64, %k: i64) -> (f64[5]) {
          %zero: f64 = 0
          %z: f64[5] = view(%zero) {shape=(5,), map=[]}
          %at: i64 = 4
          %p: f64[5] = update(%z, %v, %at)
          %y: f64[5] = accumulate(%p, %v, %k)
          return %y
        }
    """
    if not any(op.name == "pad" and not op.operands[0].rank for op in function.walk()):
        return function
    return _Single(function.body.users()).rewrite(function)


class _Single(Rewriter):
    def __init__(self, users: Mapping[Value, Sequence[Operation | Region]]) -> None:
        super().__init__()
        self.users = users

    def visit(self, op: Operation) -> Sequence[Value]:
        if op.name != "pad" or op.operands[0].rank or not self._is_written(op.result):
            return super().visit(op)
        shape = op.result.shape
        at = [offset for _, offset, _ in op.attributes["map"]]
        inside = (
            non_negative(k) and non_negative(size - 1 - k)
            for k, size in zip(at, shape, strict=True)
        )
        if not all(inside):
            return super().visit(op)
        (value,) = self.mapped(op.operands)
        empty = zeros(shape, value.dtype)
        return [ops.update(empty, value, *map(dim_value, at))]

    def _is_written(self, value: Value) -> bool:
        """Whether ``value`` is what writes start from, and nothing else."""
        users = self.users[value]
        return bool(users) and all(
            isinstance(user, Operation)
            and (
                user.name in ("for", "while")
                or (user.name in WRITTEN and user.operands[0] is value)
            )
            for user in users
        )


def _is_base(op: Operation, value: Value) -> bool:
    return op.name in WRITTEN and op.operands[0] is value
