"""Comprehensions that a loop can stand for: the function beside the expression.

``sum``, ``max``, ``min``, ``any`` and ``all`` of a comprehension, and a list comprehension
with one ``for`` and no ``if``, are written a second time, as a function with a loop of
statements; `control` lets the hooks choose which of the two runs::

    return sum(f(v) for v in x if v > 0)

    def fold(items, total):
        for v in items:
            if v > 0:
                total = total + f(v)
        return total
    return (t := HOOK.fold(sum, fold, x)).of(0) if t.folds else sum(f(v) for v in t.items if v > 0)

The function of a list gets the items with their numbers, and writes into what it is given. A
comprehension that binds names outside, or awaits, or uses ``super`` stays alone.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any, TypeVar

from tracegrad.staging.source import copied

__all__ = ["Folded", "with_folds"]

Node = TypeVar("Node", bound=ast.AST)
Comprehension = ast.ListComp | ast.GeneratorExp

_NOT_ALONE = (ast.NamedExpr, ast.Await, ast.Yield, ast.YieldFrom)
_EVALUATED = ("value", "test", "iter", "subject", "exc", "cause", "msg")
_SCOPES = (
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.Lambda,
    ast.ClassDef,
    ast.ListComp,
    ast.SetComp,
    ast.DictComp,
    ast.GeneratorExp,
)


class Folded(ast.Call):
    """An expression with a comprehension, and the name of the function that does the same.

    Attributes
    ----------
    args : the expression as the user wrote it, alone.
    fold : the name of the function.
    start : what to call it with besides the items.
    """

    fold: str
    start: list[ast.expr]

    @property
    def call(self) -> ast.expr:
        return self.args[0]

    @property
    def comprehension(self) -> Comprehension:
        (call,) = self.args
        found = call.args[0] if isinstance(call, ast.Call) else call
        assert isinstance(found, ast.ListComp | ast.GeneratorExp)
        return found


def with_folds(statement: ast.stmt, fresh: Callable[[], str]) -> list[ast.stmt]:
    """``statement`` with its expressions marked, after the functions that they name."""
    if isinstance(statement, _SCOPES):
        return [statement]
    finder = _Finder(fresh)
    for field in _EVALUATED:
        old = getattr(statement, field, None)
        if isinstance(old, ast.AST):
            setattr(statement, field, finder.visit(old))
    if isinstance(statement, ast.With):
        statement.items = [finder.visit(item) for item in statement.items]
    return [*finder.functions, statement]


class _Finder(ast.NodeTransformer):
    """Finds the comprehensions of one expression that run in the function's own scope."""

    def __init__(self, fresh: Callable[[], str]) -> None:
        self.fresh = fresh
        self.functions: list[ast.stmt] = []

    def visit(self, node: Any) -> Any:
        if isinstance(node, ast.ListComp):
            return self.listed(node)
        if isinstance(node, _SCOPES):
            return node
        return super().visit(node)

    def visit_Call(self, node: ast.Call) -> ast.expr:
        function = node.func
        known = isinstance(function, ast.Name) and function.id in _LOOPS
        if not known or not node.args or not _stands_alone(node.args[0]) or node.keywords:
            self.generic_visit(node)
            return node
        assert isinstance(function, ast.Name)
        comprehension, *start = node.args
        if len(start) > (function.id == "sum"):
            self.generic_visit(node)
            return node
        assert isinstance(comprehension, ast.ListComp | ast.GeneratorExp)
        if function.id == "sum" and not start:
            start = [ast.copy_location(ast.Constant(0), node)]
        return self.marked(node, comprehension, start, _LOOPS[function.id])

    def listed(self, node: ast.ListComp) -> ast.expr:
        if len(node.generators) > 1 or node.generators[0].ifs or not _stands_alone(node):
            return node
        return self.marked(node, node, [], _items)

    def marked(
        self,
        node: ast.expr,
        comprehension: Comprehension,
        start: list[ast.expr],
        write: Callable[[Comprehension, Callable[[str], str]], tuple[list[str], list[ast.stmt]]],
    ) -> ast.expr:
        new = ast.copy_location(Folded(comprehension, [node], []), node)
        new.fold, new.start = self.fresh(), start
        new.func = ast.copy_location(ast.Name(new.fold, ast.Load()), node)
        taken = {each.id for each in ast.walk(comprehension) if isinstance(each, ast.Name)}

        def unused(name: str) -> str:
            while name in taken:
                name += "_"
            taken.add(name)
            return name

        # Positions stay those of the user's text, so that errors show it.
        parameters, body = write(copied(comprehension), unused)
        arguments = ast.arguments([], [ast.arg(p) for p in parameters], None, [], [], None, [])
        function = ast.FunctionDef(new.fold, arguments, body, [], None)
        if "type_params" in ast.FunctionDef._fields:
            function.type_params = []  # type: ignore[attr-defined]  # from Python 3.12 on
        _place(function, comprehension)
        self.functions.append(function)
        return new


def _stands_alone(node: ast.expr) -> bool:
    if not isinstance(node, ast.ListComp | ast.GeneratorExp):
        return False
    if any(generator.is_async for generator in node.generators):
        return False
    return not any(
        isinstance(part, _NOT_ALONE) or (isinstance(part, ast.Name) and part.id == "super")
        for part in ast.walk(node)
    )


# -- the functions


def _load(name: str) -> ast.expr:
    return ast.Name(name, ast.Load())


def _bind(name: str, value: ast.expr) -> ast.stmt:
    return ast.Assign([ast.Name(name, ast.Store())], value)


def _nested(node: Comprehension, items: str, innermost: list[ast.stmt]) -> ast.stmt:
    """The loops and conditions of a comprehension around the statements of its element."""
    body = innermost
    first = node.generators[0]
    for generator in reversed(node.generators):
        for condition in reversed(generator.ifs):
            body = [ast.copy_location(ast.If(condition, body, []), condition)]
        over = _load(items) if generator is first else generator.iter
        over = ast.copy_location(over, generator.iter)
        body = [ast.copy_location(ast.For(generator.target, over, body, []), generator.iter)]
    return body[0]


def _sum(node: Comprehension, unused: Callable[[str], str]) -> tuple[list[str], list[ast.stmt]]:
    items, total = unused("items"), unused("total")
    more = _bind(total, ast.BinOp(_load(total), ast.Add(), node.elt))
    return [items, total], [_nested(node, items, [more]), ast.Return(_load(total))]


def _any(node: Comprehension, unused: Callable[[str], str]) -> tuple[list[str], list[ast.stmt]]:
    items = unused("items")
    found = ast.If(node.elt, [ast.Return(ast.Constant(True))], [])
    return [items], [_nested(node, items, [found]), ast.Return(ast.Constant(False))]


def _all(node: Comprehension, unused: Callable[[str], str]) -> tuple[list[str], list[ast.stmt]]:
    items = unused("items")
    missing = ast.If(ast.UnaryOp(ast.Not(), node.elt), [ast.Return(ast.Constant(False))], [])
    return [items], [_nested(node, items, [missing]), ast.Return(ast.Constant(True))]


def _extreme(
    name: str, better: ast.cmpop
) -> Callable[[Comprehension, Callable[[str], str]], tuple[list[str], list[ast.stmt]]]:
    def write(
        node: Comprehension, unused: Callable[[str], str]
    ) -> tuple[list[str], list[ast.stmt]]:
        items, best, value, found = map(unused, ("items", "best", "value", "found"))
        keep = [_bind(best, _load(value)), _bind(found, ast.Constant(True))]
        wins = ast.Compare(_load(value), [better], [_load(best)])
        replace: list[ast.stmt] = [ast.If(wins, [_bind(best, _load(value))], [])]
        trip = [_bind(value, node.elt), ast.If(_load(found), replace, keep)]
        message = ast.Constant(f"{name}() iterable argument is empty")
        error = ast.Call(_load("ValueError"), [message], [])
        empty = ast.If(ast.UnaryOp(ast.Not(), _load(found)), [ast.Raise(error, None)], [])
        return [items], [
            _bind(found, ast.Constant(False)),
            _nested(node, items, trip),
            empty,
            ast.Return(_load(best)),
        ]

    return write


def _items(node: Comprehension, unused: Callable[[str], str]) -> tuple[list[str], list[ast.stmt]]:
    items, index, out = map(unused, ("items", "k", "out"))
    store = ast.Assign([ast.Subscript(_load(out), _load(index), ast.Store())], node.elt)
    generator = node.generators[0]
    number: ast.expr = ast.Name(index, ast.Store())
    generator.target = ast.Tuple([number, generator.target], ast.Store())
    return [items, out], [_nested(node, items, [store])]


_LOOPS = {
    "sum": _sum,
    "any": _any,
    "all": _all,
    "max": _extreme("max", ast.Gt()),
    "min": _extreme("min", ast.Lt()),
}


def _place(node: ast.AST, at: ast.AST) -> None:
    """Give what is new the place of what it was made for."""
    if "lineno" in node._attributes and not hasattr(node, "lineno"):
        ast.copy_location(node, at)
    for child in ast.iter_child_nodes(node):
        _place(child, node if hasattr(node, "lineno") else at)
