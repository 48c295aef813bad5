"""Where things of this process are that machine code calls.

Machine code is kept on disk, so it holds no address. It reads each from a table that is filled when
it is loaded; this module says what the names in that table stand for. A name begins with its
provider: "blas.dgemm", "pool.empty", "capsule.scipy.special.cython_special:gammainc".
"""

from __future__ import annotations

import builtins
import ctypes
import functools
import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from tracegrad.backend import pool, special
from tracegrad.backend.native import libraries
from tracegrad.backend.native.types import Unsupported
from tracegrad.backend.threads import pool as threads

ENTRY = "entry"
"""The name of the function that CPython calls, in a module of LLVM."""

VALUES = "values"
"""The name of a kernel's function that takes objects and puts those of its results side by side."""

FILE = "file"
"""The name of the file that tracebacks show, in a table of addresses."""

#: Where NumPy's functions and types are in the table that it exports.
_NUMPY = {
    "PyArray_Type": 2,
    "PyArray_DescrFromType": 45,
    "PyArray_Zeros": 183,
    "PyArray_Empty": 184,
}
_FUNCTIONS_OF_DTYPE = 365

#: Where functions of a row stand among those that NumPy has for a dtype.
_OF_ROW = {"argmax": 26, "sort": 33, "argsort": 36, "argmin": 46}

_OPTIONAL = frozenset({"_PyTraceback_Add"})
"""What not every interpreter has: its address is 0 then."""


@functools.cache
def address(name: str) -> int:
    """The address that a name in a table stands for."""
    provider, dot, rest = name.partition(".")
    if dot:
        return PROVIDERS[provider](rest)
    if name in _NUMPY:
        return int(_numpy_table()[_NUMPY[name]])
    if name == "Py_None":
        return id(None)
    if name in _OPTIONAL and not hasattr(ctypes.pythonapi, name):
        return 0
    found = ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value
    assert found is not None
    return found


@functools.cache
def _numpy_table() -> Any:
    try:
        module = importlib.import_module("numpy._core.multiarray")
    except ImportError:  # NumPy 1
        module = importlib.import_module("numpy.core.multiarray")
    pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
    pointer_of.restype, pointer_of.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return ctypes.cast(pointer_of(module._ARRAY_API, None), ctypes.POINTER(ctypes.c_void_p))


# --- providers --------------------------------------------------------------------------------


def capsule(name: str) -> int:
    """A function that a Cython module exports: ``"scipy.special.cython_special:gammainc"``."""
    module, _, function = name.partition(":")
    exported: Any = importlib.import_module(module)
    found = exported.__pyx_capi__.get(function)
    if found is None:
        raise Unsupported(f"{module} has no {function}")
    return libraries.pointer(found)


def exception(path: str) -> type[BaseException]:
    """The exception of a full name: a builtin, or one of tracegrad's or NumPy's."""
    module, _, name = path.rpartition(".")
    home: Any = builtins if module == "builtins" else None
    if module in ("tracegrad.errors", "numpy.linalg"):
        home = importlib.import_module(module)
    found = getattr(home, name, None)
    if not (isinstance(found, type) and issubclass(found, BaseException)):
        raise Unsupported(f"the exception {path}")
    return found


def _exception(path: str) -> int:
    return id(exception(path))


def of_dtype(name: str) -> int:
    """A function that NumPy has for each dtype: ``"sort:float64"``."""
    function, _, dtype = name.partition(":")
    functions_of = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object)(
        _numpy_table()[_FUNCTIONS_OF_DTYPE]
    )
    table = ctypes.cast(functions_of(np.dtype(dtype)), ctypes.POINTER(ctypes.c_void_p))
    return int(table[_OF_ROW[function]])


PROVIDERS: dict[str, Callable[[str], int]] = {
    "exception": _exception,
    "blas": lambda name: libraries.address(f"blas.{name}"),
    "lapack": lambda name: libraries.address(f"lapack.{name}"),
    "pool": pool.address,
    "threads": threads.address,
    "capsule": capsule,
    "array": of_dtype,
    "special": special.address,
}
"""By the first part of a name: what gives the address of the rest."""
