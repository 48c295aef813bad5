"""From the operations of a function to lines of source: the heart of the printer.

One printer serves both forms. *Array form* prints a NumPy statement per operation. *Loop form*
prints scalar statements inside explicit loops; there an unnamed scalar that is read once, in the
region that computes it, becomes part of the expression that reads it.

Variables: a carried value of a loop is one variable. Its next value is computed into it at once
where nothing reads the former one any more (see `variables`), so that an accumulation over
nested loops, or in the arm of an ``if``, is ``out += …`` and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tracegrad.backend import lines as layout
from tracegrad.backend.chunks import ChunkCalls
from tracegrad.backend.expression import (
    ATOM,
    SUM,
    Text,
    dim_text,
    dtype_text,
    lazily,
    literal,
    template,
    unary,
)
from tracegrad.backend.lines import Line
from tracegrad.backend.pool import LARGE
from tracegrad.backend.values import SHARING, WRITES, words
from tracegrad.errors import InternalError
from tracegrad.ir.core import Operation, Region, Value
from tracegrad.ir.types import evaluate, f64
from tracegrad.ops.loopform import out_of_bounds


@dataclass(frozen=True)
class Made:
    """An array that the printed function makes, by the line that makes it."""

    value: Value
    name: str
    line: Line
    tape: bool = False
    loops: int = 0


class Body(ChunkCalls):
    """Prints the body of one function; the parameters are those of `Values`.

    Attributes
    ----------
    made : the arrays that the function makes, in the order of the text.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.made: list[Made] = []
        self._depth = 0

    # --- results

    def print(self) -> list[Line]:
        """All lines, the return statement included."""
        if not self._operations(self._function.body):
            return self.lines
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
        if value.op is None or value.op.name in SHARING:
            return False
        # Where the scheduler carries buffers, they are nobody else's.
        return self.loops or not value.op.regions

    # --- operations

    def _operations(self, region: Region) -> bool:
        """The statements of a region; False if it always raises: nothing is run after that."""
        for op in region.ops:
            if op.name == "raise":
                self._raise(op)
                return False
            handler = _HANDLERS.get(op.name)
            if not self._alive(op):
                continue
            if handler is not None:
                handler(self, op, region)
            elif op.opdef.effects:
                raise InternalError(f"the printer does not know the operation {op.name}")
            else:
                self._computation(op, region)
        return True

    def _raise(self, op: Operation) -> None:
        """The text of the message comes from the user: it stands as a literal."""
        kind, message = op.attributes["kind"], op.attributes.get("message")
        self._line(f"raise {kind}" if message is None else f"raise {kind}({literal(message)})", op)

    def _computation(self, op: Operation, region: Region) -> None:
        """An operation that is an expression."""
        self._buffers = frozenset()
        text = self._expression(op)
        if len(op.results) != 1:
            names = [self._variable(result) for result in op.results]
            comma = "," if len(names) == 1 else ""
            self._line(f"{', '.join(names)}{comma} = {text}", op)
            for result, name in zip(op.results, names, strict=True):
                self._define(result, name)
            return
        if op.name in SHARING and op.operands and op.operands[0].rank:
            self._share(op.result, op.operands[0])
        self._offer(op, op.result, text, region)
        if op.result.rank and op.name not in SHARING and op.result in self._texts:
            name = self._texts[op.result].text
            self.made.append(Made(op.result, name, self.lines[-1], False, self._depth))

    # --- memory (loop form)

    def _alloc(self, op: Operation, region: Region) -> None:
        dtype, fill = op.attributes["dtype"], op.attributes.get("fill")
        maker = "np.empty" if fill is None else "np.zeros"
        if fill not in (None, 0):
            raise InternalError(f"a buffer can't be made full of {fill!r}")
        kind = "" if dtype is f64 else f", {dtype_text(dtype)}"
        name = self._variable(op.result)
        large = self._is_large(op.result)
        # What comes from the pool may have been used: zeros are written in any case.
        maker = "large_empty" if large else maker
        # Buffers serve both sweeps: they get no label of their own.
        line = self._line(f"{name} = {maker}({self._shape(op.attributes['shape'])}{kind})")
        tape = "residual" in op.attributes
        if tape:
            self._tapes.add(name)
            line.note, line.place = layout.residual(op), layout.place(op.location)
        elif op.result.rank == 2 and "diagonals" in op.attributes:
            size = dim_text(self._dim(op.result.shape[0]))
            line.note = layout.turned(op.attributes["diagonals"], size.at(ATOM))
        self.made.append(Made(op.result, name, line, tape, self._depth))
        if large and fill is not None:
            self._line(f"{name}.fill(0)")
        self._define(op.result, name)

    def _tape(self, op: Operation, region: Region) -> None:
        length = self._take(op.operands[0])
        shape = [length.text, *(dim_text(self._dim(d)).text for d in op.attributes["shape"])]
        dtype = op.attributes["dtype"]
        kind = "" if dtype is f64 else f", {dtype_text(dtype)}"
        inside = f"({', '.join(shape)})" if len(shape) > 1 else shape[0]
        maker = "np.empty" if length.text == "0" else "np.zeros"
        name = self._variable(op.result)
        line = self._line(f"{name} = {maker}({inside}{kind})")
        line.note, line.place = layout.residual(op), layout.place(op.location)
        self._tapes.add(name)
        self.made.append(Made(op.result, name, line, True, self._depth))
        self._define(op.result, name)

    def _ensure(self, op: Operation, region: Region) -> None:
        array, length = op.operands
        before, least = self._take(array), self._take(length)
        name = self._variable(op.result)
        if before.text != name:
            self._line(f"{name} = {before}")
        # Most of the time there is nothing to do: the test is not left to the call.
        head = self._line(f"if len({name}) < {least.at(SUM)}:")
        with self._below(head):
            self._line(f"{name} = runtime.ensure({name}, {least})")
        self._share(op.result, array)
        self._define(op.result, name)

    def _is_large(self, buffer: Value) -> bool:
        """Whether ``buffer`` is large at the sizes that are expected."""
        bytes_ = buffer.dtype.numpy.itemsize
        try:
            for dim in buffer.shape:
                bytes_ *= evaluate(dim, self._function.hints)
        except KeyError:  # a size that is known at run time only
            return False
        return bytes_ >= LARGE

    def _element(self, buffer: Value, indices: Sequence[Value]) -> str:
        base = self._take(buffer).text
        inside = ", ".join(self._take(index).text for index in indices)
        return f"{base}[{inside or '()'}]"

    def _load(self, op: Operation, region: Region) -> None:
        buffer, *indices = op.operands
        self._buffers = frozenset()
        text = Text(self._element(buffer, indices))
        self._buffers |= {self.root(buffer)}
        self._offer(op, op.result, text, region)

    def _store(self, op: Operation, region: Region) -> None:
        value, buffer, *indices = op.operands
        noted = op
        if op.location is None and value.op is not None:
            noted = value.op
        text = self._take(value)
        element = self._element(buffer, indices)
        self._settle_readers([self.root(buffer)])
        sign = "+=" if op.name == "add_store" else "="
        if op.name == "add_store" and text.opposite is not None:
            sign, text = "-=", text.opposite
        line = self._line(f"{element} {sign} {text}", noted)
        line.part = op.part
        read = value.op.operands[0] if value.op is not None and value.op.name == "load" else None
        if self._is_tape(buffer) or (read is not None and self._is_tape(read)):
            line.note = line.place = ""

    def _check_index(self, op: Operation, region: Region) -> None:
        index, size = op.operands
        text, limit = self._take(index), self._take(size)
        name = self._variable(op.result, "at")
        # A check serves both sweeps.
        self._line(f"{name} = {text}", op).part = None
        if op.attributes.get("negative", True):
            head = self._line(f"if {name} < 0:")
            with self._below(head):
                self._line(f"{name} += {limit}")
            head = self._line(f"if not 0 <= {name} < {limit.at(SUM)}:")
        else:
            head = self._line(f"if {name} >= {limit.at(SUM)}:")
        with self._below(head):
            self._line(f"raise IndexError({literal(out_of_bounds(op))})")
        self._texts[op.result] = Text(name)

    def _gemm(self, op: Operation, region: Region) -> None:
        a, b, out = op.operands
        turned = (op.attributes.get("transpose_a"), op.attributes.get("transpose_b"))
        left, right = (
            f"{self._take(v).at(ATOM)}.T" if turn else self._take(v).text
            for v, turn in zip((a, b), turned, strict=True)
        )
        self._settle_readers([self.root(out)])
        self._line(f"np.dot({left}, {right}, {self._take(out)})", op)
        for result in op.results:
            self._share(result, out)
            self._texts[result] = self._texts[out]

    def _gemm_part(self, op: Operation, region: Region) -> None:
        *arrays, start, count = op.operands
        first, size = (self._take(v).at(SUM) for v in (start, count))
        texts = [self._take(v).at(ATOM) for v in arrays]
        for which, dimension, moving in op.attributes["parts"]:
            part = f"{first} : {first} + {size}" if moving else f":{size}"
            texts[which] += f"[:, {part}]" if dimension else f"[{part}]"
        for which, name in enumerate(("transpose_a", "transpose_b")):
            texts[which] += ".T" if op.attributes.get(name) else ""
        self._settle_readers([self.root(arrays[2])])
        call = "add_product" if op.attributes.get("add") else "put_product"
        self._line(f"{call}({', '.join(texts)})", op)

    def _alias(self, op: Operation, region: Region) -> None:
        (buffer,) = op.operands
        self._share(op.result, buffer)
        shape = self._shape(op.attributes["shape"])
        name = self._variable(op.result)
        self._line(f"{name} = {self._take(buffer).at(ATOM)}.reshape({shape})")
        self._define(op.result, name)

    def _written(self, regions: Iterable[Region]) -> set[Value] | None:
        """The buffers that operations in ``regions`` store to; None when that is unknown."""
        found: set[Value] = set()
        for region in regions:
            for op in region.walk():
                position = WRITES.get(op.name)
                if position is not None:
                    found.add(self.root(op.operands[position]))
                elif op.name == "parallel":
                    positions = (*op.attributes["own"], *op.attributes["written"])
                    found.update(self.root(op.operands[2 + k]) for k in positions)
                elif op.name == "alias":
                    self._share(op.result, op.operands[0])
                elif op.regions:
                    self._share_carried(op)
                elif op.opdef.effects and op.name not in _HANDLERS:
                    return None
        return found

    def _share_carried(self, op: Operation) -> None:
        """Buffers that a loop carries, or that a branch chooses, go by several names.

        Those of one operation count as one: a loop may exchange them.
        """
        inits = op.operands[len(op.operands) - len(op.results) :] if op.name != "if" else ()
        for names in (op.results, inits, *(r.params for r in op.regions)):
            for value in names[len(names) - len(op.results) :]:
                if value.rank:
                    self._share(value, next(r for r in op.results if r.rank))
        for value in (v for region in op.regions for v in region.yields):
            if value.rank:
                self._share(value, next(r for r in op.results if r.rank))

    # --- control flow

    def _assign(
        self, targets: Sequence[str], values: Sequence[Value], *, first: bool = False
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
                    counts = value.dtype.is_integer and not value.hint
                    source = value.op if text.level < ATOM and not counts else None
                    line = self._line(self._assignment(name, text, value), source)
                    if first:
                        line.part = None
                    todo.pop(number)
                    break
            else:
                left = ", ".join(name for name, _, _ in todo)
                self._line(f"{left} = {', '.join(text.text for _, text, _ in todo)}")
                return

    def _define_carries(self, values: Sequence[Value], names: Sequence[str]) -> None:
        for value, name in zip(values, names, strict=True):
            self._define(value, name)

    def _carry_names(self, op: Operation, inits: Sequence[Value]) -> list[str]:
        """The variables of a loop's carried values, set to their first values."""
        self._settle_assigned(op)
        names = [self._variable(result) for result in op.results]
        self._settle_words(names)
        self._assign(names, inits, first=True)
        return names

    def _loop_body(self, body: Region, carried: Sequence[Value], names: list[str]) -> None:
        """The statements of a loop's body, down to the next values of its variables."""
        self._define_carries(carried, names)
        self._depth += 1
        if self._operations(body):
            self._assign(names, body.yields)
        if not self.lines:
            self._line("pass")
        self._depth -= 1

    def _for(self, op: Operation, region: Region) -> None:
        (body,) = op.regions
        lo, hi, step, *inits = op.operands
        counter, *carried = body.params
        limits = _range(self._take(lo), self._take(hi), self._take(step))
        self._share_carried(op)
        names = self._carry_names(op, inits)
        self._settle_readers(self._written(op.regions))
        kind = str(op.attributes.get("kind", "plain"))
        index = self.names.open_loop(counter.hint)
        maker = "prange" if kind == "parallel" else "range"
        head = self._line(f"for {index} in {maker}({limits}):")
        if kind not in ("plain", "parallel"):
            head.note = layout.safe(kind)
        with self._below(head):
            self._texts[counter] = Text(index)
            self._steady.add(counter)
            self._loop_body(body, carried, names)
        if kind in ("copy", "fill"):
            for line in head.below:
                for each in line.walk():  # what the loop is about stands in its head
                    each.note, each.place, each.part = "", "", None
        self.names.close_loop()
        self._define_carries(op.results, names)

    def _while(self, op: Operation, region: Region) -> None:
        condition, body = op.regions
        self._share_carried(op)
        self._settle_readers(self._written(op.regions))
        names = self._carry_names(op, op.operands)
        head = self._line("while True:")
        with self._below(head):
            # The body starts from these very variables: the condition must leave them alone.
            self._define_carries(condition.params, names)
            if self._operations(condition):
                test = self._take(condition.yields[0])
                if self.lines:
                    leave = self._line(f"if {unary('not', lazily(test))}:")
                    with self._below(leave):
                        self._line("break")
                else:
                    head.code = f"while {lazily(test)}:"
                self._loop_body(body, body.params, names)
        self._define_carries(op.results, names)

    def _if(self, op: Operation, region: Region) -> None:
        predicate, *arguments = op.operands
        self._buffers = frozenset()
        test = self._take(predicate)
        read = self._buffers
        for value in arguments:
            self._settle(value)
        self._share_carried(op)
        written = self._written(op.regions)
        self._settle_readers(written)
        for inner in op.regions:
            for param, value in zip(inner.params, arguments, strict=True):
                self._texts[param] = self._texts[value]
        self._settle_assigned(op)
        arms = [Line(""), Line("")]
        simple = self._is_choice(op) and written == set() and not self._goes_on(op.result)
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
        names = [self._variable(result) for result in op.results]
        for arm, inner in zip(arms, op.regions, strict=True):
            with self._below(arm):
                if simple or self._operations(inner):
                    self._assign(names, inner.yields)
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


_HANDLERS: dict[str, Callable[[Body, Operation, Region], None]] = {
    "alloc": Body._alloc,
    "bind": Body._bind,
    "blank": Body._alloc,
    "tape": Body._tape,
    "ensure": Body._ensure,
    "load": Body._load,
    "store": Body._store,
    "add_store": Body._store,
    "check_index": Body._check_index,
    "gemm": Body._gemm,
    "gemm_part": Body._gemm_part,
    "alias": Body._alias,
    "parallel": Body._parallel,
    "for": Body._for,
    "while": Body._while,
    "if": Body._if,
}


def _range(lo: Text, hi: Text, step: Text) -> str:
    if step.text != "1":
        return f"{lo}, {hi}, {step}"
    return hi.text if lo.text == "0" else f"{lo}, {hi}"
