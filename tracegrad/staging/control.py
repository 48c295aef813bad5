"""Control flow with hooks: branches, loops, jumps, raises, and operators that choose.

The body stays in place, so that tracebacks, ``del``, ``with`` and late-binding closures are
the user's own. Each construct asks an object that its hook returned what to do next (``S``
stands for the site, ``b``, ``s`` for internal names)::

    if c:                       b = HOOK.branch(c, S)
        A                       if b.first():
    else:                           A
        B                       if b.second():
                                    if b.env is not None: x, y = b.env
                                    B
                                if b.merge(): x, y = b.env

    for T in it:                for s in HOOK.loop(it, S):
        BODY                        try:
                                        if s.env is not None: x, y = s.env
                                        if s.live:
                                            T = s.take()
                                            BODY
                                            if s.leave(flags): break
                                    except HOOK.abort:
                                        if not s.aborted(): raise

    while c: BODY               as above, with ``if s.live and s.test(c)`` and no ``take``

    a if c else b               (t := HOOK.ternary(c, S)).result(
                                    a if t.first() else None, b if t.second() else None)

    a and b, a or b             (t := HOOK.logic(S)).result(t.operand(a) and t.last(b))

    a < b < c                   (t := HOOK.logic(S)).result(
                                    t.operand(a < t.keep(b)) and t.last(t.kept < c))

    raise E                     if HOOK.raising(S): raise E
                                else: HOOK.raised(S, E)

Jumps are made structured beforehand (``jumps``). After ``x, y = b.env`` each name that is
``b.unbound`` is deleted. In a comprehension the object is the parameter of a lambda, since
comprehensions can run interleaved.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, TypeVar

from tracegrad.staging.jumps import Guard, SetFlag, Unfinished, structured
from tracegrad.staging.names import Flow, arguments_of, bound_by, header_binds
from tracegrad.staging.patterns import as_branches
from tracegrad.staging.rewrite import HOOK, Rewriter, mangled
from tracegrad.staging.sites import Site
from tracegrad.staging.source import copied

__all__ = ["ControlRewriter", "site_constant"]

_SUSPENDING = (ast.Yield, ast.YieldFrom, ast.Await, ast.AsyncFor, ast.AsyncWith)
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)

Node = TypeVar("Node", bound=ast.AST)
Build = Callable[[str], ast.expr]  # an expression from the name of its hook's object


def site_constant(index: int) -> str:
    """The constant in whose place the compiled code gets its site."""
    return f"__tracegrad_site_{index}__"


class ControlRewriter(Rewriter):
    """Puts the hooks of control flow in, besides those of `Rewriter`.

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

    # -- scopes

    def function_body(self, function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.stmt]:
        if isinstance(function, ast.AsyncFunctionDef) or _suspends(function):
            with self._scope("function"):
                return [self.visit(statement) for statement in function.body]
        body = [each for statement in function.body for each in self._chains(statement)]
        found = structured(body)
        with self._scope("function"):
            self._flow = Flow(found.body, arguments_of(function.args), found.exits)
            self._tested, self._exits = found.tested, found.exits
            return self._block(found.body)

    @contextmanager
    def _scope(self, place: Literal["function", "comprehension", "class"]) -> Iterator[None]:
        saved = self._place, self._flow, self._tested, self._exits, self._guarded
        self._place, self._flow, self._guarded = place, None, 0
        try:
            yield
        finally:
            self._place, self._flow, self._tested, self._exits, self._guarded = saved

    def visit_Lambda(self, node: ast.Lambda) -> ast.Lambda:
        self._visit_defaults(node.args)
        with self._scope("function"):
            node.body = self.visit(node.body)
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        # Decorators and bases belong outside, but a walrus there is as rare as a branch.
        with self._scope("class"):
            return super().visit_ClassDef(node)

    def _chains(self, statement: ast.stmt) -> list[ast.stmt]:
        """``statement`` with each ``match`` over plain values made a chain of ``if``."""
        if isinstance(statement, _SCOPES):
            return [statement]
        for part in (
            statement,
            *getattr(statement, "handlers", ()),
            *getattr(statement, "cases", ()),
        ):
            for field in ("body", "orelse", "finalbody"):
                inner = getattr(part, field, None)
                if isinstance(inner, list):
                    setattr(part, field, [new for each in inner for new in self._chains(each)])
        if isinstance(statement, ast.Match):
            return as_branches(statement, self._fresh) or [statement]
        return [statement]

    def _block(self, body: Sequence[ast.stmt]) -> list[ast.stmt]:
        out: list[ast.stmt] = []
        for statement in body:
            out += self._rebinds(statement)
            new = self.visit(statement)
            out += new if isinstance(new, list) else [new]
        return out or [ast.copy_location(ast.Pass(), body[0])] if body else out

    def _rebinds(self, statement: ast.stmt) -> Iterator[ast.stmt]:
        flow = self._flow
        if flow is None or not (flow.globals or flow.nonlocals):
            return
        for name in header_binds(statement):
            if name not in flow.globals and name not in flow.nonlocals:
                continue
            reader: ast.expr = ast.Constant(None)
            if name in flow.nonlocals:
                nothing = ast.arguments([], [], None, [], [], None, [])
                reader = ast.Lambda(nothing, ast.Name(name, ast.Load()))
            text = ast.Constant(mangled(name, self.inside_class))
            yield ast.copy_location(
                ast.Expr(self._hook("rebinds", statement, text, reader)), statement
            )

    # -- pieces

    def _fresh(self) -> str:
        self._count += 1
        return f"__tracegrad_{self._count}__"

    def _site(
        self,
        kind: str,
        at: ast.AST,
        names: Iterable[str] = (),
        of: ast.stmt | None = None,
        *,
        target: Iterable[str] = (),
        exits: tuple[str, ...] = (),
        test: bool = False,
    ) -> ast.expr:
        """A new site, as the constant that stands for it."""
        flow, owner = self._flow, self.inside_class
        after: frozenset[str] = frozenset()
        names = list(names)
        if flow is not None and of is not None:
            after = flow.after(of).intersection(names)

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

    def _restore(self, holder: str, names: Sequence[str], at: ast.AST) -> list[ast.stmt]:
        """``x, y = holder.env``, and ``del`` of what has no value there."""
        if not names:
            return []
        targets: list[ast.expr] = [ast.Name(name, ast.Store()) for name in names]
        out: list[ast.stmt] = [ast.Assign([ast.Tuple(targets, ast.Store())], _of(holder, "env"))]
        for name in names:
            test = ast.Compare(ast.Name(name, ast.Load()), [ast.Is()], [_of(holder, "unbound")])
            out.append(ast.If(test, [ast.Delete([ast.Name(name, ast.Del())])], []))
        return [_at(statement, at) for statement in out]

    def _restore_if_told(self, holder: str, names: Sequence[str], at: ast.AST) -> list[ast.stmt]:
        if not names:
            return []
        told = ast.Compare(_of(holder, "env"), [ast.IsNot()], [ast.Constant(None)])
        return [_at(ast.If(told, self._restore(holder, names, at), []), at)]

    # -- branches

    def visit_If(self, node: ast.If) -> Any:
        if self._flow is None:
            return self.generic_visit(node)
        if isinstance(node.test, ast.Constant) or _is_debug(node.test):
            node.body, node.orelse = self._block(node.body), self._block(node.orelse)
            return node
        return self._branch("if", node, node.test, node.body, node.orelse)

    def _branch(
        self,
        kind: str,
        node: ast.stmt,
        test: ast.expr | None,
        first: list[ast.stmt],
        second: list[ast.stmt],
    ) -> list[ast.stmt]:
        assert self._flow is not None
        at: ast.AST = node if test is None else test
        if isinstance(node, Guard):
            flags = [ast.Name(flag, ast.Load()) for flag in node.flags]
            condition: ast.expr = self._hook("clear", at, *flags)
        else:
            assert test is not None
            condition = self._truth(test)
        names = self._flow.names_of_branch(node, second)
        site = self._site(kind, node, names, node)
        holder = self._fresh()
        start = ast.Assign(
            [ast.Name(holder, ast.Store())], self._hook("branch", at, condition, site)
        )
        body = self._block(first)
        orelse = [*self._restore_if_told(holder, names, at), *self._block(second)]
        merged = self._restore(holder, names, at)
        return [
            _at(start, at),
            _at(ast.If(_asked(holder, "first"), body, []), at),
            _at(ast.If(_asked(holder, "second"), orelse or [ast.Pass()], []), at),
            _at(ast.If(_asked(holder, "merge"), merged or [ast.Pass()], []), at),
        ]

    def visit_Guard(self, node: Guard) -> list[ast.stmt]:
        if not node.flags:
            dead = [_WithoutHooks().visit(statement) for statement in node.body]
            flat = [each for new in dead for each in (new if isinstance(new, list) else [new])]
            return [_at(ast.If(ast.Constant(False), flat, []), node)]
        return self._branch("guard", node, None, node.body, [])

    def visit_SetFlag(self, node: SetFlag) -> list[ast.stmt]:
        if node.flag not in self._tested:
            return []
        target = ast.Name(node.flag, ast.Store())
        return [_at(ast.Assign([target], ast.Constant(node.value)), node)]

    def visit_Unfinished(self, node: Unfinished) -> ast.stmt:
        test = ast.UnaryOp(ast.Not(), ast.Name(node.done, ast.Load()))
        return _at(ast.If(test, self._block(node.body), []), node)

    # -- loops

    def visit_For(self, node: ast.For) -> Any:
        if self._flow is None:
            return self.generic_visit(node)
        names = self._flow.names_of_loop(node)
        exits = self._exits[node]
        site = self._site("for", node, names, node, target=bound_by(node.target), exits=exits)
        items = self._hook("loop", node.iter, self.visit(node.iter), site)
        step = self._fresh()
        target = self.visit(node.target)
        take = ast.copy_location(ast.Assign([target], _asked(step, "take")), node.target)
        body = [take, *self._block(node.body), *self._leave(step, exits, node)]
        trip = _at(ast.If(_of(step, "live"), body, []), node)
        return self._trips(node, step, items, names, trip)

    def visit_While(self, node: ast.While) -> Any:
        if self._flow is None:
            return self.generic_visit(node)
        names = self._flow.names_of_loop(node)
        exits = self._exits[node]
        site = self._site("while", node, names, node, exits=exits)
        step = self._fresh()
        test = self._truth(node.test)
        condition = ast.copy_location(_asked(step, "test", test), node.test)
        body = [*self._block(node.body), *self._leave(step, exits, node)]
        inner = _at(ast.If(condition, body, []), node.test)
        trip = _at(ast.If(_of(step, "live"), [inner], []), node)
        return self._trips(node, step, self._hook("while_loop", node, site), names, trip)

    def _leave(self, step: str, exits: Sequence[str], at: ast.AST) -> list[ast.stmt]:
        if not exits:
            return []
        flags = [ast.Name(flag, ast.Load()) for flag in exits]
        return [_at(ast.If(_asked(step, "leave", *flags), [ast.Break()], []), at)]

    def _trips(
        self, node: ast.stmt, step: str, items: ast.expr, names: Sequence[str], trip: ast.stmt
    ) -> ast.stmt:
        unhandled = ast.UnaryOp(ast.Not(), _asked(step, "aborted"))
        handler = ast.ExceptHandler(
            _of(HOOK, "abort"), None, [ast.If(unhandled, [ast.Raise(None, None)], [])]
        )
        body = [*self._restore_if_told(step, names, node), trip]
        attempt = _at(ast.Try(body, [_at(handler, node)], [], []), node)
        return _at(ast.For(ast.Name(step, ast.Store()), items, [attempt], [], None), node)

    # -- exceptions

    def visit_Raise(self, node: ast.Raise) -> Any:
        node.exc = node.exc and self.visit(node.exc)
        node.cause = node.cause and self.visit(node.cause)
        if self._flow is None:
            return node
        site = self._site("raise", node)
        operands = [] if node.exc is None else [copied(node.exc)]
        if node.cause is not None:
            operands.append(copied(node.cause))
        told = ast.Expr(self._hook("raised", node, copy.copy(site), *operands))
        return _at(ast.If(self._hook("raising", node, site), [node], [_at(told, node)]), node)

    def visit_Assert(self, node: ast.Assert) -> Any:
        if self._flow is None:
            return self.generic_visit(node)
        message = [] if node.msg is None else [self.visit(node.msg)]
        site = self._site("raise", node)
        native = ast.Assert(ast.Constant(False), copied(message[0]) if message else None)
        error = self._hook("assertion", node, *message)
        told = ast.Expr(self._hook("raised", node, copy.copy(site), error))
        fails = ast.If(self._hook("raising", node, site), [_at(native, node)], [_at(told, node)])
        condition, holder = self._truth(node.test), self._fresh()
        start = ast.Assign(
            [ast.Name(holder, ast.Store())],
            self._hook("branch", node.test, condition, self._site("assert", node)),
        )
        body = [
            _at(start, node.test),
            _at(ast.If(_asked(holder, "first"), [ast.Pass()], []), node),
            _at(ast.If(_asked(holder, "second"), [_at(fails, node)], []), node),
            _at(ast.Expr(_asked(holder, "merge")), node),
        ]
        return _at(ast.If(ast.Name("__debug__", ast.Load()), body, []), node)

    def visit_Try(self, node: Any) -> Any:
        if self._flow is None:
            return self.generic_visit(node)
        mark = self._fresh()
        start = self._mark("try", mark, node)
        self._guarded += bool(node.handlers)
        node.body = self._block(node.body)
        self._guarded -= bool(node.handlers)
        node.orelse = self._block(node.orelse)
        for handler in node.handlers:
            handler.type = handler.type and self.visit(handler.type)
            handler.body = [self._told(mark, "caught", handler), *self._block(handler.body)]
        if node.finalbody:
            first = node.finalbody[0]
            node.finalbody = [self._told(mark, "final", first), *self._block(node.finalbody)]
        if node.handlers and isinstance(node, ast.Try):
            passing = ast.ExceptHandler(_of(HOOK, "abort"), None, [ast.Raise(None, None)])
            node.handlers = [_at(passing, node.handlers[0]), *node.handlers]
        return [start, node]

    visit_TryStar = visit_Try

    def visit_With(self, node: ast.With) -> Any:
        if self._flow is None:
            return self.generic_visit(node)
        mark = self._fresh()
        start = self._mark("with", mark, node)
        node.items = [self.visit(item) for item in node.items]
        self._guarded += 1
        node.body = self._block(node.body)
        self._guarded -= 1
        return [start, node, self._told(mark, "final", node)]

    def _mark(self, kind: str, mark: str, at: ast.stmt) -> ast.stmt:
        trying = self._hook("trying", at, self._site(kind, at))
        return _at(ast.Assign([ast.Name(mark, ast.Store())], trying), at)

    def _told(self, mark: str, what: str, at: ast.AST) -> ast.stmt:
        return _at(ast.Expr(_asked(mark, what)), at)

    def visit_match_case(self, node: ast.match_case) -> ast.match_case:
        if self._flow is None:
            return super().visit_match_case(node)
        if node.guard is not None:
            site = self._site("match", node.guard)
            node.guard = self._hook("truth", node.guard, self._truth(node.guard), site)
        node.body = self._block(node.body)
        return node

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
                ast.IfExp(_asked(holder, "first"), first, nothing),
                ast.IfExp(_asked(holder, "second"), restored, nothing),
            ]
            return self._with_env(holder, names, _asked_of(start_of(holder), "result", *arms))

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
                kept = right if right is rest[-1] else _asked(holder, "keep", right)
                found.append(self._compared(left, operator, _at(kept, right), node))
                left = _at(_of(holder, "kept"), right)
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
        start_of, whole = self._held(start, binds, node)

        def build(holder: str) -> ast.expr:
            *before, last = operands(holder)
            # Python itself asks at the operand in a test, at the whole elsewhere.
            asked = [
                _at(_asked(holder, "operand", value), value if test else node) for value in before
            ]
            asked.append(_at(_asked(holder, "last", last), last))
            steps = ast.BoolOp(ast.And(), asked)
            return self._with_env(holder, names, _asked_of(start_of(holder), "result", steps))

        return whole(build)

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
                inner = ast.Lambda(one, _at(build(holder), at))
                return _at(ast.Call(_at(inner, at), [start], []), at)

            return lambda name: ast.Name(name, ast.Load()), called

        def bound(_: str) -> ast.expr:
            return _at(ast.NamedExpr(ast.Name(holder, ast.Store()), start), at)

        return bound, lambda build: _at(build(holder), at)

    def _with_env(
        self, holder: str, names: Sequence[str], value: ast.expr, *, last: bool = False
    ) -> ast.expr:
        """``value``, and after it (or before it) names from ``holder.env`` where told."""
        if not names:
            return value
        parts: list[ast.expr] = []
        for position, name in enumerate(names):
            there = ast.Subscript(_of(holder, "env"), ast.Constant(position), ast.Load())
            bind = ast.NamedExpr(ast.Name(name, ast.Store()), there)
            told = _asked(holder, "changed", ast.Constant(position))
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

    visit_ListComp = _comprehension
    visit_SetComp = _comprehension
    visit_DictComp = _comprehension
    visit_GeneratorExp = _comprehension


class _WithoutHooks(ast.NodeTransformer):
    """Statements that never run, as Python's own again."""

    def visit_Guard(self, node: Guard) -> Any:
        self.generic_visit(node)
        return node.body


def _at(node: Node, at: ast.AST) -> Node:
    return ast.copy_location(node, at)


def _of(holder: str, attribute: str) -> ast.expr:
    return ast.Attribute(ast.Name(holder, ast.Load()), attribute, ast.Load())


def _asked(holder: str, method: str, *args: ast.expr) -> ast.expr:
    return ast.Call(_of(holder, method), list(args), [])


def _asked_of(holder: ast.expr, method: str, *args: ast.expr) -> ast.expr:
    return ast.Call(ast.Attribute(holder, method, ast.Load()), list(args), [])


def _is_debug(test: ast.expr) -> bool:
    return isinstance(test, ast.Name) and test.id == "__debug__"


def _walrus_names(parts: Iterable[ast.expr]) -> list[str]:
    return list({name: None for part in parts for name in bound_by(part)})


def _suspends(function: ast.AST) -> bool:
    return any(
        isinstance(child, _SUSPENDING) or (not isinstance(child, _SCOPES) and _suspends(child))
        for child in ast.iter_child_nodes(function)
    )
