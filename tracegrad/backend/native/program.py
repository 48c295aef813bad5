"""Statements of the printed language, and the function that they make."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tracegrad.backend.native import blas, lapack, ordering, vectormath
from tracegrad.backend.native.expressions import MAKERS, Expressions, Loop, Variable
from tracegrad.backend.native.functions import Failure as Passed
from tracegrad.backend.native.lock import Lock
from tracegrad.backend.native.names import Names
from tracegrad.backend.native.types import (
    COUNTED,
    I64,
    Array,
    Number,
    Settings,
    Type,
    TypeChange,
    Unsupported,
    Value,
    View,
)
from tracegrad.backend.native.writer import ALONE, FEW_TRIPS, Writer

if TYPE_CHECKING:
    from tracegrad.backend.native.parts import Parts

PARTS = "parts"
"""The module, in full names, of what a text defines besides its entry."""

PRODUCTS = ("tracegrad.backend.products.put_product", "tracegrad.backend.products.add_product")
"""Products of parts of matrices: the first writes, the second adds."""


@dataclass(frozen=True)
class Failure:
    """An exception that is raised in a line of a function."""

    exception: str
    message: str | None
    line: int
    function: str


class Program(Expressions):
    """Writes the body of one function.

    Parameters
    ----------
    function : its syntax tree.
    lock : whether the interpreter's is held.
    failures : the exceptions that the module may raise; the number of each is its place.
    parts : the other functions of the text, if there are any.
    """

    def __init__(
        self,
        writer: Writer,
        settings: Settings,
        function: ast.FunctionDef,
        names: Names,
        meanings: dict[str, str],
        lock: Lock,
        failures: list[Failure],
        parts: Parts | None = None,
    ) -> None:
        super().__init__(writer, settings, names, meanings, lock, self._fail)
        self.function = function
        self.failures = failures
        self.parts = parts
        self._line = function.lineno
        self._ways_out: list[tuple[int | str, str]] = []
        self._loops: list[Loop] = []
        self.leave = writer.label("leave")

    def write(self, parameters: dict[str, Value], finish: Callable[[Sequence[Value]], None]) -> str:
        """All statements. The operand that says how it ended: -1 well, 0 with the exception that is
        already set, else the number of a failure, from 1.

        Parameters
        ----------
        finish : takes the results, before what the function holds is released.
        """
        self._finish = finish
        assigned = {
            node.id
            for node in ast.walk(self.function)
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        } - self.names.told
        for name, value in parameters.items():
            if name in assigned:
                self.assign(name, value)
            elif isinstance(value, View):
                self.views[name] = value
            else:
                self.numbers[name] = value
        self.block(self.function.body)
        if self.writer.open:
            self._return(ast.Return(value=None))
        writer = self.writer
        writer.start(self.leave)
        ways = ", ".join(f"[ {number}, %{block} ]" for number, block in self._ways_out)
        if not ways:
            raise Unsupported("a function that never ends")
        status = writer.op(f"phi i32 {ways}")
        if self.lock.mode == "given up":
            self.lock.take()
        for variable in self.variables.values():
            if isinstance(variable.type, Array):
                owner = writer.op(f"load ptr, ptr {variable.slots[1]}")
                self.arrays.release(owner, variable.shared)
        for slot, shared in self.arrays.unnamed:
            self.arrays.release(writer.op(f"load ptr, ptr {slot}"), shared)
        return status

    def _fail(self, kind: str, message: str | None) -> None:
        """End with an exception; without a name, with the one that is already set."""
        self._go(self._number_of(kind, message) if kind else 0)

    def _number_of(self, kind: str, message: str | None) -> int:
        """The number of a failure in the line that is written."""
        name = kind if "." in kind else f"builtins.{kind}"
        failure = Failure(name, message, self._line, self.function.name)
        if failure not in self.failures:
            self.failures.append(failure)
        return 1 + self.failures.index(failure)

    def pass_on(self, status: str, failures: Sequence[Passed]) -> None:
        writer, op = self.writer, self.writer.op
        failed, fine = writer.label("failed"), writer.label("fine")
        writer.branch(op(f"icmp ne i32 {status}, -1"), failed, fine, rare=True)
        writer.start(failed)
        number = "0"
        for place, failure in enumerate(failures):
            this = op(f"icmp eq i32 {status}, {place + 1}")
            number = op(f"select i1 {this}, i32 {self._number_of(*failure)}, i32 {number}")
        self._go(number)
        writer.start(fine)

    @property
    def fails(self) -> bool:
        """Whether it may end with an exception."""
        return any(number != -1 for number, _ in self._ways_out)

    def _go(self, number: int | str) -> None:
        if self.writer.open:
            self._ways_out.append((number, self.writer.block))
            self.writer.jump(self.leave)

    def go_on_if_well(self, status: str) -> None:
        """End as a part did, unless it ended well."""
        failed, well = self.writer.label("failed"), self.writer.label("well")
        self.writer.branch(self.writer.op(f"icmp eq i32 {status}, -1"), well, failed)
        self.writer.start(failed)
        self._go(status)
        self.writer.start(well)

    # --- statements

    def block(self, statements: Sequence[ast.stmt]) -> None:
        for statement in statements:
            handler = _STATEMENTS.get(type(statement))
            if handler is None:
                raise Unsupported(f"statement {type(statement).__name__}")
            self._line = getattr(statement, "lineno", self._line)
            handler(self, statement)

    def _assign(self, node: ast.Assign) -> None:
        if len(node.targets) != 1:
            raise Unsupported(ast.unparse(node))
        target = node.targets[0]
        if isinstance(target, ast.Name):
            self._assign_expression(target.id, node.value)
        elif isinstance(target, ast.Subscript):
            value = self.number(node.value)
            base, place = self._element(target)
            self.arrays.store(value, base.type.element, place, base.scope)
        elif isinstance(target, ast.Tuple):
            self._assign_tuple(target, node.value)
        else:
            raise Unsupported(ast.unparse(node))

    def _assign_tuple(self, target: ast.Tuple, value: ast.expr) -> None:
        names = [each.id for each in target.elts if isinstance(each, ast.Name)]
        if len(names) != len(target.elts) or len(set(names)) != len(names):
            raise Unsupported(ast.unparse(target))
        shape = self.shape_of(value)
        if shape is not None:
            if shape.type.rank != len(names):
                raise Unsupported(ast.unparse(value))
            for name, dim in zip(names, shape.shape, strict=True):
                self.assign(name, Number(I64, dim, COUNTED))
            return
        if isinstance(value, ast.Call):
            results = self.helped(value)
            if results is not None and len(results) == len(names):
                for name, result in zip(names, results, strict=True):
                    self.assign(name, result)
                return
        if not isinstance(value, ast.Tuple) or len(value.elts) != len(names):
            raise Unsupported(ast.unparse(value))
        values = [self.value(each) for each in value.elts]
        sources = [each.id for each in value.elts if isinstance(each, ast.Name)]
        if sorted(sources) == sorted(names):
            # What is only exchanged is held as often as before.
            for name, new in zip(names, values, strict=True):
                self._put(self._variable(name, new), new)
            return
        for new in values:
            if isinstance(new, View):
                self.arrays.retain(new.owner, new.shared)
        for name, new in zip(names, values, strict=True):
            self.assign(name, new, counted=True)

    def _assign_expression(self, name: str, node: ast.expr) -> None:
        if isinstance(node, ast.Call):
            path = self.path(node.func)
            if path in MAKERS:
                made = self.make(node, shared=self.names.is_returned(name), target=name)
                self.assign(name, made, counted=True)
                return
            if path in lapack.ARRAYS:
                shared = self.names.is_returned(name)
                self.assign(name, lapack.array(self, path, node, shared), counted=True)
                return
            if path == "tracegrad.backend.runtime.ensure":
                if len(node.args) != 2 or node.keywords:
                    raise Unsupported(ast.unparse(node))
                base, length = self.view(node.args[0]), self.integer(node.args[1])
                shared = self.names.is_returned(name)
                self.assign(name, self.arrays.ensure(base, length, shared), counted=True)
                return
            if path == "numpy.flatnonzero" and len(node.args) == 1 and not node.keywords:
                shared = self.names.is_returned(name)
                made = self.arrays.positions(self.view(node.args[0]), shared)
                self.assign(name, made, counted=True)
                return
            module, _, function = (path or "").rpartition(".")
            if module == "numpy" and function in ordering.NAMES:
                ordering.assign(self, name, function, node)
                return
        if isinstance(node, ast.IfExp) and self._names_an_array(node):
            one, other = (
                ast.Assign([ast.Name(name, ast.Store())], arm) for arm in (node.body, node.orelse)
            )
            self._if(ast.If(node.test, [one], [other]))
            return
        self.assign(name, self.value(node))

    def helped(self, node: ast.Call) -> list[Number] | None:
        module, _, name = (self.path(node.func) or "").partition(".")
        if module == PARTS and self.parts is not None:
            return self.parts.call(self, name, node)
        return super().helped(node)

    def _names_an_array(self, node: ast.IfExp) -> bool:
        """Whether a choice is between arrays, not numbers."""
        return any(
            isinstance(arm, ast.Name) and isinstance(self._type_of(arm.id), Array)
            for arm in (node.body, node.orelse)
        )

    def _type_of(self, name: str) -> Type | None:
        if name in self.views:
            return self.views[name].type
        variable = self.variables.get(name)
        return None if variable is None else variable.type

    def assign(self, name: str, value: Value, *, counted: bool = False) -> None:
        """``counted``: the name takes over what already holds the array."""
        if name in self.names.told:
            self.numbers[name] = self.scalars.cast(_number(value), I64)
            return
        variable = self._variable(name, value)
        if isinstance(value, View):
            if not counted:
                self.arrays.retain(value.owner, variable.shared)
            self.arrays.release(
                self.writer.op(f"load ptr, ptr {variable.slots[1]}"), variable.shared
            )
        self._put(variable, value)

    def _variable(self, name: str, value: Value) -> Variable:
        """The variable ``name``, whose type is that of its first value."""
        known = self.variables.get(name)
        if known is None:
            if name in self.views or name in self.numbers:
                raise Unsupported(f"the name {name} has two meanings")
            known = self.variables[name] = self._new_variable(name, value)
        if isinstance(value, View):
            if known.type != value.type or value.column_major:
                raise TypeChange(f"{name} changes its type")
            if value.owner != "null" and value.shared != known.shared:
                raise Unsupported(f"{name} is memory of two kinds")
            if value.scope != known.scope:  # of two arms, not yet read
                self.variables[name] = known = replace(known, scope="")
        elif known.type is not value.type:
            raise TypeChange(f"{name} changes its type")
        return known

    def _new_variable(self, name: str, value: Value) -> Variable:
        writer = self.writer
        if isinstance(value, Number):
            natural = self.names.natural.get(name, 0) if value.type is I64 else 0
            return Variable(value.type, (writer.slot(value.type.llvm),), natural)
        slots = [writer.slot("ptr"), writer.slot("ptr", "null")]
        slots += [writer.slot("i64") for _ in value.shape]
        scope = value.scope if name in self.names.once else ""
        return Variable(value.type, tuple(slots), 0, self.names.is_returned(name), scope)

    def _put(self, variable: Variable, value: Value) -> None:
        do = self.writer.do
        if isinstance(value, Number):
            do(f"store {value.type.llvm} {value.text}, ptr {variable.slots[0]}")
            return
        do(f"store ptr {value.data}, ptr {variable.slots[0]}")
        do(f"store ptr {value.owner}, ptr {variable.slots[1]}")
        for slot, dim in zip(variable.slots[2:], value.shape, strict=True):
            do(f"store i64 {dim}, ptr {slot}")

    def _element(self, node: ast.Subscript) -> tuple[View, str]:
        base, place, whole = self.element(node)
        if not whole:
            raise Unsupported(ast.unparse(node))
        return base, place

    def _augment(self, node: ast.AugAssign) -> None:
        operator = type(node.op).__name__
        if isinstance(node.target, ast.Name):
            before = self.number(ast.Name(node.target.id, ast.Load()))
            self.assign(
                node.target.id, self.scalars.binary(operator, before, self.number(node.value))
            )
            return
        if not isinstance(node.target, ast.Subscript):
            raise Unsupported(ast.unparse(node))
        base, place = self._element(node.target)
        before = self.arrays.load(base.type.element, place, base.scope)
        after = self.scalars.binary(operator, before, self.number(node.value))
        self.arrays.store(after, base.type.element, place, base.scope)

    def _begin_loop(self) -> None:
        if not self._loops:
            self.lock.leave()

    def _for(self, node: ast.For) -> None:
        if node.orelse or not isinstance(node.target, ast.Name):
            raise Unsupported("this for loop")
        self._begin_loop()
        call = node.iter
        if (
            not isinstance(call, ast.Call)
            or self.path(call.func) != "builtins.range"
            or call.keywords
            or not 1 <= len(call.args) <= 3
        ):
            raise Unsupported(ast.unparse(node.iter))
        limits = [self.integer(each) for each in call.args]
        start = limits[0] if len(limits) > 1 else self.scalars.constant(0)
        stop = limits[1] if len(limits) > 1 else limits[0]
        step = limits[2].text if len(limits) == 3 else "1"
        if not step.lstrip("-").isdigit():
            self._for_any_step(node, start, stop, limits[2])
            return
        if int(step) == 0:
            raise Unsupported("a step of zero")
        writer = self.writer
        head, body, latch, end = (writer.label(n) for n in ("head", "body", "latch", "end"))
        before = writer.reachable()
        writer.start(head)
        following = writer.fresh()
        entered = f"[ {start.text}, %{before} ], [ {following}, %{latch} ]"
        index = writer.op(f"phi i64 {entered}")
        relation = "slt" if int(step) > 0 else "sgt"
        writer.branch(writer.op(f"icmp {relation} i64 {index}, {stop.text}"), body, end)
        writer.start(body)
        shown = self._hidden(index) if int(step) < 0 and _holds_a_loop(node) else index
        self.assign(node.target.id, Number(I64, shown))
        self._loops.append(Loop(latch, end))
        self.block(node.body)
        self._loops.pop()
        writer.start(latch)
        wraps = "nuw nsw" if int(step) > 0 and start.natural else "nsw"
        writer.do(f"{following} = add {wraps} i64 {index}, {step}")
        if isinstance(call.args[-1], ast.Name) and call.args[-1].id in self.names.counts:
            writer.jump_back(head, FEW_TRIPS)
        elif not _holds_a_loop(node) and vectormath.called_in(self, node):
            writer.jump_back(head, ALONE)
        else:
            writer.jump(head)
        writer.start(end)

    def _hidden(self, index: str) -> str:
        """``index``, of which LLVM doesn't know that it counts.

        LLVM asks once before two loops, not in each trip of the outer one, whether rows that the
        inner one reads and writes overlap. Where the outer one counts down its question is wrong:
        it takes the answer for yes, and the inner loop is not vectorised.
        """
        return self.writer.op(f'call i64 asm "", "=r,0"(i64 {index})')

    def _for_any_step(self, node: ast.For, start: Number, stop: Number, step: Number) -> None:
        """A loop whose step is known at run time: its trips are counted beforehand."""
        assert isinstance(node.target, ast.Name)
        writer, op = self.writer, self.writer.op
        refused = op(f"icmp eq i64 {step.text}, 0")
        self.arrays.refuse(refused, "ValueError", "range() arg 3 must not be zero")
        upwards = op(f"icmp sgt i64 {step.text}, 0")
        up, down = (op(f"sub i64 {a.text}, {b.text}") for a, b in ((stop, start), (start, stop)))
        distance = op(f"select i1 {upwards}, i64 {up}, i64 {down}")
        length = self.scalars.absolute(step).text
        whole = op(f"sdiv i64 {op(f'sub i64 {distance}, 1')}, {length}")
        some = op(f"icmp sgt i64 {distance}, 0")
        trips = op(f"select i1 {some}, i64 {op(f'add i64 {whole}, 1')}, i64 0")
        head, body, latch, end = (writer.label(n) for n in ("head", "body", "latch", "end"))
        before = writer.reachable()
        writer.start(head)
        following = writer.fresh()
        trip = op(f"phi i64 [ 0, %{before} ], [ {following}, %{latch} ]")
        writer.branch(op(f"icmp slt i64 {trip}, {trips}"), body, end)
        writer.start(body)
        index = op(f"add i64 {start.text}, {op(f'mul i64 {trip}, {step.text}')}")
        self.assign(node.target.id, Number(I64, index))
        self._loops.append(Loop(latch, end))
        self.block(node.body)
        self._loops.pop()
        writer.start(latch)
        writer.do(f"{following} = add nuw nsw i64 {trip}, 1")
        writer.jump(head)
        writer.start(end)

    def _while(self, node: ast.While) -> None:
        if node.orelse:
            raise Unsupported("while … else")
        self._begin_loop()
        writer = self.writer
        head, body, end = (writer.label(n) for n in ("head", "body", "end"))
        writer.start(head)
        if isinstance(node.test, ast.Constant) and node.test.value is True:
            writer.jump(body)
        else:
            self.condition(node.test, body, end)
        writer.start(body)
        self._loops.append(Loop(head, end))
        self.block(node.body)
        self._loops.pop()
        writer.jump(head)
        writer.start(end)

    def _if(self, node: ast.If) -> None:
        writer = self.writer
        yes, no, end = (writer.label(n) for n in ("then", "else", "end"))
        self.condition(node.test, yes, no if node.orelse else end)
        writer.start(yes)
        self.block(node.body)
        writer.jump(end)
        if node.orelse:
            writer.start(no)
            self.block(node.orelse)
        writer.start(end)

    def _break(self, node: ast.Break) -> None:
        self.writer.jump(self._loops[-1].end)

    def _continue(self, node: ast.Continue) -> None:
        self.writer.jump(self._loops[-1].next)

    def _pass(self, node: ast.Pass) -> None:
        return

    def _raise(self, node: ast.Raise) -> None:
        made = node.exc
        message: str | None = None
        if isinstance(made, ast.Call) and len(made.args) == 1 and not made.keywords:
            (argument,) = made.args
            if not isinstance(argument, ast.Constant) or type(argument.value) is not str:
                raise Unsupported(ast.unparse(node))
            message, made = argument.value, made.func
        path = self.path(made) if made is not None else None
        if path is None or node.cause is not None or "\0" in (message or ""):
            raise Unsupported(ast.unparse(node))
        self._fail(path, message)

    def _expression_statement(self, node: ast.Expr) -> None:
        call = node.value
        if isinstance(call, ast.Constant):
            return
        if not isinstance(call, ast.Call) or call.keywords:
            raise Unsupported(ast.unparse(node))
        path = self.path(call.func)
        if path == "tracegrad.backend.threads.in_parallel" and self.parts is not None:
            self.parts.run(self, call)
        elif path == "numpy.dot" and len(call.args) == 3:
            a, b, out = (self.view(each) for each in call.args)
            self.lock.leave()
            blas.dot(self.writer, self.arrays, a, b, out)
        elif path in PRODUCTS and len(call.args) == 3:
            a, b, out = (self._part(each) for each in call.args)
            blas.part(self.writer, a, b, out, add=path == PRODUCTS[1])
        elif path is None and isinstance(call.func, ast.Attribute) and call.func.attr == "fill":
            base, value = self.view(call.func.value), ast.unparse(call.args[0])
            if value not in ("0", "0.0") or base.column_major:
                raise Unsupported(ast.unparse(node))
            self.arrays.clear(base)
        elif self.helped(call) is None:
            raise Unsupported(ast.unparse(node))

    def _part(self, node: ast.expr) -> View:
        """A matrix, rows ``[lo:hi]`` or columns ``[:, lo:hi]`` of one, or the transpose of these.

        The part is in range: like other places, it is not checked.
        """
        if isinstance(node, ast.Attribute) and node.attr == "T":
            whole = self._part(node.value)
            return replace(whole, shape=whole.shape[::-1], column_major=not whole.column_major)
        if not isinstance(node, ast.Subscript):
            whole = self.view(node)
            return replace(whole, width=whole.shape[1]) if whole.type.rank == 2 else whole
        whole, place = self.view(node.value), node.slice
        along = 0
        if isinstance(place, ast.Tuple):
            before, place = place.elts
            along = 1
            if not isinstance(before, ast.Slice) or before.lower or before.upper:
                raise Unsupported(ast.unparse(node))
        if not isinstance(place, ast.Slice) or place.upper is None or place.step is not None:
            raise Unsupported(ast.unparse(node))
        if whole.type.rank != 2 or whole.column_major:
            raise Unsupported(ast.unparse(node))
        end = self.scalars.cast(self.number(place.upper), I64)
        first = self.scalars.constant(0)
        if place.lower is not None:
            first = self.scalars.cast(self.number(place.lower), I64)
        size = self.writer.op(f"sub i64 {end.text}, {first.text}")
        zero = self.scalars.constant(0)
        at = [zero, first] if along else [first, zero]
        data = self.arrays.place(whole, at)
        shape = (whole.shape[0], size) if along else (size, whole.shape[1])
        return replace(whole, data=data, shape=shape, owner="null", width=whole.shape[1])

    def _return(self, node: ast.Return) -> None:
        parts: Sequence[ast.expr] = ()
        if node.value is not None:
            parts = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
            if isinstance(node.value, ast.Tuple) and len(parts) < 2:
                raise Unsupported("a tuple of one result")
        results = [self._result(each) for each in parts]
        if self.lock.mode == "given up":
            self.lock.take()
        self._finish(results)
        self._go(-1)

    def _result(self, node: ast.expr) -> Value:
        path = self.path(node.func) if isinstance(node, ast.Call) else None
        if isinstance(node, ast.Call) and path is None and not (node.args or node.keywords):
            if not isinstance(node.func, ast.Attribute) or node.func.attr != "copy":
                raise Unsupported(ast.unparse(node))
            return self.arrays.copy(self.view(node.func.value), shared=True)
        if isinstance(node, ast.Call) and path in MAKERS:
            return self.make(node, shared=True)
        value = self.value(node)
        if isinstance(value, View):
            if not isinstance(node, ast.Name) or not self.names.is_fresh(node.id):
                raise Unsupported(f"the result {ast.unparse(node)} is a part of an array")
            self.arrays.retain(value.owner, True)
        return value


def _number(value: Value) -> Number:
    assert isinstance(value, Number)
    return value


def _holds_a_loop(node: ast.For) -> bool:
    return any(
        isinstance(each, (ast.For, ast.While)) for each in ast.walk(node) if each is not node
    )


_STATEMENTS: dict[type[ast.stmt], Callable[[Any, Any], None]] = {
    ast.Assign: Program._assign,
    ast.AugAssign: Program._augment,
    ast.For: Program._for,
    ast.While: Program._while,
    ast.If: Program._if,
    ast.Break: Program._break,
    ast.Continue: Program._continue,
    ast.Pass: Program._pass,
    ast.Raise: Program._raise,
    ast.Expr: Program._expression_statement,
    ast.Return: Program._return,
}
