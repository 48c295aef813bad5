"""A builder with a method for each thing that loop form does with memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet

from tracegrad.ir.builder import Builder
from tracegrad.ir.core import Function, Operation, Value
from tracegrad.ir.rewrite import first_carried
from tracegrad.ir.threads import free_values
from tracegrad.ir.types import ArrayType, Dim, Shape, coefficient, i64, scalar, symbol, symbols
from tracegrad.ops.registry import REGISTRY

TILE = 8


def taking_turns(function: Function, made: AbstractSet[Value]) -> set[Value]:
    """The carried buffers of loops that are each memory of its own, and stay so.

    ``x, y = y, x`` at the end of each trip: whichever of two allocations (of ``made``) is which,
    within a trip they are two, and nothing there knows them by another name.
    """
    found: set[Value] = set()
    for op in function.walk():
        if op.name == "for":
            found |= _exchanged(op, made)
    return found


def _exchanged(loop: Operation, made: AbstractSet[Value]) -> set[Value]:
    (body,) = loop.regions
    first = first_carried(loop)
    params = body.params[first:]
    inits = loop.operands[len(loop.operands) - len(params) :]
    buffers = [k for k, v in enumerate(params) if v.rank]
    starts = [root_of(inits[k]) for k in buffers]
    if {body.yields[k] for k in buffers} != {params[k] for k in buffers}:
        return set()
    if len(set(starts)) < len(starts) or any(v not in made for v in starts):
        return set()
    if any(root_of(v) in starts for v in free_values(body) if v.rank):
        return set()
    return {params[k] for k in buffers}


def root_of(buffer: Value) -> Value:
    """The buffer that ``buffer`` is another shape of."""
    while buffer.op is not None and buffer.op.name == "alias":
        buffer = buffer.op.operands[0]
    return buffer


class MemoryBuilder(Builder):
    """Appends buffers, loads, stores and loops over elements."""

    def alloc(
        self, type: ArrayType, hint: str, fill: int | None = None, residual: str | None = None
    ) -> Value:
        """A new buffer: of anything, or of zeros if ``fill`` is 0; a tape, if of a ``residual``."""
        attributes = {"shape": type.shape, "dtype": type.dtype, "fill": fill}
        if residual is not None:
            attributes["residual"] = residual
        made = self.emit(REGISTRY["alloc"], (), attributes, (), [type]).result
        made.hint = hint
        return made

    def filled(self, value: Value, number: Value, hint: str) -> Value:
        """A new buffer like ``value``, full of the constant ``number``."""
        assert number.op is not None
        content = number.op.attributes["value"]
        if content == 0 and str(content) != "-0.0":
            return self.alloc(value.type, hint, 0)
        made = self.alloc(value.type, hint)
        element = self.const(content, value.type)
        self.nest(value.shape, lambda at: self.store("store", element, made, at), "fill")
        return made

    def copied(self, array: Value, hint: str = "") -> Value:
        """A new buffer with the elements of ``array``."""
        made = self.alloc(array.type, hint or array.hint)
        self.nest(
            array.shape, lambda at: self.store("store", self.load(array, at), made, at), "copy"
        )
        return made

    def transposed(self, matrix: Value, hint: str = "") -> Value:
        """A new buffer with the transpose of ``matrix``, in tiles of a few columns.

        A cache line of the matrix is read once. Whole columns would evict each line before its
        next element is read, if the rows are a power of two long.
        """
        rows, columns = matrix.shape
        made = self.alloc(matrix.type.with_shape((columns, rows)), hint)
        tiles = [self.size(d) for d in (0, (columns + TILE - 1) // TILE, 1)]
        with self.open() as region:
            tile = self.param(scalar(i64), "tile")
            start = self.emit(REGISTRY["multiply"], [tile, self.size(TILE)]).result
            left = self.emit(REGISTRY["subtract"], [self.size(columns), start]).result
            count = self.emit(REGISTRY["minimum"], [self.size(TILE), left]).result

            def part(at: list[Value]) -> None:
                ends = [self.size(0), count, self.size(1)]
                with self.open() as innermost:
                    lane = self.param(scalar(i64), "j")
                    column = self.emit(REGISTRY["add"], [start, lane]).result
                    self.store("store", self.load(matrix, [*at, column]), made, [column, *at])
                self.emit(REGISTRY["for"], ends, {"kind": "lanes"}, [innermost], ())

            self.nest((rows,), part)
        self.emit(REGISTRY["for"], tiles, {"kind": "transpose"}, [region], ())
        return made

    def const(self, number: object, type: ArrayType) -> Value:
        """A number of the dtype of ``type``."""
        attributes = {"value": number, "dtype": type.dtype}
        return self.emit(REGISTRY["const"], (), attributes, (), [scalar(type.dtype)]).result

    def size(self, size: Dim) -> Value:
        """A size as an i64 scalar."""
        if isinstance(size, int):
            return self.const(size, scalar(i64))
        return self.emit(REGISTRY["dim"], (), {"size": size}, (), [scalar(i64)]).result

    def affine(self, dim: Dim, indices: Mapping[str, Value]) -> Value:
        """``dim``, a size plus multiples of indices (symbol → index), as an i64 scalar."""
        total: Value | None = None
        rest = dim
        for name in dict.fromkeys(symbols(dim)):
            if name not in indices:
                continue
            factor = coefficient(dim, name)
            assert factor is not None
            rest = rest - symbol(name) * factor
            term = indices[name]
            if factor != 1:
                term = self.emit(REGISTRY["multiply"], [term, self.size(factor)]).result
            total = term if total is None else self.emit(REGISTRY["add"], [total, term]).result
        if total is None:
            return self.size(rest)
        if rest == 0:
            return total
        if isinstance(rest, int) and rest < 0:
            return self.emit(REGISTRY["subtract"], [total, self.size(-rest)]).result
        return self.emit(REGISTRY["add"], [total, self.size(rest)]).result

    def load(self, buffer: Value, at: Sequence[Value], hint: str = "") -> Value:
        loaded = self.emit(REGISTRY["load"], [buffer, *at], {}, (), [scalar(buffer.dtype)]).result
        loaded.hint = hint
        return loaded

    def store(self, name: str, value: Value, buffer: Value, at: Sequence[Value]) -> None:
        self.emit(REGISTRY[name], [value, buffer, *at], {}, (), ())

    def nest(self, shape: Shape, body: Callable[[list[Value]], None], kind: str = "plain") -> None:
        """Loops over ``shape`` around what ``body(indices)`` appends."""

        def level(indices: list[Value], rest: Shape) -> None:
            if not rest:
                body(indices)
                return
            bounds = [self.size(0), self.size(rest[0]), self.size(1)]
            with self.open() as region:
                index = self.param(scalar(i64), "")
                level([*indices, index], rest[1:])
            self.emit(REGISTRY["for"], bounds, {"kind": kind}, [region], ())

        level([], shape)
