"""What texts say of integers where a loop may be in chunks: `chunk_count` and `natural`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracegrad.backend.native.types import COUNTED, I64, NATURAL, Number, Unsupported
from tracegrad.backend.threads import CHUNKS, GRAIN

if TYPE_CHECKING:
    from tracegrad.backend.native.expressions import Expressions


def call(within: Expressions, name: str, numbers: list[Number]) -> Number:
    """A function of `tracegrad.backend.threads`."""
    writer = within.writer
    if name == "natural" and len(numbers) == 1:
        return Number(I64, writer.op(f"and i64 {numbers[0].text}, {NATURAL}"), COUNTED)
    if name == "chunk_count" and len(numbers) == 3:
        writer.module.declare("llvm.sqrt.f64", "double", "double")
        count = writer.module.define("chunk_count", _CHUNK_COUNT)
        given = ", ".join(f"i64 {number.text}" for number in numbers)
        state = writer.address("threads.state")
        return Number(I64, writer.op(f"call i64 {count}({given}, ptr {state})"), COUNTED)
    raise Unsupported(f"the function {name}")


# As `tracegrad.backend.threads.chunk_count`. The root is exact: it decides how sums are made.
# Beyond so many chunks nobody asks, and below no float is rounded.
_CHUNK_COUNT = f"""define internal i64 @chunk_count(
    i64 %trips, i64 %work, i64 %own, ptr %state
) alwaysinline nounwind {{
start:
  %place = getelementptr i64, ptr %state, i64 1
  %grain = load i64, ptr %place
  %two = shl i64 %grain, 1
  %small = icmp slt i64 %work, %two
  br i1 %small, label %chosen, label %large
large:
  %several = call i64 @several_chunks(i64 %trips, i64 %work, i64 %own, ptr %state, i64 %grain)
  br label %chosen
chosen:
  %wanted = phi i64 [ 1, %start ], [ %several, %large ]
  %no_trip = icmp slt i64 %trips, 1
  %count = select i1 %no_trip, i64 0, i64 %wanted
  ret i64 %count
}}

define internal i64 @several_chunks(
    i64 %trips, i64 %work, i64 %own, ptr %state, i64 %grain
) noinline nounwind {{
  %threads = load i64, ptr %state
  %usual = icmp sge i64 %grain, {GRAIN}
  %some = icmp sgt i64 %own, 0
  %adds = and i1 %usual, %some
  %thrice = mul i64 %own, 3
  %divisor = select i1 %some, i64 %thrice, i64 1
  %share = sdiv i64 %work, %divisor
  %few = icmp slt i64 %share, {CHUNKS * CHUNKS}
  %square = select i1 %few, i64 %share, i64 {CHUNKS * CHUNKS}
  %real = sitofp i64 %square to double
  %root = call double @llvm.sqrt.f64(double %real)
  %whole = fptosi double %root to i64
  %fair = select i1 %adds, i64 %whole, i64 {CHUNKS}
  %grains = sdiv i64 %work, %grain
  %a_less = icmp slt i64 %trips, %threads
  %a = select i1 %a_less, i64 %trips, i64 %threads
  %b_less = icmp slt i64 %grains, %a
  %b = select i1 %b_less, i64 %grains, i64 %a
  %c_less = icmp slt i64 %fair, %b
  %c = select i1 %c_less, i64 %fair, i64 %b
  %one = icmp slt i64 %c, 1
  %count = select i1 %one, i64 1, i64 %c
  ret i64 %count
}}"""
