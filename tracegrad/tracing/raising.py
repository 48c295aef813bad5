"""Exceptions that a program raises when it runs: ``raise``, ``assert`` on traced values."""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np

from tracegrad.errors import UnsupportedError
from tracegrad.ops.control import NUMPYS_EXCEPTIONS
from tracegrad.staging import UNBOUND, Site
from tracegrad.tracing.joining import Torn, Unset
from tracegrad.tracing.state import current_trace
from tracegrad.tracing.tracer import Tracer

_NAMES = {exception: name for name, exception in NUMPYS_EXCEPTIONS.items()}

__all__ = ["raise_here", "raise_if", "settled"]


def raise_here(error: Any) -> None:
    """Raise ``error``, a class or an instance, when control comes to this place."""
    trace = current_trace()
    kind: Any = error if isinstance(error, type) else type(error)
    arguments: tuple[Any, ...] = () if isinstance(error, type) else error.args
    message = str(arguments[0]) if len(arguments) == 1 else ", ".join(map(str, arguments))
    known: Any = object
    for base in reversed(kind.__mro__):
        known = base if base in _NAMES or getattr(builtins, base.__name__, None) is base else known
    if known is object or not issubclass(known, Exception):
        raise UnsupportedError(
            f"{kind.__name__} can't be raised by a kernel", way_out="raise a built-in exception"
        )
    if known is not kind:
        message = f"{kind.__name__}: {message}" if message else kind.__name__
    trace.emit_all("raise", kind=_NAMES.get(known, known.__name__), message=message)


def raise_if(condition: Tracer, error: type[Exception], message: str) -> None:
    """Raise when ``condition`` holds."""
    from tracegrad.tracing.branching import choose

    trace = current_trace()
    site = Site("raise", 0)
    one = trace.open(site, loop=False)
    raise_here(error(message))
    one.dead = True
    trace.close(one)
    two = trace.open(site, loop=False)
    trace.close(two)
    choose(trace, condition, one, two, (), (), (), ())


def settled(value: Any, name: str) -> Any:
    """The value of a name that may have none, with the check that it has one."""
    if value is UNBOUND:
        raise UnboundLocalError(f"cannot access local variable {name!r}")
    if isinstance(value, Torn):
        value.refuse()
    if isinstance(value, Unset):
        value.loop.wanted(value.position)
    raise_if(
        np.logical_not(value.bound),
        UnboundLocalError,
        f"cannot access local variable {name!r} where it is not associated with a value",
    )
    return value.value
