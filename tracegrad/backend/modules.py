"""Generated texts as modules of Python."""

from __future__ import annotations

import linecache
import types
from pathlib import Path

from tracegrad.backend import cache


def store(source: str, entry: str, digest: str, kept: bool) -> tuple[Path | None, str]:
    """Where the text is kept on disk, if it is, and what tracebacks call the file."""
    stem = f"{entry}-{digest}"
    path = cache.store_source(stem, source) if kept else None
    return path, str(path) if path is not None else f"<tracegrad {stem}>"


def load(source: str, name: str, filename: str) -> types.ModuleType:
    """Run a generated text as the module ``name``."""
    module = types.ModuleType(name)
    module.__file__ = filename
    exec(compile(source, filename, "exec", dont_inherit=True), module.__dict__)
    show_in_tracebacks(source, filename)
    return module


def show_in_tracebacks(source: str, filename: str) -> None:
    """Let Python know the text of a file that may not be there."""
    # Tracebacks show the text that runs, whatever has become of the file. Entries without a
    # modification time are never compared with the disk.
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)


def function(module: types.ModuleType, entry: str) -> types.FunctionType:
    """The function ``entry`` of a text."""
    found = module.__dict__.get(entry)
    if not isinstance(found, types.FunctionType):
        raise ValueError(f"the text defines no function {entry!r}")
    return found
