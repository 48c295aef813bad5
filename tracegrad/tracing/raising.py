"""Exceptions that a program raises when it runs: ``raise``, ``assert`` on traced values."""

from __future__ import annotations

import builtins
from typing import Any

from tracegrad.errors import UnsupportedError
from tracegrad.staging import Site
from tracegrad.tracing.state import current_trace
from tracegrad.tracing.tracer import Tracer

__all__ = ["raise_here", "raise_if"]


def raise_here(error: Any) -> None:
    """Raise ``error``, a class or an instance, when control comes to this place."""
    trace = current_trace()
    kind: Any = error if isinstance(error, type) else type(error)
    arguments = () if isinstance(error, type) else error.args
    message = str(arguments[0]) if len(arguments) == 1 else ", ".join(map(str, arguments))
    known: Any = object
    for base in reversed(kind.__mro__):
        known = base if getattr(builtins, base.__name__, None) is base else known
    if known is object or not issubclass(known, Exception):
        raise UnsupportedError(
            f"{kind.__name__} can't be raised by a kernel", way_out="raise a built-in exception"
        )
    if known is not kind:
        message = f"{kind.__name__}: {message}" if message else kind.__name__
    trace.emit_all("raise", kind=known.__name__, message=message)


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
