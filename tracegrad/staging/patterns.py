"""``match`` over plain values, as the ``if`` chain that it is.

A ``match`` whose patterns are literals, dotted names, ``None``/``True``/``False``, names,
``_`` and alternatives of these compares the subject with ``==`` (``is`` for the three
singletons), in order; as a chain its comparisons may be traced. Other patterns look into
the build of the subject, which tracing knows: such a ``match`` stays.
"""

from __future__ import annotations

import ast
from collections.abc import Callable

__all__ = ["as_branches"]


def as_branches(statement: ast.Match, fresh: Callable[[], str]) -> list[ast.stmt] | None:
    """Statements that do what ``statement`` does; None if a pattern is not a plain one."""
    if not all(_is_plain(case.pattern) for case in statement.cases):
        return None
    subject = fresh()
    store = ast.copy_location(ast.Name(subject, ast.Store()), statement.subject)
    first = ast.copy_location(ast.Assign([store], statement.subject), statement.subject)
    chain: list[ast.stmt] = []
    for case in reversed(statement.cases):
        chain = _case(case, subject, chain)
    return [first, *chain]


def _is_plain(pattern: ast.pattern) -> bool:
    if isinstance(pattern, ast.MatchOr):
        return all(_is_plain(each) and not _captures(each) for each in pattern.patterns)
    if isinstance(pattern, ast.MatchAs):
        return pattern.pattern is None or _is_plain(pattern.pattern)
    return isinstance(pattern, ast.MatchValue | ast.MatchSingleton)


def _captures(pattern: ast.pattern) -> bool:
    return any(isinstance(each, ast.MatchAs) and each.name for each in ast.walk(pattern))


def _test(pattern: ast.pattern, subject: str) -> ast.expr | None:
    """The condition under which a pattern matches; None if it always does."""

    def compared(operator: ast.cmpop, value: ast.expr) -> ast.expr:
        left = ast.copy_location(ast.Name(subject, ast.Load()), pattern)
        return ast.copy_location(ast.Compare(left, [operator], [value]), pattern)

    if isinstance(pattern, ast.MatchValue):
        return compared(ast.Eq(), pattern.value)
    if isinstance(pattern, ast.MatchSingleton):
        return compared(ast.Is(), ast.copy_location(ast.Constant(pattern.value), pattern))
    if isinstance(pattern, ast.MatchOr):
        # Only the last alternative can be one that always matches; those before it still run.
        always = ast.copy_location(ast.Constant(True), pattern)
        tests = [_test(each, subject) or always for each in pattern.patterns]
        return ast.copy_location(ast.BoolOp(ast.Or(), tests), pattern)
    assert isinstance(pattern, ast.MatchAs)
    return None if pattern.pattern is None else _test(pattern.pattern, subject)


def _bindings(pattern: ast.pattern, subject: str) -> list[ast.stmt]:
    if not isinstance(pattern, ast.MatchAs):
        return []
    inner = [] if pattern.pattern is None else _bindings(pattern.pattern, subject)
    if pattern.name is None:
        return inner
    store = ast.copy_location(ast.Name(pattern.name, ast.Store()), pattern)
    load = ast.copy_location(ast.Name(subject, ast.Load()), pattern)
    return [*inner, ast.copy_location(ast.Assign([store], load), pattern)]


def _case(case: ast.match_case, subject: str, otherwise: list[ast.stmt]) -> list[ast.stmt]:
    test, bindings = _test(case.pattern, subject), _bindings(case.pattern, subject)
    guard = case.guard
    if test is None:
        if guard is None:
            return [*bindings, *case.body]
        return [*bindings, ast.copy_location(ast.If(guard, case.body, otherwise), case.pattern)]
    if guard is not None and bindings:
        return _guarded_after_binding(case, test, bindings, guard, subject, otherwise)
    if guard is not None:
        test = ast.copy_location(ast.BoolOp(ast.And(), [test, guard]), case.pattern)
    body = [*bindings, *case.body]
    return [ast.copy_location(ast.If(test, body, otherwise), case.pattern)]


def _guarded_after_binding(
    case: ast.match_case,
    test: ast.expr,
    bindings: list[ast.stmt],
    guard: ast.expr,
    subject: str,
    otherwise: list[ast.stmt],
) -> list[ast.stmt]:
    """``case 1 | 2 as x if guard``: bind, then ask the guard, or go on."""
    found = f"{subject[:-2]}_found__"
    store = ast.copy_location(ast.Name(found, ast.Store()), case.pattern)
    load = ast.copy_location(ast.Name(found, ast.Load()), case.pattern)
    return [
        ast.copy_location(ast.Assign([store], test), case.pattern),
        ast.copy_location(ast.If(load, [*bindings], []), case.pattern),
        ast.copy_location(
            ast.If(
                ast.copy_location(ast.BoolOp(ast.And(), [load, guard]), case.pattern),
                case.body,
                otherwise,
            ),
            case.pattern,
        ),
    ]
