"""A kernel by our own compiler: from its text, or from the cache, to a callable entry."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tracegrad.backend import cache
from tracegrad.backend.native import externals, machine
from tracegrad.backend.native.types import Settings, Type, Unsupported, type_of

if TYPE_CHECKING:
    from tracegrad.backend.native.entry import Text

logger = logging.getLogger(__name__)

#: First bytes of a file of object code; changes whenever its layout does.
_MAGIC = b"tracegrad object 4\n"

Argument = tuple[np.dtype, int]
"""What a kernel takes: a dtype and a rank, 0 for a number."""


@dataclass(frozen=True, eq=False)
class NativeKernel:
    """Machine code that is loaded.

    Attributes
    ----------
    call : the function for positional arguments. It takes exactly what the kernel was made for;
        anything else is a TypeError.
    from_disk : whether the machine code was read rather than made.
    """

    call: Callable[..., Any]
    from_disk: bool


def compile_native(
    source: str,
    name: str,
    signature: Sequence[Argument],
    flags: Sequence[str],
    stem: Path | None,
    filename: str,
    *,
    nogil: bool = False,
    boundscheck: bool = False,
) -> NativeKernel:
    """Compile the function ``name`` of a printed text.

    Parameters
    ----------
    flags : LLVM's fast-math flags.
    stem : where object code is kept, without the end of the file's name; None to keep none.
    filename : the file that tracebacks name.
    nogil, boundscheck : see `Settings`.

    Raises
    ------
    Unsupported : the text holds something that this compiler does not know.
    """
    types = [type_of(dtype, rank) for dtype, rank in signature]
    path = None if stem is None else _path(stem, types)
    stored = None if path is None else read_code(path)
    if stored is not None:
        addresses, code = stored
        return NativeKernel(machine.load(code, name, addresses, filename), True)
    text = _written(source, name, types, Settings(tuple(flags), nogil, boundscheck))
    for each in text.addresses:
        if each != externals.FILE:
            externals.address(each)
    code = machine.compile_text(text.llvm)
    if path is not None:
        write_code(path, text.addresses, code)
    return NativeKernel(machine.load(code, name, text.addresses, filename), False)


def optimised_text(
    source: str, name: str, signature: Sequence[Argument], settings: Settings
) -> str:
    """The LLVM text of a kernel, optimised."""
    types = [type_of(dtype, rank) for dtype, rank in signature]
    with machine.lock:
        return str(machine.optimise(_written(source, name, types, settings).llvm))


def assembly_text(source: str, name: str, signature: Sequence[Argument], settings: Settings) -> str:
    """The machine code of a kernel as assembly text."""
    types = [type_of(dtype, rank) for dtype, rank in signature]
    return machine.assembly(_written(source, name, types, settings).llvm)


def _written(source: str, name: str, types: Sequence[Type], settings: Settings) -> Text:
    # What writes code is not imported where all of it comes from disk.
    from tracegrad.backend.native.entry import write

    return write(source, name, types, settings)


# --- object code on disk ----------------------------------------------------------------------


def _path(stem: Path, types: Sequence[Type]) -> Path:
    # Homes are shared between machines.
    key = repr((types, machine.processor()))
    digest = hashlib.sha256(key.encode()).hexdigest()[:16]
    return stem.with_name(f"{stem.name}-{digest}.o")


def read_code(path: Path) -> tuple[list[str], bytes] | None:
    """The names in the table of addresses, and the code; None if there is no undamaged file."""
    payload = cache.read_checked(path, _MAGIC)
    if payload is None:
        return None
    size = int.from_bytes(payload[:8], "little")
    addresses: list[str] = json.loads(payload[8 : 8 + size])
    return addresses, payload[8 + size :]


def write_code(path: Path, addresses: Sequence[str], code: bytes) -> None:
    names = json.dumps(list(addresses)).encode()
    cache.write_checked(path, _MAGIC, len(names).to_bytes(8, "little") + names + code)


__all__ = ["Argument", "NativeKernel", "Settings", "Unsupported", "assembly_text", "compile_native"]
