"""Arrays: where elements are, and who keeps memory alive.

An array that may be returned is an ndarray from the start. All other memory is scratch: allocated
without Python, aligned for vectors, counted in a header before its first element. Both kinds are
counted by the variables that hold them, so that a loop may exchange buffers, let one grow or make a
new one each trip, and every way out of the kernel frees what is left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tracegrad.backend.native import results
from tracegrad.backend.native.apart import Scopes
from tracegrad.backend.native.giving import MISMATCH, Given
from tracegrad.backend.native.lock import Lock
from tracegrad.backend.native.scalars import Scalars
from tracegrad.backend.native.types import BOOL, I64, Array, Number, Scalar, Unsupported, View
from tracegrad.backend.native.writer import Writer

Fail = Callable[[str, "str | None"], None]

TOO_BIG = (
    "array is too big; `arr.size * arr.dtype.itemsize` is larger than the maximum possible size."
)
NO_MEMORY = "Allocation failed (probably too large)."

_HEADER = 64
"""Bytes before the first element of scratch memory: its count, what to free, its own bytes."""

_CAPACITY = _HEADER - 24
"""How many bytes before the first element its own bytes stand."""

_STACK = 4096
"""Bytes of scratch memory that a kernel has on the stack."""

# The count, the block, and the function that frees it stand before the first element. What fits is
# on the stack, of which the first word of ``%stack`` says how much is in use; it is not given back.
_SCRATCH = f"""define internal void @nothing(ptr %block) nounwind {{
  ret void
}}

define internal noalias ptr @scratch(
    i64 %size, i64 %zero, ptr %calloc, ptr %malloc, ptr %free, ptr %stack
) noinline nounwind {{
  %total = add i64 %size, {2 * _HEADER}
  %fresh = icmp eq i64 %zero, 0
  %without = icmp eq ptr %stack, null
  br i1 %without, label %heap, label %look
look:
  %used = load i64, ptr %stack
  %end = add i64 %used, %total
  %fits = icmp ule i64 %end, {_STACK}
  br i1 %fits, label %take, label %heap
take:
  store i64 %end, ptr %stack
  %piece = getelementptr i8, ptr %stack, i64 %used
  br i1 %fresh, label %done, label %clear
clear:
  call void @llvm.memset.p0.i64(ptr %piece, i8 0, i64 %total, i1 false)
  br label %done
heap:
  br i1 %fresh, label %plain, label %cleared
plain:
  %one = call ptr %malloc(i64 %total)
  br label %got
cleared:
  %two = call ptr %calloc(i64 1, i64 %total)
  br label %got
got:
  %block = phi ptr [ %one, %plain ], [ %two, %cleared ]
  %none = icmp eq ptr %block, null
  br i1 %none, label %failed, label %done
failed:
  ret ptr null
done:
  %raw = phi ptr [ %block, %got ], [ %piece, %take ], [ %piece, %clear ]
  %how = phi ptr [ %free, %got ], [ @nothing, %take ], [ @nothing, %clear ]
  %number = ptrtoint ptr %raw to i64
  %past = add i64 %number, {2 * _HEADER - 1}
  %even = and i64 %past, -{_HEADER}
  %skip = sub i64 %even, %number
  %data = getelementptr i8, ptr %raw, i64 %skip
  %count = getelementptr i8, ptr %data, i64 -{_HEADER}
  store i64 1, ptr %count
  %origin = getelementptr i8, ptr %data, i64 -{_HEADER - 8}
  store ptr %raw, ptr %origin
  %freeing = getelementptr i8, ptr %data, i64 -{_HEADER - 16}
  store ptr %how, ptr %freeing
  %capacity = getelementptr i8, ptr %data, i64 -{_CAPACITY}
  store i64 %size, ptr %capacity
  ret ptr %data
}}"""

_RELEASE = f"""define internal void @release(ptr %data) noinline nounwind {{
  %none = icmp eq ptr %data, null
  br i1 %none, label %done, label %held
held:
  %place = getelementptr i8, ptr %data, i64 -{_HEADER}
  %count = load i64, ptr %place
  %left = sub i64 %count, 1
  store i64 %left, ptr %place
  %last = icmp eq i64 %left, 0
  br i1 %last, label %free, label %done
free:
  %origin = getelementptr i8, ptr %data, i64 -{_HEADER - 8}
  %raw = load ptr, ptr %origin
  %freeing = getelementptr i8, ptr %data, i64 -{_HEADER - 16}
  %function = load ptr, ptr %freeing
  call void %function(ptr %raw)
  br label %done
done:
  ret void
}}"""

_RETAIN = f"""define internal void @retain(ptr %data) noinline nounwind {{
  %none = icmp eq ptr %data, null
  br i1 %none, label %done, label %held
held:
  %place = getelementptr i8, ptr %data, i64 -{_HEADER}
  %count = load i64, ptr %place
  %more = add i64 %count, 1
  store i64 %more, ptr %place
  br label %done
done:
  ret void
}}"""

_PLAIN = ("PyMem_RawCalloc", "PyMem_RawMalloc", "PyMem_RawFree")
_POOLED = ("pool.calloc", "pool.malloc", "pool.free")


class Arrays:
    """Writes what is done to arrays.

    Parameters
    ----------
    lock : is taken before Python does anything.
    fail : ends the kernel with an exception; without a name, with the one that is already set.
    checked : whether an index that is out of bounds is an exception.
    """

    def __init__(
        self, writer: Writer, scalars: Scalars, lock: Lock, fail: Fail, *, checked: bool = False
    ) -> None:
        self.writer = writer
        self.scalars = scalars
        self.lock = lock
        self.fail = fail
        self.checked = checked
        self.unnamed: list[tuple[str, bool]] = []
        """Where arrays are held that no name holds; for each, whether Python sees it."""
        self._stack = "null"
        self.scopes = Scopes(writer.module)
        self.given: Given | None = None
        """The results that a call may give arrays for, if it may."""

    def use_stack(self) -> None:
        """Let small scratch arrays stand on the stack: none may outlive the function."""
        self._stack = self.writer.slot(f"[{_STACK // 8} x i64]")
        self.writer.slots.append(f"  store i64 8, ptr {self._stack}")

    # --- elements

    def size(self, view: View) -> str:
        """How many elements there are."""
        total = "1"
        for dim in view.shape:
            total = dim if total == "1" else self.writer.op(f"mul nsw i64 {total}, {dim}")
        return total

    def bytes(self, view: View) -> str:
        return self.writer.op(f"mul nsw i64 {self.size(view)}, {view.type.element.size}")

    def place(self, view: View, indices: Sequence[Number]) -> str:
        """The address of an element (of a row, where indices are left out); negative indices count
        from the end. Whether they are in bounds is checked if that was asked for."""
        if view.column_major:
            raise Unsupported("an element of a transposed array")
        op = self.writer.op
        offset = "0"
        for axis, dim in enumerate(view.shape):
            if axis < len(indices):
                index = self._from_start(indices[axis], dim)
            else:
                index = "0"
            if offset == "0":
                offset = index
                continue
            offset = op(f"mul nsw i64 {offset}, {dim}")
            if index != "0":
                offset = op(f"add nsw i64 {offset}, {index}")
        if offset == "0":
            return view.data
        kind = view.type.element.memory
        return op(f"getelementptr inbounds {kind}, ptr {view.data}, i64 {offset}")

    def _from_start(self, index: Number, dim: str) -> str:
        if index.type.is_float or index.type.kind == "u":
            raise Unsupported(f"an index of type {index.type.name}")
        index = self.scalars.cast(index, I64)
        op = self.writer.op
        found = index.text
        if not index.natural:
            moved = op(f"add i64 {index.text}, {dim}")
            below = op(f"icmp slt i64 {index.text}, 0")
            found = op(f"select i1 {below}, i64 {moved}, i64 {index.text}")
        if self.checked:
            # A negative one is larger than all as a number without a sign.
            outside = op(f"icmp uge i64 {found}, {dim}")
            self.refuse(outside, "IndexError", "index is out of bounds")
        return found

    def load(self, element: Scalar, place: str, scope: str = "") -> Number:
        found = self.writer.op(f"load {element.memory}, ptr {place}, align {element.size}{scope}")
        if element.is_bool:
            return Number(BOOL, self.writer.op(f"icmp ne i8 {found}, 0"))
        return Number(element, found)

    def store(self, value: Number, element: Scalar, place: str, scope: str = "") -> None:
        text = self.scalars.cast(value, element).text
        if element.is_bool:
            text = self.writer.op(f"zext i1 {text} to i8")
        memory = f"{element.memory} {text}, ptr {place}, align {element.size}{scope}"
        self.writer.do(f"store {memory}")

    # --- memory

    def make(
        self,
        type: Array,
        shape: Sequence[str],
        *,
        zero: bool = False,
        shared: bool = False,
        large: bool = False,
        name: str = "",
    ) -> View:
        """A new array, held by whoever takes it.

        Parameters
        ----------
        shared : whether Python will see it.
        large : whether its memory comes from the pool if it is large.
        name : of the variable, if it is one that a call may give the array for.
        """
        writer = self.writer
        if shared:
            return self._ndarray(type, shape, zero, large, name)
        writer.module.define("scratch", _SCRATCH)
        self._check(type, shape)
        size = writer.op(f"mul i64 {self._product(shape)}, {type.element.size}")
        names = _POOLED if large else _PLAIN
        functions = ", ".join(f"ptr {writer.address(name)}" for name in names)
        writer.module.declare("llvm.memset.p0.i64", "void", "ptr, i8, i64, i1")
        given = f"i64 {size}, i64 {int(zero)}, {functions}, ptr {self._stack}"
        data = writer.op(f"call noalias ptr @scratch({given})")
        self.refuse(writer.op(f"icmp eq ptr {data}, null"), "MemoryError", NO_MEMORY)
        return View(type, data, tuple(shape), data)

    def _product(self, shape: Sequence[str]) -> str:
        total = "1"
        for dim in shape:
            total = dim if total == "1" else self.writer.op(f"mul i64 {total}, {dim}")
        return total

    def _check(self, type: Array, shape: Sequence[str]) -> None:
        """Refuse negative sizes, and more bytes than there can be."""
        op = self.writer.op
        wrong, total = "", str(type.element.size)
        overflow = self.writer.module.declare(
            "llvm.smul.with.overflow.i64", "{ i64, i1 }", "i64, i64"
        )
        over = ""
        for dim in shape:
            if dim.isdigit() and total.isdigit() and int(dim) * int(total) < 1 << 40:
                total = str(int(dim) * int(total))
                continue
            below = op(f"icmp slt i64 {dim}, 0")
            wrong = op(f"or i1 {wrong}, {below}") if wrong else below
            pair = op(f"call {{ i64, i1 }} {overflow}(i64 {total}, i64 {dim})")
            total = op(f"extractvalue {{ i64, i1 }} {pair}, 0")
            more = op(f"extractvalue {{ i64, i1 }} {pair}, 1")
            over = op(f"or i1 {over}, {more}") if over else more
        if wrong:
            self.refuse(wrong, "ValueError", "negative dimensions not allowed")
            least = op(f"icmp ugt i64 {total}, {(1 << 62) - 1}")
            self.refuse(op(f"or i1 {over}, {least}"), "ValueError", TOO_BIG)

    def refuse(self, condition: str, kind: str, message: str | None) -> None:
        failed, fine = self.writer.label("failed"), self.writer.label("fine")
        self.writer.branch(condition, failed, fine, rare=True)
        self.writer.start(failed)
        self.fail(kind, message)
        self.writer.start(fine)

    def _ndarray(
        self, type: Array, shape: Sequence[str], zero: bool, large: bool, name: str
    ) -> View:
        self.lock.take()
        names = {"DESCR": "PyArray_DescrFromType", "DECREF": "Py_DecRef"}
        self._define("ndarray", results.NDARRAY, **names)
        writer = self.writer
        writer.module.declare("llvm.memset.p0.i64", "void", "ptr, i8, i64, i1")
        slot = "null"
        if results.KEEPS and not large:
            kept = f"kept{len(writer.module.definitions)}"
            slot = writer.module.define(kept, f"@{kept} = {results.SLOT}")
        where = writer.slot(f"[{max(1, type.rank)} x i64]")
        for axis, dim in enumerate(shape):
            place = writer.op(f"getelementptr i64, ptr {where}, i64 {axis}")
            writer.do(f"store i64 {dim}, ptr {place}")
        maker = writer.address(
            ("pool.zeros" if zero else "pool.empty")
            if large
            else ("PyArray_Zeros" if zero else "PyArray_Empty")
        )
        given = f"i32 {type.rank}, ptr {where}, i32 {type.dtype.num}, ptr {maker}, ptr {slot}"
        given += f", i64 {type.element.size}, i64 {int(zero)}"
        if self.given is not None and name in self.given.objects:
            array = self._given_or(type, shape, zero, name, where, f"call ptr @ndarray({given})")
        else:
            array = writer.op(f"call ptr @ndarray({given})")
        self.refuse(writer.op(f"icmp eq ptr {array}, null"), "", None)
        data = writer.op(f"load ptr, ptr {writer.op(f'getelementptr i8, ptr {array}, i64 16')}")
        return View(type, data, tuple(shape), array, True, scope=self.scopes.new())

    def _given_or(
        self, type: Array, shape: Sequence[str], zero: bool, name: str, where: str, make: str
    ) -> str:
        """The array that the call gave for ``name``, once more held; a new one if it gave none."""
        writer, op = self.writer, self.writer.op
        assert self.given is not None
        found = op(f"load ptr, ptr {self.given.objects[name]}")
        taken, fresh, end = (writer.label(n) for n in ("taken", "fresh", "array"))
        writer.branch(op(f"icmp eq ptr {found}, null"), fresh, taken)
        writer.start(taken)
        size = op(f"mul i64 {self._product(shape)}, {type.element.size}")
        fits = self.given.fits(found, type, where, size)
        self.refuse(op(f"xor i1 {fits}, true"), "TypeError", MISMATCH)
        if zero:
            data = op(f"load ptr, ptr {op(f'getelementptr i8, ptr {found}, i64 16')}")
            clear = f"ptr {data}, i8 0, i64 {size}, i1 false"
            writer.do(f"call void @llvm.memset.p0.i64({clear})")
        self.retain(found, True)
        before = writer.block
        writer.jump(end)
        writer.open = False
        writer.start(fresh)
        made = op(make)
        after = writer.block
        writer.start(end)
        return op(f"phi ptr [ {found}, %{before} ], [ {made}, %{after} ]")

    def _define(self, name: str, text: str, **addresses: str) -> None:
        for key, address in addresses.items():
            text = text.replace(f"i64 {key})", f"i64 {self.writer.module.address(address)})")
        self.writer.module.define(name, text)

    def retain(self, owner: str, shared: bool) -> None:
        """One more holds it."""
        if owner == "null":
            return
        if shared:
            self._count("python_retain", "Py_IncRef", owner)
        else:
            self.writer.module.define("retain", _RETAIN)
            self.writer.do(f"call void @retain(ptr {owner})")

    def release(self, owner: str, shared: bool) -> None:
        """One less holds it; the last one frees it."""
        if owner == "null":
            return
        if shared:
            self._count("python_release", "Py_DecRef", owner)
        else:
            self.writer.module.define("release", _RELEASE)
            self.writer.do(f"call void @release(ptr {owner})")

    def _count(self, name: str, function: str, owner: str) -> None:
        """Call Python's own ``function`` for counting, unless there is no ``owner``."""
        self.lock.take()
        self._define(name, _COUNT.replace("NAME", name), COUNT=function)
        self.writer.do(f"call void @{name}(ptr {owner})")

    def hold(self, view: View) -> str:
        """Keep an array that no name holds, until it is let go; every way out of the kernel
        releases it. The place that holds it."""
        slot = self.writer.slot("ptr", "null")
        self.writer.do(f"store ptr {view.owner}, ptr {slot}")
        self.unnamed.append((slot, view.shared))
        return slot

    def let_go(self, slot: str, *, release: bool = True) -> None:
        """Release what is held; without ``release`` somebody else has taken it over."""
        if release:
            shared = dict(self.unnamed)[slot]
            self.release(self.writer.op(f"load ptr, ptr {slot}"), shared)
        self.writer.do(f"store ptr null, ptr {slot}")

    # --- whole arrays

    def copy(self, source: View, *, shared: bool) -> View:
        made = self.make(source.type, source.shape, zero=False, shared=shared)
        self.move(made.data, source.data, self.bytes(source))
        return made

    def move(self, target: str, source: str, size: str) -> None:
        name = "llvm.memcpy.p0.p0.i64"
        function = self.writer.module.declare(name, "void", "ptr, ptr, i64, i1")
        self.writer.do(f"call void {function}(ptr {target}, ptr {source}, i64 {size}, i1 false)")

    def clear(self, view: View) -> None:
        function = self.writer.module.declare("llvm.memset.p0.i64", "void", "ptr, i8, i64, i1")
        size = self.bytes(view)
        self.writer.do(f"call void {function}(ptr {view.data}, i8 0, i64 {size}, i1 false)")

    def ensure(self, view: View, length: Number, shared: bool) -> View:
        """As `tracegrad.backend.runtime.ensure`: the array, or a longer one that begins with it."""
        writer, op = self.writer, self.writer.op
        before = view.shape[0]
        enough, grow, end = (writer.label(n) for n in ("enough", "grow", "ensured"))
        writer.branch(op(f"icmp sge i64 {before}, {length.text}"), enough, grow)
        writer.start(enough)
        self.retain(view.owner, shared)
        kept = writer.block
        writer.jump(end)
        writer.start(grow)
        twice = op(f"mul i64 {before}, 2")
        larger = self.scalars.extremum("max", length, Number(I64, twice)).text
        longer = self._grown(view, larger, shared)
        made = writer.block
        writer.jump(end)
        writer.start(end)
        data = op(f"phi ptr [ {view.data}, %{kept} ], [ {longer.data}, %{made} ]")
        size = op(f"phi i64 [ {before}, %{kept} ], [ {larger}, %{made} ]")
        owner = op(f"phi ptr [ {view.owner}, %{kept} ], [ {longer.owner}, %{made} ]")
        return View(view.type, data, (size, *view.shape[1:]), owner, shared)

    def _grown(self, view: View, larger: str, shared: bool) -> View:
        """An array of more rows, the others zero: in the memory that it has, where that is enough.

        Else in new memory, as much as the last call needed here: a call like the one before
        grows once, and what it grows to waits in the pool.
        """
        if shared:
            longer = self.make(view.type, (larger, *view.shape[1:]), zero=True, shared=True)
            self.move(longer.data, view.data, self.bytes(view))
            return longer
        writer, op = self.writer, self.writer.op
        grown = View(view.type, view.data, (larger, *view.shape[1:]), view.owner)
        self._check(view.type, grown.shape)
        old, new = self.bytes(view), self.bytes(grown)
        here, elsewhere, end = (writer.label(n) for n in ("here", "elsewhere", "grown"))
        before = f"@rows.{len(writer.module.definitions)}"
        writer.module.define(before[1:], f"{before} = internal global i64 0")
        last = op(f"load atomic i64, ptr {before} monotonic, align 8")
        # Memory of ours has a header before its first element; what a caller gave has none.
        none = writer.slot("i64", "0")
        writer.do(f"store i64 0, ptr {none}")
        ours = op(f"icmp eq ptr {view.owner}, {view.data}")
        header = op(f"getelementptr i8, ptr {view.data}, i64 -{_CAPACITY}")
        capacity = op(f"load i64, ptr {op(f'select i1 {ours}, ptr {header}, ptr {none}')}")
        writer.branch(op(f"icmp ule i64 {new}, {capacity}"), here, elsewhere)
        writer.start(here)
        self.retain(view.owner, False)
        kept = writer.block
        writer.jump(end)
        writer.start(elsewhere)
        room = self.scalars.extremum("max", Number(I64, larger), Number(I64, last)).text
        made = self.make(view.type, (room, *view.shape[1:]), large=True)
        self.move(made.data, view.data, old)
        moved = writer.block
        writer.jump(end)
        writer.start(end)
        data = op(f"phi ptr [ {view.data}, %{kept} ], [ {made.data}, %{moved} ]")
        owner = op(f"phi ptr [ {view.owner}, %{kept} ], [ {made.owner}, %{moved} ]")
        fewer = op(f"sub i64 {last}, {op(f'lshr i64 {last}, 3')}")
        first = op(f"icmp eq ptr {data}, {view.data}")
        least = op(f"select i1 {first}, i64 {last}, i64 {fewer}")
        kept_rows = self.scalars.extremum("max", Number(I64, larger), Number(I64, least)).text
        writer.do(f"store atomic i64 {kept_rows}, ptr {before} monotonic, align 8")
        function = writer.module.declare("llvm.memset.p0.i64", "void", "ptr, i8, i64, i1")
        rest = op(f"getelementptr i8, ptr {data}, i64 {old}")
        count = op(f"sub i64 {new}, {old}")
        writer.do(f"call void {function}(ptr {rest}, i8 0, i64 {count}, i1 false)")
        return View(view.type, data, grown.shape, owner)

    def positions(self, view: View, shared: bool) -> View:
        """``np.flatnonzero`` of a vector: counted first, then written down."""
        if view.type.rank != 1:
            raise Unsupported("np.flatnonzero of a matrix")
        count = self._each_true(view, None)
        made = self.make(Array(I64, 1), (count,), zero=False, shared=shared)
        self._each_true(view, made)
        return made

    def _each_true(self, view: View, made: View | None) -> str:
        """Go through a vector; how many of it are true. Their places go to ``made``."""
        writer, op = self.writer, self.writer.op
        head, body, end = (writer.label(n) for n in ("head", "body", "counted"))
        before = writer.reachable()
        writer.start(head)
        following, more = writer.fresh(), writer.fresh()
        index = op(f"phi i64 [ 0, %{before} ], [ {following}, %{body} ]")
        count = op(f"phi i64 [ 0, %{before} ], [ {more}, %{body} ]")
        writer.branch(op(f"icmp slt i64 {index}, {view.shape[0]}"), body, end)
        writer.start(body)
        element = view.type.element
        place = op(f"getelementptr inbounds {element.memory}, ptr {view.data}, i64 {index}")
        true = self.scalars.truth(self.load(element, place)).text
        if made is not None:
            # The place after the last one is never written, so the last write is kept back.
            kept = op(f"getelementptr inbounds i64, ptr {made.data}, i64 {count}")
            aside = writer.slot("i64")
            writer.do(f"store i64 {index}, ptr {op(f'select i1 {true}, ptr {kept}, ptr {aside}')}")
        one = op(f"zext i1 {true} to i64")
        writer.do(f"{more} = add nuw nsw i64 {count}, {one}")
        writer.do(f"{following} = add nuw nsw i64 {index}, 1")
        writer.jump(head)
        writer.start(end)
        return count

    def overlap(self, written: Sequence[View], read: Sequence[View]) -> Number:
        """As `tracegrad.backend.memory.overlap`: whether what is written is elsewhere, too."""
        op = self.writer.op
        ends = []
        for view in (*written, *read):
            start = op(f"ptrtoint ptr {view.data} to i64")
            ends.append((start, op(f"add i64 {start}, {self.bytes(view)}")))
        found = "false"
        for number, (start, stop) in enumerate(ends[: len(written)]):
            for other_start, other_stop in ends[number + 1 :]:
                # An empty array shares nothing.
                low = op(f"icmp ult i64 {start}, {other_stop}")
                high = op(f"icmp ult i64 {other_start}, {stop}")
                some = op(f"icmp ne i64 {start}, {stop}")
                others = op(f"icmp ne i64 {other_start}, {other_stop}")
                both = op(f"and i1 {op(f'and i1 {low}, {high}')}, {op(f'and i1 {some}, {others}')}")
                found = op(f"or i1 {found}, {both}")
        return Number(BOOL, found)


_COUNT = """define internal void @NAME(ptr %object) {
  %none = icmp eq ptr %object, null
  br i1 %none, label %done, label %held
held:
  %function = load ptr, ptr getelementptr ([0 x ptr], ptr @addresses, i64 0, i64 COUNT)
  call void %function(ptr %object)
  br label %done
done:
  ret void
}"""
