"""Kernels compiled by Numba, and dispatchers for users' own jitted code.

Importing this module imports Numba: it is done when something is left to Numba, or when somebody
asks for a dispatcher.
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
import threading
import types
import weakref
from typing import TYPE_CHECKING, Any

import numba
from numba.core.compiler_lock import global_compiler_lock

from tracegrad.backend import cache, calls_by_numba, helpers, modules, numba_cache, pool

if TYPE_CHECKING:
    from tracegrad.backend.compile import KernelOptions

#: Guards the table below and the making of modules; never held while Numba compiles.
_lock = threading.Lock()
_dispatchers: weakref.WeakValueDictionary[str, Any] = weakref.WeakValueDictionary()


def _renew_lock() -> None:
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    # Another thread of the parent may hold the lock at the moment of a fork.
    os.register_at_fork(after_in_child=_renew_lock)


def digest_of(source: str, options: KernelOptions) -> str:
    """The content hash that names the text and its machine code."""
    return cache.content_hash(source, options.key(), numba_cache.settings())


def dispatcher_for(source: str, entry: str, types_: tuple[Any, ...], options: KernelOptions) -> Any:
    """The dispatcher of a text, compiled for one signature."""
    digest = digest_of(source, options)
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
        calls_by_numba.give_addresses(source)
    if types_ not in dispatcher.overloads:
        closed = not dispatcher._can_compile
        dispatcher.disable_compile(False)
        try:
            dispatcher.compile(types_)
        finally:
            dispatcher.disable_compile(closed)
    return dispatcher


def _make_dispatcher(source: str, entry: str, digest: str, options: KernelOptions) -> Any:
    path, filename = modules.store(source, entry, digest, options.cache)
    module = modules.load(source, f"tracegrad_kernel_{digest}", filename)
    # Numba looks a function's module up by name when it loads machine code. Functions refer to
    # their module's dictionary, not to the module, so the entry has to stay.
    sys.modules[module.__name__] = module
    if options.parallel:
        _compile_parts(module, entry, options)
    dispatcher = numba.njit(**options.jit_arguments())(modules.function(module, entry))
    if path is not None:
        dispatcher._cache = numba_cache.KernelCache(path.with_suffix(""))
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
