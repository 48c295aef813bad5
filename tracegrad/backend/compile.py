"""Source text to machine code.

Our own compiler (`tracegrad.backend.native`) takes what it knows, which is nearly all that is
printed; Numba takes the rest, and makes the dispatchers that users' own jitted code calls. The
environment variable ``TRACEGRAD_COMPILER`` chooses: ``numba`` for everything by Numba.

A generated text becomes a module whose name carries the kernel's content hash. The name reaches
the LLVM symbols, so that two kernels never share one, in this process or a sibling's
(numba#10486), while the function in the text keeps the name a person would give it.

The same text also runs as plain Python (`run_plain`): tests compare the two.
"""

from __future__ import annotations

import functools
import importlib
import linecache
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
from typing import Any, Literal

import numba
import numpy as np
from numba.core import sigutils
from numba.core import types as nb
from numba.core.compiler_lock import global_compiler_lock
from numba.core.dispatcher import Dispatcher

from tracegrad.backend import cache, helpers, pool

logger = logging.getLogger(__name__)

#: Environment variable that chooses the compiler: "native" or "numba".
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
    boundscheck : whether Numba checks every index, besides the checks in the text.
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
    signature : Numba types of the arguments.
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
    signature: tuple[Any, ...]
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
        return _dispatcher_for(self.source, self.entry, self.name, self.signature, self.options)

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

    def _native_arguments(self) -> tuple[list[tuple[np.dtype, int]], list[str]]:
        return [_plain_type(each) for each in self.signature], sorted(self.options.fastmath)

    def _with_text(self) -> Any:
        if not self.from_disk:
            return self.dispatcher
        again = numba.njit(**self.options.jit_arguments())(self.dispatcher.py_func)
        again.compile(self.signature)
        return again


# --- signatures -------------------------------------------------------------------------------


def scalar_type(dtype: Any) -> Any:
    """The Numba type of a scalar."""
    return numba.from_dtype(np.dtype(dtype))


def array_type(dtype: Any, rank: int, layout: Literal["C", "F", "A"] = "C") -> Any:
    """The Numba type of an array; rank 0 is an array too.

    C-contiguous unless told otherwise: any-layout arrays cost 1.2 to 12 times as much.
    """
    return nb.Array(scalar_type(dtype), rank, layout)


# --- compilation ------------------------------------------------------------------------------

#: Guards the two tables below and the making of modules; never held while Numba compiles.
_lock = threading.Lock()
_dispatchers: weakref.WeakValueDictionary[str, Any] = weakref.WeakValueDictionary()
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
    signature: Iterable[Any],
    *,
    options: KernelOptions | None = None,
) -> CompiledKernel:
    """Compile the function ``entry`` of a generated text for one signature.

    Parameters
    ----------
    source : the text of a module; its own imports are all that it needs.
    entry : the function in it.
    signature : Numba types of the arguments, or the text of one, as ``"float64[::1]"``.
    options : see `KernelOptions`.

    Notes
    -----
    Safe under threads. The machine code is kept on disk and shared between processes; where that
    is impossible, the kernel is compiled in memory and nobody is told but the debug log.
    """
    options = options or KernelOptions()
    types_ = tuple(_parse_type(each) if isinstance(each, str) else each for each in signature)
    digest = cache.content_hash(source, options.key())
    wanted = _compiler(options)
    key = (f"{digest} {options.cache} {wanted}", str(types_))
    with _lock:
        known = _kernels.get(key)
        if known is not None:
            return known
    kernel = None
    if wanted == "native":
        kernel = _native_kernel(source, entry, digest, types_, options)
    if kernel is None:
        kernel = _numba_kernel(source, entry, digest, types_, options)
    with _lock:
        return _kernels.setdefault(key, kernel)


def _compiler(options: KernelOptions) -> str:
    """Whose code these options ask for."""
    chosen = os.environ.get(COMPILER_VARIABLE, "native")
    if chosen not in ("native", "numba"):
        raise ValueError(f"{COMPILER_VARIABLE} is 'native' or 'numba', not {chosen!r}")
    ours = not (options.parallel or options.boundscheck or options.nogil)
    return chosen if ours and options.error_model == "numpy" else "numba"


def _native_kernel(
    source: str, entry: str, digest: str, types_: tuple[Any, ...], options: KernelOptions
) -> CompiledKernel | None:
    """The kernel by our own compiler; None if it doesn't know all of the text."""
    from tracegrad.backend.native.kernel import Unsupported, compile_native

    path, filename = _store(source, entry, digest, options)
    try:
        signature = [_plain_type(each) for each in types_]
        stem = None if path is None else path.with_suffix("")
        flags = sorted(options.fastmath)
        made = compile_native(source, entry, signature, flags, stem, filename)
    except Unsupported as reason:
        logger.debug("%s is left to Numba: %s", entry, reason)
        return None
    _show_in_tracebacks(source, filename)
    return CompiledKernel(
        source=source,
        entry=entry,
        options=options,
        name=digest,
        path=path,
        signature=types_,
        entry_point=made.call,
        from_disk=made.from_disk,
        native=True,
    )


def _numba_kernel(
    source: str, entry: str, digest: str, types_: tuple[Any, ...], options: KernelOptions
) -> CompiledKernel:
    dispatcher = _dispatcher_for(source, entry, digest, types_, options)
    compiled = dispatcher.overloads[types_]
    filename = dispatcher.py_func.__code__.co_filename
    kernel = CompiledKernel(
        source=source,
        entry=entry,
        options=options,
        name=digest,
        path=None if filename.startswith("<") else Path(filename),
        signature=types_,
        entry_point=compiled.entry_point,
        # A compile result keeps its timings only in the process that compiled it.
        from_disk=compiled.metadata is None,
    )
    kernel.__dict__["dispatcher"] = dispatcher
    return kernel


def _dispatcher_for(
    source: str, entry: str, digest: str, types_: tuple[Any, ...], options: KernelOptions
) -> Any:
    """The dispatcher of a text, compiled for one signature."""
    key = f"{digest} {options.cache}"
    with _lock:
        dispatcher = _dispatchers.get(key)
        if dispatcher is None:
            dispatcher = _dispatchers[key] = _make_dispatcher(source, entry, digest, options)
    _defer_blas_import()
    _tell_numba()
    if "large_empty" in source:
        pool.register()
    if helpers.has_externals():
        importlib.import_module("tracegrad.backend.calls_by_numba").give_addresses(source)
    if types_ not in dispatcher.overloads:
        closed = not dispatcher._can_compile
        dispatcher.disable_compile(False)
        try:
            dispatcher.compile(types_)
        finally:
            dispatcher.disable_compile(closed)
    return dispatcher


def _plain_type(type_: Any) -> tuple[np.dtype, int]:
    """The dtype and the rank of an argument of our own compiler's."""
    from tracegrad.backend.native.types import Unsupported

    array = isinstance(type_, nb.Array)
    if array and (type_.layout != "C" or not type_.aligned or type_.ndim == 0):
        raise Unsupported(f"arguments of type {type_}")
    kind = type_.dtype if array else type_
    if not isinstance(kind, (nb.Float, nb.Integer, nb.Boolean)):
        raise Unsupported(f"arguments of type {type_}")
    return np.dtype(str(kind)), type_.ndim if array else 0


def _parse_type(text: str) -> Any:
    normalize: Any = sigutils.normalize_signature
    return normalize(f"({text},)")[0][0]


def _make_dispatcher(source: str, entry: str, digest: str, options: KernelOptions) -> Any:
    path, filename = _store(source, entry, digest, options)
    module = _load(source, f"tracegrad_kernel_{digest}", filename)
    # Numba looks a function's module up by name when it loads machine code. Functions refer to
    # their module's dictionary, not to the module, so the entry has to stay.
    sys.modules[module.__name__] = module
    if options.parallel:
        _compile_parts(module, entry, options)
    dispatcher = numba.njit(**options.jit_arguments())(_function(module, entry))
    if path is not None:
        dispatcher._cache = cache.KernelCache(path.with_suffix(""))
    return dispatcher


def _compile_parts(module: types.ModuleType, entry: str, options: KernelOptions) -> None:
    """Make dispatchers of the functions that the entry runs on threads."""
    importlib.import_module("tracegrad.backend.threads.calls")
    for name, function in list(module.__dict__.items()):
        own = isinstance(function, types.FunctionType) and function.__module__ == module.__name__
        if own and name != entry:
            # Nobody calls them from outside.
            hidden = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
            made: Any = numba.njit(**options.jit_arguments() | hidden)
            part = module.__dict__[name] = made(function)
            # What a part writes is memory of its own: no array needs to be compared with another.
            part._compiler._customize_flags = _without_aliases


def _without_aliases(flags: Any) -> Any:
    flags.noalias = True
    return flags


def _store(source: str, entry: str, digest: str, options: KernelOptions) -> tuple[Path | None, str]:
    """Where the text is kept, and what tracebacks call the file."""
    stem = f"{entry}-{digest}"
    path = cache.store_source(stem, source) if options.cache else None
    return path, str(path) if path is not None else f"<tracegrad {stem}>"


def _load(source: str, name: str, filename: str) -> types.ModuleType:
    """Run a generated text as the module ``name``."""
    module = types.ModuleType(name)
    module.__file__ = filename
    exec(compile(source, filename, "exec", dont_inherit=True), module.__dict__)
    _show_in_tracebacks(source, filename)
    return module


def _show_in_tracebacks(source: str, filename: str) -> None:
    # Tracebacks show the text that runs, whatever has become of the file. Entries without a
    # modification time are never compared with the disk.
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)


def _function(module: types.ModuleType, entry: str) -> types.FunctionType:
    function = module.__dict__.get(entry)
    if not isinstance(function, types.FunctionType):
        raise ValueError(f"the text defines no function {entry!r}")
    return function


@functools.cache
def _tell_numba() -> None:
    importlib.import_module("tracegrad.backend.lowering")
    helpers.tell_numba()


_blas_deferred = False


def _defer_blas_import() -> None:
    """Have Numba's first compilation leave ``scipy.linalg`` alone.

    Numba imports it when it loads its array functions, only to learn whether BLAS is there; it is
    half of the cost of loading a kernel from disk. SciPy is a dependency of tracegrad, so the
    answer is known. A kernel that really uses BLAS imports it then.
    """
    global _blas_deferred
    if _blas_deferred:
        return
    _blas_deferred = True
    if "numba.np.arraymath" in sys.modules or "scipy.linalg" in sys.modules:
        return
    with global_compiler_lock:
        linalg: Any = importlib.import_module("numba.np.linalg")
        ensure_blas = linalg.ensure_blas
        linalg.ensure_blas = lambda: None
        try:
            importlib.import_module("numba.np.arraymath")
        finally:
            linalg.ensure_blas = ensure_blas


# --- plain Python -----------------------------------------------------------------------------


def run_plain(source: str, entry: str) -> Callable[..., Any]:
    """The function ``entry`` of a generated text as plain Python, with nothing compiled.

    Scalar maths follows IEEE rules as the compiled kernel does, not those of the ``math`` module:
    ``log(0)`` is ``-inf``, and a float argument divided by zero gives an infinity.
    """
    module = _load(source, f"tracegrad_plain_{entry}", f"<tracegrad {entry}, plain>")
    namespace = module.__dict__
    for name, value in list(namespace.items()):
        if value is math:
            namespace[name] = _IEEE_MATH
        elif value is numba.prange:
            namespace[name] = range
        elif isinstance(value, Dispatcher):
            namespace[name] = value.py_func
    if _VECMATH in source:
        vecmath: Any = importlib.import_module(_VECMATH)
        plain = vecmath.PLAIN
        namespace.update({name: plain[name] for name in plain if name in namespace})
    function = _function(module, entry)

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
