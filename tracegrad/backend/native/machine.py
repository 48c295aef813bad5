"""LLVM: from text to machine code, and from machine code to a function of CPython."""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import functools
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any

import llvmlite.binding as llvm

from tracegrad.backend.native import externals, neighbours

lock = threading.RLock()
"""LLVM works for one thread at a time."""

_llvmlites_lock: Any = getattr(llvm.ffi.lib, "_lock", None) or contextlib.nullcontext()
"""What llvmlite takes around every call of LLVM's. It has no public name."""


def _renew_lock() -> None:
    global lock
    lock = threading.RLock()


def _before_fork() -> None:
    lock.acquire()
    _llvmlites_lock.__enter__()


def _after_fork_in_parent() -> None:
    _llvmlites_lock.__exit__(None, None, None)
    lock.release()


def _after_fork_in_child() -> None:
    _llvmlites_lock.__exit__(None, None, None)
    _renew_lock()


if hasattr(os, "register_at_fork"):
    # A fork waits until no thread is within LLVM. Holding our own lock is not enough: an engine
    # is freed by whatever thread drops it, and Numba calls LLVM too.
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )


@functools.cache
def processor() -> tuple[str, str, str]:
    """Triple, name and features of the processor that code is made for; Numba's settings count."""
    name = os.environ.get("NUMBA_CPU_NAME") or llvm.get_host_cpu_name()
    if "NUMBA_CPU_FEATURES" in os.environ:
        features = os.environ["NUMBA_CPU_FEATURES"]
    elif name == "generic":
        features = ""
    else:
        found = llvm.get_host_cpu_features()
        if os.environ.get("NUMBA_ENABLE_AVX") == "0":
            found.update({each: False for each in found if each.startswith("avx")})
        features = found.flatten()
    return llvm.get_process_triple(), name, features


@functools.cache
def _target() -> Any:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    _find_libm()
    triple, name, features = processor()
    return llvm.Target.from_triple(triple).create_target_machine(
        cpu=name, features=features, opt=_CODE_LEVEL, reloc="pic", codemodel="jitdefault", jit=True
    )


_LIBM = (
    *("sin", "cos", "tan", "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sinh", "cosh"),
    *("tanh", "asin", "acos", "atan", "asinh", "acosh", "atanh", "atan2", "cbrt", "hypot", "fmod"),
    *("pow", "erf", "erfc", "lgamma", "tgamma"),
)


def _find_libm() -> None:
    """Make sure of the functions that code may call: LLVM ends the process where one is missing."""
    missing = [
        name
        for each in _LIBM
        for name in (each, f"{each}f")
        if llvm.address_of_symbol(name) is None
    ]
    if not missing:
        return
    library = ctypes.CDLL(ctypes.util.find_library("m"))
    for name in missing:
        found = ctypes.cast(getattr(library, name), ctypes.c_void_p).value
        llvm.add_symbol(name, found)


_LEVEL = 3
_CODE_LEVEL = 2
"""How hard LLVM tries: in its passes, and when it chooses instructions."""


_CALLED = (externals.ENTRY, externals.VALUES)
"""The functions of a module that are called from outside."""


def optimise(text: str) -> Any:
    """The LLVM module of a text, verified and optimised. Call it with the lock held."""
    machine = _target()
    # In a context of its own, which is freed with the module.
    module = llvm.parse_assembly(text, llvm.create_context())
    module.triple = machine.triple
    module.data_layout = str(machine.target_data)
    module.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=_LEVEL)
    options.loop_vectorization = True
    options.slp_vectorization = neighbours.MARK in text
    options.loop_unrolling = True
    builder = llvm.create_pass_builder(machine, options)
    manager = builder.getModulePassManager()
    manager.run(module, builder)
    # Vector forms of functions are kept for loops that may want them; most don't.
    for function in module.functions:
        if not function.is_declaration and function.name not in _CALLED:
            function.linkage = "internal"
    unused = llvm.create_new_module_pass_manager()
    unused.add_global_dead_code_eliminate_pass()
    unused.run(module, builder)
    return module


def compile_text(text: str) -> bytes:
    """Object code of a module."""
    with lock:
        code: bytes = _target().emit_object(optimise(text))
        return code


def assembly(text: str) -> str:
    """A module as assembly text."""
    with lock:
        return str(_target().emit_assembly(optimise(text)))


# --- loading ----------------------------------------------------------------------------------


class _Method(ctypes.Structure):
    """``PyMethodDef``."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


_FASTCALL = 0x80


class Code:
    """Machine code in memory, with all that has to live as long.

    The function that CPython calls refers to it as its ``__self__``.

    Attributes
    ----------
    values : the address of the function that puts results side by side.
    """

    def __init__(self, engine: Any, name: str, place: int, values: int, file: Any) -> None:
        self._engine = engine
        self._file = file
        self.values = values
        self.method = method(name, place, _FASTCALL)

    def __repr__(self) -> str:
        return "<tracegrad machine code>"


def load(code: bytes, name: str, addresses: Sequence[str], filename: str) -> Callable[..., Any]:
    """The function in object code, ready to be called.

    Parameters
    ----------
    addresses : what its table of addresses holds.
    filename : of the source, for tracebacks.
    """
    file = ctypes.create_string_buffer(filename.encode())
    found = [
        ctypes.addressof(file) if each == externals.FILE else externals.address(each)
        for each in addresses
    ]
    engine, place, values = link(code, found)
    held = Code(engine, name, place, values, file)
    return builtin(held.method, held)


def link(code: bytes, addresses: Sequence[int]) -> tuple[Any, int, int]:
    """Object code in memory: what owns it, and where its entry and its ``values`` are.

    Parameters
    ----------
    addresses : what its table of addresses holds.
    """
    with lock:
        machine = _target_for_loading()
        empty = llvm.parse_assembly("")
        engine = llvm.create_mcjit_compiler(empty, machine)
        engine.add_object_file(llvm.ObjectFileRef.from_data(code))
        engine.finalize_object()
        table = engine.get_global_value_address("addresses")
        place = engine.get_function_address(externals.ENTRY)
        values = engine.get_function_address(externals.VALUES)
    if not table or not place:
        raise RuntimeError("the machine code lacks its entry")
    slots = (ctypes.c_void_p * len(addresses)).from_address(table)
    for number, value in enumerate(addresses):
        slots[number] = value
    return engine, place, values


def method(name: str, place: int, flags: int) -> Any:
    """What CPython knows of a function at an address."""
    return _Method(name.encode(), place, flags, None)


def builtin(method: Any, owner: Any) -> Callable[..., Any]:
    """A builtin function, whose ``__self__`` keeps alive what it needs, ``method`` included."""
    make = ctypes.pythonapi.PyCFunction_NewEx
    make.restype, make.argtypes = (
        ctypes.py_object,
        [ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p],
    )
    made: Callable[..., Any] = make(ctypes.addressof(method), owner, None)
    return made


def _target_for_loading() -> Any:
    # An engine takes its target machine over.
    _target()
    triple, name, features = processor()
    return llvm.Target.from_triple(triple).create_target_machine(
        cpu=name, features=features, opt=_CODE_LEVEL, reloc="pic", codemodel="jitdefault", jit=True
    )
