"""One name for each meaning of a name.

The printer gives a name to a number in one place and to an array in another, where the one is
forgotten. Python and Numba keep such meanings apart; so does this rewriting, which is made only
where a name changes its type. Assignments that reach a common read stay one variable.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterable, Sequence

from tracegrad.backend.native.types import Unsupported

Reaching = dict[str, frozenset[int]]
"""For each name the assignments, by number, whose value it may have; none: not assigned."""


def apart(function: ast.FunctionDef) -> ast.FunctionDef:
    """``function`` with a name of its own for each variable."""
    function = copy.deepcopy(function)
    webs = _Webs()
    start: Reaching = {}
    for argument in function.args.args:
        start[argument.arg] = frozenset({webs.definition(argument.arg, None)})
    webs.block(function.body, start)
    webs.rename()
    return function


class _Webs:
    """Finds which assignments reach which reads, and joins those that reach a common one."""

    def __init__(self) -> None:
        self._definitions: dict[int, int] = {}
        self._names: list[str] = []
        self._places: list[ast.Name | None] = []
        self._joined: list[int] = []
        self._reads: dict[int, tuple[ast.Name, int]] = {}
        self._leaving: list[list[Reaching]] = []
        self._going_on: list[list[Reaching]] = []

    def definition(self, name: str, place: ast.Name | None) -> int:
        """The number of an assignment; the same each time that a loop's body is looked at."""
        key = id(place) if place is not None else -1 - len(self._names)
        if key not in self._definitions:
            self._definitions[key] = len(self._names)
            self._names.append(name)
            self._places.append(place)
            self._joined.append(self._definitions[key])
        return self._definitions[key]

    def _root(self, number: int) -> int:
        while self._joined[number] != number:
            number = self._joined[number]
        return number

    def _read(self, node: ast.AST, reaching: Reaching) -> None:
        for each in ast.walk(node):
            if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Load):
                found = reaching.get(each.id)
                if not found:
                    continue  # of the module, or never assigned
                first, *others = sorted(found)
                for other in others:
                    self._joined[self._root(other)] = self._root(first)
                self._reads[id(each)] = (each, first)

    def _write(self, target: ast.expr, reaching: Reaching) -> Reaching:
        if isinstance(target, ast.Name):
            return {**reaching, target.id: frozenset({self.definition(target.id, target)})}
        if isinstance(target, ast.Tuple):
            for each in target.elts:
                reaching = self._write(each, reaching)
            return reaching
        self._read(target, reaching)
        return reaching

    def block(self, statements: Sequence[ast.stmt], reaching: Reaching | None) -> Reaching | None:
        """What reaches the end of a block; None if nothing does."""
        for statement in statements:
            if reaching is None:
                return None
            reaching = self._statement(statement, reaching)
        return reaching

    def _statement(self, node: ast.stmt, reaching: Reaching) -> Reaching | None:
        if isinstance(node, ast.Assign):
            self._read(node.value, reaching)
            for target in node.targets:
                reaching = self._write(target, reaching)
            return reaching
        if isinstance(node, ast.AugAssign):
            self._read(node.value, reaching)
            if not isinstance(node.target, ast.Name):
                self._read(node.target, reaching)
                return reaching
            # It reads and writes one variable.
            before = reaching.get(node.target.id, frozenset())
            after = self._write(node.target, reaching)
            number = self.definition(node.target.id, node.target)
            for other in before:
                self._joined[self._root(other)] = self._root(number)
            return after
        if isinstance(node, ast.If):
            self._read(node.test, reaching)
            return _either(self.block(node.body, reaching), self.block(node.orelse, reaching))
        if isinstance(node, (ast.For, ast.While)):
            return self._loop(node, reaching)
        if isinstance(node, ast.Break):
            self._leaving[-1].append(reaching)
            return None
        if isinstance(node, ast.Continue):
            self._going_on[-1].append(reaching)
            return None
        if isinstance(node, (ast.Return, ast.Raise, ast.Expr, ast.Pass)):
            self._read(node, reaching)
            return None if isinstance(node, (ast.Return, ast.Raise)) else reaching
        raise Unsupported(f"statement {type(node).__name__}")

    def _loop(self, node: ast.For | ast.While, reaching: Reaching) -> Reaching | None:
        if isinstance(node, ast.For):
            self._read(node.iter, reaching)
        head = reaching
        while True:
            self._leaving.append([])
            self._going_on.append([])
            inside = head
            if isinstance(node, ast.For):
                inside = self._write(node.target, head)
            else:
                self._read(node.test, head)
            end = self.block(node.body, inside)
            left, gone_on = self._leaving.pop(), self._going_on.pop()
            following: Reaching | None = head
            for each in (end, *gone_on):
                following = _either(following, each)
            assert following is not None
            if following == head:
                break
            head = following
        endless = isinstance(node, ast.While) and isinstance(node.test, ast.Constant)
        after: Reaching | None = None if endless else head
        for each in left:
            after = _either(after, each)
        return after

    def rename(self) -> None:
        """The first variable of a name keeps it."""
        shown: dict[int, str] = {}
        counts: dict[str, int] = {}
        for number, name in enumerate(self._names):
            root = self._root(number)
            if root not in shown:
                count = counts[name] = counts.get(name, -1) + 1
                # No name of the source holds a dot.
                shown[root] = f"{name}.{count}" if count else name
        for number, place in enumerate(self._places):
            if place is not None:
                place.id = shown[self._root(number)]
        for node, number in self._reads.values():
            node.id = shown[self._root(number)]


def _either(one: Reaching | None, other: Reaching | None) -> Reaching | None:
    if one is None or other is None:
        return other if one is None else one
    names: Iterable[str] = one.keys() | other.keys()
    none: frozenset[int] = frozenset()
    return {name: one.get(name, none) | other.get(name, none) for name in names}
