"""The same function text under another array library, by rebinding the names it reads."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any

import numpy as np
import scipy.special

from . import lax as stand_ins

__all__ = ["rebind"]


def rebind(
    function: Callable[..., Any],
    numpy: Any,
    special: Any,
    lax: Any = stand_ins,
    linalg: Any = None,
) -> Any:
    """A copy of ``function`` that reads ``numpy`` and ``special`` where it read NumPy and SciPy.

    Helpers from the same module are copied with it; ``scipy.special`` functions are found in
    ``special`` by name, those of ``scipy.linalg`` in ``linalg``, and `benchmarks.lax` becomes
    ``lax``. The original and its module stay as they are.

    Raises
    ------
    AttributeError : ``special`` or ``linalg`` lacks a function that the module imports.
    """
    if not isinstance(function, FunctionType):
        raise TypeError(f"can rebind Python functions only, not {type(function).__name__}")
    source = function.__globals__
    target: dict[str, Any] = dict(source)
    for name, value in source.items():
        if value is np:
            target[name] = numpy
        elif value is scipy.special:
            target[name] = special
        elif value is stand_ins:
            target[name] = lax
        elif isinstance(value, np.ufunc):
            home = special if hasattr(scipy.special, value.__name__) else numpy
            target[name] = getattr(home, value.__name__)
        elif isinstance(value, FunctionType) and value.__globals__ is source:
            target[name] = _copy(value, target)
        elif linalg is not None and _home(value) == "scipy.linalg":
            target[name] = getattr(linalg, value.__name__)
    return _copy(function, target)


def _home(value: Any) -> str:
    """The package two levels deep that a function is defined in, "" for anything else."""
    return ".".join(getattr(value, "__module__", "").split(".")[:2]) if callable(value) else ""


def _copy(function: FunctionType, names: dict[str, Any]) -> FunctionType:
    copy = FunctionType(
        function.__code__, names, function.__name__, function.__defaults__, function.__closure__
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy
