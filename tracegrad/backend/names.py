"""Names of variables in generated source.

A name is what the user called the value, if anything. It is made an identifier, kept apart from
keywords, built-in functions and what the source imports, and used once: a second value of one
name is ``x_2``. Values that nobody named are ``t1``, ``t2``, ….
"""

from __future__ import annotations

import builtins
import keyword
import re
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

#: Names that a variable must never have, whatever the source imports.
RESERVED = frozenset(
    {*keyword.kwlist, *keyword.softkwlist, *dir(builtins), "np", "math", "numba", "njit", "prange"}
    | {"scipy", "runtime", "large_empty", "overlap", "in_advance", "GuardFailed", "self", "cls"}
    | {"chunk_count", "in_parallel", "natural", "add_product", "put_product"}
)

#: Loop indices that nobody named, outermost first.
_INDICES = ("i", "j", "k", "l", "p", "q", "r", "s")


def identifier(hint: str) -> str:
    """``hint`` as an identifier: ``"params.w"`` becomes ``params_w``; "" where nothing is left."""
    # The parser compares names in this form; two spellings of one name must count as one.
    normal = unicodedata.normalize("NFKC", hint)
    name = re.sub(r"\W+", "_", normal).strip("_")
    if name and not name.isidentifier():
        name = f"v_{name}"
    # re's idea of a word is wider than the language's.
    return name if name.isidentifier() else ""


class Names:
    """Hands out the names of one function.

    A name that is made while a scope is open is free again when it closes: sibling loops use the
    same names for the same things, as people do.

    Parameters
    ----------
    reserved : further names in use, such as the functions that the source imports.
    """

    def __init__(self, reserved: Iterable[str] = ()) -> None:
        self._taken = {*RESERVED, *reserved}
        self._ranks: dict[str, int] = {}
        self._scopes: list[set[str]] = [set()]
        self._temporaries = 0
        #: From which number on a name may be free; lower ones are in use.
        self._next: dict[str, int] = {}
        self._loops: list[str] = []
        self._indices: set[str] = set()

    def new(self, hint: str, *, rank: int = 0) -> str:
        """A name for a new value: a scalar, or an array of that rank."""
        name = identifier(hint)
        if not name:
            return self._temporary()
        if not rank and name in self._ranks:
            # One element of an array that is in sight: x_ij for x at i and j.
            places = [each for each in self._loops if len(each) == 1][-self._ranks[name] :]
            name = f"{name}_{''.join(places)}".rstrip("_")
        found, number = name, self._next.get(name, 1)
        if number > 1:
            found = f"{name}_{number}"
        while found in self._taken and not self._is_free_index(found):
            number += 1
            found = f"{name}_{number}"
        self._next[name] = number
        return self._take(found, rank)

    def _is_free_index(self, name: str) -> bool:
        """Whether ``name`` is that of the index of closed loops only."""
        return name in self._indices and name not in self._loops

    def _take(self, name: str, rank: int = 0) -> str:
        self._taken.add(name)
        self._indices.discard(name)
        self._scopes[-1].add(name)
        if rank:
            self._ranks[name] = rank
        return name

    @contextmanager
    def scope(self) -> Iterator[None]:
        """Names made in the block are free again after it."""
        self._scopes.append(set())
        try:
            yield
        finally:
            gone = self._scopes.pop() - self._indices
            self._taken -= gone
            if gone:
                self._next.clear()
            for name in gone:
                self._ranks.pop(name, None)

    def _temporary(self) -> str:
        # Numbers are not used again: t7 is one value wherever a reader meets it.
        while True:
            self._temporaries += 1
            name = f"t{self._temporaries}"
            if name not in self._taken:
                return self._take(name)

    def open_loop(self, hint: str) -> str:
        """The name of a loop's index: sibling loops share names, nested loops don't."""
        wanted = identifier(hint)
        candidates = [wanted] if wanted else []
        if wanted in ("", *_INDICES):
            candidates += _INDICES
        for name in candidates:
            if name not in self._loops and (name in self._indices or name not in self._taken):
                break
        else:
            name = self.new(candidates[0])
        self._taken.add(name)
        self._indices.add(name)
        self._loops.append(name)
        return name

    def close_loop(self) -> None:
        self._next.pop(self._loops.pop(), None)
