"""Compiled verbs that are functions of traced values: `tracegrad.derived`, traced and compiled.

Within a trace such a verb runs as it is. Outside, it is itself what is traced: its primal, tangents
and batch loops become one kernel.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from tracegrad import tracing
from tracegrad.arguments import Binder
from tracegrad.compiled import Compiled
from tracegrad.options import DEFAULT_OPTIONS, Options
from tracegrad.verbs import Verb

Fun = Callable[..., Any]
Apply = Callable[[Fun, Binder, tuple[Any, ...], dict[str, Any]], Any]
"""What a verb does within a trace: (function, its binder, args, kwargs) → the result."""


class Composed(Compiled):
    """A function under a verb of `tracegrad.derived`."""

    def __init__(
        self, fun: Fun, verb: Verb, apply: Apply, options: Options = DEFAULT_OPTIONS
    ) -> None:
        super().__init__(fun, verb, options)
        self._apply = apply

    def _target(self) -> Fun:
        fun, apply, binder = self.py_func, self._apply, self._binder

        @functools.wraps(fun, updated=())
        def target(*args: Any, **kwargs: Any) -> Any:
            return apply(fun, binder, args, kwargs)

        target.__module__ = __name__  # it is the library's: not staged
        target.__name__ = f"{fun.__name__}_{self._verb.name}" if _is_named(fun) else self._verb.name
        return target

    def _bound_to(self, method: Fun) -> Composed:
        return Composed(method, self._verb, self._apply, self._options)

    def _inline(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self._apply(self.py_func, self._binder, args, kwargs)


def _is_named(fun: Fun) -> bool:
    return str(getattr(fun, "__name__", "")).isidentifier()


def call_or_inline(compiled: Compiled, apply: Callable[[], Any], *args: Any) -> Any:
    """Within a trace what ``apply`` appends, else a call of the compiled verb."""
    return apply() if tracing.active() else compiled(*args)
