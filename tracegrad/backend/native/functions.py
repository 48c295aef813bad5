"""Functions that kernels call: helpers, compiled into the kernel's module, and externals.

A helper becomes an internal function of LLVM, once for the types of its arguments; LLVM decides
whether to inline it. It gives its results and a status, as a kernel's body does; see
`tracegrad.backend.helpers` for what it may be.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tracegrad.backend.helpers import External, Helper, RowFunction
from tracegrad.backend.native import webs
from tracegrad.backend.native.lock import Lock
from tracegrad.backend.native.names import Names
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
    scalar,
)
from tracegrad.backend.native.writer import Module, Writer

if TYPE_CHECKING:
    from tracegrad.backend.native.expressions import Expressions

Failure = tuple[str, "str | None"]

_ANNOTATED = {"float": F64, "int": I64, "bool": BOOL}
_LETTERS = {"d": F64, "l": I64, "i": scalar("int32"), "f": scalar("float32")}


@dataclass(frozen=True)
class Written:
    """A helper that is in the module.

    Attributes
    ----------
    symbol : its name there.
    parameters : what arguments are made before the call.
    failures : the exceptions it may end with, beside the one that is set already.
    fails : whether it may end with any.
    """

    symbol: str
    parameters: tuple[Type, ...]
    results: tuple[Scalar, ...]
    failures: tuple[Failure, ...]
    fails: bool

    @property
    def result(self) -> str:
        """The LLVM type: the results, and how it ended."""
        return "{ " + ", ".join([*(each.llvm for each in self.results), "i32"]) + " }"


def call(within: Expressions, helper: Helper, operands: Sequence[Value]) -> list[Number]:
    """Write a call; the helper, if it is the first. Its results."""
    writer = within.writer
    node, _ = _parsed(helper.function)
    wanted = _wanted(node, operands)
    key = (helper.function, wanted)
    written = writer.module.helpers.get(key)
    if written is None:
        symbol = f"helper{len(writer.module.helpers)}_{node.name}"
        written = writer.module.helpers[key] = _write(helper, wanted, symbol, writer.module)
    given = []
    for operand, type in zip(operands, wanted, strict=True):
        if isinstance(operand, View):
            given.append(f"ptr {operand.data}")
            given += [f"i64 {dim}" for dim in operand.shape]
        else:
            assert isinstance(type, Scalar)
            given.append(f"{type.llvm} {within.scalars.cast(operand, type).text}")
    kind = written.result
    found = writer.op(f"call {kind} @{written.symbol}({', '.join(given)})")
    if written.fails:
        status = writer.op(f"extractvalue {kind} {found}, {len(written.results)}")
        within.pass_on(status, written.failures)
    return [
        Number(type, writer.op(f"extractvalue {kind} {found}, {number}"))
        for number, type in enumerate(written.results)
    ]


def call_external(within: Expressions, function: External, operands: Sequence[Number]) -> Number:
    """Write a call of an address."""
    letters = function.operands
    if len(letters) != len(operands):
        raise Unsupported(f"another number of operands of {function.provider}")
    kinds = [_LETTERS[letter] for letter in letters]
    cast = within.scalars.cast
    given = [f"{k.llvm} {cast(x, k).text}" for k, x in zip(kinds, operands, strict=True)]
    writer, result = within.writer, _LETTERS[function.result]
    place = writer.address(function.provider)
    # They only compute, so that a call whose result nobody reads may go.
    if not function.written:
        # Cython's functions that Python sees, too, take a last word that says who calls.
        given.append("i32 0")
        text = f"call {result.llvm} {place}({', '.join(given)}) nounwind memory(none)"
        return Number(result, writer.op(text))
    slots = [writer.slot(result.llvm) for _ in range(function.written)]
    given += [f"ptr {slot}" for slot in slots]
    writer.do(f"call void {place}({', '.join(given)}) nounwind memory(argmem: write)")
    return Number(result, writer.op(f"load {result.llvm}, ptr {slots[function.taken]}"))


def call_of_row(
    within: Expressions, function: RowFunction, operands: Sequence[Value]
) -> list[Number]:
    """Write a call of NumPy's function of a row, or of a part of it; its result, if it has one.

    The operands are arrays of three axes, of which the last has one element, the row, and where a
    part begins and ends.
    """
    views = [each for each in operands if isinstance(each, View)]
    row, *part = (each for each in operands if isinstance(each, Number))
    writer, arrays = within.writer, within.arrays
    size = views[0].shape[1]
    if part:
        first, last = part
        size = writer.op(f"sub i64 {last.text}, {first.text}")
    given = [f"ptr {arrays.place(view, [row, *part[:1]])}" for view in views]
    given.append(f"i64 {size}")
    found = writer.slot("i64") if function.name in ("argmax", "argmin") else None
    if found is not None:
        given.append(f"ptr {found}")
    # The last word is an array, for dtypes that are not as simple.
    name = f"array.{function.name}:{views[0].type.element.name}"
    writer.call(name, "i32", *given, "ptr null")
    return [] if found is None else [arrays.load(I64, found)]


# --- writing ----------------------------------------------------------------------------------


def _wanted(node: ast.FunctionDef, operands: Sequence[Value]) -> tuple[Type, ...]:
    """What each argument is passed as."""
    parameters = node.args.args
    if len(parameters) != len(operands):
        raise Unsupported(f"another number of arguments of {node.name}")
    found: list[Type] = []
    for parameter, operand in zip(parameters, operands, strict=True):
        annotation = parameter.annotation
        named = _ANNOTATED.get(annotation.id) if isinstance(annotation, ast.Name) else None
        if isinstance(operand, View):
            if named is not None or operand.column_major:
                raise Unsupported(f"the argument {parameter.arg} of {node.name}")
            found.append(operand.type)
        else:
            found.append(named or operand.type)
    return tuple(found)


def _results(node: ast.FunctionDef) -> tuple[Scalar, ...]:
    """The types in the annotation of the result."""
    said = node.returns
    if isinstance(said, ast.Constant) and said.value is None:
        return ()
    parts = [said]
    if isinstance(said, ast.Subscript) and ast.unparse(said.value) == "tuple":
        parts = list(said.slice.elts) if isinstance(said.slice, ast.Tuple) else [said.slice]
    found = [_ANNOTATED.get(each.id) if isinstance(each, ast.Name) else None for each in parts]
    if None in found:
        raise Unsupported(f"the result of {node.name}")
    return tuple(each for each in found if each is not None)


def _write(helper: Helper, wanted: tuple[Type, ...], symbol: str, module: Module) -> Written:
    node, meanings = _parsed(helper.function)
    settings = Settings(tuple(helper.flags))
    try:
        return _write_as(node, meanings, settings, wanted, symbol, module)
    except TypeChange:
        return _write_as(webs.apart(node), meanings, settings, wanted, symbol, module)


def _write_as(
    node: ast.FunctionDef,
    meanings: dict[str, str],
    settings: Settings,
    wanted: tuple[Type, ...],
    symbol: str,
    module: Module,
) -> Written:
    from tracegrad.backend.native.program import Program

    writer = Writer(module)
    names = [each.arg for each in node.args.args]
    given = list(zip(names, wanted, strict=True))
    ranks = {name: type.rank for name, type in given if isinstance(type, Array)}
    lock = Lock(writer, "absent")
    program = Program(writer, settings, node, Names(node, ranks), meanings, lock, [])
    results = _results(node)
    slots = [writer.slot(type.llvm) for type in results]

    def finish(found: Sequence[Value]) -> None:
        if len(found) != len(results):
            raise Unsupported(f"the results of {node.name}")
        for value, type, slot in zip(found, results, slots, strict=True):
            if not isinstance(value, Number):
                raise Unsupported(f"{node.name} returns an array")
            writer.do(f"store {type.llvm} {program.scalars.cast(value, type).text}, ptr {slot}")

    operands: list[str] = []
    parameters: dict[str, Value] = {}
    for name, type in given:
        own = f"%given.{name}"
        if isinstance(type, Array):
            shape = tuple(f"{own}.{axis}" for axis in range(type.rank))
            parameters[name] = View(type, own, shape)
            operands += [f"ptr {own}", *(f"i64 {dim}" for dim in shape)]
        else:
            parameters[name] = Number(type, own)
            operands.append(f"{type.llvm} {own}")
    status = program.write(parameters, finish)
    failures = tuple((each.exception, each.message) for each in program.failures)
    made = Written(symbol, wanted, results, failures, program.fails)
    found = "undef"
    for number, (type, slot) in enumerate(zip(results, slots, strict=True)):
        value = writer.op(f"load {type.llvm}, ptr {slot}")
        found = writer.op(f"insertvalue {made.result} {found}, {type.llvm} {value}, {number}")
    found = writer.op(f"insertvalue {made.result} {found}, i32 {status}, {len(results)}")
    head = f"define internal {made.result} @{symbol}({', '.join(operands)}) nounwind {{\nstart:"
    body = [head, *writer.slots, *writer.lines, f"  ret {made.result} {found}", "}"]
    module.define(symbol, "\n".join(body))
    return made


# --- the source of a helper -------------------------------------------------------------------


@functools.cache
def _parsed(function: Callable[..., Any]) -> tuple[ast.FunctionDef, dict[str, str]]:
    """The syntax tree, and what the names of its module that it uses stand for."""
    assert isinstance(function, types.FunctionType)
    defined = _functions(function.__module__).get(function.__name__)
    if defined is None:
        raise Unsupported(f"the source of {function.__name__}")
    meanings = {}
    for each in ast.walk(defined):
        if isinstance(each, ast.Name) and each.id in function.__globals__:
            value = function.__globals__[each.id]
            if isinstance(value, types.ModuleType):
                meanings[each.id] = value.__name__
            elif callable(value) and hasattr(value, "__module__"):
                meanings[each.id] = f"{value.__module__}.{value.__name__}"
            else:
                meanings[each.id] = f"{function.__module__}.{each.id}"
    return defined, meanings


@functools.cache
def _functions(module: str) -> dict[str, ast.FunctionDef]:
    try:
        tree = ast.parse(inspect.getsource(importlib.import_module(module)))
    except OSError:
        raise Unsupported(f"{module} has no source") from None
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
