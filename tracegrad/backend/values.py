"""Values on their way into text: names, expressions that wait for their reader, expressions.

An expression that waits to be used (`_Waiting`) may hold reads of buffers, and of variables that
loops assign to. It is written down as a statement of its own before one of those changes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tracegrad.backend import lines as layout
from tracegrad.backend.expression import (
    ATOM,
    Text,
    attribute_text,
    binary,
    dim_text,
    dims_as_atoms,
    dims_text,
    dtype_text,
    infix,
    numeral,
    parse,
    template,
)
from tracegrad.backend.lines import Line
from tracegrad.backend.names import Names
from tracegrad.backend.variables import assigned, share
from tracegrad.errors import InternalError
from tracegrad.ir.core import Function, Operation, Region, Value
from tracegrad.ir.recurrences import waited_for
from tracegrad.ir.sizes import BINDING
from tracegrad.ir.types import ArrayType, Dim, Size, f64, is_symbol, substitute, symbol
from tracegrad.ops.registry import OperandText

#: An expression longer than this becomes a statement.
_LIMIT = 52

#: The same for what is stored right away.
_LONG = 80

#: A size up to this length is always written out where it is used.
_SHORT = 12

#: Operations whose result is the memory of their first operand, or may be.
SHARING = frozenset({"view", "reshape", "alias", "stop_gradient"})

_WORD = re.compile(r"[^\W\d]\w*")
_LITERAL = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'")


@dataclass
class _Waiting:
    """An expression not yet written down: its operation, its text, the buffers that it reads.

    One with a ``block``, the lines of its region, may be read more than once there.
    """

    op: Operation
    text: Text
    buffers: frozenset[Value]
    block: list[Line] | None = None

    @cached_property
    def words(self) -> set[str]:
        """The names in the text."""
        return words(self.text.text)


def words(text: str) -> set[str]:
    """The names in a piece of source."""
    if '"' in text or "'" in text:
        text = _LITERAL.sub("", text)
    return set(_WORD.findall(text))


class Values:
    """What the printer knows of the values of one function.

    Parameters
    ----------
    loops : whether the function is in loop form.
    names : hands out names; parameters and symbols have theirs.
    texts : the text of each parameter.
    sizes : new names of symbols that could not keep theirs.
    bound : symbols that have a value at the start.
    """

    def __init__(
        self,
        function: Function,
        *,
        loops: bool,
        names: Names,
        texts: Mapping[Value, str],
        sizes: Mapping[str, str],
        bound: Iterable[str],
    ) -> None:
        self.loops = loops
        self.names = names
        self.lines: list[Line] = []
        self._blocks = [self.lines]
        self._tapes: set[str] = set()
        self.imported: set[str] = set()
        self._waited_for = waited_for(function) if loops else set()
        self._texts = {value: Text(text) for value, text in texts.items()}
        self._sizes = {old: symbol(new) for old, new in sizes.items() if old != new}
        self._bound = set(bound)
        tapes = (op for op in function.walk() if op.name == "tape")
        self._growing = {is_symbol(op.attributes["size"]) for op in tapes}
        self._waiting: dict[Value, _Waiting] = {}
        self._memory: dict[Value, Value] = {}
        self._buffers: frozenset[Value] = frozenset()
        #: The variables that have a name by now, by the class of values that they are for.
        self._open: dict[Value, str] = {}
        #: Indices of loops, and places beside them: what their texts say does not change.
        self._steady: set[Value] = set()
        #: The results of control flow that inner regions yield values for.
        self._yielded: dict[Value, Value] = {}
        self._reader: dict[Value, Region] = {}
        self._readers: dict[Value, set[Region]] = {}
        self._last_reader: dict[Value, Operation] = {}
        self._uses: Counter[Value] = Counter()
        self._living: set[Operation] = set()
        self._count(function.body)
        named = zip(function.results, function.result_names, strict=False)
        self._result_names = dict(reversed(list(named)))
        self._function = function
        self._classes = share(
            function, self._alive, self._uses.__getitem__, self._hint, rebind=loops
        )

    def _count(self, region: Region) -> None:
        """Count the uses of values by what is alive, and note where each is read last."""
        for value in region.yields:
            self._use(value, region)
        for op in reversed(region.ops):
            if self._does_something(op):
                self._living.add(op)
                for inner in op.regions:
                    if len(inner.yields) == len(op.results):  # no condition of a loop
                        self._yielded.update(zip(inner.yields, op.results, strict=True))
                    self._count(inner)
                for operand in op.operands:
                    self._use(operand, region)
                    self._last_reader[operand] = op

    def _alive(self, op: Operation) -> bool:
        """Whether ``op`` is printed."""
        return op in self._living

    def _does_something(self, op: Operation) -> bool:
        """Whether ``op`` has effects, or one of its results is read by what is counted."""
        acts = bool(op.regions) or (op.opdef.effects and op.name not in READING)
        acts = acts or op.name in BINDING
        return acts or any(self._uses[result] for result in op.results)

    def _use(self, value: Value, region: Region) -> None:
        self._uses[value] += 1
        self._reader[value] = region
        self._readers.setdefault(value, set()).add(region)

    # --- results

    # --- lines

    def _line(self, code: str, op: Operation | None = None) -> Line:
        line = Line(code)
        if op is not None:
            line.part = op.part
            if op.location is not None:
                line.note = layout.note(op)
                line.place = layout.place(op.location) if line.note else ""
        self.lines.append(line)
        return line

    @contextmanager
    def _below(self, head: Line) -> Iterator[None]:
        """Lines made in the block stand below ``head``."""
        saved, bound, opened = self.lines, set(self._bound), dict(self._open)
        self.lines = head.below
        self._blocks.append(self.lines)
        try:
            with self.names.scope():
                yield
        finally:
            self._blocks.pop()
            self.lines, self._bound, self._open = saved, bound, opened

    # --- values and their texts

    def _hint(self, value: Value) -> str:
        """What ``value`` is called: by itself, as a result, or by the loop that goes on with it."""
        if value.hint or value in self._result_names:
            return value.hint or self._result_names[value]
        reader = self._last_reader.get(value)
        if self._uses[value] == 1 and reader is not None and reader.name == "for":
            position = reader.operands.index(value) - 3
            if position >= 0 and value.op is not None and value.op.name == "for":
                return self._hint(reader.results[position])
        return ""

    def _take(self, value: Value) -> Text:
        """The text of an operand; an expression that waited for it is used up."""
        waiting = self._waiting.get(value)
        if waiting is not None:
            if waiting.block is None:
                del self._waiting[value]
            self._buffers |= waiting.buffers
            return waiting.text
        if value not in self._texts:
            raise InternalError(f"the value {value!r} is read outside the region that defines it")
        return self._texts[value]

    def _peek(self, value: Value) -> Text:
        waiting = self._waiting.get(value)
        return self._texts[value] if waiting is None else waiting.text

    def _settle(self, value: Value) -> None:
        """Write a waiting expression down as a statement."""
        waiting = self._waiting.pop(value, None)
        if waiting is not None:
            self._assign_new(waiting.op, value, waiting.text)

    def _settle_readers(self, buffers: Iterable[Value] | None) -> None:
        """Write down what reads any of ``buffers`` (None: any at all) before they change."""
        roots = None if buffers is None else {self.root(b) for b in buffers}
        for value, waiting in list(self._waiting.items()):
            # More memory may be known to be the same than when the expression began to wait.
            read = {self.root(b) for b in waiting.buffers}
            if read and (roots is None or read & roots):
                self._settle(value)

    def _settle_words(self, names: Iterable[str]) -> None:
        """Write down what reads any of the variables ``names`` before they change."""
        changing = set(names)
        for value, waiting in list(self._waiting.items()):
            if not changing.isdisjoint(waiting.words):
                if waiting.block is None or any(waiting.block is b for b in self._blocks):
                    self._settle(value)
                else:  # its region is over
                    self._waiting.pop(value, None)

    def _assign_new(self, op: Operation, value: Value, text: Text) -> None:
        name = self._variable(value)
        line = self._line(self._assignment(name, text, value), op)
        if op.name == "load" and (not self._hint(value) or self._is_tape(op.operands[0])):
            line.note = line.place = ""
            line.part = None
        if not value.rank and value.dtype.is_integer:
            line.part = None  # Counting serves both sweeps.
        self._define(value, name)

    def _is_tape(self, buffer: Value) -> bool:
        """Whether ``buffer`` is a tape; where it is made, a comment says what it holds."""
        return self._texts[buffer].text in self._tapes

    def _assignment(self, name: str, text: Text, value: Value) -> str:
        # An array must not be changed in place: it may be somebody else's.
        return assignment(name, text, self.loops and not value.rank)

    def _variable(self, value: Value, *more_hints: str) -> str:
        """The variable for ``value``, which is about to change."""
        key = self._classes.of(value)
        name = self._open.get(key)
        if name is None:
            hints = (self._classes.hints.get(key), self._hint(value), *more_hints)
            hint = next(filter(None, hints), "")
            name = self._open[key] = self.names.new(hint, rank=value.rank)
        else:
            self._settle_words([name])
        return name

    def _settle_assigned(self, op: Operation) -> None:
        """Write down what reads variables that the regions of ``op`` change."""
        classes = {self._classes.of(value) for value in assigned(op.regions)}
        self._settle_words(self._open[key] for key in classes if key in self._open)

    def _define(self, value: Value, name: str) -> None:
        """From here on ``value`` is the variable ``name``."""
        self._texts[value] = Text(name)
        for axis, dim in enumerate(value.shape):
            size = is_symbol(self._dim(dim))
            if size is not None and (size not in self._bound or self._grew(value, dim)):
                self._bound.add(size)
                self._line(f"{size} = {name}.shape[{axis}]").binds = (size,)

    def _bind(self, op: Operation, region: Region) -> None:
        """A symbol gets the value of a scalar, under whose name it goes if that has one."""
        (value,) = op.operands
        text = self._take(value)
        # The index of a loop and an argument keep their values as long as they are in sight.
        steady = value.op is None and self._classes.alone(value)
        if not steady:
            name = self.names.new(str(op.attributes["size"]))
            self._line(f"{name} = {text}").binds = (name,)
            text = Text(name)
        self._texts[op.result] = text
        self._sizes[str(op.attributes["size"])] = symbol(text.text)
        self._bound.add(text.text)

    def _grew(self, value: Value, dim: Dim) -> bool:
        """Whether ``value`` may be longer than the earlier arrays of the size ``dim``."""
        op = value.op
        if op is None or is_symbol(dim) not in self._growing:
            return False
        return op.name == "ensure" or bool(op.regions)

    def root(self, buffer: Value) -> Value:
        """The buffer whose memory ``buffer`` shows."""
        while buffer in self._memory:
            buffer = self._memory[buffer]
        return buffer

    def _share(self, one: Value, other: Value) -> None:
        """``one`` and ``other`` are, or may be, the same memory."""
        first, second = self.root(one), self.root(other)
        if first is not second:
            self._memory[first] = second

    # --- dimensions

    def _dim(self, dim: Dim) -> Dim:
        return substitute(dim, self._sizes) if self._sizes else dim

    def _type(self, type: ArrayType) -> ArrayType:
        return type.substitute(self._sizes) if self._sizes else type

    def _attribute(self, value: Any) -> Any:
        if isinstance(value, Size):
            return self._dim(value)
        if isinstance(value, tuple):
            return tuple(self._attribute(each) for each in value)
        return value

    def _shape(self, shape: Sequence[Dim]) -> str:
        """A shape as an argument: ``n`` or ``(n, m)``."""
        dims = [self._dim(dim) for dim in shape]
        return dim_text(dims[0]).text if len(dims) == 1 else dims_text(dims)

    # --- expressions

    def _offer(self, op: Operation, value: Value, text: Text, region: Region) -> None:
        """Keep an expression for its one reader, or write it down."""
        if self._always_inline(op, text):
            self._texts[value] = text
        elif self._steps(op, text):
            self._texts[value] = text
            self._steady.add(value)
        elif not self._goes_on(value) and self._may_wait(op, value, text, region):
            self._waiting[value] = _Waiting(op, text, self._buffers)
        elif self._counts(op, text, region):
            self._waiting[value] = _Waiting(op, text, frozenset(), self.lines)
        else:
            self._assign_new(op, value, text)

    def _steps(self, op: Operation, text: Text) -> bool:
        """Whether ``op`` is a place beside that of a loop: ``t - 1`` stands where it is read."""
        index = self._moved(op, text)
        return index is not None and index in self._steady

    def _counts(self, op: Operation, text: Text, region: Region) -> bool:
        """Whether ``op`` is the next of a counter: written out until the counter changes."""
        index = self._moved(op, text)
        return index is not None and self._readers[op.result] == {region}

    def _moved(self, op: Operation, text: Text) -> Value | None:
        """The integer that ``op`` adds a number to, or takes one from, and nobody named."""
        if not self.loops or op.name not in ("add", "subtract") or len(text.text) > _SHORT:
            return None
        others = [v for v in op.operands if v.op is None or v.op.name != "const"]
        if len(others) != 1 or others[0].rank or not others[0].dtype.is_integer:
            return None
        return None if self._hint(op.result) else others[0]

    def _may_wait(self, op: Operation, value: Value, text: Text, region: Region) -> bool:
        """Whether an expression may become part of the one that reads it."""
        if self._uses[value] != 1 or self._reader[value] is not region:
            return False
        if not self.loops:
            return op.name == "view" and not self._hint(value) and len(text.text) <= _LIMIT
        if value.rank:
            return False
        if self._hint(value) and not (self._goes_home(value) or self._is_next(value)):
            return False
        return len(text.text) <= (_LIMIT if not self._hint(value) else _LONG)

    def _goes_on(self, value: Value) -> bool:
        """Whether ``value`` is the next of a variable that control flow made."""
        result = self._yielded.get(value)
        if result is None or self._uses[value] != 1:
            return False
        key = self._classes.of(result)
        return key in self._open and self._classes.of(value) is key

    def _is_next(self, value: Value) -> bool:
        """Whether all that becomes of ``value`` is the next of the variable of its name."""
        result = self._yielded.get(value)
        if result is None or self._uses[value] != 1:
            return False
        return self._hint(value) == self._classes.hints.get(self._classes.of(result))

    def _goes_home(self, value: Value) -> bool:
        """Whether all that becomes of ``value`` is an element of the array of its own name."""
        reader = self._last_reader.get(value)
        return (
            reader is not None
            and reader.name in ("store", "add_store")
            and self._hint(reader.operands[1]) == self._hint(value)
        )

    def _always_inline(self, op: Operation, text: Text) -> bool:
        if op.name == "const":
            return not op.result.rank
        return op.name == "dim" and len(text.text) <= _SHORT

    def _expression(self, op: Operation) -> Text:
        opdef = op.opdef
        scalar = self.loops and not any(v.rank for v in (*op.results, *op.operands))
        if scalar and op.name in _SPELLINGS:
            spelling = _SPELLINGS[op.name](op, [self._peek(v) for v in op.operands])
            if spelling is not None:
                for operand in op.operands:
                    self._take(operand)
                return spelling
        if opdef.infix is not None:
            text = infix(opdef.infix, [self._take(v) for v in op.operands])
            return self._narrowed(op, text) if scalar else text
        how = opdef.scalar if scalar and opdef.scalar is not None else opdef.array
        if scalar and opdef.serial is not None and op in self._waited_for:
            how = opdef.serial
        if how is None:
            raise InternalError(f"the operation {op.name} says nothing about how it is printed")
        if how is opdef.scalar:
            self.imported.update(opdef.imported)
        attributes = {name: self._attribute(a) for name, a in op.attributes.items()}
        if isinstance(how, str):
            form = template(how, {k: attribute_text(a) for k, a in attributes.items()})
            for number in form.conditional | form.repeated:
                self._settle_beforehand(op.operands[number], number in form.repeated)
            return form.fill([self._take(v) for v in op.operands])
        atoms = [OperandText(self._take(v).at(ATOM), self._type(v.type)) for v in op.operands]
        result = self._type(op.results[0].type)
        if op.name == "const" and not op.result.rank:
            return numeral(how(atoms, result, attributes, dims_as_atoms))
        return parse(how(atoms, result, attributes, dims_as_atoms))

    def _settle_beforehand(self, operand: Value, repeated: bool) -> None:
        """Compute an operand beforehand where its place is no good for an expression.

        A read of a buffer under a condition keeps a loop from being vectorised, and an
        expression that stands in two places is computed twice.
        """
        waiting = self._waiting.get(operand)
        if waiting is not None and (repeated or waiting.buffers):
            self._settle(operand)

    def _narrowed(self, op: Operation, text: Text) -> Text:
        """Numba computes with small integers in 64 bits: bring the result back."""
        dtype = op.result.dtype
        if not dtype.is_integer or dtype.numpy.itemsize == 8:
            return text
        return Text(f"{dtype_text(dtype)}({text})")


def _square(op: Operation, operands: Sequence[Text]) -> Text | None:
    (x,) = operands
    return binary("*", x, x) if x.text.isidentifier() else None


def _reciprocal(op: Operation, operands: Sequence[Text]) -> Text | None:
    return binary("/", Text("1.0"), operands[0]) if op.result.dtype is f64 else None


def _absolute(op: Operation, operands: Sequence[Text]) -> Text:
    return Text(f"abs({operands[0]})")


def _extremum(op: Operation, operands: Sequence[Text]) -> Text | None:
    if not op.result.dtype.is_integer:
        return None  # Python's max and min have no care for NaN.
    return Text(f"{op.name[:3]}({', '.join(x.text for x in operands)})")


#: Scalar operations that a person would write in another way than NumPy's function.
_SPELLINGS: dict[str, Callable[[Operation, Sequence[Text]], Text | None]] = {
    "square": _square,
    "reciprocal": _reciprocal,
    "absolute": _absolute,
    "maximum": _extremum,
    "minimum": _extremum,
}

#: Which operand an operation stores to.
WRITES = {"store": 1, "add_store": 1, "gemm": 2, "gemm_part": 2}

#: Operations whose effect is nothing but that they keep their order among stores.
READING = frozenset({"alloc", "load"})


def assignment(name: str, text: Text, inplace: bool) -> str:
    """``name = …``, or ``name += …`` where it says the same."""
    if inplace and text.update is not None:
        operator, left, right = text.update
        if operator in ("+", "-", "*", "/") and left == name:
            return f"{name} {operator}= {right}"
        if operator in ("+", "*") and right == name:
            return f"{name} {operator}= {left}"
    return f"{name} = {text}"
