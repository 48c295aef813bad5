"""Which values of a function go by one variable.

A person who writes a loop has one variable for what it carries: the first value, the value in each
trip, what a trip makes of it, and what is left at the end. The same goes for what the arms of a
branch choose, and for a name that is bound anew: ``x = 2.0 * x``. `share` finds such classes of
values. Two values may share a variable if neither is computed while the other is still
to be read; what reads in the order of the IR reads the right one. The printer may print a reader
later than that, and then has to write it down before the variable changes.

Being in a class allows the printer to use its variable for a value; no value must.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

from tracegrad.ir.core import Function, Operation, Region, Value
from tracegrad.ir.rewrite import first_carried, leading

#: How many of the latest classes of one name are tried for another value of that name.
_TRIED = 4

#: How many operations without a name an expression is taken to have within each other.
_DEEPEST = 6


class Classes:
    """Values in classes; a class is told by one of its values, its first.

    Attributes
    ----------
    hints : what the variable of a class is best called, by its first value.
    """

    def __init__(self) -> None:
        self._parent: dict[Value, Value] = {}
        self._members: dict[Value, set[Value]] = {}
        self._against: dict[Value, set[Value]] = {}
        self.hints: dict[Value, str] = {}

    def of(self, value: Value) -> Value:
        """The value that tells the class of ``value``."""
        while value in self._parent:
            value = self._parent[value]
        return value

    def alone(self, value: Value) -> bool:
        """Whether no other value is in the class of ``value``."""
        return len(self._members.get(self.of(value), {value})) == 1

    def live_at(self, value: Value, live: Collection[Value]) -> None:
        """Where ``value`` is given to a variable, ``live`` are still to be read."""
        self._against.setdefault(value, set()).update(live)

    def merge(self, one: Value, other: Value, *, anyway: bool = False) -> bool:
        """Make one class of two if no member of one is in the way of the other."""
        one, other = self.of(one), self.of(other)
        if one is other:
            return True
        mine, its = (self._members.get(v, {v}) for v in (one, other))
        against = [self._against.get(v, set()) for v in (one, other)]
        if not anyway and not (against[0].isdisjoint(its) and against[1].isdisjoint(mine)):
            return False
        mine |= its
        against[0] |= against[1]
        self._members[one], self._against[one] = mine, against[0]
        self._parent[other] = one
        if not self.hints.get(one):
            self.hints[one] = self.hints.get(other, "")
        return True


def share(
    function: Function,
    alive: Callable[[Operation], bool],
    uses: Callable[[Value], int],
    hint: Callable[[Value], str],
    *,
    rebind: bool,
) -> Classes:
    """The classes of values of ``function`` that may share variables.

    Parameters
    ----------
    alive : which operations are printed.
    uses : how often these read a value.
    hint : what a value is called.
    rebind : whether a scalar may share the variable of one of its name that it is computed from.
    """
    return _Sharing(function, alive, uses, hint, rebind).found


class _Sharing:
    """Finds the classes of one function."""

    def __init__(
        self,
        function: Function,
        alive: Callable[[Operation], bool],
        uses: Callable[[Value], int],
        hint: Callable[[Value], str],
        rebind: bool,
    ) -> None:
        self.found = Classes()
        self._alive, self._uses, self._hint = alive, uses, hint
        self._rebind = rebind
        #: Values whose names are given: parameters, and the indices of loops.
        self._fixed = set(function.params)
        self._free: dict[Region, set[Value]] = {}
        #: The values that may share a variable with another at all; no others need be followed.
        self._followed: set[Value] = set()
        self._find_free(function.body)
        self._free = {region: free & self._followed for region, free in self._free.items()}
        self._live(function.body, set())
        self._tie(function.body)
        self._join(function.body, {})

    def _ops(self, region: Region) -> Iterator[Operation]:
        return (op for op in region.ops if self._alive(op))

    def _find_free(self, region: Region) -> set[Value]:
        """What ``region`` reads and does not define."""
        free: set[Value] = set(region.yields)
        defined: set[Value] = set(region.params)
        for op in self._ops(region):
            free.update(op.operands)
            defined.update(op.results)
            if self._rebind:
                self._followed.update(r for r in op.results if not r.rank and self._hint(r))
            for inner in op.regions:
                free |= self._find_free(inner)
                self._followed.update(op.operands, op.results, inner.params, inner.yields)
            if op.name == "for":
                self._fixed.add(op.regions[0].params[0])
            elif op.name == "if":
                self._fixed.update(*(inner.params for inner in op.regions))
        self._free[region] = free - defined
        return self._free[region]

    # --- liveness: what is still to be read where a value is given to a variable

    def _live(self, region: Region, after: set[Value]) -> set[Value]:
        """Walk ``region`` backwards; what is live before it, given what is ``after`` it."""
        followed = self._followed
        live = after | followed.intersection(region.yields)
        for op in reversed(list(self._ops(region))):
            live.difference_update(op.results)
            for result in op.results:
                if result in followed:
                    self.found.live_at(result, live)
                    if len(op.results) > 1:
                        self.found.live_at(result, set(op.results) - {result})
            if op.name in ("for", "while"):
                live = self._live_in_loop(op, live)
            elif op.regions:
                arms = [self._live(inner, live | set(op.operands[1:])) for inner in op.regions]
                live = set().union(*arms)
            live |= followed.intersection(op.operands)
        return live

    def _live_in_loop(self, op: Operation, after: set[Value]) -> set[Value]:
        # The bounds stand in the head of the loop, behind the first values of what it carries.
        live = after.union(op.operands[: leading(op)], *(self._free[r] for r in op.regions))
        for number, region in enumerate(op.regions):
            last = number == len(op.regions) - 1
            # A condition must leave what is carried as it is, for the body.
            inside = self._live(region, live if last else live | set(region.params))
            params = set(region.params)
            for param in params:
                self.found.live_at(param, (inside | params) - {param})
        return live

    # --- classes

    def _tie(self, region: Region) -> None:
        """Make a variable of each value that a loop carries."""
        for op in self._ops(region):
            if op.name in ("for", "while"):
                first, body = first_carried(op), op.regions[-1]
                for k, result in enumerate(op.results):
                    named = [body.params[first + k], result, body.yields[k]]
                    start = op.operands[leading(op) + k].op
                    if start is not None and start.name == "load":  # an element of that array
                        named.append(start.operands[0])
                    self._call(result, next(filter(None, map(self._hint, named)), ""))
                    for inner in op.regions:
                        self.found.merge(result, inner.params[first + k], anyway=True)
            for inner in op.regions:
                self._tie(inner)

    def _join(self, region: Region, around: Mapping[str, Sequence[Value]]) -> None:
        """Join the values of ``region``; ``around`` it were those, by name, the latest first."""
        latest: dict[str, list[Value]] = {}
        for param in region.params:
            self._enter(latest, param)
        around = {name: values for name, values in around.items() if name not in latest}
        for op in self._ops(region):
            if op.name in ("for", "while"):
                self._join_loop(op)
            elif op.regions:
                self._join_arms(op)
            for result in op.results:
                self._call(result)
                self._rebound(latest, around, op, result)
            for inner in op.regions:
                self._join(inner, {**around, **latest})

    def _call(self, value: Value, hint: str = "") -> None:
        key = self.found.of(value)
        if not self.found.hints.get(key):
            self.found.hints[key] = hint or self._hint(value)

    def _join_loop(self, op: Operation) -> None:
        for k, result in enumerate(op.results):
            self._offer(op.operands[leading(op) + k], result)
        for k, result in enumerate(op.results):
            self._offer(op.regions[-1].yields[k], result)

    def _join_arms(self, op: Operation) -> None:
        for k, result in enumerate(op.results):
            hints = (self._hint(v) for v in (result, *(r.yields[k] for r in op.regions)))
            self._call(result, next(filter(None, hints), ""))
            for inner in op.regions:
                self._offer(inner.yields[k], result)

    def _offer(self, value: Value, result: Value) -> None:
        """Let ``value``, a first or a next value of ``result``, share its variable."""
        if value in self._fixed or _stands_alone(value.op):
            return
        hints = self.found.hints
        wanted = hints.get(self.found.of(result), "")
        own = hints.get(self.found.of(value)) or self._hint(value)
        # A value that more than this reads keeps the name that it has, and so does a variable.
        passing = self._uses(value) == 1 and self.found.alone(value)
        if own in ("", wanted) or passing:
            self.found.merge(result, value)

    def _enter(self, latest: dict[str, list[Value]], value: Value) -> None:
        if self._rebind and not value.rank and self._hint(value) and value not in self._fixed:
            latest.setdefault(self._hint(value), []).insert(0, value)

    def _rebound(
        self,
        latest: dict[str, list[Value]],
        around: Mapping[str, Sequence[Value]],
        op: Operation,
        value: Value,
    ) -> None:
        """Let a scalar share the variable of one of its name that it is computed from.

        On the way back, a variable of the forward sweep serves again.
        """
        name = self._hint(value)
        if not self._rebind or value.rank or not name or _stands_alone(op):
            return
        known = latest.get(name, [])
        reads = self._reads(op, _DEEPEST)
        for other in [v for v in known[:_TRIED] if v in reads]:
            if other.type == value.type and self.found.merge(other, value):
                known.remove(other)
                break
        else:
            for other in around.get(name, ())[:1] if op.part == "reverse" else ():
                if other.type == value.type:
                    self.found.merge(other, value)
        self._enter(latest, value)

    def _reads(self, op: Operation, depth: int) -> set[Value]:
        """What the expression of ``op`` reads: operands, and those of operands without a name."""
        found = set(op.operands)
        for value in op.operands:
            inner = value.op
            if depth and inner is not None and self._uses(value) == 1 and not self._hint(value):
                found |= self._reads(inner, depth - 1)
        return found


def _stands_alone(op: Operation | None) -> bool:
    """Whether the result shares no variable.

    Numbers and sizes stand where they are read; a checked index is changed where it is made.
    """
    if op is None or any(result.rank for result in op.results):
        return False
    return op.name in ("const", "dim", "check_index")


def assigned(regions: Iterable[Region]) -> Iterator[Value]:
    """Every value that operations in ``regions`` give to a variable."""
    for region in regions:
        yield from region.params
        for op in region.walk():
            yield from op.results
            for inner in op.regions:
                yield from inner.params
