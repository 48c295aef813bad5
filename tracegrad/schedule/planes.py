"""Sums at every second element, over and over, are made in arrays per remainder.

What loops read by a stride, ``payoff[c::2]``, they add to by that stride on the way back. One such
loop reads and writes twice the memory that it changes, and takes the elements apart and puts them
together again. Where loops within a loop do so, the even and the odd elements are summed in rows of
their own, and are added to the array at the end::

    for t:                                   p = zeros((2, ...))
        for i: y[2 * i + c] += ...   →       for t:
                                                 for i: p[c % 2, i + c // 2] += ...
                                             for i: y[2 * i] += p[0, i]
                                             for i: y[2 * i + 1] += p[1, i]
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tracegrad.ir.core import Function, Operation, Region, Value
from tracegrad.ir.types import ArrayType, Dim
from tracegrad.ops.registry import REGISTRY
from tracegrad.passes.values import number
from tracegrad.schedule.buffers import ELEMENT
from tracegrad.schedule.counted import place_parts, runs_at_once
from tracegrad.schedule.memory import MemoryBuilder

LARGEST = 8
"""The largest stride: there is a loop for each remainder."""

FEW = 8
"""So many trips are not worth an array."""


def into_planes(function: Function) -> Function:
    """Rewrite the loops of ``function``, which is in loop form. It is changed: it must be new."""
    if any(op.name == "add_store" for op in function.walk()):
        for op in list(function.body.ops):
            if op.name == "for":
                _loop(function, op)
    return function


@dataclass(frozen=True)
class _Sum:
    """An addition at a stride.

    Attributes
    ----------
    region, loop : where it stands: in the body of ``loop``, an operation of ``region``.
    base, stride : the place in the first trip, and how far the next one is from it.
    """

    region: Region
    loop: Operation
    add: Operation
    base: Value
    stride: int


def _loop(function: Function, loop: Operation) -> None:
    """Make the arrays of a loop that stands in no other."""
    if _few_trips(loop) or loop.attributes.get("kind", "plain") != "plain":
        return
    refused: set[Value] = set()
    sums: dict[Value, list[_Sum]] = {}
    for found in _sums(loop.regions[0]):
        sums.setdefault(found.add.operands[1], []).append(found)
    adds = {each.add for several in sums.values() for each in several}
    for op in loop.regions[0].walk():
        if op not in adds:
            refused.update(v for v in op.operands if v.rank)
        for inner in op.regions:
            refused.update(v for v in inner.yields if v.rank)
    refused.update(v for v in loop.operands if v.rank)
    made = {op.result for op in function.body.ops if op.name == "alloc"}
    for target, found_sums in sums.items():
        strides = {each.stride for each in found_sums}
        if target in refused or target not in made or len(strides) > 1:
            continue
        if not _goes_by_one_name(function.body, target):
            continue
        _divide(function, loop, target, found_sums, strides.pop())


def _few_trips(loop: Operation) -> bool:
    lo, hi, step = map(number, loop.operands[:3])
    if not (isinstance(lo, int) and isinstance(hi, int) and isinstance(step, int)):
        return False
    return len(range(lo, hi, step)) <= FEW


def _sums(region: Region) -> Iterator[_Sum]:
    """The additions to vectors by strides, in loops of ``region`` whose trips may run at once."""
    for op in region.ops:
        for inner in op.regions:
            yield from _sums(inner)
        plain = op.name == "for" and op.attributes.get("kind", "plain") == "plain"
        if not plain or number(op.operands[0]) != 0 or not runs_at_once(op):
            continue
        (body,) = op.regions
        inside = {v for each in body.walk() for v in each.results} | set(body.params)
        for add in body.ops:
            if add.name != "add_store" or len(add.operands) != 3:
                continue
            parts = place_parts(add.operands[2], body.params[0])
            if parts is None or parts[0] in inside or not 1 < parts[1] <= LARGEST:
                continue
            yield _Sum(region, op, add, *parts)


def _goes_by_one_name(region: Region, buffer: Value) -> bool:
    """Whether elements of ``buffer`` are read and written, and it may be a result; that is all."""
    for op in region.ops:
        if buffer in op.operands and op.operands[ELEMENT.get(op.name, 0)] is not buffer:
            return False
        if buffer in op.operands and op.name not in ELEMENT:
            return False
        if any(
            buffer in inner.yields or not _goes_by_one_name(inner, buffer) for inner in op.regions
        ):
            return False
    return True


def _divide(
    function: Function, loop: Operation, target: Value, sums: list[_Sum], stride: int
) -> None:
    """Let ``sums`` go to rows for each remainder of their places."""
    (size,) = target.shape
    location, part = sums[0].add.location, sums[0].add.part
    build = MemoryBuilder()
    with build.at(location, part):
        shape: tuple[Dim, ...] = (stride, (size + stride - 1) // stride)
        planes = build.alloc(ArrayType(target.dtype, shape), "", 0)
    at = function.body.ops.index(loop)
    function.body.ops[at:at] = build.region.ops
    for each in sums:
        before, within = MemoryBuilder(), MemoryBuilder()
        with before.at(location, part):
            divisor = before.size(stride)
            row = before.emit(REGISTRY["remainder"], [each.base, divisor]).result
            first = before.emit(REGISTRY["floor_divide"], [each.base, divisor]).result
        (body,) = each.loop.regions
        with within.at(location, part):
            column = within.emit(REGISTRY["add"], [first, body.params[0]]).result
        each.add.operands = (each.add.operands[0], planes, row, column)
        place = body.ops.index(each.add)
        body.ops[place:place] = within.region.ops
        start = each.region.ops.index(each.loop)
        each.region.ops[start:start] = before.region.ops
    build = MemoryBuilder()
    with build.at(location, part):
        for rest in range(stride):
            _add_back(build, planes, target, rest, stride)
    at = function.body.ops.index(loop) + 1
    function.body.ops[at:at] = build.region.ops


def _add_back(build: MemoryBuilder, planes: Value, target: Value, rest: int, stride: int) -> None:
    """Add the sums of one remainder to their places."""
    (size,) = target.shape

    def one(at: list[Value]) -> None:
        (j,) = at
        place = build.emit(REGISTRY["multiply"], [j, build.size(stride)]).result
        if rest:
            place = build.emit(REGISTRY["add"], [place, build.size(rest)]).result
        build.store("add_store", build.load(planes, [build.size(rest), j]), target, [place])

    build.nest(((size + stride - 1 - rest) // stride,), one)
