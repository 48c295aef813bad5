"""What the verbs that take their function at each call keep: compiled objects, by function."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from types import MethodType
from typing import Any

KEPT = 256
"""How many functions a verb remembers; the one used longest ago is forgotten."""


class Remembered:
    """The compiled objects of a verb that takes its function at each call.

    Functions are told apart by identity: two callables that are equal may compute different
    things. A bound method is the same as long as its object and its function are.

    Parameters
    ----------
    make : (function, options of the verb) → the compiled object, which holds the function.
    """

    def __init__(self, make: Callable[..., Any]) -> None:
        self._make = make
        self._known: OrderedDict[Hashable, Any] = OrderedDict()
        self._lock = threading.Lock()
        self._latest: tuple[Any, tuple[Hashable, ...], Any] = None, (), None
        """The last function asked for: mostly it is the next one, too."""

    def of(self, fun: Callable[..., Any], *options: Hashable) -> Any:
        """The object kept for ``fun``."""
        latest, given, found = self._latest
        if latest is fun and given == options:
            return found
        key = (*_identity(fun), *options)
        with self._lock:
            found = self._known.get(key)
            if found is None:
                found = self._known[key] = self._make(fun, *options)
            self._known.move_to_end(key)
            if len(self._known) > KEPT:
                self._known.popitem(last=False)
            self._latest = fun, options, found
            return found


def _identity(fun: Callable[..., Any]) -> tuple[int, ...]:
    if isinstance(fun, MethodType):
        return id(fun.__func__), id(fun.__self__)
    return (id(fun),)
