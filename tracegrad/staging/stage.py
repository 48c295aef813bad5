"""``stage``: a Python function, rebuilt with hooks, that still is that function.

The rewritten text is compiled and its code object kept per original code object; staging
then makes a function of it with the *original* globals, defaults and closure cells. The
hooks come in through one more closure cell, never through a global: two traces running
at once in two threads do not see each other.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from types import CellType, CodeType, FunctionType
from typing import Any, Protocol

from tracegrad.staging.choosing import site_constant
from tracegrad.staging.control import ControlRewriter
from tracegrad.staging.jumps import NotRewritable
from tracegrad.staging.plain import PlainScope
from tracegrad.staging.rewrite import HOOK, Rewriter, is_internal
from tracegrad.staging.sites import Site
from tracegrad.staging.source import (
    FACTORY,
    Definition,
    NoSource,
    compile_alone,
    copied,
    find_definition,
)

__all__ = ["Hooks", "Scope", "is_staged", "stage", "why_native", "why_unseen", "why_unstaged"]


class Scope(Protocol):
    """What a staged function calls while it runs; one object per staged function.

    `PlainControl` answers what is about control flow as plain Python would;
    docs/decisions/0005-staging-control-flow.md says what else may be answered.
    """

    abort: Any
    assertion: type[AssertionError]

    def call(self, function: Any) -> Any:
        """What to call in place of ``function``; the arguments are evaluated afterwards."""

    def name(self, value: Any, name: str) -> Any:
        """The value to use where the function reads ``name``."""

    def attribute(self, owner: Any, name: str) -> Any:
        """The value of ``owner.name``."""

    def item(self, owner: Any, key: Any) -> Any:
        """The value of ``owner[key]``."""

    def inplace(self, operator: str, old: Any, value: Any) -> Any:
        """What ``old operator= value`` binds the name of ``old`` to."""

    def stored(self, owner: Any, name: str) -> Any:
        """``owner``, about to run ``owner.name = value`` (or ``+=``, or ``del``)."""

    def stored_item(self, owner: Any) -> Any:
        """``owner``, about to run ``owner[key] = value`` (or ``+=``, or ``del``)."""

    def branch(self, condition: Any, site: Site) -> Any:
        """The `PlainBranch` of an ``if``."""

    def loop(self, iterable: Any, site: Site) -> Any:
        """An iterator over the `PlainStep` of a ``for``."""

    def while_loop(self, site: Site) -> Any:
        """An iterator over the steps of a ``while``."""

    def clear(self, *flags: Any) -> Any:
        """Whether no flag is set."""

    def raising(self, site: Site) -> bool:
        """Whether Python's own ``raise`` runs now."""

    def raised(self, site: Site, error: Any = None, cause: Any = None) -> None:
        """What is raised in place of that."""

    def trying(self, site: Site) -> Any:
        """The `PlainTrying` of a ``try`` or ``with``."""

    def rebinds(self, name: str, reader: Callable[[], Any] | None) -> None:
        """The next statement may bind a name of an outer scope."""

    def ternary(self, condition: Any, site: Site) -> Any:
        """The `PlainTernary` of ``a if condition else b``."""

    def logic(self, site: Site) -> Any:
        """The `PlainLogic` of ``and``, ``or`` or a chained comparison."""

    def negate(self, value: Any) -> Any:
        """``not value``."""

    def contains(self, value: Any, container: Any) -> Any:
        """``value in container``."""

    def fold(self, function: Any, loop: Callable[..., Any], items: Any, site: Site) -> Any:
        """The `PlainFold` of a comprehension."""

    def each(self, iterable: Any, site: Site) -> Any:
        """What a comprehension iterates over."""

    def truth(self, value: Any, site: Site) -> Any:
        """The condition of a comprehension or a ``case``."""


class Hooks(Protocol):
    """Gives each function that is staged its scope."""

    def enter(self, function: FunctionType) -> Scope: ...


# Keyed by file too: code objects compare equal across files.
_rebuilt: dict[tuple[CodeType, str], CodeType | str | None] = {}
_staged: set[tuple[CodeType, str]] = set()
_native: dict[tuple[CodeType, str], str] = {}


def _key(code: CodeType) -> tuple[CodeType, str]:
    return code, code.co_filename


def is_staged(function: FunctionType) -> bool:
    """Whether ``function`` already has hooks: it came from :func:`stage`, or from inside one."""
    return HOOK in function.__code__.co_freevars or _key(function.__code__) in _staged


def why_unstaged(function: FunctionType) -> str | None:
    """Why ``function`` runs without hooks, in words for the user; None if it is staged."""
    code = _rebuild(function)
    return code if isinstance(code, str) else None


def why_native(function: FunctionType) -> str | None:
    """Why the control flow of a staged function runs without hooks; None if it has them."""
    _rebuild(function)
    return _native.get(_key(function.__code__))


def why_unseen(code: CodeType) -> str | None:
    """Why the control flow of running code is not seen, in words for the user; None if it is."""
    reason = _rebuilt.get(_key(code))
    if isinstance(reason, str):
        return reason
    return _native.get(_key(code))


def stage(function: FunctionType, hooks: Hooks) -> FunctionType:
    """``function`` with hooks; ``function`` itself where its source can't be had.

    Parameters
    ----------
    function : a Python function; methods and partials are taken apart by the caller.
    hooks : told once of the function (``enter``); what it returns is called as it runs.
    """
    if is_staged(function):
        return function
    code = _rebuild(function)
    if not isinstance(code, CodeType):
        return function
    cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
    cells[HOOK] = CellType(hooks.enter(function))
    closure = tuple(cells[name] for name in code.co_freevars)
    staged = FunctionType(
        code, function.__globals__, function.__name__, function.__defaults__, closure
    )
    staged.__kwdefaults__ = function.__kwdefaults__
    staged.__qualname__ = function.__qualname__
    staged.__module__ = function.__module__
    staged.__doc__ = function.__doc__
    staged.__dict__.update(function.__dict__)
    staged.__annotations__ = function.__annotations__
    return staged


def unstaged(function: Any) -> Any:
    """``function`` as plain Python runs it, if it was made inside of a staged one."""
    if not isinstance(function, FunctionType) or HOOK not in function.__code__.co_freevars:
        return function
    cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
    cells[HOOK] = CellType(PlainScope(unstaged))
    made = FunctionType(
        function.__code__,
        function.__globals__,
        function.__name__,
        function.__defaults__,
        tuple(cells[name] for name in function.__code__.co_freevars),
    )
    made.__kwdefaults__ = function.__kwdefaults__
    return made


def _rebuild(function: FunctionType) -> CodeType | str | None:
    """The code with hooks, why there is none, or None if there is nothing to hook."""
    key = _key(function.__code__)
    if key not in _rebuilt:
        try:
            _rebuilt[key] = _compile_with_hooks(function)
        except NoSource as reason:
            _rebuilt[key] = str(reason)
    return _rebuilt[key]


def _compile_with_hooks(function: FunctionType) -> CodeType | None:
    original = function.__code__
    definition = find_definition(function)
    try:
        control = ControlRewriter(definition.inside_class)
        code = _compiled(definition, control, original)
        sites: Sequence[Site] = control.sites
    except (NotRewritable, SyntaxError, RecursionError) as error:
        # Python nests at most 20 loops and try statements, and syntax trees not without end.
        code, sites = _compiled(definition, Rewriter(definition.inside_class), original), ()
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        _native[_key(original)] = reason
    if HOOK not in code.co_freevars:
        return None
    known = {site_constant(index): site for index, site in enumerate(sites)}
    code = _finished(code, code, original, known)
    if _key(original) in _native:
        _native[_key(code)] = _native[_key(original)]
    _remember(code)
    return code


def _compiled(definition: Definition, rewriter: Rewriter, like: CodeType) -> CodeType:
    node = copied(definition.node)
    if isinstance(node, ast.Lambda):
        node = _as_function(node)
    rewriter.rewrite(node)
    return compile_alone(definition, node, like, (HOOK,))


def _as_function(node: ast.Lambda) -> ast.FunctionDef:
    """A lambda as a function of one statement: there, more can be hooked."""
    body = ast.copy_location(ast.Return(node.body), node.body)
    function = ast.FunctionDef("_", node.args, [body], [], None)
    return ast.copy_location(function, node)


def _finished(
    code: CodeType, root: CodeType, original: CodeType, sites: dict[str, Site]
) -> CodeType:
    """``code`` and all code inside it, with its sites, and with names as the user knows them."""

    def named(text: str) -> str:
        if text.startswith(FACTORY):
            return original.co_qualname + text.removeprefix(root.co_qualname)
        return text

    def finished(const: object) -> object:
        if isinstance(const, CodeType):
            return _finished(const, root, original, sites)
        if isinstance(const, str):
            return sites.get(const) or (named(const) if qualified else const)
        return const

    qualified = hasattr(code, "co_qualname")  # not in Python 3.10
    changes: dict[str, Any] = {"co_consts": tuple(map(finished, code.co_consts))}
    if is_internal(code.co_name):
        changes["co_name"] = "<comprehension>"
    if qualified:
        changes["co_qualname"] = named(code.co_qualname)
    return code.replace(**changes)


def _remember(code: CodeType) -> None:
    _staged.add(_key(code))
    for const in code.co_consts:
        if isinstance(const, CodeType):
            _remember(const)
