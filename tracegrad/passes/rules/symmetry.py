"""Reductions of what is symmetric, or antisymmetric, under an exchange of two axes.

``x[:, None] - x[None, :]`` changes its sign when its axes are exchanged, and what is computed
from it elementwise is symmetric or antisymmetric too. Of such a value the sum over one axis is
plus or minus the sum over the other: a gradient that needs both computes one.
"""

from __future__ import annotations

from tracegrad.ir.core import Operation, Value
from tracegrad.ops.access import transpose
from tracegrad.ops.registry import REGISTRY
from tracegrad.passes.engine import existing
from tracegrad.passes.rules.signs import EVEN, ODD
from tracegrad.passes.table import ROUNDING, rule
from tracegrad.passes.values import number

Axes = tuple[int, ...]
Swapped = tuple[int, Value] | None
"""A sign and a value: the value with two axes exchanged is sign · value."""


@rule("sum", mark=ROUNDING)
def sum_of_symmetric(x: Value, *, axes: Axes) -> Value | None:
    """A sum over one of two axes that can be exchanged is a sum over the later one.

    Two values that are each other's exchange share their sums in the same way.

    x: f64[n]
    d = subtract(view(x, shape=(n, n), map=((0, 0, 1),)), view(x, shape=(n, n), map=((1, 0, 1),)))
    sum(exp(square(d)), axes=(0,)) → sum(exp(square(d)), axes=(1,))
    sum(sin(d), axes=(0,)) → negative(sum(sin(d), axes=(1,)))
    e = multiply(cos(d), view(x, shape=(n, n), map=((0, 0, 1),)))
    f = multiply(cos(d), view(x, shape=(n, n), map=((1, 0, 1),)))
    add(sum(e, axes=(0,)), sum(f, axes=(1,))) → multiply(sum(e, axes=(0,)), 2.0)
    """
    if len(axes) != 1 or x.rank < 2:
        return None
    first = axes[0]
    for second in range(x.rank - 1, -1, -1):
        if second == first or x.shape[second] != x.shape[first]:
            continue
        found = _Exchange(first, second).of(x)
        if found is None:
            continue
        sign, other = found
        reduction = REGISTRY["sum"]
        if other is x and second > first:
            total: Value | None = reduction(x, axes=(second,))
        else:
            total = existing(reduction, other, axes=(second,))
        if total is None:
            continue
        total = _moved(total, first, second)
        return total if sign > 0 else -total
    return None


def _moved(total: Value, first: int, second: int) -> Value:
    """What is left of the exchanged axes stands at the place of ``first``: move it to the other."""
    here = first - (second < first)
    there = second - (first < second)
    if here == there:
        return total
    order = [a for a in range(total.rank) if a != here]
    order.insert(there, here)
    return transpose(total, order)


class _Exchange:
    """Values with axes ``first`` and ``second`` exchanged, among those that exist already."""

    def __init__(self, first: int, second: int) -> None:
        self.axes = first, second
        self.known: dict[Value, Swapped] = {}

    def of(self, value: Value) -> Swapped:
        """``(sign, other)`` such that the exchanged ``value`` is ``sign * other``."""
        if not value.rank:
            return 1, value
        if value not in self.known:
            self.known[value] = None  # while it is looked for
            self.known[value] = self._of(value)
        return self.known[value]

    def _of(self, value: Value) -> Swapped:
        op = value.op
        if op is None:
            return None
        if op.opdef.name == "view":
            return self._view(value, op)
        if op.opdef.name == "sum":
            return self._sum(value, op)
        if op.opdef.kind != "elementwise":
            return None
        parts = []
        for operand in op.operands:
            found = self.of(operand)
            if found is None:
                return None
            parts.append(found)
        return self._elementwise(op, [s for s, _ in parts], [v for _, v in parts])

    def _view(self, value: Value, op: Operation) -> Swapped:
        first, second = self.axes
        turned = {first: second, second: first}
        map = tuple(
            (turned.get(a, a) if a is not None else None, offset, step)
            for a, offset, step in op.attributes["map"]
        )
        shape = list(value.shape)
        shape[first], shape[second] = shape[second], shape[first]
        if tuple(shape) != value.shape:
            return None
        if map == op.attributes["map"]:
            return 1, value
        found = existing(op.opdef, op.operands[0], shape=value.shape, map=map)
        if found is not None:
            return 1, found
        # Exchanging axes that are read in the same way exchanges the axes of what is read.
        read = {a: (d, offset, step) for d, (a, offset, step) in enumerate(op.attributes["map"])}
        if first not in read or second not in read or read[first][1:] != read[second][1:]:
            return None
        base = _Exchange(read[first][0], read[second][0]).of(op.operands[0])
        if base is None:
            return None
        found = existing(op.opdef, base[1], **op.attributes)
        return None if found is None else (base[0], found)

    def _sum(self, value: Value, op: Operation) -> Swapped:
        """The exchange of axes of the result is one of the operand's axes."""
        gone = op.attributes["axes"]
        kept = [a for a in range(op.operands[0].rank) if a not in gone]
        first, second = (kept[a] for a in self.axes)
        found = _Exchange(first, second).of(op.operands[0])
        if found is None:
            return None
        same = existing(op.opdef, found[1], axes=gone)
        return None if same is None else (found[0], same)

    def _elementwise(self, op: Operation, signs: list[int], values: list[Value]) -> Swapped:
        name = op.opdef.name
        sign = 1
        if name in ("multiply", "divide", "reciprocal", "negative", *ODD):
            for s in signs:
                sign *= s
        elif name in EVEN:
            pass
        elif name in ("add", "subtract"):
            if signs[0] != signs[1]:
                return None
            sign = signs[0]
        elif name in ("equal", "not_equal") and any(number(v) == 0 for v in op.operands):
            pass  # x equals 0 where -x does
        elif any(s < 0 for s in signs):
            return None
        found = existing(op.opdef, *values, **op.attributes)
        if found is not None:
            return sign, found
        if name == "subtract":
            found = existing(op.opdef, *reversed(values))
            if found is not None:
                return -sign, found
        return None
