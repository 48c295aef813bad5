"""Numba's compile results on disk.

Numba's own ``FunctionCache`` keeps an index file beside numbered data files and updates the two
separately, so that two processes saving different signatures, or two kinds of machine sharing a
home directory, can end up with an index that names the other's machine code; and it raises on a
damaged file. `KernelCache` stores the same pickled compile results in one self-naming,
self-checking file each; see `tracegrad.backend.cache`.
"""

from __future__ import annotations

import hashlib
import logging
import pickle
from pathlib import Path
from typing import Any

import numba
from numba.core import config, serialize
from numba.core.caching import _Cache
from numba.core.compiler import CompileResult

from tracegrad.backend.cache import read_checked, write_checked

#: Pickles what plain pickle can't, as Numba's own cache does.
_dumps: Any = serialize.dumps

logger = logging.getLogger(__name__)

#: First bytes of a machine code file; changes whenever its layout does.
_MAGIC = b"tracegrad kernel 1\n"

#: Numba settings (environment variables, mostly) that change the code it generates.
_CODE_SETTINGS = (
    "OPT",
    "LOOP_VECTORIZE",
    "SLP_VECTORIZE",
    "BOUNDSCHECK",
    "DEBUGINFO_DEFAULT",
    "ENABLE_AVX",
    "FULL_TRACEBACKS",
)


def settings() -> str:
    """What Numba's code depends on beside a text and its options."""
    chosen = [(name, str(getattr(config, name, None))) for name in _CODE_SETTINGS]
    return repr((numba.__version__, chosen))


class KernelCache(_Cache):
    """The compile results of one kernel, one file for each signature and processor.

    Takes the place of ``FunctionCache`` in a Numba dispatcher.

    Parameters
    ----------
    stem : path of the kernel's source file without its suffix.
    """

    def __init__(self, stem: Path) -> None:
        self._stem = stem
        self._enabled = True

    @property
    def cache_path(self) -> str:
        return str(self._stem.parent)

    def enable(self) -> None:
        self._enabled = True

    def disable(self) -> None:
        self._enabled = False

    def flush(self) -> None:
        """Remove every file of this kernel but its source."""
        for path in self._stem.parent.glob(f"{self._stem.name}-*.nbc"):
            path.unlink(missing_ok=True)

    def path_for(self, signature: Any, target_context: Any) -> Path:
        """The file for one signature on this processor."""
        # magic_tuple names the processor and its features: homes are shared between machines.
        key = repr((str(signature), target_context.codegen().magic_tuple()))
        return self._stem.with_name(
            f"{self._stem.name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.nbc"
        )

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The compile result stored for ``sig``, or None."""
        # Loads Numba's registries: a rebuilt function needs what they define.
        target_context.refresh()
        if not self._enabled:
            return None
        path = self.path_for(sig, target_context)
        payload = read_checked(path, _MAGIC)
        if payload is None:
            return None
        try:
            rebuild: Any = CompileResult._rebuild
            return rebuild(target_context, *pickle.loads(payload))
        except Exception as reason:
            # An undamaged file that doesn't load was made by an incompatible library.
            logger.debug("%s does not load: %r", path, reason)
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Store a compile result."""
        if not self._enabled:
            return
        if data.library.has_dynamic_globals or any(not each.can_cache for each in data.lifted):
            logger.debug("%s refers to this process: not cached", data.fndesc.qualname)
            return
        try:
            payload: bytes = _dumps(data._reduce())
            write_checked(self.path_for(sig, data.target_context), _MAGIC, payload)
        except Exception as reason:
            logger.debug("%s is not cached: %r", data.fndesc.qualname, reason)
