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
comprehensions can run interleaved; a loop that may stand for one is told of in ``folds``.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from tracegrad.staging.choosing import ChoosingRewriter, asked, at_place, of
from tracegrad.staging.folds import with_folds
from tracegrad.staging.jumps import Guard, SetFlag, Unfinished, structured
from tracegrad.staging.names import Flow, arguments_of, bound_by, header_binds
from tracegrad.staging.patterns import as_branches
from tracegrad.staging.rewrite import HOOK, mangled
from tracegrad.staging.source import copied

__all__ = ["ControlRewriter"]

_SUSPENDING = (ast.Yield, ast.YieldFrom, ast.Await, ast.AsyncFor, ast.AsyncWith)
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)


class ControlRewriter(ChoosingRewriter):
    """Puts the hooks of all control flow in, besides those of `Rewriter`."""

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
        """``statement`` with each ``match`` over plain values made a chain of ``if``.

        Before it come functions for its comprehensions (``folds``).
        """
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
        return with_folds(statement, self._fresh)

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

    def _restore(self, holder: str, names: Sequence[str], at: ast.AST) -> list[ast.stmt]:
        """``x, y = holder.env``, and ``del`` of what has no value there."""
        if not names:
            return []
        targets: list[ast.expr] = [ast.Name(name, ast.Store()) for name in names]
        out: list[ast.stmt] = [ast.Assign([ast.Tuple(targets, ast.Store())], of(holder, "env"))]
        for name in names:
            test = ast.Compare(ast.Name(name, ast.Load()), [ast.Is()], [of(holder, "unbound")])
            out.append(ast.If(test, [ast.Delete([ast.Name(name, ast.Del())])], []))
        return [at_place(statement, at) for statement in out]

    def _restore_if_told(self, holder: str, names: Sequence[str], at: ast.AST) -> list[ast.stmt]:
        if not names:
            return []
        told = ast.Compare(of(holder, "env"), [ast.IsNot()], [ast.Constant(None)])
        return [at_place(ast.If(told, self._restore(holder, names, at), []), at)]

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
            at_place(start, at),
            at_place(ast.If(asked(holder, "first"), body, []), at),
            at_place(ast.If(asked(holder, "second"), orelse or [ast.Pass()], []), at),
            at_place(ast.If(asked(holder, "merge"), merged or [ast.Pass()], []), at),
        ]

    def visit_Guard(self, node: Guard) -> list[ast.stmt]:
        if not node.flags:
            dead = [_WithoutHooks().visit(statement) for statement in node.body]
            flat = [each for new in dead for each in (new if isinstance(new, list) else [new])]
            return [at_place(ast.If(ast.Constant(False), flat, []), node)]
        return self._branch("guard", node, None, node.body, [])

    def visit_SetFlag(self, node: SetFlag) -> list[ast.stmt]:
        if node.flag not in self._tested:
            return []
        target = ast.Name(node.flag, ast.Store())
        return [at_place(ast.Assign([target], ast.Constant(node.value)), node)]

    def visit_Unfinished(self, node: Unfinished) -> ast.stmt:
        test = ast.UnaryOp(ast.Not(), ast.Name(node.done, ast.Load()))
        return at_place(ast.If(test, self._block(node.body), []), node)

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
        take = ast.copy_location(ast.Assign([target], asked(step, "take")), node.target)
        body = [take, *self._block(node.body), *self._leave(step, exits, node)]
        trip = at_place(ast.If(of(step, "live"), body, []), node)
        return self._trips(node, step, items, names, trip)

    def visit_While(self, node: ast.While) -> Any:
        if self._flow is None:
            return self.generic_visit(node)
        names = self._flow.names_of_loop(node)
        exits = self._exits[node]
        site = self._site("while", node, names, node, exits=exits)
        step = self._fresh()
        test = self._truth(node.test)
        condition = ast.copy_location(asked(step, "test", test), node.test)
        body = [*self._block(node.body), *self._leave(step, exits, node)]
        inner = at_place(ast.If(condition, body, []), node.test)
        trip = at_place(ast.If(of(step, "live"), [inner], []), node)
        return self._trips(node, step, self._hook("while_loop", node, site), names, trip)

    def _leave(self, step: str, exits: Sequence[str], at: ast.AST) -> list[ast.stmt]:
        if not exits:
            return []
        flags = [ast.Name(flag, ast.Load()) for flag in exits]
        return [at_place(ast.If(asked(step, "leave", *flags), [ast.Break()], []), at)]

    def _trips(
        self, node: ast.stmt, step: str, items: ast.expr, names: Sequence[str], trip: ast.stmt
    ) -> ast.stmt:
        unhandled = ast.UnaryOp(ast.Not(), asked(step, "aborted"))
        handler = ast.ExceptHandler(
            of(HOOK, "abort"), None, [ast.If(unhandled, [ast.Raise(None, None)], [])]
        )
        body = [*self._restore_if_told(step, names, node), trip]
        attempt = at_place(ast.Try(body, [at_place(handler, node)], [], []), node)
        return at_place(ast.For(ast.Name(step, ast.Store()), items, [attempt], [], None), node)

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
        return at_place(
            ast.If(self._hook("raising", node, site), [node], [at_place(told, node)]), node
        )

    def visit_Assert(self, node: ast.Assert) -> Any:
        if self._flow is None:
            return self.generic_visit(node)
        message = [] if node.msg is None else [self.visit(node.msg)]
        site = self._site("raise", node)
        native = ast.Assert(ast.Constant(False), copied(message[0]) if message else None)
        error = self._hook("assertion", node, *message)
        told = ast.Expr(self._hook("raised", node, copy.copy(site), error))
        fails = ast.If(
            self._hook("raising", node, site), [at_place(native, node)], [at_place(told, node)]
        )
        condition, holder = self._truth(node.test), self._fresh()
        start = ast.Assign(
            [ast.Name(holder, ast.Store())],
            self._hook("branch", node.test, condition, self._site("assert", node)),
        )
        body = [
            at_place(start, node.test),
            at_place(ast.If(asked(holder, "first"), [ast.Pass()], []), node),
            at_place(ast.If(asked(holder, "second"), [at_place(fails, node)], []), node),
            at_place(ast.Expr(asked(holder, "merge")), node),
        ]
        return at_place(ast.If(ast.Name("__debug__", ast.Load()), body, []), node)

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
            passing = ast.ExceptHandler(of(HOOK, "abort"), None, [ast.Raise(None, None)])
            node.handlers = [at_place(passing, node.handlers[0]), *node.handlers]
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
        return at_place(ast.Assign([ast.Name(mark, ast.Store())], trying), at)

    def _told(self, mark: str, what: str, at: ast.AST) -> ast.stmt:
        return at_place(ast.Expr(asked(mark, what)), at)

    def visit_match_case(self, node: ast.match_case) -> ast.match_case:
        if self._flow is None:
            return super().visit_match_case(node)
        if node.guard is not None:
            site = self._site("match", node.guard)
            node.guard = self._hook("truth", node.guard, self._truth(node.guard), site)
        node.body = self._block(node.body)
        return node


class _WithoutHooks(ast.NodeTransformer):
    """Statements that never run, as Python's own again."""

    def visit_Guard(self, node: Guard) -> Any:
        self.generic_visit(node)
        return node.body


def _is_debug(test: ast.expr) -> bool:
    return isinstance(test, ast.Name) and test.id == "__debug__"


def _suspends(function: ast.AST) -> bool:
    return any(
        isinstance(child, _SUSPENDING) or (not isinstance(child, _SCOPES) and _suspends(child))
        for child in ast.iter_child_nodes(function)
    )
