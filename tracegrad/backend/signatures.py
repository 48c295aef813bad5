"""The types of a kernel's arguments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Layout = Literal["C", "F", "A"]


@dataclass(frozen=True)
class ArgumentType:
    """A number, or an array.

    Attributes
    ----------
    rank : None for a number; rank 0 is an array too.
    """

    dtype: np.dtype
    rank: int | None = None
    layout: Layout = "C"

    def __str__(self) -> str:
        """As Numba writes it: ``float64[:, ::1]``."""
        if self.rank is None:
            return self.dtype.name
        axes = [":"] * self.rank
        if axes and self.layout != "A":
            axes[-1 if self.layout == "C" else 0] = "::1"
        return f"{self.dtype.name}[{', '.join(axes)}]"

    @property
    def numba(self) -> Any:
        """Numba's name for it."""
        import numba
        from numba.core import types

        scalar = numba.from_dtype(self.dtype)
        return scalar if self.rank is None else types.Array(scalar, self.rank, self.layout)


def scalar_type(dtype: Any) -> ArgumentType:
    """The type of a number."""
    return ArgumentType(np.dtype(dtype))


def array_type(dtype: Any, rank: int, layout: Layout = "C") -> ArgumentType:
    """The type of an array.

    C-contiguous unless told otherwise: any-layout arrays cost 1.2 to 12 times as much.
    """
    return ArgumentType(np.dtype(dtype), rank, layout)


def parse_type(text: str) -> ArgumentType:
    """The type of a text as ``"float64[:, ::1]"``."""
    name, bracket, axes = text.partition("[")
    if not bracket:
        return scalar_type(name)
    parts = [each.strip() for each in axes.removesuffix("]").split(",")]
    if any(each not in (":", "::1") for each in parts) or parts[1:-1].count("::1"):
        raise ValueError(f"no type of an array: {text!r}")
    layout: Layout = "C" if parts[-1] == "::1" else "F" if parts[0] == "::1" else "A"
    return array_type(name, len(parts), layout)
