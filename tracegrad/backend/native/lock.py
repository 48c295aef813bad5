"""The interpreter's lock: held from start to end, given up while a kernel computes, or not there.

With ``nogil`` a loop at the top of a kernel begins without the lock, and what needs Python (making
an array that it will see, a result, an exception) takes it again. So arrays made one after the
other take it once, and a kernel without loops never gives it up.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from tracegrad.backend.native.types import Unsupported
from tracegrad.backend.native.writer import Writer

Mode = Literal["held", "given up", "absent"]
"""``absent``: the function may run on a thread that Python does not know."""

_TAKE = """define internal void @take_lock(ptr %slot, ptr %restore) {
  %state = load ptr, ptr %slot
  %held = icmp eq ptr %state, null
  br i1 %held, label %done, label %take
take:
  store ptr null, ptr %slot
  call void %restore(ptr %state)
  br label %done
done:
  ret void
}"""

_LEAVE = """define internal void @leave_lock(ptr %slot, ptr %save) {
  %state = load ptr, ptr %slot
  %held = icmp eq ptr %state, null
  br i1 %held, label %leave, label %done
leave:
  %now = call ptr %save()
  store ptr %now, ptr %slot
  br label %done
done:
  ret void
}"""


class Lock:
    """Writes who has the lock.

    Parameters
    ----------
    mode : whether a function holds it, gives it up, or does without: a part, or a helper.
    """

    def __init__(self, writer: Writer, mode: Mode) -> None:
        self.writer = writer
        self.mode = mode
        # The thread's state while the lock is given up, else null.
        self._slot = writer.slot("ptr", "null") if mode == "given up" else ""

    def take(self) -> None:
        """Hold it from here: what follows needs Python."""
        if self.mode == "absent":
            raise Unsupported("Python in a function that has not got its lock")
        if self._slot:
            self.writer.module.define("take_lock", _TAKE)
            restore = self.writer.address("PyEval_RestoreThread")
            self.writer.do(f"call void @take_lock(ptr {self._slot}, ptr {restore})")

    def leave(self) -> None:
        """Do without it from here, if it is given up at all."""
        if self._slot:
            self.writer.module.define("leave_lock", _LEAVE)
            save = self.writer.address("PyEval_SaveThread")
            self.writer.do(f"call void @leave_lock(ptr {self._slot}, ptr {save})")

    @contextmanager
    def without(self) -> Iterator[None]:
        """What is written in the block does without it in any case."""
        if self.mode != "held":
            self.leave()
            yield
            return
        state = self.writer.call("PyEval_SaveThread", "ptr")
        yield
        self.writer.call("PyEval_RestoreThread", "void", f"ptr {state}")
