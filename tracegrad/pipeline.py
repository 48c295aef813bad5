"""The way of a function after its transform: optimise, schedule, print, compile.

Each stage is kept on the `Kernel`, so that a user can look at any of them.
"""

from __future__ import annotations

import ast
import gc
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

from tracegrad.backend.compile import (
    CompiledKernel,
    KernelOptions,
    array_type,
    compile_kernel,
    scalar_type,
    who_refuses,
)
from tracegrad.backend.emit import emit_array_form, emit_loop_form, entry_name
from tracegrad.errors import Place, UnsupportedError
from tracegrad.ir.core import Function, Value
from tracegrad.ir.sizes import type_symbols
from tracegrad.ir.verifier import verify
from tracegrad.passes import finish
from tracegrad.schedule import schedule
from tracegrad.schedule.given import Given, give
from tracegrad.transforms.custom import without_rules

Stage = TypeVar("Stage")
Something = TypeVar("Something")


@contextmanager
def without_collections() -> Iterator[None]:
    """No garbage collections in the block, unless another thread asks for them.

    What the stages make lives until the kernel is there; looking through it again and again, and
    through all of Numba's objects, is a tenth of their time.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@dataclass(eq=False)
class Kernel:
    """A function with the stages it goes through; each is made when somebody asks for it.

    Attributes
    ----------
    array_form : the optimised function that is scheduled.
    loop_form : what the scheduler makes of it.
    source : the Python source printed from ``loop_form``: the very text that Numba compiles.
    compiled : the machine code.
    """

    array_form: Function
    options: KernelOptions
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _given: dict[bool, GivenKernel] = field(default_factory=dict)

    @property
    def loop_form(self) -> Function:
        return self._once("_loop_form", self._schedule)

    @property
    def source(self) -> str:
        return self._once("_source", lambda: emit_loop_form(self.loop_form))

    @property
    def compiled(self) -> CompiledKernel:
        return self._once("_compiled", lambda: self._compile(self.loop_form, self.source))

    def given(self, wanted: Collection[int], scratch: bool) -> GivenKernel:
        """The kernel that writes to arrays of the caller; see `tracegrad.schedule.given`.

        Parameters
        ----------
        wanted : the positions of the results that it writes; the same at every call.
        scratch : whether it is given its scratch arrays and tapes too, not its results alone.
        """
        with self._lock:
            if scratch not in self._given and not scratch:
                # The kernel itself takes arrays, for results that are made once and at the top.
                results = self._takes()
                known = self.loop_form.size_sources().keys()
                arrays = {
                    r
                    for r in wanted
                    if (value := self.loop_form.results[r]).rank
                    and known >= set(type_symbols(value.type))
                }
                if len(results) == len(self.loop_form.results) and all(results[r] for r in arrays):
                    first = len(self.loop_form.params)
                    places = tuple(
                        first + r if r in arrays else None
                        for r in range(len(self.loop_form.results))
                    )
                    form = Given(self.loop_form, places, ())
                    self._given[scratch] = GivenKernel(form, self.source, self.compiled, True)
            if scratch not in self._given:
                form = give(self.loop_form, wanted, scratch=scratch)
                source = emit_loop_form(form.function, form.outputs, form.scratch)
                compiled = self._compile(form.function, source)
                self._given[scratch] = GivenKernel(form, source, compiled)
            return self._given[scratch]

    def _takes(self) -> tuple[str | None, ...]:
        """For each result, whether the plain kernel writes to an array that it is given for it."""
        compiled = self.compiled
        if not compiled.native:
            return ()
        from tracegrad.backend.native.giving import givable

        functions = ast.parse(compiled.source).body
        entry = [
            f for f in functions if isinstance(f, ast.FunctionDef) and f.name == compiled.entry
        ]
        return givable(entry[0])

    def renew_lock(self) -> None:
        """For a forked child: a thread of the parent may have held the lock."""
        self._lock = threading.RLock()

    def _schedule(self) -> Function:
        free = not self.options.fastmath.isdisjoint(("reassoc", "fast"))
        return schedule(self.array_form, self.options.parallel, reassociate=free)

    def _once(self, name: str, make: Callable[[], Stage]) -> Stage:
        # Two threads may want the same stage at the same time: one makes it.
        made: Stage | None = self.__dict__.get(name)
        if made is None:
            with self._lock:
                made = self.__dict__.get(name)
                if made is None:
                    made = self.__dict__[name] = make()
        return made

    def _compile(self, function: Function, source: str) -> CompiledKernel:
        signature = [kernel_type(p) for p in function.params]
        try:
            return compile_kernel(source, entry_name(function), signature, options=self.options)
        except Exception as error:
            compiler = who_refuses(error)
            if compiler is None:
                raise
            raise UnsupportedError(
                f"the kernel of {function.name} holds a form that {compiler} can't compile: "
                f"{_first_words(error)}",
                way_out="inspect the traced function for whole-array operations such as np.sort "
                "along an axis, and write that part otherwise",
                place=None
                if function.origin is None
                else Place(function.origin.file, function.origin.line, function.origin.function),
            ) from error

    @property
    def dispatcher(self) -> Any:
        """The Numba dispatcher, callable from a user's own ``@njit`` code."""
        return self.compiled.dispatcher

    @property
    def entry_point(self) -> Callable[..., Any]:
        """The compiled function itself; it checks neither rank nor layout of its arguments."""
        return self.compiled.entry_point

    @cached_property
    def guards(self) -> list[str]:
        """What the trace assumed about sizes, in words."""
        return guard_texts(self.array_form)

    def array_source(self) -> str:
        """The same computation as NumPy statements, runnable without Numba."""
        return emit_array_form(self.array_form)

    def llvm(self) -> str:
        return self.compiled.llvm()


@dataclass(frozen=True, eq=False)
class GivenKernel:
    """A kernel that writes its results, and what it computes on the way, to given arrays.

    Attributes
    ----------
    form : its loop form, and what it is given.
    plain : whether it is the kernel of a call without ``out``, which takes an object for each of
        its results, None for those that it makes, and returns them all.
    """

    form: Given
    source: str
    compiled: CompiledKernel
    plain: bool = False

    def passed(self, results: Mapping[int, Something], nothing: Something) -> list[Something]:
        """What follows the arguments, from what is given for some results."""
        if not self.form.outputs:
            return []
        return [
            nothing if at is None else results[r]
            for r, at in enumerate(self.form.results)
            if self.plain or at is not None
        ]

    @property
    def returned(self) -> list[int]:
        """The results that it returns, in order."""
        return [r for r, at in enumerate(self.form.results) if self.plain or at is None]


def prepare_function(function: Function, options: KernelOptions) -> Kernel:
    """Optimise a function in array form; the further stages are made when they are needed.

    What a transform or a pass got wrong is an error here: printed, a size that is not known in a
    loop would be that of another loop, without a word. It takes a thousandth of the way.
    """
    return Kernel(verify(finish(without_rules(function)), form="array"), options)


def compile_function(function: Function, options: KernelOptions) -> Kernel:
    """Optimise, schedule, print and compile a function in array form."""
    kernel = prepare_function(function, options)
    _ = kernel.compiled
    return kernel


def _first_words(error: Exception) -> str:
    """The line of a Numba error that names the cause, shortened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = next((line for line in lines if line.startswith("No implementation")), lines[0])
    return named if len(named) < 120 else named[:117] + "..."


def kernel_type(param: Value) -> Any:
    """The type of a kernel parameter: a scalar, or a C-contiguous array."""
    dtype = param.dtype.numpy
    return array_type(dtype, param.rank) if param.rank else scalar_type(dtype)


def guard_texts(function: Function) -> list[str]:
    """Guards of a function and what its parameter types state about sizes."""
    from tracegrad.ir.types import is_symbol

    sources = function.size_sources()
    found = []
    for index, param in enumerate(function.params):
        for axis, dim in enumerate(param.shape):
            name = is_symbol(dim)
            if name is None or sources.get(name) != (index, axis):
                shown = dim
                if name is not None and sources[name][1] is not None:
                    owner, owner_axis = sources[name]
                    shown = f"{function.params[owner].hint}.shape[{owner_axis}]"  # type: ignore[assignment]  # text for the message
                found.append(f"{param.hint}.shape[{axis}] == {shown}")
    return found + [str(g) for g in function.guards]
