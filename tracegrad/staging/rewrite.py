"""Source rewriting: the same function, with hooks where plain execution hides something.

========================  ====================================================
the user wrote            what runs
========================  ====================================================
``f(a, b)``               ``HOOK.call(f)(a, b)``
``x``                     ``HOOK.name(x, "x")``
``obj.attr``              ``HOOK.attribute(obj, "attr")``
``obj[key]``              ``HOOK.item(obj, key)`` (slices stay as they are)
``x += v``                ``x = HOOK.inplace("+", x, v)``
``obj.attr = v``          ``HOOK.stored(obj, "attr").attr = v``, and for ``+=``, ``del``
``obj[key] = v``          ``HOOK.stored_item(obj)[key] = v``, and for ``+=``, ``del``
========================  ====================================================

Control flow is hooked in ``control``. Nothing else changes: statements stay in place, each
new expression takes the position of the one it stands for, each operand is evaluated once
and in the old order. Tracebacks and debuggers therefore show the user's own lines.
"""

from __future__ import annotations

import ast
from typing import Any

from tracegrad.staging.source import at_place

__all__ = ["HOOK", "Rewriter", "is_internal", "mangled"]

HOOK = "__tracegrad__"  # a dunder name is never mangled, and no user function has it

_OPERATORS: dict[type[ast.operator], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.MatMult: "@",
    ast.Div: "/",
    ast.Mod: "%",
    ast.Pow: "**",
    ast.LShift: "<<",
    ast.RShift: ">>",
    ast.BitOr: "|",
    ast.BitXor: "^",
    ast.BitAnd: "&",
    ast.FloorDiv: "//",
}

# Python itself gives these a meaning where they stand.
_UNTOUCHED = frozenset({"super", "__class__", "__debug__"})


def is_internal(name: str) -> bool:
    """Whether staging made the name: no user function has such a one."""
    return name.startswith("__tracegrad_")


def mangled(name: str, inside_class: str | None) -> str:
    """``name`` as Python knows it inside a class: ``__x`` in ``class C`` is ``_C__x``."""
    owner = (inside_class or "").lstrip("_")
    if owner and name.startswith("__") and not name.endswith("__"):
        return f"_{owner}{name}"
    return name


class Rewriter(ast.NodeTransformer):
    """Puts the hooks into a copy of a function's tree, in place."""

    def __init__(self, inside_class: str | None) -> None:
        self.inside_class = inside_class

    def rewrite(self, function: ast.FunctionDef | ast.Lambda) -> None:
        """Hook the body of ``function``; its defaults and decorators do not run again."""
        if isinstance(function, ast.Lambda):
            function.body = self.visit(function.body)
        else:
            function.body = self.function_body(function)

    def function_body(self, function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.stmt]:
        """The hooked statements of a function."""
        return [self.visit(statement) for statement in function.body]

    # -- building hooked expressions

    def _hook(self, method: str, at: ast.AST, *args: ast.expr) -> ast.Call:
        hook = at_place(ast.Name(HOOK, ast.Load()), at)
        attribute = at_place(ast.Attribute(hook, method, ast.Load()), at)
        if method not in ("attribute", "call"):
            # The line of a method call is that on which its name ends: as Python has it for
            # the user's own attributes and methods, while all else begins on its first line.
            attribute.end_lineno = attribute.lineno
            attribute.end_col_offset = attribute.col_offset
        return at_place(ast.Call(attribute, list(args), []), at)

    def _text(self, text: str, at: ast.AST) -> ast.Constant:
        return at_place(ast.Constant(text), at)

    # -- expressions

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if not isinstance(node.ctx, ast.Load) or node.id in _UNTOUCHED or is_internal(node.id):
            return node
        text = self._text(mangled(node.id, self.inside_class), node)
        return self._hook("name", node, node, text)

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        node.value = self.visit(node.value)
        text = self._text(mangled(node.attr, self.inside_class), node)
        if not isinstance(node.ctx, ast.Load):
            node.value = self._hook("stored", node, node.value, text)
            return node
        return self._hook("attribute", node, node.value, text)

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        node.value = self.visit(node.value)
        node.slice = self.visit(node.slice)
        if not isinstance(node.ctx, ast.Load):
            node.value = self._hook("stored_item", node, node.value)
            return node
        parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        if any(isinstance(part, ast.Slice | ast.Starred) for part in parts):
            return node  # a slice is no expression that could be handed on
        return self._hook("item", node, node.value, node.slice)

    def visit_Call(self, node: ast.Call) -> ast.expr:
        function = node.func
        node.args = [self.visit(arg) for arg in node.args]
        node.keywords = [self.visit(keyword) for keyword in node.keywords]
        if not (isinstance(function, ast.Name) and function.id in _UNTOUCHED):
            node.func = self._hook("call", function, self.visit(function))
        return node

    # -- statements

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.stmt:
        target = node.target
        node.value = self.visit(node.value)
        if isinstance(target, ast.Name):
            old = self.visit(ast.copy_location(ast.Name(target.id, ast.Load()), target))
            operator = self._text(_OPERATORS[type(node.op)], node)
            new = self._hook("inplace", node, operator, old, node.value)
            return ast.copy_location(ast.Assign([target], new), node)
        node.target = self.visit(target)
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.stmt:
        node.target = self.visit(node.target)
        if node.value is not None:
            node.value = self.visit(node.value)
        return node

    def visit_match_case(self, node: ast.match_case) -> ast.match_case:
        # Patterns are no expressions: `case Point(x=0)` calls nothing.
        if node.guard is not None:
            node.guard = self.visit(node.guard)
        node.body = [self.visit(statement) for statement in node.body]
        return node

    # -- scopes

    def _visit_function(self, node: Any) -> Any:
        node.decorator_list = [self.visit(decorator) for decorator in node.decorator_list]
        self._visit_defaults(node.args)
        node.body = self.function_body(node)
        return node

    visit_FunctionDef = _visit_function
    visit_AsyncFunctionDef = _visit_function

    def visit_Lambda(self, node: ast.Lambda) -> ast.Lambda:
        self._visit_defaults(node.args)
        node.body = self.visit(node.body)
        return node

    def _visit_defaults(self, arguments: ast.arguments) -> None:
        arguments.defaults = [self.visit(default) for default in arguments.defaults]
        arguments.kw_defaults = [
            None if default is None else self.visit(default) for default in arguments.kw_defaults
        ]

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        node.bases = [self.visit(base) for base in node.bases]
        node.keywords = [self.visit(keyword) for keyword in node.keywords]
        node.decorator_list = [self.visit(decorator) for decorator in node.decorator_list]
        outer, self.inside_class = self.inside_class, node.name
        node.body = [self.visit(statement) for statement in node.body]
        self.inside_class = outer
        return node
