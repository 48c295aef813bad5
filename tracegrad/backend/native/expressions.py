"""Expressions of the printed language."""

from __future__ import annotations

import ast
import math
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tracegrad.backend import helpers
from tracegrad.backend.native import counts, functions, integers, lapack, ordering, vectormath
from tracegrad.backend.native.arrays import Arrays
from tracegrad.backend.native.lock import Lock
from tracegrad.backend.native.names import Names
from tracegrad.backend.native.scalars import Scalars
from tracegrad.backend.native.types import (
    BOOL,
    COUNTED,
    F64,
    I64,
    U64,
    Array,
    Number,
    Scalar,
    Settings,
    Unsupported,
    Value,
    View,
    scalar,
)
from tracegrad.backend.native.writer import Writer, real

LARGE_EMPTY = "tracegrad.backend.memory.large_empty"
MAKERS = ("numpy.empty", "numpy.zeros", LARGE_EMPTY)
"""The functions that make arrays."""

_SCALAR_TYPES = frozenset(
    {"float64", "float32", "bool_"}
    | {f"{sign}int{n}" for sign in ("", "u") for n in (8, 16, 32, 64)}
)


@dataclass(frozen=True, slots=True)
class Variable:
    """A name of the source: its type and its slots.

    For an array these are its data, its owner and its sizes; ``scope`` is the array's, if it is
    always the same one.
    """

    type: Scalar | Array
    slots: tuple[str, ...]
    natural: int = 0
    shared: bool = False
    scope: str = ""


@dataclass
class Loop:
    """Where ``continue`` and ``break`` go."""

    next: str
    end: str


class Expressions(ABC):
    """Writes the expressions of one function.

    Parameters
    ----------
    meanings : what names at the top of the module stand for: ``"np": "numpy"``.
    fail : ends the kernel with an exception.
    """

    def __init__(
        self,
        writer: Writer,
        settings: Settings,
        names: Names,
        meanings: dict[str, str],
        lock: Lock,
        fail: Callable[[str, str | None], None],
    ) -> None:
        self.writer = writer
        self.flags = settings.shown
        self.names = names
        self.meanings = meanings
        self.lock = lock
        self.scalars = Scalars(writer, self.flags)
        self.arrays = Arrays(writer, self.scalars, lock, fail, checked=settings.boundscheck)
        self.fail = fail
        self.variables: dict[str, Variable] = {}
        self.views: dict[str, View] = {}
        """Arguments that are never assigned to."""
        self.numbers: dict[str, Number] = {}

    # --- values

    def number(self, node: ast.expr) -> Number:
        value = self.value(node)
        if not isinstance(value, Number):
            raise Unsupported(f"an array where a number is expected: {ast.unparse(node)}")
        return value

    def integer(self, node: ast.expr) -> Number:
        found = self.number(node)
        if found.type is U64 or not (found.type.is_integer or found.type.is_bool):
            raise Unsupported(f"an integer is expected: {ast.unparse(node)}")
        return self.scalars.cast(found, I64)

    def view(self, node: ast.expr) -> View:
        value = self.value(node)
        if not isinstance(value, View):
            raise Unsupported(f"a number where an array is expected: {ast.unparse(node)}")
        return value

    def value(self, node: ast.expr) -> Value:
        handler = _EXPRESSIONS.get(type(node))
        if handler is None:
            raise Unsupported(f"expression {ast.unparse(node)}")
        return handler(self, node)

    def _constant(self, node: ast.Constant) -> Value:
        if isinstance(node.value, (bool, int, float)):
            return self.scalars.constant(node.value)
        raise Unsupported(f"the constant {node.value!r}")

    def _name(self, node: ast.Name) -> Value:
        constant = self._constant_of(node)
        if isinstance(constant, (int, float)):
            return self.scalars.constant(constant)
        return self.read(node.id)

    def _constant_of(self, node: ast.expr) -> Any:
        """The value of a name that a module of tracegrad gives to a constant; None of others."""
        if not isinstance(node, ast.Name) or node.id not in self.meanings:
            return None
        path = self.path(node)
        return None if path is None else helpers.resolve(path)

    def read(self, name: str) -> Value:
        if name in self.views:
            return self.views[name]
        if name in self.numbers:
            return self.numbers[name]
        variable = self.variables.get(name)
        if variable is None:
            raise Unsupported(f"the name {name}")
        op = self.writer.op
        if isinstance(variable.type, Scalar):
            text = op(f"load {variable.type.llvm}, ptr {variable.slots[0]}")
            return Number(variable.type, text, variable.natural)
        data, owner = (op(f"load ptr, ptr {slot}") for slot in variable.slots[:2])
        shape = tuple(op(f"load i64, ptr {slot}") for slot in variable.slots[2:])
        return View(variable.type, data, shape, owner, variable.shared, scope=variable.scope)

    def path(self, node: ast.expr) -> str | None:
        """The full name of a function or module that an expression stands for."""
        if isinstance(node, ast.Name):
            local = node.id in self.variables or node.id in self.views or node.id in self.numbers
            return None if local else self.meanings.get(node.id, f"builtins.{node.id}")
        if isinstance(node, ast.Attribute):
            base = self.path(node.value)
            return None if base is None or base.startswith("builtins.") else f"{base}.{node.attr}"
        return None

    def _attribute(self, node: ast.Attribute) -> Value:
        path = self.path(node)
        if path is not None and path.startswith(("numpy.", "math.")):
            known = getattr(math, node.attr, None)
            if type(known) is float:
                return self.scalars.constant(known)
        if node.attr in ("max", "min") and isinstance(node.value, ast.Call):
            return self._limit(node)
        if node.attr == "T":
            base = self.view(node.value)
            if base.type.rank != 2 or base.column_major:
                raise Unsupported(ast.unparse(node))
            rows, columns = base.shape
            return View(base.type, base.data, (columns, rows), column_major=True)
        if node.attr == "size":
            return Number(I64, self.arrays.size(self.view(node.value)), COUNTED)
        raise Unsupported(ast.unparse(node))

    def _limit(self, node: ast.Attribute) -> Value:
        """``np.iinfo(np.int64).max``."""
        call = node.value
        assert isinstance(call, ast.Call)
        if self.path(call.func) != "numpy.iinfo" or len(call.args) != 1 or call.keywords:
            raise Unsupported(ast.unparse(node))
        module, _, name = (self.path(call.args[0]) or "").rpartition(".")
        if module != "numpy" or name not in _SCALAR_TYPES:
            raise Unsupported(ast.unparse(node))
        return self.scalars.constant(int(getattr(np.iinfo(name), node.attr)))

    # --- elements

    def shape_of(self, node: ast.expr) -> View | None:
        """The array whose ``shape`` an expression is."""
        if isinstance(node, ast.Attribute) and node.attr == "shape":
            base = self.view(node.value)
            return None if base.column_major else base
        return None

    def element(self, node: ast.Subscript) -> tuple[View, str, bool]:
        """The array, the address, and whether all indices are there."""
        base = self.view(node.value)
        parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        indices = [self.integer(each) for each in parts]
        if len(indices) > base.type.rank:
            raise Unsupported(f"too many indices: {ast.unparse(node)}")
        return base, self.arrays.place(base, indices), len(indices) == base.type.rank

    def _subscript(self, node: ast.Subscript) -> Value:
        shape = self.shape_of(node.value)
        if shape is not None:
            axis = ast.literal_eval(node.slice) if _is_literal(node.slice) else None
            if type(axis) is not int or not -shape.type.rank <= axis < shape.type.rank:
                raise Unsupported(ast.unparse(node))
            return Number(I64, shape.shape[axis], COUNTED)
        table = self._constant_of(node.value)
        if isinstance(table, tuple):
            return self._of_table(table, self.integer(node.slice))
        base, place, whole = self.element(node)
        if whole:
            near = isinstance(node.value, ast.Name) and node.value.id in self.names.near
            scope = "" if near else base.scope
            return self.arrays.load(base.type.element, place, scope)
        count = len(node.slice.elts) if isinstance(node.slice, ast.Tuple) else 1
        rest = base.shape[count:]
        return replace(base, type=Array(base.type.element, len(rest)), data=place, shape=rest)

    def _of_table(self, table: tuple[Any, ...], index: Number) -> Number:
        """An element of a tuple of floats, which becomes part of the module."""
        if not all(type(each) is float for each in table):
            raise Unsupported("a table of anything but floats")
        writer = self.writer
        values = ", ".join(f"double {real(each, F64)}" for each in table)
        kind = f"[{len(table)} x double]"
        name = f"table{zlib.crc32(values.encode()):08x}"
        writer.module.define(name, f"@{name} = private constant {kind} [{values}]")
        view = View(Array(F64, 1), f"@{name}", (str(len(table)),))
        return self.arrays.load(F64, self.arrays.place(view, [index]))

    # --- operators

    def _binary(self, node: ast.BinOp) -> Value:
        return self.scalars.binary(
            type(node.op).__name__, self.number(node.left), self.number(node.right)
        )

    def _unary(self, node: ast.UnaryOp) -> Value:
        operand = self.number(node.operand)
        if isinstance(node.op, ast.USub):
            return self.scalars.negate(operand)
        if isinstance(node.op, ast.Not):
            return self.scalars.negation(operand)
        if isinstance(node.op, ast.Invert):
            return self.scalars.invert(operand)
        if isinstance(node.op, ast.UAdd) and not operand.type.is_bool:
            return operand
        raise Unsupported(ast.unparse(node))

    def _compare(self, node: ast.Compare) -> Value:
        left = self.number(node.left)
        if len(node.ops) == 1:
            return self._relation(node.ops[0], left, self.number(node.comparators[0]))
        # A chain stops at the first that does not hold; these have nothing that could go wrong.
        found: Number | None = None
        for relation, right_node in zip(node.ops, node.comparators, strict=True):
            if not all(self._is_plain(n) for n in ast.walk(right_node)):
                raise Unsupported(ast.unparse(node))
            right = self.number(right_node)
            holds = self._relation(relation, left, right)
            found = holds if found is None else self.scalars.binary("BitAnd", found, holds)
            left = right
        assert found is not None
        return found

    def _is_plain(self, node: ast.AST) -> bool:
        if isinstance(node, ast.Call):
            return self.path(node.func) in ("builtins.max", "builtins.min", "builtins.len")
        return isinstance(node, _PLAIN)

    def _relation(self, relation: ast.cmpop, left: Number, right: Number) -> Number:
        name = type(relation).__name__
        if name not in ("Lt", "LtE", "Gt", "GtE", "Eq", "NotEq"):
            raise Unsupported(f"the comparison {name}")
        return self.scalars.compare(name, left, right)

    def _logical(self, node: ast.BoolOp) -> Value:
        """``and`` and ``or`` of truth values."""
        writer = self.writer
        yes, no, end = (writer.label(n) for n in ("yes", "no", "known"))
        self.condition(node, yes, no)
        writer.start(yes)
        writer.jump(end)
        writer.start(no)
        writer.start(end)
        return Number(BOOL, writer.op(f"phi i1 [ true, %{yes} ], [ false, %{no} ]"))

    def condition(self, node: ast.expr, yes: str, no: str) -> None:
        """Go to one of two blocks."""
        if isinstance(node, ast.BoolOp):
            conjunction = isinstance(node.op, ast.And)
            for operand in node.values[:-1]:
                if not self._is_truth(operand):
                    raise Unsupported(ast.unparse(node))
                more = self.writer.label("more")
                self.condition(operand, more if conjunction else yes, no if conjunction else more)
                self.writer.start(more)
            self.condition(node.values[-1], yes, no)
            return
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            self.condition(node.operand, no, yes)
            return
        test = self.scalars.truth(self.number(node))
        self.writer.branch(test.text, yes, no)

    def _is_truth(self, node: ast.expr) -> bool:
        return isinstance(node, (ast.Compare, ast.BoolOp, ast.Name, ast.UnaryOp, ast.Subscript))

    def _choice(self, node: ast.IfExp) -> Value:
        """``a if test else b``; only one of the two is evaluated, but for what costs nothing."""
        if isinstance(node.body, _FREE) and isinstance(node.orelse, _FREE):
            test = self.scalars.truth(self.number(node.test))
            one, other = self.value(node.body), self.value(node.orelse)
            if isinstance(one, Number) and isinstance(other, Number):
                return self.scalars.select(test, *self._unified(one, other))
            raise Unsupported(ast.unparse(node))
        writer = self.writer
        yes, no, end = (writer.label(n) for n in ("then", "else", "chosen"))
        self.condition(node.test, yes, no)
        writer.start(yes)
        one = self.number(node.body)
        first, writer.lines = writer.lines, []
        one_block = writer.block
        writer.open = False
        writer.start(no)
        other = self.number(node.orelse)
        second, writer.lines = writer.lines, first
        other_block = writer.block
        type = (
            one.type
            if one.type is other.type
            else self.scalars.arithmetic_type(one.type, other.type)
        )
        writer.open = True
        one = self.scalars.cast(one, type)
        writer.jump(end)
        writer.lines += second
        writer.open = True
        other = self.scalars.cast(other, type)
        writer.start(end)
        arms = f"[ {one.text}, %{one_block} ], [ {other.text}, %{other_block} ]"
        natural = one.natural and other.natural and max(one.natural, other.natural)
        return Number(type, writer.op(f"phi {type.llvm} {arms}"), natural)

    def _unified(self, one: Number, other: Number) -> tuple[Number, Number]:
        if one.type is other.type:
            return one, other
        return self.scalars.common(one, other)

    # --- calls

    def _call(self, node: ast.Call) -> Value:
        path = self.path(node.func)
        if path is None:
            if isinstance(node.func, ast.Attribute):
                return self._method(node, node.func)
            raise Unsupported(ast.unparse(node))
        module, _, name = path.rpartition(".")
        if path in MAKERS:
            return self.make(node, shared=False)
        if module == "numpy":
            return self._numpy(name, node)
        if path in lapack.NUMBERS:
            return lapack.number(self, path, node)
        if node.keywords:
            raise Unsupported(ast.unparse(node))
        if module == "builtins":
            return self._builtin(name, node)
        if path == "tracegrad.backend.vecmath.integer_power" and len(node.args) == 2:
            return integers.power(self.arrays, *(self.number(each) for each in node.args))
        if module == "math":
            return self.scalars.math(name, [self.number(each) for each in node.args])
        if module == vectormath.MODULE and vectormath.knows(name):
            operands = [self.number(each) for each in node.args]
            return vectormath.call(self, name, operands)
        if path == "tracegrad.backend.memory.overlap" and len(node.args) == 2:
            return self.arrays.overlap(*(self._views(each) for each in node.args))
        if path == "tracegrad.backend.advance.in_advance":
            (x,) = (self.number(each) for each in node.args)
            if not x.type.is_float:
                raise Unsupported("in_advance of an integer")
            return self.scalars.intrinsic("arithmetic.fence", x)
        if module == "tracegrad.backend.threads":
            return counts.call(self, name, [self.integer(each) for each in node.args])
        results = self.helped(node)
        if results is None or len(results) != 1:
            raise Unsupported(f"the function {path}")
        return results[0]

    def helped(self, node: ast.Call) -> list[Number] | None:
        """The results of a helper or an external; None of anything else."""
        path = self.path(node.func)
        called = None if path is None else helpers.find(path)
        if called is None or node.keywords:
            return None
        if isinstance(called, helpers.External):
            operands = [self.number(each) for each in node.args]
            return [functions.call_external(self, called, operands)]
        if isinstance(called, helpers.RowFunction):
            return functions.call_of_row(self, called, [self.value(each) for each in node.args])
        return functions.call(self, called, [self.value(each) for each in node.args])

    @abstractmethod
    def pass_on(self, status: str, failures: Sequence[functions.Failure]) -> None:
        """Leave as a helper did, unless it ended well."""

    def _views(self, node: ast.expr) -> list[View]:
        if not isinstance(node, ast.Tuple):
            raise Unsupported(ast.unparse(node))
        return [self.view(each) for each in node.elts]

    def _builtin(self, name: str, node: ast.Call) -> Value:
        if name == "len" and len(node.args) == 1:
            base = self.view(node.args[0])
            if base.type.rank == 0 or base.column_major:
                raise Unsupported(ast.unparse(node))
            return Number(I64, base.shape[0], COUNTED)
        operands = [self.number(each) for each in node.args]
        if name in ("max", "min") and len(operands) >= 2:
            found = operands[0]
            for each in operands[1:]:
                found = self.scalars.extremum(name, found, each)
            return found
        if len(operands) == 1:
            if name == "abs":
                return self.scalars.absolute(operands[0])
            if name == "float":
                return self.scalars.cast(operands[0], F64)
            if name == "int" and operands[0].type is not U64:
                return self.scalars.cast(operands[0], I64)
            if name == "bool":
                return self.scalars.truth(operands[0])
        raise Unsupported(ast.unparse(node))

    def _numpy(self, name: str, node: ast.Call) -> Value:
        if name in ordering.NAMES:
            return ordering.number(self, name, node)
        if node.keywords:
            raise Unsupported(ast.unparse(node))
        given = [self.value(each) for each in node.args]
        operands = [each for each in given if isinstance(each, Number)]
        if len(operands) < len(given):
            raise Unsupported(f"an array: {ast.unparse(node)}")
        if name in _SCALAR_TYPES and len(operands) == 1:
            return self.scalars.cast(operands[0], scalar(name))
        return self.scalars.function(name, operands)

    def make(self, node: ast.Call, *, shared: bool, target: str = "") -> View:
        """``np.empty``, ``np.zeros`` and ``large_empty``; ``target`` is the variable."""
        path = self.path(node.func)
        arguments = list(node.args)
        for keyword in node.keywords:
            if keyword.arg != "dtype" or len(arguments) != 1:
                raise Unsupported(ast.unparse(node))
            arguments.append(keyword.value)
        if not 1 <= len(arguments) <= 2:
            raise Unsupported(ast.unparse(node))
        element = F64
        if len(arguments) == 2:
            module, _, name = (self.path(arguments[1]) or "").rpartition(".")
            if isinstance(arguments[1], ast.Attribute) and arguments[1].attr == "dtype":
                module, name = "numpy", self.view(arguments[1].value).type.element.name
                name = "bool_" if name == "bool" else name
            if module != "numpy" or name not in _SCALAR_TYPES:
                raise Unsupported(ast.unparse(node))
            element = scalar(name)
        shape = self.sizes(arguments[0])
        type = Array(element, len(shape))
        zero, large = path == "numpy.zeros", path == LARGE_EMPTY
        return self.arrays.make(type, shape, zero=zero, shared=shared, large=large, name=target)

    def sizes(self, node: ast.expr) -> list[str]:
        parts: Sequence[ast.expr] = node.elts if isinstance(node, ast.Tuple) else [node]
        return [self.integer(each).text for each in parts]

    def _method(self, node: ast.Call, function: ast.Attribute) -> Value:
        if function.attr == "reshape" and len(node.args) == 1 and not node.keywords:
            base = self.view(function.value)
            shape = self.sizes(node.args[0])
            if base.column_major or "-1" in shape:
                raise Unsupported(ast.unparse(node))
            type = Array(base.type.element, len(shape))
            made = replace(base, type=type, shape=tuple(shape))
            self._check_reshape(base, made)
            return made
        raise Unsupported(ast.unparse(node))

    def _check_reshape(self, base: View, made: View) -> None:
        writer = self.writer
        one, other = self.arrays.size(base), self.arrays.size(made)
        failed, fine = writer.label("failed"), writer.label("fine")
        writer.branch(writer.op(f"icmp ne i64 {one}, {other}"), failed, fine, rare=True)
        writer.start(failed)
        self.fail("ValueError", "total size of new array must be unchanged")
        writer.start(fine)


_FREE = (ast.Name, ast.Constant)
"""What may be evaluated though it is not chosen."""

_PLAIN = (
    *(ast.Name, ast.Constant, ast.Attribute, ast.Subscript, ast.BinOp, ast.UnaryOp, ast.Load),
    *(ast.Add, ast.Sub, ast.Mult, ast.FloorDiv, ast.USub),
)


def _is_literal(node: ast.expr) -> bool:
    if isinstance(node, ast.UnaryOp):
        return _is_literal(node.operand)
    return isinstance(node, ast.Constant)


_EXPRESSIONS: dict[type[ast.expr], Callable[[Any, Any], Value]] = {
    ast.Constant: Expressions._constant,
    ast.Name: Expressions._name,
    ast.Attribute: Expressions._attribute,
    ast.Subscript: Expressions._subscript,
    ast.BinOp: Expressions._binary,
    ast.UnaryOp: Expressions._unary,
    ast.Compare: Expressions._compare,
    ast.BoolOp: Expressions._logical,
    ast.IfExp: Expressions._choice,
    ast.Call: Expressions._call,
}
