"""Loops whose trips know nothing of each other become statements on whole arrays.

``for i in range(1, n - 1): u[i] = v[i] - c*(v[i + 1] - v[i - 1])`` says the same as
``u[1:-1] = v[1:-1] - c*(v[2:] - v[:-2])``, and gets the same derivative: array statements are
scheduled as loops that vectorise, and the cotangent of ``v`` gathers its three contributions in
one loop. Reversed trip by trip, each trip would add to three elements of it, one after the other.

Done for ``for`` loops by steps of 1 or -1 whose bounds are sizes, and whose body

- computes with scalars, without loops, branches or ``raise`` within;
- reads and writes vectors at places ``a*i + b`` that are known to be in range;
- writes elements that no other trip writes (or only adds to), and reads none that an earlier trip
  wrote; one that a later trip writes is read as it was before the loop;
- carries numbers from trip to trip only in sums.

See docs/decisions/0012-windows.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tracegrad.ir.bounds import Bounds
from tracegrad.ir.core import Function, Operation, Region, Value
from tracegrad.ir.rewrite import Rewriter
from tracegrad.ir.types import Dim, coefficient, dim_max, i64, symbols
from tracegrad.ops.access import broadcast_to, covering, view_of
from tracegrad.ops.constants import dim_value, iota
from tracegrad.ops.registry import REGISTRY
from tracegrad.passes.dce import dce

FEW_TRIPS = 16
"""Loops known to have fewer trips stay loops."""


def open_loops(function: Function) -> Function:
    """Make loops with independent trips statements on arrays.

    Before::

        func @f(%x: f64[n], %y: f64[n]) -> (f64[n]) {
          %lo: i64 = 0
          %hi: i64 = dim() {size=n - 1}
          %step: i64 = 1
          %r: f64[n] = for(%lo, %hi, %step, %y) (%i: i64, %c: f64[n]) {
            %j: i64 = add(%i, %step)
            %a: f64 = index(%x, %j)
            %b: f64 = sin(%a)
            %d: f64[n] = update(%c, %b, %i)
            yield %d
          }
          return %r
        }

    After::

        func @f(%x: f64[n], %y: f64[n]) -> (f64[n]) {
          %a: f64[max(0, n - 1)] = view(%x) {shape=(max(0, n - 1),), map=[#0 + 1]}
          %b: f64[max(0, n - 1)] = sin(%a)
          %i: i64[max(0, n - 1)] = iota() {size=max(0, n - 1), dtype=i64}
          %d: f64[n] = update(%y, %b, %i)
          return %d
        }
    """
    if not any(op.name == "for" for op in function.walk()):
        return function
    live = dce(function)
    opener = _Opener(live)
    new = opener.rewrite(live)
    return dce(new) if opener.changed else function


@dataclass(frozen=True)
class _Place:
    """The place ``factor * i + offset`` in a vector."""

    factor: int
    offset: Dim

    def trips_to(self, other: _Place) -> int | None:
        """In how many trips more the index is at this place where ``other`` is now.

        None if no trip is ever at both.

        Raises
        ------
        _Unknown : that can't be told.
        """
        apart = other.offset - self.offset
        if self.factor != other.factor or not isinstance(apart, int):
            raise _Unknown
        return None if apart % self.factor else apart // self.factor


class _Unknown(Exception):
    """Nothing is known that would allow the rewrite."""


@dataclass
class _Write:
    op: Operation
    place: _Place


@dataclass
class _Read:
    """A read of a vector that the loop writes: before ``version`` writes of a trip, or after."""

    op: Operation
    place: _Place
    version: int


@dataclass
class _Vector:
    """A vector that the loop carries: what a trip writes and reads, in order."""

    param: Value
    writes: list[_Write] = field(default_factory=list)
    reads: list[_Read] = field(default_factory=list)


@dataclass
class _Plan:
    """What is known of a loop that can be opened.

    Attributes
    ----------
    trips : how many there are.
    first : the index of the first.
    step : 1 or -1.
    vectors : by the position of the carried value.
    sums : position of a carried number → the terms that a trip adds, and whether negated.
    places : the operations that read or write a vector at a place that changes with the trip.
    version : read of a vector that the loop writes → how many of the writes it comes after.
    """

    trips: Dim
    first: Dim
    step: int
    vectors: dict[int, _Vector] = field(default_factory=dict)
    sums: dict[int, list[tuple[Value, bool]]] = field(default_factory=dict)
    places: dict[Operation, _Place] = field(default_factory=dict)
    version: dict[Operation, tuple[_Vector, int]] = field(default_factory=dict)


class _Opener(Rewriter):
    def __init__(self, function: Function) -> None:
        super().__init__()
        self.changed = False
        self.bounds = Bounds(function)
        self.sizes = frozenset(function.size_sources())
        self.users = function.body.users()
        self.owners: dict[Region, Operation] = {}

    def copied(self, region: Region, params: Iterable[Value], yields: Iterable[Value]) -> Region:
        with self.bounds.within(self.owners[region], region):
            return super().copied(region, params, yields)

    def visit_control(self, op: Operation) -> Sequence[Value]:
        if op.name == "for" and op.attributes.get("segments") is None:
            try:
                plan = _Analysis(self, op).plan()
            except _Unknown:
                pass
            else:
                self.changed = True
                return self._opened(op, plan)
        self.owners.update((region, op) for region in op.regions)
        return super().visit_control(op)

    # --- the statements on arrays

    def _opened(self, op: Operation, plan: _Plan) -> list[Value]:
        (body,) = op.regions
        index, *params = body.params
        inits = self.mapped(op.operands[3:])
        self.env.update(zip(params, inits, strict=True))
        versions = {id(v): [inits[k]] for k, v in plan.vectors.items()}
        counting = iota(size=plan.trips, dtype=i64)
        counting = counting if plan.step == 1 else counting * plan.step
        self.env[index] = counting + dim_value(plan.first)
        for each in body.ops:
            with self.at(each.location, each.part):
                place = plan.places.get(each)
                if place is None:
                    types = None if each.opdef.kind == "elementwise" else [each.result.type]
                    new = self.emit(
                        each.opdef, self.mapped(each.operands), each.attributes, (), types
                    ).result
                elif each.name == "index":
                    array = self.mapped(each.operands[:1])[0]
                    if each in plan.version:
                        vector, number = plan.version[each]
                        array = versions[id(vector)][number]
                    new = view_of(array, (plan.trips,), [self._entry(plan, place)])
                else:
                    array, v = self.mapped(each.operands[:2])
                    new = self._written(each.name, array, v, plan, place)
                    owner = next(
                        v for v in plan.vectors.values() if any(w.op is each for w in v.writes)
                    )
                    versions[id(owner)].append(new)
            self.replace(each.results, [new])
        results = []
        for k, (init, after) in enumerate(zip(inits, body.yields, strict=True)):
            if k in plan.sums:
                results.append(self._summed(init, plan, plan.sums[k]))
            else:
                results.append(self.mapped([after])[0] if k in plan.vectors else init)
        return results

    def _entry(self, plan: _Plan, place: _Place) -> tuple[int, Dim, int]:
        """The entry of the map of the view that reads a vector at a place, over the trips."""
        return 0, plan.first * place.factor + place.offset, plan.step * place.factor

    def _written(self, name: str, array: Value, v: Value, plan: _Plan, place: _Place) -> Value:
        entry = self._entry(plan, place)
        if not v.rank:
            v = broadcast_to(v, (plan.trips,))
        back = covering(array.shape, v.shape, (entry,))
        if back is not None:
            whole = view_of(v, array.shape, back)
            return whole if name == "update" else array + whole
        _, start, stride = entry
        along = iota(size=plan.trips, dtype=i64)
        if stride != 1:
            along = along * stride
        if start != 0:
            along = along + dim_value(start)
        result: Value = REGISTRY[name](array, v, along)
        return result

    def _summed(self, init: Value, plan: _Plan, terms: Sequence[tuple[Value, bool]]) -> Value:
        total = init
        for old, negated in terms:
            (term,) = self.mapped([old])
            if not term.rank:
                term = broadcast_to(term, (plan.trips,))
            term = REGISTRY["sum"](term, axes=(0,))
            total = total - term if negated else total + term
        return total


class _Analysis:
    """Whether, and how, one loop can be opened."""

    def __init__(self, opener: _Opener, op: Operation) -> None:
        self.bounds = opener.bounds
        self.sizes = opener.sizes
        self.users = opener.users
        self.op = op
        (self.body,) = op.regions
        self.index, *self.params = self.body.params
        self.varying = {self.index}
        self.version: dict[Value, tuple[_Vector, int]] = {}

    def plan(self) -> _Plan:
        plan = self._trips()
        body = self.body
        for each in body.ops:
            if each.regions or each.opdef.effects or len(each.results) != 1:
                raise _Unknown
        for k, (param, after) in enumerate(zip(self.params, body.yields, strict=True)):
            if param.rank and param is not after:
                plan.vectors[k] = _Vector(param)
                self.version[param] = plan.vectors[k], 0
            elif not param.rank:
                self._number(plan, k, param, after)
        self._find_varying()
        uniform = self._uniform_reads()
        with self.bounds.within(self.op, body):
            for each in body.ops:
                self._operation(plan, each, uniform)
        for k, vector in plan.vectors.items():
            if self.version.get(body.yields[k]) != (vector, len(vector.writes)):
                raise _Unknown
            self._independent(plan, vector)
        if not any(v.writes for v in plan.vectors.values()) and not plan.sums:
            raise _Unknown
        return plan

    def _trips(self) -> _Plan:
        lo, hi, step = (self.bounds.polynomial(v) for v in self.op.operands[:3])
        if lo is None or hi is None or not self._of_sizes(lo, hi):
            raise _Unknown
        if not isinstance(step, int) or abs(step) != 1:
            raise _Unknown
        trips = hi - lo if step == 1 else lo - hi
        if isinstance(trips, int) and trips < FEW_TRIPS:
            raise _Unknown
        if not self.bounds.never_negative(trips):
            trips = dim_max(0, trips)
        return _Plan(trips, lo, step)

    def _of_sizes(self, *dims: Dim) -> bool:
        return all(name in self.sizes for dim in dims for name in symbols(dim))

    # --- numbers

    def _number(self, plan: _Plan, k: int, param: Value, after: Value) -> None:
        """A carried number is a sum, or stays what it is, or nobody asks for it."""
        if after is param:
            return
        if not self.users[param] and not self.users[self.op.results[k]]:
            return
        terms: list[tuple[Value, bool]] = []
        value = after
        while value is not param:
            made = value.op
            if (
                made is None
                or made not in self.body.ops
                or made.name not in ("add", "subtract")
                or len(self.users[value]) != 1
            ):
                raise _Unknown
            left, right = made.operands
            if made.name == "add" and self._leads_to(right, param):
                left, right = right, left
            terms.append((right, made.name == "subtract"))
            value = left
        if len(self.users[param]) != 1:
            raise _Unknown
        plan.sums[k] = terms[::-1]

    def _leads_to(self, value: Value, param: Value) -> bool:
        """Whether ``value`` is ``param`` with terms added."""
        while value is not param:
            made = value.op
            if made is None or made not in self.body.ops or made.name not in ("add", "subtract"):
                return False
            value = made.operands[0]
            if made.name == "add" and value is not param and made.operands[1] is param:
                return True
        return True

    # --- operations

    def _find_varying(self) -> None:
        """The values of the body that are not the same in each trip."""
        for each in self.body.ops:
            if any(v in self.varying or v in self.version for v in each.operands):
                self.varying.add(each.result)

    def _uniform_reads(self) -> set[Operation]:
        """Reads that are the same in each trip, and in range even if there is none."""
        return {
            each
            for each in self.body.ops
            if each.name == "index"
            and not any(v in self.varying for v in each.operands)
            and all(
                self.bounds.place(i, size) == 0
                for i, size in zip(each.operands[1:], each.operands[0].shape, strict=False)
            )
        }

    def _operation(self, plan: _Plan, op: Operation, uniform: set[Operation]) -> None:
        name = op.name
        if name in ("update", "accumulate"):
            self._write(plan, op)
        elif name == "index":
            self._read(plan, op, uniform)
        elif op.opdef.kind == "elementwise":
            if any(v.rank for v in op.operands):
                raise _Unknown
        elif name == "view":
            if op.result.rank or op.result in self.varying:
                raise _Unknown
        elif name not in ("const", "dim") or op.result.rank:
            raise _Unknown

    def _read(self, plan: _Plan, op: Operation, uniform: set[Operation]) -> None:
        base, *indices = op.operands
        if op.result.rank:
            raise _Unknown
        if op in uniform:
            return
        place = self._place(base, indices)
        plan.places[op] = place
        if base in self.version:
            vector, number = self.version[base]
            vector.reads.append(_Read(op, place, number))

    def _write(self, plan: _Plan, op: Operation) -> None:
        base, v, *indices = op.operands
        if base not in self.version or v.rank:
            raise _Unknown
        place = self._place(base, indices)
        vector, number = self.version[base]
        if number != len(vector.writes):
            raise _Unknown
        plan.places[op] = place
        vector.writes.append(_Write(op, place))
        self.version[op.result] = vector, number + 1

    def _place(self, base: Value, indices: Sequence[Value]) -> _Place:
        """The place in a vector: known to be in range, and another one in each trip."""
        if base.rank != 1 or self.bounds.place(indices[0], base.shape[0]) != 0:
            raise _Unknown
        found, index = self.bounds.polynomial(indices[0]), self.bounds.polynomial(self.index)
        if found is None or index is None:
            raise _Unknown
        (name,) = symbols(index)
        factor = coefficient(found, name)
        if not factor:
            raise _Unknown
        offset = found - index * factor
        if not self._of_sizes(offset):
            raise _Unknown
        return _Place(factor, offset)

    # --- between trips

    def _independent(self, plan: _Plan, vector: _Vector) -> None:
        """Refuse what one trip does to another; which version each read takes."""
        writes = vector.writes
        for k, write in enumerate(writes):
            for other in writes[:k]:
                trips = other.place.trips_to(write.place)
                both_add = write.op.name == other.op.name == "accumulate"
                if trips and not both_add:
                    raise _Unknown
        for read in vector.reads:
            least, most = 0, len(writes)
            for k, write in enumerate(writes):
                # In so many trips from the one that reads, that place is written.
                trips = write.place.trips_to(read.place)
                if trips is None:
                    continue
                trips *= plan.step
                if trips < 0:
                    raise _Unknown  # what an earlier trip wrote
                if trips == 0 and k < read.version:
                    least = max(least, k + 1)
                else:
                    most = min(most, k)
            if least > most:
                raise _Unknown
            plan.version[read.op] = vector, least
