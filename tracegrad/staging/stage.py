"""``stage``: a Python function, rebuilt with hooks, that still is that function.

The rewritten text is compiled and its code object kept per original code object; staging
then makes a function of it with the *original* globals, defaults and closure cells. The
hooks come in through one more closure cell, never through a global: two traces running
at once in two threads do not see each other.
"""

from __future__ import annotations

import copy
from types import CellType, CodeType, FunctionType
from typing import Any, Protocol

from tracegrad.staging.rewrite import HOOK, Rewriter
from tracegrad.staging.source import FACTORY, NoSource, compile_alone, find_definition

__all__ = ["Hooks", "Scope", "is_staged", "stage", "why_unstaged"]


class Scope(Protocol):
    """What a staged function calls while it runs; one object per staged function."""

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


class Hooks(Protocol):
    """Gives each function that is staged its scope."""

    def enter(self, function: FunctionType) -> Scope: ...


# Keyed by file too: code objects compare equal across files.
_rebuilt: dict[tuple[CodeType, str], CodeType | str | None] = {}
_staged: set[tuple[CodeType, str]] = set()


def _key(code: CodeType) -> tuple[CodeType, str]:
    return code, code.co_filename


def is_staged(function: FunctionType) -> bool:
    """Whether ``function`` already has hooks: it came from :func:`stage`, or from inside one."""
    return HOOK in function.__code__.co_freevars or _key(function.__code__) in _staged


def why_unstaged(function: FunctionType) -> str | None:
    """Why ``function`` runs without hooks, in words for the user; None if it is staged."""
    code = _rebuild(function)
    return code if isinstance(code, str) else None


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
    node = copy.deepcopy(definition.node)
    Rewriter(definition.inside_class).rewrite(node)
    code = compile_alone(definition, node, original, (HOOK,))
    if HOOK not in code.co_freevars:
        return None
    code = _renamed(code, code, original)
    _remember(code)
    return code


def _renamed(code: CodeType, root: CodeType, original: CodeType) -> CodeType:
    """``code`` and all code inside it, with qualified names as the user knows them."""
    if not hasattr(code, "co_qualname"):
        return code  # Python 3.10

    def named(text: str) -> str:
        if text.startswith(FACTORY):
            return original.co_qualname + text.removeprefix(root.co_qualname)
        return text

    def renamed(const: object) -> object:
        if isinstance(const, CodeType):
            return _renamed(const, root, original)
        return named(const) if isinstance(const, str) else const

    return code.replace(
        co_qualname=named(code.co_qualname), co_consts=tuple(map(renamed, code.co_consts))
    )


def _remember(code: CodeType) -> None:
    _staged.add(_key(code))
    for const in code.co_consts:
        if isinstance(const, CodeType):
            _remember(const)
