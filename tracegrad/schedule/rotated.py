"""Tables stored by diagonals: what `wavefront` reads and writes side by side stands side by side.

A table whose cells are computed along ``d = p * i + j`` is stored so that the cells of one ``d``
are neighbours: element ``(i, j)`` of a table with ``m`` columns stands at ``(d % m, i)``. In each
row ``i`` of the table the places ``d % m`` are all different, so this takes exactly the memory of
the table, whatever its shape; and two diagonals share a row of the storage only if they are ``m``
apart.

That is for arrays that the function makes, and that are used element by element only. Where they
are used outside of the diagonals, each access computes its place (a remainder), so there must be
few of these. Loops over all elements of such tables, each by itself, run through the storage.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from tracegrad.ir.core import Function, Operation, Region, Value
from tracegrad.ir.types import Dim, evaluate
from tracegrad.ops.registry import REGISTRY
from tracegrad.schedule.buffers import ELEMENT
from tracegrad.schedule.memory import MemoryBuilder
from tracegrad.schedule.nests import Access, Nest

T = TypeVar("T")

#: Trips of a loop whose length is not known.
TRIPS = 100

#: What an access outside of the diagonals costs, in accesses within.
OUTSIDE = 4


@dataclass(frozen=True)
class Rotation:
    """Which axis of a table is ``i``, which is ``j``, and p."""

    i: int
    j: int
    slope: int

    def shape(self, shape: Sequence[Dim]) -> tuple[Dim, ...]:
        return (*self.others(shape), shape[self.j], shape[self.i])

    def others(self, items: Sequence[T]) -> list[T]:
        """What belongs to the other axes."""
        return [item for axis, item in enumerate(items) if axis not in (self.i, self.j)]

    def place(self, build: MemoryBuilder, buffer: Value, at: Sequence[Value]) -> list[Value]:
        """Where the element ``at`` is stored; ``buffer`` still has the shape of the table."""
        line = at[self.j]
        if not _is_dim(at[self.i], 0):
            more = at[self.i]
            if abs(self.slope) != 1:
                factor = build.size(abs(self.slope))
                more = build.emit(REGISTRY["multiply"], [factor, more]).result
            if self.slope < 0:
                line = build.emit(REGISTRY["subtract"], [line, more]).result
            elif _is_dim(line, 0):
                line = more
            else:
                line = build.emit(REGISTRY["add"], [more, line]).result
        row = build.emit(REGISTRY["remainder"], [line, build.size(buffer.shape[self.j])]).result
        return [*self.others(at), row, at[self.i]]


def rotation_of(nest: Nest, access: Access) -> Rotation | None:
    """How the buffer of an access would be stored for ``nest``; None if it can't be."""
    if access.at is None:
        return None
    factors = [(p.outer, p.inner) for p in access.at]
    if factors.count((1, 0)) != 1 or factors.count((0, 1)) != 1:
        return None
    if factors.count((0, 0)) != len(factors) - 2:
        return None
    return Rotation(factors.index((1, 0)), factors.index((0, 1)), nest.slope)


def is_side_by_side(access: Access, stored: Container[Value]) -> bool:
    """Whether neighbours on a diagonal use neighbours in memory, or all one element."""
    if access.buffer in stored:
        return True
    factors = [(p.outer, p.inner) for p in access.at or ()]
    return not any(any(f) for f in factors[:-1]) and factors[-1:] in ([(1, 0)], [(0, 0)])


def rotations(function: Function, nests: Sequence[Nest]) -> dict[Value, Rotation]:
    """The buffers that are to be stored by diagonals."""
    found: dict[Value, Rotation | None] = {}
    gains: dict[Value, float] = {}
    for nest in nests:
        for access in nest.accesses:
            buffer, wanted = access.buffer, rotation_of(nest, access)
            if found.setdefault(buffer, wanted) != wanted:
                found[buffer] = None
            gains[buffer] = gains.get(buffer, 0.0) + _trips(function, nest.outer, nest.inner)
    elements = _only_elements(function)
    chosen = {
        buffer: rotation
        for buffer, rotation in found.items()
        if rotation is not None and buffer in elements
    }
    inside = {nest.outer for nest in nests}
    while True:
        costs: dict[Value, float] = {}
        for op, trips in _outside(function, function.body, inside, chosen, 1.0):
            buffer = op.operands[ELEMENT[op.name]]
            costs[buffer] = costs.get(buffer, 0.0) + trips
        dear = [b for b in chosen if OUTSIDE * costs.get(b, 0.0) > gains[b]]
        if not dear:
            return chosen
        for buffer in dear:
            del chosen[buffer]


def _only_elements(function: Function) -> set[Value]:
    """The buffers that the function makes of which nothing but elements is used."""
    found = {op.result for op in function.walk() if op.name == "alloc" and op.result.rank >= 2}
    found.difference_update(function.results)
    for op in function.walk():
        place = ELEMENT.get(op.name)
        found.difference_update(v for n, v in enumerate(op.operands) if n != place)
        for region in op.regions:
            found.difference_update(region.yields)
    return found


def _trips(function: Function, *loops: Operation) -> float:
    """How many trips nested loops make, as far as is known."""
    total = 1.0
    for loop in loops:
        ends = [_number(function, v) for v in loop.operands[:2]] if loop.name == "for" else []
        known = [end for end in ends if end is not None]
        total *= abs(known[1] - known[0]) if len(known) == 2 else TRIPS
    return total


def _number(function: Function, value: Value) -> int | None:
    op = value.op
    if op is None or op.name not in ("const", "dim"):
        return None
    if op.name == "const":
        number = op.attributes["value"]
        return number if isinstance(number, int) else None
    try:
        return evaluate(op.attributes["size"], function.hints)
    except KeyError:
        return None


def _outside(
    function: Function,
    region: Region,
    inside: set[Operation],
    chosen: Mapping[Value, Rotation],
    trips: float,
) -> Iterator[tuple[Operation, float]]:
    """The accesses to ``chosen`` that compute their places, with their number."""
    for op in region.ops:
        if op in inside or _through_storage(op, chosen) is not None:
            continue
        if op.name in ELEMENT and op.operands[ELEMENT[op.name]] in chosen:
            yield op, trips
        more = _trips(function, op) if op.name in ("for", "while") else 1.0
        for inner in op.regions:
            yield from _outside(function, inner, inside, chosen, trips * more)


def _through_storage(loop: Operation, chosen: Mapping[Value, Rotation]) -> Operation | None:
    """The inner loop, if ``loop`` goes over all elements of tables of one shape, one by one."""
    if loop.name != "for":
        return None
    body = loop.regions[0]
    loops = [op for op in body.ops if op.regions]
    if len(loops) != 1 or loops[0].name != "for":
        return None
    inner = loops[0]
    cell = inner.regions[0]
    i, j = body.params[0], cell.params[0]
    used = False
    tables = set()
    for op in (*body.ops, *cell.ops):
        if op is inner:
            continue
        if op.regions or (op.opdef.effects and op.name not in ELEMENT):
            return None
        at = op.operands[ELEMENT[op.name] + 1 :] if op.name in ELEMENT else op.operands
        if i not in at and j not in at:
            continue
        buffer = op.operands[ELEMENT[op.name]] if op.name in ELEMENT else None
        if buffer not in chosen or at != (i, j) or op.operands[0] in (i, j):
            return None
        assert buffer is not None
        used = True
        tables.add((chosen[buffer], buffer.shape))
    if not used or len(tables) != 1 or {i, j} & {*body.yields, *cell.yields, *inner.operands}:
        return None
    ((_, shape),) = tables
    whole = all(
        _is_dim(loop.operands[0], 0)
        and _is_dim(loop.operands[1], size)
        and _is_dim(loop.operands[2], 1)
        for loop, size in zip((loop, inner), shape, strict=True)
    )
    if not whole or not _sums_only(body, inner):
        return None
    return inner


def _sums_only(body: Region, inner: Operation) -> bool:
    """Whether two loops carry nothing, or floats that are added to, through both."""
    cell = inner.regions[0]
    if any(v.rank or not v.dtype.is_float for v in cell.params[1:]):
        return False
    if inner.operands[3:] != body.params[1:] or body.yields != inner.results:
        return False
    users = cell.users()
    for param, end in zip(cell.params[1:], cell.yields, strict=True):
        op = end.op
        if op is None or op.name not in ("add", "subtract") or op not in cell.ops:
            return False
        if op.operands[0] is not param and (op.name != "add" or op.operands[1] is not param):
            return False
        if len(users[param]) != 1 or len(users[end]) != 1:
            return False
    return True


def _is_dim(value: Value, size: Dim) -> bool:
    op = value.op
    if op is None or op.name not in ("const", "dim"):
        return False
    return bool(op.attributes["value" if op.name == "const" else "size"] == size)


def rotate(function: Function, chosen: Mapping[Value, Rotation]) -> None:
    """Store the buffers ``chosen`` by diagonals. The function is changed: it must be new.

    The loops over diagonals know the places already.
    """
    _rotate(function.body, chosen)
    for buffer, rotation in chosen.items():
        assert buffer.op is not None
        shape = rotation.shape(buffer.shape)
        turned = {"shape": shape, "diagonals": (rotation.i, rotation.j, rotation.slope)}
        buffer.op.attributes = {**buffer.op.attributes, **turned}
        buffer.type = buffer.type.with_shape(shape)


def _rotate(region: Region, chosen: Mapping[Value, Rotation]) -> None:
    ops: list[Operation] = []
    for op in region.ops:
        inner = _through_storage(op, chosen)
        if inner is not None:
            ops += _run_through(op, inner, chosen)
        elif op.name in ELEMENT and op.operands[ELEMENT[op.name]] in chosen:
            place = ELEMENT[op.name]
            buffer = op.operands[place]
            build = MemoryBuilder()
            with build.at(op.location, op.part):
                at = chosen[buffer].place(build, buffer, op.operands[place + 1 :])
            ops += build.region.ops
            op.operands = (*op.operands[: place + 1], *at)
        elif op.attributes.get("kind") != "diagonals":
            for each in op.regions:
                _rotate(each, chosen)
        ops.append(op)
    region.ops = ops


def _run_through(
    loop: Operation, inner: Operation, chosen: Mapping[Value, Rotation]
) -> list[Operation]:
    """Make two loops over the elements of tables go through their storage; their new bounds."""
    tables = (op.operands[ELEMENT[op.name]] for op in inner.regions[0].ops if op.name in ELEMENT)
    table = next(b for b in tables if b in chosen)
    build = MemoryBuilder()
    for each, size in zip((loop, inner), chosen[table].shape(table.shape), strict=True):
        each.operands = (each.operands[0], build.size(size), *each.operands[2:])
    return build.region.ops
