"""The way of a function after its transform: optimise, schedule, print, compile.

Each stage is kept on the `Kernel`, so that a user can look at any of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from numba.core.errors import NumbaError

from tracegrad.backend.compile import (
    CompiledKernel,
    KernelOptions,
    array_type,
    compile_kernel,
    scalar_type,
)
from tracegrad.backend.emit import emit_array_form, emit_loop_form, entry_name
from tracegrad.errors import Place, UnsupportedError
from tracegrad.ir.core import Function, Value
from tracegrad.passes import finish
from tracegrad.schedule import schedule


@dataclass(eq=False)
class Kernel:
    """A compiled function with the stages it went through.

    Attributes
    ----------
    array_form : the optimised function that was scheduled.
    loop_form : what the scheduler made of it.
    source : the Python source printed from ``loop_form``: the very text that Numba compiled.
    """

    array_form: Function
    loop_form: Function
    source: str
    compiled: CompiledKernel

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


def compile_function(function: Function, options: KernelOptions) -> Kernel:
    """Optimise, schedule, print and compile a function in array form."""
    array_form = finish(function)
    loop_form = schedule(array_form)
    source = emit_loop_form(loop_form)
    signature = [kernel_type(p) for p in loop_form.params]
    try:
        compiled = compile_kernel(source, entry_name(loop_form), signature, options=options)
    except NumbaError as error:
        raise UnsupportedError(
            f"the kernel of {function.name} holds a form that Numba can't compile: "
            f"{_first_words(error)}",
            way_out="inspect the traced function for whole-array operations such as np.sort along "
            "an axis, and write that part otherwise",
            place=None
            if function.origin is None
            else Place(function.origin.file, function.origin.line, function.origin.function),
        ) from error
    return Kernel(array_form, loop_form, source, compiled)


def _first_words(error: NumbaError) -> str:
    """The line of a Numba error that names the cause, shortened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = next((line for line in lines if line.startswith("No implementation")), lines[0])
    return named if len(named) < 120 else named[:117] + "..."


def kernel_type(param: Value) -> Any:
    """The Numba type of a kernel parameter: a scalar, or a C-contiguous array."""
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
