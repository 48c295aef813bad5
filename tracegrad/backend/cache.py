"""The per-user kernel cache: generated source files and the machine code made from them.

A kernel is a text. Its **content hash** covers the text and everything else that decides what the
machine code does (library versions, the vector maths sources, the compile options), so a file
name never has to be checked for freshness. Three kinds of file share one flat directory:

``<entry>-<hash>.py``
    the generated source. Tracebacks and debuggers read it; the compiler never does: what runs is
    the text in memory, and a file that differs from it is overwritten.
``<entry>-<hash>-<key>.o``
    object code by our own compiler for one signature and one processor, behind a digest.
``<entry>-<hash>-<key>.nbc``
    Numba's compile result, likewise, of a kernel that Numba compiled.

Each is self-naming and self-checking, which leaves nothing to race on.

Every failure in here means "not cached", never an exception: a missing home directory, a
read-only or full disk, a directory that others can write to.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import hmac
import logging
import os
import stat
import sys
import uuid
from pathlib import Path

import numpy as np

import tracegrad

logger = logging.getLogger(__name__)

#: Environment variable that names the cache directory; empty turns the cache off.
DIRECTORY_VARIABLE = "TRACEGRAD_CACHE_DIR"

_DIGEST_SIZE = hashlib.sha256().digest_size


# --- where ------------------------------------------------------------------------------------


def default_directory() -> Path | None:
    """Where this user's cache belongs, or None when there is no such place.

    ``TRACEGRAD_CACHE_DIR`` if it is set, else the platform's user cache directory. The home
    directory itself is never created: a home that doesn't exist was not meant to be filled.
    """
    named = os.environ.get(DIRECTORY_VARIABLE)
    if named is not None:
        return Path(named).absolute() if named else None
    if sys.platform != "win32" and (xdg := os.environ.get("XDG_CACHE_HOME")):
        # The XDG specification says that a relative path is to be ignored.
        if os.path.isabs(xdg):
            return Path(xdg) / "tracegrad"
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return Path(local) / "tracegrad" / "Cache" if local else None
    home = os.path.expanduser("~")
    if not os.path.isabs(home) or not os.path.isdir(home):
        return None
    base = "Library/Caches" if sys.platform == "darwin" else ".cache"
    return Path(home) / base / "tracegrad"


def usable_directory() -> Path | None:
    """The cache directory, made if need be, or None when it can't or mustn't be used."""
    directory = default_directory()
    if directory is None:
        logger.debug("no cache directory: kernels are not cached")
        return None
    # Checked on every use: the directory may vanish, or the variable change, while we run.
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _refuse_what_others_can_write(directory)
        if not os.access(directory, os.W_OK | os.X_OK):
            raise PermissionError(f"{directory} is not writable")
    except OSError as reason:
        logger.debug("kernels are not cached: %s", reason)
        return None
    return directory


def _refuse_what_others_can_write(directory: Path) -> None:
    """Raise PermissionError where somebody else could replace the machine code we load."""
    if sys.platform == "win32":
        return
    found = os.stat(directory)
    if found.st_uid != os.geteuid():
        raise PermissionError(f"{directory} belongs to another user")
    if found.st_mode & stat.S_IWOTH:
        raise PermissionError(f"{directory} is world-writable")
    for parent in directory.resolve().parents:
        mode = os.stat(parent).st_mode
        # In a sticky directory (/tmp) others can't rename or remove what is ours.
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            raise PermissionError(f"{parent}, above the cache directory, is world-writable")


# --- files ------------------------------------------------------------------------------------


def _write_atomically(path: Path, data: bytes) -> None:
    """Make ``path`` hold ``data``: readers see the old file or the whole new one."""
    # The name is new for every write: the processes of a fork, or of several machines on one
    # home directory, never share a temporary file.
    temporary = path.with_name(f"{path.name}.{os.getpid():x}-{uuid.uuid4().hex[:12]}.tmp")
    try:
        with open(temporary, "xb", opener=_private) as file:
            file.write(data)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _read_own(path: Path) -> bytes:
    """The bytes of ``path``, provided that this user alone could have written them."""
    with open(path, "rb") as file:
        if sys.platform != "win32":
            found = os.fstat(file.fileno())
            if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                raise PermissionError(f"{path} can be written by another user")
        return file.read()


def read_checked(path: Path, magic: bytes) -> bytes | None:
    """What `write_checked` wrote, or None where there is no such undamaged file."""
    try:
        data = _read_own(path)
    except OSError as reason:
        logger.debug("no machine code: %s", reason)
        return None
    start = len(magic) + _DIGEST_SIZE
    payload = data[start:]
    expected = magic + hashlib.sha256(payload).digest()
    if not hmac.compare_digest(data[:start], expected):
        logger.debug("%s is damaged: compiling again", path)
        return None
    return payload


def write_checked(path: Path, magic: bytes, payload: bytes) -> None:
    """Have ``path`` hold ``payload`` behind its digest, if that can be."""
    try:
        _write_atomically(path, magic + hashlib.sha256(payload).digest() + payload)
    except OSError as reason:
        logger.debug("%s is not cached: %s", path, reason)


def store_source(name: str, text: str) -> Path | None:
    """Have ``<name>.py`` in the cache directory hold exactly ``text``.

    Returns
    -------
    path : the file, or None when this text could not be stored.
    """
    directory = usable_directory()
    if directory is None:
        return None
    path = directory / f"{name}.py"
    data = text.encode()
    try:
        if path.read_bytes() == data:
            return path
        logger.debug("%s does not hold the generated text: overwritten", path)
    except OSError:
        pass  # Missing, or not readable: written next, or refused next.
    try:
        _write_atomically(path, data)
    except OSError as reason:
        logger.debug("%s is not cached: %s", name, reason)
        return None
    return path


# --- keys -------------------------------------------------------------------------------------


def content_hash(text: str, options: str, *others: str) -> str:
    """The 32 hexadecimal digits that name a kernel.

    Parameters
    ----------
    text : the generated source.
    options : a text that distinguishes sets of compile options.
    others : whatever else the code depends on.
    """
    digest = hashlib.sha256()
    for part in (text, options, *others, *_versions()):
        # Lengths keep ("ab", "c") and ("a", "bc") apart.
        digest.update(f"{len(part)}:".encode())
        digest.update(part.encode())
    return digest.hexdigest()[:32]


@functools.cache
def _versions() -> tuple[str, ...]:
    """The libraries whose code or behaviour ends up in every kernel."""
    import llvmlite

    return (
        tracegrad.__version__,
        llvmlite.__version__,
        np.__version__,
        sys.version,
        helpers_digest(),
    )


@functools.cache
def helpers_digest() -> str:
    """A digest of this package: its helpers, vector maths above all, end up in every kernel.

    Numba's key for a function knows nothing of the globals that it calls.
    """
    here = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted(here.rglob("*.py")):
        digest.update(path.relative_to(here).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()
