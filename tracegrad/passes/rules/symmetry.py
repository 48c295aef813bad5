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

Axes = tuple[int, ...]
Swapped = tuple[int, Value] | None
"""A sign and a value: the value with two axes exchanged is sign · value."""


@rule("sum", mark=ROUNDING)
def sum_of_symmetric(x: Value, *, axes: Axes) -> Value | None:
    """A sum over one of two axes that can be exchanged is a sum over the later one.

    x: f64[n]
    d = subtract(view(x, shape=(n, n), map=((0, 0, 1),)), view(x, shape=(n, n), map=((1, 0, 1),)))
    sum(exp(square(d)), axes=(0,)) → sum(exp(square(d)), axes=(1,))
    sum(sin(d), axes=(0,)) → negative(sum(sin(d), axes=(1,)))
    """
    if len(axes) != 1 or x.rank < 2:
        return None
    first = axes[0]
    for second in range(x.rank - 1, first, -1):
        if x.shape[second] != x.shape[first]:
            continue
        found = _Exchange(first, second).of(x)
        if found is None or found[1] is not x:
            continue
        total: Value = REGISTRY["sum"](x, axes=(second,))
        # What remains of the exchanged axes stands at `first` now, and has to be at `second - 1`.
        if second > first + 1:
            order = [a for a in range(x.rank - 1) if a != first]
            order.insert(second - 1, first)
            total = transpose(total, order)
        return total if found[0] > 0 else -total
    return None


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
        if map == op.attributes["map"]:
            return (1, value) if tuple(shape) == value.shape else None
        found = existing(op.opdef, op.operands[0], shape=tuple(shape), map=map)
        return None if found is None else (1, found)

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
