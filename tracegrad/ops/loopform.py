"""The operations of loop form: explicit buffers, ordered reads and writes.

Only the scheduler makes them, after differentiation. Those with ``effects`` stay in order: a
read, too, since a write may come between it and an equal one.
"""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np

from tracegrad.ir.core import Operation
from tracegrad.ir.types import ArrayType, Dim, i64, scalar
from tracegrad.ops.constants import checked_dtype, checked_shape
from tracegrad.ops.registry import structural


def _checked_element(buffer: ArrayType, indices: tuple[ArrayType, ...], name: str) -> None:
    if len(indices) != buffer.rank:
        raise TypeError(f"{name}: {buffer} needs {buffer.rank} indices, not {len(indices)}")
    for index in indices:
        if index != scalar(i64):
            raise TypeError(f"{name}: an index must be an i64 scalar, not {index}")


def _place(buffer: np.ndarray, indices: tuple[Any, ...]) -> tuple[int, ...]:
    """The indices as ints; outside (negative ones too) it is a fault of the scheduler."""
    at = tuple(int(i) for i in indices)
    if any(not 0 <= i < size for i, size in zip(at, buffer.shape, strict=True)):
        raise IndexError(f"index {at} is out of bounds for a buffer of shape {buffer.shape}")
    return at


# --- alloc, alias -----------------------------------------------------------------------------


def _alloc_type(
    *,
    shape: Any,
    dtype: Any,
    fill: Any = None,
    residual: str = "",
    around: bool = False,
    diagonals: Any = (),
    local: int = 0,
) -> ArrayType:
    if fill is not None and (isinstance(fill, bool) or fill != 0):
        raise TypeError(f"alloc: fill must be None or 0, not {fill!r}")
    return ArrayType(checked_dtype(dtype, "alloc"), checked_shape(shape, "alloc"))


def _alloc_reference(
    *,
    shape: tuple[int, ...],
    dtype: Any,
    fill: Any = None,
    residual: str = "",
    around: bool = False,
    diagonals: tuple[int, ...] = (),
    local: int = 0,
) -> np.ndarray:
    if fill == 0:
        return np.zeros(shape, dtype.numpy)
    # What is read before it is written should show.
    return np.full(shape, np.nan if dtype.is_float else 77, dtype.numpy)


alloc = structural(
    "alloc",
    doc="""A new buffer: of zeros if ``fill`` is 0, of anything if it is None.

    ``residual`` is there on a tape, as for ``blank``. ``around``: only those zeros count that are
    never written over, around the others: one buffer serves all trips of a loop. ``diagonals`` is
    there on a table that `schedule.rotated` has turned, for the reader: the axes of i and j, and
    p. ``local`` is how many loops, those that stand around all its uses, have it anew in each
    trip: it stands before them to save time.""",
    infer=_alloc_type,
    reference=_alloc_reference,
    effects=True,
)


def _alias_type(buffer: ArrayType, *, shape: Any) -> ArrayType:
    result = ArrayType(buffer.dtype, checked_shape(shape, "alias"))
    both_known = isinstance(buffer.size, int) and isinstance(result.size, int)
    if both_known and buffer.size != result.size:
        raise TypeError(f"alias: {buffer} has not the size of shape {result.shape}")
    return result


def _alias_reference(buffer: np.ndarray, *, shape: tuple[int, ...]) -> np.ndarray:
    same = buffer.reshape(shape)
    if buffer.size and not np.shares_memory(same, buffer):
        raise ValueError(f"a buffer of strides {buffer.strides} can't be seen as {shape}")
    return same


alias = structural(
    "alias",
    doc="The same memory in C order under another shape.",
    infer=_alias_type,
    reference=_alias_reference,
)


# --- load, store ------------------------------------------------------------------------------


def _load_type(buffer: ArrayType, *indices: ArrayType) -> ArrayType:
    _checked_element(buffer, indices, "load")
    return scalar(buffer.dtype)


load = structural(
    "load",
    doc="One element of a buffer.",
    infer=_load_type,
    reference=lambda buffer, *indices: buffer[_place(buffer, indices)].copy(),
    effects=True,
)


def _store_type(name: str, v: ArrayType, buffer: ArrayType, *indices: ArrayType) -> tuple[()]:
    _checked_element(buffer, indices, name)
    if v != scalar(buffer.dtype):
        raise TypeError(f"{name}: a scalar {buffer.dtype} is needed for {buffer}, not {v}")
    return ()


def _store_reference(v: Any, buffer: np.ndarray, *indices: Any) -> tuple[()]:
    buffer[_place(buffer, indices)] = v
    return ()


def _add_store_reference(v: Any, buffer: np.ndarray, *indices: Any) -> tuple[()]:
    buffer[_place(buffer, indices)] += v
    return ()


store = structural(
    "store",
    doc="Write one element of a buffer.",
    infer=lambda v, buffer, *indices: _store_type("store", v, buffer, *indices),
    reference=_store_reference,
    effects=True,
)

add_store = structural(
    "add_store",
    doc="Add to one element of a buffer.",
    infer=lambda v, buffer, *indices: _store_type("add_store", v, buffer, *indices),
    reference=_add_store_reference,
    effects=True,
)


# --- check_index ------------------------------------------------------------------------------


def _check_type(
    index: ArrayType, size: ArrayType, *, axis: Any = 0, negative: Any = True
) -> ArrayType:
    if index != scalar(i64) or size != scalar(i64):
        raise TypeError(f"check_index: i64 scalars are needed, not {index} and {size}")
    if not isinstance(axis, int) or axis < 0:
        raise TypeError(f"check_index: axis must be a position, not {axis!r}")
    if not isinstance(negative, bool):
        raise TypeError(f"check_index: negative must be True or False, not {negative!r}")
    return scalar(i64)


def _check_reference(index: Any, size: Any, *, axis: int = 0, negative: bool = True) -> np.int64:
    at, limit = int(index), int(size)
    if not (-limit if negative else 0) <= at < limit:
        raise IndexError(f"index {at} is out of bounds for axis {axis} with size {limit}")
    return np.int64(at + limit if at < 0 else at)


check_index = structural(
    "check_index",
    doc="""The index, a negative one counted from the end; raises IndexError outside.

    With ``negative=False`` the index is known not to be negative.""",
    infer=_check_type,
    reference=_check_reference,
    effects=True,
)


def out_of_bounds(check: Operation) -> str:
    """What the IndexError of a ``check_index`` says."""
    axis = check.attributes.get("axis", 0)
    where = "" if check.location is None else f" ({check.location})"
    return f"index is out of bounds for axis {axis}{where}"


# --- gemm -------------------------------------------------------------------------------------


def _gemm_type(
    a: ArrayType,
    b: ArrayType,
    out: ArrayType,
    *,
    transpose_a: Any = False,
    transpose_b: Any = False,
) -> tuple[()]:
    if not isinstance(transpose_a, bool) or not isinstance(transpose_b, bool):
        raise TypeError("gemm: transpose_a and transpose_b must be bools")
    if a.rank not in (1, 2) or b.rank not in (1, 2) or not a.dtype.is_float:
        raise TypeError(f"gemm: float vectors or matrices are needed, not {a} and {b}")
    left = a.shape[::-1] if transpose_a else a.shape
    right = b.shape[::-1] if transpose_b else b.shape
    result = ArrayType(a.dtype, left[:-1] + right[1:])
    if left[-1] != right[0] or b.dtype is not a.dtype:
        raise TypeError(f"gemm: {a} and {b} can't be multiplied")
    if out != result or not result.rank:
        raise TypeError(f"gemm: the result of {a} and {b} is {result}, the buffer {out}")
    return ()


def _gemm_reference(
    a: np.ndarray,
    b: np.ndarray,
    out: np.ndarray,
    *,
    transpose_a: bool = False,
    transpose_b: bool = False,
) -> tuple[()]:
    out[...] = np.dot(a.T if transpose_a else a, b.T if transpose_b else b)
    return ()


gemm = structural(
    "gemm",
    doc="A product of matrices (or a matrix and a vector) into a buffer, by BLAS.",
    infer=_gemm_type,
    reference=_gemm_reference,
    effects=True,
)


def _part_type(
    a: ArrayType,
    b: ArrayType,
    out: ArrayType,
    start: ArrayType,
    count: ArrayType,
    *,
    parts: Any,
    transpose_a: Any = False,
    transpose_b: Any = False,
    add: Any = False,
) -> tuple[()]:
    if start != scalar(i64) or count != scalar(i64):
        raise TypeError(f"gemm_part: i64 scalars are needed, not {start} and {count}")
    if not all(isinstance(each, bool) for each in (transpose_a, transpose_b, add)):
        raise TypeError("gemm_part: transpose_a, transpose_b and add must be bools")
    if any(x.rank != 2 or x.dtype is not out.dtype or not x.dtype.is_float for x in (a, b, out)):
        raise TypeError(f"gemm_part: float matrices are needed, not {a}, {b} and {out}")
    sizes: list[list[Dim | None]] = [list(x.shape) for x in (a, b, out)]
    for which, dimension, _ in parts:
        sizes[which][dimension] = None  # as many as ``count`` says
    left = sizes[0][::-1] if transpose_a else sizes[0]
    right = sizes[1][::-1] if transpose_b else sizes[1]
    if left[1] != right[0] or [left[0], right[1]] != sizes[2] or len(parts) != 2:
        raise TypeError(f"gemm_part: the parts of {a}, {b} and {out} don't fit")
    return ()


def _part_reference(
    a: np.ndarray,
    b: np.ndarray,
    out: np.ndarray,
    start: Any,
    count: Any,
    *,
    parts: Any,
    transpose_a: bool = False,
    transpose_b: bool = False,
    add: bool = False,
) -> tuple[()]:
    arrays = [a, b, out]
    for which, dimension, moving in parts:
        first = int(start) if moving else 0
        taken = slice(first, first + int(count))
        arrays[which] = arrays[which][taken] if dimension == 0 else arrays[which][:, taken]
    left, right, target = arrays
    product = np.dot(left.T if transpose_a else left, right.T if transpose_b else right)
    target[...] = target + product if add else product
    return ()


gemm_part = structural(
    "gemm_part",
    doc="""A product of matrices of which two are taken in part, by BLAS.

    ``parts`` says of which (0, 1 and 2 are ``a``, ``b`` and ``out``), along which dimension, and
    whether the part begins at ``start`` or at 0; it has ``count`` rows or columns. With ``add`` the
    product is added to ``out``.""",
    infer=_part_type,
    reference=_part_reference,
    effects=True,
)


# --- parallel ---------------------------------------------------------------------------------


#: Operations that a chunk has at least: with fewer, starting another thread takes longer.
GRAIN = 20_000


def _parallel_type(
    *types: ArrayType, part: Any, work: Any, combine: Any, own: Any, written: Any, dtypes: Any
) -> tuple[ArrayType, ...]:
    if len(types) < 2 or types[:2] != (scalar(i64), scalar(i64)):
        raise TypeError("parallel: lo and hi are needed before what is captured")
    if not isinstance(part, str):
        raise TypeError(f"parallel: part must be the name of a function, not {part!r}")
    arrays = [types[2 + k].rank for k in (*own, *written)]
    if not all(arrays):
        raise TypeError("parallel: what is written must be an array")
    if len(combine) != len(dtypes):
        raise TypeError("parallel: combine and dtypes must go together")
    return tuple(scalar(checked_dtype(dtype, "parallel")) for dtype in dtypes)


def _no_reference(*operands: Any, **attributes: Any) -> NoReturn:
    raise TypeError("parallel runs a part of its function: the interpreter does that")


parallel = structural(
    "parallel",
    doc="""A loop whose trips are independent, in chunks on several threads.

    ``parallel(lo, hi, *captured)`` runs the function ``part(start, stop, *captured)`` for
    contiguous pieces of ``range(lo, hi)`` that have all its trips. The results of the chunks, of
    ``dtypes``, are put together in order by the operations ``combine``. Of the arrays at the
    positions ``own`` among the captured ones each chunk has its own, full of zeros but for the
    first chunk's, and they are added up; those at ``written`` are written to as they are. ``work``
    is an estimate of what all trips do, in multiplications.""",
    infer=_parallel_type,
    reference=_no_reference,
    effects=True,
)


# --- in_advance -------------------------------------------------------------------------------


def _in_advance_type(x: ArrayType) -> ArrayType:
    if x.rank or not x.dtype.is_float:
        raise TypeError(f"in_advance: a scalar float is needed, not {x}")
    return x


in_advance = structural(
    "in_advance",
    doc="The operand, which is to be computed before it is asked for: nothing is merged with it.",
    infer=_in_advance_type,
    reference=lambda x: x,
    scalar="in_advance({0})",
)
