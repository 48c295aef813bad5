"""Text of LLVM modules and functions."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator, Sequence
from typing import Any

from tracegrad.backend.native.types import Scalar

FIRST_NOTE = 3
"""How many kinds of metadata the entry has."""


FEW_TRIPS = ('!{!"llvm.loop.vectorize.enable", i1 false}', '!{!"llvm.loop.unroll.disable"}')
"""No vector code, no trips beside each other."""

ALONE = ('!{!"llvm.loop.interleave.count", i32 1}',)
"""Lanes of one vector at a time: functions have enough to do in each, and twice the code takes
LLVM a third more time."""


class Module:
    """What a module holds besides its entry: declarations, helpers, texts and addresses.

    Addresses of this process (of functions of the interpreter, of types) are never part of the
    code, which is kept on disk: code reads them from a table that is filled when it is loaded.
    """

    def __init__(self) -> None:
        self.declarations: dict[str, str] = {}
        self.definitions: dict[str, str] = {}
        self.addresses: list[str] = []
        self.helpers: dict[Any, Any] = {}
        """What is written of helpers; see `functions`."""
        self.neighbours = False
        """Whether LLVM is to make vectors of neighbours in straight text; see `neighbours`."""
        self.notes: list[str] = []
        self._texts: dict[str, str] = {}

    def declare(self, name: str, result: str, operands: str, attributes: str = "") -> str:
        """The name of a function that is known to LLVM or libm."""
        if name not in self.definitions:
            self.declarations[name] = f"declare {result} @{name}({operands}) {attributes}"
        return f"@{name}"

    def define(self, name: str, text: str) -> str:
        self.definitions.setdefault(name, text)
        return f"@{name}"

    def address(self, name: str) -> int:
        """The place of an address in the table; `externals.address` knows the names."""
        if name not in self.addresses:
            self.addresses.append(name)
        return self.addresses.index(name)

    def note(self, text: str) -> str:
        """Metadata of one more kind; the first numbers are the entry's."""
        self.notes.append(text)
        return f"!{FIRST_NOTE + len(self.notes) - 1}"

    def message(self, text: str) -> str:
        """A C string."""
        if text not in self._texts:
            self._texts[text] = f"@text{len(self._texts)}"
        return self._texts[text]

    def text(self) -> str:
        parts = []
        for text, name in self._texts.items():
            data = text.encode() + b"\0"
            shown = "".join(
                chr(b) if 32 <= b < 127 and b not in b'"\\' else f"\\{b:02X}" for b in data
            )
            parts.append(f'{name} = private constant [{len(data)} x i8] c"{shown}"')
        parts.append(f"@addresses = global [{len(self.addresses) or 1} x ptr] zeroinitializer")
        parts += self.declarations.values()
        parts += self.definitions.values()
        return "\n".join(parts)


class Writer:
    """The instructions of one function, block by block.

    Variables are slots in memory of the first block; LLVM's first pass makes values of them.
    """

    def __init__(self, module: Module) -> None:
        self.module = module
        self.slots: list[str] = []
        self.lines: list[str] = []
        self.block = "start"
        self.open = True
        self._count = 0

    def fresh(self) -> str:
        self._count += 1
        return f"%t{self._count}"

    def op(self, instruction: str) -> str:
        """Append an instruction; the name of what it gives."""
        self.reachable()
        self._count += 1
        name = f"%t{self._count}"
        self.lines.append(f"  {name} = {instruction}")
        return name

    def do(self, instruction: str) -> None:
        self.reachable()
        self.lines.append(f"  {instruction}")

    def reachable(self) -> str:
        """Make sure of a block to append to; its label."""
        if not self.open:  # after a raise: LLVM removes what is never reached
            self.start(self.label("never"))
        return self.block

    def label(self, stem: str) -> str:
        self._count += 1
        return f"{stem}{self._count}"

    def start(self, label: str) -> None:
        """Begin a block, into which the one before falls through."""
        if self.open:
            self.lines.append(f"  br label %{label}")
        self.lines.append(f"{label}:")
        self.block, self.open = label, True

    def jump(self, label: str) -> None:
        if self.open:
            self.lines.append(f"  br label %{label}")
            self.open = False

    def branch(self, condition: str, yes: str, no: str, *, rare: bool = False) -> None:
        """``rare``: the first way is hardly ever taken."""
        self.reachable()
        weights = ", !prof !0" if rare else ""
        self.lines.append(f"  br i1 {condition}, label %{yes}, label %{no}{weights}")
        self.open = False

    def jump_back(self, label: str, wishes: Sequence[str]) -> None:
        """To the head of a loop of which LLVM is told something."""
        self.reachable()
        notes = self.module.notes
        for wish in wishes:
            if wish not in notes:
                self.module.note(wish)
        told = ", ".join(f"!{FIRST_NOTE + notes.index(wish)}" for wish in wishes)
        own = f"!{FIRST_NOTE + len(notes)}"
        self.module.note(f"distinct !{{{own}, {told}}}")
        self.lines.append(f"  br label %{label}, !llvm.loop {own}")
        self.open = False

    @contextlib.contextmanager
    def loop(self, stop: str, start: str = "0", wishes: Sequence[str] = ()) -> Iterator[str]:
        """What is written within is done for each index from ``start`` on below ``stop``.

        Parameters
        ----------
        wishes : what LLVM is told of the loop, such as `FEW_TRIPS`.
        """
        head, body, latch, end = (self.label(n) for n in ("head", "body", "latch", "end"))
        before = self.reachable()
        self.start(head)
        following = self.fresh()
        index = self.op(f"phi i64 [ {start}, %{before} ], [ {following}, %{latch} ]")
        self.branch(self.op(f"icmp slt i64 {index}, {stop}"), body, end)
        self.start(body)
        yield index
        self.start(latch)
        self.do(f"{following} = add nsw i64 {index}, 1")
        if wishes:
            self.jump_back(head, wishes)
        else:
            self.jump(head)
        self.start(end)

    def slot(self, type: str, first: str | None = None) -> str:
        """A variable of the function; ``first`` is its value at the start."""
        self._count += 1
        name = f"%s{self._count}"
        self.slots.append(f"  {name} = alloca {type}")
        if first is not None:
            self.slots.append(f"  store {type} {first}, ptr {name}")
        return name

    def address(self, name: str) -> str:
        """The address ``name``, read from the table."""
        number = self.module.address(name)
        size = "[0 x ptr]"
        place = f"getelementptr ({size}, ptr @addresses, i64 0, i64 {number})"
        return self.op(f"load ptr, ptr {place}, !invariant.load !1")

    def call(self, name: str, result: str, *operands: str, attributes: str = "") -> str:
        """Call a function of the table. The result's name; "" for none."""
        function = self.address(name)
        text = f"call {attributes}{result} {function}({', '.join(operands)})"
        if result == "void":
            self.do(text)
            return ""
        return self.op(text)


def real(value: float, type: Scalar) -> str:
    """A floating-point constant."""
    if type.size == 4:
        value = struct.unpack("<f", struct.pack("<f", value))[0]
    return f"0x{struct.unpack('<Q', struct.pack('<d', value))[0]:016X}"
