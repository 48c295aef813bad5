"""What the next trip of a loop waits for.

A value that a loop carries in a register and computes anew from itself is a *recurrence*: the
trips run one after the other, and each costs the latency of the operations on the way from the
carried value to the next one. Everything else can be done beside it.
"""

from __future__ import annotations

from collections.abc import Iterator

from tracegrad.ir.core import Function, Operation, Region, Value
from tracegrad.ir.rewrite import first_carried


class Recurrences:
    """Which carried values of one loop each of its values depends on.

    Attributes
    ----------
    sources : value → bits of the carried values that it is computed from.
    targets : value → bits of the carried values whose next ones are computed from it.
    meets : for each carried value, the bits of those whose next values depend on it and on whose
        next values it depends: the recurrences that it is part of.
    """

    def __init__(self, loop: Operation) -> None:
        self.body = loop.regions[-1]
        carried = self.body.params[first_carried(loop) :]
        self.sources = {p: 1 << k for k, p in enumerate(carried) if not p.rank}
        self.targets: dict[Value, int] = {}
        self.operations = list(_flat(self.body))
        edges = list(self._edges())
        for operands, results in edges:
            mask = self._union(self.sources, operands)
            if mask:
                self.sources.update((r, mask | self.sources.get(r, 0)) for r in results)
        for k, value in enumerate(self.body.yields):
            if not value.rank:
                self.targets[value] = self.targets.get(value, 0) | 1 << k
        for operands, results in reversed(edges):
            mask = self._union(self.targets, results)
            if mask:
                self.targets.update((v, mask | self.targets.get(v, 0)) for v in operands)
        self.meets = self._close([self.sources.get(y, 0) for y in self.body.yields])

    @staticmethod
    def _union(masks: dict[Value, int], values: tuple[Value, ...]) -> int:
        found = 0
        for value in values:
            found |= masks.get(value, 0)
        return found

    def _edges(self) -> Iterator[tuple[tuple[Value, ...], tuple[Value, ...]]]:
        """(what results depend on, those results); a result of an ``if`` is either arm's."""
        for op in self.operations:
            if op.name == "if":
                for k, result in enumerate(op.results):
                    yield (op.operands[0], *(arm.yields[k] for arm in op.regions)), (result,)
                continue
            read = list(op.operands)
            for region in op.regions:
                read += [v for inner in region.walk() for v in inner.operands]
                read += region.yields
            yield tuple(read), op.results

    @staticmethod
    def _close(needs: list[int]) -> list[int]:
        """Bits of those that each of ``needs`` needs, however indirectly, and that need it."""
        reach = list(needs)
        for k in range(len(reach)):
            for j in range(len(reach)):
                if reach[j] >> k & 1:
                    reach[j] |= reach[k]
        return [
            sum(1 << k for k in range(len(reach)) if reach[j] >> k & 1 and reach[k] >> j & 1)
            for j in range(len(reach))
        ]

    def waits(self, op: Operation) -> bool:
        """Whether the next trip waits for ``op``."""
        sources = self._union(self.sources, op.results)
        targets = self._union(self.targets, op.results)
        return any(
            targets >> k & 1 and sources & meets for k, meets in enumerate(self.meets) if meets
        )


def _flat(region: Region) -> Iterator[Operation]:
    """The operations of a trip, those in branches before their ``if``."""
    for op in region.ops:
        if op.name == "if":
            for arm in op.regions:
                yield from _flat(arm)
        yield op


def waited_for(function: Function) -> set[Operation]:
    """The operations on scalars that the next trip of the loop around them waits for."""
    found: set[Operation] = set()
    for loop in function.walk():
        if loop.name in ("for", "while") and loop.results:
            known = Recurrences(loop)
            if any(known.meets):
                found.update(op for op in known.operations if not op.regions and known.waits(op))
    return found
