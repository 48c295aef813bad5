"""Control flow as plain Python has it: the answers of hooks that trace nothing.

A scope inherits `PlainControl` and overrides what it wants to see. What each method is told
and may answer is written down in docs/decisions/0005-staging-control-flow.md.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tracegrad.staging.sites import UNBOUND, Site

__all__ = [
    "IN_PLACE",
    "PlainBranch",
    "PlainControl",
    "PlainFold",
    "PlainLogic",
    "PlainLoop",
    "PlainScope",
    "PlainStep",
    "PlainTernary",
    "PlainTrying",
    "PlainWhile",
]


IN_PLACE: dict[str, Callable[[Any, Any], Any]] = {
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


class PlainBranch:
    """An ``if`` whose condition is known: one arm runs, nothing is merged."""

    __slots__ = ("_taken",)

    env: tuple[Any, ...] | None = None
    unbound = UNBOUND

    def __init__(self, taken: bool) -> None:
        self._taken = taken

    def first(self) -> bool:
        """Whether the first arm runs now."""
        return self._taken

    def second(self) -> bool:
        """Whether the second arm runs now, from ``env`` if there is one."""
        return not self._taken

    def merge(self) -> bool:
        """Whether both arms are done and the names are to be taken from ``env``."""
        return False


_THEN, _ELSE = PlainBranch(True), PlainBranch(False)


class PlainStep:
    """One trip of a loop."""

    __slots__ = ("_item",)

    _item: Any
    env: tuple[Any, ...] | None = None
    live = True
    unbound = UNBOUND

    def take(self) -> Any:
        """What the target of the ``for`` is bound to in this trip."""
        item, self._item = self._item, None
        return item

    def leave(self, *flags: Any) -> bool:
        """Whether Python's own ``break`` ends the loop, now that the body has run."""
        return any(flags)

    def aborted(self) -> bool:
        """Whether the loop takes care of an abort that was raised in its body."""
        return False


class PlainLoop:
    """The trips of a ``for`` over ``iterable``, one by one."""

    __slots__ = ("_items", "_step")

    def __init__(self, iterable: Iterable[Any]) -> None:
        self._items = iter(iterable)
        self._step = PlainStep()

    def __iter__(self) -> Iterator[PlainStep]:
        return self

    def __next__(self) -> PlainStep:
        step = self._step
        step._item = next(self._items)
        return step


class PlainWhile(PlainStep):
    """The trips of a ``while``: each evaluates the condition and, if it holds, the body."""

    __slots__ = ("_holds",)

    def __init__(self) -> None:
        self._holds = True

    def __iter__(self) -> Iterator[PlainWhile]:
        return self

    def __next__(self) -> PlainWhile:
        if not self._holds:
            raise StopIteration
        return self

    def test(self, value: Any) -> bool:
        """Whether the body runs, now that the condition has been evaluated."""
        self._holds = bool(value)
        return self._holds


class PlainTernary:
    """``a if condition else b`` whose condition is known."""

    __slots__ = ("_taken",)

    env: tuple[Any, ...] = ()

    def __init__(self, taken: bool) -> None:
        self._taken = taken

    def first(self) -> bool:
        return self._taken

    def second(self) -> bool:
        return not self._taken

    def result(self, first: Any, second: Any) -> Any:
        """The value of the whole; an arm that did not run comes as None."""
        return first if self._taken else second

    def changed(self, position: int) -> bool:
        """Whether the name at ``position`` is to be taken from ``env`` (walrus in an arm)."""
        return False


_FIRST, _SECOND = PlainTernary(True), PlainTernary(False)


class PlainLogic:
    """``and``, ``or`` and chained comparisons, operand by operand."""

    __slots__ = ("_stops_at", "_test", "_value", "kept")

    env: tuple[Any, ...] = ()

    def __init__(self, site: Site) -> None:
        self._stops_at = site.kind == "or"
        self._test = site.test

    def operand(self, value: Any) -> bool:
        """Whether the next operand is evaluated."""
        truth = bool(value)
        self._value = truth if self._test else value
        return truth is not self._stops_at

    def last(self, value: Any) -> None:
        self._value = bool(value) if self._test else value

    def keep(self, value: Any) -> Any:
        """An operand between two comparisons, which ``kept`` gives to the second."""
        self.kept = value
        return value

    def result(self, _: Any) -> Any:
        return self._value

    def changed(self, position: int) -> bool:
        return False


class PlainTrying:
    """Marks where a ``try`` or ``with`` begins."""

    __slots__ = ()

    def caught(self) -> None:
        """A handler begins: what was opened since the mark and not closed is abandoned."""

    def final(self) -> None:
        """A ``finally`` begins or a ``with`` is left; by an exception perhaps."""


_TRYING = PlainTrying()


class PlainFold:
    """A comprehension that runs as it stands."""

    __slots__ = ()

    folds = False

    def of(self, *start: Any) -> Any:
        """What the loop gives that stands for the comprehension, if ``folds``."""


_ALONE = PlainFold()


class PlainControl:
    """The hooks of control flow, answering as plain Python does."""

    abort: Any = ()
    """What a hook raises to give up tracing a loop as one region; handlers let it pass."""

    assertion = AssertionError

    # -- statements

    def branch(self, condition: Any, site: Site) -> Any:
        return _THEN if condition else _ELSE

    def loop(self, iterable: Any, site: Site) -> Any:
        return PlainLoop(iterable)

    def while_loop(self, site: Site) -> Any:
        return PlainWhile()

    def clear(self, *flags: Any) -> Any:
        """That no flag is set: the condition of a guard."""
        return not any(flags)

    def raising(self, site: Site) -> bool:
        """Whether Python's own ``raise`` runs; if not, ``raised`` is told of the exception."""
        return True

    def raised(self, site: Site, error: Any = None, cause: Any = None) -> None:
        """An exception that the program raises when it runs, not now."""

    def trying(self, site: Site) -> Any:
        return _TRYING

    def rebinds(self, name: str, reader: Callable[[], Any] | None) -> None:
        """The next statement binds a nonlocal name (``reader`` reads it) or a global one."""

    # -- expressions

    def ternary(self, condition: Any, site: Site) -> Any:
        return _FIRST if condition else _SECOND

    def logic(self, site: Site) -> Any:
        return PlainLogic(site)

    def negate(self, value: Any) -> Any:
        return not value

    def contains(self, value: Any, container: Any) -> Any:
        return value in container

    def fold(self, function: Any, loop: Callable[..., Any], items: Any, site: Site) -> Any:
        """Whether ``loop`` stands for ``function`` (None: a list) of a comprehension over items."""
        return _ALONE

    def each(self, iterable: Any, site: Site) -> Any:
        """What a comprehension iterates over."""
        return iterable

    def truth(self, value: Any, site: Site) -> Any:
        """Whether a comprehension's ``if``, or a ``case``'s, lets through."""
        return bool(value)


class PlainScope(PlainControl):
    """All hooks, answering as plain Python does: see `tracegrad.staging.unstaged`."""

    def __init__(self, unstaged: Callable[[Any], Any]) -> None:
        self._unstaged = unstaged

    def call(self, function: Any) -> Any:
        return self._unstaged(function)

    def name(self, value: Any, name: str) -> Any:
        return value

    def attribute(self, owner: Any, name: str) -> Any:
        return getattr(owner, name)

    def item(self, owner: Any, key: Any) -> Any:
        return owner[key]

    def inplace(self, operator: str, old: Any, value: Any) -> Any:
        return IN_PLACE[operator](old, value)

    def stored(self, owner: Any, name: str) -> Any:
        return owner

    def stored_item(self, owner: Any) -> Any:
        return owner
