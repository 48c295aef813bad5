"""One nest, rewritten to loops over the cells of each diagonal. See `wavefront`.

Per diagonal there are some loops, each of which LLVM can compute several cells at once of:

1. *read*: what does not stand side by side in memory goes to a row, in the order of the cells;
2. *lanes*: what the cells compute. LLVM asks at run time whether what it reads and writes in one
   loop overlaps, and gives up where there is too much to ask; so what has nothing in common
   gets loops of its own where one loop would have too many arrays;
3. *write*: additions to places that another cell of the diagonal adds to, and what does not
   stand side by side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tracegrad.ir.bounds import Bounds
from tracegrad.ir.core import Function, Operation, Region, Value
from tracegrad.ir.threads import drop_unread, free_values
from tracegrad.ir.types import ArrayType, Dim, dim_max, i64, scalar, symbol
from tracegrad.ops.registry import REGISTRY
from tracegrad.schedule.buffers import ELEMENT, replace
from tracegrad.schedule.memory import MemoryBuilder
from tracegrad.schedule.nests import Access, Nest
from tracegrad.schedule.rotated import Rotation, is_side_by_side

#: Pairs of arrays that LLVM compares before a loop at most.
CHECKS = 100

#: The symbol of the index of diagonals, and what stands for the place on one.
_D = "__diagonal"
_K = Value(scalar(i64), "k")


@dataclass
class _Part:
    """What one loop over a diagonal computes.

    Attributes
    ----------
    ops : its operations, reads excepted.
    direct : the writes that it makes itself.
    """

    ops: set[Operation]
    direct: list[Access] = field(default_factory=list)


class Diagonals:
    """Rewrites one nest.

    Attributes
    ----------
    varying : what is not the same in all cells.
    steps : operations on integers that follow from the indices.
    read : what is read in another loop than it is used in.
    made : what is computed in another loop than it is written in.
    summed : additions to places that all cells share.
    parts : what is computed, in one loop or more.
    later : the writes of further loops.
    fits : whether no loop has too many arrays.
    """

    def __init__(
        self, function: Function, bounds: Bounds, nest: Nest, stored: Mapping[Value, Rotation]
    ) -> None:
        self.function = function
        self.bounds = bounds
        self.nest = nest
        self.stored = stored
        self.access = {access.op: access for access in nest.accesses}
        self.makers = {r: op for op in nest.cell for r in op.results}
        self.varying: set[Value] = {*nest.indices, *nest.carried}
        self.steps: set[Operation] = set()
        self._follow()
        self.read: dict[Value, Access] = {}
        self.summed: list[Access] = []
        self._sort_reads()
        self.parts = self._pack(self._unrelated())
        self.later = self._sort_writes()
        values = [access.op.operands[0] for group in self.later for access in group]
        self.made = dict.fromkeys(v for v in values if v in self.varying)
        self.fits = all(self._checks(part.ops) <= CHECKS for part in self.parts)
        self.lines: dict[Value, Value] = {}
        self.rows: dict[tuple[Dim, Dim], Value] = {}

    # --- what goes where

    def _follow(self) -> None:
        """Find what varies from cell to cell, and what only counts."""
        counting: set[Value] = set(self.nest.indices)
        for op in self.nest.cell:
            varies = {v for v in _reads(op) if v in self.varying}
            if varies or any(r in self.nest.stored for r in op.results):
                self.varying.update(op.results)
            plain = op not in self.access and not op.regions
            whole = all(r.dtype is i64 for r in op.results)
            if plain and whole and varies and varies <= counting:
                self.steps.add(op)
                counting.update(op.results)

    def _sort_reads(self) -> None:
        for access in self.nest.accesses:
            if access.writes:
                if not any(p.outer or p.inner for p in access.at or ()):
                    self.summed.append(access)
                continue
            value = access.op.result
            if value in self.nest.stored or value not in self.varying or access.at is None:
                continue
            if not is_side_by_side(access, self.stored):
                self.read[value] = access

    def _needs(self, op: Operation) -> list[Value]:
        """What varies that an operation reads, but for sums: what was stored, not what is read."""
        place = self.nest.chain[op][1] if op in self.nest.chain else None
        read = [v for n, v in enumerate(_reads(op)) if n != place]
        return [v for v in (self.nest.stored.get(v, v) for v in read) if v in self.varying]

    def _unrelated(self) -> list[_Part]:
        """Operations in groups that have nothing in common but indices and reads, in order."""
        ops = [
            op
            for op in self.nest.cell
            if op not in self.steps
            and (
                op in self.nest.chain
                or any(r in self.varying for r in op.results)
                or not op.results
            )
        ]
        home = {op: op for op in ops}

        def root(op: Operation) -> Operation:
            while home[op] is not op:
                op = home[op]
            return op

        touched: dict[object, Operation] = {}
        written = {a.key for a in self.nest.accesses if a.writes}
        for op in ops:
            access = self.access.get(op)
            shared = access is not None and access.at is not None and access.key in written
            if access is not None and shared:
                home[root(op)] = root(touched.setdefault(access.key, op))
            for value in self._needs(op):
                maker = self.makers.get(value)
                reading = self.access.get(maker) if maker is not None else None
                if maker not in home or maker is None:
                    continue
                if reading is not None and (reading.at is None or reading.key not in written):
                    continue
                home[root(op)] = root(maker)
        groups: dict[Operation, _Part] = {}
        for op in ops:
            access = self.access.get(op)
            if access is None or access.writes:
                groups.setdefault(root(op), _Part(set())).ops.add(op)
        return list(groups.values())

    def _pack(self, parts: list[_Part]) -> list[_Part]:
        """As few loops as have no more than `CHECKS` comparisons each."""
        packed: list[_Part] = []
        for part in parts:
            for other in packed:
                if self._checks(other.ops | part.ops) <= CHECKS:
                    other.ops |= part.ops
                    break
            else:
                packed.append(part)
        return packed

    def _checks(self, ops: set[Operation]) -> int:
        """How many pairs of places LLVM compares before a loop with these operations."""
        places: dict[object, bool] = {}
        for op in ops:
            access = self.access.get(op)
            if access is not None and access not in self.summed:
                places[self._place(access)] = True
            for value in self._needs(op):
                maker = self.makers.get(value)
                read = self.access.get(maker) if maker is not None else None
                if read is not None:
                    place = value if value in self.read else self._place(read)
                    places.setdefault(place, False)
        writes = sum(places.values())
        return writes * (writes - 1) // 2 + writes * (len(places) - writes)

    def _place(self, access: Access) -> object:
        """Equal for accesses in one row of one array."""
        if access.buffer in self.stored:
            return access.buffer, self._line_of(access)
        return access.buffer if is_side_by_side(access, self.stored) else access.op

    def _line_of(self, access: Access) -> tuple[Dim, Dim]:
        """The number of rows of a table that is stored by diagonals, and what to add to d."""
        rotation = self.stored[access.buffer]
        assert access.at is not None
        more = access.at[rotation.i].rest * rotation.slope + access.at[rotation.j].rest
        return access.buffer.shape[rotation.j], more

    def _sort_writes(self) -> list[list[Access]]:
        """Give parts the writes that they can make; the rest."""
        later: list[list[Access]] = []
        scattered: list[Access] = []
        group_of: dict[object, int] = {}
        for access in self.nest.accesses:
            if not access.writes or access in self.summed:
                continue
            if not is_side_by_side(access, self.stored):
                scattered.append(access)
                continue
            part = next(part for part in self.parts if access.op in part.ops)
            groups = [part.direct, *later]
            n = group_of.get(access.key, 0)
            while n < len(groups) and self._collides(access, groups[n]):
                n += 1
            if n == len(groups):
                groups.append([])
                later.append(groups[-1])
            groups[n].append(access)
            group_of[access.key] = n
        return [*later, scattered] if scattered else later

    def _collides(self, access: Access, group: list[Access]) -> bool:
        """Whether a write meets another one of the group in a cell of the same diagonal."""
        for other in group:
            if other.buffer is not access.buffer or other.key == access.key:
                continue
            met = self.nest.met[other.op, access.op]
            if met != "apart" and (met is None or not met.leads_on(self.nest.skew)):
                return True
        return False

    # --- the loops

    def rewrite(self) -> None:
        """Put the loops over diagonals in the place of the nest."""
        nest = self.nest
        outer = nest.outer
        for value in (*self.read, *self.made):
            name = self.read[value].buffer.hint if value in self.read else value.hint
            self.lines.setdefault(value, self._buffer(value, name))
        build = MemoryBuilder()
        with build.at(None, outer.part):
            bounds = self._bounds(build)
            with build.open() as diagonal:
                d = build.param(scalar(i64), "d")
                first = outer.regions[0].params[1:]
                sums = [build.param(v.type, v.hint) for v in first]
                ends = self._diagonal(build, d, dict(zip(nest.sums, sums, strict=True)))
                diagonal.yields = tuple(ends[n] for n in nest.sums)
            drop_unread(diagonal)
            types = [v.type for v in sums]
            operands = [*bounds, *outer.operands[3:]]
            new = build.emit(REGISTRY["for"], operands, {"kind": "diagonals"}, [diagonal], types)
        at = nest.region.ops.index(outer)
        nest.region.ops[at : at + 1] = build.region.ops
        for old, result in zip(outer.results, new.results, strict=True):
            result.hint = old.hint
            replace(nest.region, old, result)

    def _buffer(self, value: Value, name: str) -> Value:
        """A buffer for what the cells of a diagonal have of ``value``."""
        least, greatest = self.nest.limits(0)
        length = greatest - least + 1
        shape = (length if self.bounds.never_negative(length) else dim_max(0, length),)
        build = MemoryBuilder()
        row = build.alloc(ArrayType(value.dtype, shape), f"{name}_d" if name else "row")
        self.function.body.ops[0:0] = build.region.ops
        return row

    def _value(self, build: MemoryBuilder, dim: Dim) -> Value:
        return build.affine(dim, self.bounds.indices)

    def _bounds(self, build: MemoryBuilder) -> list[Value]:
        """The bounds of the loop over d."""
        (i, i_end), (j, j_end) = self.nest.limits(0), self.nest.limits(1)
        slope = self.nest.slope
        first = (i if slope > 0 else i_end) * slope + j
        last = (i_end if slope > 0 else i) * slope + j_end
        down = self.nest.steps[1] < 0
        start, end = (last, first - 1) if down else (first, last + 1)
        begin, stop = self._value(build, start), self._value(build, end)
        if not self.nest.runs:
            some = [
                build.emit(
                    REGISTRY["less_equal"], [self._value(build, a), self._value(build, b)]
                ).result
                for a, b in ((i, i_end), (j, j_end))
            ]
            both = build.emit(REGISTRY["logical_and"], some).result
            stop = build.emit(REGISTRY["select"], [both, stop, begin]).result
        return [begin, stop, build.size(-1 if down else 1)]

    def _cells(self, build: MemoryBuilder, d: Value) -> tuple[Value, Value]:
        """The first i of a diagonal, and how many there are."""
        (i, i_end), (j, j_end) = self.nest.limits(0), self.nest.limits(1)
        slope = self.nest.slope
        factor = abs(slope)
        # slope > 0: i = (d - j) / slope; slope < 0: i = (j - d) / -slope.
        ends = []
        sides = (j_end, j) if slope > 0 else (j, j_end)
        for dim, round_up in zip(sides, (factor - 1, 0), strict=True):
            both = [d, self._value(build, dim)]
            if dim == 0 and slope > 0:
                end = d
            else:
                order = both if slope > 0 else both[::-1]
                end = build.emit(REGISTRY["subtract"], order).result
            if round_up:
                end = build.emit(REGISTRY["add"], [end, build.size(round_up)]).result
            if factor > 1:
                end = build.emit(REGISTRY["floor_divide"], [end, build.size(factor)]).result
            ends.append(end)
        low = build.emit(REGISTRY["maximum"], [self._value(build, i), ends[0]]).result
        low.hint = "low"
        high = build.emit(REGISTRY["minimum"], [self._value(build, i_end), ends[1]]).result
        more = build.emit(REGISTRY["add"], [high, build.size(1)]).result
        count = build.emit(REGISTRY["subtract"], [more, low]).result
        count.hint = "cells"
        return low, count

    def _diagonal(self, build: MemoryBuilder, d: Value, inits: Mapping[int, Value]) -> list[Value]:
        """The loops over one diagonal; the sums after it."""
        low, count = self._cells(build, d)
        fixed: dict[Value, Value] = {}
        for op in self.nest.cell:
            if op.results and not any(r in self.varying for r in op.results):
                fixed.update(zip(op.results, build.copy(op, fixed).results, strict=True))
        self._find_rows(build, d)
        bounds = [build.size(0), count, build.size(1)]
        if self.read:
            with build.open() as region:
                k, env = self._enter(build, fixed, d, low)
                for value, access in self.read.items():
                    build.store("store", self._load(build, access, env), self.lines[value], [k])
            self._close(build, region, bounds, "read")
        sums = [inits[n] for n in range(len(self.nest.carried))]
        for part in self.parts:
            self._compute(build, part, sums, (fixed, d, low), bounds)
        for group in self.later:
            with build.open() as region:
                k, env = self._enter(build, fixed, d, low)
                for access in group:
                    value = access.op.operands[0]
                    if value in self.made:
                        value = build.load(self.lines[value], [k], value.hint)
                    self._write(build, access, fixed.get(value, value), env)
            self._close(build, region, bounds, "write")
        return sums

    def _close(
        self,
        build: MemoryBuilder,
        region: Region,
        bounds: list[Value],
        kind: str,
        carried: Sequence[Value] = (),
    ) -> tuple[Value, ...]:
        drop_unread(region)
        types = [v.type for v in carried]
        loop = build.emit(REGISTRY["for"], [*bounds, *carried], {"kind": kind}, [region], types)
        return loop.results

    def _enter(
        self, build: MemoryBuilder, fixed: Mapping[Value, Value], d: Value, low: Value
    ) -> tuple[Value, dict[Value, Value]]:
        """Begin a loop over the cells of a diagonal."""
        k = build.param(scalar(i64), "k")
        i = line = build.emit(REGISTRY["add"], [low, k]).result
        slope = self.nest.slope
        if abs(slope) != 1:
            line = build.emit(REGISTRY["multiply"], [build.size(abs(slope)), i]).result
        j = build.emit(REGISTRY["subtract" if slope > 0 else "add"], [d, line]).result
        for value, index in zip((i, j), self.nest.indices, strict=True):
            value.hint = index.hint
        return k, {**fixed, **dict(zip(self.nest.indices, (i, j), strict=True)), _K: k}

    def _compute(
        self,
        build: MemoryBuilder,
        part: _Part,
        sums: list[Value],
        place: tuple[Mapping[Value, Value], Value, Value],
        bounds: list[Value],
    ) -> None:
        """The loop of a part; ``sums`` become those after it."""
        fixed = place[0]
        numbers = sorted({self.nest.chain[op][0] for op in part.ops if op in self.nest.chain})
        adding = [access for access in self.summed if access.op in part.ops]
        places = list({access.key: access for access in reversed(adding)}.values())
        first = [sums[n] for n in numbers]
        first += [build.const(0, access.buffer.type) for access in places]
        with build.open() as region:
            k, env = self._enter(build, *place)
            running = {
                n: build.param(v.type, v.hint)
                for n, v in ((n, self.nest.carried[n]) for n in numbers)
            }
            totals: dict[object, Value] = {
                access.key: build.param(scalar(access.buffer.dtype), access.buffer.hint)
                for access in places
            }
            made = [value for value in self.made if self._owner(value) is part]
            needed = {*made, *(v for op in part.ops for v in self._needs(op))}
            for op in self.nest.cell:
                if op in part.ops:
                    self._operation(build, op, part, env, running, totals)
                elif op in self.access and op.results and op.result in needed:
                    self._demand(build, op.result, env)
            for value in made:
                build.store("store", self._demand(build, value, env), self.lines[value], [k])
            region.yields = (*running.values(), *totals.values())
        results = self._close(build, region, bounds, "lanes", first)
        for n, result in zip(numbers, results, strict=False):
            sums[n] = result
        for access, total in zip(places, results[len(numbers) :], strict=True):
            build.store("add_store", total, access.buffer, self._at(build, access, {**fixed}))

    def _owner(self, value: Value) -> _Part:
        """The part that writes ``value`` down: what computes it, or replaces the element."""
        op = self.makers.get(value)
        read = self.access.get(op) if op is not None else None
        for part in self.parts:
            if op in part.ops:
                return part
            if read is not None and read.at is not None:
                written = (self.access[each] for each in part.ops if each in self.access)
                if any(access.key == read.key for access in written):
                    return part
        return self.parts[0]

    def _operation(
        self,
        build: MemoryBuilder,
        op: Operation,
        part: _Part,
        env: dict[Value, Value],
        running: dict[int, Value],
        totals: dict[object, Value],
    ) -> None:
        """Append one operation of a cell."""
        for value in _reads(op):
            self._demand(build, value, env)
        access = self.access.get(op)
        if op in self.nest.chain:
            n, place = self.nest.chain[op]
            operands = [env.get(v, v) for v in op.operands]
            operands[place] = running[n]
            running[n] = build.copy(op, env, operands=operands).result
        elif access is None:
            env.update(zip(op.results, build.copy(op, env).results, strict=True))
        else:
            value = env.get(op.operands[0], op.operands[0])
            if access in part.direct:
                self._write(build, access, value, env)
            elif access.key in totals:
                with build.at(op.location, op.part):
                    added = build.emit(REGISTRY["add"], [totals[access.key], value])
                totals[access.key] = added.result

    def _demand(self, build: MemoryBuilder, value: Value, env: dict[Value, Value]) -> Value:
        """``value`` in the cell that ``env`` is about; reads and counts are made where needed."""
        if value in env:
            return env[value]
        op = self.makers.get(value)
        if op is None or op in self.nest.chain:
            return value
        if value in self.nest.stored:
            env[value] = self._demand(build, self.nest.stored[value], env)
        elif value in self.read:
            env[value] = build.load(self.lines[value], [env[_K]], value.hint)
        elif op in self.access:
            env[value] = self._load(build, self.access[op], env)
        else:
            for operand in _reads(op):
                self._demand(build, operand, env)
            env.update(zip(op.results, build.copy(op, env).results, strict=True))
        return env[value]

    # --- elements

    def _find_rows(self, build: MemoryBuilder, d: Value) -> None:
        """The rows, for this diagonal, of the tables that are stored by diagonals."""
        self.rows = {}
        for access in self.nest.accesses:
            if access.buffer not in self.stored:
                continue
            size, more = self._line_of(access)
            if (size, more) not in self.rows:
                line = build.affine(symbol(_D) + more, {**self.bounds.indices, _D: d})
                row = build.emit(REGISTRY["remainder"], [line, build.size(size)]).result
                row.hint = "row"
                self.rows[size, more] = row

    def _at(self, build: MemoryBuilder, access: Access, env: dict[Value, Value]) -> list[Value]:
        place = ELEMENT[access.op.name]
        at = [self._demand(build, v, env) for v in access.op.operands[place + 1 :]]
        rotation = self.stored.get(access.buffer)
        if rotation is None:
            return at
        return [*rotation.others(at), self.rows[self._line_of(access)], at[rotation.i]]

    def _load(self, build: MemoryBuilder, access: Access, env: dict[Value, Value]) -> Value:
        with build.at(access.op.location, access.op.part):
            return build.load(access.buffer, self._at(build, access, env), access.op.result.hint)

    def _write(
        self, build: MemoryBuilder, access: Access, value: Value, env: dict[Value, Value]
    ) -> None:
        with build.at(access.op.location, access.op.part):
            build.store(access.op.name, value, access.buffer, self._at(build, access, env))


def _reads(op: Operation) -> list[Value]:
    """What an operation reads, its regions included."""
    return [*op.operands, *(v for region in op.regions for v in free_values(region))]
