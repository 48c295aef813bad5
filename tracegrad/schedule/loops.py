"""Writing the loops of the tree.

- A loop whose statements have one extent and no guards is a plain loop.
- Where extents differ, or pads are cut inside, the innermost loop is *peeled*: its ends run
  with tests, the interior without. Outer loops test each iteration instead.
- A loop over rows that only adds to memory does several rows at a time (*jam*).
- Two loops around the lanes of a block that hold products do two by four at a time (*tile*), which
  share what they read.
- A maximum runs in eight independent lanes, because one chain of comparisons does not vectorise.
- A loop over the pairs ``j < i`` ends at i; where it also does something else, each sum tests.
- A block loop counts blocks, ``for b in range((n + 127)//128)``, so that LLVM can prove that
  indices are not negative.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tracegrad.ir.core import Value
from tracegrad.ir.types import Dim, dim_max, dim_min
from tracegrad.schedule.jammed import JAM, TILE, can_jam, can_tile
from tracegrad.schedule.lower import Lowering, start_value
from tracegrad.schedule.statements import Stmt
from tracegrad.schedule.tree import Item, Loop, statements_in
from tracegrad.schedule.values import Binding, guarded_non_negative, non_negative
from tracegrad.schedule.writer import Register

WIDE_JAM = 8
MANY_ROWS = 64
"""From so many rows on a lone statement does eight of them at a time: the rest are few then."""

LANES = 8
MOST_APART = 2
Limits = tuple[tuple[Dim, ...], tuple[Dim, ...]]


def write_loop(low: Lowering, loop: Loop) -> None:
    """Write ``loop`` with the registers and buffers that begin at it."""
    stmts = list(statements_in(loop.items))
    _fill_accumulators(low, loop, stmts)
    if loop.kind == "max":
        _write_lanes(low, loop, stmts)
        return
    opened = low.open_registers(loop, stmts)
    if loop.key.part == "o":
        _write_blocks(low, loop, stmts)
    elif loop.key.part == "b":
        _write_within_block(low, loop, stmts)
    else:
        _write_full(low, loop, stmts)
    low.close_registers(opened)


def write_items(low: Lowering, items: Sequence[Item]) -> None:
    """The items of a loop body; neighbours that end where each other ends share their test."""
    start = 0
    while start < len(items):
        ends = _ends(low, items[start])
        stop = start + 1
        if any(ends):
            while stop < len(items) and _ends(low, items[stop]) == ends:
                stop += 1
        _write_tested(low, items[start:stop], *ends)
        start = stop


Pair = tuple[int, int]


def _ends(low: Lowering, item: Item) -> tuple[dict[int, Dim], Pair | None]:
    """What ``item`` needs that is not known here: axes with extents to keep to, and its pair."""
    needed: dict[int, Dim] | None = None
    for stmt in statements_in([item]):
        extents = {a: e for a, e in stmt.extents.items() if a in low.bound}
        if needed is None:
            needed = extents
        else:
            needed = {a: e for a, e in needed.items() if extents.get(a) == e}
    unknown = {
        axis: extent
        for axis, extent in (needed or {}).items()
        if not any(non_negative(extent - high) for high in low.bound[axis].highs)
    }
    return unknown, _pair_to_test(low, item)


def _write_tested(
    low: Lowering, items: Sequence[Item], ends: dict[int, Dim], pair: Pair | None
) -> None:
    """Items of a loop body, within one test of what they need."""
    saved: dict[int, Binding] = {}
    tests: list[Value] = []
    if pair is not None:
        outer, inner = (low.bound[a].variable for a in pair)
        tests.append(low.writer.emit("less", (inner, outer)))
    for axis, extent in ends.items():
        binding = low.bound[axis]
        if any(non_negative(low_ - extent) for low_ in binding.lows):
            return
        saved[axis] = binding
        writer = low.writer
        tests.append(writer.emit("less", (binding.variable, writer.dim(extent))))
    if not tests:
        for item in items:
            _write_bare(low, item)
        return
    depth = low.writer.level.depth + 1
    for axis, b in saved.items():
        low.bound[axis] = replace(b, highs=(*b.highs, ends[axis]), depth=depth)
    _write_in_arm(low, items, tests)
    low.bound.update(saved)


def _pair_to_test(low: Lowering, item: Item) -> Pair | None:
    """The axes of a sum over pairs where both loops are open, and go over all of them."""
    pairs = {stmt.below for stmt in statements_in([item])}
    if len(pairs) != 1:
        return None  # what is in it has a test of its own
    (ends,) = pairs
    if ends is None or ends in low.pairs or not all(a in low.bound for a in ends):
        return None
    return ends


def _write_in_arm(low: Lowering, items: Sequence[Item], tests: Sequence[Value]) -> None:
    """``items`` under a condition; their registers get a value (zero) where that fails."""
    writer = low.writer
    condition = tests[0]
    for test in tests[1:]:
        condition = writer.emit("logical_and", (condition, test))
    writer.open_arm()
    arm = writer.level
    for item in items:
        _write_bare(low, item)
    # Only what the items define: an element that they merely loaded is not there otherwise.
    defined = {stmt.node for stmt in statements_in(items) if low.storage[stmt].dims is None}
    keys = [key for key in arm.memo if key[0] in defined]
    values = [writer.memo[key] for key in keys]
    zeros = [writer.constant(0, v.dtype) for v in values]
    for stmt in statements_in(items):
        low.complete[stmt] = min(low.complete.get(stmt, 0), writer.level.depth - 1)
    results = writer.close_arm(condition, values, zeros)
    for key, value in zip(keys, results, strict=True):
        writer.remember(key, value)


def _write_bare(low: Lowering, item: Item) -> None:
    if isinstance(item, Stmt):
        low.write_statement(item)
    else:
        write_loop(low, item)


# --- opening and closing --------------------------------------------------------------------


def _open(low: Lowering, axis: int) -> Value:
    return low.writer.open_loop(low.names.get(axis, "i"))


def _bind(
    low: Lowering, axis: int, variable: Value, lane: Value | None = None, *, limits: Limits
) -> None:
    low.bound[axis] = Binding(variable, lane, *limits, low.writer.level.depth)


def _close(
    low: Lowering, axis: int, lo: Value, hi: Value, stmts: Sequence[Stmt], kind: str
) -> None:
    _completed(low, stmts)
    low.writer.close_loop(lo, hi, 1, kind)
    low.bound.pop(axis, None)


def _write_range(
    low: Lowering,
    loop: Loop,
    stmts: Sequence[Stmt],
    lo: Dim,
    hi: Dim,
    limits: Limits,
) -> None:
    axis = loop.key.axis
    index = _open(low, axis)
    _bind(low, axis, index, limits=limits)
    write_items(low, loop.items)
    _close(low, axis, low.writer.dim(lo), low.writer.dim(hi), stmts, loop.kind)


# --- plain and peeled -----------------------------------------------------------------------


def _write_full(low: Lowering, loop: Loop, stmts: Sequence[Stmt]) -> None:
    axis = loop.key.axis
    extents = list(dict.fromkeys(t.extents[axis] for t in stmts))
    end = extents[0]
    for extent in extents[1:]:
        end = dim_max(end, extent)
    if loop.kind == "reverse":
        _write_reverse(low, loop, stmts, end)
        return
    innermost = all(isinstance(item, Stmt) for item in loop.items)
    bounds = {(g.low, g.high) for t in stmts for g in t.guards if g.axis == axis}
    if (len(extents) > 1 or bounds) and innermost:
        points = [0, *extents, *(b for pair in bounds for b in pair)]
        starts = [p for p in points if isinstance(p, int) and p >= 0]
        ends = [p for p in points if not isinstance(p, int) and isinstance(end - p, int)]
        first = max(starts) if not isinstance(end, int) else 0
        last = end
        for p in ends:
            last = dim_min(last, p)
        if first != 0 or last != end:
            _write_peeled(low, loop, stmts, first, last, end)
            return
    if can_tile(low, loop, stmts):
        _write_tile(low, loop, stmts, end)
        return
    if can_jam(low, loop, stmts, extents):
        _write_jam(low, loop, stmts, low.writer.dim(end), end)
        return
    outer = _pairs_of(low, loop, stmts) if len(extents) == 1 and not bounds else None
    if outer is not None:
        _write_pairs(low, loop, stmts, outer, end)
        return
    _write_range(low, loop, stmts, 0, end, ((0,), (end,)))


def _pairs_of(low: Lowering, loop: Loop, stmts: Sequence[Stmt]) -> int | None:
    """The axis at whose index the loop may end: nothing in it counts from there on."""
    if loop.kind != "pairs" or len({t.pair for t in stmts}) != 1 or stmts[0].pair is None:
        return None
    if any(t.below is None and low.storage[t].dims is not None for t in stmts):
        return None
    return stmts[0].pair[0]


def _write_pairs(low: Lowering, loop: Loop, stmts: Sequence[Stmt], outer: int, extent: Dim) -> None:
    axis = loop.key.axis
    index = _open(low, axis)
    _bind(low, axis, index, limits=((0,), (extent,)))
    low.pairs.add((outer, axis))
    write_items(low, loop.items)
    low.pairs.discard((outer, axis))
    _close(low, axis, low.writer.dim(0), low.bound[outer].variable, stmts, loop.kind)


def _write_peeled(
    low: Lowering, loop: Loop, stmts: Sequence[Stmt], first: Dim, last: Dim, end: Dim
) -> None:
    """``[0, first)`` with tests, the interior without, ``[last, end)`` with tests.

    A few iterations that are sure to be there are written one by one: where each stands decides
    its tests.
    """
    writer = low.writer
    if first == 1:
        some = None
        if not guarded_non_negative(end - 1):
            some = writer.emit("less", (writer.dim(0), writer.dim(end)))
        _write_once(low, loop, stmts, 0, some, ((0,), (first, end)))
    elif isinstance(first, int) and first <= MOST_APART and guarded_non_negative(end - first):
        for k in range(first):
            _write_once(low, loop, stmts, k, None, ((k,), (k + 1, end)))
    elif first != 0:
        _write_range(low, loop, stmts, 0, dim_min(first, end), ((0,), (first, end)))
    # That the end is not before the start is clear to LLVM only if it is said, once there is a
    # guard on the size; without it the loop does not vectorise.
    _write_range(low, loop, stmts, first, dim_max(first, last), ((0, first), (last, end)))
    left = end - last
    if left == 1:
        beyond = None
        if not guarded_non_negative(last - first):
            beyond = writer.emit("less_equal", (writer.dim(first), writer.dim(last)))
        _write_once(low, loop, stmts, last, beyond, ((0, first, last), (end,)))
    elif isinstance(left, int) and left <= MOST_APART and guarded_non_negative(last - first):
        for at in (last + k for k in range(left)):
            _write_once(low, loop, stmts, at, None, ((0, first, at), (at + 1, end)))
    elif left != 0:
        _write_range(low, loop, stmts, dim_max(first, last), end, ((0, first, last), (end,)))


def _write_once(
    low: Lowering,
    loop: Loop,
    stmts: Sequence[Stmt],
    at: Dim,
    condition: Value | None,
    limits: Limits,
) -> None:
    """The iteration at ``at`` where the condition holds: a loop would cost compile time.

    Without a condition it is sure to be there.
    """
    axis, writer = loop.key.axis, low.writer
    writer.open_arm()
    lows, highs = limits
    low.bound[axis] = Binding(writer.dim(at), None, lows, highs, depth=writer.level.depth, at=at)
    write_items(low, loop.items)
    _completed(low, stmts)
    if condition is None:
        writer.close_certain()
    else:
        writer.close_arm(condition)
    low.bound.pop(axis, None)


def _completed(low: Lowering, stmts: Sequence[Stmt]) -> None:
    """The innermost level is about to close: what was done in it is done in the one around."""
    depth = low.writer.level.depth - 1
    for stmt in stmts:
        if low.complete.get(stmt, 0) > depth:
            low.complete[stmt] = depth


def _write_reverse(low: Lowering, loop: Loop, stmts: Sequence[Stmt], end: Dim) -> None:
    """From the last index to the first."""
    axis, writer = loop.key.axis, low.writer
    index = _open(low, axis)
    variable = writer.emit("subtract", (writer.dim(end - 1), index))
    _bind(low, axis, variable, limits=((0,), (end,)))
    write_items(low, loop.items)
    _close(low, axis, writer.dim(0), writer.dim(end), stmts, "reverse")


# --- blocks ---------------------------------------------------------------------------------


def _write_blocks(low: Lowering, loop: Loop, stmts: Sequence[Stmt]) -> None:
    axis, writer = loop.key.axis, low.writer
    extent = stmts[0].extents[axis]
    block = writer.open_loop("block")
    start = writer.emit(
        "multiply", (block, writer.dim(loop.block)), hint=f"{low.names.get(axis, 'i')}0"
    )
    left = writer.emit("subtract", (writer.dim(extent), start))
    count = writer.emit("minimum", (writer.dim(loop.block), left), hint="count")
    low.blocks[axis] = (start, count)
    write_items(low, loop.items)
    blocks = writer.dim((extent + loop.block - 1) // loop.block)
    _close(low, axis, writer.dim(0), blocks, stmts, "block")
    del low.blocks[axis]


def _write_within_block(low: Lowering, loop: Loop, stmts: Sequence[Stmt]) -> None:
    axis, writer = loop.key.axis, low.writer
    _, count = low.blocks[axis]
    extent = stmts[0].extents[axis]
    if can_jam(low, loop, stmts, [extent]):
        _write_jam(low, loop, stmts, count, extent)
        return
    _open_inner(low, loop, extent)
    write_items(low, loop.items)
    _close(low, axis, writer.dim(0), count, stmts, loop.kind)


# --- several rows at a time -----------------------------------------------------------------


def _write_tile(low: Lowering, loop: Loop, stmts: Sequence[Stmt], extent: Dim) -> None:
    """Two iterations at a time, then the last one if they are odd."""
    axis, writer = loop.key.axis, low.writer
    inner = loop.items[0]
    assert isinstance(inner, Loop)
    rows = [{axis: k} for k in range(TILE)]
    half = writer.emit("floor_divide", (writer.dim(extent), writer.dim(TILE)))
    place = writer.emit("multiply", (_open(low, axis), writer.dim(TILE)))
    _bind(low, axis, place, limits=((0,), (extent - (TILE - 1),)))
    for row in rows:
        _fill_accumulators(low, inner, stmts, row)
    size = stmts[0].extents[inner.key.axis]
    _write_jam(low, inner, stmts, writer.dim(size), size, rows)
    _close(low, axis, writer.dim(0), half, stmts, "tile")
    done = writer.emit("multiply", (half, writer.dim(TILE)))
    _bind(low, axis, _open(low, axis), limits=((0,), (extent,)))
    _fill_accumulators(low, inner, stmts)
    _write_range(low, inner, stmts, 0, size, ((0,), (size,)))
    _close(low, axis, done, writer.dim(extent), stmts, loop.kind)


def _write_jam(
    low: Lowering,
    loop: Loop,
    stmts: Sequence[Stmt],
    count: Value,
    extent: Dim,
    rows: Sequence[dict[int, int]] = ({},),
) -> None:
    """Several rows at a time, then the rest one by one; and ``rows`` of a loop around at a time."""
    axis, writer = loop.key.axis, low.writer
    inner = loop.items[0]
    assert isinstance(inner, Loop)
    wide = len(stmts) == len(rows) == 1 and low.program.size(extent) >= MANY_ROWS
    jam = WIDE_JAM if wide else JAM
    whole = writer.emit("floor_divide", (count, writer.dim(jam)))
    group = _open(low, axis)
    place = writer.emit("multiply", (group, writer.dim(jam)))
    _bind_rows(low, loop, place, extent - (jam - 1))
    _write_together(low, inner, stmts, [{**row, axis: k} for row in rows for k in range(jam)])
    _close(low, axis, writer.dim(0), whole, stmts, "jam")
    done = writer.emit("multiply", (whole, writer.dim(jam)))
    place = _open(low, axis)
    _bind_rows(low, loop, place, extent)
    if len(rows) > 1:
        _write_together(low, inner, stmts, rows)
    else:
        write_items(low, loop.items)
    _close(low, axis, done, count, stmts, loop.kind)


def _write_together(
    low: Lowering, inner: Loop, stmts: Sequence[Stmt], shifts: Sequence[dict[int, int]]
) -> None:
    """The innermost loop for several indices of the loops around it, which ``shifts`` says."""
    opened: list[Stmt] = []
    for shift in shifts:
        opened = low.open_registers(inner, stmts, shift)
    end = _open_inner(low, inner, stmts[0].extents[inner.key.axis])
    for stmt in stmts:
        low.accumulate(stmt, shifts)
    low.reader = None
    _close(low, inner.key.axis, low.writer.dim(0), end, stmts, inner.kind)
    for shift in shifts:
        low.close_registers(opened, shift)


def _open_inner(low: Lowering, inner: Loop, extent: Dim) -> Value:
    """Open a loop without peeling; where it ends."""
    axis, writer = inner.key.axis, low.writer
    if inner.key.part == "full":
        end = writer.dim(extent)
        _bind(low, axis, _open(low, axis), limits=((0,), (extent,)))
        return end
    start, count = low.blocks[axis]
    lane = _open(low, axis)
    variable = writer.emit("add", (start, lane), hint=low.names.get(axis, "i"))
    _bind(low, axis, variable, lane, limits=((0,), (extent,)))
    return count


def _bind_rows(low: Lowering, loop: Loop, place: Value, high: Dim) -> None:
    axis = loop.key.axis
    if loop.key.part == "b":
        start, _ = low.blocks[axis]
        variable = low.writer.emit("add", (start, place), hint=low.names.get(axis, "i"))
        _bind(low, axis, variable, place, limits=((0,), (high,)))
    else:
        _bind(low, axis, place, limits=((0,), (high,)))


# --- maxima ---------------------------------------------------------------------------------


def _write_lanes(low: Lowering, loop: Loop, stmts: Sequence[Stmt]) -> None:
    """Extremes in eight lanes, then the rest, then one of the eight."""
    axis, writer = loop.key.axis, low.writer
    extent = stmts[0].extents[axis]
    plain = len({t.extents[axis] for t in stmts}) == 1 and not any(
        g.axis == axis for t in stmts for g in t.guards
    )
    opened = low.open_registers(loop, stmts)
    if not plain or any(t.guarded or low.beyond(t) for t in stmts):
        _write_full(low, Loop(loop.key, "plain", loop.items), stmts)
        low.close_registers(opened)
        return
    lanes: list[list[Register]] = []
    keys = [key for key in low.registers if key[0] in stmts]
    for key in keys:
        node = key[0].node
        start = writer.constant(start_value(node.name, node.type.dtype), node.type.dtype)
        more = [Register(writer.level, start, node.hint) for _ in range(LANES - 1)]
        lanes.append([low.registers[key], *more])
    group = _open(low, axis)
    place = writer.emit("multiply", (group, writer.dim(LANES)))
    _bind(low, axis, place, limits=((0,), (extent - (LANES - 1),)))
    for k in range(LANES):
        for stmt in stmts:
            low.reader = stmt.node
            for index, value in low.sums(stmt, [{axis: k}]).items():
                register = lanes[keys.index((stmt, index))][k]
                writer.write(register, low.combine(stmt, writer.read(register), value))
            low.reader = None
    whole = extent // LANES
    _close(low, axis, writer.dim(0), writer.dim(whole), stmts, "max")
    _write_range(low, loop, stmts, whole * LANES, extent, ((0,), (extent,)))
    for key, registers in zip(keys, lanes, strict=True):
        values = [writer.read(r) for r in registers]
        while len(values) > 1:
            half = len(values) // 2
            values = [
                low.combine(key[0], a, b) for a, b in zip(values[:half], values[half:], strict=True)
            ]
        writer.write(registers[0], values[0])
    low.close_registers(opened)


# --- accumulators in memory -----------------------------------------------------------------


def _fill_accumulators(
    low: Lowering, loop: Loop, stmts: Sequence[Stmt], shift: dict[int, int] | None = None
) -> None:
    """Set the sums in memory whose first reduced loop is ``loop`` to their start."""
    for stmt in stmts:
        storage = low.storage[stmt]
        if not storage.memory or storage.path[storage.first] is not loop or stmt in low.zeroed:
            continue
        writer = low.writer
        start = writer.constant(
            start_value(stmt.node.name, stmt.node.type.dtype), stmt.node.type.dtype
        )
        _fill(low, stmt, start, shift)


def _fill(low: Lowering, stmt: Stmt, start: Value, shift: dict[int, int] | None = None) -> None:
    """Store ``start`` over the dimensions of the buffer that no open loop binds."""
    storage, writer = low.storage[stmt], low.writer
    assert storage.dims is not None
    opened: list[tuple[int, Value]] = []
    for d in storage.dims:
        axis = stmt.out[d]
        if axis in low.bound or axis in low.program.unrolled:
            continue
        if axis in low.blocks:
            begin, count = low.blocks[axis]
            lane = _open(low, axis)
            variable = writer.emit("add", (begin, lane))
            _bind(low, axis, variable, lane, limits=((), ()))
            opened.append((axis, count))
        else:
            _bind(low, axis, _open(low, axis), limits=((), ()))
            opened.append((axis, writer.dim(stmt.node.shape[d])))
    with low.within(stmt, [axis for axis, _ in opened]) as inside:
        if inside:
            for _, at in low.points(stmt, stmt.out, shift):
                low.store(stmt, at, start)
    for axis, count in reversed(opened):
        _close(low, axis, writer.dim(0), count, (), "fill")
