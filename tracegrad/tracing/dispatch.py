"""Which traced implementation stands for which function.

Tables are filled by ``@implements``; ufuncs and ``math`` functions that are one op come from
the registry (``stands_for``). A function that is in no table is refused by name.
"""

from __future__ import annotations

import functools
import inspect
import re
import sys
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import numpy as np

from tracegrad.errors import DTypeError, UnsupportedError
from tracegrad.tracing.values import is_traced

__all__ = ["call_for", "call_function", "implements", "nearest", "qualified_name", "refuse"]

Handler = Callable[..., Any]
F = TypeVar("F", bound=Handler)

FUNCTIONS: dict[Any, Handler] = {}
"""Function → implementation for calls with at least one traced argument."""

ALWAYS: dict[Any, Handler] = {}
"""Function → implementation for every call in staged code, traced arguments or not."""

BY_NAME: dict[tuple[str, str], Handler] = {}
"""(module, name) → implementation of functions of modules that may not be imported."""

METHODS: dict[tuple[str, str], Handler] = {}
"""(class, method) → implementation, for the distributions of scipy.stats."""

_CLOSE_TO: dict[str, str] = {
    "lexsort": "use np.argsort of one key",
}


def implements(*functions: Any, always: bool = False) -> Callable[[F], F]:
    """Register the traced implementation of NumPy, built-in or math functions."""

    def register(handler: F) -> F:
        for function in functions:
            FUNCTIONS[function] = handler
            if always:
                ALWAYS[function] = handler
        return handler

    return register


def implements_by_name(*qualified: str) -> Callable[[F], F]:
    """As `implements`, for functions of libraries that are not imported here (SciPy)."""

    def register(handler: F) -> F:
        for each in qualified:
            module, _, name = each.rpartition(".")
            BY_NAME[module, name] = handler
        return handler

    return register


def handler_for(function: Any) -> Handler | None:
    """The traced implementation of ``function``, if it has one."""
    try:
        found = FUNCTIONS.get(function)
    except TypeError:  # not hashable
        return None
    return _by_name(function) if found is None else found


def _by_name(function: Any) -> Handler | None:
    name = getattr(function, "__name__", None)
    owner = getattr(function, "__self__", None)
    if type(owner).__module__.startswith("scipy.stats"):
        return _method(owner, str(name))
    if type(function).__module__.startswith("scipy.stats") and _is_distribution(function):
        return functools.partial(_freezing[0], function)
    for (module, known), handler in BY_NAME.items():
        loaded = sys.modules.get(module) if known == name else None
        if loaded is not None and getattr(loaded, known, None) is function:
            return handler
    return None


_freezing: list[Handler] = []


def freezes(handler: F) -> F:
    """Register what calls of a distribution of scipy.stats give: ``norm(loc, scale)``."""
    _freezing[:] = [handler]
    return handler


def _is_distribution(x: Any) -> bool:
    names = {each.__name__ for each in type(x).__mro__}
    return bool(names & {"rv_generic", "multi_rv_generic"})


def _method(owner: Any, name: str) -> Handler:
    """A method of a distribution of scipy.stats, or of one with its parameters."""
    kind, args, kwargs = owner, (), {}
    if hasattr(owner, "dist") and hasattr(owner, "kwds"):
        kind, args, kwargs = owner.dist, owner.args, owner.kwds
    elif hasattr(owner, "_dist"):  # of several variables
        kind = owner._dist
        kwargs = {key: getattr(owner, key) for key in _PARAMETERS if hasattr(owner, key)}
    found = METHODS.get((type(kind).__name__, name))
    if found is None:

        def refusing(*args: Any, **kwargs: Any) -> Any:
            raise no_method(type(kind).__name__, name)

        return refusing
    if kind is owner:
        return found

    def call(x: Any) -> Any:
        return found(x, *args, **kwargs)

    return call


_PARAMETERS = ("mean", "cov", "alpha", "n", "p")
"""What distributions of several variables remember of their parameters."""


def no_method(owner: str, method: str) -> UnsupportedError:
    """Says that a method of a distribution of scipy.stats is not supported."""
    known = [name for cls, name in METHODS if cls == owner]
    return UnsupportedError(
        f"{method} of scipy.stats.{owner.removesuffix('_gen')} is not supported",
        way_out=f"supported are: {', '.join(known)}"
        if known
        else "write its density out, or give it a derivative with tracegrad.custom_vjp",
    )


def call_for(function: Any) -> Handler | None:
    """What staged code calls in place of ``function``; None for ``function`` itself."""
    try:
        always = ALWAYS.get(function)
    except TypeError:  # not hashable
        return None
    if always is not None:
        return always
    if isinstance(function, np.ufunc):
        return _of_lists(function)
    owner = getattr(function, "__self__", None)
    if isinstance(owner, np.ufunc):  # ``np.add.reduce``
        return _of_lists(function)
    handler = handler_for(function)
    if handler is None:
        return None

    @functools.wraps(handler)
    def call(*args: Any, **kwargs: Any) -> Any:
        if any(map(is_traced, args)) or any(map(is_traced, kwargs.values())):
            return _checked(function, handler, args, kwargs)
        return function(*args, **kwargs)

    return call


def _of_lists(function: Any) -> Handler:
    """A ufunc, which comes back through ``__array_ufunc__``: but NumPy would look into lists."""

    places = 1 if getattr(function, "__name__", "") == "at" else None  # an index, not an array

    def call(*args: Any, **kwargs: Any) -> Any:
        from tracegrad.tracing.values import lift

        given = [
            lift(x) if isinstance(x, list | tuple) and is_traced(x) and k != places else x
            for k, x in enumerate(args)
        ]
        return function(*given, **kwargs)

    return call


def call_function(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What ``__array_function__`` does."""
    if isinstance(function, np.ufunc) and function not in FUNCTIONS:
        from tracegrad.tracing.ufuncs import call_ufunc

        return call_ufunc(function, "__call__", args, kwargs)
    handler = handler_for(function)
    if handler is None:
        raise UnsupportedError(
            f"{qualified_name(function)} is not supported", way_out=nearest(function)
        )
    return _checked(function, handler, args, kwargs)


def _checked(function: Any, handler: Handler, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    given = {key: value for key, value in kwargs.items() if value is not np._NoValue}
    place = _place_of_out(handler)
    if place is not None and place < len(args) and "out" not in given:
        given["out"] = args[place]
        args = (*args[:place], None, *args[place + 1 :])
    if given.get("out", 1) is None:
        del given["out"]
    if "out" in given:
        from tracegrad.tracing.writing import put_out

        out = given.pop("out")
        made = _checked(function, handler, args, given)
        return put_out(out, made, getattr(function, "__name__", ""))
    try:
        return handler(*args, **given)
    except TypeError as error:
        if isinstance(error, DTypeError) or not _misfit(handler, args, given):
            raise
        forms = str(inspect.signature(handler))
        raise UnsupportedError(
            f"{qualified_name(function)} is not supported with these arguments: "
            f"{str(error).partition('() ')[2] or error}",
            way_out=f"its supported form is {qualified_name(function)}{plain_form(forms)}",
        ) from None


@functools.cache
def _place_of_out(handler: Handler) -> int | None:
    """Where a call may give ``out`` by position."""
    for place, parameter in enumerate(inspect.signature(handler).parameters.values()):
        if parameter.kind not in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            return None
        if parameter.name == "out":
            return place
    return None


def _misfit(handler: Handler, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    try:
        inspect.signature(handler).bind(*args, **kwargs)
    except TypeError:
        return True
    return False


def plain_form(signature: str) -> str:
    """A signature without its types."""
    bare = re.sub(r": '[^']*'", "", signature.partition(" -> ")[0])
    return bare.replace(" = ", "=")


def qualified_name(function: Any) -> str:
    """``np.linalg.norm`` for NumPy's, ``module.name`` for others, by the public module."""
    module = getattr(function, "__module__", "") or ""
    name = getattr(function, "__name__", type(function).__name__)
    if isinstance(function, np.ufunc):
        module = "numpy" if getattr(np, name, None) is function else "scipy.special"
    if module.startswith("numpy"):
        parts = [p for p in module.split(".")[1:] if not p.startswith("_") and p != "core"]
        return ".".join(["np", *parts, name])
    if module.startswith("scipy"):
        module = ".".join(part for part in module.split(".") if not part.startswith("_"))
    return name if module == "builtins" else f"{module}.{name}"


def nearest(function: Any) -> str:
    """The way out for an unsupported function: what is close to it and supported."""
    name = getattr(function, "__name__", "")
    derivative = "give it a derivative with tracegrad.custom_vjp"
    if name in _CLOSE_TO:
        return f"{_CLOSE_TO[name]}, or {derivative}"
    import difflib

    from tracegrad.ops.registry import REGISTRY

    known = {each: f"{module}.{each}" for module, each in BY_NAME}
    for opdef in REGISTRY.values():
        known.update(_named(opdef.stands_for))
    known.update(_named(FUNCTIONS))
    close = difflib.get_close_matches(name, known, 2, 0.75)
    if close:
        return f"the nearest supported: {', '.join(known[c] for c in close)}; or {derivative}"
    return (
        "write it with supported NumPy operations, compute it outside and pass the result, or "
        f"{derivative}"
    )


def _named(functions: Iterable[Any]) -> dict[str, str]:
    """Their full names, by their names."""
    named = [each for each in functions if getattr(each, "__name__", "")]
    return {each.__name__: qualified_name(each) for each in named}


def refuse(function: str, what: str, way_out: str | None = None) -> UnsupportedError:
    """An unsupported form of a supported function."""
    return UnsupportedError(f"{function} {what} is not supported", way_out=way_out)
