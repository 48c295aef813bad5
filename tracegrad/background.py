"""Kernels that are compiled in a thread, while the array form answers calls as plain NumPy.

The thread is no daemon: an interpreter that exits waits for the kernel that is being compiled, and
for no further one. A forked child has no such thread; it goes on with the array form.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tracegrad.backend.compile import run_plain
from tracegrad.backend.emit import entry_name
from tracegrad.ir.core import Function
from tracegrad.pipeline import Kernel

_turn = threading.Lock()
"""Compilers work for one thread at a time: those that wait can still give up."""

_alive: weakref.WeakSet[Pending] = weakref.WeakSet()


def _after_fork() -> None:
    """A forked child does not wait for locks that threads of its parent held."""
    global _turn
    _turn = threading.Lock()
    for pending in list(_alive):
        pending.kernel.renew_lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class Pending:
    """A kernel that is being compiled, and what is called until then.

    Attributes
    ----------
    error : what the compilation raised, if it did.
    """

    def __init__(self, kernel: Kernel, done: Callable[[], None]) -> None:
        self.error: Exception | None = None
        self.kernel = kernel
        self._done = done
        self._results = result_makers(kernel.array_form)
        self._plain = run_plain(kernel.array_source(), entry_name(kernel.array_form))
        name = f"tracegrad compiles {kernel.array_form.name}"
        self._thread = threading.Thread(target=self._work, name=name)
        _alive.add(self)

    def start(self) -> None:
        """Begin to compile; ``done`` is called in the thread when the kernel is there."""
        self._thread.start()

    def _work(self) -> None:
        with _turn:
            if not threading.main_thread().is_alive():
                return  # the interpreter exits
            try:
                _ = self.kernel.compiled
            except Exception as error:
                self.error = error
                return
        self._done()

    def wait(self) -> None:
        """Until the kernel is there, or can't be made."""
        self._thread.join()

    def __call__(self, *arguments: Any) -> Any:
        """What the kernel would return, computed by NumPy; or its error."""
        if self.error is not None:
            raise self.error
        raw = self._plain(*arguments)
        if len(self._results) == 1:
            return self._results[0](raw)
        return tuple(make(value) for make, value in zip(self._results, raw or (), strict=True))


def result_makers(function: Function) -> Sequence[Callable[[Any], Any]]:
    """What brings each result of an array program into the form that a kernel gives it."""
    return [_array(r.dtype.numpy) if r.rank else _number(r.dtype.numpy) for r in function.results]


def _array(dtype: np.dtype) -> Callable[[Any], Any]:
    return lambda value: np.ascontiguousarray(value, dtype)


def _number(dtype: np.dtype) -> Callable[[Any], Any]:
    kind = {"f": float, "b": bool}.get(dtype.kind, int)
    # Through the dtype: a float32 is rounded as one.
    return lambda value: kind(dtype.type(value))
