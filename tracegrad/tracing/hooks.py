"""The hooks that staged functions call: what tracing does at each call, name and item."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from types import (
    BuiltinFunctionType,
    BuiltinMethodType,
    CellType,
    FunctionType,
    MethodType,
    ModuleType,
)
from typing import Any

import numpy as np

from tracegrad.errors import UnsupportedError
from tracegrad.staging import PlainControl, is_staged, stage
from tracegrad.tracing.captures import Captures, cell_path, global_path, is_library
from tracegrad.tracing.dispatch import call_for, nearest, qualified_name
from tracegrad.tracing.integers import TracedInt
from tracegrad.tracing.tracer import Tracer
from tracegrad.tracing.values import is_traced

__all__ = ["FunctionScope", "TraceHooks"]

_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.iadd,
    "-": operator.isub,
    "*": operator.imul,
    "@": operator.imatmul,
    "/": operator.itruediv,
    "%": operator.imod,
    "**": operator.ipow,
    "<<": operator.ilshift,
    ">>": operator.irshift,
    "|": operator.ior,
    "^": operator.ixor,
    "&": operator.iand,
    "//": operator.ifloordiv,
}


class TraceHooks:
    """Stages the functions of one trace and keeps them while it lasts."""

    def __init__(self, captures: Captures) -> None:
        self.captures = captures
        self._staged: dict[int, tuple[FunctionType, FunctionType]] = {}

    def enter(self, function: FunctionType) -> FunctionScope:
        return FunctionScope(self, function)

    def staged(self, function: FunctionType) -> FunctionType:
        known = self._staged.get(id(function))
        if known is None:
            self.captures.entered(function)
            known = self._staged[id(function)] = (function, stage(function, self))
        return known[1]

    def entry(self, function: Any) -> Any:
        """What to call to trace ``function`` itself; what it is bound to is held."""
        inner = function
        while isinstance(inner, functools.partial):
            for value in (*inner.args, *inner.keywords.values()):
                self.captures.hold(value, "partial")
            inner = inner.func
        owner = getattr(inner, "__self__", None)
        if owner is not None and not isinstance(owner, type | ModuleType):
            self.captures.hold(owner, "self")
        elif not isinstance(inner, FunctionType | BuiltinFunctionType | type):
            self.captures.hold(inner, type(inner).__name__)
        return self.call(function)

    def call(self, function: Any) -> Any:
        """What to call in place of ``function`` while tracing."""
        known = call_for(function)
        if known is not None:
            return known
        if is_random(function):
            raise UnsupportedError(
                f"random numbers ({function.__name__}) drawn inside the function would be drawn "
                "once, when it is traced",
                way_out="draw them outside and pass them as an argument",
            )
        if isinstance(function, FunctionType):
            if is_staged(function):
                return function
            if is_library(function.__module__):
                return _refusing(function)
            return self.staged(function)
        if isinstance(function, MethodType):
            return self._method(function)
        if isinstance(function, functools._lru_cache_wrapper):
            return self.call(function.__wrapped__)
        if isinstance(function, functools.partial):
            inner = self.call(function.func)
            return functools.partial(inner, *function.args, **function.keywords)
        if isinstance(function, BuiltinFunctionType | BuiltinMethodType):
            return self._builtin(function)
        if isinstance(function, type | np.ufunc):
            return function
        python_function = getattr(function, "py_func", None)
        if python_function is not None and hasattr(function, "inspect_llvm"):
            # A Numba dispatcher; tracegrad's own objects know by themselves that we trace.
            return function if _is_ours(function) else self.call(python_function)
        method = getattr(type(function), "__call__", None)  # noqa: B004  # the method itself
        if isinstance(method, FunctionType) and not is_library(method.__module__):
            return MethodType(self.staged(method), function)
        return function

    def _method(self, method: MethodType) -> Any:
        function, owner = method.__func__, method.__self__
        if not isinstance(function, FunctionType) or is_staged(function):
            return method
        if isinstance(owner, Tracer | TracedInt) or is_library(function.__module__):
            return method
        return MethodType(self.staged(function), owner)

    def _builtin(self, function: Any) -> Any:
        owner = getattr(function, "__self__", None)
        if owner is None or isinstance(owner, ModuleType):
            return _refusing(function)
        return function


def is_random(function: Any) -> bool:
    """Whether a function draws random numbers: a method of NumPy's or Python's generators."""
    owner = getattr(function, "__self__", None)
    module = type(owner).__module__
    return module.startswith("numpy.random") or module == "random"


def _is_ours(function: Any) -> bool:
    return type(function).__module__.partition(".")[0] == "tracegrad"


def _refusing(function: Any) -> Any:
    """A library function that knows nothing of tracers: fine, unless it is given one."""
    module = getattr(function, "__module__", None) or ""
    if module.partition(".")[0] not in ("numpy", "scipy", "math", "cmath", "statistics"):
        return function

    @functools.wraps(function, updated=())
    def call(*args: Any, **kwargs: Any) -> Any:
        if any(map(is_traced, args)) or any(map(is_traced, kwargs.values())):
            raise UnsupportedError(
                f"{qualified_name(function)} is not supported", way_out=nearest(function)
            )
        return function(*args, **kwargs)

    return call


class FunctionScope(PlainControl):
    """The hooks of one staged function: knows its globals and its closure cells."""

    def __init__(self, hooks: TraceHooks, function: FunctionType) -> None:
        self._hooks = hooks
        self._captures = hooks.captures
        self._globals = function.__globals__
        self._cells: dict[str, CellType] = dict(
            zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        )

    def call(self, function: Any) -> Any:
        return self._hooks.call(function)

    def name(self, value: Any, name: str) -> Any:
        kind = type(value)
        if kind is Tracer:
            if not value.value.hint:
                value.value.hint = name
            return value
        if kind is TracedInt:
            return value
        cell = self._cells.get(name)
        if cell is not None and _contents(cell) is value:
            return self._captures.read(value, cell_path(cell, name))
        if name in self._globals and self._globals[name] is value:
            return self._captures.read(value, global_path(self._globals, name))
        if isinstance(value, np.ndarray):
            found = self._captures.find(value)
            return value if found is None else found
        return value

    def attribute(self, owner: Any, name: str) -> Any:
        computed = getattr(type(owner), name, None)
        if (
            isinstance(computed, property)
            and isinstance(computed.fget, FunctionType)
            and not isinstance(owner, Tracer | TracedInt)
            and not is_library(computed.fget.__module__)
        ):
            return self._hooks.staged(computed.fget)(owner)
        value = getattr(owner, name)
        if isinstance(owner, Tracer | TracedInt):
            return value
        if isinstance(owner, ModuleType):
            if is_library(owner.__name__):
                return value
        elif isinstance(owner, np.ndarray | type):
            return value
        path = self._captures.path_of(owner)
        if path is None or isinstance(value, MethodType | BuiltinMethodType):
            return self._loose(value)
        return self._captures.read(value, path.then(".", name))

    def item(self, owner: Any, key: Any) -> Any:
        value = owner[key]
        if isinstance(owner, list | tuple | dict):
            path = self._captures.path_of(owner)
            if path is not None and isinstance(key, int | str | float | bool):
                return self._captures.read(value, path.then("[]", key))
        return self._loose(value)

    def _loose(self, value: Any) -> Any:
        """A value reached in a way we did not follow: an array may still be a captured one."""
        if isinstance(value, np.ndarray):
            found = self._captures.find(value)
            return value if found is None else found
        return value

    def inplace(self, operator: str, old: Any, value: Any) -> Any:
        if isinstance(old, np.ndarray) and is_traced(value):
            raise UnsupportedError(
                f"x {operator}= y with a traced y would write into a plain array",
                way_out=f"write x = x {operator} y",
            )
        return _OPERATORS[operator](old, value)

    def stored(self, owner: Any, name: str) -> Any:
        path = self._captures.path_of(owner)
        if path is not None:
            raise UnsupportedError(
                f"the function sets {path.text}.{name}; a compiled kernel would not",
                way_out="use a local name, and return what is to be kept",
            )
        return owner

    def stored_item(self, owner: Any) -> Any:
        path = self._captures.path_of(owner)
        if path is not None:
            raise UnsupportedError(
                f"the function writes into {path.text}; a compiled kernel would not",
                way_out="use a local container, and return what is to be kept",
            )
        return owner


def _contents(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return None
