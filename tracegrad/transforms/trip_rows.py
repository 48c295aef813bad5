"""Jacobians trip by trip: a loop whose trips write parts of results from what each reads.

The derivatives of all that a loop writes are the derivatives of what one trip writes in what this
trip reads of the parameters, trip by trip: a small dense block each, by reverse mode within the
trip, however many other trips read the same element::

    for k: r[k] = f(x[i[k]], x[j[k]])  →  for k: rows[k, 0, :] = ∂f/∂x[i[k]], ∂f/∂x[j[k]]

`tracegrad.dependence.trips` tells which element of the Jacobian each of these numbers is.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from tracegrad import ops
from tracegrad.ir.builder import Builder
from tracegrad.ir.core import Function, Operation, Region, Value
from tracegrad.ir.sizes import BINDING
from tracegrad.ir.threads import free_values
from tracegrad.ir.types import ArrayType, Dim, i64, scalar
from tracegrad.ops.access import reshaped, stack, zeros
from tracegrad.ops.control import for_loop
from tracegrad.ops.registry import constant
from tracegrad.transforms.cut import reads_of
from tracegrad.transforms.directions import Spread
from tracegrad.transforms.jacobian import Split, append_copy
from tracegrad.transforms.trips import trip_dimension
from tracegrad.transforms.vjp import vjp

MOST_WRITTEN = 8
"""Elements that a trip may write: each has statements of its own."""
MOST_READ = 64
"""Elements that a trip may read."""

_SELECTIONS = frozenset(("view", "index", "reshape"))
"""Operations each of whose elements is one element of their first operand."""


Chosen = Sequence[tuple[int, int]]
"""Derivatives of a trip: of which element that it writes, in which that it reads."""


@dataclass(frozen=True, eq=False)
class Part:
    """Something that a trip reads of a parameter, or writes to a result.

    Attributes
    ----------
    value : a value of the trip, of known sizes.
    owner : which of the parameters, or of the results.
    first, size : its elements among those that the trip reads of the parameter (writes to the
        result).
    """

    value: Value
    owner: int
    first: int
    size: int


@dataclass(frozen=True, eq=False)
class TripRows:
    """How the results of a function are written, trip by trip.

    Attributes
    ----------
    wrt, of : the parameters and results asked about.
    count : the trips of ``loop``.
    plain : what a trip does that does not depend on the values of the parameters, and the reading.
    active : what it does with what was read.
    reads, writes : the parts, in the order of their elements.
    """

    function: Function
    wrt: Sequence[int]
    of: Sequence[int]
    loop: Operation
    count: Dim
    plain: list[Operation]
    active: list[Operation]
    kept: list[int]
    """The carried values that do not depend on the parameters."""
    chains: list[tuple[int, list[Operation]]]
    """The other ones, and the writes to them in order."""
    reads: list[Part]
    writes: list[Part]

    def read(self, owner: int) -> int:
        """How many elements of a parameter a trip reads."""
        return sum(part.size for part in self.reads if part.owner == owner)

    def written(self, owner: int) -> int:
        """How many elements of a result a trip writes."""
        return sum(part.size for part in self.writes if part.owner == owner)

    @property
    def signature(self) -> object:
        """Two of one function that have it in common mean the same by each read and write."""
        return tuple(
            tuple(
                (part.owner, part.size, part.value.op and part.value.op.location) for part in parts
            )
            for parts in (self.reads, self.writes)
        )

    # --- the derivatives

    def tables(
        self, values: Sequence[Value], seeded: Function, chosen: Sequence[Chosen]
    ) -> list[Value]:
        """Append the loop that computes the derivatives of each trip.

        Parameters
        ----------
        values : one per parameter of the function.
        seeded : what `seeded` gives, maybe simplified.
        chosen : per result, per parameter, which derivatives are wanted, in which order.

        Returns
        -------
        Per result, per parameter, an array of shape ``(trips, derivatives)``.
        """
        env = self._before(dict(zip(self.function.params, values, strict=True)))
        region, outside = self.loop.regions[0], self._outside
        owners = [(q, p) for q in range(len(self.of)) for p in range(len(self.wrt))]
        dtypes = [self.function.params[i].dtype for i in self.wrt]
        inits = [env.get(self._init(j), self._init(j)) for j in self.kept]
        inits += [
            zeros((self.count, len(pairs)), dtypes[p])
            for (_, p), pairs in zip(owners, chosen, strict=True)
        ]

        def trip(i: Value, *carried: Value) -> list[Value]:
            inner = {**env, region.params[0]: i}
            inner.update(
                (region.params[1 + j], v) for j, v in zip(self.kept, carried, strict=False)
            )
            for op in self.plain:
                append_copy(op, inner)
            split = Split(seeded, [inner.get(v, v) for v in outside])
            bars = [
                (part.owner, split.late_at(k, n)[len(self.writes) :])
                for n, part in enumerate(self.writes)
                for k in range(part.size)
            ]
            tables = carried[len(self.kept) :]
            yields = [inner.get(region.yields[j], region.yields[j]) for j in self.kept]
            number = self._number(i, env)
            for (q, p), pairs, table in zip(owners, chosen, tables, strict=True):
                rows = [self._row(each, p) for owner, each in bars if owner == q]
                found = [rows[w][r] for w, r in pairs]
                yields.append(ops.update(table, stack(found), number) if found else table)
            return yields

        bounds = [env.get(v, v) for v in self.loop.operands[:3]]
        made = for_loop(bounds[0], bounds[1], inits, trip, step=bounds[2])
        return list(made[len(self.kept) :])

    def _row(self, bars: Sequence[Value], owner: int) -> list[Value]:
        """The cotangents of what is read of a parameter, element by element."""
        found: list[Value] = []
        for part, bar in zip(self.reads, bars, strict=True):
            if part.owner == owner:
                found += _elements(bar, part.size)
        return found

    @functools.cached_property
    def _outside(self) -> list[Value]:
        """What the active part of a trip reads."""
        yields = tuple(part.value for part in self.writes)
        return free_values(Region((), self.active, yields))

    def seeded(self) -> Function:
        """The active part of a trip, what it writes, and the cotangents of what it reads."""
        with Builder() as build:
            env = {v: build.param(v.type, v.hint) for v in self._outside}
            for op in self.active:
                append_copy(op, env)
            results = [env[part.value] for part in self.writes]
            local = build.function(
                self.function.name,
                results,
                guards=self.function.guards,
                hints=self.function.hints,
                origin=self.function.origin,
            )
        at = {v: k for k, v in enumerate(self._outside)}
        wrt = [at[part.value] for part in self.reads]
        return vjp(local, wrt, range(len(results)), apart=True)

    # --- the parts of the function

    def _init(self, j: int) -> Value:
        return self.loop.operands[3 + j]

    def _before(self, env: dict[Value, Value]) -> dict[Value, Value]:
        """Append what stands before the loop; ``env`` with the values of it."""
        for op in self.function.body.ops:
            if op is self.loop:
                break
            append_copy(op, env)
        return env

    def _number(self, i: Value, env: dict[Value, Value]) -> Value:
        """The number of the trip with this index."""
        lo, _, step = self.loop.operands[:3]
        if not _is(lo, 0):
            i = i - env.get(lo, lo)
        if not _is(step, 1):
            i = ops.floor_divide(i, env.get(step, step))
        return i

    # --- which elements they are

    def marked(self) -> Function:
        """The function with a name on all that is read and written.

        Returns
        -------
        ``(*params, *marks of reads, *marks of writes) -> (*results, *sources)``. A mark is added to
        each element when it is read or written: an array of shape ``(trips, elements)`` per
        parameter and one per result. The sources of a parameter are what is read, without marks, in
        an array of the same shape. What the results depend on among marks, and the sources among
        the elements of parameters, is the meaning of `tables`.
        """
        region, params = self.loop.regions[0], range(len(self.wrt))
        with Builder() as build:
            env = {p: build.param(p.type, p.hint) for p in self.function.params}
            dtypes = [self.function.params[i].dtype for i in self.wrt]
            of_reads = [
                build.param(ArrayType(dtypes[p], (self.count, self.read(p)))) for p in params
            ]
            bases = [self.loop.results[j] for j, _ in self.chains]
            of_writes = [
                build.param(ArrayType(_base(self.function.results[k]).dtype,
                                      (self.count, self.written(q))))
                for q, k in enumerate(self.of)
            ]  # fmt: skip
            env = self._before(env)
            old = [*self.kept, *(j for j, _ in self.chains)]
            inits = [env.get(self._init(j), self._init(j)) for j in old]
            inits += [zeros(m.shape, m.dtype) for m in of_reads]

            def trip(i: Value, *carried: Value) -> list[Value]:
                inner = {**env, region.params[0]: i}
                inner.update((region.params[1 + j], v) for j, v in zip(old, carried, strict=False))
                for op in self.plain:
                    append_copy(op, inner)
                number = self._number(i, env)
                sources = list(carried[len(old) :])
                given = dict(inner)
                for part in self.reads:
                    p, read = part.owner, inner.get(part.value, part.value)
                    given[part.value] = read + _marks(of_reads[p], number, part, read)
                    for e, v in enumerate(_elements(read, part.size)):
                        at = constant(part.first + e, i64)
                        sources[p] = ops.update(sources[p], v, number, at)
                for op in self.active:
                    append_copy(op, given)
                for part in self.writes:
                    v = given.get(part.value, part.value)
                    marks = _marks(of_writes[part.owner], number, part, v)
                    given[part.value] = v + marks
                for _, chain in self.chains:
                    for op in chain:
                        append_copy(op, given)
                last = [region.yields[j] for j in old]
                return [*(given.get(v, v) for v in last), *sources]

            bounds = [env.get(v, v) for v in self.loop.operands[:3]]
            made = for_loop(bounds[0], bounds[1], inits, trip, step=bounds[2])
            tables = dict(zip(bases, made[len(self.kept) :], strict=False))
            results = [tables[_base(self.function.results[k])] for k in self.of]
            return build.function(
                self.function.name, [*results, *made[len(old) :]], like=self.function
            )


def trip_rows(function: Function, wrt: Sequence[int], of: Sequence[int]) -> TripRows | None:
    """The loop that writes the results ``of`` from what each trip reads of the parameters ``wrt``.

    Equal operations are to be one already, so that no element counts as read twice.
    None where there is no such loop: trips that hand on what depends on the parameters, or read
    parts whose sizes are not known.
    """
    loop = _loop_of(function, of)
    if loop is None:
        return None
    count = trip_dimension(loop, list(function.size_sources()), function.guards)
    body = function.body.ops
    after = body[body.index(loop) + 1 :]
    if (
        count is None
        or any(op.has_effects for op in after)
        or any(op.name in BINDING for op in loop.regions[0].walk())
    ):
        return None
    return _Finder(function, wrt, of, loop, count).found()


def _loop_of(function: Function, of: Sequence[int]) -> Operation | None:
    """The one loop whose results the results ``of`` are, maybe in another shape."""
    loops = {_base(function.results[k]).op for k in of}
    if len(loops) != 1:
        return None
    (loop,) = loops
    return loop if loop in function.body.ops and loop is not None and loop.name == "for" else None


def _base(value: Value) -> Value:
    while value.op is not None and value.op.name == "reshape":
        value = value.op.operands[0]
    return value


class _Finder:
    """Sorts what a loop does."""

    def __init__(
        self,
        function: Function,
        wrt: Sequence[int],
        of: Sequence[int],
        loop: Operation,
        count: Dim,
    ) -> None:
        self.function, self.wrt, self.of, self.loop, self.count = function, wrt, of, loop, count
        self.region = loop.regions[0]
        params = [function.params[i] for i in wrt]
        self.moving = Spread(function.body.ops, params).moving
        self.owner: dict[Value, int] = {p: k for k, p in enumerate(params)}
        """Values that are parts of a parameter, and which."""

    def found(self) -> TripRows | None:
        loop, region = self.loop, self.region
        if not self.moving.isdisjoint(loop.operands):
            return None
        for op in self.function.body.ops[: self.function.body.ops.index(loop)]:
            self._selects(op)
        kept, chains = [], []
        for j, result in enumerate(loop.results):
            if result not in self.moving:
                kept.append(j)
                continue
            chain = self._chain(j)
            if chain is None:
                return None
            chains.append((j, chain))
        written = {op for _, chain in chains for op in chain}
        plain, active = [], []
        for op in region.ops:
            if op in written:
                continue
            if self._selects(op) or reads_of(op).isdisjoint(self.moving):
                plain.append(op)
            else:
                active.append(op)
        writes = self._writes(dict(chains))
        reads = None if writes is None else self._reads(active, writes)
        if reads is None or writes is None:
            return None
        return TripRows(self.function, self.wrt, self.of, loop, self.count, plain, active, kept,
                        chains, reads, writes)  # fmt: skip

    def _selects(self, op: Operation) -> bool:
        """Whether an operation takes a part of a parameter, at places that don't depend on any."""
        if op.name not in _SELECTIONS or op.operands[0] not in self.owner:
            return False
        if not self.moving.isdisjoint(op.operands[1:]):
            return False
        self.owner[op.result] = self.owner[op.operands[0]]
        return True

    def _chain(self, j: int) -> list[Operation] | None:
        """The writes to a carried array that nothing else reads; None for other values."""
        users, value = self._users, self.region.params[1 + j]
        last, chain = self.region.yields[j], []
        while value is not last:
            if len(users[value]) != 1:
                return None
            (op,) = users[value]
            if (
                not isinstance(op, Operation)
                or op.name != "update"
                or op not in self._inside
                or op.operands[0] is not value
                or not self.moving.isdisjoint(op.operands[2:])
            ):
                return None
            chain.append(op)
            value = op.result
        return chain if users[last] == [self.region] else None

    @functools.cached_property
    def _users(self) -> dict[Value, list[Operation | Region]]:
        return self.region.users()

    @functools.cached_property
    def _inside(self) -> set[Operation]:
        return set(self.region.ops)

    def _writes(self, chains: dict[int, list[Operation]]) -> list[Part] | None:
        """What depends on the parameters and is written to the results."""
        found: list[Part] = []
        for q, k in enumerate(self.of):
            first = 0
            for op in chains.get(self.loop.results.index(_base(self.function.results[k])), ()):
                value = op.operands[1]
                if value not in self.moving:
                    continue
                size = _size(value)
                if size is None or value.dtype is not op.result.dtype:
                    return None
                found.append(Part(value, q, first, size))
                first += size
            if not first:
                return None
        values = [part.value for part in found]
        if len(set(values)) < len(values) or sum(p.size for p in found) > MOST_WRITTEN:
            return None
        return found

    def _reads(self, active: list[Operation], writes: list[Part]) -> list[Part] | None:
        """What the active operations read of the parameters."""
        made = {r for op in active for r in op.results}
        free = free_values(Region((), active, tuple(part.value for part in writes)))
        taken = [v for v in free if v in self.moving and v not in made]
        found: list[Part] = []
        firsts = [0] * len(self.wrt)
        for value in taken:
            owner, size = self.owner.get(value), _size(value)
            if owner is None or size is None:
                return None
            found.append(Part(value, owner, firsts[owner], size))
            firsts[owner] += size
        found.sort(key=lambda part: (part.owner, part.first))
        return found if 0 not in firsts and sum(firsts) <= MOST_READ else None


def _size(value: Value) -> int | None:
    """The number of elements, if it is known and there are any."""
    size = 1
    for dim in value.shape:
        if not isinstance(dim, int):
            return None
        size *= dim
    return size or None


def _elements(value: Value, size: int) -> list[Value]:
    """The elements of a value of known size, in C order."""
    if not value.rank:
        return [value]
    flat = reshaped(value, (size,))
    return [ops.index(flat, constant(k, i64)) for k in range(size)]


def _marks(table: Value, number: Value, part: Part, like: Value) -> Value:
    """The marks of a part in a trip."""
    each = [ops.index(table, number, constant(part.first + k, i64)) for k in range(part.size)]
    return each[0] if not like.rank else reshaped(stack(each), like.shape)


def _is(value: Value, number: int) -> bool:
    op = value.op
    return (
        op is not None
        and op.name == "const"
        and value.type == scalar(i64)
        and bool(op.attributes["value"] == number)
    )
