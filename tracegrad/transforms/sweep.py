"""The reverse sweep: regions are walked backwards, cotangents are threaded variables.

Each region of the primal has a mirror in the reverse sweep, the scope in which its operations are
reversed. The cotangent ``x_bar`` lives in the mirror of the region that defines ``x``. It is
*absent*, a zero that is never written down, until something flows back to x. The first contribution
becomes the cotangent itself: it is moved, not added to zeros. This is what keeps the cost of an
in-place loop linear: the cotangent of the array goes from trip to trip as the array did. Only what
is contributed within a loop to a value from before the loop starts from zeros, made once before it.
"""

from __future__ import annotations

from collections.abc import Sequence

from tracegrad import ops
from tracegrad.ir.bounds import Bounds
from tracegrad.ir.core import Guard, Operation, Region, Value
from tracegrad.ir.sizes import BINDING, attribute_symbols, operation_symbols, type_symbols
from tracegrad.ir.threads import Scope, Threads, Variable
from tracegrad.ir.types import Dim, symbol
from tracegrad.ops.control import inputs_of
from tracegrad.ops.registry import constant, expand_to
from tracegrad.transforms.branches import reverse_branch
from tracegrad.transforms.contributions import (
    contributions_of,
    part_read,
    project,
    refuse_fixed,
    zero_of,
)
from tracegrad.transforms.custom import refuse_closed, reverse_custom
from tracegrad.transforms.final import final_elements
from tracegrad.transforms.loops import reverse_loop
from tracegrad.transforms.primal import Primal


class Sweep:
    """State of one reversal.

    Attributes
    ----------
    indices : loop of the primal → the index of its way back: of a ``for`` the same indices in the
        other order, of a ``while`` the number of the trip.
    final : elements that the arrays of outermost loops still hold after these.
    inner_sizes : opaque symbols that have a value only within a region.
    known : symbols that have their value from the beginning of the function.
    guards : what is known of them.
    fuses : whether loops may be reversed trip by trip; then seeds are needed early.
    """

    def __init__(
        self,
        build: Threads,
        primal: Primal,
        active: set[Value],
        known: Sequence[str],
        bounds: Bounds,
        guards: Sequence[Guard] = (),
        *,
        fuses: bool = True,
    ) -> None:
        self.build = build
        self.primal = primal
        self.active = active
        self.known = frozenset(known)
        self.guards = tuple(guards)
        self.fuses = fuses
        self.root: Scope = build.scope
        self.indices: dict[Operation, Value] = {}
        self.final = final_elements(primal, bounds)
        self.inner_sizes = _inner_sizes(primal.body)
        self._mirrors: dict[int, Scope] = {id(primal.body): build.scope}
        self._bars: dict[Value, Variable] = {}
        self._symbols = {s for op in primal.body.walk() for s in operation_symbols(op)}
        blanks = (op for op in primal.body.walk() if op.name == "blank")
        self._symbols.update(op.attributes["name"] for op in blanks)
        self._symbols.update(s for p in primal.body.params for s in type_symbols(p.type))

    def mirror(self, region: Region, scope: Scope) -> None:
        """``region`` of the primal is reversed in ``scope``."""
        self._mirrors[id(region)] = scope

    def here_is_primal(self) -> None:
        """What is appended here is going to be reversed here as well."""
        region = self.build.region
        assert region is self.build.scope.region
        self.primal.stand(region)
        self.mirror(region, self.build.scope)

    def base(self, region: Region) -> Scope:
        """Where what serves the loops around ``region``, down from where all is there, belongs."""
        path = self.primal.path(region)
        return self._mirrors[id(self.primal.home(path[0][0]))] if path else self.root

    def fresh_symbol(self, hint: str) -> Dim:
        """An opaque size that nothing is named after yet."""
        name, count = hint, 0
        while name in self._symbols:
            count += 1
            name = f"{hint}{count}"
        self._symbols.add(name)
        return symbol(name)

    # --- cotangents

    def bar(self, value: Value) -> Variable:
        """The variable that holds the cotangent of ``value``."""
        if value not in self._bars:
            region = self.primal.region_of(value)
            assert region is not None
            hint = f"{value.hint}_bar" if value.hint else ""
            self._bars[value] = Variable(value.type, home=self._mirrors[id(region)], hint=hint)
        return self._bars[value]

    def take(self, value: Value) -> Value | None:
        """The cotangent of ``value`` where its definition is reversed: nothing more will come."""
        return self.build.take(self.bar(value)) if value in self._bars else None

    def has_bar(self, value: Value) -> bool:
        return value in self._bars and self.build.get(self._bars[value]) is not None

    def add(self, value: Value, contribution: Value) -> None:
        """Contributions along several paths to one value add; the first one is moved."""
        if value not in self.active:
            return
        earlier = self.present(value)
        total = contribution if earlier is None else earlier + contribution
        self.build.set(self.bar(value), total)

    def add_at(self, value: Value, contribution: Value, indices: Sequence[Value]) -> None:
        """Add to the slices of a cotangent at ``indices``, in place."""
        bar = self.present(value)
        if bar is None:
            bar = zero_of(value.type)
        self.build.set(self.bar(value), ops.accumulate(bar, contribution, *indices))

    def present(self, value: Value) -> Value | None:
        """The cotangent of ``value`` so far; zeros if a loop stands between here and its home."""
        bar = self.bar(value)
        found = self.build.get(bar)
        if found is None:
            outside = self.build.loops_from_home(bar)
            if outside is not None:
                with self.build.inside(outside):
                    self.build.set(bar, zero_of(value.type))
                found = self.build.get(bar)
        return found

    def in_place(self, value: Value) -> bool:
        """Whether there is, or must be, an array to which a part of a cotangent can be added."""
        return self.has_bar(value) or self.build.loops_from_home(self.bar(value)) is not None

    def in_memory(self, value: Value) -> bool:
        """Whether the cotangent so far is an array that loops or writes have made."""
        bar = self.build.get(self._bars[value]) if value in self._bars else None
        op = None if bar is None else bar.op
        return op is not None and (bool(op.regions) or op.name in ("accumulate", "update"))

    # --- walking back

    def block(self, operations: Sequence[Operation]) -> None:
        """Reverse the operations of one region, the last first."""
        for op in reversed(operations):
            if not any(r in self.active for r in op.results):
                continue
            if not any(self.has_bar(r) for r in op.results):
                continue  # nothing flows back through this operation
            with self.build.at(op.location, "reverse"):
                if op.name in ("for", "while"):
                    reverse_loop(self, op)
                elif op.name == "if":
                    reverse_branch(self, op)
                elif op.name == "custom":
                    self.custom(op)
                else:
                    self.operation(op, [self.take(r) for r in op.results])

    def custom(self, op: Operation) -> None:
        """Append the contributions that the user's rule gives."""
        refuse_closed(op, self.active)
        bars = reverse_custom(op, {}, [self.take(r) for r in op.results])
        for value, downstream in zip(inputs_of(op), bars, strict=True):
            self.add(value, downstream)

    def operation(self, op: Operation, out_bars: Sequence[Value | None]) -> None:
        """Append the contributions of an operation without regions."""
        one_element = op.name == "index" and not op.operands[1].rank
        inner = self.build.scope is not self.root
        if op.operands and (inner or one_element or self.in_memory(op.operands[0])):
            part = part_read(op)
            if part is not None and self.in_place(op.operands[0]):
                (out_bar,) = out_bars
                assert out_bar is not None
                self.add_at(op.operands[0], *part(out_bar))
                return
        refuse_fixed(op, self.active)
        contributions = contributions_of(op, out_bars)
        for operand, downstream in zip(op.operands, contributions, strict=True):
            if operand in self.active and downstream is not None:
                if not isinstance(downstream, Value):
                    downstream = expand_to(constant(downstream, operand.dtype), operand.shape)
                self.add(operand, project(downstream, operand.type))


def _inner_sizes(body: Region) -> set[str]:
    found: set[str] = set()
    for holder in body.ops:
        for region in holder.regions:
            for op in region.walk():
                if op.name in BINDING:
                    found.update(attribute_symbols(op.attributes["size"]))
    return found
