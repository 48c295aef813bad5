"""Whether a loop may write to an array what it computes from that very array.

``v[:k] = f(v[:k], v[1:k + 1])`` computes an array and then copies it. Where the loop goes up, and
all it reads of ``v`` stands at the place that it writes next or further on, it may write to ``v``
at once: no element is read after it was written over.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tracegrad.ir.core import Operation, Value
from tracegrad.ir.types import Dim
from tracegrad.schedule.buffers import ELEMENT, Inserted


def read_before_written(ops: Sequence[Operation], made: Value, buffer: Value, at: Inserted) -> bool:
    """Whether ``ops`` read each element of ``buffer`` before ``made`` is written there.

    Parameters
    ----------
    ops : in loop form; they fill ``made``, a vector, and read ``buffer``.
    at : what finds the place in ``buffer`` of an element of ``made``.
    """
    touching = [n for n, op in enumerate(ops) if _mentions(op, buffer)]
    storing = [n for n, op in enumerate(ops) if op is not made.op and _mentions(op, made)]
    if len(made.shape) != 1 or not touching or not storing:
        return False
    if touching[-1] < storing[0]:
        return all(_only_reads(ops[n], buffer) for n in touching)
    loop = ops[storing[0]]
    if len(storing) > 1 or touching[-1] > storing[0] or not _goes_up(loop):
        return False
    if not all(_only_reads(ops[n], buffer) for n in touching):
        return False
    (body,) = loop.regions
    index = body.params[0]
    stores = [n for n, op in enumerate(body.ops) if _mentions(op, made)]
    if len(stores) != 1 or body.ops[stores[0]].name != "store":
        return False
    store = body.ops[stores[0]]
    if store.operands[2:] != (index,) or any(
        _mentions(op, buffer) for op in body.ops[stores[0] + 1 :]
    ):
        return False
    _, places = at([index])
    written = [Form.of(v) for v in places]
    return all(
        _is_further_on([Form.of(v) for v in load.operands[1:]], written, index)
        for op in body.ops
        for load in _loads(op, buffer)
    )


def _is_further_on(read: Sequence[Form], written: Sequence[Form], index: Value) -> bool:
    """Whether what is read stands where the present trip writes, or a later one, or none does."""
    moving = [k for k, form in enumerate(written) if index in form.terms]
    if len(moving) != 1 or len(read) != len(written):
        return False
    (k,) = moving
    step = written[k].terms[index]
    if read[k].terms.get(index) != step:
        return False
    if any(index in form.terms for n, form in enumerate(read) if n != k):
        return False
    ahead = (read[k] - written[k]).number()
    return ahead is not None and ahead * step >= 0


def _goes_up(op: Operation) -> bool:
    """Whether ``op`` is a loop of which each trip is done before the next one begins."""
    if op.name != "for" or op.attributes.get("kind", "plain") not in ("plain", "lanes"):
        return False
    step = op.operands[2].op
    return step is not None and step.name == "const" and step.attributes["value"] == 1


def _mentions(op: Operation, buffer: Value) -> bool:
    return buffer in op.operands or any(
        buffer in inner.yields or any(_mentions(each, buffer) for each in inner.ops)
        for inner in op.regions
    )


def _only_reads(op: Operation, buffer: Value) -> bool:
    """Whether elements of ``buffer`` are read, and nothing else is done to it."""
    if buffer in op.operands:
        return op.name == "load" and op.operands[ELEMENT["load"]] is buffer
    return all(
        buffer not in inner.yields and all(_only_reads(each, buffer) for each in inner.ops)
        for inner in op.regions
    )


def _loads(op: Operation, buffer: Value) -> Iterator[Operation]:
    if op.name == "load" and op.operands[0] is buffer:
        yield op
    for inner in op.regions:
        for each in inner.ops:
            yield from _loads(each, buffer)


@dataclass
class Form:
    """A sum of multiples of integers that are not looked into, and of sizes.

    Attributes
    ----------
    terms : value → its factor, never 0.
    size : the rest.
    """

    terms: dict[Value, int] = field(default_factory=dict)
    size: Dim = 0

    @classmethod
    def of(cls, value: Value) -> Form:
        op = value.op
        if op is not None and op.name == "const" and isinstance(op.attributes["value"], int):
            return cls({}, op.attributes["value"])
        if op is not None and op.name == "dim":
            return cls({}, op.attributes["size"])
        if op is not None and op.name in ("add", "subtract"):
            left, right = map(cls.of, op.operands)
            return left - right if op.name == "subtract" else left - right.times(-1)
        if op is not None and op.name == "multiply":
            for one, other in (op.operands, op.operands[::-1]):
                factor = cls.of(other)
                number = factor.number()
                if number is not None:
                    return cls.of(one).times(number)
        return cls({value: 1})

    def times(self, factor: int) -> Form:
        if not factor:
            return Form()
        return Form({v: c * factor for v, c in self.terms.items()}, self.size * factor)

    def __sub__(self, other: Form) -> Form:
        terms = dict(self.terms)
        for value, count in other.terms.items():
            terms[value] = terms.get(value, 0) - count
        return Form({v: c for v, c in terms.items() if c}, self.size - other.size)

    def shift(self, index: Value) -> int | None:
        """The number that is added to ``index``, if that is all."""
        return self.size if self.terms == {index: 1} and isinstance(self.size, int) else None

    def number(self) -> int | None:
        """Which number it is, if it is one."""
        return self.size if not self.terms and isinstance(self.size, int) else None
