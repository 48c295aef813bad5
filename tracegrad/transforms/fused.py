"""Loops that are reversed trip by trip: each trip is followed by its own way back.

::

    s = for i in range(lo, hi) carrying s = 0 {      s, x_bar = for i in range(lo, hi)
      v = f(index(x, i))                                           carrying s = 0, x_bar = 0 {
      yield s + v                                      v = f(index(x, i))
    }                                         →        more = f'(index(x, i)) * s_bar
                                                       x_bar = accumulate(x_bar, more, i)
    x_bar = for i in range(hi - 1, lo - 1, -1) {       yield s + v, x_bar
      ... from tapes, or f again                     }
    }

Nothing is stored and nothing computed again, and one loop reads what two did. It can be where

- the carried values that have a cotangent are accumulators (`tracegrad.transforms.accumulators`):
  so their cotangents are those of the results of the loop, in every trip;
- these are known before the loop: constants, cotangents that the caller gives, and what is
  computed from them and from values before the loop. So it can't be for ``log(s)``;
- the loop stands in the function itself or in a loop that is reversed like this. The other
  branches and loops in its body are reversed in the body, as they are in a function, where all
  that the body has computed is still there.

What the way back adds to from outside the loop, the cotangents of what it reads, is carried by
the loop. If later parts of the primal have contributed before, the loop's share goes first: sums
can be made in any order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from tracegrad.errors import InternalError
from tracegrad.ir.core import Operation, Region, Value
from tracegrad.ir.rewrite import leading
from tracegrad.ir.sizes import BINDING, attribute_symbols, operation_symbols
from tracegrad.ir.threads import Scope, Threads, free_values, substitute
from tracegrad.transforms.accumulators import accumulators, only_added_to
from tracegrad.transforms.contributions import zero_of

if TYPE_CHECKING:
    from tracegrad.transforms.sweep import Sweep


def can_fuse(
    sweep: Sweep, loop: Operation, carried: Sequence[int], seeds: Sequence[Value | None]
) -> bool:
    """Whether ``loop``, whose results ``carried`` have the cotangents ``seeds``, can be fused."""
    if loop.name != "for" or not sweep.fuses or sweep.build.region is not sweep.primal.home(loop):
        return False
    if not set(carried) <= set(accumulators(loop)):
        return False
    return _Before(sweep.build.region, loop).all_movable([s for s in seeds if s is not None])


def reverse_fused(
    sweep: Sweep, loop: Operation, carried: Sequence[int], seeds: Sequence[Value | None]
) -> None:
    """Append the way back of each trip of ``loop`` to its body."""
    build, (body,) = sweep.build, loop.regions
    before = _Before(build.region, loop)
    inits, yields = loop.operands[leading(loop) :], body.yields
    params, primal = body.params[1:], list(body.ops)
    bars = []
    for k, seed in zip(carried, seeds, strict=True):
        bars.append(zero_of(loop.results[k].type) if seed is None else seed)
    before.move(bars)
    sweep.primal.fuse(loop)
    sweep.final.forget(loop)
    with build.within(body, loops=True) as scope:
        sweep.mirror(body, scope)
        sweep.indices[loop] = body.params[0]
        for k, bar in zip(carried, bars, strict=True):
            sweep.add(yields[k], bar)
        sweep.block(primal)
        for k in carried:
            sweep.take(params[k])
    _carry(sweep, loop, scope, before)
    for k, bar in zip(carried, bars, strict=True):
        sweep.add(inits[k], bar)


def _carry(sweep: Sweep, loop: Operation, scope: Scope, before: _Before) -> None:
    """Make carried values of ``loop`` of the cotangents that its body adds to."""
    build, (body,) = sweep.build, loop.regions
    # Tapes of inner loops may be carried by now, in between.
    mine = [param for _, param in scope.carried.values()]
    body.params = tuple(p for p in body.params if p not in mine)
    for variable, (value, param) in scope.carried.items():
        after = scope.current[variable]
        if after is param:
            substitute(body, {param: value})
            continue
        body.params = (*body.params, param)
        link = before.link(build, value)
        init = value if link is None else link.value
        if link is None and not before.movable(value):
            init = zero_of(value.type)
        before.move([init])
        loop.operands = (*loop.operands, init)
        body.yields = (*body.yields, after)
        result = Value(init.type, variable.hint, loop)
        loop.results = (*loop.results, result)
        if link is not None:
            link.replace(result)
        elif init is value:
            build.set(variable, result)
        else:
            build.set(variable, result + value)
    late = [v for v in free_values(body) if not before.stands(v)]
    if late:
        if not before.all_movable(late):
            raise InternalError(f"a fused loop reads {late[0]!r}, which is not there yet")
        before.move(late)


class _Link(NamedTuple):
    """The first value of a sum that is made after a loop, and the operation that adds to it."""

    value: Value
    adder: Operation

    def replace(self, new: Value) -> None:
        """Let the sum start from ``new``."""
        op = self.adder
        if op.name == "if":
            for arm in op.regions:
                substitute(arm, {self.value: new})
        else:
            op.operands = tuple(new if v is self.value else v for v in op.operands)


class _Before:
    """What stands, or could stand, before a loop in the region that is being built."""

    def __init__(self, region: Region, loop: Operation) -> None:
        self.region = region
        self.loop = loop

    def _later(self) -> dict[Operation, int]:
        first = self.region.ops.index(self.loop)
        return {op: k for k, op in enumerate(self.region.ops[first:])}

    def stands(self, value: Value) -> bool:
        """Whether ``value`` is defined before the loop."""
        return value.op is None or value.op not in self._later()

    def movable(self, value: Value) -> bool:
        return self.all_movable([value])

    def all_movable(self, values: Sequence[Value]) -> bool:
        """Whether the values could be computed before the loop."""
        later = self._later()
        late_sizes = {
            name
            for op in later
            for each in (op, *(x for region in op.regions for x in region.walk()))
            if each.name in BINDING
            for name in attribute_symbols(each.attributes["size"])
        }
        return all(
            not op.regions
            and not op.has_effects
            and op.name not in BINDING
            and late_sizes.isdisjoint(operation_symbols(op))
            for op in _makers(values, later)
        )

    def move(self, values: Sequence[Value]) -> None:
        """Move what computes the values before the loop."""
        later = self._later()
        moved = _makers(values, later)
        if moved:
            ops = self.region.ops
            first = ops.index(self.loop)
            order = sorted(moved, key=later.__getitem__)
            ops[first:] = [*order, *(op for op in ops[first:] if op not in moved)]

    def link(self, build: Threads, value: Value) -> _Link | None:
        """The first value of the sum ``value`` that stands, or could, before the loop.

        None if ``value`` itself does, and where it is no sum or is read by others: what is added
        before the others read must not be added to.
        """
        later = self._later()
        found: _Link | None = None
        readers, holders = 0, 1  # the variable that holds the sum
        while value.op in later and not self.movable(value):
            if build.holders(value) != holders or self._readers(value) != readers:
                return None
            found = _before_addition(value)
            if found is None:
                return None
            value, readers, holders = found.value, 1, 0
        return found

    def _readers(self, value: Value) -> int:
        ops = [op for op in self.region.ops if value in op.operands]
        nested = [op for op in self.region.ops if any(value in free_values(r) for r in op.regions)]
        return len({*ops, *nested})


def _makers(values: Sequence[Value], among: dict[Operation, int]) -> set[Operation]:
    """The operations ``among`` the given ones that the values are computed by."""
    found: set[Operation] = set()
    waiting = [v.op for v in values]
    while waiting:
        op = waiting.pop()
        if op is not None and op in among and op not in found:
            found.add(op)
            waiting += [v.op for v in op.operands]
            waiting += [v.op for region in op.regions for v in free_values(region)]
    return found


def _before_addition(value: Value) -> _Link | None:
    """What ``value`` was before its operation added to it, if that only adds."""
    op = value.op
    assert op is not None
    if op.name == "accumulate":
        first, *others = op.operands
        return None if first in others else _Link(first, op)
    k = op.results.index(value)
    if op.name == "for":
        init = op.operands[leading(op) + k]
        once = sum(v is init for v in op.operands) == 1
        return _Link(init, op) if once and k in accumulators(op) else None
    if op.name == "if":
        for start in free_values(op.regions[0]):
            if start.type == value.type and all(
                only_added_to(arm, start, arm.yields[k]) for arm in op.regions
            ):
                return _Link(start, op)
    return None
