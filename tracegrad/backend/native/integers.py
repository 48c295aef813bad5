"""Powers of integers."""

from __future__ import annotations

from tracegrad.backend.native.arrays import Arrays
from tracegrad.backend.native.types import U64, Number, Unsupported


def power(arrays: Arrays, x: Number, y: Number) -> Number:
    """As `tracegrad.backend.integers.integer_power`."""
    x, y = arrays.scalars.common(x, y)
    if x.type.is_float:
        raise Unsupported("integer_power of floats")
    if x.type is not U64:
        below = arrays.writer.op(f"icmp slt i64 {y.text}, 0")
        refusal = "Integers to negative integer powers are not allowed."
        arrays.refuse(below, "ValueError", refusal)
    function = arrays.writer.module.define("integer_power", _INTEGER_POWER)
    return Number(x.type, arrays.writer.op(f"call i64 {function}(i64 {x.text}, i64 {y.text})"))


_INTEGER_POWER = """define internal i64 @integer_power(i64 %x, i64 %y) nounwind readnone {
start:
  br label %loop
loop:
  %base = phi i64 [ %x, %start ], [ %square, %more ]
  %left = phi i64 [ %y, %start ], [ %half, %more ]
  %found = phi i64 [ 1, %start ], [ %next, %more ]
  %done = icmp eq i64 %left, 0
  br i1 %done, label %end, label %more
more:
  %bit = and i64 %left, 1
  %odd = icmp ne i64 %bit, 0
  %product = mul i64 %found, %base
  %next = select i1 %odd, i64 %product, i64 %found
  %square = mul i64 %base, %base
  %half = lshr i64 %left, 1
  br label %loop
end:
  ret i64 %found
}"""
