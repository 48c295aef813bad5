"""Loops on several threads: the functions of a text besides its entry, and what runs them.

A part (``loop_1``) is a function of LLVM's, compiled once. The kernel calls it for all trips, or
has the pool of threads call it for each chunk of them: the arguments go into a closure, from which
a small function takes them out again. A part ends with a status, as the kernel itself does; the
first bad one in the order of the chunks becomes the kernel's. Python is nowhere in a part, and the
interpreter's lock is given up while chunks run.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass

from tracegrad.backend.native import webs
from tracegrad.backend.native.lock import Lock
from tracegrad.backend.native.names import Names
from tracegrad.backend.native.program import Failure, Program
from tracegrad.backend.native.types import (
    I64,
    NATURAL,
    Array,
    Number,
    Scalar,
    Settings,
    Type,
    TypeChange,
    Unsupported,
    Value,
    View,
)
from tracegrad.backend.native.writer import FEW_TRIPS, Module, Writer
from tracegrad.backend.threads import CHUNKS


@dataclass(frozen=True)
class Part:
    """A function that is written.

    Attributes
    ----------
    symbol : its name in the module.
    types : of its parameters.
    results : the types of what it gives, each into memory that its caller names.
    """

    symbol: str
    types: tuple[Type, ...]
    results: tuple[Scalar, ...]


class Parts:
    """The parts of one module, each written when it is first called.

    Parameters
    ----------
    functions : their syntax trees, by name.
    """

    def __init__(
        self,
        module: Module,
        functions: dict[str, ast.FunctionDef],
        meanings: dict[str, str],
        settings: Settings,
        failures: list[Failure],
    ) -> None:
        self.module = module
        self.functions = functions
        self.meanings = meanings
        self.settings = settings
        self.failures = failures
        self._written: dict[str, Part] = {}
        self._chunks = 0

    # --- parts

    def part(self, name: str, types: Sequence[Type]) -> Part:
        """The part ``name`` for arguments of these types."""
        known = self._written.get(name)
        if known is None:
            function = self.functions[name]
            try:
                known = self._write(function, types)
            except TypeChange:
                try:
                    known = self._write(webs.apart(function), types)
                except TypeChange as change:
                    raise Unsupported(str(change)) from change
            self._written[name] = known
        if known.types != tuple(types):
            raise Unsupported(f"{name} for arguments of other types")
        return known

    def _write(self, function: ast.FunctionDef, types: Sequence[Type]) -> Part:
        arguments = function.args
        names = [each.arg for each in arguments.args]
        if arguments.defaults or arguments.vararg or arguments.kwarg or arguments.kwonlyargs:
            raise Unsupported(f"the parameters of {function.name}")
        if function.decorator_list or len(names) != len(types):
            raise Unsupported(f"another number of parameters of {function.name}")
        writer = Writer(self.module)
        given: dict[str, Value] = {}
        parameters: list[str] = []
        for name, type in zip(names, types, strict=True):
            number = len(parameters)
            if isinstance(type, Scalar):
                parameters.append(f"{type.llvm} %p{number}")
                given[name] = Number(type, f"%p{number}")
                continue
            # What a part writes is apart from all that it reads.
            parameters.append(f"ptr noalias %p{number}")
            shape = []
            for _ in range(type.rank):
                size = f"%p{len(parameters)}"
                parameters.append(f"i64 {size}")
                shape.append(writer.op(f"and i64 {size}, {NATURAL}"))
            given[name] = View(type, f"%p{number}", tuple(shape))
        ranks = {n: t.rank for n, t in zip(names, types, strict=True) if isinstance(t, Array)}
        program = Program(
            writer,
            self.settings,
            function,
            Names(function, ranks),
            self.meanings,
            Lock(writer, "absent"),
            self.failures,
        )
        results: list[Scalar] = []

        def finish(values: Sequence[Value]) -> None:
            if results:
                raise Unsupported("a part that returns in two places")
            for value in values:
                if not isinstance(value, Number):
                    raise Unsupported("a part that gives an array")
                program.arrays.store(value, value.type, f"%r{len(results)}")
                results.append(value.type)

        status = program.write(given, finish)
        writer.do(f"ret i32 {status}")
        writer.open = False
        parameters += [f"ptr %r{number}" for number in range(len(results))]
        symbol = f"part.{function.name}"
        head = (
            f"define internal i32 @{symbol}({', '.join(parameters)}) noinline nounwind {{\nstart:"
        )
        # Written anew if a name changed its type.
        self.module.definitions[symbol] = "\n".join([head, *writer.slots, *writer.lines, "}"])
        return Part(symbol, tuple(types), tuple(results))

    # --- calls

    def call(self, within: Program, name: str, node: ast.Call) -> list[Number]:
        """``loop_1(0, n, …)``: all trips, here."""
        if node.keywords:
            raise Unsupported(ast.unparse(node))
        values = [within.value(each) for each in node.args]
        part = self.part(name, [_type(value) for value in values])
        writer, arrays = within.writer, within.arrays
        places = [writer.slot(type.memory) for type in part.results]
        operands = [each for value in values for each in _operands(value)]
        within.lock.leave()
        status = _called(writer, part, operands, places)
        within.go_on_if_well(status)
        return [arrays.load(type, place) for type, place in zip(part.results, places, strict=True)]

    def run(self, within: Program, node: ast.Call) -> None:
        """``in_parallel(loop_1, chunks, lo, hi, (…), (…))``: trips in chunks, on all threads."""
        if len(node.args) != 6 or node.keywords:
            raise Unsupported(ast.unparse(node))
        name, *numbers, given, sums = node.args
        if not isinstance(name, ast.Name) or name.id not in self.functions:
            raise Unsupported(ast.unparse(node))
        if not isinstance(given, ast.Tuple) or not isinstance(sums, ast.Tuple):
            raise Unsupported(ast.unparse(node))
        chunks, lo, hi = (within.integer(each) for each in numbers)
        arguments = [self._argument(within, each) for each in given.elts]
        totals = [within.view(each) for each in sums.elts]
        types = [I64, I64, *(_type(value) for value, _ in arguments)]
        part = self.part(name.id, types)
        if [total.type for total in totals] != [Array(type, 1) for type in part.results]:
            raise Unsupported(ast.unparse(node))
        writer, op = within.writer, within.writer.op
        statuses = writer.slot(f"[{CHUNKS} x i32]")
        fields = [f"i64 {lo.text}", f"i64 {hi.text}", f"i64 {chunks.text}", f"ptr {statuses}"]
        for value, rows in arguments:
            fields += [*_operands(value), *([] if rows is None else [f"ptr {rows.data}"])]
        fields += [f"ptr {total.data}" for total in totals]
        structure = f"{{ {', '.join(field.split()[0] for field in fields)} }}"
        closure = writer.slot(structure)
        for number, field in enumerate(fields):
            place = op(f"getelementptr {structure}, ptr {closure}, i32 0, i32 {number}")
            writer.do(f"store {field}, ptr {place}")
        chunk = self._chunk(part, structure, arguments)
        with within.lock.without():
            operands = (f"ptr {chunk}", f"ptr {closure}", f"i64 {chunks.text}")
            writer.call("threads.run", "void", *operands)
        self._look_at(within, statuses, chunks)

    def _argument(self, within: Program, node: ast.expr) -> tuple[Value, View | None]:
        """What a chunk is given; for an array of its own the first chunk's, and the others'."""
        if not isinstance(node, ast.Tuple):
            return within.value(node), None
        first, rows = (within.view(each) for each in node.elts)
        if rows.type != Array(first.type.element, first.type.rank + 1):
            raise Unsupported(ast.unparse(node))
        return first, rows

    def _chunk(
        self, part: Part, structure: str, arguments: Sequence[tuple[Value, View | None]]
    ) -> str:
        """The function ``(closure, c)`` that the pool calls."""
        writer = Writer(self.module)
        op = writer.op
        taken = 0

        def take(type: str) -> str:
            nonlocal taken
            place = op(f"getelementptr {structure}, ptr %closure, i32 0, i32 {taken}")
            taken += 1
            return op(f"load {type}, ptr {place}")

        lo, hi, chunks = (take("i64") for _ in range(3))
        statuses = take("ptr")
        trips = op(f"sub i64 {hi}, {lo}")
        operands = []
        for number in ("%c", op("add i64 %c, 1")):
            share = op(f"sdiv i64 {op(f'mul i64 {trips}, {number}')}, {chunks}")
            operands.append(f"i64 {op(f'add i64 {lo}, {share}')}")
        for value, rows in arguments:
            if isinstance(value, Number):
                operands.append(f"{value.type.llvm} {take(value.type.llvm)}")
                continue
            data = take("ptr")
            shape = [take("i64") for _ in value.shape]
            if rows is not None:
                size = str(value.type.element.size)
                for dim in shape:
                    size = op(f"mul i64 {size}, {dim}")
                offset = op(f"mul i64 {size}, {op('sub i64 %c, 1')}")
                row = op(f"getelementptr i8, ptr {take('ptr')}, i64 {offset}")
                data = op(f"select i1 {op('icmp eq i64 %c, 0')}, ptr {data}, ptr {row}")
            operands += [f"ptr {data}", *(f"i64 {dim}" for dim in shape)]
        totals = [
            op(f"getelementptr {type.memory}, ptr {take('ptr')}, i64 %c") for type in part.results
        ]
        status = _called(writer, part, operands, totals)
        writer.do(f"store i32 {status}, ptr {op(f'getelementptr i32, ptr {statuses}, i64 %c')}")
        writer.do("ret void")
        self._chunks += 1
        name = f"chunk{self._chunks}.{part.symbol}"
        head = f"define internal void @{name}(ptr %closure, i64 %c) nounwind {{\nstart:"
        return self.module.define(name, "\n".join([head, *writer.slots, *writer.lines, "}"]))

    def _look_at(self, within: Program, statuses: str, chunks: Number) -> None:
        """End as the first chunk that failed did."""
        writer, op = within.writer, within.writer.op
        head, body, latch, end = (writer.label(n) for n in ("head", "body", "latch", "end"))
        before = writer.reachable()
        writer.start(head)
        following = writer.fresh()
        c = op(f"phi i64 [ 0, %{before} ], [ {following}, %{latch} ]")
        writer.branch(op(f"icmp slt i64 {c}, {chunks.text}"), body, end)
        writer.start(body)
        place = op(f"getelementptr i32, ptr {statuses}, i64 {c}")
        within.go_on_if_well(op(f"load i32, ptr {place}"))
        writer.start(latch)
        writer.do(f"{following} = add i64 {c}, 1")
        writer.jump_back(head, FEW_TRIPS)
        writer.start(end)


def _called(writer: Writer, part: Part, operands: Sequence[str], places: Sequence[str]) -> str:
    given = ", ".join([*operands, *(f"ptr {place}" for place in places)])
    return writer.op(f"call i32 @{part.symbol}({given})")


def _type(value: Value) -> Type:
    if isinstance(value, View) and value.column_major:
        raise Unsupported("a transposed array for a part")
    return value.type


def _operands(value: Value) -> list[str]:
    """A value as the operands of a call, each with its type."""
    if isinstance(value, Number):
        return [f"{value.type.llvm} {value.text}"]
    return [f"ptr {value.data}", *(f"i64 {dim}" for dim in value.shape)]
