"""The arrays that Python sees: made anew, or, where small, used again once nobody holds them.

Making an array takes NumPy 50 ns, and freeing it 25: more than a small network's whole gradient.
So each place of a kernel that makes a small array keeps the last one that it made. When the next
call comes there and finds that nobody else holds it (no reference but ours, no weak one, its
shape, flags, dtype and memory as they were), nobody can tell it from a new one, and it is one.

What is looked at stands at these places of an ndarray: the count of references 0 (of which the
lower half is enough, and has this meaning in all versions of CPython), data 16, rank 24, shape 32,
base 48, dtype 56, flags 64, weak references 72. All is done while the interpreter's lock is held.
"""

from __future__ import annotations

import sys
import sysconfig

MOST_KEPT = 4096
"""Bytes of an array that is kept."""

_FLAGS = 0x0001 | 0x0004 | 0x0100 | 0x0400
"""C-contiguous, owner of its memory, aligned, writeable."""

KEEPS = sys.byteorder == "little" and not sysconfig.get_config_var("Py_GIL_DISABLED")

SLOT = "internal global { ptr, ptr } zeroinitializer"
"""The array that is kept and the dtype that it was made with."""

NDARRAY = f"""define internal ptr @ndarray(
    i32 %rank, ptr %shape, i32 %number, ptr %make, ptr %slot, i64 %item, i64 %zero
) noinline {{
  %wide = zext i32 %rank to i64
  %never = icmp eq ptr %slot, null
  br i1 %never, label %fresh, label %look
look:
  %kept = load ptr, ptr %slot
  %empty = icmp eq ptr %kept, null
  br i1 %empty, label %fresh, label %held
held:
  %count = load i32, ptr %kept
  %alone = icmp eq i32 %count, 1
  br i1 %alone, label %compare, label %fresh
compare:
  %place.rank = getelementptr i8, ptr %kept, i64 24
  %its.rank = load i32, ptr %place.rank
  %same.rank = icmp eq i32 %its.rank, %rank
  %place.base = getelementptr i8, ptr %kept, i64 48
  %its.base = load ptr, ptr %place.base
  %no.base = icmp eq ptr %its.base, null
  %place.descr = getelementptr i8, ptr %kept, i64 56
  %its.descr = load ptr, ptr %place.descr
  %place.made = getelementptr i8, ptr %slot, i64 8
  %made.descr = load ptr, ptr %place.made
  %same.descr = icmp eq ptr %its.descr, %made.descr
  %place.flags = getelementptr i8, ptr %kept, i64 64
  %its.flags = load i32, ptr %place.flags
  %wanted.flags = and i32 %its.flags, {_FLAGS}
  %same.flags = icmp eq i32 %wanted.flags, {_FLAGS}
  %place.weak = getelementptr i8, ptr %kept, i64 72
  %its.weak = load ptr, ptr %place.weak
  %no.weak = icmp eq ptr %its.weak, null
  %same.1 = and i1 %same.rank, %no.base
  %same.2 = and i1 %same.descr, %same.flags
  %same.3 = and i1 %same.1, %no.weak
  %same = and i1 %same.2, %same.3
  %place.shape = getelementptr i8, ptr %kept, i64 32
  %its.shape = load ptr, ptr %place.shape
  br i1 %same, label %sizes, label %fresh
sizes:
  %k = phi i64 [ 0, %compare ], [ %next, %equal ]
  %bytes = phi i64 [ %item, %compare ], [ %more, %equal ]
  %all = icmp eq i64 %k, %wide
  br i1 %all, label %again, label %size
size:
  %place.one = getelementptr i64, ptr %its.shape, i64 %k
  %one = load i64, ptr %place.one
  %place.other = getelementptr i64, ptr %shape, i64 %k
  %other = load i64, ptr %place.other
  %fits = icmp eq i64 %one, %other
  br i1 %fits, label %equal, label %fresh
equal:
  %next = add i64 %k, 1
  %more = mul i64 %bytes, %one
  br label %sizes
again:
  store i32 2, ptr %kept
  %clear = icmp ne i64 %zero, 0
  br i1 %clear, label %zeros, label %give
zeros:
  %place.data = getelementptr i8, ptr %kept, i64 16
  %data = load ptr, ptr %place.data
  call void @llvm.memset.p0.i64(ptr %data, i8 0, i64 %bytes, i1 false)
  br label %give
give:
  ret ptr %kept
fresh:
  %find = load ptr, ptr getelementptr ([0 x ptr], ptr @addresses, i64 0, i64 DESCR)
  %descr = call ptr %find(i32 %number)
  %array = call ptr %make(i32 %rank, ptr %shape, ptr %descr, i32 0)
  %failed = icmp eq ptr %array, null
  %done = or i1 %failed, %never
  br i1 %done, label %new, label %measure
measure:
  %n = phi i64 [ 0, %fresh ], [ %n.next, %step ]
  %total = phi i64 [ %item, %fresh ], [ %total.next, %step ]
  %whole = icmp eq i64 %n, %wide
  br i1 %whole, label %weigh, label %step
step:
  %place.n = getelementptr i64, ptr %shape, i64 %n
  %dim = load i64, ptr %place.n
  %total.next = mul i64 %total, %dim
  %n.next = add i64 %n, 1
  br label %measure
weigh:
  %small = icmp ule i64 %total, {MOST_KEPT}
  br i1 %small, label %keep, label %new
keep:
  %old = load ptr, ptr %slot
  %references = load i32, ptr %array
  %plus = add i32 %references, 1
  store i32 %plus, ptr %array
  store ptr %array, ptr %slot
  %place.own = getelementptr i8, ptr %array, i64 56
  %own.descr = load ptr, ptr %place.own
  %place.slot = getelementptr i8, ptr %slot, i64 8
  store ptr %own.descr, ptr %place.slot
  %none = icmp eq ptr %old, null
  br i1 %none, label %new, label %drop
drop:
  %release = load ptr, ptr getelementptr ([0 x ptr], ptr @addresses, i64 0, i64 DECREF)
  call void %release(ptr %old)
  br label %new
new:
  ret ptr %array
}}"""
