"""Functions that kernels call, beyond what the compilers know of NumPy.

A printed text imports them by name. In plain Python they are what they are; compiled, each becomes
part of the kernel, whoever compiles it:

- a *helper* is written in the printed language itself (numbers, arrays that the caller gives,
  loops, branches) and is compiled along with the text that calls it;
- an *external* is called by an address that is looked up when the code is loaded, such as a
  function of ``scipy.special.cython_special``;
- a *row function* is one of NumPy's own, for the helpers that sort.

Neither needs Numba before Numba compiles something that calls it: `tell_numba` is asked for by
`tracegrad.backend.compile`, and by Numba itself before it compiles users' code.
"""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

Plain = TypeVar("Plain", bound=Callable[..., Any])


@dataclass(frozen=True, eq=False)
class Helper:
    """A function whose source is compiled.

    Its parameters are annotated: ``float``, ``int`` and ``bool`` are numbers, which arguments are
    made, anything else takes an argument as it is. The result is annotated by ``float``, ``int``,
    ``bool``, a ``tuple[...]`` of them, or None.

    Attributes
    ----------
    flags : LLVM's fast-math flags in its arithmetic: none, unless it is told otherwise.
    """

    function: Callable[..., Any]
    flags: frozenset[str] = frozenset()


@dataclass(frozen=True, eq=False)
class External:
    """A function that is called by its address.

    Attributes
    ----------
    function : what plain Python calls.
    provider : where the address comes from, as `tracegrad.backend.native.externals.address` takes
        it: ``"capsule.scipy.special.cython_special:gammainc"``.
    operands : a letter for each operand: "d" float64, "l" int64, "i" a C ``int``.
    result : the letter of the result.
    written : 0 if it returns its result; else how many it writes through pointers, which come
        after the operands.
    taken : which of those is the result.
    """

    function: Callable[..., Any]
    provider: str
    operands: str
    result: str = "d"
    written: int = 0
    taken: int = 0


@dataclass(frozen=True, eq=False)
class RowFunction:
    """A function that NumPy has for each dtype, of a row of the first array that it is given.

    Attributes
    ----------
    function : what plain Python calls.
    name : "sort", "argsort", "argmax" or "argmin".
    """

    function: Callable[..., Any]
    name: str


_known: dict[Callable[..., Any], Helper | External | RowFunction] = {}
_untold: list[Callable[[], None]] = []
_numba_knows = False
_telling = threading.RLock()


def helper(function: Plain, *, flags: frozenset[str] = frozenset()) -> Plain:
    """Let kernels call ``function``, whose source is in the printed language."""
    _known[function] = Helper(function, flags)

    def tell() -> None:
        from numba.extending import register_jitable

        options: dict[str, Any] = {"error_model": "numpy", "fastmath": set(flags) or False}
        made: Any = register_jitable(**options)
        made(function)

    when_numba_compiles(tell)
    return function


def external(
    provider: str, operands: str, result: str = "d", *, written: int = 0, taken: int = 0
) -> Callable[[Plain], Plain]:
    """Let kernels call the address of ``provider`` where the text calls the function below.

    >>> @external("capsule.scipy.special.cython_special:ellipkm1", "d")
    ... def ellipkm1(x):
    ...     import scipy.special
    ...
    ...     return scipy.special.ellipkm1(x)
    """

    def mark(function: Plain) -> Plain:
        _known[function] = made = External(function, provider, operands, result, written, taken)

        def tell() -> None:
            from tracegrad.backend.calls_by_numba import lower_external

            lower_external(made)

        when_numba_compiles(tell)
        return function

    return mark


def numpys(name: str) -> Callable[[Plain], Plain]:
    """Let helpers that only our compiler compiles call NumPy's function of a row."""

    def mark(function: Plain) -> Plain:
        _known[function] = RowFunction(function, name)
        return function

    return mark


def has_externals() -> bool:
    """Whether there is a function that is called by its address."""
    return any(isinstance(each, External) for each in _known.values())


def find(path: str) -> Helper | External | RowFunction | None:
    """What a full name stands for, as ``"tracegrad.backend.gamma.digamma"``."""
    found = resolve(path)
    return _known.get(found) if callable(found) else None


def resolve(path: str) -> Any:
    """The object of a full name in tracegrad, or beside a helper; None where there is none."""
    module, _, name = path.rpartition(".")
    homes = {each.__module__ for each in _known}
    if not (module.startswith("tracegrad.") or module in homes):
        return None
    try:
        return getattr(importlib.import_module(module), name, None)
    except ImportError:
        return None


# --- Numba ------------------------------------------------------------------------------------


def when_numba_compiles(tell: Callable[[], None]) -> None:
    """Have ``tell`` called before Numba first compiles; at once if that was."""
    with _telling:
        if not _numba_knows and "numba" not in sys.modules:
            _untold.append(tell)
            return
    tell_numba()
    tell()


def tell_numba() -> None:
    """Tell Numba about everything that the texts call."""
    global _numba_knows
    with _telling:
        if _numba_knows:
            return
        _numba_knows = True
        waiting, _untold[:] = _untold[:], []
        for tell in waiting:
            tell()
