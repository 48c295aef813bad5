"""From the operations of a function to lines of source: the heart of the printer.

One printer serves both forms. *Array form* prints a NumPy statement per operation. *Loop form*
prints scalar statements inside explicit loops; there an unnamed scalar that is read once, in the
region that computes it, becomes part of the expression that reads it.

An expression that waits to be used (`_Waiting`) may hold reads of buffers. It is written down as
a statement of its own before anything stores to one of them.

Variables: a carried value of a loop is one variable, assigned at the end of the body. A loop that
starts from a variable nobody reads any more goes on with that variable, so that an accumulation
over nested loops, or in the arm of an ``if``, is ``out += …`` and nothing else.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tracegrad.backend import lines as layout
from tracegrad.backend.expression import (
    ATOM,
    SUM,
    UNARY,
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
    unary,
)
from tracegrad.backend.lines import Line
from tracegrad.backend.names import Names
from tracegrad.errors import InternalError
from tracegrad.ir.core import Function, Operation, Region, Value
from tracegrad.ir.types import ArrayType, Dim, Size, f64, is_symbol, substitute, symbol
from tracegrad.ops.registry import OperandText

#: An expression longer than this becomes a statement.
_LIMIT = 52

#: The same for what is stored right away.
_LONG = 80

#: A size up to this length is always written out where it is used.
_SHORT = 12

#: Operations whose result is the memory of their first operand, or may be.
_SHARING = frozenset({"view", "reshape", "alias", "stop_gradient"})

_WORD = re.compile(r"[^\W\d]\w*")


@dataclass
class _Waiting:
    """An expression not yet written down: its operation, its text, the buffers that it reads."""

    op: Operation
    text: Text
    buffers: frozenset[Value]


def words(text: str) -> set[str]:
    """The names in a piece of source."""
    return set(_WORD.findall(text))


class Body:
    """Prints the body of one function.

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
        self.vector_maths: set[str] = set()
        self._texts = {value: Text(text) for value, text in texts.items()}
        self._sizes = {old: symbol(new) for old, new in sizes.items() if old != new}
        self._bound = set(bound)
        self._waiting: dict[Value, _Waiting] = {}
        self._memory: dict[Value, Value] = {}
        self._buffers: frozenset[Value] = frozenset()
        #: Values that their region yields, and the variables that they go to.
        self._preferred: dict[Value, tuple[str, Region]] = {}
        #: Variables that control flow made, with the loop that they were made in.
        self._variables: dict[Value, Operation | None] = {}
        self._loop: Operation | None = None
        self._reader: dict[Value, Region] = {}
        self._last_reader: dict[Value, Operation] = {}
        self._uses: Counter[Value] = Counter()
        self._count(function.body)
        named = zip(function.results, function.result_names, strict=False)
        self._result_names = dict(reversed(list(named)))
        self._function = function

    def _count(self, region: Region) -> None:
        """Count the uses of values by what is alive, and note where each is read last."""
        for value in region.yields:
            self._use(value, region)
        for op in reversed(region.ops):
            if self._alive(op):
                for inner in op.regions:
                    self._count(inner)
                for operand in op.operands:
                    self._use(operand, region)
                    self._last_reader[operand] = op

    def _alive(self, op: Operation) -> bool:
        """Whether ``op`` does something, or one of its results is read."""
        acts = bool(op.regions) or (op.opdef.effects and op.name not in _READING)
        return acts or any(self._uses[result] for result in op.results)

    def _use(self, value: Value, region: Region) -> None:
        self._uses[value] += 1
        self._reader[value] = region

    # --- results

    def print(self) -> list[Line]:
        """All lines, the return statement included."""
        self._operations(self._function.body)
        texts = [self._result(value, n) for n, value in enumerate(self._function.results)]
        if texts:
            self._line(f"return {', '.join(texts)}")
        return self.lines

    def _result(self, value: Value, number: int) -> str:
        text = self._take(value)
        # The caller gets arrays of its own: not an argument back, and none twice.
        earlier = self._function.results[:number]
        if value.rank and (not self._fresh(value) or value in earlier):
            return f"{text.at(ATOM)}.copy()"
        return text.text

    def _fresh(self, value: Value) -> bool:
        """Whether ``value`` is memory that this function made, and the whole of it."""
        return value.op is not None and not value.op.regions and value.op.name not in _SHARING

    # --- lines

    def _line(self, code: str, op: Operation | None = None) -> Line:
        line = Line(code)
        if op is not None:
            line.part = op.part
            if op.location is not None:
                line.note = layout.note(op)
                line.place = layout.place(op.location)
        self.lines.append(line)
        return line

    @contextmanager
    def _below(self, head: Line) -> Iterator[None]:
        """Lines made in the block stand below ``head``."""
        saved, bound = self.lines, set(self._bound)
        self.lines = head.below
        try:
            with self.names.scope():
                yield
        finally:
            self.lines, self._bound = saved, bound

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
        waiting = self._waiting.pop(value, None)
        if waiting is not None:
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
        roots = None if buffers is None else set(buffers)
        for value, waiting in list(self._waiting.items()):
            if waiting.buffers and (roots is None or waiting.buffers & roots):
                self._settle(value)

    def _settle_words(self, names: Iterable[str]) -> None:
        """Write down what reads any of the variables ``names`` before they change."""
        changing = set(names)
        for value, waiting in list(self._waiting.items()):
            if words(waiting.text.text) & changing:
                self._settle(value)

    def _assign_new(self, op: Operation, value: Value, text: Text) -> None:
        name = self._new_name(value)
        line = self._line(f"{name} = {text}", op)
        if not self._hint(value) and op.name == "load":
            line.note = line.place = ""
            line.part = None
        if not value.rank and value.dtype.is_integer:
            line.part = None  # Counting serves both sweeps.
        self._define(value, name)

    def _new_name(self, value: Value, *more_hints: str) -> str:
        hint = next((hint for hint in (self._hint(value), *more_hints) if hint), "")
        return self.names.new(hint, array=value.rank > 0)

    def _define(self, value: Value, name: str) -> None:
        """From here on ``value`` is the variable ``name``."""
        self._texts[value] = Text(name)
        for axis, dim in enumerate(value.shape):
            size = is_symbol(self._dim(dim))
            if size is not None and size not in self._bound:
                self._bound.add(size)
                self._line(f"{size} = {name}.shape[{axis}]").binds = (size,)

    def _root(self, buffer: Value) -> Value:
        """The buffer whose memory ``buffer`` shows."""
        while buffer in self._memory:
            buffer = self._memory[buffer]
        return buffer

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

    # --- operations

    def _operations(self, region: Region) -> None:
        for op in region.ops:
            handler = _HANDLERS.get(op.name)
            if not self._alive(op):
                continue
            if handler is not None:
                handler(self, op, region)
            elif op.opdef.effects:
                raise InternalError(f"the printer does not know the operation {op.name}")
            else:
                self._computation(op, region)

    def _computation(self, op: Operation, region: Region) -> None:
        """An operation that is an expression."""
        self._buffers = frozenset()
        text = self._expression(op)
        if len(op.results) != 1:
            names = [self._new_name(result) for result in op.results]
            comma = "," if len(names) == 1 else ""
            self._line(f"{', '.join(names)}{comma} = {text}", op)
            for result, name in zip(op.results, names, strict=True):
                self._define(result, name)
            return
        if op.name in _SHARING and op.operands and op.operands[0].rank:
            self._memory[op.result] = op.operands[0]
        self._offer(op, op.result, text, region)

    def _offer(self, op: Operation, value: Value, text: Text, region: Region) -> None:
        """Keep an expression for its one reader, or write it down."""
        target = self._claim(value)
        if target:
            self._settle_words([target])
            self._line(_assignment(target, text, self.loops and not value.rank), op)
            self._define(value, target)
        elif self._always_inline(op, text):
            self._texts[value] = text
        elif self._may_wait(op, value, text, region):
            self._waiting[value] = _Waiting(op, text, self._buffers)
        else:
            self._assign_new(op, value, text)

    def _may_wait(self, op: Operation, value: Value, text: Text, region: Region) -> bool:
        """Whether an expression may become part of the one that reads it."""
        if self._uses[value] != 1 or self._reader[value] is not region:
            return False
        if not self.loops:
            return op.name == "view" and not self._hint(value) and len(text.text) <= _LIMIT
        if value.rank:
            return False
        if self._hint(value) and not self._goes_home(value):
            return False
        return len(text.text) <= (_LIMIT if not self._hint(value) else _LONG)

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
        scalar = self.loops and not op.result.rank and not any(v.rank for v in op.operands)
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
        if how is None:
            raise InternalError(f"the operation {op.name} says nothing about how it is printed")
        if how is opdef.scalar:
            self.vector_maths.update(opdef.vector_maths)
        attributes = {name: self._attribute(a) for name, a in op.attributes.items()}
        if isinstance(how, str):
            form = template(how, {k: attribute_text(a) for k, a in attributes.items()})
            for number in form.conditional | form.repeated:
                self._steady(op.operands[number], number in form.repeated)
            return form.fill([self._take(v) for v in op.operands])
        atoms = [OperandText(self._take(v).at(ATOM), self._type(v.type)) for v in op.operands]
        result = self._type(op.results[0].type)
        if op.name == "const" and not op.result.rank:
            return numeral(how(atoms, result, attributes, dims_as_atoms))
        return parse(how(atoms, result, attributes, dims_as_atoms))

    def _steady(self, operand: Value, repeated: bool) -> None:
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

    # --- memory (loop form)

    def _alloc(self, op: Operation, region: Region) -> None:
        dtype, fill = op.attributes["dtype"], op.attributes.get("fill")
        maker = "np.empty" if fill is None else "np.zeros"
        if fill not in (None, 0):
            raise InternalError(f"a buffer can't be made full of {fill!r}")
        kind = "" if dtype is f64 else f", {dtype_text(dtype)}"
        name = self._new_name(op.result)
        # Buffers serve both sweeps: they get no label of their own.
        self._line(f"{name} = {maker}({self._shape(op.attributes['shape'])}{kind})")
        self._define(op.result, name)

    def _element(self, buffer: Value, indices: Sequence[Value]) -> str:
        base = self._take(buffer).text
        inside = ", ".join(self._take(index).text for index in indices)
        return f"{base}[{inside or '()'}]"

    def _load(self, op: Operation, region: Region) -> None:
        buffer, *indices = op.operands
        self._buffers = frozenset()
        text = Text(self._element(buffer, indices))
        self._buffers |= {self._root(buffer)}
        self._offer(op, op.result, text, region)

    def _store(self, op: Operation, region: Region) -> None:
        value, buffer, *indices = op.operands
        noted = op
        if op.location is None and value.op is not None:
            noted = value.op
        text = self._take(value)
        element = self._element(buffer, indices)
        self._settle_readers([self._root(buffer)])
        sign = "+=" if op.name == "add_store" else "="
        if op.name == "add_store" and text.level == UNARY and text.text.startswith("-"):
            sign, text = "-=", Text(text.text[1:])
        line = self._line(f"{element} {sign} {text}", noted)
        line.part = op.part

    def _check_index(self, op: Operation, region: Region) -> None:
        index, size = op.operands
        text, limit = self._take(index), self._take(size)
        name = self._new_name(op.result, "at")
        self._line(f"{name} = {text}", op)
        head = self._line(f"if {name} < 0:")
        with self._below(head):
            self._line(f"{name} += {limit}")
        head = self._line(f"if not 0 <= {name} < {limit.at(SUM)}:")
        with self._below(head):
            axis = int(op.attributes.get("axis", 0))
            self._line(f'raise IndexError("index is out of bounds for axis {axis}")')
        self._texts[op.result] = Text(name)

    def _gemm(self, op: Operation, region: Region) -> None:
        a, b, out = op.operands
        turned = (op.attributes.get("transpose_a"), op.attributes.get("transpose_b"))
        left, right = (
            f"{self._take(v).at(ATOM)}.T" if turn else self._take(v).text
            for v, turn in zip((a, b), turned, strict=True)
        )
        self._settle_readers([self._root(out)])
        self._line(f"np.dot({left}, {right}, {self._take(out)})", op)
        for result in op.results:
            self._memory[result] = out
            self._texts[result] = self._texts[out]

    def _alias(self, op: Operation, region: Region) -> None:
        (buffer,) = op.operands
        self._memory[op.result] = buffer
        shape = self._shape(op.attributes["shape"])
        name = self._new_name(op.result)
        self._line(f"{name} = {self._take(buffer).at(ATOM)}.reshape({shape})")
        self._define(op.result, name)

    def _written(self, regions: Iterable[Region]) -> set[Value] | None:
        """The buffers that operations in ``regions`` store to; None when that is unknown."""
        found: set[Value] = set()
        for region in regions:
            for op in region.walk():
                position = _WRITES.get(op.name)
                if position is not None:
                    found.add(self._root(op.operands[position]))
                elif op.name == "alias":
                    self._memory[op.result] = op.operands[0]
                elif op.opdef.effects and op.name not in _HANDLERS:
                    return None
        return found

    # --- control flow

    def _assign(
        self, targets: Sequence[str], values: Sequence[Value], op: Operation, *, first: bool = False
    ) -> None:
        """Give ``targets`` their next (or first) values, all at once."""
        todo = [
            (name, text, value)
            for name, value in zip(targets, values, strict=True)
            if (text := self._take(value)).text != name
        ]
        while todo:
            for number, (name, text, value) in enumerate(todo):
                others = todo[:number] + todo[number + 1 :]
                if not any(name in words(other.text) for _, other, _ in others):
                    # An array must not be changed in place: it may be somebody else's.
                    inplace = self.loops and not value.rank
                    source = op if value.op is None or value.op.regions else value.op
                    line = self._line(_assignment(name, text, inplace), source)
                    if first:
                        line.part = None
                    todo.pop(number)
                    break
            else:
                left = ", ".join(name for name, _, _ in todo)
                self._line(f"{left} = {', '.join(text.text for _, text, _ in todo)}", op)
                return

    def _define_carries(
        self, values: Sequence[Value], names: Sequence[str], *, reusable: bool = True
    ) -> None:
        for value, name in zip(values, names, strict=True):
            self._define(value, name)
            if reusable:
                self._variables[value] = self._loop

    def _reusable(self, init: Value) -> str:
        """The variable of a first value that nobody else reads: a loop goes on with it."""
        mine = init in self._variables and self._variables[init] is self._loop
        return self._texts[init].text if mine and self._uses[init] == 1 else ""

    def _carry_names(
        self, op: Operation, inits: Sequence[Value], params: Sequence[Value], body: Region
    ) -> list[str]:
        """The variables of a loop's carried values, set to their first values."""
        found = [self._reusable(init) for init in inits]
        start: list[tuple[str, Value]] = []
        for number, (init, param, result) in enumerate(zip(inits, params, op.results, strict=True)):
            target = self._claim(result)
            if not found[number]:
                hints = self._hint(param), self._hint(body.yields[number])
                free = target and target not in found
                found[number] = target if free else self._new_name(result, *hints)
                start.append((found[number], init))
        self._settle_words(found)
        self._assign([name for name, _ in start], [init for _, init in start], op, first=True)
        return found

    def _prefer(self, region: Region, targets: Sequence[str]) -> None:
        """Let operations whose results ``region`` yields assign to their targets by themselves."""
        for name, value in zip(targets, region.yields, strict=True):
            op = value.op
            if op is None or op.name == "const" or self._uses[value] != 1:
                continue
            if op in region.ops:
                self._preferred[value] = (name, region)

    def _claim(self, value: Value) -> str:
        """The target that ``value`` may be assigned to where it is computed, or "".

        What the target holds until then must not be read once it changes: by nothing after the
        operation nor, if that is a loop, in it.
        """
        name, region = self._preferred.pop(value, ("", _NOWHERE))
        op = value.op
        if not name or op is None:
            return ""
        reads = [v for later in region.ops[region.ops.index(op) + 1 :] for v in _reads(later)]
        reads += [v for v in region.yields if v is not value]
        if op.name != "if":
            reads += [v for inner in op.regions for v in _region_reads(inner)]
        held = any(v in self._variables and self._texts[v].text == name for v in reads)
        return "" if held else name

    def _loop_body(
        self, op: Operation, body: Region, carried: Sequence[Value], names: list[str]
    ) -> None:
        """The statements of a loop's body, down to the next values of its variables."""
        self._define_carries(carried, names)
        self._prefer(body, names)
        self._operations(body)
        self._assign(names, body.yields, op)
        if not self.lines:
            self._line("pass")

    @contextmanager
    def _inside(self, op: Operation) -> Iterator[None]:
        outer, self._loop = self._loop, op
        try:
            yield
        finally:
            self._loop = outer

    def _for(self, op: Operation, region: Region) -> None:
        (body,) = op.regions
        lo, hi, step, *inits = op.operands
        counter, *carried = body.params
        limits = _range(self._take(lo), self._take(hi), self._take(step))
        self._settle_readers(self._written(op.regions))
        names = self._carry_names(op, inits, carried, body)
        kind = str(op.attributes.get("kind", "plain"))
        index = self.names.open_loop(counter.hint)
        maker = "prange" if kind == "parallel" else "range"
        head = self._line(f"for {index} in {maker}({limits}):")
        if kind not in ("plain", "parallel"):
            head.note = layout.safe(kind)
        with self._below(head), self._inside(op):
            self._texts[counter] = Text(index)
            self._loop_body(op, body, carried, names)
        self.names.close_loop()
        self._define_carries(op.results, names)

    def _while(self, op: Operation, region: Region) -> None:
        condition, body = op.regions
        self._settle_readers(self._written(op.regions))
        names = self._carry_names(op, op.operands, body.params, body)
        head = self._line("while True:")
        with self._below(head), self._inside(op):
            # The body starts from these very variables: the condition must leave them alone.
            self._define_carries(condition.params, names, reusable=False)
            self._operations(condition)
            test = self._take(condition.yields[0])
            if self.lines:
                leave = self._line(f"if {unary('not', test)}:")
                with self._below(leave):
                    self._line("break")
            else:
                head.code = f"while {test}:"
            self._loop_body(op, body, body.params, names)
        self._define_carries(op.results, names)

    def _if(self, op: Operation, region: Region) -> None:
        predicate, *arguments = op.operands
        self._buffers = frozenset()
        test = self._take(predicate)
        read = self._buffers
        for value in arguments:
            self._settle(value)
        written = self._written(op.regions)
        self._settle_readers(written)
        for inner in op.regions:
            for param, value in zip(inner.params, arguments, strict=True):
                self._texts[param] = self._texts[value]
        targets = [self._claim(result) for result in op.results]
        self._settle_words(name for name in targets if name)
        arms = [Line(""), Line("")]
        simple = self._is_choice(op) and written == set() and not targets[0]
        if simple:
            for arm, inner in zip(arms, op.regions, strict=True):
                with self._below(arm):
                    self._operations(inner)
            if not any(arm.below for arm in arms):
                then, otherwise = (self._take(inner.yields[0]) for inner in op.regions)
                self._buffers |= read
                choice = template("{1} if {0} else {2}", {}).fill([test, then, otherwise])
                self._offer(op, op.result, choice, region)
                return
        names = [
            name or self._new_name(result, *(self._hint(r.yields[number]) for r in op.regions))
            for number, (name, result) in enumerate(zip(targets, op.results, strict=True))
        ]
        for arm, inner in zip(arms, op.regions, strict=True):
            with self._below(arm):
                if not simple:
                    self._prefer(inner, names)
                    self._operations(inner)
                self._assign(names, inner.yields, op)
        self._print_arms(op, test, *arms)
        self._define_carries(op.results, names)

    def _is_choice(self, op: Operation) -> bool:
        """Whether an ``if`` may be a conditional expression: one scalar, made by arithmetic."""
        if not self.loops or len(op.results) != 1 or op.result.rank:
            return False
        inside = [each for inner in op.regions for each in inner.ops]
        return not any(each.regions or each.opdef.effects for each in inside)

    def _print_arms(self, op: Operation, test: Text, then: Line, otherwise: Line) -> None:
        if not then.below and not otherwise.below:
            return
        head = self._line(f"if {test if then.below else unary('not', test)}:")
        if op.location is not None:
            head.note, head.place = layout.note(op), layout.place(op.location)
        head.below = then.below or otherwise.below
        if then.below and otherwise.below:
            more = self._line("else:")
            more.below, more.goes_on = otherwise.below, True


_NOWHERE = Region()


def _square(op: Operation, operands: Sequence[Text]) -> Text | None:
    (x,) = operands
    return binary("*", x, x) if x.text.isidentifier() else None


def _reciprocal(op: Operation, operands: Sequence[Text]) -> Text | None:
    return binary("/", Text("1.0"), operands[0]) if op.result.dtype is f64 else None


def _extremum(op: Operation, operands: Sequence[Text]) -> Text | None:
    if not op.result.dtype.is_integer:
        return None  # Python's max and min have no care for NaN.
    return Text(f"{op.name[:3]}({', '.join(x.text for x in operands)})")


#: Scalar operations that a person would write in another way than NumPy's function.
_SPELLINGS: dict[str, Callable[[Operation, Sequence[Text]], Text | None]] = {
    "square": _square,
    "reciprocal": _reciprocal,
    "maximum": _extremum,
    "minimum": _extremum,
}

#: Which operand an operation stores to.
_WRITES = {"store": 1, "add_store": 1, "gemm": 2}

#: Operations whose effect is nothing but that they keep their order among stores.
_READING = frozenset({"alloc", "load"})

_HANDLERS: dict[str, Callable[[Body, Operation, Region], None]] = {
    "alloc": Body._alloc,
    "load": Body._load,
    "store": Body._store,
    "add_store": Body._store,
    "check_index": Body._check_index,
    "gemm": Body._gemm,
    "alias": Body._alias,
    "for": Body._for,
    "while": Body._while,
    "if": Body._if,
}


def _range(lo: Text, hi: Text, step: Text) -> str:
    if step.text != "1":
        return f"{lo}, {hi}, {step}"
    return hi.text if lo.text == "0" else f"{lo}, {hi}"


def _assignment(name: str, text: Text, inplace: bool) -> str:
    """``name = …``, or ``name += …`` where it says the same."""
    if inplace and text.update is not None:
        operator, left, right = text.update
        if operator in ("+", "-", "*", "/") and left == name:
            return f"{name} {operator}= {right}"
        if operator in ("+", "*") and right == name:
            return f"{name} {operator}= {left}"
    return f"{name} = {text}"


def _reads(op: Operation) -> Iterator[Value]:
    """Every value that ``op`` or an operation inside it reads."""
    yield from op.operands
    for inner in op.regions:
        yield from _region_reads(inner)


def _region_reads(region: Region) -> Iterator[Value]:
    for op in region.ops:
        yield from _reads(op)
    yield from region.yields
