"""Sites: what staging knows, without running it, of one place where control flow is hooked.

A site is a constant of the rewritten code; every hook that opens a region is handed its own.
`Site.read` gives the values that the names of the site have in the frame that runs, and the
rewritten code takes values for the same names, in the same order, from an ``env``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import CellType, FrameType
from typing import Any, Final, final

__all__ = ["UNBOUND", "Site", "Unbound", "cell_of"]


@final
class Unbound:
    """The type of `UNBOUND`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "UNBOUND"


UNBOUND: Final = Unbound()
"""Stands in an environment for a name that has no value; the code deletes such names."""


@dataclass(frozen=True)
class Site:
    """One place of a function where control flow is hooked.

    Attributes
    ----------
    kind : ``if``, ``guard`` (an ``if`` that staging made of a jump), ``for``, ``while``,
        ``ternary``, ``and``, ``or``, ``compare``, ``assert``, ``match`` (one case),
        ``raise``, ``try``, ``with``, ``comprehension``.
    line : its line in the user's file.
    names : every name that running the site can bind, rebind or delete and that something
        after it (for a loop: or a later trip) may read; internal flags are among them.
    globals : those of ``names`` that are declared global.
    nonlocals : those that are declared nonlocal; others may be cells as well.
    after : those that may be read once the site is left.
    target : the names that the target of a ``for`` binds.
    exits : for a loop, the flags that end it; they come to ``leave`` in this order.
    test : the value is only asked whether it is true (``and``, ``or``, ``compare``).
    guarded : inside a ``try`` with handlers, or a ``with``, of the same function: an
        exception raised here may be caught.
    """

    kind: str
    line: int
    names: tuple[str, ...] = ()
    globals: frozenset[str] = frozenset()
    nonlocals: frozenset[str] = frozenset()
    after: frozenset[str] = frozenset()
    target: tuple[str, ...] = ()
    exits: tuple[str, ...] = ()
    test: bool = False
    guarded: bool = False

    def read(self, frame: FrameType) -> tuple[Any, ...]:
        """The values of ``names`` in ``frame``, `UNBOUND` where there is none."""
        if not self.names:
            return ()
        variables = frame.f_locals
        if not self.globals:
            return tuple([variables.get(name, UNBOUND) for name in self.names])
        module = frame.f_globals
        return tuple(
            [
                (module if name in self.globals else variables).get(name, UNBOUND)
                for name in self.names
            ]
        )


def cell_of(reader: Callable[[], Any]) -> CellType:
    """The closure cell that ``lambda: name`` reads: its contents may be read and set."""
    (cell,) = reader.__closure__ or ()
    return cell
