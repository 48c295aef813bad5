"""Finding the syntax tree of a function that runs.

The whole file is parsed once (kept per file text: parsing costs milliseconds) and the
function looked up by name and first line. A candidate counts only if it compiles to the
very code object the function has: a file edited after it was imported, or two lambdas on
one line, must never lend a function someone else's text.
"""

from __future__ import annotations
import __future__

import ast
import copy
import functools
import linecache
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from types import CodeType, FunctionType
from typing import Any, TypeVar

__all__ = [
    "FACTORY",
    "Definition",
    "NoSource",
    "at_place",
    "compile_alone",
    "copied",
    "find_definition",
]

FACTORY = "__tracegrad_factory__"

_FUTURE = functools.reduce(
    lambda mask, name: mask | getattr(__future__, name).compiler_flag,
    __future__.all_feature_names,
    0,
)
# Generators and coroutines run when they are resumed, not when they are called.
_SUSPENDS = 0x20 | 0x80 | 0x200

Node = TypeVar("Node", bound=ast.AST)
FunctionNode = ast.FunctionDef | ast.Lambda
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)


class NoSource(Exception):
    """Why a function's source can't be had, in words for the user."""


@dataclass(frozen=True)
class Definition:
    """A function's syntax tree (never to be changed: it is shared) and what is around it.

    ``imports`` are the names that the file imports at its top level: CPython compiles
    attributes of such names differently.
    """

    node: FunctionNode
    inside_class: str | None
    imports: frozenset[str]


@dataclass(frozen=True)
class _File:
    text: str
    tree: ast.Module
    imports: frozenset[str]
    found: dict[tuple[str, int], list[Definition]]

    def definitions(self, name: str, line: int) -> list[Definition]:
        """The functions of this name that begin on this line."""
        key = (name, line)
        if key not in self.found:
            self.found[key] = [
                Definition(node, inside_class, self.imports)
                for node, inside_class in _functions(self.tree, line)
                if getattr(node, "name", "<lambda>") == name and _first_line(node) == line
            ]
        return self.found[key]


_files: dict[str, _File] = {}


def _functions(
    tree: ast.AST, line: int, inside_class: str | None = None
) -> Iterator[tuple[FunctionNode, str | None]]:
    """The functions that ``line`` is part of, with the class around each."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.stmt) and not _first_line(child) <= line <= _last_line(child):
            continue
        if isinstance(child, FunctionNode):
            yield child, inside_class
        inner = child.name if isinstance(child, ast.ClassDef) else inside_class
        yield from _functions(child, line, inner)


def _imports(statements: Iterable[ast.AST]) -> Iterator[str]:
    """Names that ``statements`` import in the scope that they stand in."""
    for statement in statements:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            for alias in statement.names:
                yield alias.asname or alias.name.partition(".")[0]
        elif not isinstance(statement, _SCOPES):
            for part in ("body", "orelse", "finalbody", "handlers", "cases"):
                yield from _imports(getattr(statement, part, ()))


def _first_line(node: ast.stmt | ast.expr) -> int:
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(decorator.lineno for decorator in decorators)])


def _last_line(node: ast.stmt) -> int:
    return node.lineno if node.end_lineno is None else node.end_lineno


def _parse(filename: str, module_globals: dict[str, object]) -> _File:
    text = "".join(linecache.getlines(filename, module_globals))
    known = _files.get(filename)
    if known is not None and known.text == text:
        return known
    if not text:
        raise NoSource(f"the source of {filename} can't be read")
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError) as error:
        raise NoSource(f"{filename} does not parse: {error}") from error
    _files[filename] = _File(text, tree, frozenset(_imports(tree.body)) - {"*"}, {})
    return _files[filename]


def find_definition(function: FunctionType) -> Definition:
    """The syntax tree ``function`` was compiled from.

    Raises
    ------
    NoSource : there is no such text, or it is not this function's.
    """
    code = function.__code__
    if code.co_flags & _SUSPENDS:
        raise NoSource("generators and coroutines are not rewritten")
    module_globals = function.__globals__
    file = _parse(code.co_filename, module_globals)
    best = _match(file, code)
    if best is None:
        # The text may have been cached before the file was last imported.
        linecache.checkcache(code.co_filename)
        best = _match(_parse(code.co_filename, module_globals), code)
    if best is None:
        raise NoSource(f"{code.co_filename} no longer holds the text of {code.co_name}")
    return best


def _match(file: _File, code: CodeType) -> Definition | None:
    found = file.definitions(code.co_name, code.co_firstlineno)
    # A block of a page or notebook is compiled without the imports of the blocks before it.
    found = [*found, *(replace(each, imports=frozenset()) for each in found if each.imports)]
    best: Definition | None = None
    for definition in found:
        compiled = _try_compile(definition, code)
        if compiled is None or not (
            _same_code(compiled, code) or _asserts_rewritten(compiled, code)
        ):
            continue
        if _positions(compiled) == _positions(code):
            return definition
        best = best or definition  # equal code at other columns computes the same
    return best


def _try_compile(definition: Definition, code: CodeType) -> CodeType | None:
    try:
        return compile_alone(definition, definition.node, code, (), parsed=True)
    except (SyntaxError, ValueError, RecursionError):
        return None


def _positions(code: CodeType) -> list[object]:
    return list(code.co_positions()) if hasattr(code, "co_positions") else []


def _same_code(one: CodeType, other: CodeType) -> bool:
    return (
        one.co_code == other.co_code
        and one.co_names == other.co_names
        and one.co_varnames == other.co_varnames
        and one.co_freevars == other.co_freevars
        and one.co_cellvars == other.co_cellvars
        and len(one.co_consts) == len(other.co_consts)
        and all(map(_same_constant, one.co_consts, other.co_consts))
    )


def _same_constant(one: object, other: object) -> bool:
    if isinstance(one, CodeType) and isinstance(other, CodeType):
        return _same_code(one, other)
    if isinstance(one, str) and isinstance(other, str) and "<locals>" in other:
        # The qualified name of a class made inside: what is around the function differs.
        return one.rpartition("<locals>")[2] == other.rpartition("<locals>")[2]
    return type(one) is type(other) and repr(one) == repr(other)


def _asserts_rewritten(compiled: CodeType, code: CodeType) -> bool:
    """Whether ``code`` is ``compiled`` with its assert statements rewritten by pytest."""
    names = tuple(name for name in code.co_varnames if not name.startswith("@py_"))
    return (
        names != code.co_varnames
        and names == compiled.co_varnames
        and code.co_freevars == compiled.co_freevars
        and set(compiled.co_names) - {"AssertionError"} <= set(code.co_names)
    )


def compile_alone(
    definition: Definition,
    node: FunctionNode,
    like: CodeType,
    extra: tuple[str, ...],
    *,
    parsed: bool = False,
) -> CodeType:
    """The code object of ``node``, compiled by itself but scoped as ``definition`` is.

    The function is put into a factory whose parameters are its free variables (those of
    ``like`` and the ``extra`` ones), inside a class of the right name if it was in one
    (private names, ``__class__``). The factory never runs: decorators and defaults are
    left out, and the caller has the original's. The body of a ``parsed`` node is as the parser
    made it: everything in it has a place.
    """
    inside_class = definition.inside_class
    node = copy.copy(node)
    node.args = copy.copy(node.args)
    node.args.defaults = []
    node.args.kw_defaults = [None] * len(node.args.kwonlyargs)
    for kind in ("posonlyargs", "args", "kwonlyargs"):
        setattr(node.args, kind, [_bare(arg) for arg in getattr(node.args, kind)])
    node.args.vararg = node.args.vararg and _bare(node.args.vararg)
    node.args.kwarg = node.args.kwarg and _bare(node.args.kwarg)
    statement: ast.stmt
    if isinstance(node, ast.FunctionDef):
        node.name = FACTORY  # its own name may be a global, or a free variable
        node.decorator_list = []
        node.returns = None
        if hasattr(node, "type_params"):
            node.type_params = []
        statement = node
    else:
        statement = ast.copy_location(ast.Assign([ast.Name("_", ast.Store())], node), node)
    if inside_class is not None:
        statement = ast.ClassDef(inside_class, [], [], [statement], [])
        if "type_params" in ast.ClassDef._fields:
            statement.type_params = []  # type: ignore[attr-defined,unused-ignore]  # Python 3.12
    free = [name for name in like.co_freevars if name != "__class__"]
    parameters = ast.arguments(
        [], [ast.arg(name) for name in [*extra, *free]], None, [], [], None, []
    )
    factory = ast.FunctionDef(FACTORY, parameters, [statement], [], None, None)
    if "type_params" in ast.FunctionDef._fields:
        factory.type_params = []  # type: ignore[attr-defined,unused-ignore]  # Python 3.12
    body: list[ast.stmt] = [ast.Import([ast.alias(name)]) for name in sorted(definition.imports)]
    module = ast.Module([*body, factory], [])
    held: Any = node.body
    if parsed:
        node.body = []
    _locate(module, (1, 0, 1, 0))
    node.body = held
    flags = like.co_flags & _FUTURE
    code: CodeType = compile(module, like.co_filename, "exec", flags=flags, dont_inherit=True)
    for _ in range(2 if inside_class is None else 3):
        code = next(const for const in code.co_consts if isinstance(const, CodeType))
    return code.replace(co_name=like.co_name)


def copied(node: Node) -> Node:
    """A deep copy of a tree; `copy.deepcopy` takes ten times as long."""
    new = type(node).__new__(type(node))  # its constructor wants every field
    for name, value in node.__dict__.items():
        if isinstance(value, ast.AST):
            value = copied(value)
        elif isinstance(value, list):
            value = [copied(each) if isinstance(each, ast.AST) else each for each in value]
        setattr(new, name, value)
    return new


_PLACE = ("lineno", "col_offset", "end_lineno", "end_col_offset")


def at_place(node: Node, at: ast.AST) -> Node:
    """``node``, an expression or a statement, where ``at`` stands (`ast.copy_location`, faster)."""
    have, known = node.__dict__, at.__dict__
    for name in _PLACE:
        if name in known:
            have[name] = known[name]
    return node


def _locate(node: ast.AST, place: tuple[int, int, int, int]) -> None:
    """Give each node without a place that of its parent (`ast.fix_missing_locations`, faster)."""
    have = node.__dict__
    if "lineno" in have:
        line, column = have["lineno"], have["col_offset"]
        place = line, column, have.get("end_lineno", line), have.get("end_col_offset", column)
    elif node._attributes:
        if isinstance(node, ast.Attribute):  # as in Rewriter._hook
            place = place[0], place[1], place[0], place[1]
        have.update(zip(_PLACE, place, strict=True))
    for value in list(have.values()):
        if isinstance(value, list):
            for each in value:
                if isinstance(each, ast.AST):
                    _locate(each, place)
        elif isinstance(value, ast.AST) and not isinstance(value, ast.expr_context):
            _locate(value, place)


def _bare(arg: ast.arg) -> ast.arg:
    return ast.copy_location(ast.arg(arg.arg), arg)
