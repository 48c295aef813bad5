"""SciPy's special functions in compiled loops: its Cython entry points, called by their address.

Printed source imports the names of `ENTRIES` from here: ``from tracegrad.backend.special import
j0``. They are externals (`tracegrad.backend.helpers`), made when they are first asked for; SciPy is
imported by the first kernel that uses one, when it is loaded or run.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from inspect import Parameter, Signature
from typing import Any

from tracegrad.backend.helpers import external
from tracegrad.backend.incomplete import betainc_shape as betainc_shape
from tracegrad.backend.incomplete import gammainc_shape as gammainc_shape
from tracegrad.backend.incomplete import hurwitz as hurwitz


@dataclass(frozen=True)
class Entry:
    """One number that a function of ``scipy.special.cython_special`` gives.

    Attributes
    ----------
    operands : how many float64 numbers it takes.
    function : its name there; the entry's own by default.
    results : how many results it writes through pointers, after the operands; 0 if it returns
        its only one.
    result : which of them the entry is.
    """

    operands: int = 1
    function: str = ""
    results: int = 0
    result: int = 0

    @property
    def signature(self) -> str:
        """C's signature as SciPy's capsule names it."""
        numbers = ", ".join(["double"] * self.operands)
        if self.results:
            return f"void ({numbers}{', double *' * self.results})"
        return f"double ({numbers}, int __pyx_skip_dispatch)"


ENTRIES: dict[str, Entry] = {
    **dict.fromkeys(("j0", "j1", "y0", "y1", "i0", "i1", "i0e", "i1e"), Entry()),
    **dict.fromkeys(("k0", "k1", "k0e", "k1e"), Entry()),
    **dict.fromkeys(("jv", "yv", "iv", "kv", "ive", "kve", "struve", "modstruve"), Entry(2)),
    **dict.fromkeys(("ber", "bei", "ker", "kei", "berp", "beip", "kerp", "keip"), Entry()),
    **dict.fromkeys(("erfinv", "erfcinv", "ndtri", "ndtri_exp", "erfcx", "erfi", "dawsn"), Entry()),
    **dict.fromkeys(("expi", "exp1", "spence", "zetac", "wrightomega"), Entry()),
    **dict.fromkeys(("ellipk", "ellipkm1", "ellipe"), Entry()),
    **dict.fromkeys(("ellipkinc", "ellipeinc", "expn", "owens_t"), Entry(2)),
    **dict.fromkeys(("gammainc", "gammaincc", "gammaincinv", "gammainccinv"), Entry(2)),
    **dict.fromkeys(("beta", "betaln", "poch", "binom", "stdtr", "stdtrit", "hyp0f1"), Entry(2)),
    **dict.fromkeys(("betainc", "betaincc", "betaincinv", "betainccinv"), Entry(3)),
    **dict.fromkeys(("hyp1f1", "hyperu"), Entry(3)),
    "hyp2f1": Entry(4),
    **{f"airy_{name}": Entry(1, "airy", 4, k) for k, name in enumerate(("ai", "aip", "bi", "bip"))},
    **{f"sici_{name}": Entry(1, "sici", 2, k) for k, name in enumerate(("si", "ci"))},
    **{f"shichi_{name}": Entry(1, "shichi", 2, k) for k, name in enumerate(("shi", "chi"))},
    **{f"fresnel_{name}": Entry(1, "fresnel", 2, k) for k, name in enumerate(("s", "c"))},
}

NAMES = frozenset({*ENTRIES, "gammainc_shape", "betainc_shape", "hurwitz"})
"""What texts import from here: entries, and helpers beside them."""


@functools.cache
def address(name: str) -> int:
    """Where the function of an entry is in this process; imports SciPy."""
    entry = ENTRIES[name]
    function = entry.function or name
    found: dict[str, Any] = importlib.import_module("scipy.special.cython_special").__pyx_capi__
    # A function of several types has one entry per type, with a number in its name.
    form = re.compile(rf"(__pyx_fuse_\d+(_\d+)*)?{function}")
    for key, capsule in found.items():
        if form.fullmatch(key) and _name_of(capsule) == entry.signature.encode():
            return _pointer(capsule, entry.signature.encode())
    raise ImportError(f"scipy.special.cython_special has no {function} of floats")


def _name_of(capsule: Any) -> bytes:
    ask = ctypes.pythonapi.PyCapsule_GetName
    ask.restype, ask.argtypes = ctypes.c_char_p, [ctypes.py_object]
    name: bytes = ask(capsule)
    return name


def _pointer(capsule: Any, name: bytes) -> int:
    ask = ctypes.pythonapi.PyCapsule_GetPointer
    ask.restype, ask.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    found: int = ask(capsule, name)
    return found


# --- by name ----------------------------------------------------------------------------------


def __getattr__(name: str) -> Callable[..., float]:
    if name not in ENTRIES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _function(name)


@functools.cache
def _function(name: str) -> Callable[..., float]:
    entry = ENTRIES[name]

    def function(*operands: float) -> float:
        import scipy.special

        found = getattr(scipy.special, entry.function or name)(*map(float, operands))
        return float(found[entry.result] if entry.results else found)

    function.__name__ = function.__qualname__ = name
    places = [Parameter(f"x{k}", Parameter.POSITIONAL_ONLY) for k in range(entry.operands)]
    function.__signature__ = Signature(places)  # type: ignore[attr-defined]  # read by Numba
    mark = external(
        f"special.{name}", "d" * entry.operands, written=entry.results, taken=entry.result
    )
    return mark(function)
