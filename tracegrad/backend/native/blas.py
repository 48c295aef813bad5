"""Matrix products by BLAS: NumPy's own library where it can be had, else SciPy's.

NumPy's is in memory already, while `scipy.linalg` takes a tenth of a second to import. Both are
called by Fortran's convention, every argument by address. Sizes are 64-bit words, which a library
with 32-bit sizes reads the lower half of.
"""

from __future__ import annotations

import ctypes
import importlib
import sys
from pathlib import Path
from typing import Any

from tracegrad.backend.native.arrays import Arrays
from tracegrad.backend.native.types import F32, F64, Unsupported, View
from tracegrad.backend.native.writer import Writer, real


def dot(writer: Writer, arrays: Arrays, a: View, b: View, out: View) -> None:
    """``np.dot(a, b, out)`` of matrices, or of a matrix and a vector."""
    element = out.type.element
    if element not in (F64, F32) or any(x.type.element is not element for x in (a, b)):
        raise Unsupported("np.dot of these dtypes")
    ranks = (a.type.rank, b.type.rank, out.type.rank)
    if out.column_major or sys.byteorder != "little" or ranks not in ((2, 2, 2), (2, 1, 1)):
        raise Unsupported("np.dot of these arrays")
    op = writer.op
    wrong = [op(f"icmp ne i64 {a.shape[1]}, {b.shape[0]}")]
    wrong.append(op(f"icmp ne i64 {a.shape[0]}, {out.shape[0]}"))
    if ranks[1] == 2:
        wrong.append(op(f"icmp ne i64 {b.shape[1]}, {out.shape[1]}"))
    refused = wrong[0]
    for each in wrong[1:]:
        refused = op(f"or i1 {refused}, {each}")
    failed, fits = writer.label("failed"), writer.label("fits")
    writer.branch(refused, failed, fits, rare=True)
    writer.start(failed)
    arrays.fail("ValueError", "incompatible array sizes for np.dot(a, b)")
    writer.start(fits)
    # Sizes of zero are not for BLAS: a sum of nothing is 0.
    total = "1"
    for dim in (*out.shape, a.shape[1]):
        total = op(f"mul i64 {total}, {dim}")
    some, none, end = (writer.label(n) for n in ("some", "none", "end"))
    writer.branch(op(f"icmp ne i64 {total}, 0"), some, none)
    writer.start(none)
    arrays.clear(out)
    writer.jump(end)
    writer.start(some)
    if ranks[1] == 2:
        _matrices(writer, a, b, out)
    else:
        # A product with what is in memory is not made, but some libraries make it of NaN.
        arrays.clear(out)
        _vector(writer, a, b, out)
    writer.start(end)


def _matrices(writer: Writer, a: View, b: View, out: View) -> None:
    """In Fortran's order all three are transposed: out.T = b.T @ a.T."""
    kind = out.type.element
    sizes = [out.shape[1], out.shape[0], a.shape[1]]
    given = [
        _address(writer, "i8", str(ord("T" if b.column_major else "N"))),
        _address(writer, "i8", str(ord("T" if a.column_major else "N"))),
        *(_address(writer, "i64", size) for size in sizes),
        _address(writer, kind.llvm, real(1.0, kind)),
        b.data,
        _address(writer, "i64", _width(b)),
        a.data,
        _address(writer, "i64", _width(a)),
        _address(writer, kind.llvm, real(0.0, kind)),
        out.data,
        _address(writer, "i64", out.shape[1]),
    ]
    name = "dgemm" if kind is F64 else "sgemm"
    writer.call(f"blas.{name}", "void", *(f"ptr {each}" for each in given))


def _vector(writer: Writer, a: View, b: View, out: View) -> None:
    kind = out.type.element
    rows, columns = a.shape if a.column_major else a.shape[::-1]
    one = _address(writer, "i64", "1")
    given = [
        _address(writer, "i8", str(ord("N" if a.column_major else "T"))),
        _address(writer, "i64", rows),
        _address(writer, "i64", columns),
        _address(writer, kind.llvm, real(1.0, kind)),
        a.data,
        _address(writer, "i64", _width(a)),
        b.data,
        one,
        _address(writer, kind.llvm, real(0.0, kind)),
        out.data,
        one,
    ]
    name = "dgemv" if kind is F64 else "sgemv"
    writer.call(f"blas.{name}", "void", *(f"ptr {each}" for each in given))


def _width(x: View) -> str:
    """How far a row in memory is from the next."""
    return x.shape[0] if x.column_major else x.shape[1]


def _address(writer: Writer, type: str, value: str) -> str:
    slot = writer.slot(type)
    writer.do(f"store {type} {value}, ptr {slot}")
    return slot


# --- where the functions are -------------------------------------------------------------------


def address(name: str) -> int:
    """The address of a function of BLAS, such as ``dgemm``."""
    found = _of_numpy(name)
    return found if found is not None else _of_scipy(name)


def _of_numpy(name: str) -> int | None:
    """From the OpenBLAS that NumPy's wheels bring, which is loaded already."""
    import numpy as np

    root = Path(np.__file__).parent
    for folder in (root.parent / "numpy.libs", root / ".dylibs"):
        for path in sorted(folder.glob("*openblas*")):
            try:
                library = ctypes.CDLL(str(path))
            except OSError:
                continue
            for symbol in (f"scipy_{name}_64_", f"{name}_64_"):
                function = getattr(library, symbol, None)
                if function is not None:
                    return ctypes.cast(function, ctypes.c_void_p).value
    return None


def _of_scipy(name: str) -> int:
    cython_blas: Any = importlib.import_module("scipy.linalg.cython_blas")
    capsule = cython_blas.__pyx_capi__[name]
    name_of = ctypes.pythonapi.PyCapsule_GetName
    name_of.restype, name_of.argtypes = ctypes.c_char_p, [ctypes.py_object]
    pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
    pointer_of.restype, pointer_of.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    found: int = pointer_of(capsule, name_of(capsule))
    return found
