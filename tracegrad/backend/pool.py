"""Memory of large arrays, used again: results and scratch arrays of kernels.

A fresh page costs more than writing to it does, and a large block that is freed goes back to the
system: always from some 32 MB, and from 128 KiB by what the C library has seen before. So freed
blocks of that size wait here for the next array of about theirs, up to a number of bytes (`limit`);
the one that has waited longest goes first.

NumPy calls `malloc` and its companions as the data handler of the arrays that `empty` and `zeros`
make (NEP 49), kernels call them for scratch. A block is handed out again only after its owner freed
it: an array owns its memory as any array of NumPy's does, so that views, copies, pickles and
``resize`` are as safe as ever.

The functions are LLVM's text, since they are called from machine code, from any thread, and
also while the interpreter ends. A thread that finds the lock taken does without the pool: nobody
waits for long, and a forked child can't hang.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import sys
import threading
from typing import Any

__all__ = ["LARGE", "address", "clear", "held", "limit"]

LARGE = 1 << 17
"""Bytes from which an array is large."""

BLOCKS = 64
"""How many blocks can wait."""

_HEADER = 64
"""Bytes before an array's first element: the block's size, where it begins, the bytes asked for."""

_PAGE = 4096

_PLACE = 2560
"""Where in a page a large array begins. A processor takes a read for one of a number that it has
just written if the two have the same place in their pages, and waits; NumPy's large arrays begin at
the start of a page, and what goes through both at once would meet that in every trip."""

_DEFAULT = 256 << 20

_TEXT = f"""
declare ptr @malloc(i64)
declare void @free(ptr)
DECLARE_ADVISE
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)
declare {{ i64, i1 }} @llvm.umul.with.overflow.i64(i64, i64)

@lock = global i32 0
@limit = global i64 0
@held = global i64 0
@clock = global i64 0
@blocks = global [{BLOCKS} x ptr] zeroinitializer
@ages = global [{BLOCKS} x i64] zeroinitializer
@table = global [5 x ptr] zeroinitializer

define internal i1 @acquire() {{
start:
  br label %try
try:
  %n = phi i32 [ 0, %start ], [ %next, %again ]
  %pair = cmpxchg ptr @lock, i32 0, i32 1 acquire monotonic
  %got = extractvalue {{ i32, i1 }} %pair, 1
  br i1 %got, label %done, label %again
again:
  %next = add i32 %n, 1
  %more = icmp ult i32 %next, 1000
  br i1 %more, label %try, label %done
done:
  ret i1 %got
}}

define internal void @release() {{
  store atomic i32 0, ptr @lock release, align 4
  ret void
}}

; The block of the array at %data, and its size.
define internal ptr @origin(ptr %data) {{
  %place = getelementptr i8, ptr %data, i64 -{_HEADER - 8}
  %raw = load ptr, ptr %place
  ret ptr %raw
}}

define internal i64 @capacity(ptr %data) {{
  %place = getelementptr i8, ptr %data, i64 -{_HEADER}
  %size = load i64, ptr %place
  ret i64 %size
}}

; Takes the block of slot %n out; the lock is held.
define internal ptr @take(i64 %n) {{
  %slot = getelementptr ptr, ptr @blocks, i64 %n
  %data = load ptr, ptr %slot
  store ptr null, ptr %slot
  %size = call i64 @capacity(ptr %data)
  %before = load i64, ptr @held
  %after = sub i64 %before, %size
  store i64 %after, ptr @held
  ret ptr %data
}}

; The slot with the least age, or -1 if all are empty; with %free, an empty slot or -1.
define internal i64 @find(i1 %free) {{
start:
  br label %loop
loop:
  %n = phi i64 [ 0, %start ], [ %next, %step ]
  %best = phi i64 [ -1, %start ], [ %better, %step ]
  %least = phi i64 [ -1, %start ], [ %less, %step ]
  %slot = getelementptr ptr, ptr @blocks, i64 %n
  %data = load ptr, ptr %slot
  %empty = icmp eq ptr %data, null
  %place = getelementptr i64, ptr @ages, i64 %n
  %age = load i64, ptr %place
  %counts = select i1 %free, i64 0, i64 %age
  %wanted = icmp eq i1 %empty, %free
  %younger = icmp ult i64 %counts, %least
  %take = and i1 %wanted, %younger
  %better = select i1 %take, i64 %n, i64 %best
  %less = select i1 %take, i64 %counts, i64 %least
  br label %step
step:
  %next = add i64 %n, 1
  %more = icmp ult i64 %next, {BLOCKS}
  br i1 %more, label %loop, label %done
done:
  ret i64 %better
}}

; Frees blocks until no more than %most bytes wait and, with %room, one slot is empty.
define void @trim(i64 %most, i1 %room) {{
start:
  br label %next
next:
  %got = call i1 @acquire()
  br i1 %got, label %look, label %done
look:
  %held = load i64, ptr @held
  %much = icmp ugt i64 %held, %most
  %empty = call i64 @find(i1 true)
  %full = icmp slt i64 %empty, 0
  %tight = and i1 %full, %room
  %must = or i1 %much, %tight
  %oldest = call i64 @find(i1 false)
  %any = icmp sge i64 %oldest, 0
  %do = and i1 %must, %any
  br i1 %do, label %drop, label %enough
drop:
  %data = call ptr @take(i64 %oldest)
  call void @release()
  %raw = call ptr @origin(ptr %data)
  call void @free(ptr %raw)
  br label %next
enough:
  call void @release()
  br label %done
done:
  ret void
}}

; A waiting block of at least %least bytes and not much more, or null.
define internal ptr @waiting(i64 %least) {{
start:
  %got = call i1 @acquire()
  br i1 %got, label %search, label %none
search:
  %eighth = lshr i64 %least, 3
  %above = add i64 %least, %eighth
  %first = add i64 %above, 1
  br label %loop
loop:
  %n = phi i64 [ 0, %search ], [ %next, %step ]
  %best = phi i64 [ -1, %search ], [ %better, %step ]
  %bound = phi i64 [ %first, %search ], [ %less, %step ]
  %slot = getelementptr ptr, ptr @blocks, i64 %n
  %data = load ptr, ptr %slot
  %empty = icmp eq ptr %data, null
  br i1 %empty, label %step, label %look
look:
  %size = call i64 @capacity(ptr %data)
  %enough = icmp uge i64 %size, %least
  %smaller = icmp ult i64 %size, %bound
  %fits = and i1 %enough, %smaller
  %chosen = select i1 %fits, i64 %n, i64 %best
  %tighter = select i1 %fits, i64 %size, i64 %bound
  br label %step
step:
  %better = phi i64 [ %best, %loop ], [ %chosen, %look ]
  %less = phi i64 [ %bound, %loop ], [ %tighter, %look ]
  %next = add i64 %n, 1
  %more = icmp ult i64 %next, {BLOCKS}
  br i1 %more, label %loop, label %searched
searched:
  %found = icmp sge i64 %better, 0
  br i1 %found, label %hit, label %miss
hit:
  %taken = call ptr @take(i64 %better)
  call void @release()
  ret ptr %taken
miss:
  call void @release()
  br label %none
none:
  ret ptr null
}}

define ptr @pool_malloc(i64 %asked) {{
start:
  %huge = icmp ugt i64 %asked, {1 << 62}
  br i1 %huge, label %failed, label %sized
sized:
  %total = add i64 %asked, {2 * _HEADER}
  %large = icmp uge i64 %asked, {LARGE // 2}
  %up = add i64 %total, {_PAGE + 65535}
  %even = and i64 %up, -65536
  %size = select i1 %large, i64 %even, i64 %total
  br i1 %large, label %search, label %fresh
search:
  %old = call ptr @waiting(i64 %size)
  %hit = icmp ne ptr %old, null
  br i1 %hit, label %again, label %fresh
again:
  %note = getelementptr i8, ptr %old, i64 -{_HEADER - 16}
  store i64 %asked, ptr %note
  ret ptr %old
fresh:
  %one = call ptr @malloc(i64 %size)
  %got = icmp ne ptr %one, null
  br i1 %got, label %made, label %short
short:
  call void @trim(i64 0, i1 false)
  %two = call ptr @malloc(i64 %size)
  %saved = icmp ne ptr %two, null
  br i1 %saved, label %made, label %failed
made:
  %raw = phi ptr [ %one, %fresh ], [ %two, %short ]
  %start_ = ptrtoint ptr %raw to i64
  %past = add i64 %start_, {2 * _HEADER - 1}
  %near = and i64 %past, -{_HEADER}
  %over = add i64 %start_, {_HEADER + _PAGE - 1 - _PLACE}
  %floor = and i64 %over, -{_PAGE}
  %far = add i64 %floor, {_PLACE}
  %begin = select i1 %large, i64 %far, i64 %near
  %skip = sub i64 %begin, %start_
  %data = getelementptr i8, ptr %raw, i64 %skip
  %where = getelementptr i8, ptr %data, i64 -{_HEADER}
  store i64 %size, ptr %where
  %origin = getelementptr i8, ptr %data, i64 -{_HEADER - 8}
  store ptr %raw, ptr %origin
  %wanted = getelementptr i8, ptr %data, i64 -{_HEADER - 16}
  store i64 %asked, ptr %wanted
  br i1 %large, label %pages, label %done
pages:
  %page = add i64 %start_, 4095
  %aligned = and i64 %page, -4096
  %address = inttoptr i64 %aligned to ptr
  %end = add i64 %start_, %size
  %rest = sub i64 %end, %aligned
  ADVISE
  br label %done
done:
  ret ptr %data
failed:
  ret ptr null
}}

define void @pool_free(ptr %data) {{
start:
  %nothing = icmp eq ptr %data, null
  br i1 %nothing, label %done, label %given
given:
  %size = call i64 @capacity(ptr %data)
  %most = load i64, ptr @limit
  %large = icmp uge i64 %size, {LARGE // 2}
  %fits = icmp ule i64 %size, %most
  %keep = and i1 %large, %fits
  br i1 %keep, label %room, label %away
room:
  %left = sub i64 %most, %size
  call void @trim(i64 %left, i1 true)
  %got = call i1 @acquire()
  br i1 %got, label %look, label %away
look:
  ; Another thread may have been faster.
  %held = load i64, ptr @held
  %still = icmp ule i64 %held, %left
  %n = call i64 @find(i1 true)
  %free = icmp sge i64 %n, 0
  %ok = and i1 %still, %free
  br i1 %ok, label %put, label %full
full:
  call void @release()
  br label %away
put:
  %slot = getelementptr ptr, ptr @blocks, i64 %n
  store ptr %data, ptr %slot
  %place = getelementptr i64, ptr @ages, i64 %n
  %now = load i64, ptr @clock
  store i64 %now, ptr %place
  %later = add i64 %now, 1
  store i64 %later, ptr @clock
  %after = add i64 %held, %size
  store i64 %after, ptr @held
  call void @release()
  br label %done
away:
  %raw = call ptr @origin(ptr %data)
  call void @free(ptr %raw)
  br label %done
done:
  ret void
}}

define ptr @pool_calloc(i64 %count, i64 %each) {{
start:
  %pair = call {{ i64, i1 }} @llvm.umul.with.overflow.i64(i64 %count, i64 %each)
  %size = extractvalue {{ i64, i1 }} %pair, 0
  %over = extractvalue {{ i64, i1 }} %pair, 1
  br i1 %over, label %failed, label %take
take:
  %data = call ptr @pool_malloc(i64 %size)
  %got = icmp ne ptr %data, null
  br i1 %got, label %clear, label %failed
clear:
  call void @llvm.memset.p0.i64(ptr %data, i8 0, i64 %size, i1 false)
  ret ptr %data
failed:
  ret ptr null
}}

define ptr @numpy_malloc(ptr %self, i64 %size) {{
  %data = call ptr @pool_malloc(i64 %size)
  ret ptr %data
}}

define ptr @numpy_calloc(ptr %self, i64 %count, i64 %each) {{
  %data = call ptr @pool_calloc(i64 %count, i64 %each)
  ret ptr %data
}}

define void @numpy_free(ptr %self, ptr %data, i64 %size) {{
  call void @pool_free(ptr %data)
  ret void
}}

define ptr @numpy_realloc(ptr %self, ptr %old, i64 %size) {{
start:
  %new = call ptr @pool_malloc(i64 %size)
  %nothing = icmp eq ptr %old, null
  %failed = icmp eq ptr %new, null
  %only = or i1 %nothing, %failed
  br i1 %only, label %done, label %move
move:
  %note = getelementptr i8, ptr %old, i64 -{_HEADER - 16}
  %before = load i64, ptr %note
  %less = icmp ult i64 %before, %size
  %kept = select i1 %less, i64 %before, i64 %size
  call void @llvm.memcpy.p0.p0.i64(ptr %new, ptr %old, i64 %kept, i1 false)
  call void @pool_free(ptr %old)
  br label %done
done:
  ret ptr %new
}}

; PyArray_Empty and PyArray_Zeros, for large arrays with our handler. In @table: these two,
; PyDataMem_SetHandler, our handler, Py_DecRef.
define internal ptr @array(i64 %which, i32 %rank, ptr %shape, ptr %dtype, i32 %order) {{
start:
  %maker_ = getelementptr ptr, ptr @table, i64 %which
  %make = load ptr, ptr %maker_
  %wide = sext i32 %rank to i64
  %none = icmp eq i64 %wide, 0
  br i1 %none, label %plain, label %loop
loop:
  %n = phi i64 [ 0, %start ], [ %next, %loop ]
  %count = phi i64 [ 1, %start ], [ %product, %loop ]
  %place = getelementptr i64, ptr %shape, i64 %n
  %dim = load i64, ptr %place
  %product = mul i64 %count, %dim
  %next = add i64 %n, 1
  %more = icmp ult i64 %next, %wide
  br i1 %more, label %loop, label %counted
counted:
  %many = icmp sge i64 %product, {LARGE // 16}
  br i1 %many, label %pooled, label %plain
plain:
  %small = call ptr %make(i32 %rank, ptr %shape, ptr %dtype, i32 %order)
  ret ptr %small
pooled:
  %set_ = getelementptr ptr, ptr @table, i64 2
  %set = load ptr, ptr %set_
  %handler_ = getelementptr ptr, ptr @table, i64 3
  %handler = load ptr, ptr %handler_
  %drop_ = getelementptr ptr, ptr @table, i64 4
  %drop = load ptr, ptr %drop_
  %before = call ptr %set(ptr %handler)
  %refused = icmp eq ptr %before, null
  br i1 %refused, label %failed, label %make_
make_:
  %made = call ptr %make(i32 %rank, ptr %shape, ptr %dtype, i32 %order)
  %ours = call ptr %set(ptr %before)
  call void %drop(ptr %before)
  %gone = icmp eq ptr %ours, null
  br i1 %gone, label %done, label %dropped
dropped:
  call void %drop(ptr %ours)
  br label %done
done:
  ret ptr %made
failed:
  ret ptr null
}}

define ptr @pool_empty(i32 %rank, ptr %shape, ptr %dtype, i32 %order) {{
  %made = call ptr @array(i64 0, i32 %rank, ptr %shape, ptr %dtype, i32 %order)
  ret ptr %made
}}

define ptr @pool_zeros(i32 %rank, ptr %shape, ptr %dtype, i32 %order) {{
  %made = call ptr @array(i64 1, i32 %rank, ptr %shape, ptr %dtype, i32 %order)
  ret ptr %made
}}
"""


class _Allocator(ctypes.Structure):
    """``PyDataMemAllocator``."""

    _fields_ = tuple((n, ctypes.c_void_p) for n in ("self", "malloc", "calloc", "realloc", "free"))


class _Handler(ctypes.Structure):
    """``PyDataMem_Handler``."""

    _fields_ = (
        ("name", ctypes.c_char * 127),
        ("version", ctypes.c_uint8),
        ("allocator", _Allocator),
    )


_EMPTY, _ZEROS, _SET_HANDLER = 184, 183, 304
"""Places in the table of functions that NumPy exports."""

_once = threading.Lock()
_found: dict[str, int] = {}


def _symbols() -> dict[str, int]:
    """The addresses of the functions and variables of the text above, made ready at first use."""
    with _once:
        if not _found:
            _found.update(_make())
        return _found


def _make() -> dict[str, int]:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    linux = sys.platform == "linux"
    text = _TEXT.replace(
        "DECLARE_ADVISE", "declare i32 @madvise(ptr, i64, i32)" if linux else ""
    ).replace("ADVISE", "call i32 @madvise(ptr %address, i64 %rest, i32 14)" if linux else "")
    machine = llvm.Target.from_triple(llvm.get_process_triple()).create_target_machine(
        opt=0, codemodel="jitdefault", jit=True
    )
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(text), machine)
    engine.finalize_object()
    functions = ("malloc", "free", "calloc", "empty", "zeros")
    found = {name: engine.get_function_address(f"pool_{name}") for name in functions}
    found["trim"] = engine.get_function_address("trim")
    for name in ("lock", "limit", "held", "blocks", "table"):
        found[f"@{name}"] = engine.get_global_value_address(name)
    _handle(engine, found["@table"])
    ctypes.c_int64.from_address(found["@limit"]).value = _limit_at_start()
    # Arrays are freed after everything else is gone: the code stays to the end.
    engine.detach()
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=lambda: _forget_if_locked(found))
    return found


def _handle(engine: Any, table: int) -> None:
    """Make the data handler, and fill the table of what `empty` and `zeros` call."""
    try:
        numpy = importlib.import_module("numpy._core.multiarray")
    except ImportError:  # NumPy 1
        numpy = importlib.import_module("numpy.core.multiarray")
    python = ctypes.pythonapi
    python.PyCapsule_GetPointer.restype = ctypes.c_void_p
    python.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
    exported = ctypes.cast(
        python.PyCapsule_GetPointer(numpy._ARRAY_API, None), ctypes.POINTER(ctypes.c_void_p)
    )
    names = ("malloc", "calloc", "realloc", "free")
    handler = _Handler(b"tracegrad", 1)
    handler.allocator = _Allocator(
        None, *(engine.get_function_address(f"numpy_{name}") for name in names)
    )
    python.PyCapsule_New.restype = ctypes.py_object
    python.PyCapsule_New.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    capsule = python.PyCapsule_New(ctypes.addressof(handler), b"mem_handler", None)
    for kept in (handler, capsule):  # arrays need them to the end
        python.Py_IncRef(ctypes.py_object(kept))
    release = ctypes.cast(python.Py_DecRef, ctypes.c_void_p).value
    slots = (ctypes.c_void_p * 5).from_address(table)
    slots[:] = [
        exported[_EMPTY],
        exported[_ZEROS],
        exported[_SET_HANDLER],
        id(capsule),
        release,
    ]


def _forget_if_locked(found: dict[str, int]) -> None:
    """In a forked child: what another thread of the parent was changing is not looked at again."""
    lock = ctypes.c_int32.from_address(found["@lock"])
    if lock.value:
        (ctypes.c_void_p * BLOCKS).from_address(found["@blocks"])[:] = [None] * BLOCKS
        ctypes.c_int64.from_address(found["@held"]).value = 0
        lock.value = 0


def _limit_at_start() -> int:
    try:
        return max(0, int(os.environ.get("TRACEGRAD_POOL_BYTES", _DEFAULT)))
    except ValueError:
        return _DEFAULT


def address(name: str) -> int:
    """The address of ``malloc``, ``calloc``, ``free``, ``empty`` or ``zeros``, for machine code.

    The first three are those of C, of memory aligned for vectors; the last two are
    ``PyArray_Empty`` and ``PyArray_Zeros``.
    """
    return _symbols()[name]


def register() -> None:
    """Tell LLVM where ``tracegrad_pool_malloc`` and ``tracegrad_pool_free`` are."""
    import llvmlite.binding as llvm

    for name in ("malloc", "free"):
        llvm.add_symbol(f"tracegrad_pool_{name}", address(name))


def held() -> int:
    """The bytes that wait in the pool."""
    if not _found:
        return 0
    return ctypes.c_int64.from_address(_symbols()["@held"]).value


def limit(nbytes: int | None = None) -> int:
    """How many bytes may wait in the pool; with ``nbytes``, from now on. 0 turns the pool off.

    At the start it is ``TRACEGRAD_POOL_BYTES`` of the environment, or 256 MiB.
    """
    place = ctypes.c_int64.from_address(_symbols()["@limit"])
    if nbytes is not None:
        if nbytes < 0:
            raise ValueError("a pool can't hold less than nothing")
        place.value = nbytes
        _trim(nbytes)
    return place.value


def clear() -> None:
    """Give all that waits in the pool back to the system."""
    if _found:
        _trim(0)


def _trim(most: int) -> None:
    kind = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_bool)
    kind(_symbols()["trim"])(most, False)
