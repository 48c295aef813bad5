"""The hooks that staged functions call: what tracing does at each call, name and item."""

from __future__ import annotations

import functools
import sys
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

from tracegrad.errors import NeedsValue, UnsupportedError
from tracegrad.staging import (
    IN_PLACE,
    UNBOUND,
    PlainControl,
    PlainTrying,
    Site,
    cell_of,
    is_staged,
    stage,
)
from tracegrad.tracing import branching, looping
from tracegrad.tracing.captures import Captures, cell_path, global_path, is_library
from tracegrad.tracing.comprehensions import fold_of
from tracegrad.tracing.dispatch import call_for, nearest, qualified_name
from tracegrad.tracing.effects import attribute_proxy, cell_slot, check_mutation, item_proxy
from tracegrad.tracing.flags import clear
from tracegrad.tracing.integers import TracedInt
from tracegrad.tracing.iteration import as_items
from tracegrad.tracing.joining import Maybe, Torn, Unset
from tracegrad.tracing.lists import RolledList
from tracegrad.tracing.numpy_calls import vectorized
from tracegrad.tracing.numpy_joiners import JOINERS, Joiner
from tracegrad.tracing.raising import raise_here, settled
from tracegrad.tracing.rolled import ABORTS
from tracegrad.tracing.state import Trace, current_trace
from tracegrad.tracing.tracer import Tracer
from tracegrad.tracing.unrolled import Unrolled
from tracegrad.tracing.values import is_traced

__all__ = ["FunctionScope", "TraceHooks"]


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
        while isinstance(inner, functools.partial) and not _is_ours(inner):
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
        if isinstance(function, Torn):
            function.refuse()
        if is_random(function):
            raise UnsupportedError(
                f"random numbers ({function.__name__}) drawn inside the function would be drawn "
                "once, when it is traced",
                way_out="draw them outside and pass them as an argument",
            )
        if isinstance(function, np.vectorize):
            return functools.partial(vectorized, function)
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
        if isinstance(function, functools.partial) and not _is_ours(function):
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
        trace = current_trace()
        if trace.opened:
            check_mutation(trace, function)
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

    abort = ABORTS

    def name(self, value: Any, name: str) -> Any:
        kind = type(value)
        if kind in JOINERS:
            return Joiner(value)
        if kind in _UNSETTLED:
            value = settled(value, name)
            kind = type(value)
        if kind is Tracer:
            if value.memory is not None and not value.stages:
                value.memory.name(name)
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
                return Joiner(value) if type(value) in JOINERS else value
        elif isinstance(owner, np.ndarray | type):
            return value
        path = self._captures.path_of(owner)
        if path is None or isinstance(value, MethodType | BuiltinMethodType):
            return self._loose(value)
        return self._captures.read(value, path.then(".", name))

    def item(self, owner: Any, key: Any) -> Any:
        if isinstance(owner, dict) and isinstance(key, Tracer):
            raise NeedsValue(
                "an item of a dict is read under a key that is known only at run time",
                way_out="use an array in place of the dict",
            )
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
        return IN_PLACE[operator](old, value)

    def stored(self, owner: Any, name: str) -> Any:
        path = self._captures.path_of(owner)
        if path is not None:
            raise UnsupportedError(
                f"the function sets {path.text}.{name}; a compiled kernel would not",
                way_out="use a local name, and return what is to be kept",
            )
        trace = current_trace()
        return attribute_proxy(trace, owner) if trace.opened else owner

    def stored_item(self, owner: Any) -> Any:
        if isinstance(owner, Tracer):
            return owner
        path = self._captures.path_of(owner)
        if path is not None:
            raise UnsupportedError(
                f"the function writes into {path.text}; a compiled kernel would not",
                way_out="use a local container, and return what is to be kept",
            )
        if isinstance(owner, np.ndarray):
            return _PlainArray(owner)
        trace = current_trace()
        return item_proxy(trace, owner) if trace.opened else owner

    def rebinds(self, name: str, reader: Callable[[], Any] | None) -> None:
        trace = current_trace()
        if reader is None:
            raise UnsupportedError(
                f"the function binds the global name {name!r}; a compiled kernel would not",
                way_out="use a local name, and return what is to be kept",
            )
        if trace.opened:
            slot = cell_slot(cell_of(reader), name)
            trace.store(slot, slot.get())

    # -- branches and loops

    def branch(self, condition: Any, site: Site) -> Any:
        condition = _read(condition)
        if isinstance(condition, Tracer):
            traced = branching.condition_of(condition)
            return branching.Branch(current_trace(), traced, site)
        return super().branch(condition, site)

    def loop(self, iterable: Any, site: Site) -> Any:
        trace = current_trace()
        iterable = _read(iterable)
        items = as_items(iterable)
        if items is not None:
            return looping.for_loop(trace, items, site)
        return Unrolled(trace, site, iter(iterable))

    def while_loop(self, site: Site) -> Any:
        return looping.while_loop(current_trace(), site)

    def clear(self, *flags: Any) -> Any:
        if any(isinstance(flag, Tracer) for flag in flags):
            return clear(current_trace(), flags)
        return super().clear(*flags)

    def raising(self, site: Site) -> bool:
        return not current_trace().opened

    def raised(self, site: Site, error: Any = None, cause: Any = None) -> None:
        if error is None or site.guarded:
            raise UnsupportedError(
                "an exception that depends on traced values is raised where it may be caught",
                way_out="choose with if and else instead of try and except",
            )
        raise_here(error)
        current_trace().opened[-1].dead = True

    def trying(self, site: Site) -> Any:
        return _Trying(current_trace())

    def ternary(self, condition: Any, site: Site) -> Any:
        condition = _read(condition)
        if isinstance(condition, Tracer):
            traced = branching.condition_of(condition)
            return branching.Ternary(current_trace(), traced, site)
        return super().ternary(condition, site)

    def logic(self, site: Site) -> Any:
        return branching.Logic(current_trace(), site)

    def negate(self, value: Any) -> Any:
        if isinstance(value, Tracer):
            return np.logical_not(branching.condition_of(value))
        return not value

    def contains(self, value: Any, container: Any) -> Any:
        if isinstance(container, RolledList):
            container = container.array
        if isinstance(container, Tracer):
            return np.any(container == value)
        if isinstance(value, Tracer) and isinstance(container, list | tuple | range):
            if isinstance(container, range):
                inside = (value >= min(container[0], container[-1])) & (
                    value <= max(container[0], container[-1])
                )
                return inside & ((value - container[0]) % container.step == 0)
            found: Any = False
            for each in container:
                found = np.logical_or(found, value == each)
            return found
        return value in container

    def fold(self, function: Any, loop: Callable[..., Any], items: Any, site: Site) -> Any:
        found = fold_of(current_trace(), function, loop, _read(items), site)
        return super().fold(function, loop, items, site) if found is None else found

    def truth(self, value: Any, site: Site) -> Any:
        return bool(value)


class _Trying(PlainTrying):
    """Marks where a ``try`` or ``with`` begins."""

    __slots__ = ("_depth", "_trace")

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._depth = len(trace.opened)

    def caught(self) -> None:
        if len(self._trace.opened) > self._depth:
            line = self._trace.opened[self._depth].line
            self._trace.abandon(self._depth)
            raise UnsupportedError(
                f"an exception raised in the branch or loop of line {line}, which depends on "
                "traced values, was caught",
                way_out="choose with if and else instead of try and except",
            )

    def final(self) -> None:
        if sys.exc_info()[0] is not None and not isinstance(sys.exc_info()[1], ABORTS):
            self._trace.abandon(self._depth)


class _PlainArray:
    """A NumPy array of constants that the function made, for one statement that writes to it."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __getitem__(self, key: Any) -> Any:
        return self.array[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        if current_trace().opened or is_traced(key) or is_traced(value):
            raise UnsupportedError(
                "a traced value is written into an array of constants",
                way_out="make the array with np.zeros, np.ones, np.full or .copy() of a traced one",
            )
        self.array[key] = value


def _read(value: Any) -> Any:
    return settled(value, "the value") if type(value) in _UNSETTLED else value


_UNSETTLED = frozenset({type(UNBOUND), Maybe, Torn, Unset})


def _contents(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return None
