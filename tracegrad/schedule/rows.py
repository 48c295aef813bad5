"""Loops that add to several rows of one array, as a loop for each row.

Rows that index values say may be one and the same. Before it runs such a loop in lanes, the
machine code asks of each two rows whether they overlap; from some rows on that takes longer than
the loop, which then goes element by element. With one row to a loop there is nothing to ask::

    for j in range(m):                       for j in range(m):
        net[a, j] += p * x[j]         →          net[a, j] += p * x[j]
        net[b, j] += q * x[j]                for j in range(m):
        net[c, j] += r * x[j]                    net[b, j] += q * x[j]
                                             for j in range(m):
                                                 net[c, j] += r * x[j]

Trip j touches nothing but column j of what is written, and reads none of it: all that meets in one
element still does so in its order, whichever rows are the same. What is added must be cheap, since
each loop computes for itself what it adds.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from tracegrad.ir.core import Function, Operation, Region, Value
from tracegrad.ops.registry import REGISTRY
from tracegrad.schedule.buffers import ELEMENT
from tracegrad.schedule.memory import MemoryBuilder
from tracegrad.schedule.recurrence_plan import Memories

FEW = 2
"""Rows of one array that a loop may write: what is asked about them costs less than a loop."""

MOST_REPEATED = 8.0
"""Work that the loops may repeat, in multiplications, for each loop more."""


def one_row_each(function: Function) -> Function:
    """Split the loops of ``function``, in loop form. It is changed: it must be new."""
    _region(function.body, Memories(function))
    return function


def _region(region: Region, memories: Memories) -> None:
    for op in list(region.ops):
        if op.name != "for" or any(each.regions for each in op.regions[0].ops):
            for inner in op.regions:
                _region(inner, memories)
            continue
        groups = _groups(op, memories)
        if len(groups) > 1:
            build = MemoryBuilder()
            for writes in groups:
                _write(build, op, writes)
            at = region.ops.index(op)
            region.ops[at : at + 1] = build.region.ops


def _groups(loop: Operation, memories: Memories) -> list[list[Operation]]:
    """The writes of each of the loops; a single group where the loop stays as it is."""
    (body,) = loop.regions
    writes = [op for op in body.ops if op.name in ("store", "add_store")]
    whole = [writes]
    if len(writes) <= FEW or loop.results or loop.attributes.get("kind", "plain") != "plain":
        return whole
    groups: list[list[Operation]] = []
    rows: list[list[tuple[Value, ...]]] = []
    for op in writes:
        place = op.operands[1:]
        # In the last loop that writes to the array, or after it: writes keep their order.
        number = 0
        for k, known in enumerate(rows):
            alike = [other for other in known if other[0] is place[0]]
            if alike:
                number = k + any(_may_be_one(place, other) for other in alike)
        if number == len(groups):
            groups.append([])
            rows.append([])
        groups[number].append(op)
        rows[number].append(place)
    if len(groups) <= FEW or not _may_be_split(body, memories):
        return whole
    makers = [_makers(body, group) for group in groups]
    repeated = sum(map(_work, makers)) - _work({op for ops in makers for op in ops})
    return groups if repeated <= MOST_REPEATED * (len(groups) - 1) else whole


def _may_be_one(one: tuple[Value, ...], other: tuple[Value, ...]) -> bool:
    """Whether two places of an array differ by numbers that were read, and so may be the same."""
    unlike = [pair for pair in zip(one, other, strict=True) if pair[0] is not pair[1]]
    return any(map(_is_read, itertools.chain.from_iterable(unlike)))


def _is_read(value: Value) -> bool:
    return value.op is not None and value.op.name in ("check_index", "load")


def _may_be_split(body: Region, memories: Memories) -> bool:
    """Whether trips touch nothing but their column of what is written, and read none of it."""
    index = body.params[0]
    inside = {v for op in body.ops for v in op.results}
    read: set[Value] = set()
    written: dict[Value, Value] = {}
    for op in body.ops:
        if op.name not in ELEMENT:
            if op.opdef.effects or not (
                op.opdef.kind == "elementwise" or op.name in ("const", "dim")
            ):
                return False
            continue
        buffer, *place = op.operands[ELEMENT[op.name] :]
        root = memories.root(buffer)
        if root is None:
            return False
        if op.name == "load":
            read.add(root)
            continue
        if written.setdefault(root, buffer) is not buffer:
            return False  # the same memory in two shapes
        if len(place) < 2 or place[-1] is not index or not inside.isdisjoint(place[:-1]):
            return False
        if index in place[:-1]:
            return False
    return read.isdisjoint(written)


def _makers(body: Region, writes: Iterable[Operation]) -> set[Operation]:
    """What computes what is written."""
    inside = set(body.ops)
    found: set[Operation] = set()
    waiting = list(writes)
    while waiting:
        op = waiting.pop()
        if op in inside and op not in found:
            found.add(op)
            waiting += [v.op for v in op.operands if v.op is not None]
    return found


def _work(ops: Iterable[Operation]) -> float:
    return sum(op.opdef.cost for op in ops if op.opdef.kind == "elementwise")


def _write(build: MemoryBuilder, loop: Operation, writes: list[Operation]) -> None:
    """The loop with some of its writes."""
    (body,) = loop.regions
    makers = _makers(body, writes)
    with build.open() as region:
        index = build.param(body.params[0].type, body.params[0].hint)
        env = {body.params[0]: index}
        for op in body.ops:
            if op in makers:
                env.update(zip(op.results, build.copy(op, env).results, strict=True))
    with build.at(loop.location, loop.part):
        build.emit(REGISTRY["for"], loop.operands, loop.attributes, [region], ())
