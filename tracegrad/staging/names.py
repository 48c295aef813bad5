"""Which names a statement binds, and which of them something may read afterwards.

The answers are about text, and on the safe side: a name that is listed without need costs a
little, one that is missing would be a wrong program. Names are as written; who asks mangles
private ones.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

from tracegrad.staging.jumps import Guard, SetFlag, Unfinished, blocks

__all__ = ["Flow", "arguments_of", "bound_by"]

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
# Whoever calls these may read any name.
_READS_ALL = frozenset({"locals", "vars", "eval", "exec", "dir"})

Names = dict[str, None]  # an ordered set


def arguments_of(arguments: ast.arguments) -> Iterator[str]:
    """The parameters of a function."""
    for arg in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
        yield arg.arg
    for star in (arguments.vararg, arguments.kwarg):
        if star is not None:
            yield star.arg


def bound_by(node: ast.AST) -> Names:
    """The names that running ``node`` binds, rebinds or deletes in its own scope."""
    found: Names = {}
    _bind(node, found, targets=True)
    return found


def header_binds(statement: ast.stmt) -> Names:
    """As `bound_by`, without the statements inside."""
    found: Names = {}
    _bind_one(statement, found)
    for child in _outside_blocks(statement):
        _bind(child, found, targets=True)
    return found


def _bind(node: ast.AST, found: Names, targets: bool) -> None:
    _bind_one(node, found, targets)
    if isinstance(node, _FUNCTIONS):
        # Defaults and decorators belong to this scope, the body does not.
        outside: list[ast.AST] = [
            *node.args.defaults,
            *(d for d in node.args.kw_defaults if d is not None),
        ]
        if not isinstance(node, ast.Lambda):
            outside += node.decorator_list
        for child in outside:
            _bind(child, found, targets)
        return
    if isinstance(node, ast.ClassDef):
        for part in (*node.bases, *node.keywords, *node.decorator_list):
            _bind(part, found, targets)
        return
    # The targets of a comprehension are its own; an assignment expression in it is not.
    targets = targets and not isinstance(node, _COMPREHENSIONS)
    for child in ast.iter_child_nodes(node):
        _bind(child, found, targets)


def _bind_one(node: ast.AST, found: Names, targets: bool = True) -> None:
    if isinstance(node, ast.Name):
        if targets and not isinstance(node.ctx, ast.Load):
            found[node.id] = None
    elif isinstance(node, ast.NamedExpr):
        found[node.target.id] = None
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        found[node.name] = None
    elif isinstance(node, ast.Import | ast.ImportFrom):
        for alias in node.names:
            found[alias.asname or alias.name.partition(".")[0]] = None
    elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar):
        if node.name is not None:
            found[node.name] = None
    elif isinstance(node, ast.MatchMapping):
        if node.rest is not None:
            found[node.rest] = None
    elif isinstance(node, SetFlag):
        found[node.flag] = None


def _outside_blocks(statement: ast.AST) -> Iterator[ast.AST]:
    """The direct children that are no statements; of handlers and cases theirs."""
    for child in ast.iter_child_nodes(statement):
        if isinstance(child, ast.ExceptHandler | ast.match_case):
            yield from _outside_blocks(child)
        elif not isinstance(child, ast.stmt):
            yield child


def _loads(node: ast.AST) -> Iterator[str]:
    """Names that are read, in this scope or one inside; ``del`` and ``x += 1`` read too."""
    for child in ast.walk(node):
        if isinstance(child, ast.Name):
            if not isinstance(child.ctx, ast.Store):
                yield child.id
        elif isinstance(child, ast.AugAssign):
            if isinstance(child.target, ast.Name):
                yield child.target.id
        elif isinstance(child, ast.Nonlocal):
            yield from child.names


class Flow:
    """What is bound and read where in one function whose jumps are structured.

    Attributes
    ----------
    globals, nonlocals : names declared so in this function.
    """

    def __init__(
        self,
        body: list[ast.stmt],
        parameters: Iterable[str],
        exits: dict[ast.stmt, tuple[str, ...]],
    ) -> None:
        self.globals: set[str] = set()
        self.nonlocals: set[str] = set()
        self._exits = exits
        self._binds: dict[ast.stmt, Names] = {}
        self._reads: dict[ast.stmt, set[str]] = {}
        self._after: dict[ast.stmt, frozenset[str]] = {}
        self._always: set[str] = set()
        self._rebound: Names = {}
        own: Names = dict.fromkeys(parameters)
        for statement in body:
            self._declarations(statement)
            self._inner_scopes(statement)
            own.update(self._gather(statement))
        declared = self.globals | self.nonlocals
        # What a function made here rebinds, any call may rebind.
        self._rebound = {name: None for name in self._rebound if name in own or name in declared}
        if _READS_ALL & self._always_loaded(body):
            self._always |= set(own)
        self._pass_back(body, frozenset(self._always))

    @staticmethod
    def _always_loaded(body: list[ast.stmt]) -> set[str]:
        return {name for statement in body for name in _loads(statement)}

    def _declarations(self, statement: ast.stmt) -> None:
        if isinstance(statement, ast.Global):
            self.globals.update(statement.names)
        elif isinstance(statement, ast.Nonlocal):
            self.nonlocals.update(statement.names)
        for inner in blocks(statement):
            for each in inner:
                self._declarations(each)

    def _inner_scopes(self, node: ast.AST) -> None:
        """What functions made in this one read (at any time) and rebind."""
        if isinstance(node, (*_FUNCTIONS, ast.ClassDef, ast.GeneratorExp)):
            self._always.update(_loads(node))
            for child in ast.walk(node):
                if isinstance(child, ast.Nonlocal):
                    self._rebound.update(dict.fromkeys(child.names))
            return
        for child in ast.iter_child_nodes(node):
            self._inner_scopes(child)

    def _gather(self, statement: ast.stmt) -> Names:
        """Bottom up: what each statement binds and reads."""
        binds: Names = {}
        reads: set[str] = set(self._exits.get(statement, ()))
        _bind_one(statement, binds)
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            _bind(statement, binds, targets=True)
            reads.update(_loads(statement))
        else:
            for child in _outside_blocks(statement):
                _bind(child, binds, targets=True)
                reads.update(_loads(child))
            for part in getattr(statement, "handlers", ()):
                _bind_one(part, binds)
        if isinstance(statement, ast.AugAssign) and isinstance(statement.target, ast.Name):
            reads.add(statement.target.id)
        elif isinstance(statement, Guard):
            reads.update(statement.flags)
        elif isinstance(statement, Unfinished):
            reads.add(statement.done)
        for inner in blocks(statement):
            own: set[str] = set()
            for each in inner:
                if isinstance(each, SetFlag) and each.starts:
                    own.add(each.flag)
                binds.update(self._gather(each))
                reads |= self._reads[each]
            reads -= own
            for flag in own:
                binds.pop(flag, None)
        self._binds[statement], self._reads[statement] = binds, reads
        return binds

    def _pass_back(self, body: list[ast.stmt], after: frozenset[str]) -> None:
        """Top down: what may be read after each statement."""
        for statement in reversed(body):
            self._after[statement] = after
            inside = after
            if not isinstance(statement, ast.If | Guard | Unfinished):
                inside = after | self._reads[statement]  # a later trip, a handler, another case
            for inner in blocks(statement):
                self._pass_back(inner, inside)
            after = after | self._reads[statement]

    # -- what sites are told

    def names_of_branch(self, statement: ast.stmt, second: Iterable[ast.stmt]) -> list[str]:
        """Names that the arms bind and that the second arm, or something after, may read."""
        wanted = set(self._after[statement])
        for each in second:
            wanted |= self._reads[each]
        binds: Names = {}
        for inner in blocks(statement):
            for each in inner:
                binds.update(self._binds[each])
        return self._kept(binds, wanted)

    def names_of_loop(self, statement: ast.stmt) -> list[str]:
        """Names that a loop binds and that a later trip, or something after, may read."""
        wanted = self._after[statement] | self._reads[statement]
        if isinstance(statement, ast.For):
            # Each trip binds the target anew: only who reads it after the loop asks for it.
            wanted -= set(bound_by(statement.target)) - self._after[statement]
        return self._kept(self._binds[statement], set(wanted))

    def _kept(self, binds: Names, wanted: set[str]) -> list[str]:
        return [name for name in {**binds, **self._rebound} if name in wanted]

    def after(self, statement: ast.stmt) -> frozenset[str]:
        return self._after[statement]
