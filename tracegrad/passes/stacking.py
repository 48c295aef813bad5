"""Sums of products that a loop adds up, made of all trips at once after the loop.

The cotangent of a matrix that a loop multiplies with is such a sum: each trip adds the outer
product of a cotangent and a state, ``W_bar += outer(z_bar, h)``. That reads and writes all of
``W_bar`` for one multiplication per element. With the factors of all trips as the rows of two
matrices, the sum is their product, which BLAS does from cache::

    for t: ...; W_bar += outer(z_bar, h)      →      for t: ...; Z_bar[t] = z_bar; H[t] = h
                                                     W_bar += Z_bar.T @ H

Rows that stand in an array already (a tape, an input read at the index of the loop) are not stored
again. The same is done for sums of products of matrices, a batch of rows per trip.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tracegrad import ops
from tracegrad.ir.builder import Builder
from tracegrad.ir.core import Function, Operation, Region, Value
from tracegrad.ir.rewrite import Rewriter
from tracegrad.ir.types import Dim, evaluate, symbols
from tracegrad.ir.types import product as product_of
from tracegrad.ops.access import reshaped, transpose, view_of
from tracegrad.ops.access_samples import Entry
from tracegrad.passes.simplify import simplify
from tracegrad.passes.trips import Trips
from tracegrad.passes.values import free_axes, is_zero, transposed

DEFAULT_SIZE = 1000
SMALL = 8
MOST_STORED = 0.25
"""How many elements a trip may store for each one that it would have added to the sum."""


def stack_products(function: Function) -> Function:
    """Make sums of products over the trips of a loop products of matrices after it.

    Before::

        func @f(%x: f64[n, p], %y: f64[n, q]) -> (f64[p, q]) {
          %zero: f64 = 0.0
          %lo: i64 = 0
          %hi: i64 = dim() {size=n}
          %step: i64 = 1
          %s: f64[p, q] = view(%zero) {shape=(p, q), map=[]}
          %r: f64[p, q] = for(%lo, %hi, %step, %s) (%i: i64, %c: f64[p, q]) {
            %a: f64[p] = index(%x, %i)
            %b: f64[q] = index(%y, %i)
            %left: f64[p, q] = view(%a) {shape=(p, q), map=[#0]}
            %right: f64[p, q] = view(%b) {shape=(p, q), map=[#1]}
            %m: f64[p, q] = multiply(%left, %right)
            %d: f64[p, q] = add(%c, %m)
            yield %d
          }
          return %r
        }

    After::

        func @f(%x: f64[n, p], %y: f64[n, q]) -> (f64[p, q]) {
          %xt: f64[p, n] = view(%x) {shape=(p, n), map=[#1, #0]}
          %r: f64[p, q] = dot(%xt, %y)
          return %r
        }

    The loops are ``for`` loops by steps of 1 or -1 whose bounds are sizes; nothing else in the
    loop may read the sum.
    """
    stacker = _Stacker(function)
    new = stacker.rewrite(function)
    return simplify(new) if stacker.changed else function


@dataclass
class _Side:
    """The rows or the columns of a product: factors that depend on that axis alone.

    ``matrix`` is a factor of rank 2 with an axis over which each trip sums, in the order (summed,
    row or column); ``scales`` are scalars.
    """

    factors: list[Value] = field(default_factory=list)
    scales: list[Value] = field(default_factory=list)
    matrix: Value | None = None
    turned: bool = False

    def key(self) -> object:
        """Equal for sides whose rows are equal."""
        return (*(_read(v) for v in self.factors), *self.scales, self.matrix, self.turned)


@dataclass
class _Term:
    """A product that is added to a sum in each trip."""

    rows: _Side
    columns: _Side
    negative: bool = False


@dataclass
class _Sum:
    """Carried value ``position`` of a loop: its ``terms`` become products after the loop."""

    position: int
    terms: list[_Term]
    rest: list[tuple[Value, bool]]
    added: set[Operation]


class _Stacker(Rewriter):
    def __init__(self, function: Function) -> None:
        super().__init__()
        self.known = set(function.size_sources())
        self.hints = function.hints
        self.guards = function.guards
        self.users = function.body.users()
        self.names = {op.attributes["name"] for op in function.walk() if op.name == "blank"}
        self.changed = False

    def visit_control(self, op: Operation) -> Sequence[Value]:
        if op.name == "for":
            trips = Trips.of(op, self.known, self.guards)
            if trips is not None:
                loop = _Loop(self, op, trips)
                if loop.sums:
                    self.changed = True
                    return loop.rebuilt()
        return super().visit_control(op)

    def fresh(self, name: str) -> str:
        """``name``, with a number where an array of the function has that name."""
        found, count = name, 1
        while found in self.names:
            count += 1
            found = f"{name}_{count}"
        self.names.add(found)
        return found

    def size(self, dim: Dim) -> int:
        sizes = {s: self.hints.get(s, DEFAULT_SIZE) for s in symbols(dim)}
        return max(evaluate(dim, sizes), 1)


def _read(leaf: Value) -> tuple[Value, tuple[Entry, ...], Dim]:
    """What a factor is a view of, and which of its elements it takes along its one axis."""
    assert leaf.op is not None
    (axis,) = {0, 1} - free_axes(leaf)
    map = tuple((None if a is None else 0, o, s) for a, o, s in leaf.op.attributes["map"])
    return leaf.op.operands[0], map, leaf.shape[axis]


class _Loop:
    """One loop: which of its sums to take out, and the loop without them."""

    def __init__(self, build: _Stacker, op: Operation, trips: Trips) -> None:
        self.build = build
        self.op = op
        self.trips = trips
        (self.body,) = op.regions
        self.inside = trips.inside
        self.stored: dict[object, _Side] = {}
        found = [s for k in range(len(op.results)) if (s := self._sum(k)) is not None]
        # The largest first: what is stored for it costs the others nothing.
        found.sort(key=lambda s: -self._volume(s))
        self.sums = [s for s in found if self._pays(s)]

    def _volume(self, found: _Sum) -> int:
        return self.build.size(product_of(self.op.results[found.position].shape))

    # --- finding

    def _sum(self, position: int) -> _Sum | None:
        param = self.body.params[1 + position]
        total = self.body.yields[position]
        if param.rank != 2 or not param.dtype.is_float or total is param:
            return None
        if all(isinstance(d, int) and d <= SMALL for d in param.shape) or 1 in param.shape:
            return None
        added: set[Operation] = set()
        addends: list[tuple[Value, bool]] = []
        pending = [(total, False)]
        seen_param = False
        while pending:
            value, negative = pending.pop()
            if value is param:
                if negative or seen_param:
                    return None
                seen_param = True
            elif self._is_sum(value, param):
                assert value.op is not None
                added.add(value.op)
                left, right = value.op.operands
                pending.append((right, negative != (value.op.name == "subtract")))
                pending.append((left, negative))
            else:
                addends.append((value, negative))
        if not seen_param or len(self.build.users[param]) != 1:
            return None
        terms: list[_Term] = []
        rest: list[tuple[Value, bool]] = []
        for value, negative in addends:
            term = self._term(value)
            if term is None:
                rest.append((value, negative))
            else:
                term.negative ^= negative
                terms.append(term)
        return _Sum(position, terms, rest, added) if terms else None

    def _is_sum(self, value: Value, param: Value) -> bool:
        op = value.op
        return (
            op is not None
            and op.name in ("add", "subtract")
            and value in self.inside
            and len(self.build.users[value]) == 1
            and all(v.shape == param.shape for v in op.operands)
        )

    def _term(self, value: Value) -> _Term | None:
        """``value``, a matrix, as the product of something per row and something per column."""
        term = _Term(_Side(), _Side())
        scales: list[Value] = []
        matrices: list[tuple[Value, bool]] = []
        pending = [(value, False)]
        while pending:
            v, exchanged = pending.pop()
            op = v.op
            if v.rank == 0:
                scales.append(v)
                continue
            if v in self.inside and op is not None and op.name in ("multiply", "negative"):
                term.negative ^= op.name == "negative"
                pending += [(x, exchanged) for x in reversed(op.operands)]
                continue
            base = transposed(v)
            if v in self.inside and base is not None:
                pending.append((base, not exchanged))
                continue
            free = free_axes(v)
            if len(free) == 2 and op is not None and not op.operands[0].rank:
                scales.append(op.operands[0])
            elif len(free) == 1:
                side = term.rows if (free == {1}) != exchanged else term.columns
                side.factors.append(v)
            elif v in self.inside and op is not None and op.name == "dot":
                matrices.append((v, exchanged))
            else:
                return None
        if matrices:
            if len(matrices) > 1 or term.rows.factors or term.columns.factors:
                return None
            ((product, exchanged),) = matrices
            assert product.op is not None
            left, right = product.op.operands
            if left.rank != 2 or right.rank != 2:
                return None
            upright = transposed(left)
            of_left = _Side(matrix=left if upright is None else upright, turned=upright is None)
            of_right = _Side(matrix=right)
            term.rows, term.columns = (of_right, of_left) if exchanged else (of_left, of_right)
        elif not term.rows.factors or not term.columns.factors:
            return None
        # Scalars go with what is stored anyway.
        side = term.columns if self._standing(term.rows) is not None else term.rows
        side.scales = scales
        return term

    def _pays(self, found: _Sum) -> bool:
        """Whether the trips store little for what they need not add; remember what they store."""
        new: dict[object, _Side] = {}
        elements = 0
        for term in found.terms:
            for side, size in zip((term.rows, term.columns), self._shape(found), strict=True):
                if not self._varies(side):
                    return False
                key = side.key()
                if key in self.stored or key in new or self._standing(side) is not None:
                    continue
                new[key] = side
                elements += self.build.size(size * self._summed(side))
        if elements > MOST_STORED * self._volume(found) * len(found.terms):
            return False
        self.stored |= new
        return True

    def _shape(self, found: _Sum) -> tuple[Dim, ...]:
        return self.op.results[found.position].shape

    def _varies(self, side: _Side) -> bool:
        """Whether the side has a factor of the loop's own: else nothing is gained by rows of it."""
        leaves = [_read(leaf)[0] for leaf in side.factors]
        values = [*leaves, *side.scales, *([] if side.matrix is None else [side.matrix])]
        return any(v in self.inside for v in values)

    def _summed(self, side: _Side) -> Dim:
        if side.matrix is None:
            return 1
        return side.matrix.shape[1 if side.turned else 0]

    # --- rows that stand in an array already

    def _standing(self, side: _Side) -> tuple[Operation, Dim] | None:
        """The ``index`` that reads this side from an array, one place per trip, and the first."""
        if side.scales or side.turned:
            return None
        base = side.matrix
        if base is None:
            if len(side.factors) != 1:
                return None
            base, map, size = _read(side.factors[0])
            if map != ((0, 0, 1),) or base.shape != (size,):
                return None
        return self.trips.standing(base)

    # --- building

    def rebuilt(self) -> list[Value]:
        """Append the loop without the sums, and the products after it."""
        build, op = self.build, self.op
        gone = {s.position: s for s in self.sums}
        kept = [k for k in range(len(op.results)) if k not in gone or gone[k].rest]
        results = build.mapped(op.operands[3:])
        with build.at(op.location, op.part):
            empty = [self._empty(side) for side in self.stored.values()]
        inits = [*(results[k] for k in kept), *empty]
        region = self._region(kept, gone, inits)
        with build.at(op.location, op.part):
            new = Builder.emit(
                build,
                op.opdef,
                [*build.mapped(op.operands[:3]), *inits],
                op.attributes,
                [region],
                [v.type for v in inits],
            )
        for k, value in zip(kept, new.results, strict=False):
            results[k] = value
        tapes = dict(zip(self.stored, new.results[len(kept) :], strict=True))
        for found in self.sums:
            location = next(iter(found.added)).location
            with build.at(location, op.part):
                for term in found.terms:
                    rows, columns = self._rows(term.rows, tapes), self._rows(term.columns, tapes)
                    result = ops.dot(transpose(rows), columns)
                    total = results[found.position]
                    if is_zero(total) and not term.negative:
                        results[found.position] = result
                    else:
                        both = total - result if term.negative else total + result
                        results[found.position] = both
        return results

    def _region(
        self, kept: Sequence[int], gone: Mapping[int, _Sum], inits: Sequence[Value]
    ) -> Region:
        """The body: it stores factors, and adds up what is no product."""
        build, body = self.build, self.body
        added = {o for s in self.sums for o in s.added}
        with build.open() as region:
            index = build.param(body.params[0].type, body.params[0].hint)
            hints = [
                *(body.params[1 + k].hint for k in kept),
                *(v.hint for v in inits[len(kept) :]),
            ]
            params = [build.param(v.type, h) for v, h in zip(inits, hints, strict=True)]
            build.env[body.params[0]] = index
            for k, param in zip(kept, params, strict=False):
                build.env[body.params[1 + k]] = param
            build.walk(o for o in body.ops if o not in added)
            yields: list[Value] = []
            with build.at(self.op.location, self.op.part):
                for k, param in zip(kept, params, strict=False):
                    if k not in gone:
                        yields += build.mapped([body.yields[k]])
                        continue
                    total = param
                    for value, negative in gone[k].rest:
                        (mapped,) = build.mapped([value])
                        total = total - mapped if negative else total + mapped
                    yields.append(total)
                place = self.trips.number(index)
                for side, tape in zip(self.stored.values(), params[len(kept) :], strict=True):
                    yields.append(ops.update(tape, self._row(side), place))
            region.yields = tuple(yields)
        return region

    def _empty(self, side: _Side) -> Value:
        """Append the matrix that the trips write the rows of ``side`` to."""
        if side.matrix is not None:
            base = side.matrix
            shape = base.shape[::-1] if side.turned else base.shape
        else:
            base, _, size = _read(side.factors[0])
            shape = (size,)
        name = self.build.fresh(f"rows_{base.hint}" if base.hint else "rows")
        made: Value = ops.blank(shape=(self.trips.count, *shape), dtype=base.dtype, name=name)
        made.hint = name
        return made

    def _row(self, side: _Side) -> Value:
        """Append what a trip stores for ``side``."""
        build = self.build
        values: list[Value] = []
        if side.matrix is not None:
            (matrix,) = build.mapped([side.matrix])
            values.append(transpose(matrix) if side.turned else matrix)
        for leaf in side.factors:
            base, map, size = _read(leaf)
            (base,) = build.mapped([base])
            values.append(view_of(base, (size,), map))
        result, *more = [*values, *build.mapped(side.scales)]
        for value in more:
            result = result * value
        return result

    def _rows(self, side: _Side, tapes: Mapping[object, Value]) -> Value:
        """After the loop: the matrix with a row per trip, or several."""
        build = self.build
        standing = self._standing(side)
        if standing is None:
            array = tapes[side.key()]
        else:
            array = self.trips.rows(build, *standing)
        if side.matrix is None:
            return array
        return reshaped(array, (array.shape[0] * array.shape[1], array.shape[2]))
