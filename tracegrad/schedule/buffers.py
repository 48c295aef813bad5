"""Buffers of loop form: made before the loop, swapped instead of made anew, written directly.

A loop body that makes a buffer in each trip is no good: `make_before` moves the ``alloc`` out. If
the body yields the buffer (``u = f(u)``), the buffer that it replaces is free for the next trip,
so two buffers take turns, unless `write_over` finds that one will do. `forward` lets a loop nest
write to its final place.

The functions change regions that are still being built.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from tracegrad.ir.builder import Builder
from tracegrad.ir.core import Function, Operation, Region, Value
from tracegrad.ir.sizes import attribute_symbols
from tracegrad.ir.types import ArrayType, Dim
from tracegrad.ops.registry import REGISTRY
from tracegrad.schedule.memory import MemoryBuilder

ELEMENT = {"load": 0, "store": 1, "add_store": 1}
"""Operations on one element, with the position of the buffer."""

Inserted: TypeAlias = Callable[[Sequence[Value]], tuple[list[Operation], list[Value]]]
"""Operations to be inserted, and the values that they give, for some indices."""


def replace(region: Region, old: Value, new: Value) -> None:
    """Read ``new`` for ``old`` everywhere in ``region``."""
    for op in region.ops:
        if old in op.operands:
            op.operands = tuple(new if v is old else v for v in op.operands)
        for inner in op.regions:
            replace(inner, old, new)
    region.yields = tuple(new if v is old else v for v in region.yields)


# --- out of loops -----------------------------------------------------------------------------


def make_before(
    build: Builder,
    regions: Sequence[Region],
    carried: list[Value],
    first: int,
    sizes: Collection[str],
) -> None:
    """Move the allocations of a loop body before the loop, where the builder stands now.

    Parameters
    ----------
    regions : those of the loop; the last is the body. May get further carried values.
    carried : the first carried values; extended with them.
    first : how many parameters of a region stand before the carried ones.
    sizes : the symbols that are known from the start.
    """
    for region in regions:
        for holder, op in list(_allocations(region)):
            if any(name not in sizes for name in attribute_symbols(op.attributes["shape"])):
                continue
            buffer = op.result
            if not _escapes(region, buffer):
                _start_full(holder, op)
                op.attributes = {**op.attributes, "local": op.attributes.get("local", 0) + 1}
                build.region.ops.append(op)
            elif region is regions[-1] and holder is region:
                _take_turns(build, regions, carried, first, op)


def make_longer(region: Region, greatest: Callable[[Dim], Dim | None]) -> None:
    """Let the buffers of a loop body that are longer in one trip than in another do for all trips.

    So they can be made before the loop. Elements of them are read and written, and nothing else.

    Parameters
    ----------
    greatest : what is known from the start of a size that a trip finds: it is at most that.
    """
    for holder, op in list(_allocations(region)):
        buffer, attributes = op.result, op.attributes
        length = greatest(buffer.shape[0])
        if length is None or {"shape", "dtype", "fill"} < attributes.keys():
            continue
        if buffer in holder.yields or not _elements_only(holder.ops, buffer):
            continue
        long = ArrayType(buffer.dtype, (length, *buffer.shape[1:]))
        build = MemoryBuilder()
        with build.at(op.location, op.part):
            made = build.alloc(long, buffer.hint)
        if attributes["fill"] == 0:
            build.region.ops += zeroing(buffer)
        at = holder.ops.index(op)
        holder.ops[at : at + 1] = build.region.ops
        replace(holder, buffer, made)


def _allocations(region: Region) -> Iterator[tuple[Region, Operation]]:
    """The allocations of a body, those in branches included."""
    for op in region.ops:
        if op.name == "alloc":
            yield region, op
        elif op.name == "if":
            for arm in op.regions:
                yield from _allocations(arm)


def _escapes(region: Region, buffer: Value) -> bool:
    """Whether a buffer goes on under another name."""
    if buffer in region.yields:
        return True
    for op in region.ops:
        if buffer in op.operands and (op.regions or op.name in ("alias", "ensure")):
            return True
        if any(_escapes(inner, buffer) for inner in op.regions):
            return True
    return False


def _start_full(holder: Region, op: Operation) -> None:
    """Take the allocation out of ``holder``; zeros are written there in its place."""
    at = holder.ops.index(op)
    if op.attributes.get("around"):
        del holder.ops[at]
        return
    holder.ops[at : at + 1] = zeroing(op.result) if op.attributes["fill"] == 0 else []
    op.attributes = {**op.attributes, "fill": None}


def zeroing(buffer: Value, at: Sequence[Value] = ()) -> list[Operation]:
    """Loops that fill ``buffer`` (below the indices ``at``) with zeros."""
    build = MemoryBuilder()
    zero = build.const(buffer.dtype.numpy.type(0).item(), buffer.type)
    build.nest(
        buffer.shape[len(at) :],
        lambda more: build.store("store", zero, buffer, [*at, *more]),
        "fill",
    )
    return build.region.ops


def _take_turns(
    build: Builder, regions: Sequence[Region], carried: list[Value], first: int, op: Operation
) -> None:
    """Carry a second buffer: the body writes to it and hands back the one it replaces."""
    body = regions[-1]
    buffer = op.result
    if list(body.yields).count(buffer) != 1 or _passed_on(body, buffer):
        return
    wanted = body.yields.index(buffer)
    for k in sorted(range(len(carried)), key=lambda k: k != wanted):
        old = body.params[first + k]
        if old.type == buffer.type and not any(_escapes(region, old) for region in regions):
            break
    else:
        return
    _start_full(body, op)
    build.region.ops.append(op)
    for region in regions:
        spare = Value(buffer.type, buffer.hint)
        region.params = (*region.params, spare)
        if region is body:
            replace(region, buffer, spare)
    body.yields = (*body.yields, old)
    carried.append(buffer)


def _passed_on(body: Region, buffer: Value) -> bool:
    """Whether the buffer goes on under another name otherwise than by the yields of ``body``."""
    return _escapes(Region((), body.ops, ()), buffer)


# --- written over what it replaces ------------------------------------------------------------


def write_over(body: Region, first: int) -> None:
    """Write new carried arrays over the old ones, where each old element is read before.

    That is so if the loops that read the old array come before those that write the new one, or
    if they are the same loops, and each iteration reads only the element that it writes after.

    Parameters
    ----------
    body : of a loop; its buffers are still made in it.
    first : how many parameters stand before the carried ones.
    """
    for k, new in enumerate(body.yields):
        old = body.params[first + k]
        made = new.op
        if made is None or made.name != "alloc" or made not in body.ops or new.type != old.type:
            continue
        if list(body.yields).count(new) != 1 or old in body.yields:
            continue
        if _passed_on(body, new) or _passed_on(body, old):
            continue
        # Zeros are written where the first value is.
        body.ops.remove(made)
        users = [n for n, op in enumerate(body.ops) if _mentions(op, new)]
        at = users[0] if users else len(body.ops)
        body.ops.insert(at, made)
        if not _read_before(body.ops, old, new):
            continue
        if made.attributes["fill"] == 0:
            if any(_mentions(op, old) for op in body.ops[at:]):
                continue
            body.ops[at : at + 1] = zeroing(old)
        else:
            body.ops.remove(made)
        replace(body, new, old)


def _mentions(op: Operation, value: Value) -> bool:
    return value in op.operands or any(
        value in inner.yields or any(_mentions(o, value) for o in inner.ops) for inner in op.regions
    )


def _read_before(ops: Sequence[Operation], old: Value, new: Value) -> bool:
    """Whether each element of ``old`` is read before the one of ``new`` is written."""
    reads = [n for n, op in enumerate(ops) if _mentions(op, old)]
    writes = [n for n, op in enumerate(ops) if op is not new.op and _mentions(op, new)]
    if not reads or not writes or reads[-1] < writes[0]:
        return True
    return reads[-1] == writes[0] and _same_elements(ops[writes[0]], old, new, ())


def _same_elements(op: Operation, old: Value, new: Value, around: tuple[Value, ...]) -> bool:
    """Whether iterations of the loop nest ``op`` read of ``old`` what they write to ``new`` next.

    Each loop of the nest must count one dimension, so that no element is met twice.
    """
    if op.name != "for" or any(r.rank for r in op.results):
        return False
    (body,) = op.regions
    around = (*around, body.params[0])
    reads = [n for n, o in enumerate(body.ops) if _mentions(o, old)]
    writes = [n for n, o in enumerate(body.ops) if _mentions(o, new)]
    if reads == writes and len(reads) == 1 and body.ops[reads[0]].regions:
        return _same_elements(body.ops[reads[0]], old, new, around)
    if reads and writes and reads[-1] >= writes[0]:
        return False
    for n in (*reads, *writes):
        o = body.ops[n]
        position = ELEMENT.get(o.name)
        if position is None or o.operands[position] not in (old, new):
            return False
        at = o.operands[position + 1 :]
        if len(at) != len(around) or at != body.ops[reads[0]].operands[1:] or {*at} != {*around}:
            return False
    return True


def take_over(function: Function) -> Function:
    """``function``, in loop form, with buffers in the memory of those that are dead by then.

    A loop that reads the last of a buffer and makes another one of its kind, element by element,
    works in place: ``t[i, j] = 2.0 * (p[i, j] - b[i, j])`` after a product ``p``. Of what a matrix
    takes that is a third less memory to go through. Results may be such buffers too. A buffer that
    the user has named keeps to what the name says.
    """
    body = function.body
    ops = list(body.ops)
    users: dict[Value, list[int]] = {}
    for position, op in enumerate(ops):
        for each in _buffers_of(op):
            users.setdefault(each, []).append(position)
    free: dict[ArrayType, list[Value]] = {}
    for op in ops:
        if op.name != "alloc" or not _may_move(ops, op.result, users[op.result]):
            continue
        buffer = op.result
        fitting = free.setdefault(buffer.type, [])
        old = _dead_by_then(ops, fitting, buffer, users)
        if old is not None:
            fitting.remove(old)
            if buffer in body.yields:
                old.hint = buffer.hint
            replace(body, buffer, old)
            users[old] += users[buffer]
            body.ops.remove(op)
            buffer = old
        if not buffer.hint and buffer not in body.yields:
            fitting.append(buffer)
    return function


def _dead_by_then(
    ops: Sequence[Operation],
    candidates: Sequence[Value],
    new: Value,
    users: dict[Value, list[int]],
) -> Value | None:
    """The one of ``candidates`` in whose memory ``new`` can be; that which is last touched."""
    assert new.op is not None
    first = users[new][1:2]
    if new.op.attributes["fill"] is not None or not first:
        return None
    for old in reversed(candidates):
        last = users[old][-1]
        if last < first[0] or (last == first[0] and _same_elements(ops[last], old, new, ())):
            return old
    return None


def _buffers_of(op: Operation) -> set[Value]:
    """The arrays that an operation makes or mentions, in its regions too."""
    found = {v for v in (*op.operands, *op.results) if v.rank}
    for inner in op.regions:
        found.update(v for v in inner.yields if v.rank)
        for each in inner.ops:
            found |= _buffers_of(each)
    return found


def _may_move(ops: Sequence[Operation], buffer: Value, users: Sequence[int]) -> bool:
    """Whether all that happens to a buffer is that elements and products are read and written."""
    made = ops[users[0]]
    known = {"shape", "dtype", "fill"} >= made.attributes.keys()
    return known and all(_handles(ops[n], buffer) for n in users[1:])


def _handles(op: Operation, buffer: Value) -> bool:
    if buffer in op.operands:
        element = ELEMENT.get(op.name)
        inside = element is not None and op.operands[element] is buffer
        return inside or op.name in ("gemm", "gemm_part")
    return all(
        buffer not in inner.yields and all(_handles(each, buffer) for each in inner.ops)
        for inner in op.regions
    )


# --- written where it is wanted ---------------------------------------------------------------


def forward(
    region: Region,
    start: int,
    made: Value,
    buffer: Value,
    at: Inserted,
    name: str = "store",
    lead: int | None = None,
) -> bool:
    """Let what fills ``made`` write to ``buffer`` instead, if that can be.

    Parameters
    ----------
    start : what makes and fills ``made`` stands in the region from this operation on.
    at : what finds the place in ``buffer`` of the element of ``made`` at these indices.
    name : "add_store" to add to what stands there.
    lead : how many of the indices ``at`` is given; it finds places for them, and the others are
        places themselves. Then it is asked once for all elements of a row.
    """
    op = made.op
    ops = region.ops[start:]
    if op is None or op.name != "alloc" or op not in ops or not _elements_only(ops, made):
        return False
    zeros = op.attributes["fill"] == 0
    if name == "add_store" and (zeros or not _stored_once(ops, made)):
        return False
    if zeros:
        position = region.ops.index(op)
        build = MemoryBuilder()
        zero = build.const(made.dtype.numpy.type(0).item(), made.type)
        build.nest(made.shape, lambda where: build.store("store", zero, made, where), "fill")
        region.ops[position : position + 1] = build.region.ops
    else:
        region.ops.remove(op)
    _Redirect(made, buffer, at, name, len(made.shape) if lead is None else lead).region(
        region, start, {}
    )
    return True


def _elements_only(ops: Sequence[Operation], buffer: Value) -> bool:
    for op in ops:
        if buffer in op.operands:
            position = ELEMENT.get(op.name)
            if position is None or op.operands[position] is not buffer:
                return False
        for inner in op.regions:
            if buffer in inner.yields or not _elements_only(inner.ops, buffer):
                return False
    return True


def _stored_once(ops: Sequence[Operation], buffer: Value) -> bool:
    """Whether elements are stored and nothing else: each once, for the scheduler fills so."""
    return all(
        (buffer not in op.operands or op.name == "store")
        and all(_stored_once(inner.ops, buffer) for inner in op.regions)
        for op in ops
    )


def stored_in_order(ops: Sequence[Operation], buffer: Value) -> bool:
    """Whether one nest stores all of ``buffer``, going up along the first of its dimensions."""
    nests = [op for op in ops if _mentions(op, buffer)]
    return len(nests) == 1 and _goes_up(nests[0], buffer)


def _goes_up(op: Operation, buffer: Value) -> bool:
    if op.name != "for" or op.attributes.get("kind") not in ("plain", "lanes"):
        return False
    (body,) = op.regions
    inside = [o for o in body.ops if _mentions(o, buffer)]
    if all(o.name == "store" for o in inside):
        return all(o.operands[2] is body.params[0] for o in inside)
    stores = [o for o in body.walk() if o.name == "store" and o.operands[1] is buffer]
    first = all(o.operands[2] is body.params[0] for o in stores)
    return len(inside) == 1 and first and _is_nest(inside[0], buffer)


def _is_nest(op: Operation, buffer: Value) -> bool:
    """Whether loops, and nothing else, stand around what is done to ``buffer``."""
    if op.name == "store":
        return True
    if op.name != "for":
        return False
    return all(_is_nest(o, buffer) for o in op.regions[0].ops if _mentions(o, buffer))


@dataclass(frozen=True)
class _Redirect:
    """Lets the stores to ``made`` go to their places in ``buffer``."""

    made: Value
    buffer: Value
    at: Inserted
    name: str
    lead: int

    def region(
        self, region: Region, start: int, known: dict[tuple[Value, ...], list[Value]]
    ) -> None:
        """``known``: places that are found already where the region stands."""
        new: list[Operation] = []
        for op in region.ops[start:]:
            if self.made in op.operands:
                place = ELEMENT[op.name]
                where = op.operands[place + 1 :]
                found = self.found(where[: self.lead], new, known)
                op.operands = (*op.operands[:place], self.buffer, *found, *where[self.lead :])
                if op.name == "store":
                    op.rename(REGISTRY[self.name])
            elif op.name == "for":
                for where in self.rows_below(op):
                    self.found(where, new, known)
            for inner in op.regions:
                self.region(inner, 0, dict(known))
            new.append(op)
        region.ops[start:] = new

    def found(
        self,
        where: tuple[Value, ...],
        new: list[Operation],
        known: dict[tuple[Value, ...], list[Value]],
    ) -> list[Value]:
        if where not in known:
            before, known[where] = self.at(where)
            new += before
        return known[where]

    def rows_below(self, loop: Operation) -> Iterator[tuple[Value, ...]]:
        """The rows that are stored in each trip of ``loop``: they can be found before it."""
        inside = {*loop.regions[0].params}.union(*(op.results for op in loop.regions[0].walk()))
        pending = [loop]
        while pending:
            (body,) = pending.pop().regions
            inside.update(body.params)
            for op in body.ops:
                if op.name == "for":
                    pending.append(op)
                elif self.made in op.operands:
                    place = ELEMENT[op.name] + 1
                    where = op.operands[place : place + self.lead]
                    if inside.isdisjoint(where):
                        yield where
