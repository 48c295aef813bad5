"""Operators that choose, and comprehensions: the expressions of `control`."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

from tracegrad.staging.folds import Folded
from tracegrad.staging.names import Flow, bound_by
from tracegrad.staging.rewrite import Rewriter, mangled
from tracegrad.staging.sites import Site
from tracegrad.staging.source import at_place, copied

__all__ = ["ChoosingRewriter", "asked", "at_place", "of", "site_constant"]

Build = Callable[[str], ast.expr]  # an expression from the name of its hook's object


def site_constant(index: int) -> str:
    """The constant in whose place the compiled code gets its site."""
    return f"__tracegrad_site_{index}__"


class ChoosingRewriter(Rewriter):
    """Puts the hooks of operators and comprehensions in, besides those of `Rewriter`.

    Attributes
    ----------
    sites : the sites, in the order of their `site_constant`.
    """

    def __init__(self, inside_class: str | None) -> None:
        super().__init__(inside_class)
        self.sites: list[Site] = []
        self._count = 0
        self._place: Literal["function", "comprehension", "class"] = "function"
        self._flow: Flow | None = None  # None where statements stay as they are
        self._tested: frozenset[str] = frozenset()
        self._exits: dict[ast.stmt, tuple[str, ...]] = {}
        self._guarded = 0

    # -- pieces

    def _fresh(self) -> str:
        self._count += 1
        return f"__tracegrad_{self._count}__"

    def _site(
        self,
        kind: str,
        at: ast.AST,
        names: Iterable[str] = (),
        statement: ast.stmt | None = None,
        *,
        target: Iterable[str] = (),
        exits: tuple[str, ...] = (),
        test: bool = False,
    ) -> ast.expr:
        """A new site, as the constant that stands for it."""
        flow, owner = self._flow, self.inside_class
        after: frozenset[str] = frozenset()
        names = list(names)
        if flow is not None and statement is not None:
            after = flow.after(statement).intersection(names)

        def known(given: Iterable[str]) -> frozenset[str]:
            return frozenset(mangled(name, owner) for name in given)

        site = Site(
            kind=kind,
            line=getattr(at, "lineno", 0),
            names=tuple(mangled(name, owner) for name in names),
            globals=known(n for n in names if flow is not None and n in flow.globals),
            nonlocals=known(n for n in names if flow is not None and n in flow.nonlocals),
            after=known(after),
            target=tuple(mangled(name, owner) for name in target),
            exits=exits,
            test=test,
            guarded=self._guarded > 0,
        )
        self.sites.append(site)
        return ast.copy_location(ast.Constant(site_constant(len(self.sites) - 1)), at)

    # -- expressions

    def _truth(self, node: ast.expr) -> ast.expr:
        """``node`` where only its truth counts."""
        if self._place != "class":
            if isinstance(node, ast.BoolOp):
                return self._logic(node, test=True)
            if isinstance(node, ast.Compare) and len(node.ops) > 1:
                return self._chain(node, test=True)
        new: ast.expr = self.visit(node)
        return new

    def visit_IfExp(self, node: ast.IfExp) -> ast.expr:
        arms = [node.body, node.orelse]
        if not self._can_hold(arms):
            return self._generic(node)
        names = _walrus_names(arms)
        binds = bool(names)
        condition = self._truth(node.test)
        first, second = self.visit(node.body), self.visit(node.orelse)
        start = self._hook("ternary", node.test, condition, self._site("ternary", node, names))

        def build(holder: str) -> ast.expr:
            nothing = ast.Constant(None)
            restored = self._with_env(holder, names, second, last=True)
            arms: list[ast.expr] = [
                ast.IfExp(asked(holder, "first"), first, nothing),
                ast.IfExp(asked(holder, "second"), restored, nothing),
            ]
            return self._with_env(holder, names, asked_of(start_of(holder), "result", *arms))

        start_of, whole = self._held(start, binds, node)
        return whole(build)

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.expr:
        return self._logic(node, test=False)

    def _logic(self, node: ast.BoolOp, test: bool) -> ast.expr:
        if not self._can_hold(node.values):
            return self._generic(node)
        names, binds = _walrus_names(node.values[1:]), bool(_walrus_names(node.values))
        kind = "and" if isinstance(node.op, ast.And) else "or"
        values = [self._truth(value) if test else self.visit(value) for value in node.values]

        def operands(holder: str) -> list[ast.expr]:
            return values

        return self._operands(kind, node, names, operands, test, binds)

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        if len(node.ops) > 1:
            return self._chain(node, test=False)
        if self._place == "class":
            return self._generic(node)
        left, right = self.visit(node.left), self.visit(node.comparators[0])
        return self._compared(left, node.ops[0], right, node)

    def _compared(
        self, left: ast.expr, operator: ast.cmpop, right: ast.expr, at: ast.expr
    ) -> ast.expr:
        if not isinstance(operator, ast.In | ast.NotIn):
            return ast.copy_location(ast.Compare(left, [operator], [right]), at)
        found = self._hook("contains", at, left, right)
        return found if isinstance(operator, ast.In) else self._hook("negate", at, found)

    def _chain(self, node: ast.Compare, test: bool) -> ast.expr:
        parts = [node.left, *node.comparators]
        if not self._can_hold(parts):
            return self._generic(node)
        names, binds = _walrus_names(parts[2:]), bool(_walrus_names(parts))
        first, *rest = (self.visit(part) for part in parts)

        def operands(holder: str) -> list[ast.expr]:
            found, left = [], first
            for operator, right in zip(node.ops, rest, strict=True):
                kept = right if right is rest[-1] else asked(holder, "keep", right)
                found.append(self._compared(left, operator, at_place(kept, right), node))
                left = at_place(of(holder, "kept"), right)
            return found

        return self._operands("compare", node, names, operands, test, binds)

    def _operands(
        self,
        kind: str,
        node: ast.expr,
        names: Sequence[str],
        operands: Callable[[str], list[ast.expr]],
        test: bool,
        binds: bool,
    ) -> ast.expr:
        start = self._hook("logic", node, self._site(kind, node, names, test=test))
        start_of, written = self._held(start, binds, node)

        def build(holder: str) -> ast.expr:
            *before, last = operands(holder)
            # Python itself asks at the operand in a test, at the whole elsewhere.
            steps = [
                at_place(asked(holder, "operand", value), value if test else node)
                for value in before
            ]
            steps.append(at_place(asked(holder, "last", last), last))
            whole = asked_of(start_of(holder), "result", ast.BoolOp(ast.And(), steps))
            return self._with_env(holder, names, whole)

        return written(build)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.expr:
        if not isinstance(node.op, ast.Not) or self._place == "class":
            return self._generic(node)
        return self._hook("negate", node, self._truth(node.operand))

    def _generic(self, node: ast.expr) -> ast.expr:
        new: ast.expr = self.generic_visit(node)  # type: ignore[assignment]  # of the same kind
        return new

    def _can_hold(self, parts: Sequence[ast.expr]) -> bool:
        """Whether the object of a hook can be kept while ``parts`` are evaluated."""
        if self._place == "class":
            return False
        if self._place == "function":
            return True
        return not any(
            isinstance(each, ast.Await) or (isinstance(each, ast.Name) and each.id == "super")
            for part in parts
            for each in ast.walk(part)
        )

    def _held(
        self, start: ast.expr, binds: bool, at: ast.expr
    ) -> tuple[Build, Callable[[Build], ast.expr]]:
        """How to write an expression that asks the object of ``start`` several times.

        ``binds`` says that an operand binds a name (in a lambda it would be the lambda's). The
        first of the two results gives the expression whose method makes the result, the second
        builds the whole.
        """
        holder = self._fresh()
        if self._place == "comprehension" and not binds:
            one = ast.arguments([], [ast.arg(holder)], None, [], [], None, [])

            def called(build: Build) -> ast.expr:
                inner = ast.Lambda(one, at_place(build(holder), at))
                return at_place(ast.Call(at_place(inner, at), [start], []), at)

            return lambda name: ast.Name(name, ast.Load()), called

        def bound(_: str) -> ast.expr:
            return at_place(ast.NamedExpr(ast.Name(holder, ast.Store()), start), at)

        return bound, lambda build: at_place(build(holder), at)

    def _with_env(
        self, holder: str, names: Sequence[str], value: ast.expr, *, last: bool = False
    ) -> ast.expr:
        """``value``, and after it (or before it) names from ``holder.env`` where told."""
        if not names:
            return value
        parts: list[ast.expr] = []
        for position, name in enumerate(names):
            there = ast.Subscript(of(holder, "env"), ast.Constant(position), ast.Load())
            bind = ast.NamedExpr(ast.Name(name, ast.Store()), there)
            told = asked(holder, "changed", ast.Constant(position))
            parts.append(ast.IfExp(told, bind, ast.Constant(None)))
        parts = [*parts, value] if last else [value, *parts]
        index = ast.Constant(len(parts) - 1 if last else 0)
        return ast.Subscript(ast.Tuple(parts, ast.Load()), index, ast.Load())

    # -- comprehensions

    def _comprehension(self, node: Any) -> Any:
        if self._place == "class":
            return self.generic_visit(node)
        outer, self._place = self._place, "comprehension"
        for generator in node.generators:
            generator.iter = self.visit(generator.iter)
            generator.target = self.visit(generator.target)
            if not generator.is_async:
                site = self._site("comprehension", generator.iter)
                generator.iter = self._hook("each", generator.iter, generator.iter, site)
            conditions = []
            for condition in generator.ifs:
                site = self._site("comprehension", condition)
                conditions.append(self._hook("truth", condition, self._truth(condition), site))
            generator.ifs = conditions
        for field in ("key", "value", "elt"):
            if hasattr(node, field):
                setattr(node, field, self.visit(getattr(node, field)))
        self._place = outer
        return node

    def visit_Folded(self, node: Folded) -> ast.expr:
        """The loop that stands for a comprehension, where the hooks want it."""
        first = node.comprehension.generators[0]
        function: ast.expr = ast.Constant(None)
        if isinstance(node.call, ast.Call):
            function = self.visit(copied(node.call.func))
        start = [self.visit(each) for each in node.start]
        items, holder = self._fresh(), self._fresh()
        over = ast.NamedExpr(ast.Name(items, ast.Store()), self.visit(first.iter))
        first.iter = at_place(ast.Name(items, ast.Load()), first.iter)
        alone = self.visit(node.call)
        site = self._site("comprehension", node)
        made = self._hook("fold", node, function, node.func, at_place(over, first.iter), site)
        told = ast.NamedExpr(ast.Name(holder, ast.Store()), made)
        test = ast.Attribute(told, "folds", ast.Load())
        return at_place(ast.IfExp(test, asked(holder, "of", *start), alone), node)

    visit_ListComp = _comprehension
    visit_SetComp = _comprehension
    visit_DictComp = _comprehension
    visit_GeneratorExp = _comprehension


def of(holder: str, attribute: str) -> ast.expr:
    return ast.Attribute(ast.Name(holder, ast.Load()), attribute, ast.Load())


def asked(holder: str, method: str, *args: ast.expr) -> ast.expr:
    return ast.Call(of(holder, method), list(args), [])


def asked_of(holder: ast.expr, method: str, *args: ast.expr) -> ast.expr:
    return ast.Call(ast.Attribute(holder, method, ast.Load()), list(args), [])


def _walrus_names(parts: Iterable[ast.expr]) -> list[str]:
    return list({name: None for part in parts for name in bound_by(part)})
