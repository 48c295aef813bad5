"""Calls without a frame of Python: a function of CPython that follows a table.

A table says how the arguments of one kind of call are checked and taken apart, which kernel gets
what, and how its results are put together: a row for each step. The function is the same for all
kernels, so it is compiled once and kept on disk. Whatever a table does not expect goes, as it was
given, to a function of Python (`Table.otherwise`), which does the same in general.

Objects are looked into at places that are part of CPython's binary interface: the type at 8, the
size of a tuple or list and what a cell holds at 16, items from 24 on (for a list: where they are).
"""

from __future__ import annotations

import ctypes
import functools
import struct
import sys
import sysconfig
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from tracegrad.backend import cache
from tracegrad.backend.native import externals, kernel, machine

MOST = 64
"""How many values, arguments, results or parts of a result a table may be about."""

POSSIBLE = (
    sys.byteorder == "little"
    and struct.calcsize("P") == 8
    and hasattr(ctypes.pythonapi, "PyObject_Vectorcall")
    and not sysconfig.get_config_var("Py_GIL_DISABLED")
)


class Step(IntEnum):
    """What a row does, with numbers ``a`` and ``b`` and an object ``p``.

    Values are what arguments hold, the arguments first; parts are what a result is made of, on a
    stack.
    """

    KIND = 0
    """Value a has exactly the type p."""
    SAME = 1
    """Value a is p."""
    HAVE = 2
    """Value b is p."""
    KEYS = 3
    """Value a is a dict of b items."""
    KEY = 4
    """Value b is the one of key p in the dict a."""
    LENGTH = 5
    """Value a, a tuple or list, has b items."""
    ITEM = 6
    """Value b is an item of the tuple a: the one at the place p."""
    LISTED = 7
    """The same for a list."""
    CELL = 8
    """Value b is what the cell a of a closure holds."""
    ATTRIBUTE = 9
    """Value b is the attribute p of value a."""
    PASS = 10
    """The kernel gets value a; it is held while there is a call."""
    RUN = 11
    """Call the kernel, which has a results. Only rows before may find that a call doesn't fit."""
    RESULT = 12
    """A part: result a of the kernel, of which this is the only use."""
    VALUE = 13
    """A part: value a."""
    CONSTANT = 14
    """A part: p."""
    TUPLE = 15
    """A part: a tuple of the last a parts."""
    LIST = 16
    """A part: a list of the last a parts."""
    DICT = 17
    """A part: a dict of the last a parts. Of the tuple p the first item is a dict of the same keys,
    the others are the keys."""
    APPLY = 18
    """A part: what p, called with the last part, returns."""
    RETURN = 19
    """The part that is left is the result."""


@dataclass(eq=False)
class Table:
    """What a call does.

    Parameters
    ----------
    kernel : a function of our own compiler's.
    names : of the parameters, each of which a call must give; None if none may be given by name.
    width : how many parameters there are.
    positional : how many of them may be given by position.
    otherwise : is called with the arguments where the table does not fit.
    refusals : exceptions of the kernel that say so.
    """

    kernel: Callable[..., Any]
    names: Sequence[str] | None
    width: int
    positional: int
    otherwise: Callable[..., Any]
    refusals: tuple[type[BaseException], ...]
    values: int = 0
    passed: int = 0
    rows: list[tuple[Step, int, int, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.values = self.width

    def value(self) -> int:
        """The number of a further value."""
        self.values += 1
        return self.values - 1

    def add(self, step: Step, a: int = 0, b: int = 0, p: Any = None) -> None:
        self.rows.append((step, a, b, p))

    def fits(self) -> bool:
        """Whether there is room for all that the table is about."""
        parts = sum(r[0] in (Step.RESULT, Step.VALUE, Step.CONSTANT) for r in self.rows)
        return max(self.values, self.passed, parts) <= MOST

    def function(self, name: str) -> Callable[..., Any]:
        """The function that follows the table. It takes no part in the table's later changes."""
        held: list[Any] = [self.kernel, self.otherwise, self.refusals]
        names = () if self.names is None else tuple(map(sys.intern, self.names))
        held.append(names)
        words = [
            *(self.width, self.positional, len(names), id(names)),
            *(self.kernel.__self__.values, self.passed, id(self.otherwise), id(self.refusals)),  # type: ignore[attr-defined]  # `machine.Code`
        ]
        for step, a, b, p in self.rows:
            place = step in (Step.ITEM, Step.LISTED)
            words += [step, a, b, p if place else id(p)]
            held.append(p)
        method = machine.method(name, _place(), _FASTCALL | _KEYWORDS)
        return machine.builtin(method, (struct.pack(f"<{len(words)}q", *words), method, *held))


_FASTCALL, _KEYWORDS = 0x80, 0x02


@functools.cache
def _place() -> int:
    """The address of the function; its code is read from disk or made at the first call."""
    options = repr(machine.processor())
    path = cache.usable_directory()
    file = None if path is None else path / f"caller-{cache.content_hash('', options)}.o"
    stored = None if file is None else kernel.read_code(file)
    if stored is None:
        from tracegrad.backend.native.caller_text import text

        made = text()
        stored = list(made.addresses), machine.compile_text(made.llvm)
        if file is not None:
            kernel.write_code(file, *stored)
    addresses, code = stored
    engine, place, _ = machine.link(code, [externals.address(each) for each in addresses])
    _kept.append(engine)
    return place


_kept: list[Any] = []
"""What owns the function's code: as long as the process, since functions made of it may."""
