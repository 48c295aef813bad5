"""Where the functions of BLAS and LAPACK are.

One library gives all of them. SciPy's wheels bring an OpenBLAS, which is loaded as the file that
it is: ``scipy.linalg`` would take a tenth of a second to import. It is the library that Numba's
code calls too. Where there is none, NumPy's wheel may have one, and else ``scipy.linalg`` knows
what it is linked with. See docs/decisions/0027.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

INTEGER_SIZE = "integer_size"
"""The name that stands for the bytes of an integer of the library."""


@dataclass(frozen=True)
class Library:
    """A loaded library.

    Attributes
    ----------
    functions : its handle; None for what ``scipy.linalg`` is linked with.
    pattern : how it names a function.
    integer_size : bytes of its integers.
    """

    functions: ctypes.CDLL | None
    pattern: str
    integer_size: int


#: How OpenBLAS of a wheel names ``dgemm``, and the bytes of its integers.
_PATTERNS = (
    *(("scipy_{}_64_", 8), ("{}_64_", 8)),
    *(("scipy_{}_", 4), ("{}_", 4)),
)


def address(name: str) -> int:
    """The address of a function such as ``blas.dgemm`` or ``lapack.dpotrf``.

    ``lapack.integer_size`` gives that number in the place of an address.
    """
    home, _, function = name.partition(".")
    library = _library()
    if function == INTEGER_SIZE:
        return library.integer_size
    if library.functions is None:
        return _of_scipy(home, function)
    found = getattr(library.functions, library.pattern.format(function))
    place = ctypes.cast(found, ctypes.c_void_p).value
    assert place is not None
    return place


@functools.cache
def _library() -> Library:
    for path in _files():
        try:
            functions = ctypes.CDLL(str(path))
        except OSError:
            continue
        for pattern, size in _PATTERNS:
            if all(hasattr(functions, pattern.format(name)) for name in ("dgemm", "dgesdd")):
                return Library(functions, pattern, size)
    return Library(None, "{}", 4)


def _files() -> Iterator[Path]:
    """The libraries in the wheels of SciPy and NumPy."""
    for package in ("scipy", "numpy"):
        spec = importlib.util.find_spec(package)
        for root in map(Path, spec.submodule_search_locations or ()) if spec is not None else ():
            for folder in (root.parent / f"{package}.libs", root / ".dylibs"):
                yield from sorted(folder.glob("*openblas*"))


def _of_scipy(home: str, name: str) -> int:
    module: Any = importlib.import_module(f"scipy.linalg.cython_{home}")
    return pointer(module.__pyx_capi__[name])


def pointer(capsule: Any) -> int:
    """What is in a capsule."""
    name_of = ctypes.pythonapi.PyCapsule_GetName
    name_of.restype, name_of.argtypes = ctypes.c_char_p, [ctypes.py_object]
    pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
    pointer_of.restype, pointer_of.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    found: int = pointer_of(capsule, name_of(capsule))
    return found
