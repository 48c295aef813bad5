"""Source text to machine code.

Our own compiler (`tracegrad.backend.native`) takes what it knows, which is nearly all that is
printed; Numba takes the rest, and makes the dispatchers that users' own jitted code calls. The
environment variable ``TRACEGRAD_COMPILER`` chooses: ``numba`` for everything by Numba, ``native``
for nothing: what our compiler doesn't know is an error that says what it is. Numba is imported
when it is needed.

A generated text becomes a module whose name carries the kernel's content hash. The name reaches
the LLVM symbols, so that two kernels never share one, in this process or a sibling's
(numba#10486), while the function in the text keeps the name a person would give it.

The same text also runs as plain Python (`run_plain`): tests compare the two.
"""

from __future__ import annotations

import importlib
import logging
import math
import os
import sys
import threading
import types
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tracegrad.backend import cache, modules
from tracegrad.backend.signatures import ArgumentType, array_type, parse_type, scalar_type

__all__ = [
    "COMPILER_VARIABLE",
    "DEFAULT_FASTMATH",
    "CompiledKernel",
    "KernelOptions",
    "array_type",
    "compile_kernel",
    "run_plain",
    "scalar_type",
]

if TYPE_CHECKING:
    from tracegrad.backend.native.types import Settings

logger = logging.getLogger(__name__)

#: Environment variable that chooses the compiler: "auto" (or unset), "native" or "numba".
COMPILER_VARIABLE = "TRACEGRAD_COMPILER"

#: As fast as Numba's full fastmath, yet NaN and infinity keep their meaning: without ``nnan`` and
#: ``ninf`` LLVM may not assume them away, and ``afn`` would trade accuracy.
DEFAULT_FASTMATH = frozenset({"reassoc", "contract", "arcp", "nsz"})

_FASTMATH_FLAGS = frozenset({"fast", "nnan", "ninf", "nsz", "arcp", "contract", "afn", "reassoc"})


@dataclass(frozen=True)
class KernelOptions:
    """How a kernel is compiled. Different options make a different kernel.

    Parameters
    ----------
    fastmath : LLVM's floating-point freedoms, by name.
    parallel : whether loops with independent trips are split into chunks for threads.
    boundscheck : whether every index is checked, besides the checks in the text.
    nogil : whether the kernel releases the interpreter lock while it runs.
    cache : whether source and machine code are kept on disk.
    error_model : "numpy" (a division by zero is inf or nan) or "python" (it raises).
    """

    fastmath: frozenset[str] = DEFAULT_FASTMATH
    parallel: bool = False
    boundscheck: bool = False
    nogil: bool = False
    cache: bool = True
    error_model: Literal["numpy", "python"] = "numpy"

    def __post_init__(self) -> None:
        object.__setattr__(self, "fastmath", frozenset(self.fastmath))
        if unknown := self.fastmath - _FASTMATH_FLAGS:
            raise ValueError(f"unknown fastmath flags {sorted(unknown)}")
        if self.error_model not in ("numpy", "python"):
            raise ValueError(f"error_model is 'numpy' or 'python', not {self.error_model!r}")

    def key(self) -> str:
        """A text that is the same for equal options, in every process."""
        chosen = [(each.name, getattr(self, each.name)) for each in fields(self)]
        # A set prints in an order that differs between processes. Whether the code is kept on
        # disk doesn't change the code.
        return repr(
            [
                (name, sorted(value) if isinstance(value, frozenset) else value)
                for name, value in chosen
                if name != "cache"
            ]
        )

    def jit_arguments(self) -> dict[str, Any]:
        """The keyword arguments of ``numba.njit``."""
        return {
            "fastmath": set(self.fastmath) or False,
            "boundscheck": self.boundscheck,
            "nogil": self.nogil,
            "error_model": self.error_model,
        }


@dataclass(frozen=True, eq=False)
class CompiledKernel:
    """A kernel for one signature.

    Parameters
    ----------
    source : the text that runs.
    entry : the name of its function.
    name : the content hash that names its files and its module.
    path : the source file, or None where nothing could be written.
    types : of the arguments.
    entry_point : the compiled function itself. Numba's takes positional arguments and checks
        neither rank nor layout nor dtype: whoever calls it has done so. Ours checks them.
    from_disk : whether the machine code was loaded rather than compiled.
    native : whether it is our own compiler's.
    """

    source: str
    entry: str
    options: KernelOptions
    name: str
    path: Path | None
    types: tuple[ArgumentType, ...]
    entry_point: Callable[..., Any]
    from_disk: bool
    native: bool = False

    def __call__(self, *arguments: Any) -> Any:
        return self.entry_point(*arguments) if self.native else self.dispatcher(*arguments)

    @cached_property
    def dispatcher(self) -> Any:
        """The Numba dispatcher: callable from Python and from jitted code.

        It compiles for further types when called with them. Of a kernel that is not Numba's it
        is made when it is first asked for.
        """
        from tracegrad.backend.by_numba import dispatcher_for

        return dispatcher_for(self.source, self.entry, self.signature, self.options)

    @property
    def signature(self) -> tuple[Any, ...]:
        """Numba types of the arguments."""
        return tuple(each.numba for each in self.types)

    @property
    def checked(self) -> Callable[..., Any]:
        """The compiled function for arguments that nobody looked at: others are a TypeError.

        It takes exactly the types of the signature. Of Numba's it is the dispatcher, which from
        now on compiles nothing further behind the caller's back.
        """
        if self.native:
            return self.entry_point
        self.dispatcher.disable_compile()
        call: Callable[..., Any] = self.dispatcher
        return call

    @property
    def result_type(self) -> Any:
        """The Numba type of what the kernel returns."""
        return self.dispatcher.overloads[self.signature].signature.return_type

    def llvm(self) -> str:
        """The optimised LLVM text."""
        if self.native:
            from tracegrad.backend.native.kernel import optimised_text

            return optimised_text(self.source, self.entry, *self._native_arguments())
        # Machine code read back from disk comes without its LLVM text.
        return str(self._with_text().inspect_llvm(self.signature))

    def assembly(self) -> str:
        """The machine code as assembly text."""
        if self.native:
            from tracegrad.backend.native.kernel import assembly_text

            return assembly_text(self.source, self.entry, *self._native_arguments())
        return str(self._with_text().inspect_asm(self.signature))

    def _native_arguments(self) -> tuple[list[tuple[np.dtype, int]], Settings]:
        from tracegrad.backend.native.types import Settings

        options = self.options
        settings = Settings(tuple(options.fastmath), options.nogil, options.boundscheck)
        return [_plain_type(each) for each in self.types], settings

    def _with_text(self) -> Any:
        if not self.from_disk:
            return self.dispatcher
        import numba

        again = numba.njit(**self.options.jit_arguments())(self.dispatcher.py_func)
        again.compile(self.signature)
        return again


# --- compilation ------------------------------------------------------------------------------

#: Guards the table below; never held while something is compiled.
_lock = threading.Lock()
_kernels: weakref.WeakValueDictionary[tuple[str, str], CompiledKernel] = (
    weakref.WeakValueDictionary()
)


def _renew_lock() -> None:
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    # Another thread of the parent may hold the lock at the moment of a fork.
    os.register_at_fork(after_in_child=_renew_lock)


def compile_kernel(
    source: str,
    entry: str,
    signature: Iterable[ArgumentType | str],
    *,
    options: KernelOptions | None = None,
) -> CompiledKernel:
    """Compile the function ``entry`` of a generated text for one signature.

    Parameters
    ----------
    source : the text of a module; its own imports are all that it needs.
    entry : the function in it.
    signature : types of the arguments, or the text of one, as ``"float64[::1]"``.
    options : see `KernelOptions`.

    Notes
    -----
    Safe under threads. The machine code is kept on disk and shared between processes; where that
    is impossible, the kernel is compiled in memory and nobody is told but the debug log.
    """
    options = options or KernelOptions()
    types_ = tuple(parse_type(each) if isinstance(each, str) else each for each in signature)
    digest = cache.content_hash(source, options.key())
    wanted = _compiler(options)
    key = (f"{digest} {options.cache} {wanted}", " ".join(map(str, types_)))
    with _lock:
        known = _kernels.get(key)
        if known is not None:
            return known
    kernel = None
    if wanted != "numba":
        kernel = _native_kernel(source, entry, digest, types_, options, strict=wanted == "native")
    if kernel is None:
        kernel = _numba_kernel(source, entry, types_, options)
    with _lock:
        return _kernels.setdefault(key, kernel)


def _compiler(options: KernelOptions) -> str:
    """Whose code these options ask for."""
    chosen = os.environ.get(COMPILER_VARIABLE) or "auto"
    if chosen not in ("auto", "native", "numba"):
        raise ValueError(f"{COMPILER_VARIABLE} is 'auto', 'native' or 'numba', not {chosen!r}")
    return chosen if options.error_model == "numpy" else "numba"


def who_refuses(error: Exception) -> str | None:
    """The compiler that says by an exception that it doesn't know something in the text."""
    from tracegrad.backend.native.types import Unsupported

    if isinstance(error, Unsupported):
        return "our compiler"
    errors: Any = sys.modules.get("numba.core.errors")
    return "Numba" if errors is not None and isinstance(error, errors.NumbaError) else None


def _native_kernel(
    source: str,
    entry: str,
    digest: str,
    types_: tuple[ArgumentType, ...],
    options: KernelOptions,
    *,
    strict: bool,
) -> CompiledKernel | None:
    """The kernel by our own compiler; None, or an exception, if it doesn't know all of the text."""
    from tracegrad.backend.native.kernel import Unsupported, compile_native

    path, filename = modules.store(source, entry, digest, options.cache)
    try:
        signature = [_plain_type(each) for each in types_]
        stem = None if path is None else path.with_suffix("")
        made = compile_native(
            source,
            entry,
            signature,
            sorted(options.fastmath),
            stem,
            filename,
            nogil=options.nogil,
            boundscheck=options.boundscheck,
        )
    except Unsupported as reason:
        if strict:
            raise
        logger.debug("%s is left to Numba: %s", entry, reason)
        return None
    modules.show_in_tracebacks(source, filename)
    return CompiledKernel(
        source=source,
        entry=entry,
        options=options,
        name=digest,
        path=path,
        types=types_,
        entry_point=made.call,
        from_disk=made.from_disk,
        native=True,
    )


def _numba_kernel(
    source: str, entry: str, types_: tuple[ArgumentType, ...], options: KernelOptions
) -> CompiledKernel:
    from tracegrad.backend.by_numba import digest_of, dispatcher_for

    signature = tuple(each.numba for each in types_)
    dispatcher = dispatcher_for(source, entry, signature, options)
    compiled = dispatcher.overloads[signature]
    filename = dispatcher.py_func.__code__.co_filename
    kernel = CompiledKernel(
        source=source,
        entry=entry,
        options=options,
        name=digest_of(source, options),
        path=None if filename.startswith("<") else Path(filename),
        types=types_,
        entry_point=compiled.entry_point,
        # A compile result keeps its timings only in the process that compiled it.
        from_disk=compiled.metadata is None,
    )
    kernel.__dict__["dispatcher"] = dispatcher
    return kernel


def _plain_type(type_: ArgumentType) -> tuple[np.dtype, int]:
    """The dtype and the rank of an argument of our own compiler's."""
    from tracegrad.backend.native.types import Unsupported

    if type_.rank == 0 or type_.layout != "C" or type_.dtype.kind not in "fiub":
        raise Unsupported(f"arguments of type {type_}")
    return type_.dtype, type_.rank or 0


# --- plain Python -----------------------------------------------------------------------------


def run_plain(source: str, entry: str) -> Callable[..., Any]:
    """The function ``entry`` of a generated text as plain Python, with nothing compiled.

    Scalar maths follows IEEE rules as the compiled kernel does, not those of the ``math`` module:
    ``log(0)`` is ``-inf``, and a float argument divided by zero gives an infinity.
    """
    module = modules.load(source, f"tracegrad_plain_{entry}", f"<tracegrad {entry}, plain>")
    namespace = module.__dict__
    numba: Any = sys.modules.get("numba")
    for name, value in list(namespace.items()):
        if value is math:
            namespace[name] = _IEEE_MATH
        elif numba is not None and value is numba.prange:
            namespace[name] = range
        elif hasattr(value, "py_func"):
            namespace[name] = value.py_func
    if _VECMATH in source:
        vecmath: Any = importlib.import_module(_VECMATH)
        plain = vecmath.PLAIN
        namespace.update({name: plain[name] for name in plain if name in namespace})
    function = modules.function(module, entry)

    def call(*arguments: Any) -> Any:
        arguments = tuple(np.float64(a) if type(a) is float else a for a in arguments)
        with np.errstate(all="ignore"):
            return function(*arguments)

    call.__name__ = entry
    return call


_VECMATH = "tracegrad.backend.vecmath"


#: Functions of ``math`` that raise where IEEE arithmetic has an answer.
_RAISING = (
    *("sqrt", "cbrt", "exp", "exp2", "expm1", "log", "log2", "log10", "log1p"),
    *("sin", "cos", "tan", "sinh", "cosh", "tanh", "pow", "fmod", "hypot"),
)

#: ``math`` with NumPy's functions in the place of those. NumPy's names of inverse functions
#: ("arccos") came late to the short form.
_IEEE_MATH = types.SimpleNamespace(
    **{name: value for name, value in vars(math).items() if not name.startswith("_")}
    | {name: getattr(np, name) for name in _RAISING}
    | {name: getattr(np, f"arc{name[1:]}") for name in ("asin", "acos", "acosh", "atanh")}
)
