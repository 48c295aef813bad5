"""Derivatives along many directions at once: what depends on the direction has an axis for it.

A function that is linear in its seeds is copied for ``count`` seeds beside each other. Values that
do not depend on the seeds are copied as they are, in loops and branches too: a loop that carries
primals and tangents computes the primals of a trip once for all directions, and the tangents are
arrays whose last axis counts the directions::

    for i: s_dot = s_dot * cos(s) + w_dot[i]; s = sin(s)
                        →  for i: s_dot[:] = s_dot[:] * cos(s) + w_dot[i, :]; s = sin(s)

What has no form with the axis is done for one direction after the other, in a loop of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from tracegrad import ops
from tracegrad.ir.builder import current
from tracegrad.ir.core import Operation, Region, Value
from tracegrad.ir.rewrite import first_carried, leading
from tracegrad.ir.sizes import BINDING
from tracegrad.ir.types import ArrayType, Dim, DType
from tracegrad.ops.access import moveaxis, pad_into, reshaped, transpose, view_of, zeros
from tracegrad.ops.control import for_loop
from tracegrad.ops.registry import constant
from tracegrad.transforms.cut import reads_of


class Spread:
    """Which values of operations depend on the direction.

    Attributes
    ----------
    moving : these values, parameters of regions too.
    alone : operations with regions that are done for one direction after the other, as what is run
        depends on it.
    """

    def __init__(self, operations: Sequence[Operation], seeds: Iterable[Value]) -> None:
        self.moving = set(seeds)
        self.alone: set[Operation] = set()
        self._operations(operations)

    @property
    def possible(self) -> bool:
        """Whether all that moves has a form for many directions at once."""
        inside = [i for op in self.alone for i in (op, *(i for r in op.regions for i in r.walk()))]
        return not any(op.name in BINDING or op.name == "custom" for op in inside)

    def _operations(self, operations: Iterable[Operation]) -> None:
        """Find the moving values of operations, and which of them are done one by one."""
        for op in operations:
            if op in self.alone or not op.regions or op.name == "custom":
                if not reads_of(op).isdisjoint(self.moving):
                    self.moving.update(op.results)
                    if op.regions:
                        self.alone.add(op)
                continue
            if not self._regions_of(op):
                self.alone.add(op)
                self.moving.update(op.results)

    def _regions_of(self, op: Operation) -> bool:
        """As `_operations` for one operation with regions; False if what is run depends on the
        direction."""
        first, lead = first_carried(op), leading(op)
        if not self.moving.isdisjoint(op.operands[:lead]):
            return False
        carries = op.name in ("for", "while")
        while True:
            before = len(self.moving)
            if carries:
                for k, (init, result) in enumerate(
                    zip(op.operands[lead:], op.results, strict=True)
                ):
                    if init in self.moving or result in self.moving:
                        self.moving.add(result)
                        self.moving.update(r.params[first + k] for r in op.regions)
            for region in op.regions:
                self._operations(region.ops)
                if op.name == "while" and region is op.regions[0]:
                    if region.yields[0] in self.moving:
                        return False
                    continue
                for value, result in zip(region.yields, op.results, strict=True):
                    if value in self.moving:
                        self.moving.add(result)
            if len(self.moving) == before:
                return True


class Along:
    """Copies operations for ``count`` directions beside each other.

    Attributes
    ----------
    env : old value → new value; a value of an enclosing function stands for itself.
    moving : the old values whose new ones have the axis.
    colours : old value → what tells in which of the directions ``numbers`` an element is one; it is
        zero in all others. So of a part of the seeds nothing is read from memory but its colours.
    """

    def __init__(
        self,
        operations: Iterable[Operation],
        spread: Spread,
        numbers: Value,
        env: Mapping[Value, Value],
        colours: Mapping[Value, Value],
    ) -> None:
        self.numbers = numbers
        (self.count,) = numbers.shape
        self.env = {**env, **{v: unit(c, numbers, v.dtype) for v, c in colours.items()}}
        self.colours = dict(colours)
        self.moving = spread.moving
        self._alone = spread.alone
        for op in operations:
            self._operation(op)

    def of(self, value: Value) -> Value:
        """The new value with the axis, also of one that is the same in all directions."""
        new = self.env.get(value, value)
        if value in self.moving:
            return new
        if new.op is not None and new.op.name in ("blank", "tape"):
            # An array to be written: it would be a waste to copy what has no meaning yet.
            attributes = dict(new.op.attributes)
            attributes["shape"] = (*attributes["shape"], self.count)
            made: Value = new.op.opdef(*new.op.operands, **attributes)
            return made
        return view_of(new, (*new.shape, self.count), [(d, 0, 1) for d in range(new.rank)])

    # --- the copies ----------------------------------------------------------------------------

    def _operation(self, op: Operation) -> None:
        build = current()
        with build.at(op.location, op.part):
            if op in self._alone:
                self._one_by_one(op)
            elif op.regions and op.name != "custom":
                self._structured(op)
            elif self.moving.isdisjoint(op.results) and reads_of(op).isdisjoint(self.moving):
                self.env.update(zip(op.results, build.copy(op, self.env).results, strict=True))
            else:
                beside = self._element_of_seed(op) or self._beside(op)
                if beside is None:
                    self._one_by_one(op)
                else:
                    beside.hint = beside.hint or op.result.hint
                    self.env[op.result] = beside

    def _structured(self, op: Operation) -> None:
        """A loop or branch; what moves of its carried values and results has the axis."""
        build = current()
        first, lead = first_carried(op), leading(op)
        operands = [self.env.get(v, v) for v in op.operands[:lead]]
        for init, result in zip(op.operands[lead:], op.results, strict=False):
            operands.append(self.of(init) if result in self.moving else self.env.get(init, init))
        regions: list[Region] = []
        for region in op.regions:
            condition = op.name == "while" and region is op.regions[0]
            with build.open() as new:
                for k, p in enumerate(region.params):
                    carried = op.results[k - first] if k >= first else None
                    self.env[p] = build.param(self._type(p, carried), p.hint)
                for inner in region.ops:
                    self._operation(inner)
                if condition:
                    new.yields = tuple(self.env.get(v, v) for v in region.yields)
                else:
                    new.yields = tuple(
                        self.of(v) if r in self.moving else self.env.get(v, v)
                        for v, r in zip(region.yields, op.results, strict=True)
                    )
            regions.append(new)
        types = [self._type(r, r) for r in op.results]
        made = build.emit(op.opdef, operands, op.attributes, regions, types)
        for old, result in zip(op.results, made.results, strict=True):
            result.hint = old.hint
            self.env[old] = result

    def _type(self, value: Value, result: Value | None) -> ArrayType:
        if result is None or result not in self.moving:
            return value.type
        return ArrayType(value.dtype, (*value.shape, self.count))

    def _one_by_one(self, op: Operation) -> None:
        """A loop over the directions around the operation."""
        build = current()
        reads = reads_of(op)
        read = [v for v in self.env if v in self.moving and v in reads]
        fronts = [moveaxis(self.env[v], -1, 0) for v in read]
        inits = [zeros((self.count, *r.shape), r.dtype) for r in op.results]

        def trip(k: Value, *tables: Value) -> list[Value]:
            inner = {v: ops.index(front, k) for v, front in zip(read, fronts, strict=True)}
            found = build.copy(op, {**self.env, **inner}).results
            return [ops.update(t, r, k) for t, r in zip(tables, found, strict=True)]

        tables = for_loop(0, self.count, inits, trip)
        self.env.update(zip(op.results, (moveaxis(table, 0, -1) for table in tables), strict=True))

    def _element_of_seed(self, op: Operation) -> Value | None:
        """What is read of a seed at an index, made of its colour; parts of seeds have colours."""
        if op.name not in ("view", "reshape", "index"):
            return None
        x, *indices = op.operands
        if x not in self.colours or not self.moving.isdisjoint(indices):
            return None
        given = [self.colours[x], *(self.env.get(v, v) for v in indices)]
        read: Value = op.opdef(*given, **op.attributes)
        self.colours[op.result] = read
        return unit(read, self.numbers, x.dtype) if indices else None

    def _beside(self, op: Operation) -> Value | None:
        """The operation with the axis, or None if it has no such form."""
        if len(op.results) != 1:
            return None
        rule = _elementwise if op.opdef.kind == "elementwise" else _RULES.get(op.name)
        return None if rule is None else rule(self, op)


def unit(colours: Value, k: Value, dtype: DType) -> Value:
    """One where the colour is ``k``, else zero; a vector of numbers gives a last axis along it."""
    if k.dtype is not colours.dtype:
        k = ops.cast(k, dtype=colours.dtype)
    if k.rank:
        shape = (*colours.shape, *k.shape)
        k = view_of(k, shape, [(colours.rank, 0, 1)])
        colours = view_of(colours, shape, [(d, 0, 1) for d in range(colours.rank)])
    here = ops.equal(colours, k)
    made: Value = ops.select(here, constant(1.0, dtype), constant(0.0, dtype))
    return made


# --- one operation with the axis --------------------------------------------------------------


def _elementwise(along: Along, op: Operation) -> Value:
    shape = (*op.result.shape, along.count)
    given = []
    for v in op.operands:
        new = along.env.get(v, v)
        if v not in along.moving:
            if v.rank:
                new = view_of(new, shape, [(d, 0, 1) for d in range(v.rank)])
        elif not v.rank:
            new = view_of(new, shape, [(len(shape) - 1, 0, 1)])
        given.append(new)
    result: Value = op.opdef(*given, **op.attributes)
    return result


def _shaped(along: Along, op: Operation) -> Value:
    """``view`` or ``pad``."""
    x = along.env[op.operands[0]]
    part = op.result if op.name == "view" else op.operands[0]
    shape = (*op.attributes["shape"], along.count)
    map = (*op.attributes["map"], (part.rank, 0, 1))
    return view_of(x, shape, map) if op.name == "view" else pad_into(x, shape, map)


def _reshape(along: Along, op: Operation) -> Value:
    return reshaped(along.env[op.operands[0]], (*op.result.shape, along.count))


def _same_axes(along: Along, op: Operation) -> Value:
    """All operands with the axis behind the others, which stay where they are."""
    result: Value = op.opdef(*map(along.of, op.operands), **op.attributes)
    return result


def _index(along: Along, op: Operation) -> Value | None:
    x, *indices = op.operands
    if not along.moving.isdisjoint(indices):
        return None
    result: Value = op.opdef(along.env[x], *(along.env.get(i, i) for i in indices))
    return result


def _write(along: Along, op: Operation) -> Value | None:
    x, v, *indices = op.operands
    if not along.moving.isdisjoint(indices):
        return None
    given = (along.of(x), along.of(v))
    result: Value = op.opdef(*given, *(along.env.get(i, i) for i in indices))
    return result


def _ensure(along: Along, op: Operation) -> Value | None:
    x, length = op.operands
    if length in along.moving:
        return None
    result: Value = op.opdef(along.env[x], along.env.get(length, length))
    return result


def _columns(x: Value, rank: int, count: Dim) -> Value:
    """A vector or matrix of directions, these beside its columns: of rank 2."""
    return x if rank == 1 else reshaped(x, (x.shape[0], x.shape[1] * count))


def _dot(along: Along, op: Operation) -> Value | None:
    a, b = op.operands
    count = along.count
    if a in along.moving and b in along.moving:
        return None
    left, right = along.env.get(a, a), along.env.get(b, b)
    if b in along.moving:
        found: Value = ops.dot(left, _columns(right, b.rank, count))
    elif a.rank == 1:
        other = transpose(right) if b.rank == 2 else right
        found = ops.dot(other, left)
    else:
        rows = reshaped(moveaxis(left, -1, 1), (a.shape[0] * count, a.shape[1]))
        found = ops.dot(rows, right)
        found = reshaped(found, (a.shape[0], count, *found.shape[1:]))
        return moveaxis(found, 1, -1)
    return reshaped(found, (*op.result.shape, count))


def _matmul(along: Along, op: Operation) -> Value | None:
    a, b = op.operands
    count = along.count
    if a in along.moving and b in along.moving:
        return None
    left, right = along.env.get(a, a), along.env.get(b, b)
    *batch, rows, columns = op.result.shape
    if b in along.moving:
        right = reshaped(right, (*batch, b.shape[-2], columns * count))
        return reshaped(ops.matmul(left, right), (*op.result.shape, count))
    left = reshaped(moveaxis(left, -1, -2), (*batch, rows * count, a.shape[-1]))
    found = reshaped(ops.matmul(left, right), (*batch, rows, count, columns))
    return moveaxis(found, -2, -1)


def _solve(along: Along, op: Operation) -> Value | None:
    a, b = op.operands
    if a in along.moving or op.attributes.get("right", False):
        return None
    right = _columns(along.env[b], b.rank, along.count)
    found: Value = op.opdef(along.env.get(a, a), right, **op.attributes)
    return reshaped(found, (*op.result.shape, along.count))


_RULES: dict[str, Callable[[Along, Operation], Value | None]] = {
    "view": _shaped,
    "pad": _shaped,
    "reshape": _reshape,
    "concatenate": _same_axes,
    "sum": _same_axes,
    "cumsum": _same_axes,
    "index": _index,
    "update": _write,
    "accumulate": _write,
    "ensure": _ensure,
    "dot": _dot,
    "matmul": _matmul,
    "solve": _solve,
    "solve_triangular": _solve,
}
