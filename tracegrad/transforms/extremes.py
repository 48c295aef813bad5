"""Which maxima the way back finds again, with what they are of: see `tracegrad.ops.extremes`."""

from __future__ import annotations

from collections.abc import Collection

from tracegrad.ir.core import Region, Value
from tracegrad.ops.extremes import COMPARISONS, EXTREMES, MANY, roundings


def compared_extremes(region: Region, back: Region, local: Collection[Value]) -> set[Value]:
    """Maxima and minima that ``region`` or its way back compares with what they are of.

    Such a one is not to be read from a tape beside elements that are computed again: these may be
    rounded in another way. Elements that can be rounded in one way only are no matter.

    Parameters
    ----------
    local : the values that ``region`` itself makes.
    """
    rounds: dict[Value, int] = {}

    def rounded(value: Value) -> int:
        pending = [value]
        while pending:
            v = pending[-1]
            op = v.op
            if v in rounds:
                pending.pop()
            elif op is None or v not in local or op.regions:
                rounds[v] = 0
            elif missing := [x for x in op.operands if x not in rounds]:
                pending += missing
            else:
                own = roundings(op.name) if op.opdef.kind == "elementwise" else op.name in _SUMS
                rounds[v] = min(MANY, own + max((rounds[x] for x in op.operands), default=0))
        return rounds[value]

    found = set()
    for op in (*region.walk(), *back.walk()):
        if op.name in COMPARISONS:
            for value in map(_base, op.operands):
                made = value.op
                if made is None or made.name not in EXTREMES or value not in local:
                    continue
                if rounded(made.operands[0]) == MANY:
                    found.add(value)
    return found


_SUMS = frozenset({"sum", "prod", "dot", "matmul", "cumsum", "cumprod"})


def _base(value: Value) -> Value:
    while value.op is not None and value.op.name == "view":
        value = value.op.operands[0]
    return value
