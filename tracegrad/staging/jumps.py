"""Jumps made structured: ``break``, ``continue`` and early ``return`` become plain control flow.

A tracer runs both arms of a branch and a loop's body once, so nothing may leave them on the
way. Three rules, in this order:

1. If one arm of an ``if`` always leaves, the statements after the ``if`` move into the other::

       if c:                        if c:
           return a                     value = a
       b()                     ->   else:
       return d                         b()
                                        value = d
                                    return value

2. Else a jump sets a flag, and the statements after it are guarded: ``if not flag: ...``.
3. ``return`` in a loop sets value and flag, and ends the loop; so do the loops around it,
   each when its own body is done (its ``exits`` name the flags).

What leaves by an exception needs nothing of this. A flag that a jump has set is reset where
an exception overtakes the jump: in the handlers of a ``try``, after a ``with`` whose body did
not run to its end.
"""

from __future__ import annotations

import ast
import enum
from collections.abc import Iterator, Sequence
from typing import NamedTuple

__all__ = ["RETURN", "VALUE", "Guard", "NotRewritable", "SetFlag", "Unfinished", "structured"]

RETURN = "__tracegrad_return__"
VALUE = "__tracegrad_value__"

_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)
_LOOPS = (ast.For, ast.AsyncFor, ast.While)
_TRIES: tuple[type, ...] = (ast.Try, getattr(ast, "TryStar", ast.Try))
_JUMPS = (ast.Return, ast.Break, ast.Continue)


class NotRewritable(Exception):
    """Why the control flow of a function stays as it is, in words for the user."""


class SetFlag(ast.stmt):
    """``flag = value``.

    ``starts`` says that the flag begins here: nothing outside this list of statements reads it.
    """

    _fields = ()

    def __init__(self, at: ast.stmt, flag: str, value: bool, *, starts: bool = False) -> None:
        super().__init__()
        ast.copy_location(self, at)
        self.flag = flag
        self.value = value
        self.starts = starts


class Guard(ast.stmt):
    """``if not (flag or flag ...): body``."""

    _fields = ("body",)

    def __init__(self, flags: Sequence[str], body: list[ast.stmt]) -> None:
        super().__init__()
        ast.copy_location(self, body[0])
        self.flags = tuple(flags)
        self.body = body


class Unfinished(ast.stmt):
    """``if not done: body``, with a plain ``if``: ``done`` is never a traced value."""

    _fields = ("body",)

    def __init__(self, done: str, body: list[ast.stmt]) -> None:
        super().__init__()
        ast.copy_location(self, body[0])
        self.done = done
        self.body = body


class Structured(NamedTuple):
    """A function's body without jumps; ``exits`` are the flags that end each loop."""

    body: list[ast.stmt]
    exits: dict[ast.stmt, tuple[str, ...]]
    tested: frozenset[str]


class _End(enum.Enum):
    FALLS = 0  # control may come to the statement after
    RAISES = 1
    LEAVES = 2  # by return, break or continue, at least sometimes; never falls


class _Loop(NamedTuple):
    broken: str
    continued: str


class _Block(NamedTuple):
    body: list[ast.stmt]
    flags: frozenset[str]  # those that may be set when control comes to its end


_NONE: frozenset[str] = frozenset()


def structured(body: list[ast.stmt]) -> Structured:
    """The statements of a function without jumps out of branches and loops.

    The given statements are changed: pass a copy.
    """
    rewriter = _Jumps(returns=any(_returns_inside(body)))
    if rewriter.returns:
        if _end(body) is _End.FALLS:
            body = [*body, ast.copy_location(ast.Return(None), body[-1])]
        last = body[-1]
        block = rewriter.block(body, None)
        value = ast.copy_location(ast.Return(ast.Name(VALUE, ast.Load())), last)
        body = [*block.body, ast.fix_missing_locations(value)]
        if RETURN in rewriter.tested:
            body = [SetFlag(body[0], RETURN, False), *body]
    else:
        body = rewriter.block(body, None).body
    return Structured(body, rewriter.exits, frozenset(rewriter.tested))


def _returns_inside(body: list[ast.stmt], inside: bool = False) -> Iterator[bool]:
    """Whether there is a ``return`` in a branch or a loop."""
    for statement in body:
        if isinstance(statement, ast.Return):
            yield inside
        elif not isinstance(statement, _SCOPES):
            hooked = isinstance(statement, (ast.If, ast.Match, *_LOOPS))
            for inner in blocks(statement):
                yield from _returns_inside(inner, inside or hooked)


def blocks(statement: ast.AST) -> Iterator[list[ast.stmt]]:
    """The lists of statements directly inside a statement (not those of inner scopes)."""
    if isinstance(statement, _SCOPES):
        return
    for _, value in ast.iter_fields(statement):
        if isinstance(value, list) and value:
            if isinstance(value[0], ast.stmt):
                yield value
            elif isinstance(value[0], ast.ExceptHandler | ast.match_case):
                for part in value:
                    yield part.body


def _has_jump(body: list[ast.stmt], in_loop: bool = False) -> bool:
    """Whether a jump in ``body`` may leave it."""
    for statement in body:
        if isinstance(statement, ast.Return):
            return True
        if isinstance(statement, _JUMPS) and not in_loop:
            return True
        loops = in_loop or isinstance(statement, _LOOPS)
        if any(_has_jump(inner, loops) for inner in blocks(statement)):
            return True
    return False


def _end(body: list[ast.stmt]) -> _End:
    for statement in body:
        if isinstance(statement, _JUMPS):
            return _End.LEAVES
        if isinstance(statement, ast.Raise):
            return _End.RAISES
        if isinstance(statement, ast.If):
            ends = {_end(statement.body), _end(statement.orelse)}
            if _End.FALLS not in ends:
                return _End.LEAVES if _End.LEAVES in ends else _End.RAISES
    return _End.FALLS


class _Jumps:
    def __init__(self, returns: bool) -> None:
        self.returns = returns
        self.exits: dict[ast.stmt, tuple[str, ...]] = {}
        self.tested: set[str] = set()
        self._count = 0

    def _fresh(self, word: str) -> str:
        self._count += 1
        return f"__tracegrad_{word}_{self._count}__"

    def block(self, body: Sequence[ast.stmt], loop: _Loop | None) -> _Block:
        out: list[ast.stmt] = []
        flags: frozenset[str] = _NONE
        for position, statement in enumerate(body):
            rest = list(body[position + 1 :])
            if isinstance(statement, ast.If) and rest:
                rest = self._moved(statement, rest)
            done, more = self._statement(statement, loop)
            out += done
            flags |= more
            if isinstance(statement, (*_JUMPS, ast.Raise)) or not rest:
                out += _never_run(rest)
                break
            if more:
                tail = self.block(rest, loop)
                out.append(self._guard(more, tail.body))
                flags |= tail.flags
                break
        return _Block(out, flags)

    def _moved(self, statement: ast.If, rest: list[ast.stmt]) -> list[ast.stmt]:
        """Move ``rest`` into the arm that does not leave (rule 1); what is left of it."""
        first, second = _end(statement.body), _end(statement.orelse)
        if first is _End.LEAVES and second is _End.FALLS:
            statement.orelse = [*statement.orelse, *rest]
        elif second is _End.LEAVES and first is _End.FALLS:
            statement.body = [*statement.body, *rest]
        elif first is not _End.FALLS and second is not _End.FALLS:
            statement.orelse = [*statement.orelse, *_never_run(rest)]
        else:
            return rest
        return []

    def _guard(self, flags: frozenset[str], body: list[ast.stmt]) -> Guard:
        self.tested |= flags
        return Guard(sorted(flags), body)

    def _statement(
        self, statement: ast.stmt, loop: _Loop | None
    ) -> tuple[list[ast.stmt], frozenset[str]]:
        """The statements in place of one, and the flags that may be set after them."""
        if isinstance(statement, ast.Return):
            return self._return(statement)
        if isinstance(statement, ast.Break | ast.Continue):
            assert loop is not None
            flag = loop.broken if isinstance(statement, ast.Break) else loop.continued
            return [SetFlag(statement, flag, True)], frozenset({flag})
        if isinstance(statement, ast.For | ast.While):
            return self._loop(statement, loop)
        if isinstance(statement, _TRIES):
            return self._try(statement, loop)  # type: ignore[arg-type]  # TryStar is built alike
        if isinstance(statement, ast.With):
            return self._with(statement, loop)
        flags: frozenset[str] = _NONE
        for inner in blocks(statement):
            block = self.block(inner, loop)
            inner[:] = block.body
            flags |= block.flags
        return [statement], flags

    def _return(self, statement: ast.Return) -> tuple[list[ast.stmt], frozenset[str]]:
        if not self.returns:
            return [statement], _NONE
        value = statement.value or ast.copy_location(ast.Constant(None), statement)
        target = ast.copy_location(ast.Name(VALUE, ast.Store()), statement)
        assign = ast.copy_location(ast.Assign([target], value), statement)
        return [assign, SetFlag(statement, RETURN, True)], frozenset({RETURN})

    def _loop(
        self, statement: ast.For | ast.While, outer: _Loop | None
    ) -> tuple[list[ast.stmt], frozenset[str]]:
        loop = _Loop(self._fresh("break"), self._fresh("continue"))
        body = self.block(statement.body, loop)
        statement.body = body.body
        if loop.continued in self.tested:
            statement.body = [
                SetFlag(statement.body[0], loop.continued, False, starts=True),
                *body.body,
            ]
        exits = body.flags & {loop.broken, RETURN}
        self.exits[statement] = tuple(sorted(exits))
        self.tested |= exits
        orelse, statement.orelse = statement.orelse, []
        out: list[ast.stmt] = [statement]
        if loop.broken in exits:
            out = [SetFlag(statement, loop.broken, False, starts=True), statement]
        flags = exits & {RETURN}
        if orelse:
            after = self.block(orelse, outer)
            out += [self._guard(exits, after.body)] if exits else after.body
            flags |= after.flags
        return out, flags

    def _try(self, statement: ast.Try, loop: _Loop | None) -> tuple[list[ast.stmt], frozenset[str]]:
        if _has_jump(statement.finalbody):
            raise NotRewritable("a jump out of a finally block")
        body = self.block(statement.body, loop)
        statement.body = body.body
        flags = body.flags
        for handler in statement.handlers:
            block = self.block(handler.body, loop)
            resets = [SetFlag(handler.body[0], flag, False) for flag in sorted(body.flags)]
            handler.body = [*resets, *block.body]
            flags |= block.flags
        if statement.orelse:
            block = self.block(statement.orelse, loop)
            guarded = [self._guard(body.flags, block.body)] if body.flags else block.body
            statement.orelse = list(guarded)
            flags |= block.flags
        statement.finalbody = self.block(statement.finalbody, loop).body
        return [statement], flags

    def _with(
        self, statement: ast.With, loop: _Loop | None
    ) -> tuple[list[ast.stmt], frozenset[str]]:
        if len(statement.items) > 1 and _has_jump(statement.body):
            # The exit of an inner manager may overtake a jump, and that of an outer end it.
            inner = ast.copy_location(ast.With(statement.items[1:], statement.body), statement)
            statement.items, statement.body = statement.items[:1], [inner]
        body = self.block(statement.body, loop)
        if not body.flags:
            statement.body = body.body
            return [statement], body.flags
        done = self._fresh("done")
        statement.body = [*body.body, SetFlag(statement, done, True)]
        self.tested.add(done)
        resets: list[ast.stmt] = [SetFlag(statement, flag, False) for flag in sorted(body.flags)]
        before = SetFlag(statement, done, False, starts=True)
        return [before, statement, Unfinished(done, resets)], body.flags


def _never_run(rest: list[ast.stmt]) -> list[ast.stmt]:
    """Statements that are never reached, kept because they say which names are local."""
    if not rest:
        return []
    return [Guard((), rest)]
