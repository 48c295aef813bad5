"""Compiled verbs that are functions of traced values: `tracegrad.derived`, traced and compiled.

Within a trace such a verb runs as it is. Outside, it is itself what is traced: its primal, tangents
and batch loops become one kernel.
"""

from __future__ import annotations

import functools
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from tracegrad import tracing
from tracegrad.arguments import Binder
from tracegrad.backend.compile import KernelOptions
from tracegrad.compiled import Compiled
from tracegrad.verbs import Verb

Fun = Callable[..., Any]
Apply = Callable[[Fun, Binder, tuple[Any, ...], dict[str, Any]], Any]
"""What a verb does within a trace: (function, its binder, args, kwargs) → the result."""

KEPT = 256
"""How many functions the verbs that take one at each call remember."""


class Composed(Compiled):
    """A function under a verb of `tracegrad.derived`."""

    def __init__(
        self,
        fun: Fun,
        verb: Verb,
        apply: Apply,
        *,
        static_argnums: int | Sequence[int] = (),
        static_argnames: str | Sequence[str] = (),
        options: KernelOptions | None = None,
    ) -> None:
        super().__init__(
            fun,
            verb,
            static_argnums=static_argnums,
            static_argnames=static_argnames,
            options=options,
        )
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
        return Composed(method, self._verb, self._apply, options=self._options)

    def _inline(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self._apply(self.py_func, self._binder, args, kwargs)


def _is_named(fun: Fun) -> bool:
    return str(getattr(fun, "__name__", "")).isidentifier()


class Remembered:
    """The compiled objects of a verb that takes its function at each call, by function.

    Parameters
    ----------
    make : (function, options of the verb) → the compiled object.
    """

    def __init__(self, make: Callable[..., Any]) -> None:
        self._make = make
        self._known: OrderedDict[Any, Any] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, fun: Fun, *options: Any) -> Any:
        """The object kept for ``fun``; a new one if ``fun`` can't be remembered."""
        key = (fun, *options)
        try:
            hash(key)
        except TypeError:
            return self._make(fun, *options)
        with self._lock:
            found = self._known.get(key)
            if found is None:
                found = self._known[key] = self._make(fun, *options)
            self._known.move_to_end(key)
            if len(self._known) > KEPT:
                self._known.popitem(last=False)
            return found


def call_or_inline(compiled: Compiled, apply: Callable[[], Any], *args: Any) -> Any:
    """Within a trace what ``apply`` appends, else a call of the compiled verb."""
    return apply() if tracing.active() else compiled(*args)
