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
from collections.abc import Iterable

#: Names that a variable must never have, whatever the source imports.
RESERVED = frozenset(
    {*keyword.kwlist, *keyword.softkwlist, *dir(builtins), "np", "math", "numba", "njit", "prange"}
    | {"scipy", "runtime", "GuardFailed", "self", "cls"}
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

    Parameters
    ----------
    reserved : further names in use, such as the functions that the source imports.
    """

    def __init__(self, reserved: Iterable[str] = ()) -> None:
        self._taken = {*RESERVED, *reserved}
        self._numbers: dict[str, int] = {}
        self._loops: list[str] = []
        self._indices: set[str] = set()

    def new(self, hint: str) -> str:
        """A name for a new value."""
        name = identifier(hint)
        return self._numbered(name) if name else self._temporary()

    def _numbered(self, name: str) -> str:
        found = name
        while found in self._taken:
            # A name that ends in a digit needs a separator all the same: x1 and x1_2.
            self._numbers[name] = self._numbers.get(name, 1) + 1
            found = f"{name}_{self._numbers[name]}"
        self._taken.add(found)
        return found

    def _temporary(self) -> str:
        while True:
            self._numbers[""] = self._numbers.get("", 0) + 1
            name = f"t{self._numbers['']}"
            if name not in self._taken:
                self._taken.add(name)
                return name

    def open_loop(self, hint: str) -> str:
        """The name of a loop's index: sibling loops share names, nested loops don't."""
        wanted = identifier(hint)
        candidates = [wanted] if wanted else list(_INDICES)
        for name in candidates:
            if name not in self._loops and (name in self._indices or name not in self._taken):
                break
        else:
            name = self._numbered(candidates[0])
        self._taken.add(name)
        self._indices.add(name)
        self._loops.append(name)
        return name

    def close_loop(self) -> None:
        self._loops.pop()
