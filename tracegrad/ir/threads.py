"""Threaded variables: state that is read and written across regions.

The IR has no memory that a region could write to: what a loop changes it carries, what a branch
changes it yields. `Threads` is a builder that keeps account of this. A `Variable` can be read and
set anywhere; the first touch inside a loop makes it a carried value of that loop, and setting it in
one arm of a branch makes it a result of the branch. A loop that only reads a variable captures
its value.

::

    threads = Threads()
    total = Variable(scalar(f64), home=threads.scope)
    threads.set(total, zero)
    with threads.loop() as scope:
        i = threads.param(scalar(i64), "i")
        threads.set(total, threads.get(total) + index(x, i))
    threads.close_loop(scope, FOR, [lo, hi, one])      # one carried value: the total
    threads.get(total)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tracegrad.ir.builder import Builder
from tracegrad.ir.core import Operation, Region, Value
from tracegrad.ir.rewrite import first_carried, leading
from tracegrad.ir.sizes import BINDING, attribute_symbols, type_symbols
from tracegrad.ir.types import ArrayType

if TYPE_CHECKING:
    from tracegrad.ops.registry import OpDef


class Scope:
    """An open region and what it knows of the variables.

    Attributes
    ----------
    loops : whether the region runs once per trip of a loop; the arm of a branch does not.
    current : the value of each variable that was touched here.
    carried : for a loop, variable → (value before the loop, region parameter).
    """

    __slots__ = ("carried", "current", "loops", "region")

    def __init__(self, region: Region, *, loops: bool) -> None:
        self.region = region
        self.loops = loops
        self.current: dict[Variable, Value] = {}
        self.carried: dict[Variable, tuple[Value, Value]] = {}


class Variable:
    """A threaded variable; it lives as long as the scope that is its home."""

    __slots__ = ("hint", "home", "type")

    def __init__(self, type: ArrayType, *, home: Scope, hint: str = "") -> None:
        self.type = type
        self.home = home
        self.hint = hint


class Threads(Builder):
    """A builder with threaded variables."""

    def __init__(self) -> None:
        super().__init__()
        self._scopes = [Scope(self.region, loops=False)]

    def __enter__(self) -> Threads:
        super().__enter__()
        return self

    @property
    def scope(self) -> Scope:
        """The innermost open scope."""
        return self._scopes[-1]

    @property
    def outermost_scope(self) -> Scope:
        """The scope of the function itself."""
        return self._scopes[0]

    # --- reading and setting

    def get(self, variable: Variable) -> Value | None:
        """The value of ``variable`` here; None if it has none yet."""
        return self._get(variable, len(self._scopes) - 1)

    def _get(self, variable: Variable, depth: int) -> Value | None:
        scope = self._scopes[depth]
        found = scope.current.get(variable)
        if found is not None or scope is variable.home or depth == 0:
            return found
        outer = self._get(variable, depth - 1)
        if outer is None or not scope.loops:
            return outer
        param = Value(outer.type, variable.hint)
        scope.region.params = (*scope.region.params, param)
        scope.carried[variable] = outer, param
        scope.current[variable] = param
        return param

    def set(self, variable: Variable, value: Value) -> None:
        """Give ``variable`` a new value here.

        In a loop the variable must have a value before the loop: see `loops_from_home`.
        """
        scope = self.scope
        if scope.loops and scope is not variable.home and variable not in scope.current:
            before = self.get(variable)
            assert before is not None, "a variable set in a loop needs a value before it"
        if variable.hint and not value.hint:
            value.hint = variable.hint
        scope.current[variable] = value

    def take(self, variable: Variable) -> Value | None:
        """The value of ``variable``, which has none from now on; only in its home."""
        assert self.scope is variable.home
        return self.scope.current.pop(variable, None)

    def holders(self, value: Value) -> int:
        """How many variables have ``value`` in the open scopes."""
        return sum(v is value for scope in self._scopes for v in scope.current.values())

    def loops_from_home(self, variable: Variable) -> Scope | None:
        """The scope around the outermost loop between the variable's home and here, if any."""
        first = self._scopes.index(variable.home)
        for outer, inner in zip(self._scopes[first:], self._scopes[first + 1 :], strict=False):
            if inner.loops:
                return outer
        return None

    # --- where operations go

    @contextmanager
    def inside(self, scope: Scope) -> Iterator[None]:
        """Append to an outer open scope, that is before what is being built within it."""
        depth = self._scopes.index(scope) + 1
        regions, scopes = self._regions, self._scopes
        self._regions, self._scopes = regions[:depth], scopes[:depth]
        try:
            yield
        finally:
            self._regions, self._scopes = regions, scopes

    @contextmanager
    def spliced(self, region: Region, position: int) -> Iterator[None]:
        """Insert into a region that is built already, before its operation ``position``."""
        with self.open() as piece:
            yield
        region.ops[position:position] = piece.ops

    # --- loops and branches

    @contextmanager
    def scoped(self, *, loops: bool) -> Iterator[Scope]:
        """A new scope with a region of its own; the caller sets the region's ``yields``."""
        with self.open() as region:
            scope = Scope(region, loops=loops)
            self._scopes.append(scope)
            try:
                yield scope
            finally:
                self._scopes.pop()

    @contextmanager
    def within(self, region: Region, *, loops: bool) -> Iterator[Scope]:
        """A new scope for a region that an operation holds already; what is built is appended."""
        scope = Scope(region, loops=loops)
        self._regions.append(region)
        self._scopes.append(scope)
        try:
            yield scope
        finally:
            self._regions.pop()
            self._scopes.pop()

    def open_scope(self, *, loops: bool) -> Scope:
        """As `scoped`, for a caller that can't keep to a block: `close_scope` ends it."""
        scope = Scope(Region(), loops=loops)
        self._regions.append(scope.region)
        self._scopes.append(scope)
        return scope

    def close_scope(self, scope: Scope) -> None:
        """End a scope from `open_scope`, and whatever was left open inside it."""
        del self._scopes[self._scopes.index(scope) :]
        del self._regions[self._regions.index(scope.region) :]

    @contextmanager
    def reopened(self, scope: Scope) -> Iterator[None]:
        """Go on appending to a scope that was closed, and whose operation is not yet there."""
        depth, regions = len(self._scopes), len(self._regions)
        self._scopes.append(scope)
        self._regions.append(scope.region)
        try:
            yield
        finally:
            del self._scopes[depth:], self._regions[regions:]

    def close_loop(
        self,
        scope: Scope,
        opdef: OpDef,
        operands: Sequence[Value],
        explicit: int,
        attributes: Mapping[str, Any] | None = None,
    ) -> Operation:
        """Append the loop with the region of ``scope``; variables get their values after it.

        Parameters
        ----------
        operands : bounds and initial values of the carried values that the region names itself.
        explicit : the number of these; their last values are the first results.
        """
        region = scope.region
        operands = list(operands)
        changed = self._carry(scope, operands)
        types = [v.type for v in region.yields]
        op = self.emit(opdef, operands, attributes, [region], types)
        for variable, result in zip(changed, op.results[explicit:], strict=True):
            self.set(variable, result)
        return op

    def _carry(self, scope: Scope, operands: list[Value]) -> list[Variable]:
        """Make carried values of the variables that a loop changed, and captures of the others."""
        region = scope.region
        changed: list[Variable] = []
        captured: dict[Value, Value] = {}
        for variable, (before, param) in scope.carried.items():
            after = scope.current[variable]
            if after is param:
                captured[param] = before
            else:
                changed.append(variable)
                operands.append(before)
                region.yields = (*region.yields, after)
        if captured:
            region.params = tuple(p for p in region.params if p not in captured)
            substitute(region, captured)
        return changed

    def close_while(
        self,
        scope: Scope,
        opdef: OpDef,
        operands: Sequence[Value],
        explicit: int,
        condition: Callable[[dict[Value, Value]], Value],
        attributes: Mapping[str, Any] | None = None,
    ) -> Operation:
        """As `close_loop`, for a loop with a region that says whether there is a further trip.

        Parameters
        ----------
        condition : appends the condition; it is given the parameters of the scope's region and
            what they are in the region of the condition.
        """
        region = scope.region
        operands = list(operands)
        changed = self._carry(scope, operands)
        with self.open() as test:
            env = {p: self.param(p.type, p.hint) for p in region.params}
            test.yields = (condition(env),)
        types = [v.type for v in region.yields]
        op = self.emit(opdef, operands, attributes, [test, region], types)
        for variable, result in zip(changed, op.results[explicit:], strict=True):
            self.set(variable, result)
        return op

    def close_branch(
        self,
        opdef: OpDef,
        predicate: Value,
        arms: Sequence[Scope],
        absent: Callable[[Variable], Value],
    ) -> Operation | None:
        """Append the branch with the regions of ``arms``; variables get their values after it.

        Parameters
        ----------
        absent : appends the value of a variable that only the other arm has given one.

        Returns
        -------
        The operation; None when neither arm has anything to say.
        """
        written = dict.fromkeys(v for arm in arms for v in arm.current if v.home is not arm)
        for arm in arms:
            region = arm.region
            for variable in written:
                value = arm.current.get(variable)
                if value is None:
                    value = self.get(variable)
                if value is None:
                    with self.spliced(region, len(region.ops)):
                        value = absent(variable)
                region.yields = (*region.yields, value)
        types = [v.type for v in arms[0].region.yields]
        if not types and not any(op.opdef.effects for arm in arms for op in arm.region.walk()):
            return None
        op = self.emit(opdef, [predicate], {}, [arm.region for arm in arms], types)
        first = len(types) - len(written)
        for variable, result in zip(written, op.results[first:], strict=True):
            self.set(variable, result)
        return op


# --- walking regions ------------------------------------------------------------------------


def substitute(region: Region, replacement: Mapping[Value, Value]) -> None:
    """Replace values that the region, at any depth, reads. Only for regions being built."""
    for op in region.ops:
        if any(v in replacement for v in op.operands):
            op.operands = tuple(replacement.get(v, v) for v in op.operands)
        for inner in op.regions:
            substitute(inner, replacement)
    region.yields = tuple(replacement.get(v, v) for v in region.yields)


def reads(region: Region, values: Iterable[Value]) -> bool:
    """Whether the operations of the region, at any depth, read one of the values, or yield it."""
    wanted = set(values)
    return not wanted.isdisjoint(region.yields) or any(
        not wanted.isdisjoint(op.operands) or any(reads(inner, wanted) for inner in op.regions)
        for op in region.ops
    )


def free_values(region: Region) -> list[Value]:
    """The values that the region, at any depth, reads and does not define; in order of reading."""
    found: dict[Value, None] = {}
    defined: set[Value] = set()

    def read(values: Iterable[Value]) -> None:
        found.update((v, None) for v in values if v not in defined)

    def walk(region: Region) -> None:
        defined.update(region.params)
        for op in region.ops:
            read(op.operands)
            for inner in op.regions:
                walk(inner)
            defined.update(op.results)
        read(region.yields)

    walk(region)
    return list(found)


def drop_unread(region: Region) -> None:
    """Remove operations without effects that nothing in the region reads. Only while building.

    A carried value that only feeds itself is not read, nor is what a branch yields for nobody. Who
    mentions a size reads what gives it.
    """
    reading = _Reading(region)
    while reading.walk(region):
        pass
    reading.keep(region)


class _Reading:
    """What the operations of a region read that are read themselves.

    Attributes
    ----------
    values, sizes : what is read.
    kept : the operations that are.
    """

    def __init__(self, region: Region) -> None:
        self.values: set[Value] = set()
        self.sizes: set[str] = set()
        self.kept: set[Operation] = set()
        self._add(region.yields)

    def walk(self, region: Region) -> bool:
        """Go through the region backwards; whether more was found to be read."""
        before = len(self.values), len(self.sizes), len(self.kept)
        for op in reversed(region.ops):
            if op.has_effects or self._read(op.results) or self._gives_size(op):
                self.kept.add(op)
                self._operation(op)
        return before != (len(self.values), len(self.sizes), len(self.kept))

    def _read(self, values: Iterable[Value]) -> bool:
        return any(v in self.values for v in values)

    def _gives_size(self, op: Operation) -> bool:
        return op.name in BINDING and not self.sizes.isdisjoint(
            attribute_symbols(op.attributes["size"])
        )

    def _operation(self, op: Operation) -> None:
        for attribute in op.attributes.values():
            self.sizes.update(attribute_symbols(attribute))
        if op.name in ("for", "while", "if"):
            before = leading(op)
            self._add(op.operands[:before])
            for k in self._live(op):
                self._add([op.results[k]])
                self._add(op.operands[before + k : before + k + 1] if op.name != "if" else ())
                self._add(r.yields[k] for r in op.regions if r is not condition_of(op))
            test = condition_of(op)
            self._add(() if test is None else test.yields)
        else:
            self._add((*op.operands, *op.results))
            self._add(v for inner in op.regions for v in inner.yields)
        for inner in reversed(op.regions):
            self.walk(inner)

    def _add(self, values: Iterable[Value]) -> None:
        for value in values:
            self.values.add(value)
            self.sizes.update(type_symbols(value.type))

    def _live(self, op: Operation) -> list[int]:
        """The results, in a loop the carried values, that are read."""
        first = first_carried(op)
        carries = op.regions if op.name != "if" else ()
        return [
            k
            for k, result in enumerate(op.results)
            if result in self.values or self._read(r.params[first + k] for r in carries)
        ]

    def keep(self, region: Region) -> None:
        """Remove everything else from the region."""
        region.ops[:] = [op for op in region.ops if op in self.kept]
        for op in region.ops:
            if op.name in ("for", "while", "if"):
                live = self._live(op)
                if len(live) < len(op.results):
                    _only(op, live)
            for inner in op.regions:
                self.keep(inner)


def _only(op: Operation, live: Sequence[int]) -> None:
    """Drop all but the ``live`` results, and carried values, of an operation with regions."""
    before, first = leading(op), first_carried(op)
    op.results = tuple(op.results[k] for k in live)
    if op.name != "if":
        inits = op.operands[before:]
        op.operands = (*op.operands[:before], *(inits[k] for k in live))
    for region in op.regions:
        if op.name != "if":
            carried = region.params[first:]
            region.params = (*region.params[:first], *(carried[k] for k in live))
        if region is not condition_of(op):
            region.yields = tuple(region.yields[k] for k in live)


def condition_of(op: Operation) -> Region | None:
    """The region of a ``while`` that says whether there is a further trip."""
    return op.regions[0] if op.name == "while" else None
