"""The functions that CPython calls: arguments in, statements, results out.

``values`` takes objects and puts the objects of results side by side: it is what `caller` goes to.
``entry`` is a ``METH_FASTCALL`` function that returns them as one object. An argument that is not
exactly what the kernel was made for (another dtype, rank, layout or type) raises TypeError before
anything is done, so that the caller tries another way.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass

from tracegrad.backend.native import neighbours, webs
from tracegrad.backend.native.externals import ENTRY, VALUES
from tracegrad.backend.native.giving import MISMATCH, Given, givable, type_numbers
from tracegrad.backend.native.lock import Lock
from tracegrad.backend.native.names import Names
from tracegrad.backend.native.parts import Parts
from tracegrad.backend.native.program import PARTS, Failure, Program
from tracegrad.backend.native.types import (
    BOOL,
    F64,
    I64,
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
from tracegrad.backend.native.writer import FIRST_NOTE, Module, Writer

# Offsets in NumPy's array object; part of its binary interface.
_DATA, _RANK, _SHAPE, _DESCR, _FLAGS = 16, 24, 32, 56, 64
_TYPE_NUMBER, _BYTE_ORDER = 28, 26

TUPLE_ITEMS = 24
"""Where the items of a tuple are; part of CPython's binary interface."""

_C_CONTIGUOUS, _ALIGNED, _WRITEABLE = 0x1, 0x100, 0x400


@dataclass(frozen=True)
class Text:
    """A module's LLVM text, and what its table of addresses and its failures are."""

    llvm: str
    addresses: tuple[str, ...]


def write(source: str, name: str, types: Sequence[Type], settings: Settings) -> Text:
    """The module of the function ``name`` of a printed text.

    Raises
    ------
    Unsupported : the text holds something that is not known here.
    """
    tree = ast.parse(source)
    function = next(
        (n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == name), None
    )
    if function is None or function.decorator_list:
        raise Unsupported(f"no function {name}")
    meanings = _meanings(tree)
    parts = {n.name: n for n in tree.body if isinstance(n, ast.FunctionDef) and n is not function}
    meanings |= {part: f"{PARTS}.{part}" for part in parts}
    try:
        return _write(function, types, meanings, parts, settings)
    except TypeChange:
        return _write(webs.apart(function), types, meanings, parts, settings)


def _write(
    function: ast.FunctionDef,
    types: Sequence[Type],
    meanings: dict[str, str],
    parts: dict[str, ast.FunctionDef],
    settings: Settings,
) -> Text:
    module = Module()
    module.neighbours = neighbours.in_picked_rows([function, *parts.values()])
    writer = Writer(module)
    names = [each.arg for each in function.args.args]
    if len(names) != len(types):
        raise Unsupported("another number of parameters")
    given = zip(names, types, strict=True)
    ranks = {name: type.rank for name, type in given if isinstance(type, Array)}
    failures: list[Failure] = []
    program = Program(
        writer,
        settings,
        function,
        Names(function, ranks, parts),
        meanings,
        Lock(writer, "given up" if settings.nogil else "held"),
        failures,
        Parts(module, parts, meanings, settings, failures),
    )
    program.arrays.use_stack()
    program.arrays.given = Given(writer, givable(function), len(types))
    entry = _Entry(writer, program)
    entry.write(function, types)
    packing = _packing(module, max(0, entry.count))
    return Text(_text(writer, program, packing), tuple(module.addresses))


def _meanings(tree: ast.Module) -> dict[str, str]:
    """What the names that a module imports stand for."""
    found: dict[str, str] = {}
    for node in tree.body:
        if isinstance(node, ast.Import):
            for each in node.names:
                found[each.asname or each.name.partition(".")[0]] = (
                    each.name if each.asname else each.name.partition(".")[0]
                )
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for each in node.names:
                found[each.asname or each.name] = f"{node.module}.{each.name}"
        elif not isinstance(node, ast.FunctionDef) and not _is_docstring(node):
            raise Unsupported(f"statement {type(node).__name__} in a module")
    return found


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


class _Entry:
    """Writes the way from Python's arguments to the program's, and its results back."""

    def __init__(self, writer: Writer, program: Program) -> None:
        self.writer = writer
        self.program = program
        self.mismatch = writer.label("mismatch")
        self.count = -1
        """How many results there are; every way out returns as many."""

    def write(self, function: ast.FunctionDef, types: Sequence[Type]) -> None:
        arguments = function.args
        names = [each.arg for each in arguments.args]
        if arguments.defaults or arguments.vararg or arguments.kwarg or arguments.kwonlyargs:
            raise Unsupported("these parameters")
        writer, op = self.writer, self.writer.op
        outputs = self.program.arrays.given
        assert outputs is not None
        right = op(f"icmp eq i64 %count, {len(names)}")
        if outputs.names:
            more = op(f"icmp eq i64 %count, {len(names) + len(outputs.names)}")
            right = op(f"or i1 {right}, {more}")
        self._go_on_if(right)
        given: dict[str, Value] = {}
        arrays: list[tuple[str, str]] = []
        for number, (name, type) in enumerate(zip(names, types, strict=True)):
            place = op(f"getelementptr ptr, ptr %arguments, i64 {number}")
            argument = op(f"load ptr, ptr {place}")
            if isinstance(type, Array):
                view = self._array(argument, type, name in self.program.names.written)
                arrays.append((argument, self.program.arrays.bytes(view)))
                given[name] = view
            else:
                given[name] = self._number(argument, type)
        outputs.read(len(names), self.mismatch, arrays)
        status = self.program.write(given, self._finish)
        failed, done = writer.label("failed"), writer.label("done")
        writer.branch(op(f"icmp sgt i32 {status}, 0"), failed, done, rare=True)
        writer.start(failed)
        self._raise(status)
        writer.jump(done)
        writer.start(done)
        writer.do(f"ret i1 {op(f'icmp eq i32 {status}, -1')}")
        writer.open = False
        writer.start(self.mismatch)
        kind = writer.address("exception.builtins.TypeError")
        text = writer.module.message(MISMATCH)
        set_ = writer.address("PyErr_SetString")
        writer.do(f"call void {set_}(ptr {kind}, ptr {text})")
        writer.do("ret i1 false")
        writer.open = False

    def _go_on_if(self, condition: str) -> None:
        fine = self.writer.label("fine")
        self.writer.branch(condition, fine, self.mismatch)
        self.writer.start(fine)

    # --- arguments

    def _field(self, object: str, offset: int, type: str) -> str:
        place = self.writer.op(f"getelementptr i8, ptr {object}, i64 {offset}")
        return self.writer.op(f"load {type}, ptr {place}")

    def _array(self, argument: str, type: Array, written: bool) -> View:
        op = self.writer.op
        kind = self._field(argument, 8, "ptr")
        self._go_on_if(op(f"icmp eq ptr {kind}, {self.writer.address('PyArray_Type')}"))
        rank = self._field(argument, _RANK, "i32")
        flags = self._field(argument, _FLAGS, "i32")
        wanted = _C_CONTIGUOUS | _ALIGNED | (_WRITEABLE if written else 0)
        order = op(f"and i32 {flags}, {wanted}")
        right = op(f"icmp eq i32 {order}, {wanted}")
        fits = op(f"icmp eq i32 {rank}, {type.rank}")
        self._go_on_if(op(f"and i1 {right}, {fits}"))
        self._check_dtype(self._field(argument, _DESCR, "ptr"), type)
        data = self._field(argument, _DATA, "ptr")
        sizes = self._field(argument, _SHAPE, "ptr")
        shape = []
        for axis in range(type.rank):
            place = op(f"getelementptr i64, ptr {sizes}, i64 {axis}")
            shape.append(op(f"load i64, ptr {place}, !range !2"))
        return View(type, data, tuple(shape), scope=self.program.arrays.scopes.arguments)

    def _check_dtype(self, descr: str, type: Array) -> None:
        """The dtype by its number: int64 may have two."""
        op = self.writer.op
        number = self._field(descr, _TYPE_NUMBER, "i32")
        matches = ""
        for each in type_numbers(type.dtype):
            same = op(f"icmp eq i32 {number}, {each}")
            matches = op(f"or i1 {matches}, {same}") if matches else same
        order = self._field(descr, _BYTE_ORDER, "i8")
        native = op(f"icmp eq i8 {order}, {ord('=')}")
        whole = op(f"icmp eq i8 {order}, {ord('|')}")
        self._go_on_if(op(f"and i1 {matches}, {op(f'or i1 {native}, {whole}')}"))

    def _number(self, argument: str, type: Scalar) -> Number:
        writer, op = self.writer, self.writer.op
        if type.is_float:
            found = writer.call("PyFloat_AsDouble", "double", f"ptr {argument}")
            suspicious = op(f"fcmp oeq double {found}, -1.0")
            self._refuse_failed(suspicious)
            return self.program.scalars.cast(Number(F64, found), type)
        if type.is_bool:
            found = writer.call("PyObject_IsTrue", "i32", f"ptr {argument}")
            self._refuse_failed(op(f"icmp eq i32 {found}, -1"))
            return Number(BOOL, op(f"icmp ne i32 {found}, 0"))
        if type.kind == "u" and type.size == 8:
            raise Unsupported("a uint64 argument")
        found = writer.call("PyLong_AsLongLong", "i64", f"ptr {argument}")
        self._refuse_failed(op(f"icmp eq i64 {found}, -1"))
        return self.program.scalars.cast(Number(I64, found), type)

    def _refuse_failed(self, suspicious: str) -> None:
        """Leave with the error that a conversion set, if it set one."""
        writer = self.writer
        ask, failed, fine = (writer.label(n) for n in ("ask", "failed", "fine"))
        writer.branch(suspicious, ask, fine, rare=True)
        writer.start(ask)
        error = writer.call("PyErr_Occurred", "ptr")
        writer.branch(writer.op(f"icmp eq ptr {error}, null"), fine, failed)
        writer.start(failed)
        writer.do("ret i1 false")
        writer.open = False
        writer.start(fine)

    # --- results

    def _finish(self, results: Sequence[Value]) -> None:
        writer, op = self.writer, self.writer.op
        if self.count not in (-1, len(results)):
            raise Unsupported("another number of results")
        self.count = len(results)
        objects = [self._object(each) for each in results]
        missing = "false"
        for number, (each, object) in enumerate(zip(results, objects, strict=True)):
            place = op(f"getelementptr ptr, ptr %results, i64 {number}")
            writer.do(f"store ptr {object}, ptr {place}")
            if isinstance(each, Number):
                missing = op(f"or i1 {missing}, {op(f'icmp eq ptr {object}, null')}")
        if missing == "false":
            return
        failed, fine = writer.label("failed"), writer.label("fine")
        writer.branch(missing, failed, fine, rare=True)
        writer.start(failed)
        for object in objects:
            writer.call("Py_DecRef", "void", f"ptr {object}")
        self.program.fail("", None)
        writer.start(fine)

    def _object(self, value: Value) -> str:
        if isinstance(value, View):
            return value.owner
        writer, scalars = self.writer, self.program.scalars
        if value.type.is_float:
            number = scalars.cast(value, F64).text
            return writer.call("PyFloat_FromDouble", "ptr", f"double {number}")
        if value.type.is_bool:
            word = writer.op(f"zext i1 {value.text} to i64")
            return writer.call("PyBool_FromLong", "ptr", f"i64 {word}")
        if value.type.kind == "u" and value.type.size == 8:
            raise Unsupported("a uint64 result")
        return writer.call("PyLong_FromLongLong", "ptr", f"i64 {scalars.cast(value, I64).text}")

    # --- failures

    def _raise(self, status: str) -> None:
        """Set the exception of a failure: its type and its message are in two tables."""
        writer, op = self.writer, self.writer.op
        count = len(self.program.failures)
        if not count:
            return
        kinds, messages, lines, names = [], [], [], []
        for failure in self.program.failures:
            kinds.append(f"i64 {writer.module.address(f'exception.{failure.exception}')}")
            message = failure.message
            said = "null" if message is None else writer.module.message(message)
            messages.append(f"ptr {said}")
            lines.append(f"i32 {failure.line}")
            names.append(f"ptr {writer.module.message(failure.function)}")
        kind = op(f"load i64, ptr {self._entry_of('kinds', 'i64', kinds, status)}")
        kind = op(f"load ptr, ptr {op(f'getelementptr ptr, ptr @addresses, i64 {kind}')}")
        text = op(f"load ptr, ptr {self._entry_of('texts', 'ptr', messages, status)}")
        bare, spoken, set_ = (writer.label(n) for n in ("bare", "spoken", "set"))
        writer.branch(op(f"icmp eq ptr {text}, null"), bare, spoken)
        writer.start(bare)
        writer.call("PyErr_SetNone", "void", f"ptr {kind}")
        writer.jump(set_)
        writer.start(spoken)
        writer.call("PyErr_SetString", "void", f"ptr {kind}", f"ptr {text}")
        writer.start(set_)
        trace = writer.address("_PyTraceback_Add")
        traced, end = writer.label("traced"), writer.label("end")
        writer.branch(op(f"icmp eq ptr {trace}, null"), end, traced)
        writer.start(traced)
        line = op(f"load i32, ptr {self._entry_of('lines', 'i32', lines, status)}")
        name = op(f"load ptr, ptr {self._entry_of('names', 'ptr', names, status)}")
        file = writer.address("file")
        writer.do(f"call void {trace}(ptr {name}, ptr {file}, i32 {line})")
        writer.start(end)

    def _entry_of(self, name: str, type: str, values: Sequence[str], status: str) -> str:
        """The place of a failure's entry in a table of constants."""
        table = f"failure_{name}"
        text = f"@{table} = private constant [{len(values)} x {type}] [{', '.join(values)}]"
        self.writer.module.define(table, text)
        number = self.writer.op(f"zext i32 {self.writer.op(f'sub i32 {status}, 1')} to i64")
        return self.writer.op(f"getelementptr {type}, ptr @{table}, i64 {number}")


def _packing(module: Module, count: int) -> str:
    """The function ``entry``: one result as it is, several as a tuple, None where there is none."""
    writer = Writer(module)
    op, do = writer.op, writer.do
    results = writer.slot(f"[{max(1, count)} x ptr]")
    well = op(f"call i1 @{VALUES}(ptr %arguments, i64 %count, ptr {results})")
    packing, failed = writer.label("packing"), writer.label("failed")
    writer.branch(op(f"xor i1 {well}, true"), failed, packing, rare=True)
    writer.start(packing)
    if count == 1:
        do(f"ret ptr {op(f'load ptr, ptr {results}')}")
    elif not count:
        none = writer.address("Py_None")
        writer.call("Py_IncRef", "void", f"ptr {none}")
        do(f"ret ptr {none}")
    else:
        made = writer.call("PyTuple_New", "ptr", f"i64 {count}")
        release, fine = writer.label("release"), writer.label("fine")
        writer.branch(op(f"icmp eq ptr {made}, null"), release, fine, rare=True)
        writer.start(fine)
        for number in range(count):
            found = op(f"getelementptr ptr, ptr {results}, i64 {number}")
            place = op(f"getelementptr i8, ptr {made}, i64 {TUPLE_ITEMS + 8 * number}")
            do(f"store ptr {op(f'load ptr, ptr {found}')}, ptr {place}")
        do(f"ret ptr {made}")
        writer.open = False
        writer.start(release)
        for number in range(count):
            found = op(f"getelementptr ptr, ptr {results}, i64 {number}")
            writer.call("Py_DecRef", "void", f"ptr {op(f'load ptr, ptr {found}')}")
        writer.jump(failed)
    writer.open = False
    writer.start(failed)
    do("ret ptr null")
    head = f"define ptr @{ENTRY}(ptr %self, ptr %arguments, i64 %count) {{\nstart:"
    return "\n".join([head, *writer.slots, *writer.lines, "}"])


def _text(writer: Writer, program: Program, packing: str) -> str:
    head = f"define i1 @{VALUES}(ptr %arguments, i64 %count, ptr %results) noinline {{\nstart:"
    return with_notes(writer.module, [head, *writer.slots, *writer.lines, "}", packing])


def with_notes(module: Module, functions: Sequence[str]) -> str:
    """The text of a module: what functions need, the functions, and the metadata they name."""
    notes = [
        '!0 = !{!"branch_weights", i32 1, i32 2000}',
        "!1 = !{}",
        f"!2 = !{{i64 0, i64 {2**62}}}",
        *(f"!{FIRST_NOTE + number} = {note}" for number, note in enumerate(module.notes)),
        *([neighbours.MARK] if module.neighbours else []),
    ]
    return "\n".join([module.text(), *functions, *notes])
