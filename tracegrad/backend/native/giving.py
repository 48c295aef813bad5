"""Results that the caller may give a kernel, so that it writes to them instead of making arrays.

A kernel takes, after its arguments, as many objects as it has results, or none: an array for a
result that it is to write to, None where it makes one. Which results may be given shows in the
text (`givable`): those whose array is made once, at the top, and is that result alone. What is
given must fit as an argument must, and share no memory with an argument or another result;
else there is a TypeError before it is written to.
"""

from __future__ import annotations

import ast
from collections import Counter

import numpy as np

from tracegrad.backend.native.types import Array
from tracegrad.backend.native.writer import Writer

MISMATCH = "No matching definition for these argument types"
"""What is said of arguments, and of what is given for results, that a kernel is not made for."""

MAKERS = ("empty", "zeros", "large_empty")
"""What functions that make arrays are called in the text."""


def givable(function: ast.FunctionDef) -> tuple[str | None, ...]:
    """For each result of a printed function, the name of its array; None if it can't be given."""
    returns = [node for node in ast.walk(function) if isinstance(node, ast.Return)]
    last = function.body[-1]
    if len(returns) != 1 or not isinstance(last, ast.Return) or last.value is None:
        return ()
    results = last.value.elts if isinstance(last.value, ast.Tuple) else [last.value]
    stored = Counter(
        node.id
        for node in ast.walk(function)
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)
    )
    returned = Counter(node.id for node in results if isinstance(node, ast.Name))
    made = {
        node.targets[0].id
        for node in function.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Call)
        and _name(node.value.func) in MAKERS
    }
    return tuple(
        node.id
        if isinstance(node, ast.Name)
        and node.id in made
        and stored[node.id] == returned[node.id] == 1
        else None
        for node in results
    )


def type_numbers(dtype: np.dtype) -> list[int]:
    """The numbers by which NumPy knows a dtype: int64 may have two."""
    return [np.dtype(code).num for code in np.typecodes["All"] if np.dtype(code) == dtype]


def _name(function: ast.expr) -> str | None:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", None)


# The ranges of memory of what is known so far: their number, then where each begins and ends.
_APART = """define internal i1 @apart(ptr %ranges, ptr %array, i64 %bytes, i1 %look) noinline {
start:
  %place = getelementptr i8, ptr %array, i64 16
  %data = load ptr, ptr %place
  %first = ptrtoint ptr %data to i64
  %end = add i64 %first, %bytes
  %count = load i64, ptr %ranges
  %none = icmp eq i64 %bytes, 0
  br i1 %none, label %apart, label %loop
loop:
  %k = phi i64 [ 0, %start ], [ %next, %step ]
  %all = icmp eq i64 %k, %count
  br i1 %all, label %add, label %compare
compare:
  %twice = shl i64 %k, 1
  %at = add i64 %twice, 1
  %place.low = getelementptr i64, ptr %ranges, i64 %at
  %low = load i64, ptr %place.low
  %place.high = getelementptr i64, ptr %place.low, i64 1
  %high = load i64, ptr %place.high
  %below = icmp ult i64 %first, %high
  %above = icmp ult i64 %low, %end
  %both = and i1 %below, %above
  %shared = and i1 %both, %look
  br i1 %shared, label %overlap, label %step
step:
  %next = add i64 %k, 1
  br label %loop
overlap:
  ret i1 false
add:
  %twice.count = shl i64 %count, 1
  %new = add i64 %twice.count, 1
  %place.new = getelementptr i64, ptr %ranges, i64 %new
  store i64 %first, ptr %place.new
  %place.end = getelementptr i64, ptr %place.new, i64 1
  store i64 %end, ptr %place.end
  %more = add i64 %count, 1
  store i64 %more, ptr %ranges
  br label %apart
apart:
  ret i1 true
}"""

# Whether an object is an array of a dtype (by one of two numbers) and a shape, that may be written.
_FITS = """define internal i1 @fits(
    ptr %array, ptr %kind, i32 %rank, ptr %shape, i32 %number, i32 %other
) noinline {
start:
  %place.kind = getelementptr i8, ptr %array, i64 8
  %its.kind = load ptr, ptr %place.kind
  %is.array = icmp eq ptr %its.kind, %kind
  br i1 %is.array, label %look, label %no
look:
  %place.rank = getelementptr i8, ptr %array, i64 24
  %its.rank = load i32, ptr %place.rank
  %same.rank = icmp eq i32 %its.rank, %rank
  %place.flags = getelementptr i8, ptr %array, i64 64
  %flags = load i32, ptr %place.flags
  %wanted = and i32 %flags, 1281
  %right = icmp eq i32 %wanted, 1281
  %place.descr = getelementptr i8, ptr %array, i64 56
  %descr = load ptr, ptr %place.descr
  %place.number = getelementptr i8, ptr %descr, i64 28
  %its.number = load i32, ptr %place.number
  %one = icmp eq i32 %its.number, %number
  %two = icmp eq i32 %its.number, %other
  %same.number = or i1 %one, %two
  %place.order = getelementptr i8, ptr %descr, i64 26
  %order = load i8, ptr %place.order
  %native = icmp eq i8 %order, 61
  %without = icmp eq i8 %order, 124
  %ordered = or i1 %native, %without
  %both.1 = and i1 %same.rank, %right
  %both.2 = and i1 %same.number, %ordered
  %all = and i1 %both.1, %both.2
  %place.shape = getelementptr i8, ptr %array, i64 32
  %its.shape = load ptr, ptr %place.shape
  %wide = zext i32 %rank to i64
  br i1 %all, label %sizes, label %no
sizes:
  %k = phi i64 [ 0, %look ], [ %next, %size ]
  %done = icmp eq i64 %k, %wide
  br i1 %done, label %yes, label %size
size:
  %place.one = getelementptr i64, ptr %its.shape, i64 %k
  %size.one = load i64, ptr %place.one
  %place.two = getelementptr i64, ptr %shape, i64 %k
  %size.two = load i64, ptr %place.two
  %same = icmp eq i64 %size.one, %size.two
  %next = add i64 %k, 1
  br i1 %same, label %sizes, label %no
yes:
  ret i1 true
no:
  ret i1 false
}"""


class Given:
    """Writes what becomes of the arrays that a call gives.

    Attributes
    ----------
    objects : for each name of a result that may be given, where the object is: null if none is.
    """

    def __init__(self, writer: Writer, names: tuple[str | None, ...], arguments: int) -> None:
        self.writer = writer
        self.names = names if any(names) else ()
        self.objects: dict[str, str] = {}
        if self.names:
            self.ranges = writer.slot(f"[{1 + 2 * (arguments + len(names))} x i64]")
            self.objects = {name: writer.slot("ptr", "null") for name in names if name}

    def read(self, first: int, mismatch: str, arrays: list[tuple[str, str]]) -> None:
        """Read what is given after the first arguments, if anything is.

        Parameters
        ----------
        mismatch : the block to go to where an object is given for a result that can't be.
        arrays : the arguments that are arrays, and the bytes of each.
        """
        writer, op = self.writer, self.writer.op
        if not self.names:
            return
        some, none = writer.label("given"), writer.label("arguments")
        writer.branch(op(f"icmp eq i64 %count, {first}"), none, some)
        writer.start(some)
        writer.do(f"store i64 0, ptr {self.ranges}")
        nothing = writer.address("Py_None")
        for number, name in enumerate(self.names):
            place = op(f"getelementptr ptr, ptr %arguments, i64 {first + number}")
            found = op(f"load ptr, ptr {place}")
            absent = op(f"icmp eq ptr {found}, {nothing}")
            if name is None:
                fine = writer.label("fine")
                writer.branch(absent, fine, mismatch)
                writer.start(fine)
            else:
                object = op(f"select i1 {absent}, ptr null, ptr {found}")
                writer.do(f"store ptr {object}, ptr {self.objects[name]}")
        for array, size in arrays:
            self._apart(array, size, "false")
        writer.start(none)

    def _apart(self, array: str, size: str, look: str) -> str:
        self.writer.module.define("apart", _APART)
        given = f"ptr {self.ranges}, ptr {array}, i64 {size}, i1 {look}"
        return self.writer.op(f"call i1 @apart({given})")

    def fits(self, array: str, type: Array, shape: str, size: str) -> str:
        """Whether a given array may be the one of a type and shape; it counts as known then."""
        writer, op = self.writer, self.writer.op
        writer.module.define("fits", _FITS)
        kind, numbers = writer.address("PyArray_Type"), type_numbers(type.dtype)
        looked = f"ptr {array}, ptr {kind}, i32 {type.rank}, ptr {shape}"
        fits = op(f"call i1 @fits({looked}, i32 {numbers[0]}, i32 {numbers[-1]})")
        asked, end = writer.label("asked"), writer.label("looked")
        before = writer.block
        writer.branch(fits, asked, end)
        writer.start(asked)
        apart = self._apart(array, size, "true")
        after = writer.block
        writer.start(end)
        return op(f"phi i1 [ false, %{before} ], [ {apart}, %{after} ]")
